//! Tells the federation's log that the ledger cannot pay, once for each dataset and task, before the decline that follows from it (audit.md A19,
//! privacy.md D63).

use super::Agent;
use super::session::Trouble;
use crate::link::Link;
use protocol::exhausted::BudgetExhausted;
use protocol::ids::{RoundId, TaskId};
use protocol::reject::Rejection;
use std::sync::PoisonError;

impl Agent {
    /// Says it where that is the reason of a decline and the log does not have it yet. It is said when the decline is, so on a schedule at that
    /// very time (D12). A server that takes no such word is declined to all the same.
    pub(super) async fn tell_exhausted(&mut self, link: &Link, at: (TaskId, RoundId), reason: Rejection) -> Result<(), Trouble> {
        match self.due_exhausted(at).filter(|_| reason == Rejection::BudgetExhausted) {
            Some(said) => self.tell(link, self.keys.sign(&said)).await,
            None => Ok(()),
        }
    }

    fn due_exhausted(&self, (task, round): (TaskId, RoundId)) -> Option<BudgetExhausted> {
        let (data, ledger) = (self.data.as_ref()?, self.ledger.as_ref()?);
        let known = self.mirror.history().datasets().get(&(self.me, data.dataset()))?;
        let said = ledger.lock().unwrap_or_else(PoisonError::into_inner).exhausted(task, round);
        said.filter(|_| known.exhausted_in(task).is_none())
    }
}
