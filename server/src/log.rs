//! The log on disk (audit.md sections 1 and 6): one batch, one commit point, applied files, and the fold of what it says.
//! Nothing is said to anybody before [`Log::append`] has returned.

mod keys;

use crate::durable;
use crate::edges::reached;
use crate::keyring::KeyRing;
use crate::publish::artefact_path;
use audit::checkpoint::Checkpoint;
use audit::hash::Hash;
use audit::key::SignerKey;
use audit::keys::LogKeys;
use audit::merkle::{prove_consistency, range_root};
use audit::note::Note;
use audit::reader::{DirEntry, LogReader, TileHashes};
use audit::tile::{TileKind, TilePath, WIDTH, decode_bundle};
use audit::tree::TreeHead;
use audit::writer::LogWriter;
pub(crate) use keys::keys_of;
use minicbor::bytes::ByteVec;
use minicbor::{CborLen, Decode, Encode};
use protocol::entry::{Draft, Facts, LogEntry, MAX_ENTRY, Origin};
use protocol::history::{History, Violation, leaf_hash};
use protocol::ids::{LeafIndex, Sha256};
use protocol::plan::Plan;
use protocol::trust::TrustDocument;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Why the log cannot be opened or appended to. The world's fault; a server that cannot remember must not speak.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LogError {
    /// The disk.
    #[error("the log's storage failed at {path}")]
    Storage {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Tiles, tree and guard do not agree (A31).
    #[error("the log's files do not agree: {0}; restore them from a mirror with `concordat-server log recover`")]
    Inconsistent(&'static str),
    /// A key that signs the log is not here.
    #[error("the key that signs a log of {0} entries is not among the server's keys; put back its file of the directory `keys`")]
    Key(u64),
    /// An entry of our own breaks a rule of the log: a bug of ours, refused before it is written.
    #[error("an entry would break rule {0:?}")]
    Violation(Violation),
    /// An entry is longer than its limit.
    #[error("an entry has {0} bytes, the limit is 61440")]
    TooLong(usize),
}

/// A directory as the `audit` crate reads it.
pub(crate) struct Directory(pub(crate) PathBuf);

impl LogReader for Directory {
    type Error = io::Error;

    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        match std::fs::File::open(self.0.join(path)) {
            Ok(file) => {
                let mut out = Vec::new();
                file.take(limit as u64 + 1).read_to_end(&mut out)?;
                Ok(Some(out))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let entries = match std::fs::read_dir(self.0.join(dir)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        entries
            .map(|e| {
                let e = e?;
                let name = e.file_name().to_string_lossy().into_owned();
                Ok(if e.file_type()?.is_dir() { DirEntry::Directory(name) } else { DirEntry::File(name) })
            })
            .collect()
    }
}

/// Files of one batch, written before the commit point.
#[derive(Encode, Decode, CborLen)]
pub(crate) struct Pending {
    #[n(0)]
    files: Vec<PendingFile>,
    #[n(1)]
    note: ByteVec,
}

#[derive(Encode, Decode, CborLen)]
struct PendingFile {
    #[n(0)]
    path: String,
    #[n(1)]
    bytes: ByteVec,
}

/// The largest bundle of pending files: 256 entries of 60 KiB, their bundles and tiles, with room.
const MAX_PENDING: usize = 64 << 20;

impl Pending {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        protocol::codec::decode(bytes, MAX_PENDING).map_err(|_| LogError::Inconsistent("a pending batch cannot be read"))
    }

    /// One of two files.
    #[cfg(feature = "test-doors")]
    pub(crate) fn example() -> Self {
        let file = |path: &str| PendingFile { path: path.to_owned(), bytes: vec![1, 2, 3].into() };
        Self { files: vec![file("tile/0/000.p/1"), file("tile/entries/000.p/1")], note: b"a note".to_vec().into() }
    }
}

/// The log.
pub(crate) struct Log {
    root: PathBuf,
    guard: PathBuf,
    writer: LogWriter,
    ring: KeyRing,
    /// The keys that sign, as the entries say.
    keys: LogKeys,
    /// The newest of them.
    signer: SignerKey,
    history: History,
    note: Vec<u8>,
    last_us: i64,
}

/// A durable entry.
#[derive(Clone, Debug)]
pub(crate) struct Appended {
    pub(crate) index: LeafIndex,
    pub(crate) leaf: Sha256,
    pub(crate) bytes: Vec<u8>,
}

impl Log {
    /// Opens the log as A31 says: a batch that passed the commit point is applied, one that did not is discarded.
    /// Which key signs what comes next, its entries say; a handover that a crash cut off is finished.
    pub(crate) fn open(root: &Path, guard: &Path, ring: KeyRing, trust: TrustDocument) -> Result<Self, LogError> {
        let state = root.join(".state");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LogError::Storage { path, source }
        };
        durable::create_dir(&state).map_err(at(&state))?;
        durable::remove_temporaries(root).map_err(at(root))?;
        let tree = read_optional(&state.join("tree"))?;
        let guarded = read_optional(guard)?;
        let (head, note) = match (&tree, &guarded) {
            (None, None) => (TreeHead::empty(), Vec::new()),
            _some => roll_forward(root, guard, &Checkpoint::origin_of(&trust.federation))?,
        };
        let writer = LogWriter::resume(head.size, &Directory(root.to_owned()))
            .map_err(|_| LogError::Inconsistent("the right edge cannot be rebuilt from the tiles"))?;
        if writer.head() != head {
            return Err(LogError::Inconsistent("the tiles do not give the signed root"));
        }
        let (history, last_us) = replay(root, head.size, trust)?;
        let keys = keys_of(&history)?;
        let signer = keys::find(&ring, keys.newest(), head.size)?;
        let (root, guard) = (root.to_owned(), guard.to_owned());
        let mut log = Self { root, guard, writer, ring, keys, signer, history, note, last_us };
        log.complete_note()?;
        log.keep_handovers()?;
        Ok(log)
    }

    /// Entries from `from` on, within one bundle, up to `to`.
    pub(crate) fn entries(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>, LogError> {
        read_entries(&self.root, self.writer.size(), from, to)
    }

    pub(crate) fn size(&self) -> u64 {
        self.writer.size()
    }

    /// The root of the first `size` entries, out of the tiles; nothing where the log has fewer.
    pub(crate) fn root_at(&self, size: u64) -> Result<Option<Hash>, LogError> {
        let own = self.writer.size();
        if size > own {
            return Ok(None);
        }
        let dir = Directory(self.root.clone());
        let root = range_root(&TileHashes::new(&dir, own), 0, size);
        root.map(Some).map_err(|_| LogError::Inconsistent("the root of an older tree cannot be rebuilt from the tiles"))
    }
    /// How far the clock lies behind the newest entry, in milliseconds.
    pub(crate) fn ahead_ms(&self, now: protocol::time::Time) -> u64 {
        u64::try_from(self.last_us / 1000).unwrap_or(0).saturating_sub(now.0)
    }
    pub(crate) fn history(&self) -> &History {
        &self.history
    }
    /// The log-signed note of the present size.
    pub(crate) fn note(&self) -> &[u8] {
        &self.note
    }
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    /// The key that signs from now on.
    pub(crate) fn key(&self) -> &SignerKey {
        &self.signer
    }
    /// Every key that signs or signed, by the size of the tree.
    pub(crate) fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// The rule that an entry made of `draft` would break now. Asked before a peer's statement is let into the log.
    pub(crate) fn would_violate(&mut self, draft: &Draft) -> Option<Violation> {
        let bytes = self.stamp(draft, self.writer.size());
        self.history.trial(draft).apply(&bytes).into_iter().next()
    }

    /// Appends a batch: when this returns, every entry is durable. Any error is fatal: the process must end and restart.
    pub(crate) fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>, LogError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let mut out: Vec<Appended> = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let bytes = self.stamp(draft, self.writer.size() + out.len() as u64);
            if bytes.len() > MAX_ENTRY {
                return Err(LogError::TooLong(bytes.len()));
            }
            // Our own entries keep the rules that auditors check, or they are not written.
            if let Some(v) = self.history.apply(&bytes).into_iter().next() {
                return Err(LogError::Violation(v));
            }
            out.push(Appended { index: LeafIndex(self.writer.size() + out.len() as u64), leaf: leaf_hash(&bytes), bytes });
        }
        let hands_over = self.take_over(self.writer.size() + out.len() as u64)?;
        drafts.iter().for_each(|d| reached("appending", d.facts.kind().name()));
        self.commit(&out)?;
        if hands_over {
            self.keep_handovers()?;
        }
        drafts.iter().for_each(|d| reached("appended", d.facts.kind().name()));
        for draft in drafts {
            learn(&mut self.history, &self.root, &draft.facts).ok();
        }
        Ok(out)
    }

    /// The root of the first `old` entries, then the proof that the tree of `new` begins with them; nothing where there is no such pair.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, LogError> {
        let Some(root) = self.root_at(old)?.filter(|_| old <= new && new <= self.size()) else { return Ok(None) };
        let proof = prove_consistency(&TileHashes::new(&Directory(self.root.clone()), self.size()), old, new);
        let proof = proof.map_err(|_| LogError::Inconsistent("a consistency proof cannot be made from the tiles"))?;
        Ok(Some(std::iter::once(root).chain(proof.0).collect()))
    }

    fn stamp(&mut self, draft: &Draft, seq: u64) -> Vec<u8> {
        let now = jiff::Timestamp::now().as_microsecond();
        self.last_us = now.max(self.last_us + 1);
        let ts = jiff::Timestamp::from_microsecond(self.last_us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let mut random = [0u8; 10];
        // Only uniqueness hangs on these bytes; the sequence number orders entries.
        if getrandom::fill(&mut random).is_err() {
            random.copy_from_slice(&leaf_hash(&seq.to_le_bytes()).0[..10]);
        }
        let millis = u64::try_from(self.last_us / 1000).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string();
        let stamp = self.history.stamp(draft, id, format!("{ts:.6}"), origin());
        LogEntry::new(stamp, draft).to_bytes()
    }

    /// A30: pending bundle, key guard, signature; the tree file is the commit point; then the files are applied.
    fn commit(&mut self, entries: &[Appended]) -> Result<(), LogError> {
        let mut writer = self.writer.clone();
        let bytes: Vec<&[u8]> = entries.iter().map(|e| e.bytes.as_slice()).collect();
        let files = writer.append(&bytes).map_err(|_| LogError::Inconsistent("the batch does not fit the tree"))?;
        let head = writer.head();
        let note = self.sign(head)?.encode();
        let pending = Pending {
            files: files.into_iter().map(|f| PendingFile { path: f.path.to_string(), bytes: f.bytes.into() }).collect(),
            note: note.clone().into(),
        };
        let state = self.root.join(".state");
        let path = state.join(format!("pending-{}", head.size));
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| LogError::Storage { path, source }
        };
        durable::replace(&path, &protocol::codec::encode(&pending)).map_err(at(&path))?;
        durable::replace_secret(&self.guard, head.to_string().as_bytes()).map_err(at(&self.guard))?;
        durable::replace(&state.join("tree"), &note).map_err(at(&state))?;
        apply(&self.root, &pending)?;
        reached("applied", &path);
        std::fs::remove_file(&path).map_err(at(&path))?;
        self.writer = writer;
        self.note = note;
        Ok(())
    }
}

