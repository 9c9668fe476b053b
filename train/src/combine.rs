//! From opened sums to the mean that a strategy takes: weighted means of groups (crypto.md C24, training.md M18). Knows no cipher, no
//! log and no round.

use protocol::decimal::Decimal;
use protocol::ids::ShardId;
use protocol::plan::{Combine, ShardSpec};

/// One group's opened integers and what they are to be divided by.
#[derive(Clone, Copy, Debug)]
pub struct GroupSum<'a> {
    /// V of each shard of the group.
    pub shards: &'a [(ShardId, Vec<i64>)],
    /// What the sum weighs.
    pub mass: Mass,
}

/// What a sum weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mass {
    /// So many institutions, each counting the same.
    Members(u32),
    /// Institutions whose deltas were scaled by their weight over the largest that the plan allows.
    Weights {
        /// Σ W over the set.
        sum: u64,
        /// W_max.
        most: u64,
    },
    /// Institutions whose integers are sums of clipped gradients, in grid steps of C·2^e: the sum is divided by what they were expected to
    /// sample, q·Σ N̂ (privacy.md D15).
    Gradient {
        /// Σ N̂ over the set, as declared.
        units: u64,
        /// q.
        rate: Decimal,
        /// C.
        clip: Decimal,
    },
}

impl Mass {
    /// |set|, or Σ W ÷ W_max, or q·Σ N̂ ÷ C.
    #[expect(clippy::cast_precision_loss, reason = "1000 weights or sizes of at most 2^40 stay below 2^53")]
    pub fn divisor(self) -> f64 {
        match self {
            Self::Members(members) => f64::from(members),
            Self::Weights { sum, most } => sum as f64 / most as f64,
            Self::Gradient { units, rate, clip } => units as f64 * rate.to_f64() / clip.to_f64(),
        }
    }
}

/// Sums that give no mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// A shard that is not in the plan's table.
    #[error("shard {0} is not in the table")]
    UnknownShard(ShardId),
    /// A sum over nobody.
    #[error("a sum of no weight has no mean")]
    Nobody,
    /// Too few groups for this way of combining them.
    #[error("{got} groups, {needed} are needed")]
    TooFew {
        /// Given.
        got: usize,
        /// Needed.
        needed: usize,
    },
    /// Groups over other shards, of other lengths, or weighed in another way.
    #[error("the groups are not parts of one sum")]
    Unlike,
}

