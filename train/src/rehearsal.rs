//! A step's passes tried on made-up records: as many, as long and on as many workers as a plan would have them. What it takes in memory is
//! for the caller to watch, who also decides what to do about it (training.md M9). Knows no institution's record, no ledger and no system.

use crate::batch::UnitExamples;
use crate::clip::book_keeping;
use crate::model::parameters::size;
use crate::model::{Replicas, TransformerWeights};
use crate::slots::{SlotsError, made_up, replicas, unit};
use crate::workers::{Work, WorkError, Workers, unit_gradients};
use privacy::bound::{ClippedSum, UnitOutcome, UnitSum};
use privacy::mechanism::Mechanism;
use protocol::plan::{ClipPath, Plan};
use std::num::NonZeroU32;

/// A plan's model with made-up weights.
pub struct Rehearsal<'a> {
    plan: &'a Plan,
    mechanism: &'a Mechanism,
    part: TransformerWeights,
}

impl<'a> Rehearsal<'a> {
    /// The part of the model that the plan, as one institution sees it, has trained. What stays in a checkpoint is made up too.
    ///
    /// # Errors
    /// [`SlotsError::Model`] or the tensor engine's.
    pub fn of(plan: &'a Plan, mechanism: &'a Mechanism) -> Result<Self, SlotsError> {
        Ok(Self { plan, mechanism, part: made_up((plan, None))? })
    }

    /// One pass of every worker at the same time over `micro_batch` made-up units of the longest records, up to the clipped sum. Whether all
    /// gradients were finite.
    ///
    /// # Errors
    /// [`SlotsError::Work`].
    pub fn pass(&self, micro_batch: NonZeroU32, workers: &Workers) -> Result<bool, SlotsError> {
        let model = replicas(self.plan, &self.part, workers)?;
        let mut states = vec![(); workers.count()];
        let done = workers.each(&mut states, |_, _| self.on_one(&model, size(micro_batch.get())));
        Ok(done.into_iter().collect::<Result<Vec<bool>, WorkError>>()?.into_iter().all(|finite| finite))
    }

    fn on_one(&self, model: &Replicas, micro_batch: usize) -> Result<bool, WorkError> {
        let (max_tokens, max_records) = (size(self.plan.model.max_tokens), size(self.plan.privacy.max_records_per_unit));
        let (one, of_unit) = (unit(self.plan, max_tokens, 0), self.plan.privacy.unit_objective);
        let work =
            Work { objective: model, table: self.part.table(), mechanism: self.mechanism, max_tokens, micro_batch, max_records, of_unit };
        match self.mechanism.executed().clip_path() {
            // So many records are read at once, whosever they are.
            ClipPath::Exact => {
                let (mut sum, mut finite) = (UnitSum::new(self.mechanism), true);
                unit_gradients(work, &vec![&one; micro_batch], &mut |blocks, _| {
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

#[cfg(test)]
mod tests {
    use super::*;
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
            let rehearsal = Rehearsal::of(&plan, &mechanism).unwrap();
            for micro_batch in [1, 3] {
                assert!(rehearsal.pass(NonZeroU32::new(micro_batch).unwrap(), &workers).unwrap(), "{path:?} {keep:?} {micro_batch}");
            }
        }
    }
}
