//! What became of the rows, stage by stage, as counts that must add up. Must not know a row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why a row was left out. The order is that of the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// Read: longer than `input.max_row_bytes`.
    RowTooLong,
    /// Read: bytes that are no characters of the encoding.
    BadEncoding,
    /// Read: not JSON, or not an object, or a field twice.
    Malformed,
    /// Read: more or fewer fields than the header.
    WrongFieldCount,
    /// Read: a value of another type than the column's.
    WrongType,
    /// Clean: a value is missing that must be there.
    MissingValue,
    /// Clean: `allow` does not match.
    NotAllowed,
    /// Clean: `deny` matches.
    Denied,
    /// Clean: not among `values`.
    NotInValues,
    /// Clean: outside `min` and `max`.
    OutOfRange,
    /// Clean: no date in any of `date_formats`.
    BadDate,
    /// Clean: fewer characters than `min_chars`.
    TooShort,
    /// Clean: more characters than `max_chars`.
    TooLong,
    /// Clean: an outlier whose action is to drop.
    Outlier,
    /// Clean: too few letters of the wanted scripts.
    OtherScript,
    /// Clean: a cross-field check is false.
    FailedCheck,
    /// Deduplicate: the same text and label as an earlier row.
    Duplicate,
    /// Deduplicate: the same text as an earlier row, under another label.
    ConflictingLabel,
    /// Deduplicate: nearly the text of an earlier row.
    NearDuplicate,
    /// Split: a validation row that resembles a training row.
    LeaksFromTraining,
}

/// A stage of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Bytes to typed rows.
    Read,
    /// Rules of columns and texts.
    Clean,
    /// Personal data to placeholders; drops nothing.
    Scrub,
    /// Equal and nearly equal texts.
    Deduplicate,
    /// Training and validation.
    Split,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Read, Self::Clean, Self::Scrub, Self::Deduplicate, Self::Split];
}

impl Dropped {
    /// The stage that drops for this reason.
    pub fn stage(self) -> Stage {
        match self {
            Self::RowTooLong | Self::BadEncoding | Self::Malformed | Self::WrongFieldCount | Self::WrongType => Stage::Read,
            Self::MissingValue
            | Self::NotAllowed
            | Self::Denied
            | Self::NotInValues
            | Self::OutOfRange
            | Self::BadDate
            | Self::TooShort
            | Self::TooLong
            | Self::Outlier
            | Self::OtherScript
            | Self::FailedCheck => Stage::Clean,
            Self::Duplicate | Self::ConflictingLabel | Self::NearDuplicate => Stage::Deduplicate,
            Self::LeaksFromTraining => Stage::Split,
        }
    }

    /// A stable name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::RowTooLong => "row_too_long",
            Self::BadEncoding => "bad_encoding",
            Self::Malformed => "malformed",
            Self::WrongFieldCount => "wrong_field_count",
            Self::WrongType => "wrong_type",
            Self::MissingValue => "missing_value",
            Self::NotAllowed => "not_allowed",
            Self::Denied => "denied",
            Self::NotInValues => "not_in_values",
            Self::OutOfRange => "out_of_range",
            Self::BadDate => "bad_date",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Outlier => "outlier",
            Self::OtherScript => "other_script",
            Self::FailedCheck => "failed_check",
            Self::Duplicate => "duplicate",
            Self::ConflictingLabel => "conflicting_label",
            Self::NearDuplicate => "near_duplicate",
            Self::LeaksFromTraining => "leaks_from_training",
        }
    }
}

/// Rows through one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCount {
    /// Which.
    pub stage: Stage,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went on, counted where they went on and not computed from the rest.
    pub rows_out: u64,
    /// Rows left out, by reason.
    pub dropped: BTreeMap<Dropped, u64>,
}

impl StageCount {
    /// Nothing yet.
    pub fn new(stage: Stage) -> Self {
        Self { stage, rows_in: 0, rows_out: 0, dropped: BTreeMap::new() }
    }

    /// Counts a row that was left out.
    pub fn drop_row(&mut self, reason: Dropped) {
        *self.dropped.entry(reason).or_insert(0) += 1;
    }

    /// All that were left out.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Adds the counts of another part of the same stage.
    pub fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        for (reason, count) in &other.dropped {
            *self.dropped.entry(*reason).or_insert(0) += count;
        }
    }
}

/// Counters that do not add up: a bug of ours, and nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage:?} has {rows_in} rows in, {rows_out} out and {dropped} dropped, after {before} from the stage before")]
pub struct Imbalance {
    /// Where.
    pub stage: Stage,
    /// Rows in.
    pub rows_in: u64,
    /// Rows out.
    pub rows_out: u64,
    /// Rows dropped.
    pub dropped: u64,
    /// Rows that the stage before gave.
    pub before: u64,
}

/// Holds every stage to rows in = rows out + dropped, and each to the one before. Also in release builds.
///
/// # Errors
/// [`Imbalance`] at the first stage that does not add up.
pub fn check(stages: &[StageCount]) -> Result<(), Imbalance> {
    let mut before = stages.first().map_or(0, |s| s.rows_in);
    for s in stages {
        let misplaced = s.dropped.keys().any(|reason| reason.stage() != s.stage);
        if misplaced || s.rows_in != before || s.rows_in != s.rows_out + s.total_dropped() {
            let &StageCount { stage, rows_in, rows_out, .. } = s;
            return Err(Imbalance { stage, rows_in, rows_out, dropped: s.total_dropped(), before });
        }
        before = s.rows_out;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(stage: Stage, rows_in: u64, rows_out: u64, dropped: &[(Dropped, u64)]) -> StageCount {
        StageCount { stage, rows_in, rows_out, dropped: dropped.iter().copied().collect() }
    }

    #[test]
    fn one_lost_row_is_found_at_its_stage() {
        let good = [stage(Stage::Read, 10, 8, &[(Dropped::Malformed, 2)]), stage(Stage::Clean, 8, 7, &[(Dropped::Denied, 1)])];
        assert_eq!(check(&good), Ok(()));
        for (at, broken) in [
            (Stage::Read, [stage(Stage::Read, 10, 7, &[(Dropped::Malformed, 2)]), good[1].clone()]),
            (Stage::Clean, [good[0].clone(), stage(Stage::Clean, 7, 6, &[(Dropped::Denied, 1)])]),
            (Stage::Clean, [good[0].clone(), stage(Stage::Clean, 8, 7, &[(Dropped::Malformed, 1)])]),
        ] {
            assert_eq!(check(&broken).map_err(|e| e.stage), Err(at));
        }
    }
}
