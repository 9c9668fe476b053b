//! Another key of the log, as its entries put it in force (audit.md A14): the tree that ends with that entry is signed by both keys, and the
//! note that is goes with the mirror for ever, for whoever knows the older key only. Knows no connection.

use super::{LogNote, Mirror, MirrorError};
use crate::files::{self, Item, StoreError};
use audit::key::VerifierKey;
use audit::keys::LogKeys;
use audit::note::{MAX_NOTE_BYTES, Note};
use audit::reader::HANDOVERS;
use protocol::history::History;
use protocol::trust::BadTrust;

/// Most notes that a server is shown at the beginning of a connection: the newest ones, each of which proves the older ones.
const MAX_SHOWN: usize = 16;

/// The log's keys, by what its entries say so far.
pub(super) fn keys(history: &History) -> Result<LogKeys, StoreError> {
    LogKeys::of(history.log_vkeys()).map_err(|_| StoreError::Damaged(Item::TrustDocument))
}

impl Mirror {
    /// Goes on with another key of the log, where the entry just folded put one in force, and with the witness policy for it: the same one, of the
    /// same words of administrators, with the log's new key in it.
    pub(super) fn take_over(&mut self) -> Result<(), MirrorError> {
        let next = self.history.log_vkeys().nth(self.log.all().count());
        let Some((size, vkey)) = next.map(|(size, vkey)| (size, vkey.parse::<VerifierKey>())) else { return Ok(()) };
        self.log.hand_over(size, vkey.map_err(|_| BadTrust)?).map_err(|_| BadTrust)?;
        tracing::warn!(index = size.saturating_sub(1), "the log is signed with another key from this entry on");
        match self.history.policy() {
            Some((_, index)) if self.policies.last().is_some_and(|(from, _)| *from > index.0) => self.policy_for(size),
            // One that is not here is asked for again, and this is done then.
            Some(_) | None => Ok(()),
        }
    }

    /// The last policy, for the key that takes over at this size.
    pub(super) fn policy_for(&mut self, size: u64) -> Result<(), MirrorError> {
        let Some((_, last)) = self.policies.last() else { return Ok(()) };
        let next = last.with_log(self.log.at(size)).map_err(|_| MirrorError::BadArtefact)?;
        self.disk.store_policy(size, next.text().as_bytes())?;
        self.policies.push((size, next));
        Ok(())
    }

    /// Keeps the note that we stand at, where it is the one by which one key handed over to the next.
    pub(super) fn keep_handover(&self) -> Result<(), MirrorError> {
        let size = self.size();
        if !self.log.handovers().any(|(at, _)| at == size) {
            return Ok(());
        }
        let Some(own) = self.stored_note()?.filter(|own| self.log.signed(own.note()).is_some()) else { return Ok(()) };
        Ok(self.disk.store_handover(size, &own.note().encode())?)
    }

    /// The note that the mirror was brought to, as it was stored.
    pub(super) fn stored_note(&self) -> Result<Option<LogNote>, MirrorError> {
        let bytes = files::read_if_there(&self.home.mirror_note(), MAX_NOTE_BYTES, Item::Note)?;
        bytes.map(|bytes| LogNote::parse(&bytes)).transpose()
    }

    /// Looks at a note again whose tree is folded: only now it is known which key signs a tree of its size.
    ///
    /// # Errors
    /// [`MirrorError::BadNote`] for a handover that lacks a signature; [`MirrorError::RetiredKey`] where a key signed that had handed over. That
    /// note is kept for ever, as one that contradicts the mirror is.
    pub(crate) fn judge_again(&self, note: &LogNote) -> Result<(), MirrorError> {
        let size = note.head().size;
        let hands_over = self.log.handovers().any(|(at, _)| at == size);
        match (self.log.signed(note.note()), hands_over) {
            // Also where it came first with one of the two signatures only.
            (Some(_), true) => return Ok(self.disk.store_handover(size, &note.note().encode())?),
            (Some(_), false) => return Ok(()),
            (None, true) => return Err(MirrorError::BadNote),
            (None, false) => {}
        }
        files::replace(&self.home.evidence().join(format!("{size:020}-retired.note")), &note.note().encode(), Item::Note)?;
        Err(MirrorError::RetiredKey { size })
    }

    /// The notes by which the log's keys handed over, for `Hello` (A32): a server that does not know the key of our last note knows the key that
    /// signed the first of these beyond its own log.
    pub(crate) fn handover_notes(&self) -> Result<Vec<Vec<u8>>, MirrorError> {
        let dir = self.home.mirror().join(HANDOVERS);
        let mut names = files::names(&dir, Item::Note)?;
        names.sort_unstable();
        let newest = names.len().saturating_sub(MAX_SHOWN);
        let read = |name: &String| files::read(&dir.join(name), MAX_NOTE_BYTES, Item::Note).map_err(MirrorError::from);
        names.iter().skip(newest).map(read).collect()
    }
}

impl LogNote {
    /// A note that states a tree; nobody's signature is looked at.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MirrorError> {
        let note = Note::parse(bytes).map_err(|_| MirrorError::BadNote)?;
        let checkpoint = note.text().parse().map_err(|_| MirrorError::BadNote)?;
        Ok(Self { note, checkpoint })
    }
}
