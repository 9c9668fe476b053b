//! The command around the library. Knows only arguments, output and exit codes (audit.md A34, A38, A39).

mod args;
mod bench;
mod compare;
mod evidence;
mod export;
mod log;
mod model;
mod output;
mod proofs;
mod report;
mod review;
mod sums;
mod watch;

use args::{Cli, ProofVerb, Verb};
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Checked and false.
const REFUSED: u8 = 1;
/// Bad input or usage; also what `clap` exits with.
const TROUBLE: u8 = 2;
/// A bug of ours.
const BUG: u8 = 5;

/// Runs the command and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no failure; a reader that went away is none of ours.
            e.print().unwrap_or(());
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(TROUBLE));
        }
    };
    // The panic's own message went to stderr; all that is left to say is whose fault it is.
    ExitCode::from(std::panic::catch_unwind(|| dispatch(&cli.verb)).unwrap_or(BUG))
}

fn dispatch(verb: &Verb) -> u8 {
    match verb {
        Verb::Verify(args) => log::verify(args),
        Verb::Show(args) => log::show(args),
        Verb::Recompute(args) => sums::recompute(args),
        Verb::Export(args) => export::run(args),
        Verb::Report(args) => report::run(args),
        Verb::Diff(args) => compare::diff(args),
        Verb::VerifyEvidence(args) => evidence::run(args),
        Verb::VerifyModel(args) => model::run(args),
        Verb::Watch(args) => watch::run(args),
        Verb::Review(args) => review::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::Prove(args) => proofs::prove(args),
        Verb::Proof { verb: ProofVerb::Check(args) } => proofs::check(args),
    }
}
