//! L2: what the scores of many canaries in one training run prove (privacy.md D70; Steinke, Nasr, Jagielski 2023, arXiv 2305.08846). Pure
//! numbers: knows neither how the run was trained nor what a canary is made of.

use super::bounds::Guesses;
use super::coins::{Coins, by_rank};
use super::{AuditError, BEYOND, Check, Guessed, Level, ONE_RUN_ALARM, Report, chi_square_at, real, verdict, whole};
use crate::accountant::{AccountantError, Phase, epsilon_exact, epsilon_pld};
use libm::erfc;
use std::f64::consts::SQRT_2;

/// Standard deviations by which a figure may miss what the claim says.
const DEVIATIONS: f64 = 4.0;
/// Fewest canaries on each side.
const FEWEST: usize = 10;
/// Numbers of guesses that are considered: so many equal parts of all canaries.
const PARTS: usize = 20;

const METHOD: &str = "one training run: canaries of gradient 1000·C along directions of their own, each in it by a secret fair coin and sampled \
like every unit; score of a canary: what the noised sums show along its direction, all steps added up; the attacker says \"in\" for the highest and \
\"out\" for the lowest scores, as many as the claim alone makes best; bound of arXiv 2305.08846 from the guesses; signal and noise beside the \
claim within 4 standard deviations";

/// What is claimed about the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// All steps of the run.
    pub phase: Phase,
    /// ε at `delta` that the accountant says.
    pub epsilon: f64,
    /// δ.
    pub delta: f64,
    /// What one inclusion of a canary adds to its score at least, in sensitivities: 1 less what rounding to the grid costs (D17).
    pub reach: f64,
}

/// What came out: one score for each coin, in sensitivities.
pub struct Outcome<'a> {
    /// Scores.
    pub scores: &'a [f64],
    /// Who was in.
    pub coins: &'a Coins,
}

/// The report.
///
/// # Errors
/// [`AuditError::Coins`] for another number of scores than coins or too few canaries on a side; [`AuditError::Bounds`].
pub fn report(claim: &Claim, outcome: &Outcome<'_>) -> Result<Report, AuditError> {
    judge(claim, outcome, best_guesses(outcome.scores.len().max(1), mu(&claim.phase), claim.delta)?)
}

fn judge(claim: &Claim, outcome: &Outcome<'_>, guesses: usize) -> Result<Report, AuditError> {
    let seen = Seen::of(outcome)?;
    let (judged, correct) = outcome.coins.judge(&by_rank(outcome.scores, guesses))?;
    let checks = vec![
        seen.signal(claim),
        seen.noise(claim),
        Check { name: "epsilon lower bound", value: judged.epsilon_lower(claim.delta, ONE_RUN_ALARM)?, least: 0.0, most: claim.epsilon },
    ];
    Ok(Report {
        level: Level::OneRun,
        epsilon_claimed: claim.epsilon,
        delta: claim.delta,
        epsilon_lower_95: Some(judged.epsilon_lower(claim.delta, 0.05)?),
        epsilon_estimate: Some(seen.epsilon(claim)?),
        method: METHOD,
        trials: claim.phase.steps,
        guessed: Some(Guessed { canaries: whole(outcome.scores.len()), guesses: whole(2 * (guesses / 2)), correct }),
        seed_commitment: Some(outcome.coins.commitment()),
        false_alarm: 2.0 * BEYOND + ONE_RUN_ALARM,
        verdict: verdict(&checks),
        checks,
    })
}

/// Means of scores on both sides, and what is left on the side of those that were out: noise alone.
struct Seen {
    inside: f64,
    mean_in: f64,
    outside: f64,
    mean_out: f64,
    square_out: f64,
}

impl Seen {
    fn of(outcome: &Outcome<'_>) -> Result<Self, AuditError> {
        let (scores, sides) = (outcome.scores, outcome.coins.sides());
        let side = |wanted: bool| scores.iter().zip(sides).filter(move |(_, side)| **side == wanted).map(|(score, _)| *score);
        let (inside, outside) = (side(true).count(), side(false).count());
        if scores.len() != sides.len() || inside.min(outside) < FEWEST {
            return Err(AuditError::Coins { scores: scores.len(), coins: sides.len(), least: FEWEST });
        }
        Ok(Self {
            inside: real(inside),
            mean_in: side(true).sum::<f64>() / real(inside),
            outside: real(outside),
            mean_out: side(false).sum::<f64>() / real(outside),
            square_out: side(false).map(|x| x * x).sum::<f64>(),
        })
    }

