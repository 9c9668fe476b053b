//! Bounding, noising and accounting of raw values (privacy.md). Knows no tensor, cipher, socket, file, clock or source of entropy.
//!
//! The way of one round: [`ledger::PrivacyLedger::reserve`] pays, [`sample::poisson_sample`] draws the units of a step,
//! [`bound::UnitSum`] clips and sums them in integers, [`bound::UnitSum::noised`] adds the noise that was paid for, and
//! [`delta::Delta`] carries the result to the sealing room.

#[cfg(all(feature = "test-doors", not(debug_assertions)))]
compile_error!("the feature `test-doors` is for tests only and must not be part of a release build (privacy.md D27)");

pub mod accountant;
pub mod audit;
pub mod bound;
pub mod coalition;
pub mod delta;
pub mod ledger;
pub mod measure;
pub mod mechanism;
pub mod noise;
pub mod panics;
pub mod sample;
pub mod statement;
