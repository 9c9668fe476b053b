//! The only file that names OpenDP: a second opinion on samplers and conversions (privacy.md D28). Knows no stream of ours.
//!
//! OpenDP draws from its own generator, which cannot be injected: the one listed exception to privacy.md D27. Nothing here noises an update.

use opendp::combinators::ConcentratedMeasure;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::traits::samplers::sample_discrete_gaussian;

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
