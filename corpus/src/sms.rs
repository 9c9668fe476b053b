//! A generator of made-up Chinese and English text messages of several operators. Every name, number and address in it is invented;
//! must not know real data.
//!
//! Messages grow from a small grammar. Classes share their openings, brands, warnings and whole sentences; what tells them apart is
//! mostly who asks whom for what, and in which order: a bank that says never to share a code, a stranger who asks for it, a friend
//! who quotes the stranger. A bag of words gets far, but not all the way.

use std::collections::BTreeSet;

use crate::dedup::text_digest;
use crate::record::{Language, Record};

mod chinese;
mod dice;
mod english;
mod grammar;
mod noise;
mod operator;
mod slots;

use dice::Dice;
use grammar::{Bank, Writer};
use operator::Operator;

/// Labels of the generator in class order.
pub const LABELS: [&str; 6] = ["ordinary", "advertisement", "fraud-phishing", "fraud-impersonation", "fraud-refund", "fraud-job"];

/// Most operators that a federation at home pretends to have.
pub const MAX_OPERATORS: u32 = 64;

/// Most records of one call: larger ones belong into files.
pub const MAX_COUNT: usize = 1_000_000;

/// How often a message is drawn again because its text was there already. The few repeats that remain are what real data has too.
const REDRAWS: u32 = 4;

/// Why no messages were generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// No operators, too many, or an index past the last.
    #[error("operator {operator} of {operators} does not exist; there are 1 to {MAX_OPERATORS}")]
    Operator {
        /// Zero-based index.
        operator: u32,
        /// Number of operators.
        operators: u32,
    },
    /// More than [`MAX_COUNT`].
    #[error("asked for {got} records, at most {MAX_COUNT} are made at once")]
    Count {
        /// Records asked for.
        got: usize,
    },
}

/// Makes `count` messages of operator `operator` (from 0) out of `operators`. The same arguments make the same messages.
///
/// Operators differ in their mix of classes and languages, in the sentences and brands their subscribers meet, and in how much
/// senders disguise their words. Users are named per operator; most have one message, some have several.
///
/// # Errors
/// [`GenerateError`] when the operator does not exist or too many records are asked for.
pub fn generate(seed: u64, operator: u32, operators: u32, count: usize) -> Result<Vec<Record>, GenerateError> {
    if operators > MAX_OPERATORS || operator >= operators {
        return Err(GenerateError::Operator { operator, operators });
    }
    if count > MAX_COUNT {
        return Err(GenerateError::Count { got: count });
    }
    let profile = Operator::new(operator, operators);
    let mut dice = Dice::new(seed, operator);
    let mut seen = BTreeSet::new();
    Ok((0..count).map(|_| fresh_record(&profile, &mut dice, &mut seen, count)).collect())
}

fn fresh_record(profile: &Operator, dice: &mut Dice, seen: &mut BTreeSet<[u8; 32]>, count: usize) -> Record {
    let class = dice.weighted(&profile.class_weights);
    let mut record = message(profile, class, dice);
    for _ in 0..REDRAWS {
        if seen.insert(text_digest(&record.text)) {
            break;
        }
        record = message(profile, class, dice);
    }
    // Twice as many subscribers as messages: about four in five messages come alone.
    record.user = Some(format!("op{}-u{}", profile.index, dice.below(count.saturating_mul(2))));
    record
}

fn message(profile: &Operator, class: usize, dice: &mut Dice) -> Record {
    let language = if dice.permille(profile.chinese_permille) { Language::Chinese } else { Language::English };
    let bank = bank_of(language);
    let text = Writer::new(bank, profile, dice).message(class);
    let text = noise::apply(text, language, class, profile, dice);
    Record { text, label: LABELS[class].to_owned(), user: None, language: Some(language) }
}

fn bank_of(language: Language) -> &'static Bank {
    match language {
        Language::Chinese => &chinese::BANK,
        Language::English => &english::BANK,
    }
}

#[cfg(test)]
mod tests;
