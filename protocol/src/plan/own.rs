//! What Concordat's own model is built of and asked for, where a plan begins from random weights and wants another one than the plain
//! classifier (training.md M1). Knows no tensor and no layer.

use super::model::Asks;
use super::{PlanError, range};
use crate::decimal::Decimal;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// Token that a writing stack begins with: the tokenizer's padding, which stands in no text.
pub const START: u32 = 0;
/// Token that ends an answer: the mark at the head of every text, which stands in no answer.
pub const END: u32 = 1;

/// Token that stands for what is hidden: the tokenizer's padding, which stands in no text.
pub const MASK: u32 = 0;

/// Which stacks of blocks a model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// One that reads a text.
    #[default]
    Encoder,
    /// One that goes on with a text.
    Decoder,
    /// One that reads a text and one that writes the answer.
    EncoderDecoder,
}

impl Family {
    /// As plans spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
            Self::EncoderDecoder => "encoder-decoder",
        }
    }

    /// What a model of this family is asked for where a plan does not say.
    pub fn usual(self) -> Asks {
        match self {
            Self::Encoder => Asks::Class,
            Self::Decoder => Asks::NextToken,
            Self::EncoderDecoder => Asks::Translate,
        }
    }
}

/// How a token's place is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Positions {
    /// By a learned vector for each place.
    #[default]
    #[n(0)]
    Learned,
    /// By sines and cosines of the place.
    #[n(1)]
    Sinusoidal,
    /// Queries and keys are turned by an angle that grows with the place.
    #[n(2)]
    Rotary {
        /// θ: the slowest pair turns once in 2π θ tokens.
        #[n(0)]
        theta: u32,
    },
}

/// How tokens are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// To mean 0 and variance 1, with a learned gain and shift.
    #[default]
    #[n(0)]
    Layer,
    /// To a root mean square of 1, with a learned gain.
    #[n(1)]
    RootMeanSquare,
}

/// Where a block normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlace {
    /// Before each part, and once more after the last block.
    #[default]
    #[n(0)]
    Before,
    /// After each sum.
    #[n(1)]
    After,
}

/// The feed-forward part of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForward {
    /// Two linear layers with GELU between them.
    #[default]
    #[n(0)]
    Gelu,
    /// A third one, bent by SiLU, decides what passes.
    #[n(1)]
    Swiglu,
}

/// What scores the tokens of the vocabulary, in a model that is asked for tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum OutputHead {
    /// The token table.
    #[default]
    #[n(0)]
    Tied,
    /// A matrix of its own.
    #[n(1)]
    Own,
}

/// Whom a decoder's token hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// Itself and what came before.
    #[default]
    #[n(0)]
    Causal,
    /// What came before, and all of the text that is to be answered.
    #[n(1)]
    Prefix,
}

/// A sliding window of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How far a token hears to either side.
    #[n(0)]
    pub reach: u32,
    /// So many first tokens hear everybody and are heard by everybody, as far as the family allows.
    #[n(1)]
    #[serde(default)]
    pub global: u32,
}

/// A model of Concordat's own, apart from its sizes. The default is the plain classifier, which plans leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnModel {
    /// What it is asked for, which says its family.
    #[n(0)]
    #[serde(default)]
    pub asks: Asks,
    /// How places are told.
    #[n(1)]
    #[serde(default)]
    pub positions: Positions,
    /// How tokens are normalised.
    #[n(2)]
    #[serde(default)]
    pub norm: Norm,
    /// Where.
    #[n(3)]
    #[serde(default)]
    pub norm_place: NormPlace,
    /// The feed-forward part.
    #[n(4)]
    #[serde(default)]
    pub feed_forward: FeedForward,
    /// What scores tokens.
    #[n(5)]
    #[serde(default)]
    pub head: OutputHead,
    /// Whom a decoder's token hears.
    #[n(6)]
    #[serde(default)]
    pub mask: Mask,
    /// Blocks of the stack that writes; for an encoder-decoder, whose other blocks read.
    #[n(7)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_layers: Option<u32>,
    /// Heads of keys and values, which the heads of queries share; none: as many as those.
    #[n(8)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<u32>,
    /// A sliding window; none: tokens hear as far as the family allows.
    #[n(9)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Kernel of a convolution over the tables; none: no such layer.
    #[n(10)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<u32>,
    /// Chance that a number is left out in training; none: nothing is.
    #[n(11)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<Decimal>,
}

