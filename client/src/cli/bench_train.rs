//! `bench train`: how fast a decoder is trained without privacy (training.md; docs/training.md says how it is compared). Made-up data only;
//! touches no key and no file.

use super::answer::{Answer, Failure, say};
use super::bench::{peak_memory, processor_seconds, rate};
use crate::machine::{self, Started};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::num::NonZeroUsize;
use std::time::Instant;
use train::device::Wanted;
use train::direct::{Keep, Precision};
use train::measure::{Path, Size, Trains, training};

/// Floats of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    /// 32-bit floats
    F32,
    /// Rounded to bfloat16
    Bf16,
}

/// What is kept between the passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KeepArg {
    /// Everything that a backward pass reads
    Everything,
    /// Inputs of blocks
    Inputs,
}

impl From<KeepArg> for Keep {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::Everything => Self::Everything,
            KeepArg::Inputs => Self::Inputs,
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct TrainArgs {
    /// Records of one step
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Tokens of each record
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=8192))]
    tokens: u32,
    /// Model width
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    width: u32,
    /// Blocks of the decoder
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=128))]
    layers: u32,
    /// Rows of the token table
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=1 << 18))]
    vocab: u32,
    /// Threads
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    threads: NonZeroUsize,
    /// What computes: cpu, cuda (all GPUs of the machine), cuda:N, or auto (GPUs if there are any)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Wanted,
    /// Floats of products
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionArg,
    /// What is kept between the passes
    #[arg(long, value_enum, default_value = "everything")]
    keep: KeepArg,
    /// Steps that are measured one by one, after two that warm up; the median is shown
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    runs: u16,
}

pub(super) fn run(args: TrainArgs) -> Result<Answer, Failure> {
    let TrainArgs { batch, tokens, width, layers, vocab, .. } = args;
    let size = Size { units: batch, tokens, width, layers, vocab, trains: Trains::Full, path: Path::Exact, keep: args.keep.into() };
    let precision = match args.precision {
        PrecisionArg::F32 => Precision::F32,
        PrecisionArg::Bf16 => Precision::Bf16,
    };
    let not_measured = |e: &dyn std::error::Error| Failure::trouble("not_measured", e);
    let Started { workers, on } = machine::start(args.device, precision, args.threads).map_err(|e| not_measured(&e))?;
    let (mut fit, material) = training(size, u64::from(args.runs) + 2, precision).map_err(|e| not_measured(&e))?;
    let (mut clock, mut processor, mut rows) = (Vec::new(), Vec::new(), 0);
    for run in 0..args.runs.saturating_add(2) {
        let (started, before) = (Instant::now(), processor_seconds());
        rows = fit.step(&material, &workers).map_err(|e| not_measured(&e))?.tokens;
        if run < 2 {
            continue;
        }
        clock.push(started.elapsed().as_secs_f64());
        processor.extend(before.zip(processor_seconds()).map(|(before, after)| after - before));
    }
    say(&format!("{} steps of {rows} tokens on {on}", args.runs));
    Ok(answer((args, &on), (rows, fit.weights().len()), &clock, &processor))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn answer((args, on): (TrainArgs, &str), (rows, parameters): (usize, usize), clock: &[f64], processor: &[f64]) -> Answer {
    let speed = rate(u64::try_from(rows).unwrap_or(u64::MAX), clock);
    // The kernel counts in hundredths, so a mean says more than a median.
    let spent = (!processor.is_empty()).then(|| processor.iter().sum::<f64>() / processor.len() as f64);
    let TrainArgs { batch, tokens, width, layers, vocab, .. } = args;
    let model = format!("decoder, {layers} layers, width {width}, vocabulary {vocab}, {parameters} parameters, {batch} x {tokens} tokens");
    let word = |v: Option<clap::builder::PossibleValue>| v.map(|v| v.get_name().to_owned()).unwrap_or_default();
    let rows_shown = [
        ("model", model.clone()),
        ("tokens per second", format!("{:.0} ({:.0} to {:.0})", speed.median, speed.least, speed.most)),
        ("processor time of a step", spent.map_or_else(|| "-".to_owned(), |s| format!("{s:.3} s"))),
        ("threads", args.threads.to_string()),
        ("device", on.to_owned()),
    ];
    Answer::table(rows_shown).with_data(&json!({
        "model": model,
        "parameters": parameters,
        "batch": batch,
        "tokens": tokens,
        "width": width,
        "layers": layers,
        "vocab": vocab,
        "precision": word(args.precision.to_possible_value()),
        "keep": word(args.keep.to_possible_value()),
        "threads": args.threads,
        "device": args.device.to_string(),
        "computed_on": on,
        "runs": args.runs,
        "tokens_per_s": speed.median,
        "tokens_per_s_least": speed.least,
        "tokens_per_s_most": speed.most,
        "step_cpu_s": spent,
        "peak_bytes": peak_memory(),
    }))
}
