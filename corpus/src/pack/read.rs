//! Shards read back: mapped, not loaded. Knows a file handed to it. Everything in it is checked before the first row is given out.

use super::rows::Row;
use super::{HEADER, MAGIC, MAX_ROW, MAX_SHARD_BYTES, ROW_NUMBERS, token_bytes};
use crate::tokenizer::special;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Why a file is no shard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The file cannot be opened, measured or mapped.
    #[error("the shard cannot be read")]
    Io(#[from] io::Error),
    /// Not a shard, or one of another version.
    #[error("the file does not begin as a shard of version 1")]
    Magic,
    /// Shorter or longer than its header says.
    #[error("the shard has {got} bytes, expected {expected}")]
    Size {
        /// Of the file.
        got: u64,
        /// By the header; the smallest possible where there is none.
        expected: u64,
    },
    /// The header's checksum does not hold.
    #[error("the shard's header is damaged")]
    Header,
    /// A header that is whole and says what no shard has.
    #[error("the shard's numbers are outside the limits")]
    Limits,
    /// The body's checksum does not hold.
    #[error("the shard's body is damaged")]
    Body,
    /// A row whose length or tokens contradict the header.
    #[error("row {0} contradicts the header")]
    Row(u64),
    /// Made with another tokenizer than the plan's.
    #[error("the shard was cut by another tokenizer")]
    OtherTokenizer,
}

/// A checked shard.
pub struct Shard {
    bytes: Bytes,
    rows: usize,
    row: usize,
    width: usize,
    vocab: u32,
    tokenizer: [u8; 32],
}

enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard({} rows of {})", self.rows, self.row)
    }
}

/// The numbers of a header.
struct Header {
    rows: u64,
    row: u32,
    width: usize,
    vocab: u32,
    tokenizer: [u8; 32],
    body: [u8; 32],
}

impl Shard {
    /// Maps a file and checks all of it once: header, checksum, every row.
    ///
    /// # Errors
    /// [`ShardError`].
    ///
    /// # Security
    /// Works on untrusted bytes. The file must not be changed while it is mapped: it is the institution's own, written once and renamed into
    /// its place. Where that cannot be promised, read it and use [`Self::of_bytes`].
    #[expect(unsafe_code, reason = "a memory map is what lets data be larger than memory")]
    pub fn open(path: &Path) -> Result<Self, ShardError> {
        let file = File::open(path)?;
        let got = file.metadata()?.len();
        if !(HEADER as u64..=MAX_SHARD_BYTES).contains(&got) {
            return Err(ShardError::Size { got, expected: HEADER as u64 });
        }
        // SAFETY: the map is read only. Bytes are read as numbers, of which every pattern is one; nobody else writes to the file (above).
        let map = unsafe { Mmap::map(&file)? };
        Self::checked(Bytes::Mapped(map))
    }

    /// A shard from bytes in memory, with the same checks.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, ShardError> {
        Self::checked(Bytes::Held(bytes))
    }

    fn checked(bytes: Bytes) -> Result<Self, ShardError> {
        let all = bytes.all();
        let h = header(all)?;
        if blake3::hash(&all[HEADER..]).as_bytes() != &h.body {
            return Err(ShardError::Body);
        }
        let (rows, row) =
            (usize::try_from(h.rows).map_err(|_| ShardError::Limits)?, usize::try_from(h.row).map_err(|_| ShardError::Limits)?);
        let shard = Self { rows, row, width: h.width, vocab: h.vocab, tokenizer: h.tokenizer, bytes };
        for i in 0..rows {
            shard.check_row(i).ok_or(ShardError::Row(u64::try_from(i).unwrap_or(u64::MAX)))?;
        }
        Ok(shard)
    }

    /// Tokens up to the length are in the vocabulary and none is padding; behind them everything is.
    fn check_row(&self, i: usize) -> Option<()> {
        let len = self.length(i);
        let mut tokens = self.tokens(i);
        let sound = (1..=self.row).contains(&len)
            && tokens.by_ref().take(len).all(|t| t != special::PADDING && t < self.vocab)
            && tokens.all(|t| t == special::PADDING);
        sound.then_some(())
    }

    /// Refuses a shard that another tokenizer cut.
    ///
    /// # Errors
    /// [`ShardError::OtherTokenizer`].
    pub fn expect_tokenizer(&self, digest: [u8; 32]) -> Result<(), ShardError> {
        if self.tokenizer == digest { Ok(()) } else { Err(ShardError::OtherTokenizer) }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows
    }
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
    /// T: tokens of a row, padding included.
    pub fn row_len(&self) -> usize {
        self.row
    }
    /// Every token is below.
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    fn number(&self, column: usize, i: usize) -> u32 {
        let at = HEADER + (column * self.rows + i) * 4;
        let four = self.bytes.all()[at..at + 4].try_into().unwrap_or_default();
        u32::from_le_bytes(four)
    }

    fn length(&self, i: usize) -> usize {
        usize::try_from(self.number(2, i)).unwrap_or(usize::MAX)
    }

    /// All T tokens of a row, padding included.
    ///
    /// # Panics
    /// For a row that is not there.
    pub fn tokens(&self, i: usize) -> impl ExactSizeIterator<Item = u32> {
        let (start, bytes) = (HEADER + self.rows * ROW_NUMBERS + i * self.row * self.width, self.row * self.width);
        self.bytes.all()[start..start + bytes].chunks_exact(self.width).map(|token| {
            let mut four = [0; 4];
            four[..token.len()].copy_from_slice(token);
            u32::from_le_bytes(four)
        })
    }

    /// A row, or nothing where there is none.
    pub fn row(&self, i: usize) -> Option<Row> {
        let row = |i| Row { unit: self.number(0, i), class: self.number(1, i), tokens: self.tokens(i).take(self.length(i)).collect() };
        (i < self.rows).then(|| row(i))
    }
}

fn header(all: &[u8]) -> Result<Header, ShardError> {
    let got = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let Some(head) = all.get(..HEADER) else { return Err(ShardError::Size { got, expected: HEADER as u64 }) };
    if head[..8] != MAGIC {
        return Err(ShardError::Magic);
    }
    if blake3::hash(&head[..96]).as_bytes() != &head[96..] {
        return Err(ShardError::Header);
    }
    let four = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap_or_default());
    let hash = |at: usize| -> [u8; 32] { head[at..at + 32].try_into().unwrap_or_default() };
    let rows = u64::from_le_bytes(head[16..24].try_into().unwrap_or_default());
    let (width, row, vocab) = (four(8), four(12), four(24));
    let fits = (2..=MAX_ROW).contains(&row) && (special::COUNT + 1..=crate::tokenize::MAX_VOCAB).contains(&vocab) && four(28) == 0;
    if !fits || usize::try_from(width).ok() != Some(token_bytes(vocab)) {
        return Err(ShardError::Limits);
    }
    let each = ROW_NUMBERS as u64 + u64::from(row) * u64::from(width);
    let expected =
        rows.checked_mul(each).and_then(|b| b.checked_add(HEADER as u64)).filter(|b| *b <= MAX_SHARD_BYTES).ok_or(ShardError::Limits)?;
    if got != expected {
        return Err(ShardError::Size { got, expected });
    }
    Ok(Header { rows, row, width: token_bytes(vocab), vocab, tokenizer: hash(32), body: hash(64) })
}
