//! The ledger itself: proposes an entry, and counts it when the driver says it is durable (privacy.md D58 to D67). Knows no file.

use super::basis::Basis;
use super::entry::{Entry, Event, Reservation, Schedule, Terms};
use super::filter::{self, Nats};
use super::paid::Paid;
use super::record::{self, LoadError, Loaded, Read};
use super::refusal::{Account, CreateError, NotNext, RegisterError, ReserveError};
use super::repair::Compared;
use super::slack;
use super::state::{RoundCounts, State, TaskState};
use crate::accountant::task::TaskTerms;
use crate::mechanism::{Executed, Mechanism};
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, ManifestDigest, PlanDigest, PublicKey, RoundId, Sha256, TaskId};
use protocol::manifest::BudgetSpend;
use protocol::plan::Plan;
use protocol::statement::Statement;
use protocol::time::Time;
use protocol::trust::RoundSpend;

/// An entry that waits to become durable, and what it yields then.
#[must_use = "until it is recorded, nothing was paid and no further entry can be made"]
pub struct Pending<T> {
    entry: Entry,
    hash: Sha256,
    answer: T,
}

impl<T> Pending<T> {
    /// The bytes to append and to make durable, file and directory, before [`PrivacyLedger::recorded`] is called. `sign` is the
    /// institution's key: what it did not sign is not read back.
    pub fn record(&self, sign: impl FnOnce(&Entry) -> Statement) -> Vec<u8> {
        record::write(&sign(&self.entry))
    }
}

impl Pending<PrivacyLedger> {
    /// The new ledger, once its first entry is durable.
    pub fn begun(self) -> PrivacyLedger {
        self.answer
    }
}

/// What a round asks for.
pub struct ReserveRequest<'a> {
    /// The task.
    pub task: TaskId,
    /// Digest of its plan.
    pub plan: PlanDigest,
    /// The round.
    pub round: RoundId,
    /// Digest of the round's manifest.
    pub manifest: ManifestDigest,
    /// The mechanism that will be executed.
    pub mechanism: &'a Mechanism,
    /// Noised steps.
    pub steps: u64,
    /// Proof that the log shows no spend that this ledger lacks, made after the reservation before this one (D65).
    pub compared: Compared,
}

/// Where a ledger stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerTotals {
    /// Lifetime ε by the filter: Σ rdp(α*) and the conversion, rounded up; none if it is beyond what a decimal holds.
    pub epsilon: Option<Decimal>,
    /// The institution's cap.
    pub epsilon_cap: Decimal,
    /// α*.
    pub order: Decimal,
    /// RDP spent.
    pub spent: Nats,
    /// RDP held for registered tasks and not yet spent.
    pub held: Nats,
    /// RDP that may be spent in all.
    pub budget: Nats,
}

impl LedgerTotals {
    /// RDP that is neither spent nor held.
    pub fn free(&self) -> Nats {
        self.budget.minus(self.spent).minus(self.held)
    }
}

/// The ledger of one (institution, dataset lineage, unit).
pub struct PrivacyLedger {
    pub(super) state: State,
    /// Counter and hash of every entry, ascending.
    chain: Vec<(u64, Sha256)>,
    pub(super) outstanding: bool,
}

