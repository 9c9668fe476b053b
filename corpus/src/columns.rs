//! Rows of named columns, unit by unit: what institutions count together. Knows files and fields; must not know what is counted, nor put a
//! value into an error.

use crate::dataset::UnitCap;
use crate::pipeline::prepared::{self, LoadError, Side};
use crate::read::{BadLines, LineError, MAX_RECORDS, ReadError, ReadOptions, for_each_line};
use crate::statistics::Cell;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Most values that are held: 2^27 of some forty bytes each.
const MAX_CELLS: usize = 1 << 27;

/// A column as a query names it: a field, or `characters(FIELD)` for the length of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    field: String,
    characters: bool,
}

impl Column {
    fn of(name: &str) -> Self {
        let inner = name.strip_prefix("characters(").and_then(|rest| rest.strip_suffix(')'));
        Self { field: inner.unwrap_or(name).to_owned(), characters: inner.is_some() }
    }

    /// The value of a line's field; none where it is missing, null or of a kind that nothing is counted of.
    #[expect(clippy::cast_precision_loss, reason = "a length is far below 2^53")]
    fn kept(&self, map: &Map<String, Value>) -> Option<Kept> {
        match (map.get(&self.field)?, self.characters) {
            (Value::String(text), true) => Some(Kept::Number(text.chars().count() as f64)),
            (Value::String(text), false) => Some(Kept::Text(text.clone())),
            (Value::Number(n), false) => n.as_f64().map(Kept::Number),
            (Value::Bool(b), false) => Some(Kept::Text(b.to_string())),
            (Value::Null | Value::Array(_) | Value::Object(_), _) | (Value::Number(_) | Value::Bool(_), true) => None,
        }
    }
}

/// A value of a record.
#[derive(Clone, PartialEq)]
enum Kept {
    Number(f64),
    Text(String),
}

/// One record's values, in the order of the columns.
///
/// # Privacy
/// Raw personal data; no `Debug`.
#[derive(Clone, PartialEq)]
pub struct Row {
    user: Option<String>,
    /// By which a unit's records are picked: a keyed hash of the line.
    pick: [u8; 32],
    cells: Vec<Option<Kept>>,
}

impl Row {
    /// The value of a column, by its place.
    pub fn cell(&self, column: usize) -> Option<Cell<'_>> {
        match self.cells.get(column)?.as_ref()? {
            Kept::Number(n) => Some(Cell::Number(*n)),
            Kept::Text(text) => Some(Cell::Label(text)),
        }
    }

    /// The text of a column, by its place.
    pub fn text(&self, column: usize) -> Option<&str> {
        match self.cell(column)? {
            Cell::Number(_) => None,
            Cell::Label(text) => Some(text),
        }
    }
}

/// Records of one unit, at most as many as the cap says.
pub type UnitRows = Vec<Row>;

/// What is read.
pub struct Wanted<'a> {
    /// Names of columns.
    pub columns: &'a [String],
    /// Most records of a unit, and the key by which they are picked.
    pub cap: UnitCap,
}

