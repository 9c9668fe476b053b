//! The server's step made again: from opened integers and the weights before to the weights after, bit for bit (crypto.md C24, C60;
//! training.md M17, M18). A second implementation on purpose, on the bytes of a snapshot and without any tensor. Knows no log, no cipher and
//! no file.
//!
//! Additions, multiplications, divisions and square roots only, each rounded as IEEE 754 says, in the order that is written down here: so
//! every machine that follows it gets the same bits.

use crate::weights::{Malformed, Weights};
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, ShardId};
use protocol::plan::{Combine, Plan, ShardSpec, Strategy, Weighting};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What the log says that a sum counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mass {
    /// Members of the certified set.
    pub members: u16,
    /// Σ W as declared before the manifest; nothing where nobody is weighed.
    pub weight: Option<u64>,
    /// Σ N̂ as declared before the manifest; nothing where somebody declared none.
    pub units: Option<u64>,
}

/// One opened sum.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its group in the manifest.
    pub group: GroupId,
    /// V of each shard.
    pub values: Vec<(ShardId, Vec<i64>)>,
    /// What it counts by.
    pub mass: Mass,
}

/// What a strategy remembers from round to round, by the place of a number in the snapshot. Starts empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// First moment.
    pub momentum: Vec<f32>,
    /// Second moment.
    pub square: Vec<f32>,
}

/// Why there is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The plan counts: what is known after its rounds is a document, and [`crate::count`] makes it.
    #[error("the plan counts and has no weights")]
    Counts,
    /// The bytes before.
    #[error("the snapshot before the round cannot be used")]
    Snapshot(#[from] Malformed),
    /// The log does not say what a sum is divided by.
    #[error("the log does not say what the sum of group {0} is divided by")]
    Mass(GroupId),
    /// Fewer opened groups than the plan combines.
    #[error("{got} opened groups of a sum, the plan combines at least {needed}")]
    TooFew {
        /// Opened.
        got: usize,
        /// Needed.
        needed: usize,
    },
    /// A group without a shard of its sum, or with one of another length.
    #[error("group {0} does not hold the shards of its sum")]
    Shards(GroupId),
    /// The result is not a model.
    #[error("a number of {0} is not finite after the step")]
    NotFinite(String),
    /// Memory of another model.
    #[error("the strategy's memory is of another model")]
    Memory,
}

/// What a sum is divided by: the number of members, or their weights or units.
fn count(plan: &Plan, mass: Mass) -> Option<u64> {
    if is_gradient(plan) {
        return mass.units;
    }
    match plan.weighting {
        Weighting::Uniform => Some(u64::from(mass.members)),
        Weighting::Declared { .. } => mass.weight,
    }
}

/// Whether sums are of clipped gradients, which descend, and not of changes, which are added (privacy.md D15).
fn is_gradient(plan: &Plan) -> bool {
    plan.privacy.mode.joint().is_some() && plan.count.is_none()
}

#[expect(clippy::cast_precision_loss, reason = "1000 members, weights or units of at most 2^40 stay below 2^53")]
fn divided_by(plan: &Plan, count: u64) -> f64 {
    if is_gradient(plan) {
        return count as f64 * plan.privacy.sampling_rate.to_f64() / plan.privacy.clip.to_f64();
    }
    match plan.weighting {
        Weighting::Uniform => count as f64,
        Weighting::Declared { max_weight } => count as f64 / max_weight as f64,
    }
}

/// What a group's sum is divided by, in units of its step (crypto.md C24, privacy.md D15). Nothing where the log does not say, or for nobody.
pub fn divisor(plan: &Plan, mass: Mass) -> Option<f64> {
    count(plan, mass).map(|n| divided_by(plan, n)).filter(|d| *d > 0.0)
}

/// 2^e, exactly.
fn power_of_two(exponent: i8) -> f64 {
    let biased = (1023 + i64::from(exponent)).cast_unsigned();
    f64::from_bits(biased << 52)
}

/// The L2 norm of a group's mean, from the exact sums of squares of its shards (training.md M18). Nothing where it has no mean.
///
/// # Units
/// Those of the weights. The result is off by less than 200 roundings: 2^-45 of itself.
pub fn norm(plan: &Plan, mass: Mass, squares: &[(ShardId, u128)]) -> Option<f64> {
    let divisor = divisor(plan, mass)?;
    #[expect(clippy::cast_precision_loss, reason = "one rounding")]
    let square = |(id, square): &(ShardId, u128)| {
        let step = power_of_two(plan.shard(*id)?.step_exponent);
        Some(*square as f64 * step * step)
    };
    let sum = squares.iter().map(square).sum::<Option<f64>>()?;
    Some(sum.sqrt() / divisor)
}

