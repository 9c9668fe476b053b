//! A small but real log, and what becomes of the verdict when it is altered or breaks a rule. Knows no server: every byte is made here.

mod fixture;
mod invariants;
mod recompute;
mod sealing;
mod secrets;
mod sharing;
mod story;
mod tamper;
mod twist;
mod vectors;
