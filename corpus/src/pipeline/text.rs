//! Normalisation of one text. Must not know columns, labels or persons.

use std::borrow::Cow;
use std::collections::BTreeSet;

use regex::Regex;
use serde::Deserialize;
use unicode_normalization::{UnicodeNormalization, is_nfkc};

use crate::clean::{is_invisible, normal_form};

/// A script that a text may be written in. Short messages defeat detectors of languages, scripts they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// Chinese characters.
    Han,
    /// Latin letters.
    Latin,
    /// Japanese syllables.
    Kana,
    /// Korean syllables.
    Hangul,
    /// Cyrillic letters.
    Cyrillic,
    /// Arabic letters.
    Arabic,
}

impl Script {
    fn of(c: char) -> Option<Self> {
        Some(match c {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Self::Latin,
            '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => Self::Han,
            '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => Self::Kana,
            '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => Self::Hangul,
            '\u{400}'..='\u{52f}' => Self::Cyrillic,
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' => Self::Arabic,
            _ => return None,
        })
    }
}

/// What is done to every text.
#[derive(Clone, Debug)]
pub struct TextRules {
    /// NFKC, which folds width too.
    pub nfkc: bool,
    /// Full-width Latin letters, digits and signs become half-width.
    pub half_width: bool,
    /// Invisible characters are removed.
    pub zero_width: bool,
    /// Runs of white space become one space.
    pub fold_spaces: bool,
    /// Traditional characters become simplified ones.
    pub simplified: bool,
    /// Longest run of one character that is not a digit; 0 keeps all.
    pub max_repeat: usize,
    /// What is removed.
    pub boilerplate: Vec<Regex>,
    /// Scripts of which a text must be; empty means any.
    pub scripts: BTreeSet<Script>,
    /// Least share of letters in those scripts, in thousandths.
    pub min_script_permille: u32,
}

/// Most rounds until a text stays as it is: each removal can bring the next together.
const MAX_ROUNDS: usize = 8;

impl TextRules {
    /// The text in its normal form. Applied to its own result it changes nothing more, unless that takes more than `MAX_ROUNDS`.
    pub fn apply(&self, text: &str) -> String {
        let mut now = self.folded(text);
        for _ in 0..MAX_ROUNDS {
            let next = match self.edited(&now) {
                Some(edited) => self.folded(&edited),
                None if self.folds_for_good() => break,
                None => self.folded(&now),
            };
            if next == now {
                break;
            }
            now = next;
        }
        now
    }

    /// Whether what was folded once is folded: NFKC without invisible characters and with single spaces is.
    fn folds_for_good(&self) -> bool {
        self.nfkc && self.zero_width && self.fold_spaces
    }

    /// What the steps after folding make of a text; none where they leave it as it is.
    fn edited(&self, text: &str) -> Option<String> {
        let mut now = Cow::Borrowed(text);
        if self.simplified && now.chars().any(|c| Script::of(c) == Some(Script::Han)) {
            let simple = fast2s::convert(&now);
            if simple != *now {
                now = Cow::Owned(simple);
            }
        }
        for pattern in &self.boilerplate {
            if let Cow::Owned(without) = pattern.replace_all(&now, " ") {
                now = Cow::Owned(without);
            }
        }
        if self.max_repeat > 0
            && let Some(short) = squeezed(&now, self.max_repeat)
        {
            now = Cow::Owned(short);
        }
        match now {
            Cow::Owned(edited) => Some(edited),
            Cow::Borrowed(_) => None,
        }
    }

    fn folded(&self, text: &str) -> String {
        if self.folds_for_good() {
            // ASCII without control characters is its own normal form but for spaces.
            if is_plain(text) {
                return text.to_owned();
            }
            return normal_form(text);
        }
        let mut now: String = text.chars().filter(|&c| !(self.zero_width && is_invisible(c))).collect();
        if self.nfkc && !is_nfkc(&now) {
            now = now.nfkc().filter(|&c| !(self.zero_width && is_invisible(c))).collect();
        }
        if self.half_width {
            now = now.chars().map(half).collect();
        }
        if self.fold_spaces { now.split_whitespace().collect::<Vec<_>>().join(" ") } else { now }
    }

