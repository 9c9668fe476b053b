//! Numbers, dates and addresses of made-up messages. Must not make one that somebody has: domains end in `.example`, telephone
//! numbers are of blocks that are kept for fiction or not assigned.

use super::dice::Dice;

/// How a language writes what slots are filled with.
pub(super) struct Style {
    /// Words for a day near today.
    pub(super) days: &'static [&'static str],
    /// Before and after the numbers of month and day.
    pub(super) date: [&'static str; 3],
    /// What stands before four digits to make a telephone number of nobody.
    pub(super) phone: &'static [&'static str],
    /// Words for units of large round amounts.
    pub(super) large: &'static [&'static str],
}

/// Words that addresses are made of.
const HOSTS: [&str; 20] = [
    "cloud", "vip", "safe", "fast", "my", "e", "mobile", "info", "care", "get", "pay", "help", "club", "post", "card", "gift", "net", "go",
    "home", "new",
];
const LETTERS: &[u8] = b"abcdefghkmnpqrstuvwxyz";

/// What a kind of slot is filled with, or `None` for a kind that does not exist.
pub(super) fn fill(kind: &str, style: &Style, dice: &mut Dice) -> Option<String> {
    Some(match kind {
        "code" => {
            let length = *dice.pick(&[4, 6, 6, 6]);
            digits(length, dice)
        }
        "tail" => digits(4, dice),
        "track" => format!("{}{}", dice.pick(&["QX", "LW", "ZB", "HH", "VK"]), digits(10, dice)),
        "case" => format!("{}-{}", dice.between(2021, 2026), digits(5, dice)),
        "pickup" => format!("{}-{}-{}", dice.between(1, 19), dice.between(1, 9), digits(4, dice)),
        "short" => format!("00{}", digits(3, dice)),
        "phone" => format!("{}{}", dice.pick(style.phone), digits(2, dice)),
        "chat" => format!("{}{}", letters(3, dice), digits(4, dice)),
        "money" => money(dice),
        "small" => format!("{}.{}", dice.between(3, 99), digits(2, dice)),
        "large" => format!("{}{}", dice.between(1, 50), dice.pick(style.large)),
        "hundreds" => (dice.between(1, 60) * 50).to_string(),
        "points" => (dice.between(9, 900) * 20 + dice.below(20)).to_string(),
        "percent" => dice.between(5, 90).to_string(),
        "rate" => format!("{}.{}", dice.between(2, 5), dice.between(1, 9)),
        "n" => dice.between(2, 30).to_string(),
        "hour" => dice.between(7, 21).to_string(),
        "clock" => format!("{}:{:02}", dice.between(7, 22), dice.below(12) * 5),
        "date" => date(style, dice),
        "day" => (*dice.pick(style.days)).to_owned(),
        "url" => url(dice),
        "seat" => format!("{}{}", dice.between(1, 16), dice.pick(&["A", "B", "C", "D", "F"])),
        _ => return None,
    })
}

fn digits(length: usize, dice: &mut Dice) -> String {
    (0..length).map(|_| char::from(b"0123456789"[dice.below(10)])).collect()
}

fn letters(length: usize, dice: &mut Dice) -> String {
    (0..length).map(|_| char::from(*dice.pick(LETTERS))).collect()
}

fn money(dice: &mut Dice) -> String {
    let whole = match dice.below(3) {
        0 => dice.between(20, 999),
        1 => dice.between(1, 99) * 100,
        _ => dice.between(1000, 60_000),
    };
    if dice.permille(400) { format!("{whole}.{}", digits(2, dice)) } else { whole.to_string() }
}

fn date(style: &Style, dice: &mut Dice) -> String {
    if dice.permille(400) {
        return (*dice.pick(style.days)).to_owned();
    }
    let [before, between, after] = style.date;
    format!("{before}{}{between}{}{after}", dice.between(1, 12), dice.between(1, 28))
}

/// An address below `.example`, which nobody can register (RFC 2606).
fn url(dice: &mut Dice) -> String {
    let scheme = dice.pick(&["", "", "http://", "https://", "www."]);
    let host = match dice.below(3) {
        0 => format!("{}-{}", dice.pick(&HOSTS), dice.pick(&HOSTS)),
        1 => format!("{}{}", dice.pick(&HOSTS), dice.between(1, 99)),
        _ => format!("{}{}", dice.pick(&HOSTS), letters(2, dice)),
    };
    let path = if dice.permille(500) { format!("/{}{}", letters(2, dice), digits(2, dice)) } else { String::new() };
    // A space behind, because text of no other language ends an address in a Chinese sentence.
    format!("{scheme}{host}.example{path} ")
}
