//! What is hidden from a model that is asked for the tokens that it does not see, in numbers. Knows no token and draws nothing.

use super::{PlanError, range};
use crate::decimal::Decimal;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// How tokens of records are hidden, anew at every step (Devlin et al. 2018, arXiv 1810.04805, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masking {
    /// Share of a record's tokens that the model is asked for; of every record with a token at least one.
    #[n(0)]
    pub share: Decimal,
    /// Share of those in whose place the mask stands.
    #[n(1)]
    pub masked: Decimal,
    /// Share of those in whose place any token of the vocabulary stands. The rest stays as it is.
    #[n(2)]
    pub random: Decimal,
    /// The mask: a token that no text has.
    #[n(3)]
    pub token: u32,
}

/// A number of hundredths.
fn hundredths(digits: u64) -> Decimal {
    Decimal::new(digits, 2).unwrap_or_else(|_| unreachable!("a number of hundredths is a decimal"))
}

impl Masking {
    /// The usual numbers: 15 % of the tokens, of which four fifths are masked and a tenth is exchanged.
    pub fn usual(token: u32) -> Self {
        Self { share: hundredths(15), masked: hundredths(80), random: hundredths(10), token }
    }

    pub(super) fn check(&self, vocab: u32) -> Result<(), PlanError> {
        let share = self.share > Decimal::ZERO && self.share <= hundredths(90);
        range(share, "model.masking.share", self.share.to_string(), "above 0, at most 0.9")?;
        let parts = self.masked.to_f64() + self.random.to_f64();
        // Each alone first: a sum of floats says nothing about numbers beyond 1.
        let fits = self.masked <= Decimal::ONE && self.random <= Decimal::ONE && parts <= 1.0 + 1e-12;
        let got = format!("{} and {}", self.masked, self.random);
        range(fits, "model.masking.masked and random", got, "at most 1 together")?;
        range(self.token < vocab, "model.masking.token", self.token.to_string(), "a token of the vocabulary")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn the_usual_numbers_come_back_from_both_spellings() {
        let usual = Masking::usual(103);
        let shown = [usual.share, usual.masked, usual.random].map(|n| n.to_string());
        assert_eq!((shown.join(" "), usual.check(104)), ("0.15 0.8 0.1".to_owned(), Ok(())));
        assert_eq!(codec::decode::<Masking>(&codec::encode(&usual), 64), Ok(usual));
        assert_eq!(serde_json::from_str::<Masking>(&serde_json::to_string(&usual).unwrap()).unwrap(), usual);
    }

    #[test]
    fn numbers_that_hide_nothing_or_more_than_there_is_are_refused() {
        let with = |share: &str, masked: &str, random: &str| {
            let [share, masked, random] = [share, masked, random].map(|n| n.parse().unwrap());
            Masking { share, masked, random, token: 0 }.check(16)
        };
        assert_eq!([with("0.9", "1", "0"), with("0.01", "0.9", "0.1"), with("0.5", "0", "0")], [Ok(()), Ok(()), Ok(())]);
        for (share, masked, random) in [("0", "0.8", "0.1"), ("0.91", "0.8", "0.1"), ("0.15", "0.8", "0.21"), ("0.15", "1.1", "0")] {
            assert!(with(share, masked, random).is_err(), "{share} {masked} {random}");
        }
        assert!(Masking::usual(16).check(16).is_err());
    }
}
