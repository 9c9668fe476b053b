//! Whole models where a worker's models live, with the processor as that place: what runs on a GPU, run where there is none. And a memory that
//! is too small, made up.

use crate::batch::{Batch, UnitExamples};
use crate::capture::Tape;
use crate::clip::book_keeping;
use crate::device::memory::testing::no_room;
use crate::device::{Engine, Multiply};
use crate::direct::Precision;
use crate::model::config::Choices;
use crate::model::{Config, Objective, Transformer, TransformerWeights, initial};
use crate::ops::way_tests::elsewhere;
use crate::shard::names;
use crate::testing::{data, families, moved, plan, record, small_config};
use crate::workers::{Work, WorkError, Workers, unit_gradients};
use candle_core::{Result, Tensor};
use privacy::bound::ClippedSum;
use privacy::mechanism::Mechanism;
use protocol::plan::{Accumulate, ClipPath, Keep, Plan, Rounding, UnitObjective};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// In every family and part, with dropout, and with blocks that are computed again.
#[test]
fn every_model_has_the_same_losses_and_gradients_on_a_device() {
    for (name, config) in families() {
        let weights = moved(&Config::new(Choices { dropout: 0.2, ..config.choices().clone() }).unwrap());
        let batch = Batch::pack(&[7, 2, 11, 7, 7, 1].map(|n| record(&config, n)), 12);
        for (seed, keep) in [(None, Keep::Everything), (Some(5), Keep::Everything), (Some(5), Keep::Inputs)] {
            let compute = || weights.gradient_keeping(&batch, seed, keep).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            let ((losses, gradient), (there, other)) = (compute(), elsewhere(Precision::F32, compute));
            let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs() / (1.0 + a.abs())).fold(0.0, f32::max);
            assert!(apart(&losses, &there) < 1e-4, "{name}: {losses:?} {there:?}");
            for p in weights.table().iter() {
                let apart = apart(&gradient[p.range()], &other[p.range()]);
                assert!(apart < 1e-3, "{name} {keep:?}: {}: {apart}", p.name);
            }
        }
    }
}

/// M11: with factors of 8 bits a loss is off by little, and weights stay as they are.
#[test]
fn with_rounded_factors_models_stay_close() {
    for (name, config) in families() {
        let (weights, batch) = (moved(&config), Batch::pack(&[7, 2, 11].map(|n| record(&config, n)), 12));
        let compute = || weights.gradient(&batch, None).unwrap();
        let ((losses, gradient), (rounded, other)) = (compute(), elsewhere(Precision::Bf16, compute));
        let off = losses.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.3 && other.iter().all(|g| g.is_finite()), "{name}: {off}");
        assert_ne!((losses, gradient), (rounded, other), "{name}: nothing was rounded");
    }
}

/// A model on a device that has room for so many records.
pub(crate) struct Small {
    model: Transformer,
    room: usize,
    passes: AtomicUsize,
}

impl Small {
    pub(crate) fn new(part: &TransformerWeights, room: usize) -> Self {
        Self { model: Transformer::load(part).unwrap(), room, passes: AtomicUsize::new(0) }
    }
}

impl Objective for Small {
    fn losses(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        if batch.spans.records() > self.room { Err(no_room()) } else { self.model.losses(batch, tape) }
    }
}

struct World {
    plan: Plan,
    mechanism: Mechanism,
    part: TransformerWeights,
}

impl World {
    fn new(path: ClipPath) -> Self {
        let mut plan = plan(small_config(), 1, "1", "0.5");
        plan.privacy.path = path;
        let part = TransformerWeights::part_of(&initial(&plan.model, 1).unwrap(), names(&plan.shards)).unwrap();
        Self { mechanism: Mechanism::of_plan(&plan, 100).unwrap(), plan, part }
    }

    fn with_room(&self, room: usize) -> Small {
        Small::new(&self.part, room)
    }

    fn work<'a>(&'a self, objective: &'a dyn Objective) -> Work<'a> {
        Work {
            objective,
            table: self.part.table(),
            mechanism: &self.mechanism,
            max_tokens: 10,
            micro_batch: 8,
            max_records: crate::model::parameters::size(self.plan.privacy.max_records_per_unit),
            of_unit: UnitObjective::Mean,
        }
    }

    fn gradients(&self, small: &Small, units: &[&UnitExamples]) -> std::result::Result<Vec<Vec<f32>>, WorkError> {
        let mut out = Vec::new();
        unit_gradients(self.work(small), units, &mut |blocks, _| {
            out.push(blocks.iter().flat_map(|b| b.values.iter().copied()).collect());
            Ok(())
        })?;
        Ok(out)
    }
}

/// M9: found by trial, and no bit of any unit's gradient changes.
#[test]
fn a_pass_without_room_is_tried_again_with_half_as_many_records() {
    let (world, data) = (World::new(ClipPath::Exact), data(12));
    let units: Vec<&UnitExamples> = data.units.iter().collect();
    let whole = world.gradients(&world.with_room(usize::MAX), &units).unwrap();
    for room in [5, 3, 1] {
        assert_eq!(world.gradients(&world.with_room(room), &units).unwrap(), whole, "{room}");
    }
    let none = world.with_room(0);
    assert!(matches!(world.gradients(&none, &units), Err(WorkError::Memory(_))));
    assert_eq!(none.passes.load(Ordering::Relaxed), 4, "8, 4, 2 and 1 records were tried");
}

/// A device that holds models remembers what fitted.
#[test]
fn what_did_not_fit_is_not_tried_again() {
    let (world, data) = (World::new(ClipPath::Exact), data(12));
    let units: Vec<&UnitExamples> = data.units.iter().collect();
    let small = world.with_room(2);
    elsewhere(Precision::F32, || {
        world.gradients(&small, &units).unwrap();
        let first = small.passes.swap(0, Ordering::Relaxed);
        world.gradients(&small, &units).unwrap();
        assert_eq!(first, small.passes.load(Ordering::Relaxed) + 2, "8 and 4 did not fit");
    });
}

/// D19: what is executed under Book-Keeping is registered with its micro-batch. How many records were in it is nobody's affair (D12).
#[test]
fn under_book_keeping_a_pass_without_room_is_an_error_with_a_name() {
    let world = World::new(ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered });
    let data = data(3);
    let units: Vec<&UnitExamples> = data.units.iter().collect();
    let (small, mut sum) = (world.with_room(1), ClippedSum::new(&world.mechanism).unwrap());
    let Err(error) = book_keeping::add(world.work(&small), &units, &mut sum) else { panic!("a pass without room") };
    assert!(matches!(error, WorkError::Memory(_)));
    assert!(!error.to_string().contains(|c: char| c.is_ascii_digit()), "{error}");
}

/// M15: one worker for each device, each with a model of its own.
#[test]
fn workers_know_where_their_models_live() {
    let holding = || -> Arc<dyn Multiply> { Arc::new(Engine::holding_models(Precision::F32)) };
    let sent = || -> Arc<dyn Multiply> { Arc::new(Engine::processor(Precision::F32)) };
    let sites = |all: Vec<Arc<dyn Multiply>>| Workers::start_on(all).unwrap().sites().len();
    assert_eq!((sites(vec![holding(), holding()]), sites(vec![sent(), sent()]), sites(Vec::new())), (2, 0, 0));
}
