//! Attention composed of stock operations, for numbers that are not in the processor's memory. Records of the same length that lie side by side
//! are one product where the batch may be taken together; else every record is a product of its own.

use super::attention::{Attention, Hearing, Order};
use super::composed::{constant, product, softmax};
use super::pieces::{Piece, in_pieces};
use crate::batch::Spans;
use crate::capture::Reach;
use candle_core::{Result, Tensor};

/// Neighbouring records with as many queries and keys each.
#[derive(Clone, Copy)]
struct Run {
    /// The first of them.
    record: usize,
    records: usize,
    /// Queries of each.
    n: usize,
    /// Keys of each.
    m: usize,
}

/// Applies it to checked inputs.
pub(super) fn attention(q: &Tensor, kv: &Tensor, bias: Option<&Tensor>, op: Attention) -> Result<Tensor> {
    let runs = runs(&op);
    let pairs = op.pairs();
    let piece = |run: &Run| {
        let records = run.record..run.record + run.records;
        let (asking, answering) = (op.asking.of_records(&records), op.answering.of_records(&records));
        let makes = asking.len();
        let mut reads = vec![asking, answering];
        reads.extend(bias.map(|_| pairs.of_records(&records)));
        Piece { reads, makes, speaks: run.n > 0 && run.m > 0 }
    };
    let pieces = runs.iter().map(piece).collect();
    let inputs: Vec<&Tensor> = [q, kv].into_iter().chain(bias).collect();
    let width = op.heads * op.width;
    in_pieces(&inputs, pieces, width, Box::new(move |number: usize, read: &[Tensor]| op.of_run(runs[number], read)))
}

/// In plain multi-head self-attention queries, keys and values lie side by side.
pub(super) fn attend(qkv: &Tensor, op: Attention) -> Result<Tensor> {
    let runs = runs(&op);
    let piece = |run: &Run| {
        let rows = op.asking.of_records(&(run.record..run.record + run.records));
        Piece { makes: rows.len(), reads: vec![rows], speaks: run.n > 0 }
    };
    let pieces = runs.iter().map(piece).collect();
    let width = op.heads * op.width;
    let run = move |number: usize, read: &[Tensor]| {
        let [qkv] = read else { candle_core::bail!("got {} inputs, expected 1", read.len()) };
        op.of_run(runs[number], &[qkv.narrow(1, 0, width)?, qkv.narrow(1, width, 2 * width)?])
    };
    in_pieces(&[qkv], pieces, width, Box::new(run))
}

fn runs(op: &Attention) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    for (record, (n, m)) in op.asking.iter().zip(op.answering.iter()).map(|(q, k)| (q.len(), k.len())).enumerate() {
        match out.last_mut() {
            Some(last) if op.reach == Reach::Batch && (last.n, last.m) == (n, m) => last.records += 1,
            Some(_) | None => out.push(Run { record, records: 1, n, m }),
        }
    }
    out
}

/// Who hears whom in a run, R records of n queries and m keys each, as the engine reads it; R is 1 where all records are alike.
struct Heard {
    /// 0 where a key is heard, else minus infinity: `(R, 1, n, m)`; none if everybody hears everybody.
    raised: Option<Tensor>,
    /// 1 for a query that hears anybody, else 0: `(R, 1, n, 1)`; none if all do.
    hearing: Option<Tensor>,
}

impl Heard {
    fn of(hearing: &Hearing, run: Run, like: &Tensor) -> Result<Self> {
        if hearing.order == Order::Full && hearing.window.is_none() {
            return Ok(Self { raised: None, hearing: None });
        }
        let Run { record, records, n, m } = run;
        // Without prefixes it is the same in all of them.
        let records = match hearing.order {
            Order::Prefix(_) => records,
            Order::Full | Order::Causal => 1,
        };
        let (mut raised, mut hears) = (vec![f32::NEG_INFINITY; records * n * m], vec![0f32; records * n]);
        for (at, row) in raised.chunks_exact_mut(m).enumerate() {
            for (j, raised) in row.iter_mut().enumerate() {
                if hearing.hears(record + at / n, at % n, j) {
                    (*raised, hears[at]) = (0.0, 1.0);
                }
            }
            if hears[at] == 0.0 {
                row.fill(0.0); // a softmax needs one number; what comes of it is taken away again
            }
        }
        let deaf = hears.contains(&0.0);
        let raised = Some(constant(raised, &[records, 1, n, m], like)?);
        let hearing = if deaf { Some(constant(hears, &[records, 1, n, 1], like)?) } else { None };
        Ok(Self { raised, hearing })
    }
}

impl Attention {
    /// One run. Queries `(R·n, H·D)`, keys beside values `(R·m, 2·G·D)`, a bias `(R·n·m, H)`; out `(R·n, H·D)`.
    fn of_run(&self, run: Run, read: &[Tensor]) -> Result<Tensor> {
        let (q, kv, bias) = match read {
            [q, kv] => (q, kv, None),
            [q, kv, bias] => (q, kv, Some(bias)),
            _ => candle_core::bail!("got {} inputs, expected 2 or 3", read.len()),
        };
        let Run { records: r, n, m, .. } = run;
        let (h, g, d) = (self.heads, self.groups, self.width);
        let side = |at: usize| -> Result<Tensor> {
            let part = kv.narrow(1, at * g * d, g * d)?.reshape((r, m, g, d))?;
            part.transpose(1, 2)?.contiguous()?.reshape((r * g, m, d)) // (R, m, G, D) -> (R·G, m, D)
        };
        let (k, v) = (side(0)?, side(1)?);
        // The heads of a group stand one below the other and read the same keys.
        let q = q.reshape((r, n, h, d))?.transpose(1, 2)?.contiguous()?.reshape((r * g, h / g * n, d))?; // -> (R·G, H/G·n, D)
        let scores = (product(&q, &k.t()?)?.reshape((r, h, n, m))? * f64::from(self.scale))?; // (R·G, H/G·n, m) -> (R, H, n, m)
        let scores = match bias {
            Some(bias) => (scores + bias.reshape((r, n, m, h))?.permute((0, 3, 1, 2))?)?, // (R·n·m, H) -> (R, H, n, m)
            None => scores,
        };
        let heard = Heard::of(&self.hearing, run, &scores)?;
        let scores = heard.raised.map_or(Ok(scores.clone()), |raised| scores.broadcast_add(&raised))?;
        let p = softmax(&scores)?;
        let p = heard.hearing.map_or(Ok(p.clone()), |hearing| p.broadcast_mul(&hearing))?.reshape((r * g, h / g * n, m))?;
        let mixed = product(&p, &v)?.reshape((r, h, n, d))?; // (R·G, H/G·n, D) -> (R, H, n, D)
        mixed.transpose(1, 2)?.contiguous()?.reshape((r * n, h * d)) // (R, H, n, D) -> (R·n, H·D)
    }
}

/// Plain attention of every token to its own record, scaled as usual.
pub(super) fn plain(heads: usize, width: usize, order: Order, spans: &Spans, (scale, reach): (f32, Reach)) -> Attention {
    let hearing = Hearing { order, window: None };
    Attention { heads, groups: heads, width, scale, hearing, asking: spans.clone(), answering: spans.clone(), reach }
}
