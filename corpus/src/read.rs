//! Reads JSON Lines into records. Knows bytes, limits and field names; must not put the value of any field into an error.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::record::{Language, Record};
use crate::report::{RejectReason, Report};

mod line;

pub use line::{FieldNames, FieldRole, JsonKind, LineError};
pub(crate) use line::{object, user};

/// Most records of one file: what fits the memory of a small institution's machine (a few kilobytes each).
pub const MAX_RECORDS: usize = 5_000_000;

/// Most skipped lines that are named one by one; the rest is only counted.
pub const MAX_NAMED_SKIPS: usize = 100;

/// What to do with a line that is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLines {
    /// Leave it out, name and count it.
    Skip,
    /// Stop at the first one.
    Fatal,
}

/// Which fields hold what, and how strict to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Field of the text.
    pub text_field: String,
    /// Field of the label: a string, an integer, or a list of labelled parts of the text.
    pub label_field: String,
    /// Field of the user, a string or an integer, where the unit of privacy is the user.
    pub user_field: Option<String>,
    /// What to do with bad lines.
    pub bad_lines: BadLines,
    /// Longest line, in bytes without its end. Nothing longer is held in memory.
    pub max_line_bytes: usize,
}

impl Default for ReadOptions {
    /// `text` and `label`, no user, the first bad line is fatal, lines up to 64 KiB.
    fn default() -> Self {
        Self {
            text_field: "text".into(),
            label_field: "label".into(),
            user_field: None,
            bad_lines: BadLines::Fatal,
            max_line_bytes: 64 * 1024,
        }
    }
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedLine {
    /// One-based number of the line.
    pub line: u64,
    /// Why.
    pub reason: LineError,
}

/// What a file held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The records, in order.
    pub records: Vec<Record>,
    /// The first [`MAX_NAMED_SKIPS`] lines that were left out.
    pub skipped: Vec<SkippedLine>,
    /// Kept and left out, all of them, by reason.
    pub report: Report,
}

/// Why a file could not be read. Paths, line numbers and field names, never values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be opened.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// As handed in.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file could not be read on.
    #[error("cannot read line {line}")]
    Io {
        /// One-based number of the line.
        line: u64,
        /// The cause.
        source: io::Error,
    },
    /// A bad line, where bad lines are fatal.
    #[error("line {line} is not a record")]
    BadLine {
        /// One-based number of the line.
        line: u64,
        /// Why.
        source: LineError,
    },
    /// Every line was left out: most likely the wrong file, or the wrong field names.
    #[error("none of {lines} lines is a record; the first bad one is line {first}")]
    NothingUsable {
        /// Lines left out.
        lines: u64,
        /// One-based number of the first of them.
        first: u64,
        /// Why the first one was.
        source: LineError,
    },
    /// No line at all.
    #[error("there are no records")]
    Empty,
    /// More than [`MAX_RECORDS`].
    #[error("there are more than {max} records")]
    TooManyRecords {
        /// The limit.
        max: usize,
    },
}

/// Reads the file at `path`, as [`read_jsonl`] does.
///
/// # Errors
/// [`ReadError`]: see its variants.
pub fn load_jsonl(path: &Path, options: &ReadOptions) -> Result<Loaded, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    read_jsonl(BufReader::new(file), options)
}

/// Reads records, one JSON object per line. A byte-order mark, CRLF and blank lines are accepted. A field `language` holding
/// `zh` or `en` is taken along.
///
/// # Errors
/// [`ReadError`]: the source fails, a line is bad where that is fatal, no line is a record, or there are too many.
///
/// # Security
/// Works on untrusted bytes: never more than one line of the limit is held beside the records.
pub fn read_jsonl(source: impl BufRead, options: &ReadOptions) -> Result<Loaded, ReadError> {
    let mut loaded = Loaded::default();
    for_each_line(source, options.max_line_bytes, |line, bytes| {
        match bytes.and_then(|bytes| line::parse(bytes, options)) {
            Ok(None) => {}
            Ok(Some(_)) if loaded.records.len() == MAX_RECORDS => return Err(ReadError::TooManyRecords { max: MAX_RECORDS }),
            Ok(Some(record)) => loaded.records.push(record),
            Err(source) if options.bad_lines == BadLines::Fatal => return Err(ReadError::BadLine { line, source }),
            Err(reason) => loaded.skip(line, reason),
        }
        Ok(())
    })?;
    loaded.finish()
}

/// Hands every line to `take` with its one-based number, without its end, or says that it is too long. Holds one line.
pub(crate) fn for_each_line(
    mut source: impl BufRead,
    max_line_bytes: usize,
    mut take: impl FnMut(u64, Result<&[u8], LineError>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut buffer = Vec::new();
    let mut line = 0u64;
    loop {
        line += 1;
        match next_line(&mut source, &mut buffer, max_line_bytes).map_err(|source| ReadError::Io { line, source })? {
            NextLine::End => return Ok(()),
            NextLine::TooLong => take(line, Err(LineError::TooLong { max: max_line_bytes }))?,
            NextLine::Whole => take(line, Ok(without_frame(&buffer, line)))?,
        }
    }
}

impl Loaded {
    fn skip(&mut self, line: u64, reason: LineError) {
        self.report.reject(RejectReason::from(&reason));
        if self.skipped.len() < MAX_NAMED_SKIPS {
            self.skipped.push(SkippedLine { line, reason });
        }
    }

    fn finish(mut self) -> Result<Self, ReadError> {
        self.report.kept = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        if !self.records.is_empty() {
            return Ok(self);
        }
        let lines = self.report.total_rejected();
        match self.skipped.into_iter().next() {
            Some(SkippedLine { line: first, reason: source }) => Err(ReadError::NothingUsable { lines, first, source }),
            None => Err(ReadError::Empty),
        }
    }
}

enum NextLine {
    Whole,
    TooLong,
    End,
}

/// Puts the next line, without `\n`, into `buffer`. A line over the limit is passed over without being held.
fn next_line(source: &mut impl BufRead, buffer: &mut Vec<u8>, max_line_bytes: usize) -> io::Result<NextLine> {
    buffer.clear();
    let (mut any, mut too_long) = (false, false);
    // Room for a byte-order mark and CR beside the limit, which counts the content alone.
    let max_held = max_line_bytes.saturating_add(BOM.len() + 1);
    loop {
        let chunk = match source.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() && !any {
            return Ok(NextLine::End);
        }
        any = true;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        too_long |= buffer.len().saturating_add(part.len()) > max_held;
        if !too_long {
            buffer.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some() || used == 0 {
            too_long |= without_frame(buffer, 1).len() > max_line_bytes;
            return Ok(if too_long { NextLine::TooLong } else { NextLine::Whole });
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The line without CR and, on the first line, without a byte-order mark.
fn without_frame(bytes: &[u8], line: u64) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if line == 1 { bytes.strip_prefix(BOM).unwrap_or(bytes) } else { bytes }
}

fn language_of(value: Option<&serde_json::Value>) -> Option<Language> {
    value.and_then(serde_json::Value::as_str).and_then(Language::from_code)
}

#[cfg(test)]
mod tests;
