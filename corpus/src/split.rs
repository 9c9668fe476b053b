//! Who trains on what: a hash split into training and held-out, and a seeded partition into institutions. Must not know tokens.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

use crate::clean::normal_form;
use crate::record::Record;

/// Most institutions that a partition makes.
pub const MAX_INSTITUTIONS: usize = 4096;

/// Why records cannot be partitioned.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// Number of institutions out of range.
    #[error("a partition has 1 to {MAX_INSTITUTIONS} institutions, got {got}")]
    Institutions {
        /// As given.
        got: usize,
    },
    /// Each institution needs at least one user.
    #[error("{units} users cannot be shared out to {institutions} institutions")]
    TooFewUnits {
        /// Distinct users, a record without one counting as its own.
        units: usize,
        /// Institutions asked for.
        institutions: usize,
    },
    /// Concentration must be a positive finite number.
    #[error("concentration is {got}, expected a positive finite number")]
    Concentration {
        /// As given.
        got: f64,
    },
}

/// Records for training and records to judge by.
#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    /// To learn from.
    pub train: Vec<Record>,
    /// To judge by, never to learn from.
    pub held_out: Vec<Record>,
}

/// Splits by a keyed hash of the normal form: equal texts always fall on the same side, at every institution and in every run.
///
/// # Units
/// `held_out_permille` in thousandths; 1000 or more holds everything out.
pub fn hash_split(records: Vec<Record>, seed: u64, held_out_permille: u32) -> Split {
    let (held_out, train) = records.into_iter().partition(|record| is_held_out(&record.text, seed, held_out_permille));
    Split { train, held_out }
}

/// Whether a text is held out under this seed.
pub fn is_held_out(text: &str, seed: u64, held_out_permille: u32) -> bool {
    let mut hash = Sha256::new();
    hash.update(b"concordat/corpus/split/v1\0");
    hash.update(seed.to_be_bytes());
    hash.update(normal_form(text).as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let head = digest.iter().take(8).fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    head % 1000 < u64::from(held_out_permille)
}

/// Shares records out to institutions without overlap, each with its own mix of labels: for every label the shares are drawn from a
/// symmetric Dirichlet distribution. A small `concentration` (0.1) gives each label to few institutions, a large one (100) to all.
///
/// A user's records stay together, so that no user is a unit of two institutions; the user's first label decides. Every institution
/// gets at least one user. Order within an institution is that of `records`.
///
/// # Errors
/// [`PartitionError`]: see its variants.
///
/// # Source
/// Hsu, Qi, Brown, arXiv 1909.06335, section 2 (Dirichlet label skew).
pub fn partition(records: Vec<Record>, institutions: usize, seed: u64, concentration: f64) -> Result<Vec<Vec<Record>>, PartitionError> {
    if !(1..=MAX_INSTITUTIONS).contains(&institutions) {
        return Err(PartitionError::Institutions { got: institutions });
    }
    if !(concentration.is_finite() && concentration > 0.0) {
        return Err(PartitionError::Concentration { got: concentration });
    }
    let (unit_of, units) = units_of(&records);
    if units.len() < institutions {
        return Err(PartitionError::TooFewUnits { units: units.len(), institutions });
    }
    let labels: Vec<&str> = units.iter().map(|&first| records[first].label.as_str()).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut home = draw_homes(&labels, institutions, concentration, &mut rng);
    leave_none_empty(&mut home, institutions);
    let mut out: Vec<Vec<Record>> = (0..institutions).map(|_| Vec::new()).collect();
    for (record, unit) in records.into_iter().zip(unit_of) {
        out[home[unit]].push(record);
    }
    Ok(out)
}

/// For each record its unit, and for each unit its first record.
fn units_of(records: &[Record]) -> (Vec<usize>, Vec<usize>) {
    let mut of_user: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut unit_of, mut firsts) = (Vec::with_capacity(records.len()), Vec::new());
    for (index, record) in records.iter().enumerate() {
        let next = firsts.len();
        let unit = record.user.as_deref().map_or(next, |user| *of_user.entry(user).or_insert(next));
        if unit == next {
            firsts.push(index);
        }
        unit_of.push(unit);
    }
    (unit_of, firsts)
}

fn draw_homes(labels: &[&str], institutions: usize, concentration: f64, rng: &mut ChaCha20Rng) -> Vec<usize> {
    let mut shares: BTreeMap<&str, Vec<f64>> = labels.iter().map(|&label| (label, Vec::new())).collect();
    // In the order of the alphabet, so that the order of records does not change the shares.
    for share in shares.values_mut() {
        *share = (0..institutions).map(|_| gamma(concentration, rng)).collect();
    }
    labels.iter().map(|label| pick(&shares[label], rng)).collect()
}

