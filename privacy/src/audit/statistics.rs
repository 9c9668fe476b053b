//! L0: does the noise follow its law, everywhere and independently, and are units drawn as claimed (privacy.md D70, D21, D29)? Knows no attack.

use super::expected::Expected;
use super::payment::{Means, Payments};
use super::{AuditError, Check, Level, Report, Subject, chi_square_at, claim, real, verdict, whole};
use crate::mechanism::Mechanism;
use crate::noise::{EntropySource, Sample, StepContext, Stream};
use crate::sample::poisson_sample;
use libm::{erfc, exp};
use protocol::decimal::Decimal;
use protocol::ids::ManifestDigest;
use protocol::plan::NoiseKind;
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
/// Steps and units of the sampling.
const SAMPLED: (usize, usize) = (400, 500);
/// Its rate.
const RATE: f64 = 0.1;
/// Deviations of a normal value that are consistent.
const DEVIATIONS: f64 = 5.0;
/// Chance that a normal value lies beyond them, on both sides together.
const BEYOND: f64 = 5.8e-7;
/// Equal cells of the χ² test out to 3.5 deviations; beyond lie two more.
const CELLS: i32 = 40;
/// Largest deviation for which the masses of the discrete Gaussian are added up one by one.
const ONE_BY_ONE: f64 = 4096.0;

const METHOD: &str = "chi-square of paid noise on empty sums against the masses of the claimed law; correlation of neighbouring coordinates, of \
successive steps and of two institutions; variance of differences of steps with the same units, per tensor, on the path of the mechanism; what \
is expected is worked out from the accounted noise multiplier and the clauses on sensitivity, not asked of the mechanism; 4096 coordinates; \
Poisson sampling at rate 0.1, whatever a plan's: inclusions in all, of each unit, and sizes; own noise as in mode local; every figure within 5 \
deviations of its normal approximation, alarms added up; fresh entropy of the system, not committed to";

pub(super) fn run(subject: &Subject, means: Means, entropy: &mut dyn EntropySource) -> Result<Report, AuditError> {
    let (claimed, expected) = subject.claim(means.make, DIMENSION)?;
    let mut payments = Payments::new(subject, means, DIMENSION)?;
    let (ours, theirs) = (silent(&mut payments, entropy)?, silent(&mut payments.beside(), entropy)?);
    let mut checks = vec![fit(&ours, &expected)];
    checks.extend(correlations(&ours, &theirs, expected.deviation()));
    checks.extend(variances(&mut payments, &expected, entropy)?);
    checks.extend(sampling(&sampler()?, RATE, entropy)?);
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

/// One paid step over what the units have.
fn step(payments: &mut Payments, units: &[Vec<f32>], entropy: &mut dyn EntropySource) -> Result<Vec<f64>, AuditError> {
    let paid = payments.step()?;
    payments.noised(paid, units.iter().map(Vec::as_slice), entropy)
}

/// Noise alone: steps of empty samples.
fn silent(payments: &mut Payments, entropy: &mut dyn EntropySource) -> Result<Vec<Vec<f64>>, AuditError> {
    (0..SILENT).map(|_| step(payments, &[], entropy)).collect()
}

/// χ² of noise against the masses of its law.
fn fit(noise: &[Vec<f64>], expected: &Expected) -> Check {
    let (s, law) = (expected.sigma_grid(), expected.noise());
    let mut edges: Vec<f64> = (0..=CELLS).map(|i| (s * 3.5 * f64::from(2 * i - CELLS) / f64::from(CELLS)).round() - 0.5).collect();
    edges.dedup();
    let chances = chances(law, s, &edges);
    let mut counts = vec![0.0f64; chances.len()];
    noise.iter().flatten().for_each(|x| counts[edges.partition_point(|e| e < x)] += 1.0);
    let all = real(noise.len() * noise.first().map_or(0, Vec::len));
    let distance = counts.iter().zip(&chances).map(|(c, p)| (c - all * p).powi(2) / (all * p)).sum();
    chi_square("fit to the law", distance, real(chances.len() - 1))
}

/// Chances of a value below the first edge, between each two, above the last. Edges lie between integers.
///
/// For the rounded Gaussian these are differences of Φ. For the discrete Gaussian masses are added up; beyond [`ONE_BY_ONE`] they differ
/// from those of the rounded one by less than 1/24s² < 1e-8 of themselves, which no number of values here could show.
fn chances(law: NoiseKind, s: f64, edges: &[f64]) -> Vec<f64> {
    let within: Box<dyn Fn(f64, f64) -> f64> = match law {
        NoiseKind::DiscreteGaussian if s <= ONE_BY_ONE => {
            let mass = move |from: f64, to: f64| steps_between(from, to).map(|k| exp(-(k / s).powi(2) / 2.0)).sum::<f64>();
            let all = mass(-20.0 * s, 20.0 * s);
            Box::new(move |from, to| mass(from.max(-20.0 * s), to.min(20.0 * s)) / all)
        }
        NoiseKind::DiscreteGaussian | NoiseKind::RoundedGaussian => {
            let below = move |x: f64| 0.5 * erfc(-x / s / SQRT_2);
            Box::new(move |from, to| below(to) - below(from))
        }
    };
    let ends: Vec<f64> = [&[f64::NEG_INFINITY][..], edges, &[f64::INFINITY]].concat();
    ends.windows(2).map(|w| within(w[0], w[1])).collect()
}

/// The integers between two numbers.
fn steps_between(from: f64, to: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from.ceil()), |k| Some(k + 1.0)).take_while(move |k| *k <= to)
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

/// (noised − clean) per tensor, the clean sum cancelled by a second step over the same units: Σ(difference)² over twice the variance of the
/// noise has as many degrees of freedom as values. What a dither adds is at most a quarter of a squared grid step.
fn variances(payments: &mut Payments, expected: &Expected, entropy: &mut dyn EntropySource) -> Result<Vec<Check>, AuditError> {
    let units = units();
    let mut squares = [0.0; TENSORS.len()];
    for _ in 0..PAIRS {
        let (first, second) = (step(payments, &units, entropy)?, step(payments, &units, entropy)?);
        let mut differences = first.iter().zip(&second).map(|(a, b)| a - b);
        for (square, (_, len)) in squares.iter_mut().zip(TENSORS) {
            *square += differences.by_ref().take(len).map(|d| d * d).sum::<f64>();
        }
    }
    let variance = 2.0 * expected.deviation().powi(2);
    Ok(squares.iter().zip(TENSORS).map(|(square, (name, len))| chi_square(name, square / variance, real(len * PAIRS))).collect())
}

/// A mechanism at the rate of the sampling. Nothing of it is used but that rate.
fn sampler() -> Result<Mechanism, AuditError> {
    let mut plan = Subject::built_in(Decimal::ONE, Decimal::ONE)?.plan(Decimal::ONE, Decimal::ONE, DIMENSION);
    plan.privacy.sampling_rate = Decimal::new(1, 1)?;
    Ok(Mechanism::of_plan(&plan, 1000)?)
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
