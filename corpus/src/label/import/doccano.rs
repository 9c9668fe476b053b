//! doccano, JSON Lines: `label` holds names (classification) or `[start, end, name]` (sequence labelling); `entities` hold objects.
//! Every annotation is taken for a person's: the export does not say otherwise.

use super::value::{Object, list, name_of, number, object, some, text};
use super::{Item, ItemError};
use crate::label::{Annotation, Counting, Offsets, Source, Span};
use serde_json::Value;

pub(super) fn item(item: u64, o: &Object, counting: Counting) -> Result<Item, ItemError> {
    let text = if some(o, "text").is_some() { text(o, "text")? } else { text_of_old(o)? };
    let offsets = Offsets::new(text);
    let (mut labels, mut spans) = (Vec::new(), Vec::new());
    let name = ["label", "labels"].into_iter().find(|n| some(o, n).is_some()).unwrap_or("label");
    match some(o, name) {
        Some(one @ (Value::String(_) | Value::Number(_))) => labels.push(name_of(one, "label")?),
        Some(_) => {
            for part in list(o, name)? {
                match part.as_array() {
                    Some(triple) => spans.push(span(triple, &offsets, counting)?),
                    None => labels.push(name_of(part, "label")?),
                }
            }
        }
        None => {}
    }
    for part in list(o, "entities")? {
        spans.push(entity(object(part).map_err(|_| ItemError::WrongType("entities"))?, &offsets, counting)?);
    }
    if labels.is_empty() && spans.is_empty() {
        return Ok(Item::Annotations(Vec::new()));
    }
    let annotator = ["username", "user", "annotator"].into_iter().find_map(|n| some(o, n));
    let annotator = annotator.map(|v| name_of(v, "annotator")).transpose()?;
    Ok(Item::Annotations(vec![Annotation { item, text: text.to_owned(), labels, spans, annotator, source: Source::Manual }]))
}

/// Early versions call the text `data`.
fn text_of_old(o: &Object) -> Result<&str, ItemError> {
    if some(o, "data").is_some() { text(o, "data") } else { Err(ItemError::Missing("text")) }
}

fn span(triple: &[Value], offsets: &Offsets<'_>, counting: Counting) -> Result<Span, ItemError> {
    let [start, end, label] = triple else { return Err(ItemError::WrongType("label")) };
    let number = |v: &Value| v.as_u64().ok_or(ItemError::WrongType("label"));
    let (start, end) = offsets.counted(counting, number(start)?, number(end)?)?;
    Ok(Span { start, end, label: name_of(label, "label")? })
}

fn entity(o: &Object, offsets: &Offsets<'_>, counting: Counting) -> Result<Span, ItemError> {
    let (start, end) = offsets.counted(counting, number(o, "start_offset")?, number(o, "end_offset")?)?;
    let label = name_of(some(o, "label").ok_or(ItemError::Missing("entities.label"))?, "entities.label")?;
    Ok(Span { start, end, label })
}
