//! Which datasets are neighbours, and every figure under either answer (privacy.md D2, D46, D54). Knows no formula of its own.

use super::pair::Pairing;
use super::{AccountantError, Phase, RdpAnswer, calibrate, closed, pld, rdp};

/// When two datasets are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjacency {
    /// One has one unit more: what is promised.
    AddOrRemove,
    /// One unit's data differs: a second figure on request, never twice the first.
    ReplaceOne,
}

impl Adjacency {
    /// The name on command lines and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddOrRemove => "add-remove",
            Self::ReplaceOne => "replace-one",
        }
    }

    /// What has to be told apart in one step.
    pub(super) fn pairings(self) -> &'static [Pairing] {
        match self {
            Self::AddOrRemove => pld::ONE_UNIT,
            Self::ReplaceOne => &[Pairing::Replace],
        }
    }

    /// Phases without sampling as phases of neighbours by adding or removing: a unit that is replaced moves the sum by 2C, which is a unit
    /// that comes or goes under half the noise. `None` where some phase samples and that is not so.
    fn unsampled(self, phases: &[Phase]) -> Option<Vec<Phase>> {
        match self {
            Self::AddOrRemove => Some(phases.to_vec()),
            Self::ReplaceOne => {
                let halved = |p: &Phase| (p.sampling_rate == 1.0).then_some(Phase { noise_multiplier: p.noise_multiplier / 2.0, ..*p });
                phases.iter().map(halved).collect()
            }
        }
    }

    /// Upper bound on ε at δ by the privacy loss distribution: the reported number.
    ///
    /// # Errors
    /// [`AccountantError`] for arguments outside their domains, δ below 1e-12 among them.
    ///
    /// # Source
    /// privacy.md D45 to D47.
    pub fn epsilon_pld(self, phases: &[Phase], delta: f64) -> Result<f64, AccountantError> {
        pld::epsilon(phases, self.pairings(), delta)
    }

    /// Upper bound on ε at δ by Rényi accounting, or `None` for replaced units under sampling, for which there is no such formula here.
    ///
    /// # Errors
    /// [`AccountantError`] for arguments outside their domains.
    ///
    /// # Source
    /// privacy.md D48, D54.
    pub fn epsilon_rdp(self, phases: &[Phase], delta: f64) -> Result<Option<RdpAnswer>, AccountantError> {
        super::checked(phases, delta)?;
        self.unsampled(phases).map(|phases| rdp::epsilon_rdp(&phases, delta)).transpose()
    }

    /// ε at δ, exactly, or `None` if some phase samples.
    ///
    /// # Errors
    /// [`AccountantError`] for arguments outside their domains.
    ///
    /// # Source
    /// privacy.md D44.
    pub fn epsilon_exact(self, phases: &[Phase], delta: f64) -> Result<Option<f64>, AccountantError> {
        super::checked(phases, delta)?;
        self.unsampled(phases).map_or(Ok(None), |phases| closed::epsilon_exact(&phases, delta))
    }

    /// The smallest σ, to six places, whose PLD keeps ε at or below `target`; the answer itself was evaluated. Without steps, 0.
    ///
    /// # Errors
    /// [`AccountantError`] for arguments outside their domains, or if no σ up to 1e6 will do.
    ///
    /// # Source
    /// privacy.md D53.
    pub fn calibrate(self, target: f64, q: f64, steps: u64, delta: f64) -> Result<f64, AccountantError> {
        calibrate::by_pld(self, target, q, steps, delta)
    }

    /// As [`Self::calibrate`] by Rényi accounting, or `None` for replaced units under sampling.
    ///
    /// # Errors
    /// As [`Self::calibrate`].
    pub fn calibrate_rdp(self, target: f64, q: f64, steps: u64, delta: f64) -> Result<Option<f64>, AccountantError> {
        calibrate::by_rdp(self, target, q, steps, delta)
    }

    /// As [`Self::calibrate`] by the closed form, or `None` with sampling.
    ///
    /// # Errors
    /// As [`Self::calibrate`].
    pub fn calibrate_exact(self, target: f64, q: f64, steps: u64, delta: f64) -> Result<Option<f64>, AccountantError> {
        calibrate::exactly(self, target, q, steps, delta)
    }
}
