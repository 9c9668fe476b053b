//! A model leaves the federation, and an institution anchors its own log: what the two statements say (audit.md A19, A27, A44).

use crate::ids::{PlanDigest, RoundId, Sha256, SnapshotDigest, TaskId};
use crate::statement::{Payload, StatementKind};
use minicbor::{CborLen, Decode, Encode};

/// Administrators release a model: exactly this snapshot, made in these rounds of this plan from this base, under this signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Release {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// Its plan.
    #[n(1)]
    pub plan: PlanDigest,
    /// The weights that leave.
    #[n(2)]
    pub snapshot: SnapshotDigest,
    /// The weights that the first of the rounds started from.
    #[n(3)]
    pub base: SnapshotDigest,
    /// First closed round that the weights come from.
    #[n(4)]
    pub first: RoundId,
    /// The round that closed with these weights.
    #[n(5)]
    pub last: RoundId,
    /// SHA-256 of the release key: its subject public key info in PEM, as the model signature hints at it.
    #[n(6)]
    pub key: Sha256,
    /// SHA-256 of `model.sig`.
    #[n(7)]
    pub signature: Sha256,
    /// Whether the administrators call this a substantial modification of a model that was released before.
    #[n(8)]
    pub substantial: bool,
}

impl Payload for Release {
    const KIND: StatementKind = StatementKind::Release;
}

/// An institution states size and root of its own site log; what is in it stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct SiteAnchor {
    /// Entries of the site log.
    #[n(0)]
    pub size: u64,
    /// Its RFC 6962 root.
    #[n(1)]
    pub root: Sha256,
}

impl Payload for SiteAnchor {
    const KIND: StatementKind = StatementKind::SiteAnchor;
}
