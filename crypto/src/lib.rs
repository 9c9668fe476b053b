//! Sealing private integers, adding sealed updates, opening certified sums (crypto.md). Knows no tensor, raw value, socket, file or clock.
//!
//! The way of one update: [`seal::seal`] turns a [`privacy::delta::PrivateDelta`] into packed chunks, a header and one share blob per
//! decryptor; [`sum::BlockSum`] adds chunks without any key; each decryptor opens its blobs ([`blob::open_blob`]) and, for a certified set
//! only, adds its shares ([`share::post_opening`]); [`share::decode_key_sum`] turns openings into the key sum; [`open::open_group`] turns
//! the summed bodies into exact integer sums or refuses.
//!
//! What may be said of it: additive sealing from RLWE, >= 192 bits classical (MATZOV cost) and >= 128 bits quantum (core-SVP) under
//! lattice-estimator 27a581b, hint included, outside review pending (crypto.md C5).

pub mod blob;
pub mod mask;
pub mod measure;
pub mod open;
pub mod packing;
pub mod prekey;
pub mod reference;
pub mod ring;
pub mod sampler;
pub mod seal;
pub mod share;
pub mod stack;
pub mod sum;
mod vector;

#[cfg(test)]
mod attack_tests;
#[cfg(any(test, feature = "test-doors"))]
pub mod doors;
#[cfg(test)]
mod misuse_tests;
#[cfg(test)]
mod noise_of_sums_tests;
#[cfg(test)]
mod overflow_tests;
#[cfg(test)]
mod sampler_statistics_tests;
#[cfg(test)]
mod statistics_tests;
#[cfg(test)]
mod testing;

#[cfg(all(feature = "test-doors", not(debug_assertions)))]
compile_error!("the feature `test-doors` is for tests only and must not be part of a release build");

/// One polynomial of R = `Z[X]/(X^4096 + 1)` modulo 2^64, lowest coefficient first.
///
/// # Shape
/// Always [`protocol::params::RING_DIMENSION`] coefficients.
pub type Polynomial = [u64; protocol::params::RING_DIMENSION];
