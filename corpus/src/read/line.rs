//! One line of JSON to one record. Must not let a value of the line into an error: names of fields, kinds and columns only.

use std::fmt;

use serde_json::{Map, Value};

use super::{ReadOptions, language_of};
use crate::record::Record;
use crate::report::RejectReason;
use crate::spans::{SpanError, Spans};

/// What a declared field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldRole {
    /// Holds the text.
    Text,
    /// Holds the label.
    Label,
    /// Holds the user.
    User,
}

impl fmt::Display for FieldRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Label => "label",
            Self::User => "user",
        })
    }
}

/// Kind of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// A list.
    Array,
    /// An object.
    Object,
}

impl JsonKind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "a list",
            Self::Object => "an object",
        })
    }
}

/// Names of the fields that a line has: at most [`FieldNames::MAX`], each cut at [`FieldNames::MAX_CHARS`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldNames {
    names: Vec<String>,
    more: usize,
}

impl FieldNames {
    /// Most names kept: enough to see a misspelling.
    pub const MAX: usize = 16;
    /// Most characters kept of a name: a whole message in a key must not get into a log.
    pub const MAX_CHARS: usize = 24;

    fn of(map: &Map<String, Value>) -> Self {
        let cut = |name: &String| name.chars().take(Self::MAX_CHARS).collect();
        Self { names: map.keys().take(Self::MAX).map(cut).collect(), more: map.len().saturating_sub(Self::MAX) }
    }

    /// The names, in the order of the alphabet.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.more {
            0 => write!(f, "{:?}", self.names),
            more => write!(f, "{:?} and {more} more", self.names),
        }
    }
}

/// Why a line is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Over the limit.
    #[error("the line is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Not UTF-8.
    #[error("the line is not UTF-8 from byte {valid_up_to}")]
    NotUtf8 {
        /// Bytes before the first bad one.
        valid_up_to: usize,
    },
    /// Not JSON.
    #[error("the line is not JSON, at column {column}")]
    NotJson {
        /// One-based byte column where the parser stopped.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("the line is {got}, expected an object")]
    NotAnObject {
        /// What it is.
        got: JsonKind,
    },
    /// A declared field is not there.
    #[error("the line has no field for the {role}; its fields are {present}")]
    MissingField {
        /// What the field is for.
        role: FieldRole,
        /// The fields that are there.
        present: FieldNames,
    },
    /// A declared field has the wrong type.
    #[error("the {role} field is {got}, expected a string")]
    WrongType {
        /// What the field is for.
        role: FieldRole,
        /// What it is.
        got: JsonKind,
    },
    /// The label is a list, but not of parts of the text.
    #[error("the label field is no list of parts of the text")]
    Spans(#[from] SpanError),
    /// A declared field is empty or blank.
    #[error("the {role} field is empty")]
    EmptyField {
        /// What the field is for.
        role: FieldRole,
    },
}

impl From<&LineError> for RejectReason {
    fn from(error: &LineError) -> Self {
        match error {
            LineError::TooLong { .. } => Self::LineTooLong,
            LineError::NotUtf8 { .. } => Self::NotUtf8,
            LineError::NotJson { .. } => Self::NotJson,
            LineError::NotAnObject { .. } => Self::NotAnObject,
            LineError::MissingField { .. } => Self::MissingField,
            LineError::WrongType { .. } => Self::WrongType,
            LineError::Spans(_) => Self::BadSpans,
            LineError::EmptyField { role: FieldRole::Label } => Self::EmptyLabel,
            LineError::EmptyField { role: FieldRole::User } => Self::MissingField,
            LineError::EmptyField { role: FieldRole::Text } => Self::EmptyText,
        }
    }
}

/// The record of a line, or `None` for a blank line.
pub(super) fn parse(bytes: &[u8], options: &ReadOptions) -> Result<Option<Record>, LineError> {
    let Some(map) = object(bytes)? else { return Ok(None) };
    let text = text_of(&map, &options.text_field)?;
    let label = label_of(&map, &options.label_field, &text)?;
    Ok(Some(Record { user: user(&map, options)?, text, label, language: language_of(map.get("language")) }))
}

/// A word, or a list of labelled parts of the text.
fn label_of(map: &Map<String, Value>, name: &str, text: &str) -> Result<String, LineError> {
    match field(map, name, FieldRole::Label)? {
        Value::Array(list) => Ok(Spans::of_list(list, text)?.to_label(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => word(map, name, FieldRole::Label),
    }
}

/// The object of a line, or `None` for a blank line.
pub(crate) fn object(bytes: &[u8]) -> Result<Option<Map<String, Value>>, LineError> {
    let text = std::str::from_utf8(bytes).map_err(|error| LineError::NotUtf8 { valid_up_to: error.valid_up_to() })?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    // The message of serde_json can quote values, so that only its column is kept. Nesting is limited by serde_json itself.
    match serde_json::from_str(text).map_err(|error| LineError::NotJson { column: error.column() })? {
        Value::Object(map) => Ok(Some(map)),
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(LineError::NotAnObject { got: JsonKind::of(&value) })
        }
    }
}

/// Whose line it is, where the options say which field tells.
pub(crate) fn user(map: &Map<String, Value>, options: &ReadOptions) -> Result<Option<String>, LineError> {
    options.user_field.as_deref().map(|name| word(map, name, FieldRole::User)).transpose()
}

fn field<'a>(map: &'a Map<String, Value>, name: &str, role: FieldRole) -> Result<&'a Value, LineError> {
    map.get(name).ok_or_else(|| LineError::MissingField { role, present: FieldNames::of(map) })
}

fn text_of(map: &Map<String, Value>, name: &str) -> Result<String, LineError> {
    let value = field(map, name, FieldRole::Text)?;
    let text = value.as_str().ok_or_else(|| LineError::WrongType { role: FieldRole::Text, got: JsonKind::of(value) })?;
    filled(text.to_owned(), FieldRole::Text)
}

/// A string or an integer, as a string: many sources number their labels and users.
fn word(map: &Map<String, Value>, name: &str, role: FieldRole) -> Result<String, LineError> {
    let value = field(map, name, role)?;
    match value {
        Value::String(word) => filled(word.clone(), role),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(LineError::WrongType { role, got: JsonKind::of(value) })
        }
    }
}

fn filled(word: String, role: FieldRole) -> Result<String, LineError> {
    if word.trim().is_empty() { Err(LineError::EmptyField { role }) } else { Ok(word) }
}
