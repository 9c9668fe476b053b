//! The local quality report: what the records are like, and whether they are good enough. Must not know a text or a person.
//!
//! # Privacy
//! Exact counts, labels and line numbers of one institution: for its own people. What may leave is [`super::manifest`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cells::ColumnCount;
use super::counts::{Dropped, Stage, StageCount};
use super::manifest::SchemaColumn;
use super::prepared::Unit;
use super::rules::Thresholds;
pub use super::run::Leaks;
use super::scrub::Hits;
use super::source::Assumed;

/// Version of the report's fields; fields are only added within one.
pub const VERSION: u32 = 1;
/// Most rows that could not be read which are named one by one; the rest is only counted.
pub const MAX_NAMED: usize = 1000;
/// Classes of a histogram of lengths: 0, 1, 2 to 3, 4 to 7 and so on, the last one open.
pub const LENGTH_CLASSES: usize = 20;

/// One number for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides<T> {
    /// To learn from.
    pub train: T,
    /// To judge by.
    pub validation: T,
}

impl<T> Sides<T> {
    pub(super) fn of(&mut self, validation: bool) -> &mut T {
        if validation { &mut self.validation } else { &mut self.train }
    }
}

/// How many texts have how many characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// Rows by class: class c > 0 holds 2^(c-1) to 2^c - 1 characters.
    pub classes: [u64; LENGTH_CLASSES],
}

impl Lengths {
    pub(super) fn take(&mut self, chars: u32) {
        let class = usize::try_from(u32::BITS - chars.leading_zeros()).unwrap_or(0).min(LENGTH_CLASSES - 1);
        self.classes[class] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.classes.iter_mut().zip(other.classes).for_each(|(a, b)| *a += b);
    }

    /// What a class is called: "8-15".
    pub fn name(class: usize) -> String {
        match class {
            0 => "0".to_owned(),
            1 => "1".to_owned(),
            c if c + 1 >= LENGTH_CLASSES => format!("{}+", 1u64 << (c - 1)),
            c => format!("{}-{}", 1u64 << (c - 1), (1u64 << c) - 1),
        }
    }
}

/// Rows of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    /// As in the source.
    pub label: String,
    /// Prepared rows.
    pub rows: Sides<u64>,
}

/// What is known of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnQuality {
    /// The column itself.
    #[serde(flatten)]
    pub schema: SchemaColumn,
    /// What happened to its values.
    #[serde(flatten)]
    pub counts: ColumnCount,
    /// Where constants were fitted: whether quantiles came from a sample.
    pub fitted_on_a_sample: Option<bool>,
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRow {
    /// One-based position of the input.
    pub input: usize,
    /// One-based line.
    pub line: u64,
    /// The reason under which it is counted.
    pub reason: Dropped,
    /// The same in words, with the column.
    pub what: String,
}

/// How far this preparation is from the one before: population stability indices, in thousandths. Under 100 nothing has changed; over 250
/// another population is likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Of the labels of the training rows.
    pub labels_permille: u64,
    /// Of the lengths of the training rows.
    pub lengths_permille: u64,
}

/// One limit of quality.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Key of the rule file.
    pub threshold: String,
    /// What it allows.
    pub limit: u64,
    /// What was found.
    pub got: u64,
    /// Whether that is allowed.
    pub holds: bool,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// [`VERSION`].
    pub version: u32,
    /// Prepared rows.
    pub rows: Sides<u64>,
    /// Units of privacy with a prepared row.
    pub units: Sides<u64>,
    /// Whose data a unit is.
    pub unit: Unit,
    /// Rows through each stage.
    pub stages: Vec<StageCount>,
    /// Encoding assumed for each input.
    pub encodings: Vec<Assumed>,
    /// The first [`MAX_NAMED`] rows that could not be read.
    pub bad_rows: Vec<BadRow>,
    /// The schema and what happened to its values.
    pub columns: Vec<ColumnQuality>,
    /// Rows that failed each cross-field check.
    pub checks: BTreeMap<String, u64>,
    /// Personal data replaced, by kind.
    pub pii: Hits,
    /// Rows in which some was.
    pub pii_rows: u64,
    /// Lengths of clean rows, before duplicates were dropped.
    pub lengths_before: Lengths,
    /// Lengths of prepared rows.
    pub lengths: Sides<Lengths>,
    /// Labels of prepared rows.
    pub labels: Vec<LabelCount>,
    /// What crossed the boundary.
    pub leaks: Leaks,
    /// Against the preparation before, where one was given.
    pub drift: Option<Drift>,
    /// All limits.
    pub verdicts: Vec<Verdict>,
}

impl Quality {
    /// Rows of a stage that came in.
    pub fn rows_in(&self, stage: Stage) -> u64 {
        self.stages.iter().find(|s| s.stage == stage).map_or(0, |s| s.rows_in)
    }

    /// Rows that a stage dropped.
    pub fn dropped(&self, stage: Stage) -> u64 {
        self.stages.iter().find(|s| s.stage == stage).map_or(0, StageCount::total_dropped)
    }

