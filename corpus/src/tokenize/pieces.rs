//! Cuts a normal form into pieces, left to right. Must not know ids.

use std::borrow::Cow;
use std::ops::Range;

/// Longest part of a word, in characters: most English stems fit.
const MAX_PART_CHARS: usize = 8;
/// Longest run of digits that is told apart by length.
const MAX_DIGITS: usize = 20;
/// Longest web address that is one piece. Keeps the search for one linear in the text: a run that is none is searched again at each piece.
const MAX_URL_CHARS: usize = 512;
/// Top-level domains that make `name.tld` a web address without a scheme. A closed list: in messages a full stop often has no
/// space behind it.
const TOP_LEVEL: [&str; 24] = [
    "com", "cn", "net", "org", "example", "top", "xyz", "cc", "info", "io", "vip", "club", "shop", "site", "online", "link", "app", "me",
    "co", "biz", "test", "invalid", "cm", "tk",
];

/// Hands each piece to `take` with the bytes it was cut from, `None` for a character without one, until the text ends or `take` says no.
pub(super) fn for_each(text: &str, mut take: impl FnMut(Range<usize>, Option<&str>) -> bool) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let mut taken = |used: usize, piece: Option<&str>| (used, take(at..at + used, piece));
        let (used, go_on) = if first == ' ' {
            (1, true)
        } else if let Some(length) = url_length(rest) {
            taken(length, Some("<url>"))
        } else if first.is_numeric() && !is_cjk(first) {
            let digits = run(rest, |c| c.is_numeric() && !is_cjk(c), usize::MAX);
            taken(digits.len(), Some(&format!("<num:{}>", digits.chars().count().min(MAX_DIGITS))))
        } else if is_letter(first) {
            let part = run(rest, is_letter, MAX_PART_CHARS);
            taken(part.len(), Some(&lower(part)))
        } else {
            let length = first.len_utf8();
            taken(length, (!is_meaningless(first)).then_some(&rest[..length]))
        };
        if !go_on {
            return;
        }
        rest = &rest[used..];
    }
}

/// The longest head of at most `max` characters that all satisfy `belongs`.
fn run(text: &str, belongs: impl Fn(char) -> bool, max: usize) -> &str {
    let end = text.char_indices().enumerate().find(|&(count, (_, c))| count == max || !belongs(c)).map_or(text.len(), |(_, (at, _))| at);
    &text[..end]
}

fn lower(part: &str) -> Cow<'_, str> {
    if part.chars().any(char::is_uppercase) { part.to_lowercase().into() } else { part.into() }
}

/// A letter that is written in words, and the marks that sit on it.
fn is_letter(c: char) -> bool {
    (c.is_alphabetic() && !is_cjk(c)) || matches!(c, '\u{300}'..='\u{36f}')
}

/// Characters that stand for themselves: Han, kana, hangul.
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Private use, replacement character, non-characters.
fn is_meaningless(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{f0000}'..='\u{10ffff}')
}

/// Bytes of the web address at the head of `text`, or `None` when there is none.
fn url_length(text: &str) -> Option<usize> {
    let head = run(text, is_url_char, MAX_URL_CHARS);
    let lower_head: String = head.chars().take(8).collect::<String>().to_ascii_lowercase();
    let with_scheme = ["http://", "https://", "www."].iter().any(|prefix| lower_head.starts_with(prefix) && head.len() > prefix.len());
    let address = head.trim_end_matches(['.', ',', '!', '?', ';', ':']);
    if with_scheme {
        return Some(address.len().max(4));
    }
    let host = address.split(['/', '?', '#', ':']).next().unwrap_or(address);
    let top = host.rsplit_once('.').filter(|(name, _)| !name.is_empty())?.1;
    TOP_LEVEL.contains(&top.to_ascii_lowercase().as_str()).then_some(address.len())
}

fn is_url_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#@!$&'*+,;=%".contains(c)
}
