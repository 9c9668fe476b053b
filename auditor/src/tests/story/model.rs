//! The server's own work in the story: sums kept, means taken, weights stepped, snapshots written.
#![expect(clippy::cast_possible_truncation, reason = "the server's weights are single precision")]

use super::super::sealing::Bodies;
use super::super::twist::Twist;
use super::{Scribe, TASK};
use protocol::decimal::Decimal;
use protocol::hash::sha256;
use protocol::ids::{RoundId, SnapshotDigest};
use protocol::plan::{Plan, Strategy, Weighting};

/// One tensor that is trained and, behind it, one that is frozen, in the one spelling that the federation writes.
fn snapshot(numbers: &[f32]) -> Vec<u8> {
    let mut header = r#"{"__metadata__":{"format":"pt"},"embedding":{"dtype":"F32","shape":[64,8],"data_offsets":[0,2048]},"frozen":{"dtype":"F32","shape":[3],"data_offsets":[2048,2060]}}"#.to_owned();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let length = (header.len() as u64).to_le_bytes().to_vec();
    [length, header.into_bytes(), numbers.iter().flat_map(|n| n.to_le_bytes()).collect()].concat()
}

pub(super) fn base_snapshot() -> Vec<u8> {
    snapshot(&base_numbers())
}
fn base_numbers() -> Vec<f32> {
    (0..515u16).map(|i| f32::from(i % 37) / 64.0 - 0.25).collect()
}
pub(super) fn snapshot_digest(bytes: &[u8]) -> SnapshotDigest {
    SnapshotDigest(sha256(&[bytes]))
}

/// The name under which the server keeps a snapshot.
pub(super) fn file_name(plan: &Plan, snapshot: SnapshotDigest) -> String {
    format!("{snapshot}.{}", plan.snapshot_ending())
}

/// A server's weights and what its strategy remembers, in the plainest way: one number after the other.
pub(super) struct Model {
    numbers: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Model {
    pub(super) fn new() -> Self {
        let numbers = base_numbers();
        Self { first: vec![0.0; numbers.len()], second: vec![0.0; numbers.len()], numbers }
    }

    fn step(&mut self, strategy: &Strategy, mean: &[f32]) {
        let single = |d: &Decimal| d.to_f64() as f32;
        for (i, &x) in mean.iter().enumerate() {
            let (w, m, v) = (&mut self.numbers[i], &mut self.first[i], &mut self.second[i]);
            match strategy {
                Strategy::FedAvg { rate } => *w += single(rate) * x,
                Strategy::FedAvgM { rate, momentum } => {
                    *m = single(momentum) * *m + x;
                    *w += single(rate) * *m;
                }
                Strategy::FedNesterov { rate, momentum } => {
                    *m = single(momentum) * *m + x;
                    *w += single(rate) * (single(momentum) * *m + x);
                }
                Strategy::FedYogi { rate, momentum, decay, floor } => {
                    *m = single(momentum) * *m + (1.0 - single(momentum)) * x;
                    let by = (1.0 - single(decay)) * (x * x);
                    *v = if *v < x * x {
                        *v + by
                    } else if *v > x * x {
                        *v - by
                    } else {
                        *v
                    };
                    *w += single(rate) * *m / (v.sqrt() + single(floor));
                }
                Strategy::FedAdam { rate, momentum, decay, floor } => {
                    *m = single(momentum) * *m + (1.0 - single(momentum)) * x;
                    *v = single(decay) * *v + (1.0 - single(decay)) * (x * x);
                    *w += single(rate) * *m / (v.sqrt() + single(floor));
                }
            }
        }
    }
}

impl Scribe {
    /// The server's step in the clear, and what it keeps of the round.
    pub(super) fn advance(&mut self, round: RoundId, bodies: &[Bodies]) {
        let sum: Vec<i64> = (0..bodies[0].values[0].len()).map(|i| bodies.iter().map(|b| b.values[0][i]).sum()).collect();
        let kept = serde_json::json!({ "0": { "0": sum } });
        self.sums.insert(format!("{TASK}/{:08}.json", round.0), kept.to_string().into_bytes());
        if self.plan.count.is_some() {
            return self.publish_counts(round, bodies.len(), &sum);
        }
        let joint = self.plan.privacy.mode.joint().is_some();
        let divisor = if self.twist == Twist::WeightedByTally {
            // Divided by what was opened instead of what was declared.
            24_500.0 / 20_000.0
        } else if joint {
            // q N̂ for each, C = 1.
            (bodies.len() * 12_000) as f64 * 0.01 / 1.0
        } else if self.plan.weighting == Weighting::Uniform {
            bodies.len() as f64
        } else {
            36_000.0 / 20_000.0
        };
        let scale = 2f64.powi(i32::from(self.plan.shards[0].step_exponent)) / divisor;
        let mut mean: Vec<f32> = sum.iter().map(|v| (*v as f64 * scale) as f32).map(|x| if joint { -x } else { x }).collect();
        if self.twist == Twist::OtherSnapshot && round.0 == 2 {
            mean[400] += 1e-6;
        }
        if self.twist != Twist::StaleMean || round.0 == 1 {
            self.model.step(&self.plan.strategy, &mean);
        }
        let bytes = snapshot(&self.model.numbers);
        self.snapshot = snapshot_digest(&bytes);
        self.snapshots.insert(file_name(&self.plan, self.snapshot), bytes);
    }
}
