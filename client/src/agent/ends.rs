//! Rounds that are over and what may be forgotten of them: only once a quorum has seen the end, and never under a preparation that still
//! writes (crypto.md C57, transport-storage.md S12). Knows no file and no connection.

use protocol::ids::{RoundId, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A round of a task.
pub(super) type At = (TaskId, RoundId);

/// Tells a preparation that nobody waits for it any more.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(super) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work is of no use any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ended rounds, and preparations under way.
#[derive(Default)]
pub(super) struct Ends {
    /// Log size at which the round is over.
    ended: BTreeMap<At, u64>,
    preparing: BTreeMap<At, Cancel>,
}

impl Ends {
    /// A preparation begins. Those of other rounds are of no use any more: they end at their next step instead of taking this one's time.
    pub(super) fn begin(&mut self, at: At) -> Cancel {
        self.leave_all_but(Some(at));
        self.preparing.entry(at).or_default().clone()
    }

    /// A preparation has ended, however.
    pub(super) fn done(&mut self, at: At) {
        self.preparing.remove(&at);
    }

    /// Cancels the preparations of all rounds but one.
    pub(super) fn leave_all_but(&mut self, at: Option<At>) {
        self.preparing.iter().filter(|(other, _)| Some(**other) != at).for_each(|(_, cancel)| cancel.cancel());
    }

    /// The log says that a round is over.
    pub(super) fn ended(&mut self, at: At, log_size: u64) {
        self.ended.insert(at, log_size);
    }

    /// Whether some end waits for a checkpoint beyond `published`.
    pub(super) fn waits_beyond(&self, published: u64) -> bool {
        self.ended.values().any(|size| *size > published)
    }

    /// Whether nothing waits to be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    /// Takes the rounds whose end is under a quorum's checkpoint and that nothing writes for.
    pub(super) fn take_covered(&mut self, published: u64) -> Vec<At> {
        let free = |at: &At, size: u64| size <= published && !self.preparing.contains_key(at);
        let covered: Vec<At> = self.ended.iter().filter(|(at, size)| free(at, **size)).map(|(at, _)| *at).collect();
        self.ended.retain(|at, _| !covered.contains(at));
        covered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(round: u64) -> At {
        (TaskId([1; 16]), RoundId(round))
    }

    #[test]
    fn nothing_is_forgotten_before_a_quorum_has_seen_the_end() {
        let mut ends = Ends::default();
        ends.ended(at(1), 10);
        assert!(ends.waits_beyond(9) && !ends.waits_beyond(10));
        assert!(ends.take_covered(9).is_empty());
        assert_eq!(ends.take_covered(10), [at(1)]);
        assert!(ends.is_empty());
    }

    #[test]
    fn a_spool_is_not_cleared_while_it_is_being_written() {
        let mut ends = Ends::default();
        ends.begin(at(1));
        ends.ended(at(1), 10);
        ends.ended(at(2), 10);
        assert_eq!(ends.take_covered(20), [at(2)]);
        ends.done(at(1));
        assert_eq!(ends.take_covered(20), [at(1)]);
    }

    #[test]
    fn a_later_round_cancels_what_is_prepared_for_an_earlier_one() {
        let mut ends = Ends::default();
        let first = ends.begin(at(1));
        assert!(!ends.begin(at(1)).is_cancelled() && !first.is_cancelled(), "asking again for the same round cancels nothing");
        let second = ends.begin(at(2));
        assert!(first.is_cancelled() && !second.is_cancelled());
        ends.leave_all_but(None);
        assert!(second.is_cancelled());
    }
}
