//! What the entries add up to, and which entry may follow. The same rules for new entries and for those read back. Knows no bytes.

use super::entry::{Event, Repair, Reservation, Schedule, Terms};
use super::filter::Nats;
use super::release::{ReleaseStage, ReleaseState};
use protocol::decimal::Decimal;
use protocol::ids::{RoundId, Sha256, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// A registered task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// Its schedule.
    pub schedule: Schedule,
    /// Rounds that were reserved, whatever became of them, and those that a repair took from the log.
    pub rounds_reserved: u64,
    /// Those of them that a repair took from the log.
    pub rounds_lost: u64,
    /// ε of the reserved rounds.
    pub epsilon: Decimal,
    /// Whether it is over.
    pub ended: bool,
}

/// What became of a task's rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundCounts {
    /// Reserved, whatever became of them; lost ones too. This is what is spent.
    pub reserved: u64,
    /// Taken from the log by a repair.
    pub lost: u64,
    /// Reserved and not yet sealed.
    pub open: u64,
    /// Sealed and without a receipt.
    pub sealed: u64,
    /// Sent: a receipt for every group is held.
    pub sent: u64,
    /// Came to nothing.
    pub void: u64,
}

/// Where a reservation stands (D60).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reserved,
    Sealed,
    Sent,
    Void,
    Released,
}

/// A reservation with what its header states besides.
pub(super) struct PaidRound {
    pub(super) reservation: Reservation,
    /// Steps of the task so far, this round included.
    pub(super) steps_total: u64,
    /// The cap that was declared then.
    pub(super) epsilon_cap: Decimal,
}

pub(super) struct State {
    pub(super) terms: Terms,
    pub(super) tasks: BTreeMap<TaskId, TaskState>,
    pub(super) rounds: BTreeMap<(TaskId, RoundId), u64>,
    pub(super) spent: Nats,
    reservations: BTreeMap<u64, Stage>,
    /// What was paid for rounds, by the counter of the reservation.
    paid: BTreeMap<u64, PaidRound>,
    /// Entries of the log whose spends are all counted here, by the last repair.
    pub(super) repaired_to: u64,
    /// Counter of the last repair.
    pub(super) repaired_by: Option<u64>,
    /// What repairs took from the log for tasks that are not registered here.
    lost: BTreeMap<TaskId, (u64, Decimal)>,
    /// Scalar releases by the counter of their reservation.
    pub(super) releases: BTreeMap<u64, ReleaseState>,
    /// Ids that were paid, by a reservation or in a repair: none of them is ever paid again.
    pub(super) release_ids: BTreeMap<Sha256, u64>,
    /// Hashes of reservations that were lost and taken in by a repair.
    pub(super) repaired_releases: BTreeSet<Sha256>,
}

impl TaskState {
    /// What is held for rounds not yet reserved.
    fn held(&self) -> Nats {
        if self.ended { Nats(0) } else { self.schedule.cost_per_round.times(self.schedule.rounds.saturating_sub(self.rounds_reserved)) }
    }
}

