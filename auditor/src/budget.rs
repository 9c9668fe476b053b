//! I8: every spend recomputed from its stated parameters with the accountant, without any data (audit.md A36, privacy.md section 5).
//! Knows no ledger file.

mod exhausted;

use crate::finding::{Check, Findings, Place, Rule, Severity};
use privacy::accountant::own::{epsilon_of_rdp, noise_rdp};
use privacy::accountant::task::TaskTerms;
use privacy::coalition::{Coalition, Standing, check_statement};
use privacy::mechanism::Mechanism;
use protocol::decimal::Decimal;
use protocol::history::{DatasetHistory, History, SpendRecord};
use protocol::ids::{ClientId, RoundId, Sha256, TaskId};
use protocol::plan::{NoiseKind, Plan};
use protocol::trust::BudgetDeclaration;
use std::collections::{BTreeMap, BTreeSet};

const NO_PLAN: Rule = Rule::new(Check::Budgets, Severity::Incomplete, "I8: a spend is recomputed from its plan");
const ACCOUNT: Rule = Rule::new(Check::Budgets, Severity::Incomplete, "I8: a spend names an accountant known to this version");
const PLAN: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: a spend states the mechanism of the plan");
const EPSILON: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: epsilon is not below its recomputation");
const PLAN_CAP: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: epsilon stays under the cap of the plan");
const COALITION: Rule = Rule::new(
    Check::Budgets,
    Severity::Invariant,
    "I8: what a plan states against coalitions is not below its recomputation (privacy.md D22)",
);
const STEPS: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: steps add up");
const TASKS: Rule =
    Rule::new(Check::Budgets, Severity::Invariant, "I8: all tasks and releases of a dataset together stay under the signed cap");
const SLACK: Rule = Rule::new(
    Check::Budgets,
    Severity::Invariant,
    "I8: what all tasks of a dataset may fail by fits into a hundredth of the signed delta (privacy.md D44)",
);
const SKIPPED: Rule = Rule::new(Check::Budgets, Severity::Notice, "I8: steps that were paid and have no accepted update count as spent");
const CHAIN: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: one ledger counter names one entry");
const REPAIRED: Rule = Rule::new(Check::Budgets, Severity::Notice, "I8: a ledger was raised to what the log shows");
const GAP: Rule = Rule::new(Check::Budgets, Severity::Notice, "I8: a gap between two spends counts as spent");

/// Slack of the comparison: one unit of the sixth place, in which figures are rounded up.
const LAST_PLACE: f64 = 1e-6;

/// What is computed once, however many institutions share it.
#[derive(Default)]
pub(crate) struct Accounts {
    /// Recomputed ε by everything that it depends on: institutions share schedules.
    epsilon: BTreeMap<(TaskId, String, u64, u64), Option<Decimal>>,
    /// Tasks whose figures against coalitions were compared.
    judged: BTreeSet<TaskId>,
}

impl Accounts {
    fn epsilon(&mut self, record: &SpendRecord, terms: &TaskTerms) -> Option<Decimal> {
        let s = &record.spend;
        let numbers = format!("{} {} {}", s.noise_multiplier, s.sampling_rate, s.delta);
        // Tiers of one task noise as many coordinates as they train.
        let key = (record.task, numbers, terms.dimension, s.steps_total);
        *self.epsilon.entry(key).or_insert_with(|| terms.epsilon(s.steps_total).ok())
    }
}

/// Recomputes every spend of every dataset.
pub(crate) fn check(history: &History, findings: &mut Findings) {
    let mut accounts = Accounts::default();
    for ((who, _), dataset) in history.datasets() {
        check_dataset(*who, dataset, &|task| history.task(task)?.plan(), &mut accounts, findings);
    }
    exhausted::check(history, findings);
}

