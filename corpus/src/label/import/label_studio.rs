//! Label Studio, one JSON array of tasks: `data` holds the text, `annotations` what people said, `predictions` what models said. Read as a
//! stream, a task at a time.

use super::value::{Object, list, name_of, number, object, some, text};
use super::{ImportError, Imported, Item, ItemError, SkipReason};
use crate::label::{Annotation, Offsets, Source, Span};
use crate::read::BadLines;
use serde::de::{DeserializeSeed, Deserializer as _, SeqAccess, Visitor};
use serde_json::Value;
use std::io::Read;

/// Kinds of regions that mark parts of a text.
const SPANS: [&str; 2] = ["labels", "hypertextlabels"];
/// Kinds of regions that are about the whole text, and where their answers lie.
const WHOLE: [&str; 2] = ["choices", "taxonomy"];

pub(super) fn import(source: impl Read, bad: BadLines) -> Result<Imported, ImportError> {
    let (mut out, mut refused) = (Imported::default(), None);
    let mut reader = serde_json::Deserializer::from_reader(source);
    let tasks = Tasks { out: &mut out, refused: &mut refused, bad };
    let read = reader.deserialize_seq(tasks).and_then(|()| reader.end());
    match (refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Ok(())) => Ok(out),
        (None, Err(e)) if e.is_io() => Err(ImportError::Io { item: out.items, source: e.into() }),
        (None, Err(e)) => Err(ImportError::NotAnArray { item: out.items, line: e.line() }),
    }
}

struct Tasks<'a> {
    out: &'a mut Imported,
    refused: &'a mut Option<ImportError>,
    bad: BadLines,
}

impl<'de> Visitor<'de> for Tasks<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tasks: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(task) = tasks.next_element_seed(OneTask)? {
            number += 1;
            if let Err(refused) = self.out.take(number, item(number, &task), self.bad) {
                *self.refused = Some(refused);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

struct OneTask;

impl<'de> DeserializeSeed<'de> for OneTask {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        serde::Deserialize::deserialize(d)
    }
}

fn item(item: u64, task: &Value) -> Result<Item, ItemError> {
    let task = object(task)?;
    let data = object(some(task, "data").ok_or(ItemError::Missing("data"))?).map_err(|_| ItemError::WrongType("data"))?;
    let field = field_of(data)?;
    let text = text(data, "text").or_else(|_| data.get(field).and_then(Value::as_str).ok_or(ItemError::WrongType("data")))?;
    let offsets = Offsets::new(text);
    let (mut out, mut cancelled) = (Vec::new(), false);
    for said in list(task, "annotations")? {
        let said = object(said).map_err(|_| ItemError::WrongType("annotations"))?;
        if some(said, "was_cancelled").and_then(Value::as_bool) == Some(true) {
            cancelled = true;
            continue;
        }
        out.extend(annotation(item, text, said, &offsets)?);
    }
    if out.is_empty() && !cancelled {
        for said in list(task, "predictions")? {
            let said = object(said).map_err(|_| ItemError::WrongType("predictions"))?;
            let found = annotation(item, text, said, &offsets)?;
            out.extend(found.map(|a| Annotation { source: Source::Automatic, ..a }));
        }
    }
    Ok(if out.is_empty() && cancelled { Item::Nothing(SkipReason::Rejected) } else { Item::Annotations(out) })
}

/// The field `text`, or the only field that is a text.
fn field_of(data: &Object) -> Result<&str, ItemError> {
    if data.contains_key("text") {
        return Ok("text");
    }
    let mut texts = data.iter().filter(|(_, v)| v.is_string()).map(|(k, _)| k.as_str());
    texts.next().filter(|_| texts.next().is_none()).ok_or(ItemError::Missing("data.text"))
}

fn annotation(item: u64, text: &str, said: &Object, offsets: &Offsets<'_>) -> Result<Option<Annotation>, ItemError> {
    let (mut labels, mut spans, mut proposed) = (Vec::new(), Vec::new(), false);
    for region in list(said, "result")? {
        let region = object(region).map_err(|_| ItemError::WrongType("result"))?;
        let Some(kind) = some(region, "type").and_then(Value::as_str) else { continue };
        proposed |= some(region, "origin").and_then(Value::as_str).is_some_and(|o| o.starts_with("prediction"));
        let value =
            || object(some(region, "value").ok_or(ItemError::Missing("result.value"))?).map_err(|_| ItemError::WrongType("result.value"));
        if SPANS.contains(&kind) {
            spans.extend(marked(value()?, kind, offsets)?);
        } else if WHOLE.contains(&kind) {
            labels.extend(chosen(value()?, kind)?);
        }
    }
    proposed |=
        ["prediction", "parent_prediction"].iter().any(|n| some(said, n).is_some_and(|v| v.as_object().is_none_or(|o| !o.is_empty())));
    if labels.is_empty() && spans.is_empty() {
        return Ok(None);
    }
    let source = if proposed { Source::SemiAutomatic } else { Source::Manual };
    Ok(Some(Annotation { item, text: text.to_owned(), labels, spans, annotator: annotator(said)?, source }))
}

/// A number, or an object with one.
fn annotator(said: &Object) -> Result<Option<String>, ItemError> {
    match some(said, "completed_by") {
        Some(Value::Object(o)) => some(o, "id").map(|v| name_of(v, "completed_by.id")).transpose(),
        Some(v) => name_of(v, "completed_by").map(Some),
        None => Ok(None),
    }
}

fn marked(value: &Object, kind: &str, offsets: &Offsets<'_>) -> Result<Vec<Span>, ItemError> {
    // Hypertext keeps offsets of its words beside paths into the page.
    let at = some(value, "globalOffsets").and_then(Value::as_object).unwrap_or(value);
    let (start, end) = (number(at, "start")?, number(at, "end")?);
    let (start, end) = match some(value, "text").and_then(Value::as_str) {
        Some(words) => offsets.of_words(start, end, words)?,
        None => offsets.code_points(start, end)?,
    };
    let field = if kind == "labels" { "labels" } else { "hypertextlabels" };
    list(value, field)?.iter().map(|l| Ok(Span { start, end, label: name_of(l, "result.value.labels")? })).collect()
}

fn chosen(value: &Object, kind: &str) -> Result<Vec<String>, ItemError> {
    if kind == "choices" {
        return list(value, "choices")?.iter().map(|c| name_of(c, "result.value.choices")).collect();
    }
    // A path from the root of the tree: its leaf is the label.
    let leaf = |path: &Value| {
        path.as_array()
            .and_then(|p| p.last())
            .ok_or(ItemError::WrongType("result.value.taxonomy"))
            .and_then(|l| name_of(l, "result.value.taxonomy"))
    };
    list(value, "taxonomy")?.iter().map(leaf).collect()
}
