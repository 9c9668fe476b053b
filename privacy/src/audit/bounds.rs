//! What an attacker's right and wrong guesses prove about ε (privacy.md D70). Pure numbers: knows no mechanism and no noise.

use crate::accountant::{AccountantError, Phase, epsilon_exact};
use libm::{exp, lgamma, log, log1p};

/// Most guesses that are counted: sums over them stay quick, and logarithms of factorials exact to 1e-9.
const MOST: u64 = 1_000_000;
/// Halvings of an interval; more than f64 can tell apart.
const HALVINGS: u32 = 100;

/// Numbers that no bound follows from.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundsError {
    /// More hits than tries, no tries, or more than a million.
    #[error("{hits} of {tries}, expected at most all of 1 to 1000000")]
    Counts {
        /// What came up.
        hits: u64,
        /// Out of these.
        tries: u64,
    },
    /// A significance outside (0, 1).
    #[error("significance is {0}, expected between 0 and 1")]
    Significance(f64),
    /// δ outside [0, 1).
    #[error("delta is {0}, expected at least 0 and below 1")]
    Delta(f64),
    /// Fewer than two scores on a side, or another number on the one than on the other.
    #[error("{with} scores with the unit and {without} without, expected the same number and at least 2")]
    Scores {
        /// With the unit.
        with: usize,
        /// Without it.
        without: usize,
    },
    /// The accountant has no ε for the estimate.
    #[error("the accountant refuses the estimate")]
    Accountant(#[from] AccountantError),
}

fn counted(hits: u64, tries: u64) -> Result<(f64, f64), BoundsError> {
    if hits > tries || !(1..=MOST).contains(&tries) {
        return Err(BoundsError::Counts { hits, tries });
    }
    Ok((exact(hits), exact(tries)))
}

fn significant(alpha: f64) -> Result<(), BoundsError> {
    if alpha > 0.0 && alpha < 1.0 { Ok(()) } else { Err(BoundsError::Significance(alpha)) }
}

fn probable(delta: f64) -> Result<(), BoundsError> {
    if (0.0..1.0).contains(&delta) { Ok(()) } else { Err(BoundsError::Delta(delta)) }
}

#[expect(clippy::cast_precision_loss, reason = "counts are checked to be at most a million")]
fn exact(count: u64) -> f64 {
    count as f64
}

/// ln Pr[Bin(n, p) = k] for 0 < p < 1, with p and 1 − p by their logarithms.
fn ln_mass(k: f64, n: f64, ln_p: f64, ln_q: f64) -> f64 {
    lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) + k * ln_p + (n - k) * ln_q
}

/// Pr[Bin(n, p) <= k] for 0 <= p < 1.
fn at_most(k: f64, n: f64, p: f64) -> f64 {
    if k < 0.0 {
        return 0.0;
    }
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    // Summed from the side where masses fall, so that the largest come first.
    if k > n * p {
        return 1.0 - at_most(n - k - 1.0, n, 1.0 - p);
    }
    let odds = (1.0 - p) / p;
    let (mut term, mut sum, mut j) = (exp(ln_mass(k, n, log(p), log1p(-p))), 0.0, k);
    while term > sum * 1e-18 {
        sum += term;
        term *= j / (n - j + 1.0) * odds;
        j -= 1.0;
    }
    sum
}

/// The largest x in [low, high] for which `holds`, which changes once from true to false.
fn last(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

/// The largest chance that `hits` of `tries` leave open: what is true exceeds it with probability at most `alpha`.
///
/// # Errors
/// [`BoundsError::Counts`], [`BoundsError::Significance`].
///
/// # Source
/// Clopper & Pearson 1934, Biometrika 26(4), one-sided; privacy.md D70.
pub fn clopper_pearson_upper(hits: u64, tries: u64, alpha: f64) -> Result<f64, BoundsError> {
    let (k, n) = counted(hits, tries)?;
    significant(alpha)?;
    Ok(if hits == tries { 1.0 } else { last(k / n, 1.0, |p| p < 1.0 && at_most(k, n, p) > alpha) })
}

/// The smallest chance that `hits` of `tries` leave open.
///
/// # Errors
/// As [`clopper_pearson_upper`].
///
/// # Source
/// As [`clopper_pearson_upper`]: the misses seen as hits.
pub fn clopper_pearson_lower(hits: u64, tries: u64, alpha: f64) -> Result<f64, BoundsError> {
    counted(hits, tries)?;
    Ok(1.0 - clopper_pearson_upper(tries - hits, tries, alpha)?)
}

/// How often an attacker was wrong about whether one unit was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// Guessed "there" and was wrong.
    pub false_positives: u64,
    /// Runs without the unit.
    pub without: u64,
    /// Guessed "not there" and was wrong.
    pub false_negatives: u64,
    /// Runs with the unit.
    pub with: u64,
}

/// The ε that error rates prove at δ: no (ε, δ)-private mechanism allows them together. 0 if they prove nothing.
///
/// # Source
/// Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 2.1: FPR + e^ε·FNR >= 1 − δ and FNR + e^ε·FPR >= 1 − δ.
pub fn epsilon_of_rates(false_positive: f64, false_negative: f64, delta: f64) -> f64 {
    let one = |a: f64, b: f64| {
        let left = 1.0 - delta - a;
        if left > 0.0 { log(left / b) } else { 0.0 }
    };
    one(false_positive, false_negative).max(one(false_negative, false_positive)).max(0.0)
}

