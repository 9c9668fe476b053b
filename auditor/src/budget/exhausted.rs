//! I8: budgets that are said to be exhausted. Whoever says so is held to it: what all its tasks can have cost together, by the account that it
//! names, must lie above its signed cap. In favour of whoever says it every task counts whole that it may have taken on. Knows no ledger file.

use super::{Charged, LAST_PLACE};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use privacy::accountant::rdp::conversion;
use privacy::accountant::task::TaskTerms;
use privacy::mechanism::Mechanism;
use protocol::exhausted::BudgetAccount;
use protocol::history::{DatasetHistory, Exhausted, History, SpendRecord, TaskHistory};
use protocol::ids::{ClientId, TaskId};
use protocol::plan::Plan;
use std::borrow::Cow;
use std::collections::BTreeSet;

const FALSE: Rule = Rule::new(
    Check::Budgets,
    Severity::Invariant,
    "I8: a budget is said to be exhausted only where all that its tasks may cost, added up again, does not fit under the signed cap",
);

/// What the ledgers' account leaves for noise; the rest of δ is for what is not as accounted (privacy.md D44, D61).
const INNER_DELTA: f64 = 0.99;

/// Every statement of every dataset.
pub(super) fn check(history: &History, findings: &mut Findings) {
    for ((who, _), dataset) in history.datasets() {
        for one in &dataset.exhausted {
            let claim = Claim { history, who: *who, dataset, one };
            // A plan that is not there has a finding of its own.
            if let Some((most, room)) = claim.figures().filter(|(most, room)| most <= room) {
                let name = one.said.account.name();
                let got = format!("{} of {} by the account `{name}`, by {}", one.said.needed, one.said.remaining, who.short());
                findings.add(FALSE, Place::Index(one.index.0), format!("at most {most} of {room}, which can be paid"), got);
            }
        }
    }
}

/// One statement, and what it is held against.
struct Claim<'a> {
    history: &'a History,
    who: ClientId,
    dataset: &'a DatasetHistory,
    one: &'a Exhausted,
}

impl Claim<'_> {
    /// The most that may be charged, with what rounding may add, and what there is for it. Nothing where the log does not say: a repaired ledger
    /// counts what nobody stated.
    fn figures(&self) -> Option<(f64, f64)> {
        let said = &self.one.said;
        let repaired = self.dataset.repairs.iter().any(|(at, _)| *at < self.one.index);
        match (said.account, said.order) {
            (BudgetAccount::Task, _) => {
                let plan = self.seen(said.task)?;
                let own = self.one.cap.own_epsilon_cap.map_or(f64::INFINITY, |own| own.to_f64());
                let before = if repaired { said.epsilon_before.to_f64() } else { 0.0 };
                let whole = self.over(&plan, |m, steps| terms(&plan, m).epsilon(steps).map_or(f64::INFINITY, |e| e.to_f64()));
                Some((whole.max(before) + LAST_PLACE, plan.privacy.epsilon_cap.to_f64().min(own)))
            }
            (BudgetAccount::Lifetime, Some(order)) if !repaired => {
                let (alpha, cap) = (order.to_f64(), &self.one.cap);
                let rho: f64 = self.dataset.releases.iter().map(|(_, r)| r.rho.to_f64()).sum();
                let tasks = self.all(|_, m, steps| self.step(m, alpha) * float(steps))?;
                let room = cap.epsilon_cap.to_f64() - conversion(alpha, cap.delta.to_f64() * INNER_DELTA);
                Some(((tasks + rho * alpha) * (1.0 + 1e-9) + LAST_PLACE, room))
            }
            (BudgetAccount::Slack, _) if !repaired => {
                let most = self.all(|plan, m, steps| Charged::of(&self.one.cap, m).slack(terms(plan, m).slack(steps), plan, steps))?;
                Some((most * (1.0 + 1e-9), self.one.cap.delta.to_f64() * (1.0 - INNER_DELTA)))
            }
            (BudgetAccount::Lifetime | BudgetAccount::Slack, _) => None,
        }
    }

    /// A plan as this institution carries it out.
    fn seen(&self, task: TaskId) -> Option<Cow<'_, Plan>> {
        self.history.task(task)?.plan()?.seen_by(self.who)
    }

    fn spends(&self, task: TaskId) -> impl Iterator<Item = &SpendRecord> {
        self.dataset.spends.iter().filter(move |r| r.task == task)
    }

    /// The largest figure of a task over its whole schedule, for any number of units that was declared for it.
    fn over(&self, plan: &Plan, figure: impl Fn(&Mechanism, u64) -> f64) -> f64 {
        let scheduled = plan.rounds.saturating_mul(u64::from(plan.local.steps));
        let steps = self.spends(plan.task).map(|r| r.spend.steps_total).max().unwrap_or(0).max(scheduled);
        let declared = self.spends(plan.task).map(|r| self.dataset.declared_for(r.index).declared_units);
        let units: BTreeSet<u64> = declared.chain([self.one.declared_units]).collect();
        let mechanisms = units.into_iter().filter_map(|units| Mechanism::of_plan(plan, units).ok());
        mechanisms.map(|m| figure(&m, steps)).fold(0.0, f64::max)
    }

    /// The sum over every task that the ledger may hold something for. Nothing where a plan is not there.
    fn all(&self, figure: impl Fn(&Plan, &Mechanism, u64) -> f64) -> Option<f64> {
        // Not every round that was paid for is stated: of a task that is over, too, the whole counts.
        let joined = self.history.members().get(&self.who).map(|m| m.joined);
        let may_count = |t: &TaskHistory| t.ended().is_none_or(|at| Some(at) > joined);
        let mut sum = 0.0;
        for (id, task) in self.history.tasks().iter().filter(|(_, t)| may_count(t)) {
            task.plan()?;
            // A plan of tiers may have none for this institution.
            if let Some(plan) = self.seen(*id) {
                sum += self.over(&plan, |m, steps| figure(&plan, m, steps));
            }
        }
        Some(sum)
    }

    /// RDP of one step; an order without a figure costs more than every budget.
    fn step(&self, m: &Mechanism, alpha: f64) -> f64 {
        let (sigma, q) = (m.noise_multiplier_accounted().to_f64(), m.sampling_rate_decimal().to_f64());
        Charged::of(&self.one.cap, m).step_at(sigma, q, alpha).unwrap_or(f64::INFINITY)
    }
}

fn terms(plan: &Plan, m: &Mechanism) -> TaskTerms {
    TaskTerms {
        noise_multiplier: m.noise_multiplier_accounted(),
        sampling_rate: m.sampling_rate_decimal(),
        delta: m.delta(),
        dimension: plan.dimension(),
        epsilon_cap: plan.privacy.epsilon_cap,
        noise: plan.privacy.noise,
        path: plan.privacy.path,
    }
}

#[expect(clippy::cast_precision_loss, reason = "schedules are far below 2^53 steps")]
fn float(steps: u64) -> f64 {
    steps as f64
}
