//! `bench clip`: what it costs to clip every unit by itself (privacy.md D43). Made-up data only; touches no key and no file.
//!
//! Times are taken in turns in one process. Memory is taken in a process of its own for each kind of step, which makes one step and says
//! how much it ever held: what one step leaves to the allocator would else be counted for the next.

use super::answer::{Answer, Failure, say};
use super::bench::peak_memory;
use crate::clock::OsEntropy;
use clap::{Args, ValueEnum};
use privacy::mechanism::Accumulate;
use privacy::noise::{EntropyError, Noise, StepContext, Stream};
use protocol::ids::ManifestDigest;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;
use train::measure::{MeasureError, Path, Size, Workload};
use train::model::lora::{Factor, Lora};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AdapterArg {
    /// The whole model
    None,
    /// The factors B of adapters on every linear layer
    LoraB,
}

/// How clipped sums are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PathArg {
    /// Each unit's gradient in integers
    Exact,
    /// Book-Keeping, weighted products in 32-bit floats
    SumF32,
    /// Book-Keeping, weighted products in 64-bit floats
    SumF64,
}

/// One kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Nothing for privacy
    Plain,
    /// Every unit clipped
    Private,
    /// One unit at a time
    NaiveLoop,
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Private, Kind::NaiveLoop];

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ClipArgs {
    /// What is trained
    #[arg(long, value_enum, default_value = "none")]
    adapter: AdapterArg,
    /// How clipped sums are made; sum-f32 for the whole model and exact for an adapter unless given
    #[arg(long, value_enum)]
    path: Option<PathArg>,
    /// Units in the micro-batch, one record each
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    units: u32,
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
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(2..=1 << 18))]
    vocab: u32,
    /// Rank of adapters
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    rank: u32,
    /// Times that each kind of step is taken, in turns; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Take one step of this kind and say how much memory it took
    #[arg(long, value_enum, hide = true)]
    memory_of: Option<Kind>,
}

impl ClipArgs {
    fn path(&self) -> PathArg {
        self.path.unwrap_or(match self.adapter {
            AdapterArg::None => PathArg::SumF32,
            AdapterArg::LoraB => PathArg::Exact,
        })
    }

    fn size(&self) -> Size {
        let Self { units, tokens, width, layers, vocab, .. } = *self;
        let adapter = match self.adapter {
            AdapterArg::None => None,
            AdapterArg::LoraB => Some(Lora { rank: self.rank, alpha: 2 * self.rank, trains: Factor::B }),
        };
        let path = match self.path() {
            PathArg::Exact => Path::Exact,
            PathArg::SumF32 => Path::Sum(Accumulate::F32),
            PathArg::SumF64 => Path::Sum(Accumulate::F64),
        };
        Size { units, tokens, width, layers, vocab, adapter, path }
    }

    /// The same measurement on a command line, for one kind of step in a process of its own.
    fn command_line(&self, kind: Kind) -> Vec<String> {
        let numbers = [
            ("--units", self.units),
            ("--tokens", self.tokens),
            ("--width", self.width),
            ("--layers", self.layers),
            ("--vocab", self.vocab),
            ("--rank", self.rank),
        ];
        let words = [("--adapter", word(self.adapter)), ("--path", word(self.path())), ("--memory-of", word(kind))];
        let mut line: Vec<String> = ["bench", "clip", "--format", "json"].map(str::to_owned).to_vec();
        line.extend(numbers.iter().flat_map(|(name, n)| [(*name).to_owned(), n.to_string()]));
        line.extend(words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        line
    }
}

fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

pub(super) fn run(args: &ClipArgs) -> Result<Answer, Failure> {
    let work = Workload::new(args.size()).map_err(|e| Failure::trouble("not_measured", &e))?;
    match args.memory_of {
        Some(kind) => {
            let input = peak_memory();
            step(&work, kind).map_err(|e| Failure::trouble("not_measured", &e))?;
            let data = json!({ "input_peak_bytes": input, "peak_bytes": peak_memory() });
            Ok(Answer::table([("peak bytes", data["peak_bytes"].to_string())]).with_data(&data))
        }
        None => measure(args, &work),
    }
}

fn step(work: &Workload, kind: Kind) -> Result<(), MeasureError> {
    match kind {
        Kind::Plain => work.plain(),
        Kind::Private => work.private(),
        Kind::NaiveLoop => work.naive_loop(),
    }
}

fn measure(args: &ClipArgs, work: &Workload) -> Result<Answer, Failure> {
    let mut seconds: [Vec<f64>; 3] = Default::default();
    for run in 0..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        for (kind, seconds) in KINDS.into_iter().zip(&mut seconds) {
            let started = Instant::now();
            step(work, kind).map_err(|e| Failure::trouble("not_measured", &e))?;
            // The first run warms caches and the allocator up.
            if run > 0 {
                seconds.push(started.elapsed().as_secs_f64());
            }
        }
    }
    let noise = noise(args, work).map_err(|e| Failure::trouble("no_entropy", &e))?;
    let memory = KINDS.map(|kind| memory(args, kind));
    Ok(answer(args, work, seconds, noise, memory))
}

