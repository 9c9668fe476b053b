//! How institutions' updates become one mean: what each of them weighs, and how a mean bears that some of them are hostile. Knows no
//! tensor and no sum.

use super::{Plan, PlanError, Strategy, range};
use crate::decimal::Decimal;
use crate::params::MAX_GROUPS;
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

impl Strategy {
    /// Whether a step needs what earlier rounds left behind, besides the weights.
    pub fn remembers(&self) -> bool {
        match self {
            Self::FedAvg { .. } => false,
            Self::FedAvgM { .. } | Self::FedNesterov { .. } | Self::FedAdam { .. } | Self::FedYogi { .. } => true,
        }
    }

    /// Moments forget, and steps are divided by something.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let below_one = |field, share: &Decimal| range(*share < Decimal::ONE, field, share.to_string(), "below 1");
        let above_zero = |field, floor: &Decimal| range(*floor > Decimal::ZERO, field, floor.to_string(), "above 0");
        match self {
            Self::FedAvg { .. } | Self::FedAvgM { .. } => Ok(()),
            Self::FedNesterov { momentum, .. } => below_one("strategy.fed-nesterov.momentum", momentum),
            Self::FedAdam { momentum, decay, floor, .. } => {
                below_one("strategy.fed-adam.momentum", momentum)?;
                below_one("strategy.fed-adam.decay", decay)?;
                above_zero("strategy.fed-adam.floor", floor)
            }
            Self::FedYogi { momentum, decay, floor, .. } => {
                below_one("strategy.fed-yogi.momentum", momentum)?;
                below_one("strategy.fed-yogi.decay", decay)?;
                above_zero("strategy.fed-yogi.floor", floor)
            }
        }
    }
}

/// How institutions' updates are averaged (crypto.md C24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Weighting {
    /// Each member counts the same.
    Uniform,
    /// Each member counts by the number of units that it declared; its weight travels sealed with its update.
    Declared {
        /// W_max: a declared number above it counts as this one.
        max_weight: u64,
    },
}

/// A bare 0 for `uniform`, as plans have always said it; `[1, W_max]` for `declared`.
impl<C> Encode<C> for Weighting {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::Uniform => e.u8(0)?,
            Self::Declared { max_weight } => e.array(2)?.u8(1)?.u64(*max_weight)?,
        };
        Ok(())
    }
}

impl<C> CborLen<C> for Weighting {
    fn cbor_len(&self, ctx: &mut C) -> usize {
        match self {
            Self::Uniform => 1,
            Self::Declared { max_weight } => 2 + CborLen::<C>::cbor_len(max_weight, ctx),
        }
    }
}

impl<'b, C> Decode<'b, C> for Weighting {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        if d.datatype()? != Type::Array {
            return if d.u8()? == 0 { Ok(Self::Uniform) } else { Err(DecodeError::message("an unknown weighting")) };
        }
        match (d.array()?, d.u8()?) {
            (Some(2), 1) => Ok(Self::Declared { max_weight: d.u64()? }),
            _other => Err(DecodeError::message("an unknown weighting")),
        }
    }
}

/// How means of groups become one (training.md M18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Combine {
    /// The mean over everybody.
    #[n(0)]
    Mean,
    /// Per coordinate, the mean of what is left without the highest and the lowest `trim` group means.
    #[n(1)]
    TrimmedMean {
        /// Group means dropped at each end.
        #[n(0)]
        trim: u16,
    },
    /// Per coordinate, the median of the group means.
    #[n(2)]
    Median,
}

impl Combine {
    /// Fewest group means: with fewer, one hostile group moves the result as far as it likes.
    pub fn minimum(self) -> usize {
        match self {
            Self::Mean => 1,
            Self::TrimmedMean { trim } => 2 * usize::from(trim) + 1,
            Self::Median => 3,
        }
    }
}

