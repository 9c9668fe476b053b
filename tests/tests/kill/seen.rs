//! What an institution's process did in the rounds, line by line in a file that outlives it: `paid`, `trained`, `drawn` (the integers that
//! are about to be sealed). The file is the witness that the ledger is compared with.

use super::role::reached;
use client::observer::{Observer, Phase};
use protocol::decimal::Decimal;
use protocol::hash::sha256;
use protocol::ids::{GroupId, RoundId, Sha256, ShardId};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes the file.
pub(crate) struct Seen(PathBuf);

impl Seen {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn note(&self, what: &str, round: RoundId, more: &str) {
        let mut file = std::fs::File::options().create(true).append(true).open(&self.0).unwrap();
        // One write: a process that ends at once leaves whole lines.
        file.write_all(format!("{what} {} {more}\n", round.0).as_bytes()).unwrap();
        reached("seen", Path::new(what));
    }
}

impl Observer for Seen {
    fn phase(&mut self, round: RoundId, phase: Phase, _seconds: f64) {
        if phase == Phase::Train {
            self.note("trained", round, "");
        }
    }
    fn integers(&mut self, round: RoundId, group: GroupId, shards: &[(ShardId, &[i32])]) {
        let bytes: Vec<u8> = shards.iter().flat_map(|(_, v)| v.iter().flat_map(|x| x.to_le_bytes())).collect();
        self.note("drawn", round, &format!("{} {}", group.0, Sha256(sha256(&[&bytes]))));
    }
    fn epsilon(&mut self, round: RoundId, _epsilon: &Decimal) {
        self.note("paid", round, "");
    }
}

/// How often each thing was seen in each round, with the digests of what was drawn.
pub(crate) fn read(path: &Path) -> BTreeMap<(String, u64), usize> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (what, round) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
        *counts.entry((what, round)).or_default() += 1;
    }
    counts
}
