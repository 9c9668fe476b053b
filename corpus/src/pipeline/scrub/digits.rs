//! Check digits and shapes of numbers. Must not know the text around them.

use jiff::civil::Date;

/// Characters of unified social credit codes in the order of their values.
pub(crate) const CREDIT_ALPHABET: &[u8] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

fn digit(byte: u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| u32::from(byte - b'0'))
}

/// Letters and digits of a number, without the spaces and hyphens that group it.
fn bare(text: &str) -> Vec<u8> {
    text.bytes().filter(|b| !matches!(b, b' ' | b'-')).collect()
}

/// Check character of the first 17 digits of a resident identity number.
///
/// # Source
/// GB 11643-1999; ISO 7064, MOD 11-2.
pub(crate) fn id_check(first: &[u8]) -> Option<u8> {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let mut sum = 0;
    for (&byte, weight) in first.get(..17)?.iter().zip(WEIGHTS) {
        sum += digit(byte)? * weight;
    }
    b"10X98765432".get(usize::try_from(sum % 11).ok()?).copied()
}

/// Whether this is a resident identity number: 18 places, a day that exists, the right check character.
pub fn is_id_number(text: &str) -> bool {
    let id = bare(text);
    let born = || {
        let number = |from, to| std::str::from_utf8(id.get(from..to)?).ok()?.parse::<i16>().ok();
        let (year, month, day) = (number(6, 10)?, number(10, 12)?, number(12, 14)?);
        Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok().filter(|_| (1850..2200).contains(&year))
    };
    id.len() == 18 && born().is_some() && id_check(&id) == id.get(17).map(u8::to_ascii_uppercase)
}

/// Check digit of a payment card for the digits before it.
///
/// # Source
/// ISO/IEC 7812-1, annex B (Luhn).
pub(crate) fn luhn_check(first: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (at, &byte) in first.iter().rev().enumerate() {
        let value = digit(byte)?;
        sum += if at % 2 == 0 { value * 2 / 10 + value * 2 % 10 } else { value };
    }
    u8::try_from((10 - sum % 10) % 10).ok().map(|d| b'0' + d)
}

/// Whether this is a payment card: 13 to 19 digits with the right last one, not all the same.
pub fn is_card(text: &str) -> bool {
    let card = bare(text);
    let Some((last, first)) = card.split_last() else { return false };
    let varied = first.iter().any(|b| b != last);
    (13..=19).contains(&card.len()) && varied && luhn_check(first) == Some(*last)
}

/// Bytes of the card at the beginning of a run of groups: all of it, or all but its last groups, which may belong to what follows.
pub(super) fn card_length(text: &str) -> Option<usize> {
    let shorter = text.rmatch_indices([' ', '-']).map(|(at, _)| at);
    std::iter::once(text.len()).chain(shorter).find(|end| text.get(..*end).is_some_and(is_card))
}

/// Check character of the first 17 places of a unified social credit code.
///
/// # Source
/// GB 32100-2015, section 4.2.5: weights 3^i modulo 31.
pub(crate) fn credit_check(first: &[u8]) -> Option<u8> {
    let (mut sum, mut weight) = (0usize, 1usize);
    for byte in first.get(..17)? {
        sum += CREDIT_ALPHABET.iter().position(|c| c == byte)? * weight;
        weight = weight * 3 % 31;
    }
    CREDIT_ALPHABET.get((31 - sum % 31) % 31).copied()
}

/// Whether this is a unified social credit code with the right check character.
pub fn is_credit_code(text: &str) -> bool {
    let code = text.as_bytes();
    code.len() == 18 && credit_check(code) == code.get(17).copied()
}

/// Whether a find has as many digits as a telephone number (E.164: at most 15).
pub(super) fn is_telephone(text: &str) -> bool {
    (7..=15).contains(&text.bytes().filter(u8::is_ascii_digit).count())
}

/// A plate has a digit: province and six letters are more likely a word beside a name.
pub(super) fn is_plate(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
}
