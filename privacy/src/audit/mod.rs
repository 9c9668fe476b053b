//! Empirical audit: what attacks and statistics show about the noise, beside what the accountant claims (privacy.md D70). Knows no clock, no
//! file and no records: L0 and L1 make their data up, and what is drawn leaves as figures about the noise only; L2 and L3 are run where models
//! are trained and hand in scores ([`one_run`], [`membership`]).

pub mod bounds;
mod coins;
mod expected;
mod mechanism;
pub mod membership;
pub mod one_run;
mod payment;
mod statistics;
mod subject;

pub use coins::Coins;
pub use expected::Expected;
pub use subject::Subject;

use crate::accountant::{AccountantError, Phase, epsilon_exact, epsilon_rdp};
use crate::bound::{NoiseError, UnitOutcome};
use crate::ledger::{Alarm, CreateError, NotNext, RegisterError, ReserveError};
use crate::mechanism::{Mechanism, MechanismError, slack_per_step};
use crate::noise::{EntropyError, EntropySource};
use bounds::BoundsError;
use protocol::decimal::BadDecimal;
use protocol::ids::Sha256;
use protocol::plan::NoiseKind;

/// Runs with the unit, and as many without it, unless another number is asked for (D70).
pub const RUNS: u32 = 2000;
/// Most runs on each side: counts end at a million.
pub const MOST_RUNS: u32 = 1_000_000;

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The noise multiplier gives no mechanism.
    #[error("there is no such mechanism")]
    Mechanism(#[from] MechanismError),
    /// The reservation held no step.
    #[error("the ledger in memory paid for no step")]
    NoStep,
    /// Too few or too many runs.
    #[error("{0} runs on each side, expected 40 to 1000000")]
    Runs(u32),
    /// No entropy for a stream.
    #[error("no fresh entropy")]
    Entropy(#[from] EntropyError),
    /// The accountant has no figure for the claim.
    #[error("the accountant refuses the claim")]
    Accountant(#[from] AccountantError),
    /// What was counted gives no bound.
    #[error("what was counted gives no bound")]
    Bounds(#[from] BoundsError),
    /// The path refused to noise.
    #[error("a paid step was not noised")]
    Noise(#[from] NoiseError),
    /// A made-up unit was not added: the path drops what it must clip.
    #[error("a made-up unit was not added to the sum: {0:?}")]
    Unit(UnitOutcome),
    /// A score for some canaries or units and none for others, or too few of them on a side.
    #[error("{scores} scores for {coins} coins with at least {least} on each side expected")]
    Coins {
        /// Scores handed in.
        scores: usize,
        /// Coins tossed.
        coins: usize,
        /// Fewest on each side.
        least: usize,
    },
    /// Too few models, or too many, to compare the audited one with.
    #[error("{0} shadow models, expected an even number from 4 to 64")]
    Shadows(usize),
    /// The ledger was not made.
    #[error("the ledger in memory was not made")]
    Create(#[from] CreateError),
    /// The ledger did not take the schedule.
    #[error("the ledger in memory did not take one step of this noise")]
    Register(#[from] RegisterError),
    /// The ledger did not pay.
    #[error("the ledger in memory did not pay")]
    Reserve(#[from] ReserveError),
    /// The ledger saw another entry than the one proposed.
    #[error("the ledger in memory lost its order")]
    Order(#[from] NotNext),
    /// The ledger finds itself rolled back.
    #[error("the ledger in memory raised an alarm")]
    Alarm(#[from] Alarm),
    /// A number that no decimal holds.
    #[error("a number of the audited plan is no decimal")]
    Decimal(#[from] BadDecimal),
}

/// How deep an audit looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// L0: statistics of noise and sampling.
    Statistics,
    /// L1: the mechanism attacked, with and without one unit.
    Mechanism,
    /// L2: one training run with many canaries, each in it by a secret coin.
    OneRun,
    /// L3: whose records were in a trained model.
    Membership,
}

impl Level {
    /// As command lines and answers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statistics => "l0",
            Self::Mechanism => "l1",
            Self::OneRun => "l2",
            Self::Membership => "l3",
        }
    }
}

/// What an audit may say. It never proves privacy, so it never says "verified" (D70).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that was looked at contradicts the claim.
    Consistent,
    /// The claim is contradicted.
    Violation,
}

impl Verdict {
    /// As answers spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::Violation => "violation",
        }
    }
}

/// One figure and where it must lie if the claim is true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What came out.
    pub value: f64,
    /// Smallest value that is consistent.
    pub least: f64,
    /// Largest value that is consistent.
    pub most: f64,
}

impl Check {
    /// Whether the figure contradicts the claim. What is no number contradicts it too.
    pub fn fails(&self) -> bool {
        !(self.least..=self.most).contains(&self.value)
    }
}

/// What an attacker who guesses coins said, and how often rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guessed {
    /// Coins.
    pub canaries: u64,
    /// Of which the attacker guessed; it abstained on the others.
    pub guesses: u64,
    /// Of which it was right.
    pub correct: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How deep it looked.
    pub level: Level,
    /// ε that the accountant claims: at L0 and L1 for one step without sampling, at L2 and L3 for all steps of the run.
    pub epsilon_claimed: f64,
    /// δ of both figures.
    pub delta: f64,
    /// ε that the attack proves at 95 % confidence; none where nothing was attacked.
    pub epsilon_lower_95: Option<f64>,
    /// ε of the Gaussian mechanism that fits the scores best; none where nothing was attacked.
    pub epsilon_estimate: Option<f64>,
    /// What was done, and what was left out.
    pub method: &'static str,
    /// Noised or sampled steps that were looked at.
    pub trials: u64,
    /// What was guessed; none where nothing was guessed in one run.
    pub guessed: Option<Guessed>,
    /// SHA-256 that the coins were committed to with before anything was trained; none without coins.
    pub seed_commitment: Option<Sha256>,
    /// Every figure that the verdict rests on.
    pub checks: Vec<Check>,
    /// Chance that a right program is called a violation.
    pub false_alarm: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// L0: statistics of the executed noise and of sampling, beside the claim.
///
/// # Privacy
/// Reads no record. Steps are paid for by a ledger in memory whose data is made up; only figures about the noise leave.
///
/// # Errors
/// [`AuditError`]: there is no verdict then.
///
/// # Source
/// privacy.md D70. Streams are keyed by fresh entropy of the system, which is neither kept, told nor committed to (D27).
pub fn audit_statistics(subject: &Subject, entropy: &mut dyn EntropySource) -> Result<Report, AuditError> {
    statistics::run(subject, payment::REAL, entropy)
}

/// L1: the mechanism attacked, `runs` times with the unit and as often without it.
///
/// # Privacy
/// As [`audit_statistics`].
///
/// # Errors
/// [`AuditError`]: there is no verdict then.
///
/// # Source
/// privacy.md D70.
pub fn audit_mechanism(subject: &Subject, runs: u32, entropy: &mut dyn EntropySource) -> Result<Report, AuditError> {
    mechanism::run(subject, payment::REAL, runs, entropy)
}

/// ε that the accountant claims for one step of a mechanism without sampling: in closed form for the rounded Gaussian (D44), by zCDP for the
/// discrete one (D23). What a dither may fail by is in δ (D18).
fn claim(m: &Mechanism) -> Result<f64, AuditError> {
    let phase = Phase { noise_multiplier: m.noise_multiplier_accounted().to_f64(), sampling_rate: 1.0, steps: 1 };
    let delta = m.delta().to_f64() - slack_per_step(m.executed().clip_path());
    match m.noise() {
        NoiseKind::RoundedGaussian => Ok(epsilon_exact(&[phase], delta)?.unwrap_or(f64::INFINITY)),
        NoiseKind::DiscreteGaussian => Ok(epsilon_rdp(&[phase], delta)?.epsilon),
    }
}

/// Chance that a normal value lies beyond four deviations, on both sides together: what a check may alarm falsely with.
const BEYOND: f64 = 6.4e-5;

/// Chance that a bound from the guesses of one run may alarm falsely with. Not as rare as [`BEYOND`]: with δ above 0 and a thousand canaries the bound
/// says nothing at all there. It is a bound for the worst mechanism; Gaussian noise meets it far more rarely.
const ONE_RUN_ALARM: f64 = 1e-3;

fn whole(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of values, units and steps are far below 2^53")]
fn real(n: usize) -> f64 {
    n as f64
}

/// Where a sum of squares of `freedom` normal values lies as rarely as a normal value beyond `z` deviations: the approximation of Wilson
/// and Hilferty 1931, Proceedings of the National Academy of Sciences 17(12).
fn chi_square_at(z: f64, freedom: f64) -> f64 {
    (1.0 - 2.0 / (9.0 * freedom) + z * (2.0 / (9.0 * freedom)).sqrt()).max(0.0).powi(3) * freedom
}

fn verdict(checks: &[Check]) -> Verdict {
    if checks.iter().any(Check::fails) { Verdict::Violation } else { Verdict::Consistent }
}

#[cfg(test)]
mod tests;
