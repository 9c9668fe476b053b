//! From entries to a log directory: tiles, notes, cosignatures, files. Knows no meaning of an entry.

use audit::checkpoint::Checkpoint;
use audit::cosign::cosign;
use audit::key::{KeyType, SignerKey};
use audit::policy::{Policy, Witness};
use audit::reader::{CHECKPOINT_PATH, handover_path, note_path, policy_path};
use audit::tree::{CompactRange, TreeHead};
use audit::writer::LogWriter;
use protocol::hash::sha256;
use protocol::history::History;
use protocol::trust::TrustDocument;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Files by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Who signs notes.
pub(crate) struct Signers {
    pub(crate) log: SignerKey,
    /// What the log hands over to, where it does.
    pub(crate) next: SignerKey,
    pub(crate) witnesses: Vec<SignerKey>,
}

impl Signers {
    pub(crate) fn new() -> Self {
        Self::of(3)
    }

    /// The log with so many witnesses.
    pub(crate) fn of(witnesses: u8) -> Self {
        let [log, next] = [3, 4].map(|seed| SignerKey::new("demo/log", KeyType::Note, &[seed; 32]).unwrap());
        let witness = |n: u8| SignerKey::new(&format!("w{n}"), KeyType::Cosignature, &[20 + n; 32]).unwrap();
        Self { log, next, witnesses: (1..=witnesses).map(witness).collect() }
    }

    /// The same after the first witness took another key.
    pub(crate) fn after_a_rotation() -> Self {
        let mut this = Self::new();
        this.witnesses[0] = SignerKey::new("w1", KeyType::Cosignature, &[40; 32]).unwrap();
        this
    }

    /// Two of three, or so many of others as A11 asks for.
    pub(crate) fn policy(&self) -> Policy {
        let witness = |k: &SignerKey| Witness { name: k.verifier().name().to_owned(), key: k.verifier().clone() };
        let quorum = audit::policy::default_quorum(self.witnesses.len());
        Policy::compose(self.log.verifier(), &self.witnesses.iter().map(witness).collect::<Vec<_>>(), Some(quorum)).unwrap()
    }

    /// A note over this head with the first `cosigners` witnesses.
    pub(crate) fn note(&self, head: TreeHead, cosigners: usize) -> Vec<u8> {
        self.note_by(head, 0..cosigners)
    }

    /// A note over this head, cosigned by the witnesses of these places.
    pub(crate) fn note_by(&self, head: TreeHead, cosigners: impl IntoIterator<Item = usize>) -> Vec<u8> {
        self.note_of(&[&self.log], head, cosigners)
    }

    /// A note over this head by these keys, cosigned by the witnesses of these places.
    pub(crate) fn note_of(&self, keys: &[&SignerKey], head: TreeHead, cosigners: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let checkpoint = Checkpoint { origin: "demo/log".to_owned(), head };
        let mut signed = keys.iter().map(|key| checkpoint.sign(key).unwrap());
        let mut note = signed.next().unwrap();
        signed.for_each(|other| note.add(other.lines()).unwrap());
        let line = |at: usize| cosign(&self.witnesses[at], 1_700_000_000 + head.size, note.text()).unwrap();
        let lines: Vec<_> = cosigners.into_iter().map(line).collect();
        note.add(&lines).unwrap();
        note.encode()
    }
}

/// The head of the tree over these entries.
pub(crate) fn head_of(entries: &[Vec<u8>]) -> TreeHead {
    let mut range = CompactRange::new();
    entries.iter().for_each(|e| range.push(audit::hash::leaf_hash(e)));
    range.head()
}

/// A log before it is written out.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) trust: Vec<u8>,
    pub(crate) plan: Vec<u8>,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Sealed chunks by address, and the list of each update.
    pub(crate) chunks: Files,
    /// Snapshots by digest.
    pub(crate) snapshots: Files,
    /// Opened integers by task and round.
    pub(crate) sums: Files,
    /// The entry that activates the policy.
    pub(crate) activation: Option<u64>,
    /// The entry that activates a second policy, and its witnesses.
    pub(crate) next_policy: Option<(u64, fn() -> Signers)>,
    /// Sizes at which a note is published, ascending; the last is the checkpoint's.
    pub(crate) published: Vec<u64>,
}

