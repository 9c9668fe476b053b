//! First weights from a public seed: the same bits on every machine. Not for anything secret.

use super::lora::factor_of;
use super::parameters::{ModelError, Parameter, ParameterTable, Start, Weights};
use protocol::plan::EncoderConfig;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;

/// The model's first weights. Everybody who knows the seed gets the same bits.
///
/// # Errors
/// As [`ParameterTable::new`].
pub fn initial(config: &EncoderConfig, seed: u64) -> Result<Weights, ModelError> {
    let table = ParameterTable::new(config)?;
    Weights::new(config, values(&table, seed, 0))
}

/// First values of all tensors of a table. Tables of one model take streams from different numbers on.
pub(crate) fn values(table: &ParameterTable, seed: u64, first_stream: u64) -> Vec<f32> {
    let mut flat = Vec::with_capacity(table.len());
    for (stream, parameter) in (first_stream..).zip(table.iter()) {
        let earlier = earlier(table, parameter, |p| flat.get(p.range()));
        let values = first(parameter, (seed, stream), &earlier);
        flat.extend(values);
    }
    flat
}

/// The same of some tensors of a plan's model only, by name: what [`initial`] gives them, without the rest.
pub(crate) fn some(table: &ParameterTable, seed: u64, wanted: impl Fn(&Parameter) -> bool) -> BTreeMap<String, Vec<f32>> {
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (stream, parameter) in (0..).zip(table.iter()).filter(|&(_, p)| wanted(p)) {
        let earlier = earlier(table, parameter, |p| found.get(&p.name).map(Vec::as_slice));
        let values = first(parameter, (seed, stream), &earlier);
        found.insert(parameter.name.clone(), values);
    }
    found
}

/// First values of one tensor, which has a stream of its own: a longer vocabulary does not change the layers' weights.
fn first(parameter: &Parameter, (seed, stream): (u64, u64), earlier: &[&[f32]]) -> Vec<f32> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    match parameter.start {
        Start::Zero => vec![0.0; parameter.len()],
        Start::One => vec![1.0; parameter.len()],
        Start::Spread(deviation) => (0..parameter.len()).map(|_| bell(&mut rng) * deviation).collect(),
        Start::Orthonormal => orthonormal(parameter, earlier, &mut rng),
    }
}

fn width(parameter: &Parameter) -> usize {
    parameter.shape.last().copied().unwrap_or(1).max(1)
}

/// Rows of the same layer's factor in the bands before this one, of which `known` has the numbers: all bands are one factor.
fn earlier<'a>(table: &ParameterTable, parameter: &Parameter, known: impl Fn(&Parameter) -> Option<&'a [f32]>) -> Vec<&'a [f32]> {
    let Some((path, factor, first @ 1..)) = factor_of(&parameter.name) else { return Vec::new() };
    let before = |p: &&Parameter| factor_of(&p.name).is_some_and(|(of, which, at)| of == path && which == factor && at < first);
    table.iter().filter(before).filter_map(known).flat_map(|rows| rows.chunks_exact(width(parameter))).collect()
}

/// Rows at right angles to each other and to the earlier ones, each of length 1: what is left of a random row after the others are taken out of
/// it, twice, because one pass loses digits where little is left. More rows than columns cannot all be at right angles; the later ones are then
/// just of length 1.
fn orthonormal(parameter: &Parameter, earlier: &[&[f32]], rng: &mut ChaCha20Rng) -> Vec<f32> {
    let width = width(parameter);
    let mut rows: Vec<Vec<f64>> = earlier.iter().map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
    for _ in 0..parameter.len() / width {
        let mut row: Vec<f64> = (0..width).map(|_| f64::from(bell(rng))).collect();
        for _ in 0..2 * usize::from(rows.len() < width) {
            for earlier in &rows {
                let along: f64 = row.iter().zip(earlier).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(earlier).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
        rows.push(row);
    }
    #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
    rows[earlier.len()..].iter().flatten().map(|&v| v as f32).collect()
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
    use crate::model::lora::Factor;
    use crate::model::parameters::Access;
    use crate::testing::small_config;

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_seed_does_not() {
        let config = small_config();
        assert_eq!(initial(&config, 7).unwrap(), initial(&config, 7).unwrap());
        assert_ne!(initial(&config, 7).unwrap(), initial(&config, 8).unwrap());
    }

    #[test]
    fn rows_of_a_frozen_factor_are_at_right_angles() {
        let parameter = Parameter { name: "a".into(), shape: vec![5, 12], offset: 0, start: Start::Orthonormal, access: Access::Whole };
        let rows = orthonormal(&parameter, &[], &mut ChaCha20Rng::seed_from_u64(3));
        for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
            let dot: f32 = rows[i * 12..][..12].iter().zip(&rows[j * 12..][..12]).map(|(a, b)| a * b).sum();
            assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-6, "{i} {j} {dot}");
        }
    }

    #[test]
    fn rows_of_all_bands_of_a_factor_are_at_right_angles() {
        let adapter = |nested| Some(protocol::plan::AdapterConfig { rank: 4, alpha: 8, targets: None, nested });
        let weights = initial(&EncoderConfig { adapter: adapter(Some(vec![1, 3])), ..small_config() }, 3).unwrap();
        let bands = [0, 1, 3].map(|first| super::super::lora::factor_name("encoder.layers.1.attention.qkv", Factor::A, first));
        let numbers: Vec<f32> =
            bands.iter().flat_map(|name| weights.flat()[weights.table().find(name).unwrap().range()].to_vec()).collect();
        let width = usize::try_from(small_config().width).unwrap();
        assert_eq!(numbers.len(), 4 * width);
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            let dot: f32 = numbers[i * width..][..width].iter().zip(&numbers[j * width..][..width]).map(|(a, b)| a * b).sum();
            assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-6, "{i} {j} {dot}");
        }
        // Some tensors have the values that they have among all.
        let wanted = |p: &Parameter| !p.name.ends_with("bias");
        for (name, values) in some(weights.table(), 3, wanted) {
            assert_eq!(values, weights.flat()[weights.table().find(&name).unwrap().range()], "{name}");
        }
        let whole = initial(&EncoderConfig { adapter: adapter(None), ..small_config() }, 3).unwrap();
        assert_eq!(whole.flat().len(), weights.flat().len());
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
