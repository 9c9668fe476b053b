//! L0: does the noise follow its law, everywhere and independently, and are units drawn as claimed (privacy.md D70, D21, D29)? Knows no attack.

use super::payment::{Payments, mechanism};
use super::{AuditError, Check, Level, Report, Subject, chi_square_at, claim, real, verdict, whole};
use crate::bound::{Block, UnitSum};
use crate::mechanism::Mechanism;
use crate::noise::{EntropySource, Noise, Sample, StepContext, Stream};
use crate::sample::poisson_sample;
use libm::erfc;
use protocol::decimal::Decimal;
use protocol::ids::ManifestDigest;
use std::f64::consts::SQRT_2;

/// Lengths of the tensors of one step. Units touch every second one; all must be noised (bug class B9).
const TENSORS: [(&str, usize); 4] = [
    ("variance, touched tensor", 2048),
    ("variance, short tensor", 16),
    ("variance, second touched tensor", 1024),
    ("variance, last tensor", 1008),
];
const DIMENSION: usize = 4096;
/// Steps of pure noise of each of two institutions.
const SILENT: usize = 32;
/// Pairs of steps with the same units: their difference is noise alone.
const PAIRS: usize = 8;
/// Units of those steps.
const UNITS: usize = 3;
/// Steps and units of the sampling, at a rate of 0.1.
const SAMPLED: (usize, usize) = (400, 500);
/// Deviations of a normal value that are consistent.
const DEVIATIONS: f64 = 5.0;
/// Chance that a normal value lies beyond them, on both sides together.
const BEYOND: f64 = 5.8e-7;
/// Equal cells of the χ² test out to 3.5 deviations; beyond lie two more.
const CELLS: i32 = 40;

const METHOD: &str = "chi-square of paid noise on empty sums against the masses of the rounded Gaussian; correlation of neighbouring \
coordinates, of successive steps and of two institutions; variance of differences of steps with the same units, per tensor; Poisson sampling at \
rate 0.1: inclusions in all, of each unit, and sizes; every figure within 5 deviations of its normal approximation, alarms added up; fresh \
entropy of the system, not committed to";

pub(super) fn run(subject: Subject, entropy: &mut dyn EntropySource) -> Result<Report, AuditError> {
    let (one, dimension) = (Decimal::new(1, 0)?, u64::try_from(DIMENSION).unwrap_or(u64::MAX));
    let claimed = mechanism(subject.claimed, one, dimension)?;
    let mut payments = Payments::new(subject.noise_multiplier, one, dimension)?;
    let (ours, theirs) = (silent(&mut payments, entropy)?, silent(&mut payments.beside(), entropy)?);
    let s = claimed.sigma_grid();
    let mut checks = vec![fit(&ours, s)];
    checks.extend(correlations(&ours, &theirs, s));
    checks.extend(variances(&mut payments, s, entropy)?);
    checks.extend(sampling(&mechanism(subject.claimed, Decimal::new(1, 1)?, dimension)?, 0.1, entropy)?);
    Ok(Report {
        level: Level::Statistics,
        epsilon_claimed: claim(&claimed)?,
        delta: claimed.delta().to_f64(),
        epsilon_lower_95: None,
        epsilon_estimate: None,
        method: METHOD,
        trials: whole(2 * SILENT + 2 * PAIRS + SAMPLED.0),
        guessed: None,
        seed_commitment: None,
        false_alarm: real(checks.len()) * BEYOND,
        verdict: verdict(&checks),
        checks,
    })
}

/// A sum of squares of `freedom` normal values.
fn chi_square(name: &'static str, value: f64, freedom: f64) -> Check {
    Check { name, value, least: chi_square_at(-DEVIATIONS, freedom), most: chi_square_at(DEVIATIONS, freedom) }
}

fn normal(name: &'static str, value: f64) -> Check {
    Check { name, value, least: -DEVIATIONS, most: DEVIATIONS }
}

/// One paid step over the units' gradients.
#[expect(clippy::cast_precision_loss, reason = "sums of few units and noise below 2^44 grid steps are exact")]
fn step(payments: &mut Payments, units: &[Vec<f32>], entropy: &mut dyn EntropySource) -> Result<Vec<f64>, AuditError> {
    let paid = payments.step()?;
    let (context, m) = (paid.context(), payments.mechanism());
    let mut sum = UnitSum::new(m);
    for values in units {
        sum.add_unit(&[Block { offset: 0, values }]);
    }
    let noised = sum.noised(paid, m, &mut Stream::<Noise>::open(entropy, &context)?)?;
    Ok(noised.values().iter().map(|&v| v as f64).collect())
}

/// Noise alone: steps of empty samples.
fn silent(payments: &mut Payments, entropy: &mut dyn EntropySource) -> Result<Vec<Vec<f64>>, AuditError> {
    (0..SILENT).map(|_| step(payments, &[], entropy)).collect()
}

