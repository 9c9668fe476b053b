//! Which tokens of a record are hidden from a model that shall say what they are. Knows no tensor.
//!
//! What is hidden depends on the step and on the record alone: neither the clock nor the other records of a batch have a say, so a unit's
//! gradient is its own (privacy.md D19), and the same step hides the same (training.md M13). Not for anything secret: hiding protects nobody.

use crate::batch::{Dataset, Record, UNASKED, UnitExamples};
use crate::model::parameters::size;
use protocol::hash::sha256;
use protocol::plan::{EncoderConfig, Masking, Plan};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What one step hides.
#[derive(Clone)]
pub struct Masks {
    masking: Masking,
    /// Of 2^32: draws below are masked, those up to the second one exchanged.
    borders: [u64; 2],
    vocab: u32,
    /// Longest record that is read.
    most: usize,
    key: [u8; 32],
}

impl Masks {
    /// With this key; none for a model that is asked for something else.
    fn new(model: &EncoderConfig, key: [u8; 32]) -> Option<Self> {
        let masking = model.masking?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 0 to 1, from a checked plan")]
        let border = |share: f64| (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        let masked = masking.masked.to_f64();
        let borders = [border(masked), border(masked + masking.random.to_f64())];
        Some(Self { masking, borders, vocab: model.vocab.max(1), most: size(model.max_tokens), key })
    }

    /// What step `step` of a task hides.
    pub(crate) fn of_step(plan: &Plan, step: u64) -> Option<Self> {
        Self::new(&plan.model, sha256(&[b"concordat/train/masks/step\0", &plan.task.0, &step.to_le_bytes()]))
    }

    /// What is hidden of every record in pass `pass` over data in one place.
    pub fn of_pass(model: &EncoderConfig, seed: u64, pass: u64) -> Option<Self> {
        Self::new(model, sha256(&[b"concordat/train/masks/pass\0", &seed.to_le_bytes(), &pass.to_le_bytes()]))
    }

    /// What is hidden where models are judged: always the same, so that their figures can be compared.
    pub fn of_judgement(model: &EncoderConfig) -> Option<Self> {
        Self::new(model, sha256(&[b"concordat/train/masks/judgement\0"]))
    }

    /// A record as the model reads it. Its labels say what stood there, at the places that it is asked about, and nothing at the others.
    /// Places that the record itself does not ask about are never hidden.
    #[must_use]
    pub fn hide(&self, record: &Record) -> Record {
        let kept = record.tokens.len().min(self.most);
        let (mut tokens, mut labels) = (record.tokens[..kept].to_vec(), vec![UNASKED; kept]);
        let bytes: Vec<u8> = record.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let mut rng = ChaCha8Rng::from_seed(sha256(&[b"concordat/train/masks/record\0", &self.key, &bytes]));
        let mut places: Vec<usize> = (0..kept).filter(|&at| record.labels.get(at).is_some_and(|&label| label != UNASKED)).collect();
        let wanted = self.wanted(places.len());
        for chosen in 0..wanted {
            let left = places.len() - chosen;
            places.swap(chosen, chosen + below(&mut rng, left));
        }
        for &at in &places[..wanted] {
            labels[at] = record.labels[at];
            let draw = u64::from(rng.next_u32());
            if draw < self.borders[0] {
                tokens[at] = self.masking.token;
            } else if draw < self.borders[1] {
                tokens[at] = u32::try_from(rng.next_u64() % u64::from(self.vocab)).unwrap_or(0);
            }
        }
        Record { tokens, class: record.class, labels }
    }

    /// Copies of these units as a step reads them, and their places among the copies.
    pub(crate) fn units(&self, data: &Dataset, sample: &[usize]) -> (Dataset, Vec<usize>) {
        let unit = |&at: &usize| UnitExamples { records: data.units[at].records.iter().map(|record| self.hide(record)).collect() };
        let units: Vec<UnitExamples> = sample.iter().map(unit).collect();
        let places = (0..units.len()).collect();
        (Dataset { units }, places)
    }

    /// How many of so many tokens: a share of them, and of any at all one.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a record has at most some thousand tokens, and no share is negative"
    )]
    fn wanted(&self, tokens: usize) -> usize {
        let share = (self.masking.share.to_f64() * tokens as f64).round() as usize;
        share.max(1).min(tokens)
    }
}

/// A number below `limit`. The bias of the remainder is below 2^-32 for any data that fits a machine. Not for anything secret.
pub(crate) fn below(rng: &mut impl RngCore, limit: usize) -> usize {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
    usize::try_from(rng.next_u64() % limit).unwrap_or(0)
}

/// A record whose every token can be hidden but those at which `of_text` says no: marks are the tokenizer's, and say nothing.
pub fn askable(tokens: &[u32], of_text: impl Fn(usize) -> bool) -> Vec<u32> {
    tokens.iter().enumerate().map(|(at, &token)| if of_text(at) { token } else { UNASKED }).collect()
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
