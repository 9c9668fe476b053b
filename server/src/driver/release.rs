//! Release of a model: what may be released now, and the administrators' word for it in the log (audit.md A33 d, A44).

use super::{Driver, DriverError};
use crate::admin::{AdminReply, GateAsked, Refusal, Releasable};
use protocol::entry::{Actor, Draft, Facts};
use protocol::history::Clause;
use protocol::ids::{RoundId, SnapshotDigest, TaskId};
use protocol::release::{Release, Review, Withdrawal};
use protocol::statement::Statement;

impl Driver {
    /// The model that a round closed with, or the newest one, with everything that a release must name.
    pub(super) fn releasable(&self, task: Option<TaskId>, round: Option<RoundId>) -> Result<AdminReply, Refusal> {
        let history = self.log.history();
        let newest =
            history.tasks().iter().filter(|(_, t)| t.lineage(round).is_some()).max_by_key(|(_, t)| t.ended().map_or(u64::MAX, |i| i.0));
        let id = task.or(newest.map(|(id, _)| *id)).ok_or(Refusal::NothingToRelease)?;
        let of = history.task(id).ok_or(Refusal::NothingToRelease)?;
        if !of.gives_models() {
            return Err(Refusal::Counts);
        }
        let l = of.lineage(round).ok_or(Refusal::NothingToRelease)?;
        let gates = of.plan().map_or(&[][..], |p| p.gates());
        let gates = gates.iter().map(|gate| GateAsked { gate: *gate, figure: history.figure(id, l.last, gate.code) }).collect();
        let plan = of.plan_digest();
        let after = history.withdrawn_last(id, l.snapshot);
        let model = Releasable { task: id, plan, snapshot: l.snapshot, base: l.base, first: l.first, last: l.last, gates, after };
        Ok(AdminReply::Releasable { model })
    }

    /// Records a release. The model leaves only when a quorum of witnesses has seen the entry; whoever asked waits for that.
    pub(super) fn release(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Some(said) = self.said::<Release>(&statement) else { return Ok(Err(Refusal::Statement)) };
        if !self.publisher.has_policy() {
            return Ok(Err(Refusal::NoPolicy));
        }
        let Release { snapshot, signature, substantial, gates, overridden, .. } = said;
        let facts = Facts::ModelReleased { snapshot, signature, substantial, gates, overridden };
        let draft = Draft::said(Actor::Administrator, None, statement, facts).in_task(said.task);
        self.record(draft, Refusal::NothingToRelease)
    }

    /// Where this model was released last: what a withdrawal must name.
    pub(super) fn released(&self, task: TaskId, snapshot: SnapshotDigest) -> Result<AdminReply, Refusal> {
        let index = self.log.history().released_last(task, snapshot).ok_or(Refusal::NothingToWithdraw)?;
        Ok(AdminReply::Logged { index, approvals: vec![index], need: 1 })
    }

    /// Records that a released model shall no longer be used.
    pub(super) fn withdraw(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Some(said) = self.said::<Withdrawal>(&statement) else { return Ok(Err(Refusal::Statement)) };
        let facts = Facts::ModelWithdrawn { snapshot: said.snapshot, reason: said.reason };
        let draft = Draft::said(Actor::Administrator, None, statement, facts).in_task(said.task);
        self.record(draft, Refusal::NothingToWithdraw)
    }

    /// Records that somebody examined the log: an administrator, or a member whose statement the operator was handed.
    pub(super) fn review(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Ok(said) = statement.verify::<Review>() else { return Ok(Err(Refusal::Review)) };
        if !self.log.history().knows_trust(said.trust) {
            return Ok(Err(Refusal::Review));
        }
        let member = self.log.history().speaker(&statement.key).filter(|who| self.log.history().is_active(*who));
        let actor = if member.is_some() { Actor::Institution } else { Actor::Administrator };
        let Review { first, last, size, root, findings, .. } = said;
        let facts = Facts::AuditReviewed { first, last, size, root, findings };
        let draft = Draft::said(actor, member, statement, facts);
        if self.log.would_violate(&draft).is_some() {
            return Ok(Err(Refusal::Review));
        }
        // One reviewer speaks for himself.
        let index = self.append_allowed(draft)?.index;
        self.publisher.want(index.0 + 1);
        Ok(Ok(AdminReply::Logged { index, approvals: vec![index], need: 1 }))
    }

    /// Appends what breaks no rule, and asks for a checkpoint over it. What the log has already, word for word of the same administrator, is
    /// answered with where it stands.
    pub(super) fn record(&mut self, draft: Draft, otherwise: Refusal) -> Result<Result<AdminReply, Refusal>, DriverError> {
        if let Some(word) = draft.statement.as_ref().and_then(|s| self.known_word(s)) {
            self.publisher.want(word.index.0 + 1);
            return Ok(Ok(word.logged()));
        }
        match self.log.would_violate(&draft).map(|v| v.clause) {
            Some(Clause::Gates) => return Ok(Err(Refusal::Gates)),
            Some(_) => return Ok(Err(otherwise)),
            None => {}
        }
        let word = self.say(draft, None)?;
        self.publisher.want(word.index.0 + 1);
        Ok(Ok(word.logged()))
    }
}
