//! Administration over a Unix socket on the server's host (operations.md O2). What needs an administrator's signature is signed by
//! the command that asks: the server never holds that key.

mod refusal;

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
pub use refusal::Refusal;
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
