//! What was paid for a round that took no update of its institution (audit.md A21): it counts like the spend of an accepted update. Knows no
//! accountant.

use super::rules::{self, Clause, Report};
use super::task::RoundHistory;
use super::{History, SpendRecord};
use crate::ids::{ClientId, LeafIndex};
use crate::trust::RoundSpend;

impl History {
    /// A spend stands alone once, after the end of its round: until then its update may still come.
    pub(super) fn round_paid(&mut self, index: LeafIndex, who: ClientId, said: RoundSpend, out: &mut Report) {
        let id = (who, said.spend.dataset);
        let round = self.tasks.get(&said.task).and_then(|t| t.rounds().get(&said.round));
        let took = |r: &RoundHistory| r.groups.values().any(|g| g.accepted.values().any(|(by, ..)| *by == who));
        out.require(round.is_some_and(|r| r.is_over() && !took(r)), Clause::SpentAlone);
        let units = round.and_then(|r| r.declared.get(&id)).copied();
        let Some(dataset) = self.datasets.get_mut(&id) else { return out.add(Clause::BudgetUndeclared) };
        let first = dataset.spends.iter().all(|r| (r.task, r.round) != (said.task, said.round));
        out.require(first, Clause::SpentAlone);
        let record = SpendRecord { index, task: said.task, round: said.round, spend: said.spend };
        rules::check_spend(dataset, &record, out);
        dataset.spend(record, units);
    }
}
