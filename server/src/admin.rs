//! Administration over a Unix socket on the server's host (operations.md O2). What needs an administrator's signature is signed by
//! the command that asks: the server never holds that key.

use crate::driver::Input;
use crate::durable;
use crate::layout::Layout;
use minicbor::bytes::ByteVec;
use minicbor::{CborLen, Decode, Encode};
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, LeafIndex, PlanDigest, RoundId, Sha256, SnapshotDigest, TaskId};
use protocol::messages::{MAX_FRAME, frame, unframe};
use protocol::plan::Gate;
use protocol::statement::Statement;
use protocol::trust::PolicyInForce;
use std::io;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// What an administrator asks.
#[derive(Clone, Debug, Encode, Decode, CborLen)]
pub enum AdminRequest {
    /// Make an enrolment token.
    #[n(0)]
    Invite {
        /// Institution.
        #[n(0)]
        institution: String,
        /// Seconds until it expires.
        #[n(1)]
        ttl_s: u64,
    },
    /// Who asks to join?
    #[n(1)]
    Pending {},
    /// Admit: a signed membership.
    #[n(2)]
    Approve {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// The witness policy that the present members give.
    #[n(3)]
    ComposePolicy {},
    /// Put a policy in force.
    #[n(4)]
    ActivatePolicy {
        /// Its text.
        #[n(0)]
        text: String,
        /// A signed [`protocol::trust::PolicyApproval`].
        #[n(1)]
        statement: Statement,
    },
    /// Open a task.
    #[n(5)]
    Propose {
        /// Canonical bytes of the plan.
        #[n(0)]
        plan: ByteVec,
        /// A signed [`protocol::plan::PlanApproval`].
        #[n(1)]
        statement: Statement,
        /// File with the base snapshot, on this host.
        #[n(2)]
        snapshot_path: String,
    },
    /// How things stand.
    #[n(6)]
    Status {},
    /// End in order.
    #[n(7)]
    Stop {},
    /// What may be released?
    #[n(20)]
    Releasable {
        /// The task; the newest one unless given.
        #[n(0)]
        task: Option<TaskId>,
        /// The round that closed with it; the last one unless given.
        #[n(1)]
        round: Option<RoundId>,
    },
    /// Release a model.
    #[n(21)]
    Release {
        /// A signed [`protocol::release::Release`].
        #[n(0)]
        statement: Statement,
    },
    /// Withdraw a model.
    #[n(22)]
    Withdraw {
        /// A signed [`protocol::release::Withdrawal`].
        #[n(0)]
        statement: Statement,
    },
    /// Where was this model released last?
    #[n(24)]
    Released {
        /// Its task.
        #[n(0)]
        task: TaskId,
        /// The weights.
        #[n(1)]
        snapshot: SnapshotDigest,
    },
    /// Record a review.
    #[n(23)]
    Review {
        /// A signed [`protocol::release::Review`].
        #[n(0)]
        statement: Statement,
    },
    /// Who was ever admitted, and how do they stand?
    #[n(30)]
    Members {},
    /// Suspend, resume or revoke a membership, or revoke a member's key.
    #[n(31)]
    ChangeStanding {
        /// A signed [`protocol::membership::StandingChange`] or [`protocol::membership::KeyRevocation`].
        #[n(0)]
        statement: Statement,
    },
    /// Which trust document is in force?
    #[n(40)]
    Trust {},
    /// Put another trust document in force.
    #[n(41)]
    ChangeTrust {
        /// A signed [`protocol::trust::TrustChange`].
        #[n(0)]
        statement: Statement,
    },
    /// Which part of the log may be handed out? It is on record from then on.
    #[n(51)]
    ExportLog {},
    /// Delete sealed updates of rounds that are over.
    #[n(50)]
    DeleteChunks {
        /// The task; every task that is over unless given.
        #[n(0)]
        task: Option<TaskId>,
        /// Newest rounds of each task that stay whole.
        #[n(1)]
        keep: u64,
        /// Whether rounds of a task that goes on may be emptied too.
        #[n(2)]
        unfinished: bool,
    },
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, serde::Serialize)]
pub struct MemberStatus {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its id.
    #[n(1)]
    pub id: ClientId,
    /// active, suspended, revoked or left.
    #[n(2)]
    pub standing: String,
    /// Why, unless it is active.
    #[n(3)]
    pub reason: Option<String>,
    /// The entry since which it stands so.
    #[n(4)]
    pub since: LeafIndex,
    /// Whether it has a connection now.
    #[n(5)]
    pub connected: bool,
    /// SHA-256 of its TLS key's subject public key info.
    #[n(6)]
    pub tls_key: Sha256,
    /// Whether that key is revoked, and it has not said yet which takes its place.
    #[n(7)]
    pub key_revoked: bool,
    /// SHA-256 of its witness, as policies spell it.
    #[n(8)]
    pub witness: Sha256,
    /// Whether that is revoked, and it has not said yet which takes its place.
    #[n(9)]
    pub witness_revoked: bool,
}

