//! From a summed polynomial without its mask to slot sums, with every check of C60 (crypto.md C18, C25, C32). Knows no key and no file.

use protocol::manifest::GroupSpec;
use protocol::params::{BadParameters, Packing, RING_DIMENSION, Tally};

/// Largest mean square of a residual over its prediction that an honest sum has (C60).
pub(crate) const MOST: f64 = 1.25;
/// Below this a polynomial is reported, not failed (C60).
pub(crate) const QUIET: f64 = 0.75;

/// Why a polynomial is the sum of no valid updates.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    /// Another set, mask or key sum.
    #[error("polynomial {0}: residual ratio {1:.6}")]
    Residual(u64, f64),
    /// A slot that no valid values give.
    #[error("polynomial {0}: a slot outside the range of the set")]
    Range(u64),
    /// A padding slot that is not 0.
    #[error("polynomial {0}: padding that is not empty")]
    Padding(u64),
    /// Limb sums of no weights.
    #[error("the tally holds no sum of weights of the set")]
    Tally,
}

/// What one polynomial gives.
pub(crate) struct Opened {
    /// V of every slot that carries a value.
    pub(crate) values: Vec<i64>,
    /// Mean square of the residual over its prediction.
    pub(crate) ratio: f64,
}

/// Where the values of a group sit: shards in order, each from a fresh polynomial on, then the tally.
pub(crate) struct Places {
    /// Polynomials and values of each shard, then of the tally.
    parts: Vec<(u64, u64)>,
    slots: u64,
}

impl Places {
    /// The places of a group whose numbers are those that everybody derives.
    pub(crate) fn of(group: &GroupSpec) -> Result<Self, BadParameters> {
        let packing = Packing::derive(group.packing.n_max, group.packing.bits)?;
        if packing != group.packing {
            return Err(BadParameters::Packing { n_max: group.packing.n_max, bits: group.packing.bits });
        }
        group.polynomials()?;
        let tally = group.tally.map(|t| Tally::derive(t.max_weight, packing.bits).map(|own| (t, own))).transpose()?;
        if let Some((stated, _)) = tally.filter(|(stated, own)| stated != own) {
            return Err(BadParameters::Weight(stated.max_weight));
        }
        let slots = u64::from(packing.slots) * RING_DIMENSION as u64;
        let lengths = group.shards.iter().map(|s| s.length).chain(tally.map(|(t, _)| t.limbs()));
        Ok(Self { parts: lengths.map(|len| (len.div_ceil(slots), len)).collect(), slots })
    }

    /// Polynomials of an update.
    pub(crate) fn polynomials(&self) -> u64 {
        self.parts.iter().map(|(polynomials, _)| polynomials).sum()
    }

    /// Which part (shard, or behind the last one the tally) polynomial j belongs to, and how many of its slots carry values.
    pub(crate) fn at(&self, j: u64) -> Option<(usize, usize)> {
        let mut first = 0;
        for (part, &(polynomials, len)) in self.parts.iter().enumerate() {
            if j < first + polynomials {
                let used = len.saturating_sub((j - first) * self.slots).min(self.slots);
                return Some((part, usize::try_from(used).ok()?));
            }
            first += polynomials;
        }
        None
    }
}

/// The numbers of C32 for one packing and set.
pub(crate) struct Extraction {
    packing: Packing,
    members: u16,
}

impl Extraction {
    pub(crate) fn new(packing: Packing, members: u16) -> Self {
        Self { packing, members }
    }

    /// x = acc - A·S + 2^(f-1) - [r >= 1]·⌊|set| ÷ 2⌋ (wrapping by intent, C29), and what its bits say. The first `used` slots carry values.
    pub(crate) fn open(&self, j: u64, acc: &[u64], product: &[u64], used: usize) -> Result<Opened, Fault> {
        let half = 1u64 << (self.packing.noise_bits - 1);
        let bias = if self.packing.dropped_bits == 0 { 0 } else { u64::from(self.members / 2) };
        let x = acc.iter().zip(product).map(|(a, p)| a.wrapping_sub(*p).wrapping_add(half).wrapping_sub(bias));
        let (mut square, mut values, mut slot) = (0u128, Vec::with_capacity(used), 0usize);
        let (mut outside, mut stuffed) = (false, false);
        for x in x {
            let distance = u128::from((x & ((half << 1) - 1)).abs_diff(half));
            square = square.saturating_add(distance * distance);
            for place in 0..self.packing.slots {
                let u = (x >> (self.packing.noise_bits + place * self.packing.slot_bits)) & ((1 << self.packing.slot_bits) - 1);
                match self.value(u) {
                    Some(v) if slot < used => values.push(v),
                    Some(_) | None if slot >= used => stuffed |= u != 0,
                    Some(_) | None => outside = true,
                }
                slot += 1;
            }
        }
        let ratio = self.ratio(square);
        match (ratio > MOST, outside, stuffed) {
            (true, ..) => Err(Fault::Residual(j, ratio)),
            (false, true, _) => Err(Fault::Range(j)),
            (false, false, true) => Err(Fault::Padding(j)),
            (false, false, false) => Ok(Opened { values, ratio }),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio of two large sums; twelve digits are plenty")]
    fn ratio(&self, square: u128) -> f64 {
        square as f64 / RING_DIMENSION as f64 / self.packing.residual_variance(self.members)
    }

    /// V = U - |set|·2^(b-1), if U lies in [|set|, |set|·(2^b - 1)].
    fn value(&self, u: u64) -> Option<i64> {
        let n = i64::from(self.members);
        let u = i64::try_from(u).ok()?;
        (n..=n * ((1i64 << self.packing.bits) - 1)).contains(&u).then(|| u - n * (1i64 << (self.packing.bits - 1)))
    }
}
