//! Fields of one JSON object with the limits of imports. Knows no tool.

use super::{ItemError, MAX_PARTS};
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

pub(super) fn object(v: &Value) -> Result<&Object, ItemError> {
    v.as_object().ok_or(ItemError::NotAnObject)
}

/// A field, nothing where it is missing or null.
pub(super) fn some<'a>(o: &'a Object, name: &str) -> Option<&'a Value> {
    o.get(name).filter(|v| !v.is_null())
}

pub(super) fn text<'a>(o: &'a Object, name: &'static str) -> Result<&'a str, ItemError> {
    some(o, name).ok_or(ItemError::Missing(name))?.as_str().ok_or(ItemError::WrongType(name))
}

pub(super) fn number(o: &Object, name: &'static str) -> Result<u64, ItemError> {
    some(o, name).ok_or(ItemError::Missing(name))?.as_u64().ok_or(ItemError::WrongType(name))
}

/// A list, empty where it is missing.
pub(super) fn list<'a>(o: &'a Object, name: &'static str) -> Result<&'a [Value], ItemError> {
    let Some(v) = some(o, name) else { return Ok(&[]) };
    let list = v.as_array().ok_or(ItemError::WrongType(name))?;
    if list.len() > MAX_PARTS { Err(ItemError::TooMany(name)) } else { Ok(list) }
}

/// Names of people and labels are texts in some exports and numbers in others.
pub(super) fn name_of(v: &Value, field: &'static str) -> Result<String, ItemError> {
    match v {
        Value::String(s) => Ok(s.clone()),
        Value::Number(n) => Ok(n.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(ItemError::WrongType(field)),
    }
}
