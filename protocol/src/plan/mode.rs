//! Where noise is added and how a unit's gradient is shortened (privacy.md D6, D7, D17, D18), with what a plan must say besides. Knows no
//! accountant.

use super::{Plan, PlanError, Weighting, range};
use crate::decimal::Decimal;
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;

/// Where noise is added (privacy.md D6, D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mode {
    /// DP-SGD inside each institution, full noise at every local step.
    Local,
    /// One noised sum per round; each institution adds a share of the noise, and the plan's cap is what its share alone is worth.
    Distributed(Joint),
    /// The same, with shares large enough that each alone keeps the plan's cap, which is a floor that was chosen.
    Hybrid(Joint),
}

/// What noise that institutions add together is calibrated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joint {
    /// c: institutions with which the one that looks may collude.
    #[n(0)]
    pub colluding: u16,
    /// ε that the guaranteed shares together were calibrated for. Shown, never charged, while its lemma is pending review (D22).
    #[n(1)]
    pub coalition_epsilon: Decimal,
}

impl Mode {
    /// As plans spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Distributed(_) => "distributed",
            Self::Hybrid(_) => "hybrid",
        }
    }

    /// The numbers of noise that institutions add together; nothing in mode `local`.
    pub fn joint(self) -> Option<Joint> {
        match self {
            Self::Local => None,
            Self::Distributed(joint) | Self::Hybrid(joint) => Some(joint),
        }
    }
}

/// h = n_min − 1 − c: shares of noise in every opened sum that are neither the looking institution's nor its accomplices'. Nothing below 1.
///
/// # Source
/// privacy.md D7.
pub fn guaranteed_shares(cohort_min: u16, colluding: u16) -> Option<NonZeroU16> {
    cohort_min.checked_sub(1)?.checked_sub(colluding).and_then(NonZeroU16::new)
}

/// A bare 0 for `local`, as plans have always said it; `[1, [c, ε]]` and `[2, [c, ε]]` for the others.
impl<C> Encode<C> for Mode {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Local => e.u8(0)?.ok(),
            Self::Distributed(joint) => joint.encode(e.array(2)?.u8(1)?, ctx),
            Self::Hybrid(joint) => joint.encode(e.array(2)?.u8(2)?, ctx),
        }
    }
}

impl<C> CborLen<C> for Mode {
    fn cbor_len(&self, ctx: &mut C) -> usize {
        match self {
            Self::Local => 1,
            Self::Distributed(joint) | Self::Hybrid(joint) => 2 + joint.cbor_len(ctx),
        }
    }
}

impl<'b, C> Decode<'b, C> for Mode {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let unknown = || DecodeError::message("an unknown mode");
        if d.datatype()? != Type::Array {
            return if d.u8()? == 0 { Ok(Self::Local) } else { Err(unknown()) };
        }
        match (d.array()?, d.u8()?) {
            (Some(2), 1) => Joint::decode(d, ctx).map(Self::Distributed),
            (Some(2), 2) => Joint::decode(d, ctx).map(Self::Hybrid),
            _other => Err(unknown()),
        }
    }
}

/// In which floats weighted products are computed (privacy.md D19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Accumulate {
    /// 32 bits. That the error stays below ν = max(2^-9, B̄·b·2^-23) is an assumption, tested and to be stated.
    #[n(0)]
    #[default]
    F32,
    /// 64 bits, about half as fast. That the error stays below ν/2 with ν = 2^-12 is a theorem about the captured values.
    #[n(1)]
    F64,
}

/// How a sum of floats reaches the grid (privacy.md D18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// To the nearest grid point.
    #[n(0)]
    Nearest,
    /// Up or down by chance, so that it is right on average: a shorter difference, but for probability 1e-12 per step.
    #[n(1)]
    #[default]
    Dithered,
}

/// From gradients to integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClipPath {
    /// Every unit's gradient exists, is rounded and checked in integers (D17).
    #[default]
    Exact,
    /// Only the clipped sum exists, in floats; it is brought to the grid once per step (D18, D36).
    BookKeeping {
        /// Floats of the weighted products.
        #[serde(default)]
        accumulate: Accumulate,
        /// From the sum to the grid.
        #[serde(default)]
        rounding: Rounding,
    },
}

/// Not there for `exact`, as plans have always been written; `[accumulate, rounding]` for Book-Keeping.
impl<C> Encode<C> for ClipPath {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Exact => e.null()?.ok(),
            Self::BookKeeping { accumulate, rounding } => {
                accumulate.encode(e.array(2)?, ctx)?;
                rounding.encode(e, ctx)
            }
        }
    }

    fn is_nil(&self) -> bool {
        *self == Self::Exact
    }
}

impl<C> CborLen<C> for ClipPath {
    fn cbor_len(&self, _: &mut C) -> usize {
        match self {
            Self::Exact => 1,
            Self::BookKeeping { .. } => 3,
        }
    }
}

impl<'b, C> Decode<'b, C> for ClipPath {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        if d.datatype()? == Type::Null {
            return d.null().map(|()| Self::Exact);
        }
        if d.array()? != Some(2) {
            return Err(DecodeError::message("an unknown clip path"));
        }
        Ok(Self::BookKeeping { accumulate: Accumulate::decode(d, ctx)?, rounding: Rounding::decode(d, ctx)? })
    }

    fn nil() -> Option<Self> {
        Some(Self::Exact)
    }
}

