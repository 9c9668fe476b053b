//! The institution's privacy ledger (privacy.md D58 to D67): pay first, durably; then draw. A pure machine: the driver owns the file.

mod entry;
mod filter;
mod machine;
mod paid;
mod record;
mod refusal;
mod state;

pub use entry::{Entry, Event, Reservation, Schedule, Terms};
pub use filter::{Nats, default_order};
pub use machine::{LedgerTotals, Pending, PrivacyLedger, ReserveRequest};
pub use paid::{NoisedLocally, Paid, PaidStep, UnusedSteps};
pub use record::{LoadError, Loaded};
pub use refusal::{Account, CloseError, CreateError, NotNext, RegisterError, ReserveError};
pub use state::TaskState;
