//! Cleaning, de-duplication and the label check in one pass. Must not know files or tokens.

use crate::clean::{CleanError, CleanLimits, clean};
use crate::dedup::{Deduplicator, Seen};
use crate::labels::LabelSet;
use crate::record::Record;
use crate::report::{RejectReason, Report};
use std::collections::BTreeMap;

/// Among whose records equal texts are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uniqueness {
    /// Everybody's: for splits and evaluation, where a text on both sides would inflate figures.
    Everywhere,
    /// One person's, and nobody's where records have no persons: for training under differential privacy. There the presence of one
    /// person must not decide whether another person's record is kept (privacy.md D2).
    WithinPerson,
}

/// The records that can be used, their texts in normal form, and what became of the others; texts are unique everywhere. Order is
/// kept; of equal texts the first one stays.
pub fn prepare(records: Vec<Record>, labels: &LabelSet, limits: &CleanLimits) -> (Vec<Record>, Report) {
    prepare_within(records, labels, limits, Uniqueness::Everywhere)
}

/// As [`prepare`], with a choice of whose texts are compared.
pub fn prepare_within(records: Vec<Record>, labels: &LabelSet, limits: &CleanLimits, unique: Uniqueness) -> (Vec<Record>, Report) {
    let mut report = Report::default();
    let mut persons: BTreeMap<Option<String>, Deduplicator> = BTreeMap::new();
    let mut kept = Vec::with_capacity(records.len());
    for mut record in records {
        let mut alone = Deduplicator::new();
        let seen = match (unique, &record.user) {
            (Uniqueness::Everywhere, _) => persons.entry(None).or_default(),
            (Uniqueness::WithinPerson, Some(user)) => persons.entry(Some(user.clone())).or_default(),
            (Uniqueness::WithinPerson, None) => &mut alone,
        };
        match checked(&record, labels, limits, seen) {
            Ok(text) => {
                record.text = text;
                kept.push(record);
            }
            Err(reason) => report.reject(reason),
        }
    }
    report.kept = u64::try_from(kept.len()).unwrap_or(u64::MAX);
    (kept, report)
}

fn checked(record: &Record, labels: &LabelSet, limits: &CleanLimits, seen: &mut Deduplicator) -> Result<String, RejectReason> {
    // The label first: a text under a foreign label must not push out its twin under a declared one.
    if labels.class_of(&record.label).is_none() {
        return Err(RejectReason::UnknownLabel);
    }
    let text = clean(&record.text, limits).map_err(|error| match error {
        CleanError::Empty => RejectReason::EmptyText,
        CleanError::TooShort { .. } => RejectReason::TooShort,
        CleanError::TooLong { .. } => RejectReason::TooLong,
    })?;
    match seen.note(&text, &record.label) {
        Seen::New => Ok(text),
        Seen::Duplicate => Err(RejectReason::Duplicate),
        Seen::ConflictingLabel => Err(RejectReason::ConflictingLabel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str, label: &str) -> Record {
        Record { text: text.into(), label: label.into(), user: None, language: None }
    }

    #[test]
    fn one_person_never_decides_what_is_kept_of_another() {
        let labels = LabelSet::new(&["a", "b"]).unwrap();
        let said = |text: &str, label: &str, user: &str| Record { user: Some(user.into()), ..record(text, label) };
        let others = vec![said("same", "a", "p2"), said("same", "a", "p2"), said("more", "b", "p3")];
        let kept = |records: Vec<Record>| prepare_within(records, &labels, &CleanLimits::default(), Uniqueness::WithinPerson).0;
        let without = kept(others.clone());
        let mut with = vec![said("same", "b", "p1"), said("more", "b", "p1")];
        with.extend(others);
        let with: Vec<_> = kept(with).into_iter().filter(|r| r.user.as_deref() != Some("p1")).collect();
        assert_eq!(with, without, "neighbours differ in one person's records and in nothing else");
        assert_eq!(kept(vec![record("same", "a"), record("same", "b")]).len(), 2, "records without persons are units of their own");
    }

    #[test]
    fn every_record_is_kept_or_counted_once() {
        let labels = LabelSet::new(&["a", "b"]).unwrap();
        let limits = CleanLimits { min_chars: 2, max_chars: 5 };
        let records = vec![
            record("ｈｉ  x", "a"),
            record("hi x", "a"),
            record("hi x", "b"),
            record("hi x", "c"),
            record("\u{200b}", "a"),
            record("z", "a"),
            record("abcdef", "a"),
            record("new", "c"),
            record("new", "b"),
        ];
        let total = records.len() as u64;
        let (kept, report) = prepare(records, &labels, &limits);
        assert_eq!(kept, [record("hi x", "a"), record("new", "b")]);
        assert_eq!(report.kept + report.total_rejected(), total);
        assert_eq!(
            report.to_string(),
            "kept 2, left out 7; empty_text 1; too_short 1; too_long 1; duplicate 1; conflicting_label 1; unknown_label 2"
        );
    }
}
