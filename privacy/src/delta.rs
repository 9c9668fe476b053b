//! Delta, BoundedDelta, PrivateDelta: the three steps an update takes before it is sealed, and nothing else. Knows no cipher.

mod counts;

pub use counts::{BadLimbs, Limbs, MAX_LIMBS};

use crate::bound::NoisedShare;
use crate::ledger::NoisedLocally;
use crate::noise::{Quantiser as QuantiserPurpose, Stream};
use protocol::ids::ShardId;
use protocol::params::MAX_WEIGHT;
use protocol::plan::Plan;
use zeroize::Zeroize;

/// What a round of local training changed, per shard, as floats. Made only with the proof that every step carried its noise.
///
/// ```compile_fail,E0061
/// // A delta without the proof of its noise cannot be written.
/// let raw = privacy::delta::Delta::new(vec![(protocol::ids::ShardId(0), vec![0.5f32])]);
/// ```
pub struct Delta {
    shards: Vec<(ShardId, Vec<f32>)>,
    proof: NoisedLocally,
}

impl std::fmt::Debug for Delta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        print_lengths(f, "Delta", self.shards.iter().map(|(id, v)| (*id, v.len())))
    }
}

impl Drop for Delta {
    fn drop(&mut self) {
        self.shards.iter_mut().for_each(|(_, v)| v.zeroize());
    }
}

/// Why a delta is not bounded. The round is lost and stays paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundError {
    /// A NaN or an infinity: training diverged.
    #[error("shard {0} holds a number that is not finite", shard)]
    NonFinite {
        /// Where.
        shard: ShardId,
    },
    /// A shard that the quantiser does not know, or one given twice.
    #[error("shard {0} is not one that the quantiser expects here")]
    UnknownShard(ShardId),
    /// Another number of shards than the plan has.
    #[error("{got} shards, the plan has {expected}")]
    ShardCount {
        /// Given.
        got: usize,
        /// In the plan.
        expected: usize,
    },
    /// Another length than the plan's shard has, or a total other than the noised dimension.
    #[error("shard {shard} has {got} coordinates, the plan says {expected}")]
    Length {
        /// Which.
        shard: ShardId,
        /// Given.
        got: u64,
        /// In the plan.
        expected: u64,
    },
    /// The plan's shards do not have as many coordinates as were noised.
    #[error("{noised} coordinates were noised, the shards have {shards}")]
    Dimension {
        /// By the mechanism.
        noised: u64,
        /// In the shard table.
        shards: u64,
    },
    /// A shard whose slots have another width than the limbs are for.
    #[error("shard {0} has slots of another width than the limbs")]
    Limbs(ShardId),
    /// The rounding stream or the share belongs to another reservation.
    #[error("the quantiser's stream or the share belongs to another reservation")]
    WrongStream,
    /// A round of more noised sums than the one that is to be sealed (privacy.md D7).
    #[error("{0} steps were noised, a share is one")]
    Steps(u64),
    /// A noised value that no slot carries: the clamp was made for another packing. Never saturated.
    #[error("shard {0} holds a value that its slots do not carry")]
    TooWide(ShardId),
}

/// How one shard is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ShardGrid {
    id: ShardId,
    len: u64,
    step_exponent: i8,
    bits: u8,
}

/// A quantiser that a plan does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantiserError {
    /// Exponent outside −40..=8 or bits outside 4..=32 (crypto.md C16, C21).
    #[error("shard {shard}: step 2^{step_exponent} with {bits} bits is outside the limits")]
    Range {
        /// Which.
        shard: ShardId,
        /// Of the step.
        step_exponent: i8,
        /// Of a value.
        bits: u8,
    },
    /// A shard of the table is in no group.
    #[error("shard {0} is in no group")]
    NoGroup(ShardId),
    /// A weight of 0 or above the plan's bound.
    #[error("a weight of {weight}, expected 1 to {most}")]
    Weight {
        /// Of this institution.
        weight: u64,
        /// W_max of the plan.
        most: u64,
    },
}

/// Step and value range per shard, from the plan (crypto.md C20, C21), and this institution's share of the largest weight (C24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantiser {
    grids: Vec<ShardGrid>,
    weight: Ratio,
}

/// W_i ÷ W_max.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    weight: u64,
    most: u64,
}

impl Ratio {
    /// Exactly 1 where nothing is weighed.
    const ONE: Self = Self { weight: 1, most: 1 };

    /// Weights end at 2^40, so both numbers are exact.
    fn factor(self) -> f64 {
        self.weight as f64 / self.most as f64
    }
}

