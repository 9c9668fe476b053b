//! What a measurement gives, and what the operating system counts for this process. Knows no log.

use audit::merkle::InclusionProof;
use serde::Serialize;
use std::time::Instant;

/// One measurement. Fields are only added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Entries verified.
    pub entries: u64,
    /// Their mean length, in bytes.
    pub mean_entry_bytes: u64,
    /// Notes verified.
    pub notes: u64,
    /// Cosignatures on each, all verified.
    pub cosignatures_per_note: u8,
    /// Statements verified.
    pub statements: u64,
    /// The verdict's exit code: 0, or the figures mean nothing.
    pub exit_code: u8,
    /// Seconds of verification by the clock.
    pub verify_s: f64,
    /// Seconds of processor time of verification; absent where the system does not tell.
    pub cpu_s: Option<f64>,
    /// Most memory of the whole process so far, in bytes; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// Largest inclusion part (index and hashes) of a `.tlog-proof`, in bytes.
    pub inclusion_bytes: usize,
    /// Hashes in it.
    pub inclusion_hashes: usize,
    /// Hashes of a consistency proof.
    pub consistency_hashes: usize,
    /// Seconds that making the log took; no part of the measurement.
    pub make_s: f64,
    /// Threads of verification.
    pub threads: usize,
}

/// Bytes of the index and hash lines of a `.tlog-proof`.
pub(super) fn bytes_of(index: u64, proof: &InclusionProof) -> usize {
    let lines: usize = proof.0.iter().map(|h| h.to_base64().len() + 1).sum();
    format!("index {index}\n").len() + lines
}

/// Clock and counters at one time.
pub(super) struct Usage {
    at: Instant,
    cpu_s: Option<f64>,
}

/// Between two times.
pub(super) struct Spent {
    pub(super) elapsed_s: f64,
    pub(super) cpu_s: Option<f64>,
    pub(super) peak_memory_bytes: Option<u64>,
}

impl Usage {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), cpu_s: cpu_s() }
    }

    pub(super) fn since(&self, before: &Self) -> Spent {
        Spent {
            elapsed_s: self.at.duration_since(before.at).as_secs_f64(),
            cpu_s: self.cpu_s.zip(before.cpu_s).map(|(now, then)| now - then),
            peak_memory_bytes: peak_memory(),
        }
    }
}

/// User and system time of this process by `/proc`, whose ticks are hundredths of a second on every Linux that we know.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses and may hold spaces; counted fields follow it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kib.checked_mul(1024)
}
