//! `log recover`: the log again from a copy of an institution's mirror, after files were lost or an old backup came back (audit.md A31, A32).
//! What was ever signed must be in it: a mirror that contradicts a signed note is a fork and gives a proof of it, a mirror that ends before
//! one is too old. The new directory is complete before it takes the old one's place, and the old one is kept.

mod fork;
pub(crate) mod handout;
mod swap;
mod tree;

use crate::durable;
use crate::evidence;
use crate::init;
use crate::keyring::KeyRing;
use crate::layout::Layout;
use crate::log::{Directory, Log, LogError};
use audit::checkpoint::Checkpoint;
use audit::fork::ForkProof;
use audit::keys::LogKeys;
use audit::merkle::range_root;
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::policy::{MAX_POLICY_BYTES, Opened, Policy};
use audit::proof::{MAX_PROOF_BYTES, Receipt, TlogProof};
use audit::reader::{CHECKPOINT_PATH, DirEntry, HANDOVERS, LogReader as _, TileHashes, handover_path, note_path};
use audit::tree::TreeHead;
use protocol::ids::Sha256;
use protocol::trust::TrustDocument;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use swap::Swap;
use tree::Copied;

/// The note of a server's newest tree.
const TREE: &str = ".state/tree";
/// Largest artefact (A2).
const MAX_ARTEFACT: u64 = 1 << 20;

/// What the log was recovered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Entries that this directory held before, as far as they could be read.
    pub(crate) before: u64,
    /// Entries taken from the mirror.
    pub(crate) size: u64,
    /// Their root.
    pub(crate) root: Sha256,
    /// Where the old directory is kept; nothing where there was none.
    pub(crate) kept: Option<PathBuf>,
}

/// Why the log was not recovered. A refusal changed nothing; after a failed write, run it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecoverError {
    /// A server runs.
    #[error("a server runs on {0}; stop it first")]
    Running(PathBuf),
    /// A file.
    #[error("a file could not be read or written")]
    Storage(#[from] io::Error),
    /// Keys or trust document.
    #[error("the server's keys or trust document cannot be used")]
    Keys(#[source] init::InitError),
    /// The mirror of another federation.
    #[error("the mirror is of another federation: its trust document is not ours")]
    OtherFederation,
    /// A note that was given is none of this log.
    #[error("{0} is no note, receipt or proof that this log signed")]
    NotANote(PathBuf),
    /// No note says which tree to recover.
    #[error("neither the mirror nor anything here holds a note that this log signed: nothing says which tree is the right one")]
    NoNote,
    /// Entries that do not fit.
    #[error("the mirror's entries break a rule of the log at entry {index}: {rule}")]
    Rule {
        /// The entry.
        index: u64,
        /// The rule.
        rule: &'static str,
    },
    /// The mirror ends too early.
    #[error(
        "the mirror ends at {have} entries, but the log had signed {signed} (by {source_of}): recovering from it would take back what was \
         acknowledged; take the mirror of another institution"
    )]
    Older {
        /// Entries that the mirror has.
        have: u64,
        /// Entries that were signed.
        signed: u64,
        /// Who says so.
        source_of: String,
    },
    /// Another history.
    #[error(
        "the mirror contradicts what the log had signed for {size} entries (by {source_of}): two histories were signed with this log's key; \
         nothing was changed, keep both copies and tell every institution"
    )]
    Forked {
        /// Size at which they part at the latest.
        size: u64,
        /// Who holds the other one.
        source_of: String,
        /// What anybody can check: both sides are signed.
        proof: Box<ForkProof>,
    },
    /// The mirror's entries are not those that were signed, and no second signed note says so too.
    #[error(
        "the mirror's entries do not give the tree of {size} entries that was signed (by {source_of}): the copy is damaged, altered, or of \
         another history; take the mirror of another institution"
    )]
    Contradicted {
        /// Size of the tree.
        size: u64,
        /// Who holds its note.
        source_of: String,
    },
    /// A key took over in the mirror's entries, and nothing shows that the one before it agreed.
    #[error(
        "a key of the log took over at {0} entries, and neither the mirror nor anything here holds the note that both keys signed, nor is the \
         older key here: take the mirror of another institution"
    )]
    NoHandover(u64),
    /// The log of the recovered directory.
    #[error("the recovered log cannot be opened")]
    Log(#[source] LogError),
}

