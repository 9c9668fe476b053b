//! The smallest noise that keeps a promise (privacy.md D53). Knows no ledger.

use super::closed::gaussian_delta;
use super::pld::{dearest, epsilon_at_width};
use super::{AccountantError, Adjacency, Phase, checked, count, epsilon_noise_rdp};
use libm::{ceil, exp, log, sqrt};
use protocol::plan::NoiseKind;

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

fn within_reach(sigma: f64) -> Result<f64, AccountantError> {
    if sigma <= MOST_NOISE { Ok(sigma) } else { Err(AccountantError::OutOfReach) }
}

/// The smallest σ, to six places, whose RDP bound keeps ε at or below `target`. Without steps, 0.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, or if no σ up to 1e6 will do.
pub fn calibrate_rdp(target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
    Ok(by_rdp(Adjacency::AddOrRemove, target, q, steps, delta)?.unwrap_or(0.0))
}

/// As [`calibrate_rdp`]; `None` where there is no such bound.
pub(super) fn by_rdp(adjacency: Adjacency, target: f64, q: f64, steps: u64, delta: f64) -> Result<Option<f64>, AccountantError> {
    check(target, q, steps, delta)?;
    let cost = |sigma: f64| adjacency.epsilon_rdp(&[Phase { noise_multiplier: sigma, sampling_rate: q, steps }], delta);
    if cost(1.0)?.is_none() {
        return Ok(None);
    }
    if steps == 0 {
        return Ok(Some(0.0));
    }
    smallest(|sigma| Ok(cost(sigma)?.is_none_or(|a| a.epsilon > target))).map(Some)
}

/// The smallest σ, to six places, whose Rényi bound for noise of this law keeps ε at or below `target`. Without steps, 0.
///
/// # Errors
/// As [`calibrate_rdp`].
///
/// # Source
/// privacy.md D23, D53.
pub fn calibrate_noise_rdp(noise: NoiseKind, target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
    check(target, q, steps, delta)?;
    if steps == 0 {
        return Ok(0.0);
    }
    let phase = |noise_multiplier: f64| Phase { noise_multiplier, sampling_rate: q, steps };
    smallest(|sigma| Ok(epsilon_noise_rdp(&[(noise, phase(sigma))], delta)?.epsilon > target))
}

/// The smallest σ, to six places, at which there is no longer too little noise.
fn smallest(too_much: impl Fn(f64) -> Result<bool, AccountantError>) -> Result<f64, AccountantError> {
    let (mut low, mut high) = (1e-3, 1.0);
    while too_much(high)? {
        (low, high) = (high, within_reach(2.0 * high)?);
    }
    while high - low > 1e-7 * high {
        let middle = 0.5 * (low + high);
        if too_much(middle)? { low = middle } else { high = middle }
    }
    Ok(six_places(high))
}

/// The smallest σ, to six places, by the closed form; `None` with sampling. Without steps, 0.
pub(super) fn exactly(adjacency: Adjacency, target: f64, q: f64, steps: u64, delta: f64) -> Result<Option<f64>, AccountantError> {
    check(target, q, steps, delta)?;
    if q < 1.0 || steps == 0 {
        return Ok((q >= 1.0).then_some(0.0));
    }
    // δ at the target grows with μ; beyond this end it is above 1/2 and above any δ that is asked for here.
    let (mut low, mut high) = (0.0, 1.0);
    while gaussian_delta(high, target) <= delta {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if gaussian_delta(middle, target) > delta { high = middle } else { low = middle }
    }
    let shift = match adjacency {
        Adjacency::AddOrRemove => 1.0,
        Adjacency::ReplaceOne => 2.0,
    };
    within_reach(six_places(shift * sqrt(count(steps)) / low)).map(Some)
}

/// The smallest σ, to six places, whose PLD keeps ε at or below `target`; the answer itself was evaluated. Without steps, 0.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, or if no σ up to 1e6 will do.
///
/// # Source
/// privacy.md D53.
pub fn calibrate(target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
    by_pld(Adjacency::AddOrRemove, target, q, steps, delta)
}

/// As [`calibrate`]: bracket by RDP, coarse grid, secant on ln σ, full grid last (D53).
pub(super) fn by_pld(adjacency: Adjacency, target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
    check(target, q, steps, delta)?;
    if steps == 0 {
        return Ok(0.0);
    }
    let phase = |sigma: f64| [Phase { noise_multiplier: sigma, sampling_rate: q, steps }];
    if delta < 1e-12 {
        return Err(AccountantError::DeltaTooSmall(delta));
    }
    let rdp = calibrate_rdp(target, q, steps, delta)?;
    let width = (target / 500.0).clamp(1e-4, 5e-3);
    // Here only where to look: the answer is held against every pairing.
    let pairing = dearest(&phase(rdp), adjacency.pairings(), delta);
    let coarse = |sigma: f64| epsilon_at_width(&phase(sigma), pairing, delta, width);
    let (mut low, mut high) = (0.6 * rdp, rdp);
    // Never for neighbours by adding or removing; replaced units need more.
    while coarse(high) > target {
        (low, high) = (high, within_reach(1.5 * high)?);
    }
    for _ in 0..14 {
        let middle = sqrt(low * high);
        if coarse(middle) > target { low = middle } else { high = middle }
    }
    // How ln ε falls in ln σ, on the grid that costs little.
    let nudge = 0.01;
    let slope = log(coarse(high * exp(nudge)) / coarse(high)) / nudge;
    polish(high, slope, target, |sigma| adjacency.epsilon_pld(&phase(sigma), delta))
}

/// From a σ that is nearly right: Newton's step, then secant steps on (ln σ, ln ε) with the full grid, then up by units of the sixth place
/// until the promise holds.
fn polish(start: f64, slope: f64, target: f64, cost: impl Fn(f64) -> Result<f64, AccountantError>) -> Result<f64, AccountantError> {
    let (mut at, mut slope, mut sigma) = (log(start), slope, start);
    let mut miss = log(cost(sigma)? / target);
    for _ in 0..6 {
        // Half a unit of the sixth place: no further step could show.
        let step = -miss / slope;
        if !step.is_finite() || (step * sigma).abs() < 3e-7 {
            break;
        }
        let before = miss;
        at += step.clamp(-0.05, 0.05);
        sigma = exp(at);
        miss = log(cost(sigma)? / target);
        let secant = (miss - before) / step.clamp(-0.05, 0.05);
        slope = if secant < 0.0 { secant } else { slope };
    }
    let (mut answer, mut unit) = (six_places(exp(at - miss / slope)), 1e-6);
    while cost(answer)? > target {
        answer = six_places(within_reach(answer + unit)?);
        unit *= 2.0;
    }
    Ok(answer)
}
