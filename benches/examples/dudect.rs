//! Do sampler, packer, product and sharing take the same time whatever the secret? (crypto.md C71, item 3 of the required tests.) By hand,
//! on a quiet machine with a release build:
//!
//! `cargo run --release -p concordat-benches --example dudect -- 200000`
//!
//! Runs each of them many times on inputs of two classes in random order, one class fixed, the other random, and prints Welch's t of the two
//! sets of times, as they are and with the slowest cut off at several heights (Reparaz, Balasch, Verbauwhede 2017). Above 4.5 time depends
//! on the input. The line before the last has one class only and shows what is chance; the last one is a function that leaks, to see that it
//! shows. Ends with 1 if a secret shows or the leak does not; never part of the tests: a busy machine can spoil a figure.
#![expect(clippy::print_stdout, reason = "shows its figures to whoever runs it by hand")]

use benches::OsEntropy;
use crypto::Polynomial;
use crypto::mask::MaskKey;
use crypto::packing::pack;
use crypto::ring::RingKey;
use crypto::sampler::{HedgeSecret, RoundSecret, SmallPolynomial};
use crypto::share::deal;
use privacy::noise::EntropySource as _;
use protocol::ids::{GroupId, ManifestDigest};
use protocol::params::{CommitteeSize, Packing, RING_DIMENSION};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;
use zeroize::Zeroizing;

/// Per cent of the times that are kept, from all down to the fastest half.
const KEPT: [usize; 5] = [100, 99, 95, 80, 50];
/// |t| above which time depends on the input.
const SHOWS: f64 = 4.5;
const SIZE: CommitteeSize = CommitteeSize { decryptors: 7, corrupt: 2 };

/// Random and fixed inputs in random order.
struct Inputs(OsEntropy);

impl Inputs {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill(&mut out).expect("the operating system gives randomness");
        out
    }

    /// A round secret: of fixed or of fresh bytes. Both are made in both classes, so that what runs before a measurement is the same.
    fn round(&mut self, fixed: bool) -> RoundSecret {
        let (fresh, same) = (self.bytes::<32>(), [0x42; 32]);
        let chosen = Zeroizing::new(if fixed { same } else { fresh });
        let none = Zeroizing::new([0; 32]);
        RoundSecret::derive(&chosen, &HedgeSecret::new(&mut [1; 32]), ManifestDigest([2; 32]), GroupId(0), &none)
    }

    /// A secret key: all zeros, or a real one.
    fn secret(&mut self, fixed: bool) -> SmallPolynomial {
        let mut secret = self.round(false).secret();
        let keep = i8::from(!fixed);
        secret.iter_mut().for_each(|s| *s *= keep);
        secret
    }

    /// Values: all zeros, or over the whole range of eight bits.
    fn values(&mut self, len: usize, fixed: bool) -> Vec<i32> {
        let mut bytes = vec![0u8; len];
        self.0.fill(&mut bytes).expect("the operating system gives randomness");
        let keep = i32::from(!fixed);
        bytes.iter().map(|&b| (i32::from(b) % 255 - 127) * keep).collect()
    }
}

fn mean_and_variance(times: &[f64]) -> (f64, f64) {
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    (mean, times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

/// |t| of two sets of times.
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let ((mean_a, variance_a), (mean_b, variance_b)) = (mean_and_variance(a), mean_and_variance(b));
    (mean_a - mean_b).abs() / (variance_a / a.len() as f64 + variance_b / b.len() as f64).sqrt()
}

/// Prints |t| of one operation and gives the largest.
fn judge(name: &str, runs: usize, mut time: impl FnMut(&mut Inputs, bool) -> f64) -> f64 {
    let mut inputs = Inputs(OsEntropy);
    // What a cold start costs belongs to no class.
    (0..runs / 20).for_each(|i| {
        black_box(time(&mut inputs, i % 2 == 0));
    });
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        let fixed = inputs.bytes::<1>()[0] & 1 == 1;
        let taken = time(&mut inputs, fixed);
        times[usize::from(fixed)].push(taken);
    }
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    let figures = KEPT.map(|kept| {
        let limit = all[(all.len() - 1) * kept / 100];
        let cut = |class: &[f64]| -> Vec<f64> { class.iter().copied().filter(|t| *t <= limit).collect() };
        welch(&cut(&times[0]), &cut(&times[1]))
    });
    println!("{name:<24} {:>9.1} µs   {}", all[all.len() / 2] * 1e6, figures.map(|t| format!("{t:7.2}")).join(" "));
    figures.into_iter().fold(0.0, f64::max)
}

/// Seconds that `work` takes the second time: how an input that was just written comes into the cache shows for a plain copy of it as well,
/// by some nanoseconds, and is not what is asked here.
fn seconds<T>(mut work: impl FnMut() -> T) -> f64 {
    black_box(work());
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn main() -> ExitCode {
    let runs = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let packing = Packing::derive(100, 8).expect("a packing");
    let len = usize::from(packing.slots) * RING_DIMENSION;
    let mask: Box<Polynomial> = MaskKey::from_bytes([5; 16]).polynomial(0);
    println!("{runs} runs each; |t| with {} of the times kept; above 4.5 the input shows", KEPT.map(|k| format!("{k} %")).join(", "));
    let sampler = judge("sampler", runs, |inputs, fixed| {
        let round = inputs.round(fixed);
        seconds(|| round.noise(0))
    });
    // One packing takes less than 2 µs, too little for a clock of some ten nanoseconds.
    let packer = judge("packer, 64 times", runs, |inputs, fixed| {
        let values = inputs.values(len, fixed);
        seconds(|| (0..64).filter(|_| pack(&packing, black_box(&values)).is_ok()).count())
    });
    let product = judge("product", runs, |inputs, fixed| {
        let secret = inputs.secret(fixed);
        seconds(|| RingKey::new(&secret).times(&mask))
    });
    let sharing = judge("sharing, c = 7, d = 2", runs, |inputs, fixed| {
        let (secret, round) = (inputs.secret(fixed), inputs.round(false));
        seconds(|| deal(&secret, &round, SIZE))
    });
    judge("product, one class", runs, |inputs, _| {
        let secret = inputs.secret(false);
        seconds(|| RingKey::new(&secret).times(&mask))
    });
    let leak = judge("a leaking sum", runs, |inputs, fixed| {
        let secret = inputs.secret(fixed);
        seconds(|| secret.iter().map(|&s| (0..s).map(black_box).count()).sum::<usize>())
    });
    let shows = [sampler, packer, product, sharing].into_iter().any(|t| t > SHOWS);
    if shows || leak <= SHOWS { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
