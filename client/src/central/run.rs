//! The run: steps, judgements in between, the best snapshot, and a state on disk from which a killed run goes on.

use super::Loaded;
use super::plan::CentralPlan;
use crate::files::{self, Item, StoreError};
use crate::machine::{self, MachineError};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;
use train::device::Wanted;
use train::fit::{FitError, Judgement, StateError, Step};
use train::hf::base::BaseError;
use train::hf::export::export;
use train::model::{ModelError, Weights};
use train::snapshot::{self, SnapshotError};
use train::workers::Workers;

/// Longest state: three vectors of the largest model and their names.
pub(super) const MAX_STATE: usize = 13 << 30;
/// Name of the state in its directory.
const STATE: &str = "state.safetensors";
/// Name of the best snapshot.
const BEST: &str = "best.safetensors";
/// Directory of the best model as other programs load it, where it began from a checkpoint.
const PUBLISHED: &str = "best";

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A step.
    #[error("training failed")]
    Fit(#[from] FitError),
    /// The disk.
    #[error("the state could not be kept")]
    Store(#[from] StoreError),
    /// The state that is there.
    #[error("the state that is there cannot be used")]
    State(#[from] StateError),
    /// A snapshot that cannot be written.
    #[error("the best snapshot could not be written")]
    Snapshot(#[from] SnapshotError),
    /// The best model as a checkpoint.
    #[error("the best model could not be written as a checkpoint")]
    Export(#[source] Box<BaseError>),
    /// A checkpoint of a model that is none.
    #[error("the best model is none")]
    Model(#[from] ModelError),
    /// Nothing to train with.
    #[error("there is nothing to train with")]
    Machine(#[from] MachineError),
}

/// What happens, as it happens. For the institution's own terminal.
pub(crate) enum Event<'a> {
    /// What it computes on, in words.
    Started { on: &'a str },
    /// A state was found.
    Resumed { step: u64 },
    /// A step, with rows per second of this run so far and seconds left.
    Step { step: Step, tokens_per_s: f64, left_s: f64 },
    /// A judgement after so many steps.
    Judged { steps: u64, judgement: &'a Judgement, best: bool },
}

/// How it ended.
pub(crate) struct Outcome {
    pub(crate) last: Judgement,
    /// None if the best one was before a restart and is not known any more.
    pub(crate) best: Option<Judgement>,
    pub(crate) steps: u64,
    /// Rows that this process read.
    pub(crate) tokens: u64,
    pub(crate) seconds: f64,
    pub(crate) parameters: usize,
    pub(crate) non_finite: usize,
}

/// Lower is better: the loss of a model of tokens, what the macro-F1 of a classifier or tagger lacks to 1.
fn badness(judgement: &Judgement) -> f64 {
    judgement.evaluation.as_ref().map_or(judgement.loss, |e| 1.0 - e.macro_f1())
}

/// One run and its files.
struct Running<'a> {
    loaded: Loaded,
    workers: Workers,
    /// Plan, data and what it began from, as the state names them.
    name: String,
    dir: Option<&'a Path>,
    best: Option<Judgement>,
    /// Of the best judgement so far, also before a restart.
    badness: f64,
}

/// What a run uses of the machine.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) device: Wanted,
    /// Where the processor computes.
    pub(crate) threads: NonZeroUsize,
    /// Keeps state and best snapshot; what stands there is gone on from.
    pub(crate) dir: Option<&'a Path>,
}

/// Trains to the plan's last step.
pub(crate) fn run(
    plan: &CentralPlan,
    plan_text: &str,
    loaded: Loaded,
    means: Means<'_>,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, RunError> {
    let Means { device, threads, dir } = means;
    let machine::Started { workers, on } = machine::start(device, plan.recipe.precision, threads)?;
    report(Event::Started { on: &on });
    let mut named = Vec::from([b"concordat/client/central".as_slice(), plan_text.as_bytes(), loaded.data_digest.0.as_slice()]);
    // A run goes on only from where it began.
    named.extend(loaded.begun.iter().flat_map(|begun| [b"from".as_slice(), begun.digest.0.as_slice()]));
    let name = Sha256(sha256(&named)).to_hex();
    let mut running = Running { loaded, workers, name, dir, best: None, badness: f64::INFINITY };
    running.resume(report)?;
    let (started, mut tokens, mut non_finite, mut taken) = (Instant::now(), 0u64, 0, 0u32);
    let mut last = None;
    while !running.loaded.fit.is_done() {
        let step = running.loaded.fit.step(&running.loaded.train, &running.workers)?;
        (taken, non_finite) = (taken.saturating_add(1), non_finite + step.non_finite);
        tokens = tokens.saturating_add(u64::try_from(step.tokens).unwrap_or(u64::MAX));
        let seconds = started.elapsed().as_secs_f64().max(1e-9);
        let left = plan.recipe.rates.total_steps.saturating_sub(running.loaded.fit.steps());
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        report(Event::Step { step, tokens_per_s: tokens as f64 / seconds, left_s: left as f64 * seconds / f64::from(taken) });
        if running.loaded.fit.steps().is_multiple_of(plan.evaluate_every) || running.loaded.fit.is_done() {
            last = Some(running.judge(report)?);
        }
    }
    let last = match last {
        Some(last) => last,
        None => running.judge(report)?, // the state was that of a finished run
    };
    Ok(Outcome {
        last,
        best: running.best,
        steps: running.loaded.fit.steps(),
        tokens,
        seconds: started.elapsed().as_secs_f64(),
        parameters: running.loaded.fit.weights().len(),
        non_finite,
    })
}

impl Running<'_> {
    fn resume(&mut self, report: &mut dyn FnMut(Event<'_>)) -> Result<(), RunError> {
        let Some(dir) = self.dir else { return Ok(()) };
        files::make_dir(dir, Item::TrainingState)?;
        let Some(bytes) = files::read_if_there(&dir.join(STATE), MAX_STATE, Item::TrainingState)? else { return Ok(()) };
        self.badness = self.loaded.fit.resume(&bytes, &self.name)?.unwrap_or(f64::INFINITY);
        report(Event::Resumed { step: self.loaded.fit.steps() });
        Ok(())
    }

    /// Judges, keeps the snapshot if it is the best so far, then the state: a state never names a best that is not there.
    fn judge(&mut self, report: &mut dyn FnMut(Event<'_>)) -> Result<Judgement, RunError> {
        let judgement = self.loaded.fit.judge(&self.loaded.held_out, &self.workers)?;
        let best = badness(&judgement) < self.badness;
        if best {
            self.badness = badness(&judgement);
            self.best = Some(judgement.clone());
        }
        if let Some(dir) = self.dir {
            if best {
                let bytes = snapshot::tensors_to_bytes(self.loaded.fit.table(), self.loaded.fit.weights())?;
                files::replace_secret(&dir.join(BEST), &bytes, Item::TrainingState)?;
                self.publish(dir)?;
            }
            let state = self.loaded.fit.to_bytes(&self.name, Some(self.badness).filter(|b| b.is_finite()))?;
            files::replace_secret(&dir.join(STATE), &state, Item::TrainingState)?;
        }
        let steps = self.loaded.fit.steps();
        report(Event::Judged { steps, judgement: &judgement, best });
        Ok(judgement)
    }
}

impl Running<'_> {
    /// Writes the model that is judged as other programs load it: its numbers stand under their published names.
    fn publish(&self, dir: &Path) -> Result<(), RunError> {
        let Some((base, model)) = &self.loaded.publishes else { return Ok(()) };
        let out = dir.join(PUBLISHED);
        files::make_private_dir(&out, Item::TrainingState)?;
        let weights = Weights::new(model, self.loaded.fit.weights().to_vec())?;
        // There is no adapter in such a model, and so no directory for one.
        export(base, &weights, &out, || Ok(out.clone())).map_err(|e| RunError::Export(Box::new(e)))?;
        Ok(())
    }
}
