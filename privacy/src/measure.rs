//! Work for sizing hardware (privacy.md D73): noise by the real samplers, for nothing. Knows no clock: the caller times.
//!
//! What is drawn here is overwritten and leaves as a count only, so this is no way around [`crate::ledger::PaidStep`].

use crate::mechanism::sigma_grid_1024;
use crate::noise::{EntropyError, EntropySource, Noise, Sampler, StepContext, Stream};
use protocol::decimal::Decimal;
use protocol::ids::ManifestDigest;
use protocol::plan::NoiseKind;
use zeroize::Zeroize;

/// Why there is nothing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The samplers do not cover this deviation.
    #[error("a deviation of {0} grid steps is outside 1 to 2^40")]
    Deviation(Decimal),
    /// No entropy for the key of the stream.
    #[error("no fresh entropy")]
    Entropy(#[from] EntropyError),
    /// OpenDP gave no value.
    #[cfg(feature = "opendp")]
    #[error("the sampler beside ours gives no value")]
    Giant(#[from] crate::noise::giant::GiantError),
}

/// One sampler with its tables, one stream, and memory for one run.
pub struct NoiseWork {
    sampler: Sampler,
    stream: Stream<Noise>,
    values: Vec<i64>,
    sigma_1024: u64,
}

impl NoiseWork {
    /// Tables for noise of this kind and deviation, and memory for `count` values.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn new(kind: NoiseKind, sigma_grid: Decimal, count: usize, entropy: &mut dyn EntropySource) -> Result<Self, MeasureError> {
        let sigma_1024 = sigma_grid_1024(sigma_grid, 0).ok_or(MeasureError::Deviation(sigma_grid))?;
        let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 };
        let stream = Stream::open(entropy, &context)?;
        Ok(Self { sampler: Sampler::of(kind, sigma_1024), stream, values: vec![0; count], sigma_1024 })
    }

    /// The deviation that is drawn, in grid steps: a multiple of 2^-10, not below what was asked for.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^50, so exact")]
    pub fn sigma_grid(&self) -> f64 {
        self.sigma_1024 as f64 / 1024.0
    }

    /// Draws the values of one run, over those of the last. How many are not 0.
    pub fn draw(&mut self) -> usize {
        self.sampler.fill(&mut self.stream, &mut self.values);
        self.values.iter().filter(|v| **v != 0).count()
    }

    /// Draws `count` values by OpenDP's discrete Gaussian of the same deviation. How many are not 0.
    ///
    /// # Errors
    /// [`MeasureError::Giant`].
    #[cfg(feature = "opendp")]
    pub fn draw_opendp(&self, count: usize) -> Result<usize, MeasureError> {
        let scale = self.sigma_grid();
        let draws = (0..count).map(|_| Ok(usize::from(crate::noise::giant::discrete_gaussian(scale)? != 0)));
        draws.sum()
    }
}

impl Drop for NoiseWork {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::SeededEntropy;

    fn work(kind: NoiseKind, sigma_grid: &str) -> Result<NoiseWork, MeasureError> {
        NoiseWork::new(kind, sigma_grid.parse().unwrap(), 5000, &mut SeededEntropy::new(1))
    }

    /// At deviation 1000 a value is 0 about once in 2,500: more than 50 zeros of 5,000 come up less than once in 1e40.
    #[test]
    fn what_is_timed_is_real_noise() {
        for kind in [NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian] {
            let mut w = work(kind, "1000").unwrap();
            assert!((4950..=5000).contains(&w.draw()));
            let first = w.values.clone();
            w.draw();
            assert_ne!(first, w.values, "each run draws anew");
        }
    }

    #[test]
    fn deviations_without_a_sampler_are_refused() {
        for bad in ["0", "0.9", "1099511627777"] {
            assert!(matches!(work(NoiseKind::DiscreteGaussian, bad), Err(MeasureError::Deviation(_))), "{bad}");
        }
        assert!((work(NoiseKind::RoundedGaussian, "2.3").unwrap().sigma_grid() - 2356.0 / 1024.0).abs() < 1e-15);
        assert!((work(NoiseKind::DiscreteGaussian, "1099511627776").unwrap().sigma_grid() - 2f64.powi(40)).abs() < 1e-15);
    }
}
