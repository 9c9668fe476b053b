//! The mechanism in integers, made from the plan and nothing else (privacy.md D15 to D19). One source for sensitivity, noise and rate.
//! Knows no data and no ledger.

mod joint;
mod sum_path;

pub use joint::JointNoise;
pub use protocol::plan::{Accumulate, Rounding};
pub use sum_path::{FloatSums, SumPath, slack_per_step};

use crate::coalition::CoalitionError;
use crate::noise::{Noise, Sampler, Stream};
use minicbor::{CborLen, Decode, Encode};
use num_bigint::BigUint;
use protocol::decimal::Decimal;
use protocol::plan::{ClipFunction, ClipPath, NoiseKind, Plan, PrivacyPlan, Unit};
use std::sync::OnceLock;
use zeroize::Zeroize;

/// Fractional bits of `sigma_grid`: it is a multiple of 2^-10 (D16).
pub const SIGMA_FRACTION_BITS: u8 = 10;
/// Places of the noise multiplier that is accounted and written into headers; rounded down, so the account never flatters.
const SIGMA_PLACES: u32 = 12;
/// Largest dimension; keeps Σz² and its checks far inside 128 bits.
const MAX_DIMENSION: u64 = 1 << 32;

/// Why a plan gives no mechanism.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MechanismError {
    /// g outside 8..=24.
    #[error("grid_bits is {0}, expected 8 to 24")]
    GridBits(u8),
    /// No coordinate, or too many.
    #[error("dimension is {0}, expected 1 to 4294967296")]
    Dimension(u64),
    /// Rounding to the grid could take half of the clip bound (D17).
    #[error("a grid of {grid_bits} bits is too coarse for {dimension} coordinates")]
    GridTooCoarse {
        /// g.
        grid_bits: u8,
        /// d.
        dimension: u64,
    },
    /// sigma_grid outside 1..=2^40: the samplers do not cover it.
    #[error("noise multiplier {0} gives a deviation outside 1 to 2^40 grid steps")]
    NoiseMultiplier(Decimal),
    /// q outside (0, 1], or so small that no draw would ever be admitted.
    #[error("sampling rate {0} is outside 2^-64 to 1")]
    SamplingRate(Decimal),
    /// C is zero.
    #[error("clip bound {0} is not above 0")]
    Clip(Decimal),
    /// N̂ is zero or absurd.
    #[error("{0} declared units, expected 1 to 2^36")]
    DeclaredUnits(u64),
    /// The theorem behind 64-bit sums does not reach that far (D19).
    #[error("micro-batches of {micro_batch} units of {max_rows} rows are too large for {declared_units} declared units")]
    TooManyRows {
        /// Units in a micro-batch.
        micro_batch: u32,
        /// Most rows of one unit.
        max_rows: u32,
        /// N̂.
        declared_units: u64,
    },
    /// Noise that institutions add together, from the privacy section alone: who else adds noise stands elsewhere in the plan.
    #[error("mode {0} needs the whole plan")]
    NeedsPlan(&'static str),
    /// Institutions cannot noise a sum together with these numbers (D7, D20, D22).
    #[error("the institutions cannot noise a sum together")]
    Joint(#[from] CoalitionError),
    /// δ is above min(1e-5, N̂^-1.1) (D4).
    #[error("delta {delta} is too large for {declared_units} declared units")]
    Delta {
        /// δ.
        delta: Decimal,
        /// N̂.
        declared_units: u64,
    },
}

/// The integers that are executed; what ledger and payment compare with (bug class B25).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Executed {
    /// Coordinates d.
    #[n(0)]
    pub dimension: u64,
    /// g: the clip bound is 2^g grid steps.
    #[n(1)]
    pub grid_bits: u8,
    /// sigma_grid in units of 2^-10 grid steps.
    #[n(2)]
    pub sigma_grid_1024: u64,
    /// Clip bound C.
    #[n(3)]
    pub clip: Decimal,
    /// How gradients are shortened.
    #[n(4)]
    pub clip_function: ClipFunction,
    /// q.
    #[n(5)]
    pub sampling_rate: Decimal,
    /// sigma_grid / Δ_grid, rounded down to twelve places: what is accounted.
    #[n(6)]
    pub noise_multiplier: Decimal,
    /// Divisor's N̂.
    #[n(7)]
    pub declared_units: u64,
    /// δ of the promise.
    #[n(8)]
    pub delta: Decimal,
    /// Whose data is protected.
    #[n(9)]
    pub unit: Unit,
    /// Law of the noise.
    #[n(10)]
    pub noise: NoiseKind,
    /// None: the exact path, Δ_grid = 2^g. Otherwise how sums of floats reach the grid, and the Δ_grid that this has.
    #[n(11)]
    pub path: Option<SumPath>,
    /// None: mode `local`. Otherwise who else's noise is in the sum, and the clamp.
    #[n(12)]
    pub joint: Option<JointNoise>,
}

