//! I10 as far as it takes counting, and what the gates came to: who stands behind each release, and what it states (audit.md A14, A36; training.md
//! M20). Knows no file.

use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::verdict::{GateSummary, ReleaseSummary};
use protocol::history::History;
use protocol::ids::LeafIndex;
use protocol::release::Release;

const APPROVALS: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "I10: a release has the approvals of as many administrators as the trust document asks for",
);
const WITHDRAWN: Rule = Rule::new(Check::Invariants, Severity::Notice, "A19: a released model was withdrawn");
const OVERRIDDEN: Rule = Rule::new(Check::Invariants, Severity::Notice, "M20: a release was made although a gate was not passed");

/// Counts approvals, and tells of withdrawals and of gates that were overridden.
pub(crate) fn check(history: &History, findings: &mut Findings) {
    let threshold = usize::from(history.trust().threshold);
    for (index, release) in history.releases() {
        let got = history.approvals(release);
        if got < threshold {
            findings.add(APPROVALS, Place::Index(index.0), format!("{threshold} administrators"), got.to_string());
        }
        if let Some(reason) = release.overridden {
            let failed: Vec<String> = release.gates.iter().filter(|g| !g.passed).map(ToString::to_string).collect();
            findings.add(OVERRIDDEN, Place::Index(index.0), "every gate passed", format!("{}; {}", failed.join("; "), reason.name()));
        }
    }
    for (index, withdrawal) in history.withdrawals() {
        let reason = format!("{:?}, snapshot {}", withdrawal.reason, withdrawal.snapshot);
        findings.add(WITHDRAWN, Place::Index(index.0), "a model in use", reason);
    }
}

/// What the log says of each release, in order.
pub(crate) fn summary(history: &History) -> Vec<ReleaseSummary> {
    history.releases().iter().map(|(index, release)| one(history, *index, release)).collect()
}

fn one(history: &History, index: LeafIndex, release: &Release) -> ReleaseSummary {
    let gate = |g: &protocol::plan::GateResult| GateSummary {
        code: g.code.name(),
        threshold: g.threshold.to_string(),
        figure: g.figure.to_string(),
        passed: g.passed,
        from_log: g.code.is_in_the_log(),
        text: g.to_string(),
    };
    let withdrawn = history.withdrawals().iter().find(|(_, w)| (w.task, w.snapshot) == (release.task, release.snapshot));
    ReleaseSummary {
        entry: index.0,
        task: release.task.to_hex(),
        snapshot: release.snapshot.to_hex(),
        signature: release.signature.to_hex(),
        first_round: release.first.0,
        last_round: release.last.0,
        substantial: release.substantial,
        approvals: history.approvals(release),
        needed: usize::from(history.trust().threshold),
        gates: release.gates.iter().map(gate).collect(),
        evaluation: release.evaluation.map(|h| h.to_hex()),
        overridden: release.overridden.map(|r| r.name()),
        withdrawn: withdrawn.map(|(at, _)| at.0),
    }
}
