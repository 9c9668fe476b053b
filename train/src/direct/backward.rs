//! From scores back to every weight.

use super::forward::{gain_of, share};
use super::places::{Affine, End, LayerAt, NormAt};
use super::reading::{Aims, Reading};
use super::scratch::{Block, Flow, Scratch, Squares, Top, room};
use super::{Direct, DirectError, Keep};
use crate::batch::Spans;
use crate::kernels::gelu;
use crate::kernels::norm::{self, Back, gain_gradient};
use crate::kernels::softmax::surprise;
use crate::kernels::sums::{add, columns};
use crate::model::parameters::size;
use crate::ops::{Old, View, product_into};

/// Adds a linear layer's gradients, and gives that of its input. Input `(N, D)`, gradient `(N, P)`.
fn affine_back(w: &[f32], at: Affine, x: &[f32], g: &[f32], dx: &mut [f32], grad: &mut [f32]) -> Result<(), DirectError> {
    let (d, p) = (at.inputs, at.outputs);
    let n = x.len() / d;
    let g_view = View::matrix(0, n, p);
    product_into(grad, View::matrix(at.weight, p, d), (g, g_view.t()), (x, View::matrix(0, n, d)), Old::Kept)?;
    if let Some(bias) = at.bias {
        columns(&mut grad[bias..][..p], g);
    }
    Ok(product_into(dx, View::matrix(0, n, d), (g, g_view), (w, View::matrix(at.weight, p, d)), Old::Dropped)?)
}

impl Direct {
    /// Adds the gradient of `Σ share · loss` over the records to `grad`, and returns each record's loss in nats.
    ///
    /// # Shape
    /// `weights` and `grad` are whole flat vectors; `share` is the same for all records.
    ///
    /// # Errors
    /// [`DirectError`]; `grad` may then hold a part of the gradient.
    pub fn gradient(
        &self,
        weights: &[f32],
        (reading, share_of_record): (&Reading, f32),
        scratch: &mut Scratch,
        grad: &mut [f32],
    ) -> Result<Vec<f64>, DirectError> {
        if grad.len() != self.places.len {
            return Err(DirectError::Length { got: grad.len(), expected: self.places.len });
        }
        self.forward(weights, reading, scratch)?;
        let (n, c) = (reading.rows(), self.places.width);
        let losses = self.surprises(reading, share_of_record, &mut scratch.top);
        let Scratch { inputs, blocks, top, flow, squares, .. } = scratch;
        self.top_back(weights, reading, top, flow, grad)?;
        for (i, at) in self.places.layers.iter().enumerate().rev() {
            let kept = match self.keep {
                Keep::Everything => &mut blocks[i],
                Keep::Inputs => {
                    self.block(weights, at, (&mut inputs[i][..n * c], &reading.spans), &mut blocks[0], squares)?;
                    &mut blocks[0]
                }
            };
            self.block_back(weights, at, &reading.spans, (&*kept, n), (&mut *flow, &mut *squares), grad)?;
        }
        self.embed_back(reading, &flow.stream[..n * c], grad);
        Ok(losses)
    }

    /// Turns scores into their gradients, and gives the losses.
    fn surprises(&self, reading: &Reading, weight: f32, top: &mut Top) -> Vec<f64> {
        let k = match self.places.end {
            End::NextToken(head) | End::Classes(head) => head.outputs,
        };
        match &reading.aims {
            Aims::Classes(aims) => {
                let rows = top.scores.chunks_exact_mut(k).zip(aims);
                rows.map(|(row, &aim)| f64::from(surprise(row, size(aim), weight))).collect()
            }
            Aims::Next(aims) => {
                let of_record = |rows: std::ops::Range<usize>| {
                    let part = share(rows.len());
                    let row = |t: usize| f64::from(surprise(&mut top.scores[t * k..][..k], size(aims[t]), weight * part));
                    rows.map(row).sum::<f64>() * f64::from(part)
                };
                reading.spans.iter().map(of_record).collect()
            }
        }
    }

