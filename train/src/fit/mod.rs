//! Training in one place, without privacy: the same models, batches and optimisers as a round, for baselines and for public data. Knows
//! no clock and no file; what it learns is not private, so nothing here may be sealed or sent.
//!
//! A step is a function of (weights, optimiser state, seed, step number): `order` says which records it reads, `gradient` computes on
//! all workers, [`crate::optim`] moves the weights. `state` writes all of it down, so that a killed run goes on as if nothing had been;
//! `begin` takes the weights of an earlier run.

#[cfg(test)]
mod asked_tests;
mod begin;
#[cfg(test)]
mod begin_tests;
mod engine;
mod family;
mod gradient;
mod judge;
mod order;
mod room;
mod state;
#[cfg(test)]
mod tests;

pub use begin::{EarlierError, Taken};
pub use judge::Judgement;
pub use order::Material;
pub use state::StateError;

use crate::capture::CaptureError;
use crate::direct::{Direct, DirectError, Keep, Precision};
use crate::kernels::{sums, wide};
use crate::model::parameters::size;
use crate::model::{DecoderWeights, ParameterTable, Weights};
use crate::optim::{Look, OptimiserMismatch, OptimiserState, StepSize};
use crate::schedule::Rates;
use crate::workers::{NON_FINITE_LIMIT, Workers};
use family::Family;
use gradient::Lane;
use std::ops::Range;

/// How weights move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimiserKind {
    /// AdamW with these shares of its running means kept.
    AdamW {
        /// Of the mean, and of the mean square.
        betas: [f32; 2],
    },
    /// Momentum.
    Sgd {
        /// Share of the velocity that is kept.
        momentum: f32,
        /// Which way a step goes.
        look: Look,
    },
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Records of one step.
    pub batch: usize,
    /// Records of one pass; memory only. None: the batch is shared out evenly to the workers.
    pub micro_batch: Option<usize>,
    /// Learning rates and number of steps.
    pub rates: Rates,
    /// Weight decay per unit of learning rate, on matrices.
    pub weight_decay: f64,
    /// Longest gradient; longer ones are shortened.
    pub max_gradient_norm: Option<f64>,
    /// How weights move.
    pub optimiser: OptimiserKind,
    /// Order of the data.
    pub seed: u64,
    /// Floats of products.
    pub precision: Precision,
    /// What is kept between the passes.
    pub keep: Keep,
    /// Batches whose records are sorted by length together, so that workers have equal parts; 1 for none.
    pub bucket: usize,
    /// Share of a labelled record's tokens that a step does not read, 0 to 1: another part each time. The first token, which stands for
    /// the record, is always read.
    pub drop_tokens: f64,
    /// Share that a running mean of the weights keeps at each step, 0 to 1; what is judged and kept as the best is then that mean. 0 for
    /// none.
    pub average: f64,
}

