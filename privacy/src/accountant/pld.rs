//! The privacy loss distribution: the reported number (privacy.md D44, D45, D47). Knows no Rényi order.

use super::losses::{Losses, ln_moment};
use super::pair::Pairing;
use super::{AccountantError, Phase, checked, count};
use libm::{exp, expm1, log, sqrt};

/// Longest grid before it is made coarser: 64 MiB per transform row.
const MOST_CELLS: f64 = 4_194_304.0;
/// Cells of the look ahead that chooses width and tilt and gives a bound; fewer where only the width is wanted.
const LOOK_AHEAD: f64 = 4096.0;
const GLANCE: f64 = 256.0;
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

/// A rough view of one pairing: which grid is affordable, which tilt puts the mass where ε lies, and what it can cost at most.
struct Outlook {
    /// Costs with the logarithms of their probabilities, and steps, of each phase.
    steps: Vec<(Vec<(f64, f64)>, f64)>,
    /// ln of the probability that no step has an infinite cost.
    ln_finite: f64,
    /// Smallest width that keeps every grid below [`MOST_CELLS`].
    width: f64,
}

impl Outlook {
    fn new(phases: &[Phase], pairing: Pairing, cells: f64) -> Self {
        let (mut steps, mut longest, mut ln_finite) = (Vec::new(), 0.0f64, 0.0);
        for phase in phases {
            let pair = pairing.pair(phase);
            let (low, high) = pair.range();
            let losses = Losses::of(pair.as_ref(), (high - low) / cells);
            longest = longest.max(high - low).max(losses.span_of(phase.steps));
            ln_finite += count(phase.steps) * losses.ln_finite();
            steps.push((losses.ln_masses(), count(phase.steps)));
        }
        Self { width: longest / MOST_CELLS, steps, ln_finite }
    }

    /// ln of the moment generating function of the whole sum's finite costs, K(λ).
    fn ln_moment(&self, order: f64) -> f64 {
        self.steps.iter().map(|(one, times)| times * ln_moment(one, order)).sum()
    }

    /// Chernoff's bound on ε at δ, min over λ of (K(λ) + ln 1/δ)/λ, and its order. The grid dominates and what is infinite is taken from δ,
    /// so that it is a bound on the pairing's ε itself, a rough one.
    fn epsilon(&self, delta: f64) -> (f64, f64) {
        let rest = delta + expm1(self.ln_finite);
        if rest <= 0.0 {
            return (f64::INFINITY, 0.0);
        }
        valley(|order| (self.ln_moment(order) - log(rest)) / order)
    }

    /// Chernoff's bound on δ at ε, exp of min over λ of K(λ) − λε, and its order.
    fn delta(&self, epsilon: f64) -> (f64, f64) {
        let (ln_delta, order) = valley(|order| self.ln_moment(order) - order * epsilon);
        (exp(ln_delta) - expm1(self.ln_finite), order)
    }
}

/// The least value of a function with one valley over orders from 1e-3 to 1e4, and where it is taken: golden sections of ln λ, to 1 %. Any
/// order gives a bound, and near the least one they hardly differ.
fn valley(of: impl Fn(f64) -> f64) -> (f64, f64) {
    const SECTION: f64 = 0.618_033_988_749_895;
    let at = |x: f64| (of(exp(x)), x);
    let (mut low, mut high) = (log(1e-3), log(1e4));
    let (mut left, mut right) = (at(high - SECTION * (high - low)), at(low + SECTION * (high - low)));
    for _ in 0..16 {
        if left.0 < right.0 {
            (high, right) = (right.1, left);
            left = at(high - SECTION * (high - low));
        } else {
            (low, left) = (left.1, right);
            right = at(low + SECTION * (high - low));
        }
    }
    let best = if left.0 < right.0 { left } else { right };
    (best.0, exp(best.1))
}

fn composed(phases: &[Phase], pairing: Pairing, width: f64, tilt: f64) -> Option<Losses> {
    let one = |p: &Phase| Losses::of(pairing.pair(p).as_ref(), width).composed(p.steps, tilt);
    phases.iter().map(one).reduce(|a, b| a.convolved(&b))
}

/// Untilted ε of one pairing on a grid of a given width, or the narrowest affordable one.
pub(super) fn epsilon_at_width(phases: &[Phase], pairing: Pairing, delta: f64, width: f64) -> f64 {
    let width = width.max(Outlook::new(phases, pairing, GLANCE).width);
    composed(phases, pairing, width, 0.0).map_or(0.0, |l| l.epsilon(delta))
}

/// A rough view of every pairing, dearest first: with the least width of its grid, a bound on the figure, and that bound's order.
fn views(phases: &[Phase], pairings: &[Pairing], rough: impl Fn(&Outlook) -> (f64, f64)) -> Vec<(Pairing, f64, (f64, f64))> {
    let view = |&pairing: &Pairing| {
        let outlook = Outlook::new(phases, pairing, LOOK_AHEAD);
        (pairing, outlook.width, rough(&outlook))
    };
    let mut views: Vec<_> = pairings.iter().map(view).collect();
    views.sort_by(|(_, _, (a, _)), (_, _, (b, _))| b.total_cmp(a));
    views
}

