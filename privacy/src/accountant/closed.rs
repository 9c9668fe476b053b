//! The exact answer where there is one: Gaussian steps without sampling (Balle & Wang 2018, arXiv 1805.06530). Knows no PLD.

use super::special::{ln_upper, upper};
use super::{AccountantError, Phase, checked, count};
use libm::{exp, sqrt};

/// μ = √(Σ T/σ²) when every phase has q = 1; ∞ without noise.
fn composed_mu(phases: &[Phase]) -> Option<f64> {
    let unsampled = phases.iter().all(|p| p.sampling_rate >= 1.0);
    let square: f64 = phases.iter().map(|p| count(p.steps) / (p.noise_multiplier * p.noise_multiplier)).sum();
    unsampled.then(|| sqrt(square))
}

/// δ at ε of the Gaussian mechanism whose shift is μ deviations, for μ > 0.
///
/// # Source
/// Balle & Wang 2018, arXiv 1805.06530, Theorem 8.
pub fn gaussian_delta(mu: f64, epsilon: f64) -> f64 {
    upper(epsilon / mu - mu / 2.0) - exp(epsilon + ln_upper(mu / 2.0 + epsilon / mu))
}

/// ε at δ, exactly, or `None` if some phase samples.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains.
///
/// # Source
/// Balle & Wang 2018, Theorem 8; Gaussian steps compose to one with μ² = Σ T/σ². privacy.md D44.
pub fn epsilon_exact(phases: &[Phase], delta: f64) -> Result<Option<f64>, AccountantError> {
    let phases = checked(phases, delta)?;
    let Some(mu) = composed_mu(&phases) else { return Ok(None) };
    if mu == 0.0 || (mu.is_finite() && gaussian_delta(mu, 0.0) <= delta) {
        return Ok(Some(0.0));
    }
    if !mu.is_finite() {
        return Ok(Some(f64::INFINITY));
    }
    // δ falls in ε; at this upper end it is below any δ that f64 can name.
    let (mut low, mut high) = (0.0, mu * mu / 2.0 + 40.0 * mu);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if gaussian_delta(mu, middle) > delta { low = middle } else { high = middle }
    }
    Ok(Some(high))
}
