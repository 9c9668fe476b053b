//! Drawing an index with given weights from 64 random bits, 64 more on a tie (privacy.md D24). Knows no distribution and no data.

use super::{Noise, Stream};
use num_bigint::BigInt;

/// Top bits of the draw that the guide table takes.
const GUIDE_BITS: u32 = 12;

/// 128-bit cumulative masses. Every boundary is floored once, so n weights are drawn with a distance of at most n·2^-128.
pub(super) struct Cumulative {
    /// Exclusive upper ends; the last one stands for 2^128.
    ends: Vec<u128>,
    /// First index whose end may lie above draws with these top bits.
    guide: Vec<usize>,
}

/// The upper 64 bits.
fn high(x: u128) -> u64 {
    u64::try_from(x >> 64).expect("64 bits remain")
}

impl Cumulative {
    /// A table of the weights, which are not negative and not all zero.
    pub(super) fn new(weights: &[BigInt]) -> Self {
        let total: BigInt = weights.iter().sum();
        let mut sum = BigInt::ZERO;
        let ends: Vec<u128> = weights
            .iter()
            .map(|w| {
                sum += w;
                // 2^128 itself does not fit and is only reached when nothing follows.
                u128::try_from((&sum << 128u32) / &total).unwrap_or(u128::MAX)
            })
            .collect();
        let starts = (0..1u64 << GUIDE_BITS).map(|g| ends.partition_point(|&e| high(e) < g << (64 - GUIDE_BITS)));
        Self { guide: starts.map(|i| i.min(ends.len() - 1)).collect(), ends }
    }

    /// An index with probability proportional to its weight.
    pub(super) fn draw(&self, stream: &mut Stream<Noise>) -> usize {
        let (draw, last) = (stream.next_u64(), self.ends.len() - 1);
        let mut at = self.guide[usize::try_from(draw >> (64 - GUIDE_BITS)).expect("12 bits")];
        while at < last && high(self.ends[at]) < draw {
            at += 1;
        }
        if high(self.ends[at]) == draw {
            // A boundary runs through these 64 bits: once in 2^64 / n draws.
            let full = u128::from(draw) << 64 | u128::from(stream.next_u64());
            while at < last && self.ends[at] <= full {
                at += 1;
            }
        }
        at
    }
}
