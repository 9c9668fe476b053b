//! What a Transformer is made of: sizes and parts as checked types. Nothing here knows a weight.

use super::decoder::Head;
use super::lora::Adapters;
use super::names::{BlockNames, Side, Spelling};
use super::norm::NormKind;
use super::parameters::{MAX_COORDINATES, MAX_NUMBERS, ModelError, Trained, size};
use crate::hf::config::{self, ConfigError};
use crate::ops::activation::Activation as Curve;
use protocol::plan::{BaseModel, EncoderConfig};
use std::collections::BTreeSet;
use std::sync::Arc;

pub use crate::ops::activation::Activation;
pub use crate::ops::rotary::Stretch;
pub use protocol::plan::own::Window;

/// Longest sequence of any model: what one token of attention hears would fill memory long before.
pub const MAX_TOKENS: u32 = 1 << 20;
/// Most blocks on one side: more than any published model has.
pub const MAX_LAYERS: u32 = 1024;

/// How a token's place is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector for each place.
    Learned,
    /// Sines and cosines of the place, added to the token (Vaswani et al. 2017, arXiv 1706.03762).
    Sinusoidal,
    /// Queries and keys are turned by an angle that grows with the place.
    Rotary {
        /// The slowest pair turns once in 2π θ tokens.
        theta: f64,
    },
    /// The same with slower turns than θ says, for texts longer than those of the first training.
    Stretched {
        /// As of [`Self::Rotary`].
        theta: f64,
        /// How much slower.
        stretch: Stretch,
    },
    /// Scores are raised by a learned number for each distance, one per head, the same in all blocks.
    Distances {
        /// Rows of the table.
        buckets: u32,
        /// From here on all distances share the last row.
        farthest: u32,
    },
}

impl Positions {
    /// θ and how it is stretched, where queries and keys are turned.
    pub(crate) fn turns(self) -> Option<(f64, Option<Stretch>)> {
        match self {
            Self::Rotary { theta } => Some((theta, None)),
            Self::Stretched { theta, stretch } => Some((theta, Some(stretch))),
            Self::Learned | Self::Sinusoidal | Self::Distances { .. } => None,
        }
    }
}

/// Where a block normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// Before each part; then once more after the last block.
    Before,
    /// After each sum.
    After,
}

/// The feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// Two linear layers with a curve between them.
    Plain(Activation),
    /// A third one, bent by the curve, decides what passes: SwiGLU with [`Activation::Silu`].
    Gated(Activation),
}

impl FeedForwardKind {
    pub(crate) fn activation(self) -> Curve {
        match self {
            Self::Plain(curve) | Self::Gated(curve) => curve,
        }
    }
    pub(crate) fn gated(self) -> bool {
        matches!(self, Self::Gated(_))
    }
}

/// Which linear layers of the blocks add a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shifts {
    /// All.
    All,
    /// Queries, keys and values (Qwen2).
    Queries,
    /// None (Llama, T5).
    None,
}

impl Shifts {
    pub(crate) fn queries(self) -> super::linear::Shift {
        match self {
            Self::All | Self::Queries => super::linear::Shift::Added,
            Self::None => super::linear::Shift::None,
        }
    }
    pub(crate) fn others(self) -> super::linear::Shift {
        match self {
            Self::All => super::linear::Shift::Added,
            Self::Queries | Self::None => super::linear::Shift::None,
        }
    }
}

/// Whom a token of a record may hear. There is no padding, and so no padding mask: records lie end to end ([`crate::batch`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// Everybody.
    Full,
    /// Itself and what came before.
    Causal,
    /// What came before, and all of the question: a decoder's record without its labels.
    Prefix,
}

/// Whether scores are divided by √D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Yes.
    Scaled,
    /// No: the first weights are smaller instead (T5).
    Plain,
}

/// What becomes of rows of the token table before places are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Nothing.
    Plain,
    /// They are multiplied by √C (BART's `scale_embedding`).
    Grown,
}

/// What becomes of vectors before a head over the vocabulary reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Nothing.
    Plain,
    /// They are divided by √C: under plain scores a token table would be too large for a head (T5).
    Shrunk,
}

/// What an encoder is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A class for each record.
    Classify {
        /// K.
        classes: u32,
    },
    /// A label for each token.
    Tag {
        /// K.
        labels: u32,
    },
    /// The tokens that were masked.
    MaskedTokens,
}

/// Which stacks there are, and what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Reads a record.
    Encoder(Task),
    /// Goes on with a record.
    Decoder,
    /// Reads a record and writes another one.
    EncoderDecoder {
        /// Blocks of the decoder.
        decoder_layers: u32,
        /// Token that the decoder begins with.
        start: u32,
        /// Token that ends an answer.
        end: u32,
    },
}

