//! The normal form of a text: NFKC, no invisible characters, folded whitespace, length limits. Must not know labels or users.

use unicode_normalization::UnicodeNormalization;

/// Shortest and longest cleaned text that is kept.
///
/// # Units
/// Characters (Unicode scalar values) of the normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanLimits {
    /// Fewer characters than this are left out.
    pub min_chars: usize,
    /// More characters than this are left out.
    pub max_chars: usize,
}

impl Default for CleanLimits {
    /// 1 to 4,096 characters: the longest concatenated SMS has 255 parts of at most 67 Chinese characters, in practice under ten.
    fn default() -> Self {
        Self { min_chars: 1, max_chars: 4096 }
    }
}

/// Why a text cannot be used. Lengths only, never the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CleanError {
    /// Nothing visible is left.
    #[error("nothing is left of the text after cleaning")]
    Empty,
    /// Under the lower limit.
    #[error("the cleaned text has {got} characters, fewer than {min}")]
    TooShort {
        /// Characters of the normal form.
        got: usize,
        /// The limit.
        min: usize,
    },
    /// Over the upper limit.
    #[error("the cleaned text has more than {max} characters")]
    TooLong {
        /// The limit.
        max: usize,
    },
}

/// The normal form of `text`, within `limits`.
///
/// # Errors
/// [`CleanError`] when nothing is left or a limit is passed.
pub fn clean(text: &str, limits: &CleanLimits) -> Result<String, CleanError> {
    let normal = normal_form_up_to(text, limits.max_chars.saturating_add(1));
    let got = normal.chars().count();
    match got {
        0 => Err(CleanError::Empty),
        _ if got > limits.max_chars => Err(CleanError::TooLong { max: limits.max_chars }),
        _ if got < limits.min_chars => Err(CleanError::TooShort { got, min: limits.min_chars }),
        _ => Ok(normal),
    }
}

/// The normal form of the whole text: NFKC, invisible characters removed, runs of whitespace folded to one space, trimmed.
pub fn normal_form(text: &str) -> String {
    normal_form_up_to(text, usize::MAX)
}

/// The first `max_chars` characters of the normal form. NFKC can make a text 18 times longer, hence the limit while it is made.
pub(crate) fn normal_form_up_to(text: &str, max_chars: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_chars));
    let mut written = 0usize;
    let mut space_is_due = false;
    // Invisible characters go first: one between a letter and its accent would keep NFKC from composing them.
    for c in text.chars().filter(|&c| !is_invisible(c)).nfkc().filter(|&c| !is_invisible(c)) {
        if c.is_whitespace() {
            space_is_due = written > 0;
            continue;
        }
        for next in space_is_due.then_some(' ').into_iter().chain([c]) {
            if written == max_chars {
                return out;
            }
            out.push(next);
            written += 1;
        }
        space_is_due = false;
    }
    out
}

/// Control characters that are not whitespace, and format characters that hide inside words: zero-width spaces and joiners, soft
/// hyphen, bidirectional controls, byte-order mark, variation selectors, tags.
pub(crate) fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_width_zero_width_and_line_ends_fold_away() {
        assert_eq!(normal_form("  ＡＢＣ\u{200b}１２３\r\n\t验\u{feff}证码：\u{7}８ "), "ABC123 验证码:8");
        assert_eq!(normal_form("e\u{200d}\u{301}"), "é");
    }

    #[test]
    fn limits_are_counted_in_characters_of_the_normal_form() {
        let limits = CleanLimits { min_chars: 2, max_chars: 3 };
        assert_eq!(clean("\u{200b} \t", &limits), Err(CleanError::Empty));
        assert_eq!(clean("好", &limits), Err(CleanError::TooShort { got: 1, min: 2 }));
        assert_eq!(clean("一二三", &limits).unwrap(), "一二三");
        assert_eq!(clean("一二三四", &limits), Err(CleanError::TooLong { max: 3 }));
        // One character of 18 under NFKC.
        assert_eq!(clean("\u{fdfa}", &limits), Err(CleanError::TooLong { max: 3 }));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own_normal_form(text in any::<String>()) {
            let once = normal_form(&text);
            prop_assert_eq!(normal_form(&once), once);
        }

        #[test]
        fn a_shortened_normal_form_is_a_prefix(text in any::<String>(), max in 0usize..40) {
            let short = normal_form_up_to(&text, max);
            prop_assert!(short.chars().count() <= max);
            prop_assert!(normal_form(&text).starts_with(&short));
        }
    }
}