fn shown(number: Option<u32>) -> String {
    number.map_or_else(|| "none".to_owned(), |n| n.to_string())
}

impl OwnModel {
    /// Checks what can be checked with the sizes of the model; `places` are those that a record can have.
    ///
    /// # Errors
    /// [`PlanError::OutOfRange`], the first rule broken.
    pub(super) fn check(&self, width: u32, heads: u32, places: u32) -> Result<(), PlanError> {
        let plain = *self == Self::default();
        range(!plain, "model.own", "the plain classifier".to_owned(), "left out where nothing else is asked for")?;
        self.check_family()?;
        if let Positions::Rotary { theta } = self.positions {
            range(theta >= 2, "model.positions.rotary.theta", theta.to_string(), "2 or more")?;
            let even = width.checked_div(heads).is_some_and(|d| d.is_multiple_of(2));
            range(even, "model.heads", heads.to_string(), "heads of an even width under rotary positions")?;
        }
        let shared = |g: u32| g > 0 && g < heads && heads.is_multiple_of(g);
        range(self.groups.is_none_or(shared), "model.groups", shown(self.groups), "a divisor of the heads below them, or left out")?;
        if let Some(Window { reach, global }) = self.window {
            range(reach > 0, "model.window.reach", reach.to_string(), "1 or more")?;
            range(global <= places, "model.window.global", global.to_string(), "at most the places of a record")?;
        }
        let kernel = |k: u32| (3..=5).contains(&k);
        range(self.stem.is_none_or(kernel), "model.stem", shown(self.stem), "a kernel of 3 to 5, or left out")?;
        if let Some(rate) = self.dropout {
            range(rate > Decimal::ZERO && rate.to_f64() <= 0.9, "model.dropout", rate.to_string(), "above 0 and at most 0.9, or left out")?;
        }
        Ok(())
    }

    /// Parts that only some families have.
    fn check_family(&self) -> Result<(), PlanError> {
        let layers = shown(self.decoder_layers);
        match self.asks.family() {
            Family::Encoder | Family::Decoder => {
                range(self.decoder_layers.is_none(), "model.decoder_layers", layers, "none but in an encoder-decoder")?;
            }
            Family::EncoderDecoder => {
                let there = self.decoder_layers.is_some_and(|n| (1..=256).contains(&n));
                range(there, "model.decoder_layers", layers, "1 to 256 in an encoder-decoder")?;
            }
        }
        let answers = self.mask == Mask::Causal || self.asks == Asks::Answer;
        range(answers, "model.mask", "prefix".to_owned(), "causal, unless asks is \"answer\": only then is there a text to be answered")?;
        let scored = self.head == OutputHead::Tied || !matches!(self.asks, Asks::Class | Asks::Tags);
        range(scored, "model.head", "own".to_owned(), "left out where classes or tags are asked for: no token is scored then")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn of(asks: Asks) -> OwnModel {
        let decoder_layers = (asks.family() == Family::EncoderDecoder).then_some(2);
        OwnModel { asks, decoder_layers, ..OwnModel::default() }
    }

    fn all() -> Vec<OwnModel> {
        let decoder = of(Asks::NextToken);
        vec![
            decoder,
            of(Asks::Answer),
            of(Asks::Translate),
            of(Asks::Tags),
            OwnModel { head: OutputHead::Own, ..of(Asks::MaskedTokens) },
            OwnModel { positions: Positions::Sinusoidal, ..of(Asks::Class) },
            OwnModel { positions: Positions::Rotary { theta: 10_000 }, norm: Norm::RootMeanSquare, ..decoder },
            OwnModel { feed_forward: FeedForward::Swiglu, groups: Some(2), head: OutputHead::Own, ..decoder },
            OwnModel { mask: Mask::Prefix, ..of(Asks::Answer) },
            OwnModel { window: Some(Window { reach: 3, global: 1 }), norm_place: NormPlace::After, ..of(Asks::Translate) },
            OwnModel { stem: Some(3), dropout: Some(decimal("0.1")), ..of(Asks::Class) },
        ]
    }

    fn field(own: OwnModel) -> &'static str {
        match own.check(8, 4, 12) {
            Err(PlanError::OutOfRange { field, .. }) => field,
            Err(_) => "another",
            Ok(()) => "none",
        }
    }