/// This program, the same in every entry of its process.
fn origin() -> Origin {
    static BOOT_MS: OnceLock<u64> = OnceLock::new();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    Origin {
        name: "concordat-server".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: format!("{profile}-{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        boot_ms: *BOOT_MS.get_or_init(|| crate::driver::now().0),
    }
}

/// Folds one entry that must keep every rule, and gives it back: parsed once, since a start reads every entry that there is.
///
/// # Errors
/// The first rule broken; what is no entry breaks one.
pub(crate) fn fold(history: &mut History, bytes: &[u8]) -> Result<Option<LogEntry>, Violation> {
    let parsed = LogEntry::parse(bytes);
    let broken = history.apply_judged(bytes, parsed.as_ref().map_err(|e| *e), &mut |s| s.check_signature().is_ok());
    broken.into_iter().next().map_or_else(|| Ok(parsed.ok()), Err)
}

/// Shows the history a plan as soon as it is approved, out of the artefacts of the log in `root`. One that is not there is not learnt.
pub(crate) fn learn(history: &mut History, root: &Path, facts: &Facts) -> io::Result<()> {
    let Facts::TaskApproved { plan: digest } = facts else { return Ok(()) };
    let bytes = match durable::read_limited(&artefact_path(root, &Sha256(digest.0)), Plan::MAX_BYTES as u64) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    if let Ok(plan) = protocol::codec::decode::<Plan>(&bytes, Plan::MAX_BYTES) {
        history.learn_plan(&bytes, &plan);
    }
    Ok(())
}

/// Folds every entry again; shows the history each plan as soon as it is approved. With it the newest time, in microseconds.
fn replay(root: &Path, size: u64, trust: TrustDocument) -> Result<(History, i64), LogError> {
    let (mut history, mut last_us, mut index) = (History::new(trust), 0, 0);
    while index < size {
        for bytes in read_entries(root, size, index, size)? {
            if let Some(entry) = fold(&mut history, &bytes).map_err(LogError::Violation)? {
                // A plan that cannot be read is not known: its task's rounds are refused, and the log still opens.
                learn(&mut history, root, &entry.facts).ok();
                last_us = entry.stamp.ts.parse::<jiff::Timestamp>().map_or(0, |t| t.as_microsecond()).max(last_us);
            }
            index += 1;
        }
    }
    Ok((history, last_us))
}

/// Entries from `from` on of a log of `size`, within one bundle, up to `to`.
fn read_entries(root: &Path, size: u64, from: u64, to: u64) -> Result<Vec<Vec<u8>>, LogError> {
    let (from, to) = (from.min(size), to.min(size));
    if from >= to {
        return Ok(Vec::new());
    }
    let bundle = from / u64::from(WIDTH);
    let path = TilePath::in_tree(TileKind::Entries, bundle, size).ok_or(LogError::Inconsistent("no bundle"))?;
    let file = root.join(path.to_string());
    let bytes = std::fs::read(&file).map_err(|source| LogError::Storage { path: file, source })?;
    let all = decode_bundle(&bytes, path.width()).map_err(|_| LogError::Inconsistent("a bundle does not decode"))?;
    let start = bundle * u64::from(WIDTH);
    let wanted = |i: &usize| (from..to).contains(&(start + *i as u64));
    Ok(all.into_iter().enumerate().filter(|(i, _)| wanted(i)).map(|(_, e)| e.to_vec()).collect())
}

fn apply(root: &Path, pending: &Pending) -> Result<(), LogError> {
    for file in &pending.files {
        // Only canonical tile paths are ever applied, so a forged bundle cannot write elsewhere.
        let path: TilePath = file.path.parse().map_err(|_| LogError::Inconsistent("a pending path is no tile"))?;
        let path = root.join(path.to_string());
        durable::write_new(&path, &file.bytes).map_err(|source| LogError::Storage { path, source })?;
    }
    Ok(())
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    match durable::read_limited(path, MAX_PENDING as u64) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::Storage { path: path.to_owned(), source }),
    }
}

