//! What all verbs print with: one JSON form (operations.md O3), trouble told once. Knows no verb.

use crate::verdict::SCHEMA_VERSION;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// How a verb prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// One object for programs
    Json,
}

/// Prints to stdout. A reader that went away is no failure of ours: the exit code still tells the verdict.
pub(super) fn print(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").unwrap_or(())
}

/// Tells people something that is no result.
pub(super) fn tell(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").unwrap_or(())
}

pub(super) fn print_json(status: &str, field: &str, value: &Value) {
    print(&json!({"schema_version": SCHEMA_VERSION, "status": status, field: value}).to_string())
}

/// Prints a result in the form asked for.
pub(super) fn answer(format: Format, good: bool, data: &Value, text: &str) {
    match format {
        Format::Table => print(text),
        Format::Json => print_json(if good { "ok" } else { "error" }, "data", data),
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What went wrong, for programs and people: a stable code, the clause that rules it, what to do.
#[derive(Clone, Copy)]
pub(super) struct Trouble {
    pub(super) code: &'static str,
    pub(super) clause: &'static str,
    pub(super) hint: &'static str,
}

impl Trouble {
    /// Trouble with what was given.
    pub(super) const fn input(clause: &'static str) -> Self {
        Self { code: "bad_input", clause, hint: "check the paths; see --help" }
    }
    /// Trouble with a file that shall be made.
    pub(super) const fn output(clause: &'static str) -> Self {
        Self { hint: "name a file that does not exist yet", ..Self::input(clause) }
    }
}

/// Writes a file that is not there yet. What lies under the name already, a key perhaps or an older proof, stays as it is.
pub(super) fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file looks like a whole one to whoever reads it next.
        std::fs::remove_file(path).unwrap_or(());
    }
    written
}

/// Tells of trouble once, with its causes, in the form asked for.
pub(super) fn trouble(format: Format, what: Trouble, error: &dyn std::error::Error) {
    let message = chain(error);
    match format {
        Format::Json => {
            let error = json!({"code": what.code, "message": message, "hint": what.hint, "clause": what.clause});
            print_json("error", "error", &error)
        }
        Format::Table => tell(&format!("concordat-audit: {message}\n{}", what.hint)),
    }
}
