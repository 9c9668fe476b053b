//! One noised step: the only place where payment, sample, clipped sum, noise and optimiser meet (privacy.md section 10).

use crate::audit::Canaries;
use crate::mask::Masks;
use crate::model::own::dropout_seed;
use crate::model::{Replicas, TransformerWeights};
use crate::optim::{OptimiserState, StepSize};
use crate::round::{Round, TrainError};
use crate::schedule::Rates;
use crate::workers::{Tally, Work, Workers};
use privacy::bound::{NoisedShare, UnitSum};
use privacy::ledger::PaidStep;
use privacy::noise::{Dither, EntropySource, Noise, Sample, Stream};
use privacy::sample::poisson_sample;
use protocol::plan::{ClipPath, Plan};
use std::ops::Range;

/// What all steps of a round share.
pub(crate) struct StepInputs<'a> {
    pub(crate) round: &'a Round<'a>,
    pub(crate) workers: &'a Workers,
    pub(crate) entropy: &'a mut dyn EntropySource,
    pub(crate) decays: Vec<Range<usize>>,
    /// What pulls weights back, where the plan wants it.
    pub(crate) pull: Option<Pull>,
    /// Units of an empirical audit beside those with records; none when an institution trains (privacy.md D70).
    pub(crate) canaries: Option<&'a mut Canaries>,
}

/// FedProx's term: half of μ times the squared distance from the round's snapshot. Reads weights that noised steps have made, and no record.
pub(crate) struct Pull {
    by: f32,
    towards: Vec<f32>,
}

impl Pull {
    /// None where the plan wants none.
    pub(crate) fn of_plan(plan: &Plan, start: &[f32]) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "gradients are 32-bit floats")]
        let by = plan.local.proximal?.to_f64() as f32;
        Some(Self { by, towards: start.to_vec() })
    }

    /// Adds the term's gradient.
    fn add(&self, gradient: &mut [f32], weights: &[f32]) {
        for (g, (w, s)) in gradient.iter_mut().zip(weights.iter().zip(&self.towards)) {
            *g += self.by * (w - s);
        }
    }
}

/// Samples, clips, sums, noises and moves the weights. An empty sample is a valid step: pure noise (privacy.md D30).
pub(crate) fn take(
    inputs: &mut StepInputs<'_>,
    payment: PaidStep,
    weights: &mut TransformerWeights,
    optimiser: &mut OptimiserState,
) -> Result<(Tally, f64), TrainError> {
    let (round, context) = (inputs.round, payment.context());
    let (plan, mechanism) = (round.plan, round.mechanism);
    let (sum, tally) = clipped(inputs, &payment, weights)?;
    let mut noise = Stream::<Noise>::open(inputs.entropy, &context)?;
    let noised = sum.noised(payment, mechanism, &mut noise)?; // private from here on
    if let Some(canaries) = &mut inputs.canaries {
        canaries.see(noised.values());
    }
    let mut gradient = noised.mean_gradient(mechanism);
    // Coordinates that do not have their turn got noise and nothing else; nobody reads it.
    gradient.truncate(weights.flat().len());
    if let Some(pull) = &inputs.pull {
        pull.add(&mut gradient, weights.flat());
    }
    let at = round.global_step + context.step;
    let rate = Rates::of_plan(plan).at(at);
    let size = StepSize { rate, decay: plan.local.weight_decay.to_f64(), decays: &inputs.decays };
    optimiser.step(weights.flat_mut(), &gradient, &size)?;
    Ok((tally, rate))
}

/// Samples, clips, sums, clamps and noises: this institution's share of a sum that others noise too (privacy.md D7).
pub(crate) fn share(
    inputs: &mut StepInputs<'_>,
    payment: PaidStep,
    weights: &TransformerWeights,
) -> Result<(NoisedShare, Tally), TrainError> {
    let (round, context) = (inputs.round, payment.context());
    let (sum, tally) = clipped(inputs, &payment, weights)?;
    let mut noise = Stream::<Noise>::open(inputs.entropy, &context)?;
    Ok((sum.clamped()?.noised(payment, round.mechanism, &mut noise)?, tally))
}

/// The integer sum of the sampled units' clipped gradients, on the path that the mechanism was made for.
fn clipped(inputs: &mut StepInputs<'_>, payment: &PaidStep, weights: &TransformerWeights) -> Result<(UnitSum, Tally), TrainError> {
    let (round, context) = (inputs.round, payment.context());
    let (plan, mechanism) = (round.plan, round.mechanism);
    let mut draws = Stream::<Sample>::open(inputs.entropy, &context)?;
    let (with_records, guests) = (round.data.units.len(), inputs.canaries.as_ref().map_or(0, |c| c.inside()));
    // One draw for all, so that a canary comes in as everybody does. Indices rise: those with records stand first.
    let sample = poisson_sample(&mut draws, mechanism.sampling_rate(), with_records + guests);
    let (sample, sampled_guests) = sample.split_at(sample.partition_point(|&unit| unit < with_records));
    // What is hidden of a unit depends on the step and on that unit alone.
    let hidden = Masks::of_step(plan, round.global_step + context.step).map(|masks| masks.units(round.data, sample));
    let (data, sample) = hidden.as_ref().map_or((round.data, sample), |(data, places)| (data, places.as_slice()));
    let path = mechanism.executed().clip_path();
    let work = Work {
        objective: &Replicas::load(weights, inputs.workers, plan.local.keep.unwrap_or_default())?
            .dropping(dropout_seed(plan, round.global_step + context.step)),
        table: weights.table(),
        mechanism,
        max_tokens: crate::model::parameters::size(plan.model.max_tokens),
        micro_batch: inputs.workers.records_at_once(crate::model::parameters::size(plan.local.micro_batch.max(1)), path),
        max_records: crate::model::parameters::size(plan.privacy.max_records_per_unit),
        of_unit: plan.privacy.unit_objective,
    };
    let (mut sum, tally) = match path {
        ClipPath::Exact => inputs.workers.sum(work, data, sample)?,
        ClipPath::BookKeeping { .. } => {
            let (sum, tally) = inputs.workers.clipped_sum(work, data, sample)?;
            let mut dither = Stream::<Dither>::open(inputs.entropy, &context)?;
            (sum.rounded(payment, &mut dither)?, tally)
        }
    };
    if let Some(canaries) = &inputs.canaries {
        canaries.add_to(&mut sum, sampled_guests.iter().map(|unit| unit - with_records), mechanism)?;
    }
    Ok((sum, tally))
}
