//! Exact decimals for plans and log entries: no float is signed or logged (audit.md A15).

use minicbor::{CborLen, Decode, Encode};

/// A non-negative decimal `digits * 10^-scale` in lowest terms (no trailing zero digit unless the scale is 0).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, CborLen)]
pub struct Decimal {
    #[n(0)]
    digits: u64,
    #[n(1)]
    scale: u8,
}

/// A text or number that is no [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a non-negative decimal such as 0.0125 with at most 18 digits and 18 places")]
pub struct BadDecimal;

impl Decimal {
    /// 0.
    pub const ZERO: Self = Self { digits: 0, scale: 0 };
    /// 1.
    pub const ONE: Self = Self { digits: 1, scale: 0 };
    const MAX_SCALE: u8 = 18;
    const MAX_DIGITS: u64 = 999_999_999_999_999_999;

    /// `digits * 10^-scale`, reduced.
    ///
    /// # Errors
    /// [`BadDecimal`] for more than 18 digits or places.
    pub fn new(mut digits: u64, mut scale: u8) -> Result<Self, BadDecimal> {
        while scale > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale -= 1;
        }
        if digits > Self::MAX_DIGITS || scale > Self::MAX_SCALE {
            return Err(BadDecimal);
        }
        Ok(Self { digits, scale })
    }

    /// The smallest decimal with `places` places that is not below `x`. For upper bounds that are shown or signed.
    ///
    /// # Errors
    /// [`BadDecimal`] if `x` is negative, not finite or too large.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range is checked on the line before")]
    pub fn ceil(x: f64, places: u8) -> Result<Self, BadDecimal> {
        let scaled = (x * 10f64.powi(i32::from(places))).ceil();
        if !(0.0..1e15).contains(&scaled) {
            return Err(BadDecimal);
        }
        Self::new(scaled as u64, places)
    }

    /// The largest decimal with `places` places whose f64 is not above `x`. For lower bounds that are shown.
    ///
    /// # Errors
    /// [`BadDecimal`] if `x` is negative, not finite or too large.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range is checked on the line before")]
    pub fn floor(x: f64, places: u8) -> Result<Self, BadDecimal> {
        let scaled = (x * 10f64.powi(i32::from(places))).floor();
        if !(0.0..1e15).contains(&scaled) {
            return Err(BadDecimal);
        }
        let digits = scaled as u64;
        // The product was rounded, up or down.
        for digits in [digits + 1, digits, digits.saturating_sub(1)] {
            let floor = Self::new(digits, places)?;
            if floor.to_f64() <= x {
                return Ok(floor);
            }
        }
        Err(BadDecimal)
    }

    /// The nearest f64 (correctly rounded).
    ///
    /// # Panics
    /// Never: digits and a small exponent are always a number.
    pub fn to_f64(self) -> f64 {
        format!("{}e-{}", self.digits, self.scale).parse().expect("digits and exponent always parse")
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // 18 digits and 18 places: both sides stay below 10^36, which 128 bits hold.
        let scaled = |d: &Self, by: u8| u128::from(d.digits) * 10u128.pow(u32::from(by));
        scaled(self, other.scale).cmp(&scaled(other, self.scale))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<'b, C> Decode<'b, C> for Decimal {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a decimal is two numbers"));
        }
        let (digits, scale) = (d.u64()?, d.u8()?);
        let value = Self::new(digits, scale).map_err(minicbor::decode::Error::custom)?;
        if (value.digits, value.scale) != (digits, scale) {
            return Err(minicbor::decode::Error::message("a decimal is in lowest terms"));
        }
        Ok(value)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scale = usize::from(self.scale);
        if scale == 0 {
            return write!(f, "{}", self.digits);
        }
        let digits = format!("{:0>width$}", self.digits, width = scale + 1);
        let (whole, part) = digits.split_at(digits.len() - scale);
        write!(f, "{whole}.{part}")
    }
}

impl std::fmt::Debug for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Decimal {
    type Err = BadDecimal;
    fn from_str(text: &str) -> Result<Self, BadDecimal> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || (text.contains('.') && !plain(part)) {
            return Err(BadDecimal);
        }
        let digits = format!("{whole}{part}").parse().map_err(|_| BadDecimal)?;
        Self::new(digits, u8::try_from(part.len()).map_err(|_| BadDecimal)?)
    }
}