impl Wanted<'_> {
    /// The rows of a JSON Lines file, by unit.
    ///
    /// # Errors
    /// [`ReadError`]: names lines and fields, never values.
    pub fn of_file(&self, path: &Path, options: &ReadOptions) -> Result<Vec<UnitRows>, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
        let mut rows = Vec::new();
        self.read(BufReader::new(file), options, &mut rows)?;
        self.units(rows)
    }

    /// The rows of one side of a prepared directory, by unit; every shard is compared with its checksum.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn of_prepared(&self, dir: &Path, side: Side) -> Result<Vec<UnitRows>, LoadError> {
        let mut rows = Vec::new();
        prepared::for_each_shard(dir, side, &mut |source, options| self.read(source, options, &mut rows))?;
        Ok(self.units(rows)?)
    }

    fn read(&self, source: impl BufRead, options: &ReadOptions, rows: &mut Vec<Row>) -> Result<(), ReadError> {
        let columns: Vec<Column> = self.columns.iter().map(|name| Column::of(name)).collect();
        let most = (MAX_CELLS / columns.len().max(1)).min(MAX_RECORDS);
        for_each_line(source, options.max_line_bytes, |line, bytes| {
            let row = bytes.and_then(|bytes| self.row(bytes, &columns, options));
            match row {
                Ok(None) => Ok(()),
                Ok(Some(_)) if rows.len() >= most => Err(ReadError::TooManyRecords { max: most }),
                Ok(Some(row)) => {
                    rows.push(row);
                    Ok(())
                }
                Err(_) if options.bad_lines == BadLines::Skip => Ok(()),
                Err(source) => Err(ReadError::BadLine { line, source }),
            }
        })
    }

    fn row(&self, bytes: &[u8], columns: &[Column], options: &ReadOptions) -> Result<Option<Row>, LineError> {
        let Some(map) = crate::read::object(bytes)? else { return Ok(None) };
        let user = crate::read::user(&map, options)?;
        let mut hash = Sha256::new();
        hash.update(b"concordat/corpus/counted-row/v1\0");
        hash.update(self.cap.seed.to_be_bytes());
        hash.update(bytes);
        let cells = columns.iter().map(|c| c.kept(&map)).collect();
        Ok(Some(Row { user, pick: hash.finalize().into(), cells }))
    }

    /// A person's rows together, a row of nobody alone; of each unit the first of the cap in the order of the keyed hash.
    fn units(&self, rows: Vec<Row>) -> Result<Vec<UnitRows>, ReadError> {
        if rows.is_empty() {
            return Err(ReadError::Empty);
        }
        let (mut alone, mut persons) = (Vec::new(), BTreeMap::<String, UnitRows>::new());
        for mut row in rows {
            match row.user.take() {
                Some(user) => persons.entry(user).or_default().push(row),
                None => alone.push(vec![row]),
            }
        }
        alone.extend(persons.into_values());
        for unit in &mut alone {
            unit.sort_unstable_by_key(|row| row.pick);
            unit.truncate(self.cap.max_records);
        }
        Ok(alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "{\"text\":\"你好\",\"label\":\"a\",\"user\":\"u\",\"amount\":2.5,\"vip\":true}\n\
         \n{\"text\":\"three\",\"label\":\"b\",\"user\":\"v\",\"amount\":null}\n{\"text\":\"x\",\"label\":\"a\",\"user\":\"u\",\"amount\":-1}\n";

    fn read(lines: &str, user: bool, max_records: usize) -> Result<Vec<UnitRows>, ReadError> {
        let columns = ["characters(text)", "amount", "label", "vip", "none"].map(str::to_owned);
        let wanted = Wanted { columns: &columns, cap: UnitCap { max_records, seed: 1 } };
        let options = ReadOptions { user_field: user.then(|| "user".to_owned()), ..ReadOptions::default() };
        let mut rows = Vec::new();
        wanted.read(lines.as_bytes(), &options, &mut rows)?;
        wanted.units(rows)
    }

    #[test]
    fn rows_come_by_unit_with_the_columns_that_were_asked_for() {
        let units = read(LINES, true, 9).unwrap();
        assert_eq!(units.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        let first = units[0].iter().find(|r| r.cell(0) == Some(Cell::Number(2.0))).unwrap();
        assert_eq!([first.cell(1), first.cell(2)], [Some(Cell::Number(2.5)), Some(Cell::Label("a"))]);
        assert_eq!([first.cell(3), first.cell(4)], [Some(Cell::Label("true")), None]);
        assert_eq!([units[1][0].cell(1), units[1][0].text(2).map(Cell::Label)], [None, Some(Cell::Label("b"))]);
        assert_eq!(read(LINES, false, 9).unwrap().len(), 3, "without persons each record is a unit");
    }

    /// Which of a person's records count depends on that person's records alone, not on their order.
    #[test]
    fn no_unit_has_more_rows_than_the_cap_and_their_order_does_not_matter() {
        let one = read(LINES, true, 1).unwrap();
        assert!(one.iter().all(|u| u.len() == 1));
        let backwards: String = LINES.lines().rev().map(|l| format!("{l}\n")).collect();
        assert!(read(&backwards, true, 1).unwrap() == one);
    }

    #[test]
    fn a_bad_line_is_named_without_its_contents() {
        let error = read("{\"text\":\"canary\",\"label\":\"a\"}\n", true, 1).err().unwrap();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("line 1") || shown.contains("line: 1"), "{shown}");
        assert!(!shown.contains("canary"));
        assert!(matches!(read("", true, 1), Err(ReadError::Empty)));
    }
}
