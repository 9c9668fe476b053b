//! Tokens in files: sequences of one length, memory-mapped, checksummed. Knows token ids and numbers of units; must not know texts or labels'
//! names.
//!
//! ```text
//! encode -> pack (several texts of one unit per row) or pad (one text per row) -> ShardBuilder -> bytes -> Shard::open
//! ```
//!
//! Texts of two units never share a row: one unit's gradient must not depend on another's text (privacy.md D19, D32).
//!
//! The format, version 1, all numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `CNCTOK\x00\x01` |
//! | 8..12 | bytes of a token, 2 or 4 |
//! | 12..16 | T: tokens of a row |
//! | 16..24 | rows |
//! | 24..28 | vocabulary: every token is below |
//! | 28..32 | 0 |
//! | 32..64 | digest of the tokenizer |
//! | 64..96 | BLAKE3 of the body |
//! | 96..128 | BLAKE3 of bytes 0..96 |
//! | body | units (4 bytes per row), classes (4), lengths (4), then T tokens per row |

mod read;
mod rows;

pub use read::{Shard, ShardError};
pub use rows::{NO_CLASS, Row, RowError, ShardBuilder, pack, pad};

/// What a file of version 1 begins with.
const MAGIC: [u8; 8] = *b"CNCTOK\x00\x01";
/// Bytes of the header.
const HEADER: usize = 128;
/// Bytes of a row beside its tokens.
const ROW_NUMBERS: usize = 12;
/// Largest shard: larger data goes to more shards, and a checksum is one pass over at most this.
pub const MAX_SHARD_BYTES: u64 = 4 << 30;
/// Longest row, as [`crate::tokenize::MAX_TOKENS`].
pub const MAX_ROW: u32 = crate::tokenize::MAX_TOKENS;

/// Two bytes where the vocabulary allows.
fn token_bytes(vocab: u32) -> usize {
    if vocab <= 1 << 16 { 2 } else { 4 }
}

#[cfg(test)]
mod tests;