    /// Whether enough of the letters are of the wanted scripts; a text without letters passes.
    pub fn is_of_scripts(&self, text: &str) -> bool {
        if self.scripts.is_empty() {
            return true;
        }
        let (mut wanted, mut letters) = (0u64, 0u64);
        for c in text.chars().filter(|c| c.is_alphabetic()) {
            letters += 1;
            wanted += u64::from(Script::of(c).is_some_and(|s| self.scripts.contains(&s)));
        }
        wanted * 1000 >= letters * u64::from(self.min_script_permille)
    }
}

/// Whether a text is ASCII in normal form: visible characters and single spaces between them.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edges = bytes.first() != Some(&b' ') && bytes.last() != Some(&b' ');
    edges && bytes.iter().all(|b| (0x20..0x7f).contains(b)) && memchr::memmem::find(bytes, b"  ").is_none()
}

/// Full width to half width, where there is one: the block of FF01 to FF5E and the ideographic space.
fn half(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        _ => c,
    }
}

/// Runs of one character cut to `most`; none where no run is longer. Digits stay: they are amounts and numbers.
fn squeezed(text: &str, most: usize) -> Option<String> {
    let (mut last, mut run) = ('\0', 0usize);
    let mut stays = |c: char| {
        run = if c == last { run + 1 } else { 1 };
        last = c;
        run <= most || c.is_numeric()
    };
    let (at, _) = text.char_indices().find(|&(_, c)| !stays(c))?;
    // Behind the first character that goes, the run goes on.
    let (head, tail) = text.split_at(at);
    let mut out = String::with_capacity(text.len());
    out.push_str(head);
    out.extend(tail.chars().skip(1).filter(|&c| stays(c)));
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn rules() -> TextRules {
        TextRules {
            nfkc: true,
            half_width: true,
            zero_width: true,
            fold_spaces: true,
            simplified: true,
            max_repeat: 3,
            boilerplate: vec![Regex::new("(?i)退订回[TＴ]|reply stop to opt out").unwrap()],
            scripts: BTreeSet::new(),
            min_script_permille: 500,
        }
    }

    #[test]
    fn each_step_does_what_it_says() {
        let rules = rules();
        assert_eq!(rules.apply("國語ＡＢＣ\u{200b}！！！！！！  退订回T"), "国语ABC!!!");
        assert_eq!(rules.apply("soooooo good 1000000"), "sooo good 1000000");
        let bare = TextRules {
            nfkc: false,
            zero_width: false,
            fold_spaces: false,
            simplified: false,
            max_repeat: 0,
            boilerplate: vec![],
            ..rules
        };
        assert_eq!(bare.apply("ＡＢ\u{3000}①\u{200b}  x"), "AB ①\u{200b}  x");
        let full = TextRules { half_width: false, ..bare };
        assert_eq!(full.apply("Ａ①"), "Ａ①");
    }

    #[test]
    fn scripts_are_counted_over_letters_only() {
        let rules = TextRules { scripts: BTreeSet::from([Script::Han]), ..rules() };
        assert!(rules.is_of_scripts("您的验证码 12345678") && rules.is_of_scripts("12 34 !!"));
        assert!(!rules.is_of_scripts("your code 验证"));
        let both = TextRules { scripts: BTreeSet::from([Script::Han, Script::Latin]), ..rules };
        assert!(both.is_of_scripts("your code 验证") && !both.is_of_scripts("Привет мир"));
    }

    #[test]
    fn plain_text_takes_the_short_way_to_the_same_end() {
        for text in ["a b", " a", "a ", "a  b", "a\tb", "", "a\u{7f}b", "é"] {
            assert!(!is_plain(text) || normal_form(text) == text, "{text:?}");
        }
        assert!(is_plain("hello world 1") && !is_plain("a  b"));
    }

    proptest! {
        #[test]
        fn cleaning_a_clean_text_changes_nothing(text in "([a-c國语！!1０ \u{200b}\u{301}]|退订回T|reply stop to opt out){0,40}") {
            let once = rules().apply(&text);
            prop_assert_eq!(rules().apply(&once), once);
        }

        #[test]
        fn any_text_is_folded_to_a_fixed_point(text in any::<String>()) {
            let plain = TextRules { simplified: false, max_repeat: 0, boilerplate: vec![], ..rules() };
            let once = plain.apply(&text);
            prop_assert_eq!(plain.apply(&once), once);
        }
    }
}
