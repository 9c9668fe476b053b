//! One raw row to typed cells. Must not let a value into an error: names of columns, kinds and columns of bytes only.

use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::counts::Dropped;
use super::rules::{Column, ColumnType};
use super::value::Cell;

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// Over the limit.
    #[error("the row is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Bytes that are no characters.
    #[error("the row has bytes that are no characters of its encoding")]
    Encoding,
    /// Not JSON.
    #[error("the row is not JSON, at column {column}")]
    NotJson {
        /// One-based byte column where the parser stopped.
        column: usize,
    },
    /// JSON, but no object.
    #[error("the row is JSON, but not an object")]
    NotAnObject,
    /// A declared field stands twice.
    #[error("the field `{column}` stands twice")]
    FieldTwice {
        /// Its column.
        column: String,
    },
    /// Another number of fields than the header.
    #[error("the row has {got} fields, expected {expected}")]
    FieldCount {
        /// Fields of the row.
        got: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// A value of another type.
    #[error("the field `{column}` is {got}, expected {expected}")]
    WrongType {
        /// Its column.
        column: String,
        /// What it is.
        got: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl RowFault {
    /// The reason under which the row is counted.
    pub fn reason(&self) -> Dropped {
        match self {
            Self::TooLong { .. } => Dropped::RowTooLong,
            Self::Encoding => Dropped::BadEncoding,
            Self::NotJson { .. } | Self::NotAnObject | Self::FieldTwice { .. } => Dropped::Malformed,
            Self::FieldCount { .. } => Dropped::WrongFieldCount,
            Self::WrongType { .. } => Dropped::WrongType,
        }
    }
}

/// A value as a source has it, before its column's type is known.
#[derive(Clone)]
pub(super) enum Loose {
    Nothing,
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// A list or an object.
    Compound,
}

fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "a string",
        ColumnType::Integer => "a whole number",
        ColumnType::Number => "a finite number",
        ColumnType::Boolean => "true or false",
        ColumnType::Date => "a string with a date",
    }
}

/// The cell of a value in a column. A blank text and the column's null words are missing.
pub(super) fn cell(column: &Column, value: Loose) -> Result<Cell, RowFault> {
    let wrong = |got| RowFault::WrongType { column: column.name.clone(), got, expected: expected(column.kind) };
    match (value, column.kind) {
        (Loose::Nothing, _) => Ok(Cell::Missing),
        (Loose::Compound, _) => Err(wrong("a list or an object")),
        (Loose::Text(text), _) if text.trim().is_empty() || column.null_words.contains(text.trim()) => Ok(Cell::Missing),
        (Loose::Text(text), ColumnType::Text | ColumnType::Date) => Ok(Cell::Text(text)),
        (Loose::Text(text), ColumnType::Integer) => text.trim().parse().map(Cell::Integer).map_err(|_| wrong("another text")),
        (Loose::Text(text), ColumnType::Number) => {
            text.trim().parse().ok().filter(|n: &f64| n.is_finite()).map(Cell::Number).ok_or_else(|| wrong("another text"))
        }
        (Loose::Text(text), ColumnType::Boolean) => match text.trim() {
            "true" | "True" | "TRUE" | "1" | "yes" | "是" => Ok(Cell::Boolean(true)),
            "false" | "False" | "FALSE" | "0" | "no" | "否" => Ok(Cell::Boolean(false)),
            _ => Err(wrong("another text")),
        },
        (Loose::Integer(n), ColumnType::Integer) => Ok(Cell::Integer(n)),
        (Loose::Integer(n), ColumnType::Number) => Ok(Cell::Number(super::value::as_f64(n))),
        // Many sources number their labels and persons.
        (Loose::Integer(n), ColumnType::Text) => Ok(Cell::Text(n.to_string())),
        (Loose::Integer(_), ColumnType::Boolean | ColumnType::Date) => Err(wrong("a whole number")),
        (Loose::Number(n), ColumnType::Number) if n.is_finite() => Ok(Cell::Number(n)),
        (Loose::Number(_), _) => Err(wrong("a number")),
        (Loose::Boolean(b), ColumnType::Boolean) => Ok(Cell::Boolean(b)),
        (Loose::Boolean(_), ColumnType::Text | ColumnType::Integer | ColumnType::Number | ColumnType::Date) => Err(wrong("true or false")),
    }
}

