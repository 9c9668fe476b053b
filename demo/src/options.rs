//! What the user asked for, checked once.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Run a whole federation on this machine and verify its log
#[derive(Clone, Debug, Parser)]
#[command(name = "concordat-demo", version)]
pub(crate) struct Cli {
    /// Institutions to start (telecom operators)
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub(crate) institutions: u16,
    /// Decryptors of the committee; 4 or all, unless given
    #[arg(long, value_name = "C")]
    pub(crate) decryptors: Option<u8>,
    /// Rounds of the task
    #[arg(long, default_value_t = 6, value_name = "N")]
    pub(crate) rounds: u64,
    /// Privacy budget of each institution's data over the whole task
    #[arg(long, default_value = "8", value_name = "EPSILON", allow_hyphen_values = true)]
    pub(crate) epsilon: String,
    /// Contiguous shards that the model is cut into; each has a sum of its own
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) shards: u32,
    /// Where report, log and snapshots go
    #[arg(long, default_value = "out", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How the result is printed
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Seed of data, split and initial weights; never touches keys, noise or masks
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Train on this JSON Lines file instead of the built-in generator
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) data: Option<PathBuf>,
    /// Field of the text
    #[arg(long, default_value = "text", value_name = "FIELD")]
    pub(crate) text_field: String,
    /// Field of the label
    #[arg(long, default_value = "label", value_name = "FIELD")]
    pub(crate) label_field: String,
    /// What a line that is no record does
    #[arg(long, value_enum, default_value = "fatal")]
    pub(crate) bad_lines: BadLines,
    /// Records that the generator makes for each institution
    #[arg(long, default_value_t = 3500, value_name = "N", conflicts_with = "data")]
    pub(crate) records: usize,
    /// Keep the sealed chunks too, from which anybody can make every round's sums again
    #[arg(long)]
    pub(crate) keep_chunks: bool,
    /// Port of the server on loopback; a free one unless given
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// What a line that is no record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BadLines {
    /// It is counted and left out.
    Skip,
    /// It ends the demo.
    Fatal,
}

/// A number that no federation can be made of. The user's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    /// ε.
    #[error(
        "--epsilon is {0}, expected a number above 0 such as 8 or 2.5: a budget of nothing trains nothing, and \"no privacy\" is not offered"
    )]
    Epsilon(String),
    /// Institutions.
    #[error("--institutions is {0}, expected 2 to 16: one institution has nobody to hide among")]
    Institutions(u16),
    /// Committee.
    #[error(
        "--decryptors is {asked}, but only {present} institutions are present; ask for at least 2 and at most as many as --institutions"
    )]
    Decryptors {
        /// Asked for.
        asked: u8,
        /// Present.
        present: u16,
    },
    /// Rounds.
    #[error("--rounds is {0}, expected 1 to 1000")]
    Rounds(u64),
    /// Shards.
    #[error("--shards is {0}, expected 1 to 16")]
    Shards(u32),
    /// Records.
    #[error("--records is {0}, expected 200 to 100000 for each institution")]
    Records(usize),
}

/// Checked options.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cli: Cli,
    pub(crate) epsilon: protocol::decimal::Decimal,
    pub(crate) committee: protocol::params::CommitteeSize,
}

impl TryFrom<Cli> for Options {
    type Error = OptionsError;

    fn try_from(cli: Cli) -> Result<Self, OptionsError> {
        let epsilon = cli.epsilon.parse::<protocol::decimal::Decimal>().ok().filter(|e| e.to_f64() > 0.0);
        let epsilon = epsilon.ok_or_else(|| OptionsError::Epsilon(cli.epsilon.clone()))?;
        if !(2..=16).contains(&cli.institutions) {
            return Err(OptionsError::Institutions(cli.institutions));
        }
        let present = u8::try_from(cli.institutions).unwrap_or(16);
        let decryptors = cli.decryptors.unwrap_or(present.min(4));
        if decryptors < 2 || decryptors > present {
            return Err(OptionsError::Decryptors { asked: decryptors, present: cli.institutions });
        }
        if !(1..=1000).contains(&cli.rounds) {
            return Err(OptionsError::Rounds(cli.rounds));
        }
        if !(1..=16).contains(&cli.shards) {
            return Err(OptionsError::Shards(cli.shards));
        }
        if !(200..=100_000).contains(&cli.records) {
            return Err(OptionsError::Records(cli.records));
        }
        // crypto.md C47: d = 1 for small committees, 2 from seven on.
        let corrupt = if decryptors >= 7 { 2 } else { 1 };
        Ok(Self { cli, epsilon, committee: protocol::params::CommitteeSize { decryptors, corrupt } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, OptionsError> {
        let all = std::iter::once("concordat-demo").chain(args.iter().copied());
        Cli::try_parse_from(all).unwrap().try_into()
    }

    #[test]
    fn nonsense_is_refused_with_its_name() {
        for bad in ["0", "-1", "NaN", "inf", "", "none", "0.0"] {
            assert_eq!(parse(&[&format!("--epsilon={bad}")]).unwrap_err(), OptionsError::Epsilon(bad.into()));
        }
        assert_eq!(parse(&["--institutions", "1"]).unwrap_err(), OptionsError::Institutions(1));
        assert_eq!(parse(&["--decryptors", "5"]).unwrap_err(), OptionsError::Decryptors { asked: 5, present: 4 });
        assert_eq!(parse(&["--rounds", "0"]).unwrap_err(), OptionsError::Rounds(0));
        assert_eq!(parse(&["--shards", "0"]).unwrap_err(), OptionsError::Shards(0));
        let defaults = parse(&[]).unwrap();
        assert_eq!((defaults.committee.decryptors, defaults.committee.quorum()), (4, 3));
    }
}
