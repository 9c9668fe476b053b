//! Where things lie in the server's directory (transport-storage.md S2).

use protocol::ids::{Address, HeaderDigest, RoundId, Sha256, SnapshotDigest, TaskId};
use protocol::plan::Plan;
use std::path::{Path, PathBuf};

/// The server's directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }
    pub(crate) fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }
    /// The log while it is recovered, before it takes the place of the old one.
    pub(crate) fn recovering(&self) -> PathBuf {
        self.0.join("audit.recovering")
    }
    /// Where the log of so many entries that was there before a recovery is kept.
    pub(crate) fn kept_log(&self, entries: u64) -> PathBuf {
        let name = |again: u32| self.0.join(format!("audit.before-recovery-{entries}-{again}"));
        (0..u32::MAX).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(u32::MAX))
    }
    /// Notes that this log's key signed and this log contradicts, for ever (A32).
    pub(crate) fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
    pub(crate) fn trust(&self) -> PathBuf {
        self.audit().join("trust.json")
    }
    pub(crate) fn artefact(&self, hash: &Sha256) -> PathBuf {
        let hex = hash.to_hex();
        self.audit().join("artefacts").join(&hex[..2]).join(&hex)
    }
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(name)
    }
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
    pub(crate) fn address(&self) -> PathBuf {
        self.0.join("address")
    }
    pub(crate) fn part(&self, address: &Address) -> PathBuf {
        let hex = address.to_hex();
        self.0.join("chunks").join(&hex[..2]).join(&hex)
    }
    /// Chunk addresses of an accepted update in order, one on each line: where an auditor looks for them (audit.md A37).
    pub(crate) fn chunk_list(&self, header: &HeaderDigest) -> PathBuf {
        let hex = header.to_hex();
        self.0.join("chunks").join(&hex[..2]).join(format!("{hex}.list"))
    }
    pub(crate) fn chunks(&self) -> PathBuf {
        self.0.join("chunks")
    }
    /// A snapshot; the ending is that of its plan.
    pub(crate) fn snapshot(&self, digest: &SnapshotDigest, ending: &str) -> PathBuf {
        self.0.join("models").join(format!("{}.{ending}", digest.to_hex()))
    }
    /// Where the snapshot of this digest lies, whichever task it is of.
    pub(crate) fn kept_snapshot(&self, digest: &SnapshotDigest) -> Option<PathBuf> {
        [Plan::WEIGHTS, Plan::KNOWN].into_iter().map(|ending| self.snapshot(digest, ending)).find(|path| path.is_file())
    }
    /// Strategy state after a round, where the strategy remembers: momentum, derived from opened sums only.
    pub(crate) fn strategy(&self, task: &TaskId, snapshot: &SnapshotDigest) -> PathBuf {
        self.0.join("models").join(format!("{}-{}.strategy", task.to_hex(), snapshot.to_hex()))
    }
    /// Sums of a round while they are made, in files without names; and what came of them.
    pub(crate) fn sums(&self) -> PathBuf {
        self.0.join("sums")
    }
    /// Opened sums of a round, as the value digest hashes them: public once opened.
    pub(crate) fn opened(&self, task: &TaskId, round: RoundId) -> PathBuf {
        self.sums().join(task.to_hex()).join(format!("{:08}.json", round.0))
    }
    /// What a task that counts knows after a round: public once opened, and the bytes of the round's snapshot.
    pub(crate) fn counted(&self, task: &TaskId, round: RoundId) -> PathBuf {
        self.counts().join(task.to_hex()).join(format!("{:08}.json", round.0))
    }
    pub(crate) fn counts(&self) -> PathBuf {
        self.0.join("counts")
    }
    /// Directories besides the log's that a crash may leave half-written files in.
    pub(crate) fn written(&self) -> [PathBuf; 6] {
        ["chunks", "models", "sums", "counts", "keys", "evidence"].map(|name| self.0.join(name))
    }
    pub(crate) fn rounds(&self) -> PathBuf {
        self.0.join("rounds.jsonl")
    }
}
