//! The rule file: what a row is, what is done to it, and when the result is refused. Must not see a row.
//!
//! The file is parsed once into [`Rules`]; everything that can be wrong about it is said then, with the name of the key.

use std::collections::BTreeSet;

use regex::Regex;
use sha2::{Digest, Sha256};

pub mod column;
pub mod file;

use super::expr::{Expr, ExprError};
use super::scrub::Kind;
use super::text::TextRules;
pub use column::{Column, ColumnType, DateRule, Fill, Outliers, PiiClass, Role};
pub use file::{Encoding, Format, OnBadRow, OnBoundary, Quote};

/// Longest rule file, in bytes.
pub const MAX_RULE_BYTES: usize = 256 * 1024;
/// Most columns of a schema: a row is held as a list of them.
pub const MAX_COLUMNS: usize = 256;
/// Most cross-field checks.
pub const MAX_CHECKS: usize = 64;
/// Longest row that may be allowed, in bytes.
pub const MAX_ROW_BYTES: usize = 16 * 1024 * 1024;
/// Memory that one compiled pattern may take; a longer one is refused by name.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Why a rule file is none. Names keys and numbers of the file, nothing of a row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// Over [`MAX_RULE_BYTES`].
    #[error("the rule file has {got} bytes, at most {MAX_RULE_BYTES} are read")]
    TooLarge {
        /// Its length.
        got: usize,
    },
    /// Not TOML, an unknown key, or another type.
    #[error("the rule file does not parse")]
    Parse(#[source] Box<toml::de::Error>),
    /// A number outside its range.
    #[error("`{key}` is {got}, expected {expected}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// As given.
        got: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// Something that must be there.
    #[error("`{key}` is missing or empty: {why}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// A column that is declared twice, or two columns of one role.
    #[error("column `{name}`: {what}")]
    Column {
        /// Name in the rule file.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A pattern that does not compile.
    #[error("the pattern at `{key}` of `{name}` does not compile")]
    Pattern {
        /// The key.
        key: &'static str,
        /// Column or section.
        name: String,
        /// The cause.
        source: Box<regex::Error>,
    },
    /// A cross-field check that is none.
    #[error("check `{name}` cannot be used")]
    Check {
        /// Its name.
        name: String,
        /// The cause.
        source: ExprError,
    },
    /// A constant that would be learnt from persons whom training is to protect.
    #[error(
        "column `{name}` fits a constant on the records, but training is private: one person would change another person's row. \
         Give a constant, or set training.fitted_constants_are_not_accounted = true and say so in the privacy statement"
    )]
    Fitted {
        /// The column.
        name: String,
    },
}

/// How a file of rows is read.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its format.
    pub format: Format,
    /// Its encoding, or to be found out.
    pub encoding: Encoding,
    /// What a row that cannot be read does.
    pub bad_rows: OnBadRow,
    /// Whether the first row of CSV and TSV names the fields.
    pub header: bool,
    /// Names of the fields where there is no header.
    pub fields: Vec<String>,
    /// Whether quotes group.
    pub quote: Quote,
    /// Longest row in bytes.
    pub max_row_bytes: usize,
    /// Most fields of a row.
    pub max_fields: usize,
    /// Largest file in bytes.
    pub max_file_bytes: u64,
}

/// What the dataset is, for the manifest.
#[derive(Clone, Debug)]
pub struct About {
    /// The institution's own name of it; the manifest carries it.
    pub name: String,
    /// Licence, as an SPDX expression or words.
    pub licence: String,
    /// What the records may be used for.
    pub purpose: String,
    /// Days after which the prepared records are to be deleted.
    pub retention_days: u32,
}

/// How equal and nearly equal rows are treated.
#[derive(Clone, Copy, Debug)]
pub struct Dedup {
    /// Whether equal texts are dropped.
    pub exact: bool,
    /// Whether nearly equal texts are dropped.
    pub near: bool,
    /// Characters of a shingle.
    pub shingle_chars: usize,
    /// Least Jaccard similarity of near duplicates, in thousandths.
    pub jaccard_permille: u32,
    /// What is done about validation rows that resemble training rows.
    pub boundary: OnBoundary,
}

/// How rows are split.
#[derive(Clone, Debug)]
pub struct Split {
    /// Key of the hash. Not a secret: it keeps assignments apart between datasets and the same between runs.
    pub key: String,
    /// Share of units held out, in thousandths.
    pub validation_permille: u32,
}

/// When the result is refused. Shares in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Fewest rows that must be left for training.
    pub min_train_rows: u64,
    /// Most rows that cannot be read.
    pub max_bad_rows_permille: u32,
    /// Most rows dropped by cleaning.
    pub max_dropped_permille: u32,
    /// Most duplicates.
    pub max_duplicates_permille: u32,
    /// Most rows in which personal data was found.
    pub max_pii_rows_permille: u32,
    /// Largest share of one label.
    pub max_label_share_permille: u32,
    /// Most validation rows that resemble training rows and stay.
    pub max_leaking_rows_permille: u32,
    /// Largest population stability index against the preparation before, in thousandths.
    pub max_drift_permille: u32,
}

/// A cross-field check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name, for the counters.
    pub name: String,
    /// A row for which it is false is dropped; unknown (because of a missing value) passes.
    pub require: Expr,
}

/// Checked rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What the dataset is.
    pub about: About,
    /// How files are read.
    pub input: Input,
    /// The schema, in order.
    pub columns: Vec<Column>,
    /// Position of the text.
    pub text: usize,
    /// Position of the label.
    pub label: usize,
    /// Position of the person, where there is one: the unit of privacy (privacy.md D1).
    pub unit: Option<usize>,
    /// Normalisation of texts.
    pub normal: TextRules,
    /// Cross-field checks, in order.
    pub checks: Vec<Check>,
    /// Kinds of personal data that are replaced.
    pub scrub: BTreeSet<Kind>,
    /// Positions of the columns that are scrubbed.
    pub scrub_columns: Vec<usize>,
    /// Duplicates.
    pub dedup: Dedup,
    /// The split.
    pub split: Split,
    /// Whether training is differentially private: then no person decides what is kept of another (privacy.md D2).
    pub private: bool,
    /// Limits of quality.
    pub thresholds: Thresholds,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
}

impl Rules {
    /// Parses a rule file.
    ///
    /// # Errors
    /// [`RulesError`], which names the key.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        if text.len() > MAX_RULE_BYTES {
            return Err(RulesError::TooLarge { got: text.len() });
        }
        let raw: file::RawRules = toml::from_str(text).map_err(|e| RulesError::Parse(Box::new(e)))?;
        file::checked(raw, Sha256::digest(text.as_bytes()).into())
    }

    /// Whether a first pass over the training rows is needed for constants.
    pub fn needs_fit(&self) -> bool {
        self.columns.iter().any(Column::needs_fit)
    }

    /// Names of the columns.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|c| c.name.as_str()).collect()
    }
}

/// Compiles a pattern within the memory limit.
pub(super) fn pattern(key: &'static str, name: &str, text: &str) -> Result<Regex, RulesError> {
    let built = regex::RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build();
    built.map_err(|e| RulesError::Pattern { key, name: name.to_owned(), source: Box::new(e) })
}

#[cfg(test)]
pub(crate) mod tests;