/// Why the last word of a recovery was not said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsaid {
    /// A file.
    #[error("a file could not be read or written")]
    Storage(#[from] io::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<Unsaid> for RecoverError {
    fn from(e: Unsaid) -> Self {
        match e {
            Unsaid::Storage(e) => Self::Storage(e),
            Unsaid::Log(e) => Self::Log(e),
        }
    }
}

impl RecoverError {
    /// Whether the mirror was read, and is not to be used.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Older { .. }
                | Self::Forked { .. }
                | Self::Contradicted { .. }
                | Self::Rule { .. }
                | Self::OtherFederation
                | Self::NoHandover(_)
        )
    }
}

/// What becomes of entries of this server that no checkpoint of a quorum covers and that the mirror contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnTail {
    /// They bind: somebody may hold a receipt for them.
    Binds,
    /// They are given up: a backup that was started says at least that it started, and with that begins a history of its own (A32). Whoever
    /// holds a receipt for one of them has an alarm. The old directory keeps them.
    GivenUp,
}

/// A tree that this log signed, or is about to have signed.
struct Signed {
    head: TreeHead,
    note: Option<Note>,
    source: String,
    /// Whether the entries behind it are those of our own old directory.
    ours: bool,
    /// Whether it is our own newest tree, which no quorum needs to have seen.
    tail: bool,
}

/// Recovers the log of the server in `layout` from a copy of a mirror, up to the largest tree that any note speaks of.
///
/// # Errors
/// [`RecoverError`]: a refusal changed nothing; after a failed write, run it again.
///
/// # Security
/// Every byte of the mirror may be an attacker's: entries count only under notes that our own key signed. Whoever holds that key, and
/// nobody else, can make two histories; then this refuses and proves it.
pub(crate) fn recover(layout: &Layout, mirror: &Path, notes: &[PathBuf], tail: OwnTail) -> Result<Recovered, RecoverError> {
    if !mirror.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is no directory", mirror.display())).into());
    }
    let lock = std::fs::File::create(layout.lock())?;
    if lock.try_lock().is_err() {
        return Err(RecoverError::Running(layout.lock()));
    }
    let left_over = Swap::left_over(layout)?;
    let theirs = Directory(mirror.to_owned());
    let trust_bytes = trust(layout, &theirs)?;
    let trust = TrustDocument::parse(&trust_bytes).map_err(|_| RecoverError::OtherFederation)?;
    let ring = KeyRing::new(layout);
    let open = || Log::open(&layout.audit(), &layout.key("log-guard"), ring.clone(), trust.clone()).map_err(RecoverError::Log);
    let keys = known_keys(&theirs, &Directory(layout.audit()), &trust)?;
    let own = keys.all().map(|key| ring.find(key)).collect::<Result<Vec<_>, _>>()?;
    if own.iter().all(Option::is_none) {
        return Err(RecoverError::OtherFederation);
    }
    let mut signed = gather(layout, &theirs, &keys, notes)?;
    // A run before this one ended between the change of places and its last word. One whose log has too little is run from the start.
    if let Some(left) = left_over
        && let Ok(mut log) = open()
        && swap::covers(&log, &signed)?
    {
        return Ok(left.say(layout, &mut log)?);
    }
    if tail == OwnTail::GivenUp {
        give_up(&Directory(layout.audit()), &theirs, &trust, &mut signed)?;
    }
    let target = signed.iter().max_by_key(|s| s.head.size).ok_or(RecoverError::NoNote)?;
    let copy = Copied::read(&theirs, &trust, target.head.size, &signed.iter().map(|s| s.head.size).collect())?;
    compare(&theirs, &Directory(layout.audit()), &keys, &signed, &copy)?;
    let before = own_size(layout, &keys).min(copy.size);
    let swap = install(layout, &theirs, &ring, &trust_bytes, &signed, &copy, before)?;
    let done = swap.say(layout, &mut open()?)?;
    drop(lock);
    Ok(done)
}

