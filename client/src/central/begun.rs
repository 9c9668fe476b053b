//! A run that begins with an earlier run's weights. What the earlier one was is the institution's to know: only its bytes are looked at.

use super::Loaded;
use super::asked::Begins;
use super::plan::{CentralPlan, Task};
use super::run::MAX_STATE;
use crate::files::{self, Item, StoreError};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use std::path::Path;
use train::fit::{EarlierError, Taken};

/// Why a run does not begin there. The institution's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FromError {
    /// The file.
    #[error("the earlier run's weights could not be read")]
    Store(#[from] StoreError),
    /// What is in it.
    #[error("the run cannot begin from these weights")]
    Earlier(#[from] EarlierError),
    /// A table of one text's characters says nothing of another text's.
    #[error("a model over characters numbers those of its own text and cannot begin from another run: --from is for encoders")]
    Characters,
    /// Two things to begin from.
    #[error(
        "the plan's model begins from a published checkpoint, and no run begins from two things: a checkpoint that an earlier run has trained is the directory `best` beside its state, and is named by `base` and --base"
    )]
    Checkpoint,
}

/// What a run began from.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// Of the earlier run's file.
    pub(crate) digest: Sha256,
    /// What was taken of it.
    pub(crate) taken: Taken,
}

impl Loaded {
    /// Puts the weights of an earlier run's best snapshot, or of its state, in the place of those from the seed.
    ///
    /// # Errors
    /// [`FromError`]; nothing is changed then.
    pub(crate) fn begin_from(&mut self, plan: &CentralPlan, path: &Path) -> Result<(), FromError> {
        match &plan.task {
            Task::Characters(_) => return Err(FromError::Characters),
            Task::Asked { begins: Begins::Checkpoint { .. }, .. } => return Err(FromError::Checkpoint),
            Task::Classes { .. } | Task::Asked { begins: Begins::Random(_), .. } => {}
        }
        let bytes = files::read(path, MAX_STATE, Item::TrainingState)?;
        let taken = self.fit.begin_from(&bytes)?;
        self.begun = Some(Begun { digest: Sha256(sha256(&[&bytes])), taken });
        Ok(())
    }
}

#[cfg(test)]
#[path = "begun_tests.rs"]
mod tests;
