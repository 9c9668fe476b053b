//! A noised sum of integers on its way into the sealing room: cut into limbs, nothing rounded. Knows no cipher.
//!
//! A sum of counts may be longer than a slot. It is cut into limbs of b − 1 bits, lowest first, as tallies are (crypto.md C24): limbs of
//! several institutions add up by themselves, and Σ 2^(t(b−1))·V_t is the exact sum of what they sealed.

use super::{BoundError, PrivateDelta, Quantiser, Values};
use crate::bound::NoisedSum;
use crate::ledger::NoisedLocally;

/// Most limbs of a value: with slots of at least 4 bits, and 64 bits at most in all.
pub const MAX_LIMBS: u8 = 16;

/// How sums are cut for slots of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limbs {
    limb_bits: u32,
    count: usize,
}

/// Limbs that no slot or no 64-bit number holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} limbs for slots of {bits} bits: expected 4 to 32 bits, 1 to {MAX_LIMBS} limbs and at most 62 bits in all")]
pub struct BadLimbs {
    /// b.
    pub bits: u8,
    /// Limbs.
    pub count: u8,
}

impl Limbs {
    /// `count` limbs for slots of `bits` bits.
    ///
    /// # Errors
    /// [`BadLimbs`].
    pub fn new(bits: u8, count: u8) -> Result<Self, BadLimbs> {
        let limb_bits = u32::from(bits).saturating_sub(1);
        let fits = (4..=32).contains(&bits) && (1..=MAX_LIMBS).contains(&count) && limb_bits * u32::from(count) <= 62;
        if fits { Ok(Self { limb_bits, count: usize::from(count) }) } else { Err(BadLimbs { bits, count }) }
    }

    /// Limbs of a value.
    pub fn count(self) -> usize {
        self.count
    }

    /// Largest magnitude: what is beyond is sealed as this.
    pub fn most(self) -> i64 {
        (1i64 << (self.limb_bits * u32::try_from(self.count).unwrap_or(0))) - 1
    }

    /// Limb `t` of a value: the highest carries the sign, the others are not negative.
    fn limb(self, value: i64, t: usize) -> i32 {
        let shift = self.limb_bits * u32::try_from(t).unwrap_or(0);
        let rest = value.clamp(-self.most(), self.most()) >> shift;
        let limb = if t + 1 == self.count { rest } else { rest & ((1 << self.limb_bits) - 1) };
        // −(2^B − 1) >> shift may be −2^(b−1), which no slot carries: one grid step of the highest limb is given up there.
        let least = 1 - (1i64 << self.limb_bits);
        i32::try_from(limb.max(least)).expect("a limb has at most 31 bits and its sign")
    }

    /// The values of summed limbs, all lowest limbs first; none if their number is no multiple of the limbs, or a value is beyond 64 bits.
    pub fn join(self, sums: &[i64]) -> Option<Vec<i64>> {
        let values = sums.len().checked_div(self.count).filter(|n| n * self.count == sums.len())?;
        let value = |i: usize| {
            let add = |total: i64, t: usize| {
                let shift = self.limb_bits * u32::try_from(t).ok()?;
                total.checked_add(sums[t * values + i].checked_mul(1i64 << shift)?)
            };
            (0..self.count).try_fold(0i64, add)
        };
        (0..values).map(value).collect()
    }
}

