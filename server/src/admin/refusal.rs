//! Why the server refuses what an administrator asks, in words that say what to do instead. Knows no socket and no log.

use minicbor::{CborLen, Decode, Encode};

/// Why an administrator's request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen, thiserror::Error)]
#[cbor(index_only)]
pub enum Refusal {
    /// Not a name.
    #[n(0)]
    #[error("an institution's name has 1 to 63 of a-z, 0-9 and '-'")]
    Name,
    /// Not by an administrator, or not what it should sign.
    #[n(1)]
    #[error("the statement is not signed by an administrator of this federation, or is about something else")]
    Statement,
    /// No such request.
    #[n(2)]
    #[error("nobody with this request asks to join")]
    NoSuchJoin,
    /// Two institutions with one key.
    #[n(34)]
    #[error("the request names the TLS key or the witness of an institution that was admitted before; it must be made with new keys")]
    SharedKey,
    /// Too few members.
    #[n(3)]
    #[error("a policy needs at least two members; invite and approve them first")]
    TooFewMembers,
    /// The policy does not parse or is not of this log.
    #[n(4)]
    #[error("the policy is not valid for this log")]
    Policy,
    /// The plan does not pass `plan check`.
    #[n(5)]
    #[error("the plan is not valid; run `concordat-server plan check`")]
    Plan,
    /// The snapshot is not the one that the plan names.
    #[n(6)]
    #[error("the snapshot file cannot be read or is not the plan's base")]
    Snapshot,
    /// One task at a time.
    #[n(7)]
    #[error("another task is open; wait for its end")]
    TaskOpen,
    /// Tasks need witnesses.
    #[n(8)]
    #[error("no witness policy is in force; run `concordat-server policy activate` first")]
    NoPolicy,
    /// More decryptors than members.
    #[n(9)]
    #[error("the plan's committee or cohort needs more institutions than are enrolled")]
    TooFewForPlan,
    /// A tier with a stranger.
    #[n(21)]
    #[error("a tier of the plan names an institution that is not enrolled; `concordat-server status --format json` shows who is")]
    Stranger,
    /// No such model.
    #[n(20)]
    #[error("no closed round of the log gave such a model")]
    NothingToRelease,
    /// Figures are no model.
    #[n(22)]
    #[error("the task counts and gives no model; `concordat-server counts` shows what it found")]
    Counts,
    /// Gates.
    #[n(23)]
    #[error("the release does not state the plan's gates with the log's figures, or a gate was not passed and no --override was given")]
    Gates,
    /// Not out.
    #[n(30)]
    #[error("no such model is released, or it is withdrawn already")]
    NothingToWithdraw,
    /// Signed too long ago.
    #[n(32)]
    #[error("another policy came into force since this one was signed; run `concordat-server policy activate` again")]
    PolicyReplaced,
    /// Not a review of this log.
    #[n(31)]
    #[error("the review is not signed by an administrator or a member, or speaks about another log or entries that it does not hold")]
    Review,
    /// Not how the institution stands.
    #[n(33)]
    #[error(
        "the institution, or its key, does not stand so that this could follow; `concordat-server member list` shows how it stands, and a \
         revoked one or one that left joins anew with an invitation and new keys"
    )]
    Standing,
    /// Prepared too long ago.
    #[n(40)]
    #[error("the trust document was prepared over another one than that in force; run `concordat-server trust prepare` again")]
    TrustReplaced,
    /// Not one that may follow.
    #[n(41)]
    #[error(
        "the file is no trust document that can follow the one in force: one spelling, sound keys, something that changes, and the same \
         federation and root certificate"
    )]
    Trust,
    /// A log key that cannot take over.
    #[n(42)]
    #[error(
        "the log cannot be handed over to the key that the new trust document names: the server has no secret half of it, or it is no key of this \
         federation's log, one that signed it before, or a witness's; `concordat-server trust prepare --new-log-key` makes one on its host"
    )]
    TrustLogKey,
    /// A statement key that is not here.
    #[n(43)]
    #[error(
        "the server has no secret half of the statement key that the new trust document names; `concordat-server trust prepare \
         --new-server-key` makes one on its host"
    )]
    TrustServerKey,
    /// More words than newcomers can be shown.
    #[n(44)]
    #[error(
        "newcomers are shown all words that ever changed the trust document in one answer, and these would not fit into it: a document of fewer \
         administrators is shorter"
    )]
    TrustTooLong,
    /// More documents of one administrator than anybody keeps.
    #[n(46)]
    #[error(
        "this administrator has signed as many trust documents as wait at most ({}), and none of them came into force: another administrator \
         prepares and approves the next one first, and one that waits can still be approved",
        protocol::trust::TrustChange::MAX_WAITING
    )]
    TrustWaiting,
    /// A witness of before.
    #[n(45)]
    #[error("the policy names a witness key that its institution has replaced, or that was revoked; run `policy activate` again")]
    PolicyWitness,
    /// Nothing that an auditor could check.
    #[n(52)]
    #[error("no checkpoint of a quorum of witnesses is published yet: activate a policy, and start the clients of its witnesses")]
    NoCheckpoint,
    /// No such task.
    #[n(50)]
    #[error("the log has no such task")]
    NoSuchTask,
    /// Sums that somebody may still want to make again.
    #[n(51)]
    #[error(
        "the task is not over: its sealed updates stay, so that its sums can be made again; with --unfinished they are deleted all the same"
    )]
    TaskGoesOn,
}
