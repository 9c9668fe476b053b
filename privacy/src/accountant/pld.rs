//! The privacy loss distribution: the reported number (privacy.md D44, D45, D47). Knows no Rényi order.

use super::losses::{Losses, ln_moment};
use super::pair::Pairing;
use super::{AccountantError, Phase, checked, count};
use libm::{exp, log, sqrt};

/// Longest grid before it is made coarser: 64 MiB per transform row.
const MOST_CELLS: f64 = 4_194_304.0;
/// Cells of the look ahead that chooses width and tilt.
const LOOK_AHEAD: f64 = 1024.0;
/// Neighbours by adding or removing one unit: the larger of the two directions counts.
///
/// Both, although no numbers are known at which adding costs more than removing at an ε of 0 or above. No published proof for compositions is
/// relied on: at ε = 0 the two are equal, and below 0 adding costs more, so that one curve does not dominate the other.
pub(super) const ONE_UNIT: &[Pairing] = &[Pairing::Remove, Pairing::Add];

/// Phases without sampling are one Gaussian step with μ² = Σ T/σ².
fn merged(phases: &[Phase]) -> Vec<Phase> {
    let square: f64 = phases.iter().filter(|p| p.sampling_rate >= 1.0).map(|p| count(p.steps) / p.noise_multiplier.powi(2)).sum();
    let mut merged: Vec<Phase> = phases.iter().copied().filter(|p| p.sampling_rate < 1.0).collect();
    if square > 0.0 {
        merged.push(Phase { noise_multiplier: 1.0 / sqrt(square), sampling_rate: 1.0, steps: 1 });
    }
    merged
}

/// A rough view of one pairing: which grid is affordable, and which tilt puts the mass where ε lies.
struct Outlook {
    /// Costs with the logarithms of their probabilities, and steps, of each phase.
    steps: Vec<(Vec<(f64, f64)>, f64)>,
    /// Smallest width that keeps every grid below [`MOST_CELLS`].
    width: f64,
}

impl Outlook {
    fn new(phases: &[Phase], pairing: Pairing) -> Self {
        let (mut steps, mut longest) = (Vec::new(), 0.0f64);
        for phase in phases {
            let pair = pairing.pair(phase);
            let (low, high) = pair.range();
            let losses = Losses::of(pair.as_ref(), (high - low) / LOOK_AHEAD);
            longest = longest.max(high - low).max(losses.span_of(phase.steps));
            steps.push((losses.ln_masses(), count(phase.steps)));
        }
        Self { width: longest / MOST_CELLS, steps }
    }

    /// ln of the moment generating function of the whole sum, K(λ).
    fn ln_moment(&self, order: f64) -> f64 {
        self.steps.iter().map(|(one, times)| times * ln_moment(one, order)).sum()
    }

    /// Chernoff's bound on ε at δ, min over λ of (K(λ) + ln 1/δ)/λ, and its order.
    fn epsilon(&self, delta: f64) -> (f64, f64) {
        valley(|order| (self.ln_moment(order) - log(delta)) / order)
    }

    /// Chernoff's bound on ln δ at ε, min over λ of K(λ) − λε, and its order.
    fn ln_delta(&self, epsilon: f64) -> (f64, f64) {
        valley(|order| self.ln_moment(order) - order * epsilon)
    }
}

/// The least value of a function with one valley over orders from 1e-3 to 1e4, and where it is taken.
fn valley(of: impl Fn(f64) -> f64) -> (f64, f64) {
    let (mut low, mut high) = (log(1e-3), log(1e4));
    for _ in 0..30 {
        let (a, b) = (low + 0.382 * (high - low), low + 0.618 * (high - low));
        if of(exp(a)) < of(exp(b)) { high = b } else { low = a }
    }
    (of(exp(low)), exp(low))
}

fn composed(phases: &[Phase], pairing: Pairing, width: f64, tilt: f64) -> Option<Losses> {
    let one = |p: &Phase| Losses::of(pairing.pair(p).as_ref(), width).composed(p.steps, tilt);
    phases.iter().map(one).reduce(|a, b| a.convolved(&b))
}

