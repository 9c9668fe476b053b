//! Scalar releases (privacy.md D28; bug class B27): a few counts that the institution shows with noise, beside its tasks and paid from the same
//! ledger. Write-ahead as a round: the reservation is durable, then noise may be drawn, once. Knows no record and no sampler.

use super::entry::Event;
use super::filter::{self, Nats};
use super::machine::{Pending, PrivacyLedger};
use super::refusal::{Alarm, CloseError, ReleaseError};
use super::repair::Compared;
use crate::accountant::rdp::orders;
use minicbor::{CborLen, Decode, Encode};
use protocol::decimal::Decimal;
use protocol::ids::Sha256;
use protocol::plan::Unit;
use protocol::site::SiteFacts;
use protocol::time::Time;
use protocol::trust::ReleaseSpend;

/// Most values of one release (D28).
pub const MAX_VALUES: u64 = 10_000;
/// Largest sensitivity: a unit that stands for a million records is no unit that noise can hide.
pub const MAX_SENSITIVITY: u64 = 1_000_000;
/// Largest scale, in 1024ths: 2^40, as for every other noise (D24).
pub const MAX_SCALE_1024: u64 = 1 << 50;

/// The payment for one release: what is asked, how far one unit moves the answer, and the noise. All in whole counts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Release {
    /// Opaque id. One payment per id, for ever.
    #[n(0)]
    pub id: Sha256,
    /// Digest of what was asked: an id stands for one question.
    #[n(1)]
    pub question: Sha256,
    /// Values that leave together.
    #[n(2)]
    pub values: u64,
    /// Largest L2 distance between the exact values of neighbouring datasets.
    #[n(3)]
    pub sensitivity: u64,
    /// Scale of the discrete Gaussian noise of each value, in 1024ths.
    #[n(4)]
    pub scale_1024: u64,
    /// RDP at the orders of D48, in their order: ρα.
    #[n(5)]
    pub costs: Vec<Nats>,
    /// RDP at α*.
    #[n(6)]
    pub cost: Nats,
}

impl Release {
    /// None for numbers outside the limits.
    fn of(request: &ReleaseRequest, order: Decimal) -> Option<Self> {
        let &ReleaseRequest { id, question, values, sensitivity, scale_1024, .. } = request;
        let (costs, cost) = priced(values, sensitivity, scale_1024, order)?;
        Some(Self { id, question, values, sensitivity, scale_1024, costs, cost })
    }

    /// ρ of the release: Δ²/2s² (Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 14).
    pub fn rho(&self) -> f64 {
        release_rho(self.values, self.sensitivity, self.scale_1024).unwrap_or(f64::INFINITY)
    }

    /// Scale of the noise, exactly: at most 50 bits.
    pub fn scale(&self) -> f64 {
        release_scale(self.scale_1024)
    }

    /// Whether it charges what its numbers cost, at every order.
    pub(super) fn holds(&self, order: Decimal) -> bool {
        let price = priced(self.values, self.sensitivity, self.scale_1024, order);
        price.is_some_and(|(costs, cost)| costs == self.costs && cost == self.cost)
    }
}

/// RDP of a release at the orders of D48, in their order, and at `order`: ρα. None for numbers outside the limits.
fn priced(values: u64, sensitivity: u64, scale_1024: u64, order: Decimal) -> Option<(Vec<Nats>, Nats)> {
    let rho = release_rho(values, sensitivity, scale_1024)?;
    let cost = |alpha: f64| filter::scaled(Some(rho * alpha), 1);
    Some((orders().map(cost).collect(), cost(order.to_f64())))
}

/// Scale of a release's noise in whole counts; exact within the limits.
#[expect(clippy::cast_precision_loss, reason = "at most 2^50, so exact")]
pub fn release_scale(scale_1024: u64) -> f64 {
    scale_1024 as f64 / 1024.0
}

/// ρ of a release of these numbers: Δ²/2s² (Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 14). None outside the limits.
#[expect(clippy::cast_precision_loss, reason = "at most 2^50, so exact")]
pub fn release_rho(values: u64, sensitivity: u64, scale_1024: u64) -> Option<f64> {
    let limits =
        (1..=MAX_VALUES).contains(&values) && (1..=MAX_SENSITIVITY).contains(&sensitivity) && (1..=MAX_SCALE_1024).contains(&scale_1024);
    let ratio = sensitivity as f64 / release_scale(scale_1024);
    limits.then_some(ratio * ratio / 2.0)
}

