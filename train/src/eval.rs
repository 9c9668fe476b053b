//! How good a model is on records it is shown: loss, accuracy, macro-F1, confusion; of one that goes on with texts, loss per token. Keeps no
//! graph. Knows no privacy: what it returns is computed from records, and the caller decides whether it may leave.

use crate::batch::{Batch, DataError, Dataset, Record, UNASKED};
use crate::capture::Tape;
use crate::mask::Masks;
use crate::model::parameters::size;
use crate::model::{ModelError, Objective, Replicas, Transformer, TransformerWeights, Weights};
use crate::ops::loss::cross_entropy;
use crate::workers::Workers;
use protocol::plan::{Asks, EncoderConfig, Keep};
use std::collections::BTreeSet;

mod tags;

pub use tags::{Found, TagEvaluation, evaluate_tags};

/// Records in one forward pass: few enough that the engine does not wake threads for sums of 2^16 numbers.
const RECORDS_AT_ONCE: usize = 8;

/// Why a model could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A record does not fit the model.
    #[error("the data does not fit the model")]
    Data(#[from] DataError),
    /// Another question than the model's.
    #[error("the model is asked for {got}, expected {expected}")]
    Asks {
        /// By its plan.
        got: &'static str,
        /// What is evaluated here.
        expected: &'static str,
    },
    /// The model cannot be built, or lacks its checkpoint.
    #[error("the model cannot be built")]
    Model(#[from] ModelError),
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
}

/// Refuses a model that is asked for something else.
pub(crate) fn asked(weights: &Weights, expected: Asks) -> Result<(), EvalError> {
    let got = weights.config().asks();
    if got == expected { Ok(()) } else { Err(EvalError::Asks { got: got.name(), expected: expected.name() }) }
}

/// The records that say anything: as in training, one without tokens is left out.
fn telling(data: &Dataset) -> Vec<&Record> {
    data.records().filter(|r| !r.tokens.is_empty()).collect()
}

/// The model of these weights, of which nothing is trained.
fn built(weights: &Weights) -> Result<Transformer, EvalError> {
    Ok(Transformer::load(&TransformerWeights::part_of(weights, BTreeSet::new())?)?)
}

/// The same where the workers' models live.
fn built_for(weights: &Weights, workers: &Workers) -> Result<Replicas, EvalError> {
    Ok(Replicas::load(&TransformerWeights::part_of(weights, BTreeSet::new())?, workers, Keep::Everything)?)
}

/// Results over a data set.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Records.
    pub records: u64,
    /// Sum of all records' losses, in nats.
    pub loss_sum: f64,
    /// `confusion[true class][predicted class]`, in records.
    pub confusion: Vec<Vec<u64>>,
}

#[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Evaluation {
    pub(crate) fn empty(classes: usize) -> Self {
        Self { records: 0, loss_sum: 0.0, confusion: vec![vec![0; classes]; classes] }
    }

    /// Mean loss per record in nats; 0 without records.
    #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^53")]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.records.max(1) as f64
    }

    /// Share of records whose class is predicted; 0 without records.
    pub fn accuracy(&self) -> f64 {
        ratio((0..self.confusion.len()).map(|k| self.confusion[k][k]).sum(), self.records)
    }

    /// F1 of one class: 2·hits / (records of the class + predictions of the class); 0 if it neither occurs nor is predicted.
    pub fn f1(&self, class: usize) -> f64 {
        let (occurs, predicted) = (self.confusion[class].iter().sum::<u64>(), self.confusion.iter().map(|row| row[class]).sum::<u64>());
        ratio(2 * self.confusion[class][class], occurs + predicted)
    }

    /// Mean F1 over the classes that occur or are predicted.
    pub fn macro_f1(&self) -> f64 {
        let seen = |k: &usize| self.confusion[*k].iter().any(|&n| n > 0) || self.confusion.iter().any(|row| row[*k] > 0);
        let scores: Vec<f64> = (0..self.confusion.len()).filter(seen).map(|k| self.f1(k)).collect();
        #[expect(clippy::cast_precision_loss, reason = "there are at most 1024 classes")]
        let count = scores.len().max(1) as f64;
        scores.iter().sum::<f64>() / count
    }

    /// Adds the results of another part of the data.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.loss_sum += other.loss_sum;
        for (mine, theirs) in self.confusion.iter_mut().flatten().zip(other.confusion.iter().flatten()) {
            *mine += theirs;
        }
    }

    pub(crate) fn count(&mut self, class: usize, scores: &[f32], loss: f64) {
        self.records += 1;
        self.loss_sum += loss;
        self.confusion[class][size(best(scores))] += 1;
    }
}

