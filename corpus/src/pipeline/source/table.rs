//! Rows of fields: CSV and TSV, as RFC 4180 has them or with quotes as plain characters. Must not know what a field means.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::{Batch, RawBody, RawRow, SourceError, is_quoting};
use crate::pipeline::parse::RowFault;
use crate::pipeline::rules::Input;

/// What stands for bytes that were no characters.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
/// Names of a header that an error repeats, and characters of each: a whole message in a header must not get into a log.
const SHOWN: (usize, usize) = (16, 24);

struct Table<'a> {
    source: &'a mut dyn BufRead,
    reader: Reader,
    input: &'a Input,
    /// Fields and their ends as the state machine writes them.
    scratch: Vec<u8>,
    ends: Vec<usize>,
}

/// One row's place in the bytes of its batch.
struct Record {
    line: u64,
    start: usize,
    ends: Vec<usize>,
    fault: Option<RowFault>,
}

pub(super) fn read(
    file: usize,
    source: &mut dyn BufRead,
    input: &Input,
    delimiter: u8,
    columns: &[&str],
    take: &mut dyn FnMut(Batch) -> bool,
) -> Result<(), SourceError> {
    // A carriage return alone ends no row: it stands in many a text.
    let reader = ReaderBuilder::new().delimiter(delimiter).quoting(is_quoting(input)).terminator(Terminator::Any(b'\n')).build();
    let mut table = Table { source, reader, input, scratch: vec![0; 16 * 1024], ends: vec![0; input.max_fields + 1] };
    let names = if input.header { table.header()? } else { input.fields.clone() };
    let places = places(&names, columns)?;
    let mut batch = Batch::new(file, &places);
    while let Some(Record { line, start, ends, fault }) = table.next(&mut batch.bytes)? {
        let end = ends.last().copied().unwrap_or(start);
        if fault.is_none() && ends.len() == 1 && end == start && places.len() > 1 {
            continue;
        }
        let marked = || memchr::memmem::find(&batch.bytes[start..end], REPLACEMENT).is_some().then_some(RowFault::Encoding);
        let body = match fault.or_else(marked) {
            Some(fault) => {
                batch.bytes.truncate(start);
                Err(fault)
            }
            None => Ok(RawBody::Fields { start, ends }),
        };
        batch.rows.push(RawRow { line, body });
        if batch.is_full() && !take(std::mem::replace(&mut batch, Batch::new(file, &places))) {
            return Ok(());
        }
    }
    if !batch.rows.is_empty() {
        take(batch);
    }
    Ok(())
}

/// For each field its column. Every column must be there.
pub(super) fn places(names: &[String], columns: &[&str]) -> Result<Arc<[Option<usize>]>, SourceError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|n| columns.contains(&n.as_str()) && !seen.insert(n.as_str())) {
        return Err(SourceError::FieldTwice { name: twice.clone() });
    }
    if let Some(missing) = columns.iter().find(|c| !names.iter().any(|n| n == *c)) {
        let cut = |n: &String| n.chars().take(SHOWN.1).collect::<String>();
        let present: Vec<String> = names.iter().take(SHOWN.0).map(cut).collect();
        return Err(SourceError::NoField { name: (*missing).to_owned(), present: format!("{present:?}") });
    }
    Ok(names.iter().map(|n| columns.iter().position(|c| c == n)).collect())
}

impl Table<'_> {
    fn header(&mut self) -> Result<Vec<String>, SourceError> {
        let max = self.input.max_fields;
        let mut bytes = Vec::new();
        let Some(Record { start, ends, fault, .. }) = self.next(&mut bytes)? else { return Err(SourceError::NoHeader) };
        let text = std::str::from_utf8(&bytes).ok().filter(|_| fault.is_none()).ok_or(SourceError::BadHeader { max })?;
        let mut from = start;
        let mut names = Vec::new();
        for end in ends {
            names.push(text.get(from..end).ok_or(SourceError::BadHeader { max })?.trim().to_owned());
            from = end;
        }
        Ok(names)
    }

    /// The next row, its fields appended to `out` one behind another.
    fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Record>, SourceError> {
        let start = out.len();
        let (mut ends, mut fields, mut inside, mut too_long) = (Vec::new(), 0usize, 0u64, false);
        loop {
            let line = self.reader.line();
            let chunk = self.source.fill_buf().map_err(|source| SourceError::Io { line, source })?;
            let (result, read, written, ended) = self.reader.read_record(chunk, &mut self.scratch, &mut self.ends);
            let by_newline = read > 0 && chunk[read - 1] == b'\n';
            self.source.consume(read);
            inside += newlines(&self.scratch[..written]);
            if !too_long {
                out.extend_from_slice(&self.scratch[..written]);
            }
            fields += ended;
            if fields <= self.input.max_fields {
                ends.extend(self.ends[..ended].iter().map(|end| start + end));
            }
            // A carriage return before the line's end is not counted.
            if out.len() - start > self.input.max_row_bytes + 1 {
                if is_quoting(self.input) {
                    // The last newline may end the row, or lie inside it and be counted already.
                    let ended = u64::from(by_newline && result == ReadRecordResult::Record);
                    let line = self.reader.line().saturating_sub(inside + ended);
                    return Err(SourceError::Unbounded { line, max: self.input.max_row_bytes });
                }
                too_long = true;
                out.truncate(start);
            }
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => {
                    let line = self.reader.line().saturating_sub(inside + u64::from(by_newline));
                    let fault = match () {
                        () if too_long => Some(RowFault::TooLong { max: self.input.max_row_bytes }),
                        () if fields > self.input.max_fields => Some(RowFault::FieldCount { got: fields, expected: self.input.max_fields }),
                        () => None,
                    };
                    return Ok(Some(framed(out, Record { line, start, ends, fault })));
                }
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX)
}

/// Without the carriage return at the end of the last field.
fn framed(out: &mut Vec<u8>, mut record: Record) -> Record {
    let before = record.ends.len().checked_sub(2).map_or(record.start, |at| record.ends[at]);
    if let Some(last) = record.ends.last_mut()
        && record.fault.is_none()
        && *last > before
        && out.last() == Some(&b'\r')
    {
        out.pop();
        *last -= 1;
    }
    record
}
