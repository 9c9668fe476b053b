//! The ledger against the log (privacy.md D65): whether it lacks a spend that the institution's headers state, and how it is raised to
//! them. The log may show less than was spent, never more that counts: a repair adds and never takes away. Knows no file and no log.

use super::entry::{Event, LostTask, Repair};
use super::filter::{self, Nats};
use super::machine::{Pending, PrivacyLedger, terms_of};
use super::refusal::{Alarm, RepairError};
use super::release::SeenRelease;
use crate::accountant::task::TaskTerms;
use protocol::decimal::Decimal;
use protocol::history::SpendRecord;
use protocol::ids::{PlanDigest, Sha256, TaskId};
use protocol::plan::Plan;
use protocol::time::Time;
use std::collections::BTreeMap;

/// Proof that the log, as far as the institution has it, shows no spend that the ledger lacks. Made by [`PrivacyLedger::compare`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    counter: u64,
    head: Sha256,
}

/// A ledger that was raised, as the institution tells the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Entries of the log that were looked at.
    pub log_size: u64,
    /// Counter of the repair.
    pub counter: u64,
    /// Its hash.
    pub head: Sha256,
}

/// A plan with its digest, as a repair needs it: it says how long a round is and how many coordinates its noise has.
pub struct KnownPlan<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its digest.
    pub digest: PlanDigest,
}

impl PrivacyLedger {
    /// Compares the ledger with this institution's spends from this dataset in the log.
    ///
    /// # Errors
    /// [`Alarm::LedgerRolledBack`]: the counter is behind a header's, or the header names an entry that is not in the chain.
    pub fn compare(&self, spends: &[SpendRecord]) -> Result<Compared, Alarm> {
        match spends.iter().find(|s| !self.knows(s)) {
            Some(s) => Err(Alarm::LedgerRolledBack { index: s.index.0, counter: s.spend.ledger_counter }),
            None => Ok(Compared { counter: self.counter(), head: self.head() }),
        }
    }

    /// Whether a comparison is of this chain and newer than its last reservation.
    pub(super) fn is_fresh(&self, compared: &Compared) -> bool {
        let newer = self.state.last_reservation().is_none_or(|last| compared.counter > last);
        newer && compared.counter.checked_sub(1).is_some_and(|at| self.holds(at, compared.head))
    }

    /// Whether a spend in the log is that of a reservation here, or was taken in by a repair.
    fn knows(&self, s: &SpendRecord) -> bool {
        let paid = self.reservation(s.task, s.round) == Some(s.spend.ledger_counter);
        s.index.0 < self.state.repaired_to || (paid && self.holds(s.spend.ledger_counter, s.spend.ledger_head))
    }

    /// The last repair, if there was one.
    pub fn last_repair(&self) -> Option<Repaired> {
        let counter = self.state.repaired_by?;
        Some(Repaired { log_size: self.state.repaired_to, counter, head: self.hash_of(counter)? })
    }

