//! `bench clip`: what it costs to clip every unit by itself (privacy.md D43). Made-up data only; touches no key and no file.
//!
//! Times are taken in turns in one process: on the clock, and as processor time, which a machine shared with others distorts less. Memory is taken in a process of its own for each kind of step, which makes one step and says
//! how much it ever held: what one step leaves to the allocator would else be counted for the next.

use super::answer::{Answer, Failure, say};
use super::bench::{answered_apart, peak_memory, processor_seconds};
use super::bench_train::KeepArg;
use crate::clock::OsEntropy;
use clap::{Args, ValueEnum};
use privacy::mechanism::Accumulate;
use privacy::noise::{EntropyError, Noise, StepContext, Stream};
use protocol::ids::ManifestDigest;
use serde_json::json;
use std::time::Instant;
use train::measure::{MeasureError, Path, Size, Trains, Workload};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TrainsArg {
    /// The whole model
    Full,
    /// Blocks at the top, with the last normalisation
    Top,
    /// The factors B of adapters on every linear layer
    LoraB,
    /// Shifts and gains
    Biases,
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
    #[arg(long, value_enum, default_value = "full")]
    trains: TrainsArg,
    /// How clipped sums are made; sum-f32 for the whole model and exact for a part of it unless given
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
    /// Blocks at the top that are trained with --trains top
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=128))]
    top: u32,
    /// What is kept between the passes
    #[arg(long, value_enum, default_value = "everything")]
    keep: KeepArg,
    /// Times that each kind of step is taken, in turns; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Take one step of this kind and say how much memory it took
    #[arg(long, value_enum, hide = true)]
    memory_of: Option<Kind>,
}

impl ClipArgs {
    fn path(&self) -> PathArg {
        self.path.unwrap_or(match self.trains {
            TrainsArg::Full => PathArg::SumF32,
            TrainsArg::Top | TrainsArg::LoraB | TrainsArg::Biases => PathArg::Exact,
        })
    }

    /// The same sizes where everything is trained and kept, on the usual path: what a part of the model is compared with.
    fn whole(&self) -> Self {
        Self { trains: TrainsArg::Full, path: None, keep: KeepArg::Everything, ..*self }
    }