/// Recomputes every spend of one dataset.
pub(crate) fn check_dataset<'a>(
    who: ClientId,
    dataset: &DatasetHistory,
    plan_of: &dyn Fn(TaskId) -> Option<&'a Plan>,
    accounts: &mut Accounts,
    findings: &mut Findings,
) {
    let mut last: BTreeMap<TaskId, &SpendRecord> = BTreeMap::new();
    let mut slack: BTreeMap<TaskId, f64> = BTreeMap::new();
    let mut charged: BTreeMap<TaskId, Charged> = BTreeMap::new();
    for record in &dataset.spends {
        let before = last.insert(record.task, record);
        // One reservation pays for all groups of a round; its header fields repeat.
        if before.is_some_and(|b| b.spend.ledger_counter == record.spend.ledger_counter) {
            continue;
        }
        let Some(plan) = plan_of(record.task) else {
            findings.add(NO_PLAN, Place::Index(record.index.0), "a plan", "none");
            continue;
        };
        // Clip norm, noise and figure are over the shards that the plan gives to this institution.
        let Some(plan) = plan.seen_by(who) else {
            findings.add(NO_PLAN, Place::Index(record.index.0), "a tier of the plan for this institution", "none");
            continue;
        };
        let one = Spend { record, before, plan: &plan, dataset, who };
        one.check_parameters(findings);
        if accounts.judged.insert(record.task) {
            one.check_coalition(findings);
        }
        one.check_steps(findings);
        one.check_epsilon(accounts, findings);
        let by = one.charged();
        slack.insert(record.task, one.slack(&by));
        charged.insert(record.task, by);
    }
    check_chain(dataset, findings);
    check_tasks(dataset, &last, &charged, slack.values().sum(), findings);
}

/// By which account a task counts in the total over all tasks.
enum Charged {
    /// Own noise of this law.
    Own(NoiseKind),
    /// What the guaranteed shares leave to a coalition: the institution's signed cap says so, and the bound is published (privacy.md D61).
    Shares(Box<Coalition>),
}

impl Charged {
    /// The account that a signed cap names, for a task of this mechanism.
    fn of(cap: &BudgetDeclaration, mechanism: &Mechanism) -> Self {
        let shares = cap.own_epsilon_cap.and_then(|_| Coalition::of(mechanism.executed()));
        let published = shares.filter(|c| c.standing() == Standing::Published);
        published.map_or(Self::Own(mechanism.noise()), |c| Self::Shares(Box::new(c)))
    }

    /// RDP of one step with the numbers that a spend states.
    fn step(&self, spend: &SpendRecord, alpha: f64) -> Option<f64> {
        self.step_at(spend.spend.noise_multiplier.to_f64(), spend.spend.sampling_rate.to_f64(), alpha)
    }

    fn step_at(&self, sigma: f64, q: f64, alpha: f64) -> Option<f64> {
        match self {
            // Nonsense costs more than every cap.
            Self::Own(_) | Self::Shares(_) if !(q > 0.0 && q <= 1.0) => Some(f64::INFINITY),
            Self::Own(noise) => noise_rdp(*noise, sigma, q, alpha),
            Self::Shares(shares) => shares.step_rdp(alpha),
        }
    }

    /// δ for what is not as accounted, of which own noise alone takes `own`.
    fn slack(&self, own: f64, plan: &Plan, steps: u64) -> f64 {
        match self {
            Self::Own(_) => own,
            Self::Shares(shares) => own.max(shares.slack(plan.privacy.epsilon_cap.to_f64(), steps)),
        }
    }
}

/// One spend and the one before it of the same task.
struct Spend<'a> {
    record: &'a SpendRecord,
    before: Option<&'a SpendRecord>,
    plan: &'a Plan,
    dataset: &'a DatasetHistory,
    who: ClientId,
}

