//! This institution's own copy of the log, and what it says (audit.md section 5). Every entry in it stands under a note that the log
//! signed; the history that machines judge by is folded from it and from nothing else. Knows no connection.

mod disk;
pub(crate) mod fork;
mod handover;

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use audit::checkpoint::Checkpoint;
use audit::hash::Hash;
use audit::keys::LogKeys;
use audit::merkle::{ConsistencyProof, prove_consistency, prove_inclusion};
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::policy::Policy;
use audit::proof::{Receipt, TlogProof};
use audit::reader::TileHashes;
use audit::tile::TilePath;
use audit::tree::TreeHead;
use audit::writer::LogWriter;
use disk::Disk;
use fork::Prefix;
use protocol::history::{Clause, History, Violation};
use protocol::ids::{LeafIndex, PlanDigest, Sha256};
use protocol::plan::Plan;
use protocol::trust::{BadTrust, TrustDocument};
use std::collections::{BTreeSet, VecDeque};

/// Most violations that are kept: one is enough to take no further part.
const MAX_VIOLATIONS: usize = 64;

/// Why the mirror does not follow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// A file.
    #[error("the mirror could not be read or written")]
    Store(#[from] StoreError),
    /// The trust document.
    #[error("the trust document cannot be read")]
    Trust(#[from] BadTrust),
    /// The right edge cannot be rebuilt, or is not what the last note says.
    #[error("the mirror's tiles do not give the root of its note")]
    Edge,
    /// Not a note of this log that the log signed. The server's fault.
    #[error("the note is not a checkpoint that this log signed")]
    BadNote,
    /// The server shows less than it spoke of.
    #[error("the log has {got} entries, the server spoke of {spoken}")]
    Behind {
        /// Size of the note.
        got: u64,
        /// Size that was announced.
        spoken: u64,
    },
    /// Entries came that do not give the tree that the log signed: a wrong page, or another history that nothing proves yet. Nothing of
    /// them is kept, and they are asked for again on another connection.
    #[error("the entries that came do not give the signed tree of {size} entries")]
    BadEntries {
        /// Size of the note.
        size: u64,
    },
    /// The log signed two histories, and there is a proof. The notes are kept as evidence; participation ends (A28).
    #[error("the log contradicts its own past at size {size}: the notes are kept as evidence and nothing more is done for this server")]
    Forked {
        /// Size of the note that contradicts.
        size: u64,
    },
    /// A key of the log signed after it had handed over to another (A14). The note is kept as evidence; participation ends.
    #[error(
        "the log's note of {size} entries is signed with a key that had handed over to another one before: the note is kept as evidence and \
         nothing more is done for this server"
    )]
    RetiredKey {
        /// Size of the note.
        size: u64,
    },
    /// A policy or plan whose bytes are not what its entry names, or that does not parse.
    #[error("a policy or plan is not what its entry names")]
    BadArtefact,
    /// An entry that is longer than any log may hold.
    #[error("an entry is too long")]
    TooLong,
}

/// A checkpoint that the log signed; cosignatures not yet looked at.
#[derive(Clone)]
pub(crate) struct LogNote {
    note: Note,
    checkpoint: Checkpoint,
}

impl LogNote {
    pub(crate) fn head(&self) -> TreeHead {
        self.checkpoint.head
    }
    pub(crate) fn note(&self) -> &Note {
        &self.note
    }
}

/// Bytes that an entry names and that are needed to judge later entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A witness policy, in force from this size on.
    Policy { hash: Sha256, from_size: u64 },
    /// A task's plan.
    Plan(PlanDigest),
}

/// Entries that were fetched and not yet held against a root that the log signed: their tiles lie beside the mirror.
struct Incoming {
    writer: LogWriter,
    tiles: Vec<TilePath>,
}

/// The mirror.
pub(crate) struct Mirror {
    home: Home,
    disk: Disk,
    /// The keys that sign the log, as far as its entries are folded.
    log: LogKeys,
    writer: LogWriter,
    history: History,
    /// Stored and not yet folded: the entries that come next. Those after them are read from the disk when it is their turn.
    unfolded: VecDeque<Vec<u8>>,
    incoming: Option<Incoming>,
    /// Policies in order of the size that they hold from.
    policies: Vec<(u64, Policy)>,
    /// Artefacts that the server did not have when asked.
    missing: BTreeSet<Sha256>,
    published: u64,
    violations: Vec<Violation>,
}