    #[test]
    fn every_part_comes_back_from_both_spellings() {
        for own in all() {
            let bytes = codec::encode(&own);
            assert_eq!(codec::decode::<OwnModel>(&bytes, 256), Ok(own));
            assert_eq!(bytes.len(), CborLen::<()>::cbor_len(&own, &mut ()));
            let json = serde_json::to_string(&own).unwrap();
            assert_eq!(serde_json::from_str::<OwnModel>(&json).unwrap(), own);
            assert_eq!(field(own), "none", "{own:?}");
        }
        assert_eq!(codec::encode(&of(Asks::NextToken))[0], 0x87, "seven fields where nothing more is said");
    }

    #[test]
    fn a_part_that_fits_no_model_is_refused_by_its_name() {
        let decoder = of(Asks::NextToken);
        let window = |reach, global| OwnModel { window: Some(Window { reach, global }), ..decoder };
        let dropout = |rate| OwnModel { dropout: Some(decimal(rate)), ..decoder };
        let cases = [
            (OwnModel::default(), "model.own"),
            (OwnModel { decoder_layers: Some(1), ..decoder }, "model.decoder_layers"),
            (OwnModel { decoder_layers: None, ..of(Asks::Translate) }, "model.decoder_layers"),
            (OwnModel { decoder_layers: Some(257), ..of(Asks::Translate) }, "model.decoder_layers"),
            (OwnModel { mask: Mask::Prefix, ..decoder }, "model.mask"),
            (OwnModel { head: OutputHead::Own, ..of(Asks::Class) }, "model.head"),
            (OwnModel { head: OutputHead::Own, ..of(Asks::Tags) }, "model.head"),
            (OwnModel { positions: Positions::Rotary { theta: 1 }, ..decoder }, "model.positions.rotary.theta"),
            (OwnModel { groups: Some(3), ..decoder }, "model.groups"),
            (OwnModel { groups: Some(4), ..decoder }, "model.groups"),
            (OwnModel { groups: Some(0), ..decoder }, "model.groups"),
            (window(0, 1), "model.window.reach"),
            (window(1, 13), "model.window.global"),
            (OwnModel { stem: Some(2), ..decoder }, "model.stem"),
            (OwnModel { stem: Some(6), ..decoder }, "model.stem"),
            (dropout("0"), "model.dropout"),
            (dropout("0.91"), "model.dropout"),
        ];
        for (own, name) in cases {
            assert_eq!(field(own), name, "{own:?}");
        }
        let odd = OwnModel { positions: Positions::Rotary { theta: 100 }, ..decoder };
        assert!(matches!(odd.check(4, 4, 12), Err(PlanError::OutOfRange { field: "model.heads", .. })), "heads of width 1");
    }

    #[test]
    fn a_family_is_asked_for_what_it_can_say() {
        for family in [Family::Encoder, Family::Decoder, Family::EncoderDecoder] {
            assert_eq!(family.usual().family(), family);
            assert_eq!(serde_json::to_value(family).unwrap(), family.name());
        }
        assert_eq!(Asks::Answer.family(), Family::Decoder);
    }
}
