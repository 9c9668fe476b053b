//! The only file that names OpenDP: a second opinion on samplers and conversions, and scalar releases (privacy.md D28). Knows no stream of ours.
//!
//! OpenDP draws from its own generator, which cannot be injected: the one listed exception to privacy.md D27. Nothing here noises an update.

use crate::ledger::{PaidRelease, Release};
use opendp::combinators::ConcentratedMeasure;
#[cfg(test)]
use opendp::combinators::make_fully_adaptive_composition;
use opendp::domains::{AtomDomain, VectorDomain};
use opendp::measurements::make_gaussian;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::metrics::L2Distance;
use opendp::traits::samplers::sample_discrete_gaussian;
use protocol::ids::Sha256;

/// OpenDP refused the arguments or has no entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("OpenDP gives no answer for these arguments")]
pub struct GiantError;

/// ε at δ of a mechanism with zero-concentrated divergence `rho`.
///
/// # Errors
/// [`GiantError`] for arguments outside OpenDP's domain.
///
/// # Source
/// Canonne, Kamath, Steinke 2020, Proposition 12, optimised over real orders.
pub fn zcdp_epsilon(rho: f64, delta: f64) -> Result<f64, GiantError> {
    ZeroConcentratedDivergence::convert(rho).and_then(|profile| profile.epsilon(delta)).map_err(|_| GiantError)
}

/// One discrete Gaussian value of the given scale, which is taken exactly: the oracle that our own samplers are compared with.
///
/// # Errors
/// [`GiantError`] for a scale that is not a finite number of at least 0, or without entropy.
pub fn discrete_gaussian(scale: f64) -> Result<i64, GiantError> {
    let scale = scale.try_into().map_err(|_| GiantError)?;
    sample_discrete_gaussian(scale).map_err(|_| GiantError).and_then(|x| x.try_into().map_err(|_| GiantError))
}

/// Why a release has no values. What was paid stays paid.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// OpenDP refused the arguments or has no entropy.
    #[error(transparent)]
    Giant(#[from] GiantError),
    /// Other values than were paid for (bug class B25).
    #[error("{got} values, {paid} were paid for")]
    OtherCount {
        /// What there is.
        got: usize,
        /// What was paid.
        paid: u64,
    },
    /// OpenDP's own map from sensitivity to cost says more than was charged (bug class B30).
    #[error("OpenDP says rho {theirs}, {ours} was charged")]
    Undercharged {
        /// By OpenDP.
        theirs: f64,
        /// By the ledger.
        ours: f64,
    },
}

/// Noised values, and the payment that they rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noised {
    /// Whole numbers, which may be below 0: rounding them up to 0 would make small counts look larger on the average.
    pub values: Vec<i64>,
    /// Counter of the reservation.
    pub ledger_counter: u64,
    /// Hash of the reservation.
    pub ledger_head: Sha256,
}

/// Values with discrete Gaussian noise, by OpenDP's `make_gaussian` over vectors of integers. Uses the payment up.
///
/// # Privacy
/// - Unit, neighbours: the ledger's; add or remove one unit.
/// - Sensitivity: L2 of the exact values, at most what was paid for. The caller's claim; whole numbers, so no float argument.
/// - Measure: ρ-zCDP, ρ = Δ²/2s², by OpenDP's own map and by the ledger's: the larger is what was charged, or nothing is drawn.
/// - Source: Canonne, Kamath, Steinke 2020, arXiv 2004.00010, Theorem 14; privacy.md D28.
///
/// # Errors
/// [`DrawError`]; no value leaves.
pub fn gaussian_release(paid: PaidRelease, exact: &[i64]) -> Result<Noised, DrawError> {
    let release = paid.release();
    if u64::try_from(exact.len()) != Ok(release.values) {
        return Err(DrawError::OtherCount { got: exact.len(), paid: release.values });
    }
    let domain = VectorDomain::new(AtomDomain::<i64>::default());
    let mechanism = make_gaussian::<_, _, ZeroConcentratedDivergence>(domain, L2Distance::<f64>::default(), release.scale(), None);
    let mechanism = mechanism.map_err(|_| GiantError)?;
    let (theirs, ours) = (mechanism.map(&sensitivity(release)).map_err(|_| GiantError)?, release.rho());
    // Theirs is rounded up from a fraction, ours is a product of floats: both are within a few units of the last place, and what is charged
    // is rounded up by far more.
    if theirs > ours * (1.0 + 1e-12) {
        return Err(DrawError::Undercharged { theirs, ours });
    }
    let values = mechanism.invoke(&exact.to_vec()).map_err(|_| GiantError)?;
    Ok(Noised { values, ledger_counter: paid.ledger_counter(), ledger_head: paid.ledger_head() })
}

#[expect(clippy::cast_precision_loss, reason = "at most a million, so exact")]
fn sensitivity(release: &Release) -> f64 {
    release.sensitivity as f64
}

#[cfg(test)]
#[path = "giant_tests.rs"]
mod tests;