/// Says what a recovery left to be said that ended before its last word, if one did: before anything else that a server appends. The caller
/// has compared all evidence with this log.
///
/// # Errors
/// [`Unsaid`].
pub(crate) fn last_word(layout: &Layout, log: &mut Log) -> Result<(), Unsaid> {
    match Swap::unsaid(layout)? {
        Some(left) => left.say(layout, log).map(drop),
        None => Ok(()),
    }
}

/// Our trust document; the mirror's where ours is lost. Its log key is compared with our own by the caller.
fn trust(layout: &Layout, theirs: &Directory) -> Result<Vec<u8>, RecoverError> {
    let other = theirs.read("trust.json", TrustDocument::MAX_BYTES)?.ok_or(RecoverError::OtherFederation)?;
    match durable::read_limited(&layout.trust(), TrustDocument::MAX_BYTES as u64) {
        Ok(own) if own == other => Ok(own),
        Ok(_) => Err(RecoverError::OtherFederation),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(other),
        Err(e) => Err(e.into()),
    }
}

/// The keys of this log, by the entries of the mirror or by our own: whichever know more of them. What any of them signed binds.
fn known_keys(theirs: &Directory, ours: &Directory, trust: &TrustDocument) -> Result<LogKeys, RecoverError> {
    let (by_theirs, by_ours) = (tree::keys(theirs, trust)?, tree::keys(ours, trust)?);
    Ok(if by_ours.all().count() > by_theirs.all().count() { by_ours } else { by_theirs })
}

/// Everything that this log is known to have signed: notes of the mirror and of our own directory, what members have shown, what the
/// operator was given, the guard.
fn gather(layout: &Layout, theirs: &Directory, keys: &LogKeys, given: &[PathBuf]) -> Result<Vec<Signed>, RecoverError> {
    let mut signed = Vec::new();
    for (dir, source, ours) in [(theirs, "the mirror", false), (&Directory(layout.audit()), "this server's directory", true)] {
        for path in note_paths(dir)? {
            let Some(bytes) = dir.read(&path, MAX_NOTE_BYTES)? else { continue };
            // A note that does not verify says nothing about what was signed.
            let Ok(note) = Note::parse(&bytes) else { continue };
            let Some((head, _)) = keys.signed_by_any(&note) else { continue };
            let tail = ours && path == TREE;
            signed.push(Signed { head, note: Some(note), source: format!("{path} of {source}"), ours, tail });
        }
    }
    let found = |bytes: &[u8]| {
        let note = note_in(bytes)?;
        let (head, _) = keys.signed_by_any(&note)?;
        Some((head, note))
    };
    for (path, _, bytes) in evidence::kept(layout)? {
        let Some((head, note)) = found(&bytes) else { continue };
        signed.push(Signed { head, note: Some(note), source: path.display().to_string(), ours: false, tail: false });
    }
    for path in given {
        let bytes = durable::read_limited(path, (MAX_NOTE_BYTES + MAX_PROOF_BYTES + protocol::entry::MAX_ENTRY) as u64)?;
        let (head, note) = found(&bytes).ok_or_else(|| RecoverError::NotANote(path.clone()))?;
        signed.push(Signed { head, note: Some(note), source: path.display().to_string(), ours: false, tail: false });
    }
    match durable::read_limited(&layout.key("log-guard"), 256) {
        Ok(bytes) => {
            let head = std::str::from_utf8(&bytes).ok().and_then(|t| t.parse().ok());
            signed.extend(head.map(|head| Signed {
                head,
                note: None,
                source: "the guard of the log's key".to_owned(),
                ours: true,
                tail: true,
            }));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e.into()),
    }
    Ok(signed)
}

/// Takes our own newest tree out of what binds, if the mirror's entries, under a note that our key signed, contradict it. A tree that merely
/// goes on from the mirror's stays: giving that up would take back what was acknowledged.
fn give_up(ours: &Directory, theirs: &Directory, trust: &TrustDocument, signed: &mut Vec<Signed>) -> Result<(), RecoverError> {
    let others = signed.iter().filter(|s| !s.tail).map(|s| s.head).max_by_key(|head| head.size);
    let Some(others) = others else { return Ok(()) };
    let shared = |s: &Signed| s.head.size.min(others.size);
    let sizes = signed.iter().filter(|s| s.tail).map(shared).chain([others.size]).collect();
    let copy = Copied::read(theirs, trust, others.size, &sizes)?;
    if copy.roots.get(&others.size) != Some(&others.root) {
        return Ok(()); // not the tree that was signed: refused with its reason later
    }
    signed.retain(|s| {
        let hashes = TileHashes::new(ours, s.head.size);
        let root_at = |size| range_root(&hashes, 0, size).ok();
        let (own, other) = (root_at(shared(s)), copy.roots.get(&shared(s)).copied());
        let parted = root_at(s.head.size) == Some(s.head.root) && own.is_some() && own != other;
        !(s.tail && parted)
    });
    Ok(())
}

