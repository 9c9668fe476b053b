//! What hurry and disguise do to a message: typing errors, spaces between characters, look-alikes, wide characters, emoji. Must not
//! change what a message means.

use super::dice::Dice;
use super::operator::Operator;
use crate::record::Language;

/// Characters that people, or senders who fear a filter, write for one another. Slips and disguises are the same characters.
const CHINESE_TWINS: [(char, char); 34] = [
    ('账', '帐'),
    ('验', '験'),
    ('证', '証'),
    ('码', '玛'),
    ('微', '薇'),
    ('信', '伩'),
    ('钱', '銭'),
    ('转', '轉'),
    ('贷', '貸'),
    ('款', '欵'),
    ('银', '銀'),
    ('点', '點'),
    ('链', '鏈'),
    ('的', '地'),
    ('得', '的'),
    ('在', '再'),
    ('已', '以'),
    ('做', '作'),
    ('那', '哪'),
    ('请', '清'),
    ('号', '號'),
    ('领', '領'),
    ('额', '額'),
    ('兼', '蒹'),
    ('职', '聀'),
    ('优', '優'),
    ('惠', '恵'),
    ('退', '煺'),
    ('费', '費'),
    ('加', '伽'),
    ('客', '愙'),
    ('服', '菔'),
    ('吗', '嘛'),
    ('吧', '巴'),
];
/// Letters that disguise writes for one another.
const ENGLISH_TWINS: [(char, char); 8] = [('o', '0'), ('i', '1'), ('a', '@'), ('e', '3'), ('s', '5'), ('l', '1'), ('O', '0'), ('I', 'l')];
/// Short forms of a hurried hand.
const SHORT_FORMS: [(&str, &str); 14] = [
    (" you ", " u "),
    (" your ", " ur "),
    (" please ", " pls "),
    (" are ", " r "),
    (" to ", " 2 "),
    (" for ", " 4 "),
    ("Please ", "Pls "),
    (" tomorrow", " tmrw"),
    (" message", " msg"),
    (" number", " no."),
    (" account", " acct"),
    (" and ", " & "),
    (" with ", " w/ "),
    (" because ", " bc "),
];
const EMOJI: [&str; 14] = ["😊", "🎉", "🔥", "❗", "👍", "🙏", "💰", "📦", "✅", "⚠️", "😂", "❤️", "👉", "🎁"];

/// The message as it arrives. Advertisements and fraud have reasons for disguise; slips happen to everybody.
pub(super) fn apply(text: String, language: Language, class: usize, operator: &Operator, dice: &mut Dice) -> String {
    let mut out = text;
    if dice.permille(operator.typo_permille) {
        out = slip(&out, language, dice);
    }
    // Now and then an ordinary sender writes in stars and spaces too, or disguise alone would give fraud away.
    let disguise = if class == 0 { operator.disguise_permille / 3 } else { operator.disguise_permille };
    if dice.permille(disguise) {
        out = disguised(&out, language, dice);
    }
    if dice.permille(90) {
        let emoji = *dice.pick(&EMOJI);
        if dice.permille(700) { out.push_str(emoji) } else { out.insert_str(0, emoji) }
    }
    out
}

fn slip(text: &str, language: Language, dice: &mut Dice) -> String {
    match (language, dice.below(3)) {
        (Language::Chinese, 0) => drop_one(text, dice),
        (Language::Chinese, _) => replace_some(text, &CHINESE_TWINS, 350, dice),
        (Language::English, 0) => drop_one(text, dice),
        (Language::English, 1) => swap_two(text, dice),
        (Language::English, _) => shorten(text, dice),
    }
}

fn disguised(text: &str, language: Language, dice: &mut Dice) -> String {
    match (language, dice.below(4)) {
        (_, 0) => space_out(text, dice),
        (_, 1) => widen(text, dice),
        (Language::Chinese, _) => replace_some(text, &CHINESE_TWINS, 700, dice),
        (Language::English, _) => replace_some(text, &ENGLISH_TWINS, 250, dice),
    }
}

/// Replaces characters by their twins, each `permille` times in a thousand.
fn replace_some(text: &str, twins: &[(char, char)], permille: usize, dice: &mut Dice) -> String {
    let twin = |c: char| twins.iter().find(|(from, _)| *from == c).map(|(_, to)| *to);
    text.chars().map(|c| twin(c).filter(|_| dice.permille(permille)).unwrap_or(c)).collect()
}

/// Puts spaces, dots or zero-width spaces between the characters of one stretch.
fn space_out(text: &str, dice: &mut Dice) -> String {
    let length = text.chars().count();
    let start = dice.below(length);
    let end = start + dice.between(4, 14);
    let gap = *dice.pick(&[" ", " ", "\u{200b}", ".", "*"]);
    let mut out = String::with_capacity(text.len() * 2);
    for (at, c) in text.chars().enumerate() {
        out.push(c);
        if (start..end).contains(&at) && c.is_alphabetic() {
            out.push_str(gap);
        }
    }
    out
}

/// Writes printable ASCII in its wide form, which NFKC folds back, in one stretch.
fn widen(text: &str, dice: &mut Dice) -> String {
    let start = dice.below(text.chars().count());
    let end = start + dice.between(10, 40);
    let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).filter(|_| c.is_ascii_graphic());
    text.chars().enumerate().map(|(at, c)| wide(c).filter(|_| (start..end).contains(&at)).unwrap_or(c)).collect()
}

fn drop_one(text: &str, dice: &mut Dice) -> String {
    let gone = dice.below(text.chars().count());
    text.chars().enumerate().filter(|&(at, c)| at != gone || c.is_ascii_digit()).map(|(_, c)| c).collect()
}

fn swap_two(text: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = dice.below(chars.len().saturating_sub(1));
    if chars.get(at..at + 2).is_some_and(|pair| pair.iter().all(|c| c.is_alphabetic())) {
        chars.swap(at, at + 1);
    }
    chars.into_iter().collect()
}

fn shorten(text: &str, dice: &mut Dice) -> String {
    SHORT_FORMS.iter().fold(text.to_owned(), |text, (long, short)| if dice.permille(600) { text.replace(long, short) } else { text })
}
