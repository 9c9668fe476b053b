//! A log in memory: entries, their one spelling, and the history that everybody folds. Knows no tree and no file.

use protocol::entry::{Draft, LogEntry, Origin};
use protocol::history::{History, Violation, leaf_hash};
use protocol::ids::{LeafIndex, Sha256};
use protocol::time::Time;

/// Durable entries.
#[derive(Clone)]
pub struct PretendLog {
    entries: Vec<Vec<u8>>,
    history: History,
    micros: u64,
}

/// One entry that has just become durable.
pub struct Appended {
    /// Where.
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Sha256,
    /// What it says, read back from its bytes.
    pub entry: LogEntry,
    /// Rules that it breaks; none, ever.
    pub violations: Vec<Violation>,
}

impl PretendLog {
    /// An empty log.
    pub fn new(history: History) -> Self {
        Self { entries: Vec::new(), history, micros: 0 }
    }

    /// Appends at `now`; time never repeats.
    ///
    /// # Panics
    /// If the machine wrote an entry that cannot be read back.
    pub fn append(&mut self, now: Time, draft: &Draft) -> Appended {
        let seq = self.size();
        self.micros = (now.0 * 1000).max(self.micros + 1);
        let origin = Origin { name: "pretend".into(), version: "0.1.0".into(), build: "pretend".into(), boot_ms: 0 };
        let stamp = self.history.stamp(draft, format!("018f0000-0000-7000-8000-{seq:012x}"), timestamp(self.micros), origin);
        let bytes = LogEntry::new(stamp, draft).to_bytes();
        let entry = LogEntry::parse(&bytes).expect("what a machine drafts can be read");
        let violations = self.history.apply(&bytes);
        let leaf = leaf_hash(&bytes);
        self.entries.push(bytes);
        Appended { index: LeafIndex(seq), leaf, entry, violations }
    }

    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }
    /// Their bytes.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }
    /// The server's own fold.
    pub fn history(&self) -> &History {
        &self.history
    }
    /// The server's own fold, to teach it a plan.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }
}

/// Virtual time on the first day of a pretend year.
fn timestamp(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("2026-01-01T{h:02}:{m:02}:{s:02}.{:06}Z", micros % 1_000_000)
}
