//! Sends one group's update from the spool (transport-storage.md T32, T33): begin, the missing parts, acks, commit. Idempotent: whatever
//! happens, the same call again ends in the same receipt.

use crate::edges::reached;
use crate::files::StoreError;
use crate::spool::{Spool, SpooledGroup};
use crate::wire::{Wire, WireError};
use protocol::ids::{Address, LeafIndex, UploadId};
use protocol::messages::{ChunkHeader, ChunkKind, Request, Response, upload_id};
use protocol::reject::Rejection;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest silence while acks are due: one chunk on a slow line, and its fsync.
const ACK: Duration = Duration::from_secs(60);
/// Most times the server may say that something is missing.
const MAX_TURNS: u32 = 16;

/// How an upload ended.
#[derive(Debug)]
pub(crate) enum Uploaded {
    /// Accepted: the entry's place and bytes.
    Receipt(LeafIndex, Vec<u8>),
    /// Refused for good, or for now.
    Refused(Rejection),
    /// The connection or the server's answers broke; it is tried again on the next link.
    Broken,
    /// The spool cannot be read.
    Unreadable(StoreError),
}

/// Sends what the server misses until there is a receipt. `acks` gets the address of every part that is durable there.
pub(crate) async fn upload(wire: &Wire, spool: &Spool, group: &SpooledGroup, mut acks: mpsc::Receiver<Address>) -> Uploaded {
    match run(wire, spool, group, &mut acks).await {
        Ok(done) => done,
        Err(Trouble::Store(e)) => Uploaded::Unreadable(e),
        Err(Trouble::Wire(error)) => {
            tracing::warn!(%error, "an upload was interrupted");
            Uploaded::Broken
        }
    }
}

enum Trouble {
    Wire(WireError),
    Store(StoreError),
}

impl From<WireError> for Trouble {
    fn from(e: WireError) -> Self {
        Self::Wire(e)
    }
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

async fn run(wire: &Wire, spool: &Spool, group: &SpooledGroup, acks: &mut mpsc::Receiver<Address>) -> Result<Uploaded, Trouble> {
    let id = upload_id(&group.header);
    let mut answer = wire.ask(&Request::Begin { header: group.header.clone(), chunks: group.chunks.clone() }).await?;
    for _ in 0..MAX_TURNS {
        match answer {
            Response::Receipt { index, entry } => {
                reached("received", "upload/receipt");
                return Ok(Uploaded::Receipt(index, entry.into()));
            }
            Response::Rejected { reason } => return Ok(Uploaded::Refused(reason)),
            Response::Have { upload, chunks, blobs } if upload == id => {
                send_missing(wire, spool, group, &chunks, &blobs, acks).await?;
            }
            Response::Have { .. } | Response::Entries { .. } | Response::Bytes { .. } | Response::Stream { .. } => {
                return Err(WireError::Unexpected.into());
            }
        }
        reached("saying", "upload/commit");
        answer = wire.ask(&Request::Commit { upload: id }).await?;
    }
    Err(WireError::Unexpected.into())
}

/// Sends the named parts and waits until each is acked: gone is not arrived (T26).
async fn send_missing(
    wire: &Wire,
    spool: &Spool,
    group: &SpooledGroup,
    chunks: &[u32],
    blobs: &[u32],
    acks: &mut mpsc::Receiver<Address>,
) -> Result<(), Trouble> {
    let mut due = BTreeSet::new();
    for (kind, indices, addresses) in [(ChunkKind::Body, chunks, &group.chunks), (ChunkKind::Shares, blobs, &group.blobs)] {
        for &index in indices {
            let address = usize::try_from(index).ok().and_then(|i| addresses.get(i)).copied().ok_or(WireError::Unexpected)?;
            send_part(wire, spool, kind, index, address, upload_id(&group.header)).await?;
            due.insert(address);
            while let Ok(address) = acks.try_recv() {
                due.remove(&address);
            }
        }
    }
    while !due.is_empty() {
        let acked = tokio::time::timeout(ACK, acks.recv()).await.map_err(|_| WireError::TimedOut)?;
        due.remove(&acked.ok_or(WireError::NoAnswer)?);
    }
    Ok(())
}

async fn send_part(wire: &Wire, spool: &Spool, kind: ChunkKind, index: u32, address: Address, upload: UploadId) -> Result<(), Trouble> {
    let bytes = spool.part(address)?;
    let length = u32::try_from(bytes.len()).map_err(|_| WireError::Unexpected)?;
    wire.part(&ChunkHeader { kind, index, length, upload, address }, &bytes).await?;
    tracing::debug!(index, bytes = length, "sent a part");
    reached("said", "upload/part");
    Ok(())
}
