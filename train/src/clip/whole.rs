//! The oracle of every family: a whole model of whatever parts, one record at a time, in 64 bits, ordinary autodiff, stock operations only
//! (privacy.md D42). Written from the parts' published definitions; with the model under test it shares the configuration and the tensors' names
//! and numbers, and no operation.

use super::naive::Naive;
use crate::batch::{Record, UNASKED};
use crate::model::config::{
    Activation, Family, FeedForwardKind, Inputs, MaskKind, NormPlace, Outputs, Positions, Scores, Stretch, Task, Window,
};
use crate::model::decoder::Head;
use crate::model::names::{AttentionNames, BlockNames, Projections, Side};
use crate::model::parameters::size;
use crate::model::{Config, TransformerWeights};
use crate::ops::relative::Buckets;
use candle_core::{D, Device, Result, Tensor};
use std::ops::Range;

/// A model written again.
pub(super) struct Whole<'a> {
    weights: &'a TransformerWeights,
    config: &'a Config,
    naive: Naive,
}

/// Whom the tokens of a sequence hear.
#[derive(Clone, Copy)]
struct Hearing {
    mask: MaskKind,
    /// First tokens that all hear, under a prefix mask.
    prefix: usize,
    window: Option<Window>,
}

impl Hearing {
    /// `(1, N, N)`: 0 where a token hears another, else far below every score.
    fn mask(self, n: usize) -> Result<Tensor> {
        let hears = |i: usize, j: usize| {
            let ordered = match self.mask {
                MaskKind::Full => true,
                MaskKind::Causal => j <= i,
                MaskKind::Prefix => j <= i || j < self.prefix,
            };
            ordered && self.window.is_none_or(|w| i.abs_diff(j) <= size(w.reach) || i.min(j) < size(w.global))
        };
        let numbers = (0..n * n).map(|at| if hears(at / n, at % n) { 0.0 } else { -1e9 });
        Tensor::from_vec(numbers.collect::<Vec<f64>>(), (1, n, n), &Device::Cpu)
    }
}

impl<'a> Whole<'a> {
    pub(super) fn new(weights: &'a TransformerWeights) -> Self {
        let config = weights.config();
        let scale = config.adapter.as_ref().map_or(1.0, |a| f64::from(a.lora.alpha) / f64::from(a.lora.rank));
        let tables = [(weights.table(), weights.flat()), (weights.frozen_table(), weights.frozen())];
        Self { weights, config, naive: Naive::new(config.heads, scale, &tables) }
    }

    /// Flat gradient of the mean of the records' losses.
    pub(super) fn gradient(&self, records: &[Record]) -> Vec<f64> {
        self.naive.gradient(self.weights.table(), records, |_, record| self.loss(record))
    }

    fn var(&self, name: &str) -> &Tensor {
        self.naive.var(name)
    }

    fn loss(&self, record: &Record) -> Result<Tensor> {
        let (c, most) = (self.config, size(self.config.max_tokens));
        let [tokens, labels] = [&record.tokens, &record.labels].map(|all| &all[..all.len().min(most)]);
        let hearing = Hearing { mask: c.mask, prefix: tokens.len(), window: c.window };
        match c.family {
            Family::Encoder(task) => {
                let x = self.stack(Side::Encoder, 0..c.layers, self.embed(tokens)?, hearing, None)?;
                match task {
                    Task::Classify { .. } => surprise(&self.classify(&x)?, &[Some(size(record.class))]),
                    Task::Tag { .. } => surprise(&self.naive.linear(c.spelling.classifier(), &x)?, &asked(labels)),
                    Task::MaskedTokens => surprise(&self.over_tokens(&x)?, &asked(labels)),
                }
            }
            Family::Decoder => {
                let sequence: Vec<u32> = tokens.iter().chain(labels).copied().take(most).collect();
                let first = if labels.is_empty() && c.mask != MaskKind::Prefix { 1 } else { tokens.len().max(1) };
                let answer = |next: usize| sequence.get(next).filter(|_| next >= first).map(|&t| size(t));
                let answers: Vec<Option<usize>> = (1..=sequence.len()).map(answer).collect();
                let x = self.stack(Side::Decoder, 0..c.layers, self.embed(&sequence)?, hearing, None)?;
                surprise(&self.over_tokens(&x)?, &answers)
            }
            Family::EncoderDecoder { start, end, .. } => {
                let labels = &labels[..labels.len().min(most - 1)];
                let source = self.enter(Side::Encoder, self.embed(tokens)?)?;
                let read = self.stack(Side::Encoder, 0..c.layers, source, Hearing { mask: MaskKind::Full, ..hearing }, None)?;
                let written = labels.iter().map(|&l| if l == UNASKED { end } else { l });
                let target = self.embed(&std::iter::once(start).chain(written).collect::<Vec<u32>>())?;
                let target = self.enter(Side::Decoder, target)?;
                let causal = Hearing { mask: MaskKind::Causal, ..hearing };
                let x = self.stack(Side::Decoder, c.layers..c.all_layers(), target, causal, Some(&read))?;
                surprise(&self.over_tokens(&x)?, &asked(&[labels, &[end]].concat()))
            }
        }
    }

