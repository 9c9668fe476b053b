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
    let mut out = Folded { text: String::with_capacity(text.len().min(max_chars)), written: 0, max_chars, space_is_due: false };
    // Invisible characters go first: one between a letter and its accent would keep NFKC from composing them.
    let mut chars = text.chars().filter(|&c| !is_invisible(c)).peekable();
    let mut run = String::new();
    while let Some(c) = chars.next() {
        let followed = chars.peek().is_some_and(|&next| settled(next).is_none());
        if let Some(c) = settled(c).filter(|_| !followed) {
            if !out.push(c) {
                break;
            }
            continue;
        }
        // Up to the next settled character: what stands before it does not change it, and it changes nothing before it.
        run.clear();
        run.push(c);
        while let Some(next) = chars.next_if(|&next| settled(next).is_none()) {
            run.push(next);
        }
        if !run.nfkc().filter(|&c| !is_invisible(c)).all(|c| out.push(c)) {
            break;
        }
    }
    out.text
}

/// A text in the making: runs of whitespace become one space, none at the ends.
struct Folded {
    text: String,
    written: usize,
    max_chars: usize,
    space_is_due: bool,
}

impl Folded {
    /// Whether there was room.
    fn push(&mut self, c: char) -> bool {
        if c.is_whitespace() {
            self.space_is_due = self.written > 0;
            return true;
        }
        for next in std::mem::take(&mut self.space_is_due).then_some(' ').into_iter().chain([c]) {
            if self.written == self.max_chars {
                return false;
            }
            self.text.push(next);
            self.written += 1;
        }
        true
    }
}

/// What NFKC makes of a character that it leaves alone or replaces by one, and that it never joins with what stands before it: most of what
/// Chinese and English texts consist of. The tables of the general way cost ten times as much.
fn settled(c: char) -> Option<char> {
    match c {
        ' '..='~' | '\t' | '\n' | '\r' | '\u{4e00}'..='\u{9fff}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' => Some(c),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{3000}' => Some(' '),
        _ => None,
    }
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

    /// A settled character starts anew: class 0, never the second half of a composition, and NFKC of it alone is what the table says.
    #[test]
    fn settled_characters_are_settled() {
        let all = ('\0'..=char::MAX).filter_map(|c| Some((c, settled(c)?)));
        let count = all.map(|(c, now)| {
            assert_eq!(std::iter::once(c).nfkc().collect::<String>(), now.to_string(), "{c:?}");
            assert_eq!(unicode_normalization::char::canonical_combining_class(now), 0, "{c:?}");
            assert_eq!(unicode_normalization::is_nfkc_quick(std::iter::once(now)), unicode_normalization::IsNormalized::Yes, "{c:?}");
        });
        assert!(count.count() > 21_000);
    }

    /// The definition, without the short way.
    fn plainly(text: &str) -> String {
        let visible = text.chars().filter(|&c| !is_invisible(c)).nfkc().filter(|&c| !is_invisible(c)).collect::<String>();
        visible.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    proptest! {
        #[test]
        fn the_short_way_ends_where_the_long_one_does(
            text in "([a-z <>=1４Ａ，\u{3000}验码。、《…①ﾊﾞﾞ각ᄀ\u{1161}\u{11a8}\u{301}\u{338}\u{200b}\u{fe0f}\u{3099}é]|\\PC){0,40}",
        ) {
            prop_assert_eq!(normal_form(&text), plainly(&text));
        }

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