impl Mirror {
    /// Opens the mirror and folds everything in it again.
    pub(crate) fn open(home: &Home) -> Result<Self, MirrorError> {
        let root = home.mirror();
        let trust = files::read(&root.join("trust.json"), TrustDocument::MAX_BYTES, Item::TrustDocument)?;
        let trust = TrustDocument::parse(&trust)?;
        if !files::names(&home.evidence(), Item::Note)?.is_empty() {
            return Err(MirrorError::Forked { size: 0 });
        }
        let history = History::new(trust);
        let mut mirror = Self {
            home: home.clone(),
            disk: Disk::new(&root),
            log: handover::keys(&history)?,
            writer: LogWriter::new(),
            history,
            unfolded: VecDeque::new(),
            incoming: None,
            policies: Vec::new(),
            missing: BTreeSet::new(),
            published: 0,
            violations: Vec::new(),
        };
        mirror.resume()?;
        Ok(mirror)
    }

    fn resume(&mut self) -> Result<(), MirrorError> {
        let Some(own) = self.stored_note()? else { return Ok(()) };
        let head = own.head();
        self.writer = LogWriter::resume(head.size, &self.disk).map_err(|_| MirrorError::Edge)?;
        if self.writer.head() != head {
            return Err(MirrorError::Edge);
        }
        self.fold()?;
        // Which keys sign is in the entries; those that wait for something are folded on the next connection.
        let folded = self.history.size() == self.size();
        if folded && self.log.signed_by_any(own.note()).is_none() {
            return Err(MirrorError::BadNote);
        }
        if let Some(note) = self.disk.published()? {
            match self.observe(&note) {
                Err(MirrorError::BadNote) if !folded => {}
                observed => {
                    observed?;
                }
            }
        }
        Ok(())
    }

    /// What the log says so far.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }
    /// Entries mirrored.
    pub(crate) fn size(&self) -> u64 {
        self.writer.size()
    }
    /// Entries under a note that meets the policy of its size.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }
    /// The log's keys.
    pub(crate) fn log_keys(&self) -> &LogKeys {
        &self.log
    }
    /// Rules that entries broke. After the first one this institution takes no part in rounds, but still witnesses (A26).
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Reads a note and checks the log's signature: of the key that signs a tree of its size, as far as entries are folded.
    pub(crate) fn read_note(&self, bytes: &[u8]) -> Result<LogNote, MirrorError> {
        let read = LogNote::parse(bytes)?;
        self.log.signed(&read.note).map(|_| read).ok_or(MirrorError::BadNote)
    }

    /// The log-signed note of our whole tree, for `Hello` (A32): it holds at least what was cosigned. Nothing while the mirror is empty.
    pub(crate) fn last_note(&self) -> Result<Vec<u8>, MirrorError> {
        Ok(files::read_if_there(&self.home.mirror_note(), MAX_NOTE_BYTES, Item::Note)?.unwrap_or_default())
    }

    /// How many entries are missing before the note's tree is ours.
    ///
    /// # Errors
    /// [`MirrorError::Forked`] if the note is of a tree that we know to be another.
    pub(crate) fn missing_until(&self, note: &LogNote) -> Result<std::ops::Range<u64>, MirrorError> {
        let head = note.head();
        if head.size <= self.size() {
            let root = self.disk.root_at(head.size, self.size())?;
            if root != head.root {
                return Err(self.contradicts(note, root)?);
            }
        }
        Ok(self.size()..head.size.max(self.size()))
    }

    /// Where the next entry to be fetched stands, on the way to a tree of `until`: after those of the mirror, and after those that wait.
    pub(crate) fn fetched(&mut self, until: u64) -> u64 {
        // What waits may be of a longer tree, spoken of on an earlier connection; for this one it cannot be cut.
        self.incoming.take_if(|i| i.writer.size() > until);
        self.incoming.as_ref().map_or(self.size(), |i| i.writer.size())
    }

