//! Constants of the training rows: means, medians, modes and limits for outliers. Must not see a validation row.
//!
//! # Privacy
//! These constants depend on every training row. Under private training a rule file that needs them is refused, unless it says by name
//! that they are not accounted for ([`super::rules::RulesError::Fitted`]); constants common to institutions come from sealed, noised
//! statistics.

use std::collections::BTreeMap;

use super::rules::column::{OutlierMethod, Outliers};
use super::rules::{Column, Fill};
use super::value::Cell;

/// Values of a column that are kept for quantiles. Up to so many rows they are exact; beyond, they are those of a sample that row numbers
/// alone decide, whose quantiles err by less than half a percent of the rows (three standard deviations).
pub const MAX_SAMPLE: usize = 1 << 17;
/// Different values of a column among which a mode is looked for; a column with more has none.
pub const MAX_MODE_VALUES: usize = 100_000;

/// Why no constants could be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// No training row has a value.
    #[error("column `{column}` has no value in any training row: nothing can be fitted")]
    NoValues {
        /// The column.
        column: String,
    },
    /// Too many values for a mode.
    #[error("column `{column}` has more than {MAX_MODE_VALUES} different values: it has no mode worth the name")]
    TooManyValues {
        /// The column.
        column: String,
    },
}

/// What was fitted for a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnFit {
    /// What a missing value becomes.
    pub fill: Option<Cell>,
    /// Least and largest value that is no outlier.
    pub limits: Option<(f64, f64)>,
    /// Whether quantiles are those of a sample.
    pub sampled: bool,
}

/// Gathers the values of one column.
struct Gathered {
    count: u64,
    mean: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
    sample: Vec<(u64, f64)>,
    values: BTreeMap<String, (u64, Cell)>,
    too_many: bool,
}

impl Gathered {
    fn new() -> Self {
        Self { count: 0, mean: 0.0, squares: 0.0, sample: Vec::new(), values: BTreeMap::new(), too_many: false }
    }

    /// Source: Welford, Technometrics 4 (1962).
    fn number(&mut self, row: u64, value: f64) {
        self.count += 1;
        let off = value - self.mean;
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let count = self.count as f64;
        self.mean += off / count;
        self.squares += off * (value - self.mean);
        self.sample.push((mixed(row), value));
        if self.sample.len() == 2 * MAX_SAMPLE {
            self.trim();
        }
    }

    /// Keeps the rows with the smallest mixed numbers: a sample that does not depend on threads or batches.
    fn trim(&mut self) {
        if self.sample.len() > MAX_SAMPLE {
            self.sample.select_nth_unstable_by_key(MAX_SAMPLE, |(order, _)| *order);
            self.sample.truncate(MAX_SAMPLE);
        }
    }

    fn value(&mut self, cell: &Cell) {
        let name = match cell {
            Cell::Missing => return,
            Cell::Text(text) => text.clone(),
            Cell::Integer(n) => n.to_string(),
            Cell::Number(n) => n.to_string(),
            Cell::Boolean(b) => b.to_string(),
        };
        if self.values.len() >= MAX_MODE_VALUES && !self.values.contains_key(&name) {
            self.too_many = true;
            return;
        }
        self.values.entry(name).or_insert_with(|| (0, cell.clone())).0 += 1;
    }
}

/// SplitMix64's finisher: a bijection, so that no two rows share their order.
fn mixed(row: u64) -> u64 {
    let z = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Gathers training rows and makes the constants.
pub(super) struct Fitter<'a> {
    columns: &'a [Column],
    gathered: Vec<Option<Gathered>>,
}

impl<'a> Fitter<'a> {
    pub(super) fn new(columns: &'a [Column]) -> Self {
        let gathered = columns.iter().map(|c| c.needs_fit().then(Gathered::new)).collect();
        Self { columns, gathered }
    }

    /// Takes a training row; rows come in order.
    pub(super) fn take(&mut self, number: u64, row: &[Cell]) {
        for ((gathered, column), cell) in self.gathered.iter_mut().zip(self.columns).zip(row) {
            let Some(gathered) = gathered else { continue };
            if let Some(value) = cell.number() {
                gathered.number(number, value);
            }
            if column.missing == Fill::Mode {
                gathered.value(cell);
            }
        }
    }

    pub(super) fn finish(self) -> Result<Vec<Option<ColumnFit>>, FitError> {
        let columns = self.columns;
        self.gathered.into_iter().zip(columns).map(|(g, column)| g.map(|g| fit(g, column)).transpose()).collect()
    }
}

fn fit(mut gathered: Gathered, column: &Column) -> Result<ColumnFit, FitError> {
    let none = || FitError::NoValues { column: column.name.clone() };
    gathered.trim();
    let sampled = u64::try_from(gathered.sample.len()).unwrap_or(u64::MAX) < gathered.count;
    let mut sorted: Vec<f64> = gathered.sample.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let typed = |value: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "a mean of integers of 64 bits lies among them")]
        let whole = value.round() as i64;
        if column.kind == super::rules::ColumnType::Integer { Cell::Integer(whole) } else { Cell::Number(value) }
    };
    let fill = match column.missing {
        Fill::Mean if gathered.count > 0 => Some(typed(gathered.mean)),
        Fill::Median => Some(typed(quantile(&sorted, 0.5).ok_or_else(none)?)),
        Fill::Mean => return Err(none()),
        Fill::Mode if gathered.too_many => return Err(FitError::TooManyValues { column: column.name.clone() }),
        // Of equally frequent values the first in the order of their texts.
        Fill::Mode => {
            let best = gathered.values.into_values().reduce(|best, next| if next.0 > best.0 { next } else { best });
            Some(best.ok_or_else(none)?.1)
        }
        Fill::Keep | Fill::Drop | Fill::Constant(_) | Fill::Flag => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let deviation = if gathered.count > 1 { (gathered.squares / (gathered.count as f64 - 1.0)).sqrt() } else { 0.0 };
    let limits = column.outliers.as_ref().map(|rule| limits(rule, &sorted, gathered.mean, deviation).ok_or_else(none)).transpose()?;
    Ok(ColumnFit { fill, limits, sampled })
}

fn limits(rule: &Outliers, sorted: &[f64], mean: f64, deviation: f64) -> Option<(f64, f64)> {
    let (centre, reach) = match rule.method {
        OutlierMethod::ZScore if !sorted.is_empty() => (mean, deviation * rule.limit),
        OutlierMethod::ZScore => return None,
        OutlierMethod::Mad => {
            let median = quantile(sorted, 0.5)?;
            let mut off: Vec<f64> = sorted.iter().map(|v| (v - median).abs()).collect();
            off.sort_by(f64::total_cmp);
            // 1.4826 makes it the standard deviation of a normal distribution.
            (median, 1.4826 * quantile(&off, 0.5)? * rule.limit)
        }
        OutlierMethod::Iqr => {
            let (low, high) = (quantile(sorted, 0.25)?, quantile(sorted, 0.75)?);
            return Some((low - (high - low) * rule.limit, high + (high - low) * rule.limit));
        }
        OutlierMethod::Quantile => return Some((quantile(sorted, rule.limit)?, quantile(sorted, 1.0 - rule.limit)?)),
    };
    Some((centre - reach, centre + reach))
}

/// The quantile of sorted values by linear interpolation between neighbours (definition 7 of Hyndman and Fan, 1996).
fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let place = at.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last place")]
    let below = place.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * (place - place.floor()))
}

#[cfg(test)]
mod tests;
