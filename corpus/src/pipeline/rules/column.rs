//! One column of the schema and the rules for its values. Must not see a value.

use std::collections::BTreeSet;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::RulesError;

/// Type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    /// Characters.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A finite number.
    Number,
    /// True or false.
    Boolean,
    /// A date or a point in time; becomes RFC 3339.
    Date,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What is trained on.
    Text,
    /// Its class.
    Label,
    /// Whose record it is: the unit of privacy.
    Unit,
    /// Carried along.
    Feature,
    /// Read for checks, not written.
    Ignore,
}

/// How much a column says about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PiiClass {
    /// Nothing by itself.
    None,
    /// Names the person.
    Direct,
    /// Together with others it may.
    Quasi,
    /// Health, money, belief and the like.
    Sensitive,
}

/// What becomes of a missing value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// It stays missing; only where the column is nullable.
    Keep,
    /// The row is dropped.
    Drop,
    /// Mean of the training rows.
    Mean,
    /// Median of the training rows.
    Median,
    /// Most frequent value of the training rows.
    Mode,
    /// A constant of the rule file.
    Constant(super::super::value::Cell),
    /// It stays missing, and a column `NAME_missing` says so.
    Flag,
}

/// How a limit for outliers is found.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutlierMethod {
    /// `limit` standard deviations from the mean.
    ZScore,
    /// `limit` scaled median absolute deviations from the median (scaled by 1.4826).
    Mad,
    /// `limit` interquartile ranges outside the quartiles.
    Iqr,
    /// Below the `limit` quantile or above the `1 - limit` quantile.
    Quantile,
}

/// What becomes of an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutlierAction {
    /// The row is dropped.
    Drop,
    /// The value becomes the limit.
    Cap,
    /// The value counts as missing.
    Missing,
}

/// The rule for outliers of a column.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outliers {
    /// How.
    pub method: OutlierMethod,
    /// How far; see [`OutlierMethod`].
    pub limit: f64,
    /// What then.
    pub action: OutlierAction,
}

impl Outliers {
    pub(super) fn check(&self, name: &str) -> Result<(), RulesError> {
        let top = if self.method == OutlierMethod::Quantile { 0.5 } else { 1e6 };
        if self.limit.is_finite() && self.limit > 0.0 && self.limit < top {
            return Ok(());
        }
        Err(RulesError::Column { name: name.to_owned(), what: "outliers.limit must be positive, and below 0.5 for a quantile" })
    }
}

/// How dates are read.
#[derive(Clone, Debug, PartialEq)]
pub struct DateRule {
    /// Formats as `strftime` writes them, tried in order.
    pub formats: Vec<String>,
    /// Offset from UTC of values that name none, in seconds.
    pub offset_s: i32,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in the source and in the prepared rows.
    pub name: String,
    /// Type of its values.
    pub kind: ColumnType,
    /// What it is for.
    pub role: Role,
    /// Whether a value may be missing in the prepared rows.
    pub nullable: bool,
    /// How much it says about a person.
    pub pii: PiiClass,
    /// Words that stand for a missing value beside nothing.
    pub null_words: BTreeSet<String>,
    /// What becomes of a missing value.
    pub missing: Fill,
    /// Outliers.
    pub outliers: Option<Outliers>,
    /// A text must match.
    pub allow: Option<Regex>,
    /// A text must not match.
    pub deny: Option<Regex>,
    /// The only values that there are.
    pub values: Option<BTreeSet<String>>,
    /// Least number.
    pub min: Option<f64>,
    /// Largest number.
    pub max: Option<f64>,
    /// Fewest characters of a text.
    pub min_chars: usize,
    /// Most characters of a text.
    pub max_chars: usize,
    /// How dates are read.
    pub date: Option<DateRule>,
}

impl Column {
    /// Whether its rules need constants of the training rows.
    pub fn needs_fit(&self) -> bool {
        self.outliers.is_some() || matches!(self.missing, Fill::Mean | Fill::Median | Fill::Mode)
    }

    /// Whether its values are numbers.
    pub fn is_number(&self) -> bool {
        matches!(self.kind, ColumnType::Integer | ColumnType::Number)
    }
}