    fn size(&self) -> Size {
        let Self { units, tokens, width, layers, vocab, .. } = *self;
        let trains = match self.trains {
            TrainsArg::Full => Trains::Full,
            TrainsArg::Top => Trains::Top(self.top),
            TrainsArg::LoraB => Trains::LoraB(self.rank),
            TrainsArg::Biases => Trains::Biases,
        };
        let path = match self.path() {
            PathArg::Exact => Path::Exact,
            PathArg::SumF32 => Path::Sum(Accumulate::F32),
            PathArg::SumF64 => Path::Sum(Accumulate::F64),
        };
        Size { units, tokens, width, layers, vocab, trains, path, keep: self.keep.into() }
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
            ("--top", self.top),
        ];
        let words =
            [("--trains", word(self.trains)), ("--path", word(self.path())), ("--keep", word(self.keep)), ("--memory-of", word(kind))];
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

/// What the steps of one kind took, run by run, in seconds.
#[derive(Default)]
struct Taken {
    clock: Vec<f64>,
    /// Empty where the system does not tell.
    processor: Vec<f64>,
}

impl Taken {
    fn time(&mut self, job: impl FnOnce() -> Result<(), MeasureError>) -> Result<(), MeasureError> {
        let (started, before) = (Instant::now(), processor_seconds());
        job()?;
        self.clock.push(started.elapsed().as_secs_f64());
        self.processor.extend(before.zip(processor_seconds()).map(|(before, after)| after - before));
        Ok(())
    }
}

fn measure(args: &ClipArgs, work: &Workload) -> Result<Answer, Failure> {
    let mut taken: [Taken; 3] = Default::default();
    for run in 0..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        for (kind, taken) in KINDS.into_iter().zip(&mut taken) {
            // The first run warms caches and the allocator up, and does not count.
            let mut warm = Taken::default();
            let into = if run == 0 { &mut warm } else { taken };
            into.time(|| step(work, kind)).map_err(|e| Failure::trouble("not_measured", &e))?;
        }
    }
    let noise = noise(args, work).map_err(|e| Failure::trouble("no_entropy", &e))?;
    let whole = memory(&args.whole(), Kind::Private);
    let memory = KINDS.map(|kind| memory(args, kind));
    Ok(answer(args, work, taken, noise, (memory, whole)))
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
    answered_apart(args.command_line(kind)).ok()?["data"]["peak_bytes"].as_u64()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn over(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    part.zip(whole).map(|(part, whole)| part / whole)
}

#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
fn bytes(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

fn answer(
    args: &ClipArgs,
    work: &Workload,
    taken: [Taken; 3],
    noise: Vec<f64>,
    (memory, whole): ([Option<u64>; 3], Option<u64>),
) -> Answer {
    let [plain, private, naive] = taken.each_ref().map(|t| median(&t.clock));
    let [plain_cpu, private_cpu, naive_cpu] = taken.each_ref().map(|t| median(&t.processor));
    let (noise, [plain_bytes, private_bytes, naive_bytes]) = (median(&noise), memory);
    let figure = |x: Option<f64>, unit: &str| x.map_or("not known".to_owned(), |x| format!("{x:.3}{unit}"));
    let times = |clock, cpu| format!("{} ({} of a processor)", figure(clock, " s"), figure(cpu, " s"));
    let mib = |bytes: Option<u64>| bytes.map_or("not known".to_owned(), |b| format!("{} MiB", b >> 20));
    let (ratio, ratio_cpu) = (over(private, plain), over(private_cpu, plain_cpu));
    let rows = [
        ("plain step", times(plain, plain_cpu)),
        ("private step", times(private, private_cpu)),
        ("naive loop", times(naive, naive_cpu)),
        ("noise of one step", figure(noise, " s")),
        ("private to plain", format!("{} ({} of a processor)", figure(ratio, ""), figure(ratio_cpu, ""))),
        ("memory", format!("plain {}, private {}, naive loop {}", mib(plain_bytes), mib(private_bytes), mib(naive_bytes))),
        ("memory of a private step over the whole model", mib(whole)),
    ];
    Answer::table(rows).with_data(&json!({
        "trains": word(args.trains),
        "keep": word(args.keep),
        "path": word(args.path()),
        "units": args.units,
        "tokens": args.tokens,
        "width": args.width,
        "layers": args.layers,
        "vocab": args.vocab,
        "rank": (args.trains == TrainsArg::LoraB).then_some(args.rank),
        "top": (args.trains == TrainsArg::Top).then_some(args.top),
        "trained_coordinates": work.dimension(),
        "runs": args.runs,
        "plain_step_s": plain,
        "private_step_s": private,
        "naive_loop_step_s": naive,
        "noise_s": noise,
        "ratio": ratio,
        "plain_step_cpu_s": plain_cpu,
        "private_step_cpu_s": private_cpu,
        "naive_loop_step_cpu_s": naive_cpu,
        "ratio_cpu": ratio_cpu,
        "plain_peak_bytes": plain_bytes,
        "private_peak_bytes": private_bytes,
        "naive_loop_peak_bytes": naive_bytes,
        "memory_ratio": over(bytes(private_bytes), bytes(plain_bytes)),
        "whole_private_peak_bytes": whole,
        "memory_to_whole": over(bytes(private_bytes), bytes(whole)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use train::direct::Keep;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ClipArgs,
    }

    #[test]
    fn a_process_of_its_own_is_asked_for_the_same_work() {
        let parsed = |line: &str| Line::parse_from(line.split(' ')).args;
        let asked = |args: ClipArgs| {
            let line = args.command_line(Kind::NaiveLoop);
            let start = line.iter().position(|word| word.starts_with("--units")).unwrap();
            Line::parse_from(std::iter::once("x".to_owned()).chain(line[start..].iter().cloned())).args
        };
        for line in [
            "x --trains lora-b --units 3 --tokens 5 --vocab 7 --rank 2",
            "x --trains top --top 2 --keep inputs",
            "x --trains biases --path sum-f64",
            "x",
        ] {
            let (args, again) = (parsed(line), asked(parsed(line)));
            assert_eq!((again.size(), again.memory_of), (args.size(), Some(Kind::NaiveLoop)), "{line}");
            let whole = args.whole().size();
            assert_eq!((whole.trains, whole.path, whole.keep), (Trains::Full, Path::Sum(Accumulate::F32), Keep::Everything), "{line}");
        }
        assert_eq!(parsed("x --trains lora-b").path(), PathArg::Exact);
    }

    #[test]
    fn processor_time_and_medians_are_what_they_say() {
        assert!(processor_seconds().is_none_or(|s| s >= 0.0));
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[])), (Some(2.0), None));
    }
}
