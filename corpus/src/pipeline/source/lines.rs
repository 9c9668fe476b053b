//! Rows that are lines: JSON Lines and plain text. Must not look into them.

use std::io::BufRead;
use std::sync::Arc;

use super::encoding::{Assumed, Known};
use super::{Batch, RawBody, RawRow, SourceError};
use crate::pipeline::parse::RowFault;
use crate::pipeline::rules::Input;

const BOM: &[u8] = b"\xef\xbb\xbf";
/// What stands for bytes that were no characters.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Hands out lines; blank ones are no rows. A line over the limit is passed over without being held.
pub(super) fn read(
    file: usize,
    source: &mut dyn BufRead,
    input: &Input,
    assumed: Assumed,
    take: &mut dyn FnMut(Batch) -> bool,
) -> Result<(), SourceError> {
    let none: Arc<[Option<usize>]> = Arc::from([]);
    let mut batch = Batch::new(file, &none);
    let mut line = 0u64;
    let replaced = assumed.encoding != Known::Utf8;
    loop {
        let start = batch.bytes.len();
        let whole = next(source, &mut batch.bytes, input.max_row_bytes).map_err(|source| SourceError::Io { line, source })?;
        let Some(whole) = whole else { break };
        line += 1;
        let mut begin = start;
        if line == 1 && batch.bytes[start..].starts_with(BOM) {
            begin += BOM.len();
        }
        if batch.bytes[begin..].ends_with(b"\r") {
            batch.bytes.pop();
        }
        let body = &batch.bytes[begin..];
        let fault = match () {
            () if !whole || body.len() > input.max_row_bytes => Some(RowFault::TooLong { max: input.max_row_bytes }),
            () if body.iter().all(u8::is_ascii_whitespace) => {
                batch.bytes.truncate(start);
                continue;
            }
            () if replaced && memchr::memmem::find(body, REPLACEMENT).is_some() => Some(RowFault::Encoding),
            () => None,
        };
        let end = batch.bytes.len();
        let body = match fault {
            Some(fault) => {
                batch.bytes.truncate(start);
                Err(fault)
            }
            None => Ok(RawBody::Line(begin..end)),
        };
        batch.rows.push(RawRow { line, body });
        if batch.is_full() && !take(std::mem::replace(&mut batch, Batch::new(file, &none))) {
            return Ok(());
        }
    }
    if !batch.rows.is_empty() {
        take(batch);
    }
    Ok(())
}

/// Appends the next line without `\n`; false if it was too long to be held, `None` at the end.
fn next(source: &mut dyn BufRead, out: &mut Vec<u8>, max: usize) -> std::io::Result<Option<bool>> {
    let start = out.len();
    // Room for a byte-order mark and CR beside the limit, which counts the content alone.
    let most = max.saturating_add(BOM.len() + 1);
    let (mut any, mut whole) = (false, true);
    loop {
        let chunk = source.fill_buf()?;
        if chunk.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = memchr::memchr(b'\n', chunk);
        let part = &chunk[..end.unwrap_or(chunk.len())];
        whole &= out.len() - start + part.len() <= most;
        if whole {
            out.extend_from_slice(part);
        } else {
            out.truncate(start);
        }
        let used = part.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}