impl Draft {
    /// Tiles and bundles as a server that published at these sizes leaves them, older partial ones included.
    pub(crate) fn tiles(&self) -> Files {
        let (mut writer, mut files, mut done) = (LogWriter::new(), Files::new(), 0);
        for &size in &self.published {
            let size = usize::try_from(size).unwrap();
            let new = writer.append(&self.entries[done..size]).unwrap();
            files.extend(new.into_iter().map(|f| (f.path.to_string(), f.bytes)));
            done = size;
        }
        files
    }

    /// The size of the tree at which the log hands over to its next key, if it does.
    pub(crate) fn handover(&self) -> Option<u64> {
        let changes = |bytes: &Vec<u8>| bytes.windows(24).any(|w| w == b"federation.trust.changed");
        if !self.entries.iter().any(changes) {
            return None;
        }
        let mut history = History::new(TrustDocument::parse(&self.trust).unwrap());
        self.entries.iter().for_each(|bytes| drop(history.apply(bytes)));
        history.log_vkeys().nth(1).map(|(size, _)| size)
    }

    /// The note of this size by the keys whose turn it is, with so many cosigners.
    pub(crate) fn note_at(&self, signers: &Signers, size: u64, cosigners: usize) -> Vec<u8> {
        let head = head_of(&self.entries[..usize::try_from(size).unwrap()]);
        match self.handover().map(|at| size.cmp(&at)) {
            None | Some(Ordering::Less) => signers.note(head, cosigners),
            Some(Ordering::Equal) => signers.note_of(&[&signers.log, &signers.next], head, 0..cosigners),
            Some(Ordering::Greater) => signers.note_of(&[&signers.next], head, 0..cosigners),
        }
    }

    /// Notes, each with the quorum of its size.
    pub(crate) fn notes(&self, signers: &Signers) -> Files {
        let mut files = Files::new();
        for &size in &self.published {
            let cosigners = if self.activation.is_some_and(|a| size > a) { 2 } else { 0 };
            let next = self.next_policy.filter(|(at, _)| size > *at).map(|(_, next)| next());
            let note = self.note_at(next.as_ref().unwrap_or(signers), size, cosigners);
            files.insert(note_path(size), note.clone());
            files.insert(CHECKPOINT_PATH.to_owned(), note);
        }
        files
    }

    /// The whole directory.
    pub(crate) fn files(&self) -> Files {
        let signers = Signers::new();
        let mut files = self.tiles();
        files.extend(self.notes(&signers));
        files.insert("trust.json".to_owned(), self.trust.clone());
        let hex = hex::encode(sha256(&[&self.plan]));
        files.insert(format!("artefacts/{}/{hex}", &hex[..2]), self.plan.clone());
        if let Some(at) = self.activation {
            files.insert(policy_path(at + 1), signers.policy().text().as_bytes().to_vec());
        }
        if let Some(size) = self.handover() {
            files.insert(handover_path(size), self.note_at(&signers, size, 0));
            let next = signers.policy().with_log(signers.next.verifier()).unwrap();
            files.insert(policy_path(size), next.text().as_bytes().to_vec());
        }
        if let Some((at, next)) = self.next_policy {
            files.insert(policy_path(at + 1), next().policy().text().as_bytes().to_vec());
        }
        files
    }
}

/// Writes one file below `root`.
pub(crate) fn put(root: &Path, path: &str, bytes: &[u8]) {
    let full = root.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(full, bytes).unwrap();
}

/// Writes a directory.
pub(crate) fn write(files: &Files) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(path, bytes)| put(dir.path(), path, bytes));
    dir
}
