//! Gaussian noise in integers, in bulk (privacy.md D21, D23, D24, D26). Knows no data: it takes a count and nothing else.

use super::bucket::Buckets;
use super::cumulative::Cumulative;
use super::discrete::Discrete;
use super::exact::Masses;
use super::{Noise, Stream};
use protocol::plan::NoiseKind;

/// Largest deviation of the plain table, in 2^-10 grid steps.
const TABLE_UP_TO: u64 = 4096 << 10;
/// −log2 of the distance between a drawn value and the exact law: at most 2^17 boundaries floored at 2^-128, a tail of 2^-127.
pub(crate) const DISTANCE_BITS: i32 = 110;

enum Kind {
    Table { table: Cumulative, tail: i64 },
    Buckets(Buckets),
    Discrete(Discrete),
}

/// A sampler for one kind of noise and one deviation. Public tables only; the randomness is the stream's.
pub struct Sampler(Kind);

impl Sampler {
    /// The sampler of a kind, for s = `sigma_1024`·2^-10 grid steps between 1 and 2^40.
    pub(crate) fn of(kind: NoiseKind, sigma_1024: u64) -> Self {
        match kind {
            NoiseKind::RoundedGaussian => Self::rounded(sigma_1024),
            NoiseKind::DiscreteGaussian => Self(Kind::Discrete(Discrete::new(sigma_1024))),
        }
    }

    fn rounded(sigma_1024: u64) -> Self {
        if sigma_1024 > TABLE_UP_TO {
            return Self(Kind::Buckets(Buckets::new(sigma_1024)));
        }
        let masses = Masses::new(sigma_1024);
        let tail = masses.tail();
        let half: Vec<_> = (0..=tail).map(|k| masses.mass(k)).collect();
        let all: Vec<_> = half[1..].iter().rev().chain(&half).cloned().collect();
        Self(Kind::Table { table: Cumulative::new(&all), tail })
    }

    /// `count` independent values, in grid steps, none beyond ⌈13.3·s⌉.
    ///
    /// # Privacy
    /// Within 2^-110 per value of the law. The work depends on the stream alone.
    pub(crate) fn draw(&self, stream: &mut Stream<Noise>, count: usize) -> Vec<i64> {
        let mut values = vec![0; count];
        self.fill(stream, &mut values);
        values
    }

    /// As [`Self::draw`], into memory that is there already. What it held is not read.
    pub(crate) fn fill(&self, stream: &mut Stream<Noise>, out: &mut [i64]) {
        match &self.0 {
            Kind::Table { table, tail } => {
                out.fill_with(|| i64::try_from(table.draw(stream)).expect("a table has at most 2^18 entries") - tail);
            }
            Kind::Buckets(buckets) => out.fill_with(|| buckets.draw(stream)),
            Kind::Discrete(discrete) => out.fill_with(|| discrete.draw(stream)),
        }
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
