//! The few operations that the model is made of, each with its own backward pass. Know shapes and numbers, no names of parameters.
//!
//! Stock candle has fused versions of several of these, but they are cut out of the graph in training without an error; ours are
//! checked against finite differences. Letters: N tokens of the batch, B records, n tokens of one record, C width, H heads, K classes,
//! V vocabulary.

pub(crate) mod activation;
pub(crate) mod attend;
pub(crate) mod attention;
pub(crate) mod dropout;
pub(crate) mod gelu;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod neighbours;
pub(crate) mod next_token;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod relative;
pub(crate) mod rotary;
pub(crate) mod rows;
pub(crate) mod token_loss;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};

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

/// Matrix products `a · b`, one per batch entry, row-major.
///
/// Runs on the calling thread. The engine's own product would ask the system for the number of processors each time, which takes
/// longer than a small product, and would wake threads that have work of their own.
pub(crate) fn product<T: Real>(a: &[T], av: View, b: &[T], bv: View) -> Result<Vec<T>> {
    if av.cols != bv.rows || av.batch != bv.batch {
        bail!("cannot multiply {}x{} by {}x{}", av.rows, av.cols, bv.rows, bv.cols)
    }
    let size = av.rows * bv.cols;
    let mut out = vec![T::ZERO; av.batch * size];
    if out.is_empty() || av.cols == 0 {
        return Ok(out);
    }
    if av.end() > a.len() || bv.end() > b.len() {
        bail!("matrix view outside its buffer")
    }
    for (batch, out) in out.chunks_exact_mut(size).enumerate() {
        multiply(out, &a[av.start + batch * av.batch_stride..], av, &b[bv.start + batch * bv.batch_stride..], bv);
    }
    Ok(out)
}

/// One product. `a` and `b` begin at the first number of their matrix; [`product`] has checked that they hold the last one too.
#[expect(unsafe_code, reason = "the kernel takes pointers and strides")]
fn multiply<T: Real>(out: &mut [T], a: &[T], av: View, b: &[T], bv: View) {
    let (rows, cols, inner) = (av.rows, bv.cols, av.cols);
    let [a_col, a_row, b_col, b_row] = [av.col_stride, av.row_stride, bv.col_stride, bv.row_stride].map(usize::cast_signed);
    // SAFETY: `out` holds rows * cols numbers and is written row-major, column stride 1. `product` checked with `View::end` that every
    // index start + batch + row + column of both views lies inside its buffer, and all strides are non-negative. The slices do not
    // overlap `out`, which is borrowed mutably.
    unsafe {
        // out = 0 · out + 1 · a · b, the old content of `out` unread, nothing conjugated, on this thread.
        let (out, a, b) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
        let (none, row) = (gemm::Parallelism::None, cols.cast_signed());
        gemm::gemm(rows, cols, inner, out, 1, row, false, a, a_col, a_row, b, b_col, b_row, T::ZERO, T::ONE, false, false, false, none);
    }
}

/// The numbers of a contiguous tensor.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor, got {layout:?}") };
    let Some(numbers) = storage.as_slice::<f32>()?.get(start..end) else { bail!("the tensor's numbers were let go by a backward pass") };
    Ok(numbers)
}

/// Takes a tensor's memory away.
struct Release;

impl InplaceOp1 for Release {
    fn name(&self) -> &'static str {
        "release"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _layout: &Layout) -> Result<()> {
        *storage = CpuStorage::F32(Vec::new());
        Ok(())
    }
}

/// Lets an operation's input go once its backward pass has read it: the engine would keep it until the whole graph is dropped, and with the
/// gradients that are recorded meanwhile that is the most memory of a step. Only for an input that nothing else reads: a second backward
/// pass over the same graph is an error. Variables stay.
pub(crate) fn release(x: &Tensor) -> Result<()> {
    if x.is_variable() { Ok(()) } else { x.inplace_op1(&Release) }
}

/// Reads the numbers of a contiguous tensor in place.
pub(crate) fn with_floats<T>(x: &Tensor, read: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (guard, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*guard else { bail!("this build trains on the processor only") };
    read(contiguous(storage, layout)?)
}

/// A tensor of these numbers with the shape of another.
pub(crate) fn like(values: Vec<f32>, shape: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape.shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_view_outside_its_buffer_is_an_error() {
        let a = [1.0; 6];
        assert!(product(&a, View::matrix(1, 2, 3), &a, View::matrix(0, 3, 2)).is_err());
        assert!(product(&a, View::matrix(0, 2, 3), &a, View::matrix(0, 2, 3)).is_err());
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Finite differences: the oracle of every backward pass.
    use candle_core::{Device, Result, Tensor, Var};

    /// A fixed pattern without symmetry.
    pub(crate) fn wave(shape: &[usize], seed: f32) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|i| ((i as f32) * 0.7311 + seed).sin() * 0.9 + ((i as f32) * 0.213 - seed).cos() * 0.4).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Compares backward with central differences of `sum(f(x) * weights)` at every coordinate.
    pub(crate) fn agrees_with_differences(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) {
        let var = Var::from_tensor(x).unwrap();
        let out = f(&var).unwrap();
        let weights = wave(out.dims(), 2.5);
        let grads = (&out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let got = grads.get(&var).expect("a gradient must exist").flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let at = |values: &[f32]| -> f64 {
            let y = f(&Tensor::from_slice(values, x.dims(), &Device::Cpu).unwrap()).unwrap();
            let (y, w) = (y.flatten_all().unwrap().to_vec1::<f32>().unwrap(), weights.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            y.iter().zip(&w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let base = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let h = 1.0 / 128.0;
        for i in 0..base.len() {
            let mut moved = base.clone();
            moved[i] = base[i] + h;
            let up = at(&moved);
            moved[i] = base[i] - h;
            let slope = (up - at(&moved)) / (2.0 * f64::from(h));
            assert!((slope - f64::from(got[i])).abs() < 3e-3 * (1.0 + slope.abs()), "coordinate {i}: {slope} against {}", got[i]);
        }
    }
}