/// Whether a norm is beyond `most` for certain. Servers add up N squares of 64-bit floats, so that their norm may be off by N roundings: a norm
/// within (N + 512)·2^-52 of the bound, 10^-6 of it for the largest group, is left alone.
pub fn is_beyond(norm: f64, most: f64, values: u64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a margin")]
    let margin = (values as f64 + 512.0) * f64::EPSILON;
    // A norm that is no number is beyond every bound.
    norm.partial_cmp(&(most * (1.0 + margin))).is_none_or(Ordering::is_gt)
}

/// The weights after a round in which exactly `opened` were opened, and what the strategy remembers.
///
/// Groups that the plan does not count (too few parts of their sum were opened) have no effect, nor has their order. Numbers of no opened
/// shard stay, and so does what is remembered of them.
///
/// Takes over the snapshot before and the memory and changes them in place: of a large model there may be room for one.
///
/// # Errors
/// [`StepError`]; then both are gone.
pub fn advance(plan: &Plan, before: Vec<u8>, mut memory: Memory, opened: &[Opened]) -> Result<(Vec<u8>, Memory), StepError> {
    if plan.count.is_some() {
        return Err(StepError::Counts);
    }
    let mut weights = Weights::parse(before)?;
    for part in parts(plan, opened)?.values() {
        let Some(first) = part.first() else { continue };
        for (at, (id, _)) in first.values.iter().enumerate() {
            let shard = plan.shard(*id).ok_or(StepError::Shards(first.group))?;
            let mean = mean(plan, shard, at, part)?;
            apply(plan, shard, &mean, &mut weights, &mut memory)?;
        }
    }
    Ok((weights.into_bytes(), memory))
}

/// The counting groups by the planned sum that each is a part of.
fn parts<'a>(plan: &Plan, opened: &'a [Opened]) -> Result<BTreeMap<GroupId, Vec<&'a Opened>>, StepError> {
    let counting = plan.counting(&opened.iter().map(|o| o.group).collect::<Vec<_>>());
    let mut sums: BTreeMap<GroupId, Vec<&Opened>> = BTreeMap::new();
    for one in opened.iter().filter(|o| counting.contains(&o.group)) {
        if let Some(planned) = plan.sum_of_part(one.group) {
            sums.entry(planned.id).or_default().push(one);
        }
    }
    let needed = plan.robust().combine.minimum();
    match sums.values().map(Vec::len).min() {
        Some(got) if got >= needed => Ok(sums),
        got => Err(StepError::TooFew { got: got.unwrap_or(0), needed }),
    }
}

/// The combined mean of one shard, number by number: what the strategy adds.
fn mean<'a>(plan: &Plan, shard: &ShardSpec, at: usize, groups: &[&'a Opened]) -> Result<Vec<f32>, StepError> {
    let length = usize::try_from(shard.len()).unwrap_or(usize::MAX);
    let integers = |g: &&'a Opened| match g.values.get(at) {
        Some((id, values)) if *id == shard.id && values.len() == length => Ok(values.as_slice()),
        Some(_) | None => Err(StepError::Shards(g.group)),
    };
    let all = groups.iter().map(integers).collect::<Result<Vec<_>, _>>()?;
    let counts = groups.iter().map(|g| count(plan, g.mass).filter(|n| *n > 0).ok_or(StepError::Mass(g.group)));
    let counts = counts.collect::<Result<Vec<u64>, _>>()?;
    let worth = |count| power_of_two(shard.step_exponent) / divided_by(plan, count);
    let each: Vec<f64> = counts.iter().map(|n| worth(*n)).collect();
    let together = worth(counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n)));
    let trim = match plan.robust().combine {
        Combine::Mean => None,
        Combine::TrimmedMean { trim } => Some(usize::from(trim)),
        // All but the one or two in the middle.
        Combine::Median => Some((groups.len() - 1) / 2),
    };
    let descends = is_gradient(plan);
    let mut column = vec![0i64; groups.len()];
    let mut number = |j: usize| {
        column.iter_mut().zip(&all).for_each(|(v, values)| *v = values.get(j).copied().unwrap_or(0));
        let x = trim.map_or_else(|| plain(&column, together), |trim| middle(&column, &each, trim));
        if descends { -x } else { x }
    };
    Ok((0..length).map(&mut number).collect())
}

/// All integers added, then one multiplication, then one rounding to 32 bits.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sums stay below 2^53; weights are 32-bit floats")]
fn plain(column: &[i64], worth: f64) -> f32 {
    let sum = column.iter().fold(0i64, |sum, v| sum.saturating_add(*v));
    (sum as f64 * worth) as f32
}

