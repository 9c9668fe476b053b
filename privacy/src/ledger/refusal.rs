//! Why the ledger says no, one small type per operation (privacy.md D63). Knows no state.

use crate::accountant::task::TaskError;
use protocol::decimal::Decimal;
pub use protocol::exhausted::BudgetAccount as Account;

/// What a cap is short of, in the measure of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Which cap.
    pub account: Account,
    /// Rényi order of both figures; none for ε of a task and for parts of δ.
    pub order: Option<Decimal>,
    /// What is asked for.
    pub needed: Decimal,
    /// What there is.
    pub remaining: Decimal,
}

/// Terms under which no ledger can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// δ outside (0, 1).
    #[error("delta is {0}, expected between 0 and 1")]
    Delta(Decimal),
    /// The cap leaves nothing to spend at this order.
    #[error("a cap of {cap} at order {order} leaves nothing to spend")]
    Cap {
        /// ε_max.
        cap: Decimal,
        /// α*.
        order: Decimal,
    },
    /// α* at or below 1.
    #[error("order is {0}, expected above 1")]
    Order(Decimal),
    /// An earlier entry waits for `recorded`.
    #[error("an entry is not yet recorded")]
    Outstanding,
}

/// Why a task's schedule is not taken on. Nothing changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// An earlier entry waits for `recorded`.
    #[error("an entry is not yet recorded")]
    Outstanding,
    /// The task has a schedule already, for ever.
    #[error("the task is already registered")]
    AlreadyRegistered,
    /// The plan protects another unit than the ledger counts.
    #[error("the plan's unit is not the ledger's")]
    Unit,
    /// No round or no step.
    #[error("the schedule has no round or no step")]
    NoSteps,
    /// A mechanism that is not the plan's: an auditor would recompute another figure (D59).
    #[error("the mechanism is not the one that the plan fixes")]
    OtherMechanism,
    /// The whole schedule does not fit (D62).
    #[error("the {account:?} budget cannot pay: {needed} needed, {remaining} remaining")]
    BudgetExhausted {
        /// Which cap.
        account: Account,
        /// Rényi order of the figures; none for ε of the task and for parts of δ.
        order: Option<Decimal>,
        /// What the whole schedule takes: ε for the task, nats at the order for the lifetime, a part of δ for the slack.
        needed: Decimal,
        /// What there is, in the same measure.
        remaining: Decimal,
    },
    /// The accountant has no figure.
    #[error("the task's epsilon cannot be computed")]
    Accountant(#[from] TaskError),
}

impl RegisterError {
    /// What a cap is short of, where that is the reason.
    pub fn shortage(&self) -> Option<Shortage> {
        match *self {
            Self::BudgetExhausted { account, order, needed, remaining } => Some(Shortage { account, order, needed, remaining }),
            Self::Outstanding | Self::AlreadyRegistered | Self::Unit | Self::NoSteps | Self::OtherMechanism | Self::Accountant(_) => None,
        }
    }
}

/// Why a round is not paid. Nothing was drawn and nothing changed (D63).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// An earlier entry waits for `recorded`.
    #[error("an entry is not yet recorded")]
    Outstanding,
    /// The ledger was not compared with the log since its last reservation (D65).
    #[error("the ledger was not compared with the log since its last reservation")]
    NotCompared,
    /// The task was never registered, or has ended.
    #[error("the task is not registered")]
    NotRegistered,
    /// Plan, mechanism or steps are not those of the registered schedule.
    #[error("plan, mechanism or steps differ from the registered schedule")]
    ScheduleDiffers,
    /// This (task, round) was paid before. One payment, for ever: its bytes may be resent, new noise may not be drawn (D66).
    #[error("the round was already reserved by entry {counter}")]
    AlreadyReserved {
        /// Counter of that entry.
        counter: u64,
    },
    /// All rounds of the schedule are reserved.
    #[error("all {0} rounds of the schedule are reserved")]
    ScheduleExhausted(u64),
    /// A cap would be exceeded.
    #[error("the {account:?} budget cannot pay: {needed} needed, {remaining} remaining")]
    BudgetExhausted {
        /// Which cap.
        account: Account,
        /// Rényi order of the figures; none for ε of the task.
        order: Option<Decimal>,
        /// What the round takes.
        needed: Decimal,
        /// What there is, in the same measure.
        remaining: Decimal,
    },
    /// The accountant has no figure.
    #[error("the task's epsilon cannot be computed")]
    Accountant(#[from] TaskError),
}

