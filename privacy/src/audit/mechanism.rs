//! L1: the real path with and without one unit, attacked by a threshold on the coordinate that the unit moves (privacy.md D70).
//! Knows no law of the noise beyond the deviation that the account rests on.

use super::bounds::{Mistakes, MuEstimate, epsilon_lower};
use super::payment::{Means, Payments};
use super::subject::Way;
use super::{AuditError, BEYOND, Check, Level, MOST_RUNS, Report, Subject, claim, verdict, whole};
use crate::noise::{EntropySource, Sample, Stream};
use crate::sample::poisson_sample;

/// Coordinates.
const DIMENSION: usize = 64;
/// Length of the unit's gradient in clip bounds, or in ones where the bound is smaller: it must be clipped to count as C·e₁, so that clipping
/// is audited too, and the 0.01 of AUTO-S must not show.
const LOUD: f64 = 1000.0;
/// Units that are there in every run.
const BYSTANDERS: usize = 3;
/// Standard errors by which μ̂ may miss 1/σ.
const STANDARD_ERRORS: f64 = 4.0;
/// Thresholds that the attacker tries on the first half of the runs.
const THRESHOLDS: usize = 64;
/// Fewest runs on each side: below, a half holds too few for any bound.
const FEWEST_RUNS: u32 = 40;

const METHOD: &str = "two worlds, with and without one unit of gradient 1000·C·e1 beside three others, 64 coordinates, sampling rate 1: sample, \
clip, grid, integer sum, paid noise, on the path of the mechanism; expected is what the accounted noise multiplier and the clauses on sensitivity \
say, not what the mechanism says of itself; own noise as in mode local, whose clamp for other modes, a contraction, is left out; sealing, summing \
of updates and opening are left out (exact on integers); threshold chosen on the first half of the runs, Clopper-Pearson on the second; mu from \
means and pooled deviation of all runs; fresh entropy of the system, not committed to";

pub(super) fn run(subject: &Subject, means: Means, runs: u32, entropy: &mut dyn EntropySource) -> Result<Report, AuditError> {
    if !(FEWEST_RUNS..=MOST_RUNS).contains(&runs) {
        return Err(AuditError::Runs(runs));
    }
    let (claimed, expected) = subject.claim(means.make, DIMENSION)?;
    let mut payments = Payments::new(subject, means, DIMENSION)?;
    let scores = Scores::collect(&mut payments, loud(subject.clip()), runs, entropy)?;
    let left = match subject.way() {
        Way::Gradients => expected.left_by_itself(),
        Way::FloatSums | Way::Counts => expected.left_whole(),
    };
    report(&scores, claim(&claimed)?, left / expected.deviation(), claimed.delta().to_f64())
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
    fn collect(payments: &mut Payments, loud: f32, runs: u32, entropy: &mut dyn EntropySource) -> Result<Self, AuditError> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            with.push(noised_coordinate(payments, loud, true, entropy)?);
            without.push(noised_coordinate(payments, loud, false, entropy)?);
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
fn noised_coordinate(payments: &mut Payments, loud: f32, with: bool, entropy: &mut dyn EntropySource) -> Result<f64, AuditError> {
    let paid = payments.step()?;
    let (context, units) = (paid.context(), BYSTANDERS + usize::from(with));
    let sample = poisson_sample(&mut Stream::<Sample>::open(entropy, &context)?, payments.mechanism().sampling_rate(), units);
    let gradients: Vec<_> = sample.into_iter().map(|unit| gradient(unit, loud)).collect();
    let noised = payments.noised(paid, gradients.iter().map(<[f32; DIMENSION]>::as_slice), entropy)?;
    Ok(noised.first().copied().unwrap_or(f64::NAN))
}

/// Of the unit in question (the last): long, along the first coordinate. Of the others: something everywhere, the same in both worlds.
fn gradient(unit: usize, loud: f32) -> [f32; DIMENSION] {
    let mut values = [0.0; DIMENSION];
    if unit == BYSTANDERS {
        values[0] = loud;
    } else {
        values.iter_mut().skip(unit).step_by(BYSTANDERS).for_each(|x| *x = 0.1);
    }
    values
}

#[expect(clippy::cast_possible_truncation, reason = "gradients are 32-bit floats; a clip bound is far below their end")]
fn loud(clip: f64) -> f32 {
    (clip.max(1.0) * LOUD) as f32
}
