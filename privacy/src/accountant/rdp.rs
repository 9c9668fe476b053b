//! Rényi accounting of the subsampled Gaussian (Mironov, Talwar, Zhang 2019, arXiv 1908.10530): cross-check and ledger currency.
//! Knows no PLD and no ledger.

use super::special::{ln_add, ln_erfc};
use super::{AccountantError, Phase, checked, count};
use libm::{expm1, fabs, log, log1p, sqrt};

/// Terms after which a fractional series counts as not converging; orders just above 1 fall off slowly.
const MOST_TERMS: f64 = 10_000.0;

/// Best ε over the orders, and the order that gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RdpAnswer {
    /// Upper bound on ε.
    pub epsilon: f64,
    /// Rényi order α.
    pub order: f64,
}

/// Orders of D48: 1.1 to 10.9 by 0.1, 11 to 63, 128, 256, 512, 1024.
pub fn orders() -> impl Iterator<Item = f64> {
    let tenths = (11..110u32).map(|t| f64::from(t) / 10.0);
    tenths.chain((11..64u32).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0])
}

/// RDP of one step at order `alpha` > 1, or `None` where the fractional series does not converge.
///
/// # Source
/// arXiv 1908.10530, sections 3.2 (integer α) and 3.3 (fractional α).
pub fn step_rdp(noise_multiplier: f64, q: f64, alpha: f64) -> Option<f64> {
    if noise_multiplier == 0.0 {
        return Some(f64::INFINITY);
    }
    if q >= 1.0 {
        return Some(alpha / (2.0 * noise_multiplier * noise_multiplier));
    }
    let ln_a = if alpha.fract() == 0.0 { ln_a_integer(noise_multiplier, q, alpha) } else { ln_a_fractional(noise_multiplier, q, alpha)? };
    // Round-off may push a vanishing cost below zero.
    Some((ln_a / (alpha - 1.0)).max(0.0))
}

/// ln Σ_k C(α,k)(1−q)^(α−k) q^k e^((k²−k)/2σ²).
fn ln_a_integer(sigma: f64, q: f64, alpha: f64) -> f64 {
    let (mut k, mut ln_binomial, mut sum) = (0.0, 0.0, f64::NEG_INFINITY);
    while k <= alpha {
        sum = ln_add(sum, ln_binomial + (alpha - k) * log1p(-q) + k * log(q) + (k * k - k) / (2.0 * sigma * sigma));
        ln_binomial += log((alpha - k) / (k + 1.0));
        k += 1.0;
    }
    sum
}

/// Both series of section 3.3, until both terms are below total·e^-30.
///
/// Beyond α the binomials alternate in sign. They enter by their absolute values: an upper bound on the divergence (by up to 0.6 % of ε at
/// q = 0.25, nothing at small q), and the number that the reference accountant gives.
fn ln_a_fractional(sigma: f64, q: f64, alpha: f64) -> Option<f64> {
    let z0 = sigma * sigma * log(1.0 / q - 1.0) + 0.5;
    let (ln_q, ln_p, half, root) = (log(q), log1p(-q), log(0.5), sqrt(2.0) * sigma);
    let (mut i, mut ln_binomial, mut sum) = (0.0f64, 0.0, f64::NEG_INFINITY);
    while i < MOST_TERMS {
        let j = alpha - i;
        let s0 = ln_binomial + i * ln_q + j * ln_p + (i * i - i) / (2.0 * sigma * sigma) + half + ln_erfc((i - z0) / root);
        let s1 = ln_binomial + j * ln_q + i * ln_p + (j * j - j) / (2.0 * sigma * sigma) + half + ln_erfc((z0 - j) / root);
        sum = ln_add(sum, ln_add(s0, s1));
        // Before i passes α the terms still grow towards the bulk of the mass.
        if i > alpha && s0.max(s1) < sum - 30.0 {
            return sum.is_finite().then_some(sum);
        }
        ln_binomial += log(fabs(alpha - i) / (i + 1.0));
        i += 1.0;
    }
    None
}

/// What has to be added to RDP at order α to get ε at δ (Canonne, Kamath, Steinke 2020, Proposition 12).
pub fn conversion(alpha: f64, delta: f64) -> f64 {
    log1p(-1.0 / alpha) - log(delta * alpha) / (alpha - 1.0)
}

/// ε at δ from RDP values: the smallest over the orders.
pub(super) fn convert(rdp: impl Iterator<Item = (f64, f64)>, delta: f64) -> RdpAnswer {
    let mut best = RdpAnswer { epsilon: f64::INFINITY, order: f64::NAN };
    for (order, cost) in rdp {
        // Bretagnolle–Huber: so little divergence that the total variation is below δ.
        let epsilon = if delta * delta + expm1(-cost) > 0.0 { 0.0 } else { (cost + conversion(order, delta)).max(0.0) };
        if epsilon < best.epsilon {
            best = RdpAnswer { epsilon, order };
        }
    }
    best
}

/// Upper bound on ε at δ by Rényi accounting. No steps cost 0; no noise costs ∞.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains.
///
/// # Source
/// privacy.md D48.
pub fn epsilon_rdp(phases: &[Phase], delta: f64) -> Result<RdpAnswer, AccountantError> {
    let phases = checked(phases, delta)?;
    if phases.is_empty() {
        return Ok(RdpAnswer { epsilon: 0.0, order: f64::NAN });
    }
    let composed = orders().filter_map(|alpha| {
        let costs = phases.iter().map(|p| Some(step_rdp(p.noise_multiplier, p.sampling_rate, alpha)? * count(p.steps)));
        Some((alpha, costs.sum::<Option<f64>>()?))
    });
    Ok(convert(composed, delta))
}