/// Why training cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A record does not fit the model.
    #[error("the data does not fit the model")]
    Data(#[from] DirectError),
    /// State of another model.
    #[error("the optimiser's state is of another model")]
    Optimiser(#[from] OptimiserMismatch),
    /// No data, or none long enough.
    #[error("no data to train on")]
    Nothing,
    /// The model has a part that this loop cannot compute.
    #[error("the model has a part that central training does not know")]
    Model,
    /// Ten records in a row without a finite gradient (training.md M14).
    #[error("{NON_FINITE_LIMIT} records in a row had no finite gradient")]
    Diverged,
    /// The layers' graph failed, or gave no gradient.
    #[error("the layers' graph failed")]
    Capture(#[from] CaptureError),
    /// One record does not fit into the device's memory.
    #[error("the device's memory does not hold one record's pass")]
    Memory(#[source] Box<candle_core::Error>),
}

/// One step, looked back at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Number, from 0.
    pub step: u64,
    /// Mean loss of the records in nats; none if no record had a finite one.
    pub loss: Option<f64>,
    /// Rows read.
    pub tokens: usize,
    /// Learning rate.
    pub rate: f64,
    /// Length of the gradient before it was shortened.
    pub gradient_norm: f64,
    /// Records that were dropped for a loss or gradient that is not finite.
    pub non_finite: usize,
}

/// A model in training.
pub struct Fit {
    recipe: Recipe,
    family: Family,
    table: ParameterTable,
    decays: Vec<Range<usize>>,
    max_tokens: usize,
    weights: Vec<f32>,
    /// Running mean of the weights; empty where the recipe wants none.
    average: Vec<f32>,
    optimiser: OptimiserState,
    step: u64,
    /// Records without a finite gradient, up to the last record read.
    in_a_row: usize,
    lanes: Vec<Lane>,
    /// Weights as products see them, where they are rounded.
    shown: Vec<f32>,
}

impl Fit {
    /// A language model at its start.
    ///
    /// # Errors
    /// [`FitError::Model`].
    pub fn decoder(weights: &DecoderWeights, recipe: Recipe) -> Result<Self, FitError> {
        let direct = prepared(Direct::of_decoder(weights), &recipe)?;
        let family = Family::Decoder(Box::new(weights.config().clone()), direct);
        Ok(Self::new(family, (weights.table(), weights.flat()), weights.config().max_tokens, recipe))
    }

    /// A classifier at its start.
    ///
    /// # Errors
    /// [`FitError::Model`].
    pub fn encoder(weights: &Weights, recipe: Recipe) -> Result<Self, FitError> {
        let direct = prepared(Direct::of_encoder(weights), &recipe)?;
        let family = Family::Encoder(Box::new(weights.config().clone()), direct);
        Ok(Self::new(family, (weights.table(), weights.flat()), weights.config().max_tokens, recipe))
    }

    /// An encoder at its start, asked for what its plan says: from random weights or from a checkpoint of which nothing is left out. Everything
    /// is trained.
    ///
    /// # Errors
    /// [`FitError::Model`], also for other floats than those of 32 bits.
    pub fn asked(weights: &Weights, recipe: Recipe) -> Result<Self, FitError> {
        let family = Family::asked(weights, recipe.precision)?;
        Ok(Self::new(family, (weights.table(), weights.flat()), weights.config().max_tokens, recipe))
    }

    fn new(family: Family, (table, flat): (&ParameterTable, &[f32]), max_tokens: u32, recipe: Recipe) -> Self {
        let optimiser = match recipe.optimiser {
            OptimiserKind::AdamW { betas } => OptimiserState::adam_w_with(flat.len(), betas),
            OptimiserKind::Sgd { momentum, look } => OptimiserState::sgd_looking(flat.len(), momentum, look),
        };
        Self {
            family,
            decays: table.matrices(),
            table: table.clone(),
            max_tokens: size(max_tokens),
            weights: flat.to_vec(),
            average: if recipe.average > 0.0 { flat.to_vec() } else { Vec::new() },
            optimiser,
            step: 0,
            in_a_row: 0,
            lanes: Vec::new(),
            shown: Vec::new(),
            recipe,
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }
    /// Whether all steps are taken.
    pub fn is_done(&self) -> bool {
        self.step >= self.recipe.rates.total_steps
    }
    /// All weights that are judged: their running mean, where the recipe wants one.
    pub fn weights(&self) -> &[f32] {
        judged(&self.weights, &self.average)
    }
    /// Names and places of the weights.
    pub fn table(&self) -> &ParameterTable {
        &self.table
    }

    /// Takes one step.
    ///
    /// # Errors
    /// [`FitError`]; the weights are then those before the step.
    pub fn step(&mut self, material: &Material, workers: &Workers) -> Result<Step, FitError> {
        self.family.check(material)?;
        let recipe = &self.recipe;
        let items = order::batch(material, recipe, self.step, self.max_tokens)?;
        let thinned = order::thinned(&items, recipe, self.step);
        let items = order::or_copies(items, &thinned);
        let hidden = order::hidden(&items, self.family.masks(recipe.seed, self.step).as_ref());
        let items = order::or_copies(items, &hidden);
        self.lanes.resize_with(workers.count(), Lane::new);
        let graphs = self.family.graphs((&self.table, &self.weights), workers, recipe.keep)?;
        let engine = self.family.engine(&graphs, (&self.table, &self.weights), &mut self.shown);
        let job = gradient::Job { engine, items: &items, max_tokens: self.max_tokens };
        let micro = recipe.micro_batch.unwrap_or(items.len().div_ceil(workers.count()));
        let mut found = gradient::sum(&job, micro, &mut self.lanes, workers)?;
        let mut norm = sums::squares(&self.lanes[0].grad).sqrt();
        if !(norm.is_finite() && found.losses.iter().all(|l| l.is_some())) {
            let lanes = &mut self.lanes;
            found = workers.run(|| gradient::one_by_one(&job, lanes))?;
            norm = sums::squares(&self.lanes[0].grad).sqrt();
        }
        self.in_a_row = in_a_row(self.in_a_row, &found.losses)?;
        let gradient = &mut self.lanes[0].grad;
        if let Some(most) = recipe.max_gradient_norm.filter(|&most| norm > most) {
            wide(shorten, (gradient.as_mut_slice(), most / norm));
        }
        let rate = recipe.rates.at(self.step);
        let size = StepSize { rate, decay: recipe.weight_decay, decays: &self.decays };
        self.optimiser.step(&mut self.weights, gradient, &size)?;
        if !self.average.is_empty() {
            wide(blend, (self.average.as_mut_slice(), self.weights.as_slice(), kept(recipe.average, self.step)));
        }
        let (loss, non_finite) = mean(&found.losses);
        let step = Step { step: self.step, loss, tokens: found.tokens, rate, gradient_norm: norm, non_finite };
        self.step += 1;
        Ok(step)
    }
}

/// The passes that are written out, as the recipe wants them.
fn prepared(direct: Option<Direct>, recipe: &Recipe) -> Result<Box<Direct>, FitError> {
    let direct = direct.ok_or(FitError::Model)?;
    Ok(Box::new(direct.with_precision(recipe.precision).keeping(recipe.keep)))
}

#[expect(clippy::cast_possible_truncation, reason = "gradients are 32-bit floats")]
#[inline(always)]
fn shorten((gradient, by): (&mut [f32], f64)) {
    gradient.iter_mut().for_each(|g| *g *= by as f32);
}

/// The running mean of weights, or where there is none the weights themselves.
fn judged<'a>(weights: &'a [f32], average: &'a [f32]) -> &'a [f32] {
    if average.is_empty() { weights } else { average }
}

/// Share of the mean that step `step` keeps: less at first, when there is little to remember.
#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn kept(most: f64, step: u64) -> f64 {
    most.min((1 + step) as f64 / (10 + step) as f64)
}

#[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
#[inline(always)]
fn blend((mean, weights, kept): (&mut [f32], &[f32], f64)) {
    let new = (1.0 - kept) as f32;
    mean.iter_mut().zip(weights).for_each(|(m, &w)| *m += new * (w - *m));
}

/// How many records in a row had no finite gradient by the end of this batch.
fn in_a_row(before: usize, losses: &[Option<f64>]) -> Result<usize, FitError> {
    let mut run = before;
    for loss in losses {
        run = if loss.is_some() { 0 } else { run + 1 };
        if run >= NON_FINITE_LIMIT {
            return Err(FitError::Diverged);
        }
    }
    Ok(run)
}

#[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^53 records")]
fn mean(losses: &[Option<f64>]) -> (Option<f64>, usize) {
    let finite = losses.iter().flatten().count();
    ((finite > 0).then(|| losses.iter().flatten().sum::<f64>() / finite as f64), losses.len() - finite)
}