/// Where a log's directory keeps notes.
fn note_paths(dir: &Directory) -> io::Result<Vec<String>> {
    let mut paths = vec![CHECKPOINT_PATH.to_owned(), TREE.to_owned()];
    for below in ["checkpoints", HANDOVERS] {
        paths.extend(dir.list(below)?.into_iter().filter_map(|e| match e {
            DirEntry::File(name) => Some(format!("{below}/{name}")),
            DirEntry::Directory(_) => None,
        }));
    }
    Ok(paths)
}

/// The note inside a receipt, a proof, or itself.
fn note_in(bytes: &[u8]) -> Option<Note> {
    let receipt = || Some(Receipt::parse(bytes).ok()?.proof.note);
    let proof = || Some(TlogProof::parse(bytes).ok()?.note);
    Note::parse(bytes).ok().or_else(receipt).or_else(proof)
}

/// Every signed tree is a prefix of the mirror's, and the mirror reaches the largest.
fn compare(theirs: &Directory, ours: &Directory, keys: &LogKeys, signed: &[Signed], copy: &Copied) -> Result<(), RecoverError> {
    for s in signed {
        match copy.roots.get(&s.head.size) {
            Some(root) if *root == s.head.root => {}
            odd => {
                let (size, source_of) = (s.head.size, s.source.clone());
                let proof = fork::prove(theirs, ours, keys, signed, s).map(Box::new);
                return Err(match (odd, proof) {
                    (_, Some(proof)) => RecoverError::Forked { size, source_of, proof },
                    (Some(_), None) => RecoverError::Contradicted { size, source_of },
                    (None, None) => RecoverError::Older { have: copy.size, signed: size, source_of },
                });
            }
        }
    }
    Ok(())
}

/// Entries of the directory as it was, for the record: by its tree file, or nothing.
fn own_size(layout: &Layout, keys: &LogKeys) -> u64 {
    let bytes = durable::read_limited(&layout.audit().join(TREE), MAX_NOTE_BYTES as u64).unwrap_or_default();
    Note::parse(&bytes).ok().and_then(|note| keys.signed_by_any(&note).map(|(head, _)| head.size)).unwrap_or(0)
}

/// Builds the whole directory beside the old one, moves the guard, and changes places.
fn install(
    layout: &Layout,
    theirs: &Directory,
    ring: &KeyRing,
    trust: &[u8],
    signed: &[Signed],
    copy: &Copied,
    before: u64,
) -> Result<Swap, RecoverError> {
    let (old, new) = (layout.audit(), layout.recovering());
    let handovers = handovers(ring, signed, copy)?;
    let head = TreeHead { size: copy.size, root: copy.root };
    // The log adds the other signature of a handover when it is opened.
    let key = ring.find(copy.keys.at(head.size))?.ok_or(RecoverError::Keys(init::InitError::LogKey))?;
    match std::fs::remove_dir_all(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _gone => {}
    }
    copy.write(theirs, &new)?;
    copy_artefacts(theirs, &new)?;
    // Artefacts of ours that no mirror keeps, and openings, which are the operator's alone.
    copy_artefacts(&Directory(old.clone()), &new)?;
    copy_sidecars(&Directory(old.clone()), &new)?;
    let published = published(signed, copy);
    for (size, opened) in &published {
        durable::write_new(&new.join(note_path(*size)), &opened.note().encode())?;
    }
    if let Some((_, opened)) = published.last_key_value() {
        durable::replace(&new.join(CHECKPOINT_PATH), &opened.note().encode())?;
    }
    for (size, note) in handovers {
        durable::write_new(&new.join(handover_path(size)), &note.encode())?;
    }
    durable::write_new(&new.join("trust.json"), trust)?;
    let swap = Swap::begin(layout, before, head)?;
    let note = Checkpoint { origin: key.verifier().name().to_owned(), head }.sign(&key).map_err(|_| RecoverError::OtherFederation)?;
    // The last file of the new directory: where it is, the rest is.
    durable::replace(&new.join(TREE), &note.encode())?;
    swap.change_places(layout)?;
    Ok(swap)
}