impl PrivacyLedger {
    /// A new ledger; its first entry must be durable before anything is reserved.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(terms: Terms, now: Time) -> Result<Pending<Self>, CreateError> {
        let delta = terms.delta.to_f64();
        if !(delta > 0.0 && delta < 1.0) {
            return Err(CreateError::Delta(terms.delta));
        }
        if terms.order.to_f64() <= 1.0 {
            return Err(CreateError::Order(terms.order));
        }
        if filter::budget(terms.epsilon_cap, terms.delta, terms.order) == Nats(0) {
            return Err(CreateError::Cap { cap: terms.epsilon_cap, order: terms.order });
        }
        let entry = Entry { counter: 0, previous: Sha256([0; 32]), at: now, event: Event::Created(terms.clone()) };
        let hash = record::hash(&entry);
        Ok(Pending { entry, hash, answer: Self { state: State::new(terms), chain: vec![(0, hash)], outstanding: false } })
    }

    /// Reads a ledger back and checks every hash, signature, counter and rule. A torn last record is left out: it was never recorded.
    ///
    /// # Privacy
    /// Never counts less than was drawn: noise needs a [`Paid`], which exists only after the record was durable (D67).
    ///
    /// # Errors
    /// [`LoadError`], the first rule broken.
    pub fn load(bytes: &[u8]) -> Result<Loaded, LoadError> {
        Self::load_signed(bytes, &[])
    }

    /// As [`Self::load`], for an institution that goes on with another statement key: `later` are its keys after the first one, oldest first. Behind
    /// an entry that one of them signed, none is signed by an older one.
    ///
    /// # Errors
    /// [`LoadError`], the first rule broken.
    pub fn load_signed(bytes: &[u8], later: &[PublicKey]) -> Result<Loaded, LoadError> {
        let (mut at, mut ledger, mut torn, mut entries) = (0usize, None::<Self>, false, Vec::new());
        let mut newest = 0;
        while at < bytes.len() {
            let Read::Whole { entry, key, hash, len } = record::read(&bytes[at..], at)? else {
                torn = true;
                break;
            };
            let next = match ledger {
                None => Self::first(&entry, hash)?,
                Some(l) => l.follow(&entry, hash)?,
            };
            let is_first = ClientId::of(&key) == next.state.terms.institution;
            let place = if is_first { Some(0) } else { later.iter().position(|k| *k == key).map(|after| after + 1) };
            newest = place.filter(|p| *p >= newest).ok_or(LoadError::Stranger { counter: entry.counter })?;
            ledger = Some(next);
            entries.push(*entry);
            at += len;
        }
        let ledger = ledger.ok_or(LoadError::Empty)?;
        Ok(Loaded { ledger, entries, valid_len: at, torn })
    }

    fn first(entry: &Entry, hash: Sha256) -> Result<Self, LoadError> {
        let begins = entry.counter == 0 && entry.previous == Sha256([0; 32]);
        let Event::Created(terms) = &entry.event else { return Err(LoadError::Chain { counter: 0 }) };
        if !begins {
            return Err(LoadError::Chain { counter: 0 });
        }
        Ok(Self { state: State::new(terms.clone()), chain: vec![(0, hash)], outstanding: false })
    }

    fn follow(mut self, entry: &Entry, hash: Sha256) -> Result<Self, LoadError> {
        let counter = self.counter();
        if !self.continues(entry) {
            return Err(LoadError::Chain { counter });
        }
        self.state.apply(entry.counter, &entry.event).map_err(|()| LoadError::Contradiction { counter })?;
        self.chain.push((entry.counter, hash));
        Ok(self)
    }

    /// Whether an entry names this head and has the next counter; a repair may jump ahead.
    fn continues(&self, entry: &Entry) -> bool {
        let jumps = matches!(entry.event, Event::Repaired(_)) && entry.counter > self.counter();
        entry.previous == self.head() && (entry.counter == self.counter() || jumps)
    }

    /// Hash of the last entry.
    ///
    /// # Panics
    /// Never: both constructors put the first entry in, and nothing takes one out.
    pub fn head(&self) -> Sha256 {
        self.chain.last().expect("a ledger has a first entry").1
    }
    /// The counter of the next entry.
    ///
    /// # Panics
    /// Never, as [`Self::head`].
    pub fn counter(&self) -> u64 {
        self.chain.last().expect("a ledger has a first entry").0.saturating_add(1)
    }
    /// Entries so far.
    pub fn entries(&self) -> usize {
        self.chain.len()
    }
    /// Whether this chain holds the entry that a header in the log names. If not, the ledger was rolled back or swapped (D65).
    pub fn holds(&self, counter: u64, hash: Sha256) -> bool {
        self.hash_of(counter) == Some(hash)
    }
    /// Hash of the entry with this counter.
    pub(super) fn hash_of(&self, counter: u64) -> Option<Sha256> {
        self.chain.binary_search_by_key(&counter, |(c, _)| *c).ok().map(|at| self.chain[at].1)
    }
    /// Whose ledger this is, with the cap as it was last declared.
    pub fn terms(&self) -> &Terms {
        &self.state.terms
    }
    /// A task's schedule and figures.
    pub fn task(&self, task: TaskId) -> Option<&TaskState> {
        self.state.tasks.get(&task)
    }
    /// Reservations that were neither sealed nor voided: after a crash, these are to be voided (D66).
    pub fn unsealed(&self) -> Vec<u64> {
        self.state.unsealed()
    }
    /// What became of a task's rounds.
    pub fn rounds_of(&self, task: TaskId) -> RoundCounts {
        self.state.rounds_of(task)
    }
    /// Counter of the reservation of a round, if there is one.
    pub fn reservation(&self, task: TaskId, round: RoundId) -> Option<u64> {
        self.state.rounds.get(&(task, round)).copied()
    }

    /// What the federation's log may be told of rounds that were paid and came to nothing, in order: as a header would have stated it.
    ///
    /// # Privacy
    /// The figures follow from the schedule; no record enters them.
    pub fn void_spends(&self) -> impl Iterator<Item = RoundSpend> {
        self.state.void_rounds().filter_map(move |(counter, paid)| {
            let terms = Terms { epsilon_cap: paid.epsilon_cap, ..self.state.terms.clone() };
            let spend = spend(&paid.reservation, &terms, paid.steps_total, counter, self.hash_of(counter)?);
            Some(RoundSpend { task: paid.reservation.task, round: paid.reservation.round, spend })
        })
    }

    /// Sums.
    pub fn totals(&self) -> LedgerTotals {
        let t = &self.state.terms;
        LedgerTotals {
            epsilon: filter::epsilon(self.state.spent, t.delta, t.order),
            epsilon_cap: t.epsilon_cap,
            order: t.order,
            spent: self.state.spent,
            held: self.state.held(None),
            budget: filter::budget(t.epsilon_cap, t.delta, t.order),
        }
    }

    pub(super) fn propose<T>(&mut self, now: Time, event: Event, answer: impl FnOnce(u64, Sha256) -> T) -> Pending<T> {
        self.propose_at(self.counter(), now, event, answer)
    }

    pub(super) fn propose_at<T>(&mut self, counter: u64, now: Time, event: Event, answer: impl FnOnce(u64, Sha256) -> T) -> Pending<T> {
        let entry = Entry { counter, previous: self.head(), at: now, event };
        let hash = record::hash(&entry);
        self.outstanding = true;
        Pending { answer: answer(counter, hash), entry, hash }
    }

    /// Counts an entry whose bytes are durable, and hands out what it yields: for a reservation, the payment.
    ///
    /// # Errors
    /// [`NotNext`] if it is not the entry proposed last; the ledger is unchanged and the process should end.
    pub fn recorded<T>(&mut self, pending: Pending<T>) -> Result<T, NotNext> {
        let entry = &pending.entry;
        if !self.outstanding || !self.continues(entry) {
            return Err(NotNext);
        }
        self.state.apply(entry.counter, &entry.event).map_err(|()| NotNext)?;
        self.chain.push((entry.counter, pending.hash));
        self.outstanding = false;
        Ok(pending.answer)
    }

    /// Takes on a plan's whole schedule, which is held against other tasks from then on (D62).
    ///
    /// # Privacy
    /// Spends nothing. Refuses a schedule whose ε by PLD is above the plan's cap, that the lifetime filter could not pay, or that may fail by
    /// more than the other tasks leave of the ledger's δ.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing changed.
    pub fn register(&mut self, plan: &Plan, digest: PlanDigest, mechanism: &Mechanism, now: Time) -> Result<Pending<()>, RegisterError> {
        if self.outstanding {
            return Err(RegisterError::Outstanding);
        }
        if self.state.tasks.contains_key(&plan.task) {
            return Err(RegisterError::AlreadyRegistered);
        }
        let (executed, steps_per_round) = (mechanism.executed().clone(), u64::from(plan.local.steps));
        if executed.unit != self.state.terms.unit {
            return Err(RegisterError::Unit);
        }
        if plan.rounds == 0 || steps_per_round == 0 {
            return Err(RegisterError::NoSteps);
        }
        if Mechanism::of_plan(plan, executed.declared_units).map(|m| m.executed().clone()) != Ok(executed.clone()) {
            return Err(RegisterError::OtherMechanism);
        }
        let cap = plan.privacy.epsilon_cap;
        let (terms, steps) = (terms_of(&executed, cap), plan.rounds.saturating_mul(steps_per_round));
        let (needed, most) = (terms.epsilon(steps)?, self.task_cap(cap));
        if needed.to_f64() > most.to_f64() {
            return Err(RegisterError::BudgetExhausted { account: Account::Task, order: None, needed, remaining: most });
        }
        slack::fits(&self.state, &executed, cap, steps)?;
        let order = self.state.terms.order;
        let cost_per_round = filter::cost(&executed, steps_per_round, &self.state.terms);
        // What a repair took from the log for this task is spent already and is not held again.
        let rounds_left = plan.rounds.saturating_sub(self.state.lost_rounds(plan.task));
        let (cost, remaining) = (cost_per_round.times(rounds_left), self.totals().free());
        if cost > remaining {
            let (needed, remaining) = (cost.decimal(), remaining.decimal());
            return Err(RegisterError::BudgetExhausted { account: Account::Lifetime, order: Some(order), needed, remaining });
        }
        let (task, rounds, basis) = (plan.task, plan.rounds, Basis::of(plan, &executed, steps_per_round));
        let schedule = Schedule { task, plan: digest, rounds, steps_per_round, executed, epsilon_cap: cap, cost_per_round, basis };
        Ok(self.propose(now, Event::Registered(schedule), |_, _| ()))
    }

    /// Pays for one round. Once the entry is recorded, the cost is spent whatever happens (D14, D60).
    ///
    /// # Privacy
    /// unit: the ledger's · neighbours: add or remove one unit · charged: every step, at the filter's order and in the task's PLD.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing was drawn and nothing changed.
    ///
    /// # Source
    /// privacy.md D57, D60, D61, D63; Feldman & Zrnic, arXiv 2008.11193 (filter at a fixed order).
    pub fn reserve(&mut self, request: &ReserveRequest<'_>, now: Time) -> Result<Pending<Paid>, ReserveError> {
        let (task, executed) = (self.payable(request)?, request.mechanism.executed().clone());
        let (before, cap, done) = (task.epsilon, task.schedule.epsilon_cap, task.rounds_reserved);
        let steps_total = (done + 1).saturating_mul(request.steps);
        let terms = terms_of(&executed, cap);
        // A repaired task may stand above the figure of its rounds; ε never falls.
        let (after, slack) = (filter::larger(terms.epsilon(steps_total)?, before), stated_slack(&terms, steps_total));
        let (accountant, most) = (terms.accountant(), self.task_cap(cap));
        if after.to_f64() > most.to_f64() {
            return Err(ReserveError::BudgetExhausted { account: Account::Task, order: None, needed: after, remaining: most });
        }
        let (order, cost) = (self.state.terms.order, task.schedule.cost_per_round);
        let remaining = self.totals().budget.minus(self.state.spent).minus(self.state.held(Some(request.task)));
        if cost > remaining {
            let (needed, remaining) = (cost.decimal(), remaining.decimal());
            return Err(ReserveError::BudgetExhausted { account: Account::Lifetime, order: Some(order), needed, remaining });
        }
        let reservation = Reservation {
            task: request.task,
            plan: request.plan,
            round: request.round,
            manifest: request.manifest,
            basis: task.schedule.basis.hash(),
            executed,
            steps: request.steps,
            cost,
            epsilon_before: before,
            epsilon_after: after,
            accountant: accountant.to_owned(),
            slack,
        };
        let terms = self.state.terms.clone();
        Ok(self.propose(now, Event::Reserved(reservation.clone()), |counter, head| {
            let spend = spend(&reservation, &terms, steps_total, counter, head);
            Paid::new(reservation.executed, reservation.manifest, counter, reservation.steps, spend)
        }))
    }

    /// The most own ε of a task under this cap of its plan. The log holds what a header states to the smaller of the two caps (D61).
    fn task_cap(&self, plan: Decimal) -> Decimal {
        self.state.terms.own_epsilon_cap.filter(|own| own.to_f64() < plan.to_f64()).unwrap_or(plan)
    }

    /// The task's state, if the round may be paid at all.
    fn payable(&self, r: &ReserveRequest<'_>) -> Result<&TaskState, ReserveError> {
        if self.outstanding {
            return Err(ReserveError::Outstanding);
        }
        if !self.is_fresh(&r.compared) {
            return Err(ReserveError::NotCompared);
        }
        let task = self.state.tasks.get(&r.task).filter(|t| !t.ended).ok_or(ReserveError::NotRegistered)?;
        let s = &task.schedule;
        if s.plan != r.plan || s.executed != *r.mechanism.executed() || s.steps_per_round != r.steps {
            return Err(ReserveError::ScheduleDiffers);
        }
        if let Some(counter) = self.reservation(r.task, r.round) {
            return Err(ReserveError::AlreadyReserved { counter });
        }
        if task.rounds_reserved >= s.rounds {
            return Err(ReserveError::ScheduleExhausted(s.rounds));
        }
        Ok(task)
    }
}