/// χ² of noise against the masses of round(N(0, s²)).
fn fit(noise: &[Vec<f64>], s: f64) -> Check {
    let edges: Vec<f64> = (0..=CELLS).map(|i| (s * 3.5 * f64::from(2 * i - CELLS) / f64::from(CELLS)).round() - 0.5).collect();
    let below = |x: f64| 0.5 * erfc(-x / s / SQRT_2);
    let inner = edges.windows(2).map(|w| below(w[1]) - below(w[0]));
    let tail = below(edges[0]);
    let chances: Vec<f64> = std::iter::once(tail).chain(inner).chain([0.5 * erfc(edges[edges.len() - 1] / s / SQRT_2)]).collect();
    let mut counts = vec![0.0f64; chances.len()];
    noise.iter().flatten().for_each(|x| counts[edges.partition_point(|e| e < x)] += 1.0);
    let all = real(noise.len() * DIMENSION);
    let distance = counts.iter().zip(&chances).map(|(c, p)| (c - all * p).powi(2) / (all * p)).sum();
    chi_square("fit to the law", distance, real(chances.len() - 1))
}

/// Σxy/s² over √n: a normal value if x and y are independent noise of deviation s.
fn correlation<'a>(name: &'static str, pairs: impl Iterator<Item = (&'a f64, &'a f64)>, s: f64) -> Check {
    let (sum, n) = pairs.fold((0.0, 0.0f64), |(sum, n), (x, y)| (sum + (x / s) * (y / s), n + 1.0));
    normal(name, sum / n.sqrt())
}

fn correlations(ours: &[Vec<f64>], theirs: &[Vec<f64>], s: f64) -> [Check; 3] {
    [
        correlation("correlation of coordinates", ours.iter().flat_map(|step| step.iter().zip(&step[1..])), s),
        correlation("correlation of steps", ours.iter().zip(&ours[1..]).flat_map(|(a, b)| a.iter().zip(b)), s),
        correlation("correlation of institutions", ours.iter().zip(theirs).flat_map(|(a, b)| a.iter().zip(b)), s),
    ]
}

/// Units whose gradients are the same at every call, nothing outside every second tensor.
fn units() -> Vec<Vec<f32>> {
    let tensor = TENSORS.iter().enumerate().flat_map(|(i, (_, len))| std::iter::repeat_n(if i % 2 == 0 { 1.0f32 } else { 0.0 }, *len));
    let touched: Vec<f32> = tensor.collect();
    let gradient = |unit: usize| touched.iter().enumerate().map(|(i, x)| if i % UNITS == unit { *x } else { x * 0.5 }).collect();
    (0..UNITS).map(gradient).collect()
}

/// (noised − clean) per tensor, the clean sum cancelled by a second step over the same units: Σ(difference)²/2(s² + 1/12) has as many
/// degrees of freedom as values.
fn variances(payments: &mut Payments, s: f64, entropy: &mut dyn EntropySource) -> Result<Vec<Check>, AuditError> {
    let units = units();
    let mut squares = [0.0; TENSORS.len()];
    for _ in 0..PAIRS {
        let (first, second) = (step(payments, &units, entropy)?, step(payments, &units, entropy)?);
        let mut differences = first.iter().zip(&second).map(|(a, b)| a - b);
        for (square, (_, len)) in squares.iter_mut().zip(TENSORS) {
            *square += differences.by_ref().take(len).map(|d| d * d).sum::<f64>();
        }
    }
    let variance = 2.0 * (s * s + 1.0 / 12.0);
    Ok(squares.iter().zip(TENSORS).map(|(square, (name, len))| chi_square(name, square / variance, real(len * PAIRS))).collect())
}

/// Inclusions under Poisson sampling at rate `q`: in all, of every unit, and sizes of samples, which no batch size fixes (bug class B1).
fn sampling(m: &Mechanism, q: f64, entropy: &mut dyn EntropySource) -> Result<[Check; 3], AuditError> {
    let (steps, units) = SAMPLED;
    let (mut included, mut sizes) = (vec![0.0f64; units], 0.0);
    let variance = q * (1.0 - q);
    for at in 0..steps {
        let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: u64::try_from(at).unwrap_or(u64::MAX) };
        let sample = poisson_sample(&mut Stream::<Sample>::open(entropy, &context)?, m.sampling_rate(), units);
        sample.iter().for_each(|&unit| included[unit] += 1.0);
        sizes += (real(sample.len()) - real(units) * q).powi(2) / (real(units) * variance);
    }
    let all = (included.iter().sum::<f64>() - real(steps * units) * q) / (real(steps * units) * variance).sqrt();
    let each = included.iter().map(|n| (n - real(steps) * q).powi(2) / (real(steps) * variance)).sum();
    Ok([
        normal("inclusions in all", all),
        chi_square("inclusions of each unit", each, real(units)),
        chi_square("sizes of samples", sizes, real(steps)),
    ])
}

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;