impl Quantiser {
    /// The quantiser of a plan: step from the shard table, bits from the shard's group.
    ///
    /// # Errors
    /// [`QuantiserError`].
    pub fn of_plan(plan: &Plan) -> Result<Self, QuantiserError> {
        let grids = plan.shards.iter().map(|s| {
            let group = plan.groups.iter().find(|g| g.shards.contains(&s.id)).ok_or(QuantiserError::NoGroup(s.id))?;
            checked(ShardGrid { id: s.id, len: s.len(), step_exponent: s.step_exponent, bits: group.bits })
        });
        grids.collect::<Result<_, _>>().map(|grids| Self { grids, weight: Ratio::ONE })
    }

    /// A quantiser from (shard, coordinates, step exponent, bits).
    ///
    /// # Errors
    /// [`QuantiserError::Range`].
    pub fn new(shards: &[(ShardId, u64, i8, u8)]) -> Result<Self, QuantiserError> {
        let grids = shards.iter().map(|&(id, len, step_exponent, bits)| checked(ShardGrid { id, len, step_exponent, bits }));
        grids.collect::<Result<_, _>>().map(|grids| Self { grids, weight: Ratio::ONE })
    }

    /// Coordinates of all shards.
    fn dimension(&self) -> u64 {
        self.grids.iter().fold(0u64, |sum, g| sum.saturating_add(g.len))
    }

    /// The same quantiser for an institution of this weight: every coordinate is multiplied by `weight ÷ most` before it is clamped.
    ///
    /// # Errors
    /// [`QuantiserError::Weight`] for a weight outside 1..=most.
    ///
    /// # Source
    /// crypto.md C24. Both numbers are public, so this is post-processing too.
    pub fn weighted(self, weight: u64, most: u64) -> Result<Self, QuantiserError> {
        let fits = (1..=most).contains(&weight) && most <= MAX_WEIGHT;
        if fits { Ok(Self { weight: Ratio { weight, most }, ..self }) } else { Err(QuantiserError::Weight { weight, most }) }
    }
}

fn checked(g: ShardGrid) -> Result<ShardGrid, QuantiserError> {
    let ok = (-40..=8).contains(&g.step_exponent) && (4..=32).contains(&g.bits);
    if ok { Ok(g) } else { Err(QuantiserError::Range { shard: g.id, step_exponent: g.step_exponent, bits: g.bits }) }
}

impl ShardGrid {
    /// The value, if a slot carries it (crypto.md C20).
    fn carries(self, value: i64) -> Option<i32> {
        let most = (1i64 << (self.bits - 1)) - 1;
        i32::try_from(value).ok().filter(|_| (-most..=most).contains(&value))
    }

    /// Clamp, then stochastic rounding: v = ⌊y⌋ + [R < ⌊frac(y)·2^32⌋] with R uniform. Unbiased up to 2^-32 inside the range.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "y is clamped to 32 bits and the fraction lies in [0, 1)")]
    fn round(self, x: f32, weight: f64, draw: u32) -> i32 {
        let most = ((1i64 << (self.bits - 1)) - 1) as f64;
        let y = (f64::from(x) * weight * 2f64.powi(-i32::from(self.step_exponent))).clamp(-most, most);
        let low = y.floor();
        let up = u64::from(draw) < ((y - low) * 4_294_967_296.0) as u64;
        low as i32 + i32::from(up)
    }
}

impl Delta {
    /// The update of a round whose every step was noised, as the proof says. Shards in table order.
    pub fn new(shards: Vec<(ShardId, Vec<f32>)>, proof: NoisedLocally) -> Self {
        Self { shards, proof }
    }

    /// Weighs every coordinate, clamps it to its shard's range and rounds it stochastically to the shard's step.
    ///
    /// # Privacy
    /// Post-processing of noised steps (privacy.md D6): clamping and rounding are free here, and saturation does no harm.
    ///
    /// # Errors
    /// [`BoundError`], the first rule broken.
    ///
    /// # Source
    /// crypto.md C20 to C22. Four bytes per value, in coordinate order.
    pub fn bound(self, q: &Quantiser, stream: &mut Stream<QuantiserPurpose>) -> Result<BoundedDelta, BoundError> {
        self.check(q)?;
        if !self.proof.covers(stream.context()) {
            return Err(BoundError::WrongStream);
        }
        let weight = q.weight.factor();
        let round = |(grid, (id, values)): (&ShardGrid, &(ShardId, Vec<f32>))| {
            (*id, values.iter().map(|&x| grid.round(x, weight, stream.next_u32())).collect::<Vec<i32>>())
        };
        let shards = q.grids.iter().zip(&self.shards).map(round).collect();
        Ok(BoundedDelta { values: Values(shards) })
    }

