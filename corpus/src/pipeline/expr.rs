//! Cross-field checks: a small typed grammar of comparisons. Must not know files; a value never gets into an error.
//!
//! ```text
//! or    = and { "or" and }            and  = not { "and" not }         not = "not" not | test
//! test  = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum ]
//! sum   = product { ("+" | "-") product }        product = term { ("*" | "/") term }
//! term  = number | 'text' | true | false | column | len(column) | missing(column) | "-" term | "(" or ")"
//! ```
//!
//! Types are checked when the rule file is read. A missing value makes a comparison unknown, and unknown passes, as in SQL's `CHECK`.

use super::rules::{Column, ColumnType};
use super::value::Cell;

mod parse;

/// Longest expression, in bytes.
pub const MAX_BYTES: usize = 4096;
/// Deepest nesting: evaluation and parsing recurse.
pub const MAX_DEPTH: usize = 32;

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExprError {
    /// Over [`MAX_BYTES`].
    #[error("the expression has {got} bytes, at most {MAX_BYTES} are read")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// Over [`MAX_DEPTH`].
    #[error("the expression is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A character or word out of place.
    #[error("byte {at} of the expression: expected {expected}")]
    Syntax {
        /// Zero-based byte.
        at: usize,
        /// What could have stood there.
        expected: &'static str,
    },
    /// A name that is no column.
    #[error("the expression names `{name}`, which is no column")]
    NoColumn {
        /// As written.
        name: String,
    },
    /// Operands that do not fit.
    #[error("the expression has {got} where {expected} is needed")]
    Types {
        /// The type there is.
        got: &'static str,
        /// The type that would fit.
        expected: &'static str,
    },
}

/// Type of a part of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Number,
    Text,
    Boolean,
}

impl Type {
    fn of(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Integer | ColumnType::Number => Self::Number,
            ColumnType::Text | ColumnType::Date => Self::Text,
            ColumnType::Boolean => Self::Boolean,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Boolean => "true or false",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Debug)]
enum Node {
    Number(f64),
    Text(String),
    Boolean(bool),
    Column(usize),
    Length(usize),
    Missing(usize),
    Not(Box<Node>),
    Negative(Box<Node>),
    Two(Op, Box<Node>, Box<Node>),
}

/// A checked expression that is true or false.
#[derive(Clone, Debug)]
pub struct Expr(Node);

/// What a part evaluates to; `None` is unknown.
enum Value<'a> {
    Number(f64),
    Text(&'a str),
    Boolean(bool),
}

impl Expr {
    /// Parses and checks an expression over the columns of a schema.
    ///
    /// # Errors
    /// [`ExprError`].
    pub fn parse(text: &str, columns: &[Column]) -> Result<Self, ExprError> {
        if text.len() > MAX_BYTES {
            return Err(ExprError::TooLong { got: text.len() });
        }
        let (node, kind) = parse::Parser::new(text, columns).whole()?;
        parse::expect(kind, Type::Boolean)?;
        Ok(Self(node))
    }

    /// Whether a row passes: false only where the expression is known to be false.
    pub fn passes(&self, row: &[Cell]) -> bool {
        !matches!(value(&self.0, row), Some(Value::Boolean(false)))
    }
}

fn value<'a>(node: &'a Node, row: &'a [Cell]) -> Option<Value<'a>> {
    Some(match node {
        Node::Number(n) => Value::Number(*n),
        Node::Text(text) => Value::Text(text),
        Node::Boolean(b) => Value::Boolean(*b),
        Node::Column(at) => match row.get(*at)? {
            Cell::Missing => return None,
            Cell::Text(text) => Value::Text(text),
            Cell::Boolean(b) => Value::Boolean(*b),
            number @ (Cell::Integer(_) | Cell::Number(_)) => Value::Number(number.number()?),
        },
        Node::Length(at) => Value::Number(super::value::as_f64(i64::try_from(row.get(*at)?.text()?.chars().count()).ok()?)),
        Node::Missing(at) => Value::Boolean(row.get(*at)?.is_missing()),
        Node::Not(inner) => Value::Boolean(!truth(inner, row)?),
        Node::Negative(inner) => Value::Number(-number(inner, row)?),
        Node::Two(op, left, right) => return two(*op, left, right, row),
    })
}

fn truth(node: &Node, row: &[Cell]) -> Option<bool> {
    match value(node, row)? {
        Value::Boolean(b) => Some(b),
        Value::Number(_) | Value::Text(_) => None,
    }
}

fn number(node: &Node, row: &[Cell]) -> Option<f64> {
    match value(node, row)? {
        Value::Number(n) => Some(n),
        Value::Boolean(_) | Value::Text(_) => None,
    }
}

fn two<'a>(op: Op, left: &'a Node, right: &'a Node, row: &'a [Cell]) -> Option<Value<'a>> {
    let compared = |holds: fn(std::cmp::Ordering) -> bool| {
        let order = match (value(left, row)?, value(right, row)?) {
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(&b)?,
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(&b),
            (Value::Number(_) | Value::Text(_) | Value::Boolean(_), _) => return None,
        };
        Some(Value::Boolean(holds(order)))
    };
    match op {
        // Known as soon as one side decides, whatever the other is.
        Op::Or => match (truth(left, row), truth(right, row)) {
            (Some(true), _) | (_, Some(true)) => Some(Value::Boolean(true)),
            (Some(false), Some(false)) => Some(Value::Boolean(false)),
            (None, Some(false) | None) | (Some(false), None) => None,
        },
        Op::And => match (truth(left, row), truth(right, row)) {
            (Some(false), _) | (_, Some(false)) => Some(Value::Boolean(false)),
            (Some(true), Some(true)) => Some(Value::Boolean(true)),
            (None, Some(true) | None) | (Some(true), None) => None,
        },
        Op::Equal => compared(std::cmp::Ordering::is_eq),
        Op::Unequal => compared(std::cmp::Ordering::is_ne),
        Op::Less => compared(std::cmp::Ordering::is_lt),
        Op::LessEqual => compared(std::cmp::Ordering::is_le),
        Op::Greater => compared(std::cmp::Ordering::is_gt),
        Op::GreaterEqual => compared(std::cmp::Ordering::is_ge),
        Op::Add => Some(Value::Number(number(left, row)? + number(right, row)?)),
        Op::Subtract => Some(Value::Number(number(left, row)? - number(right, row)?)),
        Op::Multiply => Some(Value::Number(number(left, row)? * number(right, row)?)),
        Op::Divide => Some(Value::Number(number(left, row)? / number(right, row)?)),
    }
}

#[cfg(test)]
mod tests;
