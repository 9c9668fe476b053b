//! Commands of `concordat-client` (operations.md O1 to O5): parses, calls, prints one answer, and gives the exit code. Knows no protocol.

mod answer;
mod bar;
mod bench;
mod bench_clip;
mod bench_fit;
mod bench_noise;
mod bench_train;
mod budget;
mod counts;
mod data;
mod describe;
mod evaluate;
mod evidence;
mod keys;
mod label;
mod leave;
mod ledger;
pub(crate) mod privacy_audit;
mod privacy_figures;
mod release;
mod sidecar;
mod statement;
mod tokens;
mod train;
mod withdraw;

use crate::agent::{self, AgentError};
use crate::config::{Config, ConfigError, DataConfig};
use crate::data::DataSource;
use crate::files::{Item, Lock};
use crate::home::Home;
use crate::identity::Identity;
use crate::join::{JoinError, Waiting, join};
use crate::mirror::MirrorError;
use crate::observer::{Observer, Silent};
use crate::status::Status;
use answer::{Answer, Failure, Format};
use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// An institution in a Concordat federation
#[derive(Debug, Parser)]
#[command(name = "concordat-client", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Common {
    /// Directory of this institution: keys, mirror, ledger, settings
    #[arg(long, global = true, default_value = "concordat-client", value_name = "DIR")]
    dir: PathBuf,
    /// Settings file; client.toml in the directory unless given
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Filter of diagnostics on stderr, for example debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Join a federation with an enrolment token
    Join {
        /// The line that an administrator sent
        token: String,
        /// Seconds to wait for the administrators
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Take part: train, send, witness, open
    Run,
    /// Show where this institution stands
    Status,
    /// Privacy: figures, calibration, ledger, audit
    #[command(subcommand)]
    Privacy(budget::PrivacyVerb),
    /// The institution's records
    #[command(subcommand)]
    Data(data::DataVerb),
    /// Evidence for this institution's own regulator
    #[command(subcommand)]
    Evidence(evidence::EvidenceVerb),
    /// The institution's keys
    #[command(subcommand)]
    Keys(keys::KeysVerb),
    /// Leave the federation, for good
    ///
    /// The institution's own word, which nobody can take back: nothing more is accepted from it, in the round under way too. The directory
    /// stays; its ledger is the record of what was spent.
    Leave(leave::Leave),
    /// Train in one place, without privacy and without a federation
    Train(train::TrainArgs),
    /// What this machine does
    #[command(subcommand)]
    Bench(bench::BenchVerb),
}

/// Runs one command and gives its exit code. Answers go to stdout, everything else to stderr.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_observed(args, Box::new(Silent))
}

/// As [`run`], for a program that carries the client inside and watches its own institution.
pub fn run_observed(args: impl IntoIterator<Item = OsString>, observer: Box<dyn Observer>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return answer::usage(&error),
    };
    let format = cli.common.format;
    // Known before anything is done: only a statement is a page.
    if format == Format::Html && !matches!(cli.verb, Verb::Privacy(budget::PrivacyVerb::Statement(_))) {
        return Failure::trouble_text("bad_format", "html is for privacy statement only").print(Format::Table);
    }
    match dispatch(cli, observer) {
        Ok(answer) => answer.print(format),
        Err(failure) => failure.print(format),
    }
}