/// What one unit's records are asked for together (privacy.md D31). Its gradient is clipped all the same, so that privacy does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitObjective {
    /// The mean of its records' losses: every unit pulls alike, however many records it has.
    #[default]
    Mean,
    /// Their sum: a unit of many records pulls as each of them would, up to the clip bound.
    Sum,
}

/// Not there for `mean`, as plans have always been written; 1 for `sum`.
impl<C> Encode<C> for UnitObjective {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Mean => e.null()?.ok(),
            Self::Sum => e.u8(1)?.ok(),
        }
    }

    fn is_nil(&self) -> bool {
        *self == Self::Mean
    }
}

impl<C> CborLen<C> for UnitObjective {
    fn cbor_len(&self, _: &mut C) -> usize {
        match self {
            Self::Mean | Self::Sum => 1,
        }
    }
}

impl<'b, C> Decode<'b, C> for UnitObjective {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        if d.datatype()? == Type::Null {
            return d.null().map(|()| Self::Mean);
        }
        if d.u8()? == 1 { Ok(Self::Sum) } else { Err(DecodeError::message("an unknown objective of a unit")) }
    }

    fn nil() -> Option<Self> {
        Some(Self::Mean)
    }
}

/// Checks D7 as far as it needs no accountant: a guaranteed share; one sum per round, whose members weigh what they are expected to sample;
/// nothing said about an optimiser that does not run; integers worth one grid step.
///
/// # Errors
/// [`PlanError`], the first rule broken.
pub(super) fn check(plan: &Plan) -> Result<(), PlanError> {
    let Some(joint) = plan.privacy.mode.joint() else { return Ok(()) };
    let (cohort_min, colluding) = (plan.cohort_min, joint.colluding);
    if guaranteed_shares(cohort_min, colluding).is_none() {
        return Err(PlanError::NoGuaranteedShare { cohort_min, colluding });
    }
    let epsilon = joint.coalition_epsilon;
    range(epsilon.to_f64() > 0.0, "privacy.mode.coalition_epsilon", epsilon.to_string(), "above 0")?;
    if plan.local.steps != 1 {
        return Err(PlanError::JointSteps(plan.local.steps));
    }
    if plan.weighting != Weighting::Uniform {
        return Err(PlanError::JointWeights);
    }
    if !plan.local.is_idle() {
        return Err(PlanError::JointOptimiser);
    }
    let expected = -i16::from(plan.privacy.grid_bits);
    match plan.shards.iter().find(|s| i16::from(s.step_exponent) != expected) {
        Some(s) => Err(PlanError::JointStep { shard: s.id, got: s.step_exponent, expected }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn joint() -> Joint {
        Joint { colluding: 300, coalition_epsilon: "2.5".parse().unwrap() }
    }

    #[test]
    fn modes_come_back_and_local_is_the_byte_it_always_was() {
        assert_eq!(codec::encode(&Mode::Local), [0]);
        for mode in [Mode::Local, Mode::Distributed(joint()), Mode::Hybrid(joint())] {
            assert_eq!(codec::decode::<Mode>(&codec::encode(&mode), 64), Ok(mode));
            assert_eq!(codec::encode(&mode).len(), CborLen::<()>::cbor_len(&mode, &mut ()));
        }
        for bad in [&[1][..], &[0x81, 0], &[0x82, 0, 0x80], &[0x82, 3, 0x82, 0, 0x82, 1, 0], &[0x83, 1, 0, 0]] {
            assert!(codec::decode::<Mode>(bad, 64).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_come_back() {
        for accumulate in [Accumulate::F32, Accumulate::F64] {
            for rounding in [Rounding::Nearest, Rounding::Dithered] {
                let path = ClipPath::BookKeeping { accumulate, rounding };
                assert_eq!(codec::decode::<ClipPath>(&codec::encode(&path), 64), Ok(path));
                assert_eq!(codec::encode(&path).len(), CborLen::<()>::cbor_len(&path, &mut ()));
            }
        }
        for bad in [&[0][..], &[0x81, 0], &[0x82, 0, 2], &[0x82, 2, 0], &[0x83, 0, 0, 0]] {
            assert!(codec::decode::<ClipPath>(bad, 64).is_err(), "{bad:?}");
        }
    }

    /// Plans that ask for the mean are written as before there was a choice.
    #[test]
    fn objectives_of_units_come_back_and_the_mean_is_not_written() {
        for objective in [UnitObjective::Mean, UnitObjective::Sum] {
            assert_eq!(codec::decode::<UnitObjective>(&codec::encode(&objective), 64), Ok(objective));
            assert_eq!(codec::encode(&objective).len(), CborLen::<()>::cbor_len(&objective, &mut ()));
        }
        assert!(Encode::<()>::is_nil(&UnitObjective::Mean) && !Encode::<()>::is_nil(&UnitObjective::Sum));
        for bad in [&[0][..], &[2], &[0x81, 1]] {
            assert!(codec::decode::<UnitObjective>(bad, 64).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shares_are_guaranteed_by_whoever_neither_looks_nor_colludes() {
        let shares = |cohort_min, colluding| guaranteed_shares(cohort_min, colluding).map(NonZeroU16::get);
        assert_eq!([shares(4, 0), shares(4, 1), shares(16, 3), shares(3, 1)], [Some(3), Some(2), Some(12), Some(1)]);
        assert_eq!([shares(1, 0), shares(0, 0), shares(3, 2), shares(2, u16::MAX)], [None; 4]);
    }
}
