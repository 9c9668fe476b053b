//! Which row of a table of distances a pair of tokens reads (T5, Raffel et al. 2020, arXiv 1910.10683): near distances one by one, far
//! ones in buckets that grow like a logarithm.

/// Buckets of distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    pub(crate) count: usize,
    /// From here on all distances share the last bucket.
    pub(crate) farthest: usize,
    /// Whether what comes later has buckets of its own; else it is not heard anyway.
    pub(crate) both_ways: bool,
}

impl Buckets {
    /// The bucket of a query at place `i` and a key at place `j`.
    pub(crate) fn of(&self, i: usize, j: usize) -> usize {
        let (count, later) = if self.both_ways { (self.count / 2, if j > i { self.count / 2 } else { 0 }) } else { (self.count, 0) };
        let distance = if self.both_ways { i.abs_diff(j) } else { i.saturating_sub(j) };
        let exact = count / 2;
        if distance < exact {
            return later + distance;
        }
        #[expect(clippy::cast_precision_loss, reason = "distances and buckets are far below 2^24")]
        let [distance, first, left] = [distance, exact, count - exact].map(|x| x as f32);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounded as the published models do")]
        let whole = (self.farthest as f64 / exact as f64).ln() as f32;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number; far ones are cut off below")]
        let grown = ((distance / first).ln() / whole * left) as usize;
        later + (exact + grown).min(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_their_own_bucket_and_far_ones_share() {
        let causal = Buckets { count: 8, farthest: 16, both_ways: false };
        let buckets: Vec<usize> = (0..20).map(|distance| causal.of(19, 19 - distance)).collect();
        assert_eq!(buckets, [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(causal.of(3, 9), 0);
        let both = Buckets { both_ways: true, ..causal };
        assert_eq!([both.of(5, 5), both.of(5, 4), both.of(4, 5), both.of(0, 30), both.of(30, 0)], [0, 1, 5, 7, 3]);
    }
}
