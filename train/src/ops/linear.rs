//! `y = x Wᵀ + b`, recording what per-unit gradients need instead of computing a summed weight gradient (privacy.md D39).

use super::composed::{Way, factor, plain_sums, product, rows_times, way};
use super::ready::recorded;
use super::{View, contiguous, layer_product, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::capture::{Capture, Reach, Tape};
use crate::model::parameters::Loaded;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

/// The operation. Weight `(P, D)`, bias `(P)`; in `(N, D)`, out `(N, P)`.
pub(crate) struct Linear {
    pub(crate) weight: Loaded,
    pub(crate) bias: Option<Loaded>,
    pub(crate) spans: Spans,
    pub(crate) tape: Tape,
}

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn linear(x: &Tensor, op: Linear) -> Result<Tensor> {
    expect_rows(x, &op.spans)?;
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(op),
        Way::Composed => {
            let x = x.contiguous()?;
            let y = op.composed(&x.detach())?;
            recorded("recording-linear-composed", &[&x], y, move |read, grad| {
                read.iter().map(|x| op.composed_back(x, grad).map(Some)).collect()
            })
        }
    }
}

impl Linear {
    /// The same by stock products.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let w = factor(&self.weight.whole()?)?.t()?;
        let y = rows_times(x, &w, &self.spans, self.tape.reach())?; // (N, D) -> (N, P)
        match &self.bias {
            Some(bias) => y.broadcast_add(&bias.whole()?),
            None => Ok(y),
        }
    }

    /// The engine's own backward pass would make the gradient of every weight, of a frozen one too, and sum it over records.
    fn composed_back(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (x, grad) = (x.detach(), grad.contiguous()?.detach());
        self.record(&x, &grad)?;
        let w = factor(&self.weight.whole()?)?;
        rows_times(&grad, &w, &self.spans, self.tape.reach()) // (N, P) -> (N, D)
    }

    /// Puts on the tape what gradients of weight and bias are made of, where these are trained.
    fn record(&self, x: &Tensor, grad: &Tensor) -> Result<()> {
        let (p, d) = self.weight.tensor.dims2()?;
        if let Some(at) = self.bias.as_ref().and_then(|b| b.place) {
            let values = plain_sums(grad, &self.spans, self.tape.reach())?; // (N, P) -> (B, P), or (P)
            self.tape.push(Capture::Vector { at, width: p, values: values.into() })?;
        }
        let Some(at) = self.weight.place else { return Ok(()) };
        let capture = match self.tape.reach() {
            // What privacy reads is computed on the processor, in the floats that the account covers.
            Reach::Record => {
                let [input, grad] = [x, grad].map(|t| t.detach().to_device(&Device::Cpu).and_then(|t| t.contiguous()));
                Capture::Product { at, spans: self.spans.clone(), input: input?, grad: grad? }
            }
            Reach::Batch => {
                let values = product(&grad.t()?, x)?.flatten_all()?.to_vec1::<f32>()?; // (P, N) · (N, D) -> (P, D)
                Capture::Vector { at, width: p * d, values: values.into() }
            }
        };
        self.tape.push(capture)
    }

    /// One product per record: the kernel sees only this record's shape (privacy.md D19).
    fn rows_times(&self, x: &[f32], weight: View) -> Result<Vec<f32>> {
        let d = weight.rows;
        let mut out = Vec::with_capacity(self.spans.rows() * weight.cols);
        self.weight.read(|w| {
            for rows in self.spans.iter() {
                out.extend_from_slice(&layer_product(x, View::matrix(rows.start * d, rows.len(), d), w, weight)?);
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// Sum of each record's rows: `(N, P)` to `(B, P)`.
fn sums(rows: &[f32], width: usize, spans: &Spans) -> Vec<f32> {
    let mut out = vec![0.0f32; spans.records() * width];
    for (record, out) in spans.iter().zip(out.chunks_exact_mut(width)) {
        for row in rows[record.start * width..record.end * width].chunks_exact(width) {
            out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
        }
    }
    out
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "recording-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (p, d) = self.weight.tensor.dims2()?;
        let mut y = self.rows_times(contiguous(x, layout)?, View::matrix(0, p, d).t())?; // (N, D) -> (N, P)
        if let Some(bias) = &self.bias {
            bias.read(|b| {
                for row in y.chunks_exact_mut(p) {
                    row.iter_mut().zip(b).for_each(|(y, b)| *y += b);
                }
                Ok(())
            })?;
        }
        Ok((CpuStorage::F32(y), (self.spans.rows(), p).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (p, d) = self.weight.tensor.dims2()?;
        let grad = grad.contiguous()?.detach();
        let dx = with_floats(&grad, |g| self.rows_times(g, View::matrix(0, p, d)))?; // (N, P) -> (N, D)
        if let Some(at) = self.bias.as_ref().and_then(|b| b.place) {
            let values = with_floats(&grad, |g| Ok(sums(g, p, &self.spans)))?; // (N, P) -> (B, P)
            self.tape.push(Capture::Vector { at, width: p, values: values.into() })?;
        }
        // A frozen weight gets no gradient, and what one would be made of is not kept (training.md M12).
        if let Some(at) = self.weight.place {
            self.tape.push(Capture::Product { at, spans: self.spans.clone(), input: x.detach(), grad })?;
        }
        super::like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn linear_agrees_with_finite_differences() {
        let (weight, bias) = (wave(&[3, 4], 0.1), wave(&[3], 0.2));
        let loaded = |tensor: &Tensor| Loaded { tensor: tensor.clone(), place: None, lies: None };
        for bias in [Some(loaded(&bias)), None] {
            agrees_with_differences(&wave(&[5, 4], 1.0), |x| {
                let op = Linear { weight: loaded(&weight), bias: bias.clone(), spans: Spans::of([2, 0, 3]), tape: Tape::off() };
                linear(x, op)
            });
        }
    }
}