/// All choices. Fields are public to be filled in; only [`Config::new`] makes a model of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// Stacks.
    pub family: Family,
    /// Rows of the token table, V.
    pub vocab: u32,
    /// Longest sequence, in tokens.
    pub max_tokens: u32,
    /// Model width C.
    pub width: u32,
    /// Heads of queries H.
    pub heads: u32,
    /// Heads of keys and values G; divides H.
    pub groups: u32,
    /// Width D of one head; C / H in most models.
    pub head_width: u32,
    /// Width F of the feed-forward part.
    pub hidden: u32,
    /// Blocks; of the encoder, if there are two stacks.
    pub layers: u32,
    /// How places are told.
    pub positions: Positions,
    /// Rows of a table of segments of which the first is added to every token; 0 for no such table.
    pub segments: u32,
    /// Kernel of a convolution over the tables, 3 to 5; none for no such layer.
    pub stem: Option<u32>,
    /// How tokens are normalised.
    pub norm: NormKind,
    /// Added to the variance in normalising.
    pub epsilon: f32,
    /// Where blocks normalise.
    pub place: NormPlace,
    /// Feed-forward part.
    pub feed_forward: FeedForwardKind,
    /// Constants of linear layers.
    pub shifts: Shifts,
    /// Attention scores.
    pub scores: Scores,
    /// Whom a token hears; an encoder-decoder takes [`MaskKind::Full`], which is its encoder's.
    pub mask: MaskKind,
    /// A sliding window.
    pub window: Option<Window>,
    /// Chance that a number is dropped after the tables and after each part of a block.
    pub dropout: f32,
    /// What becomes of rows of the token table.
    pub inputs: Inputs,
    /// Head over the vocabulary, where there is one.
    pub head: Head,
    /// What it reads.
    pub outputs: Outputs,
    /// Names and small parts.
    pub spelling: Spelling,
    /// With an adapter one of its factors is trained, and what [`Self::trained`] says.
    pub adapter: Option<Adapters>,
    /// What is trained besides.
    pub trained: Trained,
    /// Tensors that are not among the model's numbers, but in a checkpoint, as they were published.
    pub outside: Option<Arc<BTreeSet<String>>>,
}

/// Choices that are a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config(Choices);

impl std::ops::Deref for Config {
    type Target = Choices;
    fn deref(&self) -> &Choices {
        &self.0
    }
}

fn part(part: &'static str, got: impl std::fmt::Display, expected: &'static str) -> ModelError {
    ModelError::Part { part, got: got.to_string(), expected }
}

/// Fails unless `fits`.
fn need(fits: bool, wrong: impl FnOnce() -> ModelError) -> Result<(), ModelError> {
    if fits { Ok(()) } else { Err(wrong()) }
}

impl Config {
    /// Checks all choices together.
    ///
    /// # Errors
    /// [`ModelError`], the first part that does not fit.
    pub fn new(choices: Choices) -> Result<Self, ModelError> {
        choices.check_sizes()?;
        choices.check_parts()?;
        choices.check_family()?;
        need(choices.coordinates() <= MAX_NUMBERS, || ModelError::TooLarge)?;
        Ok(Self(choices))
    }

    /// The model of a plan, of which `trained` is trained.
    ///
    /// # Errors
    /// [`ModelError`] if such a model cannot be built.
    pub fn of_plan(c: &EncoderConfig, trained: Trained) -> Result<Self, ModelError> {
        let classes = u32::try_from(c.classes.len()).map_err(|_| ModelError::TooLarge)?;
        let choices = match &c.base {
            Some(base) => Choices::published(c, base, classes)?,
            None => Choices::own(c, classes)?,
        };
        let model = Self::new(Choices { adapter: Adapters::of_plan(c), trained, ..choices })?;
        // Without a checkpoint everything is in memory.
        let fits = c.base.is_some() || model.coordinates() <= MAX_COORDINATES as u128;
        if fits { Ok(model) } else { Err(ModelError::TooLarge) }
    }

    /// The same model with other parts trained.
    ///
    /// # Errors
    /// [`ModelError`] if such a model cannot be built.
    pub fn training(&self, adapter: Option<Adapters>, trained: Trained) -> Result<Self, ModelError> {
        Self::new(Choices { adapter, trained, ..self.0.clone() })
    }

    /// All choices.
    pub fn choices(&self) -> &Choices {
        &self.0
    }
}

