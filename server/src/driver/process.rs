//! What the server tells of itself and of its witnesses (audit.md A19): starts, clocks, room on the disk, witnesses that stay away.

use super::{Driver, DriverError, now};
use crate::presence::News;
use crate::serve::own_hash;
use protocol::entry::{ClockDirection, Draft, Facts};
use protocol::ids::{ClientId, RoundId, Sha256};
use protocol::manifest::Manifest;
use protocol::params::RING_DIMENSION;
use protocol::plan::Plan;
use protocol::time::Time;
use std::path::Path;
use std::time::{Duration, Instant};

/// From here on a clock is said to be wrong: `doctor` warns from there on too (operations.md O13).
const SKEW_MS: u64 = 5_000;
/// How much of what a round may take must be free before it opens (transport-storage.md S11).
const ROUNDS_FREE: u64 = 2;
const MIB: u64 = 1 << 20;

/// The machine's clock beside the time that passes.
pub(super) struct Clock {
    shown: Time,
    at: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { shown: now(), at: Instant::now() }
    }

    /// How far the clock went apart from time since the last look, if that is worth telling.
    fn look(&mut self) -> Option<(ClockDirection, u64)> {
        let (shown, at) = (now(), Instant::now());
        let skew = skew(self.shown, shown, at.saturating_duration_since(self.at));
        (self.shown, self.at) = (shown, at);
        skew
    }
}

fn skew(before: Time, shown: Time, passed: Duration) -> Option<(ClockDirection, u64)> {
    let expected = before.0.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
    let (direction, ms) =
        if shown.0 >= expected { (ClockDirection::Forward, shown.0 - expected) } else { (ClockDirection::Back, expected - shown.0) };
    (ms >= SKEW_MS).then_some((direction, ms))
}

/// Bytes on the disk that a round may take: a packed update of everybody in each group, and eight bytes for each coefficient of its sum (S11).
fn round_bytes(plan: &Plan, round: RoundId, members: &[ClientId]) -> u64 {
    let count = usize::from(plan.robust().random_groups).max(1);
    let each = members.len().div_ceil(count).max(1);
    let mut parts: Vec<Vec<ClientId>> = members.chunks(each).map(<[ClientId]>::to_vec).collect();
    parts.resize(count, Vec::new());
    // A plan without groups opens no round anyway.
    let groups = Manifest::groups_of(plan, round, &parts).unwrap_or_default();
    let bytes = groups.iter().map(|g| {
        let polynomials = g.polynomials().unwrap_or(0);
        let updates = polynomials.saturating_mul(g.packing.polynomial_bytes()).saturating_mul(g.eligible.len() as u64);
        updates.saturating_add(polynomials.saturating_mul(8 * RING_DIMENSION as u64))
    });
    bytes.fold(0, u64::saturating_add)
}

/// Free bytes where `dir` lies; nothing where the system does not say.
fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What is wrong with so much room for a round that may take `round` bytes.
fn too_little(free: u64, round: u64) -> Option<Facts> {
    let needed = round.saturating_mul(ROUNDS_FREE);
    (free < needed).then(|| Facts::ProcessStorageLow { free_mib: free / MIB, needed_mib: needed.div_ceil(MIB) })
}

impl Driver {
    /// `process.started`, with what is other than at the start before.
    pub(super) fn tell_start(&mut self, config: Sha256) -> Result<(), DriverError> {
        let (history, build) = (self.log.history(), own_hash());
        let clean = !history.server_running();
        let mut drafts = vec![Draft::server(Facts::ProcessStarted { build, clean, config })];
        if let [_, Some(before)] = history.starts() {
            let upgraded = (before.build != build).then_some(Facts::ProcessUpgraded { old: before.build, new: build });
            let changed = (before.config != config).then_some(Facts::ProcessConfigChanged { old: before.config, new: config });
            drafts.extend(upgraded.into_iter().chain(changed).map(Draft::server));
        }
        // Entries rise in time whatever the clock shows; that it shows less than they do is worth an entry.
        let behind = self.log.ahead_ms(now());
        if behind >= SKEW_MS {
            drafts.push(Draft::server(Facts::ProcessClockSkew { direction: ClockDirection::Back, ms: behind }));
        }
        self.append(&drafts)?;
        Ok(())
    }

