//! What became of the records, as counts. Must not know the text of any of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Why a record was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectReason {
    /// The line is longer than the limit.
    LineTooLong,
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is not JSON.
    NotJson,
    /// The line is JSON, but not an object.
    NotAnObject,
    /// A declared field is missing.
    MissingField,
    /// A declared field has the wrong type.
    WrongType,
    /// The text is empty, or nothing is left of it after cleaning.
    EmptyText,
    /// The label is empty.
    EmptyLabel,
    /// The label is a list that is not one of parts of the text, or of parts that overlap.
    BadSpans,
    /// The cleaned text is shorter than the limit.
    TooShort,
    /// The cleaned text is longer than the limit.
    TooLong,
    /// The same normal form was seen before, with the same label.
    Duplicate,
    /// The same normal form was seen before, with another label.
    ConflictingLabel,
    /// The label is not in the declared set.
    UnknownLabel,
    /// The unit has more records than the cap.
    OverUnitCap,
    /// The tokenizer makes nothing of the text, or fails on it.
    NoTokens,
}

impl RejectReason {
    /// A stable name for reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::EmptyText => "empty_text",
            Self::EmptyLabel => "empty_label",
            Self::BadSpans => "bad_spans",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Duplicate => "duplicate",
            Self::ConflictingLabel => "conflicting_label",
            Self::UnknownLabel => "unknown_label",
            Self::OverUnitCap => "over_unit_cap",
            Self::NoTokens => "no_tokens",
        }
    }
}

/// Counts of what was kept and what was left out, by reason.
///
/// # Privacy
/// Exact counts of one institution: for its own operator, not for the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records that came through.
    pub kept: u64,
    /// Records left out, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
}

impl Report {
    /// Counts one record that was left out.
    pub fn reject(&mut self, reason: RejectReason) {
        *self.rejected.entry(reason).or_insert(0) += 1;
    }

    /// All records left out.
    pub fn total_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// The report of this step followed by a later one: what the later step kept, what either left out.
    pub fn then(mut self, later: Self) -> Self {
        self.kept = later.kept;
        for (reason, count) in later.rejected {
            *self.rejected.entry(reason).or_insert(0) += count;
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kept {}, left out {}", self.kept, self.total_rejected())?;
        for (reason, count) in &self.rejected {
            write!(f, "; {} {count}", reason.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_add_their_rejects_and_keep_the_last_count() {
        let mut first = Report { kept: 5, ..Report::default() };
        first.reject(RejectReason::Duplicate);
        let mut second = Report { kept: 3, ..Report::default() };
        second.reject(RejectReason::Duplicate);
        second.reject(RejectReason::UnknownLabel);
        let both = first.then(second);
        assert_eq!(both.to_string(), "kept 3, left out 3; duplicate 2; unknown_label 1");
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"{"kept":3,"rejected":{"duplicate":2,"unknown_label":1}}"#);
    }
}
