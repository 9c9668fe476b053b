//! What it costs in sensitivity that only a sum of floats exists (privacy.md D18, D19).

use super::{Executed, MechanismError, SIGMA_FRACTION_BITS, exact_f64, half_root};
use minicbor::{CborLen, Decode, Encode};
use protocol::plan::{Accumulate, ClipPath, Rounding};

/// Probability, per step, with which a dithered difference is longer than Δ_grid says.
const BETA: f64 = 1e-12;
/// Largest b² · T · (micro-batches) for which the error of 64-bit sums is a theorem.
const MOST_ROWS: u128 = 1 << 29;

/// How sums of floats are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatSums {
    /// Floats of the weighted products.
    pub accumulate: Accumulate,
    /// From the sum to the grid.
    pub rounding: Rounding,
    /// Units b in one micro-batch.
    pub micro_batch: u32,
    /// Most rows T of one unit: its records' tokens together.
    pub max_rows: u32,
}

/// The sum path as it is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct SumPath {
    /// Δ_grid in units of 2^-10 grid steps, rounded up.
    #[n(0)]
    pub delta_grid_1024: u64,
    /// Floats of the weighted products.
    #[n(1)]
    pub accumulate: Accumulate,
    /// From the sum to the grid.
    #[n(2)]
    pub rounding: Rounding,
    /// Units in one micro-batch.
    #[n(3)]
    pub micro_batch: u32,
}

impl SumPath {
    /// # Errors
    /// [`MechanismError::TooManyRows`].
    pub(super) fn new(e: &Executed, sums: FloatSums) -> Result<Self, MechanismError> {
        let FloatSums { accumulate, rounding, micro_batch, max_rows } = sums;
        // The declared number may be a tenth below the actual one, so twice the declared is above it.
        let rows = 2 * u128::from(e.declared_units) * u128::from(micro_batch.max(1)) * u128::from(max_rows);
        if accumulate == Accumulate::F64 && rows > MOST_ROWS {
            return Err(MechanismError::TooManyRows { micro_batch, max_rows, declared_units: e.declared_units });
        }
        let long = 2f64.powi(i32::from(e.grid_bits)) * (1.0 + allowance(e, accumulate, micro_batch));
        let (half, beta) = (half_root(e.dimension), BETA);
        let delta = match rounding {
            Rounding::Nearest => long + 2.0 * half,
            Rounding::Dithered => (long * long + half * half + (-2.0 * beta.ln()).sqrt() * (long + half)).sqrt(),
        };
        // Above whatever the last digits of these few operations may have lost.
        let steps = (delta * (1.0 + 2f64.powi(-40)) * 2f64.powi(i32::from(SIGMA_FRACTION_BITS))).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "g is at most 24 and d at most 2^32: below 2^45")]
        let delta_grid_1024 = steps as u64;
        Ok(Self { delta_grid_1024, accumulate, rounding, micro_batch })
    }

    /// ν of D19.
    pub(super) fn allowance(self, e: &Executed) -> f64 {
        allowance(e, self.accumulate, self.micro_batch)
    }
}

/// Probability, per step, with which the sensitivity is above Δ_grid: times the steps it is charged to δ (D18, D44). 0 on the exact path.
pub fn slack_per_step(path: ClipPath) -> f64 {
    match path {
        ClipPath::BookKeeping { rounding: Rounding::Dithered, .. } => BETA,
        ClipPath::BookKeeping { rounding: Rounding::Nearest, .. } | ClipPath::Exact => 0.0,
    }
}

/// ν: by how much of C one unit may move the float sum more than C (D19).
fn allowance(e: &Executed, accumulate: Accumulate, micro_batch: u32) -> f64 {
    match accumulate {
        Accumulate::F32 => {
            let expected = e.sampling_rate.to_f64() * exact_f64(e.declared_units);
            (expected * f64::from(micro_batch) * 2f64.powi(-23)).max(2f64.powi(-9))
        }
        Accumulate::F64 => 2f64.powi(-12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::Mechanism;
    use crate::mechanism::tests::plan;

    fn sums(accumulate: Accumulate, rounding: Rounding) -> FloatSums {
        FloatSums { accumulate, rounding, micro_batch: 8, max_rows: 128 }
    }

    /// The table of privacy.md D18, nearest and dithered, at ν = 0: ours carries ν = 2^-12 on top.
    #[test]
    fn sensitivities_are_those_of_the_table() {
        for (g, d, nearest, dithered) in [
            (12u8, 100_000u64, 1.077, 1.0017),
            (12, 1_000_000, 1.244, 1.0084),
            (12, 10_000_000, 1.772, 1.073),
            (16, 1_000_000, 1.0153, 1.000_09),
            (16, 100_000_000, 1.153, 1.0030),
            (20, 100_000_000, 1.0095, 1.000_02),
        ] {
            for (rounding, expected) in [(Rounding::Nearest, nearest), (Rounding::Dithered, dithered)] {
                let m = Mechanism::of_float_sums(&plan("1", "0.1", g), d, 1000, sums(Accumulate::F64, rounding)).unwrap();
                let relative = m.delta_grid() / 2f64.powi(i32::from(g));
                // The last printed digit, and ν with room for how it enters under the root.
                assert!((relative - expected - 2f64.powi(-12)).abs() < 6e-4, "{g} {d} {rounding:?}: {relative}");
            }
        }
    }

    #[test]
    fn noise_is_measured_by_the_sensitivity_of_the_path() {
        let plan = plan("1.5", "0.1", 12);
        let exact = Mechanism::new(&plan, 10_000, 1000).unwrap();
        let m = Mechanism::of_float_sums(&plan, 10_000, 1000, sums(Accumulate::F32, Rounding::Dithered)).unwrap();
        assert!(m.delta_grid() > exact.delta_grid() && exact.delta_grid() == 4096.0);
        assert!(m.sigma_grid() >= 1.5 * m.delta_grid() && m.sigma_grid() < 1.5 * m.delta_grid() + 2f64.powi(-10));
        assert!(m.noise_multiplier_accounted().to_f64() <= m.noise_multiplier_executed());
        assert!((m.grid_step() - exact.grid_step()).abs() < 1e-18);
        let slack = |m: &Mechanism| slack_per_step(m.executed().clip_path());
        assert!(slack(&exact) == 0.0 && slack(&m) == 1e-12);
        assert!(exact.executed().allowance() == 0.0 && m.executed().allowance() == 2f64.powi(-9));
        assert_ne!(exact.executed(), m.executed());
    }

    /// Ledgers of the exact path read and hash whether this path exists or not: eleven fields, and no twelfth.
    #[test]
    fn the_exact_path_is_written_as_before() {
        let plan = plan("1", "0.1", 12);
        let exact = protocol::codec::encode(Mechanism::new(&plan, 100, 1000).unwrap().executed());
        let m = Mechanism::of_float_sums(&plan, 100, 1000, sums(Accumulate::F64, Rounding::Nearest)).unwrap();
        let summed = protocol::codec::encode(m.executed());
        assert_eq!((exact[0], summed[0]), (0x8b, 0x8c));
        assert_eq!(minicbor::decode::<Executed>(&summed).unwrap(), *m.executed());
    }

    #[test]
    fn the_theorem_of_64_bit_sums_has_an_end() {
        let build = |units| Mechanism::of_float_sums(&plan("1", "0.1", 16), 100, units, sums(Accumulate::F64, Rounding::Dithered));
        assert!(build(1000).is_ok());
        assert!(matches!(build(1_000_000), Err(MechanismError::TooManyRows { .. } | MechanismError::Delta { .. })));
    }
}