impl Executed {
    /// The plan's path that these integers are of.
    pub fn clip_path(&self) -> ClipPath {
        self.path.map_or(ClipPath::Exact, |p| ClipPath::BookKeeping { accumulate: p.accumulate, rounding: p.rounding })
    }

    /// ν: by how much of C one unit may move the float sum more than C. 0 on the exact path (D17, D19).
    pub fn allowance(&self) -> f64 {
        self.path.map_or(0.0, |p| p.allowance(self))
    }

    /// Noise deviation in grid steps; a multiple of 2^-10, exact in f64.
    pub fn sigma_grid(&self) -> f64 {
        exact_f64(self.sigma_grid_1024) / 1024.0
    }

    /// Sensitivity Δ_grid in grid steps; a multiple of 2^-10, exact in f64.
    pub fn delta_grid(&self) -> f64 {
        exact_f64(self.delta_grid_1024()) / 1024.0
    }

    /// Δ_grid in units of 2^-10 grid steps: the only place it is taken from.
    pub fn delta_grid_1024(&self) -> u64 {
        self.path.map_or(1 << (self.grid_bits + SIGMA_FRACTION_BITS), |p| p.delta_grid_1024)
    }
}

/// The probability with which each unit enters a step, as an integer threshold on 64 random bits.
///
/// It comes with the plan's mechanism; none can be made from a loader or the size of a batch (bug class B3):
///
/// ```compile_fail,E0451
/// let rate = privacy::mechanism::SamplingRate { below: Some(1 << 60) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingRate {
    /// None: everybody.
    below: Option<u64>,
}

impl SamplingRate {
    /// ⌊q·2^64⌋, so that the executed rate is never above the accounted one.
    fn new(rate: Decimal) -> Option<Self> {
        let (digits, scale) = ratio(rate);
        let (top, unit) = (BigUint::from(digits) << 64u32, BigUint::from(10u8).pow(scale));
        let threshold = top / unit;
        let whole = BigUint::from(1u8) << 64u32;
        if threshold > whole || threshold == BigUint::ZERO {
            return None;
        }
        Some(Self { below: u64::try_from(threshold).ok() })
    }

    /// Whether a unit with these 64 uniform bits enters.
    pub(crate) fn admits(self, draw: u64) -> bool {
        self.below.is_none_or(|t| draw < t)
    }
}

/// Clip bound, grid, noise and rate of one plan for one institution.
pub struct Mechanism {
    executed: Executed,
    rate: SamplingRate,
    clip: f64,
    sampler: OnceLock<Sampler>,
}

impl std::fmt::Debug for Mechanism {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mechanism").field(&self.executed).finish()
    }
}

