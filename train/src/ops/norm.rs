//! Normalisation over the last dimension, recording the gradients of gain and shift.

use super::composed::{Way, plain_sums, way};
use super::ready::recorded;
use super::{contiguous, like, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::capture::{Capture, Tape};
use crate::kernels::norm::{Back, back, scale, standardise};
use crate::model::parameters::Loaded;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

pub(crate) use crate::kernels::norm::EPSILON;
pub use crate::kernels::norm::NormKind;

/// The operation `y = x̂ ∘ gain + shift`. Gain and shift `(C)`; in `(N, C)`, out `(N, C)`.
pub(crate) struct Norm {
    pub(crate) kind: NormKind,
    /// Added to the variance.
    pub(crate) epsilon: f32,
    pub(crate) gain: Loaded,
    pub(crate) shift: Option<Loaded>,
    pub(crate) spans: Spans,
    pub(crate) tape: Tape,
}

/// Applies it; recorded only if `x` is tracked.
pub(crate) fn norm(x: &Tensor, op: Norm) -> Result<Tensor> {
    expect_rows(x, &op.spans)?;
    match way(x) {
        Way::Fused => x.contiguous()?.apply_op1(op),
        Way::Composed => {
            let x = x.contiguous()?;
            let y = op.composed(&x.detach())?;
            recorded("recording-norm-composed", &[&x], y, move |read, grad| {
                read.iter().map(|x| op.composed_back(x, grad).map(Some)).collect()
            })
        }
    }
}

impl Norm {
    /// x̂ `(N, C)`, and 1 / deviation `(N, 1)`.
    fn standard(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let centred = self.centred(x)?;
        let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + f64::from(self.epsilon))?.sqrt()?.recip()?;
        Ok((centred.broadcast_mul(&scale)?, scale))
    }

    /// Without the mean of each row, under a normalisation that takes it off.
    fn centred(&self, x: &Tensor) -> Result<Tensor> {
        match self.kind {
            NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?),
            NormKind::RootMeanSquare => Ok(x.clone()),
        }
    }

    /// The same by stock operations.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.standard(x)?.0.broadcast_mul(&self.gain.whole()?)?;
        match &self.shift {
            Some(shift) => y.broadcast_add(&shift.whole()?),
            None => Ok(y),
        }
    }

    /// Records what the fused one records.
    ///
    /// With u = g ∘ gain: dx = (u − mean(u) − x̂ · mean(u ∘ x̂)) / deviation; where no mean is taken off x, none is of u.
    fn composed_back(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (x, grad) = (&x.detach(), &grad.contiguous()?.detach());
        let (normal, scale) = self.standard(x)?;
        let u = grad.broadcast_mul(&self.gain.whole()?)?;
        let along = (&u * &normal)?.mean_keepdim(D::Minus1)?;
        let dx = (self.centred(&u)? - normal.broadcast_mul(&along)?)?.broadcast_mul(&scale)?;
        let (spans, reach, width) = (&self.spans, self.tape.reach(), self.width()?);
        if let Some(at) = self.gain.place {
            let values = plain_sums(&(normal * grad)?, spans, reach)?;
            self.tape.push(Capture::Vector { at, width, values: values.into() })?;
        }
        if let Some(at) = self.shift.as_ref().and_then(|s| s.place) {
            let values = plain_sums(grad, spans, reach)?;
            self.tape.push(Capture::Vector { at, width, values: values.into() })?;
        }
        Ok(dx)
    }

    fn width(&self) -> Result<usize> {
        self.gain.tensor.dims1()
    }

    /// Per record the sums of x̂ ∘ g and of g, where they are trained: `(N, C)` twice to `(B, C)`.
    fn record(&self, normal: &[f32], grad: &[f32]) -> Result<()> {
        let places = [self.gain.place, self.shift.as_ref().and_then(|s| s.place)];
        if places.iter().all(Option::is_none) {
            return Ok(());
        }
        let c = self.width()?;
        let mut sums = [vec![0.0f32; self.spans.records() * c], vec![0.0f32; self.spans.records() * c]];
        for (record, rows) in self.spans.iter().enumerate() {
            let [gain, shift] = sums.each_mut().map(|s| &mut s[record * c..][..c]);
            let rows = rows.start * c..rows.end * c;
            for (x, g) in normal[rows.clone()].chunks_exact(c).zip(grad[rows].chunks_exact(c)) {
                gain.iter_mut().zip(x.iter().zip(g)).for_each(|(o, (x, g))| *o += x * g);
                shift.iter_mut().zip(g).for_each(|(o, g)| *o += g);
            }
        }
        for (place, values) in places.into_iter().zip(sums) {
            if let Some(at) = place {
                self.tape.push(Capture::Vector { at, width: c, values: values.into() })?;
            }
        }
        Ok(())
    }
}

impl CustomOp1 for Norm {
    fn name(&self) -> &'static str {
        "recording-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut normal = contiguous(x, layout)?.to_vec();
        let c = self.width()?;
        let mut scales = vec![0.0; normal.len() / c];
        standardise(&mut normal, c, &mut scales, (self.kind, self.epsilon));
        let mut y = vec![0.0; normal.len()];
        self.gain.read(|gain| match &self.shift {
            Some(shift) => shift.read(|shift| {
                scale(&normal, gain, Some(shift), &mut y);
                Ok(())
            }),
            None => {
                scale(&normal, gain, None, &mut y);
                Ok(())
            }
        })?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let c = self.width()?;
        let grad = grad.contiguous()?.detach();
        let mut normal = with_floats(x, |x| Ok(x.to_vec()))?;
        let mut dx = with_floats(&grad, |g| Ok(g.to_vec()))?;
        let mut scales = vec![0.0; normal.len() / c];
        standardise(&mut normal, c, &mut scales, (self.kind, self.epsilon));
        self.gain.read(|gain| {
            back(Back { kind: self.kind, normal: &normal, scales: &scales, gain }, &mut dx);
            Ok(())
        })?;
        with_floats(&grad, |g| self.record(&normal, g))?;
        like(dx, x).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn norm_agrees_with_finite_differences() {
        let loaded = |seed| Loaded { tensor: wave(&[6], seed), place: None, lies: None };
        for kind in [NormKind::Layer, NormKind::RootMeanSquare] {
            let shift = (kind == NormKind::Layer).then(|| loaded(0.9));
            agrees_with_differences(&wave(&[4, 6], 1.0), |x| {
                norm(
                    x,
                    Norm { kind, epsilon: EPSILON, gain: loaded(0.4), shift: shift.clone(), spans: Spans::of([1, 3]), tape: Tape::off() },
                )
            });
        }
    }
}