impl serde::Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A decimal that may be below 0; 0 itself has no sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, CborLen)]
pub struct Signed {
    #[n(0)]
    below: bool,
    #[n(1)]
    size: Decimal,
}

impl Signed {
    /// The nearest f64.
    pub fn to_f64(self) -> f64 {
        if self.below { -self.size.to_f64() } else { self.size.to_f64() }
    }
}

impl<'b, C> Decode<'b, C> for Signed {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a signed decimal is a sign and a size"));
        }
        let this = Self { below: d.bool()?, size: Decimal::decode(d, ctx)? };
        let spelled = !(this.below && this.size == Decimal::ZERO);
        if spelled { Ok(this) } else { Err(minicbor::decode::Error::message("0 has no sign")) }
    }
}

impl std::str::FromStr for Signed {
    type Err = BadDecimal;
    fn from_str(text: &str) -> Result<Self, BadDecimal> {
        let (below, size) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let size: Decimal = size.parse()?;
        if below && size == Decimal::ZERO { Err(BadDecimal) } else { Ok(Self { below, size }) }
    }
}

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.below { "-" } else { "" }, self.size)
    }
}

impl serde::Serialize for Signed {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Signed {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_cbor_both_come_back(digits in 0u64..1_000_000_000_000, scale in 0u8..12) {
            let d = Decimal::new(digits, scale).unwrap();
            prop_assert_eq!(d.to_string().parse::<Decimal>().unwrap(), d);
            let bytes = crate::codec::encode(&d);
            prop_assert_eq!(crate::codec::decode::<Decimal>(&bytes, 64).unwrap(), d);
        }

        #[test]
        fn ceil_is_never_below(x in 0f64..1e6) {
            prop_assert!(Decimal::ceil(x, 6).unwrap().to_f64() >= x * (1.0 - 1e-15));
        }

        #[test]
        fn floor_is_never_above_and_never_a_place_below(x in 0f64..1e6) {
            let floor = Decimal::floor(x, 6).unwrap().to_f64();
            prop_assert!(floor <= x && floor > x - 1.000_001e-6);
        }

        #[test]
        fn floor_leaves_a_decimal_of_its_places_alone(digits in 0u64..1_000_000_000) {
            let decimal = Decimal::new(digits, 6).unwrap();
            prop_assert_eq!(Decimal::floor(decimal.to_f64(), 6), Ok(decimal));
        }
    }

    #[test]
    fn decimals_are_in_the_order_of_the_numbers() {
        let rising = ["0", "0.000000000000000001", "0.09", "0.1", "0.8", "0.80001", "1", "9.99", "10", "999999999999999999"];
        let numbers: Vec<Decimal> = rising.iter().map(|t| t.parse().unwrap()).collect();
        for (i, a) in numbers.iter().enumerate() {
            for (j, b) in numbers.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    /// In 64-bit floats 123 millionths of a million are 123.00000000000001, and 249 are 248.99999999999997.
    #[test]
    fn floor_is_exact_where_products_are_not() {
        for digits in [0u64, 1, 123, 246, 249, 251, 253, 981, 1_000_000] {
            let decimal = Decimal::new(digits, 6).unwrap();
            assert_eq!(Decimal::floor(decimal.to_f64(), 6), Ok(decimal));
        }
        for bad in [-1e-9, f64::NAN, f64::INFINITY, 1e10] {
            assert_eq!(Decimal::floor(bad, 6), Err(BadDecimal), "{bad}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "NaN", "0x1", "1.0000000000000000001"] {
            assert_eq!(bad.parse::<Decimal>(), Err(BadDecimal), "{bad}");
        }
    }

    #[test]
    fn nothing_has_two_spellings() {
        for bad in ["-0", "--1", "-", "- 1", "+1", "-0.00"] {
            assert!(bad.parse::<Signed>().is_err(), "{bad}");
        }
        assert_eq!("-12.5".parse::<Signed>().unwrap().to_f64(), -12.5);
        let minus_nothing = crate::codec::encode(&Signed { below: true, size: Decimal::ZERO });
        assert!(crate::codec::decode::<Signed>(&minus_nothing, 64).is_err());
    }
}
