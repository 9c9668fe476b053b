//! Brings the mirror up to a note of the log over the wire. The only room that knows both.

use crate::mirror::{LogNote, Mirror, MirrorError, Wanted};
use crate::wire::{Wire, WireError};
use protocol::reject::Rejection;

/// Most bytes of entries held while one note is followed: 256 MiB, a few hundred thousand entries.
const MAX_PENDING_BYTES: usize = 256 << 20;

/// Why the mirror was not brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SyncError {
    /// The wire.
    #[error("the log could not be fetched")]
    Wire(#[from] WireError),
    /// The mirror.
    #[error("the mirror does not follow")]
    Mirror(#[from] MirrorError),
    /// More than is held at once.
    #[error("the log is too far ahead to be fetched in one go")]
    TooFar,
}

/// Follows the server's latest note, which must cover `at_least` entries. Answers that note's bytes.
pub(crate) async fn catch_up(mirror: &mut Mirror, wire: &Wire, at_least: u64) -> Result<Vec<u8>, SyncError> {
    let bytes = wire.checkpoint().await?;
    let note = mirror.read_note(&bytes)?;
    if note.head().size < at_least {
        return Err(MirrorError::Behind { got: note.head().size, spoken: at_least }.into());
    }
    follow(mirror, wire, &note).await?;
    mirror.observe(&bytes)?;
    Ok(bytes)
}

/// Fetches, stores and folds every entry of the note's tree.
pub(crate) async fn follow(mirror: &mut Mirror, wire: &Wire, note: &LogNote) -> Result<(), SyncError> {
    let missing = mirror.missing_until(note)?;
    if !missing.is_empty() {
        let entries = fetch(wire, missing).await?;
        mirror.append(note, entries)?;
    }
    while let Some(wanted) = mirror.fold()? {
        let fetched = match wanted {
            Wanted::Policy { hash, .. } => wire.artefact(hash).await,
            Wanted::Plan(digest) => wire.plan(digest).await,
        };
        match fetched {
            Ok(bytes) => mirror.supply(wanted, Some(&bytes))?,
            Err(WireError::Rejected(Rejection::Unknown)) => mirror.supply(wanted, None)?,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

async fn fetch(wire: &Wire, range: std::ops::Range<u64>) -> Result<Vec<Vec<u8>>, SyncError> {
    let (mut at, mut entries, mut bytes) = (range.start, Vec::new(), 0usize);
    while at < range.end {
        let page = wire.entries(at, range.end).await?;
        at = at.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
        bytes = page.iter().fold(bytes, |sum, e| sum.saturating_add(e.len()));
        if bytes > MAX_PENDING_BYTES {
            return Err(SyncError::TooFar);
        }
        entries.extend(page);
    }
    Ok(entries)
}
