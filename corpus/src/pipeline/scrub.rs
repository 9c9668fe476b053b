//! Personal data in texts to typed placeholders. Must not keep what it finds: kinds and counts only.
//!
//! Works on texts in normal form (half width, no invisible characters). Kinds with a check digit are replaced only when the digit is
//! right; the others go by their shape and the words around them. A name that no rule knows stays: rules are no anonymisation.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

pub mod digits;
mod names;

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// E-mail addresses.
    Email,
    /// Web addresses.
    Url,
    /// IPv4 and IPv6 addresses.
    Ip,
    /// Resident identity numbers (GB 11643-1999), check digit and date verified.
    IdNumber,
    /// Unified social credit codes (GB 32100-2015), check digit verified.
    CreditCode,
    /// Payment cards (ISO/IEC 7812-1), Luhn digit verified.
    BankCard,
    /// Mobile numbers, Chinese and British, and numbers with a country code.
    Mobile,
    /// Other telephone numbers: Chinese landlines, North American and British numbers.
    Phone,
    /// Chinese number plates.
    Plate,
    /// One-time codes, by the words beside them.
    Code,
    /// Names, by the words beside them.
    Name,
}

impl Kind {
    /// All, in the order in which they are looked for: what contains others comes first, and what has the stricter form before what could
    /// be taken for it (one identity number in 31 would pass as a credit code, one in ten as a card).
    pub const ALL: [Self; 11] = [
        Self::Email,
        Self::Url,
        Self::Ip,
        Self::IdNumber,
        Self::CreditCode,
        Self::BankCard,
        Self::Mobile,
        Self::Phone,
        Self::Plate,
        Self::Code,
        Self::Name,
    ];

    /// What stands in its place.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Url => "[URL]",
            Self::Email => "[EMAIL]",
            Self::Ip => "[IP]",
            Self::CreditCode => "[CREDIT-CODE]",
            Self::IdNumber => "[ID-NUMBER]",
            Self::BankCard => "[BANK-CARD]",
            Self::Mobile => "[MOBILE]",
            Self::Phone => "[PHONE]",
            Self::Plate => "[PLATE]",
            Self::Code => "[CODE]",
            Self::Name => "[NAME]",
        }
    }
}

/// What was replaced.
pub type Hits = BTreeMap<Kind, u64>;

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file, compiled by a test")
}

static URL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r#"(?i)(?:(?:https?|ftp)://|(?-u:\b)www\.)[a-z0-9\-._~:/?#@!$&'()*+,;=%]*[a-z0-9/=]|(?-u:\b)[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?(?:\.[a-z0-9\-]{1,63}){0,3}\.(?:com|cn|net|org|info|top|xyz|vip|cc|co|uk|tv|me|io|ly|gov|edu|biz|mobi|example)(?:/[a-z0-9\-._~:/?#@!$&'*+,;=%]*[a-z0-9/=])?(?-u:\b)"#,
    )
});
static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"(?i)[a-z0-9._%+\-]{1,64}@[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?(?:\.[a-z0-9\-]+)*\.[a-z]{2,24}"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| compiled(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"));
static IPV6: LazyLock<Regex> = LazyLock::new(|| compiled(r"(?i)(?:[0-9a-f]{1,4}:|::)[0-9a-f:]{2,37}[0-9a-f]"));
static CREDIT: LazyLock<Regex> = LazyLock::new(|| compiled(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}"));
static ID: LazyLock<Regex> = LazyLock::new(|| compiled(r"[1-8][0-9]{5}[ -]?[12][0-9]{3}[01][0-9][0-3][0-9][ -]?[0-9]{3}[0-9Xx]"));
static CARD: LazyLock<Regex> = LazyLock::new(|| compiled(r"[2-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,4}(?:[ -]?[0-9]{1,3})?"));
static MOBILE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?:(?:\+|00)86[ -]?|86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}|(?:\+44[ -]?|0)7[0-9]{3}[ -]?[0-9]{6}|\+[1-9][0-9]{0,2}(?:[ -]?[0-9]{2,4}){2,4}",
    )
});
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"0[1-9][0-9]{1,2}[ -]?[2-9][0-9]{6,7}|\([0-9]{3}\) ?[0-9]{3}-[0-9]{4}|[2-9][0-9]{2}-[0-9]{3}-[0-9]{4}|0[0-9]{10}|0800 ?[0-9]{6,7}|400[ -]?[0-9]{3}[ -]?[0-9]{4}",
    )
});
static PLATE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·. ]?(?:[DF][A-HJ-NP-Z0-9][0-9]{4}|[0-9]{5}[DF]|[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳])",
    )
});
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i)(?P<before>(?:验证码|校验码|动态码|动态密码|确认码|激活码|取件码|提货码|verification code|security code|one-time code|passcode|(?-u:\b)(?:otp|pin|code)(?-u:\b))(?:是|为|为是|is|:|：| |\(|（|【|\[|-|,|，){0,6})(?P<code>[0-9]{4,8})|(?P<first>[0-9]{4,8})(?P<after>(?:\)|）|】|\]| |,|，){0,3}(?:is your|为您的|是您的|\(?(?:动态)?验证码))",
    )
});

