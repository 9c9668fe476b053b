//! A plan that counts instead of training: statistics of the institutions' records, or words for a common tokenizer, as sealed sums. Says
//! what is counted and what the rest of the plan must then be; knows no record, no sum and no noise.

use super::{ClipFunction, ClipPath, EncoderConfig, LocalTraining, Plan, PlanError, Strategy, UnitObjective, Weighting, range};
use crate::decimal::{Decimal, Signed};
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// Most rounds of a plan that counts words: one character more each round, and words end long before.
const MAX_WORD_ROUNDS: u64 = 32;
/// Most queries, as many as a layout takes.
const MAX_QUERIES: usize = 256;

impl Plan {
    /// Ending of a file of weights.
    pub const WEIGHTS: &'static str = "safetensors";
    /// Ending of a file with what a task that counts knows.
    pub const KNOWN: &'static str = "json";

    /// Ending of the files that hold this task's snapshots: what a file is called says what is in it.
    pub fn snapshot_ending(&self) -> &'static str {
        if self.count.is_some() { Self::KNOWN } else { Self::WEIGHTS }
    }
}

/// What is counted, and how long the summed integers may be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Slots of a summed integer: it is cut into limbs of b − 1 bits (crypto.md C24).
    #[n(0)]
    pub limbs: u8,
    /// What.
    #[n(1)]
    pub what: Counted,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Counted {
    /// Columns of the records, once.
    #[n(0)]
    Statistics {
        /// In the order of the summed vector.
        #[n(0)]
        queries: Vec<Query>,
    },
    /// Words of the texts, character by character, round by round.
    #[n(1)]
    Words {
        /// How texts are cut.
        #[n(0)]
        rule: WordRule,
        /// In deviations of the summed noise: what is below is taken for noise.
        #[n(1)]
        threshold: Decimal,
    },
}

/// How texts are cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum WordRule {
    /// By the kind of characters.
    #[n(0)]
    Pattern,
    /// By a Chinese dictionary.
    #[n(1)]
    Jieba,
}

/// What is asked about one column. `characters(NAME)` asks about the length of the texts in column NAME.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Query {
    /// Count, mean and variance of a number that is clamped into the range.
    #[n(0)]
    Moments {
        /// Its column.
        #[n(0)]
        column: String,
        /// Lowest value that counts as it is.
        #[n(1)]
        low: Signed,
        /// Highest.
        #[n(2)]
        high: Signed,
    },
    /// How many numbers lie below each threshold.
    #[n(1)]
    Thresholds {
        /// Its column.
        #[n(0)]
        column: String,
        /// Rising.
        #[n(1)]
        cuts: Vec<Signed>,
    },
    /// How often each label occurs; others are counted together.
    #[n(2)]
    Labels {
        /// Its column.
        #[n(0)]
        column: String,
        /// Public by being in the plan.
        #[n(1)]
        labels: Vec<String>,
    },
}

/// Checks that a plan that counts says nothing about training and keeps to what a sum of counts needs: every unit in it once, one shard in
/// one sum, the exact path.
///
/// # Errors
/// [`PlanError`], the first rule broken.
pub(super) fn check(plan: &Plan, count: &Count) -> Result<(), PlanError> {
    let p = &plan.privacy;
    range(plan.model == EncoderConfig::none(), "model", "a model".to_owned(), "none in a plan that counts")?;
    let idle = plan.local == LocalTraining::none();
    range(idle, "local", "numbers of an optimiser".to_owned(), "one step, the rest 0, in a plan that counts")?;
    range(
        plan.strategy == Strategy::FedAvg { rate: Decimal::ONE },
        "strategy",
        "another".to_owned(),
        "fed-avg of rate 1 in a plan that counts",
    )?;
    range(plan.weighting == Weighting::Uniform, "weighting", "declared".to_owned(), "uniform in a plan that counts")?;
    range(plan.robustness.is_none(), "robustness", "some".to_owned(), "none in a plan that counts")?;
    range(plan.tiers.is_none(), "tiers", "some".to_owned(), "none in a plan that counts")?;
    range(p.sampling_rate == Decimal::ONE, "privacy.sampling_rate", p.sampling_rate.to_string(), "1 in a plan that counts")?;
    range(p.path == ClipPath::Exact, "privacy.path", "book-keeping".to_owned(), "exact in a plan that counts")?;
    range(p.clip_function == ClipFunction::Flat, "privacy.clip_function", "auto-s".to_owned(), "flat in a plan that counts")?;
    range(p.unit_objective == UnitObjective::Mean, "privacy.unit_objective", "sum".to_owned(), "mean in a plan that counts")?;
    let limbs = u64::from(count.limbs);
    range((1..=16).contains(&limbs), "count.limbs", limbs.to_string(), "1 to 16")?;
    let whole = plan.shards.len() == 1 && plan.groups.len() == 1 && plan.dimension().is_multiple_of(limbs);
    range(whole, "shards", plan.shards.len().to_string(), "one of whole limbs in a plan that counts")?;
    let alone = p.mode.joint().is_none() || limbs == 1;
    range(alone, "count.limbs", limbs.to_string(), "1 in modes distributed and hybrid, whose integers are sealed as they are")?;
    match &count.what {
        Counted::Statistics { queries } => {
            range((1..=MAX_QUERIES).contains(&queries.len()), "count.statistics.queries", queries.len().to_string(), "1 to 256")?;
            range(plan.rounds == 1, "rounds", plan.rounds.to_string(), "1 in a plan of statistics")
        }
        Counted::Words { threshold, .. } => {
            range(threshold.to_f64() > 0.0, "count.words.threshold", threshold.to_string(), "above 0")?;
            range((2..=MAX_WORD_ROUNDS).contains(&plan.rounds), "rounds", plan.rounds.to_string(), "2 to 32 in a plan of words")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn count() -> Count {
        let (low, high) = ("-12.5".parse().unwrap(), "30".parse().unwrap());
        let queries = vec![
            Query::Moments { column: "amount".into(), low, high },
            Query::Thresholds { column: "characters(text)".into(), cuts: vec![low, high] },
            Query::Labels { column: "label".into(), labels: vec!["a".into()] },
        ];
        Count { limbs: 3, what: Counted::Statistics { queries } }
    }

    #[test]
    fn what_is_counted_comes_back_from_both_spellings() {
        let words = Count { limbs: 1, what: Counted::Words { rule: WordRule::Jieba, threshold: "4.5".parse().unwrap() } };
        for count in [count(), words] {
            let bytes = codec::encode(&count);
            assert_eq!(codec::decode::<Count>(&bytes, 4096), Ok(count.clone()));
            assert_eq!(bytes.len(), CborLen::<()>::cbor_len(&count, &mut ()));
            let json = serde_json::to_string(&count).unwrap();
            assert_eq!(serde_json::from_str::<Count>(&json).unwrap(), count);
        }
    }
}
