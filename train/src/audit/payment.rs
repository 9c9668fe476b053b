//! Payments for audited runs: a whole ledger that lives in memory and ends with the audit. Not for anything that leaves this room.

use privacy::audit::AuditError;
use privacy::ledger::{Paid, PrivacyLedger, ReserveRequest, Terms, default_order};
use privacy::mechanism::{Mechanism, MechanismError};
use protocol::codec;
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, ManifestDigest, PlanDigest, RoundId, Sha256};
use protocol::plan::Plan;
use protocol::time::Time;

/// Lifetime cap of that ledger; no budget of anybody's.
const LIFETIME_CAP: u64 = 1_000_000;

/// How mechanisms are made and paid for. Tests put a program that is wrong about itself here.
#[derive(Clone, Copy)]
pub(super) struct Means {
    pub(super) make: Make,
    pub(super) pay: fn(&Plan, &Mechanism, u64) -> Result<Paid, AuditError>,
}

/// From a plan to its mechanism.
pub(super) type Make = fn(&Plan, u64) -> Result<Mechanism, MechanismError>;

/// As every task does it.
pub(super) const REAL: Means = Means { make: Mechanism::of_plan, pay };

/// All steps of a plan of one round. `model` tells runs of one audit apart: it enters the keys of their streams.
///
/// # Errors
/// [`AuditError`], if the ledger refuses the schedule.
pub(super) fn pay(plan: &Plan, mechanism: &Mechanism, model: u64) -> Result<Paid, AuditError> {
    let (epsilon_cap, delta, unit) = (Decimal::new(LIFETIME_CAP, 0)?, plan.privacy.delta, plan.privacy.unit);
    // At such a cap every order is worth something.
    let order = default_order(epsilon_cap, delta).unwrap_or(epsilon_cap);
    let terms = Terms { institution: ClientId([0; 32]), dataset: Sha256([0; 32]), unit, epsilon_cap, delta, order, own_epsilon_cap: None };
    let mut ledger = PrivacyLedger::create(terms, Time(0))?.begun();
    let digest: PlanDigest = Plan::digest(&codec::encode(plan));
    let registered = ledger.register(plan, digest, mechanism, Time(0))?;
    ledger.recorded(registered)?;
    let mut manifest = ManifestDigest([0; 32]);
    manifest.0[..8].copy_from_slice(&model.to_le_bytes());
    let compared = ledger.compare(&[])?;
    let steps = u64::from(plan.local.steps);
    let request = ReserveRequest { task: plan.task, plan: digest, round: RoundId(1), manifest, mechanism, steps, compared };
    let reserved = ledger.reserve(&request, Time(0))?;
    Ok(ledger.recorded(reserved)?)
}
