//! What operations on a GPU are made of: the engine's own operations, with the engine's own gradients. The fused operations of this room walk
//! over numbers in the processor's memory; elsewhere each of them is composed of these, and tests hold both to the same numbers.
//!
//! Indices, masks and constants are made on the device of the numbers that they are for. A tensor without numbers never reaches a kernel.

use crate::batch::Spans;
use crate::capture::Reach;
use crate::device;
use candle_core::{D, DType, Result, Tensor, WithDType, bail};

/// How an operation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a kernel of this room, in the processor's memory.
    Fused,
    /// By the engine's own operations, where the numbers are.
    Composed,
}

/// How an operation on `x` is computed: decided by where its numbers are, and nowhere else. Numbers in the processor's memory are left to the
/// engine only where a worker's models live there as if it were another device.
pub(crate) fn way(x: &Tensor) -> Way {
    let as_elsewhere = || device::with_site(|site| site.is_some_and(|site| site.device().is_cpu()));
    if x.device().is_cpu() && !as_elsewhere() { Way::Fused } else { Way::Composed }
}

/// Numbers that nobody learns, where `x` is.
pub(crate) fn constant<T: WithDType>(values: Vec<T>, shape: &[usize], x: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape, x.device())
}

/// Indices where `x` is.
fn indices(ids: impl IntoIterator<Item = usize>, shape: impl FnOnce(usize) -> Vec<usize>, x: &Tensor) -> Result<Tensor> {
    let ids: Vec<u32> = ids.into_iter().map(|id| u32::try_from(id).map_err(candle_core::Error::wrap)).collect::<Result<_>>()?;
    let shape = shape(ids.len());
    constant(ids, &shape, x)
}

/// These rows of `(N, C)`, and rows of zeros for those that are none: `(ids, C)`.
pub(crate) fn rows(x: &Tensor, ids: &[Option<usize>]) -> Result<Tensor> {
    let (n, c) = x.dims2()?;
    if let Some(row) = ids.iter().flatten().find(|&&row| row >= n) {
        bail!("row {row} of {n}")
    }
    if ids.is_empty() || (ids.iter().all(Option::is_none) && !x.track_op()) {
        return Tensor::zeros((ids.len(), c), DType::F32, x.device());
    }
    let padded = if ids.iter().all(Option::is_some) {
        x.contiguous()?
    } else {
        Tensor::cat(&[x, &Tensor::zeros((1, c), DType::F32, x.device())?], 0)?.contiguous()? // (N, C) -> (N + 1, C)
    };
    padded.index_select(&indices(ids.iter().map(|id| id.unwrap_or(n)), |ids| vec![ids], x)?, 0)
}

/// Sum of each record's rows: `(N, C)` to `(B, C)`. Each record alone, so that no other one has a say in it.
pub(crate) fn sums(x: &Tensor, spans: &Spans) -> Result<Tensor> {
    let c = x.dims2()?.1;
    let sum = |rows: std::ops::Range<usize>| match rows.len() {
        0 => Tensor::zeros((1, c), DType::F32, x.device()),
        len => x.narrow(0, rows.start, len)?.sum_keepdim(0),
    };
    Tensor::cat(&spans.iter().map(sum).collect::<Result<Vec<_>>>()?, 0)
}

/// The same as plain numbers, record by record; where only the whole batch is asked for, as one record.
pub(crate) fn plain_sums(x: &Tensor, spans: &Spans, reach: Reach) -> Result<Vec<f32>> {
    let sums = match reach {
        Reach::Batch => x.sum(0)?,
        Reach::Record => sums(x, spans)?,
    };
    sums.flatten_all()?.to_vec1()
}

/// `a · b`, with both rounded where this thread's device is to do so; sums are as wide as the engine's kernels have them.
pub(crate) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [a, b] = [factor(a)?, factor(b)?];
    a.matmul(&b)?.to_dtype(DType::F32)
}

/// A factor as this thread's device has it.
pub(crate) fn factor(x: &Tensor) -> Result<Tensor> {
    device::with_site(|site| site.map_or_else(|| Ok(x.clone()), |site| site.factor(x)))
}

/// `x · w` of `(N, D)` and `(D, P)`, in products that take as many records as they may. `w` is a factor already.
pub(crate) fn rows_times(x: &Tensor, w: &Tensor, spans: &Spans, reach: Reach) -> Result<Tensor> {
    let times = |x: &Tensor| factor(x)?.matmul(w)?.to_dtype(DType::F32);
    match reach {
        Reach::Batch => times(x),
        Reach::Record => {
            let records = spans.iter().filter(|rows| !rows.is_empty());
            let parts = records.map(|rows| times(&x.narrow(0, rows.start, rows.len())?)).collect::<Result<Vec<_>>>()?;
            if parts.is_empty() { times(x) } else { Tensor::cat(&parts, 0) }
        }
    }
}

/// Softmax over the last dimension; the largest score is taken off first, so that no exponential overflows.
pub(crate) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// Cross-entropy of those rows of `(N, K)` that are asked something, in nats, then for each record the sum over its rows times the record's
/// share: `(B)`. Rows that are not asked are not read.
pub(crate) fn surprises(scores: &Tensor, spans: &Spans, answers: &[Option<usize>], shares: Vec<f32>) -> Result<Tensor> {
    let asked: Vec<(usize, usize)> = answers.iter().enumerate().filter_map(|(row, answer)| answer.map(|a| (row, a))).collect();
    if asked.is_empty() {
        return nothing(scores, spans.records());
    }
    let ids: Vec<Option<usize>> = asked.iter().map(|&(row, _)| Some(row)).collect();
    let read = rows(scores, &ids)?; // (N, K) -> (A, K)
    let moved = read.broadcast_sub(&read.max_keepdim(1)?.detach())?;
    let truth = moved.gather(&indices(asked.iter().map(|&(_, answer)| answer), |ids| vec![ids, 1], scores)?, 1)?; // (A, K) -> (A, 1)
    let lost = (moved.exp()?.sum_keepdim(1)?.log()? - truth)?; // (A, 1)
    let counts = Spans::of(spans.iter().map(|rows| answers[rows].iter().flatten().count()));
    let shares = constant(shares, &[spans.records()], scores)?;
    sums(&lost, &counts)?.squeeze(1)? * shares // (A, 1) -> (B)
}

/// Losses of records that are asked nothing: 0, with a gradient that is 0, so that the graph goes on.
fn nothing(scores: &Tensor, records: usize) -> Result<Tensor> {
    let unread = constant(vec![0u8; scores.elem_count()], scores.dims(), scores)?;
    let zero = unread.where_cond(scores, &scores.zeros_like()?)?.sum_all()?;
    zero.broadcast_as(records)?.contiguous()
}
