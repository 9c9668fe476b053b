//! What a command answers with: one JSON object or a table on stdout, and an exit code (operations.md O3, O4).

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use serde_json::{Value, json};
use std::error::Error;
use std::io::{stderr, stdout};
use std::process::ExitCode;

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// One JSON object
    Json,
    /// As json; `train` also prints one object a line as it goes on
    Jsonl,
    /// A page that prints; `privacy statement` only
    Html,
}

/// What a command found.
#[derive(Debug)]
pub(super) struct Answer {
    rows: Vec<(String, String)>,
    data: Value,
    text: Option<String>,
    page: Option<String>,
    code: u8,
}

impl Answer {
    /// Names and values.
    pub(super) fn table<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let rows: Vec<(String, String)> = rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let data = rows.iter().map(|(k, v)| (k.replace(' ', "_"), Value::from(v.clone()))).collect::<serde_json::Map<_, _>>();
        Self { rows, data: Value::Object(data), text: None, page: None, code: 0 }
    }

    /// One sentence.
    pub(super) fn words(text: &str) -> Self {
        Self { rows: vec![(text.to_owned(), String::new())], data: json!({}), text: None, page: None, code: 0 }
    }

    /// Other data for JSON than the rows.
    pub(super) fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_value(data).unwrap_or(Value::Null);
        self
    }

    /// The same as running text, where rows would be too wide.
    pub(super) fn with_text(mut self, text: String) -> Self {
        self.text = Some(text);
        self
    }

    /// The same as a page.
    pub(super) fn with_page(mut self, page: String) -> Self {
        self.page = Some(page);
        self
    }

    /// Checked and false.
    pub(super) fn failed(mut self) -> Self {
        self.code = 1;
        self
    }

    /// Prints it.
    pub(super) fn print(&self, format: Format) -> ExitCode {
        let text = match format {
            Format::Json | Format::Jsonl => json!({ "schema_version": 1, "status": "ok", "data": self.data }).to_string(),
            Format::Html => match &self.page {
                Some(page) => page.clone(),
                None => return Failure::trouble_text("no_page", "this answer has no page").print(Format::Table),
            },
            Format::Table if self.text.is_some() => self.text.clone().unwrap_or_default(),
            Format::Table => {
                let mut table = Table::new();
                table.load_preset(NOTHING);
                self.rows.iter().for_each(|(k, v)| {
                    table.add_row([k, v]);
                });
                table.to_string()
            }
        };
        print(stdout(), &text);
        ExitCode::from(self.code)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
    exit: u8,
}

impl Failure {
    fn new(exit: u8, code: &'static str, error: &dyn Error) -> Self {
        Self { code, message: crate::agent::chain(error), hint: None, exit }
    }

    /// Refused with a reason.
    pub(super) fn refused(code: &'static str, error: &dyn Error) -> Self {
        Self::new(1, code, error)
    }
    /// As [`Self::refused`], without an error behind it.
    pub(super) fn refused_text(code: &'static str, message: &str) -> Self {
        Self { code, message: message.to_owned(), hint: None, exit: 1 }
    }
    /// Usage, settings, input.
    pub(super) fn trouble(code: &'static str, error: &dyn Error) -> Self {
        Self::new(2, code, error)
    }
    /// As [`Self::trouble`], without an error behind it.
    pub(super) fn trouble_text(code: &'static str, message: &str) -> Self {
        Self { code, message: message.to_owned(), hint: None, exit: 2 }
    }
    /// Not finished in time.
    pub(super) fn unfinished(code: &'static str, error: &dyn Error) -> Self {
        Self::new(3, code, error)
    }
    /// Not reachable.
    pub(super) fn unreachable(code: &'static str, error: &dyn Error) -> Self {
        Self::new(4, code, error)
    }
    /// A bug of ours.
    pub(super) fn bug(code: &'static str, error: &dyn Error) -> Self {
        Self::new(5, code, error)
    }
    /// Storage failed: start again.
    pub(super) fn storage(code: &'static str, error: &dyn Error) -> Self {
        Self::new(70, code, error)
    }

    /// What to do next.
    pub(super) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Prints it: JSON to stdout, words to stderr.
    pub(super) fn print(&self, format: Format) -> ExitCode {
        match format {
            Format::Json | Format::Jsonl => {
                let error = json!({ "code": self.code, "message": self.message, "hint": self.hint, "clause": Value::Null });
                print(stdout(), &json!({ "schema_version": 1, "status": "error", "error": error }).to_string());
            }
            Format::Table | Format::Html => {
                say(&format!("{}: {}", self.code, self.message));
                if let Some(hint) = self.hint {
                    say(&format!("hint: {hint}"));
                }
            }
        }
        ExitCode::from(self.exit)
    }
}

/// What clap has to say: help is an answer, the rest is trouble.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is lost if nobody reads the help.
    error.print().unwrap_or(());
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// A line for people on stderr.
pub(super) fn say(text: &str) {
    print(stderr(), text);
}

/// One line of a long command, on stdout, before its answer.
pub(super) fn line(data: &Value) {
    print(stdout(), &data.to_string());
}

/// A reader that went away is no failure of the command.
fn print(mut out: impl std::io::Write, text: &str) {
    writeln!(out, "{text}").unwrap_or(());
}
