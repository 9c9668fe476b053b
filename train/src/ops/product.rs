//! Matrix products on plain numbers, on the calling thread.

use crate::device::{self, Lies, Matrix};
use candle_core::{Result, bail};

/// A strided batch of matrices inside a flat buffer.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) batch: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) start: usize,
    pub(crate) batch_stride: usize,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl View {
    /// One row-major matrix.
    pub(crate) fn matrix(start: usize, rows: usize, cols: usize) -> Self {
        Self { batch: 1, rows, cols, start, batch_stride: rows * cols, row_stride: cols, col_stride: 1 }
    }
    /// `count` row-major matrices one after the other.
    pub(crate) fn stack(count: usize, rows: usize, cols: usize) -> Self {
        Self { batch: count, ..Self::matrix(0, rows, cols) }
    }
    /// The transpose: the same numbers, read the other way.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
    /// The one matrix of this view, if it lies without gaps.
    fn lying(self, numbers: &[f32]) -> Option<Matrix<'_>> {
        let (rows, cols) = (self.rows, self.cols);
        let lies = match (self.batch, self.row_stride, self.col_stride) {
            (1, stride, 1) if stride == cols => Lies::ByRows,
            (1, 1, stride) if stride == rows => Lies::ByColumns,
            _ => return None,
        };
        let numbers = numbers.get(self.start..self.start.checked_add(rows.checked_mul(cols)?)?)?;
        Some(Matrix { numbers, rows, cols, lies })
    }
    /// One past the last number that the view reads.
    fn end(self) -> usize {
        let last = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        self.start + last(self.batch, self.batch_stride) + last(self.rows, self.row_stride) + last(self.cols, self.col_stride) + 1
    }
}

/// The two kinds of floats that matrices are made of.
pub(crate) trait Real: Copy + Send + Sync + 'static {
    const ZERO: Self;
    const ONE: Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

/// What becomes of the old numbers of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// They are replaced, unread.
    Dropped,
    /// The product is added to them.
    Kept,
}

/// Matrix products `a · b`, one per batch entry, row-major.
///
/// Runs on the calling thread. The engine's own product would ask the system for the number of processors each time, which takes
/// longer than a small product, and would wake threads that have work of their own.
pub(crate) fn product<T: Real>(a: &[T], av: View, b: &[T], bv: View) -> Result<Vec<T>> {
    let mut out = vec![T::ZERO; av.batch * av.rows * bv.cols];
    product_into(&mut out, View::stack(av.batch, av.rows, bv.cols), (a, av), (b, bv), Old::Dropped)?;
    Ok(out)
}

/// As [`product`], by this worker's accelerator where it has one and the product is worth the way. For layers of a model only: what is
/// computed for privacy stays on the processor.
pub(crate) fn layer_product(a: &[f32], av: View, b: &[f32], bv: View) -> Result<Vec<f32>> {
    let work = av.rows.saturating_mul(av.cols).saturating_mul(bv.cols);
    let accelerator = device::attached().filter(|accelerator| work >= accelerator.worth().max(1));
    match (accelerator, av.lying(a), bv.lying(b)) {
        (Some(accelerator), Some(a), Some(b)) if a.cols == b.rows => {
            let product = accelerator.product(a, b)?;
            if product.len() != a.rows * b.cols {
                bail!("an accelerator made {} numbers of a product of {}x{}", product.len(), a.rows, b.cols)
            }
            Ok(product)
        }
        _ => product(a, av, b, bv),
    }
}

/// As [`product`], into memory that is there already. The rows of `out` may lie apart; its columns lie side by side.
pub(crate) fn product_into<T: Real>(out: &mut [T], ov: View, (a, av): (&[T], View), (b, bv): (&[T], View), old: Old) -> Result<()> {
    if av.cols != bv.rows || (ov.rows, ov.cols) != (av.rows, bv.cols) || av.batch != bv.batch || av.batch != ov.batch {
        bail!("cannot multiply {}x{} by {}x{} into {}x{}", av.rows, av.cols, bv.rows, bv.cols, ov.rows, ov.cols)
    }
    if ov.batch * ov.rows * ov.cols == 0 {
        return Ok(());
    }
    if ov.col_stride != 1 || ov.end() > out.len() || (av.cols > 0 && (av.end() > a.len() || bv.end() > b.len())) {
        bail!("matrix view outside its buffer")
    }
    for batch in 0..av.batch {
        let out = &mut out[ov.start + batch * ov.batch_stride..];
        if av.cols == 0 {
            if old == Old::Dropped {
                (0..ov.rows).for_each(|row| out[row * ov.row_stride..][..ov.cols].fill(T::ZERO));
            }
            continue;
        }
        multiply((out, ov), (&a[av.start + batch * av.batch_stride..], av), (&b[bv.start + batch * bv.batch_stride..], bv), old);
    }
    Ok(())
}

