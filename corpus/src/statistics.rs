//! What institutions may know together about their records: counts, means, variances, quantiles, labels, so that constants of cleaning can be
//! common. Turns one unit's records into integers of a fixed bound, and a summed vector into figures with intervals. Knows no noise but its
//! deviation, no ledger, no cipher.
//!
//! ```text
//! Layout -> contribution of each unit -> (privacy: clip, sum, noise, pay) -> (crypto: seal, sum, open) -> estimate
//! ```
//!
//! Every record's part is bounded by the layout alone: a number is clamped into a public range and counted from its middle, a threshold
//! count is one bucket, a label one class. So the bound on a unit, [`Layout::bound`], is public and no unit is shortened that keeps to the
//! cap on its records.

mod estimate;

pub use estimate::{Estimate, EstimateError, Figure, Moments};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Integers of one whole: numbers inside a range are rounded to 2^-10 of half the range.
pub const WHOLE: i64 = 1 << 10;
/// Most coordinates of all queries together.
pub const MAX_COORDINATES: usize = 1 << 16;
/// Most queries of a layout.
pub const MAX_QUERIES: usize = 256;
/// Most buckets of one query.
pub const MAX_BUCKETS: usize = 4096;
/// Longest name of a column, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What is asked about one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Query {
    /// Count, mean and variance of a number that is clamped into the range.
    Moments {
        /// Its column.
        column: String,
        /// Lowest value that counts as it is.
        low: f64,
        /// Highest.
        high: f64,
    },
    /// How many numbers lie below each threshold: quantiles.
    Thresholds {
        /// Its column.
        column: String,
        /// Ascending.
        cuts: Vec<f64>,
    },
    /// How often each label occurs; labels that are not listed are counted together, last.
    Labels {
        /// Its column.
        column: String,
        /// Public by being in the plan.
        labels: Vec<String>,
    },
}

/// A value of a record's column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// A number. Not finite counts as missing.
    Number(f64),
    /// A label.
    Label(&'a str),
}

/// Why queries are no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No query, or too many.
    #[error("{0} queries, expected 1 to {MAX_QUERIES}")]
    Queries(usize),
    /// A column without a name, or with a long one.
    #[error("query {0} names no column of 1 to {MAX_NAME_BYTES} bytes")]
    Name(usize),
    /// A range that is empty or not finite.
    #[error("query {0} has no range: low must be below high")]
    Range(usize),
    /// Thresholds that do not rise or are not finite, or too few or too many buckets.
    #[error("query {0} needs 1 to {MAX_BUCKETS} thresholds or labels, thresholds rising and labels each once")]
    Buckets(usize),
    /// Too many coordinates in all.
    #[error("{0} coordinates, expected at most {MAX_COORDINATES}")]
    Coordinates(usize),
    /// A cap of no record or of more than 65,536.
    #[error("{0} records per unit, expected 1 to 65536")]
    Records(u32),
}

/// Checked queries with their places in the summed vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    queries: Vec<Query>,
    starts: Vec<usize>,
    coordinates: usize,
    max_records: u32,
}

impl Query {
    /// Name of its column.
    pub fn column(&self) -> &str {
        match self {
            Self::Moments { column, .. } | Self::Thresholds { column, .. } | Self::Labels { column, .. } => column,
        }
    }

    fn coordinates(&self) -> usize {
        match self {
            Self::Moments { .. } => 3,
            Self::Thresholds { cuts, .. } => cuts.len() + 1,
            Self::Labels { labels, .. } => labels.len() + 1,
        }
    }

    /// Square of the longest vector that one record adds, in whole units: count, place in the range and its square are at most 1 each.
    fn square(&self) -> i64 {
        match self {
            Self::Moments { .. } => 3,
            Self::Thresholds { .. } | Self::Labels { .. } => 1,
        }
    }

    fn check(&self, i: usize) -> Result<(), LayoutError> {
        if !(1..=MAX_NAME_BYTES).contains(&self.column().len()) {
            return Err(LayoutError::Name(i));
        }
        let buckets = |n: usize| (1..=MAX_BUCKETS).contains(&n);
        match self {
            Self::Moments { low, high, .. } => {
                let sound = low.is_finite() && high.is_finite() && low < high && (high - low).is_finite();
                sound.then_some(()).ok_or(LayoutError::Range(i))
            }
            Self::Thresholds { cuts, .. } => {
                let sound = buckets(cuts.len()) && cuts.iter().all(|c| c.is_finite()) && cuts.windows(2).all(|w| w[0] < w[1]);
                sound.then_some(()).ok_or(LayoutError::Buckets(i))
            }
            Self::Labels { labels, .. } => {
                let distinct = labels.iter().collect::<std::collections::BTreeSet<_>>().len() == labels.len();
                (buckets(labels.len()) && distinct).then_some(()).ok_or(LayoutError::Buckets(i))
            }
        }
    }

