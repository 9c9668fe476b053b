//! Exact de-duplication on the normal form. Must not keep the texts: digests are enough.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sha2::{Digest, Sha256};

use crate::clean::normal_form;

/// What a text is to those seen before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its normal form is new.
    New,
    /// Seen before, with the same label.
    Duplicate,
    /// Seen before, with another label. The first label stands.
    ConflictingLabel,
}

/// Remembers the SHA-256 of every normal form, and of the label it came with.
///
/// # Privacy
/// Unkeyed digests of short texts can be guessed from the outside: they stay in memory of the institution and are not written.
#[derive(Default)]
pub struct Deduplicator {
    labels: BTreeMap<[u8; 32], [u8; 32]>,
}

impl Deduplicator {
    /// Has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of `text` with `label`, and says whether it was there before.
    pub fn note(&mut self, text: &str, label: &str) -> Seen {
        let label = sha256(label.as_bytes());
        match self.labels.entry(text_digest(text)) {
            Entry::Vacant(free) => {
                free.insert(label);
                Seen::New
            }
            Entry::Occupied(first) if *first.get() == label => Seen::Duplicate,
            Entry::Occupied(_) => Seen::ConflictingLabel,
        }
    }

    /// Distinct normal forms so far.
    pub fn distinct(&self) -> usize {
        self.labels.len()
    }
}

/// SHA-256 of the normal form of `text`.
pub fn text_digest(text: &str) -> [u8; 32] {
    sha256(normal_form(text).as_bytes())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_width_or_spaces_are_one() {
        let mut seen = Deduplicator::new();
        assert_eq!(seen.note("验证码 １２３", "a"), Seen::New);
        assert_eq!(seen.note("验证码  123\u{200b}", "a"), Seen::Duplicate);
        assert_eq!(seen.note("验证码 123", "b"), Seen::ConflictingLabel);
        assert_eq!(seen.note("验证码 124", "b"), Seen::New);
        assert_eq!(seen.distinct(), 2);
    }
}
