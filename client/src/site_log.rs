//! The institution's site log on disk (audit.md A27): one line appended, synced, and only then believed. A line that a crash cut short goes;
//! whole lines never change. Its RFC 6962 root is anchored in the federation's log. Knows no connection.

use crate::clock::now;
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use audit::hash::leaf_hash;
use audit::tree::{CompactRange, TreeHead};
use privacy::ledger::SeenRelease;
use protocol::entry::{Facts, LogEntry};
use protocol::ids::{LeafIndex, Sha256, TaskId};
use protocol::manifest::Header;
use protocol::release::SiteAnchor;
use protocol::site::{SiteEntry, SiteFacts};
use protocol::statement::Payload as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// Longest site log: millions of lines, far more than rounds.
pub(crate) const MAX_FILE: usize = 512 << 20;

/// Scalar releases with their datasets, in the log's order.
type Releases = Vec<(Sha256, SeenRelease)>;

/// The log, open for appending.
pub(crate) struct SiteLog {
    file: File,
    range: CompactRange,
    /// Scalar releases that it shows, with their datasets: the ledger is compared with them (privacy.md D65).
    releases: Releases,
}

impl SiteLog {
    /// Opens the log; what follows the last whole line is cut off.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a whole line is no entry at its place: the log was altered, and the process ends.
    pub(crate) fn open(home: &Home) -> Result<Self, StoreError> {
        let path = home.site_log();
        let write = |e| StoreError::Write(Item::SiteLog, e);
        if let Some(parent) = path.parent() {
            files::make_dir(parent, Item::SiteLog)?;
        }
        let bytes = files::read_if_there(&path, MAX_FILE, Item::SiteLog)?.unwrap_or_default();
        let (whole, range, releases) = parse(&bytes)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(write)?;
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(write)?;
        }
        if let Some(parent) = path.parent() {
            files::sync_dir(parent, Item::SiteLog)?;
        }
        Ok(Self { file, range, releases })
    }

    /// Appends what happened; durable when this returns.
    pub(crate) fn append(&mut self, facts: SiteFacts) -> Result<(), StoreError> {
        let ts = i64::try_from(now().0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        let seq = self.range.size();
        let release = SeenRelease::of(seq, &facts);
        let line = SiteEntry { v: 1, seq, ts: format!("{ts:.3}"), facts }.to_bytes();
        let write = |e: io::Error| StoreError::Write(Item::SiteLog, e);
        self.file.write_all(&[&line[..], b"\n"].concat()).and_then(|()| self.file.sync_data()).map_err(write)?;
        self.range.push(leaf_hash(&line));
        self.releases.extend(release);
        Ok(())
    }

    /// Scalar releases that it shows, with their datasets.
    pub(crate) fn releases(&self) -> &[(Sha256, SeenRelease)] {
        &self.releases
    }

    /// Size and root.
    pub(crate) fn head(&self) -> TreeHead {
        self.range.head()
    }

    /// The anchor that is due after those that the log holds; nothing where nothing was added.
    pub(crate) fn due(&self, anchored: &[(LeafIndex, SiteAnchor)]) -> Option<SiteAnchor> {
        let head = self.head();
        let last = anchored.last().map_or(0, |(_, a)| a.size);
        (head.size > last).then_some(SiteAnchor { size: head.size, root: Sha256(head.root.0) })
    }
}

/// Scalar releases of one dataset.
pub(crate) fn releases_of(releases: &[(Sha256, SeenRelease)], dataset: Sha256) -> Vec<SeenRelease> {
    releases.iter().filter(|(of, _)| *of == dataset).map(|(_, seen)| seen.clone()).collect()
}

/// The releases of the log in a directory, for commands that change nothing; none where there is no log.
///
/// # Errors
/// [`StoreError::Damaged`] if a whole line is no entry at its place.
pub(crate) fn read_releases(home: &Home) -> Result<Releases, StoreError> {
    let bytes = files::read_if_there(&home.site_log(), MAX_FILE, Item::SiteLog)?.unwrap_or_default();
    parse(&bytes).map(|(_, _, releases)| releases)
}

