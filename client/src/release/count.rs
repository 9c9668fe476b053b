//! What may be counted, and how far one unit moves it (privacy.md D2, D31; bug classes B15, B27). The only place of a release that reads
//! records; what it answers is exact and leaves with noise only. Knows no ledger.

use corpus::Record;
use protocol::hash::sha256;
use protocol::plan::Unit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Units: persons, or records where the records name nobody
    Units,
    /// Records, at most so many of each unit
    Records,
    /// Records of each named label, at most so many of each unit over all labels
    Labels,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::Records => "records",
            Self::Labels => "labels",
        }
    }
}

/// How many values the answer has.
pub(crate) fn values(what: What, labels: &[String]) -> u64 {
    match what {
        What::Units | What::Records => 1,
        What::Labels => u64::try_from(labels.len()).unwrap_or(u64::MAX),
    }
}

/// L2 sensitivity to adding or removing one unit. A unit is one of the units, and at most `cap` of the records. Its records may all be of one
/// label, so that a histogram moves by as much as the count does: the vector that it adds has non-negative whole entries that sum to at most
/// `cap`, hence a length of at most `cap`, reached where one entry has all.
pub(crate) fn sensitivity(what: What, cap: u64) -> u64 {
    match what {
        What::Units => 1,
        What::Records | What::Labels => cap,
    }
}

/// The exact counts. Every unit's part depends on its own records alone: which of them count, where it has more than `cap`, is decided by the
/// order of keyed hashes, and no text of one unit is compared with another's.
pub(crate) fn counts(records: &[Record], unit: Unit, what: What, cap: u64, labels: &[String], seed: u64) -> Vec<i64> {
    let units = by_unit(records, unit);
    let cap = usize::try_from(cap).unwrap_or(usize::MAX);
    match what {
        What::Units => vec![whole(units.len())],
        What::Records => vec![units.iter().fold(0i64, |sum, u| sum.saturating_add(whole(u.len().min(cap))))],
        What::Labels => {
            let mut out = vec![0i64; labels.len()];
            for unit in units {
                for at in picked(&unit, cap, labels, seed) {
                    out[at] = out[at].saturating_add(1);
                }
            }
            out
        }
    }
}

fn whole(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A record without a person is its own unit, as in training.
fn by_unit(records: &[Record], unit: Unit) -> Vec<Vec<&Record>> {
    let (mut persons, mut alone) = (BTreeMap::<&str, Vec<&Record>>::new(), Vec::new());
    for record in records {
        match (unit, record.user.as_deref()) {
            (Unit::User, Some(person)) => persons.entry(person).or_default().push(record),
            (Unit::User, None) | (Unit::Record, _) => alone.push(vec![record]),
        }
    }
    persons.into_values().chain(alone).collect()
}

/// Places among `labels` of the records that count: those of named labels, the first `cap` of them by keyed hash.
fn picked(records: &[&Record], cap: usize, labels: &[String], seed: u64) -> Vec<usize> {
    let place = |r: &Record| labels.iter().position(|l| *l == r.label);
    let mut named: Vec<(&Record, usize)> = records.iter().copied().filter_map(|r| Some((r, place(r)?))).collect();
    if named.len() > cap {
        let key = |r: &Record| sha256(&[&seed.to_le_bytes(), r.label.as_bytes(), b"\0", r.text.as_bytes()]);
        named.sort_by_cached_key(|(r, _)| key(r));
    }
    named.into_iter().take(cap).map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(text: u8, label: u8, user: Option<u8>) -> Record {
        let user = user.map(|u| format!("p{u}"));
        Record { text: format!("text {text}"), label: format!("l{label}"), user, language: None }
    }
    fn labels() -> Vec<String> {
        (0..3).map(|l| format!("l{l}")).collect()
    }
    fn distance2(a: &[i64], b: &[i64]) -> i64 {
        a.iter().zip(b).map(|(x, y)| (x - y).pow(2)).sum()
    }

    #[test]
    fn counts_are_what_they_say() {
        let said = [
            record(1, 0, Some(1)),
            record(2, 0, Some(1)),
            record(3, 1, Some(1)),
            record(4, 2, Some(2)),
            record(5, 7, Some(2)),
            record(5, 1, None),
        ];
        let of = |unit, what, cap| counts(&said, unit, what, cap, &labels(), 3);
        assert_eq!((of(Unit::User, What::Units, 9), of(Unit::Record, What::Units, 1)), (vec![3], vec![6]));
        assert_eq!((of(Unit::User, What::Records, 2), of(Unit::User, What::Records, 9)), (vec![5], vec![6]));
        assert_eq!((of(Unit::User, What::Labels, 9), of(Unit::Record, What::Labels, 1)), (vec![2, 2, 1], vec![2, 2, 1]));
        assert_eq!(of(Unit::User, What::Labels, 2).iter().sum::<i64>(), 4, "two of the first person, one of the second, one of nobody");
        assert_eq!(counts(&[], Unit::User, What::Labels, 1, &labels(), 3), [0, 0, 0]);
    }

    /// A person with all records under one label moves a histogram by the whole cap: nothing below it would be a sensitivity.
    #[test]
    fn the_sensitivity_is_reached() {
        let many: Vec<Record> = (0..9).map(|t| record(t, 1, Some(1))).collect();
        for cap in [1u64, 2, 5] {
            for what in [What::Units, What::Records, What::Labels] {
                let (with, without) =
                    (counts(&many, Unit::User, what, cap, &labels(), 1), counts(&[], Unit::User, what, cap, &labels(), 1));
                assert_eq!(distance2(&with, &without), i64::try_from(sensitivity(what, cap)).unwrap().pow(2), "{what:?} {cap}");
            }
        }
    }

    proptest! {
        /// D2: all records of any one unit, added anywhere, move the answer by the sensitivity at most; also where persons share texts.
        #[test]
        fn one_unit_moves_no_count_by_more_than_the_sensitivity(
            said in prop::collection::vec((0..6u8, 0..5u8, prop::option::of(0..5u8)), 0..40),
            who in 0..5u8, cap in 1..6u64, seed in any::<u64>(), by_record in any::<bool>(), turn in 0..40usize,
        ) {
            let mut all: Vec<Record> = said.iter().map(|(t, l, u)| record(*t, *l, *u)).collect();
            let unit = if by_record { Unit::Record } else { Unit::User };
            let cap = if by_record { 1 } else { cap };
            let person = Some(format!("p{who}"));
            let rest: Vec<Record> = if by_record {
                all.iter().skip(1).cloned().collect()
            } else {
                all.iter().filter(|r| r.user != person).cloned().collect()
            };
            if !all.is_empty() {
                let at = turn % all.len();
                all.rotate_left(at);
            }
            for what in [What::Units, What::Records, What::Labels] {
                let (with, without) = (counts(&all, unit, what, cap, &labels(), seed), counts(&rest, unit, what, cap, &labels(), seed));
                let bound = i64::try_from(sensitivity(what, cap)).unwrap();
                prop_assert!(distance2(&with, &without) <= bound * bound, "{:?}: {:?} and {:?}, cap {}", what, with, without, cap);
                prop_assert_eq!(u64::try_from(with.len()).unwrap(), values(what, &labels()));
            }
        }
    }
}
