//! `report.json`: stable fields, only added within a schema version.

use serde::Serialize;
use std::collections::BTreeMap;

/// Seconds of one round. Training, sealing and uploading: the slowest institution.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Noised local steps.
    pub train: f64,
    /// Masking, packing, share blobs.
    pub seal: f64,
    /// First byte to receipt.
    pub upload: f64,
    /// Adding sealed updates.
    pub sum: f64,
    /// One exact set, signed by a quorum, under a cosigned checkpoint.
    pub certify: f64,
    /// Decoding the key sum and extracting the integers.
    pub open: f64,
}

/// How the aggregate does on held-out records.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Score {
    /// Mean loss on the institutions' records, in nats. Computed by the demo, which owns them; never sent by an institution.
    pub train_loss: f64,
    /// Mean loss on held-out records, in nats.
    pub eval_loss: f64,
    /// Share of held-out records whose class is predicted.
    pub accuracy: f64,
    /// Mean F1 over classes.
    pub macro_f1: f64,
}

/// What the guaranteed shares of noise are worth together.
#[derive(Clone, Debug, Serialize)]
pub struct Coalition {
    /// Institutions that may help the one that looks.
    pub colluding: u16,
    /// Guaranteed shares.
    pub shares: u16,
    /// Their epsilon over the whole task.
    pub epsilon: String,
    /// `pending review` or `published`.
    pub standing: String,
}

/// A tier of a mixed federation.
#[derive(Clone, Debug, Serialize)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Institutions.
    pub institutions: usize,
    /// Coordinates that each of them trains, noises and seals.
    pub parameters: u64,
}

/// What institutions that train only a part are worth: the same federation with and without them.
#[derive(Clone, Debug, Serialize)]
pub struct Mixed {
    /// Tiers of the mixed federation.
    pub tiers: Vec<Tier>,
    /// Institutions that train only a part.
    pub small: usize,
    /// Last closed round of the mixed federation.
    pub with_small: Score,
    /// Last closed round of the federation of the others.
    pub without_small: Score,
    /// Whether the log of the federation of the others verifies, all its rounds closed and its sums are exact.
    pub without_small_sound: bool,
}

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct RoundRow {
    /// Its number.
    pub round: u64,
    /// Closed, or abandoned.
    pub closed: bool,
    /// Digest of its snapshot.
    pub snapshot: Option<String>,
    /// Scores of the aggregate; those of the round before if it was abandoned.
    #[serde(flatten)]
    pub score: Score,
    /// ε spent so far, by institution, from the log.
    pub epsilon: BTreeMap<String, String>,
    /// Application bytes that the server received.
    pub bytes_up: u64,
    /// Application bytes that the server sent.
    pub bytes_down: u64,
    /// Seconds.
    pub seconds: Seconds,
    /// Institutions in the certified sets, by group.
    pub cohort: BTreeMap<String, u64>,
    /// Whether the opened integers equal the sum of the institutions' integers, and are those that the log names.
    pub exact_sum: bool,
}

/// What the demo did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Schema of this file.
    pub schema_version: u32,
    /// Whether the auditor's code verified the log.
    pub verified: bool,
    /// Whether every round's opened integers equal the sum of the institutions' integers.
    pub exact_sum_check: bool,
    /// Whether all rounds of the plan were closed.
    pub finished: bool,
    /// Built-in data or the user's file (without its path).
    pub data: String,
    /// Institutions.
    pub institutions: usize,
    /// Records of each institution, as the demo split them.
    pub records: Vec<usize>,
    /// Held-out records.
    pub held_out: usize,
    /// Lines and records left out, by reason.
    pub left_out: String,
    /// Classes.
    pub classes: Vec<String>,
    /// Trained coordinates.
    pub parameters: u64,
    /// Shards.
    pub shards: usize,
    /// Budget asked for: in mode local of each institution, in the others of what the guaranteed shares are calibrated for.
    pub epsilon_target: String,
    /// Where noise was added.
    pub mode: String,
    /// Epsilon that each institution's own noise keeps over the whole task: what is charged and promised.
    pub epsilon_cap: String,
    /// What other institutions' shares of noise add; nothing in mode local.
    pub coalition: Option<Coalition>,
    /// Noised steps of the whole task.
    pub steps: u64,
    /// Noise deviation over sensitivity as each institution executed it.
    pub executed_noise_multiplier: BTreeMap<String, String>,
    /// δ.
    pub delta: String,
    /// Noise deviation over sensitivity.
    pub noise_multiplier: String,
    /// Sampling rate.
    pub sampling_rate: String,
    /// Noised steps of a round.
    pub local_steps: u32,
    /// Committee: decryptors, corrupt ones tolerated, quorum.
    pub committee: [usize; 3],
    /// Wire bits of one parameter.
    pub wire_bits_per_parameter: f64,
    /// Scores before round 1.
    pub before: Score,
    /// Rounds.
    pub rounds: Vec<RoundRow>,
    /// Naive Bayes on character 1-3-grams over all records together, without privacy: macro-F1.
    pub naive_bayes_macro_f1: f64,
    /// Its accuracy.
    pub naive_bayes_accuracy: f64,
    /// Always predicting the most frequent class: macro-F1.
    pub majority_macro_f1: f64,
    /// Its accuracy.
    pub majority_accuracy: f64,
    /// The auditor's verdict in words.
    pub verdict: String,
    /// Entries of the log.
    pub log_entries: u64,
    /// Findings of the auditor.
    pub findings: u64,
    /// Seconds of the whole demo.
    pub total_seconds: f64,
    /// With `--shards mixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Mixed>,
}

impl Report {
    /// Scores of the last closed round; of the first weights if there is none.
    pub(crate) fn last(&self) -> Score {
        self.rounds.iter().rev().find(|x| x.closed).map_or(self.before, |x| x.score)
    }

    /// Whether everything that was asked for came out well.
    pub(crate) fn is_sound(&self) -> bool {
        self.verified && self.exact_sum_check && self.finished && self.mixed.as_ref().is_none_or(|m| m.without_small_sound)
    }
}
