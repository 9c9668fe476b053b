//! One round at one institution: paid steps in, a delta out. Knows no socket, no clock and no ledger file.

use crate::audit::Canaries;
use crate::batch::{DataError, Dataset};
use crate::model::{ModelError, TransformerWeights, Weights};
use crate::optim::{OptimiserMismatch, OptimiserState};
use crate::shard::{self, ShardError};
use crate::step::{self, Pull, StepInputs};
use crate::workers::{Tally, WorkError, Workers};
use privacy::bound::NoiseError;
use privacy::delta::{BoundError, Delta, PrivateDelta, Quantiser, QuantiserError};
use privacy::ledger::{Paid, UnusedSteps};
use privacy::mechanism::Mechanism;
use privacy::noise::{EntropyError, EntropySource};
use protocol::ids::RoundId;
use protocol::plan::Plan;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// What a round starts from.
pub struct Round<'a> {
    /// The task as this institution sees it ([`Plan::seen_by`]): the shards that it trains, in this round or another.
    pub plan: &'a Plan,
    /// The snapshot that the manifest names.
    pub start: &'a Weights,
    /// Local records.
    pub data: &'a Dataset,
    /// Made from the same plan, over the coordinates of all its shards: one clip norm and one account for what this institution ever trains.
    pub mechanism: &'a Mechanism,
    /// Noised steps of the task before this round: where the schedule of the learning rate stands.
    pub global_step: u64,
}

/// One noised step, for the institution's own eyes.
///
/// # Privacy
/// Everything in `tally` is computed from records and carries no noise. It must not leave the institution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Step within the round, from 0.
    pub step: u64,
    /// Steps of the round.
    pub steps: u64,
    /// Step within the task, from 0.
    pub global_step: u64,
    /// Learning rate used.
    pub learning_rate: f64,
    /// About the sample.
    pub tally: Tally,
}

impl Progress {
    /// Mean loss of the sample's units in nats; `None` for a sample without a finite unit.
    #[expect(clippy::cast_precision_loss, reason = "a sample is far below 2^53 units")]
    pub fn mean_loss(&self) -> Option<f64> {
        let counted = self.tally.units - self.tally.non_finite;
        (counted > 0).then(|| self.tally.loss_sum / counted as f64)
    }
}

