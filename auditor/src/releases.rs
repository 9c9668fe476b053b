//! What administrators said: what waits for more of them, who stands behind each release, what it states and what its gates came to (audit.md
//! A14, A36; training.md M20). Knows no file.

use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::verdict::{GateSummary, ReleaseSummary};
use protocol::history::{Approval, History};
use protocol::ids::LeafIndex;
use protocol::release::{Release, Withdrawal};

const WAITS: Rule = Rule::new(
    Check::Invariants,
    Severity::Notice,
    "A14: what administrators say has effect where as many said it as the trust document asks for; this waits for more",
);
const WITHDRAWN: Rule = Rule::new(Check::Invariants, Severity::Notice, "A19: a released model was withdrawn");
const OVERRIDDEN: Rule = Rule::new(Check::Invariants, Severity::Notice, "M20: a release was made although a gate was not passed");

/// Tells of acts that wait for more administrators, of withdrawals, and of gates that were overridden.
pub(crate) fn check(history: &History, findings: &mut Findings) {
    for (index, kind, approval) in history.waiting() {
        let expected = format!("{} administrators", history.trust().threshold);
        findings.add(WAITS, Place::Index(index.0), expected, format!("{} of them, about a {}", approval.have(), kind.name()));
    }
    for (index, release) in history.releases() {
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
    let needed = usize::from(history.trust_at(index).threshold);
    let of_model = |(at, w): &&(LeafIndex, Withdrawal)| *at > index && (w.task, w.snapshot) == (release.task, release.snapshot);
    let withdrawn = history.withdrawals().iter().find(of_model);
    ReleaseSummary {
        entry: index.0,
        task: release.task.to_hex(),
        snapshot: release.snapshot.to_hex(),
        signature: release.signature.to_hex(),
        first_round: release.first.0,
        last_round: release.last.0,
        substantial: release.substantial,
        // It took effect with at least as many.
        approvals: history.approval(release).map_or(needed, Approval::have),
        needed,
        gates: release.gates.iter().map(gate).collect(),
        evaluation: release.evaluation.map(|h| h.to_hex()),
        overridden: release.overridden.map(|r| r.name()),
        withdrawn: withdrawn.map(|(at, _)| at.0),
    }
}
