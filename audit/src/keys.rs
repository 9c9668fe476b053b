//! Which key of a log signs which tree (A14): one key after the other, each from a size on. The tree at which a key takes over carries its
//! signature and that of the key before it; smaller trees are the older key's, larger ones the newer one's. The origin stays. Knows no entry:
//! whoever reads the log says at which size that was.

use crate::checkpoint::Checkpoint;
use crate::key::{KeyType, VerifierKey};
use crate::note::Note;
use crate::tree::TreeHead;

/// The keys of one log, in the order in which they sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    first: VerifierKey,
    /// The sizes at which keys take over, rising.
    later: Vec<(u64, VerifierKey)>,
}

/// Why a key does not take over; the keys are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHandover {
    /// No key, or one that signs no notes.
    #[error("not a key that signs notes")]
    NoKey,
    /// A key of another name.
    #[error("the key is another log's")]
    OtherLog,
    /// A key that signed before: which trees are its own could not be told.
    #[error("the key has signed this log before")]
    Repeated,
    /// Not after the handover before it.
    #[error("a key takes over at size {got}, which is not above {above}")]
    Size {
        /// The size.
        got: u64,
        /// Where the key before it took over.
        above: u64,
    },
}

impl LogKeys {
    /// A log that one key signs.
    pub fn new(first: VerifierKey) -> Self {
        Self { first, later: Vec::new() }
    }

    /// Reads keys in their text form, each with the size at which it takes over; that of the first one is not looked at.
    ///
    /// # Errors
    /// [`BadHandover`].
    pub fn of<'a>(vkeys: impl IntoIterator<Item = (u64, &'a str)>) -> Result<Self, BadHandover> {
        let key = |vkey: &str| vkey.parse::<VerifierKey>().ok().filter(|k| k.kind() == KeyType::Note).ok_or(BadHandover::NoKey);
        let mut vkeys = vkeys.into_iter();
        let (_, first) = vkeys.next().ok_or(BadHandover::NoKey)?;
        let mut keys = Self::new(key(first)?);
        for (size, vkey) in vkeys {
            keys.hand_over(size, key(vkey)?)?;
        }
        Ok(keys)
    }

    /// From the tree of `size` on, which the key before it signs too, `to` signs.
    ///
    /// # Errors
    /// [`BadHandover`].
    pub fn hand_over(&mut self, size: u64, to: VerifierKey) -> Result<(), BadHandover> {
        let above = self.later.last().map_or(0, |(size, _)| *size);
        if to.kind() != KeyType::Note {
            return Err(BadHandover::NoKey);
        }
        if to.name() != self.name() {
            return Err(BadHandover::OtherLog);
        }
        if self.all().any(|k| k.public() == to.public()) {
            return Err(BadHandover::Repeated);
        }
        if size <= above {
            return Err(BadHandover::Size { got: size, above });
        }
        self.later.push((size, to));
        Ok(())
    }

    /// The log's name, that of every key.
    pub fn name(&self) -> &str {
        self.first.name()
    }

    /// Every key, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &VerifierKey> + Clone {
        std::iter::once(&self.first).chain(self.later.iter().map(|(_, key)| key))
    }

    /// The key that signs from now on.
    pub fn newest(&self) -> &VerifierKey {
        self.later.last().map_or(&self.first, |(_, key)| key)
    }

    /// Where keys took over, and which, in order.
    pub fn handovers(&self) -> impl Iterator<Item = (u64, &VerifierKey)> {
        self.later.iter().map(|(size, key)| (*size, key))
    }

    /// The key that signs a tree of `size`: the newer one where two do.
    pub fn at(&self, size: u64) -> &VerifierKey {
        self.later.iter().rev().find(|(from, _)| *from <= size).map_or(&self.first, |(_, key)| key)
    }

    /// The keys that sign a tree of `size`, older first: two where one takes over from the other.
    pub fn signers(&self, size: u64) -> impl Iterator<Item = &VerifierKey> {
        let older = self.later.iter().any(|(from, _)| *from == size).then(|| self.at(size.saturating_sub(1)));
        older.into_iter().chain([self.at(size)])
    }

    /// The keys that sign nothing larger than `size`, because another one took over at it or below.
    pub fn retired(&self, size: u64) -> impl Iterator<Item = &VerifierKey> {
        let now = self.at(size);
        self.all().take_while(move |key| *key != now)
    }

    /// The tree that a note states, if it is one of this log with every signature that a tree of its size takes.
    pub fn signed(&self, note: &Note) -> Option<TreeHead> {
        let head = self.stated(note)?;
        self.signers(head.size).all(|key| is_by(note, key)).then_some(head)
    }

    /// The tree that a note states, and the first of the log's keys, of whatever time, that signed it.
    pub fn signed_by_any(&self, note: &Note) -> Option<(TreeHead, &VerifierKey)> {
        let head = self.stated(note)?;
        self.signers_of(note).next().map(|key| (head, key))
    }

    /// Those of the log's keys, of whatever time, that signed a note.
    pub fn signers_of(&self, note: &Note) -> impl Iterator<Item = &VerifierKey> {
        self.all().filter(move |key| is_by(note, key))
    }

    fn stated(&self, note: &Note) -> Option<TreeHead> {
        let checkpoint: Checkpoint = note.text().parse().ok()?;
        (checkpoint.origin == self.name()).then_some(checkpoint.head)
    }
}

impl From<VerifierKey> for LogKeys {
    fn from(first: VerifierKey) -> Self {
        Self::new(first)
    }
}

/// Whether a key signed a note, and every line that claims to be by it holds.
pub(crate) fn is_by(note: &Note, key: &VerifierKey) -> bool {
    note.verify([key]).is_ok_and(|v| !v.is_empty())
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