/// The mean of several groups over the same shards, combined per coordinate in the plan's way. With [`Combine::Mean`] it is the mean over
/// all institutions of all groups; otherwise each group counts the same, whatever it weighs, because a weight must not buy influence.
///
/// The order of the groups has no effect on any bit.
///
/// # Errors
/// [`CombineError`], the first rule broken.
///
/// # Source
/// training.md M18; crypto.md C24, C64.
pub fn combine(table: &[ShardSpec], how: Combine, groups: &[GroupSum<'_>]) -> Result<Vec<(ShardId, Vec<f32>)>, CombineError> {
    let (got, needed) = (groups.len(), how.minimum());
    let Some(first) = groups.first().filter(|_| got >= needed) else { return Err(CombineError::TooFew { got, needed }) };
    let shape = |g: &GroupSum<'_>| g.shards.iter().map(|(id, values)| (*id, values.len())).collect::<Vec<_>>();
    if groups.iter().any(|g| shape(g) != shape(first)) {
        return Err(CombineError::Unlike);
    }
    let shard = |place: usize| {
        let (id, parts) = (first.shards[place].0, groups.iter().map(|g| g.shards[place].1.as_slice()).collect::<Vec<_>>());
        let mean = match how {
            Combine::Mean => plain(&parts, scale(table, id, total(groups)?)?),
            Combine::TrimmedMean { trim } => robust(&parts, &scales(table, id, groups)?, usize::from(trim)),
            // All but the one or two in the middle.
            Combine::Median => robust(&parts, &scales(table, id, groups)?, (got - 1) / 2),
        };
        Ok((id, mean))
    };
    (0..first.shards.len()).map(shard).collect()
}

/// Mass of all groups together.
fn total(groups: &[GroupSum<'_>]) -> Result<Mass, CombineError> {
    let add = |a: Mass, b: Mass| match (a, b) {
        (Mass::Members(a), Mass::Members(b)) => a.checked_add(b).map(Mass::Members),
        (Mass::Weights { sum, most }, Mass::Weights { sum: more, most: same }) if most == same => {
            sum.checked_add(more).map(|sum| Mass::Weights { sum, most })
        }
        (Mass::Gradient { units, rate, clip }, Mass::Gradient { units: more, rate: r, clip: c }) if (rate, clip) == (r, c) => {
            units.checked_add(more).map(|units| Mass::Gradient { units, rate, clip })
        }
        (
            Mass::Members(_) | Mass::Weights { .. } | Mass::Gradient { .. },
            Mass::Members(_) | Mass::Weights { .. } | Mass::Gradient { .. },
        ) => None,
    };
    let masses = groups.iter().map(|g| Some(g.mass)).reduce(|a, b| add(a?, b?));
    masses.flatten().ok_or(CombineError::Unlike)
}

fn scales(table: &[ShardSpec], id: ShardId, groups: &[GroupSum<'_>]) -> Result<Vec<f64>, CombineError> {
    groups.iter().map(|g| scale(table, id, g.mass)).collect()
}

/// Sum of the integers, then one multiplication.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sums stay below 2^53; weights of a model are f32")]
fn plain(parts: &[&[i64]], scale: f64) -> Vec<f32> {
    let length = parts.first().map_or(0, |p| p.len());
    let sum = |j: usize| parts.iter().fold(0i64, |sum, p| sum.saturating_add(p[j]));
    (0..length).map(|j| (sum(j) as f64 * scale) as f32).collect()
}

/// Per coordinate, the mean of the group means without the `trim` lowest and the `trim` highest.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sums stay below 2^53; weights of a model are f32")]
fn robust(parts: &[&[i64]], scales: &[f64], trim: usize) -> Vec<f32> {
    let length = parts.first().map_or(0, |p| p.len());
    let mut means = vec![0.0f64; parts.len()];
    let mut coordinate = |j: usize| {
        means.iter_mut().zip(parts).zip(scales).for_each(|((mean, p), scale)| *mean = p[j] as f64 * scale);
        means.sort_unstable_by(f64::total_cmp);
        let kept = &means[trim..means.len() - trim];
        (kept.iter().sum::<f64>() / kept.len() as f64) as f32
    };
    (0..length).map(&mut coordinate).collect()
}

/// A mean gradient as the change that it asks for: strategies add what they are given, so it goes in with its sign turned.
pub fn descent(mut gradient: Vec<(ShardId, Vec<f32>)>) -> Vec<(ShardId, Vec<f32>)> {
    gradient.iter_mut().flat_map(|(_, values)| values).for_each(|x| *x = -*x);
    gradient
}

/// L2 norm of one group's mean over all its shards: what the plan's bound is held against.
///
/// # Errors
/// [`CombineError`].
pub fn norm(table: &[ShardSpec], group: &GroupSum<'_>) -> Result<f64, CombineError> {
    square(table, group).map(f64::sqrt)
}

/// The square of [`norm`], which adds up over parts of a group.
///
/// # Errors
/// [`CombineError`].
#[expect(clippy::cast_precision_loss, reason = "sums stay below 2^53")]
pub fn square(table: &[ShardSpec], group: &GroupSum<'_>) -> Result<f64, CombineError> {
    let square = |(id, values): &(ShardId, Vec<i64>)| {
        let scale = scale(table, *id, group.mass)?;
        Ok(values.iter().map(|&v| (v as f64 * scale).powi(2)).sum::<f64>())
    };
    group.shards.iter().map(square).sum()
}

/// What one integer of the shard is worth in the mean.
fn scale(table: &[ShardSpec], id: ShardId, mass: Mass) -> Result<f64, CombineError> {
    let spec = table.iter().find(|s| s.id == id).ok_or(CombineError::UnknownShard(id))?;
    let divisor = mass.divisor();
    if divisor > 0.0 { Ok(2f64.powi(i32::from(spec.step_exponent)) / divisor) } else { Err(CombineError::Nobody) }
}

#[cfg(test)]
#[path = "combine_tests.rs"]
mod tests;