/// A gate that a model must pass to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct GateAsked {
    /// As the plan has it.
    #[n(0)]
    pub gate: Gate,
    /// The model's figure, where the log has it.
    #[n(1)]
    pub figure: Option<Decimal>,
}

/// A model that may be released, with what its release must name.
#[derive(Clone, Debug, Encode, Decode, CborLen)]
pub struct Releasable {
    /// Its task.
    #[n(0)]
    pub task: TaskId,
    /// The plan.
    #[n(1)]
    pub plan: PlanDigest,
    /// The weights.
    #[n(2)]
    pub snapshot: SnapshotDigest,
    /// The weights before the first round.
    #[n(3)]
    pub base: SnapshotDigest,
    /// First closed round.
    #[n(4)]
    pub first: RoundId,
    /// Round that closed with them.
    #[n(5)]
    pub last: RoundId,
    /// Gates of the plan, in its order.
    #[n(6)]
    pub gates: Vec<GateAsked>,
    /// The last withdrawal of these weights.
    #[n(7)]
    pub after: Option<LeafIndex>,
}

/// Somebody who asks to join, as an administrator must see it.
#[derive(Clone, Debug, Encode, Decode, CborLen)]
pub struct PendingJoin {
    /// Canonical bytes of the request.
    #[n(0)]
    pub request: ByteVec,
    /// SHA-256 of them, whose six words both sides compare.
    #[n(1)]
    pub hash: Sha256,
}

/// The server's status.
#[derive(Clone, Debug, Encode, Decode, CborLen, serde::Serialize)]
pub struct Status {
    /// Federation.
    #[n(0)]
    pub federation: String,
    /// Entries in the log.
    #[n(1)]
    pub log_size: u64,
    /// Entries under a quorum checkpoint.
    #[n(2)]
    pub published: u64,
    /// Members in good standing, by name.
    #[n(3)]
    pub members: Vec<String>,
    /// Members with a connection, by name.
    #[n(4)]
    pub connected: Vec<String>,
    /// The open task.
    #[n(5)]
    pub task: Option<TaskId>,
    /// Its plan.
    #[n(6)]
    pub plan: Option<PlanDigest>,
    /// The round that is going on or was last.
    #[n(7)]
    pub round: Option<RoundId>,
    /// Rounds of the plan.
    #[n(8)]
    pub rounds: u64,
    /// State of the round.
    #[n(9)]
    pub phase: String,
    /// Whether the task is over.
    #[n(10)]
    pub ended: bool,
    /// For whom the round waits, by name.
    #[n(11)]
    pub waiting_for: Vec<String>,
    /// Ids of the members, in the order of their names: what a plan's tiers are written in.
    #[n(12)]
    pub ids: Vec<ClientId>,
    /// Members whose witness key was revoked while the policy in force names it, by name: until the next policy.
    #[n(13)]
    pub revoked_witnesses: Vec<String>,
}