/// The notes by which the log's keys handed over, as far as anybody has them. Those of keys that are still here are made again.
fn handovers<'a>(ring: &KeyRing, signed: &'a [Signed], copy: &Copied) -> Result<BTreeMap<u64, &'a Note>, RecoverError> {
    let mut found = BTreeMap::new();
    for (size, _) in copy.keys.handovers() {
        let whole = |note: &&Note| copy.keys.signed(note).is_some_and(|h| h.size == size && copy.roots.get(&size) == Some(&h.root));
        match signed.iter().filter_map(|s| s.note.as_ref()).find(whole) {
            Some(note) => {
                found.insert(size, note);
            }
            None if ring.find(copy.keys.at(size - 1))?.is_some() && ring.find(copy.keys.at(size))?.is_some() => {}
            None => return Err(RecoverError::NoHandover(size)),
        }
    }
    Ok(found)
}

/// The notes that a quorum cosigned, by size: of several the one with the most cosigners, ours rather than the mirror's.
///
/// # Security
/// A note is opened before it is chosen: one bad line that a mirror adds spoils its own copy, and no other.
fn published(signed: &[Signed], copy: &Copied) -> BTreeMap<u64, Opened> {
    let mut published: BTreeMap<u64, Opened> = BTreeMap::new();
    for s in signed {
        let (Some(note), Some(policy)) = (&s.note, copy.policy_at(s.head.size)) else { continue };
        let Ok(opened) = policy.open_note(note.clone()) else { continue };
        let kept = published.get(&s.head.size).map_or(0, |o| o.cosigners().len());
        if opened.has_quorum() && opened.cosigners().len() >= kept {
            published.insert(s.head.size, opened);
        }
    }
    published
}

/// Artefacts that hash to their names, as far as they are not there yet: a link to anything else does not.
fn copy_artefacts(from: &Directory, to: &Path) -> Result<(), RecoverError> {
    for group in from.list("artefacts")? {
        let DirEntry::Directory(group) = group else { continue };
        for entry in from.list(&format!("artefacts/{group}"))? {
            let DirEntry::File(name) = entry else { continue };
            let path = format!("artefacts/{group}/{name}");
            let Ok(bytes) = durable::read_limited(&from.0.join(&path), MAX_ARTEFACT) else { continue };
            let hash = Sha256(protocol::hash::sha256(&[&bytes]));
            if hash.to_hex() == name && name.starts_with(&group) {
                durable::write_new(&to.join(path), &bytes)?;
            }
        }
    }
    Ok(())
}

/// Sidecars.
///
/// # Security
/// Nothing says what their bytes should be: for our own directory only. Of a mirror they would be anybody's words, or a link to our keys.
fn copy_sidecars(from: &Directory, to: &Path) -> Result<(), RecoverError> {
    for entry in from.list("sidecar")? {
        let DirEntry::File(name) = entry else { continue };
        let Ok(bytes) = durable::read_limited(&from.0.join("sidecar").join(&name), MAX_ARTEFACT) else { continue };
        durable::write_new(&to.join("sidecar").join(name), &bytes)?;
    }
    Ok(())
}

/// The policies of a directory by the size that they hold from; those that do not parse hold nowhere.
fn policies(dir: &Directory) -> io::Result<BTreeMap<u64, Policy>> {
    let mut out = BTreeMap::new();
    for entry in dir.list("policy")? {
        let DirEntry::File(name) = entry else { continue };
        let Some(size) = name.strip_suffix(".txt").filter(|n| n.len() == 20).and_then(|n| n.parse().ok()) else { continue };
        let text = dir.read(&format!("policy/{name}"), MAX_POLICY_BYTES)?.unwrap_or_default();
        if let Some(policy) = std::str::from_utf8(&text).ok().and_then(|t| Policy::parse(t).ok()) {
            out.insert(size, policy);
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
