//! What commands print, and the codes they end with (operations.md O3, O4, O6).

use super::Format;
use crate::admin::{AdminError, Refusal};
use serde::Serialize;
use std::process::ExitCode;

/// Where results go.
pub(crate) struct Output(Format);

/// Why a command did not do what it was asked, with its exit code.
pub(crate) struct Failure {
    code: u8,
    name: &'static str,
    error: anyhow::Error,
}

impl Failure {
    /// Checked, and refused with a reason.
    pub(crate) fn refused(reason: Refusal) -> Self {
        Self { code: 1, name: "refused", error: reason.into() }
    }
    /// Checked, and false.
    pub(crate) fn checked(name: &'static str, error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, name, error: error.into() }
    }
    /// Usage, configuration or input.
    pub(crate) fn trouble(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, name: "trouble", error: error.into() }
    }
    /// Input that cannot be read.
    pub(crate) fn input(error: anyhow::Error) -> Self {
        Self { code: 2, name: "input", error }
    }
    /// Not finished in the time given; nothing is lost, the same command goes on.
    pub(crate) fn unfinished(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 3, name: "unfinished", error: error.into() }
    }
    /// No server answers.
    pub(crate) fn unreachable(error: AdminError) -> Self {
        Self { code: 4, name: "unreachable", error: error.into() }
    }
    /// The daemon ended: storage failures ask to be started again (70).
    pub(crate) fn daemon(error: anyhow::Error) -> Self {
        let code = if error.downcast_ref::<crate::driver::DriverError>().is_some() { 70 } else { 2 };
        Self { code, name: "daemon", error }
    }
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self(format)
    }

    /// Prints a result: the envelope of O3, or words.
    #[expect(clippy::print_stdout, reason = "the command's own output")]
    pub(crate) fn value<T: Serialize>(&self, data: &T, text: &str) {
        match self.0 {
            Format::Json => println!("{}", serde_json::json!({ "schema_version": 1, "status": "ok", "data": data })),
            Format::Table => println!("{text}"),
        }
    }

    pub(crate) fn done(&self, text: &str) {
        self.value(&serde_json::json!({}), text);
    }

    /// Prints a failure with its whole chain of causes, once.
    #[expect(clippy::print_stdout, reason = "the command's own output")]
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let message = format!("{:#}", failure.error);
        match self.0 {
            Format::Json => {
                let error = serde_json::json!({ "code": failure.name, "message": message });
                println!("{}", serde_json::json!({ "schema_version": 1, "status": "error", "error": error }));
            }
            Format::Table => eprintln!("error: {message}"),
        }
        ExitCode::from(failure.code)
    }
}

/// Logs go to stderr: as JSON unless a person reads them (O24). The filter is `CONCORDAT_LOG`.
pub(crate) fn start_logging() {
    use std::io::IsTerminal as _;
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("CONCORDAT_LOG").unwrap_or_else(|_| "info,quinn=warn,rustls=warn,sled=warn".into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first subscriber.
    let started = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
    started.ok();
}
