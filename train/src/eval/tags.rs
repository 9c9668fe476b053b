//! How good a tagger is: by token, and by whole parts, which is what people want to find. Knows no privacy, as the room above.

use super::{EvalError, Evaluation, RECORDS_AT_ONCE, asked, best, built_for, ratio, telling};
use crate::batch::{Batch, Dataset, UNASKED};
use crate::capture::Tape;
use crate::kernels::softmax::log_normaliser;
use crate::model::Weights;
use crate::model::parameters::size;
use crate::tags::parts;
use crate::workers::Workers;
use protocol::plan::Asks;

/// Parts of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// That there are.
    pub there: u64,
    /// That the model says there are.
    pub said: u64,
    /// Of those the ones that are there, from their first token to their last.
    pub right: u64,
}

impl Found {
    /// 2·right / (there + said); 0 of a kind that neither is there nor is said to be.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.right, self.there + self.said)
    }
}

/// Results over a data set.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TagEvaluation {
    /// Records.
    pub records: u64,
    /// By token: what are records there are tokens here, and classes are tags ([`crate::tags`]).
    pub tokens: Evaluation,
    /// By whole parts, for each kind.
    pub parts: Vec<Found>,
}

impl TagEvaluation {
    /// Of a model with so many tags.
    pub(crate) fn empty(choices: usize) -> Self {
        Self { records: 0, tokens: Evaluation::empty(choices), parts: vec![Found::default(); choices / 2] }
    }

    /// Mean F1 of whole parts over the kinds that are there or are said to be.
    pub fn macro_f1(&self) -> f64 {
        let seen: Vec<f64> = self.parts.iter().filter(|p| p.there + p.said > 0).map(Found::f1).collect();
        #[expect(clippy::cast_precision_loss, reason = "there are at most 127 kinds")]
        let count = seen.len().max(1) as f64;
        seen.iter().sum::<f64>() / count
    }

    /// Adds one record: the scores of its tokens one after the other, and their true tags.
    pub(crate) fn count(&mut self, scores: &[Vec<f32>], tags: &[u32]) {
        let mut said = Vec::with_capacity(tags.len());
        for (row, &tag) in scores.iter().zip(tags) {
            if tag == UNASKED {
                said.push(UNASKED);
                continue;
            }
            said.push(best(row));
            let loss = log_normaliser(row) - row.get(size(tag)).copied().unwrap_or(0.0);
            self.tokens.count(size(tag), row, f64::from(loss));
        }
        let (there, said) = (parts(tags), parts(&said));
        for (kind, _) in &there {
            self.of_kind(*kind).there += 1;
        }
        for part in &said {
            let right = there.contains(part);
            let found = self.of_kind(part.0);
            found.said += 1;
            found.right += u64::from(right);
        }
        self.records += 1;
    }

    fn of_kind(&mut self, kind: u32) -> &mut Found {
        &mut self.parts[size(kind)]
    }

    /// Adds the results of another part of the data.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.tokens.add(&other.tokens);
        for (mine, theirs) in self.parts.iter_mut().zip(&other.parts) {
            mine.there += theirs.there;
            mine.said += theirs.said;
            mine.right += theirs.right;
        }
    }
}

/// Evaluates a tagger on all records of a data set that have tokens.
///
/// # Privacy
/// As [`super::evaluate`].
///
/// # Errors
/// [`EvalError`].
pub fn evaluate_tags(weights: &Weights, data: &Dataset, workers: &Workers) -> Result<TagEvaluation, EvalError> {
    asked(weights, Asks::Tags)?;
    data.check(weights.config())?;
    let (model, most) = (built_for(weights, workers)?, size(weights.config().max_tokens));
    workers.run(|| {
        let mut total = TagEvaluation::empty(size(weights.config().choices()));
        for part in telling(data).chunks(RECORDS_AT_ONCE) {
            let batch = Batch::pack(part.iter().copied(), most);
            let scores = model.mine()?.forward(&batch, &Tape::off())?.to_vec2::<f32>()?; // (N, K)
            for rows in batch.spans.iter() {
                total.count(&scores[rows.clone()], &batch.labels[rows]);
            }
        }
        Ok(total)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of which one stands out.
    fn saying(tags: &[u32]) -> Vec<Vec<f32>> {
        tags.iter().map(|&said| (0..5).map(|tag| if tag == said { 3.0 } else { 0.0 }).collect()).collect()
    }

    #[test]
    fn parts_are_right_from_their_first_token_to_their_last() {
        let mut e = TagEvaluation::empty(5);
        // One part found, one found too short, one of another kind, one made up.
        let there = [UNASKED, 1, 2, 0, 1, 2, 0, 3, 0, 0];
        let said = [4, 1, 2, 0, 1, 0, 0, 1, 0, 3];
        e.count(&saying(&said), &there);
        assert_eq!(e.parts, [Found { there: 2, said: 3, right: 1 }, Found { there: 1, said: 1, right: 0 }]);
        assert!((e.parts[0].f1() - 0.4).abs() < 1e-12 && (e.macro_f1() - 0.2).abs() < 1e-12);
        assert_eq!((e.records, e.tokens.records, e.tokens.confusion[1][1], e.tokens.confusion[2][0]), (1, 9, 2, 1));
        assert!((e.tokens.accuracy() - 6.0 / 9.0).abs() < 1e-12);
        let sure = (4.0 + 3f64.exp()).ln() - 3.0;
        assert!((e.tokens.loss_sum - (6.0 * sure + 3.0 * (sure + 3.0))).abs() < 1e-4);
    }

    #[test]
    fn results_of_parts_of_the_data_add_up() {
        let of = |tags: &[u32]| {
            let mut e = TagEvaluation::empty(5);
            e.count(&saying(tags), tags);
            e
        };
        let (mut all, other) = (of(&[0, 1, 2]), of(&[3, 0]));
        all.add(&other);
        assert_eq!((all.records, all.tokens.records, all.parts[0].right, all.parts[1].right), (2, 5, 1, 1));
        assert!((all.macro_f1() - 1.0).abs() < 1e-12 && TagEvaluation::empty(5).macro_f1() == 0.0);
        assert_eq!(best(&[1.0, 1.0, 0.5]), 0);
    }
}
