//! The rules of columns, applied to one row. Must not know other rows: what is learnt from them comes in as constants.

use jiff::civil;
use jiff::fmt::strtime::BrokenDownTime;

use super::counts::Dropped;
use super::fit::ColumnFit;
use super::rules::column::OutlierAction;
use super::rules::{Column, ColumnType, DateRule, Fill, Role, Rules};
use super::value::Cell;

/// What happened to the values of one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ColumnCount {
    /// Values that were missing in rows that could be read.
    pub missing: u64,
    /// Missing values that became a constant.
    pub filled: u64,
    /// Outliers.
    pub outliers: u64,
    /// Texts that normalisation changed.
    pub changed: u64,
}

impl ColumnCount {
    pub(super) fn add(&mut self, other: &Self) {
        self.missing += other.missing;
        self.filled += other.filled;
        self.outliers += other.outliers;
        self.changed += other.changed;
    }
}

/// Applies all rules of columns and the cross-field checks. On success the row is clean: applied again, nothing changes.
///
/// `flags` gets the columns whose missing value is to be flagged.
pub(super) fn clean(
    rules: &Rules,
    fits: &[Option<ColumnFit>],
    row: &mut [Cell],
    counts: &mut [ColumnCount],
    failed_checks: &mut [u64],
) -> Result<(), Dropped> {
    // Counted for the whole row before anything can end it, so that shares of nulls are those of all rows.
    for (cell, count) in row.iter().zip(counts.iter_mut()) {
        count.missing += u64::from(cell.is_missing());
    }
    for (at, column) in rules.columns.iter().enumerate() {
        let fit = fits.get(at).and_then(Option::as_ref);
        one(rules, column, fit, &mut row[at], &mut counts[at])?;
    }
    for (check, failed) in rules.checks.iter().zip(failed_checks) {
        if !check.require.passes(row) {
            *failed += 1;
            return Err(Dropped::FailedCheck);
        }
    }
    Ok(())
}

fn one(rules: &Rules, column: &Column, fit: Option<&ColumnFit>, cell: &mut Cell, count: &mut ColumnCount) -> Result<(), Dropped> {
    if let Cell::Text(text) = cell {
        let normal = match column.role {
            Role::Text | Role::Feature if column.kind == ColumnType::Text => rules.normal.apply(text),
            Role::Text | Role::Feature | Role::Label | Role::Unit | Role::Ignore => text.trim().to_owned(),
        };
        count.changed += u64::from(normal != *text);
        *cell = if normal.is_empty() { Cell::Missing } else { Cell::Text(normal) };
    }
    if let (Some(date), Cell::Text(text)) = (&column.date, &*cell) {
        *cell = Cell::Text(rfc3339(text, date).ok_or(Dropped::BadDate)?);
    }
    if let (Some(rule), Some((low, high)), Some(value)) = (&column.outliers, fit.and_then(|f| f.limits), cell.number())
        && !(low..=high).contains(&value)
    {
        count.outliers += 1;
        match rule.action {
            OutlierAction::Drop => return Err(Dropped::Outlier),
            OutlierAction::Missing => *cell = Cell::Missing,
            OutlierAction::Cap => *cell = capped(column, value, low, high),
        }
    }
    if cell.is_missing() {
        match &column.missing {
            Fill::Keep | Fill::Flag => return Ok(()),
            Fill::Drop => return Err(Dropped::MissingValue),
            Fill::Constant(constant) => *cell = constant.clone(),
            Fill::Mean | Fill::Median | Fill::Mode => *cell = fit.and_then(|f| f.fill.clone()).ok_or(Dropped::MissingValue)?,
        }
        count.filled += 1;
    }
    limits(rules, column, cell)
}

/// The nearest value inside the limits; whole numbers stay whole.
fn capped(column: &Column, value: f64, low: f64, high: f64) -> Cell {
    let inside = value.clamp(low, high);
    #[expect(clippy::cast_possible_truncation, reason = "between limits that whole numbers of 64 bits gave")]
    let whole = if inside > value { inside.ceil() as i64 } else { inside.floor() as i64 };
    if column.kind == ColumnType::Integer { Cell::Integer(whole) } else { Cell::Number(inside) }
}

fn limits(rules: &Rules, column: &Column, cell: &Cell) -> Result<(), Dropped> {
    if let Some(value) = cell.number()
        && (column.min.is_some_and(|min| value < min) || column.max.is_some_and(|max| value > max))
    {
        return Err(Dropped::OutOfRange);
    }
    let Cell::Text(text) = cell else { return Ok(()) };
    if column.values.as_ref().is_some_and(|values| !values.contains(text)) {
        return Err(Dropped::NotInValues);
    }
    // A character has at most four bytes: most texts need no count.
    if text.len() < 4 * column.min_chars || text.len() > column.max_chars {
        let chars = text.chars().count();
        if chars < column.min_chars {
            return Err(Dropped::TooShort);
        }
        if chars > column.max_chars {
            return Err(Dropped::TooLong);
        }
    }
    if column.allow.as_ref().is_some_and(|p| !p.is_match(text)) {
        return Err(Dropped::NotAllowed);
    }
    if column.deny.as_ref().is_some_and(|p| p.is_match(text)) {
        return Err(Dropped::Denied);
    }
    if column.role == Role::Text && !rules.normal.is_of_scripts(text) {
        return Err(Dropped::OtherScript);
    }
    Ok(())
}

/// How RFC 3339 is read back, so that a date that is one already stays what it is.
const RFC3339: &str = "%Y-%m-%dT%H:%M:%S%.f%:z";

/// The date in RFC 3339, or `None` when no format fits. A date without a time is its midnight.
fn rfc3339(text: &str, rule: &DateRule) -> Option<String> {
    let formats = std::iter::once(RFC3339).chain(rule.formats.iter().map(String::as_str));
    let read = formats.filter_map(|format| BrokenDownTime::parse(format, text.trim()).ok());
    let mut dates = read.filter_map(|broken| {
        let when = broken.to_datetime().or_else(|_| broken.to_date().map(|d| d.to_datetime(civil::Time::midnight()))).ok()?;
        let offset = broken.offset().map_or(rule.offset_s, jiff::tz::Offset::seconds);
        Some((when, offset))
    });
    let (when, offset) = dates.next()?;
    // RFC 3339 has no seconds in offsets.
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    Some(format!("{when}{sign}{:02}:{:02}", minutes / 60, minutes % 60))
}

#[cfg(test)]
mod tests;
