//! Examples ready for training: token ids, a class, and the unit they belong to. Must not know a tensor or the text.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::labels::LabelSet;
use crate::record::Record;
use crate::report::{RejectReason, Report};
use crate::tokenize::ToSequence;

/// One example.
///
/// # Privacy
/// Token ids can be turned back into much of the text. `Debug` prints their number only.
#[derive(Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids as the tokenizer gives them, at most its limit, not padded.
    pub tokens: Vec<u32>,
    /// Position of the label in the label set.
    pub class: u32,
    /// Index of the unit of privacy, `0..units`.
    pub unit: u32,
    /// Position of its record among those that it was made from.
    pub record: usize,
}

impl fmt::Debug for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Example").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

/// How many records one unit may bring, and the key that picks them.
///
/// # Privacy
/// Bounds what one user can contribute. Which records stay is decided by the key and the text alone, not by their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitCap {
    /// Most records of one unit.
    pub max_records: usize,
    /// Key of the order in which records are picked.
    pub seed: u64,
}

/// The examples of one institution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The examples, in the order of their records.
    pub examples: Vec<Example>,
    /// Number of units; at most the number of examples.
    pub units: usize,
    /// Number of classes of the label set.
    pub classes: usize,
}

impl Dataset {
    /// Turns records into examples. The unit is the user where a record has one, and the record itself where it has none.
    pub fn from_records(records: &[Record], labels: &LabelSet, tokenizer: &dyn ToSequence, cap: &UnitCap) -> (Self, Report) {
        let mut report = Report::default();
        let mut declared = Vec::with_capacity(records.len());
        for (place, record) in records.iter().enumerate() {
            match labels.class_of(&record.label) {
                Some(class) => declared.push((place, record, class)),
                None => report.reject(RejectReason::UnknownLabel),
            }
        }
        let over = over_cap(&declared, cap);
        let mut units = Units::default();
        let mut examples = Vec::with_capacity(declared.len());
        for (&(place, record, class), over) in declared.iter().zip(over) {
            if over {
                report.reject(RejectReason::OverUnitCap);
                continue;
            }
            examples.push(Example { tokens: tokenizer.sequence(&record.text), class, unit: units.index_of(record), record: place });
        }
        report.kept = u64::try_from(examples.len()).unwrap_or(u64::MAX);
        (Self { examples, units: units.count, classes: labels.classes() }, report)
    }

    /// For each unit, the indices of its examples.
    pub fn by_unit(&self) -> Vec<Vec<usize>> {
        let mut out = vec![Vec::new(); self.units];
        for (index, example) in self.examples.iter().enumerate() {
            if let Some(unit) = usize::try_from(example.unit).ok().and_then(|unit| out.get_mut(unit)) {
                unit.push(index);
            }
        }
        out
    }

    /// Examples of each class.
    pub fn class_counts(&self) -> Vec<u64> {
        let mut out = vec![0; self.classes];
        for example in &self.examples {
            if let Some(count) = usize::try_from(example.class).ok().and_then(|class| out.get_mut(class)) {
                *count += 1;
            }
        }
        out
    }
}

/// Units in the order of their first example.
#[derive(Default)]
struct Units<'a> {
    of_user: BTreeMap<&'a str, u32>,
    count: usize,
}

impl<'a> Units<'a> {
    fn index_of(&mut self, record: &'a Record) -> u32 {
        let next = u32::try_from(self.count).expect("records of one institution are far fewer than 2^32: the reader has a limit");
        let unit = match record.user.as_deref() {
            Some(user) => *self.of_user.entry(user).or_insert(next),
            None => next,
        };
        self.count += usize::from(unit == next);
        unit
    }
}

/// For each record, whether its unit already has its share. Records are picked in the order of a keyed hash of their text.
fn over_cap(records: &[(usize, &Record, u32)], cap: &UnitCap) -> Vec<bool> {
    let mut of_user: BTreeMap<&str, Vec<([u8; 32], usize)>> = BTreeMap::new();
    for (index, (_, record, _)) in records.iter().enumerate() {
        if let Some(user) = record.user.as_deref() {
            of_user.entry(user).or_default().push((keyed_digest(cap.seed, &record.text), index));
        }
    }
    // A record without a user is its own unit, so that only a cap of none leaves it out.
    let mut over = vec![cap.max_records == 0; records.len()];
    for mut picks in of_user.into_values() {
        picks.sort_unstable();
        for (_, index) in picks.into_iter().skip(cap.max_records) {
            over[index] = true;
        }
    }
    over
}

fn keyed_digest(seed: u64, text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"concordat/corpus/unit-cap/v1\0");
    hash.update(seed.to_be_bytes());
    hash.update(text.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize::Tokenizer;

    fn record(text: &str, label: &str, user: Option<&str>) -> Record {
        Record { text: text.into(), label: label.into(), user: user.map(Into::into), language: None }
    }

    fn labels() -> LabelSet {
        LabelSet::new(&["a", "b"]).unwrap()
    }

    #[test]
    fn the_unit_is_the_user_or_else_the_record() {
        let records = [
            record("one", "a", Some("u1")),
            record("two", "b", None),
            record("three", "a", Some("u2")),
            record("four", "b", Some("u1")),
            record("five", "zzz", Some("u9")),
        ];
        let cap = UnitCap { max_records: 10, seed: 1 };
        let (data, report) = Dataset::from_records(&records, &labels(), &Tokenizer::new(100, 8).unwrap(), &cap);
        assert_eq!(data.examples.iter().map(|e| (e.class, e.unit)).collect::<Vec<_>>(), [(0, 0), (1, 1), (0, 2), (1, 0)]);
        assert_eq!(data.examples.iter().map(|e| e.record).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!((data.units, data.by_unit(), data.class_counts()), (3, vec![vec![0, 3], vec![1], vec![2]], vec![2, 2]));
        assert_eq!(report.to_string(), "kept 4, left out 1; unknown_label 1");
    }

    #[test]
    fn no_unit_brings_more_than_its_cap_and_order_does_not_matter() {
        let mut records: Vec<_> = (0..20).map(|i| record(&format!("text {i}"), "a", Some(["u", "v"][i % 2]))).collect();
        let cap = UnitCap { max_records: 3, seed: 5 };
        let tokenizer = Tokenizer::new(5000, 8).unwrap();
        let picked = |records: &[Record]| {
            let (data, report) = Dataset::from_records(records, &labels(), &tokenizer, &cap);
            assert!(data.by_unit().iter().all(|unit| unit.len() == 3));
            assert_eq!(report.rejected[&RejectReason::OverUnitCap], 14);
            let mut tokens: Vec<_> = data.examples.into_iter().map(|e| e.tokens).collect();
            tokens.sort();
            tokens
        };
        let forwards = picked(&records);
        records.reverse();
        assert_eq!(picked(&records), forwards);
    }

    #[test]
    fn debug_of_a_dataset_shows_no_token() {
        let cap = UnitCap { max_records: 1, seed: 0 };
        let (data, _) = Dataset::from_records(&[record("canary", "b", None)], &labels(), &Tokenizer::new(9999, 8).unwrap(), &cap);
        let shown = format!("{:?}", data.examples[0]);
        assert_eq!(shown, "Example { tokens: 2, .. }");
    }
}