    fn check(&self, q: &Quantiser) -> Result<(), BoundError> {
        if self.shards.len() != q.grids.len() {
            return Err(BoundError::ShardCount { got: self.shards.len(), expected: q.grids.len() });
        }
        for (grid, (id, values)) in q.grids.iter().zip(&self.shards) {
            let got = u64::try_from(values.len()).unwrap_or(u64::MAX);
            if grid.id != *id {
                return Err(BoundError::UnknownShard(*id));
            }
            if got != grid.len {
                return Err(BoundError::Length { shard: *id, got, expected: grid.len });
            }
            if values.iter().any(|x| !x.is_finite()) {
                return Err(BoundError::NonFinite { shard: *id });
            }
        }
        let shards = q.dimension();
        let noised = self.proof.dimension();
        if shards == noised { Ok(()) } else { Err(BoundError::Dimension { noised, shards }) }
    }
}

/// Integers per shard; zeroised when dropped.
struct Values(Vec<(ShardId, Vec<i32>)>);

impl Drop for Values {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, v)| v.zeroize());
    }
}

/// A delta in integers of the plan's range. Not yet what sealing takes:
///
/// ```compile_fail,E0308
/// fn seal(_: privacy::delta::PrivateDelta) {}
/// fn hurried(bounded: privacy::delta::BoundedDelta) { seal(bounded) }
/// ```
pub struct BoundedDelta {
    values: Values,
}

impl std::fmt::Debug for BoundedDelta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        print_lengths(f, "BoundedDelta", self.values.0.iter().map(|(id, v)| (*id, v.len())))
    }
}

impl BoundedDelta {
    /// The private delta of mode `local`: every step already carries its noise, which the proof inside says.
    pub fn privatize_local(self) -> PrivateDelta {
        PrivateDelta { values: self.values }
    }
}

/// The only kind of update that may be sealed. Zeroised when dropped; no copy, no text form.
///
/// ```compile_fail,E0599
/// fn twice(p: privacy::delta::PrivateDelta) { let _second = p.clone(); }
/// ```
pub struct PrivateDelta {
    values: Values,
}

impl PrivateDelta {
    /// The private delta of modes `distributed` and `hybrid`: one noised sum, cut at the shards' borders, every integer as it is.
    ///
    /// # Privacy
    /// Nothing is rounded and nothing saturates: what is sealed is what the accountant knows (privacy.md D20).
    ///
    /// # Errors
    /// [`BoundError`], the first rule broken.
    ///
    /// # Source
    /// crypto.md C23: the quantiser is the identity, and a value outside C20 refuses the seal.
    ///
    /// ```compile_fail,E0308
    /// use privacy::{bound::NoisedSum, delta::{PrivateDelta, Quantiser}, ledger::NoisedLocally};
    /// // A sum that was noised without its clamp does not fit.
    /// fn hurried(sum: &NoisedSum, q: &Quantiser, p: &NoisedLocally) { let _ = PrivateDelta::of_share(sum, q, p); }
    /// ```
    pub fn of_share(share: &NoisedShare, q: &Quantiser, proof: &NoisedLocally) -> Result<Self, BoundError> {
        if !proof.covers(&share.context) {
            return Err(BoundError::WrongStream);
        }
        if proof.steps() != 1 {
            return Err(BoundError::Steps(proof.steps()));
        }
        let (shards, noised) = (q.dimension(), proof.dimension());
        if shards != noised || usize::try_from(noised) != Ok(share.values.len()) {
            return Err(BoundError::Dimension { noised, shards });
        }
        let mut values = Values(Vec::with_capacity(q.grids.len()));
        let mut rest = share.values.as_slice();
        for grid in &q.grids {
            let (head, tail) = rest.split_at(usize::try_from(grid.len).unwrap_or(usize::MAX).min(rest.len()));
            rest = tail;
            let narrow: Option<Vec<i32>> = head.iter().map(|&v| grid.carries(v)).collect();
            values.0.push((grid.id, narrow.ok_or(BoundError::TooWide(grid.id))?));
        }
        Ok(Self { values })
    }

    /// Shards in the order of the plan's table.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &[i32])> {
        self.values.0.iter().map(|(id, v)| (*id, v.as_slice()))
    }

    /// A private delta that nobody paid for. Tests of the sealing room only.
    #[cfg(feature = "test-doors")]
    pub fn for_test(shards: Vec<(ShardId, Vec<i32>)>) -> Self {
        Self { values: Values(shards) }
    }
}

fn print_lengths(f: &mut std::fmt::Formatter<'_>, name: &str, shards: impl Iterator<Item = (ShardId, usize)>) -> std::fmt::Result {
    f.write_str(name)?;
    f.debug_map().entries(shards).finish()
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