impl Choices {
    /// A checkpoint's decoder, or its encoder under a classifier of the plan's classes. The sizes that the plan states are what everybody else
    /// goes by, so they must be the checkpoint's.
    fn published(c: &EncoderConfig, base: &BaseModel, classes: u32) -> Result<Self, ModelError> {
        let found = match config::asked(base.config.as_bytes(), base.asks, classes) {
            Ok(found) => found,
            Err(ConfigError::Model(e)) => return Err(e),
            Err(e) => return Err(part("model.base.config", e, "the config.json of a known model for what the plan asks")),
        };
        for (name, stated, own) in [
            ("model.vocab", c.vocab, found.vocab),
            ("model.width", c.width, found.width),
            ("model.heads", c.heads, found.heads),
            ("model.layers", c.layers, found.layers),
            ("model.hidden", c.hidden, found.hidden),
        ] {
            need(stated == own, || part(name, stated, "the size that the checkpoint's config.json states"))?;
        }
        let fits = base.asks.places(c.max_tokens) <= found.max_tokens;
        let room = "at most the places that the checkpoint has; half of them under asks = \"answer\", one less under \"translate\"";
        need(fits, || part("model.max_tokens", c.max_tokens, room))?;
        let outside = (!base.frozen.is_empty()).then(|| Arc::new(base.frozen.iter().cloned().collect()));
        Ok(Self { outside, ..found })
    }

    /// Blocks of both sides.
    pub fn all_layers(&self) -> u32 {
        match self.family {
            Family::Encoder(_) | Family::Decoder => self.layers,
            Family::EncoderDecoder { decoder_layers, .. } => self.layers.saturating_add(decoder_layers),
        }
    }

    /// Whether a head over the vocabulary exists, K rows of a head over something else, or both.
    pub(crate) fn answers(&self) -> u32 {
        match self.family {
            Family::Encoder(Task::Classify { classes }) => classes,
            Family::Encoder(Task::Tag { labels }) => labels,
            Family::Encoder(Task::MaskedTokens) | Family::Decoder | Family::EncoderDecoder { .. } => self.vocab,
        }
    }

    /// Names of block `layer`, counted over both sides.
    pub(crate) fn block_names(&self, layer: u32) -> BlockNames {
        let (side, layer) = match self.family {
            Family::Encoder(_) => (Side::Encoder, layer),
            Family::Decoder => (Side::Decoder, layer),
            Family::EncoderDecoder { .. } if layer < self.layers => (Side::Encoder, layer),
            Family::EncoderDecoder { .. } => (Side::Decoder, layer - self.layers),
        };
        self.spelling.block(side, size(layer), self.feed_forward.gated())
    }

    fn check_sizes(&self) -> Result<(), ModelError> {
        let Self { vocab, max_tokens, width, heads, groups, head_width, hidden, layers, .. } = *self;
        let positive = [vocab, max_tokens, width, heads, groups, head_width, hidden, layers].iter().all(|&n| n > 0);
        need(positive, || ModelError::Sizes { width, heads })?;
        need(heads.is_multiple_of(groups), || part("groups", groups, "a divisor of the heads"))?;
        need(max_tokens <= MAX_TOKENS, || part("max_tokens", max_tokens, "at most 2^20"))?;
        need(self.all_layers() <= MAX_LAYERS, || part("layers", self.all_layers(), "at most 1024"))?;
        need(self.adapter.as_ref().is_none_or(|a| a.lora.rank > 0), || ModelError::Rank)?;
        let nested = || format!("{:?}", self.adapter.as_ref().map(|a| &a.nested[..]).unwrap_or_default());
        let rising = "ranks from 1 on that rise and stay below the adapter's";
        need(self.adapter.as_ref().is_none_or(Adapters::rises), || part("model.adapter.nested", nested(), rising))
    }

    fn check_parts(&self) -> Result<(), ModelError> {
        need((0.0..1.0).contains(&self.dropout), || part("dropout", self.dropout, "a chance of at least 0 and below 1"))?;
        let usable = self.epsilon.is_finite() && self.epsilon > 0.0;
        need(usable, || part("epsilon", self.epsilon, "a positive number"))?;
        need(self.stem.is_none_or(|k| (3..=5).contains(&k)), || part("stem", self.stem.unwrap_or(0), "a kernel of 3 to 5"))?;
        let near = |w: Window| w.reach > 0 && w.global <= self.max_tokens;
        need(self.window.is_none_or(near), || part("window", "no reach or too many global tokens", "a reach of at least 1"))?;
        match self.positions {
            Positions::Learned | Positions::Sinusoidal => Ok(()),
            Positions::Rotary { theta } => self.check_turns(theta),
            Positions::Stretched { theta, stretch } => {
                let expected = "a factor of at least 1, and two bounds of which the higher is the second";
                need(stretch.is_usable(), || part("stretch", format!("{stretch:?}"), expected))?;
                self.check_turns(theta)
            }
            Positions::Distances { buckets, farthest } => {
                need((4..=4096).contains(&buckets), || part("buckets", buckets, "4 to 4096"))?;
                need(farthest > buckets / 2, || part("farthest", farthest, "more than half the buckets"))
            }
        }
    }

