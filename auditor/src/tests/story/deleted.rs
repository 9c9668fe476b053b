//! What is done on the server's host after the task: sealed chunks are deleted on record, in time and otherwise, and a copy of the log is handed out.

use super::super::fixture::head_of;
use super::super::twist::Twist;
use super::{Scribe, TASK};
use protocol::entry::{Actor, Decision, Draft, Facts, Right, Ruling};
use protocol::ids::{RoundId, Sha256};

impl Scribe {
    /// After the task's end.
    pub(super) fn chunks_deleted(&mut self) {
        let told = [Twist::ChunksDeleted, Twist::ChunksDeletedTwice, Twist::ChunksDeletedMiscounted];
        if told.contains(&self.twist) {
            self.delete_chunks(RoundId(1));
        }
        if self.twist == Twist::ChunksDeletedTwice {
            self.delete_chunks(RoundId(1));
        }
    }

    /// A copy of everything so far, or so it says.
    pub(super) fn exported(&mut self) {
        if ![Twist::Exported, Twist::ExportedOfTheFuture, Twist::ExportOfAnotherTree].contains(&self.twist) {
            return;
        }
        let real = Sha256(head_of(&self.entries).root.0);
        let root = if self.twist == Twist::ExportOfAnotherTree { Sha256([83; 32]) } else { real };
        let size = self.entries.len() as u64;
        self.push(Draft::decided(Actor::Administrator, Decision::new(Ruling::Allow, Right::LogExport)));
        let size = if self.twist == Twist::ExportedOfTheFuture { size + 2 } else { size };
        self.push(Draft { actor: Actor::Administrator, ..Draft::server(Facts::AuditExported { size, root }) });
    }

    pub(super) fn delete_chunks(&mut self, round: RoundId) {
        let mut facts = self.history.task(TASK).unwrap().rounds()[&round].sealed_parts().facts();
        if self.twist == Twist::ChunksDeletedMiscounted
            && let Facts::RoundChunksDeleted { bytes, .. } = &mut facts
        {
            *bytes -= 1;
        }
        self.push(Draft::decided(Actor::Administrator, Decision::new(Ruling::Allow, Right::ChunksDelete)).in_task(TASK));
        self.push(Draft { actor: Actor::Administrator, ..Draft::server(facts) }.in_round(TASK, round));
    }
}
