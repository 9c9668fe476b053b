//! Values of a row, typed by the schema. Must not show one by accident.

use std::fmt;

/// One value.
///
/// # Privacy
/// Raw data of a person. `Debug` prints the kind only.
#[derive(Clone, PartialEq)]
pub enum Cell {
    /// Nothing there.
    Missing,
    /// Characters.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Number(f64),
    /// True or false.
    Boolean(bool),
}

impl Cell {
    /// Whether nothing is there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Its characters, where it is a text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Missing | Self::Integer(_) | Self::Number(_) | Self::Boolean(_) => None,
        }
    }

    /// Its number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(n) => Some(as_f64(*n)),
            Self::Number(n) => Some(*n),
            Self::Missing | Self::Text(_) | Self::Boolean(_) => None,
        }
    }
}

/// The nearest double; statistics need no more.
#[expect(clippy::cast_precision_loss, reason = "means and limits are compared, not counted with")]
pub fn as_f64(n: i64) -> f64 {
    n as f64
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Text(_) => "text",
            Self::Integer(_) => "integer",
            Self::Number(_) => "number",
            Self::Boolean(_) => "boolean",
        })
    }
}
