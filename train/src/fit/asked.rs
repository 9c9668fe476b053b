//! An encoder of a plan's in one place, asked for classes, tags or hidden tokens: computed by the graph of its layers, which knows every part
//! that a plan or a checkpoint can name. Slower than the passes that are written out, and the same as in a round.

use super::judge::Judgement;
use super::order::Material;
use super::{FitError, Recipe};
use crate::batch::{Batch, Record, UNASKED};
use crate::capture::{CaptureError, Tape};
use crate::direct::Precision;
use crate::eval::{Evaluation, TagEvaluation};
use crate::kernels::softmax::log_normaliser;
use crate::mask::Masks;
use crate::model::parameters::size;
use crate::model::{Objective as _, Transformer, TransformerWeights, Weights};
use crate::workers::Workers;
use protocol::plan::{Asks, EncoderConfig};

/// Records of one pass.
const AT_ONCE: usize = 8;

/// The model, its weights those of the last step.
pub(super) struct Asked {
    model: TransformerWeights,
    plan: EncoderConfig,
}

impl Asked {
    pub(super) fn new(weights: &Weights, recipe: &Recipe) -> Result<Self, FitError> {
        let (plan, names) = (weights.config().clone(), weights.table().iter().map(|p| p.name.clone()).collect());
        let known = matches!(plan.asks(), Asks::Class | Asks::Tags | Asks::MaskedTokens) && plan.adapter.is_none();
        if !known || recipe.precision != Precision::F32 {
            return Err(FitError::Model);
        }
        let model = TransformerWeights::part_of(weights, names).map_err(|_| FitError::Model)?;
        Ok(Self { model, plan })
    }

    pub(super) fn model(&self) -> &TransformerWeights {
        &self.model
    }

    /// The model with these weights.
    pub(super) fn with(&mut self, weights: &[f32]) -> &TransformerWeights {
        self.model.flat_mut().copy_from_slice(weights);
        &self.model
    }

    /// What step `step` hides.
    pub(super) fn masks(&self, seed: u64, step: u64) -> Option<Masks> {
        Masks::of_pass(&self.plan, seed, step)
    }

    /// Judges the model with these weights on all records that have tokens.
    pub(super) fn judge(&mut self, weights: &[f32], material: &Material, workers: &Workers) -> Result<Judgement, FitError> {
        let Material::Records(records) = material else { return Err(FitError::Model) };
        let masks = Masks::of_judgement(&self.plan);
        let hidden: Vec<Record> = masks.iter().flat_map(|masks| records.iter().map(|record| masks.hide(record))).collect();
        let read = if masks.is_some() { &hidden } else { records };
        let read: Vec<&Record> = read.iter().filter(|r| !r.tokens.is_empty()).collect();
        if read.is_empty() {
            return Err(FitError::Nothing);
        }
        let (asks, choices, most) = (self.plan.asks(), size(self.plan.choices()), size(self.plan.max_tokens));
        let model = Transformer::load(self.with(weights)).map_err(CaptureError::from)?;
        let count = workers.count();
        let mut parts: Vec<Part> = (0..count).map(|_| Part::empty(asks, choices)).collect();
        let done = workers.each(&mut parts, |number, part| {
            let mut mine = read.chunks(AT_ONCE).skip(number).step_by(count);
            mine.try_for_each(|records| part.add(&model, &Batch::pack(records.iter().copied(), most)))
        });
        done.into_iter().collect::<candle_core::Result<()>>().map_err(CaptureError::from)?;
        Ok(Part::together(parts, Part::empty(asks, choices)))
    }
}

/// One worker's sums.
struct Part {
    asks: Asks,
    loss_sum: f64,
    foretold: u64,
    classes: Evaluation,
    tags: TagEvaluation,
}

impl Part {
    fn empty(asks: Asks, choices: usize) -> Self {
        Self { asks, loss_sum: 0.0, foretold: 0, classes: Evaluation::empty(choices), tags: TagEvaluation::empty(choices) }
    }

    fn add(&mut self, model: &Transformer, batch: &Batch) -> candle_core::Result<()> {
        if self.asks == Asks::MaskedTokens {
            let losses = model.losses(batch, &Tape::off())?.to_vec1::<f32>()?; // (B)
            for (labels, loss) in batch.label_spans.iter().zip(losses) {
                let asked = u32::try_from(batch.labels[labels].iter().filter(|&&label| label != UNASKED).count()).unwrap_or(u32::MAX);
                self.loss_sum += f64::from(loss) * f64::from(asked); // the loss of a record is a mean
                self.foretold += u64::from(asked);
            }
            return Ok(());
        }
        let scores = model.forward(batch, &Tape::off())?.to_vec2::<f32>()?; // (B, K) or (N, K)
        if self.asks == Asks::Tags {
            batch.spans.iter().for_each(|rows| self.tags.count(&scores[rows.clone()], &batch.labels[rows]));
        } else {
            for (row, &class) in scores.iter().zip(&batch.classes) {
                self.classes.count(size(class), row, f64::from(log_normaliser(row) - row[size(class)]));
            }
        }
        Ok(())
    }

    fn together(parts: Vec<Self>, mut total: Self) -> Judgement {
        for part in parts {
            total.loss_sum += part.loss_sum;
            total.foretold += part.foretold;
            total.classes.add(&part.classes);
            total.tags.add(&part.tags);
        }
        let Self { asks, loss_sum, foretold, classes, tags } = total;
        match asks {
            Asks::Tags => Judgement {
                loss: tags.tokens.loss(),
                foretold: tags.tokens.records,
                evaluation: Some(tags.tokens),
                parts: Some(tags.parts),
            },
            Asks::Class => Judgement { loss: classes.loss(), foretold: classes.records, evaluation: Some(classes), parts: None },
            Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                let loss = loss_sum / foretold.max(1) as f64;
                Judgement { loss, foretold, evaluation: None, parts: None }
            }
        }
    }
}

#[cfg(test)]
#[path = "asked_tests.rs"]
mod tests;