/// The row of a line of JSON. Fields that the schema does not name are passed over without being kept.
pub(super) fn json(bytes: &[u8], columns: &[Column]) -> Result<Vec<Cell>, RowFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| RowFault::Encoding)?;
    if !text.trim_start().starts_with('{') {
        // Told apart without reading the value: `[1` is no JSON, `[1]` is no object.
        let whole = serde_json::from_str::<IgnoredAny>(text);
        return Err(whole.map_or_else(|e| RowFault::NotJson { column: e.column() }, |_| RowFault::NotAnObject));
    }
    let mut row = vec![None; columns.len()];
    let mut fault = None;
    let mut source = serde_json::Deserializer::from_str(text);
    let read = RowSeed { columns, row: &mut row, fault: &mut fault }.deserialize(&mut source).and_then(|()| source.end());
    // The message of serde_json can quote values, so that only its column is kept. Nesting is limited by serde_json itself.
    read.map_err(|e| RowFault::NotJson { column: e.column() })?;
    match fault {
        Some(fault) => Err(fault),
        None => Ok(row.into_iter().map(|cell| cell.unwrap_or(Cell::Missing)).collect()),
    }
}

/// The row of separate fields; `places` says for each field its column.
pub(super) fn fields<'a>(
    fields: impl ExactSizeIterator<Item = &'a [u8]>,
    places: &[Option<usize>],
    columns: &[Column],
) -> Result<Vec<Cell>, RowFault> {
    if fields.len() != places.len() {
        return Err(RowFault::FieldCount { got: fields.len(), expected: places.len() });
    }
    let mut row = vec![Cell::Missing; columns.len()];
    for (field, place) in fields.zip(places) {
        let text = std::str::from_utf8(field).map_err(|_| RowFault::Encoding)?;
        if let Some(at) = *place {
            row[at] = cell(&columns[at], Loose::Text(text.to_owned()))?;
        }
    }
    Ok(row)
}

/// The row of a line of plain text.
pub(super) fn text(bytes: &[u8], columns: &[Column], at: usize) -> Result<Vec<Cell>, RowFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| RowFault::Encoding)?;
    let mut row = vec![Cell::Missing; columns.len()];
    row[at] = cell(&columns[at], Loose::Text(text.to_owned()))?;
    Ok(row)
}

/// The row of values that the source has typed.
pub(super) fn loose(values: &[Option<Loose>], columns: &[Column]) -> Result<Vec<Cell>, RowFault> {
    let value = |(value, column): (&Option<Loose>, &Column)| cell(column, value.clone().unwrap_or(Loose::Nothing));
    values.iter().zip(columns).map(value).collect()
}

struct RowSeed<'a> {
    columns: &'a [Column],
    row: &'a mut [Option<Cell>],
    fault: &'a mut Option<RowFault>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(NameSeed(self.columns))? {
            let Some(at) = place else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let found = cell(&self.columns[at], map.next_value_seed(LooseSeed)?);
            let twice = self.row[at].is_some();
            match found {
                _ if twice => *self.fault = Some(RowFault::FieldTwice { column: self.columns[at].name.clone() }),
                Ok(found) => self.row[at] = Some(found),
                Err(fault) => {
                    self.fault.get_or_insert(fault);
                }
            }
        }
        Ok(())
    }
}

/// Reads a key and gives its column.
struct NameSeed<'a>(&'a [Column]);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: de::Deserializer<'de>>(self, source: D) -> Result<Option<usize>, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|c| c.name == name))
    }
}

struct LooseSeed;

impl<'de> DeserializeSeed<'de> for LooseSeed {
    type Value = Loose;

    fn deserialize<D: de::Deserializer<'de>>(self, source: D) -> Result<Loose, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LooseSeed {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Boolean(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Integer(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Loose, E> {
        // Above 63 bits only as a text or a number: an id of 64 bits must not lose its end.
        Ok(i64::try_from(value).map_or_else(|_| Loose::Text(value.to_string()), Loose::Integer))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Compound)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Compound)
    }
}

#[cfg(test)]
mod tests;
