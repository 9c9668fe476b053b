//! The command line of the demo; and its other roles.

use crate::options::{Cli, Format, Options};
use crate::process::ROLE;
use crate::story;
use crate::watch::Eye;
use clap::Parser as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the demo, or one of its children; `args` begins with the program's name.
pub fn run(args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|a| a == ROLE) {
        return play(&args);
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; clap knows which stream and code.
            e.print().ok();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let format = cli.format;
    match Options::try_from(cli).map_err(anyhow::Error::from).and_then(|o| story::tell(&o)) {
        Ok(report) if report.is_sound() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(format, &error),
    }
}

/// A child: `concordat-demo __role server|client SIDE args…`.
fn play(args: &[OsString]) -> ExitCode {
    let role = args.get(2).and_then(|r| r.to_str()).unwrap_or_default();
    let side = args.get(3).map(PathBuf::from).unwrap_or_default();
    let rest = || std::iter::once(OsString::from(format!("concordat-{role}"))).chain(args.iter().skip(4).cloned());
    match role {
        "server" => server::cli::run(rest()),
        "client" => client::cli::run_observed(rest(), Box::new(Eye::new(&side))),
        _unknown => ExitCode::from(2),
    }
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
fn fail(format: Format, error: &anyhow::Error) -> ExitCode {
    let message = format!("{error:#}");
    match format {
        Format::Json => {
            let error = serde_json::json!({ "code": "trouble", "message": message });
            println!("{}", serde_json::json!({ "schema_version": 1, "status": "error", "error": error }));
        }
        Format::Table => eprintln!("error: {message}"),
    }
    ExitCode::from(2)
}