    /// Whether every limit holds.
    pub fn is_good(&self) -> bool {
        !self.verdicts.is_empty() && self.verdicts.iter().all(|v| v.holds)
    }

    /// Compares with the preparation before and holds everything to the limits.
    pub fn judge(&mut self, limits: &Thresholds, before: Option<&Self>) {
        self.drift = before.map(|before| Drift {
            labels_permille: stability(&self.by_label(before), &before.by_label(self)),
            lengths_permille: stability(&self.lengths.train.classes, &before.lengths.train.classes),
        });
        let all = self.rows_in(Stage::Read);
        let rows = self.rows.train + self.rows.validation;
        let largest = self.labels.iter().map(|l| l.rows.train + l.rows.validation).max().unwrap_or(0);
        // Leaking rows that were dropped no longer leak.
        let leaking = (self.leaks.equal + self.leaks.similar).saturating_sub(self.dropped(Stage::Split));
        let most = |threshold: &str, limit: u32, got: u64| Verdict {
            threshold: threshold.to_owned(),
            limit: limit.into(),
            got,
            holds: got <= u64::from(limit),
        };
        let mut verdicts = vec![
            Verdict {
                threshold: "min_train_rows".to_owned(),
                limit: limits.min_train_rows,
                got: self.rows.train,
                holds: self.rows.train >= limits.min_train_rows,
            },
            most("max_bad_rows_permille", limits.max_bad_rows_permille, share(self.dropped(Stage::Read), all)),
            most("max_dropped_permille", limits.max_dropped_permille, share(self.dropped(Stage::Clean), self.rows_in(Stage::Clean))),
            most(
                "max_duplicates_permille",
                limits.max_duplicates_permille,
                share(self.dropped(Stage::Deduplicate), self.rows_in(Stage::Deduplicate)),
            ),
            most("max_pii_rows_permille", limits.max_pii_rows_permille, share(self.pii_rows, self.rows_in(Stage::Scrub))),
            most("max_label_share_permille", limits.max_label_share_permille, share(largest, rows)),
            most("max_leaking_rows_permille", limits.max_leaking_rows_permille, share(leaking, self.rows.validation)),
        ];
        if let Some(drift) = self.drift {
            let got = drift.labels_permille.max(drift.lengths_permille);
            verdicts.push(most("max_drift_permille", limits.max_drift_permille, got));
        }
        self.verdicts = verdicts;
    }

    /// Training rows of each label that this or the other report has, in one order.
    fn by_label(&self, other: &Self) -> Vec<u64> {
        let names: std::collections::BTreeSet<&str> = self.labels.iter().chain(&other.labels).map(|l| l.label.as_str()).collect();
        let count = |name: &str| self.labels.iter().find(|l| l.label == name).map_or(0, |l| l.rows.train);
        names.into_iter().map(count).collect()
    }
}

/// Thousandths, rounded up: a limit of nothing must not let one through.
fn share(part: u64, all: u64) -> u64 {
    part.saturating_mul(1000).div_ceil(all.max(1))
}

/// Population stability index of two histograms in thousandths, each class smoothed by half a row.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of rows; the sum is never negative"
)]
fn stability(now: &[u64], before: &[u64]) -> u64 {
    let shares = |counts: &[u64]| {
        // Each as a float before the sum: the counts of the preparation before come from a file.
        let all = counts.iter().map(|&n| n as f64).sum::<f64>() + 0.5 * counts.len() as f64;
        counts.iter().map(|&n| (n as f64 + 0.5) / all).collect::<Vec<_>>()
    };
    let sum: f64 = shares(now).iter().zip(shares(before)).map(|(a, b)| (a - b) * (a / b).ln()).sum();
    (sum * 1000.0).round() as u64
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stability_is_nothing_for_equal_shares_and_known_for_others() {
        assert_eq!(stability(&[100, 300], &[1000, 3000]), 0);
        // (0.5-0.25) ln 2 + (0.5-0.75) ln (2/3) = 0.2747, with smoothing a little less.
        assert!((270..=275).contains(&stability(&[500, 500], &[250, 750])), "{}", stability(&[500, 500], &[250, 750]));
        assert_eq!(stability(&[1, 2], &[u64::MAX, u64::MAX]), stability(&[1, 2], &[1 << 50, 1 << 50]), "a file may claim any counts");
    }

    #[test]
    fn classes_of_lengths_are_powers_of_two() {
        let mut lengths = Lengths::default();
        for chars in [0, 1, 2, 3, 4, 7, 8, u32::MAX] {
            lengths.take(chars);
        }
        assert_eq!(lengths.classes[..5], [1, 1, 2, 2, 1]);
        assert_eq!(lengths.classes[LENGTH_CLASSES - 1], 1);
        assert_eq!((Lengths::name(0), Lengths::name(4), Lengths::name(19)), ("0".into(), "8-15".into(), "262144+".into()));
    }

    #[test]
    fn a_share_is_rounded_against_us() {
        assert_eq!((share(0, 10), share(1, 1_000_000), share(5, 10), share(0, 0)), (0, 1, 500, 0));
    }
}
