//! A step's passes tried on made-up records: as many, as long and on as many workers as a plan would have them. What it takes in memory is
//! for the caller to watch, who also decides what to do about it (training.md M9). Knows no institution's record, no ledger and no system.

use crate::batch::UnitExamples;
use crate::clip::book_keeping;
use crate::device::is_out_of_memory;
use crate::model::parameters::size;
use crate::model::{Objective, Outside, TransformerWeights};
use crate::slots::{SlotsError, made_up, replicas, unit};
use crate::workers::{Work, WorkError, Workers, unit_gradients_as_planned};
use privacy::bound::{ClippedSum, UnitOutcome, UnitSum};
use privacy::mechanism::Mechanism;
use protocol::plan::{ClipPath, Plan};
use std::num::NonZeroU32;
use std::sync::Arc;

/// What became of a pass that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It was made as it was asked for.
    Passed,
    /// It was made, and a made-up unit had no finite gradient.
    NotFinite,
    /// The memory of a worker's device did not hold it. None that is smaller was made in its place.
    NoRoom,
}

/// A plan's model with made-up weights.
pub struct Rehearsal<'a> {
    plan: &'a Plan,
    mechanism: &'a Mechanism,
    part: TransformerWeights,
}

impl<'a> Rehearsal<'a> {
    /// The part of the model that the plan, as one institution sees it, has trained. What the plan leaves to its checkpoint is held as rounds
    /// hold it, if it is given; else it is made up too, in memory as a whole.
    ///
    /// # Errors
    /// [`SlotsError::Model`] or the tensor engine's.
    pub fn of((plan, outside): (&'a Plan, Option<&Arc<Outside>>), mechanism: &'a Mechanism) -> Result<Self, SlotsError> {
        Ok(Self { plan, mechanism, part: made_up((plan, outside))? })
    }

    /// One pass of every worker at the same time over `micro_batch` made-up units of the longest records, up to the clipped sum.
    ///
    /// # Errors
    /// [`SlotsError`]; a memory that is too small is none.
    pub fn pass(&self, micro_batch: NonZeroU32, workers: &Workers) -> Result<Tried, SlotsError> {
        tried(self.on_all(size(micro_batch.get()), workers))
    }

    fn on_all(&self, micro_batch: usize, workers: &Workers) -> Result<bool, SlotsError> {
        let model = replicas(self.plan, &self.part, workers)?;
        let mut states = vec![(); workers.count()];
        let done = workers.each(&mut states, |_, _| self.on_one(&model, micro_batch));
        Ok(done.into_iter().collect::<Result<Vec<bool>, WorkError>>()?.into_iter().all(|finite| finite))
    }

    /// Whether all gradients were finite.
    fn on_one(&self, model: &dyn Objective, micro_batch: usize) -> Result<bool, WorkError> {
        let (max_tokens, max_records) = (size(self.plan.model.max_tokens), size(self.plan.privacy.max_records_per_unit));
        let (one, of_unit) = (unit(self.plan, max_tokens, 0), self.plan.privacy.unit_objective);
        let work =
            Work { objective: model, table: self.part.table(), mechanism: self.mechanism, max_tokens, micro_batch, max_records, of_unit };
        match self.mechanism.executed().clip_path() {
            // So many records are read at once, whosever they are.
            ClipPath::Exact => {
                let (mut sum, mut finite) = (UnitSum::new(self.mechanism), true);
                unit_gradients_as_planned(work, &vec![&one; micro_batch], &mut |blocks, _| {
                    finite &= sum.add_unit(blocks) == UnitOutcome::Added;
                    Ok(())
                })?;
                Ok(finite)
            }
            // So many units are read at once, with all their records.
            ClipPath::BookKeeping { .. } => {
                let records = one.records.iter().cycle().take(max_records).cloned().collect();
                let (full, mut sum) = (UnitExamples { records }, ClippedSum::new(self.mechanism)?);
                let taken = book_keeping::add(work, &vec![&full; micro_batch], &mut sum)?;
                Ok(taken.outcomes.iter().all(|&outcome| outcome == UnitOutcome::Added))
            }
        }
    }
}

/// A device without room for a pass, or for the model itself, is an answer.
fn tried(finite: Result<bool, SlotsError>) -> Result<Tried, SlotsError> {
    match finite {
        Ok(true) => Ok(Tried::Passed),
        Ok(false) => Ok(Tried::NotFinite),
        Err(SlotsError::Engine(e)) if is_out_of_memory(&e) => Ok(Tried::NoRoom),
        Err(SlotsError::Work(e)) => {
            let e = e.of_smallest_pass();
            if matches!(e, WorkError::Memory(_)) { Ok(Tried::NoRoom) } else { Err(e.into()) }
        }
        Err(e @ (SlotsError::Engine(_) | SlotsError::Model(_))) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::testing::no_room;
    use crate::site_tests::Small;
    use crate::testing::{plan, small_config};
    use protocol::plan::{Accumulate, Keep, Rounding};
    use std::num::NonZeroUsize;

    #[test]
    fn passes_of_every_size_and_path_can_be_tried() {
        let mut plan = plan(small_config(), 1, "1", "0.5");
        let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let book_keeping = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered };
        for (path, keep) in [(ClipPath::Exact, Keep::Everything), (ClipPath::Exact, Keep::Inputs), (book_keeping, Keep::Everything)] {
            (plan.privacy.path, plan.local.keep) = (path, Some(keep));
            let mechanism = Mechanism::of_plan(&plan, 100).unwrap();
            let rehearsal = Rehearsal::of((&plan, None), &mechanism).unwrap();
            for micro_batch in [1, 3] {
                let found = rehearsal.pass(NonZeroU32::new(micro_batch).unwrap(), &workers).unwrap();
                assert_eq!(found, Tried::Passed, "{path:?} {keep:?} {micro_batch}");
            }
        }
    }

    /// A step would go on with half as many on the exact path: a trial of so many did not succeed by that.
    #[test]
    fn a_device_without_room_for_what_was_asked_for_is_no_success() {
        let mut plan = plan(small_config(), 1, "1", "0.5");
        for path in [ClipPath::Exact, ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered }] {
            plan.privacy.path = path;
            let mechanism = Mechanism::of_plan(&plan, 100).unwrap();
            let rehearsal = Rehearsal::of((&plan, None), &mechanism).unwrap();
            let records = match path {
                ClipPath::Exact => 1,
                ClipPath::BookKeeping { .. } => size(plan.privacy.max_records_per_unit),
            };
            let small = Small::new(&rehearsal.part, 3 * records);
            let found = [1, 3, 4, 8].map(|units| tried(rehearsal.on_one(&small, units).map_err(SlotsError::from)).unwrap());
            assert_eq!(found, [Tried::Passed, Tried::Passed, Tried::NoRoom, Tried::NoRoom], "{path:?}");
        }
        assert_eq!(tried(Err(SlotsError::Engine(no_room()))).unwrap(), Tried::NoRoom, "the model itself");
        assert!(tried(Err(SlotsError::Engine(candle_core::Error::Msg("another".into())))).is_err());
    }
}
