//! One item per line. Knows no tool.

use super::value::{Object, object};
use super::{ImportError, Imported, Item, ItemError, MAX_ITEM_BYTES};
use crate::read::BadLines;
use std::io::{self, BufRead, Read as _};

/// Reads lines and gives each to `parse`. Blank lines are no items; a byte-order mark and CRLF are accepted.
pub(super) fn import(
    mut source: impl BufRead,
    bad: BadLines,
    parse: impl Fn(u64, &Object) -> Result<Item, ItemError>,
) -> Result<Imported, ImportError> {
    let (mut out, mut line, mut item) = (Imported::default(), Vec::new(), 0u64);
    loop {
        line.clear();
        let whole = next(&mut source, &mut line).map_err(|source| ImportError::Io { item, source })?;
        if line.is_empty() {
            return Ok(out);
        }
        let bytes = line.strip_prefix(b"\xef\xbb\xbf".as_slice()).filter(|_| item == 0).unwrap_or(&line);
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        item += 1;
        let found = if whole { parse_bytes(bytes, item, &parse) } else { Err(ItemError::TooLong) };
        out.take(item, found, bad)?;
    }
}

fn parse_bytes(bytes: &[u8], item: u64, parse: &impl Fn(u64, &Object) -> Result<Item, ItemError>) -> Result<Item, ItemError> {
    let value = serde_json::from_slice(bytes).map_err(|_| ItemError::NotAnObject)?;
    parse(item, object(&value)?)
}

/// The next line; whether it is whole, for one over the limit is passed over.
fn next(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let limit = u64::try_from(MAX_ITEM_BYTES + 1).unwrap_or(u64::MAX);
    source.by_ref().take(limit).read_until(b'\n', line)?;
    if line.len() <= MAX_ITEM_BYTES || line.ends_with(b"\n") {
        return Ok(true);
    }
    loop {
        let chunk = source.fill_buf()?;
        let end = chunk.iter().position(|&b| b == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        source.consume(used);
        if end.is_some() || used == 0 {
            return Ok(false);
        }
    }
}
