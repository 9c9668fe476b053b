//! One institution's share of a sum that others noise too: clamp, noise, and on to sealing as exact integers (privacy.md D7, D15, D20).
//! Knows no packing and no cipher.

use super::{NoiseError, UnitSum};
use crate::ledger::PaidStep;
use crate::mechanism::Mechanism;
use crate::noise::{Noise, StepContext, Stream};
use zeroize::Zeroize;

/// A clipped sum whose coordinates will be clamped to −R..=R before noise. Cannot be read.
///
/// ```compile_fail,E0599
/// # use privacy::{bound::ClampedSum, mechanism::Mechanism};
/// // A share of a sum is no gradient: a local optimiser has nothing to step on.
/// fn step(sum: ClampedSum, m: &Mechanism) -> Vec<f32> { sum.mean_gradient(m) }
/// ```
pub struct ClampedSum {
    sum: UnitSum,
    bound: i64,
}

impl UnitSum {
    /// The same sum with its coordinates clamped: a contraction, so that no unit moves it further than before, and value and noise together
    /// fit a packed value for certain.
    ///
    /// # Errors
    /// [`NoiseError::Alone`] for a mechanism of mode `local`.
    ///
    /// # Source
    /// privacy.md D20.
    pub fn clamped(self) -> Result<ClampedSum, NoiseError> {
        let bound = self.executed.joint.ok_or(NoiseError::Alone)?.bound;
        Ok(ClampedSum { sum: self, bound })
    }
}

impl ClampedSum {
    /// Clamps, adds this institution's noise to every coordinate and uses up the payment.
    ///
    /// # Privacy
    /// unit: the plan's · neighbours: add or remove one unit · sensitivity: Δ_grid steps in L2 · measure: own noise as
    /// [`UnitSum::noised`] has it, whoever else adds noise. All values are drawn before the sum is read (D26).
    ///
    /// # Errors
    /// [`NoiseError`]; the sum is dropped unread.
    ///
    /// # Source
    /// privacy.md D7, D20, D21.
    pub fn noised(mut self, paid: PaidStep, m: &Mechanism, noise: &mut Stream<Noise>) -> Result<NoisedShare, NoiseError> {
        let context = paid.context();
        self.sum.add_noise(paid, m, noise, Some(self.bound))?;
        Ok(NoisedShare { values: std::mem::take(&mut self.sum.sum), context })
    }
}

/// One institution's noised integers, in grid steps. Nothing reads them but the step to sealing
/// ([`crate::delta::PrivateDelta::of_share`]). Zeroised when dropped.
///
/// ```compile_fail,E0616
/// fn peek(share: &privacy::bound::NoisedShare) -> i64 { share.values[0] }
/// ```
pub struct NoisedShare {
    pub(crate) values: Vec<i64>,
    pub(crate) context: StepContext,
}

impl Drop for NoisedShare {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