    /// The head and the last norm: leaves the gradient of the stream in `flow.stream`.
    fn top_back(&self, w: &[f32], reading: &Reading, top: &mut Top, flow: &mut Flow, grad: &mut [f32]) -> Result<(), DirectError> {
        let (n, c, b) = (reading.rows(), self.places.width, reading.records());
        let stream = room(&mut flow.stream, n * c);
        match self.places.end {
            End::NextToken(head) => {
                let g = &mut top.scores[..n * head.outputs];
                self.narrow(g);
                affine_back(w, head, &top.shown[..n * c], g, stream, grad)?;
            }
            End::Classes(head) => {
                let g = &mut top.scores[..b * head.outputs];
                self.narrow(g);
                let pooled = room(&mut flow.pooled, b * c);
                affine_back(w, head, &top.pooled[..b * c], g, pooled, grad)?;
                for (rows, mean) in reading.spans.iter().zip(pooled.chunks_exact(c)) {
                    let part = share(rows.len());
                    for row in rows {
                        stream[row * c..][..c].iter_mut().zip(mean).for_each(|(g, m)| *g = m * part);
                    }
                }
            }
        }
        self.norm_back(w, self.places.norm, (&top.normal[..n * c], &top.scales[..n]), stream, grad);
        Ok(())
    }

    /// Adds gradients of gain and shift, and turns `g` into the gradient of the norm's input.
    fn norm_back(&self, w: &[f32], at: NormAt, (normal, scales): (&[f32], &[f32]), g: &mut [f32], grad: &mut [f32]) {
        let c = self.places.width;
        gain_gradient(&mut grad[at.gain..][..c], normal, g);
        if let Some(shift) = at.shift {
            columns(&mut grad[shift..][..c], g);
        }
        norm::back(Back { kind: self.places.kind, normal, scales, gain: gain_of(w, at, c).0 }, g);
    }

    /// The stream's gradient as a factor of products.
    fn factor<'f>(&self, stream: &'f [f32], rounded: &'f mut Vec<f32>) -> &'f [f32] {
        match self.precision {
            super::Precision::F32 => stream,
            super::Precision::Bf16 => {
                let out = super::scratch::copied(rounded, stream);
                self.narrow(out);
                out
            }
        }
    }

    /// One block: moves the stream's gradient back over it.
    fn block_back(
        &self,
        w: &[f32],
        at: &LayerAt,
        spans: &Spans,
        (kept, n): (&Block, usize),
        (flow, squares): (&mut Flow, &mut Squares),
        grad: &mut [f32],
    ) -> Result<(), DirectError> {
        let (c, f) = (self.places.width, self.places.hidden);
        let Flow { stream, rounded, part, mixed, wide, qkv, .. } = flow;
        let (stream, part) = (&mut stream[..n * c], room(part, n * c));

        let hidden = room(wide, n * f);
        affine_back(w, at.down, &kept.gated[..n * f], self.factor(stream, rounded), hidden, grad)?;
        gelu::back(&kept.wide[..n * f], hidden);
        self.narrow(hidden);
        affine_back(w, at.up, &kept.shown[1][..n * c], hidden, part, grad)?;
        self.norm_back(w, at.feed_forward_norm, (&kept.normal[1][..n * c], &kept.scales[1][..n]), part, grad);
        add(stream, part);

        let mixed = room(mixed, n * c);
        affine_back(w, at.output, &kept.mixed[..n * c], self.factor(stream, rounded), mixed, grad)?;
        self.narrow(mixed);
        let qkv = room(qkv, n * 3 * c);
        self.attend_back((&kept.qkv[..n * 3 * c], mixed), spans, squares, qkv)?;
        self.narrow(qkv);
        affine_back(w, at.qkv, &kept.shown[0][..n * c], qkv, part, grad)?;
        self.norm_back(w, at.attention_norm, (&kept.normal[0][..n * c], &kept.scales[0][..n]), part, grad);
        add(stream, part);
        Ok(())
    }

    /// Adds the stream's gradient to the rows of the two tables.
    fn embed_back(&self, reading: &Reading, stream: &[f32], grad: &mut [f32]) {
        let (c, p) = (self.places.width, &self.places);
        for rows in reading.spans.iter() {
            for (place, row) in rows.enumerate() {
                let g = &stream[row * c..][..c];
                add(&mut grad[p.tokens + size(reading.tokens[row]) * c..][..c], g);
                add(&mut grad[p.positions + place * c..][..c], g);
            }
        }
    }
}