impl Spend<'_> {
    fn place(&self) -> Place {
        Place::Index(self.record.index.0)
    }

    fn check_parameters(&self, findings: &mut Findings) {
        let (s, privacy, declared) = (&self.record.spend, &self.plan.privacy, self.dataset.declared_for(self.record.index));
        let mechanism = Mechanism::of_plan(self.plan, declared.declared_units);
        let expected = match &mechanism {
            Ok(m) => format!("noise {}, q {}, delta {}", m.noise_multiplier_accounted(), m.sampling_rate_decimal(), m.delta()),
            Err(e) => format!("a mechanism, but {e}"),
        };
        let got = format!("noise {}, q {}, delta {}", s.noise_multiplier, s.sampling_rate, s.delta);
        if expected != got {
            findings.add(PLAN, self.place(), expected, format!("{got}, by {}", self.who.short()));
        }
        if s.unit != privacy.unit || declared.unit != privacy.unit {
            findings.add(PLAN, self.place(), format!("unit {:?}", privacy.unit), format!("{:?}, declared {:?}", s.unit, declared.unit));
        }
        if s.epsilon_after.to_f64() > privacy.epsilon_cap.to_f64() {
            findings.add(PLAN_CAP, self.place(), format!("at most {}", privacy.epsilon_cap), s.epsilon_after.to_string());
        }
    }

    /// Modes `distributed` and `hybrid`: the figure that waits for its review is computed again too. What is charged is the own one.
    fn check_coalition(&self, findings: &mut Findings) {
        let mechanism = Mechanism::of_plan(self.plan, self.dataset.declared_for(self.record.index).declared_units);
        let Ok(mechanism) = mechanism else { return }; // named by the parameters already
        if let (Err(e), Some(joint)) = (check_statement(self.plan, mechanism.executed()), self.plan.privacy.mode.joint()) {
            findings.add(COALITION, self.place(), e.to_string(), joint.coalition_epsilon.to_string());
        }
    }

    fn check_steps(&self, findings: &mut Findings) {
        let (s, steps) = (&self.record.spend, u64::from(self.plan.local.steps));
        let before = self.before.map_or(0, |b| b.spend.steps_total);
        if s.steps != steps || s.steps_total < before.saturating_add(s.steps) {
            let expected = format!("{steps} steps, at least {} in all", before.saturating_add(steps));
            findings.add(STEPS, self.place(), expected, format!("{} steps, {} in all", s.steps, s.steps_total));
        }
        if s.steps == steps && s.steps_total > before.saturating_add(steps) {
            let got = format!("{} in all: {} without an update", s.steps_total, s.steps_total - before - steps);
            findings.add(SKIPPED, self.place(), format!("{} steps in all", before + steps), got);
        }
        let last = self.before.map_or(0.0, |b| b.spend.epsilon_after.to_f64());
        if s.epsilon_before.to_f64() > last {
            findings.add(GAP, self.place(), format!("epsilon before {last}"), format!("{}, without an accepted update", s.epsilon_before));
        }
    }

    /// What the figure depends on: the spend's statement, and the plan's model, cap and noise.
    fn terms(&self) -> TaskTerms {
        let (s, plan) = (&self.record.spend, self.plan);
        TaskTerms {
            noise_multiplier: s.noise_multiplier,
            sampling_rate: s.sampling_rate,
            delta: s.delta,
            dimension: plan.dimension(),
            epsilon_cap: plan.privacy.epsilon_cap,
            noise: plan.privacy.noise,
            path: plan.privacy.path,
        }
    }

    /// That the executed numbers are those of the plan is checked beside it.
    fn charged(&self) -> Charged {
        let own = Charged::Own(self.plan.privacy.noise);
        let Some(cap) = self.dataset.cap.filter(|cap| cap.own_epsilon_cap.is_some()) else { return own };
        let mechanism = Mechanism::of_plan(self.plan, self.dataset.declared_for(self.record.index).declared_units).ok();
        mechanism.map_or(own, |m| Charged::of(&cap, &m))
    }

    fn slack(&self, by: &Charged) -> f64 {
        let steps = self.record.spend.steps_total;
        by.slack(self.terms().slack(steps), self.plan, steps)
    }

    fn check_epsilon(&self, accounts: &mut Accounts, findings: &mut Findings) {
        let (s, terms) = (&self.record.spend, self.terms());
        if s.accountant != terms.accountant() {
            return findings.add(ACCOUNT, self.place(), terms.accountant(), s.accountant.clone());
        }
        match accounts.epsilon(self.record, &terms) {
            Some(epsilon) if epsilon.to_f64() <= s.epsilon_after.to_f64() + LAST_PLACE => {}
            Some(epsilon) => findings.add(EPSILON, self.place(), format!("at least {epsilon}"), s.epsilon_after.to_string()),
            None => findings.add(EPSILON, self.place(), "a finite epsilon", "parameters without one"),
        }
    }
}

/// Counters rise over all tasks of a ledger (the fold says where they do not); here: no two entries under one counter, and every repair.
fn check_chain(dataset: &DatasetHistory, findings: &mut Findings) {
    let mut heads: BTreeMap<u64, Sha256> = BTreeMap::new();
    let spends = dataset.spends.iter().map(|r| (r.index, r.spend.ledger_counter, r.spend.ledger_head));
    let releases = dataset.releases.iter().map(|(index, r)| (*index, r.ledger_counter, r.ledger_head));
    let exhausted = dataset.exhausted.iter().map(|e| (e.index, e.said.ledger_counter, e.said.ledger_head));
    for (index, counter, named) in spends.chain(releases).chain(exhausted) {
        let head = *heads.entry(counter).or_insert(named);
        if head != named {
            findings.add(CHAIN, Place::Index(index.0), head.to_string(), format!("{named} under counter {counter}"));
        }
    }
    for (index, repair) in &dataset.repairs {
        let epsilon = repair.epsilon.map_or_else(|| "unbounded".to_owned(), |e| e.to_string());
        let got = format!("counter {}, epsilon {epsilon} over all tasks", repair.ledger_counter);
        findings.add(REPAIRED, Place::Index(index.0), "a ledger that was never rolled back or copied", got);
    }
}