/// Most rounds: what is replaced can free what stood beside it.
const MAX_ROUNDS: usize = 4;

/// Replaces every wanted kind in `text`, until nothing more is found; `None` when nothing was.
pub fn scrub(text: &str, kinds: &std::collections::BTreeSet<Kind>, hits: &mut Hits) -> Option<String> {
    let mut now: Option<String> = None;
    for _ in 0..MAX_ROUNDS {
        match round(now.as_deref().unwrap_or(text), kinds, hits) {
            Some(next) => now = Some(next),
            None => break,
        }
    }
    now
}

fn round(text: &str, kinds: &std::collections::BTreeSet<Kind>, hits: &mut Hits) -> Option<String> {
    let hints = Hints::of(text);
    let mut now: Option<String> = None;
    for kind in Kind::ALL.into_iter().filter(|k| kinds.contains(k) && hints.may_have(*k)) {
        let (replaced, found) = one(kind, now.as_deref().unwrap_or(text));
        if found > 0 {
            *hits.entry(kind).or_insert(0) += found;
            now = Some(replaced);
        }
    }
    now
}

/// What a look over the bytes says, so that most patterns need not run.
struct Hints {
    digits: usize,
    at: bool,
    dot: bool,
    colon: bool,
    upper: bool,
    wide: bool,
}

impl Hints {
    fn of(text: &str) -> Self {
        let mut hints = Self { digits: 0, at: false, dot: false, colon: false, upper: false, wide: false };
        for b in text.bytes() {
            match b {
                b'0'..=b'9' => hints.digits += 1,
                b'@' => hints.at = true,
                b'.' => hints.dot = true,
                b':' => hints.colon = true,
                b'A'..=b'Z' => hints.upper = true,
                0x80.. => hints.wide = true,
                _ => {}
            }
        }
        hints
    }

    fn may_have(&self, kind: Kind) -> bool {
        match kind {
            Kind::Url => self.dot || self.colon,
            Kind::Email => self.at && self.dot,
            Kind::Ip => self.digits > 0 && (self.dot || self.colon) || self.colon,
            Kind::CreditCode => self.digits >= 6,
            Kind::IdNumber => self.digits >= 17,
            Kind::BankCard => self.digits >= 13,
            Kind::Mobile => self.digits >= 7,
            Kind::Phone => self.digits >= 10,
            Kind::Plate => self.wide && self.upper,
            Kind::Code => self.digits >= 4,
            Kind::Name => self.wide || self.upper,
        }
    }
}