impl PrivateDelta {
    /// The private delta of a noised sum of integers in mode `local`: its first coordinates, as many as whole limbs fit into the plan's
    /// shards, all lowest limbs first. What lies behind them was noised and paid for like the rest and is dropped.
    ///
    /// # Privacy
    /// Post-processing of a sum that carries all its noise (privacy.md D6): cutting and saturating are free here.
    ///
    /// # Errors
    /// [`BoundError::Dimension`] if the sum is not of the plan's dimension; [`BoundError::Limbs`] if a shard has slots of another width.
    ///
    /// # Source
    /// crypto.md C23, C24: integers come from the mechanism after noise; limbs as in tallies.
    pub fn of_counts(sum: &NoisedSum, q: &Quantiser, limbs: Limbs, proof: &NoisedLocally) -> Result<Self, BoundError> {
        let shards = q.grids.iter().fold(0u64, |total, g| total.saturating_add(g.len));
        let noised = proof.dimension();
        let length = sum.values().len();
        if shards != noised || u64::try_from(length) != Ok(noised) {
            return Err(BoundError::Dimension { noised, shards });
        }
        if let Some(other) = q.grids.iter().find(|g| u32::from(g.bits) != limbs.limb_bits + 1) {
            return Err(BoundError::Limbs(other.id));
        }
        let values = length / limbs.count;
        let mut slots = (0..limbs.count).flat_map(|t| sum.values()[..values].iter().map(move |&v| limbs.limb(v, t)));
        let mut cut = Vec::with_capacity(q.grids.len());
        for grid in &q.grids {
            let len = usize::try_from(grid.len).unwrap_or(usize::MAX);
            // Slots behind the last whole value carry nothing.
            let shard: Vec<i32> = slots.by_ref().chain(std::iter::repeat(0)).take(len).collect();
            cut.push((grid.id, shard));
        }
        Ok(Self { values: Values(cut) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::{UnitOutcome, UnitSum};
    use crate::ledger::Paid;
    use crate::mechanism::Mechanism;
    use crate::mechanism::tests::plan;
    use crate::noise::{SeededEntropy, Stream};
    use proptest::prelude::*;
    use protocol::ids::{ManifestDigest, ShardId};

    #[test]
    fn a_noised_sum_comes_back_from_its_slots_whole() {
        let m = Mechanism::new(&plan("1", "1", 10), 12, 1000).unwrap();
        let mut sum = UnitSum::new(&m);
        (0..50).for_each(|_| assert_eq!(sum.add_counts(&[(0, 1), (5, 3)]), UnitOutcome::Added));
        let mut paid = Paid::for_test(&m, ManifestDigest([1; 32]), 1, 1);
        let step = paid.next_step().unwrap();
        let mut stream = Stream::open(&mut SeededEntropy::new(1), &step.context()).unwrap();
        let noised = sum.noised(step, &m, &mut stream).unwrap();
        let proof = paid.finish().unwrap();
        let q = Quantiser::new(&[(ShardId(0), 7, 0, 9), (ShardId(1), 5, 0, 9)]).unwrap();
        let limbs = Limbs::new(9, 3).unwrap();
        let private = PrivateDelta::of_counts(&noised, &q, limbs, &proof).unwrap();
        let slots: Vec<i64> = private.shards().flat_map(|(_, s)| s.iter().map(|&v| v.into())).collect();
        assert_eq!(limbs.join(&slots).unwrap(), noised.values()[..4]);
        let wrong = Limbs::new(8, 3).unwrap();
        assert_eq!(PrivateDelta::of_counts(&noised, &q, wrong, &proof).err(), Some(BoundError::Limbs(ShardId(0))));
        let short = Quantiser::new(&[(ShardId(0), 7, 0, 9)]).unwrap();
        assert_eq!(PrivateDelta::of_counts(&noised, &short, limbs, &proof).err(), Some(BoundError::Dimension { noised: 12, shards: 7 }));
    }

    #[test]
    fn limbs_that_do_not_fit_are_refused() {
        assert_eq!(Limbs::new(3, 1), Err(BadLimbs { bits: 3, count: 1 }));
        assert_eq!(Limbs::new(33, 1), Err(BadLimbs { bits: 33, count: 1 }));
        assert!(Limbs::new(32, 2).is_ok() && Limbs::new(32, 3).is_err() && Limbs::new(16, 0).is_err());
        assert_eq!(Limbs::new(16, 2).unwrap().join(&[1, 2, 3]), None);
    }

    proptest! {
        /// Sums of limbs are the sum, for every width, number and sign; every limb fits its slot; what is too large is at its limit.
        #[test]
        fn limbs_of_many_add_up_to_the_sum_of_all(values in prop::collection::vec(any::<i64>(), 1..9), bits in 4u8..=32, count in 1u8..=16, shrink in 0u32..60) {
            prop_assume!(Limbs::new(bits, count).is_ok());
            let limbs = Limbs::new(bits, count).unwrap();
            let slot = (1i64 << (bits - 1)) - 1;
            let mut sums = vec![0i64; usize::from(count)];
            let mut wanted = 0i64;
            for v in values.iter().map(|v| v >> shrink) {
                for (t, sum) in sums.iter_mut().enumerate() {
                    let limb = i64::from(limbs.limb(v, t));
                    prop_assert!((-slot..=slot).contains(&limb));
                    *sum += limb;
                }
                // The lowest values alone lose what their highest limb cannot carry.
                let kept = v.clamp(-limbs.most(), limbs.most());
                let top = 1i64 << (u32::from(bits - 1) * u32::from(count - 1));
                let edge = kept >> (u32::from(bits - 1) * u32::from(count - 1)) < -slot;
                wanted += if edge { kept + top } else { kept };
            }
            prop_assert_eq!(limbs.join(&sums).unwrap(), vec![wanted]);
        }
    }
}
