//! Requests to the server, each on a stream of its own (transport-storage.md section 5). Knows no machine and no file.

use crate::frames::{self, FrameError};
use protocol::ids::{Address, LeafIndex, PlanDigest, Sha256, SnapshotDigest};
use protocol::messages::{ChunkHeader, MAX_FRAME, Request, Response};
use protocol::reject::Rejection;
use protocol::statement::Statement;
use quinn::{Connection, ConnectionError, ReadExactError, WriteError};
use std::time::Duration;

/// Longest wait for an answer: a commit waits for a durable log entry.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest pause inside a snapshot.
const SNAPSHOT: Duration = Duration::from_secs(600);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WireError {
    /// The connection is gone.
    #[error("the connection to the server was lost")]
    Lost(#[from] ConnectionError),
    /// A frame did not come or go.
    #[error("a message did not come through")]
    Frame(#[from] FrameError),
    /// Bytes did not go.
    #[error("bytes did not go out")]
    Write(#[from] WriteError),
    /// Bytes did not come.
    #[error("bytes did not come in")]
    Read(#[from] ReadExactError),
    /// The server ended the stream without an answer.
    #[error("the server gave no answer")]
    NoAnswer,
    /// No answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The server refused.
    #[error("the server refused: {0}")]
    Rejected(Rejection),
    /// An answer of another kind than was asked for, or out of its limits.
    #[error("the server's answer does not fit the request")]
    Unexpected,
    /// Bytes that are not what their name says.
    #[error("the server sent other bytes than were asked for")]
    WrongBytes,
}

/// A connection that requests go out on.
#[derive(Clone)]
pub(crate) struct Wire(Connection);

impl Wire {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// Asks and waits for the answer frame.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, WireError> {
        tokio::time::timeout(ANSWER, self.ask_for_ever(request)).await.map_err(|_| WireError::TimedOut)?
    }

    async fn ask_for_ever(&self, request: &Request) -> Result<Response, WireError> {
        let (mut send, mut receive) = self.0.open_bi().await?;
        frames::send(&mut send, request).await?;
        // The stream may be closed by the peer already; the answer decides.
        send.finish().unwrap_or(());
        frames::receive(&mut receive, MAX_FRAME).await?.ok_or(WireError::NoAnswer)
    }

    async fn bytes(&self, request: &Request) -> Result<Vec<u8>, WireError> {
        match self.ask(request).await? {
            Response::Bytes { bytes } => Ok(bytes.into()),
            Response::Rejected { reason } => Err(WireError::Rejected(reason)),
            Response::Have { .. } | Response::Receipt { .. } | Response::Entries { .. } | Response::Stream { .. } => {
                Err(WireError::Unexpected)
            }
        }
    }

    /// Has a statement entered in the log: where its entry stands, and the entry, which whoever asks compares with the log.
    pub(crate) async fn declare(&self, statement: Statement) -> Result<(LeafIndex, Vec<u8>), WireError> {
        match self.ask(&Request::Declare { statement }).await? {
            Response::Receipt { index, entry } => Ok((index, entry.into())),
            Response::Rejected { reason } => Err(WireError::Rejected(reason)),
            Response::Have { .. } | Response::Entries { .. } | Response::Bytes { .. } | Response::Stream { .. } => {
                Err(WireError::Unexpected)
            }
        }
    }

    /// The latest note of the log.
    pub(crate) async fn checkpoint(&self) -> Result<Vec<u8>, WireError> {
        self.bytes(&Request::Checkpoint {}).await
    }

    /// The first note after a tree of this size by which one key of the log handed over to the next.
    pub(crate) async fn handover(&self, after: u64) -> Result<Vec<u8>, WireError> {
        self.bytes(&Request::Handover { after }).await
    }

    /// Entries `from..to`; the answer may stop early but is never empty.
    pub(crate) async fn entries(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>, WireError> {
        match self.ask(&Request::Log { from, to }).await? {
            Response::Entries { entries } => {
                let most = usize::try_from(to - from).unwrap_or(usize::MAX);
                let fits = !entries.is_empty() && entries.len() <= most;
                if fits { Ok(entries.into_iter().map(Into::into).collect()) } else { Err(WireError::Unexpected) }
            }
            Response::Rejected { reason } => Err(WireError::Rejected(reason)),
            Response::Have { .. } | Response::Receipt { .. } | Response::Bytes { .. } | Response::Stream { .. } => {
                Err(WireError::Unexpected)
            }
        }
    }

    /// The root that the tree of `new` entries has at `old`, and the hashes that show it; nothing of it is believed before it is checked.
    pub(crate) async fn consistency(&self, old: u64, new: u64) -> Result<Vec<u8>, WireError> {
        self.bytes(&Request::Consistency { old, new }).await
    }

    /// Another TLS certificate over our key; whoever takes it checks it.
    pub(crate) async fn renew(&self, csr: Vec<u8>) -> Result<Vec<u8>, WireError> {
        self.bytes(&Request::Renew { csr: csr.into() }).await
    }

    /// An artefact, checked against its name.
    pub(crate) async fn artefact(&self, hash: Sha256) -> Result<Vec<u8>, WireError> {
        let bytes = self.bytes(&Request::Artefact { hash }).await?;
        if protocol::hash::sha256(&[&bytes]) == hash.0 { Ok(bytes) } else { Err(WireError::WrongBytes) }
    }

    /// A plan, checked against its digest.
    pub(crate) async fn plan(&self, digest: PlanDigest) -> Result<Vec<u8>, WireError> {
        self.artefact(Sha256(digest.0)).await
    }

    /// A share blob, checked against its address.
    pub(crate) async fn blob(&self, address: Address) -> Result<Vec<u8>, WireError> {
        let bytes = self.bytes(&Request::Blob { address }).await?;
        if blake3::hash(&bytes).as_bytes() == &address.0 { Ok(bytes) } else { Err(WireError::WrongBytes) }
    }

    /// A snapshot of at most `limit` bytes, checked against its digest.
    pub(crate) async fn snapshot(&self, digest: SnapshotDigest, limit: u64) -> Result<Vec<u8>, WireError> {
        tokio::time::timeout(SNAPSHOT, self.snapshot_for_ever(digest, limit)).await.map_err(|_| WireError::TimedOut)?
    }

    async fn snapshot_for_ever(&self, digest: SnapshotDigest, limit: u64) -> Result<Vec<u8>, WireError> {
        let (mut send, mut receive) = self.0.open_bi().await?;
        frames::send(&mut send, &Request::Snapshot { digest }).await?;
        send.finish().unwrap_or(());
        let length = match frames::receive(&mut receive, MAX_FRAME).await?.ok_or(WireError::NoAnswer)? {
            Response::Stream { length } if length <= limit => length,
            Response::Rejected { reason } => return Err(WireError::Rejected(reason)),
            Response::Stream { .. }
            | Response::Have { .. }
            | Response::Receipt { .. }
            | Response::Bytes { .. }
            | Response::Entries { .. } => {
                return Err(WireError::Unexpected);
            }
        };
        let mut bytes = vec![0u8; usize::try_from(length).map_err(|_| WireError::Unexpected)?];
        receive.read_exact(&mut bytes).await?;
        if protocol::hash::sha256(&[&bytes]) == digest.0 { Ok(bytes) } else { Err(WireError::WrongBytes) }
    }

    /// Sends one part of an upload on a stream of its own. Gone is not arrived: only the server's ack counts (T26).
    pub(crate) async fn part(&self, header: &ChunkHeader, bytes: &[u8]) -> Result<(), WireError> {
        let mut stream = self.0.open_uni().await?;
        stream.write_all(&header.to_bytes()).await?;
        stream.write_all(bytes).await?;
        stream.finish().unwrap_or(());
        Ok(())
    }

    /// UDP payload bytes of this connection so far: out, in.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let stats = self.0.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }
}
