//! From an accepted manifest to a whole spool (house.md section 4, crypto.md C39): pay, train, bound, seal, store. Blocking, on a thread
//! of its own. Knows no connection.

use crate::agent::Cancel;
use crate::clock::{self, OsEntropy};
use crate::data::TaskData;
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use crate::keys::Keys;
use crate::ledger::{LedgerError, LedgerStore};
use crate::machine::MachineError;
use crate::observer::{Phase, Shared};
use crate::spool::{SpoolIndex, SpoolWriter};
use crate::status;
use crypto::seal::{SealContext, SealError, seal};
use privacy::bound::NoiseError;
use privacy::delta::{BoundError, Delta, PrivateDelta, Quantiser, QuantiserError};
use privacy::ledger::{Compared, Paid, ReserveError, ReserveRequest};
use privacy::mechanism::Mechanism;
use privacy::noise::{EntropyError, Quantiser as Rounding, StepContext, Stream};
use protocol::ids::{ClientId, GroupId, PlanDigest, Sha256, ShardId};
use protocol::manifest::{BudgetSpend, GroupSpec};
use protocol::participant::Accepted;
use protocol::plan::{Mode, Plan, Weighting};
use protocol::reject::Rejection;
use protocol::time::Time;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use train::batch::Dataset;
use train::count::{CountError, CountRound, Known, Units};
use train::model::{Outside, Weights};
use train::optim::OptimiserState;
use train::round::{Round, TrainError, joint_round, local_round};
use train::snapshot::SnapshotError;
use train::workers::Workers;

/// Longest optimiser state: text of two floats per coordinate of the largest model.
const MAX_OPTIMISER: usize = 8 << 30;

/// The ledger as the agent and the training thread share it.
pub(crate) type SharedLedger = Arc<Mutex<LedgerStore>>;

/// What a plan and the records become, once per task.
pub(crate) struct TaskWork {
    /// As this institution sees it: the shards that it trains.
    pub(crate) plan: Plan,
    /// Of the whole plan.
    pub(crate) digest: PlanDigest,
    pub(crate) data: TaskData,
    pub(crate) mechanism: Mechanism,
    /// What the plan leaves to its checkpoint; none for a plan without one.
    pub(crate) outside: Option<Arc<Outside>>,
}

/// Everything that one preparation needs.
pub(crate) struct Preparation {
    pub(crate) home: Home,
    pub(crate) keys: Arc<Keys>,
    pub(crate) me: ClientId,
    pub(crate) build: Sha256,
    /// The machine's, which have been asked whether they may compute this task's gradients.
    pub(crate) workers: Arc<Workers>,
    pub(crate) work: Arc<TaskWork>,
    pub(crate) ledger: SharedLedger,
    /// Proof that the ledger is the one that the log last saw (privacy.md D65).
    pub(crate) compared: Compared,
    pub(crate) observer: Shared,
    pub(crate) accepted: Box<Accepted>,
    /// What this institution weighs in the round, where its groups carry weights.
    pub(crate) weight: Option<u64>,
    /// Bytes of the snapshot, already checked against their digest.
    pub(crate) snapshot: Vec<u8>,
    /// From when on no update may become whole any more, where uploads keep to a schedule (privacy.md D12).
    pub(crate) sealed_by: Option<Time>,
    /// Set when the round is over for us.
    pub(crate) cancel: Cancel,
}