    fn check_turns(&self, theta: f64) -> Result<(), ModelError> {
        need(theta.is_finite() && theta > 1.0, || part("theta", theta, "a number above 1"))?;
        need(self.head_width.is_multiple_of(2), || part("head_width", self.head_width, "an even number under rotary positions"))
    }

    fn check_family(&self) -> Result<(), ModelError> {
        let wrong_mask = |expected| part("mask", format!("{:?}", self.mask), expected);
        match self.family {
            Family::Encoder(_) => {
                need(self.answers() > 0, || part("classes", 0, "at least 1"))?;
                need(self.mask == MaskKind::Full, || wrong_mask("Full for an encoder"))?;
            }
            Family::Decoder => need(self.mask != MaskKind::Full, || wrong_mask("Causal or Prefix for a decoder"))?,
            Family::EncoderDecoder { decoder_layers, start, end } => {
                need(decoder_layers > 0, || part("decoder_layers", decoder_layers, "at least 1"))?;
                need(self.mask == MaskKind::Full, || wrong_mask("Full for an encoder-decoder"))?;
                need(start < self.vocab && end < self.vocab, || part("start and end", start.max(end), "tokens of the vocabulary"))?;
            }
        }
        let spelt = match (self.spelling, self.family) {
            (Spelling::Own, _) | (Spelling::Bert, Family::Encoder(_)) => true,
            (Spelling::Gpt2 | Spelling::Llama, Family::Decoder) | (Spelling::T5 | Spelling::Bart, Family::EncoderDecoder { .. }) => true,
            (Spelling::Bert, Family::Decoder | Family::EncoderDecoder { .. }) => false,
            (Spelling::T5 | Spelling::Bart, Family::Encoder(_) | Family::Decoder) => false,
            (Spelling::Gpt2 | Spelling::Llama, Family::Encoder(_) | Family::EncoderDecoder { .. }) => false,
        };
        need(spelt, || part("spelling", format!("{:?}", self.spelling), "the names of an architecture of this family"))?;
        self.check_entrances()?;
        if let Trained::Layers(range) = &self.trained {
            let there = !range.is_empty() && range.end <= self.all_layers();
            need(there, || part("layers", format!("{}..{}", range.start, range.end), "a range of the model's blocks"))?;
        }
        Ok(())
    }

    /// Only BART's sides have places of their own, and token vectors that are multiplied before.
    fn check_entrances(&self) -> Result<(), ModelError> {
        if self.spelling != Spelling::Bart {
            return need(self.inputs == Inputs::Plain, || {
                part("inputs", format!("{:?}", self.inputs), "Plain under other names than BART's")
            });
        }
        let learned = self.positions == Positions::Learned && self.stem.is_none() && self.segments == 0;
        need(learned, || part("positions", format!("{:?}", self.positions), "Learned, without stem and segments, under BART's names"))
    }

    /// An upper bound on all numbers of the model, trained or not, in u128: products of u32 could wrap.
    fn coordinates(&self) -> u128 {
        let [v, t, c, f] = [self.vocab, self.max_tokens, self.width, self.hidden].map(u128::from);
        let heads = u128::from(self.head_width) * (u128::from(self.heads) + 2 * u128::from(self.groups));
        let r = self.adapter.as_ref().map_or(0, |a| u128::from(a.lora.rank));
        let attention = (heads + u128::from(self.head_width) * u128::from(self.heads)) * (c + 1) + r * (8 * c + 4 * heads);
        let block = 2 * attention + 3 * f * (c + 1) + 3 * r * (c + f) + 8 * c;
        let stem = self.stem.map_or(0, |k| u128::from(k) * c * c + c);
        let distances = match self.positions {
            Positions::Distances { buckets, .. } => 2 * u128::from(buckets) * u128::from(self.heads),
            Positions::Learned | Positions::Sinusoidal | Positions::Rotary { .. } | Positions::Stretched { .. } => 0,
        };
        let places = match self.positions {
            Positions::Learned if self.spelling == Spelling::Bart => 2 * (t + 2),
            Positions::Learned => t,
            Positions::Sinusoidal | Positions::Rotary { .. } | Positions::Stretched { .. } | Positions::Distances { .. } => 0,
        };
        let answers = u128::from(self.answers()) * (c + 1) + c * c + 4 * c;
        (v + places + u128::from(self.segments)) * c + stem + distances + u128::from(self.all_layers()) * block + answers + 6 * c
    }
}
