//! The core of attention: every token of a record asks every token of the same record, and takes a weighted mean of the answers.

use super::attention::Order;
use super::composed::{Way, way};
use super::{View, attention_composed, contiguous, like, product, release, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::capture::Reach;
use crate::kernels::softmax::{Heard, listen, listen_back};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Whom a token may listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// Every token of its record.
    Full,
    /// Itself and the tokens before it.
    Causal,
}

impl Mask {
    /// What rows of a record's square of scores hear.
    fn heard(self, n: usize) -> Heard {
        let first = match self {
            Self::Full => None,
            Self::Causal => Some(0),
        };
        Heard { columns: n, first }
    }
}

/// In `(N, 3C)`: queries, keys and values side by side; out `(N, C)`.
struct Attend {
    heads: usize,
    width: usize,
    mask: Mask,
    spans: Spans,
}

/// Mixes the values of each record by the likeness of queries and keys. Tokens of other records do not exist for it. `reach` says how many
/// records one product may take, where it is composed.
pub(crate) fn attend(qkv: &Tensor, heads: usize, mask: Mask, (spans, reach): (&Spans, Reach)) -> Result<Tensor> {
    expect_rows(qkv, spans)?;
    let op = Attend { heads, width: qkv.dims2()?.1 / 3, mask, spans: spans.clone() };
    match way(qkv) {
        Way::Fused => qkv.contiguous()?.apply_op1(op),
        Way::Composed => attention_composed::attend(&qkv.contiguous()?, op.in_general(reach)),
    }
}

/// One record's queries, keys and values, each seen as `(H, n, C/H)` without moving a number.
struct Heads {
    q: View,
    k: View,
    v: View,
}

impl Attend {
    /// The same as the operation that knows every mask and grouping.
    fn in_general(&self, reach: Reach) -> super::attention::Attention {
        let order = match self.mask {
            Mask::Full => Order::Full,
            Mask::Causal => Order::Causal,
        };
        attention_composed::plain(self.heads, self.width / self.heads, order, &self.spans, (self.scale(), reach))
    }

    fn scale(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
        let d = (self.width / self.heads) as f32;
        d.sqrt().recip() // keeps the scores' spread independent of the head's width
    }

    fn heads_of(&self, first: usize, n: usize) -> Heads {
        let (c, d) = (self.width, self.width / self.heads);
        let part = |which: usize| View {
            batch: self.heads,
            rows: n,
            cols: d,
            start: first + which * c,
            batch_stride: d,
            row_stride: 3 * c,
            col_stride: 1,
        };
        Heads { q: part(0), k: part(1), v: part(2) }
    }

    /// Row-wise softmax of scaled scores `(H, n, n)`: how much each token listens to each other one.
    fn listen(&self, qkv: &[f32], h: &Heads) -> Result<Vec<f32>> {
        let mut scores = product(qkv, h.q, qkv, h.k.t())?; // (H, n, d) · (H, d, n) -> (H, n, n)
        listen(&mut scores, self.mask.heard(h.q.rows), self.scale());
        Ok(scores)
    }

    /// Gradient of one record's `(n, 3C)` given the gradient `(n, C)` of its output.
    fn back(&self, qkv: &[f32], h: &Heads, grad: &[f32], first: usize, out: &mut [f32]) -> Result<()> {
        let (n, d) = (h.q.rows, h.q.cols);
        let square = View::stack(self.heads, n, n);
        let g = View { start: first, row_stride: self.width, ..h.q };
        let p = self.listen(qkv, h)?;
        let mut ds = product(grad, g, qkv, h.v.t())?; // (H, n, d) · (H, d, n) -> (H, n, n)
        listen_back(&p, &mut ds, self.mask.heard(n), self.scale());
        let dq = product(&ds, square, qkv, h.k)?; // (H, n, n) · (H, n, d) -> (H, n, d)
        let dk = product(&ds, square.t(), qkv, h.q)?;
        let dv = product(&p, square.t(), grad, g)?;
        for (which, part) in [dq, dk, dv].iter().enumerate() {
            merge_heads(part, n, d, &mut out[which * self.width..], 3 * self.width);
        }
        Ok(())
    }
}

/// `(H, n, d)` into rows of `stride` numbers, head beside head.
fn merge_heads(parts: &[f32], n: usize, d: usize, out: &mut [f32], stride: usize) {
    for (head, part) in parts.chunks_exact(n * d).enumerate() {
        for (t, row) in part.chunks_exact(d).enumerate() {
            out[t * stride + head * d..][..d].copy_from_slice(row);
        }
    }
}

impl CustomOp1 for Attend {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = contiguous(qkv, layout)?;
        let (c, d) = (self.width, self.width / self.heads);
        let mut out = vec![0.0; self.spans.rows() * c];
        for rows in self.spans.iter().filter(|r| !r.is_empty()) {
            let h = self.heads_of(rows.start * 3 * c, rows.len());
            let p = self.listen(qkv, &h)?;
            let mixed = product(&p, View::stack(self.heads, rows.len(), rows.len()), qkv, h.v)?; // (H, n, n) · (H, n, d) -> (H, n, d)
            merge_heads(&mixed, rows.len(), d, &mut out[rows.start * c..], c);
        }
        Ok((CpuStorage::F32(out), (self.spans.rows(), c).into()))
    }

    /// The weights are computed again rather than kept: n² numbers per head would be the largest thing in memory.
    fn bwd(&self, qkv: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let c = self.width;
        let mut out = vec![0.0; self.spans.rows() * 3 * c];
        with_floats(qkv, |x| {
            with_floats(&grad, |g| {
                for rows in self.spans.iter().filter(|r| !r.is_empty()) {
                    let h = self.heads_of(rows.start * 3 * c, rows.len());
                    self.back(x, &h, g, rows.start * c, &mut out[rows.start * 3 * c..])?;
                }
                Ok(())
            })
        })?;
        release(qkv)?;
        like(out, qkv).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_differences, wave};
    use super::*;

    #[test]
    fn attend_agrees_with_finite_differences() {
        agrees_with_differences(&wave(&[7, 12], 0.3), |x| attend(x, 2, Mask::Full, (&Spans::of([3, 0, 1, 3]), Reach::Record)));
        agrees_with_differences(&wave(&[7, 12], 0.3), |x| attend(x, 2, Mask::Causal, (&Spans::of([4, 0, 1, 2]), Reach::Record)));
    }

    #[test]
    fn a_lone_token_hears_only_itself() {
        let qkv = wave(&[1, 12], 0.5);
        let y = attend(&qkv, 2, Mask::Full, (&Spans::of([1]), Reach::Record)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y, qkv.flatten_all().unwrap().to_vec1::<f32>().unwrap()[8..]);
    }

    #[test]
    fn under_a_causal_mask_what_comes_later_changes_nothing() {
        let run = |qkv: &Tensor| attend(qkv, 2, Mask::Causal, (&Spans::of([5]), Reach::Record)).unwrap().to_vec2::<f32>().unwrap();
        let whole = wave(&[5, 12], 0.5);
        let mut changed = whole.to_vec2::<f32>().unwrap();
        changed[4].iter_mut().for_each(|v| *v += 1.0);
        let (before, after) = (run(&whole), run(&Tensor::new(changed, whole.device()).unwrap()));
        assert_eq!(before[..4], after[..4]);
        assert_ne!(before[4], after[4]);
    }
}
