//! `bench`: what this machine does, to size hardware with (crypto.md C80, privacy.md D73). Made-up data only; touches no key, and no
//! file but the plan and the checkpoint that `fit` is asked about.

use super::answer::{Answer, Failure, say};
use super::bench_clip::{self, ClipArgs};
use super::bench_fit::{self, FitArgs};
use super::bench_noise::{self, NoiseArgs};
use super::bench_train::{self, TrainArgs};
use crate::clock::OsEntropy;
use crate::config::Config;
use clap::{Args, Subcommand};
use crypto::measure::{MeasureError, Workload};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

#[derive(Debug, Subcommand)]
pub(super) enum BenchVerb {
    /// Seal a made-up update, beside the stock library's encryption
    Seal(SealArgs),
    /// Draw noise as a private step does, beside OpenDP's sampler
    Noise(NoiseArgs),
    /// Clip a made-up micro-batch unit by unit, beside the same step without privacy and beside a loop over units
    Clip(ClipArgs),
    /// Train a made-up decoder without privacy
    Train(TrainArgs),
    /// Find how many records of a plan fit into memory at once
    Fit(FitArgs),
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SealArgs {
    /// Parameters of the update
    #[arg(long, default_value_t = 6_291_456, value_parser = clap::value_parser!(u64).range(1..=1 << 33))]
    parameters: u64,
    /// Institutions that the packing carries
    #[arg(long, default_value_t = 100)]
    n_max: u16,
    /// Bits of one value
    #[arg(long, default_value_t = 8)]
    bits: u8,
    /// Threads of the seal; the stock library's path always has one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Times that both are measured, one after the other; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
}

/// Polynomials that the stock path encrypts in one run; it is slow, and its time per polynomial is constant.
const STOCK_POLYNOMIALS: u64 = 16;

pub(super) fn run(verb: &BenchVerb, settings: &dyn Fn() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    match verb {
        BenchVerb::Seal(args) => {
            // Figures of a machine that computes other bytes would mean nothing.
            crypto::reference::self_check(&mut OsEntropy).map_err(|e| Failure::bug("self_check", &e))?;
            seal(*args).map_err(|e| Failure::trouble("not_measured", &e))
        }
        BenchVerb::Noise(args) => bench_noise::run(*args).map_err(|e| Failure::trouble("not_measured", &e)),
        BenchVerb::Clip(args) => bench_clip::run(args),
        BenchVerb::Train(args) => bench_train::run(*args),
        BenchVerb::Fit(args) => bench_fit::run(args, settings),
    }
}

fn seal(args: SealArgs) -> Result<Answer, MeasureError> {
    let work = Workload::new(args.n_max, args.bits, args.parameters, &mut OsEntropy)?;
    let input = peak_memory();
    let (mut ours, mut stock) = (Vec::new(), Vec::new());
    let stock_coefficients = STOCK_POLYNOMIALS.min(work.coefficients() / 4096) * 4096;
    // Without a pool of that size everything would run on all cores: nothing is measured then.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(args.threads)).build();
    let pool = pool.map_err(|_| MeasureError::Threads)?;
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        let started = Instant::now();
        pool.install(|| work.seal(&mut OsEntropy))?;
        ours.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        work.seal_stock(STOCK_POLYNOMIALS)?;
        stock.push(started.elapsed().as_secs_f64());
    }
    Ok(answer(args, &work, rate(work.coefficients(), &ours), rate(stock_coefficients, &stock), input))
}

/// Least, median and most per second.
pub(super) struct Rate {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn rate(count: u64, seconds: &[f64]) -> Rate {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |at: usize| count as f64 / sorted[at];
    Rate { least: of(sorted.len() - 1), median: of(sorted.len() / 2), most: of(0) }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn answer(args: SealArgs, work: &Workload, ours: Rate, stock: Rate, input: Option<u64>) -> Answer {
    let params = args.parameters as f64 / work.coefficients() as f64;
    let (wire, bound) = (work.packing().bits_per_parameter(), work.packing().slot_bits);
    let ratio = ours.median / stock.median;
    let rows = [
        ("parameters per second", format!("{:.3e} ({:.3e} to {:.3e})", ours.median * params, ours.least * params, ours.most * params)),
        ("coefficients per second", format!("{:.3e}", ours.median)),
        ("stock tfhe coefficients per second", format!("{:.3e} ({:.3e} to {:.3e})", stock.median, stock.least, stock.most)),
        ("times stock", format!("{ratio:.1}")),
        ("bits per parameter on the wire", format!("{wire:.2} (at least {bound} for any exact sum)")),
        ("threads", args.threads.to_string()),
    ];
    Answer::table(rows).with_data(&json!({
        "parameters": args.parameters,
        "n_max": args.n_max,
        "bits": args.bits,
        "threads": args.threads,
        "runs": args.runs,
        "params_per_s": ours.median * params,
        "params_per_s_least": ours.least * params,
        "params_per_s_most": ours.most * params,
        "coefficients_per_s": ours.median,
        "stock_tfhe_coefficients_per_s": stock.median,
        "stock_tfhe_coefficients_per_s_least": stock.least,
        "stock_tfhe_coefficients_per_s_most": stock.most,
        "ratio_to_stock": ratio,
        "wire_bits_per_param": wire,
        "information_bound_bits_per_param": bound,
        "input_peak_bytes": input,
        "peak_bytes": peak_memory(),
    }))
}

/// Processor time of this process so far, user and system, in ticks of a hundredth of a second as the kernel shows them.
pub(super) fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
    Some(f64::from(ticks(11)?.checked_add(ticks(12)?)?) / 100.0)
}

/// Most memory that this process has held so far, where the system tells.
pub(super) fn peak_memory() -> Option<u64> {
    kernel_bytes("/proc/self/status", "VmHWM:")
}

/// Bytes of the line with this name in one of the kernel's files, where the system has it.
pub(super) fn kernel_bytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What this program answers to a command line in a process of its own; null where that ended without an answer.
pub(super) fn answered_apart(line: impl IntoIterator<Item = impl AsRef<OsStr>>) -> std::io::Result<Value> {
    let output = Command::new(std::env::current_exe()?).args(line).output()?;
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}
