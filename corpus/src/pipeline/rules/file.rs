//! The rule file word for word, and its checks. Must not see a row.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::column::{Column, ColumnType, DateRule, Fill, Outliers, PiiClass, Role};
use super::{About, Check, Dedup, Input, MAX_CHECKS, MAX_COLUMNS, MAX_ROW_BYTES, Rules, RulesError, Split, Thresholds, pattern};
use crate::pipeline::expr::Expr;
use crate::pipeline::scrub::Kind;
use crate::pipeline::text::{Script, TextRules};
use crate::pipeline::value::Cell;

/// Format of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// Fields with commas.
    Csv,
    /// Fields with tabs.
    Tsv,
    /// One text per line; the only column is the text.
    Text,
    /// Apache Parquet: plain columns, uncompressed or with Snappy or Zstandard.
    Parquet,
}

/// Encoding of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Found out from the beginning of each file, and said aloud.
    Auto,
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// GB18030, which contains GBK and GB2312.
    Gb18030,
    /// Big5 as the WHATWG has it.
    Big5,
    /// UTF-16, little end first.
    #[serde(rename = "utf-16le")]
    Utf16le,
    /// UTF-16, big end first.
    #[serde(rename = "utf-16be")]
    Utf16be,
}

/// What a row that cannot be read does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadRow {
    /// Ends the preparation with its line.
    Fail,
    /// Is left out, counted and named by its line in the local report.
    Skip,
}

/// Whether double quotes group fields of CSV and TSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quote {
    /// As RFC 4180 has it.
    Double,
    /// A quote is a character like others; a row is a line.
    None,
}