/// Moves one unit from the largest institution to each empty one.
fn leave_none_empty(home: &mut [usize], institutions: usize) {
    let mut sizes = vec![0usize; institutions];
    home.iter().for_each(|&h| sizes[h] += 1);
    for empty in 0..institutions {
        if sizes[empty] > 0 {
            continue;
        }
        let largest = (0..institutions).rev().max_by_key(|&i| sizes[i]).unwrap_or(0);
        if let Some(moved) = home.iter_mut().find(|h| **h == largest) {
            *moved = empty;
            sizes[largest] -= 1;
            sizes[empty] += 1;
        }
    }
}

/// An index, drawn in proportion to the weights.
fn pick(weights: &[f64], rng: &mut ChaCha20Rng) -> usize {
    let mut left = unit_interval(rng) * weights.iter().sum::<f64>();
    weights
        .iter()
        .position(|weight| {
            left -= weight;
            left < 0.0
        })
        // Rounding can leave a sliver at the end.
        .unwrap_or(weights.len().saturating_sub(1))
}

/// One draw of Gamma(shape, 1).
///
/// # Source
/// Marsaglia, Tsang, *A simple method for generating gamma variables*, ACM TOMS 26 (2000), with their boost for shapes below one.
fn gamma(shape: f64, rng: &mut ChaCha20Rng) -> f64 {
    if shape < 1.0 {
        let boost = unit_interval(rng).powf(1.0 / shape);
        // Never zero: with all shares of a label at zero nobody could get it.
        return (gamma(shape + 1.0, rng) * boost).max(f64::MIN_POSITIVE);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && unit_interval(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// One draw of the standard normal distribution (Box and Muller).
fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let radius = (-2.0 * unit_interval(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit_interval(rng)).cos()
}

/// Uniform in (0, 1): never zero, so that its logarithm is finite.
fn unit_interval(rng: &mut ChaCha20Rng) -> f64 {
    rng.random::<f64>().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Vec<Record> {
        let label = |i: usize| ["a", "b", "c"][i % 3].to_owned();
        let user = |i: usize| (i % 5 < 2).then(|| format!("user{}", i / 10));
        (0..count).map(|i| Record { text: format!("text {i}"), label: label(i), user: user(i), language: None }).collect()
    }

    #[test]
    fn equal_texts_fall_on_the_same_side() {
        assert_eq!(is_held_out("Ａ b", 3, 500), is_held_out("A  b", 3, 500));
        let split = hash_split(records(4000), 7, 200);
        assert_eq!(split.train.len() + split.held_out.len(), 4000);
        // 800 expected with a standard deviation of 25: six of them, one false alarm in five hundred million seeds.
        assert!((650..950).contains(&split.held_out.len()), "{}", split.held_out.len());
        assert!(hash_split(records(50), 7, 0).held_out.is_empty());
        assert!(hash_split(records(50), 7, 1000).train.is_empty());
    }

    #[test]
    fn a_partition_loses_nothing_repeats_nothing_and_keeps_users_together() {
        let parts = partition(records(500), 4, 11, 0.3).unwrap();
        let mut texts: Vec<_> = parts.iter().flatten().map(|r| r.text.clone()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!((texts.len(), parts.iter().map(Vec::len).sum::<usize>()), (500, 500));
        let mut home = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            for user in part.iter().filter_map(|r| r.user.clone()) {
                assert_eq!(*home.entry(user).or_insert(index), index);
            }
        }
        assert_eq!(partition(records(500), 4, 11, 0.3).unwrap(), parts);
        assert_ne!(partition(records(500), 4, 12, 0.3).unwrap(), parts);
    }

    #[test]
    fn a_small_concentration_skews_more_than_a_large_one() {
        // Mean over seeds of the largest share of label a: about 0.3 for 100, about 0.8 for 0.1; fixed seeds, so no false alarms.
        let largest = |concentration| {
            let share = |seed| {
                let parts = partition(records(600), 4, seed, concentration).unwrap();
                parts.iter().map(|p| p.iter().filter(|r| r.label == "a").count()).max().unwrap() as f64 / 200.0
            };
            (0..10).map(share).sum::<f64>() / 10.0
        };
        assert!(largest(0.1) > 0.55 && largest(100.0) < 0.4, "{} {}", largest(0.1), largest(100.0));
    }

    #[test]
    fn no_institution_is_left_empty() {
        let bare = |count| records(count).into_iter().map(|r| Record { user: None, ..r }).collect::<Vec<_>>();
        assert!(partition(bare(6), 6, 1, 0.01).unwrap().iter().all(|part| part.len() == 1));
        assert_eq!(partition(bare(3), 4, 1, 1.0), Err(PartitionError::TooFewUnits { units: 3, institutions: 4 }));
        assert_eq!(partition(bare(3), 0, 1, 1.0), Err(PartitionError::Institutions { got: 0 }));
        assert!(matches!(partition(bare(3), 2, 1, f64::INFINITY), Err(PartitionError::Concentration { .. })));
    }
}
