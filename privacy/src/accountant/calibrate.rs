//! The smallest noise that keeps a promise (privacy.md D53). Knows no ledger.

use super::pld::epsilon_at_width;
use super::{AccountantError, Phase, checked, epsilon_pld, epsilon_rdp};
use libm::{ceil, exp, log};

/// Largest σ that is looked at.
const MOST_NOISE: f64 = 1e6;

fn check(target: f64, q: f64, steps: u64, delta: f64) -> Result<(), AccountantError> {
    if !(target > 0.0 && target.is_finite()) {
        return Err(AccountantError::Target(target));
    }
    checked(&[Phase { noise_multiplier: 1.0, sampling_rate: q, steps }], delta).map(|_| ())
}

/// Rounded up at the sixth decimal.
fn six_places(sigma: f64) -> f64 {
    ceil(sigma * 1e6) / 1e6
}

/// The smallest σ, to six places, whose RDP bound keeps ε at or below `target`. Without steps, 0.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, or if no σ up to 1e6 will do.
pub fn calibrate_rdp(target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
    check(target, q, steps, delta)?;
    let cost = |sigma: f64| epsilon_rdp(&[Phase { noise_multiplier: sigma, sampling_rate: q, steps }], delta).map(|a| a.epsilon);
    if steps == 0 {
        return Ok(0.0);
    }
    let (mut low, mut high) = (1e-3, 1.0);
    while cost(high)? > target {
        (low, high) = (high, 2.0 * high);
        if high > MOST_NOISE {
            return Err(AccountantError::OutOfReach);
        }
    }
    while high - low > 1e-7 * high {
        let middle = 0.5 * (low + high);
        if cost(middle)? > target { low = middle } else { high = middle }
    }
    Ok(six_places(high))
}

/// The smallest σ, to about six places, whose PLD keeps ε at or below `target`; the answer itself was evaluated. Without steps, 0.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, or if no σ up to 1e6 will do.
///
/// # Source
/// privacy.md D53: bracket by RDP, coarse grid, secant on ln σ, full grid last.
pub fn calibrate(target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
    let rdp = calibrate_rdp(target, q, steps, delta)?;
    if steps == 0 {
        return Ok(0.0);
    }
    let phase = |sigma: f64| [Phase { noise_multiplier: sigma, sampling_rate: q, steps }];
    let coarse_width = (target / 500.0).clamp(1e-4, 5e-3);
    // The answer of merged unsampled phases and of sampled ones goes through the same function at both widths.
    let coarse = |sigma: f64| {
        if q < 1.0 { Ok(epsilon_at_width(&phase(sigma), delta, coarse_width, 0.0)) } else { epsilon_pld(&phase(sigma), delta) }
    };
    let (mut low, mut high) = (0.6 * rdp, rdp);
    for _ in 0..12 {
        let middle = exp(0.5 * (log(low) + log(high)));
        if coarse(middle)? > target { low = middle } else { high = middle }
    }
    polish(low, high, target, |sigma| epsilon_pld(&phase(sigma), delta))
}

/// Secant on (ln σ, ln ε) with the full grid from a narrow bracket, then up in steps of the sixth place until the promise holds.
fn polish(low: f64, high: f64, target: f64, cost: impl Fn(f64) -> Result<f64, AccountantError>) -> Result<f64, AccountantError> {
    let (mut a, mut b) = (log(low), log(high));
    let (mut fa, mut fb) = (log(cost(low)? / target), log(cost(high)? / target));
    for _ in 0..4 {
        if fa == fb || (b - a).abs() < 1e-9 {
            break;
        }
        let next = (b - fb * (b - a) / (fb - fa)).clamp(log(low) - 0.01, log(high) + 0.01);
        (a, fa) = (b, fb);
        (b, fb) = (next, log(cost(exp(next))? / target));
    }
    let mut sigma = six_places(exp(b));
    let mut step = 1e-6;
    while cost(sigma)? > target {
        sigma = six_places(sigma + step);
        step *= 2.0;
    }
    Ok(sigma)
}
