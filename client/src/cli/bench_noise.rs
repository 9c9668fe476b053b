//! `bench noise`: integer noise per second, beside OpenDP's sampler in the same run (privacy.md D73). What is drawn is counted and forgotten.

use super::answer::{Answer, say};
use super::bench::{Rate, rate};
use crate::clock::OsEntropy;
use clap::Args;
use privacy::measure::{MeasureError, NoiseWork};
use protocol::decimal::Decimal;
use protocol::plan::NoiseKind;
use serde_json::json;
use std::time::Instant;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct NoiseArgs {
    /// Deviation of the noise in grid steps, 1 to 2^40; a plan's noise multiplier times 2^grid_bits
    #[arg(long, default_value = "65536")]
    sigma_grid: Decimal,
    /// Law of the noise; OpenDP has the discrete Gaussian only
    #[arg(long, value_enum, default_value_t = Kind::RoundedGaussian)]
    kind: Kind,
    /// Values drawn in one run, on one thread
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    values: u32,
    /// Times that both are measured, one after the other; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
}

/// Kinds of noise as plans spell them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// The Gaussian, rounded
    RoundedGaussian,
    /// The discrete Gaussian
    DiscreteGaussian,
}

impl Kind {
    fn noise(self) -> NoiseKind {
        match self {
            Self::RoundedGaussian => NoiseKind::RoundedGaussian,
            Self::DiscreteGaussian => NoiseKind::DiscreteGaussian,
        }
    }
}

/// Values that OpenDP draws in one run; it is slow, and its time per value is constant.
const OPENDP_VALUES: u32 = 20_000;

pub(super) fn run(args: NoiseArgs) -> Result<Answer, MeasureError> {
    // Tables are built here, once, as a task does before its first step.
    let mut work = NoiseWork::new(args.kind.noise(), args.sigma_grid, index(args.values), &mut OsEntropy)?;
    let theirs_count = OPENDP_VALUES.min(args.values);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        let started = Instant::now();
        std::hint::black_box(work.draw());
        ours.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        std::hint::black_box(work.draw_opendp(index(theirs_count))?);
        theirs.push(started.elapsed().as_secs_f64());
    }
    Ok(answer(args, work.sigma_grid(), &rate(args.values.into(), &ours), &rate(theirs_count.into(), &theirs)))
}

/// At most 2^30.
fn index(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn answer(args: NoiseArgs, sigma_grid: f64, ours: &Rate, theirs: &Rate) -> Answer {
    let ratio = ours.median / theirs.median;
    let shown = |r: &Rate| format!("{:.3e} ({:.3e} to {:.3e})", r.median, r.least, r.most);
    let rows = [
        ("values per second", shown(ours)),
        ("OpenDP values per second", shown(theirs)),
        ("times OpenDP", format!("{ratio:.0}")),
        ("deviation in grid steps", format!("{sigma_grid}")),
        ("kind", args.kind.noise().name().to_owned()),
    ];
    Answer::table(rows).with_data(&json!({
        "kind": args.kind.noise(),
        "sigma_grid": sigma_grid,
        "values": args.values,
        "runs": args.runs,
        "values_per_s": ours.median,
        "values_per_s_least": ours.least,
        "values_per_s_most": ours.most,
        "opendp_values_per_s": theirs.median,
        "opendp_values_per_s_least": theirs.least,
        "opendp_values_per_s_most": theirs.most,
        "ratio": ratio,
    }))
}