/// How the result bears hostile institutions (crypto.md C64, tier 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Robustness {
    /// Random groups that the institutions of each sum are dealt into; 1 means none.
    #[n(0)]
    pub random_groups: u16,
    /// How their means become one.
    #[n(1)]
    pub combine: Combine,
    /// Largest L2 norm of one group's mean over all its shards; a group above it is dropped. None: no bound.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_group_norm: Option<Decimal>,
}

impl Robustness {
    /// What a plan without this section does.
    pub const NONE: Self = Self { random_groups: 1, combine: Combine::Mean, max_group_norm: None };

    /// Checks C65: at least three random groups or none, each with room for its minimum, and enough for what combines them.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`].
    pub(super) fn check(&self, plan: &Plan) -> Result<(), PlanError> {
        let (parts, sums) = (self.random_groups, plan.groups.len());
        let many = parts == 1 || (parts >= 3 && sums.saturating_mul(usize::from(parts)) <= MAX_GROUPS);
        range(many, "robustness.random_groups", parts.to_string(), "1, or 3 and more with at most 256 groups in all")?;
        let room = u32::from(parts) * u32::from(plan.cohort_min) <= u32::from(plan.n_max);
        range(room, "robustness.random_groups", parts.to_string(), "at most n_max / cohort_min")?;
        let enough = usize::from(parts) >= self.combine.minimum() && self.combine != Combine::TrimmedMean { trim: 0 };
        range(
            enough,
            "robustness.combine",
            format!("{:?}", self.combine),
            "trim of 1 or more with more than 2 x trim groups, or a median of 3",
        )?;
        let bound = self.max_group_norm.is_none_or(|n| n.to_f64() > 0.0);
        range(bound, "robustness.max_group_norm", self.max_group_norm.map_or_else(String::new, |n| n.to_string()), "above 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn strategies_come_back_and_those_that_would_never_forget_are_refused() {
        let [rate, share, one] = ["0.7", "0.9", "1"].map(|text| text.parse::<Decimal>().unwrap());
        let good = [
            Strategy::FedAvg { rate },
            Strategy::FedAvgM { rate, momentum: share },
            Strategy::FedNesterov { rate, momentum: share },
            Strategy::FedAdam { rate, momentum: share, decay: share, floor: share },
            Strategy::FedYogi { rate, momentum: share, decay: share, floor: share },
        ];
        for s in &good {
            assert_eq!(codec::decode::<Strategy>(&codec::encode(s), 64).as_ref(), Ok(s));
            assert_eq!(serde_json::from_value::<Strategy>(serde_json::to_value(s).unwrap()).unwrap(), *s);
            assert_eq!(s.check(), Ok(()));
        }
        assert_eq!(good.each_ref().map(Strategy::remembers), [false, true, true, true, true]);
        for bad in [
            Strategy::FedNesterov { rate, momentum: one },
            Strategy::FedAdam { rate, momentum: share, decay: one, floor: share },
            Strategy::FedYogi { rate, momentum: one, decay: share, floor: share },
            Strategy::FedYogi { rate, momentum: share, decay: one, floor: share },
            Strategy::FedYogi { rate, momentum: share, decay: share, floor: Decimal::ZERO },
        ] {
            assert!(matches!(bad.check(), Err(PlanError::OutOfRange { .. })), "{bad:?}");
        }
    }

    #[test]
    fn weightings_come_back_and_uniform_is_the_byte_it_always_was() {
        assert_eq!(codec::encode(&Weighting::Uniform), [0]);
        for w in [Weighting::Uniform, Weighting::Declared { max_weight: 1 }, Weighting::Declared { max_weight: 1 << 40 }] {
            assert_eq!(codec::decode::<Weighting>(&codec::encode(&w), 64), Ok(w));
        }
        for bad in [&[1][..], &[0x82, 0, 1], &[0x81, 1], &[0x83, 1, 1, 1]] {
            assert!(codec::decode::<Weighting>(bad, 64).is_err(), "{bad:?}");
        }
    }
}
