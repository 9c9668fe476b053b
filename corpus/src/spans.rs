//! Labelled parts of texts, as a file spells them and as tokens see them. Must not know a model, or put a text or a label into an error.
//!
//! ```text
//! "spans": [{"start": 3, "end": 9, "label": "drug"}]  -> Spans -> Spans::settled (on the normal form) -> Spans::tags (of tokens)
//! ```

use crate::clean::{CleanError, CleanLimits, clean, normal_form};
use crate::label::{OffsetError, Offsets, Span};
use crate::tokenize::Piece;
use serde_json::{Map, Value};

/// Most parts of one text: what people mark in a page, many times over.
pub const MAX_SPANS: usize = 2000;

/// Why a list is no list of parts of its text. Numbers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// Not a list of objects with `start`, `end` and `label`.
    #[error("span {number} is no object of a start, an end and a label")]
    Shape {
        /// In the list, from 1.
        number: usize,
    },
    /// Not a list.
    #[error("not a list of spans")]
    NotAList,
    /// More than [`MAX_SPANS`].
    #[error("{got} spans, at most {MAX_SPANS} expected")]
    TooMany {
        /// As given.
        got: usize,
    },
    /// Outside its text.
    #[error("span {number} does not lie in its text")]
    Offsets {
        /// In the list, from 1.
        number: usize,
        /// How.
        source: OffsetError,
    },
    /// Nothing that can be seen.
    #[error("a span holds nothing that can be seen")]
    Empty,
    /// A token has one label.
    #[error("two spans overlap")]
    Overlap,
    /// The text itself.
    #[error("the text of the spans cannot be used")]
    Text(#[from] CleanError),
}

/// Labelled parts of one text: none empty, none over another, in the order of the text. No `Debug` of a label ([`Span`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

/// What a token is with regard to the parts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tag<'a> {
    /// A mark of the tokenizer: not of the text.
    Mark,
    /// In no part.
    Outside,
    /// The first token of a part with this label.
    Begins(&'a str),
    /// A later token of it.
    GoesOn(&'a str),
}

impl Spans {
    /// Of a list as a file has it. Offsets count Unicode code points; the end is not of the part.
    ///
    /// # Errors
    /// [`SpanError`].
    pub fn of_list(list: &[Value], text: &str) -> Result<Self, SpanError> {
        if list.len() > MAX_SPANS {
            return Err(SpanError::TooMany { got: list.len() });
        }
        let offsets = Offsets::new(text);
        let span = |(at, value): (usize, &Value)| -> Result<Span, SpanError> {
            let number = at + 1;
            let (start, end, label) = value.as_object().and_then(fields).ok_or(SpanError::Shape { number })?;
            let (start, end) = offsets.code_points(start, end).map_err(|source| SpanError::Offsets { number, source })?;
            Ok(Span { start, end, label: label.to_owned() })
        };
        Self::new(list.iter().enumerate().map(span).collect::<Result<_, _>>()?)
    }

    /// Of the label that [`Self::to_label`] made.
    ///
    /// # Errors
    /// [`SpanError`].
    pub fn of_label(label: &str, text: &str) -> Result<Self, SpanError> {
        match serde_json::from_str(label) {
            Ok(Value::Array(list)) => Self::of_list(&list, text),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | Err(_) => Err(SpanError::NotAList),
        }
    }

    fn new(mut spans: Vec<Span>) -> Result<Self, SpanError> {
        spans.sort_by_key(|s| (s.start, s.end));
        if spans.iter().any(|s| s.start >= s.end) {
            return Err(SpanError::Empty);
        }
        if spans.windows(2).any(|two| two[1].start < two[0].end) {
            return Err(SpanError::Overlap);
        }
        Ok(Self(spans))
    }

    /// The list as a record's label: one spelling, whatever the order in the file was. `text` is theirs.
    ///
    /// # Privacy
    /// Raw personal data: names and places of what somebody marked.
    pub fn to_label(&self, text: &str) -> String {
        let count = |end: usize| text.get(..end).map_or(0, |before| before.chars().count());
        let list = self.0.iter().map(|s| {
            let fields = [("start", Value::from(count(s.start))), ("end", count(s.end).into()), ("label", s.label.as_str().into())];
            Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        });
        Value::Array(list.collect()).to_string()
    }

    /// The label of each part, in the order of the text.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|s| s.label.as_str())
    }

    /// The normal form of their text, and the same parts of it.
    ///
    /// # Errors
    /// [`SpanError::Text`], and [`SpanError::Empty`] for a part of which the normal form leaves nothing.
    pub fn settled(&self, text: &str, limits: &CleanLimits) -> Result<(String, Self), SpanError> {
        let normal = clean(text, limits)?;
        // What stands before a border becomes what stands before it in the normal form, as far as the two agree: a character that is composed
        // over a border belongs to neither side.
        let border = |at: usize| {
            let before = normal_form(text.get(..at).unwrap_or_default());
            let same = before.chars().zip(normal.chars()).take_while(|(a, b)| a == b);
            same.map(|(c, _)| c.len_utf8()).sum::<usize>()
        };
        let spaces = |from: usize| normal[from..].bytes().take_while(|&b| b == b' ').count();
        let moved = self.0.iter().map(|s| {
            let start = border(s.start);
            Span { start: start + spaces(start), end: border(s.end), label: s.label.clone() }
        });
        let moved = Self::new(moved.collect())?;
        Ok((normal, moved))
    }

    /// What each token of their text is. A token that reaches into two parts is of the first one; the second then begins behind it.
    pub fn tags(&self, pieces: &[Piece]) -> Vec<Tag<'_>> {
        let mut begun = None;
        let tag = |piece: &Piece| {
            let Some(bytes) = &piece.bytes else { return Tag::Mark };
            let at = self.0.partition_point(|s| s.end <= bytes.start);
            let Some(span) = self.0.get(at).filter(|s| s.start < bytes.end && !bytes.is_empty()) else { return Tag::Outside };
            if begun.replace(at) == Some(at) { Tag::GoesOn(&span.label) } else { Tag::Begins(&span.label) }
        };
        pieces.iter().map(tag).collect()
    }
}

