//! Files to batches of raw rows, each with its line. Knows bytes and limits; must not know what a row means.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::parse::{Loose, RowFault};
use super::rules::{Format, Input, Quote};

pub mod encoding;
mod lines;
mod parquet;
mod table;

pub use encoding::Assumed;

/// Rows of a batch: enough to keep all processors busy, few enough to hold several batches.
pub const BATCH_ROWS: usize = 8192;
/// Bytes of a batch, or one row if that is longer.
pub const BATCH_BYTES: usize = 4 << 20;

/// Why a file cannot be read on. Lines and names of fields, never values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The system.
    #[error("the input cannot be read on after line {line}")]
    Io {
        /// Last line that was read.
        line: u64,
        /// The cause.
        source: io::Error,
    },
    /// Over `input.max_file_bytes`.
    #[error("the input has more than {max} bytes (input.max_file_bytes)")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// An encoding that is none of ours.
    #[error("the input looks like {guess}: set input.encoding to one of utf-8, gb18030, big5, utf-16le, utf-16be")]
    Encoding {
        /// Name of what was found.
        guess: &'static str,
    },
    /// A header that lacks columns.
    #[error("the header has no field `{name}`; it has {present}")]
    NoField {
        /// The column.
        name: String,
        /// Fields of the header, cut short.
        present: String,
    },
    /// A field twice.
    #[error("the header has the field `{name}` twice")]
    FieldTwice {
        /// The column.
        name: String,
    },
    /// No row at all where a header is needed.
    #[error("the input is empty: there is no header")]
    NoHeader,
    /// Behind a quote that does not end nobody knows where the next row begins.
    #[error(
        "the row at line {line} is longer than {max} bytes (input.max_row_bytes): is a quote never closed? input.quote = \"none\" takes quotes as they are"
    )]
    Unbounded {
        /// One-based line on which it begins.
        line: u64,
        /// The limit.
        max: usize,
    },
    /// A header that is no text, or too long.
    #[error("the header is not text in the assumed encoding, or has more than {max} fields")]
    BadHeader {
        /// Most fields.
        max: usize,
    },
    /// A Parquet file that is none.
    #[error("the input is no Parquet file that can be read: {what}")]
    Parquet {
        /// What is wrong, in our words.
        what: &'static str,
    },
}

/// One row as it stands in its file.
pub(super) struct RawRow {
    /// One-based line on which it begins; for Parquet its row.
    pub(super) line: u64,
    pub(super) body: Result<RawBody, RowFault>,
}

/// What a row is made of; ranges point into the batch.
pub(super) enum RawBody {
    /// One line.
    Line(Range<usize>),
    /// Ends of fields within the batch, the first field beginning at `start`.
    Fields { start: usize, ends: Vec<usize> },
    /// Typed by the file, in the order of the columns.
    Loose(Vec<Option<Loose>>),
}

/// Some rows of one file.
pub(super) struct Batch {
    /// Zero-based number of the file.
    pub(super) file: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) rows: Vec<RawRow>,
    /// For tables: for each field its column.
    pub(super) places: std::sync::Arc<[Option<usize>]>,
}

impl Batch {
    fn new(file: usize, places: &std::sync::Arc<[Option<usize>]>) -> Self {
        Self { file, bytes: Vec::new(), rows: Vec::new(), places: std::sync::Arc::clone(places) }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes.len() >= BATCH_BYTES
    }
}

/// Reads one file and hands out its batches in order; a taker that says no ends the reading.
pub(super) fn read(
    file: usize,
    source: Box<dyn Read + Send>,
    input: &Input,
    columns: &[&str],
    take: &mut dyn FnMut(Batch) -> bool,
) -> Result<Assumed, SourceError> {
    let separator = match input.format {
        Format::Parquet => return parquet::read(file, source, input, columns, take).map(|()| Assumed::TYPED),
        Format::Jsonl | Format::Text => None,
        Format::Csv => Some(b','),
        Format::Tsv => Some(b'\t'),
    };
    let limited = Limited { inner: source, left: input.max_file_bytes, over: false };
    let (assumed, mut decoded) = encoding::decoded(limited, input.encoding)?;
    let read = match separator {
        None => lines::read(file, &mut decoded, input, assumed, take),
        Some(separator) => table::read(file, &mut decoded, input, separator, columns, take),
    };
    if decoded.is_over() {
        return Err(SourceError::TooLarge { max: input.max_file_bytes });
    }
    read.map(|()| assumed)
}

/// Ends at the limit, and remembers that there was more.
pub(super) struct Limited {
    inner: Box<dyn Read + Send>,
    left: u64,
    over: bool,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut one = [0];
            self.over |= self.inner.read(&mut one)? > 0;
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.inner.read(&mut buffer[..most])?;
        self.left -= u64::try_from(got).unwrap_or(self.left);
        Ok(got)
    }
}

/// A source of text in UTF-8 whose end may be that of a limit.
trait Text: BufRead {
    fn is_over(&self) -> bool;
}

fn is_quoting(input: &Input) -> bool {
    input.quote == Quote::Double
}

#[cfg(test)]
mod tests;
