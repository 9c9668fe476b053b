//! A small but real log, and what becomes of the verdict when it is altered or breaks a rule. Knows no server: every byte is made here.

pub(crate) mod fixture;
mod forks;
mod handovers;
mod invariants;
mod kept;
mod matrix;
mod numbers;
pub(crate) mod pack;
mod recompute;
mod sealing;
mod secrets;
mod sharing;
mod sidecars;
mod snapshots;
mod stamps;
mod standing;
pub(crate) mod story;
mod tamper;
mod trial;
mod trusts;
pub(crate) mod twist;
mod vectors;
