//! Sealed chunks that are deleted on record, in time and otherwise.

use super::super::twist::Twist;
use super::{Scribe, TASK};
use protocol::entry::{Actor, Decision, Draft, Facts, Right, Ruling};
use protocol::ids::RoundId;

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
