//! The privacy statement of one task at one institution (privacy.md D68, D69): from the ledger and the plan only, every field mandatory.
//! Fields follow NIST SP 800-226 (2025) and Ponomareva et al., arXiv 2303.00654. Knows no file, no format and no log.

mod figures;
mod sentence;
mod words;

pub use figures::Figure;
pub use sentence::{Adversary, Claim, Sentence};
pub use words::{Language, Row};

use crate::accountant::task::TaskError;
use crate::accountant::{AccountantError, Phase, epsilon_noise_rdp};
use crate::audit::Verdict;
use crate::coalition::Standing;
use crate::ledger::{Alarm, Basis, PrivacyLedger, ReleaseStage, ReleaseState, RoundCounts, Schedule, terms_of};
use crate::mechanism::Executed;
use protocol::decimal::Decimal;
use protocol::history::SpendRecord;
use protocol::ids::{ClientId, PlanDigest, Sha256, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::participant::UploadAt;
use protocol::plan::{Plan, Unit};

/// Whether the argument behind figures of coalitions was re-derived by a second person (D22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// Not yet: such figures appear in no promise.
    Pending,
}

/// The state of Lemma S. Changes only together with a name, a date and a commit in privacy.md D22.
pub const LEMMA_S: Review = Review::Pending;

/// Why there is no statement.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The ledger never registered the task.
    #[error("the ledger has not registered this task")]
    UnknownTask,
    /// The ledger registered another plan under this task.
    #[error("the plan is not the one that the ledger registered")]
    OtherPlan,
    /// The ledger is not the one that the log speaks of.
    #[error("the ledger lacks a spend that the log shows")]
    Alarm(#[from] Alarm),
    /// The accountant has no figure.
    #[error("a figure cannot be computed")]
    Accountant(#[from] AccountantError),
    /// The task's ε cannot be computed.
    #[error("the task's epsilon cannot be computed")]
    Task(#[from] TaskError),
}

/// What the edge knows and the ledger does not. No number of the promise is among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The institution's name in its federation.
    pub institution: String,
    /// Rounds whose sum was opened with an update of this institution in it.
    pub opened: u64,
    /// The checkpoint up to which the log was compared with the ledger.
    pub checkpoint: Checkpoint,
    /// The kept empirical audit of the task's plan, if there is one.
    pub audit: Option<Empirical>,
    /// When updates of the task left: by the schedule only if all of them did.
    pub uploads: UploadAt,
}

/// What an empirical audit of the plan found: an attack's lower bound beside the promise, and where to look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empirical {
    /// SHA-256 of the kept report.
    pub id: Sha256,
    /// ε that the attack proves at 95 % confidence, six places, rounded down to no less than 0.
    pub epsilon_lower: Decimal,
    /// Whether something contradicted the claim.
    pub verdict: Verdict,
}

/// Size and root of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Sha256,
}

/// (ε, δ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// ε, six places, rounded up.
    pub epsilon: Decimal,
    /// δ.
    pub delta: Decimal,
}

/// What the ledger counts over all tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// ε by the filter; none if no decimal holds it.
    pub epsilon: Option<Decimal>,
    /// The institution's cap.
    pub cap: Decimal,
    /// δ of both.
    pub delta: Decimal,
    /// Rényi order of the filter.
    pub order: Decimal,
    /// Nothing: ε and cap are of own cost. Else of what the guaranteed shares leave to a coalition, where their bound is published, and this is the
    /// most own ε of any one task (D61).
    pub own_cap: Option<Decimal>,
}

/// ε by Rényi accounting, with the order that gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RdpFigure {
    /// ε.
    pub epsilon: Figure,
    /// α.
    pub order: f64,
}

/// A figure for `k` of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multiple {
    /// How many.
    pub k: u32,
    /// ε at the task's δ.
    pub epsilon: Figure,
}

/// Scalar releases from the same records, beside every task (D28). They are in the lifetime figure and in no task's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// Paid, whatever became of them.
    pub paid: u64,
    /// Values of those whose values were stored.
    pub values: u64,
    /// Taken from the site log by a repair.
    pub lost: u64,
    /// ρ of those that are known, nine places, rounded up; none if no decimal holds it.
    pub rho: Option<Decimal>,
}

/// What the guaranteed shares of noise are worth together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoalitionFigures {
    /// ε of the whole registered schedule against whoever misses the guaranteed shares.
    pub epsilon: Figure,
    /// Whether that is a promise.
    pub standing: Standing,
    /// h: guaranteed shares.
    pub shares: u16,
    /// c: institutions with which the one that looks may collude.
    pub colluding: u16,
    /// A person with data in k institutions of one sum (D56).
    pub groups: [Multiple; 2],
}

