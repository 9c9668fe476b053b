//! How a `config.json` tells the turns of rotary positions: newer files have one group of fields; older ones have a number, and a group only where
//! turns are stretched.

use super::{ConfigError, Fields, unsupported};
use crate::model::config::{Positions, Stretch};
use serde_json::{Map, Value, json};

/// Where a file does not say.
const THETA: f64 = 10_000.0;

/// The newer and the older group, and its kind.
const GROUPS: [(&str, &str); 2] = [("rope_parameters", "rope_parameters.rope_type"), ("rope_scaling", "rope_scaling.rope_type")];

/// Places of a file of Llama's kind.
pub(super) fn read(f: &Fields) -> Result<Positions, ConfigError> {
    part("partial_rotary_factor", f.number_or("partial_rotary_factor", 1.0)?)?;
    let theta = f.number_or("rope_theta", THETA)?;
    let said = |(name, kind): (&'static str, &'static str)| f.find(name).map(|found| group((name, kind), found, theta)).transpose();
    match (said(GROUPS[0])?, said(GROUPS[1])?) {
        (None, None) => Ok(Positions::Rotary { theta }),
        (Some(newer), Some(older)) if newer != older => Err(unsupported("rope_scaling", "another than rope_parameters", "the same")),
        (Some(one), _) | (None, Some(one)) => Ok(one),
    }
}

/// Turning a part of each head only is another model.
fn part(field: &'static str, turned: f64) -> Result<(), ConfigError> {
    if (turned - 1.0).abs() < 1e-12 { Ok(()) } else { Err(unsupported(field, &turned.to_string(), "1")) }
}

fn group((name, kind): (&'static str, &'static str), found: &Value, theta: f64) -> Result<Positions, ConfigError> {
    let fields = found.as_object().filter(|fields| !fields.values().any(Value::is_object));
    let fields = fields.ok_or(ConfigError::Field { field: name, expected: "one group of fields for all layers" })?;
    let number = |field: &'static str, default: Option<f64>| match fields.get(field).filter(|v| !v.is_null()) {
        None => default.ok_or(ConfigError::Field { field, expected: "a number" }),
        Some(value) => value.as_f64().ok_or(ConfigError::Field { field, expected: "a number" }),
    };
    part("partial_rotary_factor", number("partial_rotary_factor", Some(1.0))?)?;
    let theta = number("rope_theta", Some(theta))?;
    let named = fields.get("rope_type").or_else(|| fields.get("type")).and_then(Value::as_str);
    let stretch = match named.unwrap_or("default") {
        "default" => return Ok(Positions::Rotary { theta }),
        "linear" => Stretch::Even { factor: number("factor", None)? },
        "llama3" => Stretch::Slow {
            factor: number("factor", None)?,
            low: number("low_freq_factor", None)?,
            high: number("high_freq_factor", None)?,
            tokens: number("original_max_position_embeddings", None)?,
        },
        other => return Err(unsupported(kind, other, "default, linear or llama3")),
    };
    Ok(Positions::Stretched { theta, stretch })
}

/// The fields that readers of both ages understand.
pub(super) fn render(positions: Positions) -> Map<String, Value> {
    let (theta, stretch) = positions.turns().unwrap_or((THETA, None));
    let group = match stretch {
        None => json!({ "rope_type": "default" }),
        Some(Stretch::Even { factor }) => json!({ "rope_type": "linear", "factor": factor }),
        Some(Stretch::Slow { factor, low, high, tokens }) => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": whole(tokens),
        }),
    };
    let mut newer = group.clone();
    newer["rope_theta"] = json!(theta);
    let older = stretch.map(|_| ("rope_scaling".to_owned(), group));
    [("rope_theta".to_owned(), json!(theta)), ("rope_parameters".to_owned(), newer)].into_iter().chain(older).collect()
}

/// Without a fraction where it has none: readers want a count of tokens to be one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only where it is exact")]
fn whole(x: f64) -> Value {
    if x.fract().abs() < f64::EPSILON && (0.0..4_294_967_296.0).contains(&x) { json!(x as u64) } else { json!(x) }
}