impl Mechanism {
    /// The mechanism that a plan fixes for an institution of `declared_units` = N̂: in its mode, on its path. The only one that a ledger pays.
    ///
    /// # Privacy
    /// As [`Self::new`]; on the sum path as [`Self::of_float_sums`]. In modes `distributed` and `hybrid` that is what this institution's own
    /// noise is worth, whoever looks (D22); clamping coordinates before noise is a contraction (D20).
    ///
    /// # Errors
    /// [`MechanismError`], the first rule broken.
    pub fn of_plan(plan: &Plan, declared_units: u64) -> Result<Self, MechanismError> {
        let (micro_batch, max_rows) = (plan.local.micro_batch, plan.max_rows());
        let sums = match plan.privacy.path {
            ClipPath::Exact => None,
            ClipPath::BookKeeping { accumulate, rounding } => Some(FloatSums { accumulate, rounding, micro_batch, max_rows }),
        };
        let mut this = Self::build(&plan.privacy, plan.dimension(), declared_units, sums)?;
        let joint = plan.privacy.mode.joint().map(|j| JointNoise::new(plan, j.colluding, &this.executed));
        this.executed.joint = joint.transpose()?;
        Ok(this)
    }

    /// The mechanism of mode `local` that a plan's privacy section fixes for `dimension` trained coordinates and `declared_units` = N̂, on the
    /// exact path.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit (D2) · sensitivity: 2^g grid steps in L2 (D17) · measure: for the rounded
    /// Gaussian that of the Gaussian mechanism with noise multiplier σ = sigma_grid / 2^g, of which it is post-processing (D21); for the
    /// discrete Gaussian 1/2σ²-zCDP per step (D23; Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 4, whose Rényi divergences add up
    /// over independent coordinates) before sampling.
    ///
    /// # Errors
    /// [`MechanismError`], the first rule broken.
    pub fn new(plan: &PrivacyPlan, dimension: u64, declared_units: u64) -> Result<Self, MechanismError> {
        Self::alone(plan, dimension, declared_units, None)
    }

    /// The same for sums of floats that are brought to the grid once per step.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit (D2) · sensitivity: Δ_grid of D18 for clipped sums that are off by at most ν
    /// of the clip bound (D19), but for probability [`slack_per_step`] · measure: that of the Gaussian mechanism with noise
    /// multiplier sigma_grid / Δ_grid.
    ///
    /// # Errors
    /// [`MechanismError`], the first rule broken.
    pub fn of_float_sums(plan: &PrivacyPlan, dimension: u64, declared_units: u64, sums: FloatSums) -> Result<Self, MechanismError> {
        Self::alone(plan, dimension, declared_units, Some(sums))
    }

    fn alone(plan: &PrivacyPlan, dimension: u64, declared_units: u64, sums: Option<FloatSums>) -> Result<Self, MechanismError> {
        match plan.mode.joint() {
            None => Self::build(plan, dimension, declared_units, sums),
            Some(_) => Err(MechanismError::NeedsPlan(plan.mode.name())),
        }
    }

