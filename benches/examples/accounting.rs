//! How long each row of the accountants' reference file takes on one core (privacy.md D52). Prints, and exits with 1 if a figure of a row takes
//! longer than that.
//!
//! `cargo run --release -p concordat-benches --example accounting`

use privacy::accountant::{Adjacency, Phase, delta_pld, epsilon_exact, epsilon_rdp};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// Most milliseconds for one figure of one row, calibrations included (D52).
const MOST_MS: f64 = 500.0;

const ROWS: &str = include_str!("../../privacy/tests/testdata/vectors/dp_reference.csv");

/// One row by the names of its columns.
struct Row<'a>(Vec<(&'a str, &'a str)>);

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        self.0.iter().find(|(name, _)| *name == column).map_or("", |(_, value)| value)
    }
    fn number(&self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }
    fn phases(&self) -> Vec<Phase> {
        let phase = |s: &str, q: &str, t: &str| {
            Some(Phase { noise_multiplier: self.number(s)?, sampling_rate: self.number(q)?, steps: self.text(t).parse().ok()? })
        };
        [phase("sigma", "q", "steps"), phase("sigma2", "q2", "steps2")].into_iter().flatten().collect()
    }
}

fn rows() -> Vec<Row<'static>> {
    let mut lines = ROWS.lines().filter(|l| !l.starts_with('#'));
    let head: Vec<&str> = lines.next().unwrap_or("").split(',').collect();
    lines.map(|l| Row(head.iter().copied().zip(l.split(',')).collect())).collect()
}

fn milliseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64() * 1e3
}

/// What is timed for one row: each figure that the file has for it.
fn timings(row: &Row<'_>) -> Vec<(&'static str, f64)> {
    let (one, replace, delta) = (Adjacency::AddOrRemove, Adjacency::ReplaceOne, row.number("delta").unwrap_or(1e-5));
    if let (Some(target), Some(q), Ok(steps)) = (row.number("target_eps"), row.number("q"), row.text("steps").parse()) {
        return vec![
            ("calibrate pld", milliseconds(|| one.calibrate(target, q, steps, delta))),
            ("calibrate rdp", milliseconds(|| one.calibrate_rdp(target, q, steps, delta))),
            ("calibrate pld, replace", milliseconds(|| replace.calibrate(target, q, steps, delta))),
        ];
    }
    let phases = row.phases();
    vec![
        ("pld", milliseconds(|| one.epsilon_pld(&phases, delta))),
        ("pld, replace", milliseconds(|| replace.epsilon_pld(&phases, delta))),
        ("profile", milliseconds(|| delta_pld(&phases, row.number("eps_query").unwrap_or(1.0)))),
        ("rdp", milliseconds(|| epsilon_rdp(&phases, delta))),
        ("exact", milliseconds(|| epsilon_exact(&phases, delta))),
    ]
}

#[expect(clippy::print_stdout, reason = "it prints what it measured")]
fn main() -> ExitCode {
    let (mut worst, mut slow) = (("", "", 0.0), 0);
    let rows = rows();
    if rows.is_empty() {
        println!("no rows to measure");
        return ExitCode::from(2);
    }
    for row in &rows {
        let timings = timings(row);
        let cells: Vec<String> = timings.iter().map(|(what, ms)| format!("{what} {ms:.1}")).collect();
        println!("{} ms: {}", row.text("id"), cells.join(" · "));
        for (what, ms) in timings {
            if ms > worst.2 {
                worst = (row.text("id"), what, ms);
            }
            if ms > MOST_MS {
                slow += 1;
                println!("too slow: {} {what} {ms:.1} ms, expected at most {MOST_MS}", row.text("id"));
            }
        }
    }
    println!("worst: {} {} {:.1} ms; {slow} above {MOST_MS} ms", worst.0, worst.1, worst.2);
    ExitCode::from(u8::from(slow > 0))
}
