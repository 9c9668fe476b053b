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
/// Tokens of the shorter of the two records; odd.
const SHORT: usize = 3;
/// Places of a unit behind others that are asked about, one after the other, counted in short records.
///
/// # Why these are all
/// What a product's or a kernel's last bit may depend on besides its numbers is where these begin within the widest vector of a processor, 64
/// bytes (a GPU's widest load has 16): 16 floats. Behind n short records a unit begins n · u · W floats after a tensor's first, W being the
/// numbers of a row, and u the rows that a short record has there: an odd number in every tensor ([`shorts`]). As n runs from 0 to 15, n · u
/// leaves every remainder modulo 16 once, so n · u · W leaves every one that a batch of any number of records of any lengths can leave at this W,
/// odd or even, wherever the tensor itself begins.
const PLACES: usize = 16;

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

/// Whether the gradients of two units, in the model and at the shapes of the plan, are bitwise the same alone and side by side, in every place of a
/// batch that a vector can tell from another, whichever of the workers computes them.
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
        // All in one batch.
        micro_batch: PLACES,
        max_records: 1,
        of_unit: plan.privacy.unit_objective,
    };
    let long = size(plan.model.max_tokens);
    let (short, long) = (if long < SHORT { long.min(1) } else { SHORT }, unit(plan, long, 0));
    for short in shorts(plan, short) {
        if !agree(work, [&long, &short], workers)? {
            return Ok(false);
        }
    }
    Ok(true)
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

/// Records of so many tokens, an odd number, such that in every tensor of a model one of them has an odd number of rows: of tokens, of a text with
/// its answer, of an answer with its start, of all of these together, and the product of any two, which is a head's weights of attention.
fn shorts(plan: &Plan, length: usize) -> Vec<UnitExamples> {
    let one_less = length.saturating_sub(1);
    let answers = match plan.model.asks() {
        Asks::Class | Asks::NextToken | Asks::Tags | Asks::MaskedTokens => vec![length],
        Asks::Answer => vec![one_less],
        Asks::Translate => vec![one_less, length],
    };
    answers.into_iter().map(|answer| answered(plan, (length, answer), 1)).collect()
}

/// One made-up record, with tokens all over the vocabulary.
pub(crate) fn unit(plan: &Plan, length: usize, number: u32) -> UnitExamples {
    answered(plan, (length, length), number)
}

/// The same with an answer of that length where one is learnt.
fn answered(plan: &Plan, (length, answer): (usize, usize), number: u32) -> UnitExamples {
    let token = |i: u32| (i.wrapping_mul(2_654_435_761) ^ number.wrapping_mul(40_503)) % plan.model.vocab.max(1);
    let classes = u32::try_from(plan.model.classes.len()).unwrap_or(1).max(1);
    let tokens: Vec<u32> = (0u32..).take(length).map(token).collect();
    let labels = match plan.model.asks() {
        Asks::Class | Asks::NextToken => Vec::new(),
        Asks::Answer | Asks::Translate => tokens.iter().rev().take(answer).copied().collect(),
        Asks::Tags => (0..).map(|i: u32| i % plan.model.choices().max(1)).take(tokens.len()).collect(),
        // All of them, which is more than any step asks for.
        Asks::MaskedTokens => tokens.clone(),
    };
    UnitExamples { records: vec![Record { tokens, class: number % classes, labels }] }
}

/// A part of one unit's gradient: where it begins, and the bits of its numbers.
type Bits = (usize, Vec<u32>);

/// A unit, and its gradient where it is alone.
type Known<'a> = (&'a UnitExamples, &'a [Bits]);

/// Gradients of the two alone are kept; those of batches are compared as they come, so that copies of no more than two are held.
fn agree(work: Work<'_>, [long, short]: [&UnitExamples; 2], workers: &Workers) -> Result<bool, WorkError> {
    let (of_long, of_short) = workers.run(|| Ok::<_, WorkError>((alone(work, long)?, alone(work, short)?)))?;
    let (long, short): (Known<'_>, Known<'_>) = ((long, of_long.as_slice()), (short, of_short.as_slice()));
    let mut asked = vec![(); workers.kinds()];
    let answers = workers.each(&mut asked, |_, _| everywhere(work, [long, short]));
    answers.into_iter().collect::<Result<Vec<bool>, WorkError>>().map(|answers| answers.into_iter().all(|same| same))
}