/// The pairing that costs most, by a rough view.
pub(super) fn dearest(phases: &[Phase], pairings: &[Pairing], delta: f64) -> Pairing {
    views(phases, pairings, |outlook| outlook.epsilon(delta)).first().expect("there are neighbours").0
}

/// Part of ε that the grid may add to it. D45's width of 1e-4 adds as much where steps are many; where they are few, cells as narrow are
/// wasted.
const GRID_SHARE: f64 = 2e-5;

/// The width of D45 for a rough ε found at `order`, or a wider one that costs no more than [`GRID_SHARE`] of ε.
///
/// A cost between two grid points becomes one of both with the same mean of e^−cost, which multiplies the moment at order λ by at most
/// 1 + λ(λ+1)w²/8: T steps add at most T(λ+1)w²/8 to Chernoff's ε. The grid dominates in any case, so that ε is never too small.
fn width_for(phases: &[Phase], rough: f64, order: f64) -> f64 {
    if rough > 33.0 {
        return 1e-3;
    }
    let steps: f64 = phases.iter().map(|p| count(p.steps)).sum();
    sqrt(8.0 * GRID_SHARE * rough / (steps * (order + 1.0))).clamp(1e-4, 1e-3)
}

/// ε of one pairing from a rough view of it, a rough ε and its order: width and tilt by D45 and D47.
fn epsilon_of(phases: &[Phase], pairing: Pairing, delta: f64, least_width: f64, (rough, order): (f64, f64)) -> f64 {
    let tilt = tilt_for(phases, delta, order);
    let at = |width: f64| composed(phases, pairing, width, tilt).map_or(0.0, |l| l.epsilon(delta));
    let width = width_for(phases, rough, order).max(least_width);
    let epsilon = at(width);
    // The rough bound is about a tenth above ε where ε is large, but many times ε where it is small.
    let wanted = if epsilon < 0.02 { 1e-5 } else { width_for(phases, epsilon, order) }.max(least_width);
    if epsilon > 0.0 && wanted < 0.7 * width { at(wanted) } else { epsilon }
}

/// The largest figure over the pairings, dearest first by a rough bound. One whose bound is below what another was found to cost is not looked
/// at closer.
fn largest(
    phases: &[Phase],
    pairings: &[Pairing],
    rough: impl Fn(&Outlook) -> (f64, f64),
    exact: impl Fn(Pairing, f64, (f64, f64)) -> f64,
) -> f64 {
    views(phases, pairings, rough).into_iter().fold(
        0.0,
        |most: f64, (pairing, width, bound)| {
            if bound.0 <= most { most } else { most.max(exact(pairing, width, bound)) }
        },
    )
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
    let exact = |pairing, width, rough| epsilon_of(&phases, pairing, delta, width, rough);
    Ok(largest(&phases, pairings, |outlook| outlook.epsilon(delta), exact))
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
    let exact = |pairing, width: f64, (delta, order): (f64, f64)| {
        let tilt = tilt_for(&phases, delta, order);
        let width = width_for(&phases, epsilon, order).max(width);
        composed(&phases, pairing, width, tilt).map_or(0.0, |l| l.delta(epsilon))
    };
    Ok(largest(&phases, ONE_UNIT, |outlook| outlook.delta(epsilon), exact))
}

/// ε of (remove, add) apart.
#[cfg(test)]
pub(super) fn both_directions(phases: &[Phase], delta: f64) -> (f64, f64) {
    let phases = merged(phases);
    let of = |pairing| {
        let outlook = Outlook::new(&phases, pairing, LOOK_AHEAD);
        epsilon_of(&phases, pairing, delta, outlook.width, outlook.epsilon(delta))
    };
    (of(Pairing::Remove), of(Pairing::Add))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`largest`] rests on when it leaves pairings out: none costs more than its rough bound, in ε or in δ.
    #[test]
    fn no_figure_is_above_its_rough_bound() {
        let pairings = [Pairing::Remove, Pairing::Add, Pairing::Replace, Pairing::RemoveGroup(3), Pairing::AddGroup(3)];
        for (sigma, q, steps) in [(0.7, 0.3, 8), (2.0, 0.1, 200), (1.0, 1.0, 1)] {
            let phases = [Phase { noise_multiplier: sigma, sampling_rate: q, steps }];
            for pairing in pairings {
                let outlook = Outlook::new(&phases, pairing, LOOK_AHEAD);
                for delta in [1e-9, 1e-6, 0.05] {
                    let bound = outlook.epsilon(delta);
                    let found = epsilon_of(&phases, pairing, delta, outlook.width, bound);
                    assert!(found <= bound.0.max(0.0) * (1.0 + 1e-6), "{sigma} {q} {pairing:?} at {delta}: {found}, bound {bound:?}");
                }
                let (bound, _) = outlook.delta(1.0);
                let found = composed(&phases, pairing, outlook.width.max(1e-3), 0.0).map_or(0.0, |l| l.delta(1.0));
                assert!(found <= bound * (1.0 + 1e-6) + 1e-12, "{sigma} {q} {pairing:?}: {found}, bound {bound}");
            }
        }
    }
}