    fn build(plan: &PrivacyPlan, dimension: u64, declared_units: u64, sums: Option<FloatSums>) -> Result<Self, MechanismError> {
        let grid_bits = plan.grid_bits;
        if !(8..=24).contains(&grid_bits) {
            return Err(MechanismError::GridBits(grid_bits));
        }
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err(MechanismError::Dimension(dimension));
        }
        if half_root(dimension) > 2f64.powi(i32::from(grid_bits) - 1) {
            return Err(MechanismError::GridTooCoarse { grid_bits, dimension });
        }
        if !(1..=1 << 36).contains(&declared_units) {
            return Err(MechanismError::DeclaredUnits(declared_units));
        }
        let delta = plan.delta.to_f64();
        if !(delta > 0.0 && delta <= largest_delta(declared_units)) {
            return Err(MechanismError::Delta { delta: plan.delta, declared_units });
        }
        let clip = plan.clip.to_f64();
        if !(clip > 0.0 && clip.is_finite()) {
            return Err(MechanismError::Clip(plan.clip));
        }
        let rate = SamplingRate::new(plan.sampling_rate).ok_or(MechanismError::SamplingRate(plan.sampling_rate))?;
        let mut executed = Executed {
            dimension,
            grid_bits,
            sigma_grid_1024: 0,
            clip: plan.clip,
            clip_function: plan.clip_function,
            sampling_rate: plan.sampling_rate,
            noise_multiplier: plan.noise_multiplier,
            declared_units,
            delta: plan.delta,
            unit: plan.unit,
            noise: plan.noise,
            path: None,
            joint: None,
        };
        executed.path = sums.map(|sums| SumPath::new(&executed, sums)).transpose()?;
        (executed.sigma_grid_1024, executed.noise_multiplier) =
            grid_sigma(plan.noise_multiplier, executed.delta_grid_1024()).ok_or(MechanismError::NoiseMultiplier(plan.noise_multiplier))?;
        Ok(Self { executed, rate, clip, sampler: OnceLock::new() })
    }

    /// The integers that are executed.
    pub fn executed(&self) -> &Executed {
        &self.executed
    }
    /// Sensitivity Δ_grid in grid steps; a multiple of 2^-10, exact in f64. 2^g on the exact path.
    pub fn delta_grid(&self) -> f64 {
        self.executed.delta_grid()
    }
    /// Noise deviation in grid steps; a multiple of 2^-10, exact in f64.
    pub fn sigma_grid(&self) -> f64 {
        self.executed.sigma_grid()
    }
    /// sigma_grid / Δ_grid; never below the plan's noise multiplier.
    pub fn noise_multiplier_executed(&self) -> f64 {
        self.sigma_grid() / self.delta_grid()
    }
    /// The executed noise multiplier rounded down to twelve places: the number that is accounted and published.
    pub fn noise_multiplier_accounted(&self) -> Decimal {
        self.executed.noise_multiplier
    }
    /// The plan's q as sampling executes it.
    pub fn sampling_rate(&self) -> &SamplingRate {
        &self.rate
    }
    /// The plan's q.
    pub fn sampling_rate_decimal(&self) -> Decimal {
        self.executed.sampling_rate
    }
    /// Clip bound C on the L2 norm of one unit's gradient.
    pub fn clip(&self) -> f64 {
        self.clip
    }
    /// One grid step γ = C / 2^g, in units of the gradient.
    pub fn grid_step(&self) -> f64 {
        self.clip / self.clip_grid()
    }
    /// The clip bound in grid steps, 2^g.
    fn clip_grid(&self) -> f64 {
        2f64.powi(i32::from(self.executed.grid_bits))
    }
    /// How gradients are shortened.
    pub fn clip_function(&self) -> ClipFunction {
        self.executed.clip_function
    }
    /// Law of the noise.
    pub fn noise(&self) -> NoiseKind {
        self.executed.noise
    }
    /// δ of the promise.
    pub fn delta(&self) -> Decimal {
        self.executed.delta
    }
    /// Trained coordinates d.
    pub fn dimension(&self) -> u64 {
        self.executed.dimension
    }
    /// The public divisor B̄ = q·N̂, the same whatever the sample (D15).
    pub fn divisor(&self) -> f64 {
        self.executed.sampling_rate.to_f64() * exact_f64(self.executed.declared_units)
    }

    /// The bound before rounding, in grid steps: 2^g − √d/2 (D17).
    pub(crate) fn inner_bound_grid(&self) -> f64 {
        self.clip_grid() - half_root(self.executed.dimension)
    }

    /// Draws as many values as one step takes and forgets them: for measuring how long noise takes.
    ///
    /// # Privacy
    /// unit: none, for no datum is read and nothing comes out: there is nothing to pay for (privacy.md D26, D73).
    pub fn rehearse(&self, noise: &mut Stream<Noise>) {
        let count = usize::try_from(self.executed.dimension).unwrap_or(usize::MAX);
        self.sampler().draw(noise, count).zeroize();
    }

    /// A mechanism that is wrong about itself: half the noise, and the account of all of it. What an audit must notice. Tests only.
    #[cfg(any(test, feature = "test-doors"))]
    #[must_use]
    pub fn with_half_its_noise_for_test(mut self) -> Self {
        self.executed.sigma_grid_1024 = self.executed.sigma_grid_1024.div_ceil(2);
        self.sampler = OnceLock::new();
        self
    }

    /// The noise of this mechanism; its tables are built at the first use.
    pub(crate) fn sampler(&self) -> &Sampler {
        self.sampler.get_or_init(|| Sampler::of(self.executed.noise, self.executed.sigma_grid_1024))
    }
}