/// The first of the highest scores, so that ties do not depend on chance.
fn best(scores: &[f32]) -> u32 {
    let better = |best: (u32, f32), (k, &score): (u32, &f32)| if score > best.1 { (k, score) } else { best };
    (0..).zip(scores).fold((0, scores.first().copied().unwrap_or_default()), better).0
}

/// Evaluates a model on all records of a data set that have tokens.
///
/// # Privacy
/// The result is computed from records without noise. Of training data it must not leave the institution.
///
/// # Errors
/// [`EvalError`].
pub fn evaluate(weights: &Weights, data: &Dataset, workers: &Workers) -> Result<Evaluation, EvalError> {
    asked(weights, Asks::Class)?;
    data.check(weights.config())?;
    let model = built_for(weights, workers)?;
    workers.run(|| {
        let mut total = Evaluation::empty(weights.config().classes.len());
        for part in telling(data).chunks(RECORDS_AT_ONCE) {
            let batch = Batch::pack(part.iter().copied(), size(weights.config().max_tokens));
            let logits = model.mine()?.forward(&batch, &Tape::off())?; // (B, K)
            let losses = cross_entropy(&logits, &batch.classes)?.to_vec1::<f32>()?;
            for ((scores, loss), &class) in logits.to_vec2::<f32>()?.iter().zip(losses).zip(&batch.classes) {
                total.count(size(class), scores, f64::from(loss));
            }
        }
        Ok(total)
    })
}

/// How surprised a model is by texts: at each token it is given the true ones before it, not those that it would have said. Nothing is
/// generated, so this is no measure of whole answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct TextLoss {
    /// Records.
    pub records: u64,
    /// Tokens that it was asked for: all but the first of each record, or those of the answers; an encoder-decoder also for their ends, and an
    /// encoder for those that were hidden from it.
    pub tokens: u64,
    /// Sum of all tokens' losses, in nats.
    pub loss_sum: f64,
}

impl TextLoss {
    /// Mean loss per token in nats; 0 without tokens.
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^53")]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.tokens.max(1) as f64
    }

    /// Among how many equally likely tokens it would be as unsure.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }
}

/// Tokens that a model is asked for, of a record whose text and label are shortened to `most` tokens each.
fn asked_tokens(asks: Asks, record: &Record, most: usize) -> u64 {
    let [text, label] = [&record.tokens, &record.labels].map(|tokens| tokens.len().min(most) as u64);
    match asks {
        Asks::Translate => label + 1, // and the end
        Asks::Answer if label > 0 => label,
        Asks::Class | Asks::NextToken | Asks::Answer => text.saturating_sub(1),
        Asks::Tags | Asks::MaskedTokens => record.labels.iter().filter(|&&label| label != UNASKED).count() as u64,
    }
}

/// Evaluates a model that is asked for tokens on all records of a data set that have tokens.
///
/// # Privacy
/// As [`evaluate`].
///
/// # Errors
/// [`EvalError`], also for a model that is asked for something else.
pub fn evaluate_texts(weights: &Weights, data: &Dataset, workers: &Workers) -> Result<TextLoss, EvalError> {
    let asks = weights.config().asks();
    if matches!(asks, Asks::Class | Asks::Tags) {
        return Err(EvalError::Asks { got: asks.name(), expected: "next-token, answer, translate or masked-tokens" });
    }
    data.check(weights.config())?;
    let (model, most) = (built_for(weights, workers)?, size(weights.config().max_tokens));
    let hidden = Masks::of_judgement(weights.config()).map(|masks| data.records().map(|r| masks.hide(r)).collect::<Vec<_>>());
    let records: Vec<&Record> = match &hidden {
        Some(hidden) => hidden.iter().filter(|r| !r.tokens.is_empty()).collect(),
        None => telling(data),
    };
    workers.run(|| {
        let mut total = TextLoss::default();
        for part in records.chunks(RECORDS_AT_ONCE) {
            let losses = model.losses(&Batch::pack(part.iter().copied(), most), &Tape::off())?.to_vec1::<f32>()?; // (B)
            for (record, loss) in part.iter().zip(losses) {
                // A record's loss is the mean over its tokens.
                let tokens = asked_tokens(asks, record, most);
                total.records += 1;
                total.tokens += tokens;
                #[expect(clippy::cast_precision_loss, reason = "a record has at most some thousand tokens")]
                let sum = f64::from(loss) * tokens as f64;
                total.loss_sum += sum;
            }
        }
        Ok(total)
    })
}

