//! Budgets that institutions say are exhausted (audit.md A19, I8): each stands until something could make room, and while it stands nothing more is
//! paid for its task. Knows no accountant.

use super::rules::{Clause, Report};
use super::{DatasetHistory, History};
use crate::entry::LogEntry;
use crate::exhausted::{BudgetAccount, BudgetExhausted};
use crate::ids::{LeafIndex, TaskId};
use crate::statement::Checked;
use crate::trust::BudgetDeclaration;

/// A budget that was said to be exhausted.
#[derive(Clone, Copy, Debug)]
pub struct Exhausted {
    /// Where that is said.
    pub index: LeafIndex,
    /// What is said.
    pub said: BudgetExhausted,
    /// Units that were declared at that time.
    pub declared_units: u64,
    /// The cap that was in force.
    pub cap: BudgetDeclaration,
    /// The first entry after it that could make room; until then it stands.
    pub until: Option<LeafIndex>,
}

impl DatasetHistory {
    /// What stands about a task's budget on this dataset.
    pub fn exhausted_in(&self, task: TaskId) -> Option<&Exhausted> {
        self.exhausted.iter().rev().find(|e| e.said.task == task && e.until.is_none())
    }

    /// Something happened after which there may be room for what this picks.
    pub(super) fn make_room(&mut self, since: LeafIndex, picks: impl Fn(&BudgetExhausted) -> bool) {
        self.exhausted.iter_mut().filter(|e| e.until.is_none() && picks(&e.said)).for_each(|e| e.until = Some(since));
    }

    /// A cap that is larger in anything makes room.
    pub(super) fn cap_declared(&mut self, since: LeafIndex, cap: BudgetDeclaration) {
        let own = |c: &BudgetDeclaration| c.own_epsilon_cap.map(|own| own.to_f64());
        let grew = |before: &BudgetDeclaration| {
            let figures = |c: &BudgetDeclaration| (c.epsilon_cap.to_f64(), c.delta.to_f64());
            let ((cap_then, delta_then), (cap_now, delta_now)) = (figures(before), figures(&cap));
            cap_now > cap_then || delta_now > delta_then || own(&cap) > own(before)
        };
        if self.cap.as_ref().is_none_or(grew) {
            self.make_room(since, |_| true);
        }
        self.cap = Some(cap);
    }
}

impl History {
    /// Said in a round that goes on, of a declared dataset under its signed cap, and not again while it stands. What the log has of the ledger is
    /// not newer than it.
    pub(super) fn exhausted(&mut self, index: LeafIndex, entry: &LogEntry, s: &Checked, out: &mut Report) {
        let Some((who, said)) = self.member_said::<BudgetExhausted>(entry, s, out) else { return };
        out.require((Some(said.task), Some(said.round)) == (entry.task, entry.round) && entry.facts == said.facts(), Clause::FieldsDiffer);
        let runs = self.tasks.get(&said.task).is_some_and(|t| t.is_running(said.round));
        let Some(dataset) = self.datasets.get_mut(&(who, said.dataset)) else { return out.add(Clause::BudgetUndeclared) };
        dataset.must_be_in_use(out);
        let Some(cap) = dataset.cap else { return out.add(Clause::BudgetUndeclared) };
        let fits = said.is_sound() && said.is_under(&cap) && said.unit == dataset.declaration.unit;
        out.require(runs && fits && dataset.exhausted_in(said.task).is_none(), Clause::Exhausted);
        let spends = dataset.spends.iter().map(|r| r.spend.ledger_counter);
        let repairs = dataset.repairs.iter().map(|(_, r)| r.ledger_counter);
        out.require(spends.chain(repairs).all(|counter| counter <= said.ledger_counter), Clause::LedgerCounter);
        let last = dataset.spends.iter().rev().find(|r| r.task == said.task).map_or(0.0, |r| r.spend.epsilon_after.to_f64());
        out.require(said.epsilon_before.to_f64() >= last, Clause::BudgetSum);
        let declared_units = dataset.declaration.declared_units;
        dataset.exhausted.push(Exhausted { index, said, declared_units, cap, until: None });
    }

    /// What was held for a task that is over can pay for others: by the caps over all tasks.
    pub(super) fn room_after(&mut self, since: LeafIndex, ended: TaskId) {
        let may_fit = |e: &BudgetExhausted| e.task != ended && e.account != BudgetAccount::Task;
        self.datasets.values_mut().for_each(|d| d.make_room(since, may_fit));
    }
}
