//! What the log tells of members, tasks and rounds, for the verdict. Judges nothing.

use crate::budget;
use crate::fold::{Fold, SumPlace};
use crate::verdict::{EpsilonSummary, GroupSummary, MemberSummary, RoundSummary, TaskSummary, TrustSummary};
use protocol::history::{GroupHistory, History, RoundHistory, RoundState, TaskHistory, TrustInForce};
use protocol::ids::{RoundId, TaskId};
use protocol::membership::StandingReason;
use protocol::trust::fingerprint;
use std::collections::BTreeSet;

/// Institutions that were ever admitted.
pub(crate) fn members(history: &History) -> Vec<MemberSummary> {
    let one = |(id, m): (&protocol::ids::ClientId, &protocol::history::Member)| MemberSummary {
        id: id.to_hex(),
        name: m.name.clone(),
        joined: m.joined.0,
        witness: m.witness_vkey.clone(),
        standing: m.standing.name(),
        reason: m.standing.reason().map(StandingReason::name),
        since: m.since.0,
    };
    history.members().iter().map(one).collect()
}

/// Trust documents after the first one.
pub(crate) fn trust_changes(history: &History) -> Vec<TrustSummary> {
    let one = |(old, new): (&TrustInForce, &TrustInForce)| TrustSummary {
        entry: new.since.0,
        hash: new.hash.to_hex(),
        fingerprint: fingerprint(&new.hash),
        administrators: new.document.administrators.len(),
        threshold: new.document.threshold,
        server_key_changed: new.document.server != old.document.server,
        log_key: (new.document.log_vkey != old.document.log_vkey).then(|| new.document.log_vkey.clone()),
        approvals: new.words.len(),
        needed: old.document.threshold,
    };
    history.trusts().iter().zip(history.trusts().iter().skip(1)).map(one).collect()
}

/// Tasks with their rounds; `confirmed` are the sums whose key sum was recomputed.
pub(crate) fn tasks(fold: &Fold<'_>, confirmed: &BTreeSet<SumPlace>) -> Vec<TaskSummary> {
    let history = fold.history();
    let one = |(&id, t): (&TaskId, &TaskHistory)| TaskSummary {
        id: id.to_hex(),
        plan: t.plan_digest().to_hex(),
        open: t.is_open(),
        delta: t.plan().map(|p| p.privacy.delta.to_string()),
        epsilon_cap: t.plan().map(|p| p.privacy.epsilon_cap.to_string()),
        rounds: t.rounds().iter().map(|(&round, r)| summary_of(history, id, round, r, confirmed)).collect(),
    };
    history.tasks().iter().map(one).collect()
}

fn summary_of(history: &History, task: TaskId, round: RoundId, r: &RoundHistory, confirmed: &BTreeSet<SumPlace>) -> RoundSummary {
    let group = |(&group, g): (&protocol::ids::GroupId, &GroupHistory)| GroupSummary {
        group: group.0,
        cohort: g.members().len(),
        dropped: g.dropped.len(),
        set: g.certificate.as_ref().map(|c| c.payload().set.to_hex()),
        signatures: g.certificate.as_ref().map_or(0, |c| c.statements().len()),
        openings: g.openings.len(),
        residual_ratio: g.result.as_ref().map(|s| s.residual_ratio.to_string()),
        key_sum_confirmed: confirmed.contains(&SumPlace { task, round, group }),
    };
    let (state, snapshot) = match r.state {
        RoundState::Selecting => ("selecting", None),
        RoundState::Reporting => ("reporting", None),
        RoundState::Certifying => ("certifying", None),
        RoundState::Opening => ("opening", None),
        RoundState::Closed(snapshot) => ("closed", Some(snapshot.to_hex())),
        RoundState::Abandoned => ("abandoned", None),
    };
    let (groups, chunks_deleted) = (r.groups.iter().map(group).collect(), r.deleted.map(|at| at.0));
    RoundSummary { round: round.0, state, snapshot, groups, epsilon: epsilon(history, task, round), chunks_deleted }
}

fn epsilon(history: &History, task: TaskId, round: RoundId) -> Vec<EpsilonSummary> {
    let one = |(who, (epsilon, dataset)): (protocol::ids::ClientId, (protocol::decimal::Decimal, protocol::ids::Sha256))| EpsilonSummary {
        institution: history.members().get(&who).map_or_else(|| who.to_hex(), |m| m.name.clone()),
        dataset: dataset.to_hex(),
        epsilon: epsilon.to_string(),
    };
    budget::stated(history, task, round).into_iter().map(one).collect()
}
