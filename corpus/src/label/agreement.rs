//! Do annotators agree beyond chance? Cohen's and Fleiss' kappa. Knows counts of categories, no text.

use super::Annotation;
use std::collections::{BTreeMap, BTreeSet};

/// A kappa with what it was computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kappa {
    /// (observed − expected) ÷ (1 − expected); none where chance alone would agree always, for then the figure means nothing.
    pub kappa: Option<f64>,
    /// Share of agreeing pairs.
    pub observed: f64,
    /// Share that would agree by chance.
    pub expected: f64,
    /// Items counted.
    pub items: usize,
}

/// Why there is no figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KappaError {
    /// Nothing was rated by enough raters.
    #[error("no item was rated by all raters")]
    NoItems,
    /// An item with another number of ratings than the first, or fewer than two.
    #[error("item {item} has {got} ratings, expected {expected} and at least 2")]
    Ratings {
        /// From 0.
        item: usize,
        /// Its ratings.
        got: u64,
        /// Those of the first item.
        expected: u64,
    },
}

#[expect(clippy::cast_precision_loss, reason = "counts of annotations are far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn kappa(observed: f64, expected: f64, items: usize) -> Kappa {
    let kappa = (expected < 1.0).then(|| (observed - expected) / (1.0 - expected));
    Kappa { kappa, observed, expected, items }
}

/// Cohen's kappa of two raters over the items that both rated.
///
/// # Errors
/// [`KappaError::NoItems`].
///
/// # Source
/// Cohen 1960, *A coefficient of agreement for nominal scales*.
pub fn cohen<C: Ord + Clone>(pairs: &[(C, C)]) -> Result<Kappa, KappaError> {
    let n = u64::try_from(pairs.len()).unwrap_or(u64::MAX);
    if n == 0 {
        return Err(KappaError::NoItems);
    }
    let count = |of: &dyn Fn(&(C, C)) -> C| {
        pairs.iter().fold(BTreeMap::<C, u64>::new(), |mut counts, pair| {
            *counts.entry(of(pair)).or_default() += 1;
            counts
        })
    };
    let (left, right) = (count(&|p| p.0.clone()), count(&|p| p.1.clone()));
    let agree = pairs.iter().filter(|(a, b)| a == b).count();
    let expected = left.iter().map(|(c, &a)| ratio(a, n) * ratio(right.get(c).copied().unwrap_or(0), n)).sum();
    Ok(kappa(ratio(u64::try_from(agree).unwrap_or(0), n), expected, pairs.len()))
}

/// Fleiss' kappa: `counts[item][category]` ratings, the same number of them for every item.
///
/// # Errors
/// [`KappaError`].
///
/// # Source
/// Fleiss 1971, *Measuring nominal scale agreement among many raters*.
pub fn fleiss(counts: &[Vec<u64>]) -> Result<Kappa, KappaError> {
    let raters = counts.first().ok_or(KappaError::NoItems)?.iter().sum::<u64>();
    let categories = counts.iter().map(Vec::len).max().unwrap_or(0);
    for (item, row) in counts.iter().enumerate() {
        let got = row.iter().sum::<u64>();
        if got != raters || raters < 2 {
            return Err(KappaError::Ratings { item, got, expected: raters });
        }
    }
    let items = u64::try_from(counts.len()).unwrap_or(u64::MAX);
    let pairs = |row: &Vec<u64>| row.iter().map(|&n| n * n.saturating_sub(1)).sum::<u64>();
    let observed = counts.iter().map(|row| ratio(pairs(row), raters * (raters - 1))).sum::<f64>() / ratio(items, 1);
    let share = |c: usize| ratio(counts.iter().map(|row| row.get(c).copied().unwrap_or(0)).sum(), items * raters);
    let expected = (0..categories).map(|c| share(c).powi(2)).sum();
    Ok(kappa(observed, expected, counts.len()))
}

/// What each annotator called each text: text → annotator → first label. Texts are matched as they are; annotations without a label or an
/// annotator are left out, and of two by one annotator the later counts.
pub fn ratings(annotations: &[Annotation]) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut out: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for a in annotations {
        if let (Some(who), Some(label)) = (&a.annotator, a.labels.first()) {
            out.entry(&a.text).or_default().insert(who, label);
        }
    }
    out
}