/// Lower bound on ε from counted mistakes: above the truth with probability at most `alpha`. Each rate is taken at its upper
/// Clopper–Pearson bound at `alpha`/2. The attacker must have been fixed before these runs.
///
/// # Errors
/// [`BoundsError`].
///
/// # Source
/// privacy.md D70.
pub fn epsilon_lower(m: &Mistakes, delta: f64, alpha: f64) -> Result<f64, BoundsError> {
    probable(delta)?;
    let false_positive = clopper_pearson_upper(m.false_positives, m.without, alpha / 2.0)?;
    let false_negative = clopper_pearson_upper(m.false_negatives, m.with, alpha / 2.0)?;
    Ok(epsilon_of_rates(false_positive, false_negative, delta))
}

/// The outcome of one run with many canaries, each in or out by its own fair coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesses {
    canaries: u64,
    guesses: u64,
    correct: u64,
}

impl Guesses {
    /// m canaries, of which the attacker guessed some and abstained on the others, and was right on `correct`.
    ///
    /// # Errors
    /// [`BoundsError::Counts`] unless correct <= guesses <= canaries <= 1000000.
    pub fn new(canaries: u64, guesses: u64, correct: u64) -> Result<Self, BoundsError> {
        counted(guesses, canaries)?;
        if correct > guesses {
            return Err(BoundsError::Counts { hits: correct, tries: guesses });
        }
        Ok(Self { canaries, guesses, correct })
    }

    /// Most probability with which an (ε, δ)-private mechanism allows that many right guesses, for δ in [0, 1) and ε >= 0.
    ///
    /// # Source
    /// Steinke, Nasr, Jagielski 2023, arXiv 2305.08846, the theorem for approximate privacy: β + 2mδ·max_{1<=i<=v} (Pr[Bin(r, p) >= v−i] − β)/i with
    /// p = e^ε/(1+e^ε) and β = Pr[Bin(r, p) >= v].
    pub fn p_value(&self, epsilon: f64, delta: f64) -> f64 {
        let (v, r) = (exact(self.correct), exact(self.guesses));
        if self.correct == 0 {
            return 1.0;
        }
        // p and 1 − p by the logarithms that keep both.
        let ln_p = -log1p(exp(-epsilon));
        let ln_q = ln_p - epsilon;
        let beta = at_most(r - v, r, exp(ln_q));
        let (mut ln_term, mut sum, mut most) = (ln_mass(v - 1.0, r, ln_p, ln_q), 0.0f64, 0.0f64);
        for i in 1..=self.correct {
            sum += exp(ln_term);
            most = most.max(sum / exact(i));
            let j = v - exact(i);
            ln_term += log(j / (r - j + 1.0)) - epsilon;
        }
        (beta + 2.0 * exact(self.canaries) * delta * most).min(1.0)
    }

    /// Lower bound on ε: above the truth with probability at most `alpha`. 0 if the guesses prove nothing.
    ///
    /// # Errors
    /// [`BoundsError::Delta`], [`BoundsError::Significance`].
    ///
    /// # Source
    /// As [`Self::p_value`]: the largest ε at which that is at most `alpha`.
    pub fn epsilon_lower(&self, delta: f64, alpha: f64) -> Result<f64, BoundsError> {
        probable(delta)?;
        significant(alpha)?;
        let refuted = |epsilon: f64| self.p_value(epsilon, delta) <= alpha;
        // At ε = 64 a wrong guess is a chance of 1e-28: so few guesses refute nothing above it.
        Ok(if refuted(0.0) { last(0.0, 64.0, refuted) } else { 0.0 })
    }
}

/// How far apart the scores with and without the unit lie, in deviations of the noise: μ of a Gaussian mechanism.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuEstimate {
    /// Difference of the means over the pooled deviation; infinite if there was no noise at all.
    pub mu: f64,
    /// Scores on each side.
    pub runs: usize,
}

impl MuEstimate {
    /// From as many scores with the unit as without it.
    ///
    /// # Errors
    /// [`BoundsError::Scores`].
    pub fn of(with: &[f64], without: &[f64]) -> Result<Self, BoundsError> {
        if with.len() != without.len() || with.len() < 2 {
            return Err(BoundsError::Scores { with: with.len(), without: without.len() });
        }
        let (a, b) = (Moments::of(with), Moments::of(without));
        let mu = (a.mean - b.mean) / f64::midpoint(a.variance, b.variance).sqrt();
        // Equal scores without noise tell nothing, and different ones everything.
        Ok(Self { mu: if mu.is_nan() { 0.0 } else { mu }, runs: with.len() })
    }

    /// Standard error of the estimate if the truth is `mu`: √(2/n + μ²/4n), from the means and from the deviation.
    ///
    /// # Source
    /// Hedges & Olkin 1985, Statistical Methods for Meta-Analysis, chapter 5, equation 8, for two samples of n.
    pub fn standard_error(&self, mu: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "as many runs as fit into memory")]
        let n = self.runs as f64;
        (2.0 / n + mu * mu / (4.0 * n)).sqrt()
    }

    /// ε at δ of the Gaussian mechanism with this μ; 0 where the unit moved the scores down or not at all.
    ///
    /// # Errors
    /// [`BoundsError::Accountant`] for δ outside (0, 1).
    ///
    /// # Source
    /// Balle & Wang 2018, arXiv 1805.06530, Theorem 8.
    pub fn epsilon(&self, delta: f64) -> Result<f64, BoundsError> {
        let steps = u64::from(self.mu > 0.0);
        let phase = Phase { noise_multiplier: if steps == 0 { 1.0 } else { 1.0 / self.mu }, sampling_rate: 1.0, steps };
        Ok(epsilon_exact(&[phase], delta)?.unwrap_or(f64::INFINITY))
    }
}

struct Moments {
    mean: f64,
    variance: f64,
}

impl Moments {
    #[expect(clippy::cast_precision_loss, reason = "as many scores as fit into memory")]
    fn of(scores: &[f64]) -> Self {
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let variance = scores.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
        Self { mean, variance }
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
