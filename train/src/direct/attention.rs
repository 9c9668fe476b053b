//! The core of attention over whole records, some query rows at a time: under a causal mask what lies right of them is never computed.

use super::scratch::{Squares, room};
use super::{Direct, DirectError};
use crate::batch::Spans;
use crate::kernels::softmax::{Heard, listen, listen_back};
use crate::ops::{Old, View, product_into};
use std::ops::Range;

/// Query rows at a time: few enough that scores stay in the second-level cache, enough that products are worth their setting up.
const QUERIES: usize = 64;

/// One head of one record inside `(N, 3C)`.
struct Head {
    first: usize,
    n: usize,
    width: usize,
    head: usize,
    d: usize,
}

impl Head {
    /// Rows of queries (0), keys (1) or values (2).
    fn part(&self, which: usize, rows: Range<usize>) -> View {
        let stride = 3 * self.width;
        let start = (self.first + rows.start) * stride + which * self.width + self.head * self.d;
        View { row_stride: stride, ..View::matrix(start, rows.len(), self.d) }
    }

    /// Rows of this head inside `(N, C)`.
    fn rows(&self, rows: Range<usize>) -> View {
        let start = (self.first + rows.start) * self.width + self.head * self.d;
        View { row_stride: self.width, ..View::matrix(start, rows.len(), self.d) }
    }

    /// Query rows in turn, each with the number of columns that they hear.
    fn blocks(&self, causal: bool) -> impl DoubleEndedIterator<Item = (Range<usize>, usize)> + use<> {
        let n = self.n;
        (0..n.div_ceil(QUERIES)).map(move |block| {
            let rows = block * QUERIES..((block + 1) * QUERIES).min(n);
            let columns = if causal { rows.end } else { n };
            (rows, columns)
        })
    }
}

impl Direct {
    fn heads<'a>(&'a self, spans: &'a Spans) -> impl Iterator<Item = Head> + 'a {
        let (width, heads) = (self.places.width, self.places.heads);
        let of_record =
            move |rows: Range<usize>| (0..heads).map(move |head| Head { first: rows.start, n: rows.len(), width, head, d: width / heads });
        spans.iter().filter(|rows| !rows.is_empty()).flat_map(of_record)
    }

    fn scale(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a head is narrower than 2^24")]
        let d = (self.places.width / self.places.heads) as f32;
        d.sqrt().recip()
    }

    /// Who listens to whom, for some query rows of a head: `(rows, columns)`.
    fn listen<'s>(
        &self,
        qkv: &[f32],
        head: &Head,
        (rows, columns): (Range<usize>, usize),
        square: &'s mut Vec<f32>,
    ) -> Result<&'s mut [f32], DirectError> {
        let p = room(square, rows.len() * columns);
        let heard = Heard { columns, first: self.places.causal.then_some(rows.start) };
        let (q, k) = (head.part(0, rows.clone()), head.part(1, 0..columns).t());
        product_into(p, View::matrix(0, rows.len(), columns), (qkv, q), (qkv, k), Old::Dropped)?;
        listen(p, heard, self.scale());
        self.narrow(p);
        Ok(p)
    }

    /// `(N, 3C)` to `(N, C)`.
    pub(super) fn attend(&self, qkv: &[f32], spans: &Spans, squares: &mut Squares, out: &mut [f32]) -> Result<(), DirectError> {
        for head in self.heads(spans) {
            for (rows, columns) in head.blocks(self.places.causal) {
                let p = self.listen(qkv, &head, (rows.clone(), columns), &mut squares.heard)?;
                let (square, v) = (View::matrix(0, rows.len(), columns), head.part(2, 0..columns));
                product_into(out, head.rows(rows), (&*p, square), (qkv, v), Old::Dropped)?;
            }
        }
        Ok(())
    }

    /// From the gradient `(N, C)` of what was gathered to that of queries, keys and values `(N, 3C)`. Who listened to whom is computed
    /// again: kept, it would be the largest thing in memory for long records.
    pub(super) fn attend_back(
        &self,
        (qkv, grad): (&[f32], &[f32]),
        spans: &Spans,
        squares: &mut Squares,
        out: &mut [f32],
    ) -> Result<(), DirectError> {
        for head in self.heads(spans) {
            // From the last rows on, which every key and value is heard by: they write, the others add.
            for (step, (rows, columns)) in head.blocks(self.places.causal).rev().enumerate() {
                let old = if step == 0 { Old::Dropped } else { Old::Kept };
                let square = View::matrix(0, rows.len(), columns);
                let p = self.listen(qkv, &head, (rows.clone(), columns), &mut squares.heard)?;
                let ds = room(&mut squares.grad, rows.len() * columns);
                let g = head.rows(rows.clone());
                product_into(ds, square, (grad, g), (qkv, head.part(2, 0..columns).t()), Old::Dropped)?;
                let heard = Heard { columns, first: self.places.causal.then_some(rows.start) };
                product_into(out, head.part(2, 0..columns), (&*p, square.t()), (grad, g), old)?;
                listen_back(p, ds, heard, self.scale());
                self.narrow(ds);
                product_into(out, head.part(0, rows.clone()), (&*ds, square), (qkv, head.part(1, 0..columns)), Old::Dropped)?;
                product_into(out, head.part(1, 0..columns), (&*ds, square.t()), (qkv, head.part(0, rows)), old)?;
            }
        }
        Ok(())
    }
}
