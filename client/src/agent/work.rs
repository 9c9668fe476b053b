//! What a task is for this institution: its plan against policy, records and budget, judged once, before the first round.

use super::session::{Trouble, fatal};
use super::{Agent, chain};
use crate::data::DataSource;
use crate::foundation::Foundation;
use crate::home::Home;
use crate::ledger::{LedgerError, is_gone};
use crate::prepare::{PrepareError, SharedLedger, TaskWork};
use crate::site_log::releases_of;
use crate::site_policy::SitePolicy;
use crate::spool::Spool;
use privacy::coalition::check_statement;
use privacy::ledger::{Alarm, Compared, Repaired};
use privacy::mechanism::Mechanism;
use protocol::history::RoundState;
use protocol::ids::{ClientId, PlanDigest, RoundId, SnapshotDigest, TaskId};
use protocol::plan::{ClipPath, Plan};
use protocol::reject::Rejection;
use protocol::site::SiteFacts;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use train::slots::{SlotsError, slots_agree_on};
use train::workers::{Place, Workers};

impl Agent {
    /// Judges a task once: policy, records, mechanism, schedule. The answer holds until the process ends.
    pub(super) async fn learn_task(&mut self, task: TaskId) -> Result<(), Trouble> {
        if matches!(self.tasks.get(&task), Some(Ok(_))) {
            return Ok(());
        }
        self.status.task = Some(task.to_hex());
        let known = self.mirror.history().task(task).filter(|t| t.is_open()).and_then(|t| Some((t.plan_digest(), t.plan()?.clone())));
        let Some((digest, plan)) = known else {
            self.tasks.insert(task, Err(Rejection::Unknown));
            return Ok(());
        };
        let plan = match own_part(&plan, self.me, self.config.tier.as_deref()) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(task = %task, %error, "this task's rounds will be declined");
                self.tasks.insert(task, Err(Rejection::Policy));
                return Ok(());
            }
        };
        let (Some((policy, policy_hash)), Some(data), Some(ledger), Some(workers)) =
            (&self.policy, &self.data, &self.ledger, &self.workers)
        else {
            self.tasks.insert(task, Err(Rejection::Policy));
            return Ok(());
        };
        let declared = self.mirror.history().datasets().get(&(self.me, data.dataset())).map(|d| d.declaration.declared_units);
        let Some(units) = declared else {
            self.tasks.insert(task, Err(Rejection::BudgetExhausted));
            return Ok(());
        };
        let (policy, policy_hash, data, ledger) = (policy.clone(), *policy_hash, Arc::clone(data), Arc::clone(ledger));
        let (base, own, workers) = (self.config.base.clone(), self.home.clone(), Arc::clone(workers));
        let judged =
            tokio::task::spawn_blocking(move || judge(&policy, (&*data, base.as_deref(), &own), (&ledger, &*workers), digest, plan, units));
        let judged = judged.await.map_err(|_| fatal(PrepareError::Vanished))?.map_err(fatal)?;
        if let Err(reason) = &judged {
            tracing::warn!(task = %task, code = reason.name(), "this task's rounds will be declined");
        }
        let code = judged.as_ref().err().map_or(0, |reason| reason.code());
        self.site.append(SiteFacts::PolicyDecided { task, plan: digest, policy: policy_hash, code }).map_err(fatal)?;
        self.tasks.insert(task, judged);
        Ok(())
    }

    /// Whether this institution takes part in the round that begins.
    pub(super) fn willing(&mut self, task: TaskId, round: RoundId, plan: PlanDigest, snapshot: SnapshotDigest) -> Result<(), Rejection> {
        if !self.mirror.violations().is_empty() {
            return Err(Rejection::Policy);
        }
        self.in_use()?;
        let work = self.tasks.get(&task).ok_or(Rejection::Unknown)?.as_ref().map_err(|reason| *reason)?;
        let known = self.mirror.history().task(task).ok_or(Rejection::Unknown)?;
        if work.digest != plan || known.snapshot() != Some(snapshot) {
            return Err(Rejection::WrongManifest);
        }
        self.payable(task, round)
    }

    /// Whether this round was not paid and lost before (D66), by a ledger that is the one that the log last saw (D65).
    fn payable(&mut self, task: TaskId, round: RoundId) -> Result<(), Rejection> {
        self.compared()?;
        let Some(ledger) = &self.ledger else { return Err(Rejection::Policy) };
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.ledger().reservation(task, round).is_none() {
            return Ok(());
        }
        // Paid before: only the spooled bytes may be sent, never a second draw.
        match Spool::open(&self.home, task, round) {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(Rejection::Policy),
        }
    }

    /// Compares the ledger with this institution's headers in its copy of the log: at the start and before each reservation (D65). Until a
    /// repair has raised the ledger, and the log holds its statement, nothing is reserved.
    pub(super) fn compared(&mut self) -> Result<Compared, Rejection> {
        match self.compare_ledgers() {
            Ok(compared) => compared.ok_or(Rejection::Policy),
            Err(alarm) => {
                tracing::error!(%alarm, "no reservation before concordat-client privacy ledger repair");
                self.status.alarm(&format!("{alarm}; nothing is reserved before `privacy ledger repair`"));
                Err(Rejection::Policy)
            }
        }
    }

    /// None where there is no ledger, or a repair that the log does not hold yet.
    fn compare_ledgers(&self) -> Result<Option<Compared>, Alarm> {
        let (Some(data), Some(ledger)) = (&self.data, &self.ledger) else { return Ok(None) };
        let datasets = self.mirror.history().datasets();
        // Another lineage that was spent from keeps its ledger: a new name for the same people is no new budget (D58).
        for ((who, dataset), shown) in datasets.iter().filter(|((who, _), _)| *who == self.me) {
            let lost = is_gone(&self.home, dataset, data.dataset());
            if let Some(first) = shown.spends.first().filter(|_| lost) {
                tracing::error!(client = %who.short(), dataset = %dataset, "a dataset was spent from and its ledger is gone");
                return Err(Alarm::LedgerLost { index: first.index.0 });
            }
        }
        // The same for scalar releases, which no header names.
        if let Some((_, seen)) = self.site.releases().iter().find(|(d, _)| is_gone(&self.home, d, data.dataset())) {
            return Err(Alarm::ReleaseLost { line: seen.line, counter: seen.counter });
        }
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.ledger().compare_releases(&releases_of(self.site.releases(), data.dataset()))?;
        let shown = datasets.get(&(self.me, data.dataset()));
        let compared = ledger.ledger().compare(shown.map(|d| d.spends.as_slice()).unwrap_or_default())?;
        let told = |r: Repaired| shown.is_some_and(|d| d.repairs.iter().any(|(_, said)| said.ledger_head == r.head));
        Ok(ledger.ledger().last_repair().is_none_or(told).then_some(compared))
    }

    /// Whether the log says that a round can have no more duties.
    pub(super) fn is_over(&self, task: TaskId, round: RoundId) -> bool {
        let Some(known) = self.mirror.history().task(task) else { return false };
        let ended = known.rounds().get(&round).is_some_and(|r| match r.state {
            RoundState::Closed(_) | RoundState::Abandoned => true,
            RoundState::Selecting | RoundState::Reporting | RoundState::Certifying | RoundState::Opening => false,
        });
        // A snapshot means that the task was open once.
        ended || (known.snapshot().is_some() && !known.is_open())
    }

    /// The task is over: what was held for it in the ledger is free again.
    pub(super) fn forget_task(&mut self, task: TaskId) -> Result<(), Trouble> {
        self.tasks.remove(&task);
        let Some(ledger) = &self.ledger else { return Ok(()) };
        match ledger.lock().unwrap_or_else(PoisonError::into_inner).end_task(task) {
            Ok(()) | Err(LedgerError::Close(_)) => Ok(()),
            Err(e) => Err(fatal(e)),
        }
    }
}

