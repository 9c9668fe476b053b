//! Budgets that institutions say are exhausted: truly where they signed next to no cap, and falsely.

use super::super::twist::Twist;
use super::{CAP, Scribe, TASK, decimal};
use privacy::accountant::own::noise_rdp;
use privacy::accountant::rdp::conversion;
use privacy::ledger::default_order;
use protocol::decimal::Decimal;
use protocol::entry::{Actor, Draft, Facts};
use protocol::exhausted::{BudgetAccount, BudgetExhausted};
use protocol::ids::{RoundId, Sha256};
use protocol::manifest::Decline;
use protocol::plan::Unit;
use protocol::reject::Rejection;
use protocol::statement::Statement;
use protocol::trust::BudgetDeclaration;

/// Stories in which `clinic-3` can pay for nothing.
const POOR: [Twist; 5] = [
    Twist::Exhausted,
    Twist::ExhaustedTwice,
    Twist::ExhaustedAgainUnderMore,
    Twist::ExhaustedOtherwiseStated,
    Twist::ExhaustedAndDeclinedForNothing,
];

impl Scribe {
    /// The cap over all tasks that an institution signs.
    pub(super) fn cap_of(&self, who: usize) -> Decimal {
        decimal(if who == 3 && POOR.contains(&self.twist) { "0.1" } else { CAP })
    }

    /// In the second round somebody says that its budget cannot pay, and declines for that reason.
    pub(super) fn exhausted(&mut self, round: RoundId) {
        let lies = [Twist::ExhaustedFalsely, Twist::ExhaustedTaskFalsely, Twist::ExhaustedAndPaid];
        if round.0 != 2 || !(POOR.contains(&self.twist) || lies.contains(&self.twist)) {
            return;
        }
        let who = if self.twist == Twist::ExhaustedAndPaid { 1 } else { 3 };
        let said = self.refusal(who, round);
        let mut stated = said.facts();
        if self.twist == Twist::ExhaustedOtherwiseStated
            && let Facts::BudgetExhausted { needed, .. } = &mut stated
        {
            *needed = decimal("99");
        }
        self.says_exhausted(who, &said, stated);
        if self.twist == Twist::ExhaustedAgainUnderMore {
            let cap = BudgetDeclaration { dataset: said.dataset, epsilon_cap: decimal("0.11"), delta: said.delta, own_epsilon_cap: None };
            self.says(who, &cap, Facts::BudgetDeclared { dataset: said.dataset, epsilon_cap: cap.epsilon_cap });
            let again = BudgetExhausted { epsilon_cap: cap.epsilon_cap, ..said };
            self.says_exhausted(who, &again, again.facts());
        }
        if self.twist == Twist::ExhaustedTwice {
            self.says_exhausted(who, &said, said.facts());
        }
        if who == 3 {
            let reason = Rejection::BudgetExhausted;
            let statement = Statement::sign(&Decline { task: TASK, round, reason }, &self.people[who]);
            let draft = Draft::said(Actor::Institution, Some(self.ids()[who]), statement, Facts::RoundDeclined {}).rejected(reason);
            self.push(draft.in_round(TASK, round));
        }
    }

    fn says_exhausted(&mut self, who: usize, said: &BudgetExhausted, facts: Facts) {
        let statement = Statement::sign(said, &self.people[who]);
        let draft = Draft::said(Actor::Institution, Some(self.ids()[who]), statement, facts);
        self.push(draft.in_round(said.task, said.round));
    }

    /// What a ledger would say that was never spent from; of `clinic-1` after its first round.
    fn refusal(&self, who: usize, round: RoundId) -> BudgetExhausted {
        let (epsilon_cap, delta, m) = (self.cap_of(who), decimal("0.000001"), &self.mechanism);
        let order = default_order(epsilon_cap, delta).unwrap();
        let (sigma, q) = (m.noise_multiplier_accounted().to_f64(), m.sampling_rate_decimal().to_f64());
        let steps = f64::from(self.plan.local.steps) * 2.0;
        let cost = steps * noise_rdp(m.noise(), sigma, q, order.to_f64()).unwrap();
        let room = epsilon_cap.to_f64() - conversion(order.to_f64(), delta.to_f64() * 0.99);
        let true_one = POOR.contains(&self.twist);
        assert_eq!(cost > room, true_one, "the cap is what the story needs");
        let by_task = self.twist == Twist::ExhaustedTaskFalsely;
        let rest = if by_task { self.plan.privacy.epsilon_cap } else { Decimal::ceil(room, 9).unwrap() };
        BudgetExhausted {
            task: TASK,
            round,
            dataset: Self::dataset(who),
            unit: Unit::Record,
            delta,
            epsilon_cap,
            account: if by_task { BudgetAccount::Task } else { BudgetAccount::Lifetime },
            order: (!by_task).then_some(order),
            epsilon_before: if who == 1 { self.epsilon(3) } else { Decimal::ZERO },
            needed: if true_one { Decimal::ceil(cost, 9).unwrap() } else { decimal("9") },
            remaining: rest,
            ledger_counter: if who == 1 { 15 } else { 0 },
            ledger_head: Sha256([79; 32]),
        }
    }
}
