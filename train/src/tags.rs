//! Tags of tokens in numbers: 0 in no part, then two for each kind, where a part begins and where it goes on. Knows no text and no tensor.

use crate::batch::UNASKED;
use std::ops::Range;

/// In no part.
pub const OUTSIDE: u32 = 0;

/// The first token of a part of this kind.
pub fn begins(kind: u32) -> u32 {
    kind.saturating_mul(2).saturating_add(1)
}

/// A later token of it.
pub fn goes_on(kind: u32) -> u32 {
    kind.saturating_mul(2).saturating_add(2)
}

/// What other programs call them, in order of their numbers.
pub fn names(kinds: &[String]) -> Vec<String> {
    let both = kinds.iter().flat_map(|kind| [format!("B-{kind}"), format!("I-{kind}")]);
    std::iter::once("O".to_owned()).chain(both).collect()
}

/// The parts that tags tell of: kind and tokens. A part may begin with a tag that says it goes on, as a model may say it.
pub(crate) fn parts(tags: &[u32]) -> Vec<(u32, Range<usize>)> {
    let mut parts: Vec<(u32, Range<usize>)> = Vec::new();
    for (at, &tag) in tags.iter().enumerate() {
        let Some(before) = tag.checked_sub(1).filter(|_| tag != UNASKED) else { continue };
        let (kind, begins) = (before / 2, before.is_multiple_of(2));
        match parts.last_mut() {
            Some((of, tokens)) if !begins && *of == kind && tokens.end == at => tokens.end = at + 1,
            Some(_) | None => parts.push((kind, at..at + 1)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_together() {
        let kinds = ["drug", "dose"].map(str::to_owned);
        assert_eq!(names(&kinds), ["O", "B-drug", "I-drug", "B-dose", "I-dose"]);
        assert_eq!([OUTSIDE, begins(0), goes_on(0), begins(1), goes_on(1)], [0, 1, 2, 3, 4]);
    }

    #[test]
    fn parts_end_where_another_begins_where_nothing_is_and_where_the_kind_changes() {
        assert_eq!(parts(&[UNASKED, 0, 1, 2, 2, 0, 3, 1, UNASKED]), [(0, 2..5), (1, 6..7), (0, 7..8)]);
        assert_eq!(parts(&[1, 1, 2]), [(0, 0..1), (0, 1..3)]);
        assert_eq!(parts(&[2, 4, 4, 0, 4]), [(0, 0..1), (1, 1..3), (1, 4..5)]);
        assert!(parts(&[0, UNASKED, 0]).is_empty());
    }
}
