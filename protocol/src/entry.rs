//! What a leaf of the log says (audit.md sections 3 and 4): one JSON line with one spelling. Knows no tree and no tile.

mod facts;
mod line;

pub use facts::{AlarmKind, EntryKind, Facts, Right};
pub use line::{Actor, Draft, EntryError, LogEntry, MAX_ENTRY, Origin, Outcome, Stamp, Stmt};