    /// Tells of a clock that was moved.
    pub(super) fn watch_clock(&mut self) -> Result<(), DriverError> {
        let Some((direction, ms)) = self.clock.look() else { return Ok(()) };
        tracing::warn!(?direction, ms, "the machine's clock was moved, or the machine stood still");
        self.append_one(Draft::server(Facts::ProcessClockSkew { direction, ms }))?;
        Ok(())
    }

    /// Tells of witnesses that stay away, and of those that are back.
    pub(super) fn watch_witnesses(&mut self) -> Result<(), DriverError> {
        let history = self.log.history();
        let news = self.publisher.news(now(), |witness| history.is_missing(witness));
        // Nobody is missed whose key was revoked, or who has left: the next policy is without it.
        let gone = |one: &News| matches!(one, News::Missing(witness, _) if history.has_gone(*witness));
        let news: Vec<News> = news.into_iter().filter(|one| !gone(one)).collect();
        for one in news {
            let (witness, facts) = match one {
                News::Missing(witness, size) => (witness, Facts::WitnessMissing { witness, size }),
                News::Returned(witness, size) => (witness, Facts::WitnessReturned { witness, size }),
            };
            let members = self.log.history().members();
            let institution = members.iter().find(|(_, m)| m.has_had(witness)).map(|(id, _)| *id);
            self.append_one(Draft { institution, ..Draft::server(facts) })?;
        }
        Ok(())
    }

    /// Whether the disk has room for the round; tells once when it has not. What it waits for is room, not a restart.
    pub(super) fn has_room(&mut self, plan: &Plan, round: RoundId) -> Result<bool, DriverError> {
        let needed = round_bytes(plan, round, &self.log.history().member_ids());
        let low = free_bytes(self.log.root()).and_then(|free| too_little(free, needed));
        let told = std::mem::replace(&mut self.storage_is_low, low.is_some());
        let Some(facts) = low else { return Ok(true) };
        if !told {
            tracing::error!(round = round.0, ?facts, "the disk has too little room for a round; it waits");
            self.append_one(Draft::server(facts).in_task(plan.task))?;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_apart_from_time_is_told_from_five_seconds_on() {
        let (before, second) = (Time(1_000_000), Duration::from_secs(1));
        let after = |ms: u64| skew(before, Time(ms), second);
        assert_eq!((after(1_001_000), after(1_005_999), after(996_001)), (None, None, None));
        assert_eq!(after(1_006_000), Some((ClockDirection::Forward, 5_000)));
        assert_eq!(after(996_000), Some((ClockDirection::Back, 5_000)));
        assert_eq!(skew(before, Time(0), Duration::MAX), Some((ClockDirection::Back, u64::MAX)));
    }

    #[test]
    fn a_round_needs_room_for_everybodys_update_and_the_sums_twice() {
        let plan = crate::testing::plan("");
        let members: Vec<ClientId> = (0..4).map(|n| ClientId([n; 32])).collect();
        let [three, four] = [3, 4].map(|n| round_bytes(&plan, RoundId(1), &members[..n]));
        let groups = Manifest::groups_of(&plan, RoundId(1), std::slice::from_ref(&members)).unwrap();
        let update: u64 = groups.iter().map(|g| g.polynomials().unwrap() * g.packing.polynomial_bytes()).sum();
        let sums: u64 = groups.iter().map(|g| g.polynomials().unwrap() * 4096 * 8).sum();
        assert_eq!((four - three, four), (update, 4 * update + sums));
        assert_eq!(too_little(2 * four, four), None);
        let low = too_little(2 * four - 1, four);
        assert_eq!(low, Some(Facts::ProcessStorageLow { free_mib: (2 * four - 1) / MIB, needed_mib: (2 * four).div_ceil(MIB) }));
    }

    #[test]
    fn the_disk_says_how_much_is_free() {
        assert!(free_bytes(&std::env::temp_dir()).is_some());
        assert_eq!(free_bytes(Path::new("/nowhere/at/all")), None);
    }
}
