//! Training in one place, from a plan of its own and a file of data: the baseline that a federation is compared with, and a way to use
//! public data. No privacy, no ledger, no network: what comes out is for the institution that ran it (training.md M8 to M16).

mod asked;
mod begun;
mod material;
mod plan;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use begun::{Begun, FromError};
pub(crate) use material::Loaded;
pub use plan::{CentralPlan, CentralPlanError};
pub(crate) use run::{Event, Means, Outcome, RunError, run};