/// Why a round ended without a delta. What was paid stays paid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The plan's shards are not this model.
    #[error("the shard table does not fit the model")]
    Shards(#[from] ShardError),
    /// The snapshot is of another model than the plan's.
    #[error("the snapshot is of another model than the plan's")]
    OtherModel,
    /// The mechanism was made for another number of coordinates.
    #[error("the mechanism has {mechanism} coordinates, the plan's shards {shards}")]
    Dimension {
        /// Of the mechanism.
        mechanism: u64,
        /// Of the shards that this institution trains.
        shards: u64,
    },
    /// The part that is trained cannot be built.
    #[error("the trained part of the model cannot be built")]
    Part(#[from] ModelError),
    /// None of this institution's shards has its turn.
    #[error("this institution trains nothing in round {0}")]
    NoTurn(u64),
    /// A record does not fit the model.
    #[error("the data does not fit the model")]
    Data(#[from] DataError),
    /// A gradient could not be computed.
    #[error("gradients could not be computed")]
    Work(#[from] WorkError),
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
    /// No randomness.
    #[error("no entropy for sampling and noise")]
    Entropy(#[from] EntropyError),
    /// The sum could not be noised.
    #[error("the sum could not be noised")]
    Noise(#[from] NoiseError),
    /// Optimiser state of another model.
    #[error("the optimiser's state is of another model")]
    Optimiser(#[from] OptimiserMismatch),
    /// The driver has no use for the round any more.
    #[error("training was stopped")]
    Stopped,
    /// The plan's values fit no slot.
    #[error("the plan's quantiser cannot be made")]
    Quantiser(#[from] QuantiserError),
    /// The noised sum is not what the plan's groups carry.
    #[error("the noised sum cannot be sealed")]
    Bound(#[from] BoundError),
    /// Steps were paid for and not taken.
    #[error("not every paid step was taken")]
    Unused(#[from] UnusedSteps),
}

impl Round<'_> {
    fn check(&self) -> Result<(), TrainError> {
        if self.start.config() != &self.plan.model {
            return Err(TrainError::OtherModel);
        }
        shard::check(self.start.table(), &self.plan.shards)?;
        let (mechanism, shards) = (self.mechanism.dimension(), self.plan.dimension());
        if mechanism != shards {
            return Err(TrainError::Dimension { mechanism, shards });
        }
        Ok(self.data.check(&self.plan.model)?)
    }

    /// Which round of the task this is: schedules of shards count rounds, learning rates steps.
    fn number(&self) -> RoundId {
        RoundId((self.global_step / u64::from(self.plan.local.steps.max(1))).saturating_add(1))
    }

    /// What is trained now; everything else is frozen and gets no gradient (training.md M12).
    fn part(&self) -> Result<TransformerWeights, TrainError> {
        let active = self.plan.active(self.number());
        if active.is_empty() {
            return Err(TrainError::NoTurn(self.number().0));
        }
        Ok(TransformerWeights::part_of(self.start, shard::names(active))?)
    }

    /// Where the trained tensors lie in the vector of all this institution's shards, in the order of the trained vector.
    fn places(&self, part: &TransformerWeights) -> Vec<Range<usize>> {
        let mut at = BTreeMap::new();
        let mut next = 0;
        for tensor in self.plan.shards.iter().flat_map(|s| &s.tensors) {
            let len = usize::try_from(tensor.len()).unwrap_or(usize::MAX);
            at.insert(tensor.name.as_str(), next..next + len);
            next += len;
        }
        part.table().iter().filter_map(|p| at.get(p.name.as_str()).cloned()).collect()
    }
}

/// Trains for as many noised steps as were paid for and returns local minus start, shard by shard.
///
/// `report` is called after each step and may end the round; what was paid for it stays paid. The optimiser's state, over all of the
/// institution's coordinates, is changed at the end; after an error it is as it was.
///
/// # Privacy
/// unit: the plan's · neighbours: add or remove one unit · every step samples with rate q, clips each unit over all coordinates, and adds
/// noise that its own payment covers (privacy.md D15 to D17, D29); everything after the noise is post-processing.
///
/// # Errors
/// [`TrainError`].
pub fn local_round(
    round: &Round<'_>,
    paid: Paid,
    optimiser: &mut OptimiserState,
    workers: &Workers,
    entropy: &mut dyn EntropySource,
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Delta, TrainError> {
    let (part, paid) = noised_steps(round, paid, optimiser, Means { workers, entropy, canaries: None }, report)?;
    // Shards that do not have their turn are not sealed; here they are zeros, which say nothing.
    let mut change = vec![0.0; usize::try_from(round.plan.dimension()).unwrap_or(usize::MAX)];
    for (parameter, place) in part.table().iter().zip(round.places(&part)) {
        let Some(start) = round.start.table().find(&parameter.name) else { continue };
        let moved = part.flat()[parameter.range()].iter().zip(&round.start.flat()[start.range()]);
        change[place].iter_mut().zip(moved).for_each(|(change, (local, start))| *change = local - start);
    }
    Ok(Delta::new(shard::split(&round.plan.shards, &change)?, paid.finish()?))
}

/// What steps are taken with.
pub(crate) struct Means<'a> {
    pub(crate) workers: &'a Workers,
    pub(crate) entropy: &'a mut dyn EntropySource,
    /// None but in an audit.
    pub(crate) canaries: Option<&'a mut Canaries>,
}

/// All paid steps, one after the other. What comes back is the part that was trained; it stays in this room.
pub(crate) fn noised_steps(
    round: &Round<'_>,
    mut paid: Paid,
    optimiser: &mut OptimiserState,
    means: Means<'_>,
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(TransformerWeights, Paid), TrainError> {
    round.check()?;
    let (mut weights, steps) = (round.part()?, paid.steps());
    let places = round.places(&weights);
    let mut memory = optimiser.part(&places);
    let Means { workers, entropy, canaries } = means;
    let pull = Pull::of_plan(round.plan, weights.flat());
    let mut inputs = StepInputs { round, workers, entropy, decays: weights.table().matrices(), pull, canaries };
    while let Some(payment) = paid.next_step() {
        let step = payment.index();
        let (tally, learning_rate) = step::take(&mut inputs, payment, &mut weights, &mut memory)?;
        if report(Progress { step, steps, global_step: round.global_step + step, learning_rate, tally }).is_break() {
            return Err(TrainError::Stopped);
        }
    }
    optimiser.put(&places, memory);
    Ok((weights, paid))
}

/// One noised sum over the snapshot's gradient, as integers that are sealed as they are: a round of modes `distributed` and `hybrid`.
///
/// `report` is told about the sum as about a step, and may end the round; what was paid for it stays paid.
///
/// # Privacy
/// unit: the plan's · neighbours: add or remove one unit · one step as in [`local_round`], its coordinates clamped before noise; what leaves
/// is the noised sum itself (privacy.md D7, D15, D20).
///
/// # Errors
/// [`TrainError`].
pub fn joint_round(
    round: &Round<'_>,
    mut paid: Paid,
    workers: &Workers,
    entropy: &mut dyn EntropySource,
    report: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<PrivateDelta, TrainError> {
    round.check()?;
    let weights = round.part()?;
    // One noised sum is cut at the shards' borders as it is.
    shard::check_order(weights.table(), &round.plan.shards)?;
    let quantiser = Quantiser::of_plan(round.plan)?;
    let mut inputs = StepInputs { round, workers, entropy, decays: Vec::new(), pull: None, canaries: None };
    let payment = paid.next_step().ok_or(UnusedSteps { used: 0, paid: paid.steps() })?;
    let (share, tally) = step::share(&mut inputs, payment, &weights)?;
    let progress = Progress { step: 0, steps: 1, global_step: round.global_step, learning_rate: 0.0, tally };
    if report(progress).is_break() {
        return Err(TrainError::Stopped);
    }
    Ok(PrivateDelta::of_share(&share, &quantiser, &paid.finish()?)?)
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "joint_tests.rs"]
mod joint_tests;
