//! What a check can find. Knows nothing of how it is found.

use std::fmt;

use crate::hash::Hash;
use crate::policy::OpenError;
use crate::tile::BundleError;

/// Findings kept in full; the rest is counted. A broken log of any size still makes a report that fits in memory.
pub const MAX_FINDINGS: usize = 10_000;

/// The check of A35 that a finding belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// 2: notes, signatures, quorum, order.
    Notes,
    /// 3: entries and tiles.
    Tiles,
    /// 3 and 4: roots that notes state.
    Roots,
}

/// Where a finding is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A path of the directory.
    Path(String),
    /// An entry.
    Entry(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Entry(index) => write!(f, "entry {index}"),
        }
    }
}

/// How bad a finding is, worst last (A38).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is not covered or not cosigned enough, but nothing contradicts anything.
    Incomplete,
    /// Something contradicts something that was signed, or is gone.
    Integrity,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct Finding {
    /// The check it belongs to.
    pub check: Check,
    /// Where.
    pub place: Place,
    /// What.
    #[source]
    pub fault: Fault,
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match &self.fault {
            Fault::BelowQuorum { .. } | Fault::Beyond { .. } => Severity::Incomplete,
            Fault::Missing
            | Fault::Unexpected
            | Fault::WrongLength { .. }
            | Fault::Bundle(_)
            | Fault::Leaf { .. }
            | Fault::Tile { .. }
            | Fault::Note(_)
            | Fault::NoPolicy { .. }
            | Fault::WrongSize { .. }
            | Fault::TimeFell { .. }
            | Fault::Behind { .. }
            | Fault::Root { .. }
            | Fault::Unreachable { .. } => Severity::Integrity,
        }
    }
}

/// What does not hold: expected and got.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A file that the tree needs is not there.
    #[error("missing")]
    Missing,
    /// A file or directory that has no place in a log.
    #[error("has no place in a log")]
    Unexpected,
    /// A tile that reaches beyond the newest known tree.
    #[error("reaches beyond the newest known tree of size {size}")]
    Beyond {
        /// Size of the newest tree known.
        size: u64,
    },
    /// A tile with the wrong number of bytes.
    #[error("expected {expected} bytes, got {got}")]
    WrongLength {
        /// Bytes that the name asks for.
        expected: usize,
        /// Bytes found; reading stops one past the limit.
        got: usize,
    },
    /// A bundle that cannot be decoded.
    #[error("the bundle cannot be decoded")]
    Bundle(#[source] BundleError),
    /// An entry that does not hash to its place in the level-0 tile.
    #[error("expected leaf hash {expected}, got {got}")]
    Leaf {
        /// Hash in the level-0 tile.
        expected: Hash,
        /// Hash of the entry.
        got: Hash,
    },
    /// A tile that differs from what lies below it.
    #[error("hash {position} of the tile: expected {expected}, got {got}")]
    Tile {
        /// Position in the tile.
        position: usize,
        /// Hash recomputed.
        expected: Hash,
        /// Hash in the file.
        got: Hash,
    },
    /// A note that is not believed.
    #[error("the note is not believed")]
    Note(#[source] OpenError),
    /// No policy is in force at this size.
    #[error("no policy is in force at size {size}")]
    NoPolicy {
        /// The size.
        size: u64,
    },
    /// Fewer witnesses than policy or caller ask for.
    #[error("{cosigners} cosigners are below the quorum")]
    BelowQuorum {
        /// Cosigners of the policy that signed.
        cosigners: usize,
    },
    /// A note whose size is not the one in its name.
    #[error("expected a note of size {expected}, got {got}")]
    WrongSize {
        /// Size in the name.
        expected: u64,
        /// Size in the note.
        got: u64,
    },
    /// A witness whose time fell while the log grew.
    #[error("the time of witness {witness} fell from {before} to {after}")]
    TimeFell {
        /// The public key of the witness, in base64.
        witness: String,
        /// Time under the smaller tree, in seconds since 1970.
        before: u64,
        /// Time under this one.
        after: u64,
    },
    /// A checkpoint that is older than a retained note.
    #[error("the latest checkpoint has size {got}, but a note of size {newest} is retained")]
    Behind {
        /// Size of the newest note.
        newest: u64,
        /// Size of the checkpoint.
        got: u64,
    },
    /// A stated root that is not the recomputed one.
    #[error("size {size}: expected root {expected}, got {got}")]
    Root {
        /// The size.
        size: u64,
        /// Root in the note.
        expected: Hash,
        /// Root recomputed from the entries.
        got: Hash,
    },
    /// A stated root that cannot be recomputed, because entries and tiles end before it.
    #[error("size {size} cannot be recomputed: entries end at {got}")]
    Unreachable {
        /// Size stated.
        size: u64,
        /// Entries that could be read.
        got: u64,
    },
}

/// The findings so far, bounded.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    pub(super) omitted: u64,
}

impl Findings {
    pub(super) fn add(&mut self, check: Check, place: Place, fault: Fault) {
        if self.list.len() < MAX_FINDINGS {
            self.list.push(Finding { check, place, fault });
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    pub(super) fn at_path(&mut self, check: Check, path: impl fmt::Display, fault: Fault) {
        self.add(check, Place::Path(path.to_string()), fault);
    }
}