/// The smallest scale, in 1024ths, at which a release of this sensitivity costs at most `target`, or `None` outside the limits.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked against the limits below"
)]
pub fn scale_1024_for(target: f64, sensitivity: u64) -> Option<u64> {
    if !(target > 0.0 && target.is_finite()) {
        return None;
    }
    let wanted = (sensitivity as f64 / (2.0 * target).sqrt() * 1024.0).ceil();
    let first = if wanted <= MAX_SCALE_1024 as f64 { (wanted as u64).max(1) } else { return None };
    // Round-off of the root may leave the first a hair too small.
    (first..=first + 1).find(|s| release_rho(1, sensitivity, *s).is_some_and(|r| r <= target))
}

/// What a release asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseRequest {
    /// Opaque id.
    pub id: Sha256,
    /// Digest of what is asked.
    pub question: Sha256,
    /// How many values.
    pub values: u64,
    /// L2 sensitivity in whole counts, to adding or removing one unit.
    pub sensitivity: u64,
    /// Scale of the noise in 1024ths.
    pub scale_1024: u64,
    /// Proof that the log shows no spend that this ledger lacks, made after the reservation before this one (D65).
    pub compared: Compared,
}

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseStage {
    /// Paid; noise may have been drawn.
    Reserved,
    /// The noised values are durable under this digest.
    Released(Sha256),
    /// Came to nothing. Still spent.
    Void,
}

/// A release in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseState {
    /// What was paid.
    pub release: Release,
    /// What became of it.
    pub stage: ReleaseStage,
}

/// A payment that the institution's site log shows: written after the ledger's entry and before the draw, so that a ledger from yesterday is
/// noticed although no header ever named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRelease {
    /// Line of the site log: the evidence.
    pub line: u64,
    /// Counter of the ledger entry that it states.
    pub counter: u64,
    /// Hash of that entry.
    pub head: Sha256,
    /// Whose data one unit is.
    pub unit: Unit,
    /// Opaque id.
    pub id: Sha256,
    /// Digest of what was asked.
    pub question: Sha256,
    /// Values.
    pub values: u64,
    /// L2 sensitivity.
    pub sensitivity: u64,
    /// Scale in 1024ths.
    pub scale_1024: u64,
}

impl SeenRelease {
    /// What a line of the site log says of a release, with its dataset; none if it says something else.
    pub fn of(line: u64, facts: &SiteFacts) -> Option<(Sha256, Self)> {
        match *facts {
            SiteFacts::ReleasePaid { dataset, unit, release, question, values, sensitivity, scale_1024, ledger_counter, ledger_head } => {
                let (counter, head) = (ledger_counter, ledger_head);
                Some((dataset, Self { line, counter, head, unit, id: release, question, values, sensitivity, scale_1024 }))
            }
            SiteFacts::PolicyDecided { .. } | SiteFacts::TrainingAccepted { .. } => None,
        }
    }
}

/// The payment for one release that is durable in the ledger; noise consumes it. Made only by [`PrivacyLedger::recorded`].
///
/// ```compile_fail,E0061
/// // A count cannot be noised without a payment.
/// fn unpaid(exact: &[i64]) { let _ = privacy::noise::giant::gaussian_release(exact); }
/// ```
///
/// ```compile_fail,E0382
/// // Nor twice on one.
/// fn twice(paid: privacy::ledger::PaidRelease, exact: &[i64]) {
///     let _ = (privacy::noise::giant::gaussian_release(paid, exact), privacy::noise::giant::gaussian_release(paid, exact));
/// }
/// ```
///
/// ```compile_fail,E0451
/// // Nor on one that no ledger recorded.
/// fn forged(release: privacy::ledger::Release) -> privacy::ledger::PaidRelease {
///     privacy::ledger::PaidRelease { release, counter: 0, head: protocol::ids::Sha256([0; 32]) }
/// }
/// ```
pub struct PaidRelease {
    release: Release,
    counter: u64,
    head: Sha256,
}

impl PaidRelease {
    /// What was paid.
    pub fn release(&self) -> &Release {
        &self.release
    }
    /// Counter of the reservation.
    pub fn ledger_counter(&self) -> u64 {
        self.counter
    }
    /// Hash of the reservation.
    pub fn ledger_head(&self) -> Sha256 {
        self.head
    }
}

