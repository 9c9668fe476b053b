//! Reports that are kept beside the ledger, so that a statement can name what an audit of its plan found (privacy.md D68).

use super::super::answer::Failure;
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use privacy::audit::Verdict;
use privacy::statement::Empirical;
use protocol::decimal::Decimal;
use protocol::hash::sha256;
use protocol::ids::{PlanDigest, Sha256};
use serde_json::Value;

/// Longest report: a hundred thousand coins and a page of figures.
const MAX_REPORT: usize = 1 << 20;

/// Keeps a report in the place of the one before.
pub(super) fn keep(home: &Home, plan: &PlanDigest, report: &Value) -> Result<(), Failure> {
    let path = home.audit(plan);
    files::replace_secret(&path, report.to_string().as_bytes(), Item::Audit).map_err(|e| Failure::storage("not_kept", &e))
}

/// The kept audit of a plan.
pub(crate) fn kept(home: &Home, plan: &PlanDigest) -> Result<Option<Empirical>, StoreError> {
    let Some(bytes) = files::read_if_there(&home.audit(plan), MAX_REPORT, Item::Audit)? else { return Ok(None) };
    parse(&bytes, plan).map(Some).ok_or(StoreError::Damaged(Item::Audit))
}

/// Reads a kept report of this plan's audit.
pub(crate) fn parse(bytes: &[u8], plan: &PlanDigest) -> Option<Empirical> {
    let report: Value = serde_json::from_slice(bytes).ok()?;
    let verdict = match report["verdict"].as_str()? {
        "consistent" => Verdict::Consistent,
        "violation" => Verdict::Violation,
        _ => return None,
    };
    if report["plan_digest"].as_str() != Some(&plan.to_string()) {
        return None;
    }
    // Of the two runs the one that proves more.
    let own = report["epsilon_lower_95"].as_f64()?;
    let beside = report["audit_configuration"]["epsilon_lower_95"].as_f64().unwrap_or(0.0);
    // Rounded down: a lower bound must not grow.
    let epsilon_lower = Decimal::floor(own.max(beside), 6).ok()?;
    Some(Empirical { id: Sha256(sha256(&[bytes])), epsilon_lower, verdict })
}