/// The mean of each group, in ascending order, without `trim` at each end; the rest added from the lowest on and divided by their number.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sums stay below 2^53; weights are 32-bit floats")]
fn middle(column: &[i64], worth: &[f64], trim: usize) -> f32 {
    let mut means: Vec<f64> = column.iter().zip(worth).map(|(v, worth)| *v as f64 * worth).collect();
    means.sort_by(f64::total_cmp);
    let kept = means.get(trim..means.len().saturating_sub(trim)).unwrap_or_default();
    (kept.iter().fold(0.0, |sum, mean| sum + mean) / kept.len() as f64) as f32
}

/// A strategy's numbers as 32-bit floats.
#[derive(Clone, Copy)]
enum Rule {
    Plain { rate: f32 },
    Momentum { rate: f32, kept: f32 },
    Ahead { rate: f32, kept: f32 },
    Adam { rate: f32, kept: f32, decay: f32, floor: f32 },
    Yogi { rate: f32, kept: f32, decay: f32, floor: f32 },
}

impl Rule {
    fn of(strategy: &Strategy) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
        let single = |x: &Decimal| x.to_f64() as f32;
        match strategy {
            Strategy::FedAvg { rate } => Self::Plain { rate: single(rate) },
            Strategy::FedAvgM { rate, momentum } => Self::Momentum { rate: single(rate), kept: single(momentum) },
            Strategy::FedNesterov { rate, momentum } => Self::Ahead { rate: single(rate), kept: single(momentum) },
            Strategy::FedAdam { rate, momentum, decay, floor } => {
                Self::Adam { rate: single(rate), kept: single(momentum), decay: single(decay), floor: single(floor) }
            }
            Strategy::FedYogi { rate, momentum, decay, floor } => {
                Self::Yogi { rate: single(rate), kept: single(momentum), decay: single(decay), floor: single(floor) }
            }
        }
    }

    /// Zeros where the strategy remembers and has not yet.
    fn remember(self, numbers: usize, memory: &mut Memory) -> Result<(), StepError> {
        let (first, second) = match self {
            Self::Plain { .. } => (false, false),
            Self::Momentum { .. } | Self::Ahead { .. } => (true, false),
            Self::Adam { .. } | Self::Yogi { .. } => (true, true),
        };
        for (needed, moment) in [(first, &mut memory.momentum), (second, &mut memory.square)] {
            if needed && moment.is_empty() {
                moment.resize(numbers, 0.0);
            }
            if needed && moment.len() != numbers {
                return Err(StepError::Memory);
            }
        }
        Ok(())
    }

    /// One number after the step along `x`; `at` is its place.
    fn step(self, weight: f32, x: f32, at: usize, memory: &mut Memory) -> f32 {
        match self {
            Self::Plain { rate } => weight + rate * x,
            Self::Momentum { rate, kept } => {
                let moved = kept * memory.momentum[at] + x;
                memory.momentum[at] = moved;
                weight + rate * moved
            }
            Self::Ahead { rate, kept } => {
                let moved = kept * memory.momentum[at] + x;
                memory.momentum[at] = moved;
                weight + rate * (kept * moved + x)
            }
            Self::Yogi { rate, kept, decay, floor } => {
                let first = kept * memory.momentum[at] + (1.0 - kept) * x;
                let (before, square) = (memory.square[at], x * x);
                let second = match before.partial_cmp(&square) {
                    Some(Ordering::Less) => before + (1.0 - decay) * square,
                    Some(Ordering::Greater) => before - (1.0 - decay) * square,
                    Some(Ordering::Equal) | None => before,
                };
                (memory.momentum[at], memory.square[at]) = (first, second);
                weight + rate * first / (second.sqrt() + floor)
            }
            Self::Adam { rate, kept, decay, floor } => {
                let first = kept * memory.momentum[at] + (1.0 - kept) * x;
                let second = decay * memory.square[at] + (1.0 - decay) * (x * x);
                (memory.momentum[at], memory.square[at]) = (first, second);
                weight + rate * first / (second.sqrt() + floor)
            }
        }
    }
}

/// Steps along the mean of one shard, tensor by tensor.
fn apply(plan: &Plan, shard: &ShardSpec, mean: &[f32], weights: &mut Weights, memory: &mut Memory) -> Result<(), StepError> {
    let rule = Rule::of(&plan.strategy);
    rule.remember(weights.numbers(), memory)?;
    let mut mean = mean.iter();
    for tensor in &shard.tensors {
        for at in weights.find(&tensor.name, &tensor.shape)? {
            let Some(&x) = mean.next() else { break };
            let next = rule.step(weights.get(at), x, at, memory);
            if !next.is_finite() {
                return Err(StepError::NotFinite(tensor.name.clone()));
            }
            weights.set(at, next);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