/// Hashes of the site policies under which a task was taken on, each time that a process began to take part in it.
///
/// # Errors
/// [`StoreError::Damaged`] if a whole line is no entry at its place.
pub(crate) fn read_policies(home: &Home, task: TaskId) -> Result<Vec<Sha256>, StoreError> {
    let bytes = files::read_if_there(&home.site_log(), MAX_FILE, Item::SiteLog)?.unwrap_or_default();
    let whole = &bytes[..parse(&bytes)?.0];
    let taken_on = |line: &[u8]| match SiteEntry::parse(line).ok()?.facts {
        SiteFacts::PolicyDecided { task: of, policy, code: 0, .. } if of == task => Some(policy),
        SiteFacts::PolicyDecided { .. } | SiteFacts::TrainingAccepted { .. } | SiteFacts::ReleasePaid { .. } => None,
    };
    Ok(whole.split(|b| *b == b'\n').filter_map(taken_on).collect())
}

/// The bytes of whole lines, each an entry at its place; what follows the last one is no line.
pub(crate) fn parse(bytes: &[u8]) -> Result<(usize, CompactRange, Releases), StoreError> {
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let (mut range, mut releases) = (CompactRange::new(), Vec::new());
    for line in bytes[..whole].split_inclusive(|b| *b == b'\n') {
        let line = &line[..line.len() - 1];
        let entry = SiteEntry::parse(line).ok().filter(|e| e.seq == range.size()).ok_or(StoreError::Damaged(Item::SiteLog))?;
        releases.extend(SeenRelease::of(entry.seq, &entry.facts));
        range.push(leaf_hash(line));
    }
    Ok((whole, range, releases))
}

/// What an accepted update is for the site log: everything in it the institution signed itself.
pub(crate) fn acceptance(index: LeafIndex, bytes: &[u8]) -> Option<SiteFacts> {
    let entry = LogEntry::parse(bytes).ok()?;
    let Facts::UpdateAccepted { header, .. } = entry.facts else { return None };
    let said: Header = protocol::codec::decode(&entry.stmt?.payload_bytes().ok()?, Header::LIMIT).ok()?;
    let (task, round, group, spend) = (entry.task?, entry.round?, entry.group?, said.core.spend);
    let (ledger_counter, ledger_head) = (spend.ledger_counter, spend.ledger_head);
    Some(SiteFacts::TrainingAccepted { task, round, group, header, entry: index, ledger_counter, ledger_head })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::PlanDigest;

    fn facts(code: u16) -> SiteFacts {
        SiteFacts::PolicyDecided { task: TaskId([1; 16]), plan: PlanDigest([2; 32]), policy: Sha256([3; 32]), code }
    }

    #[test]
    fn lines_come_back_and_a_torn_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let mut log = SiteLog::open(&home).unwrap();
        assert_eq!((log.head(), log.due(&[])), (TreeHead::empty(), None));
        log.append(facts(0)).unwrap();
        log.append(facts(15)).unwrap();
        let head = log.head();
        let whole = std::fs::read(home.site_log()).unwrap();
        for torn in 0..30 {
            std::fs::write(home.site_log(), [&whole[..], &whole[..torn]].concat()).unwrap();
            assert_eq!(SiteLog::open(&home).unwrap().head(), head, "{torn} bytes of a line that never ended");
            assert_eq!(std::fs::read(home.site_log()).unwrap(), whole);
        }
        let anchor = log.due(&[]).unwrap();
        assert_eq!((anchor.size, log.due(&[(LeafIndex(9), anchor)])), (2, None));
    }

    #[test]
    fn a_log_that_was_altered_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let mut log = SiteLog::open(&home).unwrap();
        (0..3).for_each(|code| log.append(facts(code)).unwrap());
        let text = std::fs::read_to_string(home.site_log()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let swapped = format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]);
        for bad in [swapped, format!("{}\n{}\n", lines[0], lines[2]), text.replacen("\"code\":1", "\"code\": 1", 1)] {
            std::fs::write(home.site_log(), bad).unwrap();
            assert!(matches!(SiteLog::open(&home), Err(StoreError::Damaged(Item::SiteLog))));
        }
    }
}