/// The statement. It has no optional field that a claim rests on: what does not apply is said, not left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Name of the institution.
    pub institution: String,
    /// Its id.
    pub institution_id: ClientId,
    /// The federation.
    pub federation: String,
    /// The task.
    pub task: TaskId,
    /// The dataset's opaque id.
    pub dataset: Sha256,
    /// Whose data one unit is. Neighbours are [`Basis::neighbours`].
    pub unit: Unit,
    /// (ε, δ) of the whole registered schedule, by its accountant, from the institution's own noise.
    pub promise: Promise,
    /// ε of the rounds reserved so far.
    pub spent: Decimal,
    /// The ledger over all tasks.
    pub lifetime: Lifetime,
    /// ε for replacing one unit.
    pub replace_one: Figure,
    /// Cross-check.
    pub rdp: RdpFigure,
    /// One person with k records where records are the unit, or k members of one household and the like (D56).
    pub groups: [Multiple; 2],
    /// One person with data in k institutions that run the same schedule: k·T steps (D8).
    pub institutions: [Multiple; 2],
    /// Figures against a coalition; none in mode `local`, where own noise carries every row.
    pub coalition: Option<CoalitionFigures>,
    /// Mode, noise, path, neighbours, n_min.
    pub basis: Basis,
    /// The integers of the mechanism.
    pub executed: Executed,
    /// Rounds of the schedule.
    pub rounds_registered: u64,
    /// Noised steps per round.
    pub steps_per_round: u64,
    /// What became of the rounds.
    pub rounds: RoundCounts,
    /// Rounds whose sum was opened with an update of this institution in it.
    pub rounds_opened: u64,
    /// Scalar releases from the same records.
    pub releases: Releases,
    /// State of the argument behind coalition figures; none is claimed while it is pending.
    pub lemma_s: Review,
    /// Size and threshold of the committee that opens sums.
    pub committee: CommitteeSize,
    /// Accountant and version.
    pub accountant: &'static str,
    /// Weights that round 1 started from. What they were pre-trained on is declared outside the plan.
    pub base: SnapshotDigest,
    /// Empirical audit that bounds ε from below.
    pub audit: Option<Empirical>,
    /// When updates leave (D12).
    pub uploads: UploadAt,
    /// The plan.
    pub plan: PlanDigest,
    /// Counter of the ledger's last entry.
    pub ledger_counter: u64,
    /// Hash of the ledger's last entry.
    pub ledger_head: Sha256,
    /// The log that the ledger was compared with.
    pub checkpoint: Checkpoint,
}

impl Statement {
    /// The statement of a task. `spends` are the institution's spends from this dataset in the log; a ledger that lacks one makes none.
    ///
    /// # Privacy
    /// unit: the ledger's · neighbours: add or remove one unit · measure: (ε, δ) of the registered schedule by its accountant or, where a repair or
    /// the reserved rounds stand above it, that. Computed from nothing but the plan's numbers.
    ///
    /// # Errors
    /// [`StatementError`].
    ///
    /// # Source
    /// privacy.md D8, D56, D57, D68.
    pub fn of(
        ledger: &PrivacyLedger,
        plan: &Plan,
        digest: PlanDigest,
        spends: &[SpendRecord],
        around: Surroundings,
    ) -> Result<Self, StatementError> {
        ledger.compare(spends)?;
        let task = ledger.task(plan.task).ok_or(StatementError::UnknownTask)?;
        if task.schedule.plan != digest {
            return Err(StatementError::OtherPlan);
        }
        let (s, terms, totals) = (&task.schedule, ledger.terms(), ledger.totals());
        let rounds = s.rounds.max(task.rounds_reserved);
        let steps = rounds.saturating_mul(s.steps_per_round);
        let scheduled = terms_of(&s.executed, s.epsilon_cap);
        let epsilon = larger(scheduled.epsilon(steps)?, task.epsilon);
        let (promised, slack) = (s.executed.delta.to_f64(), scheduled.slack(steps));
        let delta = promised - slack;
        let (phase, noise) = (phase(s, steps), s.executed.noise);
        let rdp = epsilon_noise_rdp(&[(noise, phase)], delta)?;
        Ok(Self {
            institution: around.institution,
            institution_id: terms.institution,
            federation: plan.federation.clone(),
            task: plan.task,
            dataset: terms.dataset,
            unit: terms.unit,
            promise: Promise { epsilon, delta: s.executed.delta },
            spent: task.epsilon,
            lifetime: Lifetime {
                epsilon: totals.epsilon,
                cap: totals.epsilon_cap,
                delta: terms.delta,
                order: totals.order,
                own_cap: terms.own_epsilon_cap,
            },
            replace_one: figures::replace_one(noise, phase, delta)?,
            rdp: RdpFigure { epsilon: Figure::up(rdp.epsilon), order: rdp.order },
            groups: [figures::group(noise, phase, 2, delta)?, figures::group(noise, phase, 4, delta)?],
            institutions: [
                figures::institutions(noise, phase, 2, promised, slack)?,
                figures::institutions(noise, phase, 4, promised, slack)?,
            ],
            coalition: figures::coalition(&s.executed, s.epsilon_cap, steps)?,
            basis: s.basis.clone(),
            executed: s.executed.clone(),
            rounds_registered: s.rounds,
            steps_per_round: s.steps_per_round,
            rounds: ledger.rounds_of(plan.task),
            rounds_opened: around.opened,
            releases: releases(ledger),
            lemma_s: LEMMA_S,
            committee: plan.committee,
            accountant: scheduled.accountant(),
            base: plan.base,
            audit: around.audit,
            uploads: around.uploads,
            plan: digest,
            ledger_counter: ledger.counter().saturating_sub(1),
            ledger_head: ledger.head(),
            checkpoint: around.checkpoint,
        })
    }
}

fn releases(ledger: &PrivacyLedger) -> Releases {
    let of = |counter: fn(&ReleaseState) -> u64| ledger.releases().fold(0u64, |sum, (_, r)| sum.saturating_add(counter(r)));
    let values = |r: &ReleaseState| if matches!(r.stage, ReleaseStage::Released(_)) { r.release.values } else { 0 };
    let rho = ledger.releases().fold(0.0, |sum, (_, r)| sum + r.release.rho());
    Releases { paid: of(|_| 1), values: of(values), lost: ledger.lost_releases(), rho: Decimal::ceil(rho, 9).ok() }
}

fn phase(s: &Schedule, steps: u64) -> Phase {
    Phase { noise_multiplier: s.executed.noise_multiplier.to_f64(), sampling_rate: s.executed.sampling_rate.to_f64(), steps }
}

fn larger(a: Decimal, b: Decimal) -> Decimal {
    if b.to_f64() > a.to_f64() { b } else { a }
}

#[cfg(test)]
mod tests;
