//! How often somebody may do what makes the log grow. Knows no log and no clock.

use protocol::time::Time;
use std::collections::BTreeMap;

pub(crate) const MINUTE_MS: u64 = 60_000;
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What was counted in a minute or an hour, by whom or what it is counted for.
pub(crate) struct Quota<K> {
    length_ms: u64,
    span: u64,
    counts: BTreeMap<K, u32>,
}

impl<K: Ord> Quota<K> {
    pub(crate) fn each(length_ms: u64) -> Self {
        Self { length_ms, span: 0, counts: BTreeMap::new() }
    }

    /// How often it was counted for `key` in the minute or hour of `now`, this time included.
    pub(crate) fn count(&mut self, now: Time, key: K) -> u32 {
        let span = now.0 / self.length_ms.max(1);
        if self.span != span {
            (self.span, self.counts) = (span, BTreeMap::new());
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
        let mut quota = Quota::each(MINUTE_MS);
        let told = [(60_000, 'a'), (70_000, 'a'), (119_999, 'b'), (119_999, 'a')].map(|(at, key)| quota.count(Time(at), key));
        assert_eq!(told, [1, 2, 1, 3]);
        assert_eq!((quota.count(Time(120_000), 'a'), quota.counts.len()), (1, 1), "an old minute takes no memory");
        assert_eq!(quota.count(Time(60_000), 'a'), 1, "a clock that was put back shuts nobody out");
    }
}
