//! Vocabularies: bytes, characters, and subwords learnt from counts of words. Knows texts; must not know labels, models or who trained what.
//!
//! What is learnt from an institution's texts is itself data about them: such a vocabulary leaves the institution only if it was learnt from
//! counts that were summed with others' and noised (see `discover`), or from texts that are public.
//!
//! The hashed tokenizer of [`crate::tokenize`] needs no vocabulary and stays what plans use where none was learnt.

mod bytes;
mod character;
mod discover;
mod published;
mod subword;
mod words;

pub use bytes::byte_tokenizer;
pub use character::{CharacterTokenizer, MAX_CHARACTERS};
pub use discover::{Discovery, DiscoveryError, MAX_COORDINATES, MAX_UNIT_WORDS, Settings};
pub use published::Published;
pub use subword::{MAX_TOKENIZER_BYTES, Subword, SubwordError, SubwordKind};
pub use words::{WordCounts, WordRule, Words};

/// Ids that every tokenizer here shares.
pub mod special {
    /// Pads a batch; never comes out of encoding.
    pub const PADDING: u32 = 0;
    /// At the head of a sequence.
    pub const START: u32 = 1;
    /// What has no token.
    pub const UNKNOWN: u32 = 2;
    /// Between packed texts.
    pub const END: u32 = 3;
    /// Ids that are not text.
    pub const COUNT: u32 = 4;
    /// Their names in `tokenizer.json`, in order of their ids.
    pub const NAMES: [&str; 4] = ["<pad>", "<s>", "<unk>", "</s>"];
}

/// Turns texts into token ids and back as far as the vocabulary allows.
pub trait TextTokenizer {
    /// Ids of a text, without start and end: each below [`Self::vocab`] and none of them padding.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// The text of these ids; special ids say nothing, unknown bytes become the replacement character.
    fn decode(&self, ids: &[u32]) -> String;
    /// Number of ids, the special ones included.
    fn vocab(&self) -> u32;
    /// SHA-256 over everything that decides what [`Self::encode`] gives: what plans and manifests name.
    fn digest(&self) -> [u8; 32];
}

/// One token per byte of UTF-8: 256 and the special ones. Nothing is learnt and nothing is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteTokenizer;

impl TextTokenizer for ByteTokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(|b| special::COUNT + u32::from(b)).collect()
    }

    fn decode(&self, ids: &[u32]) -> String {
        let byte = |&id: &u32| id.checked_sub(special::COUNT).and_then(|b| u8::try_from(b).ok());
        String::from_utf8_lossy(&ids.iter().filter_map(byte).collect::<Vec<_>>()).into_owned()
    }

    fn vocab(&self) -> u32 {
        special::COUNT + 256
    }

    fn digest(&self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        Sha256::digest(b"concordat/corpus/byte-tokenizer/v1\0").into()
    }
}

#[cfg(test)]
mod tests;
