//! How good the model is on what it does not learn from.

use super::engine::Passed;
use super::order::{self, Item};
use super::room::in_passes_of_judgement;
use super::{Fit, FitError, Lane, Material};
use crate::batch::{Record, UNASKED};
use crate::eval::{Evaluation, Found, TagEvaluation};
use crate::model::parameters::size;
use crate::workers::Workers;
use protocol::plan::Asks;

/// Records of one pass: few, because a model of tokens has a score for every row and every token that there is.
const AT_ONCE: usize = 8;

/// The result on held-out data.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Judgement {
    /// Mean loss in nats: of each token of a text, hidden token or tag, or of each record.
    pub loss: f64,
    /// Tokens or records foretold.
    pub foretold: u64,
    /// Of labelled records only; of tagged ones by token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
    /// Whole parts of tagged records, for each kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<Found>>,
}

impl Fit {
    /// Judges the model on all of `material` that has tokens: a text in pieces of the model's length side by side, every token but the first
    /// foretold once; of a model that says what is hidden, always the same tokens.
    ///
    /// # Errors
    /// [`FitError`].
    pub fn judge(&mut self, material: &Material, workers: &Workers) -> Result<Judgement, FitError> {
        self.family.check(material)?;
        let all = order::all(material, self.max_tokens);
        let hidden = order::hidden(&all, self.family.masks_of_judgement().as_ref());
        let mut items = order::or_copies(all, &hidden);
        items.retain(|item| item.rows(self.max_tokens) > 0);
        if items.is_empty() {
            return Err(FitError::Nothing);
        }
        let count = workers.count();
        self.lanes.resize_with(count, Lane::new);
        let question = Question { asks: self.family.asks(), choices: self.family.choices(), max_tokens: self.max_tokens };
        let weights = super::judged(&self.weights, &self.average);
        let graphs = self.family.graphs((&self.table, weights), workers, self.recipe.keep)?;
        let engine = self.family.engine(&graphs, (&self.table, weights), &mut self.shown);
        let parts = workers.each(&mut self.lanes, |number, lane| {
            let mut part = Part::empty(question);
            for items in items.chunks(AT_ONCE).skip(number).step_by(count) {
                in_passes_of_judgement(items, |_, now| {
                    let passed = engine.passed(number, (now, question.max_tokens), question.choices, lane.scratch())?;
                    part.add(question, now, &passed);
                    Ok(())
                })?;
            }
            Ok::<Part, FitError>(part)
        });
        let mut total = Part::empty(question);
        for part in parts {
            total.join(&part?);
        }
        Ok(total.judgement(question.asks))
    }
}

/// What every item is asked.
#[derive(Clone, Copy)]
struct Question {
    asks: Asks,
    /// Classes or tags.
    choices: usize,
    max_tokens: usize,
}

impl Question {
    /// Rows of scores that an item has.
    fn scored(&self, item: &Item<'_>) -> usize {
        match self.asks {
            Asks::Class => 1,
            Asks::Tags => item.rows(self.max_tokens),
            Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => 0,
        }
    }
}

/// One worker's sums.
struct Part {
    loss_sum: f64,
    foretold: u64,
    classes: Evaluation,
    tags: TagEvaluation,
}

impl Part {
    fn empty(question: Question) -> Self {
        let of = |asks| if question.asks == asks { question.choices } else { 0 };
        let (classes, tags) = (Evaluation::empty(of(Asks::Class)), TagEvaluation::empty(of(Asks::Tags)));
        Self { loss_sum: 0.0, foretold: 0, classes, tags }
    }

    fn add(&mut self, question: Question, items: &[Item<'_>], passed: &Passed) {
        let mut left = passed.scores.as_slice();
        for (item, &loss) in items.iter().zip(&passed.losses) {
            let (scores, later) = left.split_at(question.scored(item).min(left.len()));
            left = later;
            match item {
                Item::Piece(_) => self.add_mean(loss, item.rows(question.max_tokens)),
                Item::Record(record) => self.add_record(question, record, loss, scores),
            }
        }
    }

    fn add_record(&mut self, question: Question, record: &Record, loss: f64, scores: &[Vec<f32>]) {
        let labels = &record.labels[..record.labels.len().min(question.max_tokens)];
        match question.asks {
            Asks::Class => {
                self.classes.count(size(record.class), scores.first().map(Vec::as_slice).unwrap_or_default(), loss);
                self.add_mean(loss, 1);
            }
            Asks::Tags => self.tags.count(scores, labels),
            Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => {
                self.add_mean(loss, labels.iter().filter(|&&label| label != UNASKED).count());
            }
        }
    }

    /// Adds a loss that is the mean over so many tokens or records.
    #[expect(clippy::cast_precision_loss, reason = "an item is far below 2^53 tokens")]
    fn add_mean(&mut self, loss: f64, foretold: usize) {
        self.loss_sum += loss * foretold as f64;
        self.foretold += u64::try_from(foretold).unwrap_or(u64::MAX);
    }

    fn join(&mut self, other: &Self) {
        self.loss_sum += other.loss_sum;
        self.foretold += other.foretold;
        self.classes.add(&other.classes);
        self.tags.add(&other.tags);
    }

    fn judgement(self, asks: Asks) -> Judgement {
        let Self { loss_sum, foretold, classes, tags } = self;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let loss = loss_sum / foretold.max(1) as f64;
        match asks {
            Asks::Class => Judgement { loss, foretold, evaluation: Some(classes), parts: None },
            Asks::Tags => Judgement {
                loss: tags.tokens.loss(),
                foretold: tags.tokens.records,
                evaluation: Some(tags.tokens),
                parts: Some(tags.parts),
            },
            Asks::NextToken | Asks::Answer | Asks::Translate | Asks::MaskedTokens => {
                Judgement { loss, foretold, evaluation: None, parts: None }
            }
        }
    }
}
