//! L3: whose records were in a trained model, told from how sure it is about them (privacy.md D70; Carlini et al. 2022, arXiv 2112.03570,
//! section "offline attack"). Pure numbers: knows no model and no record.

use super::bounds::{BoundsError, Guesses, clopper_pearson_lower, clopper_pearson_upper};
use super::coins::{Coins, by_rank};
use super::{AuditError, Check, Guessed, Level, ONE_RUN_ALARM, Report, real, verdict, whole};
use libm::{exp, log2};

/// Rates of false positives at which true positives are told.
pub const RATES: [f64; 2] = [0.01, 0.001];
/// Fewest and most shadow models.
const SHADOWS: std::ops::RangeInclusive<usize> = 4..=64;
/// Fewest units on each side.
const FEWEST: usize = 10;
/// Numbers of guesses that are considered: so many equal parts of all units.
const PARTS: usize = 20;

const METHOD: &str = "offline LiRA with one variance for all: each unit was in the audited model by a secret fair coin; its score is the mean \
log-odds of its true classes under that model, less their mean under the shadow models that never saw it; thresholds and the number of guesses \
are chosen on the shadow models, each taken for the audited one in turn; bound of arXiv 2305.08846 from the guesses, which decides; rates with \
Clopper-Pearson intervals of 95 %, which show";

/// One model that was trained to compare with.
pub struct Shadow {
    /// Which units it saw.
    pub inside: Vec<bool>,
    /// How sure it is about each unit: mean log-odds of the true class.
    pub confidences: Vec<f64>,
}

/// What came out of all trainings.
pub struct Outcome<'a> {
    /// How sure the audited model is about each unit.
    pub confidences: &'a [f64],
    /// Which units it saw.
    pub coins: &'a Coins,
    /// An even number of models.
    pub shadows: &'a [Shadow],
}

/// What is claimed about the audited model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// ε that the accountant says.
    pub epsilon: f64,
    /// δ.
    pub delta: f64,
    /// Noised steps.
    pub steps: u64,
}

/// A rate and its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// As counted.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Rate {
    fn of(hits: usize, tries: usize) -> Result<Self, BoundsError> {
        let (hits, tries) = (whole(hits), whole(tries));
        let [low, high] = [clopper_pearson_lower(hits, tries, 0.025)?, clopper_pearson_upper(hits, tries, 0.025)?];
        #[expect(clippy::cast_precision_loss, reason = "counts are at most a million")]
        Ok(Self { value: hits as f64 / tries as f64, low, high })
    }
}

/// One point of the attack's curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Rate of false positives that the threshold was chosen for.
    pub wanted: f64,
    /// Rate of false positives that it has on the audited model.
    pub false_positives: Rate,
    /// Rate of true positives.
    pub true_positives: Rate,
    /// Highest rate of true positives that the claim allows at the wanted rate.
    pub ceiling: f64,
}

/// The report, and the points to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// As of every level.
    pub report: Report,
    /// One for each of [`RATES`].
    pub points: [Point; RATES.len()],
}

/// min(e^ε·FPR + δ, 1 − e^−ε(1 − FPR − δ)): no attack on an (ε, δ)-private mechanism finds more at this rate of false positives.
///
/// # Source
/// Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 2.1; privacy.md D70.
pub fn ceiling(epsilon: f64, delta: f64, false_positives: f64) -> f64 {
    let steep = exp(epsilon) * false_positives + delta;
    let flat = 1.0 - exp(-epsilon) * (1.0 - false_positives - delta);
    steep.min(flat).clamp(0.0, 1.0)
}

/// How much better than chance a planted string is remembered: log2 of how many strings like it there are, over its rank among them.
///
/// # Source
/// Carlini et al. 2019, arXiv 1802.08232, definition "exposure". Without memory the mean is log2(e) = 1.44 for many candidates.
pub fn exposure(planted: f64, candidates: &[f64]) -> f64 {
    let better = candidates.iter().filter(|&&c| c >= planted).count();
    log2(real(candidates.len() + 1) / real(better + 1))
}

