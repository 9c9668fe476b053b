//! `concordat-audit`: the command around the library. Knows only arguments, output and exit codes (audit.md A34, A38).

use auditor::show::ShowError;
use auditor::verdict::SCHEMA_VERSION;
use auditor::{Options, RecomputeError, Verdict, Wanted, recompute, show, table, verify};
use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::ids::{GroupId, RoundId, Sha256, TaskId};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Bad input or usage; also what `clap` exits with.
const TROUBLE: u8 = 2;
/// A bug of ours.
const BUG: u8 = 5;

/// Verifies the log of a Concordat federation, offline and without trust in its server
///
/// Exit codes: 0 all holds; 1 integrity failure; 3 invariant failure; 4 incomplete or below quorum; 2 bad input or usage; 5 a bug.
#[derive(Parser)]
#[command(name = "concordat-audit", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check a log directory from its trust document to its key sums
    Verify(VerifyArgs),
    /// Make a round's sums again from its sealed chunks, without any key, and compare them with the log
    Recompute(RecomputeArgs),
    /// Print one entry, and on request its proof
    Show(ShowArgs),
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// One object for programs
    Json,
}

#[derive(Args)]
struct VerifyArgs {
    /// The log: a server's `audit/`, a client's `mirror/`, or a copy
    dir: PathBuf,
    /// SHA-256 of the trust document, as known from elsewhere
    #[arg(long, value_name = "H")]
    trust_hash: Option<Sha256>,
    /// Cosigners that the newest checkpoint must have
    #[arg(long, value_name = "K")]
    quorum: Option<usize>,
    /// A note, or a directory with notes, to compare with; repeatable
    #[arg(long, value_name = "NOTE")]
    with: Vec<PathBuf>,
    /// Fail on what this version does not know
    #[arg(long)]
    strict: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Args)]
struct RecomputeArgs {
    /// The log: a server's `audit/`, a client's `mirror/`, or a copy
    dir: PathBuf,
    /// Sealed chunks by address, with the lists of each update: a server's `chunks/`, or a flat copy
    #[arg(long, value_name = "DIR")]
    chunks: PathBuf,
    /// The round
    #[arg(long, value_name = "R")]
    round: u64,
    /// The task, where the log has more than one
    #[arg(long, value_name = "T")]
    task: Option<TaskId>,
    /// Only this group
    #[arg(long, value_name = "G")]
    group: Option<u32>,
    /// SHA-256 of the trust document, as known from elsewhere
    #[arg(long, value_name = "H")]
    trust_hash: Option<Sha256>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Args)]
struct ShowArgs {
    /// The log
    dir: PathBuf,
    /// Leaf index, from 0
    index: u64,
    /// Print a checked `.tlog-proof` under the newest checkpoint
    #[arg(long)]
    proof: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = std::panic::catch_unwind(|| match cli.verb {
        Verb::Verify(args) => run_verify(&args),
        Verb::Recompute(args) => run_recompute(&args),
        Verb::Show(args) => run_show(&args),
    });
    // The panic's own message went to stderr; all that is left to say is whose fault it is.
    ExitCode::from(outcome.unwrap_or(BUG))
}

/// Prints to stdout. A reader that went away is no failure of ours: the exit code still tells the verdict.
fn print(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").unwrap_or(())
}

fn print_json(status: &str, field: &str, value: &Value) {
    print(&json!({"schema_version": SCHEMA_VERSION, "status": status, field: value}).to_string())
}

/// Tells of trouble once, with its causes, in the form asked for.
fn trouble(format: Format, code: &str, clause: &str, error: &dyn std::error::Error) {
    let causes = std::iter::successors(error.source(), |e| e.source());
    let message = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    match format {
        Format::Json => print_json("error", "error", &json!({"code": code, "message": message, "hint": "see --help", "clause": clause})),
        Format::Table => writeln!(std::io::stderr().lock(), "concordat-audit: {message}").unwrap_or(()),
    }
}

fn run_verify(args: &VerifyArgs) -> u8 {
    let options = Options { trust_hash: args.trust_hash, quorum: args.quorum, with: args.with.clone(), strict: args.strict };
    let verdict = match verify(&args.dir, &options) {
        Ok(verdict) => verdict,
        Err(e) => {
            trouble(args.format, "bad_input", "A38", &e);
            return TROUBLE;
        }
    };
    match args.format {
        Format::Table => print(&table::render(&verdict)),
        Format::Json => print_verdict(&verdict),
    }
    verdict.exit_code
}

fn print_verdict(verdict: &Verdict) {
    let status = if verdict.verified { "ok" } else { "error" };
    print_json(status, "data", &serde_json::to_value(verdict).unwrap_or(Value::Null));
}

fn run_recompute(args: &RecomputeArgs) -> u8 {
    let options = Options { trust_hash: args.trust_hash, ..Options::default() };
    let wanted = Wanted { task: args.task, round: RoundId(args.round), group: args.group.map(GroupId) };
    let made = match recompute::recompute(&args.dir, &args.chunks, wanted, &options, &progress) {
        Ok(made) => made,
        Err(e) => {
            let code = if matches!(e, RecomputeError::Verify(_) | RecomputeError::Chunks(_)) { "bad_input" } else { "not_found" };
            trouble(args.format, code, "A37", &e);
            return TROUBLE;
        }
    };
    let status = if made.exit_code == 0 { "ok" } else { "error" };
    match args.format {
        Format::Table => print(&recompute::render(&made)),
        Format::Json => print_json(status, "data", &serde_json::to_value(&made).unwrap_or(Value::Null)),
    }
    made.exit_code
}

/// Blocks done, on one line of a terminal; nothing where nobody looks.
fn progress(group: GroupId, done: u64, all: u64) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let end = if done == all { "\n" } else { "" };
        write!(stderr, "\rgroup {group}: block {done} of {all}{end}").and_then(|()| stderr.flush()).unwrap_or(());
    }
}

fn run_show(args: &ShowArgs) -> u8 {
    let shown = match show::show(&args.dir, args.index, args.proof) {
        Ok(shown) => shown,
        Err(e) => {
            trouble(args.format, "not_shown", "A39", &e);
            return if matches!(e, ShowError::Unproved(_)) { 1 } else { TROUBLE };
        }
    };
    let proof = shown.proof.map(|p| String::from_utf8_lossy(&p.encode()).into_owned());
    let text = String::from_utf8_lossy(&shown.entry).into_owned();
    match args.format {
        Format::Table => print(&[Some(text), proof].into_iter().flatten().collect::<Vec<_>>().join("\n\n")),
        Format::Json => {
            let entry: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            print_json("ok", "data", &json!({"entry": entry, "leaf_hash": shown.leaf_hash, "proof": proof}));
        }
    }
    0
}
