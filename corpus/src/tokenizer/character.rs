//! One token per character of a fixed list. Knows the list, no text.

use super::{TextTokenizer, special};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Most characters of a list: Unicode assigns fewer than 2^18.
pub const MAX_CHARACTERS: usize = 1 << 18;

/// Characters with their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharacterTokenizer {
    list: Vec<char>,
    ids: BTreeMap<char, u32>,
}

impl CharacterTokenizer {
    /// Of these characters in this order; the second of two equal ones and what is beyond [`MAX_CHARACTERS`] is left out.
    ///
    /// # Privacy
    /// The list is part of the tokenizer and goes where it goes: public characters, or those of counts that carry noise.
    ///
    /// # Panics
    /// Never: the list is far shorter than 2^32.
    pub fn new(characters: impl IntoIterator<Item = char>) -> Self {
        let (mut list, mut ids) = (Vec::new(), BTreeMap::new());
        for c in characters.into_iter().take(MAX_CHARACTERS) {
            let next = special::COUNT + u32::try_from(list.len()).expect("a list has at most 2^18 characters");
            if let Entry::Vacant(slot) = ids.entry(c) {
                slot.insert(next);
                list.push(c);
            }
        }
        Self { list, ids }
    }
}

impl TextTokenizer for CharacterTokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        text.chars().map(|c| self.ids.get(&c).copied().unwrap_or(special::UNKNOWN)).collect()
    }

    fn decode(&self, ids: &[u32]) -> String {
        let one = |&id: &u32| match id {
            special::UNKNOWN => Some(char::REPLACEMENT_CHARACTER),
            _ => self.list.get(usize::try_from(id.checked_sub(special::COUNT)?).ok()?).copied(),
        };
        ids.iter().filter_map(one).collect()
    }

    fn vocab(&self) -> u32 {
        special::COUNT + u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"concordat/corpus/character-tokenizer/v1\0");
        self.list.iter().for_each(|&c| hash.update(u32::from(c).to_be_bytes()));
        hash.finalize().into()
    }
}