fn dispatch(cli: Cli, observer: Box<dyn Observer>) -> Result<Answer, Failure> {
    let home = Home::new(&cli.common.dir);
    match &cli.verb {
        Verb::Join { token, timeout } => {
            // A line that is no token is told before anything else is done.
            protocol::trust::Token::parse(token).map_err(|e| Failure::trouble("bad_token", &e))?;
            start_log(&cli.common, "warn");
            join_federation(&cli.common, token, Duration::from_secs(*timeout))
        }
        Verb::Run => {
            let config = settings(&cli.common)?;
            start_log(&cli.common, &config.log);
            // A machine that computes other bytes than everybody else must not seal or open (crypto.md C68).
            crypto::reference::self_check(&mut crate::clock::OsEntropy).map_err(|e| Failure::bug("self_check", &e))?;
            if !crypto::reference::stock_generator_runs() {
                tracing::warn!(
                    "no AES instructions: sealing takes the slower software path, and the stock library's masks are not compared"
                );
            }
            let run = agent::run(&cli.common.dir, config, observer);
            runtime()?.block_on(run).map_err(|e| run_failure(&e))?;
            Ok(Answer::words("stopped in order"))
        }
        Verb::Status => show_status(&home),
        Verb::Privacy(verb) => budget::run(&home, verb, &|| settings(&cli.common)),
        Verb::Train(args) => train::run(args, cli.common.format),
        Verb::Bench(verb) => bench::run(verb, &|| settings(&cli.common)),
        Verb::Evidence(verb) => evidence::run(&home, verb, || settings(&cli.common)),
        Verb::Keys(verb) => {
            start_log(&cli.common, "warn");
            keys::run(&home, *verb)
        }
        Verb::Leave(options) => {
            start_log(&cli.common, "warn");
            leave::run(&cli.common.dir, options)
        }
        Verb::Data(data::DataVerb::Check) => check_data(&settings(&cli.common)?),
        Verb::Data(data::DataVerb::Prepare(options)) => data::run(options, cli.common.config.as_deref()),
        Verb::Data(data::DataVerb::Make(options)) => data::make(options),
        Verb::Data(data::DataVerb::Label(verb)) => label::run(verb),
        Verb::Data(data::DataVerb::Tokenize(options)) => tokens::run(&settings(&cli.common)?, options),
        Verb::Data(data::DataVerb::Counts(options)) => counts::run(&home, options),
        Verb::Data(data::DataVerb::Evaluate(options)) => evaluate::run(&settings(&cli.common)?, options),
        Verb::Data(data::DataVerb::Describe(options)) => describe::run(&home, &settings(&cli.common)?, options),
        Verb::Data(data::DataVerb::Withdraw(options)) => withdraw::run(&home, &settings(&cli.common)?, options),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| Failure::bug("no_runtime", &e))
}

/// The settings; a directory without the file has the defaults (operations.md O11).
fn settings(common: &Common) -> Result<Config, Failure> {
    let path = common.config.clone().unwrap_or_else(|| Home::new(&common.dir).settings());
    match Config::load(&path) {
        Ok(config) => Ok(config),
        Err(ConfigError::Store(e)) if e.is_absent() && common.config.is_none() => {
            Config::parse("").map_err(|e| Failure::trouble("bad_settings", &e))
        }
        Err(e) => Err(Failure::trouble("bad_settings", &e)),
    }
}

/// The records that the settings name.
fn named_records(config: &Config) -> Result<&DataConfig, Failure> {
    let none = || Failure::trouble_text("no_data", "the settings name no records").hint("add a [data] section to client.toml");
    config.data.as_ref().ok_or_else(none)
}

/// What a directory is that has no identity or no keys.
fn not_joined(error: &dyn Error) -> Failure {
    Failure::trouble("not_joined", error).hint("run concordat-client join first")
}

/// The directory, for this process alone.
fn alone(home: &Home) -> Result<Lock, Failure> {
    Lock::take(&home.lock(), Item::Identity).map_err(|e| Failure::trouble("bad_directory", &e).hint("end concordat-client run first"))
}

/// Diagnostics go to stderr: for people on a terminal, else as JSON lines.
fn start_log(common: &Common, default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(common.log.as_deref().unwrap_or(default)).unwrap_or_else(|_| "info".into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
    // A program that carries the client inside may have its own subscriber.
    started.unwrap_or(());
}

fn join_federation(common: &Common, token: &str, patience: Duration) -> Result<Answer, Failure> {
    let mut show = |waiting: Waiting<'_>| match waiting {
        Waiting::Fingerprint(digits) => answer::say(&format!("trust document {digits}: compare with an administrator by another channel")),
        Waiting::Pending(digits) => answer::say(&format!("request {digits} is recorded; waiting for the administrators")),
    };
    let joined = runtime()?.block_on(join(&common.dir, token, patience, &mut show));
    let joined = joined.map_err(|e| join_failure(&e))?;
    Ok(Answer::table([
        ("federation", joined.identity.federation.clone()),
        ("institution", joined.identity.institution.clone()),
        ("client", joined.identity.client.to_hex()),
        ("next", "edit site_policy.toml and client.toml, then concordat-client run".to_owned()),
    ]))
}

fn join_failure(error: &JoinError) -> Failure {
    match error {
        JoinError::StillPending => Failure::unfinished("still_pending", error),
        JoinError::Rejected(reason) => Failure::refused(reason.name(), error),
        JoinError::Token(_) => Failure::trouble("bad_token", error),
        JoinError::OtherRoot
        | JoinError::OtherTrust
        | JoinError::Chain(_)
        | JoinError::NotAdmitted
        | JoinError::Trust(_)
        | JoinError::Entry(_)
        | JoinError::Tls(_) => Failure::refused("not_trusted", error),
        JoinError::Endpoint(_) | JoinError::Lost(_) | JoinError::Frame(_) | JoinError::TimedOut | JoinError::Unexpected => {
            Failure::unreachable("not_reachable", error)
        }
        JoinError::OtherEnrolment | JoinError::Keys(_) | JoinError::Store(_) => Failure::trouble("bad_directory", error),
    }
}

