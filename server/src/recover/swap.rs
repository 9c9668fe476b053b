//! The end of a recovery: the new directory takes the old one's place, and the log says so. A process that ends in the middle leaves a mark of
//! where it was, and whoever runs the command again goes on from there. Reads no mirror.

use super::{RecoverError, Recovered, Signed, TREE, Unsaid};
use crate::durable;
use crate::edges::reached;
use crate::evidence;
use crate::layout::Layout;
use crate::log::Log;
use audit::hash::Hash;
use audit::tree::TreeHead;
use protocol::entry::{AlarmKind, Draft, Facts};
use protocol::ids::Sha256;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// Lies in a recovered directory until the log says that it was recovered.
const MARK: &str = ".state/recovered";
/// Longest mark: three numbers and a name that we gave.
const MAX_MARK: u64 = 4096;

/// A recovered directory that is whole, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Swap {
    before: u64,
    size: u64,
    root: Sha256,
    /// Name of the directory that keeps the old log; nothing where there was none.
    kept: Option<String>,
}

impl Swap {
    /// Marks the new directory, in which now only the tree file may lack.
    pub(super) fn begin(layout: &Layout, before: u64, head: TreeHead) -> io::Result<Self> {
        let name = |path: PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let kept = if layout.audit().exists() { name(layout.kept_log(before)) } else { None };
        let this = Self { before, size: head.size, root: Sha256(head.root.0), kept };
        durable::replace(&layout.recovering().join(MARK), &serde_json::to_vec(&this)?)?;
        Ok(this)
    }

    /// What a run before this one left to be said, after it finished changing places for it if need be: an old directory that is gone while
    /// the new one is whole (its tree file is the last of it) was moved away a moment before the process ended.
    pub(super) fn left_over(layout: &Layout) -> io::Result<Option<Self>> {
        let (old, new) = (layout.audit(), layout.recovering());
        let cut_in_two = !old.exists() && new.join(TREE).exists();
        let Some(this) = read(&if cut_in_two { new.join(MARK) } else { old.join(MARK) })? else { return Ok(None) };
        if cut_in_two {
            this.change_places(layout)?;
        }
        Ok(Some(this))
    }

    /// What a run before this one left to be said, of a log that is in its place.
    pub(super) fn unsaid(layout: &Layout) -> io::Result<Option<Self>> {
        read(&layout.audit().join(MARK))
    }

    /// Moves the guard, then the directories. The guard moves first: a crash from here on leaves a log that refuses to open until the command
    /// has run again.
    pub(super) fn change_places(&self, layout: &Layout) -> io::Result<()> {
        let (old, new) = (layout.audit(), layout.recovering());
        let head = TreeHead { size: self.size, root: Hash(self.root.0) };
        durable::replace_secret(&layout.key("log-guard"), head.to_string().as_bytes())?;
        if let Some(kept) = self.kept(layout)
            && old.exists()
        {
            std::fs::rename(&old, &kept)?;
            reached("kept", &kept);
        }
        std::fs::rename(&new, &old)?;
        reached("swapped", &old);
        durable::sync_dir(old.parent().unwrap_or(&old))
    }

    fn kept(&self, layout: &Layout) -> Option<PathBuf> {
        Some(layout.audit().with_file_name(self.kept.as_ref()?))
    }

    /// Says in the log that it was recovered, and what could not be said while it refused entries: who had shown more than there was (A32).
    /// The caller has compared all of that with this log.
    ///
    /// # Errors
    /// [`Unsaid`]; whoever comes next says it.
    pub(super) fn say(&self, layout: &Layout, log: &mut Log) -> Result<Recovered, Unsaid> {
        let shown = evidence::kept(layout)?;
        // A longer log has it said already: the process ended after that, and before the mark was gone. Nothing else comes before it.
        if log.size() == self.size {
            let recovered = Facts::ProcessRecovered { before: self.before, size: self.size, root: self.root };
            let alarms = shown.iter().map(|(_, hash, _)| Facts::AuditAlarm { alarm: AlarmKind::Rollback, evidence: *hash });
            let said: Vec<_> = std::iter::once(recovered).chain(alarms).map(Draft::server).collect();
            log.append(&said)?;
        }
        evidence::settle(layout, &shown)?;
        // The last step: after it there is nothing to finish, and a run that finds no mark compares this log with the mirror like any other.
        let mark = layout.audit().join(MARK);
        std::fs::remove_file(&mark)?;
        durable::sync_dir(mark.parent().unwrap_or(&mark))?;
        Ok(Recovered { before: self.before, size: self.size, root: self.root, kept: self.kept(layout).filter(|path| path.exists()) })
    }
}

fn read(mark: &std::path::Path) -> io::Result<Option<Swap>> {
    match durable::read_limited(mark, MAX_MARK) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether everything that was ever signed stands in this log.
pub(super) fn covers(log: &Log, signed: &[Signed]) -> Result<bool, RecoverError> {
    for s in signed {
        if log.root_at(s.head.size).map_err(RecoverError::Log)? != Some(s.head.root) {
            return Ok(false);
        }
    }
    Ok(true)
}
