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
    let damaged = StoreError::Damaged(Item::Audit);
    let Ok(report) = serde_json::from_slice::<Value>(&bytes) else { return Err(damaged) };
    let verdict = match report["verdict"].as_str() {
        Some("consistent") => Verdict::Consistent,
        Some("violation") => Verdict::Violation,
        _ => return Err(damaged),
    };
    // Of the two runs the one that proves more.
    let proved = [&report, &report["audit_configuration"]].map(|r| r["epsilon_lower_95"].as_f64());
    let (Some(own), beside) = (proved[0], proved[1].unwrap_or(0.0)) else { return Err(damaged) };
    if report["plan_digest"].as_str() != Some(&plan.to_string()) {
        return Err(damaged);
    }
    // Rounded down: a lower bound must not grow.
    let places = (own.max(beside) * 1e6).floor() / 1e6;
    let Ok(epsilon_lower) = Decimal::ceil(places, 6) else { return Err(damaged) };
    Ok(Some(Empirical { id: Sha256(sha256(&[&bytes])), epsilon_lower, verdict }))
}
