//! First weights from a public seed: the same bits on every machine. Not for anything secret.

use super::parameters::{ModelError, ParameterTable, Start, Weights};
use protocol::plan::EncoderConfig;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The model's first weights. Everybody who knows the seed gets the same bits.
///
/// # Errors
/// As [`ParameterTable::new`].
pub fn initial(config: &EncoderConfig, seed: u64) -> Result<Weights, ModelError> {
    let table = ParameterTable::new(config)?;
    let mut flat = Vec::with_capacity(table.len());
    for (stream, parameter) in (0u64..).zip(table.iter()) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        // A stream of its own for each tensor: a longer vocabulary does not change the layers' weights.
        rng.set_stream(stream);
        match parameter.start {
            Start::Zero => flat.resize(flat.len() + parameter.len(), 0.0),
            Start::One => flat.resize(flat.len() + parameter.len(), 1.0),
            Start::Spread(deviation) => flat.extend((0..parameter.len()).map(|_| bell(&mut rng) * deviation)),
        }
    }
    Weights::new(config, flat)
}

/// Nearly normal with deviation 1: the sum of twelve uniform numbers. No logarithm and no cosine, whose last bit differs by platform.
fn bell(rng: &mut ChaCha20Rng) -> f32 {
    let sum: i64 = (0..12).map(|_| i64::from(rng.next_u32() >> 8)).sum();
    #[expect(clippy::cast_precision_loss, reason = "rounded once, the same way everywhere")]
    let centred = (sum - 6 * (1 << 24) + 6) as f32;
    centred / 16_777_216.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_config;

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_seed_does_not() {
        let config = small_config();
        assert_eq!(initial(&config, 7).unwrap(), initial(&config, 7).unwrap());
        assert_ne!(initial(&config, 7).unwrap(), initial(&config, 8).unwrap());
    }

    /// 4,000 numbers: mean within 0.08 and variance within 0.15 of a standard bell; both bounds are over 5 deviations (false alarm below 1e-6).
    #[test]
    fn first_weights_are_bell_shaped() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let draws: Vec<f64> = (0..4000).map(|_| f64::from(bell(&mut rng))).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.08 && (variance - 1.0).abs() < 0.15, "{mean} {variance}");
    }
}