    /// Adds one record's part, in units of 1 ÷ [`WHOLE`].
    fn add(&self, start: usize, cell: Cell<'_>, out: &mut BTreeMap<usize, i64>) {
        let mut put = |at: usize, n: i64| *out.entry(start + at).or_default() += n;
        match (self, cell) {
            (Self::Moments { low, high, .. }, Cell::Number(x)) if x.is_finite() => {
                let y = place(x, *low, *high);
                put(0, WHOLE);
                put(1, toward_zero(y));
                put(2, toward_zero(y * y));
            }
            (Self::Thresholds { cuts, .. }, Cell::Number(x)) if x.is_finite() => put(cuts.partition_point(|c| *c <= x), WHOLE),
            (Self::Labels { labels, .. }, Cell::Label(l)) => put(labels.iter().position(|known| known == l).unwrap_or(labels.len()), WHOLE),
            // A value of another kind is a missing one.
            (Self::Moments { .. } | Self::Thresholds { .. } | Self::Labels { .. }, _) => {}
        }
    }
}

/// −1 at the low end of the range, 1 at the high end.
fn place(x: f64, low: f64, high: f64) -> f64 {
    let half = (high - low) / 2.0;
    ((x.clamp(low, high) - low) / half - 1.0).clamp(-1.0, 1.0)
}

/// Towards zero, so that no part is longer than its bound.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the place lies in [-1, 1]")]
fn toward_zero(y: f64) -> i64 {
    (y * WHOLE as f64) as i64
}

impl Layout {
    /// Of these queries, with at most `max_records` records of each unit.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn new(queries: Vec<Query>, max_records: u32) -> Result<Self, LayoutError> {
        if !(1..=MAX_QUERIES).contains(&queries.len()) {
            return Err(LayoutError::Queries(queries.len()));
        }
        if !(1..=1 << 16).contains(&max_records) {
            return Err(LayoutError::Records(max_records));
        }
        let (mut starts, mut coordinates) = (Vec::new(), 0);
        for (i, q) in queries.iter().enumerate() {
            q.check(i)?;
            starts.push(coordinates);
            coordinates += q.coordinates();
        }
        if coordinates > MAX_COORDINATES {
            return Err(LayoutError::Coordinates(coordinates));
        }
        Ok(Self { queries, starts, coordinates, max_records })
    }

    /// The queries.
    pub fn queries(&self) -> &[Query] {
        &self.queries
    }

    /// Coordinates of the summed vector.
    pub fn coordinates(&self) -> usize {
        self.coordinates
    }

    /// Bound on the L2 norm of one unit's contribution, in its integers, rounded up: records times the longest record.
    ///
    /// # Panics
    /// Never: at most 256 queries and 2^16 records stay far below 64 bits.
    pub fn bound(&self) -> u64 {
        let square: i64 = self.queries.iter().map(Query::square).sum();
        let square = u128::try_from(square).unwrap_or(0) * u128::from(self.max_records).pow(2) * (WHOLE as u128).pow(2);
        let root = square.isqrt();
        u64::try_from(if root * root == square { root } else { root + 1 }).expect("far below 64 bits")
    }

    /// What one unit adds: coordinates in ascending order, each once, in units of 1 ÷ [`WHOLE`]. Records beyond the cap are left out, last
    /// first. `cell` gives the value of a record's column, or nothing where it has none.
    ///
    /// # Privacy
    /// A function of one unit alone. Its L2 norm is at most [`Self::bound`].
    pub fn contribution<'a, R: Copy>(&self, records: &[R], cell: impl Fn(R, &str) -> Option<Cell<'a>>) -> Vec<(u32, i64)> {
        let mut out = BTreeMap::new();
        for &record in records.iter().take(usize::try_from(self.max_records).unwrap_or(usize::MAX)) {
            for (q, &start) in self.queries.iter().zip(&self.starts) {
                if let Some(value) = cell(record, q.column()) {
                    q.add(start, value, &mut out);
                }
            }
        }
        out.into_iter().filter_map(|(at, n)| Some((u32::try_from(at).ok()?, n))).collect()
    }
}

#[cfg(test)]
mod tests;