/// How sure a model is about each unit: the mean of ln(p/(1 − p)) over its records, with p the probability of the true class. 0 for a unit
/// without a record that says anything.
///
/// # Errors
/// [`EvalError`].
pub(crate) fn log_odds(weights: &Weights, data: &Dataset, max_records: usize, workers: &Workers) -> Result<Vec<f64>, EvalError> {
    asked(weights, Asks::Class)?;
    data.check(weights.config())?;
    let model = built_for(weights, workers)?;
    workers.run(|| {
        let mut sure = Vec::with_capacity(data.units.len());
        for unit in &data.units {
            let records: Vec<&Record> = unit.records.iter().take(max_records).filter(|r| !r.tokens.is_empty()).collect();
            let mut sum = 0.0;
            for part in records.chunks(RECORDS_AT_ONCE) {
                let batch = Batch::pack(part.iter().copied(), size(weights.config().max_tokens));
                let scores = model.mine()?.forward(&batch, &Tape::off())?.to_vec2::<f32>()?; // (B, K)
                sum += scores.iter().zip(&batch.classes).map(|(row, &class)| odds(row, size(class))).sum::<f64>();
            }
            #[expect(clippy::cast_precision_loss, reason = "records of a unit are far below 2^53")]
            let count = records.len().max(1) as f64;
            sure.push(sum / count);
        }
        Ok(sure)
    })
}

/// Score of the class less the logarithm of the sum over the others' exponentials: without cancellation, however sure the model is.
fn odds(scores: &[f32], class: usize) -> f64 {
    let others = || scores.iter().enumerate().filter(|(k, _)| *k != class).map(|(_, &s)| f64::from(s));
    let most = others().fold(f64::NEG_INFINITY, f64::max);
    f64::from(scores[class]) - most - others().map(|s| (s - most).exp()).sum::<f64>().ln()
}

/// Probability of each class for one text.
///
/// # Errors
/// [`EvalError`] for a token outside the vocabulary.
pub fn classify(weights: &Weights, tokens: &[u32]) -> Result<Vec<f32>, EvalError> {
    asked(weights, Asks::Class)?;
    let record = Record { tokens: tokens.to_vec(), class: 0, labels: Vec::new() };
    let data = Dataset { units: vec![crate::batch::UnitExamples { records: vec![record.clone()] }] };
    data.check(weights.config())?;
    let config: &EncoderConfig = weights.config();
    let logits = built(weights)?.forward(&Batch::pack([&record], size(config.max_tokens)), &Tape::off())?;
    let mut row = logits.flatten_all()?.to_vec1::<f32>()?;
    crate::kernels::softmax::probabilities(&mut row);
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(confusion: [[u64; 3]; 3]) -> Evaluation {
        let records = confusion.iter().flatten().sum();
        Evaluation { records, loss_sum: 2.0, confusion: confusion.map(Vec::from).to_vec() }
    }

    #[test]
    fn scores_are_those_of_the_definition() {
        let e = of([[5, 1, 0], [2, 2, 0], [0, 0, 0]]);
        assert!((e.accuracy() - 0.7).abs() < 1e-12 && (e.loss() - 0.2).abs() < 1e-12);
        assert!((e.f1(0) - 10.0 / 13.0).abs() < 1e-12 && (e.f1(1) - 4.0 / 7.0).abs() < 1e-12);
        assert!((e.macro_f1() - (10.0 / 13.0 + 4.0 / 7.0) / 2.0).abs() < 1e-12);
    }

    /// ln(p/(1 − p)) of the softmax, also where p rounds to 1.
    #[test]
    fn odds_are_those_of_the_probability() {
        let scores = [1.0f32, -0.5, 2.0];
        let all: f64 = scores.iter().map(|&s| f64::from(s).exp()).sum();
        for (class, &s) in scores.iter().enumerate() {
            let p = f64::from(s).exp() / all;
            assert!((odds(&scores, class) - (p / (1.0 - p)).ln()).abs() < 1e-12);
        }
        assert!((odds(&[90.0, 0.0, 0.0], 0) - (90.0 - 2f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn parts_add_up() {
        let mut e = of([[1, 0, 0], [0, 1, 0], [0, 0, 1]]);
        e.add(&of([[0, 1, 0], [0, 1, 0], [0, 0, 0]]));
        assert_eq!((e.records, e.confusion[0][1], e.confusion[1][1]), (5, 1, 2));
        assert_eq!(Evaluation::empty(3).macro_f1(), 0.0);
    }
}