/// A plan whose tiers are not for this institution's machine. The administrator's to mend, or the settings'.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoPart {
    /// No tier names the institution, and none is for all others.
    #[error("the plan gives this institution no shard to train")]
    NoTier,
    /// A tier that is not the one of the settings.
    #[error("the settings say tier {expected:?}, the plan puts this institution into {found:?}")]
    OtherTier {
        /// By the settings.
        expected: String,
        /// By the plan; none in a plan without tiers.
        found: Option<String>,
    },
}

/// The plan as this institution carries it out, if it is what its machine was said to carry.
fn own_part(plan: &Plan, me: ClientId, tier: Option<&str>) -> Result<Plan, NoPart> {
    let found = plan.tier_of(me).map(|t| t.name.clone());
    match tier {
        Some(expected) if found.as_deref() != Some(expected) => Err(NoPart::OtherTier { expected: expected.to_owned(), found }),
        Some(_) | None => plan.seen_by(me).map(std::borrow::Cow::into_owned).ok_or(NoPart::NoTier),
    }
}

/// What keeps an institution out of a task, or the work ready to be done. Blocking: the accountant takes its time.
///
/// # Errors
/// [`LedgerError`] where the ledger's file failed.
fn judge(
    policy: &SitePolicy,
    (data, base, own): (&DataSource, Option<&Path>, &Home),
    (ledger, workers): (&SharedLedger, &Workers),
    digest: PlanDigest,
    plan: Plan,
    declared_units: u64,
) -> Result<Result<Arc<TaskWork>, Rejection>, LedgerError> {
    if let Err(forbidden) = policy.allows(digest, &plan) {
        tracing::warn!(%forbidden, code = forbidden.code(), "the site policy forbids the plan");
        return Ok(Err(Rejection::Policy));
    }
    let foundation = match Foundation::of_plan(&plan, base, Some(own.dir())) {
        Ok(foundation) => foundation,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the plan's base checkpoint is not at hand");
            return Ok(Err(Rejection::Policy));
        }
    };
    // Before anything is paid: a shard that the model does not have would be found only in training.
    let table = || train::model::ParameterTable::new(&plan.model).map_err(Into::into).and_then(|t| train::shard::check(&t, &plan.shards));
    if plan.count.is_none()
        && let Err(error) = table()
    {
        tracing::warn!(error = %chain(&error), "the plan's shards are not the model's");
        return Ok(Err(Rejection::BadParameters));
    }
    let mechanism = match Mechanism::of_plan(&plan, declared_units) {
        Ok(mechanism) => mechanism,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the plan's mechanism cannot be executed");
            return Ok(Err(Rejection::BadParameters));
        }
    };
    if let Err(error) = check_statement(&plan, mechanism.executed()) {
        tracing::warn!(error = %chain(&error), "the plan overstates what its noise is worth against a coalition");
        return Ok(Err(Rejection::BadParameters));
    }
    let ask = |plan: &Plan, mechanism: &Mechanism| slots_agree_on((plan, foundation.as_ref().map(|f| &f.outside)), mechanism, workers);
    if let Err(reason) = exact(&plan, &mechanism, workers.place(), ask) {
        return Ok(Err(reason));
    }
    let examples = match data.for_task(&plan, foundation.as_ref().map(|f| &f.base)) {
        Ok(examples) => examples,
        Err(error) => {
            tracing::warn!(error = %error.for_log(), "the records do not fit the plan");
            return Ok(Err(Rejection::Policy));
        }
    };
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let registered = ledger.ledger().task(plan.task).map(|t| t.schedule.plan == digest && t.schedule.executed == *mechanism.executed());
    let outcome = match registered {
        Some(true) => Ok(()),
        Some(false) => return Ok(Err(Rejection::BudgetExhausted)),
        None => ledger.register(&plan, digest, &mechanism),
    };
    match outcome {
        Ok(()) => Ok(Ok(Arc::new(TaskWork { plan, digest, data: examples, mechanism, outside: foundation.map(|f| f.outside) }))),
        Err(e) if e.is_fatal() => Err(e),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the privacy ledger refuses the task's schedule");
            Ok(Err(if error.is_exhausted() { Rejection::BudgetExhausted } else { Rejection::Policy }))
        }
    }
}

