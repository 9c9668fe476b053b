//! What the demo may see because all institutions are its own: integers, seconds and bytes, written beside each institution, in a
//! directory that the demo deletes. `concordat-client` itself has no such eye.

use client::observer::{Observer, Phase};
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, RoundId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// One line that an institution's process writes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Seen {
    Phase { round: u64, phase: String, seconds: f64 },
    Integers { round: u64, group: u32, shards: BTreeMap<u32, Vec<i32>> },
    Epsilon { round: u64, epsilon: Decimal },
    Bytes { round: u64, up: u64, down: u64 },
}

/// Writes what an institution's process does.
pub(crate) struct Eye(PathBuf);

impl Eye {
    pub(crate) fn new(side: &Path) -> Self {
        Self(side.join("seen.jsonl"))
    }

    fn write(&self, seen: &Seen) {
        // A demo that cannot see fails its exact-sum check loudly; the institution itself goes on.
        let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(&self.0) else { return };
        if let Ok(mut line) = serde_json::to_vec(seen) {
            line.push(b'\n');
            file.write_all(&line).ok();
        }
    }
}

impl Observer for Eye {
    fn phase(&mut self, round: RoundId, phase: Phase, seconds: f64) {
        self.write(&Seen::Phase { round: round.0, phase: phase.name().to_owned(), seconds });
    }

    fn integers(&mut self, round: RoundId, group: GroupId, shards: &[(ShardId, &[i32])]) {
        let shards = shards.iter().map(|(id, values)| (id.0, values.to_vec())).collect();
        self.write(&Seen::Integers { round: round.0, group: group.0, shards });
    }

    fn epsilon(&mut self, round: RoundId, epsilon: &Decimal) {
        self.write(&Seen::Epsilon { round: round.0, epsilon: *epsilon });
    }

    fn bytes(&mut self, round: RoundId, up: u64, down: u64) {
        self.write(&Seen::Bytes { round: round.0, up, down });
    }
}

/// Reads what one institution's process has written; an institution that did nothing has written nothing.
pub(crate) fn read(side: &Path) -> std::io::Result<Vec<Seen>> {
    match std::fs::read_to_string(side.join("seen.jsonl")) {
        Ok(text) => Ok(text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}
