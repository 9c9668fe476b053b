//! Brings the mirror up to a note of the log over the wire. The only room that knows both.

use crate::mirror::{LogNote, Mirror, MirrorError, Wanted};
use crate::wire::{Wire, WireError};
use protocol::ids::LeafIndex;
use protocol::messages::ClientMessage;
use protocol::reject::Rejection;
use std::time::Duration;

/// Pause between looks at a log that does not show yet what its server spoke of.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks at the log until it shows the entry that a receipt speaks of.
const LOOKS: u32 = 50;
/// Bytes of entries held in memory at once; what is fetched beyond waits on the disk until the root is known. How long a log may be is not
/// limited: it is as long as its key has signed for, and the disk ends it.
const PORTION: usize = 32 << 20;

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
}

impl SyncError {
    /// What no other try mends, a fork or a failure of our own; else the error again: the server's fault, or a matter of time.
    pub(crate) fn lasting(self) -> Result<MirrorError, Self> {
        match self {
            Self::Mirror(e @ (MirrorError::Forked { .. } | MirrorError::RetiredKey { .. } | MirrorError::Store(_) | MirrorError::Edge)) => {
                Ok(e)
            }
            Self::Mirror(_) | Self::Wire(_) => Err(self),
        }
    }
}

/// Where a log comes from.
trait Source {
    /// Entries `from..to`; the answer may stop early but is never empty.
    fn entries(&self, from: u64, to: u64) -> impl Future<Output = Result<Vec<Vec<u8>>, WireError>> + Send;
    /// The root at `old` entries in the tree of `new`, and the consistency proof.
    fn consistency(&self, old: u64, new: u64) -> impl Future<Output = Result<Vec<u8>, WireError>> + Send;
}