/// The size of a dataset as it may be declared: two significant digits (D4). The actual size never leaves the client.
pub fn declared_size(units: u64) -> u64 {
    let mut unit = 1u64;
    while units / unit >= 100 {
        unit *= 10;
    }
    (units / unit).saturating_mul(unit).max(1)
}

/// min(1e-5, N̂^-1.1) with room for the last bit of the power.
fn largest_delta(declared_units: u64) -> f64 {
    1e-5f64.min(exact_f64(declared_units).powf(-1.1)) * (1.0 + 1e-12)
}

fn half_root(dimension: u64) -> f64 {
    exact_f64(dimension).sqrt() / 2.0
}

#[expect(clippy::cast_precision_loss, reason = "all callers pass integers below 2^53")]
fn exact_f64(x: u64) -> f64 {
    x as f64
}

/// Digits and number of decimal places.
pub(crate) fn ratio(x: Decimal) -> (u64, u32) {
    let text = x.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{part}").parse().expect("a decimal has at most 18 digits");
    (digits, u32::try_from(part.len()).expect("a decimal has at most 18 places"))
}

/// multiplier·2^grid_bits in 2^-10 grid steps, rounded up, if the samplers cover it: 1 to 2^40 grid steps.
pub(crate) fn sigma_grid_1024(multiplier: Decimal, grid_bits: u8) -> Option<u64> {
    deviation(multiplier, 1 << (grid_bits + SIGMA_FRACTION_BITS))
}

/// multiplier · Δ_grid, all in 2^-10 grid steps, rounded up, if the samplers cover it.
fn deviation(multiplier: Decimal, delta_1024: u64) -> Option<u64> {
    let (digits, scale) = ratio(multiplier);
    let (top, unit) = (BigUint::from(digits) * delta_1024, BigUint::from(10u8).pow(scale));
    let sigma = u64::try_from((top + &unit - 1u8) / unit).ok()?;
    (1 << SIGMA_FRACTION_BITS..=1 << (40 + SIGMA_FRACTION_BITS)).contains(&sigma).then_some(sigma)
}