    /// How much further up the canaries that were in lie, in parts of what the claim says: 1 for a right program. A rate other than the
    /// plan's, or a bound that is not kept, shows here.
    fn signal(&self, claim: &Claim) -> Check {
        let Phase { noise_multiplier: s, sampling_rate: q, .. } = claim.phase;
        let (steps, h) = (steps(&claim.phase), claim.reach);
        let deviation = (steps * (s * s + q * (1.0 - q) * h * h) / self.inside + steps * s * s / self.outside).sqrt();
        let miss = DEVIATIONS * deviation / (steps * q * h);
        let value = (self.mean_in - self.mean_out) / (steps * q * h);
        Check { name: "signal in parts of the claim", value, least: 1.0 - miss, most: 1.0 + miss }
    }

    /// Deviation of one noised step, in parts of what the claim says: 1 for a right program.
    fn noise(&self, claim: &Claim) -> Check {
        let of = |square: f64| (square / self.outside).sqrt();
        let (least, most) = (of(chi_square_at(-DEVIATIONS, self.outside)), of(chi_square_at(DEVIATIONS, self.outside)));
        Check { name: "noise in parts of the claim", value: self.deviation(claim) / claim.phase.noise_multiplier, least, most }
    }

    /// Of one noised step, in sensitivities.
    fn deviation(&self, claim: &Claim) -> f64 {
        (self.square_out / self.outside / steps(&claim.phase)).sqrt()
    }

    /// ε of the schedule with the noise that was seen over the signal that was seen; 0 without a signal.
    fn epsilon(&self, claim: &Claim) -> Result<f64, AuditError> {
        let signal = self.signal(claim).value * claim.reach;
        if signal <= 0.0 {
            return Ok(0.0);
        }
        let noise_multiplier = self.deviation(claim) / signal;
        // Scores that are no numbers protect nobody.
        if noise_multiplier.is_nan() {
            return Ok(f64::INFINITY);
        }
        Ok(epsilon_of(Phase { noise_multiplier, ..claim.phase }, claim.delta)?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "the accountant takes at most 1e9 steps")]
fn steps(phase: &Phase) -> f64 {
    phase.steps as f64
}

/// ε of a schedule as the accountant reports it: in closed form where everybody is in every step, else by PLD.
///
/// # Errors
/// [`AccountantError`].
pub fn epsilon_of(phase: Phase, delta: f64) -> Result<f64, AccountantError> {
    match epsilon_exact(&[phase], delta)? {
        Some(epsilon) => Ok(epsilon),
        None => epsilon_pld(&[phase], delta),
    }
}

/// Distance between the scores of canaries that are in and out, in deviations: q√T/σ.
fn mu(phase: &Phase) -> f64 {
    phase.sampling_rate * steps(phase).sqrt() / phase.noise_multiplier
}

/// Pr[N(0, 1) > x].
fn above(x: f64) -> f64 {
    0.5 * erfc(x / SQRT_2)
}

/// How many guesses prove most if the claim is true: fixed before a score is looked at, as the bound demands.
fn best_guesses(canaries: usize, mu: f64, delta: f64) -> Result<usize, AuditError> {
    let mut best = (0.0, canaries / PARTS);
    for part in 1..=PARTS {
        let guesses = canaries * part / PARTS;
        let bound = expected(canaries, guesses, mu)?.epsilon_lower(delta, 0.05)?;
        if bound > best.0 {
            best = (bound, guesses);
        }
    }
    Ok(best.1.max(2))
}

/// What an attacker sees who meets exactly the expected number of right guesses.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of guesses")]
fn expected(canaries: usize, guesses: usize, mu: f64) -> Result<Guesses, AuditError> {
    let tail = real(guesses) / real(canaries) / 2.0;
    // The score above which that part of all canaries lies, half of them in and half of them out; both ends are alike.
    let (mut low, mut high) = (-40.0, mu + 40.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if f64::midpoint(above(middle - mu), above(middle)) > tail { low = middle } else { high = middle }
    }
    let right = 0.5 * above(low - mu) / tail;
    Ok(Guesses::new(whole(canaries), whole(guesses), (right * real(guesses)) as u64)?)
}

#[cfg(test)]
#[path = "one_run_tests.rs"]
mod tests;
