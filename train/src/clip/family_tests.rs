//! Per-unit clipping of every family and part against a second program: one record at a time, in 64 bits, by the engine's own differentiation
//! of stock operations (privacy.md D33, D42).

use super::layer_tests::mechanism;
use super::whole::Whole;
use super::{book_keeping, norms};
use crate::batch::UnitExamples;
use crate::device::{Engine, Multiply, Site, with_site};
use crate::direct::Precision;
use crate::model::{Config, Transformer, TransformerWeights};
use crate::testing::{families, moved, record};
use crate::workers::{Work, Workers, unit_gradients};
use privacy::bound::{ClippedSum, UnitOutcome};
use privacy::mechanism::{Accumulate, Mechanism};
use protocol::plan::{Keep, UnitObjective};
use std::sync::Arc;

/// Units with one, several and no records of one to eleven tokens; the same tokens occur again and again.
fn units(config: &Config) -> Vec<UnitExamples> {
    let unit = |lengths: &[usize]| UnitExamples { records: lengths.iter().map(|&n| record(config, n)).collect() };
    vec![unit(&[11]), unit(&[3, 8, 5]), unit(&[]), unit(&[1]), unit(&[2, 1, 11, 7]), unit(&[6])]
}

struct World {
    name: &'static str,
    weights: TransformerWeights,
    model: Transformer,
    mechanism: Mechanism,
    units: Vec<UnitExamples>,
    of_unit: UnitObjective,
}

impl World {
    fn all(accumulate: Accumulate) -> Vec<Self> {
        let world = |(name, config): (&'static str, Config)| {
            let weights = moved(&config);
            let (model, mechanism) = (Transformer::load(&weights).unwrap(), mechanism(weights.flat().len(), accumulate));
            Self { name, weights, model, mechanism, units: units(&config), of_unit: UnitObjective::Mean }
        };
        families().into_iter().map(world).collect()
    }
    /// The same worlds three times: with everything kept between the passes, with blocks computed again, and with units that are asked for the
    /// sum of their records.
    fn ways(accumulate: Accumulate) -> impl Iterator<Item = Self> {
        let again = |world: Self| Self { model: world.model.keeping(Keep::Inputs), ..world };
        let summed = |world: Self| Self { of_unit: UnitObjective::Sum, ..world };
        let all = || Self::all(accumulate).into_iter();
        all().chain(all().map(again)).chain(all().map(summed))
    }
    fn work(&self) -> Work<'_> {
        let (objective, table, mechanism) = (&self.model, self.weights.table(), &self.mechanism);
        Work { objective, table, mechanism, max_tokens: 12, micro_batch: 3, max_records: 4, of_unit: self.of_unit }
    }
    fn refs(&self) -> Vec<&UnitExamples> {
        self.units.iter().collect()
    }
    /// Mean or sum of its records' gradients, each computed alone, by a program that shares no operation with the model.
    fn oracle(&self, unit: &UnitExamples) -> Vec<f64> {
        let mean = Whole::new(&self.weights).gradient(&unit.records);
        match self.of_unit {
            UnitObjective::Mean => mean,
            UnitObjective::Sum => mean.into_iter().map(|g| g * unit.records.len() as f64).collect(),
        }
    }
    /// Asserts that a flat gradient agrees in every tensor: to 1e-4 of the tensor's length, or to a millionth of the whole where a tensor's
    /// gradient all but cancels. A shift of all keys, for one, moves no score.
    fn agree(&self, ours: impl Fn(usize) -> f64, theirs: &[f64]) {
        let whole = length(theirs);
        for p in self.weights.table().iter() {
            let difference: Vec<f64> = p.range().map(|i| ours(i) - theirs[i]).collect();
            let (difference, size) = (length(&difference), length(&theirs[p.range()]));
            assert!(difference <= 1e-4 * size + 1e-6 * whole, "{}: {}: {difference} of {size}, {whole} in all", self.name, p.name);
        }
    }
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// No tensor is out of the oracle's sight, so that what agrees with it is not nothing.
#[test]
fn the_oracle_has_a_gradient_for_every_trained_tensor_of_every_family() {
    for world in World::all(Accumulate::F32) {
        let all: Vec<Vec<f64>> = world.units.iter().map(|unit| world.oracle(unit)).collect();
        for p in world.weights.table().iter() {
            let still = p.name.ends_with("key.bias") || p.name.ends_with("k_proj.bias");
            let seen = all.iter().any(|g| g[p.range()].iter().any(|&g| g != 0.0));
            assert!(still || seen, "{}: {} has no gradient", world.name, p.name);
        }
    }
}