/// Tasks on one dataset compose, with each other and with scalar releases: all in one RDP account stay under the cap that the ledger's filter
/// enforced (privacy.md D28, D57). A release of ρ costs ρα at every order. What the tasks may fail by is taken from δ before (D44).
fn check_tasks(
    dataset: &DatasetHistory,
    last: &BTreeMap<TaskId, &SpendRecord>,
    charged: &BTreeMap<TaskId, Charged>,
    slack: f64,
    findings: &mut Findings,
) {
    let newest = dataset.spends.iter().map(|r| r.index).chain(dataset.releases.iter().map(|(index, _)| *index)).max();
    let (Some(cap), Some(newest)) = (&dataset.cap, newest) else { return };
    if last.len() < 2 && dataset.releases.is_empty() && cap.own_epsilon_cap.is_none() {
        return; // one task's own figure is already under the cap
    }
    // A spend without a plan has a finding of its own.
    let unknown = Charged::Own(NoiseKind::RoundedGaussian);
    #[expect(clippy::cast_precision_loss, reason = "schedules are far below 2^53 steps")]
    let of_task = |r: &SpendRecord, alpha: f64| {
        let one = charged.get(&r.task).unwrap_or(&unknown).step(r, alpha)?;
        Some(if r.spend.steps_total == 0 { 0.0 } else { one * r.spend.steps_total as f64 })
    };
    let rho: f64 = dataset.releases.iter().map(|(_, r)| r.rho.to_f64()).sum();
    let cost = |alpha: f64| Some(last.values().map(|r| of_task(r, alpha)).sum::<Option<f64>>()? + rho * alpha);
    let room = cap.delta.to_f64() / 100.0;
    // Ledgers add the same numbers up, in an order of their own.
    if slack > room * (1.0 + 1e-9) {
        findings.add(SLACK, Place::Index(newest.0), format!("at most {room:e}"), format!("{slack:e} over {} tasks", last.len()));
    }
    let epsilon = epsilon_of_rdp(cost, cap.delta.to_f64() - slack).map_or(f64::INFINITY, |a| a.epsilon);
    if epsilon > cap.epsilon_cap.to_f64() + LAST_PLACE {
        let got = format!("{epsilon:.6} over {} tasks and {} releases", last.len(), dataset.releases.len());
        findings.add(TASKS, Place::Index(newest.0), format!("at most {}", cap.epsilon_cap), got);
    }
}

