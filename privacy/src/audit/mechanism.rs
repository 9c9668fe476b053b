//! L1: the real path with and without one unit, attacked by a threshold on the coordinate that the unit moves (privacy.md D70).
//! Knows no law of the noise beyond its claimed deviation.

use super::bounds::{Mistakes, MuEstimate, epsilon_lower};
use super::payment::{Payments, mechanism};
use super::{AuditError, BEYOND, Check, Level, MOST_RUNS, Report, Subject, claim, verdict, whole};
use crate::bound::{Block, UnitSum};
use crate::noise::{EntropySource, Noise, Sample, Stream};
use crate::sample::poisson_sample;
use protocol::decimal::Decimal;

/// Coordinates.
const DIMENSION: usize = 64;
/// Length of the unit's gradient in clip bounds: it must be clipped to count as C·e₁, so that clipping is audited too.
const LOUD: f32 = 1000.0;
/// Units that are there in every run.
const BYSTANDERS: usize = 3;
/// Standard errors by which μ̂ may miss 1/σ.
const STANDARD_ERRORS: f64 = 4.0;
/// Thresholds that the attacker tries on the first half of the runs.
const THRESHOLDS: usize = 64;
/// Fewest runs on each side: below, a half holds too few for any bound.
const FEWEST_RUNS: u32 = 40;

const METHOD: &str = "two worlds, with and without one unit of gradient 1000·C·e1 beside three others, 64 coordinates, sampling rate 1: sample, \
clip, grid, integer sum, paid noise; sealing, summing of updates and opening are left out (exact on integers); threshold chosen on the first \
half of the runs, Clopper-Pearson on the second; mu from means and pooled deviation of all runs; fresh entropy of the system, not committed to";

pub(super) fn run(subject: Subject, runs: u32, entropy: &mut dyn EntropySource) -> Result<Report, AuditError> {
    if !(FEWEST_RUNS..=MOST_RUNS).contains(&runs) {
        return Err(AuditError::Runs(runs));
    }
    let (rate, dimension) = (Decimal::new(1, 0)?, u64::try_from(DIMENSION).unwrap_or(u64::MAX));
    let claimed = mechanism(subject.claimed, rate, dimension)?;
    let mut payments = Payments::new(subject.noise_multiplier, rate, dimension)?;
    let scores = Scores::collect(&mut payments, runs, entropy)?;
    report(&scores, claim(&claimed)?, 1.0 / claimed.noise_multiplier_executed(), claimed.delta().to_f64())
}

fn report(scores: &Scores, epsilon_claimed: f64, mu_claimed: f64, delta: f64) -> Result<Report, AuditError> {
    let estimate = MuEstimate::of(&scores.with, &scores.without)?;
    let error = STANDARD_ERRORS * estimate.standard_error(mu_claimed);
    let mistakes = scores.attack(delta)?;
    let checks = vec![
        Check { name: "mu", value: estimate.mu, least: mu_claimed - error, most: mu_claimed + error },
        // At a confidence of which a right program is as rarely a victim as of the check above; not at the 95 % that are shown.
        Check { name: "epsilon lower bound", value: epsilon_lower(&mistakes, delta, BEYOND)?, least: 0.0, most: epsilon_claimed },
    ];
    Ok(Report {
        level: Level::Mechanism,
        epsilon_claimed,
        delta,
        epsilon_lower_95: Some(epsilon_lower(&mistakes, delta, 0.05)?),
        epsilon_estimate: Some(estimate.epsilon(delta)?),
        method: METHOD,
        trials: whole(scores.with.len() + scores.without.len()),
        guessed: None,
        seed_commitment: None,
        false_alarm: 2.0 * BEYOND,
        verdict: verdict(&checks),
        checks,
    })
}

/// What the attacker saw on the unit's coordinate, in grid steps.
struct Scores {
    with: Vec<f64>,
    without: Vec<f64>,
}

impl Scores {
    /// The two worlds in turn, so that nothing which drifts could tell them apart.
    fn collect(payments: &mut Payments, runs: u32, entropy: &mut dyn EntropySource) -> Result<Self, AuditError> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            with.push(noised_coordinate(payments, true, entropy)?);
            without.push(noised_coordinate(payments, false, entropy)?);
        }
        Ok(Self { with, without })
    }

    /// Mistakes on the second half, by the threshold that would have proved most on the first.
    fn attack(&self, delta: f64) -> Result<Mistakes, AuditError> {
        let half = self.with.len() / 2;
        let ((seen_with, with), (seen_without, without)) = (self.with.split_at(half), self.without.split_at(half));
        let mut sorted = [seen_with, seen_without].concat();
        sorted.sort_by(f64::total_cmp);
        let mut best = (0.0, f64::INFINITY);
        for i in 0..THRESHOLDS {
            let threshold = sorted[i * sorted.len() / THRESHOLDS];
            let proved = epsilon_lower(&mistakes(seen_with, seen_without, threshold), delta, 0.05)?;
            if proved > best.0 {
                best = (proved, threshold);
            }
        }
        Ok(mistakes(with, without, best.1))
    }
}

/// The attacker says "there" from the threshold on.
fn mistakes(with: &[f64], without: &[f64], threshold: f64) -> Mistakes {
    let count = |scores: &[f64], there: bool| scores.iter().filter(|&&x| (x >= threshold) == there).count();
    Mistakes {
        false_positives: whole(count(without, true)),
        without: whole(without.len()),
        false_negatives: whole(count(with, false)),
        with: whole(with.len()),
    }
}

/// One run of the real path: sample, clip, grid, sum, noise. The first noised coordinate.
#[expect(clippy::cast_precision_loss, reason = "sums of four units and noise below 2^44 grid steps are exact")]
fn noised_coordinate(payments: &mut Payments, with: bool, entropy: &mut dyn EntropySource) -> Result<f64, AuditError> {
    let paid = payments.step()?;
    let (context, m) = (paid.context(), payments.mechanism());
    let units = BYSTANDERS + usize::from(with);
    let mut sum = UnitSum::new(m);
    for unit in poisson_sample(&mut Stream::<Sample>::open(entropy, &context)?, m.sampling_rate(), units) {
        sum.add_unit(&[Block { offset: 0, values: &gradient(unit) }]);
    }
    let noised = sum.noised(paid, m, &mut Stream::<Noise>::open(entropy, &context)?)?;
    Ok(noised.values().first().map_or(f64::NAN, |&v| v as f64))
}

/// Of the unit in question (the last): long, along the first coordinate. Of the others: something everywhere, the same in both worlds.
fn gradient(unit: usize) -> [f32; DIMENSION] {
    let mut values = [0.0; DIMENSION];
    if unit == BYSTANDERS {
        values[0] = LOUD;
    } else {
        values.iter_mut().skip(unit).step_by(BYSTANDERS).for_each(|x| *x = 0.1);
    }
    values
}