fn exact_agrees(world: &World) {
    let mut ours = Vec::new();
    unit_gradients(world.work(), &world.refs(), &mut |blocks, _| {
        let mut flat = vec![0.0f32; world.weights.flat().len()];
        blocks.iter().for_each(|b| flat[b.offset..b.offset + b.values.len()].copy_from_slice(b.values));
        ours.push(flat);
        Ok(())
    })
    .unwrap();
    for (unit, ours) in world.units.iter().zip(&ours) {
        world.agree(|i| f64::from(ours[i]), &world.oracle(unit));
    }
}

fn book_keeping_agrees(world: &World) {
    let passed = book_keeping::pass(world.work(), &world.refs()).unwrap();
    let squares = norms::squares(&passed.captures.unwrap(), &passed.units).unwrap();
    let mut sum = ClippedSum::new(&world.mechanism).unwrap();
    let mut theirs = vec![0.0; world.weights.flat().len()];
    for (unit, square) in world.units.iter().zip(squares) {
        let oracle = world.oracle(unit);
        let (length, name) = (length(&oracle), world.name);
        assert!((square.square.sqrt() - length).abs() <= 1e-4 * length + 1e-9, "{name}: {square:?} against {length}");
        // Below the norm of what was captured it never is; that is of 32-bit numbers, and the oracle's is not.
        assert!(square.upper().sqrt() >= length * (1.0 - 1e-5), "{name}: {square:?} below {length}");
        let factor = sum.factor(square.upper());
        theirs.iter_mut().zip(oracle).for_each(|(sum, g)| *sum += factor * g);
    }
    let outcomes = book_keeping::add(world.work(), &world.refs(), &mut sum).unwrap().outcomes;
    world.agree(|i| sum.for_test()[i], &theirs);
    assert!(outcomes.iter().all(|&o| o == UnitOutcome::Added));
}

#[test]
fn exact_unit_gradients_of_every_family_agree_with_the_oracle() {
    World::ways(Accumulate::F32).for_each(|world| exact_agrees(&world));
}

/// B10: a part that is trained but missing in the norm would show here: a tied head, a table of distances, a shared table of two stacks.
#[test]
fn norms_and_clipped_sums_of_every_family_agree_with_the_oracle() {
    for accumulate in [Accumulate::F32, Accumulate::F64] {
        World::ways(accumulate).for_each(|world| book_keeping_agrees(&world));
    }
}

/// A decoder that is asked for answers reads a text and its answer in one sequence, shortened together; the text is not asked for.
#[test]
fn clipping_of_answers_agrees_with_the_oracle() {
    for mut world in World::ways(Accumulate::F64).filter(|w| ["gpt2", "llama"].contains(&w.name)) {
        for (n, record) in world.units.iter_mut().flat_map(|u| &mut u.records).enumerate() {
            record.labels = (0..n % 4 + 1).map(|i| u32::try_from((3 * n + 5 * i) % 20).unwrap()).collect();
        }
        exact_agrees(&world);
        book_keeping_agrees(&world);
    }
}

fn alone_as_among_others(world: &World) {
    let run = |units: &[&UnitExamples], micro_batch| {
        let mut all = Vec::new();
        unit_gradients(Work { micro_batch, ..world.work() }, units, &mut |blocks, _| {
            all.push(blocks.iter().map(|b| (b.offset, b.values.to_vec())).collect::<Vec<_>>());
            Ok(())
        })
        .unwrap();
        all
    };
    let alone: Vec<_> = world.units.iter().flat_map(|u| run(&[u], 1)).collect();
    for micro_batch in [2, 64] {
        assert_eq!(run(&world.refs(), micro_batch), alone, "{}", world.name);
    }
}

/// D19: whatever else is in the batch, a unit's vector is bitwise the same.
#[test]
fn a_units_vector_does_not_depend_on_the_others_in_any_family() {
    World::ways(Accumulate::F32).for_each(|world| alone_as_among_others(&world));
}

/// The same where models live on a device: there operations are composed of the engine's own, which know nothing of records.
#[test]
fn a_units_vector_does_not_depend_on_the_others_on_a_device_in_any_family() {
    let device: Arc<dyn Multiply> = Arc::new(Engine::holding_models(Precision::F32));
    Workers::start_on(vec![device]).unwrap().run(|| {
        for world in World::all(Accumulate::F32) {
            let there = |site: Option<&Site>| Transformer::load_at(&world.weights, site.unwrap()).unwrap();
            let model = with_site(there);
            alone_as_among_others(&World { model, ..world });
        }
    });
}
