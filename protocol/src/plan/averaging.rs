//! How institutions' updates become one mean: what each of them weighs. Knows no tensor and no sum.

use minicbor::CborLen;
use minicbor::data::Type;
use minicbor::decode::{Decode, Decoder, Error as DecodeError};
use minicbor::encode::{Encode, Encoder, Error as EncodeError, Write};
use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

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