/// Seconds for the noise of one step, without the tables that are built once.
fn noise(args: &ClipArgs, work: &Workload) -> Result<Vec<f64>, EntropyError> {
    let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 };
    let mut stream = Stream::<Noise>::open(&mut OsEntropy, &context)?;
    work.noise(&mut stream);
    let timed = (0..args.runs).map(|_| {
        let started = Instant::now();
        work.noise(&mut stream);
        started.elapsed().as_secs_f64()
    });
    Ok(timed.collect())
}

/// Most memory that a process of its own held for one step of this kind; none where the system does not tell.
fn memory(args: &ClipArgs, kind: Kind) -> Option<u64> {
    let output = Command::new(std::env::current_exe().ok()?).args(args.command_line(kind)).output().ok()?;
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    answer["data"]["peak_bytes"].as_u64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
fn ratio(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    part.zip(whole).map(|(part, whole)| part as f64 / whole as f64)
}

fn answer(args: &ClipArgs, work: &Workload, mut seconds: [Vec<f64>; 3], mut noise: Vec<f64>, memory: [Option<u64>; 3]) -> Answer {
    // Of each run's pair, so that a load that comes and goes falls on both.
    let mut ratios: Vec<f64> = seconds[1].iter().zip(&seconds[0]).map(|(private, plain)| private / plain).collect();
    let paired = median(&mut ratios);
    let [plain, private, naive] = seconds.each_mut().map(|s| median(s));
    let (noise, [plain_bytes, private_bytes, naive_bytes]) = (median(&mut noise), memory);
    let memory_ratio = ratio(private_bytes, plain_bytes);
    let mib = |bytes: Option<u64>| bytes.map_or("not known".to_owned(), |b| format!("{} MiB", b >> 20));
    let rows = [
        ("plain step", format!("{plain:.3} s")),
        ("private step", format!("{private:.3} s")),
        ("naive loop", format!("{naive:.3} s")),
        ("noise of one step", format!("{noise:.3} s")),
        ("private to plain", format!("{:.3} ({:.3} to {:.3} run by run)", private / plain, ratios[0], ratios[ratios.len() - 1])),
        ("memory", format!("plain {}, private {}, naive loop {}", mib(plain_bytes), mib(private_bytes), mib(naive_bytes))),
    ];
    Answer::table(rows).with_data(&json!({
        "adapter": word(args.adapter),
        "path": word(args.path()),
        "units": args.units,
        "tokens": args.tokens,
        "width": args.width,
        "layers": args.layers,
        "vocab": args.vocab,
        "rank": (args.adapter == AdapterArg::LoraB).then_some(args.rank),
        "trained_coordinates": work.dimension(),
        "runs": args.runs,
        "plain_step_s": plain,
        "private_step_s": private,
        "naive_loop_step_s": naive,
        "noise_s": noise,
        "ratio": private / plain,
        "ratio_run_by_run": paired,
        "ratio_least": ratios[0],
        "ratio_most": ratios[ratios.len() - 1],
        "plain_peak_bytes": plain_bytes,
        "private_peak_bytes": private_bytes,
        "naive_loop_peak_bytes": naive_bytes,
        "memory_ratio": memory_ratio,
    }))
}