/// What is done about validation rows that resemble training rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBoundary {
    /// They are counted.
    Report,
    /// They are counted and dropped from validation. Training rows are never dropped for them.
    DropFromValidation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRules {
    dataset: RawAbout,
    input: RawInput,
    columns: Vec<RawColumn>,
    #[serde(default)]
    text: RawText,
    #[serde(default)]
    checks: Vec<RawCheck>,
    scrub: RawScrub,
    #[serde(default)]
    dedup: RawDedup,
    split: RawSplit,
    training: RawTraining,
    #[serde(default)]
    thresholds: RawThresholds,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAbout {
    name: String,
    licence: String,
    purpose: String,
    retention_days: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInput {
    format: Format,
    #[serde(default = "auto")]
    encoding: Encoding,
    #[serde(default = "fail")]
    bad_rows: OnBadRow,
    #[serde(default = "yes")]
    header: bool,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default = "double")]
    quote: Quote,
    #[serde(default = "row_bytes")]
    max_row_bytes: usize,
    #[serde(default = "fields")]
    max_fields: usize,
    #[serde(default = "file_bytes")]
    max_file_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    name: String,
    role: Role,
    #[serde(rename = "type", default = "text_type")]
    kind: ColumnType,
    #[serde(default)]
    nullable: bool,
    #[serde(default = "no_pii")]
    pii: PiiClass,
    #[serde(default)]
    null_words: BTreeSet<String>,
    #[serde(default = "drop_row")]
    missing: RawFill,
    constant: Option<toml::Value>,
    outliers: Option<Outliers>,
    allow: Option<String>,
    deny: Option<String>,
    values: Option<BTreeSet<String>>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    min_chars: usize,
    max_chars: Option<usize>,
    #[serde(default)]
    date_formats: Vec<String>,
    #[serde(default)]
    utc_offset_minutes: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawFill {
    Keep,
    Drop,
    Mean,
    Median,
    Mode,
    Constant,
    Flag,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawText {
    nfkc: bool,
    half_width: bool,
    zero_width: bool,
    fold_spaces: bool,
    simplified: bool,
    max_repeat: u32,
    boilerplate: Vec<String>,
    scripts: BTreeSet<Script>,
    min_script_permille: u32,
}

impl Default for RawText {
    fn default() -> Self {
        Self {
            nfkc: true,
            half_width: true,
            zero_width: true,
            fold_spaces: true,
            simplified: false,
            max_repeat: 0,
            boilerplate: Vec::new(),
            scripts: BTreeSet::new(),
            min_script_permille: 500,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    name: String,
    require: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScrub {
    kinds: BTreeSet<Kind>,
    columns: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDedup {
    exact: bool,
    near: bool,
    shingle_chars: usize,
    jaccard_permille: u32,
    boundary: OnBoundary,
}

impl Default for RawDedup {
    fn default() -> Self {
        Self { exact: true, near: true, shingle_chars: 4, jaccard_permille: 800, boundary: OnBoundary::DropFromValidation }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSplit {
    key: String,
    validation_permille: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraining {
    private: bool,
    #[serde(default)]
    fitted_constants_are_not_accounted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawThresholds {
    min_train_rows: u64,
    max_bad_rows_permille: u32,
    max_dropped_permille: u32,
    max_duplicates_permille: u32,
    max_pii_rows_permille: u32,
    max_label_share_permille: u32,
    max_leaking_rows_permille: u32,
    max_drift_permille: u32,
}

impl Default for RawThresholds {
    /// Only what is surely wrong is refused: nothing left, a tenth unreadable, half thrown away, no second label, another population.
    fn default() -> Self {
        Self {
            min_train_rows: 1,
            max_bad_rows_permille: 100,
            max_dropped_permille: 500,
            max_duplicates_permille: 500,
            max_pii_rows_permille: 1000,
            max_label_share_permille: 999,
            max_leaking_rows_permille: 50,
            max_drift_permille: 250,
        }
    }
}

fn auto() -> Encoding {
    Encoding::Auto
}
fn fail() -> OnBadRow {
    OnBadRow::Fail
}
fn yes() -> bool {
    true
}
fn double() -> Quote {
    Quote::Double
}
fn row_bytes() -> usize {
    64 * 1024
}
fn fields() -> usize {
    MAX_COLUMNS
}
fn file_bytes() -> u64 {
    64 << 30
}
fn text_type() -> ColumnType {
    ColumnType::Text
}
fn no_pii() -> PiiClass {
    PiiClass::None
}
fn drop_row() -> RawFill {
    RawFill::Drop
}

/// The checked thing.
pub(super) fn checked(raw: RawRules, digest: [u8; 32]) -> Result<Rules, RulesError> {
    for (key, value) in
        [("dataset.name", &raw.dataset.name), ("dataset.licence", &raw.dataset.licence), ("dataset.purpose", &raw.dataset.purpose)]
    {
        if value.trim().is_empty() {
            return Err(RulesError::Missing { key, why: "the manifest states it" });
        }
    }
    let columns = columns(raw.columns)?;
    let at = |role: Role| position(&columns, role);
    let (text, label, unit) = (at(Role::Text)?, at(Role::Label)?, at(Role::Unit)?);
    let text = text.ok_or(RulesError::Missing { key: "columns", why: "one column must have role = \"text\"" })?;
    let label = label.ok_or(RulesError::Missing { key: "columns", why: "one column must have role = \"label\"" })?;
    if raw.training.private
        && !raw.training.fitted_constants_are_not_accounted
        && let Some(column) = columns.iter().find(|c| c.needs_fit())
    {
        return Err(RulesError::Fitted { name: column.name.clone() });
    }
    let scrub_columns = scrubbed(&columns, &raw.scrub)?;
    let RawAbout { name, licence, purpose, retention_days } = raw.dataset;
    Ok(Rules {
        about: About { name, licence, purpose, retention_days },
        input: input(raw.input)?,
        normal: normal(raw.text)?,
        checks: checks(raw.checks, &columns)?,
        scrub: raw.scrub.kinds,
        scrub_columns,
        dedup: dedup(&raw.dedup)?,
        split: split(raw.split)?,
        private: raw.training.private,
        thresholds: thresholds(&raw.thresholds)?,
        columns,
        text,
        label,
        unit,
        digest,
    })
}

fn position(columns: &[Column], role: Role) -> Result<Option<usize>, RulesError> {
    let mut found = columns.iter().enumerate().filter(|(_, c)| c.role == role);
    let first = found.next().map(|(at, _)| at);
    match found.next() {
        Some((_, second)) => Err(RulesError::Column { name: second.name.clone(), what: "a second column has the same role" }),
        None => Ok(first),
    }
}

fn within(key: &'static str, got: u64, least: u64, most: u64, expected: &'static str) -> Result<(), RulesError> {
    if (least..=most).contains(&got) { Ok(()) } else { Err(RulesError::OutOfRange { key, got, expected }) }
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn input(raw: RawInput) -> Result<Input, RulesError> {
    within("input.max_row_bytes", as_u64(raw.max_row_bytes), 1, as_u64(MAX_ROW_BYTES), "1 to 16777216")?;
    within("input.max_fields", as_u64(raw.max_fields), 1, as_u64(MAX_COLUMNS), "1 to 256")?;
    within("input.max_file_bytes", raw.max_file_bytes, 1, 1 << 50, "1 to 2^50")?;
    let table = matches!(raw.format, Format::Csv | Format::Tsv);
    if table && !raw.header && raw.fields.is_empty() {
        return Err(RulesError::Missing { key: "input.fields", why: "a file without a header needs the names of its fields" });
    }
    within("input.fields", as_u64(raw.fields.len()), 0, as_u64(raw.max_fields), "at most input.max_fields names")?;
    let RawInput { format, encoding, bad_rows, header, fields, quote, max_row_bytes, max_fields, max_file_bytes } = raw;
    Ok(Input { format, encoding, bad_rows, header, fields, quote, max_row_bytes, max_fields, max_file_bytes })
}

fn columns(raw: Vec<RawColumn>) -> Result<Vec<Column>, RulesError> {
    within("columns", as_u64(raw.len()), 1, as_u64(MAX_COLUMNS), "1 to 256")?;
    let mut names = BTreeSet::new();
    raw.into_iter()
        .map(|column| {
            let name = column.name.clone();
            let reserved = ["text", "label", "user"].contains(&name.as_str())
                && !matches!((column.role, name.as_str()), (Role::Text, "text") | (Role::Label, "label") | (Role::Unit, "user"));
            let what = match () {
                () if name.is_empty() || name.len() > 64 => "a name has 1 to 64 bytes",
                () if !names.insert(name.clone()) => "the name stands twice",
                () if reserved => "text, label and user are the names of those roles in prepared rows",
                () => return self::column(column),
            };
            Err(RulesError::Column { name, what })
        })
        .collect()
}

fn column(raw: RawColumn) -> Result<Column, RulesError> {
    let name = raw.name.clone();
    let wrong = |what| RulesError::Column { name: name.clone(), what };
    let number = matches!(raw.kind, ColumnType::Integer | ColumnType::Number);
    if (raw.min.is_some() || raw.max.is_some() || raw.outliers.is_some()) && !number {
        return Err(wrong("min, max and outliers are for numbers"));
    }
    if matches!(raw.missing, RawFill::Mean | RawFill::Median) && !number {
        return Err(wrong("mean and median are for numbers"));
    }
    if matches!(raw.missing, RawFill::Keep | RawFill::Flag) && !raw.nullable {
        return Err(wrong("a value can stay missing only where nullable = true"));
    }
    // A file of plain texts has no labels: all its rows may be given one.
    let given = raw.role == Role::Label && raw.missing == RawFill::Constant;
    if matches!(raw.role, Role::Text | Role::Label | Role::Unit) && (raw.nullable || raw.missing != RawFill::Drop) && !given {
        return Err(wrong("text, label and unit are never missing: leave nullable out, and missing but for a constant label"));
    }
    if matches!(raw.role, Role::Text | Role::Label | Role::Unit) && raw.kind != ColumnType::Text {
        return Err(wrong("text, label and unit are texts"));
    }
    if (raw.kind == ColumnType::Date) == raw.date_formats.is_empty() {
        return Err(wrong("a date needs date_formats, and nothing else has them"));
    }
    if raw.utc_offset_minutes.abs() > 18 * 60 {
        return Err(wrong("utc_offset_minutes lies between -1080 and 1080"));
    }
    if (raw.missing == RawFill::Constant) != raw.constant.is_some() {
        return Err(wrong("missing = \"constant\" and constant belong together"));
    }
    if let Some(outliers) = &raw.outliers {
        outliers.check(&name)?;
    }
    let missing = match raw.missing {
        RawFill::Keep => Fill::Keep,
        RawFill::Drop => Fill::Drop,
        RawFill::Mean => Fill::Mean,
        RawFill::Median => Fill::Median,
        RawFill::Mode => Fill::Mode,
        RawFill::Flag => Fill::Flag,
        RawFill::Constant => {
            let cell = raw.constant.as_ref().and_then(|value| constant(raw.kind, value));
            Fill::Constant(cell.ok_or_else(|| wrong("constant has another type than the column"))?)
        }
    };
    let max_chars = raw.max_chars.unwrap_or(if raw.role == Role::Text { 4096 } else { 1024 });
    if raw.min_chars > max_chars {
        return Err(wrong("min_chars is above max_chars"));
    }
    Ok(Column {
        kind: raw.kind,
        role: raw.role,
        nullable: raw.nullable,
        pii: raw.pii,
        null_words: raw.null_words,
        missing,
        outliers: raw.outliers,
        allow: raw.allow.as_deref().map(|p| pattern("allow", &name, p)).transpose()?,
        deny: raw.deny.as_deref().map(|p| pattern("deny", &name, p)).transpose()?,
        values: raw.values,
        min: raw.min,
        max: raw.max,
        min_chars: raw.min_chars,
        max_chars,
        date: (!raw.date_formats.is_empty()).then_some(DateRule { formats: raw.date_formats, offset_s: raw.utc_offset_minutes * 60 }),
        name,
    })
}

fn constant(kind: ColumnType, value: &toml::Value) -> Option<Cell> {
    match kind {
        ColumnType::Text | ColumnType::Date => value.as_str().map(|s| Cell::Text(s.to_owned())),
        ColumnType::Integer => value.as_integer().map(Cell::Integer),
        ColumnType::Number => {
            value.as_float().or_else(|| value.as_integer().map(super::super::value::as_f64)).filter(|n| n.is_finite()).map(Cell::Number)
        }
        ColumnType::Boolean => value.as_bool().map(Cell::Boolean),
    }
}

fn normal(raw: RawText) -> Result<TextRules, RulesError> {
    within("text.min_script_permille", raw.min_script_permille.into(), 1, 1000, "1 to 1000")?;
    within("text.max_repeat", raw.max_repeat.into(), 0, 1000, "0 (off) to 1000")?;
    let boilerplate = raw.boilerplate.iter().map(|p| pattern("boilerplate", "text", p)).collect::<Result<_, _>>()?;
    Ok(TextRules {
        nfkc: raw.nfkc,
        half_width: raw.half_width,
        zero_width: raw.zero_width,
        fold_spaces: raw.fold_spaces,
        simplified: raw.simplified,
        max_repeat: usize::try_from(raw.max_repeat).unwrap_or(usize::MAX),
        boilerplate,
        scripts: raw.scripts,
        min_script_permille: raw.min_script_permille,
    })
}

fn checks(raw: Vec<RawCheck>, columns: &[Column]) -> Result<Vec<Check>, RulesError> {
    within("checks", as_u64(raw.len()), 0, as_u64(MAX_CHECKS), "at most 64")?;
    raw.into_iter()
        .map(|RawCheck { name, require }| match Expr::parse(&require, columns) {
            Ok(require) => Ok(Check { name, require }),
            Err(source) => Err(RulesError::Check { name, source }),
        })
        .collect()
}

fn scrubbed(columns: &[Column], raw: &RawScrub) -> Result<Vec<usize>, RulesError> {
    let text = |name: &String| match columns.iter().position(|c| c.name == *name && c.kind == ColumnType::Text) {
        Some(at) if matches!(columns[at].role, Role::Text | Role::Feature) => Ok(at),
        Some(_) | None => Err(RulesError::Column { name: name.clone(), what: "scrub.columns names text columns of role text or feature" }),
    };
    raw.columns.iter().map(text).collect()
}

fn dedup(raw: &RawDedup) -> Result<Dedup, RulesError> {
    within("dedup.shingle_chars", as_u64(raw.shingle_chars), 1, 16, "1 to 16")?;
    within("dedup.jaccard_permille", raw.jaccard_permille.into(), 500, 1000, "500 to 1000")?;
    let &RawDedup { exact, near, shingle_chars, jaccard_permille, boundary } = raw;
    Ok(Dedup { exact, near, shingle_chars, jaccard_permille, boundary })
}

fn split(raw: RawSplit) -> Result<Split, RulesError> {
    if raw.key.is_empty() {
        return Err(RulesError::Missing { key: "split.key", why: "without a key every dataset would hold out the same persons" });
    }
    within("split.validation_permille", raw.validation_permille.into(), 0, 900, "0 to 900")?;
    Ok(Split { key: raw.key, validation_permille: raw.validation_permille })
}

fn thresholds(raw: &RawThresholds) -> Result<Thresholds, RulesError> {
    for (key, got) in [
        ("thresholds.max_bad_rows_permille", raw.max_bad_rows_permille),
        ("thresholds.max_dropped_permille", raw.max_dropped_permille),
        ("thresholds.max_duplicates_permille", raw.max_duplicates_permille),
        ("thresholds.max_pii_rows_permille", raw.max_pii_rows_permille),
        ("thresholds.max_label_share_permille", raw.max_label_share_permille),
        ("thresholds.max_leaking_rows_permille", raw.max_leaking_rows_permille),
    ] {
        within(key, got.into(), 0, 1000, "0 to 1000")?;
    }
    Ok(Thresholds {
        min_train_rows: raw.min_train_rows,
        max_bad_rows_permille: raw.max_bad_rows_permille,
        max_dropped_permille: raw.max_dropped_permille,
        max_duplicates_permille: raw.max_duplicates_permille,
        max_pii_rows_permille: raw.max_pii_rows_permille,
        max_label_share_permille: raw.max_label_share_permille,
        max_leaking_rows_permille: raw.max_leaking_rows_permille,
        max_drift_permille: raw.max_drift_permille,
    })
}
