//! Attention in general: queries of one sequence ask the keys of the same or of another one. Fewer keys than queries (grouped-query
//! attention, Ainslie et al. 2023, arXiv 2305.13245), every mask, and scores that are raised by a learned bias.

use super::composed::{Way, way};
use super::{View, attention_composed, contiguous, like, product, with_floats};
use crate::batch::{Spans, expect_rows};
use crate::capture::Reach;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use protocol::plan::own::Window;
use std::ops::Range;
use std::sync::Arc;

/// In which order tokens may hear each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Every token hears every token.
    Full,
    /// Itself and what came before.
    Causal,
    /// What came before, and all of the first tokens of its record: so many in each record.
    Prefix(Arc<[usize]>),
}

/// Who hears whom: in a sliding window (Longformer, Beltagy et al. 2020, arXiv 2004.05150) only those that are near, and its first tokens. There is
/// no padding: records lie end to end, and nobody hears a token of another record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hearing {
    pub(crate) order: Order,
    pub(crate) window: Option<Window>,
}

impl Hearing {
    /// Whether the token at place `i` of its record hears the one at place `j`.
    pub(super) fn hears(&self, record: usize, i: usize, j: usize) -> bool {
        let ordered = match &self.order {
            Order::Full => true,
            Order::Causal => j <= i,
            Order::Prefix(lengths) => j <= i || lengths.get(record).is_some_and(|&prefix| j < prefix),
        };
        let near = |w: Window| {
            let [reach, global] = [w.reach, w.global].map(crate::model::parameters::size);
            i.abs_diff(j) <= reach || i < global || j < global
        };
        ordered && self.window.is_none_or(near)
    }
}

/// The operation. Queries `(N, H·D)`, keys beside values `(M, 2·G·D)`, out `(N, H·D)`; G divides H. A bias is `(P, H)` with a row for each
/// pair of a record's query and key, query by query.
#[derive(Clone)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) groups: usize,
    /// Width D of one head.
    pub(crate) width: usize,
    /// What scores are multiplied by before a bias is added.
    pub(crate) scale: f32,
    pub(crate) hearing: Hearing,
    /// Rows of the queries.
    pub(crate) asking: Spans,
    /// Rows of the keys, of as many records.
    pub(crate) answering: Spans,
    /// How many records one product may take, where it is composed.
    pub(crate) reach: Reach,
}

/// Applies it; recorded if one of its inputs is tracked.
pub(crate) fn attention(q: &Tensor, kv: &Tensor, bias: Option<&Tensor>, op: Attention) -> Result<Tensor> {
    expect_rows(q, &op.asking)?;
    expect_rows(kv, &op.answering)?;
    let (q_width, kv_width) = (op.heads * op.width, 2 * op.groups * op.width);
    let shared = op.groups > 0 && op.heads.is_multiple_of(op.groups) && op.asking.records() == op.answering.records();
    if q.dims2()?.1 != q_width || kv.dims2()?.1 != kv_width || !shared {
        bail!("attention of {} heads in {} groups over {:?} and {:?}", op.heads, op.groups, q.shape(), kv.shape())
    }
    let (q, kv) = (q.contiguous()?, kv.contiguous()?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [op.pairs().rows(), op.heads]) {
        bail!("got a bias of {:?} for {} pairs", bias.shape(), op.pairs().rows())
    }
    match (way(&q), bias) {
        (Way::Fused, None) => q.apply_op2(&kv, op),
        (Way::Fused, Some(bias)) => q.apply_op3(&kv, &bias, op),
        (Way::Composed, bias) => attention_composed::attention(&q, &kv, bias.as_ref(), op),
    }
}

/// What one record's heads of one group read.
struct Part {
    record: usize,
    group: usize,
    q: View,
    k: View,
    v: View,
    /// First row of the bias.
    pair: usize,
}

/// Gradients of the inputs.
struct Gradients {
    q: Vec<f32>,
    kv: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Attention {
    /// Pairs of queries and keys of each record.
    pub(crate) fn pairs(&self) -> Spans {
        Spans::of(self.asking.iter().zip(self.answering.iter()).map(|(q, k)| q.len() * k.len()))
    }

    /// Heads that share keys and values.
    fn shared(&self) -> usize {
        self.heads / self.groups
    }

    fn part(&self, record: usize, rows: (Range<usize>, Range<usize>), group: usize, pair: usize) -> Part {
        let (d, q_width, kv_width) = (self.width, self.heads * self.width, 2 * self.groups * self.width);
        let (batch, cols, col_stride) = (self.shared(), d, 1);
        let q = View {
            batch,
            rows: rows.0.len(),
            cols,
            start: rows.0.start * q_width + group * batch * d,
            batch_stride: d,
            row_stride: q_width,
            col_stride,
        };
        // The heads of a group read the same keys: their batch stands still.
        let (start, batch_stride, row_stride) = (rows.1.start * kv_width + group * d, 0, kv_width);
        let k = View { batch, rows: rows.1.len(), cols, start, batch_stride, row_stride, col_stride };
        Part { record, group, q, k, v: View { start: start + self.groups * d, ..k }, pair }
    }

    /// All records and groups with something to ask and somebody to answer.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let pairs = self.pairs();
        let rows = self.asking.iter().zip(self.answering.iter()).collect::<Vec<_>>();
        let parts = rows.into_iter().enumerate().filter(|(_, (q, k))| !q.is_empty() && !k.is_empty());
        parts.flat_map(move |(record, rows)| {
            let pair = pairs.of_record(record).start;
            (0..self.groups).map(move |group| self.part(record, rows.clone(), group, pair))
        })
    }

