//! From tokens to scores.

use super::places::{Affine, End, LayerAt, NormAt};
use super::reading::{Aims, Reading};
use super::scratch::{Block, Scratch, Squares, Top, copied, room};
use super::{Direct, DirectError, Keep};
use crate::batch::Spans;
use crate::kernels::{gelu, norm, softmax};
use crate::model::parameters::size;
use crate::ops::{Old, View, product_into};

/// One norm's tensors.
pub(super) fn gain_of(w: &[f32], at: NormAt, c: usize) -> (&[f32], Option<&[f32]>) {
    (&w[at.gain..][..c], at.shift.map(|shift| &w[shift..][..c]))
}

/// `out = x Wᵀ + b`, or added to what is there. In `(N, D)`, out `(N, P)`.
pub(super) fn affine(w: &[f32], at: Affine, x: &[f32], out: &mut [f32], old: Old) -> Result<(), DirectError> {
    let (d, p) = (at.inputs, at.outputs);
    let n = x.len() / d;
    let old = match (at.bias, old) {
        (None, old) => old,
        (Some(bias), Old::Dropped) => {
            out.chunks_exact_mut(p).for_each(|row| row.copy_from_slice(&w[bias..][..p]));
            Old::Kept
        }
        (Some(bias), Old::Kept) => {
            out.chunks_exact_mut(p).for_each(|row| crate::kernels::sums::add(row, &w[bias..][..p]));
            Old::Kept
        }
    };
    Ok(product_into(out, View::matrix(0, n, p), (x, View::matrix(0, n, d)), (w, View::matrix(at.weight, p, d).t()), old)?)
}

impl Direct {
    /// Refuses weights and readings of another model.
    pub(super) fn check(&self, weights: &[f32], reading: &Reading) -> Result<(), DirectError> {
        let p = &self.places;
        if weights.len() != p.len {
            return Err(DirectError::Length { got: weights.len(), expected: p.len });
        }
        match (&reading.aims, p.end) {
            (Aims::Next(_), End::NextToken(end)) | (Aims::Classes(_), End::Classes(end)) => {
                reading.check(p.vocab, p.max_tokens, end.outputs)
            }
            (Aims::Next(_), End::Classes(_)) | (Aims::Classes(_), End::NextToken(_)) => Err(DirectError::OtherFamily),
        }
    }

    /// Rows of the two tables, added.
    fn embed(&self, w: &[f32], reading: &Reading, out: &mut [f32]) {
        let (c, p) = (self.places.width, &self.places);
        for rows in reading.spans.iter() {
            for (place, row) in rows.enumerate() {
                let token = &w[p.tokens + size(reading.tokens[row]) * c..][..c];
                let position = &w[p.positions + place * c..][..c];
                out[row * c..][..c].iter_mut().zip(token.iter().zip(position)).for_each(|(o, (t, p))| *o = t + p);
            }
        }
    }

    /// A norm of the stream: fills x̂, deviations and the shown rows.
    fn normed(&self, w: &[f32], at: NormAt, stream: &[f32], (normal, scales, shown): (&mut Vec<f32>, &mut Vec<f32>, &mut Vec<f32>)) {
        let c = self.places.width;
        let normal = copied(normal, stream);
        norm::standardise(normal, c, room(scales, stream.len() / c), (self.places.kind, norm::EPSILON));
        let (gain, shift) = gain_of(w, at, c);
        let shown = room(shown, stream.len());
        norm::scale(normal, gain, shift, shown);
        self.narrow(shown);
    }

    /// One block: the stream `(N, C)` is moved on in place.
    pub(super) fn block(
        &self,
        w: &[f32],
        at: &LayerAt,
        (stream, spans): (&mut [f32], &Spans),
        kept: &mut Block,
        squares: &mut Squares,
    ) -> Result<(), DirectError> {
        let (c, f) = (self.places.width, self.places.hidden);
        let n = stream.len() / c;
        let ([normal_a, normal_f], [scales_a, scales_f]) = (&mut kept.normal, &mut kept.scales);
        let [shown_a, shown_f] = &mut kept.shown;
        self.normed(w, at.attention_norm, stream, (normal_a, scales_a, shown_a));
        let qkv = room(&mut kept.qkv, n * 3 * c);
        affine(w, at.qkv, &shown_a[..n * c], qkv, Old::Dropped)?;
        self.narrow(qkv);
        let mixed = room(&mut kept.mixed, n * c);
        self.attend(qkv, spans, squares, mixed)?;
        self.narrow(mixed);
        affine(w, at.output, mixed, stream, Old::Kept)?;
        self.normed(w, at.feed_forward_norm, stream, (normal_f, scales_f, shown_f));
        let wide = room(&mut kept.wide, n * f);
        affine(w, at.up, &shown_f[..n * c], wide, Old::Dropped)?;
        let gated = room(&mut kept.gated, n * f);
        gelu::gelu(wide, gated);
        self.narrow(gated);
        affine(w, at.down, gated, stream, Old::Kept)
    }

