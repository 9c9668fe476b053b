//! Sums of integer noise from several parties: discrete Gaussians, and Skellam noise as a cross-check (privacy.md D23, D55). Knows no
//! rounded Gaussian and no PLD.

use super::rdp::{RdpAnswer, conversion};
use super::special::ln_add;
use super::{AccountantError, count};
use libm::{exp, log, log1p, sqrt};
use std::f64::consts::PI;

/// Orders of the reference file: 2 to 128, and 256.
fn orders() -> impl Iterator<Item = u32> {
    (2..=128).chain([256])
}

/// A whole order, at most some thousands.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "orders are whole, positive and small")]
fn as_whole(order: f64) -> u32 {
    order as u32
}

/// Which integer noise a share is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareNoise {
    /// Discrete Gaussian (Kairouz, Liu, Steinke 2021, arXiv 2102.06387).
    DiscreteGaussian,
    /// Skellam (Agarwal, Kairouz, Liu 2021, arXiv 2110.04995).
    Skellam,
}

/// Sensitivity, in grid steps, of a vector of norm `l2` grid steps and this many coordinates after it was rounded: the smaller of nearest
/// and, for β > 0, dithered rounding, which holds except with probability β.
///
/// # Source
/// privacy.md D18.
pub fn rounded_sensitivity(l2: f64, dimension: u64, beta: f64) -> f64 {
    let d = count(dimension);
    let nearest = l2 + sqrt(d);
    if beta > 0.0 { nearest.min(sqrt(l2 * l2 + d / 4.0 + sqrt(-2.0 * log(beta)) * (l2 + sqrt(d) / 2.0))) } else { nearest }
}

/// The noise of h shares that are added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseShares {
    noise: ShareNoise,
    shares: u32,
    deviation: f64,
    sensitivity: f64,
    dimension: u64,
}

impl NoiseShares {
    /// `shares` shares of this deviation per coordinate against an L2 sensitivity, both in grid steps.
    ///
    /// # Errors
    /// [`AccountantError::Shares`] without shares, noise, sensitivity or coordinates.
    pub fn new(noise: ShareNoise, shares: u32, deviation: f64, sensitivity: f64, dimension: u64) -> Result<Self, AccountantError> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if shares == 0 || dimension == 0 || !positive(deviation) || !positive(sensitivity) {
            return Err(AccountantError::Shares { shares, deviation, sensitivity });
        }
        Ok(Self { noise, shares, deviation, sensitivity, dimension })
    }

    /// V = h·s².
    fn variance(&self) -> f64 {
        f64::from(self.shares) * self.deviation * self.deviation
    }

    /// Δ₁ = Δ₂·min(√d, Δ₂): integers of that L2 norm have no larger L1 norm.
    fn l1(&self) -> f64 {
        self.sensitivity * sqrt(count(self.dimension)).min(self.sensitivity)
    }

    /// RDP of one step at order α.
    fn rdp(&self, alpha: f64) -> f64 {
        let gaussian = alpha * self.sensitivity * self.sensitivity / (2.0 * self.variance());
        match self.noise {
            ShareNoise::DiscreteGaussian => self.discrete_gaussian(alpha, gaussian),
            ShareNoise::Skellam => {
                let v = self.variance();
                let second = ((2.0 * alpha - 1.0) * self.sensitivity * self.sensitivity + 6.0 * self.l1()) / (4.0 * v * v);
                gaussian + second.min(3.0 * self.l1() / (2.0 * v))
            }
        }
    }

    /// The three bounds of arXiv 2102.06387 (Theorem 1); τ is how far a sum of discrete Gaussians is from one discrete Gaussian.
    fn discrete_gaussian(&self, alpha: f64, gaussian: f64) -> f64 {
        let (d, ratio) = (count(self.dimension), self.sensitivity / sqrt(self.variance()));
        let term = |k: u32| exp(-2.0 * PI * PI * self.deviation * self.deviation * f64::from(k) / f64::from(k + 1));
        let tau = 10.0 * (1..self.shares).map(term).sum::<f64>();
        let by_l1 = alpha / 2.0 * (ratio * ratio + 2.0 * self.l1() * tau / sqrt(self.variance()) + tau * tau * d);
        let by_l2 = alpha / 2.0 * (ratio + sqrt(d) * tau) * (ratio + sqrt(d) * tau);
        (gaussian + tau * d).min(by_l1).min(by_l2)
    }

    /// RDP of one step with sampling at any order above 1.
    ///
    /// # Source
    /// [`Self::sampled_rdp`] at whole orders. (α − 1)·RDP(α) is the logarithm of a moment, convex in α and 0 at α = 1, so between whole orders
    /// the chord of two upper bounds is one.
    pub(crate) fn step_rdp(&self, q: f64, alpha: f64) -> f64 {
        let whole = self.rdp(alpha);
        if q >= 1.0 {
            return whole;
        }
        let (below, part) = (alpha.floor(), alpha.fract());
        let moment = |order: f64| if order < 2.0 { 0.0 } else { (order - 1.0) * self.sampled_rdp(as_whole(order), q) };
        let above = if part > 0.0 { part * moment(below + 1.0) } else { 0.0 };
        (((1.0 - part) * moment(below) + above) / (alpha - 1.0)).max(0.0).min(whole)
    }

    /// RDP at an integer order of one step with sampling.
    ///
    /// # Source
    /// Zhu & Wang 2019, Theorem 5; it holds for any mechanism, so it is loose for this one.
    fn sampled_rdp(&self, alpha: u32, q: f64) -> f64 {
        let whole = self.rdp(f64::from(alpha));
        if q >= 1.0 {
            return whole;
        }
        let (a, none, ln_q) = (f64::from(alpha), log1p(-q), log(q));
        let mut sum = (a - 1.0) * none + log(a * q - q + 1.0);
        let mut ln_binomial = log(a);
        for l in 2..=alpha {
            let order = f64::from(l);
            ln_binomial += log((a - order + 1.0) / order);
            let three = if l > 2 { log(3.0) } else { 0.0 };
            sum = ln_add(sum, ln_binomial + (a - order) * none + order * ln_q + (order - 1.0) * self.rdp(order) + three);
        }
        (sum / (a - 1.0)).min(whole)
    }

    /// Upper bound on ε at δ after `steps` steps that each sample with rate q. No steps cost 0.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · measure: RDP of the sum of all shares. A β above 0 in the sensitivity is a
    /// probability of failure per step that the caller charges to δ (privacy.md D18).
    ///
    /// # Errors
    /// [`AccountantError`] for q, T or δ outside their domains.
    ///
    /// # Source
    /// privacy.md D55.
    pub fn epsilon(&self, q: f64, steps: u64, delta: f64) -> Result<RdpAnswer, AccountantError> {
        super::checked(&[super::Phase { noise_multiplier: 1.0, sampling_rate: q, steps }], delta)?;
        if steps == 0 {
            return Ok(RdpAnswer { epsilon: 0.0, order: f64::NAN });
        }
        let answer = |alpha: u32| {
            let order = f64::from(alpha);
            RdpAnswer { epsilon: (count(steps) * self.sampled_rdp(alpha, q) + conversion(order, delta)).max(0.0), order }
        };
        let smaller = |best: RdpAnswer, next: RdpAnswer| if next.epsilon < best.epsilon { next } else { best };
        Ok(orders().map(answer).fold(RdpAnswer { epsilon: f64::INFINITY, order: f64::NAN }, smaller))
    }
}