impl State {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            tasks: BTreeMap::new(),
            rounds: BTreeMap::new(),
            spent: Nats(0),
            reservations: BTreeMap::new(),
            paid: BTreeMap::new(),
            repaired_to: 0,
            repaired_by: None,
            lost: BTreeMap::new(),
            releases: BTreeMap::new(),
            release_ids: BTreeMap::new(),
            repaired_releases: BTreeSet::new(),
        }
    }

    /// RDP held for registered tasks, one of them left out if asked.
    pub(super) fn held(&self, except: Option<TaskId>) -> Nats {
        self.tasks.iter().filter(|(id, _)| Some(**id) != except).fold(Nats(0), |sum, (_, t)| sum.plus(t.held()))
    }

    /// Rounds of a task not registered here that a repair took from the log.
    pub(super) fn lost_rounds(&self, task: TaskId) -> u64 {
        self.lost.get(&task).map_or(0, |(rounds, _)| *rounds)
    }

    /// Counter of the newest reservation.
    pub(super) fn last_reservation(&self) -> Option<u64> {
        self.reservations.keys().next_back().copied()
    }

    pub(super) fn rounds_of(&self, task: TaskId) -> RoundCounts {
        let known = self.tasks.get(&task);
        let (reserved, lost) = known.map_or((self.lost_rounds(task), self.lost_rounds(task)), |t| (t.rounds_reserved, t.rounds_lost));
        let mut counts = RoundCounts { reserved, lost, ..RoundCounts::default() };
        for (_, counter) in self.rounds.iter().filter(|((of, _), _)| *of == task) {
            match self.reservations.get(counter) {
                Some(Stage::Reserved) => counts.open += 1,
                Some(Stage::Sealed) => counts.sealed += 1,
                Some(Stage::Sent) => counts.sent += 1,
                Some(Stage::Void) => counts.void += 1,
                // A repair marks rounds without a reservation of their own; a release is no round.
                Some(Stage::Released) | None => {}
            }
        }
        counts
    }

    pub(super) fn unsealed(&self) -> Vec<u64> {
        self.reservations.iter().filter(|(_, s)| **s == Stage::Reserved).map(|(c, _)| *c).collect()
    }

    /// Whether the entry may follow. Budgets are judged when an entry is made, not when it is read back: what is written is spent.
    pub(super) fn allows(&self, event: &Event) -> bool {
        let stage = |c: &u64| self.reservations.get(c).copied();
        match event {
            Event::Created(_) => false,
            Event::CapDeclared { .. } => true,
            Event::Registered(s) => !self.tasks.contains_key(&s.task) && s.executed.unit == self.terms.unit,
            Event::Reserved(r) => self.pays(r),
            Event::Sealed { reservation, .. } => stage(reservation) == Some(Stage::Reserved) && !self.releases.contains_key(reservation),
            Event::Sent { reservation } => stage(reservation) == Some(Stage::Sealed),
            Event::Void { reservation } => matches!(stage(reservation), Some(Stage::Reserved | Stage::Sealed)),
            Event::Ended { task } => self.tasks.get(task).is_some_and(|t| !t.ended),
            Event::Repaired(r) => {
                let falls =
                    |t: &super::entry::LostTask| self.tasks.get(&t.task).is_some_and(|known| t.epsilon.to_f64() < known.epsilon.to_f64());
                r.log_size >= self.repaired_to && !r.tasks.iter().any(falls)
            }
            Event::ReleaseReserved(r) => !self.release_ids.contains_key(&r.id) && r.holds(self.terms.order),
            Event::Released { reservation, .. } => stage(reservation) == Some(Stage::Reserved) && self.releases.contains_key(reservation),
        }
    }

    fn pays(&self, r: &Reservation) -> bool {
        let fits = |t: &TaskState| {
            let s = &t.schedule;
            let same = s.plan == r.plan && s.executed == r.executed && s.steps_per_round == r.steps && s.cost_per_round == r.cost;
            same && !t.ended && t.rounds_reserved < s.rounds && t.epsilon == r.epsilon_before
        };
        !self.rounds.contains_key(&(r.task, r.round)) && self.tasks.get(&r.task).is_some_and(fits)
    }

    /// Counts an entry; unchanged if it may not follow.
    pub(super) fn apply(&mut self, counter: u64, event: &Event) -> Result<(), ()> {
        if !self.allows(event) {
            return Err(());
        }
        match event {
            Event::Created(_) => {}
            Event::CapDeclared { epsilon_cap } => self.terms.epsilon_cap = *epsilon_cap,
            Event::Registered(s) => {
                let (lost, epsilon) = self.lost.remove(&s.task).unwrap_or((0, Decimal::ZERO));
                self.tasks
                    .insert(s.task, TaskState { schedule: s.clone(), rounds_reserved: lost, rounds_lost: lost, epsilon, ended: false });
            }
            Event::Reserved(r) => self.pay(counter, r),
            Event::Sealed { reservation, .. } => self.set(*reservation, Stage::Sealed),
            Event::Sent { reservation } => self.set(*reservation, Stage::Sent),
            Event::Void { reservation } => {
                self.set(*reservation, Stage::Void);
                if let Some(r) = self.releases.get_mut(reservation) {
                    r.stage = ReleaseStage::Void;
                }
            }
            Event::Ended { task } => {
                if let Some(t) = self.tasks.get_mut(task) {
                    t.ended = true;
                }
            }
            Event::Repaired(r) => self.repair(counter, r),
            Event::ReleaseReserved(r) => {
                self.spent = self.spent.plus(r.cost);
                self.release_ids.insert(r.id, counter);
                self.releases.insert(counter, ReleaseState { release: r.clone(), stage: ReleaseStage::Reserved });
                self.set(counter, Stage::Reserved);
            }
            Event::Released { reservation, result } => {
                self.set(*reservation, Stage::Released);
                if let Some(r) = self.releases.get_mut(reservation) {
                    r.stage = ReleaseStage::Released(*result);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, reservation: u64, stage: Stage) {
        self.reservations.insert(reservation, stage);
    }

    fn pay(&mut self, counter: u64, r: &Reservation) {
        self.spent = self.spent.plus(r.cost);
        self.rounds.insert((r.task, r.round), counter);
        self.set(counter, Stage::Reserved);
        if let Some(task) = self.tasks.get_mut(&r.task) {
            task.rounds_reserved += 1;
            task.epsilon = r.epsilon_after;
            let steps_total = task.rounds_reserved.saturating_mul(r.steps);
            self.paid.insert(counter, PaidRound { reservation: r.clone(), steps_total, epsilon_cap: self.terms.epsilon_cap });
        }
    }

    /// Rounds that were paid and came to nothing, in order.
    pub(super) fn void_rounds(&self) -> impl Iterator<Item = (u64, &PaidRound)> {
        let void = move |counter: &u64| self.reservations.get(counter) == Some(&Stage::Void);
        self.paid.iter().filter(move |(counter, _)| void(counter)).map(|(counter, paid)| (*counter, paid))
    }

    fn repair(&mut self, counter: u64, r: &Repair) {
        for t in &r.tasks {
            self.spent = self.spent.plus(t.cost);
            for round in &t.rounds {
                self.rounds.entry((t.task, *round)).or_insert(counter);
            }
            if let Some(task) = self.tasks.get_mut(&t.task) {
                task.rounds_reserved = task.rounds_reserved.saturating_add(t.count);
                task.rounds_lost = task.rounds_lost.saturating_add(t.count);
                task.epsilon = t.epsilon;
            } else {
                let lost = self.lost.entry(t.task).or_insert((0, Decimal::ZERO));
                *lost = (lost.0.saturating_add(t.count), t.epsilon);
            }
        }
        for lost in r.releases.iter().flatten() {
            self.spent = self.spent.plus(lost.cost);
            self.release_ids.entry(lost.id).or_insert(counter);
            self.repaired_releases.insert(lost.head);
        }
        self.repaired_to = r.log_size;
        self.repaired_by = Some(counter);
    }
}