/// Start, end and label of one entry.
fn fields(entry: &Map<String, Value>) -> Option<(u64, u64, &str)> {
    let number = |name: &str| entry.get(name)?.as_u64();
    let label = entry.get("label")?.as_str().filter(|label| !label.trim().is_empty())?;
    Some((number("start")?, number("end")?, label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;
    use crate::tokenize::ToSequence;
    use proptest::prelude::*;

    fn spans(list: &str, text: &str) -> Result<Spans, SpanError> {
        Spans::of_label(list, text)
    }

    fn shown(tags: &[Tag<'_>]) -> String {
        let one = |tag: &Tag<'_>| match tag {
            Tag::Mark => "-".to_owned(),
            Tag::Outside => "O".to_owned(),
            Tag::Begins(label) => format!("B-{label}"),
            Tag::GoesOn(label) => format!("I-{label}"),
        };
        tags.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    const TEXT: &str = "took Paracetamol 500 mg, then Ibuprofen";
    const LIST: &str = r#"[{"start": 30, "end": 39, "label": "drug"}, {"start": 5, "end": 16, "label": "drug"}]"#;

    #[test]
    fn parts_become_tags_of_the_tokens() {
        let found = spans(LIST, TEXT).unwrap();
        assert_eq!(found.labels().count(), 2);
        let pieces = Tokenizer::new(500, 32).unwrap().pieces(TEXT);
        // took, paraceta, mol, <num:3>, mg, ",", then, ibuprofe, n
        assert_eq!(shown(&found.tags(&pieces)), "- O B-drug I-drug O O O O B-drug I-drug");
        assert_eq!(shown(&spans("[]", TEXT).unwrap().tags(&pieces[..3])), "- O O");
    }

    #[test]
    fn neighbours_of_one_kind_stay_two_parts_and_a_token_in_both_is_of_the_first() {
        let pieces = Tokenizer::new(500, 32).unwrap().pieces("ab cd");
        let two = spans(r#"[{"start":0,"end":2,"label":"x"},{"start":3,"end":5,"label":"x"}]"#, "ab cd").unwrap();
        assert_eq!(shown(&two.tags(&pieces)), "- B-x B-x");
        let inside = spans(r#"[{"start":0,"end":1,"label":"x"},{"start":1,"end":5,"label":"y"}]"#, "ab cd").unwrap();
        assert_eq!(shown(&inside.tags(&pieces)), "- B-x B-y");
    }

    #[test]
    fn what_is_no_part_of_its_text_is_refused_and_says_nothing_of_it() {
        let span = |start: u64, end: u64| format!(r#"{{"start":{start},"end":{end},"label":"CANARY"}}"#);
        let refused = |list: &[String]| spans(&format!("[{}]", list.join(",")), "CANARY text").unwrap_err();
        assert!(matches!(refused(&[span(0, 6), span(7, 12)]), SpanError::Offsets { number: 2, .. }));
        assert!(matches!(refused(&[span(6, 0)]), SpanError::Offsets { number: 1, .. }));
        assert_eq!(refused(&[span(3, 3)]), SpanError::Empty);
        assert_eq!(refused(&[span(0, 4), span(3, 6)]), SpanError::Overlap);
        assert_eq!(refused(&[span(0, 6), span(0, 6)]), SpanError::Overlap);
        for shape in [r#"{"start":0,"end":3}"#, r#"{"start":-1,"end":3,"label":"a"}"#, r#"{"start":0,"end":3,"label":" "}"#, "3"] {
            assert_eq!(refused(&[span(4, 5), shape.to_owned()]), SpanError::Shape { number: 2 }, "{shape}");
        }
        assert_eq!(spans("spam", "text"), Err(SpanError::NotAList));
        assert_eq!(refused(&vec![span(0, 1); MAX_SPANS + 1]), SpanError::TooMany { got: MAX_SPANS + 1 });
        for error in [refused(&[span(0, 99)]), refused(&[span(0, 4), span(3, 6)])] {
            assert!(!format!("{error} {error:?}").contains("CANARY"));
        }
        assert!(!format!("{:?}", spans(&format!("[{}]", span(0, 6)), "CANARY text").unwrap()).contains("CANARY"));
    }

    #[test]
    fn parts_move_with_their_text_into_its_normal_form() {
        let settled = |list: &str, text: &str| {
            let (normal, moved) = spans(list, text)?.settled(text, &CleanLimits::default())?;
            Ok::<_, SpanError>(moved.0.iter().map(|s| normal[s.start..s.end].to_owned()).collect::<Vec<_>>())
        };
        // Full width, folded whitespace, invisible characters, a space at either end.
        assert_eq!(settled(r#"[{"start":3,"end":9,"label":"a"}]"#, "Ａ  Ｂ\u{200b}\t\tc ! "), Ok(vec!["B c".to_owned()]));
        assert_eq!(settled(r#"[{"start":1,"end":4,"label":"a"}]"#, "x é  y"), Ok(vec!["é".to_owned()]));
        let nothing = settled(r#"[{"start":1,"end":3,"label":"a"}]"#, "x\u{200b} y");
        assert_eq!(nothing, Err(SpanError::Empty));
        assert!(matches!(settled("[]", " "), Err(SpanError::Text(CleanError::Empty))));
    }

    proptest! {
        /// What was marked is marked afterwards, and the label is one spelling of it.
        #[test]
        fn parts_between_words_hold_the_same_words_afterwards(
            words in prop::collection::vec("[a-zé验Ａ]{1,4}", 1..8), marked in prop::collection::vec(any::<bool>(), 8), gap in "[ \t]{1,3}",
        ) {
            let text = words.join(&gap);
            let (mut at, mut list, mut expected) = (0, Vec::new(), Vec::new());
            for (word, marked) in words.iter().zip(&marked) {
                let length = word.chars().count();
                if *marked {
                    list.push(format!(r#"{{"start":{at},"end":{},"label":"k"}}"#, at + length));
                    expected.push(normal_form(word));
                }
                at += length + gap.chars().count();
            }
            let found = spans(&format!("[{}]", list.join(",")), &text).unwrap();
            let (normal, moved) = found.settled(&text, &CleanLimits::default()).unwrap();
            let held: Vec<String> = moved.0.iter().map(|s| normal[s.start..s.end].to_owned()).collect();
            prop_assert_eq!(held, expected);
            prop_assert_eq!(spans(&moved.to_label(&normal), &normal), Ok(moved.clone()));
            let (again, same) = moved.settled(&normal, &CleanLimits::default()).unwrap();
            prop_assert_eq!((again, same), (normal, moved));
        }
    }
}
