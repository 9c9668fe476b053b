//! Words of administrators: each is recorded once, and what it says has effect with the m-th of them (audit.md A14, A19).

use super::{Driver, DriverError};
use crate::admin::AdminReply;
use crate::log::{Appended, LogError};
use protocol::entry::{Actor, Decision, Draft, Ruling};
use protocol::ids::LeafIndex;
use protocol::statement::Statement;

/// An administrator's word in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Where it stands.
    pub(super) index: LeafIndex,
    /// Where everybody's word for the same stands, in order.
    approvals: Vec<LeafIndex>,
    need: u16,
}

impl Word {
    /// Whether enough administrators said it.
    pub(super) fn is_effective(&self) -> bool {
        self.approvals.len() >= usize::from(self.need)
    }

    /// Where it stands and who else said it.
    pub(super) fn logged(self) -> AdminReply {
        AdminReply::Logged { index: self.index, approvals: self.approvals, need: self.need }
    }

    /// Done, or what it still waits for.
    pub(super) fn done(self) -> AdminReply {
        if self.is_effective() { AdminReply::Done {} } else { self.logged() }
    }
}

impl Driver {
    /// What the log has already, word for word of the same administrator. Whoever lost the first answer asks again.
    pub(super) fn known_word(&self, statement: &Statement) -> Option<Word> {
        let history = self.log.history();
        let approval = history.approval_of(statement)?;
        let index = approval.by(statement.signer())?;
        let approvals = approval.places();
        // What had effect had enough words for the trust document that was in force then.
        let need = approval.effective().map_or(history.trust().threshold, |at| history.trust_at(at).threshold);
        Some(Word { index, approvals, need })
    }

    /// Records a word that is new, and with it what follows from it if it has effect.
    pub(super) fn say(&mut self, draft: Draft, then: Option<Draft>) -> Result<Word, DriverError> {
        let history = self.log.history();
        let before = draft.statement.as_ref().and_then(|s| history.approval_of(s)).map(|a| a.places()).unwrap_or_default();
        let need = history.trust().threshold;
        // One batch: a crash leaves all or none.
        let permission = permission(&draft);
        let place = usize::from(permission.is_some());
        let drafts: Vec<Draft> = permission.into_iter().chain([draft]).chain(then).collect();
        let done = self.append(&drafts)?;
        let index = done.get(place).map_or(LeafIndex(0), |d| d.index);
        Ok(Word { index, approvals: before.into_iter().chain([index]).collect(), need })
    }

    /// Records an act that takes one word or none, right after the permission for it.
    pub(super) fn append_allowed(&mut self, draft: Draft) -> Result<Appended, DriverError> {
        let drafts: Vec<Draft> = permission(&draft).into_iter().chain([draft]).collect();
        let done = self.append(&drafts)?.pop();
        done.ok_or(DriverError::Log(LogError::Inconsistent("an append gave no entry")))
    }
}

/// That whoever does this may do it (audit.md A19): each call that changes the federation is allowed in the log, and its entry follows.
pub(super) fn permission(draft: &Draft) -> Option<Draft> {
    let decision = Decision::new(Ruling::Allow, draft.facts.right()?);
    let institution = draft.institution.filter(|_| draft.actor == Actor::Institution);
    let key = draft.statement.as_ref().map(|s| s.key);
    Some(Draft { institution, task: draft.task, key, ..Draft::decided(draft.actor, decision) })
}
