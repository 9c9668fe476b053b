//! From a summed vector to figures with intervals. The intervals say what the noise may have done, at 95 %, and nothing about other records
//! than those that were counted.

use super::{Layout, Query, WHOLE};
use serde::{Deserialize, Serialize};

/// Deviations of a normal law that hold 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A figure and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Figure {
    fn around(value: f64, deviation: f64) -> Self {
        Self { value, low: value - Z * deviation, high: value + Z * deviation }
    }

    fn within(self, low: f64, high: f64) -> Self {
        Self { value: self.value.clamp(low, high), low: self.low.clamp(low, high), high: self.high.clamp(low, high) }
    }

    /// Whether the interval holds a value.
    pub fn holds(&self, x: f64) -> bool {
        (self.low..=self.high).contains(&x)
    }
}

/// Count, mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Values counted.
    pub count: Figure,
    /// Mean of the clamped values; none where the count could be nothing.
    pub mean: Option<Figure>,
    /// Their variance.
    pub variance: Option<Figure>,
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Estimate {
    /// To [`Query::Moments`].
    Moments(Moments),
    /// To [`Query::Thresholds`]: values below each threshold, and last all of them.
    Below {
        /// The thresholds.
        cuts: Vec<f64>,
        /// One more than thresholds; rising.
        counts: Vec<Figure>,
    },
    /// To [`Query::Labels`]: in their order, other labels last.
    Labels(Vec<Figure>),
}

/// Why a vector gives no figures.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EstimateError {
    /// Of another length than the layout's.
    #[error("the sum has {got} coordinates, expected {expected}")]
    Length {
        /// Given.
        got: usize,
        /// Of the layout.
        expected: usize,
    },
    /// A deviation that is none.
    #[error("the noise has a deviation of {0}")]
    Deviation(f64),
}

impl Layout {
    /// Figures from an opened sum in units of 1 ÷ [`WHOLE`], whose noise has this deviation per coordinate in the same units.
    ///
    /// # Privacy
    /// Post-processing of a noised sum.
    ///
    /// # Errors
    /// [`EstimateError`].
    pub fn estimate(&self, sum: &[f64], deviation: f64) -> Result<Vec<Estimate>, EstimateError> {
        if sum.len() != self.coordinates() {
            return Err(EstimateError::Length { got: sum.len(), expected: self.coordinates() });
        }
        if !(deviation >= 0.0 && deviation.is_finite()) {
            return Err(EstimateError::Deviation(deviation));
        }
        #[expect(clippy::cast_precision_loss, reason = "2^10")]
        let whole = WHOLE as f64;
        let s = deviation / whole;
        let one = |(q, &start): (&Query, &usize)| {
            let part: Vec<f64> = sum[start..start + q.coordinates()].iter().map(|x| x / whole).collect();
            match q {
                Query::Moments { low, high, .. } => Estimate::Moments(moments(&part, *low, *high, s)),
                Query::Thresholds { cuts, .. } => Estimate::Below { cuts: cuts.clone(), counts: below(&part, s) },
                Query::Labels { .. } => Estimate::Labels(part.iter().map(|&n| Figure::around(n, s).within(0.0, f64::MAX)).collect()),
            }
        };
        Ok(self.queries.iter().zip(&self.starts).map(one).collect())
    }
}

/// The delta method around the noised sums n, Σy, Σy²: each carries independent noise of deviation s.
fn moments(part: &[f64], low: f64, high: f64, s: f64) -> Moments {
    let (n, y1, y2) = (part[0], part[1], part[2]);
    let count = Figure::around(n, s).within(0.0, f64::MAX);
    if count.low <= 0.0 {
        return Moments { count, mean: None, variance: None };
    }
    let half = (high - low) / 2.0;
    let (m, q) = (y1 / n, y2 / n);
    let mean_deviation = s / n * (1.0 + m * m).sqrt();
    // v = y2/n − (y1/n)²: ∂n = (2m² − q)/n, ∂y1 = −2m/n, ∂y2 = 1/n.
    let by_count = 2.0 * m * m - q;
    // Products, and no power: auditors compute the same bits.
    let variance_deviation = s / n * (by_count * by_count + 4.0 * m * m + 1.0).sqrt();
    let mean = Figure::around(low + half * (1.0 + m), half * mean_deviation).within(low, high);
    // Rounding towards zero in steps of 2^-10 takes up to that from Σy and Σy² per record.
    let variance = Figure::around(half * half * (q - m * m), half * half * variance_deviation).within(0.0, half * half);
    Moments { count, mean: Some(mean), variance: Some(variance) }
}

/// Running sums; the noise of j buckets has deviation s·√j. Made rising, as counts are.
fn below(part: &[f64], s: f64) -> Vec<Figure> {
    let (mut total, mut buckets) = (0.0, 0.0f64);
    let mut out: Vec<Figure> = Vec::with_capacity(part.len());
    for &n in part {
        total += n;
        buckets += 1.0;
        let f = Figure::around(total, s * buckets.sqrt()).within(0.0, f64::MAX);
        let last = out.last().copied().unwrap_or(Figure { value: 0.0, low: 0.0, high: 0.0 });
        out.push(Figure { value: f.value.max(last.value), low: f.low.max(last.low), high: f.high.max(last.high) });
    }
    out
}

impl Estimate {
    /// The value below which this share of the numbers lies, where the query was [`Query::Thresholds`]: between two thresholds in proportion.
    /// The ends are the thresholds that the noise leaves possible, or infinite beyond the outermost.
    pub fn quantile(&self, share: f64) -> Option<Figure> {
        let Self::Below { cuts, counts } = self else { return None };
        let all = counts.last()?;
        if !(0.0..=1.0).contains(&share) || all.low <= 0.0 {
            return None;
        }
        let first = |reaches: &dyn Fn(&Figure) -> bool| counts.iter().position(reaches);
        let edge = |at: Option<usize>, beyond: f64| at.and_then(|i| cuts.get(i).copied()).unwrap_or(beyond);
        let at = first(&|f| f.value >= share * all.value)?;
        let (from, to) = (at.checked_sub(1).map(|i| cuts[i]), cuts.get(at).copied());
        let value = match (from, to) {
            (Some(a), Some(b)) => {
                let (below, here) = (counts[at - 1].value, counts[at].value);
                if here > below { a + (b - a) * (share * all.value - below) / (here - below) } else { b }
            }
            (None, Some(end)) | (Some(end), None) => end,
            (None, None) => return None,
        };
        // The lowest threshold below which enough may lie, less one bucket, and the lowest below which enough must lie.
        let low = first(&|f| f.high >= share * all.low).and_then(|i| i.checked_sub(1)).map_or(f64::NEG_INFINITY, |i| cuts[i]);
        let high = edge(first(&|f| f.low >= share * all.high), f64::INFINITY);
        Some(Figure { value, low: low.min(value), high: high.max(value) })
    }
}