/// sigma_grid in 2^-10 grid steps, and the multiplier that this is of the sensitivity, rounded down.
fn grid_sigma(multiplier: Decimal, delta_1024: u64) -> Option<(u64, Decimal)> {
    let sigma = deviation(multiplier, delta_1024)?;
    let places = u64::try_from(BigUint::from(sigma) * BigUint::from(10u8).pow(SIGMA_PLACES) / delta_1024).ok()?;
    let executed = Decimal::new(places, u8::try_from(SIGMA_PLACES).ok()?).ok()?;
    Some((sigma, executed))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use protocol::plan::Mode;

    pub(crate) fn plan(sigma: &str, rate: &str, grid_bits: u8) -> PrivacyPlan {
        PrivacyPlan {
            unit: Unit::User,
            mode: Mode::Local,
            path: ClipPath::Exact,
            clip_function: ClipFunction::AutoS,
            clip: "1".parse().unwrap(),
            grid_bits,
            noise_multiplier: sigma.parse().unwrap(),
            sampling_rate: rate.parse().unwrap(),
            delta: "0.00001".parse().unwrap(),
            epsilon_cap: "8".parse().unwrap(),
            max_records_per_unit: 16,
            noise: NoiseKind::RoundedGaussian,
            unit_objective: protocol::plan::UnitObjective::Mean,
        }
    }

    pub(crate) fn mechanism(sigma: &str, rate: &str, grid_bits: u8, dimension: u64) -> Mechanism {
        Mechanism::new(&plan(sigma, rate, grid_bits), dimension, 1000).unwrap()
    }

    #[test]
    fn executed_noise_is_never_below_the_plan_and_the_account_never_above_the_executed() {
        for (sigma, g) in [("0.9", 16u8), ("1", 8), ("0.123456789", 24), ("3.3333333333", 10), ("0.002", 16)] {
            let m = mechanism(sigma, "0.1", g, 100);
            let planned: f64 = sigma.parse().unwrap();
            assert!(m.noise_multiplier_executed() >= planned);
            assert!(m.noise_multiplier_executed() - planned <= 2f64.powi(-i32::from(g) - 10) * 1.01);
            let accounted = m.noise_multiplier_accounted().to_f64();
            assert!(accounted <= m.noise_multiplier_executed() && accounted >= planned - 1e-12);
        }
    }

    #[test]
    fn divisor_and_rate_come_from_the_plan_alone() {
        let m = mechanism("1", "0.05", 16, 10);
        assert!((m.divisor() - 50.0).abs() < 1e-12);
        // floor(2^64 / 20)
        assert_eq!(m.sampling_rate().below, Some(922_337_203_685_477_580));
        assert!(mechanism("1", "1", 16, 10).sampling_rate().admits(u64::MAX));
        assert!(!mechanism("1", "0.5", 16, 10).sampling_rate().admits(1 << 63));
        assert!(mechanism("1", "0.5", 16, 10).sampling_rate().admits((1 << 63) - 1));
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let with = |change: &dyn Fn(&mut PrivacyPlan)| {
            let mut p = plan("1", "0.1", 16);
            change(&mut p);
            Mechanism::new(&p, 100, 1000).unwrap_err()
        };
        assert_eq!(with(&|p| p.grid_bits = 7), MechanismError::GridBits(7));
        assert!(matches!(with(&|p| p.noise_multiplier = "0".parse().unwrap()), MechanismError::NoiseMultiplier(_)));
        assert!(matches!(with(&|p| p.noise_multiplier = "1000000000".parse().unwrap()), MechanismError::NoiseMultiplier(_)));
        assert!(matches!(with(&|p| p.sampling_rate = "0".parse().unwrap()), MechanismError::SamplingRate(_)));
        assert!(matches!(with(&|p| p.sampling_rate = "1.1".parse().unwrap()), MechanismError::SamplingRate(_)));
        assert!(matches!(with(&|p| p.delta = "0.001".parse().unwrap()), MechanismError::Delta { .. }));
        assert!(matches!(with(&|p| p.clip = "0".parse().unwrap()), MechanismError::Clip(_)));
        assert!(matches!(Mechanism::new(&plan("1", "0.1", 8), 100_000, 10), Err(MechanismError::GridTooCoarse { .. })));
        assert!(matches!(Mechanism::new(&plan("1", "0.1", 16), 0, 10), Err(MechanismError::Dimension(0))));
        assert!(matches!(Mechanism::new(&plan("1", "0.1", 16), 1, 0), Err(MechanismError::DeclaredUnits(0))));
        assert!(matches!(Mechanism::new(&plan("1", "0.1", 16), 1, 1_000_000), Err(MechanismError::Delta { .. })));
    }

    #[test]
    fn a_declared_size_has_two_digits() {
        assert_eq!([7, 42, 99, 101, 1537, 35_999].map(declared_size), [7, 42, 99, 100, 1500, 35_000]);
    }
}