    /// Everything up to the scores, which end in `scratch.top`.
    pub(super) fn forward(&self, w: &[f32], reading: &Reading, scratch: &mut Scratch) -> Result<(), DirectError> {
        self.check(w, reading)?;
        let (n, c) = (reading.rows(), self.places.width);
        let Scratch { stream, inputs, blocks, top, squares, .. } = scratch;
        let stream = room(stream, n * c);
        self.embed(w, reading, stream);
        let layers = self.places.layers.len();
        blocks.resize_with(blocks.len().max(layers), Block::default);
        inputs.resize_with(inputs.len().max(layers), Vec::new);
        for (i, at) in self.places.layers.iter().enumerate() {
            let kept = match self.keep {
                Keep::Everything => &mut blocks[i],
                Keep::Inputs => {
                    copied(&mut inputs[i], stream);
                    &mut blocks[0]
                }
            };
            self.block(w, at, (&mut *stream, &reading.spans), kept, squares)?;
        }
        self.normed(w, self.places.norm, stream, (&mut top.normal, &mut top.scales, &mut top.shown));
        self.score(w, reading, top)
    }

    fn score(&self, w: &[f32], reading: &Reading, top: &mut Top) -> Result<(), DirectError> {
        let (n, c) = (reading.rows(), self.places.width);
        match self.places.end {
            End::NextToken(head) => affine(w, head, &top.shown[..n * c], room(&mut top.scores, n * head.outputs), Old::Dropped),
            End::Classes(head) => {
                let pooled = room(&mut top.pooled, reading.records() * c);
                for (rows, mean) in reading.spans.iter().zip(pooled.chunks_exact_mut(c)) {
                    mean.fill(0.0);
                    crate::kernels::sums::columns(mean, &top.shown[rows.start * c..rows.end * c]);
                    mean.iter_mut().for_each(|v| *v *= share(rows.len()));
                }
                self.narrow(pooled);
                affine(w, head, pooled, room(&mut top.scores, reading.records() * head.outputs), Old::Dropped)
            }
        }
    }

    /// Loss of each record in nats: the mean over its foretold tokens, or that of its class. Keeps nothing that a gradient needs.
    ///
    /// # Errors
    /// [`DirectError`].
    pub fn losses(&self, weights: &[f32], reading: &Reading, scratch: &mut Scratch) -> Result<Vec<f64>, DirectError> {
        let scores = self.scores(weights, reading, scratch)?;
        let surprise = |row: &[f32], aim: u32| f64::from(softmax::log_normaliser(row) - row[size(aim)]);
        Ok(match (&reading.aims, self.places.end) {
            (Aims::Classes(aims), End::Classes(head) | End::NextToken(head)) => {
                scores.chunks_exact(head.outputs).zip(aims).map(|(row, &aim)| surprise(row, aim)).collect()
            }
            (Aims::Next(aims), End::Classes(head) | End::NextToken(head)) => {
                let row = |t: usize| surprise(&scores[t * head.outputs..][..head.outputs], aims[t]);
                reading.spans.iter().map(|rows| f64::from(share(rows.len())) * rows.map(row).sum::<f64>()).collect()
            }
        })
    }

    /// Scores: `(N, V)` of the next token, or `(B, K)` of classes.
    ///
    /// # Errors
    /// [`DirectError`].
    pub fn scores<'s>(&self, weights: &[f32], reading: &Reading, scratch: &'s mut Scratch) -> Result<&'s [f32], DirectError> {
        self.forward(weights, reading, scratch)?;
        let len = match self.places.end {
            End::NextToken(head) => reading.rows() * head.outputs,
            End::Classes(head) => reading.records() * head.outputs,
        };
        Ok(&scratch.top.scores[..len])
    }
}

/// One row's part in a mean over so many.
#[expect(clippy::cast_precision_loss, reason = "a record has at most 8192 tokens")]
pub(super) fn share(rows: usize) -> f32 {
    (rows.max(1) as f32).recip()
}
