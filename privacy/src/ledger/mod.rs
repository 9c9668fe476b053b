//! The institution's privacy ledger (privacy.md D58 to D67): pay first, durably; then draw. A pure machine: the driver owns the file.

mod basis;
mod close;
mod entry;
mod filter;
mod machine;
mod paid;
mod record;
mod refusal;
mod release;
mod repair;
mod slack;
mod state;

pub use basis::{Basis, JointBasis, Neighbours, SumPath};
pub use entry::{Entry, Event, LostTask, Repair, Reservation, Schedule, Terms};
pub use filter::{Nats, default_order};
pub(crate) use machine::terms_of;
pub use machine::{LedgerTotals, Pending, PrivacyLedger, ReserveRequest};
pub use paid::{NoisedLocally, Paid, PaidStep, UnusedSteps};
pub use record::{LoadError, Loaded};
pub use refusal::{Account, Alarm, CloseError, CreateError, NotNext, RegisterError, ReleaseError, RepairError, ReserveError, Shortage};
pub use release::{
    LostRelease, MAX_SCALE_1024, MAX_SENSITIVITY, MAX_VALUES, PaidRelease, Release, ReleaseRequest, ReleaseStage, ReleaseState,
    SeenRelease, release_rho, release_scale, scale_1024_for,
};
pub use repair::{Compared, KnownPlan, Repaired};
pub use state::{RoundCounts, TaskState};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) use machine::tests as machine_tests;
