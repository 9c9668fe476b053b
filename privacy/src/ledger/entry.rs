//! What a ledger writes down (privacy.md D59, D60): canonical CBOR, chained by hashes, signed. Knows no file and no accountant.

use super::basis::Basis;
use super::filter::Nats;
use super::release::{LostRelease, Release};
use crate::mechanism::Executed;
use minicbor::{CborLen, Decode, Encode};
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, ManifestDigest, PlanDigest, RoundId, Sha256, TaskId};
use protocol::plan::Unit;
use protocol::statement::{Payload, StatementKind};
use protocol::time::Time;

/// Whose ledger this is and what it may spend in its life. Fixed at creation, but for a cap that the institution declares anew.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Terms {
    /// The institution.
    #[n(0)]
    pub institution: ClientId,
    /// Opaque id of the dataset lineage; a new version of a dataset stays in its lineage (D58).
    #[n(1)]
    pub dataset: Sha256,
    /// Whose data one unit is.
    #[n(2)]
    pub unit: Unit,
    /// Most ε over all tasks (the site policy's total).
    #[n(3)]
    pub epsilon_cap: Decimal,
    /// δ of the lifetime promise.
    #[n(4)]
    pub delta: Decimal,
    /// α*: the one Rényi order of the filter (D61).
    #[n(5)]
    pub order: Decimal,
    /// Nothing: own cost is charged. Else what the guaranteed shares leave to a coalition is charged where their bound is published (D23, D61),
    /// and this is the most own ε of any one task.
    #[n(6)]
    pub own_epsilon_cap: Option<Decimal>,
}

/// A task's whole schedule, fixed before its first round (D57, D62).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Schedule {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// Its plan.
    #[n(1)]
    pub plan: PlanDigest,
    /// Rounds.
    #[n(2)]
    pub rounds: u64,
    /// Noised steps per round.
    #[n(3)]
    pub steps_per_round: u64,
    /// The integers of the mechanism.
    #[n(4)]
    pub executed: Executed,
    /// The plan's own cap on ε.
    #[n(5)]
    pub epsilon_cap: Decimal,
    /// RDP of one round at α*.
    #[n(6)]
    pub cost_per_round: Nats,
    /// What the account rests on beside the integers.
    #[n(7)]
    pub basis: Basis,
}

/// The payment for one round. One per (task, round), for all its groups and shards, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Reservation {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// Its plan.
    #[n(1)]
    pub plan: PlanDigest,
    /// The round.
    #[n(2)]
    pub round: RoundId,
    /// The round's manifest; enters the noise keys.
    #[n(3)]
    pub manifest: ManifestDigest,
    /// Hash of the schedule's [`Basis`]: mode, noise, path, cohort, costs at every order.
    #[n(4)]
    pub basis: Sha256,
    /// The integers of the mechanism, compared with what is executed at every step.
    #[n(5)]
    pub executed: Executed,
    /// Noised steps that are paid.
    #[n(6)]
    pub steps: u64,
    /// RDP of the round at α*.
    #[n(7)]
    pub cost: Nats,
    /// The task's ε before this round.
    #[n(8)]
    pub epsilon_before: Decimal,
    /// The task's ε after this round.
    #[n(9)]
    pub epsilon_after: Decimal,
    /// Accountant and version behind the two figures.
    #[n(10)]
    pub accountant: String,
    /// δ charged for the sampler's distance over all steps of the task so far, this round included (D24).
    #[n(11)]
    pub slack: Decimal,
}

/// What the log shows of one task and the ledger does not (D65).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct LostTask {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// Its plan.
    #[n(1)]
    pub plan: PlanDigest,
    /// Noised steps that the log shows, with those that it leaves room for.
    #[n(2)]
    pub steps: u64,
    /// The same in rounds of the plan, rounded up.
    #[n(3)]
    pub count: u64,
    /// Rounds that are named: none of them is ever paid again.
    #[n(4)]
    pub rounds: Vec<RoundId>,
    /// RDP of the steps at α*.
    #[n(5)]
    pub cost: Nats,
    /// The task's ε with them.
    #[n(6)]
    pub epsilon: Decimal,
}

/// The ledger raised to what the log shows (D65).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Repair {
    /// Entries of the log that were looked at.
    #[n(0)]
    pub log_size: u64,
    /// What is counted from now on.
    #[n(1)]
    pub tasks: Vec<LostTask>,
    /// Scalar releases that the site log shows and the ledger does not; none where there are none.
    #[n(2)]
    pub releases: Option<Vec<LostRelease>>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum Event {
    /// The ledger begins.
    #[n(0)]
    Created(#[n(0)] Terms),
    /// A new lifetime cap, stated as the new total (D64).
    #[n(1)]
    CapDeclared {
        /// The cap.
        #[n(0)]
        epsilon_cap: Decimal,
    },
    /// A task's schedule is held against other tasks.
    #[n(2)]
    Registered(#[n(0)] Schedule),
    /// A round is paid. Spent from here on.
    #[n(3)]
    Reserved(#[n(0)] Reservation),
    /// The round's update is spooled.
    #[n(4)]
    Sealed {
        /// Counter of the reservation.
        #[n(0)]
        reservation: u64,
        /// Digest of the sealed update.
        #[n(1)]
        update: Sha256,
    },
    /// A receipt for the update is held.
    #[n(5)]
    Sent {
        /// Counter of the reservation.
        #[n(0)]
        reservation: u64,
    },
    /// The round came to nothing. Still spent.
    #[n(6)]
    Void {
        /// Counter of the reservation.
        #[n(0)]
        reservation: u64,
    },
    /// The task is over: what was held for it and not spent is free again.
    #[n(7)]
    Ended {
        /// The task.
        #[n(0)]
        task: TaskId,
    },
    /// Spends that the log shows and the ledger had lost. The only entry whose counter may jump.
    #[n(8)]
    Repaired(#[n(0)] Repair),
    /// A scalar release is paid. Spent from here on.
    #[n(9)]
    ReleaseReserved(#[n(0)] Release),
    /// The noised values of a scalar release are durable.
    #[n(10)]
    Released {
        /// Counter of the reservation.
        #[n(0)]
        reservation: u64,
        /// Digest of the stored values.
        #[n(1)]
        result: Sha256,
    },
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Entry {
    /// Position, from 0; a repair jumps over every counter that the log shows.
    #[n(0)]
    pub counter: u64,
    /// Hash of the entry before; zero for the first.
    #[n(1)]
    pub previous: Sha256,
    /// When, as the edge's clock said.
    #[n(2)]
    pub at: Time,
    /// What.
    #[n(3)]
    pub event: Event,
}

impl Payload for Entry {
    const KIND: StatementKind = StatementKind::LedgerEntry;
    const LIMIT: usize = 1 << 20;
}