fn one(kind: Kind, text: &str) -> (String, u64) {
    let any = |found: &str| Some(found.len());
    let whole = |holds: fn(&str) -> bool| move |found: &str| holds(found).then_some(found.len());
    match kind {
        Kind::Url => replaced(&URL, text, kind, any, Edge::Free),
        Kind::Email => replaced(&EMAIL, text, kind, any, Edge::Free),
        Kind::Ip => {
            let (first, four) = replaced(&IPV4, text, kind, whole(|s| s.parse::<std::net::Ipv4Addr>().is_ok()), Edge::Number);
            let (both, six) = replaced(&IPV6, &first, kind, whole(|s| s.parse::<std::net::Ipv6Addr>().is_ok()), Edge::Word);
            (both, four + six)
        }
        Kind::CreditCode => replaced(&CREDIT, text, kind, whole(digits::is_credit_code), Edge::Word),
        Kind::IdNumber => replaced(&ID, text, kind, whole(digits::is_id_number), Edge::Word),
        Kind::BankCard => replaced(&CARD, text, kind, digits::card_length, Edge::Number),
        Kind::Mobile => replaced(&MOBILE, text, kind, whole(digits::is_telephone), Edge::Number),
        Kind::Phone => replaced(&PHONE, text, kind, any, Edge::Number),
        Kind::Plate => replaced(&PLATE, text, kind, whole(digits::is_plate), Edge::Word),
        Kind::Code => codes(text),
        Kind::Name => names::replace(text),
    }
}

/// What must not stand directly beside a find.
#[derive(Clone, Copy)]
enum Edge {
    /// Anything may.
    Free,
    /// No digit: the find would be a part of a longer number.
    Number,
    /// No Latin letter and no digit.
    Word,
}

impl Edge {
    fn holds(self, text: &str, start: usize, end: usize) -> bool {
        let joins = |c: char| match self {
            Self::Free => false,
            Self::Number => c.is_ascii_digit(),
            Self::Word => c.is_ascii_alphanumeric(),
        };
        let before = text.get(..start).and_then(|s| s.chars().next_back());
        let after = text.get(end..).and_then(|s| s.chars().next());
        !before.is_some_and(joins) && !after.is_some_and(joins)
    }
}

/// Replaces what matches, of which `right` takes so many bytes, and what stands free. A find that does not pass is looked into again from its next character.
fn replaced(pattern: &Regex, text: &str, kind: Kind, right: impl Fn(&str) -> Option<usize>, edge: Edge) -> (String, u64) {
    let mut out = String::new();
    let (mut kept, mut from, mut found) = (0, 0, 0);
    while let Some(hit) = pattern.find_at(text, from) {
        let taken = right(hit.as_str()).map(|length| hit.start() + length).filter(|end| edge.holds(text, hit.start(), *end));
        if let Some(end) = taken {
            out.push_str(&text[kept..hit.start()]);
            out.push_str(kind.placeholder());
            (kept, from, found) = (end, end, found + 1);
        } else {
            from = hit.start() + text[hit.start()..].chars().next().map_or(1, char::len_utf8);
        }
    }
    out.push_str(&text[kept..]);
    (out, found)
}

fn codes(text: &str) -> (String, u64) {
    let mut found = 0;
    let out = CODE.replace_all(text, |c: &Captures<'_>| {
        let whole = c.get(0).map_or("", |m| m.as_str());
        let code = c.name("code").or_else(|| c.name("first"));
        let free = code.is_some_and(|m| Edge::Number.holds(text, m.start(), m.end()));
        if !free {
            return whole.to_owned();
        }
        found += 1;
        match (c.name("before"), c.name("after")) {
            (Some(before), _) => format!("{}{}", before.as_str(), Kind::Code.placeholder()),
            (None, Some(after)) => format!("{}{}", Kind::Code.placeholder(), after.as_str()),
            (None, None) => whole.to_owned(),
        }
    });
    (out.into_owned(), found)
}

#[cfg(test)]
mod tests;
