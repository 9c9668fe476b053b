//! Drawing an index with given weights from 64 random bits, 64 more on a tie (privacy.md D24). Knows no distribution and no data.

use super::{Noise, Stream};
use num_bigint::BigInt;

/// Top bits of the draw that the guide table takes.
const GUIDE_BITS: u32 = 12;
/// Longest stretch of the table that is walked; tails pack thousands of boundaries into one cell of the guide, which are bisected.
const WALK: usize = 16;

/// 128-bit cumulative masses. Every boundary is floored once, so n weights are drawn with a distance of at most n·2^-128.
pub(super) struct Cumulative {
    /// Upper 64 bits of the exclusive upper ends; the last end stands for 2^128.
    heads: Vec<u64>,
    /// Lower 64 bits of the ends, looked at on a tie only.
    tails: Vec<u64>,
    /// First index whose end may lie above draws with these top bits, and one entry more: the last index.
    guide: Vec<usize>,
}

/// Upper and lower 64 bits.
fn halves(x: u128) -> (u64, u64) {
    let half = |y: u128| u64::try_from(y & u128::from(u64::MAX)).expect("64 bits remain");
    (half(x >> 64), half(x))
}

impl Cumulative {
    /// A table of the weights, which are not negative and not all zero.
    pub(super) fn new(weights: &[BigInt]) -> Self {
        let total: BigInt = weights.iter().sum();
        let mut sum = BigInt::ZERO;
        let ends = weights.iter().map(|w| {
            sum += w;
            // 2^128 itself does not fit and is only reached when nothing follows.
            u128::try_from((&sum << 128u32) / &total).unwrap_or(u128::MAX)
        });
        let (heads, tails): (Vec<u64>, Vec<u64>) = ends.map(halves).unzip();
        let last = heads.len() - 1;
        let starts = (0..1u64 << GUIDE_BITS).map(|g| heads.partition_point(|&h| h < g << (64 - GUIDE_BITS)));
        Self { guide: starts.map(|i| i.min(last)).chain([last]).collect(), heads, tails }
    }

    /// An index with probability proportional to its weight.
    #[inline]
    pub(super) fn draw(&self, stream: &mut Stream<Noise>) -> usize {
        self.draw_from(|| stream.next_u64())
    }

    #[inline]
    fn draw_from(&self, mut word: impl FnMut() -> u64) -> usize {
        let draw = word();
        let at = self.first_reaching(draw);
        // A boundary runs through these 64 bits once in 2^64 / n draws.
        if self.heads[at] == draw { self.settle(at, draw, word()) } else { at }
    }

    /// First index whose end has upper bits of at least `draw`.
    #[inline]
    fn first_reaching(&self, draw: u64) -> usize {
        let cell = usize::try_from(draw >> (64 - GUIDE_BITS)).expect("12 bits");
        let (mut at, end) = (self.guide[cell], self.guide[cell + 1]);
        if end - at > WALK {
            return at + self.heads[at..end].partition_point(|&h| h < draw);
        }
        while at < end && self.heads[at] < draw {
            at += 1;
        }
        at
    }

    /// First index from `at` on whose end lies above the 128 bits.
    fn settle(&self, mut at: usize, high: u64, low: u64) -> usize {
        let last = self.heads.len() - 1;
        while at < last && (self.heads[at], self.tails[at]) <= (high, low) {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
impl Cumulative {
    /// The exclusive upper end of an index, times 2^128.
    pub(super) fn end(&self, index: usize) -> u128 {
        u128::from(self.heads[index]) << 64 | u128::from(self.tails[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5, 0, 1, 2 of 8 and a weight that only 128 bits can see.
    fn table() -> Cumulative {
        let unit = BigInt::from(1) << 125u32;
        Cumulative::new(&[&unit * 5, BigInt::ZERO, &unit - 1, &unit * 2 + 1])
    }

    #[test]
    fn a_draw_on_a_boundary_is_settled_by_the_next_64_bits() {
        let t = table();
        let eighth = 1u64 << 61;
        assert_eq!([0, 5 * eighth - 1, 5 * eighth + 1, 6 * eighth - 2, u64::MAX].map(|d| t.first_reaching(d)), [0, 0, 2, 2, 3]);
        // 5/8 exactly belongs to the next weight that is not empty.
        assert_eq!(t.first_reaching(5 * eighth), 0);
        assert_eq!([0, u64::MAX].map(|low| t.settle(0, 5 * eighth, low)), [2, 2]);
        // The third end is 6/8 − 2^-128: its upper bits are 6·2^61 − 1, and only the very last draw below 6/8 lies beyond.
        assert_eq!([0, u64::MAX - 1, u64::MAX].map(|low| t.settle(2, 6 * eighth - 1, low)), [2, 2, 3]);
        assert_eq!(t.settle(3, u64::MAX, u64::MAX), 3);
        let drawn = |words: [u64; 2]| {
            let (mut left, mut taken) = (words.into_iter(), 0);
            let index = t.draw_from(|| {
                taken += 1;
                left.next().unwrap()
            });
            (index, taken)
        };
        // The second word is taken on a tie only, and decides it.
        assert_eq!(drawn([5 * eighth - 1, 0]), (0, 1));
        assert_eq!([0, u64::MAX].map(|low| drawn([6 * eighth - 1, low])), [(2, 2), (3, 2)]);
    }

    /// Cells of the guide that are walked and cells that are bisected give what a search of the whole table gives.
    #[test]
    fn the_guide_finds_what_a_full_search_finds() {
        let weights: Vec<BigInt> = (1..3000u32).map(|i| BigInt::from(i % 7 + 1).pow(i % 40)).collect();
        let t = Cumulative::new(&weights);
        assert!(t.guide.windows(2).any(|g| g[1] - g[0] > WALK) && t.guide.windows(2).any(|g| g[1] - g[0] < WALK));
        let edges = t.heads.iter().flat_map(|&h| [h.wrapping_sub(1), h, h.wrapping_add(1)]);
        for draw in edges.chain((0..10_000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))) {
            assert_eq!(t.first_reaching(draw), t.heads.partition_point(|&h| h < draw), "{draw}");
        }
    }
}