/// The figures that a round's accepted updates state, by institution.
pub(crate) fn stated(history: &History, task: TaskId, round: RoundId) -> BTreeMap<ClientId, (Decimal, Sha256)> {
    let mut out = BTreeMap::new();
    for ((who, dataset), d) in history.datasets() {
        for r in d.spends.iter().filter(|r| r.task == task && r.round == round) {
            out.insert(*who, (r.spend.epsilon_after, *dataset));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::LeafIndex;
    use protocol::manifest::BudgetSpend;
    use protocol::plan::{ClipPath, Unit};
    use protocol::trust::{DatasetDeclaration, ReleaseSpend};

    fn record(task: u8, steps_total: u64) -> SpendRecord {
        let (dataset, number) = (Sha256([1; 32]), |text: &str| text.parse::<Decimal>().unwrap());
        let spend = BudgetSpend {
            dataset,
            unit: Unit::Record,
            noise_multiplier: number("1"),
            sampling_rate: number("0.01"),
            steps: steps_total,
            steps_total,
            delta: number("0.000001"),
            epsilon_before: number("0"),
            epsilon_after: number("1"),
            epsilon_cap: number("3"),
            ledger_counter: u64::from(task),
            ledger_head: dataset,
            accountant: "pld-1".to_owned(),
        };
        SpendRecord { index: LeafIndex(u64::from(task)), task: TaskId([task; 16]), round: RoundId(1), spend }
    }

    /// Findings over tasks of so many steps each and releases of these costs, under a cap of 3.
    fn over_all(tasks: &[u64], releases: &[&str]) -> Findings {
        failing(tasks, releases, 0.0)
    }

    /// The same of tasks that may fail by so much of the 1e-6 that there is.
    fn failing(tasks: &[u64], releases: &[&str], slack: f64) -> Findings {
        drawn_by(NoiseKind::RoundedGaussian, tasks, releases, slack)
    }

    fn tasks_of(law: NoiseKind, count: usize) -> BTreeMap<TaskId, Charged> {
        (1..).take(count).map(|task| (TaskId([task; 16]), Charged::Own(law))).collect()
    }

    fn drawn_by(law: NoiseKind, tasks: &[u64], releases: &[&str], slack: f64) -> Findings {
        let dataset = Sha256([1; 32]);
        let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 10_000 };
        let (epsilon_cap, delta) = ("3".parse().unwrap(), "0.000001".parse().unwrap());
        let cap = BudgetDeclaration { dataset, epsilon_cap, delta, own_epsilon_cap: None };
        let spends: Vec<_> = (1..).zip(tasks).map(|(task, steps)| record(task, *steps)).collect();
        let release = |(counter, rho): (u64, &&str)| {
            let (unit, rho, ledger_head) = (Unit::Record, rho.parse().unwrap(), Sha256([9; 32]));
            (LeafIndex(counter), ReleaseSpend { dataset, unit, rho, ledger_counter: counter, ledger_head })
        };
        let releases = (100..).zip(releases).map(release).collect();
        let history = DatasetHistory { cap: Some(cap), spends, releases, ..DatasetHistory::declared(declaration) };
        let last = history.spends.iter().map(|r| (r.task, r)).collect();
        let mut findings = Findings::default();
        check_chain(&history, &mut findings);
        check_tasks(&history, &last, &tasks_of(law, tasks.len()), slack, &mut findings);
        findings
    }

    fn over(tasks: &[u64]) -> Findings {
        over_all(tasks, &[])
    }

    #[test]
    fn tiers_of_one_task_have_figures_of_their_own() {
        let (record, mut accounts) = (record(1, 10), Accounts::default());
        let s = &record.spend;
        let terms = |dimension| TaskTerms {
            noise_multiplier: s.noise_multiplier,
            sampling_rate: s.sampling_rate,
            delta: s.delta,
            dimension,
            epsilon_cap: "50".parse().unwrap(),
            noise: NoiseKind::RoundedGaussian,
            path: ClipPath::Exact,
        };
        // So many coordinates that the sampler's distance alone takes more of delta than it may: that tier has no figure.
        let (small, large) = (terms(1), terms(u64::MAX));
        assert!(accounts.epsilon(&record, &small).is_some() && large.epsilon(s.steps_total).is_err());
        assert_eq!(accounts.epsilon(&record, &large), None);
    }

    /// D28: ρ = 0.15 alone is ε 2.68 at δ = 1e-6 and fits under 3; twice, or with a task that fits alone too, it does not.
    #[test]
    fn scalar_releases_are_added_to_the_tasks() {
        assert!(over_all(&[], &["0.15"]).worst().is_none());
        assert!(over_all(&[1500], &["0.000001"]).worst().is_none(), "a small release fits beside a task");
        assert_eq!(over_all(&[], &["0.15", "0.15"]).worst(), Some(Severity::Invariant), "two releases without any task");
        assert_eq!(over_all(&[1500], &["0.15"]).worst(), Some(Severity::Invariant), "a task and a release");
        assert!(over(&[1500]).worst().is_none());
    }

    /// D44: the filter over all tasks leaves a hundredth of δ, and no more.
    #[test]
    fn what_all_tasks_may_fail_by_fits_into_a_hundredth_of_delta() {
        assert!(failing(&[10, 10], &[], 1e-8).worst().is_none());
        let beyond = failing(&[10, 10], &[], 1.1e-8);
        assert_eq!((beyond.worst(), beyond.list()[0].clause), (Some(Severity::Invariant), SLACK.clause));
        // Nothing of δ is left for noise: no figure, and that is named too.
        assert_eq!(failing(&[10, 10], &[], 2e-6).count(Check::Budgets), 2);
    }

    /// D23: with sampling the discrete Gaussian costs more than the Gaussian, over all tasks as in each.
    #[test]
    fn tasks_of_discrete_noise_are_added_up_by_its_own_account() {
        let over = |law| drawn_by(law, &[1500, 10], &[], 0.0).worst();
        assert_eq!([NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian].map(over), [None, Some(Severity::Invariant)]);
    }

    /// D61: where the signed cap is of what shares leave to a coalition, a task of discrete noise counts as these, any other as ever.
    #[test]
    fn shares_are_counted_only_where_the_cap_is_of_what_they_leave() {
        use crate::tests::{story, twist::Twist};
        let mut plan = story::plan(Twist::Hybrid);
        let mut charged = |own_cap: Option<&str>, noise| {
            plan.privacy.noise = noise;
            let m = Mechanism::of_plan(&plan, 10_000).unwrap();
            let mut record = record(1, 10);
            record.spend.noise_multiplier = m.noise_multiplier_accounted();
            let dataset = record.spend.dataset;
            let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 10_000 };
            let (epsilon_cap, delta) = ("3".parse().unwrap(), "0.000001".parse().unwrap());
            let cap = BudgetDeclaration { dataset, epsilon_cap, delta, own_epsilon_cap: own_cap.map(|c| c.parse().unwrap()) };
            let dataset = DatasetHistory { cap: Some(cap), ..DatasetHistory::declared(declaration) };
            let one = Spend { record: &record, before: None, plan: &plan, dataset: &dataset, who: ClientId([1; 32]) };
            let by = one.charged();
            assert!(one.slack(&by) >= one.terms().slack(10));
            by.step(&record, 8.0).unwrap()
        };
        let (rounded, discrete) = (NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian);
        assert!(charged(Some("8"), discrete) < charged(None, discrete));
        assert!((charged(Some("8"), rounded) - charged(None, rounded)).abs() < 1e-15, "pending review: own cost");
    }

    /// D61: what fits under a cap on what shares leave to a coalition need not fit under the same cap on own cost. Each log is held to what was
    /// signed in it.
    #[test]
    fn the_total_over_tasks_is_of_the_account_that_was_signed() {
        use crate::tests::{story, twist::Twist};
        let mut plan = story::plan(Twist::Hybrid);
        plan.privacy.noise = NoiseKind::DiscreteGaussian;
        let m = Mechanism::of_plan(&plan, 10_000).unwrap();
        let spends: Vec<SpendRecord> = (1..=2)
            .map(|task| {
                let mut of_task = record(task, 10);
                of_task.spend.noise_multiplier = m.noise_multiplier_accounted();
                of_task
            })
            .collect();
        let total = |by: &Charged| epsilon_of_rdp(|alpha| Some(20.0 * by.step(&spends[0], alpha)?), 1e-6).unwrap().epsilon;
        let own = total(&Charged::Own(NoiseKind::DiscreteGaussian));
        let shared = total(&Charged::Shares(Box::new(Coalition::of(m.executed()).unwrap())));
        assert!(shared < 0.99 * own, "{shared} {own}");
        let over = |own_cap: Option<&str>, cap: f64| {
            let dataset = Sha256([1; 32]);
            let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 10_000 };
            let (epsilon_cap, delta) = (Decimal::ceil(cap, 6).unwrap(), "0.000001".parse().unwrap());
            let cap = BudgetDeclaration { dataset, epsilon_cap, delta, own_epsilon_cap: own_cap.map(|c| c.parse().unwrap()) };
            let history = DatasetHistory { cap: Some(cap), spends: spends.clone(), ..DatasetHistory::declared(declaration) };
            let mut findings = Findings::default();
            check_dataset(ClientId([1; 32]), &history, &|_| Some(&plan), &mut Accounts::default(), &mut findings);
            findings.list().iter().any(|f| f.clause == TASKS.clause)
        };
        let between = (own + shared) / 2.0;
        assert!(over(None, between) && !over(Some("100"), between));
        assert!(!over(None, 1.001 * own) && over(Some("100"), 0.999 * shared));
    }

    #[test]
    fn tasks_on_one_dataset_are_added_up() {
        assert!(over(&[1500, 10]).worst().is_none(), "a small second task fits under the cap");
        assert_eq!(over(&[1500, 1500, 1500, 1500]).worst(), Some(Severity::Invariant), "each fits alone, all four do not");
        assert_eq!(over(&[1500, 1500, 1500, 1500]).count(Check::Budgets), 1);
    }
}
