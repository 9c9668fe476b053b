//! Entries for other tools (audit.md A41, A42): the same facts in four forms. Judges nothing: a log is verified first, and again by its
//! root when its entries have been read a second time.

mod csv;
mod ocsf;
mod prov;

use crate::dir::{Directory, ReadError};
use crate::entries::{self, WalkError};
use crate::select::{BadSelection, Selected, Selection};
use crate::verdict::Verdict;
use crate::verify::{Options, VerifyError, verify_with};
use audit::hash::leaf_hash;
use protocol::entry::LogEntry;
use protocol::ids::ClientId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The leaves, one on a line.
    JsonLines,
    /// Fixed columns.
    Csv,
    /// One OCSF 1.8 event on a line.
    Ocsf,
    /// One PROV-JSON document.
    ProvJson,
}

/// What is done with a log that does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing is exported.
    Refuse,
    /// Every row is marked as unverified.
    Mark,
}

/// Why nothing, or not everything, was exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no verdict.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The log does not verify.
    #[error("the log does not verify, so nothing was exported: {}", .0.sentence())]
    Unverified(Box<Verdict>),
    /// The choice fits nothing that exists.
    #[error(transparent)]
    Selection(#[from] BadSelection),
    /// Entries could not be read again or written.
    #[error(transparent)]
    Walk(#[from] WalkError),
}

impl From<ReadError> for ExportError {
    fn from(e: ReadError) -> Self {
        Self::Walk(e.into())
    }
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// Rows, or things of a PROV document.
    pub rows: u64,
    /// The verdict over the log.
    pub verdict: Verdict,
}

/// One entry on its way out.
struct Row<'a> {
    index: u64,
    bytes: &'a [u8],
    entry: Option<&'a LogEntry>,
    kind: &'a str,
    names: &'a BTreeMap<ClientId, String>,
    verified: bool,
}

impl Row<'_> {
    fn leaf(&self) -> String {
        leaf_hash(self.bytes).to_string()
    }
    /// The leaf as JSON; the text of what is none.
    fn value(&self) -> Value {
        serde_json::from_slice(self.bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(self.bytes).into_owned()))
    }
    fn name(&self) -> &str {
        let who = self.entry.and_then(|e| e.institution);
        who.and_then(|w| self.names.get(&w)).map_or("", String::as_str)
    }
}

/// The type that bytes state, as far as they are JSON.
fn stated_kind(bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    value.get("type").and_then(Value::as_str).unwrap_or("unknown").to_owned()
}

/// Verifies the log in `dir` and writes the entries that `selection` names to `out`.
///
/// # Errors
/// [`ExportError`]. What was written before an error is incomplete and must not be used.
///
/// # Privacy
/// Whatever the log holds; by A22 that is no record, no label and no name of a data set.
pub fn export(
    dir: &Path,
    options: &Options,
    form: Form,
    selection: &Selection,
    doubt: Doubt,
    out: &mut impl Write,
) -> Result<Exported, ExportError> {
    let (verdict, document) = verify_with(dir, options, |fold, _| {
        let names = names(fold.history());
        let document = (form == Form::ProvJson).then(|| selection.resolve(&names).map(|s| prov::document(fold.history(), &s)));
        (names, document)
    })?;
    if !verdict.verified && doubt == Doubt::Refuse {
        return Err(ExportError::Unverified(Box::new(verdict)));
    }
    let (names, document) = document.unwrap_or_default();
    if form == Form::ProvJson {
        let document = document.transpose()?.unwrap_or_default();
        let rows = document.write(verdict.verified, out).map_err(WalkError::Write)?;
        return Ok(Exported { rows, verdict });
    }
    let selected = selection.resolve(&names)?;
    let rows = rows(&Directory::open(dir)?, &verdict, (form, &names, &selected), out)?;
    Ok(Exported { rows, verdict })
}

pub(crate) fn names(history: &protocol::history::History) -> BTreeMap<ClientId, String> {
    history.members().iter().map(|(id, m)| (*id, m.name.clone())).collect()
}

fn rows(
    log: &Directory,
    verdict: &Verdict,
    (form, names, selected): (Form, &BTreeMap<ClientId, String>, &Selected),
    out: &mut impl Write,
) -> Result<u64, WalkError> {
    if form == Form::Csv {
        writeln!(out, "{}", csv::HEAD)?;
    }
    let mut written = 0;
    // Without a verdict that holds there is no root to come back to; rows are marked instead.
    let root = verdict.root.as_deref().filter(|_| verdict.verified);
    entries::walk(log, verdict.tree_size, root, |index, bytes| {
        let entry = LogEntry::parse(bytes).ok();
        let kind = entry.as_ref().map_or_else(|| stated_kind(bytes), |e| e.kind().name().to_owned());
        if !selected.has(&kind, entry.as_ref()) {
            return Ok(());
        }
        written += 1;
        let row = Row { index, bytes, entry: entry.as_ref(), kind: &kind, names, verified: verdict.verified };
        match form {
            Form::JsonLines if verdict.verified => {
                out.write_all(bytes)?;
                out.write_all(b"\n")
            }
            Form::JsonLines => writeln!(out, "{}", json!({"verified": false, "index": index, "entry": row.value()})),
            Form::Csv => writeln!(out, "{}", csv::line(&row)),
            Form::Ocsf => writeln!(out, "{}", ocsf::event(&row)),
            Form::ProvJson => Ok(()),
        }
    })?;
    out.flush()?;
    Ok(written)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod valid_tests;
