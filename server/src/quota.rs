//! How often somebody may do what makes the log grow. Knows no log and no clock.

use protocol::time::Time;
use std::collections::BTreeMap;

/// What was counted in one minute, by whom or what it is counted for.
pub(crate) struct PerMinute<K> {
    minute: u64,
    counts: BTreeMap<K, u32>,
}

impl<K: Ord> PerMinute<K> {
    pub(crate) fn new() -> Self {
        Self { minute: 0, counts: BTreeMap::new() }
    }

    /// How often it was counted for `key` in the minute of `now`, this time included.
    pub(crate) fn count(&mut self, now: Time, key: K) -> u32 {
        let minute = now.0 / 60_000;
        if self.minute != minute {
            (self.minute, self.counts) = (minute, BTreeMap::new());
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_apart_and_anew_with_each_minute() {
        let mut quota = PerMinute::new();
        let told: Vec<u32> = [(60_000, 'a'), (70_000, 'a'), (119_999, 'b'), (119_999, 'a')].map(|(at, k)| quota.count(Time(at), k)).into();
        assert_eq!(told, [1, 2, 1, 3]);
        assert_eq!((quota.count(Time(120_000), 'a'), quota.counts.len()), (1, 1), "an old minute takes no memory");
        assert_eq!(quota.count(Time(60_000), 'a'), 1, "a clock that was put back shuts nobody out");
    }
}
