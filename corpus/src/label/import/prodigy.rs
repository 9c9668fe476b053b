//! Prodigy, JSON Lines: `answer` accepts, rejects or ignores; `label` is a binary question, `accept` the chosen options, `spans` count code
//! points, or tokens with the last one included, or both.

use super::value::{Object, list, name_of, number, object, some, text};
use super::{Item, ItemError, SkipReason};
use crate::label::{Annotation, Offsets, Source, Span};
use serde_json::Value;

pub(super) fn item(item: u64, o: &Object) -> Result<Item, ItemError> {
    let text = text(o, "text")?;
    if let Some(answer) = some(o, "answer") {
        match answer.as_str() {
            Some("accept") => {}
            Some("reject" | "ignore") => return Ok(Item::Nothing(SkipReason::Rejected)),
            Some(_) | None => return Err(ItemError::WrongType("answer")),
        }
    }
    let offsets = Offsets::new(text);
    let tokens = list(o, "tokens")?;
    let spans = list(o, "spans")?.iter().map(|s| span(object(s).map_err(|_| ItemError::WrongType("spans"))?, tokens, &offsets));
    let spans = spans.collect::<Result<Vec<_>, _>>()?;
    let mut labels = list(o, "accept")?.iter().map(|v| name_of(v, "accept")).collect::<Result<Vec<_>, _>>()?;
    // With options on offer the choice is in `accept`; a lone `label` is the question that was answered with yes.
    if let Some(label) = some(o, "label").filter(|_| some(o, "options").is_none()) {
        labels.insert(0, name_of(label, "label")?);
    }
    if labels.is_empty() && spans.is_empty() {
        return Ok(Item::Annotations(Vec::new()));
    }
    let annotator = ["_annotator_id", "_session_id"].into_iter().find_map(|n| some(o, n));
    let annotator = annotator.map(|v| name_of(v, "_annotator_id")).transpose()?;
    Ok(Item::Annotations(vec![Annotation { item, text: text.to_owned(), labels, spans, annotator, source: source(o) }]))
}

/// Without an answer nobody looked. A model that proposed leaves its score or its name.
fn source(o: &Object) -> Source {
    if some(o, "answer").is_none() {
        return Source::Automatic;
    }
    let meta = some(o, "meta").and_then(Value::as_object);
    let spans = some(o, "spans").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let proposed = |o: &Object| ["score", "source", "pattern"].iter().any(|n| some(o, n).is_some());
    let by_model = some(o, "score").is_some() || meta.is_some_and(proposed) || spans.into_iter().any(proposed);
    if by_model { Source::SemiAutomatic } else { Source::Manual }
}

fn span(o: &Object, tokens: &[Value], offsets: &Offsets<'_>) -> Result<Span, ItemError> {
    let label = name_of(some(o, "label").ok_or(ItemError::Missing("spans.label"))?, "spans.label")?;
    let by_tokens = if some(o, "token_start").is_some() && !tokens.is_empty() { Some(of_tokens(o, tokens)?) } else { None };
    let by_characters = if some(o, "start").is_some() { Some((number(o, "start")?, number(o, "end")?)) } else { None };
    let (start, end) = match (by_characters, by_tokens) {
        (Some(a), Some(b)) if a != b => return Err(ItemError::Tokens),
        (Some(at), _) | (None, Some(at)) => at,
        (None, None) => return Err(ItemError::Missing("spans.start")),
    };
    let (start, end) = offsets.code_points(start, end)?;
    Ok(Span { start, end, label })
}

/// Characters of the tokens from the first to the last, which is included.
fn of_tokens(o: &Object, tokens: &[Value]) -> Result<(u64, u64), ItemError> {
    let token = |name| {
        let at = usize::try_from(number(o, name)?).map_err(|_| ItemError::Tokens)?;
        tokens.get(at).and_then(Value::as_object).ok_or(ItemError::Tokens)
    };
    let (first, last) = (token("token_start")?, token("token_end")?);
    Ok((number(first, "start")?, number(last, "end")?))
}
