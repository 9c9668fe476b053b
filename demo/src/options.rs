//! What the user asked for, checked once.

use clap::{Parser, ValueEnum};
use protocol::decimal::Decimal;
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
    /// Rounds of the task; 6 of ten steps in mode local, 40 of one sum in the others, unless given
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u64>,
    /// Noised steps of each round inside an institution, in mode local: fewer let institutions drift apart less between sums
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) local_steps: u32,
    /// Where noise is added: inside each institution, or as shares of the noise of one sum
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) mode: ModeName,
    /// Institutions that may help the one that looks, in modes distributed and hybrid
    #[arg(long, default_value_t = 0, value_name = "C")]
    pub(crate) colluding: u16,
    /// Epsilon that each institution's own noise keeps in mode hybrid; twice --epsilon unless given
    #[arg(long, value_name = "EPSILON", allow_hyphen_values = true)]
    pub(crate) epsilon_floor: Option<String>,
    /// From gradients to integers: one by one, or a whole micro-batch at once
    #[arg(long, value_enum, default_value = "exact")]
    pub(crate) clip_path: PathName,
    /// Privacy budget of each institution's data over the whole task
    #[arg(long, default_value = "8", value_name = "EPSILON", allow_hyphen_values = true)]
    pub(crate) epsilon: String,
    /// Contiguous shards that the model is cut into, each with a sum of its own; or `mixed`: some institutions train everything, the others
    /// only top layers, or adapters and heads, and a second federation without those others shows what they are worth
    #[arg(long, default_value = "1", value_name = "N|mixed")]
    pub(crate) shards: Shards,
    /// What the small institutions of a mixed federation train
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) small: Small,
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

/// How the model is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shards {
    /// Into so many shards, which everybody trains.
    Count(u32),
    /// By what tiers of institutions train.
    Mixed,
}

impl std::str::FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mixed" => Ok(Self::Mixed),
            number => number.parse().map(Self::Count).map_err(|_| "expected a number of shards, or mixed".to_owned()),
        }
    }
}

/// What small institutions train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Small {
    /// Half of them top layers, half adapters, shifts and the head.
    Both,
    /// The upper block and the head.
    TopLayers,
    /// Adapters, shifts and the head.
    Adapters,
}

/// How many institutions are in each tier of a mixed federation; the full ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiers {
    /// Train everything.
    pub(crate) full: usize,
    /// Train the top layers.
    pub(crate) top: usize,
    /// Train adapters, heads and shifts.
    pub(crate) low: usize,
}

impl Tiers {
    /// A third of six or more institutions in each; of fewer, two are full and the others alike. Nobody is alone in a sum.
    fn of(institutions: u16, small: Small) -> Self {
        let all = usize::from(institutions);
        let full = (all / 3).max(2);
        let rest = all.saturating_sub(full);
        let low = match small {
            Small::Both if all < 6 => 0,
            Small::Both => rest / 2,
            Small::TopLayers => 0,
            Small::Adapters => rest,
        };
        Self { full, top: rest - low, low }
    }
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// Where noise is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// Inside each institution, at every local step.
    Local,
    /// As shares that are worth little alone.
    Distributed,
    /// As shares that alone keep a floor.
    Hybrid,
}

/// From gradients to integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathName {
    /// Every unit's gradient by itself.
    Exact,
    /// Sums of a whole micro-batch.
    BookKeeping,
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
    /// Tiers.
    #[error(
        "--shards mixed needs --mode local and at least 4 institutions, got {institutions} institutions: two that train everything and two that do not"
    )]
    Mixed {
        /// Present.
        institutions: u16,
    },
    /// ε of own noise.
    #[error("--epsilon-floor is {0}, expected a number above 0 such as 8 or 2.5")]
    EpsilonFloor(String),
    /// Nobody's share is certain.
    #[error(
        "--mode {mode} with {institutions} institutions and --colluding {colluding} leaves no guaranteed share of noise: at least {least} institutions are needed"
    )]
    Shares {
        /// The mode.
        mode: &'static str,
        /// Present.
        institutions: u16,
        /// c.
        colluding: u16,
        /// Needed.
        least: u32,
    },
    /// Records.
    #[error("--records is {0}, expected 200 to 100000 for each institution")]
    Records(usize),
}

/// Checked options.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cli: Cli,
    pub(crate) epsilon: Decimal,
    pub(crate) epsilon_floor: Decimal,
    pub(crate) rounds: u64,
    pub(crate) committee: protocol::params::CommitteeSize,
    /// Of a mixed federation, and of the one without its small institutions.
    pub(crate) tiers: Option<Tiers>,
}

impl Options {
    /// The federation that drops the small institutions of this one: what the others can do by themselves.
    pub(crate) fn without_small(&self, tiers: Tiers) -> Self {
        let full = u16::try_from(tiers.full).unwrap_or(u16::MAX);
        let cli = Cli { institutions: full, out: self.cli.out.join("without-small"), keep_chunks: false, port: 0, ..self.cli.clone() };
        let decryptors = self.committee.decryptors.min(u8::try_from(full).unwrap_or(u8::MAX));
        let committee = committee(decryptors);
        Self { cli, committee, tiers: Some(Tiers { top: 0, low: 0, ..tiers }), ..self.clone() }
    }
}