/// One product. All three begin at the first number of their matrix; [`product_into`] has checked that they hold the last one too.
#[expect(unsafe_code, reason = "the kernel takes pointers and strides")]
fn multiply<T: Real>((out, ov): (&mut [T], View), (a, av): (&[T], View), (b, bv): (&[T], View), old: Old) {
    let (rows, cols, inner) = (ov.rows, ov.cols, av.cols);
    let [a_col, a_row, b_col, b_row, o_row] =
        [av.col_stride, av.row_stride, bv.col_stride, bv.row_stride, ov.row_stride].map(usize::cast_signed);
    let (keep, share) = match old {
        Old::Dropped => (false, T::ZERO),
        Old::Kept => (true, T::ONE),
    };
    // SAFETY: `product_into` checked with `View::end` that every index start + batch + row + column of all three views lies inside its
    // buffer, that the columns of `out` lie side by side, and all strides are non-negative. The inputs do not overlap `out`, which is
    // borrowed mutably; rows of `out` do not overlap each other in any view made here, and if they did, only its own numbers would suffer.
    unsafe {
        // out = share · out + 1 · a · b, nothing conjugated, on this thread.
        let (out, a, b, none) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), gemm::Parallelism::None);
        gemm::gemm(rows, cols, inner, out, 1, o_row, keep, a, a_col, a_row, b, b_col, b_row, share, T::ONE, false, false, false, none);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Engine;
    use crate::device::testing::Counting;
    use crate::direct::Precision;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn products_of_any_size_agree_with_the_definition() {
        for (batch, m, k, n) in [(1, 3, 4, 5), (2, 90, 110, 70), (1, 5, 900, 700), (3, 0, 2, 2), (1, 2, 0, 3)] {
            let numbers = |count: usize, step: usize| (0..count).map(|i| ((i * step) % 7) as f32 - 3.0).collect::<Vec<_>>();
            let (a, b) = (numbers(batch * m * k, 3), numbers(batch * k * n, 5));
            let mut expected = Vec::new();
            for (z, i, j) in (0..batch).flat_map(|z| (0..m).flat_map(move |i| (0..n).map(move |j| (z, i, j)))) {
                expected.push((0..k).map(|l| a[(z * m + i) * k + l] * b[(z * n + j) * k + l]).sum::<f32>());
            }
            // Small integers: exact in any order. The second factor is read transposed.
            assert_eq!(product(&a, View::stack(batch, m, k), &b, View::stack(batch, n, k).t()).unwrap(), expected);
            let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let product = product(&wide(&a), View::stack(batch, m, k), &wide(&b), View::stack(batch, n, k).t()).unwrap();
            assert_eq!(product, wide(&expected));
        }
    }

    /// Matrices with gaps, and small ones, are the processor's.
    #[test]
    fn an_accelerator_gets_what_it_can_read_and_the_result_is_the_same() {
        let numbers = |count: usize, step: usize| (0..count).map(|i| ((i * step) % 7) as f32 - 3.0).collect::<Vec<_>>();
        let (x, w) = (numbers(4 * 3, 3), numbers(5 * 3, 5));
        let accelerator = Arc::new(Counting(Engine::processor(Precision::F32), AtomicUsize::new(0)));
        let run = |rows: View, weight: View| layer_product(&x, rows, &w, weight).unwrap();
        let gaps = View { rows: 2, row_stride: 6, ..View::matrix(0, 4, 3) };
        let views = [(View::matrix(3, 2, 3), View::matrix(0, 5, 3).t()), (View::matrix(0, 4, 3), View::matrix(0, 3, 5))];
        let alone = views.map(|(x, w)| run(x, w));
        let alone_with_gaps = run(gaps, View::matrix(0, 3, 5));
        // A thread of its own: what is attached stays attached.
        std::thread::scope(|scope| {
            let helped = scope.spawn(|| {
                device::attach(0, accelerator.clone());
                (views.map(|(x, w)| run(x, w)), run(gaps, View::matrix(0, 3, 5)))
            });
            assert_eq!(helped.join().unwrap(), (alone, alone_with_gaps));
        });
        assert_eq!(accelerator.1.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_product_can_be_added_to_what_is_there_and_leaves_the_gaps_alone() {
        let (a, b) = ([1.0f32, 2.0, 3.0, 4.0], [1.0f32, 0.0, 0.0, 1.0]);
        let mut out = vec![10.0f32; 6];
        let ov = View { row_stride: 3, ..View::matrix(1, 2, 2) };
        product_into(&mut out, ov, (&a, View::matrix(0, 2, 2)), (&b, View::matrix(0, 2, 2)), Old::Kept).unwrap();
        assert_eq!(out, [10.0, 11.0, 12.0, 10.0, 13.0, 14.0]);
        product_into(&mut out, ov, (&a, View::matrix(0, 2, 0)), (&b, View::matrix(0, 0, 2)), Old::Dropped).unwrap();
        assert_eq!(out, [10.0, 0.0, 0.0, 10.0, 0.0, 0.0]);
    }

    #[test]
    fn a_view_outside_its_buffer_is_an_error() {
        let a = [1.0; 6];
        assert!(product(&a, View::matrix(1, 2, 3), &a, View::matrix(0, 3, 2)).is_err());
        assert!(product(&a, View::matrix(0, 2, 3), &a, View::matrix(0, 2, 3)).is_err());
    }
}
