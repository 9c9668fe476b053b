//! From noise and sampling to ε at δ (privacy.md section 5). Pure numbers: knows no data, no ledger and no mechanism.

pub mod adjacency;
pub mod calibrate;
pub mod closed;
pub mod discrete_sum;
mod fft;
pub mod groups;
mod losses;
pub mod own;
mod pair;
pub mod pld;
pub mod rdp;
mod replace;
mod special;
pub mod task;
pub mod zcdp;

pub use adjacency::Adjacency;
pub use calibrate::{calibrate, calibrate_noise_rdp, calibrate_rdp};
pub use closed::{epsilon_exact, gaussian_delta};
pub use groups::epsilon_group;
pub use own::epsilon_noise_rdp;
pub use pld::{delta_pld, epsilon_pld};
pub use rdp::{RdpAnswer, epsilon_rdp};
pub use zcdp::{epsilon_zcdp, rho_for};

/// Steps of the Poisson-subsampled Gaussian mechanism with one σ and one q, neighbours by adding or removing one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Noise deviation over sensitivity, σ.
    pub noise_multiplier: f64,
    /// Probability q with which each unit enters each step.
    pub sampling_rate: f64,
    /// Steps T.
    pub steps: u64,
}

/// Arguments for which there is no answer. "0" or a missing number never means "no privacy" (privacy.md D54).
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountantError {
    /// σ negative, NaN or infinite.
    #[error("noise multiplier is {0}, expected a finite number of at least 0")]
    NoiseMultiplier(f64),
    /// q outside (0, 1].
    #[error("sampling rate is {0}, expected above 0 and at most 1")]
    SamplingRate(f64),
    /// δ outside (0, 1).
    #[error("delta is {0}, expected between 0 and 1")]
    Delta(f64),
    /// δ below 1e-12: the PLD in f64 is not reported there (D47).
    #[error("delta is {0}, the PLD accountant needs at least 1e-12")]
    DeltaTooSmall(f64),
    /// An ε that is negative, NaN or infinite.
    #[error("epsilon is {0}, expected a finite number of at least 0")]
    Epsilon(f64),
    /// ρ that is negative or NaN.
    #[error("rho is {0}, expected at least 0")]
    Rho(f64),
    /// No unit in a group, or more than are accounted.
    #[error("a group of {0} units, expected 1 to 64")]
    Group(u32),
    /// A sum of noise shares that no formula covers.
    #[error("{shares} shares of deviation {deviation} grid steps at sensitivity {sensitivity}, expected at least one of each")]
    Shares {
        /// h.
        shares: u32,
        /// Of one share.
        deviation: f64,
        /// Δ_grid.
        sensitivity: f64,
    },
    /// A target ε that is not a positive finite number.
    #[error("target epsilon is {0}, expected a finite number above 0")]
    Target(f64),
    /// More steps than are accounted: 1e9.
    #[error("{0} steps, expected at most 1000000000")]
    Steps(u64),
    /// No σ up to 1e6 reaches the target.
    #[error("no noise multiplier up to 1000000 reaches the target")]
    OutOfReach,
}

impl AccountantError {
    /// A stable name for command lines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoiseMultiplier(_) => "bad_noise_multiplier",
            Self::SamplingRate(_) => "bad_sample_rate",
            Self::Delta(_) => "bad_delta",
            Self::DeltaTooSmall(_) => "delta_too_small",
            Self::Epsilon(_) => "bad_epsilon",
            Self::Rho(_) => "bad_rho",
            Self::Group(_) => "bad_group",
            Self::Shares { .. } => "bad_shares",
            Self::Target(_) => "bad_target_epsilon",
            Self::Steps(_) => "bad_steps",
            Self::OutOfReach => "out_of_reach",
        }
    }
}

/// Most steps of a phase; keeps T·ε far from overflow.
const MAX_STEPS: u64 = 1_000_000_000;

/// Checks the arguments and leaves out phases without steps.
fn checked(phases: &[Phase], delta: f64) -> Result<Vec<Phase>, AccountantError> {
    if !(delta > 0.0 && delta < 1.0) {
        return Err(AccountantError::Delta(delta));
    }
    for p in phases {
        if !(p.noise_multiplier >= 0.0 && p.noise_multiplier.is_finite()) {
            return Err(AccountantError::NoiseMultiplier(p.noise_multiplier));
        }
        if !(p.sampling_rate > 0.0 && p.sampling_rate <= 1.0) {
            return Err(AccountantError::SamplingRate(p.sampling_rate));
        }
        if p.steps > MAX_STEPS {
            return Err(AccountantError::Steps(p.steps));
        }
    }
    Ok(phases.iter().copied().filter(|p| p.steps > 0).collect())
}

/// At most 1e9, so exact.
#[expect(clippy::cast_precision_loss, reason = "steps are checked to be at most 1e9, lengths to be below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
