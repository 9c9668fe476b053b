//! The types of entries and what each carries: a closed enum without free text (audit.md A19, A23).

use crate::decimal::Decimal;
use crate::exhausted::BudgetAccount;
use crate::ids::{
    BodyRoot, CertificateDigest, HeaderDigest, KeySumDigest, LeafIndex, ManifestDigest, PlanDigest, Position, RoundId, SetDigest, Sha256,
    SnapshotDigest, SumRoot, TokenId, ValueDigest,
};
use crate::membership::{DatasetReason, KeyPurpose, StandingReason};
use crate::plan::GateResult;
use crate::release::{OverrideReason, WithdrawalReason};
use crate::site_policy::SitePolicyReason;
use serde::{Deserialize, Serialize};

macro_rules! facts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? })*) => {
        /// What happened, with the fields that its type must carry.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "type", deny_unknown_fields)]
        pub enum Facts { $($(#[$doc])* #[serde(rename = $name)] $variant { $($(#[$fdoc])* $field: $ty),* },)* }

        /// The type of an entry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EntryKind { $($(#[$doc])* $variant,)* }

        impl EntryKind {
            /// All types.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The name in the log.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
        }
        impl Facts {
            /// Writes the fields besides the type, by name: the one order that an entry has them in.
            pub(super) fn write_fields<M: serde::ser::SerializeMap>(&self, out: &mut M) -> Result<(), M::Error> {
                match self {
                    $(Self::$variant { $($field),* } => {
                        let names: &mut [&'static str] = &mut [$(stringify!($field)),*];
                        names.sort_unstable();
                        for name in names {
                            match *name {
                                $(field if field == stringify!($field) => out.serialize_entry(field, $field)?,)*
                                _other => {}
                            }
                        }
                    })*
                }
                Ok(())
            }
            /// Their type.
            pub fn kind(&self) -> EntryKind { match self { $(Self::$variant { .. } => EntryKind::$variant,)* } }
        }
    };
}

facts! {
    /// Entry 0.
    FederationCreated = "federation.created" {
        /// SHA-256 of the trust document.
        trust: Sha256
    }
    /// Another trust document is in force from here on (statement of an administrator, with the whole document).
    TrustChanged = "federation.trust.changed" {
        /// SHA-256 of the document that was in force.
        old: Sha256,
        /// SHA-256 of the document that takes its place, an artefact.
        new: Sha256
    }
    /// The server's process began.
    ProcessStarted = "process.started" {
        /// SHA-256 of the program.
        build: Sha256,
        /// Whether the process before it ended in order.
        clean: bool,
        /// SHA-256 of the settings that it runs with.
        config: Sha256
    }
    /// The program is another one than at the start before.
    ProcessUpgraded = "process.upgraded" {
        /// SHA-256 of the program before.
        old: Sha256,
        /// SHA-256 of the program now.
        new: Sha256
    }
    /// The settings are others than at the start before.
    ProcessConfigChanged = "process.config.changed" {
        /// SHA-256 of the settings before.
        old: Sha256,
        /// SHA-256 of the settings now.
        new: Sha256
    }
    /// The machine's clock was moved, or stood, while the process ran.
    ProcessClockSkew = "process.clock.skew" {
        /// Which way.
        direction: ClockDirection,
        /// How far, in milliseconds.
        ms: u64
    }
    /// A round cannot open: the disk has too little room for it.
    ProcessStorageLow = "process.storage.low" {
        /// Bytes that are free, in whole MiB.
        free_mib: u64,
        /// Bytes that must be, in whole MiB.
        needed_mib: u64
    }
    /// The server's process ends in order.
    ProcessStopped = "process.stopped" {}
    /// The log was built again from an institution's mirror.
    ProcessRecovered = "process.recovered" {
        /// Entries that the server still had.
        before: u64,
        /// Entries taken from the mirror.
        size: u64,
        /// Their root.
        root: Sha256
    }
    /// An enrolment token was made.
    MemberInvited = "member.invited" {
        /// Id of the token, never its secret.
        token: TokenId
    }
    /// An institution asks to join (statement of the institution).
    MemberJoinRequested = "member.join.requested" {
        /// Id of the token.
        token: TokenId,
        /// SHA-256 of the request's payload.
        request: Sha256
    }
    /// Administrators admitted an institution (statement of an administrator).
    MemberJoined = "member.joined" {
        /// SHA-256 of the request's payload.
        request: Sha256
    }
    /// An institution has another TLS certificate, over the key that the log has for it.
    MemberRenewed = "member.renewed" {
        /// SHA-256 of the key's subject public key info.
        tls_key: Sha256,
        /// When the certificate runs out, in seconds since 1970.
        until_s: u64
    }
    /// Nothing is accepted from an institution until it is resumed (statement of an administrator).
    MemberSuspended = "member.suspended" {
        /// The entry since which it stood as before.
        since: LeafIndex,
        /// Why.
        reason: StandingReason
    }
    /// A suspended institution is in good standing again (statement of an administrator).
    MemberResumed = "member.resumed" {
        /// The entry since which it stood as before.
        since: LeafIndex,
        /// Why.
        reason: StandingReason
    }
    /// Nothing is accepted from an institution ever again (statement of an administrator).
    MemberRevoked = "member.revoked" {
        /// The entry since which it stood as before.
        since: LeafIndex,
        /// Why.
        reason: StandingReason
    }
    /// An institution left (statement of the institution).
    MemberLeft = "member.left" {
        /// The entry since which it stood as before.
        since: LeafIndex,
        /// Why.
        reason: StandingReason
    }
    /// A witness policy is in force from the next tree size on (statement of an administrator).
    PolicyActivated = "policy.activated" {
        /// SHA-256 of the text of the policy that it replaces; none for the first.
        old: Option<Sha256>,
        /// SHA-256 of the policy text.
        policy: Sha256
    }
    /// An institution judges plans by this site policy of its own (statement of the institution).
    SitePolicyDeclared = "policy.site.declared" {
        /// Hash of the one that it declared before; none for the first.
        old: Option<Sha256>,
        /// Hash of the one that holds.
        new: Sha256,
        /// Why it is declared.
        reason: SitePolicyReason,
        /// Entries of the log that the institution had seen when it began to judge by it.
        from: u64
    }
    /// An institution declared a dataset (statement of the institution).
    DatasetDeclared = "dataset.declared" {
        /// Opaque id.
        dataset: Sha256
    }
    /// An institution describes the records of a dataset as they are now (statement of the institution).
    DatasetChanged = "dataset.changed" {
        /// Opaque id.
        dataset: Sha256,
        /// SHA-256 of the data manifest's payload.
        manifest: Sha256
    }
    /// An institution withdrew a dataset: nothing is trained on it any more (statement of the institution).
    DatasetWithdrawn = "dataset.withdrawn" {
        /// Opaque id.
        dataset: Sha256,
        /// Why.
        reason: DatasetReason
    }
    /// An institution declared a cap (statement of the institution).
    BudgetDeclared = "budget.declared" {
        /// Opaque id.
        dataset: Sha256,
        /// Cap on ε.
        epsilon_cap: Decimal
    }
    /// An institution raised its ledger to what the log shows (statement of the institution).
    BudgetRepaired = "budget.repaired" {
        /// Opaque id.
        dataset: Sha256,
        /// Counter of the ledger entry that repairs.
        ledger_counter: u64
    }
    /// An institution paid for a round that took no update of it (statement of the institution).
    BudgetSpent = "budget.spent" {
        /// Opaque id.
        dataset: Sha256,
        /// Counter of the ledger entry that paid.
        ledger_counter: u64
    }
    /// An institution paid for a scalar release (statement of the institution).
    BudgetReleased = "budget.released" {
        /// Opaque id.
        dataset: Sha256,
        /// Counter of the ledger entry that pays.
        ledger_counter: u64
    }
    /// An institution's privacy ledger cannot pay for a task (statement of the institution).
    BudgetExhausted = "budget.exhausted" {
        /// Opaque id.
        dataset: Sha256,
        /// Which cap would be exceeded.
        account: BudgetAccount,
        /// What is asked for, in the measure of the account.
        needed: Decimal,
        /// What there is, in the same measure.
        remaining: Decimal,
        /// Counter of the ledger's last entry.
        ledger_counter: u64
    }
    /// A task's plan was approved (statement of an administrator).
    TaskApproved = "task.approved" {
        /// The plan, an artefact.
        plan: PlanDigest
    }
    /// A task begins.
    TaskOpened = "task.opened" {
        /// The plan.
        plan: PlanDigest,
        /// Weights that round 1 starts from.
        snapshot: SnapshotDigest
    }
    /// A task is over.
    TaskEnded = "task.ended" {
        /// Last weights.
        snapshot: SnapshotDigest,
        /// Rounds that were closed.
        closed: u64,
        /// Rounds that were abandoned.
        abandoned: u64
    }
    /// An institution has another key from here on (statement of the institution).
    KeyRotated = "key.rotated" {
        /// What it is for.
        purpose: KeyPurpose,
        /// SHA-256 of the old key: of a TLS key's subject public key info, of a statement key as `stmt.keyid` has it, of a witness as policies
        /// spell it.
        old: Sha256,
        /// The same of the new one.
        new: Sha256
    }
    /// A key of an institution shows nobody any more; its membership stays as it is (statement of an administrator).
    KeyRevoked = "key.revoked" {
        /// What it was for.
        purpose: KeyPurpose,
        /// Its hash, as `key.rotated` has it.
        key: Sha256,
        /// Why.
        reason: StandingReason
    }
    /// A decryptor's prekeys (statement of the decryptor).
    PrekeysPublished = "key.prekeys.published" {
        /// First round covered.
        first: RoundId,
        /// Rounds covered.
        count: u64
    }
    /// A round begins: Selecting.
    RoundOpened = "round.opened" {
        /// Leaf hash of the task's previous end, or of `task.opened`.
        previous_end: Sha256
    }
    /// The join list is closed: random groups are dealt from it and from numbers that are revealed after this entry. The manifest
    /// that follows names exactly these institutions.
    RoundJoined = "round.joined" {
        /// Digest of the list.
        joined: Sha256,
        /// Institutions on it.
        count: u64
    }
    /// A decryptor reveals its number (statement of the decryptor).
    NonceRevealed = "round.nonce.revealed" {}
    /// The round's manifest (statement of the server).
    ManifestPublished = "round.manifest.published" {
        /// Its digest.
        manifest: ManifestDigest
    }
    /// A decryptor endorses the manifest (statement of the decryptor).
    ManifestEndorsed = "round.manifest.endorsed" {
        /// The manifest.
        manifest: ManifestDigest
    }
    /// A client takes no part (statement of the institution).
    RoundDeclined = "round.declined" {}
    /// An institution begins to send an update: its header was admitted, and parts are taken from here on.
    UpdateBegun = "round.update.begun" {
        /// The header.
        header: HeaderDigest
    }
    /// An update is accepted: header statement of the institution, with its budget fields.
    UpdateAccepted = "round.update.accepted" {
        /// The header.
        header: HeaderDigest,
        /// Root over the chunk addresses.
        body_root: BodyRoot,
        /// Bytes of all bodies.
        body_bytes: u64
    }
    /// An update is refused; once in a round for each institution and reason.
    UpdateRejected = "round.update.rejected" {}
    /// An accepted update will be in no sum.
    UpdateDropped = "round.update.dropped" {
        /// The header.
        header: HeaderDigest
    }
    /// The exact set that is to be opened: all accepted and not dropped updates of the group.
    SetProposed = "round.set.proposed" {
        /// The set.
        set: SetDigest,
        /// Members.
        count: u32,
        /// Tree size at which all headers stand.
        log_size: u64
    }
    /// A decryptor signs the set (statement of the decryptor).
    SetSigned = "round.set.signed" {
        /// The set.
        set: SetDigest
    }
    /// A quorum signed.
    SetCertified = "round.set.certified" {
        /// The set.
        set: SetDigest,
        /// Digest of the signed bytes.
        certificate: CertificateDigest
    }
    /// A decryptor's summed key share (statement of the decryptor).
    OpeningPosted = "round.opening.posted" {
        /// What it opens.
        certificate: CertificateDigest,
        /// Who opens.
        position: Position
    }
    /// The opened sum (statement of the server).
    SumOpened = "round.sum.opened" {
        /// The certificate.
        certificate: CertificateDigest,
        /// Over the summed bodies.
        sum_root: SumRoot,
        /// Over S.
        key_sum: KeySumDigest,
        /// Over the opened values.
        values: ValueDigest,
        /// Largest residual mean square over its prediction.
        residual_ratio: Decimal
    }
    /// A group's sum could not be opened.
    SumFailed = "round.sum.failed" {}
    /// The round is over and gave a snapshot.
    RoundClosed = "round.closed" {
        /// New weights.
        snapshot: SnapshotDigest
    }
    /// The round is over without a sum.
    RoundAbandoned = "round.abandoned" {}
    /// The sealed parts of everything that the round accepted are deleted from here on.
    RoundChunksDeleted = "round.chunks.deleted" {
        /// SHA-256 over the digests of the headers, ascending.
        root: Sha256,
        /// Headers.
        updates: u64,
        /// Chunks and share blobs, as the headers state them.
        parts: u64,
        /// Their bytes.
        bytes: u64
    }
    /// A model may leave the federation (statement of an administrator).
    ModelReleased = "model.released" {
        /// The weights.
        snapshot: SnapshotDigest,
        /// SHA-256 of the model signature.
        signature: Sha256,
        /// Whether it is a substantial modification of a model released before.
        substantial: bool,
        /// What each gate of the plan came to.
        gates: Vec<GateResult>,
        /// Why it is released although it did not pass every gate.
        overridden: Option<OverrideReason>
    }
    /// A released model shall no longer be used (statement of an administrator).
    ModelWithdrawn = "model.withdrawn" {
        /// The weights.
        snapshot: SnapshotDigest,
        /// Why.
        reason: WithdrawalReason
    }
    /// Somebody examined a part of the log (statement of an administrator or an institution).
    AuditReviewed = "audit.reviewed" {
        /// First entry examined.
        first: u64,
        /// Last entry examined.
        last: u64,
        /// Size of the tree that was verified.
        size: u64,
        /// Its root.
        root: Sha256,
        /// SHA-256 of the findings, which the reviewer keeps.
        findings: Sha256
    }
    /// Somebody on the server's host was given a copy of the log, whole up to a checkpoint.
    AuditExported = "audit.exported" {
        /// Entries in it.
        size: u64,
        /// Their root.
        root: Sha256
    }
    /// An institution anchors its own site log (statement of the institution).
    SiteAnchored = "site.anchored" {
        /// Entries of the site log.
        size: u64,
        /// Its root.
        root: Sha256
    }
    /// A witness of the policy has cosigned nothing for a long time, although notes were shown.
    WitnessMissing = "audit.witness.missing" {
        /// SHA-256 of its line in the policy: its key as tlog-policy writes it.
        witness: Sha256,
        /// Tree size of the newest note that it cosigned since the server's process began; 0 for none.
        size: u64
    }
    /// A witness that was missing cosigns again.
    WitnessReturned = "audit.witness.returned" {
        /// SHA-256 of its line in the policy: its key as tlog-policy writes it.
        witness: Sha256,
        /// Tree size of the note that it cosigned.
        size: u64
    }
    /// Somebody who may do it asks for something that changes the federation; the entry of what was done follows.
    AuthzAllowed = "authz.allowed" {}
    /// A right was denied.
    AuthzDenied = "authz.denied" {}
    /// Nobody's idea: evidence of a broken invariant.
    AuditAlarm = "audit.alarm" {
        /// What was seen.
        alarm: AlarmKind,
        /// SHA-256 of the evidence kept on the server.
        evidence: Sha256
    }
}

/// Which way a clock went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockDirection {
    /// It shows a later time than the process has lived through.
    Forward,
    /// It shows an earlier one.
    Back,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// A client sent two different headers for one (round, group).
    TwoHeaders,
    /// A decryptor signed two different sets.
    TwoSets,
    /// A decryptor's opening contradicts itself.
    FalseOpening,
    /// A client's shares lie on no polynomial.
    FalseShares,
    /// A client's shares and a decryptor's opening do not fit, and neither is proven wrong (crypto.md C56): the entry names the decryptor,
    /// the evidence is the header's digest.
    Disputed,
    /// A certified sum does not open to what the set's members declared and the plan allows (crypto.md C62).
    FalseSum,
    /// A witness showed a larger or different tree than ours.
    Rollback,
}

impl AlarmKind {
    /// Its name, as entries carry it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoHeaders => "two-headers",
            Self::TwoSets => "two-sets",
            Self::FalseOpening => "false-opening",
            Self::FalseShares => "false-shares",
            Self::Disputed => "disputed",
            Self::FalseSum => "false-sum",
            Self::Rollback => "rollback",
        }
    }
}
