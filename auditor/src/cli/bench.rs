//! `bench`.

use super::args::BenchArgs;
use super::output::{Trouble, answer, trouble};
use super::{REFUSED, TROUBLE};
use crate::bench::{Measured, Size, bench};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Entries made, on one line of a terminal; nothing where nobody looks.
fn progress(done: u64, all: u64) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let end = if done == all { "\n" } else { "" };
        write!(stderr, "\rmaking the log: {done} of {all} entries{end}").and_then(|()| stderr.flush()).unwrap_or(());
    }
}

fn render(m: &Measured) -> String {
    let seconds = |s: Option<f64>| s.map_or_else(|| "unknown".to_owned(), |s| format!("{s:.2} s"));
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
    let mib = m.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), |b| format!("{:.0} MiB", b as f64 / f64::from(1 << 20)));
    format!(
        "{} entries of {} bytes, {} notes with {} cosignatures, {} statements\nverified in {:.2} s (processor {}), at most {mib} of memory, on {} \
         thread(s)\ninclusion: {} hashes, {} bytes; consistency: {} hashes",
        m.entries,
        m.mean_entry_bytes,
        m.notes,
        m.cosignatures_per_note,
        m.statements,
        m.verify_s,
        seconds(m.cpu_s),
        m.threads,
        m.inclusion_hashes,
        m.inclusion_bytes,
        m.consistency_hashes
    )
}

pub(super) fn run(args: &BenchArgs) -> u8 {
    let size = Size {
        entries: args.entries,
        entry_bytes: args.entry_bytes,
        notes: args.notes,
        witnesses: args.cosignatures,
        statements: args.statements,
    };
    let dir = match tempfile::Builder::new().prefix("concordat-audit-bench").tempdir() {
        Ok(dir) => dir,
        Err(e) => {
            trouble(args.format, Trouble::input("A40"), &e);
            return TROUBLE;
        }
    };
    match bench(dir.path(), size, args.threads, &progress) {
        Ok(measured) => {
            let good = measured.exit_code == 0;
            answer(args.format, good, &serde_json::to_value(&measured).unwrap_or(Value::Null), &render(&measured));
            if good { 0 } else { REFUSED }
        }
        Err(e) => {
            trouble(args.format, Trouble::input("A40"), &e);
            TROUBLE
        }
    }
}
