//! Sealing needs the memory of a chunk or two beside its input, whatever the model (crypto.md C39; issue of sealed sums). Linux only: it asks
//! the system how much this process has held at most. Alone in its file, so that nothing else runs in the process.
#![cfg(target_os = "linux")]

use crypto::measure::Workload;
use privacy::noise::SeededEntropy;

const MIB: u64 = 1 << 20;

/// Most bytes that this process has held so far.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak memory");
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
}

/// Sixteen chunks: 64 MiB of values, 128 MiB of packed polynomials, 80 MiB of bodies. One chunk is 8 MiB of polynomials and 5 of bodies.
#[test]
fn a_model_of_many_chunks_is_sealed_in_the_memory_of_few() {
    let mut entropy = SeededEntropy::new(1);
    let work = Workload::new(2, 32, 16 * 256 * 4096, &mut entropy).expect("a workload");
    let before = peak();
    let sent = work.seal(&mut entropy).expect("sealed");
    let grown = peak() - before;
    assert!(sent > 70 * MIB, "{sent} bytes are not the bodies of sixteen chunks");
    assert!(grown < 36 * MIB, "sealing grew the process by {} MiB", grown / MIB);
}
