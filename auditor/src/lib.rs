//! Verification of a Concordat log without trust, network or clock (audit.md section 7). Knows no lattice library, tensor, socket or store:
//! what it recomputes, it recomputes in its own plain way, so that it and the federation's programs cannot share a fault.

pub mod bench;
pub mod cli;
pub mod count;
pub mod diff;
pub mod dir;
#[cfg(feature = "test-doors")]
pub mod doors;
pub mod entries;
pub mod evidence;
pub mod export;
pub mod finding;
pub mod model;
pub mod model_sig;
pub mod recompute;
pub mod report;
pub mod review;
pub mod ring;
pub mod select;
pub mod share;
pub mod show;
pub mod step;
pub mod table;
pub mod verdict;
pub mod verify;
pub mod watch;
pub mod weights;

mod ahead;
mod artefacts;
mod budget;
mod fold;
mod handovers;
mod notes;
mod openings;
mod others;
mod policies;
mod releases;
mod sidecars;
mod stated;
mod summary;
mod trust;
mod witnesses;

#[cfg(test)]
mod tests;

pub use finding::{Check, Finding, Place, Severity};
pub use others::{Equivocation, NoSuchNote};
pub use recompute::{Recomputation, RecomputeError, Wanted};
pub use sidecars::Told;
pub use verdict::Verdict;
pub use verify::{Options, VerifyError, verify};
