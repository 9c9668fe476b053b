//! Who computes a worker's model: the worker's own processor thread, or an accelerator that it has to itself. Several accelerators of one
//! institution are several workers: each takes micro-batches of its own, and only sums of clipped gradients meet (training.md M15). Knows no
//! layer and no unit.
//!
//! An accelerator either holds whole models ([`Site`]), so that layers and their gradients stay there between the passes, or is sent the
//! factors of single products. Norms of gradients, clipping and weighted sums stay on the processor, in the floats whose errors the account
//! covers (M11, privacy.md D19).

mod choice;
pub(crate) mod memory;
mod site;

pub use choice::{DeviceError, Found, Wanted};
pub(crate) use memory::{fits, halve, is_out_of_memory};
pub use site::Site;

use crate::direct::Precision;
use candle_core::{DType, Device, Result, Tensor};
use std::cell::RefCell;
use std::sync::Arc;

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// Row by row.
    ByRows,
    /// Column by column.
    ByColumns,
}

/// A matrix without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// `rows * cols` numbers.
    pub numbers: &'a [f32],
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub cols: usize,
    /// In which order.
    pub lies: Lies,
}

/// Multiplies matrices for one worker.
///
/// The result must depend on the two factors alone, bit by bit: the exact path rests on it (privacy.md D19), and
/// [`crate::slots::slots_agree`] asks.
pub trait Multiply: Send + Sync {
    /// `a · b`, row by row.
    ///
    /// # Errors
    /// The accelerator's.
    fn product(&self, a: Matrix<'_>, b: Matrix<'_>) -> Result<Vec<f32>>;

    /// Multiplications of numbers below which a product is not worth the way there and back.
    fn worth(&self) -> usize;

    /// Where models live, if this accelerator holds whole models; none if it is only sent products.
    fn site(&self) -> Option<&Site> {
        None
    }
}

/// A device of the tensor engine.
pub struct Engine {
    site: Site,
    holds_models: bool,
    worth: usize,
}

/// A processor's thread does some 2^22 multiplications in the tenth of a millisecond that a megabyte needs to an accelerator.
const WORTH: usize = 1 << 22;
/// No machine has more GPUs than this.
const MOST_GPUS: usize = 64;

impl Engine {
    /// One GPU, which holds whole models.
    ///
    /// # Errors
    /// The engine's: no such GPU, no driver, or a program that was built without the feature `cuda`.
    pub fn gpu(ordinal: usize, precision: Precision) -> Result<Self> {
        Ok(Self { site: Site::new(Device::new_cuda(ordinal)?, precision), holds_models: true, worth: WORTH })
    }

    /// All GPUs of this machine; there is at least one.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn gpus(precision: Precision) -> Result<Vec<Self>> {
        let first = Self::gpu(0, precision)?;
        let others = (1..MOST_GPUS).map_while(|ordinal| Self::gpu(ordinal, precision).ok());
        Ok(std::iter::once(first).chain(others).collect())
    }

    /// The processor as if it were an accelerator that is sent every product.
    #[cfg(test)]
    pub(crate) fn processor(precision: Precision) -> Self {
        Self { site: Site::new(Device::Cpu, precision), holds_models: false, worth: 1 }
    }

    /// The processor as if it were an accelerator that holds models: what runs on a GPU, run where there is none.
    #[cfg(test)]
    pub(crate) fn holding_models(precision: Precision) -> Self {
        Self { holds_models: true, ..Self::processor(precision) }
    }

    fn tensor(&self, m: Matrix<'_>) -> Result<Tensor> {
        let device = self.site.device();
        let there = match m.lies {
            Lies::ByRows => Tensor::from_slice(m.numbers, (m.rows, m.cols), device)?,
            Lies::ByColumns => Tensor::from_slice(m.numbers, (m.cols, m.rows), device)?.t()?,
        };
        self.site.factor(&there)
    }
}

impl Multiply for Engine {
    fn product(&self, a: Matrix<'_>, b: Matrix<'_>) -> Result<Vec<f32>> {
        let product = self.tensor(a)?.matmul(&self.tensor(b)?)?;
        product.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    fn worth(&self) -> usize {
        self.worth
    }

    fn site(&self) -> Option<&Site> {
        self.holds_models.then_some(&self.site)
    }
}

thread_local! {
    static ACCELERATOR: RefCell<Option<(usize, Arc<dyn Multiply>)>> = const { RefCell::new(None) };
}

/// From here on this thread has an accelerator, the one of this number.
pub(crate) fn attach(number: usize, accelerator: Arc<dyn Multiply>) {
    ACCELERATOR.set(Some((number, accelerator)));
}

/// This thread's accelerator.
pub(crate) fn attached() -> Option<Arc<dyn Multiply>> {
    ACCELERATOR.with_borrow(|attached| attached.as_ref().map(|(_, accelerator)| Arc::clone(accelerator)))
}

/// The number of this thread's accelerator; 0 without one.
pub(crate) fn number() -> usize {
    ACCELERATOR.with_borrow(|attached| attached.as_ref().map_or(0, |(number, _)| *number))
}

/// Reads where this thread's models live, if its accelerator holds models.
pub(crate) fn with_site<T>(read: impl FnOnce(Option<&Site>) -> T) -> T {
    ACCELERATOR.with_borrow(|attached| read(attached.as_ref().and_then(|(_, accelerator)| accelerator.site())))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Engine, Matrix, Multiply};
    use candle_core::Result;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what it is asked for.
    pub(crate) struct Counting(pub(crate) Engine, pub(crate) AtomicUsize);

    impl Multiply for Counting {
        fn product(&self, a: Matrix<'_>, b: Matrix<'_>) -> Result<Vec<f32>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.product(a, b)
        }

        fn worth(&self) -> usize {
            self.0.worth()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, and their sums: exact in both kinds of floats.
    #[test]
    fn a_device_multiplies_matrices_however_they_lie() {
        let a: Vec<f32> = (0..6).map(|i| i as f32 - 2.0).collect(); // (2, 3)
        let by_rows: Vec<f32> = (0..12).map(|i| (i % 5) as f32).collect(); // (3, 4)
        let by_columns: Vec<f32> = (0..12).map(|i| by_rows[(i % 3) * 4 + i / 3]).collect();
        let expected: Vec<f32> = (0..8).map(|i| (0..3).map(|k| a[i / 4 * 3 + k] * by_rows[k * 4 + i % 4]).sum::<f32>()).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            for (numbers, lies) in [(&by_rows, Lies::ByRows), (&by_columns, Lies::ByColumns)] {
                let (a, b) = (Matrix { numbers: &a, rows: 2, cols: 3, lies: Lies::ByRows }, Matrix { numbers, rows: 3, cols: 4, lies });
                assert_eq!(Engine::processor(precision).product(a, b).unwrap(), expected, "{precision:?} {lies:?}");
            }
        }
    }

    #[test]
    fn factors_are_rounded_to_bfloat_where_that_is_asked_for() {
        let (long, three) = ([1.0f32 + 1.0 / 1024.0], [3.0f32]);
        let product = |precision| {
            let [a, b] = [&long, &three].map(|numbers| Matrix { numbers, rows: 1, cols: 1, lies: Lies::ByRows });
            Engine::processor(precision).product(a, b).unwrap()
        };
        assert_eq!((product(Precision::F32), product(Precision::Bf16)), (vec![3.0 + 3.0 / 1024.0], vec![3.0]));
    }
}
