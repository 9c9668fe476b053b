//! The few operations that the model is made of, each with its own backward pass. Know shapes and numbers, no names of parameters.
//!
//! Stock candle has fused versions of several of these, but they are cut out of the graph in training without an error; ours are
//! checked against finite differences. They work on numbers in the processor's memory; on any other device each of them is the same function
//! composed of stock operations that do have gradients ([`composed`]). Letters: N tokens of the batch, B records, n tokens of one record, C width, H heads, K classes,
//! V vocabulary.

pub(crate) mod activation;
pub(crate) mod attend;
pub(crate) mod attention;
mod attention_composed;
pub(crate) mod composed;
pub(crate) mod dropout;
pub(crate) mod gelu;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod neighbours;
pub(crate) mod next_token;
pub(crate) mod norm;
pub(crate) mod pieces;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod ready;
pub(crate) mod relative;
pub(crate) mod rotary;
pub(crate) mod rows;
pub(crate) mod token_loss;
#[cfg(test)]
pub(crate) mod way_tests;

pub(crate) use product::{Old, Real, View, layer_product, product, product_into};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};

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
    let Storage::Cpu(storage) = &*guard else { bail!("expected numbers in the processor's memory") };
    read(contiguous(storage, layout)?)
}

/// A tensor of these numbers with the shape of another.
pub(crate) fn like(values: Vec<f32>, shape: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape.shape(), &Device::Cpu)
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