fn run_failure(error: &AgentError) -> Failure {
    if error.is_storage() {
        return Failure::storage("storage_failed", error);
    }
    match error {
        AgentError::Mirror(MirrorError::Forked { .. } | MirrorError::RetiredKey { .. }) | AgentError::FalseReceipt => {
            Failure::refused("log_contradicts", error)
        }
        AgentError::Store(e) if e.is_absent() => not_joined(error),
        AgentError::Mirror(_)
        | AgentError::Witness(_)
        | AgentError::Vault(_)
        | AgentError::Ledger(_)
        | AgentError::Store(_)
        | AgentError::Keys(_)
        | AgentError::Certificate(_)
        | AgentError::Prepare(_)
        | AgentError::Signals(_)
        | AgentError::Entropy(_) => Failure::trouble("bad_directory", error),
        AgentError::Barred(_) => Failure::refused("membership_over", error).hint(
            "to take part again: a new invitation, and join in a new directory; keep this one, its ledger is the record of what was spent",
        ),
        AgentError::Data(_) => Failure::trouble("bad_data", error).hint("concordat-client data check says more"),
        AgentError::NothingToSpend => Failure::trouble("bad_site_policy", error),
    }
}

fn show_status(home: &Home) -> Result<Answer, Failure> {
    let status = match Status::load(home) {
        Ok(status) => status,
        // Joined but never run is a state as well.
        Err(e) if e.is_absent() => {
            let identity = Identity::load(home).map_err(|e| not_joined(&e))?;
            Status {
                federation: identity.federation,
                institution: identity.institution,
                client: identity.client.short(),
                server: identity.server,
                duty: "never run".to_owned(),
                ..Status::default()
            }
        }
        Err(e) => return Err(Failure::trouble("bad_directory", &e)),
    };
    let none = || "-".to_owned();
    let rows = [
        ("federation", status.federation.clone()),
        ("institution", format!("{} ({})", status.institution, status.client)),
        ("server", format!("{} ({})", status.server, if status.linked { "linked" } else { "not linked" })),
        (
            "log",
            format!("{} entries mirrored, {} witnessed, {} cosigned here", status.log_size, status.witnessed_size, status.cosigned_size),
        ),
        ("trust document", status.trust.as_ref().map_or_else(none, |words| format!("{words}, since entry {}", status.trust_since))),
        ("task", status.task.clone().unwrap_or_else(none)),
        ("round", status.round.map_or_else(none, |r| r.to_string())),
        ("duty", status.duty.clone()),
        ("training", status.training.map_or_else(none, |t| t.to_string())),
        ("last receipt", status.last_receipt.map_or_else(none, |r| format!("entry {r}"))),
        ("epsilon", format!("{} of {}", status.epsilon.clone().unwrap_or_else(none), status.epsilon_cap.clone().unwrap_or_else(none))),
        ("certificate", certificate(status.certificate_until_ms)),
        ("alarms", if status.alarms.is_empty() { "none".to_owned() } else { status.alarms.join("; ") }),
    ];
    Ok(Answer::table(rows).with_data(&status))
}

/// When the TLS certificate runs out, in words.
fn certificate(until_ms: u64) -> String {
    let until = i64::try_from(until_ms).ok().filter(|ms| *ms > 0).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    until.map_or_else(|| "-".to_owned(), |t| format!("holds until {t}; a linked client has it renewed before"))
}

fn check_data(config: &Config) -> Result<Answer, Failure> {
    let report = DataSource::check(named_records(config)?).map_err(|e| Failure::refused("bad_data", &e))?;
    let rows = report.rows();
    Ok(Answer::table(rows.iter().map(|(k, v)| (k.as_str(), v.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(args: &[&str]) -> ExitCode {
        run(args.iter().map(OsString::from))
    }

    #[test]
    fn the_commands_are_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_and_missing_enrolment_are_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().to_str().unwrap();
        let trouble = format!("{:?}", ExitCode::from(2));
        assert_eq!(format!("{:?}", code(&["c", "frobnicate"])), trouble);
        assert_eq!(format!("{:?}", code(&["c", "--dir", dir, "status"])), trouble);
        assert_eq!(format!("{:?}", code(&["c", "--dir", dir, "join", "no-token"])), trouble);
        assert_eq!(format!("{:?}", code(&["c", "--dir", dir, "data", "check"])), trouble);
        assert_eq!(format!("{:?}", code(&["c", "--help"])), format!("{:?}", ExitCode::SUCCESS));
    }
}