    /// Raises the spend to at least what the log shows of rounds, and the institution's site log of scalar releases, which no header names,
    /// beside everything that is already here. Every spend that the chain does not hold counts in full, and so do steps that its running
    /// total leaves room for. No task gets rounds back.
    ///
    /// # Privacy
    /// unit: the ledger's · neighbours: add or remove one unit · charged: at the filter's order and in each task's PLD.
    ///
    /// # Errors
    /// [`RepairError`]; nothing changed.
    ///
    /// # Source
    /// privacy.md D65.
    pub fn repair<'a>(
        &mut self,
        spends: &[SpendRecord],
        seen: &[SeenRelease],
        log_size: u64,
        plan: impl Fn(TaskId) -> Option<KnownPlan<'a>>,
        now: Time,
    ) -> Result<Pending<()>, RepairError> {
        if self.outstanding {
            return Err(RepairError::Outstanding);
        }
        if self.compare(spends).is_ok() && self.compare_releases(seen).is_ok() {
            return Err(RepairError::NothingToRepair);
        }
        let mut tasks = Vec::new();
        for (task, lost) in self.lost(spends) {
            tasks.push(self.lost_task(task, &lost, &plan(task).ok_or(RepairError::NoPlan)?)?);
        }
        let counters = spends.iter().map(|s| s.spend.ledger_counter).chain(seen.iter().map(|s| s.counter));
        let shown = counters.map(|c| c.saturating_add(1)).max().unwrap_or(0);
        let counter = self.counter().max(shown);
        let releases = Some(self.missing_releases(seen)).filter(|lost| !lost.is_empty());
        Ok(self.propose_at(counter, now, Event::Repaired(Repair { log_size, tasks, releases }), |_, _| ()))
    }

    /// What the log shows and the ledger lacks, by task.
    fn lost<'a>(&self, spends: &'a [SpendRecord]) -> BTreeMap<TaskId, Lost<'a>> {
        let (mut lost, mut before) = (BTreeMap::<TaskId, Lost<'a>>::new(), BTreeMap::<TaskId, &SpendRecord>::new());
        for s in spends {
            let last = before.insert(s.task, s);
            // Headers of one reservation, one per group, repeat it.
            let repeats =
                last.is_some_and(|b| (b.spend.ledger_counter, b.spend.ledger_head) == (s.spend.ledger_counter, s.spend.ledger_head));
            if repeats || self.knows(s) {
                continue;
            }
            let risen = s.spend.steps_total.saturating_sub(last.map_or(0, |b| b.spend.steps_total));
            let of = lost.entry(s.task).or_default();
            of.spends.push((s, risen.max(s.spend.steps)));
        }
        lost
    }

    fn lost_task(&self, task: TaskId, lost: &Lost<'_>, known: &KnownPlan<'_>) -> Result<LostTask, RepairError> {
        let per_round = u64::from(known.plan.local.steps).max(1);
        let (mut steps, mut cost, mut epsilon) = (0u64, Nats(0), Decimal::ZERO);
        for (s, of) in &lost.spends {
            steps = steps.saturating_add(*of);
            let one = crate::accountant::own::noise_rdp(
                known.plan.privacy.noise,
                s.spend.noise_multiplier.to_f64(),
                s.spend.sampling_rate.to_f64(),
                self.terms().order.to_f64(),
            );
            cost = cost.plus(filter::scaled(one, *of));
            epsilon = filter::larger(epsilon, s.spend.epsilon_after);
        }
        let count = steps.div_ceil(per_round);
        let done = self.task(task).map_or(self.state.lost_rounds(task), |t| t.rounds_reserved);
        let total = done.saturating_add(count).saturating_mul(per_round);
        epsilon = filter::larger(epsilon, self.task_terms(task, lost, known).epsilon(total)?);
        let rounds = lost.spends.iter().map(|(s, _)| s.round).collect();
        Ok(LostTask { task, plan: known.digest, steps, count, rounds, cost, epsilon })
    }

    /// The numbers behind the task's ε: those registered, or those that the headers state.
    fn task_terms(&self, task: TaskId, lost: &Lost<'_>, known: &KnownPlan<'_>) -> TaskTerms {
        let privacy = &known.plan.privacy;
        match (self.task(task), lost.spends.first()) {
            (Some(t), _) => terms_of(&t.schedule.executed, t.schedule.epsilon_cap),
            (None, first) => TaskTerms {
                noise_multiplier: first.map_or(privacy.noise_multiplier, |(s, _)| s.spend.noise_multiplier),
                sampling_rate: first.map_or(privacy.sampling_rate, |(s, _)| s.spend.sampling_rate),
                delta: privacy.delta,
                dimension: known.plan.dimension(),
                epsilon_cap: privacy.epsilon_cap,
                noise: privacy.noise,
                path: privacy.path,
            },
        }
    }
}

/// Spends of one task that the ledger lacks, with the steps that each adds.
#[derive(Default)]
struct Lost<'a> {
    spends: Vec<(&'a SpendRecord, u64)>,
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