    /// Rows of the tables, and what is done to them: `(N)` to `(N, C)`.
    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let (c, n) = (self.config, tokens.len());
        let ids = Tensor::from_vec(tokens.to_vec(), n, &Device::Cpu)?;
        let mut x = self.var(c.spelling.tokens()).index_select(&ids, 0)?;
        match c.positions {
            Positions::Learned if c.spelling.entrance(Side::Encoder).is_some() => {} // each side adds its own
            Positions::Learned => x = (x + self.var(c.spelling.places()).narrow(0, 0, n)?)?,
            Positions::Sinusoidal => x = (x + sines(n, size(c.width))?)?,
            Positions::Rotary { .. } | Positions::Stretched { .. } | Positions::Distances { .. } => {}
        }
        if c.segments > 0 {
            x = x.broadcast_add(&self.var(c.spelling.segments()).narrow(0, 0, 1)?)?;
        }
        if let Some(kernel) = c.stem {
            x = self.stem(&x, size(kernel))?;
        }
        match c.spelling.embedding_norm() {
            Some(name) => self.naive.norm(name, &x),
            None => Ok(x),
        }
    }

    /// What each side of BART does to rows of the shared table: its places begin in the third row of their table.
    fn enter(&self, side: Side, x: Tensor) -> Result<Tensor> {
        let (c, n) = (self.config, x.dim(0)?);
        let Some(names) = c.spelling.entrance(side) else { return Ok(x) };
        let x = match c.inputs {
            Inputs::Plain => x,
            Inputs::Grown => (x * f64::from(c.width).sqrt())?,
        };
        self.naive.norm(&names.norm, &(x + self.var(&names.places).narrow(0, 2, n)?)?)
    }

    /// A convolution over the text: around a token where everything is read, behind it where something is written.
    fn stem(&self, x: &Tensor, kernel: usize) -> Result<Tensor> {
        let before = if matches!(self.config.family, Family::Encoder(_)) { (kernel - 1) / 2 } else { kernel - 1 };
        let (n, padded) = (x.dim(0)?, x.pad_with_zeros(0, before, kernel - 1 - before)?);
        let slots = (0..kernel).map(|slot| padded.narrow(0, slot, n)).collect::<Result<Vec<Tensor>>>()?;
        let seen = self.naive.linear(self.config.spelling.stem(), &Tensor::cat(&slots, 1)?)?; // (N, K·C) -> (N, C)
        x + bent(&seen, Activation::GeluTanh)?
    }

    fn stack(&self, side: Side, layers: Range<u32>, mut x: Tensor, hearing: Hearing, memory: Option<&Tensor>) -> Result<Tensor> {
        let c = self.config;
        let bias = self.distances(side, x.dim(0)?, hearing.mask)?;
        for layer in layers {
            let names = c.block_names(layer);
            x = self.step(&x, &names.attention.norm, |x| self.attend(&names.attention, (x, x), Some(hearing), bias.as_ref()))?;
            if let Some(memory) = memory {
                x = self.step(&x, &names.cross.norm, |x| self.attend(&names.cross, (x, memory), None, None))?;
            }
            x = self.step(&x, &names.feed_forward_norm, |x| self.feed_forward(&names, x))?;
        }
        match c.place {
            NormPlace::Before => self.naive.norm(&c.spelling.last_norm(side), &x),
            NormPlace::After => Ok(x),
        }
    }

    /// One part of a block, added to what was there before.
    fn step(&self, x: &Tensor, norm: &str, part: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        match self.config.place {
            NormPlace::Before => x + part(&self.naive.norm(norm, x)?)?,
            NormPlace::After => self.naive.norm(norm, &(x + part(x)?)?),
        }
    }

    /// What scores are raised by: `(H, N, N)`, the same in all blocks of a side.
    fn distances(&self, side: Side, n: usize, mask: MaskKind) -> Result<Option<Tensor>> {
        let Positions::Distances { buckets, farthest } = self.config.positions else { return Ok(None) };
        let buckets = Buckets { count: size(buckets), farthest: size(farthest), both_ways: mask != MaskKind::Causal };
        let ids: Vec<u32> = (0..n * n).map(|at| u32::try_from(buckets.of(at / n, at % n)).unwrap()).collect();
        let table = self.var(&self.config.spelling.distances(side));
        let rows = table.index_select(&Tensor::from_vec(ids, n * n, &Device::Cpu)?, 0)?; // (N², H)
        Ok(Some(rows.reshape((n, n, size(self.config.heads)))?.permute((2, 0, 1))?.contiguous()?))
    }

    /// Tokens of the first ask those of the second: themselves as far as they hear each other, or all of what another stack has read.
    fn attend(&self, names: &AttentionNames, of: (&Tensor, &Tensor), own: Option<Hearing>, bias: Option<&Tensor>) -> Result<Tensor> {
        let c = self.config;
        let ([h, g, d], (n, m)) = ([c.heads, c.groups, c.head_width].map(size), (of.0.dim(0)?, of.1.dim(0)?));
        let [q, k, v] = match &names.projections {
            Projections::Fused(name) => {
                let all = self.naive.linear(name, of.0)?;
                [all.narrow(1, 0, h * d)?, all.narrow(1, h * d, g * d)?, all.narrow(1, (h + g) * d, g * d)?]
            }
            Projections::Apart([q, k, v]) => [self.naive.linear(q, of.0)?, self.naive.linear(k, of.1)?, self.naive.linear(v, of.1)?],
        };
        let heads = |y: &Tensor, rows: usize, count: usize| y.reshape((rows, count, d))?.transpose(0, 1)?.contiguous();
        let (mut q, mut k, v) = (heads(&q, n, h)?, heads(&k, m, g)?, heads(&v, m, g)?);
        if let (Some(_), Some((theta, stretch))) = (own, c.positions.turns()) {
            (q, k) = (turned(&q, theta, stretch)?, turned(&k, theta, stretch)?);
        }
        // Neighbouring heads share a group's keys and values: (G, M, D) -> (H, M, D).
        let shared = |y: &Tensor| -> Result<Tensor> {
            let copies = vec![y.unsqueeze(1)?; h / g];
            Tensor::cat(&copies, 1)?.reshape((h, m, d))
        };
        let scale = match c.scores {
            Scores::Scaled => (d as f64).sqrt().recip(),
            Scores::Plain => 1.0,
        };
        let mut scores = (q.matmul(&shared(&k)?.transpose(1, 2)?.contiguous()?)? * scale)?; // (H, N, M)
        if let Some(bias) = bias {
            scores = (scores + bias)?;
        }
        if let Some(hearing) = own {
            scores = scores.broadcast_add(&hearing.mask(n)?)?;
        }
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        let mixed = p.matmul(&shared(&v)?.contiguous()?)?.transpose(0, 1)?.contiguous()?.reshape((n, h * d))?;
        self.naive.linear(&names.output, &mixed)
    }

    fn feed_forward(&self, names: &BlockNames, x: &Tensor) -> Result<Tensor> {
        let up = self.naive.linear(&names.up, x)?;
        let bent = match self.config.feed_forward {
            FeedForwardKind::Plain(curve) => bent(&up, curve)?,
            FeedForwardKind::Gated(curve) => (bent(&self.naive.linear(&names.gate, x)?, curve)? * up)?,
        };
        self.naive.linear(&names.down, &bent)
    }

    /// The first token through a pooler, or the mean of all: `(N, C)` to `(1, K)`.
    fn classify(&self, x: &Tensor) -> Result<Tensor> {
        let pooled = match self.config.spelling.pooler() {
            Some(pooler) => bent(&self.naive.linear(pooler, &x.narrow(0, 0, 1)?)?, Activation::Tanh)?,
            None => x.mean_keepdim(0)?,
        };
        self.naive.linear(self.config.spelling.classifier(), &pooled)
    }

    /// A score for every token of the vocabulary: `(N, C)` to `(N, V)`.
    fn over_tokens(&self, x: &Tensor) -> Result<Tensor> {
        let (c, mut x, mut shift) = (self.config, x.clone(), None);
        match (c.family, c.spelling.transform()) {
            (Family::Encoder(_), Some([dense, norm, bias])) => {
                x = self.naive.norm(norm, &bent(&self.naive.linear(dense, &x)?, c.feed_forward.activation())?)?;
                shift = Some(bias);
            }
            (Family::Encoder(_), None) => {}
            (Family::Decoder | Family::EncoderDecoder { .. }, _) => {
                shift = c.spelling.head_shift();
                match c.outputs {
                    Outputs::Plain => {}
                    Outputs::Shrunk => x = (x / f64::from(c.width).sqrt())?,
                }
            }
        }
        let head = match c.head {
            Head::Tied => c.spelling.tokens(),
            Head::Own => c.spelling.head(),
        };
        let scores = x.matmul(&self.var(head).t()?)?;
        match shift {
            Some(name) => scores.broadcast_add(self.var(name)),
            None => Ok(scores),
        }
    }
}