/// The answer.
#[derive(Clone, Debug, Encode, Decode, CborLen)]
pub enum AdminReply {
    /// Done.
    #[n(0)]
    Done {},
    /// A token: one line to send.
    #[n(1)]
    Token {
        /// The line.
        #[n(0)]
        line: String,
    },
    /// Requests to join.
    #[n(2)]
    Pending {
        /// Them.
        #[n(0)]
        joins: Vec<PendingJoin>,
    },
    /// A policy's text.
    #[n(3)]
    Policy {
        /// It.
        #[n(0)]
        text: String,
        /// The policy that it would replace.
        #[n(1)]
        replaces: Option<PolicyInForce>,
    },
    /// Status.
    #[n(4)]
    Status {
        /// It.
        #[n(0)]
        status: Status,
    },
    /// A model that may be released.
    #[n(20)]
    Releasable {
        /// It.
        #[n(0)]
        model: Releasable,
    },
    /// Members.
    #[n(30)]
    Members {
        /// Them, in the order of their ids.
        #[n(0)]
        members: Vec<MemberStatus>,
    },
    /// The trust document in force.
    #[n(40)]
    Trust {
        /// Its exact bytes.
        #[n(0)]
        document: ByteVec,
        /// The entry that put it in force.
        #[n(1)]
        since: LeafIndex,
        /// Entries with the words of administrators that led here from the first trust document, ascending.
        #[n(2)]
        words: Vec<LeafIndex>,
    },
    /// Recorded. What administrators say has effect where the m-th of them said it.
    #[n(21)]
    Logged {
        /// Where.
        #[n(0)]
        index: LeafIndex,
        /// Where each administrator who said the same said it, in order.
        #[n(1)]
        approvals: Vec<LeafIndex>,
        /// How many must.
        #[n(2)]
        need: u16,
    },
    /// A copy of so many entries may be handed out.
    #[n(51)]
    Exported {
        /// Entries, under the newest checkpoint of a quorum.
        #[n(0)]
        size: u64,
        /// Where that is on record.
        #[n(1)]
        index: LeafIndex,
    },
    /// Sealed updates are deleted on record.
    #[n(50)]
    Deleted {
        /// Rounds of which they were.
        #[n(0)]
        rounds: u64,
        /// Updates.
        #[n(1)]
        updates: u64,
        /// Bytes of their parts, as their headers state them.
        #[n(2)]
        bytes: u64,
        /// Updates of which a file is still there.
        #[n(3)]
        left: u64,
    },
    /// No, and why.
    #[n(5)]
    Refused {
        /// The reason, for the administrator.
        #[n(0)]
        reason: Refusal,
    },
}

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

/// Why the socket does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Nobody listens.
    #[error("no server answers on this directory's admin socket; is `concordat-server serve` running?")]
    Unreachable(#[source] io::Error),
    /// The connection broke.
    #[error("the admin connection broke")]
    Broken(#[source] io::Error),
    /// The answer is no answer.
    #[error("the answer cannot be read")]
    Malformed,
}

async fn read<T: for<'b> Decode<'b, ()> + Encode<()>>(stream: &mut UnixStream) -> io::Result<T> {
    let length = usize::try_from(stream.read_u32_le().await?).unwrap_or(usize::MAX);
    if length > 2 * MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = vec![0u8; length];
    stream.read_exact(&mut content).await?;
    unframe(&content).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Asks the server that runs on `dir`.
///
/// # Errors
/// [`AdminError`].
pub async fn call(dir: &Path, request: &AdminRequest) -> Result<AdminReply, AdminError> {
    let mut stream = UnixStream::connect(Layout::new(dir).admin_socket()).await.map_err(AdminError::Unreachable)?;
    stream.write_all(&frame(request)).await.map_err(AdminError::Broken)?;
    read(&mut stream).await.map_err(|e| if e.kind() == io::ErrorKind::InvalidData { AdminError::Malformed } else { AdminError::Broken(e) })
}

/// Listens on the socket; only the user that runs the server is answered.
pub(crate) fn listen(layout: &Layout, inputs: mpsc::Sender<Input>) -> io::Result<tokio::task::JoinHandle<()>> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = layout.admin_socket();
    // A socket file of a process that died; the directory's lock says that no other lives.
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let owner = owner_of(&path)?;
    durable::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let own = stream.peer_cred().is_ok_and(|c| c.uid() == owner || c.uid() == 0);
            if own {
                tokio::spawn(answer(stream, inputs.clone()));
            }
        }
    }))
}

fn owner_of(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata(path)?.uid())
}

async fn answer(mut stream: UnixStream, inputs: mpsc::Sender<Input>) {
    let Ok(request) = read::<AdminRequest>(&mut stream).await else { return };
    let (reply, answer) = oneshot::channel();
    if inputs.send(Input::Admin { request: Box::new(request), reply }).await.is_ok()
        && let Ok(reply) = answer.await
    {
        stream.write_all(&frame(&reply)).await.ok();
    }
}