impl Source for Wire {
    async fn entries(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>, WireError> {
        Wire::entries(self, from, to).await
    }
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<u8>, WireError> {
        Wire::consistency(self, old, new).await
    }
}

/// The first message of a connection, with the last note that the mirror was brought to and those by which the log's keys handed over.
pub(crate) fn hello(boot: [u8; 16], mirror: &Mirror) -> Result<ClientMessage, MirrorError> {
    let handovers = mirror.handover_notes()?.into_iter().map(Into::into).collect();
    let software = concat!("concordat-client/", env!("CARGO_PKG_VERSION")).to_owned();
    Ok(ClientMessage::Hello { boot, software, note: mirror.last_note()?.into(), handovers })
}

/// Follows the server's latest note, which must cover `at_least` entries. Answers that note's bytes.
pub(crate) async fn catch_up(mirror: &mut Mirror, wire: &Wire, at_least: u64) -> Result<Vec<u8>, SyncError> {
    // Which key signs what comes next is said by what is mirrored.
    fold(mirror, wire).await?;
    let bytes = wire.checkpoint().await?;
    let note = understand(mirror, wire, &bytes).await?;
    if note.head().size < at_least {
        return Err(MirrorError::Behind { got: note.head().size, spoken: at_least }.into());
    }
    follow(mirror, wire, &note).await?;
    mirror.observe(&bytes)?;
    Ok(bytes)
}

/// Reads a note. One that no key known here signed may be by a key that the log has handed over to since: the mirror then follows the notes by
/// which it did so, each signed by a key that is known by then, and reads again (audit.md A14).
pub(crate) async fn understand(mirror: &mut Mirror, wire: &Wire, bytes: &[u8]) -> Result<LogNote, SyncError> {
    loop {
        match mirror.read_note(bytes) {
            Err(MirrorError::BadNote) => {}
            read => return Ok(read?),
        }
        let size = mirror.size();
        let handover = match wire.handover(size).await {
            Err(WireError::Rejected(Rejection::Unknown)) => return Err(MirrorError::BadNote.into()),
            shown => mirror.read_note(&shown?)?,
        };
        if handover.head().size <= size {
            return Err(MirrorError::BadNote.into());
        }
        follow(mirror, wire, &handover).await?;
    }
}

/// Mirrors at least `size` entries that the server spoke of: a log that does not show them yet is looked at again, `looks` times in all.
pub(crate) async fn reach(mirror: &mut Mirror, wire: &Wire, size: u64, looks: u32) -> Result<(), SyncError> {
    for _ in 0..looks {
        if mirror.size() >= size {
            return Ok(());
        }
        match catch_up(mirror, wire, size).await {
            Err(SyncError::Mirror(MirrorError::Behind { .. })) => tokio::time::sleep(PAUSE).await,
            other => return other.map(drop),
        }
    }
    Err(MirrorError::Behind { got: mirror.size(), spoken: size }.into())
}

/// Whether the log has the entry of a server's receipt where that says, once the mirror reaches so far.
pub(crate) async fn shows(mirror: &mut Mirror, wire: &Wire, index: LeafIndex, entry: &[u8]) -> Result<bool, SyncError> {
    reach(mirror, wire, index.0.saturating_add(1), LOOKS).await?;
    Ok(mirror.entry(index)?.is_some_and(|mirrored| mirrored == entry))
}

/// Fetches, stores and folds every entry of the note's tree.
pub(crate) async fn follow(mirror: &mut Mirror, wire: &Wire, note: &LogNote) -> Result<(), SyncError> {
    mirror_up_to(mirror, wire, note, PORTION).await?;
    fold(mirror, wire).await?;
    Ok(mirror.judge_again(note)?)
}

/// Folds every entry that is mirrored, with what it names.
async fn fold(mirror: &mut Mirror, wire: &Wire) -> Result<(), SyncError> {
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

/// Fetches and stores what is missing, `portion` bytes at a time.
async fn mirror_up_to(mirror: &mut Mirror, source: &impl Source, note: &LogNote, portion: usize) -> Result<(), SyncError> {
    if mirror.missing_until(note)?.is_empty() {
        return Ok(());
    }
    match fetch(mirror, source, note, portion).await {
        Err(SyncError::Mirror(MirrorError::BadEntries { .. })) => {
            // A wrong page and another history look the same from here. Only a proof against our own head accuses the log.
            let shown = source.consistency(mirror.size(), note.head().size).await.unwrap_or_default();
            Err(mirror.contradicted(note, &shown)?.into())
        }
        done => done,
    }
}

async fn fetch(mirror: &mut Mirror, source: &impl Source, note: &LogNote, portion: usize) -> Result<(), SyncError> {
    let end = note.head().size;
    let mut at = mirror.fetched(end);
    let (mut entries, mut bytes) = (Vec::new(), 0usize);
    while at < end {
        let page = source.entries(at, end).await?;
        at = at.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
        bytes = page.iter().fold(bytes, |sum, e| sum.saturating_add(e.len()));
        entries.extend(page);
        if bytes >= portion && at < end {
            mirror.stage(std::mem::take(&mut entries))?;
            bytes = 0;
        }
    }
    Ok(mirror.append(note, entries)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, TestLog, case};
    use audit::merkle::{prove_consistency, range_root};
    use audit::reader::TileHashes;
    use std::sync::Mutex;

    /// Bytes of a portion in these tests; entries have about 330 bytes.
    const SMALL: usize = 40_000;

    /// A server with a log at hand, which may lie about one entry and may break off.
    struct Server<'a> {
        log: &'a TestLog,
        /// Index of an entry that comes altered.
        lies_at: Option<u64>,
        /// Pages that come before the line breaks.
        pages: Mutex<u32>,
        /// Indices that were asked for.
        asked: Mutex<Vec<u64>>,
        /// Whether it gives consistency proofs.
        proves: bool,
    }

    impl<'a> Server<'a> {
        fn new(log: &'a TestLog) -> Self {
            Self { log, lies_at: None, pages: Mutex::new(u32::MAX), asked: Mutex::default(), proves: true }
        }
    }

    impl Source for Server<'_> {
        async fn entries(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>, WireError> {
            let left = self.pages.lock().unwrap().checked_sub(1).ok_or(WireError::NoAnswer)?;
            *self.pages.lock().unwrap() = left;
            self.asked.lock().unwrap().push(from);
            // As the server does: never beyond a bundle.
            let to = to.min((from / 256 + 1) * 256);
            let entry = |n: u64| {
                let entry = self.log.entries[usize::try_from(n).unwrap()].clone();
                if self.lies_at == Some(n) { [entry, b" ".to_vec()].concat() } else { entry }
            };
            Ok((from..to).map(entry).collect())
        }

        async fn consistency(&self, old: u64, new: u64) -> Result<Vec<u8>, WireError> {
            if !self.proves {
                return Err(WireError::Rejected(Rejection::Unknown));
            }
            let tiles = self.log.tiles();
            let hashes = TileHashes::new(&tiles, new);
            let root = range_root(&hashes, 0, old).unwrap();
            let proof = prove_consistency(&hashes, old, new).unwrap();
            Ok(std::iter::once(&root).chain(&proof.0).flat_map(|h| h.0).collect())
        }
    }

    fn up_to(mirror: &mut Mirror, server: &Server<'_>) -> Result<(), SyncError> {
        let note = mirror.read_note(&server.log.note()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(mirror_up_to(mirror, server, &note, SMALL))
    }

    fn whole(c: &Case) {
        let again = Mirror::open(&c.home).unwrap();
        assert_eq!((again.size(), again.history().size()), (c.log.entries.len() as u64, c.log.entries.len() as u64));
        for (n, entry) in (0..).zip(&c.log.entries).step_by(97) {
            assert_eq!(again.entry(protocol::ids::LeafIndex(n)).unwrap().as_ref(), Some(entry));
        }
    }

    #[test]
    fn a_log_many_times_larger_than_a_portion_is_followed() {
        let mut c = case();
        c.log.grow(3 + 3 * 256, 1);
        let bytes: usize = c.log.entries.iter().map(Vec::len).sum();
        assert!(bytes > 3 * SMALL, "{bytes} bytes are three portions and more");
        up_to(&mut c.mirror, &Server::new(&c.log)).unwrap();
        assert_eq!(c.mirror.size(), 3 + 3 * 256);
        assert_eq!(c.mirror.fold().unwrap(), None);
        assert_eq!(c.mirror.history().size(), c.mirror.size());
        assert!(!c.home.incoming().exists(), "nothing waits any more");
        whole(&c);
        // And goes on from there, in portions and without.
        for more in [5, 700] {
            c.log.grow(more, 1);
            up_to(&mut c.mirror, &Server::new(&c.log)).unwrap();
            assert_eq!(c.mirror.fold().unwrap(), None);
            assert_eq!(c.mirror.history().size(), c.mirror.size());
        }
        whole(&c);
    }

    #[test]
    fn what_was_fetched_before_a_line_broke_is_not_fetched_again() {
        let mut c = case();
        c.log.grow(1000, 1);
        let server = Server { pages: Mutex::new(3), ..Server::new(&c.log) };
        assert!(matches!(up_to(&mut c.mirror, &server), Err(SyncError::Wire(_))));
        assert_eq!(c.mirror.size(), 0, "nothing counts before its root is known");
        let more = Server::new(&c.log);
        up_to(&mut c.mirror, &more).unwrap();
        assert!(more.asked.lock().unwrap().iter().all(|from| *from >= 512), "{:?}", more.asked);
        whole(&c);
    }

    #[test]
    fn a_wrong_page_is_refused_whoever_sent_it_and_accuses_nobody() {
        for lies_at in [2, 300, 900, 999] {
            let mut c = case();
            c.log.grow(10, 1);
            up_to(&mut c.mirror, &Server::new(&c.log)).unwrap();
            c.log.grow(990, 1);
            let lies_at = lies_at.max(10);
            for proves in [true, false] {
                let server = Server { lies_at: Some(lies_at), proves, ..Server::new(&c.log) };
                let refused = up_to(&mut c.mirror, &server);
                assert!(matches!(refused, Err(SyncError::Mirror(MirrorError::BadEntries { size: 1000 }))), "{refused:?}");
                assert_eq!(c.mirror.size(), 10);
                assert!(c.home.unproved_note().exists(), "the note that nothing gave is there to be compared elsewhere");
            }
            // The same institution, also after a restart, follows whoever sends the right ones.
            c.mirror = Mirror::open(&c.home).unwrap();
            up_to(&mut c.mirror, &Server::new(&c.log)).unwrap();
            whole(&c);
        }
    }

    #[test]
    fn a_longer_history_that_parts_from_ours_is_a_fork_as_soon_as_it_is_proved() {
        let mut c = case();
        c.log.grow(10, 1);
        up_to(&mut c.mirror, &Server::new(&c.log)).unwrap();
        let mut other = TestLog::new();
        other.grow(600, 2);
        let silent = Server { proves: false, ..Server::new(&other) };
        let refused = up_to(&mut c.mirror, &silent);
        assert!(matches!(refused, Err(SyncError::Mirror(MirrorError::BadEntries { size: 600 }))), "{refused:?}");
        let refused = up_to(&mut c.mirror, &Server::new(&other));
        assert!(matches!(refused, Err(SyncError::Mirror(MirrorError::Forked { size: 600 }))), "{refused:?}");
        assert!(matches!(Mirror::open(&c.home), Err(MirrorError::Forked { .. })));
        let proof = std::fs::read(c.home.evidence().join("00000000000000000010-fork.json")).unwrap();
        let proof: serde_json::Value = serde_json::from_slice(&proof).unwrap();
        assert_eq!((&proof["format"], &proof["size"]), (&"concordat-fork/v1".into(), &10.into()));
        assert_eq!(proof["first"].as_str().map(str::as_bytes), Some(&*c.log.note()));
        assert_eq!(proof["second"].as_str().map(str::as_bytes), Some(&*other.note()));
    }
}