impl PrivacyLedger {
    /// Pays for one release. Once the entry is recorded, the cost is spent whatever happens.
    ///
    /// # Privacy
    /// unit: the ledger's · neighbours: add or remove one unit · sensitivity: L2, as the request states · measure: ρ-zCDP, ρ = Δ²/2s²,
    /// charged as ρα at every order · nothing is drawn here.
    ///
    /// # Errors
    /// [`ReleaseError`]; nothing was drawn and nothing changed.
    ///
    /// # Source
    /// privacy.md D28, D60, D61, D63; Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 14; Feldman & Zrnic, arXiv 2008.11193.
    pub fn reserve_release(&mut self, request: &ReleaseRequest, now: Time) -> Result<Pending<PaidRelease>, ReleaseError> {
        if self.outstanding {
            return Err(ReleaseError::Outstanding);
        }
        if !self.is_fresh(&request.compared) {
            return Err(ReleaseError::NotCompared);
        }
        if let Some(&counter) = self.state.release_ids.get(&request.id) {
            return Err(ReleaseError::AlreadyReserved { counter });
        }
        let order = self.terms().order;
        let release = Release::of(request, order).ok_or(ReleaseError::OutOfRange)?;
        let remaining = self.totals().free();
        if release.cost > remaining {
            return Err(ReleaseError::BudgetExhausted { order, needed: release.cost.decimal(), remaining: remaining.decimal() });
        }
        Ok(self.propose(now, Event::ReleaseReserved(release.clone()), |counter, head| PaidRelease { release, counter, head }))
    }

    /// The noised values are durable; from here on they are shown again, and never drawn again.
    ///
    /// # Errors
    /// [`CloseError`]; nothing changed.
    pub fn released(&mut self, reservation: u64, result: Sha256, now: Time) -> Result<Pending<()>, CloseError> {
        self.close(Event::Released { reservation, result }, now)
    }

    /// What became of the release with this id, and its counter. A repair may have taken in one of which nothing else is known.
    pub fn release(&self, id: &Sha256) -> Option<(u64, Option<&ReleaseState>)> {
        let counter = *self.state.release_ids.get(id)?;
        Some((counter, self.state.releases.get(&counter)))
    }

    /// All releases by counter.
    pub fn releases(&self) -> impl Iterator<Item = (u64, &ReleaseState)> {
        self.state.releases.iter().map(|(counter, state)| (*counter, state))
    }

    /// What the federation's log is told of every release that this ledger paid, in order: the cost and where it stands in the chain, nothing
    /// of what was asked. Spent whatever became of it.
    ///
    /// # Privacy
    /// The cost is a number of the request; no record enters it.
    pub fn release_spends(&self) -> impl Iterator<Item = ReleaseSpend> {
        let (dataset, unit) = (self.terms().dataset, self.terms().unit);
        self.releases().filter_map(move |(ledger_counter, state)| {
            // A release costs no more than the budget, which is a decimal.
            let rho = Decimal::ceil(state.release.rho(), 9).ok()?;
            Some(ReleaseSpend { dataset, unit, rho, ledger_counter, ledger_head: self.hash_of(ledger_counter)? })
        })
    }

    /// Releases that a repair took from the site log.
    pub fn lost_releases(&self) -> u64 {
        u64::try_from(self.state.repaired_releases.len()).unwrap_or(u64::MAX)
    }

    /// Whether a repair took in the release that was paid by the entry of this hash, which the chain had lost.
    pub fn has_repaired(&self, head: Sha256) -> bool {
        self.state.repaired_releases.contains(&head)
    }

    /// Compares the ledger with the releases that the site log shows.
    ///
    /// # Errors
    /// [`Alarm::ReleaseLost`]: a line names a payment that is not in the chain.
    pub fn compare_releases(&self, seen: &[SeenRelease]) -> Result<(), Alarm> {
        match seen.iter().find(|s| !self.knows_release(s)) {
            Some(s) => Err(Alarm::ReleaseLost { line: s.line, counter: s.counter }),
            None => Ok(()),
        }
    }

    fn knows_release(&self, s: &SeenRelease) -> bool {
        let paid = self.state.releases.get(&s.counter).is_some_and(|r| r.release.id == s.id);
        (paid && self.holds(s.counter, s.head)) || self.has_repaired(s.head)
    }

    /// What the site log shows and the ledger lacks, as a repair counts it; numbers that no release may have cost more than every budget.
    pub(super) fn missing_releases(&self, seen: &[SeenRelease]) -> Vec<LostRelease> {
        let order = self.terms().order;
        let lost = seen.iter().filter(|s| !self.knows_release(s));
        lost.map(|s| {
            let price = priced(s.values, s.sensitivity, s.scale_1024, order);
            LostRelease { id: s.id, head: s.head, cost: price.map_or(Nats(u64::MAX), |(_, cost)| cost) }
        })
        .collect()
    }
}

/// A release that the site log shows and the ledger had lost.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct LostRelease {
    /// Opaque id: it is never paid again.
    #[n(0)]
    pub id: Sha256,
    /// Hash of the entry that was lost.
    #[n(1)]
    pub head: Sha256,
    /// RDP at α*.
    #[n(2)]
    pub cost: Nats,
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
