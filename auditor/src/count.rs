//! What a task that counts knows after a round, made again from its opened sum: figures with intervals, or where the search for words stands
//! (audit.md A37). A second implementation on purpose: of server and institutions, who compute the same, it shares the plan's types and no line.
//! Knows no log, no cipher and no file.
//!
//! Additions, multiplications, divisions, square roots and comparisons of 64-bit floats only, each rounded as IEEE 754 says, in the order that
//! is written down here: so every machine that follows it writes the same document, byte for byte.

mod difference;
mod figures;
mod words;

pub use difference::{Difference, first_difference};

use crate::step::Opened;
use figures::Answer;
use protocol::decimal::Decimal;
use protocol::plan::{Count, Counted, Plan, Query, WordRule};
use serde::{Deserialize, Serialize};
use words::Search;

/// Version of the document.
const VERSION: u32 = 1;
/// The noise's deviation is a multiple of 2^-10 grid steps (privacy.md D16).
const SIGMA_FRACTION_BITS: u32 = 10;
/// Largest deviation that samplers draw, 2^40 grid steps, in those units (privacy.md D24).
const MAX_SIGMA: u64 = 1 << 50;

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// The plan has weights.
    #[error("the plan does not count")]
    Trains,
    /// Numbers of a plan that nobody can count by.
    #[error("nobody can count by the plan's {0}")]
    Plan(&'static str),
    /// A sum of another length than the plan's, or a plan whose sums and questions differ in it.
    #[error("{got} summed integers, expected {expected}")]
    Length {
        /// Of the sum.
        got: usize,
        /// Of the plan.
        expected: usize,
    },
    /// A summed integer that no plan of ours can have.
    #[error("a summed integer is beyond 64 bits")]
    Beyond,
    /// What was known before the round.
    #[error("the document before the round is not of this plan")]
    Document,
}

/// The document. Fields stand in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    version: u32,
    /// Rounds that were opened.
    rounds: u64,
    /// Members of the last sum.
    institutions: u32,
    /// Deviation of the last sum's noise, in records or words.
    deviation: f64,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum What {
    Statistics { answers: Vec<Answer> },
    Words { rule: WordRule, search: Search },
}

