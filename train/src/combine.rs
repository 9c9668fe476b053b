//! From opened sums to the mean that a strategy takes: weighted means of groups (crypto.md C24, training.md M18). Knows no cipher, no
//! log and no round.

use protocol::ids::ShardId;
use protocol::plan::ShardSpec;

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
    Members(u16),
    /// Institutions whose deltas were scaled by their weight over the largest that the plan allows.
    Weights {
        /// Σ W over the set.
        sum: u64,
        /// W_max.
        most: u64,
    },
}

impl Mass {
    /// |set|, or Σ W ÷ W_max.
    #[expect(clippy::cast_precision_loss, reason = "1000 weights of at most 2^40 stay below 2^53")]
    pub fn divisor(self) -> f64 {
        match self {
            Self::Members(members) => f64::from(members),
            Self::Weights { sum, most } => sum as f64 / most as f64,
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
}

/// V · 2^e ÷ mass of every shard of one group.
///
/// # Errors
/// [`CombineError`].
///
/// # Source
/// crypto.md C24.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sums stay below 2^53; weights of a model are f32")]
pub fn group_mean(table: &[ShardSpec], group: &GroupSum<'_>) -> Result<Vec<(ShardId, Vec<f32>)>, CombineError> {
    let mean = |(id, values): &(ShardId, Vec<i64>)| {
        let scale = scale(table, *id, group.mass)?;
        Ok((*id, values.iter().map(|&v| (v as f64 * scale) as f32).collect()))
    };
    group.shards.iter().map(mean).collect()
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