/// Counts for [`fleiss`] of the items that the most common number of annotators rated.
pub fn fleiss_counts(ratings: &BTreeMap<&str, BTreeMap<&str, &str>>) -> Vec<Vec<u64>> {
    let labels: Vec<&str> = ratings.values().flat_map(BTreeMap::values).copied().collect::<BTreeSet<_>>().into_iter().collect();
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    ratings.values().map(BTreeMap::len).filter(|&n| n >= 2).for_each(|n| *sizes.entry(n).or_default() += 1);
    let Some(most) = sizes.into_iter().max_by_key(|&(n, items)| (items, n)).map(|(n, _)| n) else { return Vec::new() };
    let row = |said: &BTreeMap<&str, &str>| labels.iter().map(|l| said.values().map(|v| u64::from(v == l)).sum()).collect();
    ratings.values().filter(|said| said.len() == most).map(row).collect()
}

/// Cohen's kappa of every two annotators with an item in common.
pub fn cohen_pairs<'a>(ratings: &BTreeMap<&str, BTreeMap<&'a str, &str>>) -> BTreeMap<(&'a str, &'a str), Kappa> {
    let who: BTreeSet<&str> = ratings.values().flat_map(BTreeMap::keys).copied().collect();
    let mut out = BTreeMap::new();
    for (i, &a) in who.iter().enumerate() {
        for &b in who.iter().skip(i + 1) {
            let both = ratings.values().filter_map(|said| Some((*said.get(a)?, *said.get(b)?))).collect::<Vec<_>>();
            if let Ok(k) = cohen(&both) {
                out.insert((a, b), k);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repeat(pairs: &[(u8, u8, usize)]) -> Vec<(u8, u8)> {
        pairs.iter().flat_map(|&(a, b, n)| std::iter::repeat_n((a, b), n)).collect()
    }

    /// Two raters over 50 items, 20 and 15 in agreement: 0.7 observed, 0.5 expected. A textbook's worked example, computable by hand.
    #[test]
    fn cohens_kappa_of_the_worked_example() {
        let k = cohen(&repeat(&[(1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15)])).unwrap();
        assert!((k.observed - 0.7).abs() < 1e-12 && (k.expected - 0.5).abs() < 1e-12);
        assert!((k.kappa.unwrap() - 0.4).abs() < 1e-12);
        // Same observed agreement, other margins: 0.6 observed, 0.46 expected.
        let k = cohen(&repeat(&[(1, 1, 25), (1, 0, 35), (0, 1, 5), (0, 0, 35)])).unwrap();
        assert!((k.kappa.unwrap() - (0.6 - 0.46) / 0.54).abs() < 1e-12);
    }

    /// Ten items, fourteen raters, five categories: the example of Fleiss' paper as it is commonly retold, 0.210.
    #[test]
    fn fleiss_kappa_of_the_worked_example() {
        let table = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let k = fleiss(&table.map(|row| row.to_vec())).unwrap();
        assert!((k.observed - 0.378).abs() < 5e-4 && (k.expected - 0.213).abs() < 5e-4);
        assert!((k.kappa.unwrap() - 0.210).abs() < 5e-4);
    }

    #[test]
    fn what_has_no_figure_has_none() {
        assert_eq!(cohen::<u8>(&[]), Err(KappaError::NoItems));
        assert_eq!(cohen(&[(1u8, 1u8)]).unwrap().kappa, None, "chance agrees always");
        assert_eq!(fleiss(&[]), Err(KappaError::NoItems));
        assert_eq!(fleiss(&[vec![1, 1], vec![2, 1]]), Err(KappaError::Ratings { item: 1, got: 3, expected: 2 }));
        assert_eq!(fleiss(&[vec![1, 0]]), Err(KappaError::Ratings { item: 0, got: 1, expected: 1 }));
    }

    proptest! {
        #[test]
        fn raters_who_agree_on_everything_have_kappa_one(labels in prop::collection::vec(0u8..4, 2..50)) {
            prop_assume!(labels.iter().collect::<BTreeSet<_>>().len() > 1);
            let pairs: Vec<_> = labels.iter().map(|&l| (l, l)).collect();
            prop_assert!((cohen(&pairs).unwrap().kappa.unwrap() - 1.0).abs() < 1e-12);
            let counts: Vec<_> = labels.iter().map(|&l| (0..4).map(|c| 3 * u64::from(c == l)).collect()).collect();
            prop_assert!((fleiss(&counts).unwrap().kappa.unwrap() - 1.0).abs() < 1e-12);
        }

        #[test]
        fn kappa_is_symmetric_and_at_most_one(pairs in prop::collection::vec((0u8..4, 0u8..4), 1..60)) {
            let turned: Vec<_> = pairs.iter().map(|&(a, b)| (b, a)).collect();
            let (a, b) = (cohen(&pairs).unwrap(), cohen(&turned).unwrap());
            prop_assert!((a.expected - b.expected).abs() < 1e-12);
            prop_assert!(a.kappa.is_none_or(|k| k <= 1.0 + 1e-12));
        }
    }
}