impl ReserveError {
    /// What a cap is short of, where that is the reason.
    pub fn shortage(&self) -> Option<Shortage> {
        match *self {
            Self::BudgetExhausted { account, order, needed, remaining } => Some(Shortage { account, order, needed, remaining }),
            Self::Outstanding | Self::NotCompared | Self::NotRegistered | Self::ScheduleDiffers => None,
            Self::AlreadyReserved { .. } | Self::ScheduleExhausted(_) | Self::Accountant(_) => None,
        }
    }
}

/// Why a scalar release is not paid. Nothing was drawn and nothing changed (D63).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// An earlier entry waits for `recorded`.
    #[error("an entry is not yet recorded")]
    Outstanding,
    /// The ledger was not compared with the log since its last reservation (D65).
    #[error("the ledger was not compared with the log since its last reservation")]
    NotCompared,
    /// This id was paid before. One payment, for ever: its values are shown again, new noise may not be drawn.
    #[error("the release was already paid by entry {counter}")]
    AlreadyReserved {
        /// Counter of that entry.
        counter: u64,
    },
    /// No value or too many, or a sensitivity or scale outside its range.
    #[error("expected 1 to 10000 values, a sensitivity of 1 to 1000000 and a scale of 1/1024 to 2^40")]
    OutOfRange,
    /// The institution's cap over all tasks would be exceeded.
    #[error("the lifetime budget cannot pay: {needed} nats needed at order {order}, {remaining} remaining")]
    BudgetExhausted {
        /// Rényi order of both figures.
        order: Decimal,
        /// What the release takes, in nats.
        needed: Decimal,
        /// What there is, in nats; what is held for registered tasks is not there.
        remaining: Decimal,
    },
}

/// A transition that the states of D60 do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// An earlier entry waits for `recorded`.
    #[error("an entry is not yet recorded")]
    Outstanding,
    /// No such reservation or task, or it is past that state.
    #[error("the reservation or task is not in a state that allows this")]
    WrongState,
}

/// A recorded entry that is not the one that was proposed last. The file and the machine disagree: stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry is not the next of this ledger")]
pub struct NotNext;

/// Nobody's idea: the ledger is not the one that the institution's headers speak of. Nothing may be reserved (D65).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Alarm {
    /// The log shows a spend that is not in the chain: the ledger was rolled back, or a copy of it was spent from.
    #[error(
        "entry {index} of the log shows spend {counter} of this institution, which its ledger does not hold: the ledger was rolled back or copied"
    )]
    LedgerRolledBack {
        /// The entry of the log: the evidence.
        index: u64,
        /// The ledger counter that it states.
        counter: u64,
    },
    /// The site log shows a scalar release that is not in the chain: the ledger was rolled back, or a copy of it was spent from.
    #[error(
        "line {line} of the site log shows release {counter} of this institution, which its ledger does not hold: the ledger was rolled back or copied"
    )]
    ReleaseLost {
        /// The line of the site log: the evidence.
        line: u64,
        /// The ledger counter that it states.
        counter: u64,
    },
    /// The log shows a spend from a dataset whose ledger is not there any more.
    #[error("entry {index} of the log shows a spend of this institution from a dataset whose ledger is gone")]
    LedgerLost {
        /// The entry of the log: the evidence.
        index: u64,
    },
}

/// Why the ledger is not repaired. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// An earlier entry waits for `recorded`.
    #[error("an entry is not yet recorded")]
    Outstanding,
    /// The ledger holds every spend that the log shows.
    #[error("the ledger holds every spend that the log shows")]
    NothingToRepair,
    /// A spend of a task whose plan is not at hand.
    #[error("the plan of a task that was spent on is not known")]
    NoPlan,
    /// The accountant has no figure.
    #[error("the task's epsilon cannot be computed")]
    Accountant(#[from] TaskError),
}
