//! Does this machine compute the same gradient of a unit whatever else is in the batch? Asked once per task, of made-up records (privacy.md
//! D19). Knows no institution's record and no ledger.

use crate::batch::{Record, UnitExamples};
use crate::model::own::dropout_seed;
use crate::model::parameters::size;
use crate::model::{ModelError, Outside, Replicas, TransformerWeights, initial};
use crate::shard::names;
use crate::workers::{Work, WorkError, Workers, unit_gradients};
use privacy::bound::Block;
use privacy::mechanism::Mechanism;
use protocol::plan::{Asks, Plan};
use std::sync::Arc;

/// Seed of the weights that it is asked with: public, and without influence on anything secret.
const WEIGHTS: u64 = 1;
/// Tokens of the shorter of the two records.
const SHORT: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotsError {
    /// The plan's model cannot be made.
    #[error("the plan's model cannot be made")]
    Model(#[from] ModelError),
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
    /// No gradient came out.
    #[error("gradients could not be computed")]
    Work(#[from] WorkError),
}

/// Whether the gradients of two units, in the model and at the shapes of the plan, are bitwise the same alone, side by side, and with their
/// places in the batch exchanged, whichever of the workers computes them.
///
/// # Privacy
/// The exact path's sensitivity, 2^g grid steps without a probability, rests on it: a unit that comes or goes must not move another unit's
/// float vector, not even in its last bit. Where it does not hold, that path must not be taken (D17, D19).
///
/// # Errors
/// [`SlotsError`]: there is no answer then.
///
/// # Source
/// privacy.md D19.
pub fn slots_agree(plan: &Plan, mechanism: &Mechanism, workers: &Workers) -> Result<bool, SlotsError> {
    slots_agree_on((plan, None), mechanism, workers)
}

/// The same with what the plan leaves to its checkpoint, of which nothing is copied then.
///
/// # Errors
/// As [`slots_agree`].
pub fn slots_agree_on(on: (&Plan, Option<&Arc<Outside>>), mechanism: &Mechanism, workers: &Workers) -> Result<bool, SlotsError> {
    let (plan, part) = (on.0, made_up(on)?);
    let model = replicas(plan, &part, workers)?;
    let work = Work {
        objective: &model,
        table: part.table(),
        mechanism,
        max_tokens: size(plan.model.max_tokens),
        // Both in one batch.
        micro_batch: 2,
        max_records: 1,
        of_unit: plan.privacy.unit_objective,
    };
    let long = size(plan.model.max_tokens);
    let [a, b] = [(long, 0), (SHORT.min(long), 1)].map(|(length, number)| unit(plan, length, number));
    Ok(agree(work, [&a, &b], workers)?)
}

/// What the plan trains of its model, with weights from a public seed; they do for what stays in a checkpoint, too, where that is not at hand.
pub(crate) fn made_up((plan, outside): (&Plan, Option<&Arc<Outside>>)) -> Result<TransformerWeights, SlotsError> {
    let weights = match outside {
        Some(outside) => initial(&plan.model, WEIGHTS)?.beside(Arc::clone(outside)),
        None => initial(&plan.model.whole(), WEIGHTS)?,
    };
    Ok(TransformerWeights::part_of(&weights, names(&plan.shards))?)
}

/// Its model on every device of the workers, as the first step would have it.
pub(crate) fn replicas(plan: &Plan, part: &TransformerWeights, workers: &Workers) -> Result<Replicas, SlotsError> {
    Ok(Replicas::load(part, workers, plan.local.keep.unwrap_or_default())?.dropping(dropout_seed(plan, 0)))
}

/// One made-up record, with tokens all over the vocabulary.
pub(crate) fn unit(plan: &Plan, length: usize, number: u32) -> UnitExamples {
    let token = |i: u32| (i.wrapping_mul(2_654_435_761) ^ number.wrapping_mul(40_503)) % plan.model.vocab.max(1);
    let classes = u32::try_from(plan.model.classes.len()).unwrap_or(1).max(1);
    let tokens: Vec<u32> = (0u32..).take(length).map(token).collect();
    let labels = match plan.model.asks() {
        Asks::Class | Asks::NextToken => Vec::new(),
        Asks::Answer | Asks::Translate => tokens.iter().rev().copied().collect(),
        Asks::Tags => (0..).map(|i: u32| i % plan.model.choices().max(1)).take(tokens.len()).collect(),
        // All of them, which is more than any step asks for.
        Asks::MaskedTokens => tokens.clone(),
    };
    UnitExamples { records: vec![Record { tokens, class: number % classes, labels }] }
}

/// A part of one unit's gradient: where it begins, and the bits of its numbers.
type Bits = (usize, Vec<u32>);

/// Gradients of the two alone are kept; those of batches are compared as they come, so that copies of no more than two are held.
fn agree(work: Work<'_>, [a, b]: [&UnitExamples; 2], workers: &Workers) -> Result<bool, WorkError> {
    let (of_a, of_b) = workers.run(|| Ok::<_, WorkError>((alone(work, a)?, alone(work, b)?)))?;
    let mut asked = vec![(); workers.kinds()];
    let answers = workers.each(&mut asked, |_, _| -> Result<bool, WorkError> {
        Ok(same(work, [a, b], [&of_a, &of_b])? && same(work, [b, a], [&of_b, &of_a])?)
    });
    answers.into_iter().collect::<Result<Vec<bool>, WorkError>>().map(|answers| answers.into_iter().all(|same| same))
}

fn alone(work: Work<'_>, unit: &UnitExamples) -> Result<Vec<Bits>, WorkError> {
    let mut parts: Vec<Bits> = Vec::new();
    unit_gradients(work, &[unit], &mut |blocks, _| {
        parts.extend(blocks.iter().map(|b| (b.offset, bits(b).collect())));
        Ok(())
    })?;
    Ok(parts)
}

/// Whether two units in one batch have these gradients.
fn same(work: Work<'_>, units: [&UnitExamples; 2], gradients: [&[Bits]; 2]) -> Result<bool, WorkError> {
    let (mut left, mut all) = (gradients.into_iter(), true);
    unit_gradients(work, &units, &mut |blocks, _| {
        all &= left.next().is_some_and(|gradient| equal(blocks, gradient));
        Ok(())
    })?;
    Ok(all && left.next().is_none())
}

fn equal(blocks: &[Block<'_>], gradient: &[Bits]) -> bool {
    let part = |(b, (offset, kept)): (&Block<'_>, &Bits)| b.offset == *offset && bits(b).eq(kept.iter().copied());
    blocks.len() == gradient.len() && blocks.iter().zip(gradient).all(part)
}

fn bits(block: &Block<'_>) -> impl Iterator<Item = u32> {
    block.values.iter().map(|x| x.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::capture::Tape;
    use crate::device::{Engine, Matrix, Multiply};
    use crate::direct::Precision;
    use crate::model::{Objective, Transformer};
    use crate::testing::{plan, small_config};
    use candle_core::{Result, Tensor};
    use protocol::plan::Keep;
    use std::num::NonZeroUsize;

    #[test]
    fn a_unit_has_the_same_gradient_in_every_place() {
        let mut plan = plan(small_config(), 1, "1", "0.5");
        let m = Mechanism::of_plan(&plan, 100).unwrap();
        for keep in [Keep::Everything, Keep::Inputs] {
            plan.local.keep = Some(keep);
            assert!(slots_agree(&plan, &m, &alone()).unwrap(), "{keep:?}");
        }
    }

    fn alone() -> Workers {
        Workers::start(NonZeroUsize::MIN).unwrap()
    }

    /// An accelerator of another make: its results are a last bit larger.
    struct OtherMake(Engine);

    impl Multiply for OtherMake {
        fn product(&self, a: Matrix<'_>, b: Matrix<'_>) -> Result<Vec<f32>> {
            Ok(self.0.product(a, b)?.into_iter().map(|x| x * (1.0 + f32::EPSILON)).collect())
        }
        fn worth(&self) -> usize {
            self.0.worth()
        }
    }

    /// Where whole models live on the accelerator, too.
    #[test]
    fn a_unit_has_the_same_gradient_in_every_place_of_a_device() {
        let mut plan = plan(small_config(), 1, "1", "0.5");
        let m = Mechanism::of_plan(&plan, 100).unwrap();
        for (keep, precision) in [(Keep::Everything, Precision::F32), (Keep::Inputs, Precision::F32), (Keep::Everything, Precision::Bf16)] {
            plan.local.keep = Some(keep);
            let both = [(); 2].map(|()| -> Arc<dyn Multiply> { Arc::new(Engine::holding_models(precision)) });
            assert!(slots_agree(&plan, &m, &Workers::start_on(both.to_vec()).unwrap()).unwrap(), "{keep:?} {precision:?}");
        }
    }

    #[test]
    fn accelerators_of_one_kind_agree_and_one_of_another_make_is_noticed() {
        let plan = plan(small_config(), 1, "1", "0.5");
        let m = Mechanism::of_plan(&plan, 100).unwrap();
        let engine = || Engine::processor(Precision::F32);
        let agree = |all: Vec<Arc<dyn Multiply>>| slots_agree(&plan, &m, &Workers::start_on(all).unwrap()).unwrap();
        assert!(agree(vec![Arc::new(engine()), Arc::new(engine())]));
        assert!(agree(vec![Arc::new(OtherMake(engine()))]), "alone it is as good as any");
        assert!(!agree(vec![Arc::new(engine()), Arc::new(OtherMake(engine()))]));
    }

    /// An engine that rounds otherwise in the second place of a batch: by less than any tolerance of floats would show.
    struct Uneven(Transformer);

    impl Objective for Uneven {
        fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
            let losses = self.0.losses(batch, tape)?;
            let scale: Vec<f32> = (0..losses.dims1()?).map(|i| 1.0 + f32::EPSILON * i as f32).collect();
            losses.mul(&Tensor::new(scale, losses.device())?)
        }
    }

    #[test]
    fn a_place_that_shows_in_the_last_bit_is_noticed() {
        let plan = plan(small_config(), 1, "1", "0.5");
        let m = Mechanism::of_plan(&plan, 100).unwrap();
        let start = initial(&plan.model, 1).unwrap();
        let part = TransformerWeights::part_of(&start, names(&plan.shards)).unwrap();
        let (even, uneven) = (Transformer::load(&part).unwrap(), Uneven(Transformer::load(&part).unwrap()));
        let (a, b) = (unit(&plan, 7, 0), unit(&plan, 3, 1));
        let asked = |objective: &dyn Objective| {
            let work = Work {
                objective,
                table: part.table(),
                mechanism: &m,
                max_tokens: 10,
                micro_batch: 2,
                max_records: 1,
                of_unit: plan.privacy.unit_objective,
            };
            agree(work, [&a, &b], &alone()).unwrap()
        };
        assert!(asked(&even) && !asked(&uneven));
        assert_ne!(a.records[0].tokens[..3], b.records[0].tokens[..], "two units, not one twice");
    }
}
