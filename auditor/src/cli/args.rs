//! Arguments of every verb. Knows nothing of what the verbs do.

use super::output::Format;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use protocol::ids::{Sha256, TaskId};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Verifies the log of a Concordat federation, offline and without trust in its server
///
/// Exit codes: 0 all holds; 1 integrity failure; 3 invariant failure; 4 incomplete or below quorum; 2 bad input or usage; 5 a bug.
#[derive(Debug, Parser)]
#[command(name = "concordat-audit", version)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check a log directory from its trust document to its key sums
    Verify(VerifyArgs),
    /// Make a round's sums again from its sealed chunks, without any key, and compare them with the log
    Recompute(RecomputeArgs),
    /// Print one entry, and on request its proof
    Show(ShowArgs),
    /// Write `.tlog-proof` files that prove entries without the rest of the log
    Prove(ProveArgs),
    /// Check a proof that stands alone: of an entry, or of a fork
    Proof {
        /// What to do with it
        #[command(subcommand)]
        verb: ProofVerb,
    },
    /// Write entries for other tools: JSON Lines, CSV, OCSF events, PROV-JSON
    Export(ExportArgs),
    /// Write a report that people can read
    Report(ReportArgs),
    /// Compare two copies of a log; a fork gives a proof that anybody can check
    Diff(DiffArgs),
    /// Check the evidence that one institution hands to its regulator
    VerifyEvidence(EvidenceArgs),
    /// Check a released model: its signature, its files, and with --log its release
    VerifyModel(ModelArgs),
    /// Follow a log: verify each new checkpoint, and hold the one before it against it
    Watch(WatchArgs),
    /// Verify a log and sign what was found about a part of it
    Review(ReviewArgs),
    /// Make a large log in a temporary directory and measure how fast it is verified
    Bench(BenchArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum ProofVerb {
    /// Check one file
    Check(CheckArgs),
}

/// The log and what the auditor knows of it from elsewhere.
#[derive(Clone, Debug, Args)]
pub(super) struct LogArgs {
    /// The log: a server's `audit/`, a client's `mirror/`, or a copy
    pub(super) dir: PathBuf,
    /// SHA-256 of the trust document, as known from elsewhere
    #[arg(long, value_name = "H")]
    pub(super) trust_hash: Option<Sha256>,
    /// Cosigners that the newest checkpoint must have
    #[arg(long, value_name = "K")]
    pub(super) quorum: Option<usize>,
    /// A note, or a directory with notes, to compare with; repeatable
    #[arg(long, value_name = "NOTE")]
    pub(super) with: Vec<PathBuf>,
    /// Fail on what this version does not know
    #[arg(long)]
    pub(super) strict: bool,
    /// Threads; as many as there are processors, unless given
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
}

impl LogArgs {
    pub(super) fn options(&self) -> crate::Options {
        crate::Options {
            trust_hash: self.trust_hash,
            quorum: self.quorum,
            with: self.with.clone(),
            strict: self.strict,
            threads: self.threads,
        }
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("integers").args(["sums", "chunks"]).multiple(true)))]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// Compare opened integers with what the server signed: a server's `sums/`
    #[arg(long, value_name = "DIR")]
    pub(super) sums: Option<PathBuf>,
    /// Make every sum again from sealed chunks, without any key: a server's `chunks/`, or a flat copy
    #[arg(long, value_name = "DIR")]
    pub(super) chunks: Option<PathBuf>,
    /// Make the weights after every round again from its sums: a server's `models/`, or a copy; a task's first snapshot is enough
    #[arg(long, value_name = "DIR", requires = "integers")]
    pub(super) snapshots: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct RecomputeArgs {
    /// The log: a server's `audit/`, a client's `mirror/`, or a copy
    pub(super) dir: PathBuf,
    /// Sealed chunks by address, with the lists of each update: a server's `chunks/`, or a flat copy
    #[arg(long, value_name = "DIR")]
    pub(super) chunks: PathBuf,
    /// The round
    #[arg(long, value_name = "R")]
    pub(super) round: u64,
    /// The task, where the log has more than one
    #[arg(long, value_name = "T")]
    pub(super) task: Option<TaskId>,
    /// Only this group
    #[arg(long, value_name = "G")]
    pub(super) group: Option<u32>,
    /// Make the weights after the round again too: a server's `models/`, or a copy; the snapshot before the round is needed
    #[arg(long, value_name = "DIR", conflicts_with = "group")]
    pub(super) snapshots: Option<PathBuf>,
    /// SHA-256 of the trust document, as known from elsewhere
    #[arg(long, value_name = "H")]
    pub(super) trust_hash: Option<Sha256>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The log
    pub(super) dir: PathBuf,
    /// Leaf index, from 0
    pub(super) index: u64,
    /// Print a checked `.tlog-proof` under the newest checkpoint
    #[arg(long)]
    pub(super) proof: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    /// The log
    pub(super) dir: PathBuf,
    /// Leaf indices, from 0
    #[arg(required = true, num_args = 1..)]
    pub(super) indices: Vec<u64>,
    /// Where `<index>.tlog-proof` and `<index>.entry` go, new files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// A `.tlog-proof`, a receipt, or a proof of a fork that `diff` wrote
    pub(super) file: PathBuf,
    /// The entry that a `.tlog-proof` is about; the file's name with `.entry`, unless given
    #[arg(long, value_name = "FILE")]
    pub(super) entry: Option<PathBuf>,
    /// The log's tlog-policy file, which names the log's key, its witnesses and their quorum
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// The log's verifier key, for a proof of a fork; both, separated by a comma, where it handed over to another one between the two notes
    #[arg(long, value_name = "VKEY", conflicts_with = "policy", value_delimiter = ',')]
    pub(super) log_key: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// The leaves as they are, one on a line
    Jsonl,
    /// Fixed columns for spreadsheets
    Csv,
    /// One OCSF 1.8 event on a line
    Ocsf,
    /// W3C PROV-JSON: where models came from
    ProvJson,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// What to write
    #[arg(long, value_enum)]
    pub(super) format: ExportFormat,
    /// Where to write; standard output unless given
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Only entries of these rounds: A..B, both included, or one number
    #[arg(long, value_name = "A..B")]
    pub(super) rounds: Option<String>,
    /// Only entries of these types; `*` stands for anything
    #[arg(long = "type", value_name = "GLOB")]
    pub(super) kind: Option<String>,
    /// Only entries about this institution: its name or its id
    #[arg(long, value_name = "X")]
    pub(super) institution: Option<String>,
    /// Export although the log does not verify; every row is marked
    #[arg(long)]
    pub(super) unverified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tongue {
    /// English
    En,
    /// 中文
    Zh,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// Where the page goes, a new file
    #[arg(long, value_name = "FILE")]
    pub(super) html: PathBuf,
    /// Language of the page
    #[arg(long, value_enum, default_value = "en")]
    pub(super) language: Tongue,
    /// How to print what was done
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// One copy of the log
    pub(super) a: PathBuf,
    /// Another
    pub(super) b: PathBuf,
    /// Where the proof of a fork goes, if there is one, a new file
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct EvidenceArgs {
    /// What `concordat-client evidence export` wrote
    pub(super) dir: PathBuf,
    /// SHA-256 of the trust document, as known from elsewhere
    #[arg(long, value_name = "H")]
    pub(super) trust_hash: Option<Sha256>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// What `concordat-server release` made, or its directory `model` alone
    pub(super) dir: PathBuf,
    /// A copy of the federation's log, to find the release in
    #[arg(long, value_name = "DIR")]
    pub(super) log: Option<PathBuf>,
    /// Public half of the release key in PEM, best one that you have from elsewhere; otherwise the one that lies beside the model
    #[arg(long, value_name = "FILE")]
    pub(super) public_key: Option<PathBuf>,
    /// SHA-256 of a trust document of the log, as known from elsewhere; without a log it is looked for in the evidence beside the model
    #[arg(long, value_name = "H")]
    pub(super) trust_hash: Option<Sha256>,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// Seconds between two looks
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(super) every_s: u64,
    /// End after so many checkpoints; without it, only a failure ends
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// How to print: one line for each checkpoint
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

/// Reads `A..B`, both included, or one number.
fn entries(text: &str) -> Result<(u64, u64), String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let number = |t: &str| t.parse().map_err(|_| format!("{text} is no range of entries: expected A..B, both included, or one number"));
    Ok((number(first)?, number(last)?))
}

#[derive(Debug, Args)]
pub(super) struct ReviewArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// The entries that were examined: A..B, both included, or one number
    #[arg(long, value_name = "A..B", value_parser = entries)]
    pub(super) entries: (u64, u64),
    /// File with the reviewer's key, 32 bytes in hexadecimal: an administrator's, or one of an enrolled institution
    #[arg(long, value_name = "FILE")]
    pub(super) key: PathBuf,
    /// Directory to make for the findings and the signed statement
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Entries of the log
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(super) entries: u64,
    /// Bytes of an entry without a statement
    #[arg(long, default_value_t = 550, value_name = "N")]
    pub(super) entry_bytes: usize,
    /// Notes
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(super) notes: u64,
    /// Cosignatures on each note
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(super) cosignatures: u8,
    /// Entries with a signed statement
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(super) statements: u64,
    /// Threads that verify
    #[arg(long, default_value = "1", value_name = "N")]
    pub(super) threads: NonZeroUsize,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}