/// crypto.md C47: d = 1 for small committees, 2 from seven on.
fn committee(decryptors: u8) -> protocol::params::CommitteeSize {
    protocol::params::CommitteeSize { decryptors, corrupt: if decryptors >= 7 { 2 } else { 1 } }
}

impl Cli {
    /// privacy.md D7: everybody's update is in each opened sum of the demo, so h = institutions − 1 − c.
    fn check_shares(&self) -> Result<(), OptionsError> {
        let mode = match self.mode {
            ModeName::Local => return Ok(()),
            ModeName::Distributed => "distributed",
            ModeName::Hybrid => "hybrid",
        };
        let (institutions, colluding) = (self.institutions, self.colluding);
        // With two, whoever looks subtracts its own update and sees the other's.
        match protocol::plan::guaranteed_shares(institutions, colluding) {
            Some(_) if institutions > 2 => Ok(()),
            Some(_) | None => Err(OptionsError::Shares { mode, institutions, colluding, least: (u32::from(colluding) + 2).max(3) }),
        }
    }
}

impl TryFrom<Cli> for Options {
    type Error = OptionsError;

    fn try_from(cli: Cli) -> Result<Self, OptionsError> {
        let positive = |text: &str| text.parse::<Decimal>().ok().filter(|e| e.to_f64() > 0.0);
        let epsilon = positive(&cli.epsilon).ok_or_else(|| OptionsError::Epsilon(cli.epsilon.clone()))?;
        let epsilon_floor = match &cli.epsilon_floor {
            None => Decimal::ceil(2.0 * epsilon.to_f64(), 6).unwrap_or(epsilon),
            Some(text) => positive(text).ok_or_else(|| OptionsError::EpsilonFloor(text.clone()))?,
        };
        if !(2..=16).contains(&cli.institutions) {
            return Err(OptionsError::Institutions(cli.institutions));
        }
        let present = u8::try_from(cli.institutions).unwrap_or(16);
        let decryptors = cli.decryptors.unwrap_or(present.min(4));
        if decryptors < 2 || decryptors > present {
            return Err(OptionsError::Decryptors { asked: decryptors, present: cli.institutions });
        }
        cli.check_shares()?;
        let rounds = cli.rounds.unwrap_or(match cli.mode {
            ModeName::Local => 6,
            ModeName::Distributed | ModeName::Hybrid => 40,
        });
        if !(1..=1000).contains(&rounds) {
            return Err(OptionsError::Rounds(rounds));
        }
        let tiers = match cli.shards {
            Shards::Count(count) if (1..=16).contains(&count) => None,
            Shards::Count(count) => return Err(OptionsError::Shards(count)),
            Shards::Mixed if cli.mode == ModeName::Local && cli.institutions >= 4 => Some(Tiers::of(cli.institutions, cli.small)),
            Shards::Mixed => return Err(OptionsError::Mixed { institutions: cli.institutions }),
        };
        if !(200..=100_000).contains(&cli.records) {
            return Err(OptionsError::Records(cli.records));
        }
        Ok(Self { cli, epsilon, epsilon_floor, rounds, committee: committee(decryptors), tiers })
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
        assert_eq!(parse(&["--shards", "mixed", "--institutions", "3"]).unwrap_err(), OptionsError::Mixed { institutions: 3 });
        assert_eq!(parse(&["--shards", "mixed", "--mode", "hybrid"]).unwrap_err(), OptionsError::Mixed { institutions: 4 });
        assert!(Cli::try_parse_from(["concordat-demo", "--shards", "many"]).is_err());
        assert_eq!(parse(&["--epsilon-floor", "0"]).unwrap_err(), OptionsError::EpsilonFloor("0".into()));
        for mode in ["distributed", "hybrid"] {
            let of =
                |institutions: &str, colluding: &str| parse(&["--mode", mode, "--institutions", institutions, "--colluding", colluding]);
            assert!(matches!(of("2", "0"), Err(OptionsError::Shares { least: 3, .. })));
            assert!(matches!(of("4", "3"), Err(OptionsError::Shares { least: 5, .. })));
            assert_eq!((of("3", "0").unwrap().rounds, of("5", "3").unwrap().epsilon_floor.to_string()), (40, "16".to_owned()));
        }
        for institutions in 4..=16u16 {
            let of = |small: &str| {
                let args = ["--shards", "mixed", "--institutions", &institutions.to_string(), "--small", small];
                let tiers = parse(&args).unwrap().tiers.unwrap();
                assert_eq!(tiers.full + tiers.top + tiers.low, usize::from(institutions));
                assert!(tiers.full >= 2 && tiers.top != 1 && tiers.low != 1, "{tiers:?}: nobody is alone in a sum");
                tiers
            };
            assert!(of("both").top >= 2);
            assert_eq!((of("top-layers").low, of("adapters").top), (0, 0));
        }
        let defaults = parse(&[]).unwrap();
        assert_eq!(defaults.rounds, 6);
        assert_eq!((defaults.committee.decryptors, defaults.committee.quorum()), (4, 3));
    }
}