/// Untilted ε on a grid of a given width, or the narrowest affordable one: the largest over the pairings.
pub(super) fn epsilon_at_width(phases: &[Phase], pairings: &[Pairing], delta: f64, width: f64) -> f64 {
    let one = |&pairing: &Pairing| {
        let width = width.max(Outlook::new(phases, pairing).width);
        composed(phases, pairing, width, 0.0).map_or(0.0, |l| l.epsilon(delta))
    };
    pairings.iter().map(one).fold(0.0, f64::max)
}

/// ε of one pairing: width and tilt by D45 and D47.
fn epsilon_of(phases: &[Phase], pairing: Pairing, delta: f64) -> f64 {
    let outlook = Outlook::new(phases, pairing);
    let (rough, order) = outlook.epsilon(delta);
    let tilt = tilt_for(phases, delta, order);
    let at = |width: f64| composed(phases, pairing, width.max(outlook.width), tilt).map_or(0.0, |l| l.epsilon(delta));
    // The rough bound is about a tenth above ε.
    let epsilon = at(if rough > 33.0 { 1e-3 } else { 1e-4 });
    if epsilon < 0.02 && epsilon > 0.0 { at(1e-5) } else { epsilon }
}

/// D47: round-off of the transform is no longer small beside a tiny δ or after many steps.
fn tilt_for(phases: &[Phase], delta: f64, order: f64) -> f64 {
    let total: u64 = phases.iter().fold(0, |sum, p| sum.saturating_add(p.steps));
    if delta <= 1e-8 || total >= 50_000 { order } else { 0.0 }
}

/// Checked, merged phases; `None` where there is no noise in some of them.
fn accountable(phases: &[Phase], delta: f64) -> Result<Option<Vec<Phase>>, AccountantError> {
    let phases = merged(&checked(phases, delta)?);
    Ok((!phases.iter().any(|p| p.noise_multiplier == 0.0)).then_some(phases))
}

/// Upper bound on ε at δ, the largest over the pairings.
pub(super) fn epsilon(phases: &[Phase], pairings: &[Pairing], delta: f64) -> Result<f64, AccountantError> {
    let phases = accountable(phases, delta)?;
    if delta < 1e-12 {
        return Err(AccountantError::DeltaTooSmall(delta));
    }
    let Some(phases) = phases else { return Ok(f64::INFINITY) };
    if phases.is_empty() {
        return Ok(0.0);
    }
    Ok(pairings.iter().map(|&pairing| epsilon_of(&phases, pairing, delta)).fold(0.0, f64::max))
}

/// Upper bound on ε at δ by the privacy loss distribution: the reported number, for neighbours by adding or removing one unit. No steps
/// cost 0; no noise costs ∞.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains, δ below 1e-12 among them.
///
/// # Source
/// privacy.md D45, D47.
pub fn epsilon_pld(phases: &[Phase], delta: f64) -> Result<f64, AccountantError> {
    epsilon(phases, ONE_UNIT, delta)
}

/// Upper bound on δ at ε, a point of the privacy profile, for neighbours by adding or removing one unit. No steps cost 0; no noise costs 1.
///
/// # Errors
/// [`AccountantError`] for arguments outside their domains.
///
/// # Source
/// privacy.md D45, D47. Below 1e-12 round-off has its say; the answer is then no better than that.
pub fn delta_pld(phases: &[Phase], epsilon: f64) -> Result<f64, AccountantError> {
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(AccountantError::Epsilon(epsilon));
    }
    // Any δ will do for the check of the phases.
    let Some(phases) = accountable(phases, 0.5)? else { return Ok(1.0) };
    let one = |&pairing: &Pairing| {
        let outlook = Outlook::new(&phases, pairing);
        let (ln_delta, order) = outlook.ln_delta(epsilon);
        let tilt = tilt_for(&phases, exp(ln_delta), order);
        composed(&phases, pairing, outlook.width.max(1e-4), tilt).map_or(0.0, |l| l.delta(epsilon))
    };
    Ok(ONE_UNIT.iter().map(one).fold(0.0, f64::max))
}

/// ε of (remove, add) apart.
#[cfg(test)]
pub(super) fn both_directions(phases: &[Phase], delta: f64) -> (f64, f64) {
    let phases = merged(phases);
    (epsilon_of(&phases, Pairing::Remove, delta), epsilon_of(&phases, Pairing::Add, delta))
}