/// The report.
///
/// # Privacy
/// Computed from records without noise: for the institution's own eyes.
///
/// # Errors
/// [`AuditError::Shadows`], [`AuditError::Coins`] for lists of different lengths or too few units on a side, [`AuditError::Bounds`].
pub fn report(claim: &Claim, outcome: &Outcome<'_>) -> Result<Membership, AuditError> {
    let units = outcome.confidences.len();
    outcome.check()?;
    let rehearsals: Vec<Rehearsal<'_>> = (0..outcome.shadows.len()).map(|k| outcome.rehearsal(k)).collect();
    let scores = outcome.scores(outcome.confidences, None);
    let guesses = best_guesses(&rehearsals, units, claim.delta)?;
    let (judged, correct) = outcome.coins.judge(&by_rank(&scores, guesses))?;
    let points = [0, 1].map(|i| point(claim, RATES[i], threshold(&rehearsals, RATES[i]), &scores, outcome.coins.sides()));
    let [first, second] = points;
    let checks = vec![Check {
        name: "epsilon lower bound",
        value: judged.epsilon_lower(claim.delta, ONE_RUN_ALARM)?,
        least: 0.0,
        most: claim.epsilon,
    }];
    let report = Report {
        level: Level::Membership,
        epsilon_claimed: claim.epsilon,
        delta: claim.delta,
        epsilon_lower_95: Some(judged.epsilon_lower(claim.delta, 0.05)?),
        epsilon_estimate: None,
        method: METHOD,
        trials: claim.steps,
        guessed: Some(Guessed { canaries: whole(units), guesses: whole(2 * (guesses / 2)), correct }),
        seed_commitment: Some(outcome.coins.commitment()),
        false_alarm: ONE_RUN_ALARM,
        verdict: verdict(&checks),
        checks,
    };
    Ok(Membership { report, points: [first?, second?] })
}

/// Whether so many shadow models can be compared with.
///
/// # Errors
/// [`AuditError::Shadows`].
pub fn check_shadows(count: usize) -> Result<(), AuditError> {
    if SHADOWS.contains(&count) && count.is_multiple_of(2) { Ok(()) } else { Err(AuditError::Shadows(count)) }
}

/// A shadow model in the place of the audited one.
struct Rehearsal<'a> {
    scores: Vec<f64>,
    inside: &'a [bool],
}

impl Outcome<'_> {
    fn check(&self) -> Result<(), AuditError> {
        check_shadows(self.shadows.len())?;
        let (units, sides) = (self.confidences.len(), self.coins.sides());
        let inside = sides.iter().filter(|side| **side).count();
        let alike = |s: &Shadow| s.inside.len() == units && s.confidences.len() == units;
        if sides.len() != units || inside.min(units - inside) < FEWEST || !self.shadows.iter().all(alike) {
            return Err(AuditError::Coins { scores: units, coins: sides.len(), least: FEWEST });
        }
        Ok(())
    }

    /// Each unit's confidence under a model, less its mean under the shadow models that never saw it, `without` one of them. No number for a
    /// unit that all others saw.
    fn scores(&self, confidences: &[f64], without: Option<usize>) -> Vec<f64> {
        let one = |unit: usize| {
            let others = self.shadows.iter().enumerate().filter(|(k, s)| Some(*k) != without && !s.inside[unit]);
            let (sum, count) = others.fold((0.0, 0), |(sum, count), (_, s)| (sum + s.confidences[unit], count + 1));
            confidences[unit] - sum / real(count)
        };
        (0..confidences.len()).map(one).collect()
    }

    fn rehearsal(&self, k: usize) -> Rehearsal<'_> {
        let shadow = &self.shadows[k];
        Rehearsal { scores: self.scores(&shadow.confidences, Some(k)), inside: &shadow.inside }
    }
}

/// The score that a part `rate` of the units exceeds which a shadow model never saw.
fn threshold(rehearsals: &[Rehearsal<'_>], rate: f64) -> f64 {
    let outside = rehearsals.iter().flat_map(|r| r.scores.iter().zip(r.inside)).filter(|(_, inside)| !**inside);
    let mut scores: Vec<f64> = outside.map(|(score, _)| *score).filter(|s| !s.is_nan()).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the number of scores")]
    let at = (real(scores.len()) * rate) as usize;
    scores.get(at).copied().unwrap_or(f64::INFINITY)
}

fn point(claim: &Claim, wanted: f64, threshold: f64, scores: &[f64], sides: &[bool]) -> Result<Point, AuditError> {
    let rate = |side: bool| {
        let of_side: Vec<f64> = scores.iter().zip(sides).filter(|(_, s)| **s == side).map(|(score, _)| *score).collect();
        Rate::of(of_side.iter().filter(|s| **s > threshold).count(), of_side.len())
    };
    let ceiling = ceiling(claim.epsilon, claim.delta, wanted);
    Ok(Point { wanted, false_positives: rate(false)?, true_positives: rate(true)?, ceiling })
}

/// How many guesses prove most about the shadow models, on average. Nothing of the audited model is looked at.
fn best_guesses(rehearsals: &[Rehearsal<'_>], units: usize, delta: f64) -> Result<usize, AuditError> {
    let mut best = (0.0, units / PARTS);
    for guesses in (1..=PARTS).map(|part| 2 * (units * part / PARTS / 2)).filter(|&g| g > 0) {
        let right = |r: &Rehearsal<'_>| by_rank(&r.scores, guesses).iter().zip(r.inside).filter(|(g, side)| **g == Some(**side)).count();
        let correct = rehearsals.iter().map(right).sum::<usize>() / rehearsals.len();
        let bound = Guesses::new(whole(units), whole(guesses), whole(correct))?.epsilon_lower(delta, 0.05)?;
        if bound > best.0 {
            best = (bound, guesses);
        }
    }
    Ok(best.1.max(2))
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