/// Whether this machine may take the exact path, if the plan does: there a unit's gradient must not depend on the others in its batch, not
/// even in its last bit (privacy.md D19). The sum path has an allowance for that, but not for accelerators of several makes, whose results may
/// differ by more; and plans that count add integers.
///
/// # Errors
/// The reason for which the plan is declined.
fn exact(
    plan: &Plan,
    mechanism: &Mechanism,
    place: Place,
    ask: impl FnOnce(&Plan, &Mechanism) -> Result<bool, SlotsError>,
) -> Result<(), Rejection> {
    let covered = plan.privacy.path != ClipPath::Exact && place == Place::Processor;
    if covered || plan.count.is_some() {
        return Ok(());
    }
    match ask(plan, mechanism) {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::error!(
                "on this machine a unit's gradient depends on what else is in the batch, or on which accelerator computes it: on a processor \
                 plans on the exact path are declined and Book-Keeping is not, with accelerators all plans that train"
            );
            Err(Rejection::Policy)
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), "whether the exact path holds on this machine could not be found out");
            Err(Rejection::Policy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::{Accumulate, Rounding};
    use protocol::plan::{Assigned, Tier, Turn};

    #[test]
    fn a_machine_takes_only_the_tier_that_it_was_said_to_carry() {
        let me = ClientId([1; 32]);
        let plain = crate::testing::plan();
        assert_eq!(own_part(&plain, me, None).unwrap(), plain);
        let found = own_part(&plain, me, Some("small"));
        assert_eq!(found, Err(NoPart::OtherTier { expected: "small".into(), found: None }));
        let shards = vec![Assigned { shard: plain.shards[0].id, turn: Turn::ALWAYS }];
        let tier = |institutions| Some(vec![Tier { name: "large".into(), shards: shards.clone(), institutions }]);
        let named = Plan { tiers: tier(vec![me]), ..plain.clone() };
        assert!(own_part(&named, me, Some("large")).is_ok() && own_part(&named, me, None).is_ok());
        let error = own_part(&named, me, Some("small")).unwrap_err();
        assert_eq!(error.to_string(), "the settings say tier \"small\", the plan puts this institution into Some(\"large\")");
        assert_eq!(own_part(&named, ClientId([2; 32]), None), Err(NoPart::NoTier));
    }

    /// D19: a machine on which batches show in gradients takes no plan on the exact path, and every other.
    #[test]
    fn a_machine_on_which_places_show_declines_the_exact_path_only() {
        let exact_plan = crate::testing::plan();
        assert_eq!(exact_plan.privacy.path, ClipPath::Exact);
        let m = Mechanism::of_plan(&exact_plan, 1000).unwrap();
        assert_eq!(exact(&exact_plan, &m, Place::Processor, |_, _| Ok(true)), Ok(()));
        assert_eq!(exact(&exact_plan, &m, Place::Processor, |_, _| Ok(false)), Err(Rejection::Policy));
        let mut sums = exact_plan;
        sums.privacy.path = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered };
        assert_eq!(exact(&sums, &m, Place::Processor, |_, _| Ok(false)), Ok(()));
        assert_eq!(exact(&sums, &m, Place::Accelerators, |_, _| Ok(false)), Err(Rejection::Policy));
        assert_eq!(exact(&sums, &m, Place::Accelerators, |_, _| Ok(true)), Ok(()));
    }
}