    /// Lays entries beside the mirror: they count when [`Self::append`] has come to a root that the log signed.
    pub(crate) fn stage(&mut self, entries: Vec<Vec<u8>>) -> Result<(), MirrorError> {
        let place = self.home.incoming();
        let mut incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => {
                files::remove_dir(&place, Item::Tile)?;
                Incoming { writer: self.writer.clone(), tiles: Vec::new() }
            }
        };
        let tiles = incoming.writer.append(&entries).map_err(|_| MirrorError::TooLong)?;
        Disk::new(&place).lay(&tiles)?;
        incoming.tiles.extend(tiles.into_iter().map(|t| t.path));
        self.incoming = Some(incoming);
        Ok(())
    }

    /// Takes the last of the missing entries in, after those that were staged: root first, then tiles durably, then the note durably. They
    /// are folded by [`Self::fold`].
    ///
    /// # Errors
    /// [`MirrorError::BadEntries`] if the entries do not lead to the note's root. Nothing is stored then, and what was staged is given up.
    pub(crate) fn append(&mut self, note: &LogNote, entries: Vec<Vec<u8>>) -> Result<(), MirrorError> {
        let incoming = self.incoming.take();
        let mut writer = incoming.as_ref().map_or(&self.writer, |i| &i.writer).clone();
        let tiles = writer.append(&entries).map_err(|_| MirrorError::TooLong)?;
        if writer.head() != note.head() {
            return Err(MirrorError::BadEntries { size: note.head().size });
        }
        if let Some(incoming) = &incoming {
            self.disk.adopt(&Disk::new(&self.home.incoming()), &incoming.tiles)?;
        }
        self.disk.store_tiles(&tiles)?;
        files::replace(&self.home.mirror_note(), &note.note.encode(), Item::Note)?;
        let queued = self.history.size().saturating_add(self.unfolded.len() as u64);
        if incoming.is_none() && queued == self.writer.size() {
            self.unfolded.extend(entries);
        }
        self.writer = writer;
        if incoming.is_some() {
            files::remove_dir(&self.home.incoming(), Item::Tile)?;
        }
        Ok(())
    }

    /// What is left where entries did not give a note's root and its larger tree shows `shown` at our size: a fork, if that is another root
    /// than ours and the hashes hold. Else the entries were bad; the note stays where people can compare it with those of others.
    pub(crate) fn contradicted(&mut self, note: &LogNote, shown: &[u8]) -> Result<MirrorError, MirrorError> {
        if let (Some(ours), Some(prefix)) = (self.stored_note()?, Prefix::parse(shown))
            && let Some(proof) = fork::prove(&self.log, &ours, note, &prefix)
        {
            self.keep_proof(self.size(), &proof)?;
            return self.fork(note);
        }
        files::replace(&self.home.unproved_note(), &note.note.encode(), Item::Note)?;
        Ok(MirrorError::BadEntries { size: note.head().size })
    }

    /// A note of a tree that ours contradicts: our own tiles prove it.
    fn contradicts(&self, note: &LogNote, root: Hash) -> Result<MirrorError, MirrorError> {
        let (size, own) = (note.head().size, self.size());
        let ours = self.stored_note()?.ok_or(MirrorError::Edge)?;
        let prefix = if size == own { Prefix::whole(root) } else { Prefix::new(root, self.consistency(size, own)?) };
        if let Some(proof) = fork::prove(&self.log, note, &ours, &prefix) {
            self.keep_proof(size, &proof)?;
        }
        self.fork(note)
    }

    fn keep_proof(&self, size: u64, proof: &[u8]) -> Result<(), StoreError> {
        files::replace(&self.home.evidence().join(format!("{size:020}-fork.json")), proof, Item::Note)
    }

    /// Keeps both notes for ever.
    fn fork(&self, note: &LogNote) -> Result<MirrorError, MirrorError> {
        let size = note.head().size;
        if let Some(ours) = files::read_if_there(&self.home.mirror_note(), MAX_NOTE_BYTES, Item::Note)? {
            files::replace(&self.home.evidence().join(format!("{:020}-ours.note", self.size())), &ours, Item::Note)?;
        }
        files::replace(&self.home.evidence().join(format!("{size:020}-theirs.note")), &note.note.encode(), Item::Note)?;
        Ok(MirrorError::Forked { size })
    }

    /// Folds stored entries until all are folded or something is wanted first.
    pub(crate) fn fold(&mut self) -> Result<Option<Wanted>, MirrorError> {
        loop {
            if let Some(wanted) = self.wanted()? {
                return Ok(Some(wanted));
            }
            let Some(entry) = self.next_entry()? else { break };
            for violation in self.history.apply(&entry) {
                self.note_violation(violation);
            }
            self.take_over()?;
        }
        self.keep_handover()?;
        Ok(None)
    }

    /// The first entry that is not folded yet; of a long log no more than one bundle is in memory.
    fn next_entry(&mut self) -> Result<Option<Vec<u8>>, MirrorError> {
        let (next, size) = (self.history.size(), self.size());
        if self.unfolded.is_empty() && next < size {
            let folded = usize::try_from(next % u64::from(audit::tile::WIDTH)).unwrap_or(usize::MAX);
            self.unfolded.extend(self.disk.bundle(next, size)?.into_iter().skip(folded));
        }
        Ok(self.unfolded.pop_front())
    }

    fn note_violation(&mut self, violation: Violation) {
        tracing::error!(index = violation.index.0, clause = violation.clause.text(), "an entry of the log breaks a rule");
        if violation.clause != Clause::UnknownEntry && self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    /// What an entry names and is not here, after looking on our own disk.
    fn wanted(&mut self) -> Result<Option<Wanted>, MirrorError> {
        if let Some((hash, index)) = self.history.policy() {
            let from_size = index.0.saturating_add(1);
            if self.policies.last().is_none_or(|(size, _)| *size < from_size) && !self.missing.contains(&hash) {
                let Some(text) = self.disk.policy(from_size)? else { return Ok(Some(Wanted::Policy { hash, from_size })) };
                self.learn_policy(hash, from_size, &text)?;
            }
        }
        let unknown = |m: &Self| {
            let mut digests = m.history.tasks().values().filter(|t| t.plan().is_none()).map(protocol::history::TaskHistory::plan_digest);
            digests.find(|d| !m.missing.contains(&Sha256(d.0)))
        };
        while let Some(digest) = unknown(self) {
            let Some(bytes) = self.disk.artefact(Sha256(digest.0), Plan::MAX_BYTES)? else { return Ok(Some(Wanted::Plan(digest))) };
            self.learn_plan(digest, &bytes)?;
        }
        Ok(None)
    }

    fn learn_policy(&mut self, hash: Sha256, from_size: u64, text: &[u8]) -> Result<(), MirrorError> {
        let log = self.log.at(from_size);
        let policy = std::str::from_utf8(text).ok().and_then(|t| Policy::parse(t).ok()).filter(|p| p.log() == log);
        let known = protocol::hash::sha256(&[text]) == hash.0;
        self.policies.push((from_size, policy.filter(|_| known).ok_or(MirrorError::BadArtefact)?));
        // One that came late holds for keys that have taken over since.
        let since: Vec<u64> = self.log.handovers().map(|(size, _)| size).filter(|size| *size > from_size).collect();
        since.into_iter().try_for_each(|size| self.policy_for(size))
    }

    fn learn_plan(&mut self, digest: PlanDigest, bytes: &[u8]) -> Result<(), MirrorError> {
        if Plan::digest(bytes) != digest {
            return Err(MirrorError::BadArtefact);
        }
        // A plan that cannot be run is an administrators' mistake; its task is then unknown here and every round of it declined.
        match protocol::codec::decode::<Plan>(bytes, Plan::MAX_BYTES).ok().filter(|p| p.check().is_ok()) {
            Some(plan) => self.history.learn_plan(bytes, &plan),
            None => {
                self.missing.insert(Sha256(digest.0));
            }
        }
        Ok(())
    }

    /// Stores what [`Self::fold`] wanted; `None` if the server does not have it.
    pub(crate) fn supply(&mut self, wanted: Wanted, bytes: Option<&[u8]>) -> Result<(), MirrorError> {
        let hash = match wanted {
            Wanted::Policy { hash, .. } => hash,
            Wanted::Plan(digest) => Sha256(digest.0),
        };
        let Some(bytes) = bytes else {
            self.missing.insert(hash);
            return Ok(());
        };
        if protocol::hash::sha256(&[bytes]) != hash.0 {
            return Err(MirrorError::BadArtefact);
        }
        match wanted {
            Wanted::Policy { from_size, .. } => self.disk.store_policy(from_size, bytes)?,
            Wanted::Plan(_) => self.disk.store_artefact(hash, bytes)?,
        }
        Ok(())
    }

    /// What was missing is asked for again, on the next connection.
    pub(crate) fn ask_again(&mut self) {
        self.missing.clear();
    }

    /// Looks at a note's cosignatures. One that meets the policy of its size is kept for ever. Answers the size that it covers.
    ///
    /// # Errors
    /// [`MirrorError`] if it is no note of the log; [`MirrorError::Forked`] if it contradicts the mirror.
    pub(crate) fn observe(&mut self, bytes: &[u8]) -> Result<Option<u64>, MirrorError> {
        let read = self.read_note(bytes)?;
        let size = read.head().size;
        if size > self.size() || !self.missing_until(&read)?.is_empty() {
            return Ok(None);
        }
        let Some((from, policy)) = self.policies.iter().rev().find(|(from, _)| *from <= size) else { return Ok(None) };
        // A policy in force that the server does not show is no reason to go by the one before it.
        if self.history.policy().is_some_and(|(_, index)| index.0 < size && index.0.saturating_add(1) > *from) {
            return Ok(None);
        }
        let opened = policy.open_note(read.note).map_err(|_| MirrorError::BadNote)?;
        if !opened.has_quorum() {
            return Ok(None);
        }
        if size > self.published {
            self.disk.store_note(size, bytes)?;
            self.published = size;
        }
        Ok(Some(size))
    }

    /// The exact bytes of an entry.
    pub(crate) fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, MirrorError> {
        if index.0 >= self.size() {
            return Ok(None);
        }
        let bundle = self.disk.bundle(index.0, self.size())?;
        let at = usize::try_from(index.0 % u64::from(audit::tile::WIDTH)).unwrap_or(usize::MAX);
        Ok(bundle.into_iter().nth(at))
    }

    /// The first `size` entries in order, as far as they are mirrored; each bundle is read once, and one of them is in memory.
    pub(crate) fn entries(&self, size: u64) -> impl Iterator<Item = Result<(LeafIndex, Vec<u8>), MirrorError>> {
        let mut bundle = Vec::new().into_iter();
        (0..size.min(self.size())).map(move |index| -> Result<(LeafIndex, Vec<u8>), MirrorError> {
            if index.is_multiple_of(u64::from(audit::tile::WIDTH)) {
                bundle = self.disk.bundle(index, self.size())?.into_iter();
            }
            Ok((LeafIndex(index), bundle.next().ok_or(StoreError::Damaged(Item::Tile))?))
        })
    }

    /// An entry with the proof that it stands under the newest published checkpoint; nothing where that does not cover it.
    pub(crate) fn receipt(&self, index: LeafIndex) -> Result<Option<Receipt>, MirrorError> {
        let Some(bytes) = self.disk.published()?.filter(|_| index.0 < self.published) else { return Ok(None) };
        let note = self.read_note(&bytes)?;
        let Some(entry) = self.entry(index)? else { return Ok(None) };
        let tiles = TileHashes::new(&self.disk, self.size());
        let inclusion = prove_inclusion(&tiles, index.0, note.head().size).map_err(|_| MirrorError::Edge)?;
        Ok(Some(Receipt { entry, proof: TlogProof { index: index.0, inclusion, note: note.note } }))
    }

    /// The policy that judges a checkpoint of this size, as far as it is here.
    pub(crate) fn policy_at(&self, size: u64) -> Option<&Policy> {
        self.policies.iter().rev().find(|(from, _)| *from <= size).map(|(_, p)| p)
    }

    /// The text of the policy that judges the newest published checkpoint.
    pub(crate) fn policy_text(&self) -> Option<&str> {
        self.policy_at(self.published).map(Policy::text)
    }

    /// The exact bytes of a plan.
    pub(crate) fn plan_bytes(&self, digest: PlanDigest) -> Result<Option<Vec<u8>>, MirrorError> {
        Ok(self.disk.artefact(Sha256(digest.0), Plan::MAX_BYTES)?)
    }

    /// The root of our first `size` entries.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, MirrorError> {
        Ok(self.disk.root_at(size, self.size())?)
    }

    /// Proof from our own tiles that one of our trees is a prefix of another.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, MirrorError> {
        prove_consistency(&TileHashes::new(&self.disk, self.size()), old, new).map_err(|_| MirrorError::Edge)
    }

    #[cfg(test)]
    pub(crate) fn store_root(&self) -> std::path::PathBuf {
        self.home.mirror()
    }
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