/// Both in every place, short ones in front; and the short one behind the long one.
fn everywhere(work: Work<'_>, [long, short]: [Known<'_>; 2]) -> Result<bool, WorkError> {
    for before in 0..PLACES {
        let batch: Vec<Known<'_>> = std::iter::repeat_n(short, before).chain([long]).collect();
        if !same(work, &batch)? {
            return Ok(false);
        }
    }
    same(work, &[long, short])
}

fn alone(work: Work<'_>, unit: &UnitExamples) -> Result<Vec<Bits>, WorkError> {
    let mut parts: Vec<Bits> = Vec::new();
    unit_gradients(work, &[unit], &mut |blocks, _| {
        parts.extend(blocks.iter().map(|b| (b.offset, bits(b).collect())));
        Ok(())
    })?;
    Ok(parts)
}

/// Whether the units of one batch have the gradients that they have alone.
fn same(work: Work<'_>, batch: &[Known<'_>]) -> Result<bool, WorkError> {
    let units: Vec<&UnitExamples> = batch.iter().map(|(unit, _)| *unit).collect();
    let (mut left, mut all) = (batch.iter(), true);
    unit_gradients(work, &units, &mut |blocks, _| {
        all &= left.next().is_some_and(|(_, gradient)| equal(blocks, gradient));
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
    use protocol::plan::own::OwnModel;
    use std::collections::BTreeSet;
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

    /// An engine that rounds otherwise in one place of a batch: by less than any tolerance of floats would show.
    struct Uneven(Transformer, usize);

    impl Objective for Uneven {
        fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
            let losses = self.0.losses(batch, tape)?;
            let in_place = |i: usize| if i == self.1 { 1.0 + f32::EPSILON } else { 1.0 };
            let scale: Vec<f32> = (0..losses.dims1()?).map(in_place).collect();
            losses.mul(&Tensor::new(scale, losses.device())?)
        }
    }

    #[test]
    fn a_place_that_shows_in_the_last_bit_is_noticed() {
        let plan = plan(small_config(), 1, "1", "0.5");
        let m = Mechanism::of_plan(&plan, 100).unwrap();
        let start = initial(&plan.model, 1).unwrap();
        let part = TransformerWeights::part_of(&start, names(&plan.shards)).unwrap();
        let even = Transformer::load(&part).unwrap();
        let (a, b) = (unit(&plan, 7, 0), unit(&plan, 3, 1));
        let asked = |objective: &dyn Objective| {
            let work = Work {
                objective,
                table: part.table(),
                mechanism: &m,
                max_tokens: 10,
                micro_batch: PLACES,
                max_records: 1,
                of_unit: plan.privacy.unit_objective,
            };
            agree(work, [&a, &b], &alone()).unwrap()
        };
        assert!(asked(&even));
        for place in 1..PLACES {
            assert!(!asked(&Uneven(Transformer::load(&part).unwrap(), place)), "{place}");
        }
        assert_ne!(a.records[0].tokens[..3], b.records[0].tokens[..], "two units, not one twice");
    }

    /// What makes the places all there are: every tensor has an odd number of rows of one of the short records.
    #[test]
    fn short_records_in_front_move_a_unit_to_every_place_of_a_vector() {
        for (rows, width) in (1..PLACES).step_by(2).flat_map(|rows| (1..=PLACES).map(move |width| (rows, width))) {
            let reached: BTreeSet<usize> = (0..PLACES).map(|before| before * rows * width % PLACES).collect();
            let any: BTreeSet<usize> = (0..PLACES * PLACES).map(|rows| rows * width % PLACES).collect();
            assert_eq!(reached, any, "{rows} {width}");
        }
        let mut plan = plan(small_config(), 1, "1", "0.5");
        for asks in [Asks::Class, Asks::NextToken, Asks::Tags, Asks::Answer, Asks::Translate] {
            plan.model.own = Some(OwnModel { asks, ..OwnModel::default() });
            let rows = |unit: &UnitExamples| {
                let (text, answer) = (unit.records[0].tokens.len(), unit.records[0].labels.len());
                match asks {
                    Asks::Class | Asks::NextToken | Asks::Tags | Asks::MaskedTokens => vec![text, text * text],
                    Asks::Answer => vec![text + answer, (text + answer) * (text + answer)],
                    Asks::Translate => {
                        let started = answer + 1;
                        vec![text, started, text + started, text * text, started * started, text * started]
                    }
                }
            };
            let all: Vec<Vec<usize>> = shorts(&plan, SHORT).iter().map(rows).collect();
            let odd = |tensor: usize| all.iter().any(|rows| rows[tensor] % 2 == 1);
            assert!((0..all[0].len()).all(odd), "{asks:?} {all:?}");
        }
    }
}