fn asked(labels: &[u32]) -> Vec<Option<usize>> {
    labels.iter().map(|&l| (l != UNASKED).then(|| size(l))).collect()
}

/// Mean of −ln p over the rows that are asked; 0, with a gradient of zero, where none is.
fn surprise(scores: &Tensor, answers: &[Option<usize>]) -> Result<Tensor> {
    let mut loss = (scores.sum_all()? * 0.0)?;
    let count = answers.iter().flatten().count().max(1) as f64;
    for (at, answer) in answers.iter().enumerate() {
        if let Some(answer) = answer {
            let row = scores.get(at)?;
            loss = (loss + ((row.exp()?.sum_all()?.log()? - row.get(*answer)?)? / count)?)?;
        }
    }
    Ok(loss)
}

/// Curves by their definitions: the engine's own derivatives of GELU have constants of six digits.
fn bent(x: &Tensor, curve: Activation) -> Result<Tensor> {
    match curve {
        Activation::GeluTanh => {
            let cube = (x.sqr()? * x)?;
            let inner = ((x + cube.affine(0.044_715, 0.0)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
            x * inner.tanh()?.affine(0.5, 0.5)?
        }
        Activation::Gelu => x * (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?,
        Activation::Silu => x / (x.neg()?.exp()? + 1.0)?,
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
    }
}

/// sin(p / 10000^(2i/C)) at coordinate 2i and the cosine at 2i + 1: `(N, C)`.
fn sines(n: usize, c: usize) -> Result<Tensor> {
    let number = |at: usize| {
        let (place, i) = (at / c, at % c);
        let angle = place as f64 / 10_000f64.powf((i - i % 2) as f64 / c as f64);
        if i % 2 == 0 { angle.sin() } else { angle.cos() }
    };
    Tensor::from_vec((0..n * c).map(number).collect::<Vec<f64>>(), (n, c), &Device::Cpu)
}

/// What is left of the speed of a pair that turns once in `wavelength` tokens, as Llama 3.1's reference has it.
fn speed(wavelength: f64, stretch: Option<Stretch>) -> f64 {
    match stretch {
        None => 1.0,
        Some(Stretch::Even { factor }) => 1.0 / factor,
        Some(Stretch::Slow { high, tokens, .. }) if wavelength < tokens / high => 1.0,
        Some(Stretch::Slow { factor, low, tokens, .. }) if wavelength > tokens / low => 1.0 / factor,
        Some(Stretch::Slow { factor, low, high, tokens }) => {
            let smooth = (tokens / wavelength - low) / (high - low);
            (1.0 - smooth) / factor + smooth
        }
    }
}

/// Coordinate i of every head with i + D/2, turned by place / θ^(2i/D), or slower: in and out `(H, N, D)`.
fn turned(x: &Tensor, theta: f64, stretch: Option<Stretch>) -> Result<Tensor> {
    let (_, n, d) = x.dims3()?;
    let half = d / 2;
    let table = |of: fn(f64) -> f64| {
        let angle = |at: usize| {
            let period = theta.powf(2.0 * (at % half) as f64 / d as f64);
            (at / half) as f64 / period * speed(2.0 * std::f64::consts::PI * period, stretch)
        };
        Tensor::from_vec((0..n * half).map(|at| of(angle(at))).collect::<Vec<f64>>(), (1, n, half), &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[first, second], 2)
}
