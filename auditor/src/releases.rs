//! I10 as far as it takes counting: how many administrators stand behind each release (audit.md A14, A36). Knows no file.

use crate::finding::{Check, Findings, Place, Rule, Severity};
use protocol::history::History;

const APPROVALS: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "I10: a release has the approvals of as many administrators as the trust document asks for",
);
const WITHDRAWN: Rule = Rule::new(Check::Invariants, Severity::Notice, "A19: a released model was withdrawn");

/// Counts approvals, and tells of withdrawals.
pub(crate) fn check(history: &History, findings: &mut Findings) {
    let threshold = usize::from(history.trust().threshold);
    for (index, release) in history.releases() {
        let got = history.approvals(release);
        if got < threshold {
            findings.add(APPROVALS, Place::Index(index.0), format!("{threshold} administrators"), got.to_string());
        }
    }
    for (index, withdrawal) in history.withdrawals() {
        let reason = format!("{:?}, snapshot {}", withdrawal.reason, withdrawal.snapshot);
        findings.add(WITHDRAWN, Place::Index(index.0), "a model in use", reason);
    }
}