impl Known {
    fn parse(bytes: &[u8]) -> Result<Self, CountError> {
        let known: Self = serde_json::from_slice(bytes).map_err(|_| CountError::Document)?;
        if known.version == VERSION { Ok(known) } else { Err(CountError::Document) }
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CountError> {
        serde_json::to_vec(self).map_err(|_| CountError::Document)
    }
}

fn count_of(plan: &Plan) -> Result<&Count, CountError> {
    plan.count.as_ref().ok_or(CountError::Trains)
}

/// Integers of a round's sum.
fn dimension(plan: &Plan) -> usize {
    usize::try_from(plan.dimension()).unwrap_or(usize::MAX)
}

/// Numbers that come out of a round's sum.
fn numbers(plan: &Plan, count: &Count) -> usize {
    dimension(plan) / usize::from(count.limbs.max(1))
}

/// What is known before the first round of a plan that counts: nothing, in the one spelling that the plan's base is the hash of.
///
/// # Errors
/// [`CountError`] if the plan trains, or nobody can count by it.
pub fn nothing(plan: &Plan) -> Result<Vec<u8>, CountError> {
    let count = count_of(plan)?;
    let what = match &count.what {
        Counted::Statistics { queries } => {
            figures::check(queries, numbers(plan, count))?;
            What::Statistics { answers: Vec::new() }
        }
        Counted::Words { rule, .. } => What::Words { rule: *rule, search: Search::begin(numbers(plan, count))? },
    };
    Known { version: VERSION, rounds: 0, institutions: 0, deviation: 0.0, what }.to_bytes()
}

/// The document after a round in which exactly `opened` was opened, from the one before it.
///
/// # Errors
/// [`CountError`]: no server that follows the plan closes a round with such a sum or document.
///
/// # Security
/// The document before may be anybody's.
pub fn advance(plan: &Plan, before: &[u8], opened: &[Opened]) -> Result<Vec<u8>, CountError> {
    let count = count_of(plan)?;
    let scale = Scale::of(plan, count)?;
    let known = Known::parse(before)?;
    // One shard in one sum, as every plan that counts has it.
    let one = opened.first();
    let sum = one.and_then(|o| o.values.first()).map_or(&[][..], |(_, values)| values.as_slice());
    let members = one.map_or(0, |o| o.mass.members);
    if sum.len() != dimension(plan) {
        return Err(CountError::Length { got: sum.len(), expected: dimension(plan) });
    }
    let values = scale.values(sum)?;
    let deviation = scale.sigma_grid * scale.step * f64::from(members).sqrt();
    let (what, whole) = match (&count.what, known.what) {
        (Counted::Statistics { queries }, What::Statistics { .. }) => (statistics(queries, &values, deviation)?, figures::WHOLE),
        (Counted::Words { rule, threshold }, What::Words { rule: kept, search }) if *rule == kept && search.is_of(values.len()) => {
            (What::Words { rule: kept, search: search.after(&values, threshold.to_f64() * deviation) }, 1.0)
        }
        (Counted::Statistics { .. } | Counted::Words { .. }, What::Statistics { .. } | What::Words { .. }) => {
            return Err(CountError::Document);
        }
    };
    let (rounds, institutions) = (known.rounds.saturating_add(1), u32::from(members));
    Known { version: VERSION, rounds, institutions, deviation: deviation / whole, what }.to_bytes()
}

fn statistics(queries: &[Query], values: &[f64], deviation: f64) -> Result<What, CountError> {
    Ok(What::Statistics { answers: figures::answers(queries, values, deviation)? })
}

/// From summed slots to numbers, and what noise is in them.
struct Scale {
    /// Bits of a limb: one less than a slot has.
    limb_bits: u32,
    limbs: usize,
    /// What an integer is worth: C / 2^g.
    step: f64,
    /// Deviation of one institution's noise, in grid steps.
    sigma_grid: f64,
}

impl Scale {
    fn of(plan: &Plan, count: &Count) -> Result<Self, CountError> {
        let (p, bits) = (&plan.privacy, plan.groups.first().map_or(0, |g| g.bits));
        let limb_bits = u32::from(bits.saturating_sub(1));
        let fit = (4..=32).contains(&bits) && (1..=16).contains(&count.limbs) && limb_bits * u32::from(count.limbs) <= 62;
        if !fit {
            return Err(CountError::Plan("limbs"));
        }
        if !(8..=24).contains(&p.grid_bits) {
            return Err(CountError::Plan("grid"));
        }
        let sigma = sigma_1024(p.noise_multiplier, p.grid_bits).filter(|s| (1 << SIGMA_FRACTION_BITS..=MAX_SIGMA).contains(s));
        #[expect(clippy::cast_precision_loss, reason = "at most 2^50")]
        let sigma_grid = sigma.ok_or(CountError::Plan("noise multiplier"))? as f64 / 1024.0;
        let step = p.clip.to_f64() / f64::from(1u32 << p.grid_bits);
        Ok(Self { limb_bits, limbs: usize::from(count.limbs), step, sigma_grid })
    }

    /// Numbers whose limbs were summed: all lowest limbs stand first (crypto.md C24).
    fn values(&self, sum: &[i64]) -> Result<Vec<f64>, CountError> {
        let each = sum.len() / self.limbs;
        if each == 0 || each * self.limbs != sum.len() {
            return Err(CountError::Length { got: sum.len(), expected: self.limbs * each.max(1) });
        }
        let limbs: Vec<&[i64]> = sum.chunks(each).collect();
        // Each below 2^63 · 2^59, at most 16 of them: 128 bits hold the sum.
        let whole = |i: usize| limbs.iter().zip(0u32..).map(|(limb, t)| i128::from(limb[i]) << (self.limb_bits * t)).sum::<i128>();
        #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^53 grid steps")]
        let value = |i: usize| i64::try_from(whole(i)).map(|v| v as f64 * self.step).map_err(|_| CountError::Beyond);
        (0..each).map(value).collect()
    }
}

/// ⌈multiplier · 2^g⌉ in units of 2^-10 grid steps (privacy.md D16). Nothing beyond 64 bits.
fn sigma_1024(multiplier: Decimal, grid_bits: u8) -> Option<u64> {
    let text = multiplier.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let unit = 10u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let scaled = digits.checked_mul(1u128 << (u32::from(grid_bits) + SIGMA_FRACTION_BITS))?;
    u64::try_from(scaled.div_ceil(unit)).ok()
}

#[cfg(test)]
mod tests;