/// Why there is no spool. What was paid stays paid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A file.
    #[error("a file could not be read or written")]
    Store(#[from] StoreError),
    /// The ledger.
    #[error("the ledger does not pay")]
    Ledger(#[from] LedgerError),
    /// The snapshot is not of the plan's model.
    #[error("the snapshot does not fit the plan")]
    Snapshot(#[from] SnapshotError),
    /// Nothing to train with.
    #[error("there is nothing to train with")]
    Machine(#[from] MachineError),
    /// Training.
    #[error("training gave no delta")]
    Train(#[from] TrainError),
    /// Counting.
    #[error("counting gave no sum")]
    Count(#[from] CountError),
    /// The plan's quantiser.
    #[error("the plan's quantiser cannot be made")]
    Quantiser(#[from] QuantiserError),
    /// The delta.
    #[error("the delta cannot be bounded")]
    Bound(#[from] BoundError),
    /// No randomness.
    #[error("the source of entropy failed")]
    Entropy(#[from] EntropyError),
    /// Sealing.
    #[error("the update cannot be sealed")]
    Seal(#[from] SealError<StoreError>),
    /// Nobody waits for the update any more.
    #[error("the round ended before the update was ready")]
    Cancelled,
    /// The thread ended without an answer: a bug of ours.
    #[error("the preparing thread ended without an answer")]
    Vanished,
}

impl PrepareError {
    /// What the federation hears.
    pub(crate) fn rejection(&self) -> Rejection {
        match self {
            Self::Ledger(e) if e.is_exhausted() => Rejection::BudgetExhausted,
            Self::Seal(_) | Self::Quantiser(_) | Self::Snapshot(_) | Self::Count(CountError::Document) => Rejection::BadParameters,
            Self::Store(_)
            | Self::Ledger(_)
            | Self::Machine(_)
            | Self::Train(_)
            | Self::Count(_)
            | Self::Bound(_)
            | Self::Entropy(_)
            | Self::Cancelled
            | Self::Vanished => Rejection::Policy,
        }
    }

    /// What the client's log may say. Below a failure in training there may be a number of rows, or which unit it was: both tell about the sample
    /// (privacy.md D12, audit.md A22).
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::Train(error @ TrainError::Work(work)) => format!("{self}: {error}: {work}"),
            Self::Train(error @ (TrainError::Data(_) | TrainError::Engine(_))) => format!("{self}: {error}"),
            Self::Train(_)
            | Self::Count(_)
            | Self::Store(_)
            | Self::Ledger(_)
            | Self::Snapshot(_)
            | Self::Machine(_)
            | Self::Quantiser(_)
            | Self::Bound(_)
            | Self::Seal(_)
            | Self::Entropy(_)
            | Self::Vanished
            | Self::Cancelled => crate::agent::chain(self),
        }
    }

    /// Whether something happened that nobody intends: noise for another mechanism, or of another step, than was paid for or registered (bug
    /// class B25).
    /// The round is lost either way; an alarm stays in the status until somebody has looked.
    pub(crate) fn is_alarm(&self) -> bool {
        let alarm = |noise: &NoiseError| matches!(noise, NoiseError::MechanismDiffers | NoiseError::WrongStream { .. });
        match self {
            Self::Train(TrainError::Noise(noise)) | Self::Count(CountError::Noise(noise)) => alarm(noise),
            // The ledger is asked to pay for other noise, or other steps, than it has registered: caught one step earlier.
            Self::Ledger(error) => matches!(error, LedgerError::Reserve(ReserveError::ScheduleDiffers)),
            Self::Train(_)
            | Self::Count(_)
            | Self::Store(_)
            | Self::Snapshot(_)
            | Self::Machine(_)
            | Self::Quantiser(_)
            | Self::Bound(_)
            | Self::Seal(_)
            | Self::Entropy(_)
            | Self::Vanished
            | Self::Cancelled => false,
        }
    }

    /// Whether the process must end: a disk that failed once is not asked again (S4).
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Store(_) | Self::Seal(SealError::Sink(_)) => true,
            Self::Ledger(e) => e.is_fatal(),
            Self::Seal(_)
            | Self::Snapshot(_)
            | Self::Machine(_)
            | Self::Train(_)
            | Self::Count(_)
            | Self::Quantiser(_)
            | Self::Bound(_)
            | Self::Entropy(_)
            | Self::Cancelled => false,
            Self::Vanished => true,
        }
    }
}

/// What trains: the snapshot's weights on the institution's records.
struct Training<'a> {
    start: Weights,
    workers: &'a Workers,
    data: &'a Dataset,
}

/// What the plan has an institution do.
enum Way<'a> {
    /// Noised local steps, then a quantised delta (privacy.md D6).
    Local { training: Training<'a>, quantiser: Quantiser, optimiser: OptimiserState },
    /// One noised sum, sealed as it is (D7).
    Joint(Training<'a>),
    /// A noised sum of counts.
    Count { known: Known, units: &'a Units },
}

impl Preparation {
    /// Pays, trains, seals and spools. Everything that can fail without paying is done before paying.
    pub(crate) fn run(self) -> Result<(), PrepareError> {
        let manifest = self.accepted.manifest();
        let mut way = self.way()?;
        // Nothing is paid for what cannot leave any more.
        if self.is_over() {
            return Err(PrepareError::Cancelled);
        }
        let paid = self.pay()?;
        let (counter, spend) = (paid.ledger_counter(), paid.spend());
        tracing::info!(round = manifest.round.0, steps = paid.steps(), "paid; work on the records begins");
        self.observer.tell(|o| o.epsilon(manifest.round, &spend.epsilon_after));
        let private = self.private(&mut way, paid);
        match private.and_then(|private| self.seal(&private, counter, &spend)) {
            Ok(update) => {
                self.ledger.lock().unwrap_or_else(PoisonError::into_inner).sealed_at(counter, update, self.dated())?;
                match way {
                    Way::Local { optimiser, .. } => self.store_optimiser(&optimiser),
                    Way::Joint(_) | Way::Count { .. } => Ok(()),
                }
            }
            // A disk that failed is not asked again; the next start voids what it finds unsealed.
            Err(e) if e.is_fatal() => Err(e),
            Err(e) => {
                self.ledger.lock().unwrap_or_else(PoisonError::into_inner).void_at(counter, self.dated())?;
                crate::spool::clear(&self.home, manifest.task, manifest.round)?;
                Err(e)
            }
        }
    }

    /// What the plan needs besides the payment.
    fn way(&self) -> Result<Way<'_>, PrepareError> {
        let plan = &self.work.plan;
        let data = match &self.work.data {
            TaskData::Count(units) => return Ok(Way::Count { known: Known::of_plan(plan, &self.snapshot)?, units }),
            TaskData::Train(data) => data,
        };
        let start = train::snapshot::from_bytes(&plan.model, &self.snapshot)?;
        let start = match &self.work.outside {
            Some(outside) => start.beside(Arc::clone(outside)),
            None => start,
        };
        let training = Training { start, workers: &self.workers, data };
        match plan.privacy.mode {
            Mode::Local => {
                let optimiser = self.optimiser()?;
                Ok(Way::Local { training, quantiser: self.quantiser()?, optimiser })
            }
            Mode::Distributed(_) | Mode::Hybrid(_) => Ok(Way::Joint(training)),
        }
    }

    fn quantiser(&self) -> Result<Quantiser, QuantiserError> {
        let plain = Quantiser::of_plan(&self.work.plan)?;
        match (self.work.plan.weighting, self.weight) {
            (Weighting::Declared { max_weight }, Some(weight)) => plain.weighted(weight, max_weight),
            // A weight without its tally, or a tally without its weight, is refused where the update is sealed.
            (Weighting::Uniform, _) | (Weighting::Declared { .. }, None) => Ok(plain),
        }
    }

    /// Whether the round was left, or its time to upload has come: no update of it may become whole any more.
    fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || self.sealed_by.is_some_and(|by| clock::now() >= by)
    }

    /// The time of what the ledger is told. On a schedule that of the upload: headers name hashes of entries whose every other field is public, so
    /// that a time which depends on the training could be found out from them (D12).
    fn dated(&self) -> Time {
        self.sealed_by.unwrap_or_else(clock::now)
    }

    /// A payment exists only when its entry is durable (D60).
    fn pay(&self) -> Result<Paid, PrepareError> {
        let manifest = self.accepted.manifest();
        let request = ReserveRequest {
            task: manifest.task,
            plan: self.work.digest,
            round: manifest.round,
            manifest: self.accepted.digest(),
            mechanism: &self.work.mechanism,
            steps: u64::from(self.work.plan.local.steps),
            compared: self.compared,
        };
        Ok(self.ledger.lock().unwrap_or_else(PoisonError::into_inner).reserve(&request, self.dated())?)
    }

    /// Trains or counts on what was paid for. What comes back is all that may leave.
    fn private(&self, way: &mut Way<'_>, paid: Paid) -> Result<PrivateDelta, PrepareError> {
        let (round_id, counter, steps, clock) = (self.accepted.manifest().round, paid.ledger_counter(), paid.steps(), Instant::now());
        // What is known about a step beyond its number is computed from records without noise and stays out of every log (A22).
        let mut report = |p: train::round::Progress| {
            tracing::debug!(round = round_id.0, step = p.step + 1, steps = p.steps, "noised step");
            self.observer.trained(Some(status::Training::after(p.step + 1, p.steps, clock.elapsed())));
            if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let made = match way {
            Way::Local { training, quantiser, optimiser } => {
                local_round(&self.round(training), paid, optimiser, training.workers, &mut OsEntropy, &mut report)
                    .map_err(PrepareError::from)
                    .and_then(|delta| self.bound(delta, quantiser, counter, steps))
            }
            Way::Joint(training) => {
                joint_round(&self.round(training), paid, training.workers, &mut OsEntropy, &mut report).map_err(PrepareError::from)
            }
            Way::Count { known, units } => {
                let (plan, mechanism) = (&self.work.plan, &self.work.mechanism);
                CountRound { plan, known, units, mechanism }.sum(paid, &mut OsEntropy).map_err(PrepareError::from)
            }
        };
        self.observer.trained(None);
        let private = match made {
            Err(PrepareError::Train(TrainError::Stopped)) => return Err(PrepareError::Cancelled),
            other => other?,
        };
        self.observer.tell(|o| o.phase(round_id, Phase::Train, clock.elapsed().as_secs_f64()));
        Ok(private)
    }

    fn round<'a>(&'a self, training: &'a Training<'_>) -> Round<'a> {
        let plan = &self.work.plan;
        let global_step = self.accepted.manifest().round.0.saturating_sub(1).saturating_mul(u64::from(plan.local.steps));
        Round { plan, start: &training.start, data: training.data, mechanism: &self.work.mechanism, global_step }
    }

    fn bound(&self, delta: Delta, quantiser: &Quantiser, ledger_counter: u64, steps: u64) -> Result<PrivateDelta, PrepareError> {
        let context = StepContext { manifest: self.accepted.digest(), ledger_counter, step: steps };
        let mut rounding = Stream::<Rounding>::open(&mut OsEntropy, &context)?;
        Ok(delta.bound(quantiser, &mut rounding)?.privatize_local())
    }

    /// Seals and spools; answers what the ledger names the update by.
    fn seal(&self, private: &PrivateDelta, counter: u64, spend: &BudgetSpend) -> Result<Sha256, PrepareError> {
        let (manifest, clock) = (self.accepted.manifest(), Instant::now());
        let mut writer = SpoolWriter::begin(&self.home, manifest.task, manifest.round)?;
        let mut groups = Vec::new();
        for id in self.accepted.groups_of(self.me) {
            self.show_integers(private, id);
            let context = SealContext {
                manifest,
                digest: self.accepted.digest(),
                group: id,
                institution: self.me,
                build: self.build,
                spend,
                weight: self.weight,
            };
            let update = seal(&context, private, self.keys.hedge(), &mut OsEntropy, &mut writer)?;
            let header = self.keys.sign(&update.header);
            groups.push(writer.add(id, update, header)?);
        }
        // A whole spool is sent, also by a process that begins later; one that came too late would tell how late.
        if self.is_over() {
            return Err(PrepareError::Cancelled);
        }
        let spool = writer.complete(SpoolIndex { manifest: self.accepted.digest(), reservation: counter, groups })?;
        self.observer.tell(|o| o.phase(manifest.round, Phase::Seal, clock.elapsed().as_secs_f64()));
        Ok(spool.index().digest())
    }

    fn show_integers(&self, private: &PrivateDelta, id: GroupId) {
        let Some(group) = self.accepted.manifest().group(id) else { return };
        let shards = shards_of(private, group);
        self.observer.tell(|o| o.integers(self.accepted.manifest().round, id, &shards));
    }

    /// Over all coordinates that this institution ever trains, so that what has no turn this round is remembered.
    fn optimiser(&self) -> Result<OptimiserState, PrepareError> {
        let dimension = usize::try_from(self.work.plan.dimension()).unwrap_or(usize::MAX);
        let path = self.home.optimiser(self.work.plan.task);
        let Some(bytes) = files::read_if_there(&path, MAX_OPTIMISER, Item::Optimiser)? else {
            return Ok(OptimiserState::of_plan(&self.work.plan.local, dimension));
        };
        Ok(serde_json::from_slice(&bytes).map_err(|_| StoreError::Damaged(Item::Optimiser))?)
    }

    /// The state is computed from noised gradients only; losing it costs accuracy, not privacy.
    fn store_optimiser(&self, state: &OptimiserState) -> Result<(), PrepareError> {
        let bytes = serde_json::to_vec(state).map_err(|_| StoreError::Damaged(Item::Optimiser))?;
        Ok(files::replace_secret(&self.home.optimiser(self.work.plan.task), &bytes, Item::Optimiser)?)
    }
}

fn shards_of<'a>(private: &'a PrivateDelta, group: &GroupSpec) -> Vec<(ShardId, &'a [i32])> {
    private.shards().filter(|(id, _)| group.shards.iter().any(|s| s.id == *id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_that_nobody_paid_for_raises_an_alarm_and_an_end_of_the_round_does_not() {
        assert!(PrepareError::Train(TrainError::Noise(NoiseError::MechanismDiffers)).is_alarm());
        let reserve = |error| PrepareError::Ledger(LedgerError::Reserve(error));
        assert!(reserve(ReserveError::ScheduleDiffers).is_alarm(), "B25: what would be executed is not what was registered");
        assert!(!reserve(ReserveError::NotRegistered).is_alarm(), "a refusal is no alarm");
        assert!(!PrepareError::Train(TrainError::Stopped).is_alarm() && !PrepareError::Cancelled.is_alarm());
    }

    #[test]
    fn the_log_is_told_why_training_failed_and_nothing_of_the_sample() {
        let unit = TrainError::Data(train::batch::DataError::Token { unit: 4711, vocab: 16 });
        assert_eq!(PrepareError::Train(unit).for_log(), "training gave no delta: the data does not fit the model");
        let said = PrepareError::Train(TrainError::Work(train::workers::WorkError::Diverged)).for_log();
        assert!(said.contains("gradients could not be computed") && said.contains("no finite gradient"), "{said}");
        let noise = PrepareError::Train(TrainError::Noise(NoiseError::MechanismDiffers)).for_log();
        assert!(noise.ends_with(&NoiseError::MechanismDiffers.to_string()), "what tells nothing of records is told whole: {noise}");
    }
}
