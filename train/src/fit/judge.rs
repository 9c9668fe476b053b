//! How good the model is on what it does not learn from.

use super::order::{Item, Material, reading};
use super::{Fit, FitError};
use crate::eval::Evaluation;
use crate::model::parameters::size;
use crate::workers::Workers;

/// Records of one pass.
const AT_ONCE: usize = 16;

/// The result on held-out data.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Judgement {
    /// Mean loss in nats: of each token of a text, or of each record.
    pub loss: f64,
    /// Tokens or records foretold.
    pub foretold: u64,
    /// Of labelled records only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
}

/// One worker's sums.
struct Part {
    loss_sum: f64,
    foretold: u64,
    evaluation: Evaluation,
}

impl Fit {
    /// Judges the model on all of `material`: a text in pieces of the model's length side by side, every token but the first foretold once.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn judge(&mut self, material: &Material, workers: &Workers) -> Result<Judgement, FitError> {
        let items: Vec<Item<'_>> = match material {
            // Each piece ends with the token that the next one begins with.
            Material::Text(tokens) => (0..tokens.len().saturating_sub(1))
                .step_by(self.max_tokens)
                .map(|at| Item::Piece(&tokens[at..tokens.len().min(at + self.max_tokens + 1)]))
                .collect(),
            Material::Records(records) => records.iter().map(Item::Record).collect(),
        };
        if items.is_empty() {
            return Err(FitError::Nothing);
        }
        let count = workers.count();
        self.lanes.resize_with(count, super::Lane::new);
        let (max_tokens, classes) = (self.max_tokens, self.classes);
        let judged = super::judged(&self.weights, &self.average);
        let graphs = self.family.graphs((&self.table, judged), workers, self.recipe.keep)?;
        let engine = super::engine(&self.direct, &graphs, &self.table);
        let weights = self.direct.shown(judged, &mut self.shown);
        let parts = workers.each(&mut self.lanes, |number, lane| {
            let mut part = Part { loss_sum: 0.0, foretold: 0, evaluation: Evaluation::empty(classes) };
            for items in items.chunks(AT_ONCE).skip(number).step_by(count) {
                let reading = reading(items, max_tokens);
                let passed = engine.losses((number, weights), &reading, lane.scratch(), classes)?;
                for (i, (item, loss)) in items.iter().zip(passed.losses).enumerate() {
                    part.add(item, loss, passed.scores.get(i * classes..(i + 1) * classes).unwrap_or_default());
                }
            }
            Ok::<Part, FitError>(part)
        });
        let mut total = Part { loss_sum: 0.0, foretold: 0, evaluation: Evaluation::empty(classes) };
        for part in parts {
            let part = part?;
            total.loss_sum += part.loss_sum;
            total.foretold += part.foretold;
            total.evaluation.add(&part.evaluation);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let loss = total.loss_sum / total.foretold.max(1) as f64;
        Ok(Judgement { loss, foretold: total.foretold, evaluation: (classes > 0).then_some(total.evaluation) })
    }
}

impl Part {
    #[expect(clippy::cast_precision_loss, reason = "a piece is far below 2^53 tokens")]
    fn add(&mut self, item: &Item<'_>, loss: f64, scores: &[f32]) {
        match item {
            Item::Piece(piece) => {
                let foretold = piece.len().saturating_sub(1);
                self.loss_sum += loss * foretold as f64; // the loss of a piece is a mean
                self.foretold += u64::try_from(foretold).unwrap_or(u64::MAX);
            }
            Item::Record(record) => {
                self.loss_sum += loss;
                self.foretold += 1;
                self.evaluation.count(size(record.class), scores, loss);
            }
        }
    }
}
