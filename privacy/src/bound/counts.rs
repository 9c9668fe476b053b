//! Counts and other integers of one unit: bounded, put on the grid, summed, all without a float that could round up. What statistics and
//! counts of words are made of. Ends in the same sums as gradients, so that noise and payment are the same (privacy.md D15, D31).

use super::{UnitOutcome, UnitSum, shrinking};
use zeroize::Zeroizing;

impl UnitSum {
    /// Adds one unit's integers, as (coordinate, value) with coordinates in ascending order. The clip bound of the mechanism counts in the
    /// same integers: what is longer in L2 is shortened to it as a whole.
    ///
    /// # Units
    /// Values in the caller's integers; one of them is 2^g ÷ C grid steps, rounded towards 0. With C a power of two and a unit within the
    /// bound nothing is rounded.
    ///
    /// # Privacy
    /// unit: one, with all its records · sensitivity: Σz² <= 4^g is checked in integers, so the sum moves by at most 2^g grid steps in L2
    /// when a unit comes or goes · no randomness here · rounding towards 0 never lengthens, so no part of the bound is set aside for it.
    ///
    /// # Source
    /// privacy.md D17.
    pub fn add_counts(&mut self, entries: &[(u32, i64)]) -> UnitOutcome {
        let at = |(coordinate, _): &(u32, i64)| usize::try_from(*coordinate).unwrap_or(usize::MAX);
        let ascending = entries.windows(2).all(|w| w[0].0 < w[1].0);
        if !ascending || entries.last().is_some_and(|e| at(e) >= self.sum.len()) {
            return UnitOutcome::Misplaced;
        }
        let square: f64 = entries.iter().map(|&(_, v)| exact(v) * exact(v)).sum();
        let longest = 1u128 << (2 * u32::from(self.executed.grid_bits));
        let first = 2f64.powi(i32::from(self.executed.grid_bits)) / square.sqrt().max(self.clip);
        // The first try fits but for the rounding errors of the norm.
        for factor in shrinking(first) {
            let steps: Zeroizing<Vec<i64>> = Zeroizing::new(entries.iter().map(|&(_, v)| toward_zero(exact(v) * factor)).collect());
            let norm = steps.iter().try_fold(0u128, |sum, z| {
                let z = u128::from(z.unsigned_abs());
                sum.checked_add(z.checked_mul(z)?)
            });
            if norm.is_some_and(|n| n <= longest) {
                entries.iter().zip(steps.iter()).for_each(|(e, z)| self.sum[at(e)] += z);
                return UnitOutcome::Added;
            }
        }
        UnitOutcome::TooLong
    }
}

/// Integers beyond 2^53 lose their last bits, which the check of the norm does not need.
#[expect(clippy::cast_precision_loss, reason = "the integers that are added are checked themselves")]
fn exact(v: i64) -> f64 {
    v as f64
}

#[expect(clippy::cast_possible_truncation, reason = "float to integer casts saturate, and the norm check refuses what is too large")]
fn toward_zero(x: f64) -> i64 {
    x.trunc() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::Mechanism;
    use crate::mechanism::tests::plan;
    use proptest::prelude::*;
    use protocol::plan::{ClipFunction, PrivacyPlan};

    fn mechanism(clip: &str, grid_bits: u8) -> Mechanism {
        let p = PrivacyPlan { clip: clip.parse().unwrap(), clip_function: ClipFunction::Flat, ..plan("1", "1", grid_bits) };
        Mechanism::new(&p, 100, 1000).unwrap()
    }

    #[test]
    fn counts_within_a_bound_that_is_a_power_of_two_are_exact() {
        let m = mechanism("8", 12);
        let mut sum = UnitSum::new(&m);
        assert_eq!(sum.add_counts(&[(3, 2), (7, -5), (99, 1)]), UnitOutcome::Added);
        assert_eq!(sum.add_counts(&[(3, 8)]), UnitOutcome::Added);
        assert_eq!((sum.sum[3], sum.sum[7], sum.sum[99]), (10 * 512, -5 * 512, 512));
    }

    #[test]
    fn a_unit_over_the_bound_is_shortened_as_a_whole() {
        let m = mechanism("8", 12);
        let mut sum = UnitSum::new(&m);
        sum.add_counts(&[(0, 300), (1, 400)]);
        assert_eq!((sum.sum[0], sum.sum[1]), (2457, 3276), "8 · 512 · 0.6 and 0.8, towards 0");
    }

    #[test]
    fn entries_out_of_order_or_place_contribute_nothing() {
        let m = mechanism("8", 12);
        let mut sum = UnitSum::new(&m);
        for bad in [&[(5, 1), (5, 1)][..], &[(6, 1), (5, 1)], &[(100, 1)], &[(u32::MAX, 1)]] {
            assert_eq!(sum.add_counts(bad), UnitOutcome::Misplaced);
        }
        assert!(sum.sum.iter().all(|&x| x == 0));
    }

    proptest! {
        /// D17 for whatever integers come in, the extremes too.
        #[test]
        fn no_unit_moves_the_sum_by_more_than_the_bound(
            values in prop::collection::btree_map(0u32..100, any::<i64>(), 0..100),
            small in prop::collection::btree_map(0u32..100, -9i64..9, 0..100),
            clip in 1u32..5000,
            g in 8u8..=24,
        ) {
            let m = mechanism(&clip.to_string(), g);
            for unit in [values, small] {
                let mut sum = UnitSum::new(&m);
                prop_assert_eq!(sum.add_counts(&unit.into_iter().collect::<Vec<_>>()), UnitOutcome::Added);
                let norm: u128 = sum.sum.iter().map(|z| u128::from(z.unsigned_abs()).pow(2)).sum();
                prop_assert!(norm <= 1 << (2 * u32::from(g)));
            }
        }
    }
}