/// A31: the bundle that the key guard names was signed, so it is completed; any other never counted. Then tree and guard must agree.
/// Whose signatures the notes carry is looked at once the entries are read, which say whose they must be.
fn roll_forward(root: &Path, guard: &Path, origin: &str) -> Result<(TreeHead, Vec<u8>), LogError> {
    let state = root.join(".state");
    let text = read_optional(guard)?.ok_or(LogError::Inconsistent("the key guard is missing"))?;
    let guarded: TreeHead =
        std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok()).ok_or(LogError::Inconsistent("the key guard cannot be read"))?;
    let path = state.join(format!("pending-{}", guarded.size));
    if let Some(bytes) = read_optional(&path)? {
        let pending = Pending::parse(&bytes)?;
        if parse_tree(&pending.note, origin)? == guarded {
            durable::replace(&state.join("tree"), &pending.note).map_err(|source| LogError::Storage { path: state.clone(), source })?;
            apply(root, &pending)?;
        }
    }
    for entry in std::fs::read_dir(&state).map_err(|source| LogError::Storage { path: state.clone(), source })?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("pending-") {
            std::fs::remove_file(entry.path()).map_err(|source| LogError::Storage { path: entry.path(), source })?;
        }
    }
    let note = read_optional(&state.join("tree"))?.ok_or(LogError::Inconsistent("the tree file is missing"))?;
    let head = parse_tree(&note, origin)?;
    // A guard ahead of the tree means that a signed tree was lost: going on would fork the log (A31, A32).
    if head == guarded { Ok((head, note)) } else { Err(LogError::Inconsistent("the key guard is ahead of the tree")) }
}

fn parse_tree(note: &[u8], origin: &str) -> Result<TreeHead, LogError> {
    let stated = Note::parse(note).ok().and_then(|note| note.text().parse::<Checkpoint>().ok());
    let head = stated.filter(|checkpoint| checkpoint.origin == origin).map(|checkpoint| checkpoint.head);
    head.ok_or(LogError::Inconsistent("the tree file is not a note of this log"))
}
