//! Where words end: by the kind of characters, or by a Chinese dictionary. Words of a text, one after the other, are the text again.

use jieba_rs::Jieba;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// How often each word occurs.
pub type WordCounts = BTreeMap<String, u64>;

/// Longest word, in bytes: what is longer is cut, so that no text makes training quadratic.
pub(super) const MAX_WORD_BYTES: usize = 64;

/// Letters, digits or other characters, each with a space before them; spaces by themselves.
pub(super) const PATTERN: &str = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";

/// Which rule cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordRule {
    /// By the kind of characters: for languages that write spaces.
    Pattern,
    /// By jieba's dictionary, and nothing that it only guesses: for Chinese, mixed with other scripts or not.
    Jieba,
}

impl WordRule {
    /// As files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pattern => "pattern",
            Self::Jieba => "jieba",
        }
    }
}

/// A rule, ready to cut. Made once: the dictionary takes a second to read and 100 MB to hold.
pub struct Words {
    rule: WordRule,
    pattern: Regex,
    jieba: OnceLock<Jieba>,
}

impl Words {
    /// Of this rule.
    ///
    /// # Panics
    /// Never: the pattern is a constant.
    pub fn new(rule: WordRule) -> Self {
        Self { rule, pattern: Regex::new(PATTERN).expect("a constant pattern compiles"), jieba: OnceLock::new() }
    }

    /// The rule.
    pub fn rule(&self) -> WordRule {
        self.rule
    }

    /// The words of a text in order; joined, they are the text.
    pub fn cut<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let words = match self.rule {
            WordRule::Pattern => self.pattern.find_iter(text).map(|m| m.as_str()).collect(),
            WordRule::Jieba => self.jieba.get_or_init(Jieba::new).cut(text, false).into_iter().map(|t| t.word).collect::<Vec<_>>(),
        };
        words.into_iter().flat_map(short).collect()
    }

    /// How often each word occurs in these texts.
    pub fn count<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> WordCounts {
        let mut counts = WordCounts::new();
        for text in texts {
            for word in self.cut(text) {
                match counts.get_mut(word) {
                    Some(n) => *n += 1,
                    None => drop(counts.insert(word.to_owned(), 1)),
                }
            }
        }
        counts
    }
}

/// A word in parts of at most [`MAX_WORD_BYTES`], cut between characters.
fn short(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (head, tail) = rest.split_at(rest.floor_char_boundary(MAX_WORD_BYTES));
        rest = tail;
        Some(head)
    })
}
