//! Which keys sign the log, and how one hands over to the next (audit.md A14): the batch that ends with the entry which puts a key in force has a
//! tree that both keys sign. Everything that a crash can come before is made again from the entries, until the older key is erased.

use super::{Log, LogError, read_optional};
use crate::durable;
use crate::edges::reached;
use crate::keyring::KeyRing;
use audit::checkpoint::Checkpoint;
use audit::key::{SignerKey, VerifierKey};
use audit::keys::LogKeys;
use audit::note::Note;
use audit::reader::handover_path;
use audit::tree::TreeHead;
use protocol::history::History;
use std::path::PathBuf;

impl Log {
    /// The note of the tree has every signature that a tree of its size takes. A handover that has one of two gets the other: the same tree,
    /// so that no key states anything else than before.
    pub(super) fn complete_note(&mut self) -> Result<(), LogError> {
        let head = self.writer.head();
        if head.size == 0 {
            return Ok(());
        }
        let note = Note::parse(&self.note).ok();
        if note.as_ref().and_then(|n| self.keys.signed(n)) == Some(head) {
            return Ok(());
        }
        if note.and_then(|n| self.keys.signed_by_any(&n).map(|(stated, _)| stated)) != Some(head) {
            return Err(LogError::Inconsistent("the tree file is not a note of this log"));
        }
        let whole = self.sign(head)?.encode();
        let tree = self.root.join(".state/tree");
        durable::replace(&tree, &whole).map_err(|source| LogError::Storage { path: tree, source })?;
        self.note = whole;
        Ok(())
    }

    /// The notes by which the log's keys handed over lie beside it, each with both signatures. Until then no key of them is erased, so that
    /// one that a crash came before is made again: of a tree that both keys have signed or would have.
    pub(super) fn keep_handovers(&self) -> Result<(), LogError> {
        for (size, _) in self.keys.handovers() {
            if self.kept_handover(size)?.is_some() {
                continue;
            }
            let path = self.root.join(handover_path(size));
            let root = self.root_at(size)?.ok_or(LogError::Inconsistent("a key took over where there is no entry"))?;
            let note = self.sign(TreeHead { size, root })?;
            durable::replace(&path, &note.encode()).map_err(|source| LogError::Storage { path: path.clone(), source })?;
            reached("handed-over", &path);
        }
        Ok(())
    }

    /// The note of this size with both signatures, if it lies beside the log.
    fn kept_handover(&self, size: u64) -> Result<Option<Note>, LogError> {
        let note = read_optional(&self.root.join(handover_path(size)))?.and_then(|bytes| Note::parse(&bytes).ok());
        Ok(note.filter(|note| self.keys.signed(note).is_some_and(|head| head.size == size)))
    }

    /// Signs a tree of ours with every key that signs one of its size. A handover that is kept has its signatures for ever.
    ///
    /// # Security
    /// The guard of the keys has moved to this tree or to one that goes on from it.
    pub(super) fn sign(&self, head: TreeHead) -> Result<Note, LogError> {
        let unfit = || LogError::Inconsistent("the log key is not of this federation");
        let checkpoint = Checkpoint { origin: self.keys.name().to_owned(), head };
        let hands_over = self.keys.handovers().any(|(size, _)| size == head.size);
        let kept = if hands_over { self.kept_handover(head.size)? } else { None };
        if let Some(kept) = kept.filter(|note| self.keys.signed(note) == Some(head)) {
            return Ok(kept);
        }
        let mut note: Option<Note> = None;
        for key in self.keys.signers(head.size) {
            let own = if key == self.signer.verifier() {
                checkpoint.sign(&self.signer)
            } else {
                checkpoint.sign(&find(&self.ring, key, head.size)?)
            };
            let own = own.map_err(|_| unfit())?;
            match note.as_mut() {
                Some(note) => note.add(own.lines()).map_err(|_| unfit())?,
                None => note = Some(own),
            }
        }
        note.ok_or_else(unfit)
    }

    /// Goes over to another key of the log, where the batch about to be written puts one in force with its last entry: its tree is the one that
    /// both keys sign. Says whether it does.
    pub(super) fn take_over(&mut self, size: u64) -> Result<bool, LogError> {
        if self.history.log_vkeys().count() == self.keys.all().count() {
            return Ok(false);
        }
        let keys = keys_of(&self.history)?;
        if keys.handovers().last().map(|(at, _)| at) != Some(size) {
            return Err(LogError::Inconsistent("a key of the log takes over in the middle of a batch"));
        }
        self.signer = find(&self.ring, keys.newest(), size)?;
        self.keys = keys;
        Ok(true)
    }

    /// The first note larger than a tree of `after` entries by which one key handed over to the next.
    pub(crate) fn handover(&self, after: u64) -> Result<Option<Vec<u8>>, LogError> {
        let next = self.keys.handovers().find(|(size, _)| *size > after);
        next.map_or(Ok(None), |(size, _)| read_optional(&self.root.join(handover_path(size))))
    }

    /// Erases the keys that have nothing left to sign now that a quorum covers `covered` entries: whoever cosigned them read the note by which the
    /// key handed over.
    pub(crate) fn retire(&self, covered: u64) -> Result<(), LogError> {
        for (key, (size, _)) in self.keys.retired(covered).zip(self.keys.handovers()) {
            if self.kept_handover(size)?.is_none() {
                return Err(LogError::Inconsistent("the note by which a key of the log handed over is damaged"));
            }
            let erased = self.ring.erase(key).map_err(|source| LogError::Storage { path: PathBuf::from("keys"), source })?;
            if erased {
                tracing::warn!(%key, "a key of the log that has handed over is erased");
            }
        }
        Ok(())
    }

    /// Whether a key is here with its private half.
    pub(crate) fn holds(&self, key: &VerifierKey) -> bool {
        self.ring.find(key).is_ok_and(|found| found.is_some())
    }
}

/// The keys of the log, by what its entries say.
pub(crate) fn keys_of(history: &History) -> Result<LogKeys, LogError> {
    LogKeys::of(history.log_vkeys()).map_err(|_| LogError::Inconsistent("a trust document names no key of the log"))
}

pub(super) fn find(ring: &KeyRing, key: &VerifierKey, size: u64) -> Result<SignerKey, LogError> {
    let found = ring.find(key).map_err(|source| LogError::Storage { path: PathBuf::from("keys"), source })?;
    found.ok_or(LogError::Key(size))
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
