//! An institution's word that its privacy ledger cannot pay (audit.md A19 `budget.exhausted`, privacy.md D63): by which account, what was asked
//! and what there was. Every figure follows from signed plans, signed caps and spends that the log has or will have. Knows no ledger.

use crate::codes::codes;
use crate::decimal::Decimal;
use crate::entry::Facts;
use crate::ids::{RoundId, Sha256, TaskId};
use crate::plan::Unit;
use crate::statement::{Payload, StatementKind};
use crate::trust::BudgetDeclaration;
use minicbor::{CborLen, Decode, Encode};

codes! {
    /// Which cap a refusal is about.
    BudgetAccount {
        /// The cap on one task's ε: the plan's, or the institution's own where that is smaller.
        Task = 0, "task";
        /// The institution's cap over all tasks, at the filter's order.
        Lifetime = 1, "lifetime";
        /// The hundredth of the ledger's δ that what is not as accounted must fit into, over all tasks (privacy.md D44).
        Slack = 2, "slack";
    }
}

/// A ledger's refusal to take on a task or to pay for a round of it.
///
/// # Privacy
/// Says nothing of records: the figures follow from the plan, the declared size, the signed cap and what was spent before, all of which the log
/// has. Not in it: what a refused count beside the tasks asked for, which no federation hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct BudgetExhausted {
    /// The task that cannot be paid for.
    #[n(0)]
    pub task: TaskId,
    /// The round that is declined for it.
    #[n(1)]
    pub round: RoundId,
    /// The dataset whose ledger refuses.
    #[n(2)]
    pub dataset: Sha256,
    /// Whose data one unit is.
    #[n(3)]
    pub unit: Unit,
    /// δ of the ledger.
    #[n(4)]
    pub delta: Decimal,
    /// The signed cap in force.
    #[n(5)]
    pub epsilon_cap: Decimal,
    /// Which cap would be exceeded.
    #[n(6)]
    pub account: BudgetAccount,
    /// Rényi order of the two figures below; for [`BudgetAccount::Lifetime`] alone.
    #[n(7)]
    pub order: Option<Decimal>,
    /// ε of the task so far, as its next header would have stated it.
    #[n(8)]
    pub epsilon_before: Decimal,
    /// What is asked for: ε of the task, nats at the order, or a part of δ.
    #[n(9)]
    pub needed: Decimal,
    /// What there is, in the same measure.
    #[n(10)]
    pub remaining: Decimal,
    /// Counter of the ledger's last entry. A payment that was made before has at most this one.
    #[n(11)]
    pub ledger_counter: u64,
    /// Hash of that entry.
    #[n(12)]
    pub ledger_head: Sha256,
}

impl Payload for BudgetExhausted {
    const KIND: StatementKind = StatementKind::Exhausted;
}

impl BudgetExhausted {
    /// What the entry says that repeats it.
    pub fn facts(&self) -> Facts {
        let Self { dataset, account, needed, remaining, ledger_counter, .. } = *self;
        Facts::BudgetExhausted { dataset, account, needed, remaining, ledger_counter }
    }

    /// Whether it says that something is too little, in a measure that its account has. Both figures may have been rounded up to the same place.
    pub fn is_sound(&self) -> bool {
        let ordered = match (self.account, self.order) {
            (BudgetAccount::Lifetime, Some(order)) => order.to_f64() > 1.0,
            (BudgetAccount::Task | BudgetAccount::Slack, None) => true,
            (BudgetAccount::Lifetime, None) | (BudgetAccount::Task | BudgetAccount::Slack, Some(_)) => false,
        };
        ordered && self.needed.to_f64() >= self.remaining.to_f64()
    }

    /// Whether it speaks of this cap.
    pub fn is_under(&self, cap: &BudgetDeclaration) -> bool {
        (self.dataset, self.epsilon_cap, self.delta) == (cap.dataset, cap.epsilon_cap, cap.delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_an_order_over_all_tasks_alone_and_too_little_to_pay_with() {
        let number = |text: &str| text.parse::<Decimal>().unwrap();
        let good = BudgetExhausted {
            task: TaskId([1; 16]),
            round: RoundId(2),
            dataset: Sha256([3; 32]),
            unit: Unit::Record,
            delta: number("0.000001"),
            epsilon_cap: number("4"),
            account: BudgetAccount::Lifetime,
            order: Some(number("12")),
            epsilon_before: number("0.5"),
            needed: number("0.2"),
            remaining: number("0.1"),
            ledger_counter: 7,
            ledger_head: Sha256([4; 32]),
        };
        assert!(good.is_sound());
        let bad = [
            BudgetExhausted { order: None, ..good },
            BudgetExhausted { order: Some(Decimal::ONE), ..good },
            BudgetExhausted { account: BudgetAccount::Task, ..good },
            BudgetExhausted { remaining: number("0.3"), ..good },
        ];
        assert!(bad.iter().all(|b| !b.is_sound()));
        assert!(BudgetExhausted { account: BudgetAccount::Slack, order: None, remaining: good.needed, ..good }.is_sound());
        let cap = BudgetDeclaration { dataset: good.dataset, epsilon_cap: good.epsilon_cap, delta: good.delta, own_epsilon_cap: None };
        assert!(good.is_under(&cap) && !BudgetExhausted { epsilon_cap: number("5"), ..good }.is_under(&cap));
    }
}
