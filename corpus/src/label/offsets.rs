//! Offsets that tools count in other units than bytes, brought to bytes of UTF-8. Knows one text at a time.

/// What a tool counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// Unicode code points, as Python counts.
    #[default]
    CodePoints,
    /// UTF-16 code units, as JavaScript counts.
    Utf16,
}

/// Why a span is not one of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OffsetError {
    /// Start behind end, or end behind the text.
    #[error("span {start}..{end} lies outside a text of {length} code points")]
    OutOfRange {
        /// As the file says.
        start: u64,
        /// As the file says.
        end: u64,
        /// Of the text.
        length: usize,
    },
    /// The span names its words, and the text has other words there whatever is counted.
    #[error("span {start}..{end} does not hold the words that it names")]
    OtherWords {
        /// As the file says.
        start: u64,
        /// As the file says.
        end: u64,
    },
}

/// Borders of a text's characters, made once per text so that many spans cost one walk each.
pub struct Offsets<'a> {
    text: &'a str,
    borders: Vec<usize>,
}

impl<'a> Offsets<'a> {
    /// Of this text.
    pub fn new(text: &'a str) -> Self {
        let borders = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text, borders }
    }

    /// Bytes of the code points `start..end`.
    ///
    /// # Errors
    /// [`OffsetError::OutOfRange`].
    pub fn code_points(&self, start: u64, end: u64) -> Result<(usize, usize), OffsetError> {
        self.counted(Counting::CodePoints, start, end)
    }

    /// Bytes of `start..end` in these units.
    ///
    /// # Errors
    /// [`OffsetError::OutOfRange`], also for a border inside a character.
    pub fn counted(&self, counting: Counting, start: u64, end: u64) -> Result<(usize, usize), OffsetError> {
        self.bytes(counting, start, end).ok_or(self.out_of_range(start, end))
    }

    /// Bytes of `start..end` where the file also says which words lie there: code points are tried first, then UTF-16 units, which
    /// programs in JavaScript count.
    ///
    /// # Errors
    /// [`OffsetError`].
    pub fn of_words(&self, start: u64, end: u64, words: &str) -> Result<(usize, usize), OffsetError> {
        let holds = |&(a, b): &(usize, usize)| self.text[a..b] == *words;
        let found = [Counting::CodePoints, Counting::Utf16].into_iter().filter_map(|u| self.bytes(u, start, end)).find(holds);
        found.ok_or_else(|| match self.bytes(Counting::CodePoints, start, end) {
            Some(_) => OffsetError::OtherWords { start, end },
            None => self.out_of_range(start, end),
        })
    }

    fn bytes(&self, unit: Counting, start: u64, end: u64) -> Option<(usize, usize)> {
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        let (a, b) = match unit {
            Counting::CodePoints => (*self.borders.get(start)?, *self.borders.get(end)?),
            Counting::Utf16 => (self.utf16(start)?, self.utf16(end)?),
        };
        (a <= b).then_some((a, b))
    }

    /// Byte of the character that begins at this UTF-16 unit; none inside a pair of surrogates or behind the text.
    fn utf16(&self, offset: usize) -> Option<usize> {
        let mut units = 0;
        for (at, c) in self.text.char_indices() {
            if units >= offset {
                return (units == offset).then_some(at);
            }
            units += c.len_utf16();
        }
        (units == offset).then_some(self.text.len())
    }

    fn out_of_range(&self, start: u64, end: u64) -> OffsetError {
        OffsetError::OutOfRange { start, end, length: self.borders.len() - 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn code_points_and_javascript_units_come_to_the_same_bytes() {
        let text = "验证🎁码8812";
        let o = Offsets::new(text);
        assert_eq!(o.code_points(2, 4), Ok((6, 13)));
        assert_eq!(o.of_words(3, 4, "码"), Ok((10, 13)));
        assert_eq!(o.of_words(4, 5, "码"), Ok((10, 13)), "the gift is two units of UTF-16");
        assert_eq!(o.of_words(0, 1, "码"), Err(OffsetError::OtherWords { start: 0, end: 1 }));
        assert_eq!(o.code_points(7, 9), Err(OffsetError::OutOfRange { start: 7, end: 9, length: 8 }));
        assert_eq!(o.code_points(3, 2), Err(OffsetError::OutOfRange { start: 3, end: 2, length: 8 }));
        assert_eq!(o.code_points(u64::MAX, u64::MAX), Err(OffsetError::OutOfRange { start: u64::MAX, end: u64::MAX, length: 8 }));
    }

    proptest! {
        #[test]
        fn a_span_of_code_points_holds_those_code_points(text in any::<String>(), a in 0usize..40, b in 0usize..40) {
            let chars: Vec<char> = text.chars().collect();
            let got = Offsets::new(&text).code_points(a as u64, b as u64);
            if a <= b && b <= chars.len() {
                let (start, end) = got.unwrap();
                prop_assert_eq!(text[start..end].chars().collect::<Vec<_>>(), &chars[a..b]);
            } else {
                prop_assert!(got.is_err());
            }
        }

        #[test]
        fn utf16_spans_are_found_by_their_words(text in any::<String>(), a in 0usize..20, n in 1usize..20) {
            let chars: Vec<char> = text.chars().collect();
            prop_assume!(a + n <= chars.len());
            let units = |k: usize| chars[..k].iter().map(|c| c.len_utf16() as u64).sum::<u64>();
            let words: String = chars[a..a + n].iter().collect();
            let (start, end) = Offsets::new(&text).of_words(units(a), units(a + n), &words).unwrap();
            prop_assert_eq!(&text[start..end], words);
        }
    }
}
