//! What a leaf of the log says (audit.md sections 3 and 4): one JSON line with one spelling. Knows no tree and no tile.

mod common;
mod decision;
mod facts;
mod line;
mod subject;

pub use common::{Actor, Identity, Origin, Outcome};
pub use decision::{Decision, Right, Rule, Ruling, table as rights_table};
pub use facts::{AlarmKind, ClockDirection, EntryKind, Facts};
pub use line::{Draft, EntryError, LogEntry, MAX_ENTRY, Stamp, Stmt};
pub use subject::{Subject, SubjectKind};