/// δ that the sampler's distance costs, rounded up to eighteen places.
fn stated_slack(terms: &TaskTerms, steps: u64) -> Decimal {
    Decimal::ceil(terms.slack(steps), 18).unwrap_or(terms.delta)
}

pub(crate) fn terms_of(e: &Executed, epsilon_cap: Decimal) -> TaskTerms {
    let (noise_multiplier, sampling_rate, delta) = (e.noise_multiplier, e.sampling_rate, e.delta);
    TaskTerms { noise_multiplier, sampling_rate, delta, dimension: e.dimension, epsilon_cap, noise: e.noise, path: e.clip_path() }
}

/// The budget fields of the round's header (audit.md A19, A21).
fn spend(r: &Reservation, terms: &Terms, steps_total: u64, counter: u64, head: Sha256) -> BudgetSpend {
    BudgetSpend {
        dataset: terms.dataset,
        unit: terms.unit,
        noise_multiplier: r.executed.noise_multiplier,
        sampling_rate: r.executed.sampling_rate,
        steps: r.steps,
        steps_total,
        delta: r.executed.delta,
        epsilon_before: r.epsilon_before,
        epsilon_after: r.epsilon_after,
        epsilon_cap: terms.epsilon_cap,
        ledger_counter: counter,
        ledger_head: head,
        accountant: r.accountant.clone(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
