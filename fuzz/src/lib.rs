//! What each fuzz target does with its bytes: decode, and where bytes have one spelling, encode again and compare.
//! Each file stands alone, so that `tests/tests/fuzz_bodies.rs` can run it on stable.

#[cfg(feature = "training")]
pub mod checkpoints;
#[cfg(feature = "training")]
pub mod counts;
#[cfg(feature = "training")]
pub mod homes;
pub mod log;
#[cfg(feature = "sealing")]
pub mod openings;
pub mod outsiders;
#[cfg(feature = "edges")]
pub mod people;
pub mod records;
#[cfg(feature = "sealing")]
pub mod sealing;
#[cfg(feature = "edges")]
pub mod stores;
pub mod tokens;
pub mod words;
