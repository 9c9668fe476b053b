//! Rows: texts joined or padded to one length, and a shard's bytes made of them. Knows no file.

use super::{HEADER, MAGIC, MAX_ROW, MAX_SHARD_BYTES, ROW_NUMBERS, token_bytes};
use crate::tokenizer::special;

/// Class of a row that has none: texts for language models.
pub const NO_CLASS: u32 = u32::MAX;

/// One sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the unit in this data set: whose text it is. Means nothing outside.
    pub unit: u32,
    /// Class, or [`NO_CLASS`].
    pub class: u32,
    /// Tokens without padding: 1 to T of them.
    pub tokens: Vec<u32>,
}

/// Why a row is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// T outside 2..=8192, or a vocabulary outside 5..=2^20.
    #[error("rows of {row} tokens below {vocab}: expected 2 to 8192 tokens below 5 to 1048576")]
    Shape {
        /// T.
        row: u32,
        /// Vocabulary.
        vocab: u32,
    },
    /// No token, or more than T.
    #[error("a row has {got} tokens, expected 1 to {row}")]
    Length {
        /// Its tokens.
        got: usize,
        /// T.
        row: u32,
    },
    /// A token that is padding or not below the vocabulary: the tokenizer does not fit.
    #[error("token {got} is padding or not below the vocabulary of {vocab}")]
    Token {
        /// The token.
        got: u32,
        /// The vocabulary.
        vocab: u32,
    },
    /// The shard is full: finish it and begin the next.
    #[error("the shard has no room for another row")]
    Full,
}

/// Joins each unit's texts, with an end token behind each, and cuts them into rows of at most `row` tokens. Units come one after the other.
///
/// # Privacy
/// No row holds tokens of two units.
pub fn pack<'a>(texts: impl IntoIterator<Item = (u32, &'a [u32])>, row: u32) -> Vec<Row> {
    let size = usize::try_from(row.max(1)).unwrap_or(usize::MAX);
    let (mut out, mut open) = (Vec::new(), None::<Row>);
    for (unit, tokens) in texts {
        if open.as_ref().is_some_and(|r| r.unit != unit) {
            out.extend(open.take());
        }
        for token in tokens.iter().copied().chain([special::END]) {
            let row = open.get_or_insert_with(|| Row { unit, class: NO_CLASS, tokens: Vec::with_capacity(size) });
            row.tokens.push(token);
            if row.tokens.len() == size {
                out.extend(open.take());
            }
        }
    }
    out.extend(open);
    out
}

/// One row per text: a start token, then the text, cut at `row` tokens.
pub fn pad(unit: u32, class: u32, tokens: &[u32], row: u32) -> Row {
    let room = usize::try_from(row.saturating_sub(1)).unwrap_or(usize::MAX);
    let tokens = [special::START].into_iter().chain(tokens.iter().copied().take(room)).collect();
    Row { unit, class, tokens }
}

/// Collects rows and writes them out as one shard.
#[derive(Debug)]
pub struct ShardBuilder {
    row: u32,
    vocab: u32,
    tokenizer: [u8; 32],
    rows: Vec<Row>,
    most: usize,
}

impl ShardBuilder {
    /// An empty shard of rows of `row` tokens below `vocab`, cut by the tokenizer with this digest, of at most `max_bytes`.
    ///
    /// # Errors
    /// [`RowError::Shape`].
    pub fn new(row: u32, vocab: u32, tokenizer: [u8; 32], max_bytes: u64) -> Result<Self, RowError> {
        let fits = (2..=MAX_ROW).contains(&row) && (special::COUNT + 1..=crate::tokenize::MAX_VOCAB).contains(&vocab);
        if !fits {
            return Err(RowError::Shape { row, vocab });
        }
        let room = max_bytes.min(MAX_SHARD_BYTES).saturating_sub(HEADER as u64);
        let each = u64::try_from(ROW_NUMBERS).unwrap_or(0) + u64::from(row) * u64::try_from(token_bytes(vocab)).unwrap_or(4);
        let most = usize::try_from(room / each).unwrap_or(usize::MAX);
        Ok(Self { row, vocab, tokenizer, rows: Vec::new(), most })
    }

    /// Takes a row.
    ///
    /// # Errors
    /// [`RowError`]; the shard is unchanged.
    pub fn push(&mut self, row: Row) -> Result<(), RowError> {
        if row.tokens.is_empty() || u64::try_from(row.tokens.len()).unwrap_or(u64::MAX) > u64::from(self.row) {
            return Err(RowError::Length { got: row.tokens.len(), row: self.row });
        }
        if let Some(&got) = row.tokens.iter().find(|&&t| t == special::PADDING || t >= self.vocab) {
            return Err(RowError::Token { got, vocab: self.vocab });
        }
        if self.rows.len() >= self.most {
            return Err(RowError::Full);
        }
        self.rows.push(row);
        Ok(())
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The file, whole; the builder is empty and ready for the next shard.
    pub fn finish(&mut self) -> Vec<u8> {
        let rows = std::mem::take(&mut self.rows);
        let (width, size) = (token_bytes(self.vocab), usize::try_from(self.row).unwrap_or(usize::MAX));
        let mut body = Vec::with_capacity(rows.len() * (ROW_NUMBERS + size * width));
        let mut column = |of: &dyn Fn(&Row) -> u32| rows.iter().for_each(|r| body.extend(of(r).to_le_bytes()));
        column(&|r| r.unit);
        column(&|r| r.class);
        column(&|r| u32::try_from(r.tokens.len()).unwrap_or(u32::MAX));
        for r in &rows {
            let padding = std::iter::repeat_n(special::PADDING, size - r.tokens.len());
            r.tokens.iter().copied().chain(padding).for_each(|t| body.extend(&t.to_le_bytes()[..width]));
        }
        let mut file = MAGIC.to_vec();
        file.extend(u32::try_from(width).unwrap_or(4).to_le_bytes());
        file.extend(self.row.to_le_bytes());
        file.extend(u64::try_from(rows.len()).unwrap_or(u64::MAX).to_le_bytes());
        file.extend(self.vocab.to_le_bytes());
        file.extend([0; 4]);
        file.extend(self.tokenizer);
        file.extend(blake3::hash(&body).as_bytes());
        let seal = blake3::hash(&file);
        file.extend(seal.as_bytes());
        file.append(&mut body);
        file
    }
}
