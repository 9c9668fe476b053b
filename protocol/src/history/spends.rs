//! What institutions say about their ledgers (audit.md A19, A21): repairs, scalar releases, and what was paid for a round that took no update
//! of its institution, which counts like the spend of an accepted one. Knows no accountant.

use super::rules::{self, Clause, Report};
use super::{History, RoundHistory, SpendRecord};
use crate::entry::{Facts, LogEntry};
use crate::ids::{ClientId, LeafIndex};
use crate::statement::Checked;
use crate::trust::{LedgerRepair, ReleaseSpend, RoundSpend};

impl History {
    /// Takes in an institution's word about its ledger.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller hands over no other type")]
    pub(super) fn ledger_told(&mut self, index: LeafIndex, entry: &LogEntry, s: &Checked, out: &mut Report) {
        match &entry.facts {
            Facts::BudgetRepaired { dataset, ledger_counter } => {
                let Some((who, said)) = self.member_said::<LedgerRepair>(entry, s, out) else { return };
                out.require((said.dataset, said.ledger_counter) == (*dataset, *ledger_counter), Clause::FieldsDiffer);
                self.repaired(index, who, said, out);
            }
            Facts::BudgetSpent { dataset, ledger_counter } => {
                let Some((who, said)) = self.member_said::<RoundSpend>(entry, s, out) else { return };
                let same = (said.spend.dataset, said.spend.ledger_counter) == (*dataset, *ledger_counter);
                out.require(same && (Some(said.task), Some(said.round)) == (entry.task, entry.round), Clause::FieldsDiffer);
                self.round_paid(index, who, said, out);
            }
            Facts::BudgetReleased { dataset, ledger_counter } => {
                let Some((who, said)) = self.member_said::<ReleaseSpend>(entry, s, out) else { return };
                out.require((said.dataset, said.ledger_counter) == (*dataset, *ledger_counter), Clause::FieldsDiffer);
                self.release_paid(index, who, said, out);
            }
            _of_no_ledger => out.add(Clause::Schema),
        }
    }

    /// A spend stands alone once, after the end of its round: until then its update may still come.
    fn round_paid(&mut self, index: LeafIndex, who: ClientId, said: RoundSpend, out: &mut Report) {
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
