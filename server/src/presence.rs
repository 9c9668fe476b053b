//! Which witnesses are shown notes in vain (audit.md A19). Knows no log, no signature and no clock.

use protocol::ids::Sha256;
use protocol::time::Time;

/// How long a witness may leave a note without an answer before it counts as missing: as long as a quorum may (A33).
const AWAY_MS: u64 = 15 * 60_000;

/// What one witness owes, since the process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    /// SHA-256 of its key as tlog-policy writes it.
    witness: Sha256,
    /// Since when a note waits for it.
    since: Option<Time>,
    /// The largest tree that it cosigned.
    size: u64,
}

/// What the log should be told of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is missing.
    Missing(Sha256, u64),
    /// It is back.
    Returned(Sha256, u64),
}

impl Presence {
    pub(crate) fn new(witness: Sha256) -> Self {
        Self { witness, since: None, size: 0 }
    }

    /// A note is shown to it.
    pub(crate) fn shown(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// It cosigned a tree of this size; an older one answers nothing.
    pub(crate) fn cosigned(&mut self, size: u64) {
        if size > self.size {
            (self.since, self.size) = (None, size);
        }
    }

    /// What is new about it, for a log that knows whether it is missing.
    pub(crate) fn news(&self, now: Time, is_missing: impl Fn(&Sha256) -> bool) -> Option<News> {
        let away = self.since.is_some_and(|since| now.ms_since(since) >= AWAY_MS);
        let back = self.since.is_none() && self.size > 0;
        if away && !is_missing(&self.witness) {
            return Some(News::Missing(self.witness, self.size));
        }
        (back && is_missing(&self.witness)).then_some(News::Returned(self.witness, self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_missing_after_a_note_waited_for_it_and_back_when_it_cosigns() {
        let (witness, at) = (Sha256([1; 32]), |minutes: u64| Time(minutes * 60_000));
        let (here, gone) = (|_: &Sha256| false, |_: &Sha256| true);
        let mut s = Presence::new(witness);
        assert_eq!(s.news(at(100), here), None, "nothing was shown to it");
        s.shown(at(100));
        s.shown(at(110));
        assert_eq!(s.news(at(114), here), None);
        assert_eq!(s.news(at(115), here), Some(News::Missing(witness, 0)), "later notes do not start the time again");
        assert_eq!(s.news(at(116), gone), None, "it is told once");
        s.cosigned(7);
        assert_eq!((s.news(at(117), gone), s.news(at(117), here)), (Some(News::Returned(witness, 7)), None));
        s.shown(at(118));
        s.cosigned(7);
        assert_eq!(s.news(at(133), here), Some(News::Missing(witness, 7)), "a note that it cosigned before is no answer");
    }

    #[test]
    fn after_a_restart_a_missing_witness_is_not_called_back_before_it_cosigns() {
        let mut s = Presence::new(Sha256([1; 32]));
        assert_eq!(s.news(Time(0), |_| true), None);
        s.shown(Time(1));
        assert_eq!(s.news(Time(2), |_| true), None);
        s.cosigned(9);
        assert_eq!(s.news(Time(3), |_| true), Some(News::Returned(Sha256([1; 32]), 9)));
    }
}
