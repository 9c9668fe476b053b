//! The check of a whole log directory: notes, entries, tiles and every older root (A35, checks 2 to 4). Streams; its memory
//! holds one bundle, the right edge and the list of notes. Knows no meaning of an entry: it hands each to the caller.

mod finding;
mod notes;
mod strays;
mod tiles;

use std::collections::BTreeMap;

use finding::Findings;
pub use finding::{Check, Fault, Finding, MAX_FINDINGS, Place, Severity};
use notes::Claim;

use crate::policy::Policy;
use crate::reader::LogReader;
use crate::strict::{Judge, Strict};
use crate::tree::{CompactRange, TreeHead};

/// What the caller believes already.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Each policy by the tree size from which it holds (A12). The caller has compared their hashes with the log's entries.
    pub policies: BTreeMap<u64, Policy>,
    /// Cosigners that a note must have besides its policy's quorum; 0 leaves it to the policy.
    pub min_cosigners: usize,
    /// The head that a live server has committed but not yet published: tiles are then checked up to it. `None` elsewhere,
    /// and files beyond the newest note are findings.
    pub tip: Option<TreeHead>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Everything that does not hold, in the order found; empty if all holds.
    pub findings: Vec<Finding>,
    /// Findings beyond [`MAX_FINDINGS`], counted only.
    pub omitted: u64,
    /// The tree recomputed from entries and tiles.
    pub computed: TreeHead,
    /// The head that `checkpoint` states, if the log signed it.
    pub checkpoint: Option<TreeHead>,
    /// Retained notes that the log signed.
    pub notes: u64,
    /// Entries handed to the caller.
    pub entries: u64,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The worst finding's severity.
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(Finding::severity).max()
    }
}

/// Checks a log directory and hands each entry that can be decoded to `on_entry`, in order of index.
///
/// # Errors
/// Only what the reader reports; whatever is wrong with the log is a [`Finding`].
///
/// # Security
/// Every byte of the directory may be an attacker's. A truncation that drops newer notes too, and is signed again by the log,
/// is not visible in one directory: it takes a second note to compare with (A49).
pub fn check<R: LogReader>(reader: &R, trust: &Trust, on_entry: impl FnMut(u64, &[u8])) -> Result<Report, R::Error> {
    check_judged(reader, trust, &mut Strict::new(), on_entry)
}

/// [`check()`], with somebody else to judge signatures.
///
/// # Errors
/// As [`check()`].
pub fn check_judged<R: LogReader>(
    reader: &R,
    trust: &Trust,
    judge: &mut dyn Judge,
    on_entry: impl FnMut(u64, &[u8]),
) -> Result<Report, R::Error> {
    let mut findings = Findings::default();
    let mut opened = notes::open_all(reader, trust, judge, &mut findings)?;
    opened.claims.extend(trust.tip.map(|head| Claim { place: Place::Path(".state/tree".to_owned()), head }));
    opened.claims.sort_by_key(|c| c.head.size);
    let size = opened.claims.last().map_or(0, |c| c.head.size);
    let mut run = tiles::Run::new(reader, size, &opened.claims, &mut findings, on_entry);
    run.stream()?;
    let (computed, entries): (CompactRange, u64) = run.finish();
    strays::find_unexpected(reader, size, &mut findings)?;
    Ok(Report {
        findings: findings.list,
        omitted: findings.omitted,
        computed: computed.head(),
        checkpoint: opened.checkpoint,
        notes: opened.notes,
        entries,
    })
}

#[cfg(test)]
mod tests;
