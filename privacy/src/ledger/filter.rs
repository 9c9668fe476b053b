//! The filter across tasks: one Rényi order, additive costs, integers only (privacy.md D61). Knows no schedule and no file.

use super::entry::Terms;
use crate::accountant::own::noise_rdp;
use crate::accountant::rdp::{conversion, orders};
use crate::coalition::{Coalition, Standing};
use crate::mechanism::Executed;
use minicbor::{CborLen, Decode, Encode};
use protocol::decimal::Decimal;

/// Rényi cost in units of 1e-9 nat. Costs are rounded up and budgets down, so that sums never flatter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, CborLen)]
#[cbor(transparent)]
pub struct Nats(pub u64);

impl Nats {
    /// Sum; stays at the largest value, which no budget reaches.
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
    pub(super) fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
    /// The exact decimal; costs beyond every budget are shown as 999,999,999.999999999 nats.
    ///
    /// # Panics
    /// Never: what is asked for has at most 18 digits.
    pub fn decimal(self) -> Decimal {
        let most = 999_999_999_999_999_999;
        Decimal::new(self.0.min(most), 9).expect("at most 18 digits")
    }

    /// Smallest multiple of 1e-9 that is not below `x`. What is not finite costs more than every budget.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer casts saturate; x is not negative")]
    fn at_least(x: f64) -> Self {
        if x.is_finite() { Self((x.max(0.0) * (1.0 + 1e-12) * 1e9).ceil() as u64) } else { Self(u64::MAX) }
    }

    /// Largest multiple of 1e-9 that is not above `x`; 0 if `x` is negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float to integer casts saturate")]
    fn at_most(x: f64) -> Self {
        Self((x.max(0.0) * (1.0 - 1e-12) * 1e9).floor() as u64)
    }
}

/// δ' = δ less the slack of samplers, at most a hundredth (D44).
fn inner_delta(delta: Decimal) -> f64 {
    delta.to_f64() * 0.99
}

/// The guaranteed shares whose cost a ledger on these terms charges in place of own cost: none unless the terms say so, others add noise too,
/// and the bound of their sum is published (D61).
pub(super) fn charged_shares(executed: &Executed, terms: &Terms) -> Option<Coalition> {
    terms.own_epsilon_cap?;
    Coalition::of(executed).filter(|c| c.standing() == Standing::Published)
}

/// RDP of `steps` steps at the ledger's order, by the account that its terms name.
pub(super) fn cost(executed: &Executed, steps: u64, terms: &Terms) -> Nats {
    let alpha = terms.order.to_f64();
    match charged_shares(executed, terms) {
        Some(shares) => scaled(shares.step_rdp(alpha), steps),
        None => own_cost(executed, steps, alpha),
    }
}

/// RDP of `steps` steps of own noise at order `alpha`.
pub(super) fn own_cost(executed: &Executed, steps: u64, alpha: f64) -> Nats {
    let (sigma, q) = (executed.noise_multiplier.to_f64(), executed.sampling_rate.to_f64());
    scaled(noise_rdp(executed.noise, sigma, q, alpha), steps)
}

/// `steps` times the cost of one step, rounded up. An order without a figure costs more than every budget.
pub(super) fn scaled(one: Option<f64>, steps: u64) -> Nats {
    #[expect(clippy::cast_precision_loss, reason = "schedules are far below 2^53 steps")]
    let steps = steps as f64;
    Nats::at_least(one.map_or(f64::INFINITY, |c| c * steps))
}

/// What may be spent at `order` so that (cap, δ) holds: ε_max − [ln(1−1/α) − ln(δ'α)/(α−1)], rounded down.
pub(super) fn budget(cap: Decimal, delta: Decimal, order: Decimal) -> Nats {
    Nats::at_most(cap.to_f64() - conversion(order.to_f64(), inner_delta(delta)))
}

/// Σ rdp + conversion, six places, rounded up: ε of everything spent.
pub(super) fn epsilon(spent: Nats, delta: Decimal, order: Decimal) -> Option<Decimal> {
    if spent == Nats(0) {
        return Decimal::new(0, 0).ok();
    }
    #[expect(clippy::cast_precision_loss, reason = "the next line rounds up by far more than the last bit")]
    let nats = spent.0 as f64 * 1e-9;
    Decimal::ceil((nats + conversion(order.to_f64(), inner_delta(delta))).max(0.0) * (1.0 + 1e-12), 6).ok()
}

/// The larger of two figures.
pub(super) fn larger(a: Decimal, b: Decimal) -> Decimal {
    if b.to_f64() > a.to_f64() { b } else { a }
}

/// The default α* = argmax (ε_max − conv(α, δ))/α over the orders of D48, or `None` where the cap allows nothing at any order.
pub fn default_order(epsilon_cap: Decimal, delta: Decimal) -> Option<Decimal> {
    let (cap, delta) = (epsilon_cap.to_f64(), inner_delta(delta));
    let worth = |alpha: f64| (cap - conversion(alpha, delta)) / alpha;
    let best = orders().max_by(|&a, &b| worth(a).total_cmp(&worth(b)))?;
    if worth(best) > 0.0 { Decimal::ceil(best - 1e-9, 1).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_order_is_a_listed_one_and_budgets_grow_with_the_cap() {
        let delta: Decimal = "0.00001".parse().unwrap();
        for cap in ["1", "3", "8", "30"] {
            let cap: Decimal = cap.parse().unwrap();
            let order = default_order(cap, delta).unwrap();
            assert!(orders().any(|o| (o - order.to_f64()).abs() < 1e-12), "{order}");
            assert!(budget(cap, delta, order) > Nats(0));
        }
        let order: Decimal = "4".parse().unwrap();
        assert!(budget("9".parse().unwrap(), delta, order) > budget("8".parse().unwrap(), delta, order));
    }

    #[test]
    fn spending_the_whole_budget_comes_to_the_cap() {
        let (cap, delta): (Decimal, Decimal) = ("8".parse().unwrap(), "0.00001".parse().unwrap());
        let order = default_order(cap, delta).unwrap();
        let whole = epsilon(budget(cap, delta, order), delta, order).unwrap().to_f64();
        assert!((7.999_99..=8.000_001).contains(&whole), "{whole}");
    }
}
