//! Heads: what a model says about the vectors that its blocks have made.

use super::block::BlockShape;
use super::config::{Choices, Family, Outputs, Task};
use super::decoder::Head;
use super::linear::{self, Linear, LinearParts, spread};
use super::names::Spelling;
use super::norm::{self, Norm};
use super::parameters::{Listing, Start, Values, size};
use crate::batch::Spans;
use crate::capture::Tape;
use crate::ops::activation::{Activation, activation};
use crate::ops::pool::mean_pool;
use crate::ops::rows::pick;
use candle_core::{Result, Tensor};

/// What is done to `(N, C)`.
enum Kind {
    /// One vector per record, then K scores.
    Classify { pooler: Option<Linear>, classifier: Linear },
    /// K scores per token.
    Tag(Linear),
    /// V scores per token.
    Tokens { transform: Option<(Linear, Norm, Activation)>, head: Linear, scale: Option<f64> },
}

/// The head of a model.
pub(crate) struct Heads {
    kind: Kind,
    /// Whether any of it is trained.
    trained: bool,
    dropout: f32,
}

/// Blocks count theirs from 0, tables have the last one.
const DROPOUT_SITE: u64 = u64::MAX - 1;

pub(crate) fn declare(choices: &Choices, listing: &mut Listing) {
    let (spelling, c) = (choices.spelling, size(choices.width));
    let over = |answers: u32, listing: &mut Listing| {
        linear::declare(spelling.classifier(), (c, size(answers)), LinearParts::default(), listing);
    };
    match choices.family {
        Family::Encoder(Task::Classify { classes }) => {
            if let Some(pooler) = spelling.pooler() {
                linear::declare(pooler, (c, c), LinearParts::default(), listing);
            }
            over(classes, listing);
        }
        Family::Encoder(Task::Tag { labels }) => over(labels, listing),
        Family::Encoder(Task::MaskedTokens) => {
            if let Some([dense, norm, shift]) = spelling.transform() {
                linear::declare(dense, (c, c), LinearParts::default(), listing);
                norm::declare(norm, choices.norm, c, listing);
                listing.add(shift.into(), &[size(choices.vocab)], Start::Zero);
            }
            declare_tokens(choices, listing);
        }
        Family::Decoder | Family::EncoderDecoder { .. } => {
            if let Some(shift) = spelling.head_shift() {
                listing.add(shift.into(), &[size(choices.vocab)], Start::Zero);
            }
            declare_tokens(choices, listing);
        }
    }
}

fn declare_tokens(choices: &Choices, listing: &mut Listing) {
    match choices.head {
        Head::Tied => {}
        Head::Own => {
            let c = size(choices.width);
            listing.add(choices.spelling.head().into(), &[size(choices.vocab), c], spread(c, 1.0));
        }
    }
}

impl Heads {
    pub(crate) fn load(choices: &Choices, shape: &BlockShape, values: Values<'_>) -> Result<Self> {
        let spelling: Spelling = choices.spelling;
        let load = |name: &str| Linear::load(name, None, values);
        let kind = match choices.family {
            Family::Encoder(Task::Classify { .. }) => {
                Kind::Classify { pooler: spelling.pooler().map(load).transpose()?, classifier: load(spelling.classifier())? }
            }
            Family::Encoder(Task::Tag { .. }) => Kind::Tag(load(spelling.classifier())?),
            Family::Encoder(Task::MaskedTokens) => match spelling.transform() {
                Some([dense, norm, shift]) => {
                    let head = tokens(choices, values)?.shifted(values.load(shift)?);
                    let transform = (load(dense)?, Norm::load(norm, shape, values)?, choices.feed_forward.activation());
                    Kind::Tokens { transform: Some(transform), head, scale: None }
                }
                None => Kind::Tokens { transform: None, head: tokens(choices, values)?, scale: None },
            },
            Family::Decoder | Family::EncoderDecoder { .. } => {
                let head = match spelling.head_shift() {
                    Some(shift) => tokens(choices, values)?.shifted(values.load(shift)?),
                    None => tokens(choices, values)?,
                };
                Kind::Tokens { transform: None, head, scale: scale(choices) }
            }
        };
        let names = spelling.transform().into_iter().flatten().chain(spelling.pooler()).chain(spelling.head_shift());
        let names = names.chain([spelling.classifier(), spelling.head()]);
        let trained = names.into_iter().any(|name| values.trains(name));
        Ok(Self { kind, trained, dropout: choices.dropout })
    }

    /// # Shape
    /// in `(N, C)`; out `(B, K)` of a classifier, else `(N, K)` or `(N, V)`.
    pub(crate) fn forward(&self, x: Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let x = tape.begin(x, self.trained, spans)?;
        match &self.kind {
            Kind::Classify { pooler, classifier } => {
                let single = Spans::single_rows(spans.records());
                let pooled = match pooler {
                    None => mean_pool(&x, spans)?, // (N, C) -> (B, C)
                    Some(pooler) => {
                        let first = pick(&x, spans.iter().map(|mut rows| rows.next()))?; // (N, C) -> (B, C)
                        activation(&pooler.forward(&first, &single, tape)?, Activation::Tanh)?
                    }
                };
                let pooled = tape.drop_out(&pooled, self.dropout, DROPOUT_SITE, &single)?;
                classifier.forward(&pooled, &single, tape) // (B, C) -> (B, K)
            }
            Kind::Tag(classifier) => classifier.forward(&tape.drop_out(&x, self.dropout, DROPOUT_SITE, spans)?, spans, tape),
            Kind::Tokens { transform, head, scale } => {
                let mut x = x;
                if let Some((dense, norm, curve)) = transform {
                    x = norm.forward(&activation(&dense.forward(&x, spans, tape)?, *curve)?, spans, tape)?;
                }
                if let Some(scale) = scale {
                    x = (x * *scale)?;
                }
                head.forward(&x, spans, tape) // (N, C) -> (N, V)
            }
        }
    }
}

fn tokens(choices: &Choices, values: Values<'_>) -> Result<Linear> {
    match choices.head {
        Head::Tied => Linear::bare(choices.spelling.tokens(), values),
        Head::Own => Linear::bare(choices.spelling.head(), values),
    }
}

fn scale(choices: &Choices) -> Option<f64> {
    match choices.outputs {
        Outputs::Plain => None,
        Outputs::Shrunk => Some(f64::from(choices.width).sqrt().recip()),
    }
}
