//! From zero-concentrated divergence to ε at δ (privacy.md D49). Knows no mechanism.

use super::AccountantError;
use super::rdp::conversion;
use libm::exp;

/// The smallest ε at δ that `rho`-zCDP is known to give, over all real orders.
///
/// # Errors
/// [`AccountantError`] for ρ below 0 or δ outside (0, 1).
///
/// # Source
/// Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Proposition 12, with Rényi divergence ρα at every order α.
pub fn epsilon_zcdp(rho: f64, delta: f64) -> Result<f64, AccountantError> {
    if rho.is_nan() || rho < 0.0 {
        return Err(AccountantError::Rho(rho));
    }
    if !(delta > 0.0 && delta < 1.0) {
        return Err(AccountantError::Delta(delta));
    }
    if rho == 0.0 || !rho.is_finite() {
        return Ok(if rho == 0.0 { 0.0 } else { f64::INFINITY });
    }
    // One valley in α; in ln(α − 1) it is neither steep nor far away.
    let bound = |t: f64| rho * (1.0 + exp(t)) + conversion(1.0 + exp(t), delta);
    let (mut low, mut high) = (-30.0, 30.0);
    for _ in 0..120 {
        let (a, b) = (low + 0.382 * (high - low), low + 0.618 * (high - low));
        if bound(a) < bound(b) { high = b } else { low = a }
    }
    Ok(bound(0.5 * (low + high)).max(0.0))
}

/// The largest ρ whose ε at δ is at most `epsilon`, or a hair less.
///
/// # Errors
/// [`AccountantError`] for a target that is not a finite number above 0, or δ outside (0, 1).
pub fn rho_for(epsilon: f64, delta: f64) -> Result<f64, AccountantError> {
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(AccountantError::Target(epsilon));
    }
    let (mut low, mut high) = (0.0, epsilon);
    // ε is never below ρ, so the answer lies between; halving down to the last bit.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if epsilon_zcdp(middle, delta)? <= epsilon { low = middle } else { high = middle }
    }
    Ok(low)
}
