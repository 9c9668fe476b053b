//! A model leaves the federation, and an institution anchors its own log: what the two statements say (audit.md A19, A27, A44).

use crate::ids::{LeafIndex, PlanDigest, RoundId, Sha256, SnapshotDigest, TaskId};
use crate::plan::GateResult;
use crate::statement::{Payload, StatementKind};
use minicbor::{CborLen, Decode, Encode};

/// Administrators release a model: exactly this snapshot, made in these rounds of this plan from this base, under this signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
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
    /// What each gate of the plan came to, in the plan's order.
    #[n(9)]
    pub gates: Vec<GateResult>,
    /// SHA-256 of the file that says how the stated figures were measured; where a gate needs such a figure.
    #[n(10)]
    pub evaluation: Option<Sha256>,
    /// Why the model is released although it did not pass every gate.
    #[n(11)]
    pub overridden: Option<OverrideReason>,
    /// The withdrawal of these weights that this release comes after; none if nobody ever withdrew them. What was signed before a withdrawal
    /// releases nothing after it.
    #[n(12)]
    pub after: Option<LeafIndex>,
}

impl Release {
    /// Whether the model passed every gate.
    pub fn passed(&self) -> bool {
        self.gates.iter().all(|g| g.passed)
    }
}

/// Why a model that did not pass every gate is released all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum OverrideReason {
    /// It goes to those who study it, and into no use.
    #[n(0)]
    Research,
    /// It replaces a released model that is worse.
    #[n(1)]
    Correction,
    /// An authority asked for it.
    #[n(2)]
    Authority,
    /// The administrators judge the gate to be wrong.
    #[n(3)]
    Judgement,
}

impl OverrideReason {
    /// As entries spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Research => "research",
            Self::Correction => "correction",
            Self::Authority => "authority",
            Self::Judgement => "judgement",
        }
    }
}

impl Payload for Release {
    const KIND: StatementKind = StatementKind::Release;
}

/// Why a released model shall no longer be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum WithdrawalReason {
    /// A better one was released.
    #[n(0)]
    Superseded,
    /// It harms, or may.
    #[n(1)]
    Harmful,
    /// It does less than was measured.
    #[n(2)]
    Performance,
    /// The promise of privacy does not hold.
    #[n(3)]
    Privacy,
    /// Data or a legal basis is gone.
    #[n(4)]
    LegalBasis,
}

/// Administrators withdraw a model that was released before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Withdrawal {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// The weights.
    #[n(1)]
    pub snapshot: SnapshotDigest,
    /// Why.
    #[n(2)]
    pub reason: WithdrawalReason,
    /// The entry that released them: a release that comes later is another one to withdraw.
    #[n(3)]
    pub release: LeafIndex,
}

impl Payload for Withdrawal {
    const KIND: StatementKind = StatementKind::Withdrawal;
}

/// Somebody examined entries of a verified log: the record that examinations took place (audit.md A45).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Review {
    /// The federation, by its trust document.
    #[n(0)]
    pub trust: Sha256,
    /// First entry examined.
    #[n(1)]
    pub first: u64,
    /// Last entry examined.
    #[n(2)]
    pub last: u64,
    /// Size of the tree that was verified.
    #[n(3)]
    pub size: u64,
    /// Its RFC 6962 root.
    #[n(4)]
    pub root: Sha256,
    /// SHA-256 of the findings, a file that the reviewer keeps.
    #[n(5)]
    pub findings: Sha256,
    /// Exit code of the verification.
    #[n(6)]
    pub exit_code: u8,
}

impl Payload for Review {
    const KIND: StatementKind = StatementKind::Review;
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
