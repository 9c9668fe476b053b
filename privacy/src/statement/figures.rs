//! Figures beside the promise: replacing a unit, groups of units, several institutions (privacy.md D46, D56, D8). Knows no ledger.

use super::{CoalitionFigures, Multiple, StatementError};
use crate::accountant::{AccountantError, Adjacency, Phase, epsilon_group, epsilon_noise_rdp, epsilon_pld};
use crate::coalition::Coalition;
use crate::mechanism::Executed;
use protocol::decimal::Decimal;
use protocol::plan::NoiseKind;
use std::fmt;

/// An upper bound on ε that may not exist.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// ε, six places, rounded up.
    Epsilon(Decimal),
    /// There is no finite bound, or none below 10^9.
    Unbounded,
    /// δ is too small for this accountant (D47).
    NotReported,
}

impl Figure {
    /// Rounds up.
    pub(super) fn up(epsilon: f64) -> Self {
        Decimal::ceil(epsilon, 6).map_or(Self::Unbounded, Self::Epsilon)
    }

    fn of(answer: Result<f64, AccountantError>) -> Result<Self, AccountantError> {
        match answer {
            Ok(epsilon) => Ok(Self::up(epsilon)),
            Err(AccountantError::DeltaTooSmall(_)) => Ok(Self::NotReported),
            Err(e) => Err(e),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epsilon(e) => write!(f, "{e}"),
            Self::Unbounded => f.write_str("inf"),
            Self::NotReported => f.write_str("not reported"),
        }
    }
}

/// These figures are of the Gaussian mechanism, of which the rounded Gaussian is post-processing. Discrete Gaussian noise costs more (D21), so
/// that nothing is said of it rather than too little.
fn reported(noise: NoiseKind, figure: impl FnOnce() -> Result<f64, AccountantError>) -> Result<Figure, AccountantError> {
    match noise {
        NoiseKind::RoundedGaussian => Figure::of(figure()),
        NoiseKind::DiscreteGaussian => Ok(Figure::NotReported),
    }
}

/// ε for replacing one unit; never twice the other figure (D2).
pub(super) fn replace_one(noise: NoiseKind, phase: Phase, delta: f64) -> Result<Figure, AccountantError> {
    reported(noise, || Adjacency::ReplaceOne.epsilon_pld(&[phase], delta))
}

/// ε for adding or removing `k` units at once.
pub(super) fn group(noise: NoiseKind, phase: Phase, k: u32, delta: f64) -> Result<Multiple, AccountantError> {
    Ok(Multiple { k, epsilon: reported(noise, || epsilon_group(&[phase], k, delta))? })
}

/// ε for one person in `k` institutions, each of which runs this schedule: their steps compose, and so does what each may fail by.
///
/// For discrete Gaussian noise by the RDP of its steps (D23), as the task's own ε: it composes whoever adds the noise.
pub(super) fn institutions(noise: NoiseKind, phase: Phase, k: u32, delta: f64, slack: f64) -> Result<Multiple, AccountantError> {
    let phase = Phase { steps: phase.steps.saturating_mul(u64::from(k)), ..phase };
    let delta = delta - f64::from(k) * slack;
    let epsilon = match noise {
        NoiseKind::RoundedGaussian => Figure::of(epsilon_pld(&[phase], delta))?,
        NoiseKind::DiscreteGaussian => Figure::of(epsilon_noise_rdp(&[(noise, phase)], delta).map(|answer| answer.epsilon))?,
    };
    Ok(Multiple { k, epsilon })
}

/// What the guaranteed shares are worth together (D22, D23); of a person in k institutions the group figure at their joint noise (D56).
pub(super) fn coalition(executed: &Executed, cap: Decimal, steps: u64) -> Result<Option<CoalitionFigures>, StatementError> {
    let (Some(joint), Some(coalition)) = (executed.joint, Coalition::of(executed)) else { return Ok(None) };
    let epsilon = Figure::up(coalition.epsilon(cap.to_f64(), steps)?);
    let phase = Phase { noise_multiplier: coalition.noise_multiplier(), sampling_rate: executed.sampling_rate.to_f64(), steps };
    // Lemma S and the samplers are far below what a figure of six places shows.
    let delta = executed.delta.to_f64() * 0.99;
    let of = |k| group(executed.noise, phase, k, delta);
    let (standing, shares, colluding) = (coalition.standing(), coalition.shares().get(), joint.colluding);
    Ok(Some(CoalitionFigures { epsilon, standing, shares, colluding, groups: [of(2)?, of(4)?] }))
}
