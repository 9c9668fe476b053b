//! Whether the sums of a plan share its shards out, each under a number of its own. Knows no packing.

use super::{GroupPlan, PlanError, ShardSpec, range};
use crate::ids::ShardId;
use crate::params::{BadParameters, MAX_GROUP_SHARDS, MAX_GROUPS};
use std::collections::{BTreeMap, BTreeSet};

/// Checks that every shard is in exactly one sum, that no number stands for two sums or two shards, and that the sums are not too many when
/// each is dealt into `parts` (crypto.md C16, C37).
///
/// # Errors
/// [`PlanError`], the first rule broken.
pub(super) fn check(shards: &[ShardSpec], groups: &[GroupPlan], parts: u16) -> Result<(), PlanError> {
    let all = groups.len().saturating_mul(usize::from(parts));
    range(all <= MAX_GROUPS, "groups", all.to_string(), "at most 256 in all")?;
    let (mut numbers, mut members) = (BTreeSet::new(), BTreeMap::new());
    for group in groups {
        // Parts are numbered from the group's number times their count, see `Plan::part_id`.
        let fits = group.id.0.checked_add(1).and_then(|next| next.checked_mul(u32::from(parts))).is_some();
        let fits = fits && numbers.insert(group.id);
        range(fits, "groups.id", group.id.to_string(), "a number of its own, with room for its parts")?;
        if group.shards.len() > MAX_GROUP_SHARDS {
            return Err(PlanError::Sealing(group.id, BadParameters::Size(group.shards.len() as u64)));
        }
        group.shards.iter().for_each(|id| *members.entry(*id).or_insert(0usize) += 1);
    }
    check_shards(shards, &members)
}

/// `members` has how often each shard is in a group.
fn check_shards(shards: &[ShardSpec], members: &BTreeMap<ShardId, usize>) -> Result<(), PlanError> {
    let mut known = BTreeSet::new();
    let stray = |s: &&ShardSpec| s.is_empty() || members.get(&s.id) != Some(&1) || !known.insert(s.id);
    if let Some(bad) = shards.iter().find(stray) {
        return Err(PlanError::ShardNotInOneGroup(bad.id));
    }
    match members.keys().find(|id| !known.contains(id)) {
        Some(bad) => Err(PlanError::ShardNotInOneGroup(*bad)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupId;
    use crate::plan::TensorSpec;

    fn shard(id: u32, shape: &[u32]) -> ShardSpec {
        let tensors = vec![TensorSpec { name: format!("t{id}"), shape: shape.to_vec() }];
        ShardSpec { id: ShardId(id), tensors, step_exponent: -12 }
    }

    fn group(id: u32, shards: &[u32]) -> GroupPlan {
        GroupPlan { id: GroupId(id), shards: shards.iter().map(|&s| ShardId(s)).collect(), bits: 16 }
    }

    #[test]
    fn every_shard_is_in_one_group() {
        let shards = [shard(0, &[2]), shard(1, &[3]), shard(2, &[4])];
        let stray = |n| Err(PlanError::ShardNotInOneGroup(ShardId(n)));
        assert_eq!(check(&shards, &[group(0, &[0, 2]), group(1, &[1])], 1), Ok(()));
        assert_eq!(check(&shards, &[group(0, &[0]), group(1, &[1])], 1), stray(2));
        assert_eq!(check(&shards, &[group(0, &[0, 2]), group(1, &[1, 2])], 1), stray(2));
        assert_eq!(check(&shards, &[group(0, &[0, 2, 2]), group(1, &[1])], 1), stray(2));
        assert_eq!(check(&shards, &[group(0, &[0, 2, 3]), group(1, &[1])], 1), stray(3));
        assert_eq!(check(&[shard(0, &[2, 0])], &[group(0, &[0])], 1), stray(0), "no coordinates");
    }

    /// Otherwise the second one would be counted in the plan's dimension and be in no sum.
    #[test]
    fn a_number_stands_for_one_shard_and_one_group() {
        let twice = [shard(0, &[2]), shard(0, &[3])];
        assert_eq!(check(&twice, &[group(0, &[0])], 1), Err(PlanError::ShardNotInOneGroup(ShardId(0))));
        let shards = [shard(0, &[2]), shard(1, &[3])];
        let number =
            |groups: &[GroupPlan], parts| matches!(check(&shards, groups, parts), Err(PlanError::OutOfRange { field: "groups.id", .. }));
        assert!(number(&[group(7, &[0]), group(7, &[1])], 1));
        // With three parts their last numbers would be the largest one that there is, both of them.
        assert!(number(&[group(u32::MAX - 1, &[0]), group(u32::MAX, &[1])], 3));
        let most = u32::MAX / 3 - 1;
        assert!(!number(&[group(most, &[0, 1])], 3) && number(&[group(most + 1, &[0, 1])], 3));
    }

    #[test]
    fn groups_and_shards_of_a_group_are_not_too_many() {
        let with = |n: u32, parts| {
            let shards: Vec<ShardSpec> = (0..n).map(|i| shard(i, &[2])).collect();
            let groups: Vec<GroupPlan> = (0..n).map(|i| group(i, &[i])).collect();
            check(&shards, &groups, parts)
        };
        assert_eq!((with(256, 1), with(64, 4)), (Ok(()), Ok(())));
        for result in [with(257, 1), with(65, 4)] {
            assert!(matches!(result, Err(PlanError::OutOfRange { field: "groups", .. })));
        }
        let shards: Vec<ShardSpec> = (0..65).map(|i| shard(i, &[2])).collect();
        let all: Vec<u32> = (0..65).collect();
        assert_eq!(check(&shards[..64], &[group(0, &all[..64])], 1), Ok(()));
        assert_eq!(check(&shards, &[group(0, &all)], 1), Err(PlanError::Sealing(GroupId(0), BadParameters::Size(65))));
    }

    /// A plan is read before it is checked, and whoever proposes it writes any numbers into it: nothing wraps, and nothing that is too large
    /// looks small.
    #[test]
    fn lengths_beyond_64_bits_stay_the_largest_length() {
        let huge = TensorSpec { name: "t".to_owned(), shape: vec![1 << 16; 4] };
        assert_eq!((huge.len(), huge.is_empty()), (u64::MAX, false), "2^64 would wrap to none");
        let tensors = vec![huge.clone(), huge];
        assert_eq!(ShardSpec { id: ShardId(0), tensors, step_exponent: 0 }.len(), u64::MAX);
        assert_eq!(TensorSpec { name: "t".to_owned(), shape: vec![u32::MAX, u32::MAX, u32::MAX, 0] }.len(), 0);
    }
}