    /// Softmax over what each query hears `(R, n, m)`: R heads share the group's keys.
    fn listen(&self, q: &[f32], kv: &[f32], bias: Option<&[f32]>, part: &Part) -> Result<Vec<f32>> {
        let (n, m) = (part.q.rows, part.k.rows);
        let mut scores = product(q, part.q, kv, part.k.t())?; // (R, n, D) · (R, D, m) -> (R, n, m)
        for (at, row) in scores.chunks_exact_mut(m).enumerate() {
            let (head, i) = (part.group * self.shared() + at / n, at % n);
            for (j, score) in row.iter_mut().enumerate() {
                let raised = bias.map_or(0.0, |b| b[(part.pair + i * m + j) * self.heads + head]);
                *score = if self.hearing.hears(part.record, i, j) { *score * self.scale + raised } else { f32::NEG_INFINITY };
            }
            softmax(row);
        }
        Ok(scores)
    }

    fn mix(&self, q: &[f32], kv: &[f32], bias: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let width = self.heads * self.width;
        let mut out = vec![0.0; self.asking.rows() * width];
        for part in self.parts() {
            let (n, m) = (part.q.rows, part.k.rows);
            let p = self.listen(q, kv, bias, &part)?;
            let mixed = product(&p, View::stack(self.shared(), n, m), kv, part.v)?; // (R, n, m) · (R, m, D) -> (R, n, D)
            add_heads(&mixed, part.q, &mut out);
        }
        Ok((CpuStorage::F32(out), (self.asking.rows(), width).into()))
    }

    /// The weights are computed again rather than kept: n · m numbers per head would be the largest thing in memory.
    fn back(&self, q: &[f32], kv: &[f32], bias: Option<&[f32]>, grad: &[f32]) -> Result<Gradients> {
        let mut out = Gradients { q: vec![0.0; q.len()], kv: vec![0.0; kv.len()], bias: bias.map(|b| vec![0.0; b.len()]) };
        for part in self.parts() {
            let (n, m) = (part.q.rows, part.k.rows);
            let square = View::stack(self.shared(), n, m);
            let p = self.listen(q, kv, bias, &part)?;
            let mut ds = product(grad, part.q, kv, part.v.t())?; // (R, n, D) · (R, D, m) -> (R, n, m)
            for (ds, p) in ds.chunks_exact_mut(m).zip(p.chunks_exact(m)) {
                let mean: f32 = ds.iter().zip(p).map(|(g, p)| g * p).sum();
                ds.iter_mut().zip(p).for_each(|(g, p)| *g = p * (*g - mean));
            }
            if let Some(out) = &mut out.bias {
                for (at, g) in ds.iter().enumerate() {
                    let (head, pair) = (part.group * self.shared() + at / (n * m), part.pair + at % (n * m));
                    out[pair * self.heads + head] = *g;
                }
            }
            let dv = product(&p, square.t(), grad, part.q)?; // (R, m, n) · (R, n, D) -> (R, m, D)
            ds.iter_mut().for_each(|g| *g *= self.scale);
            add_heads(&product(&ds, square, kv, part.k)?, part.q, &mut out.q);
            add_heads(&product(&ds, square.t(), q, part.q)?, part.k, &mut out.kv);
            add_heads(&dv, part.v, &mut out.kv);
        }
        Ok(out)
    }
}

/// Softmax in place; the largest score is taken off first, so that no exponential overflows. A query that hears nobody has no weights.
fn softmax(row: &mut [f32]) {
    let top = row.iter().fold(f32::NEG_INFINITY, |top, &s| top.max(s));
    if top == f32::NEG_INFINITY && !row.iter().any(|s| s.is_nan()) {
        return row.fill(0.0);
    }
    row.iter_mut().for_each(|s| *s = (*s - top).exp());
    let total = row.iter().sum::<f32>().recip();
    row.iter_mut().for_each(|s| *s *= total);
}

/// Adds `(R, n, D)` where the view says: heads that share a place are added up.
fn add_heads(parts: &[f32], place: View, out: &mut [f32]) {
    for (head, part) in parts.chunks_exact((place.rows * place.cols).max(1)).enumerate() {
        for (t, row) in part.chunks_exact(place.cols).enumerate() {
            let out = &mut out[place.start + head * place.batch_stride + t * place.row_stride..][..place.cols];
            out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
        }
    }
}

impl CustomOp2 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, q: &CpuStorage, ql: &Layout, kv: &CpuStorage, kvl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.mix(contiguous(q, ql)?, contiguous(kv, kvl)?, None)
    }

    fn bwd(&self, q: &Tensor, kv: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let out = with_floats(q, |qs| with_floats(kv, |kvs| with_floats(&grad, |g| self.back(qs, kvs, None, g))))?;
        Ok((wanted(out.q, q)?, wanted(out.kv, kv)?))
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "biased-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        kv: &CpuStorage,
        kvl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.mix(contiguous(q, ql)?, contiguous(kv, kvl)?, Some(contiguous(bias, bl)?))
    }

    fn bwd(&self, q: &Tensor, kv: &Tensor, bias: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Three> {
        let grad = grad.contiguous()?;
        let out =
            with_floats(q, |qs| with_floats(kv, |kvs| with_floats(bias, |b| with_floats(&grad, |g| self.back(qs, kvs, Some(b), g)))))?;
        let bias = out.bias.map(|values| wanted(values, bias)).transpose()?.flatten();
        Ok((wanted(out.q, q)?, wanted(out.kv, kv)?, bias))
    }
}

type Three = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// A gradient, if somebody asks for it: the engine would keep that of a frozen input until the end.
fn wanted(values: Vec<f32>, input: &Tensor) -> Result<Option<Tensor>> {
    if input.track_op() { like(values, input).map(Some) } else { Ok(None) }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
pub(super) mod tests;
