//! `bench`: what this machine adds and opens, to size hardware with (crypto.md C80). Made-up data only; touches no file.

use super::output::{Failure, Output};
use clap::{Args, Subcommand};
use crypto::measure::{SealedBlock, Workload};
use crypto::sum::BlockSum;
use privacy::noise::{EntropyError, EntropySource};
use std::time::Instant;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Add sealed chunks, beside a plain loop that reads, adds and writes
    Sum(BenchArgs),
    /// Open a summed block
    Open(BenchArgs),
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct BenchArgs {
    /// Institutions that the packing carries
    #[arg(long, default_value_t = 100)]
    n_max: u16,
    /// Bits of one value
    #[arg(long, default_value_t = 8)]
    bits: u8,
    /// Threads; adding one chunk always has one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Times that everything is measured; medians are shown
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
}

/// Chunks that are added in one run: together larger than caches, as uploads are.
const CHUNKS: usize = 16;

/// The operating system's.
pub(super) struct OsEntropy;

impl EntropySource for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }
}

pub(crate) fn run(verb: &BenchVerb, output: &Output) -> Result<(), Failure> {
    match verb {
        BenchVerb::Sum(args) => sum(*args, output),
        BenchVerb::Open(args) => open(*args, output),
    }
}

/// One whole block of a made-up update.
fn block(args: BenchArgs) -> Result<(SealedBlock, u64), Failure> {
    let packing = protocol::params::Packing::derive(args.n_max, args.bits).map_err(Failure::trouble)?;
    let parameters = 256 * 4096 * u64::from(packing.slots);
    let work = Workload::new(args.n_max, args.bits, parameters, &mut OsEntropy).map_err(Failure::trouble)?;
    Ok((work.first_block().map_err(Failure::trouble)?, parameters))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn sum(args: BenchArgs, output: &Output) -> Result<(), Failure> {
    let (sealed, parameters) = block(args)?;
    let chunks = vec![sealed.packed().to_vec(); CHUNKS];
    let words = 256 * 4096usize;
    let plain = vec![vec![0x0123_4567_89ab_cdefu64; words]; CHUNKS];
    let mut total = vec![0u64; words];
    let (mut ours, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let mut block = BlockSum::new(sealed.group(), 0).map_err(Failure::trouble)?;
        // As many as the packing carries; more would be refused.
        let added = CHUNKS.min(usize::from(args.n_max));
        let started = Instant::now();
        for chunk in chunks.iter().take(added) {
            block.add_chunk(chunk).map_err(Failure::trouble)?;
        }
        ours.push(started.elapsed().as_secs_f64() / added as f64);
        let started = Instant::now();
        for chunk in &plain {
            read_add_write(&mut total, chunk);
        }
        loops.push(started.elapsed().as_secs_f64() / CHUNKS as f64);
    }
    std::hint::black_box(&total);
    // Ours reads a packed chunk, and reads and writes the sum; the loop reads words instead.
    let bytes = (sealed.packed().len() + 16 * words) as f64 / median(&ours);
    let loop_bytes = (24 * words) as f64 / median(&loops);
    let params = parameters as f64 / median(&ours);
    let coefficients = words as f64 / median(&ours);
    output.value(
        &serde_json::json!({
            "n_max": args.n_max, "bits": args.bits, "threads": 1, "runs": args.runs,
            "params_per_s": params, "coefficients_per_s": coefficients,
            "bytes_per_s": bytes, "memcpy_bytes_per_s": loop_bytes, "ratio_to_memcpy": bytes / loop_bytes,
            "coefficient_ratio_to_memcpy": median(&loops) / median(&ours),
        }),
        &format!(
            "{params:.3e} parameters per second added on one thread\n{bytes:.3e} bytes per second, {:.2} of a plain read, add and write loop",
            bytes / loop_bytes
        ),
    );
    Ok(())
}

fn read_add_write(total: &mut [u64], chunk: &[u64]) {
    for (sum, &word) in total.iter_mut().zip(std::hint::black_box(chunk)) {
        *sum = sum.wrapping_add(word);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn open(args: BenchArgs, output: &Output) -> Result<(), Failure> {
    let (sealed, parameters) = block(args)?;
    let mut sum = BlockSum::new(sealed.group(), 0).map_err(Failure::trouble)?;
    sum.add_chunk(sealed.packed()).map_err(Failure::trouble)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(args.threads)).build().map_err(Failure::trouble)?;
    let mut seconds = Vec::new();
    for _ in 0..args.runs {
        let started = Instant::now();
        pool.install(|| sealed.open(&sum)).map_err(Failure::trouble)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let (params, coefficients) = (parameters as f64 / median(&seconds), (256 * 4096) as f64 / median(&seconds));
    output.value(
        &serde_json::json!({
            "n_max": args.n_max, "bits": args.bits, "threads": args.threads, "runs": args.runs,
            "params_per_s": params, "coefficients_per_s": coefficients,
        }),
        &format!("{params:.3e} parameters per second opened on {} threads", args.threads),
    );
    Ok(())
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
