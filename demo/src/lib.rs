//! A federation on one machine: real server and client processes, real QUIC on loopback, real tokens, a verified log at the end.
//! All institutions are the demo's own, which is why it alone may compare opened sums with plain ones.

mod chunks;
pub mod cli;
mod data;
mod federation;
mod html;
mod options;
mod plan;
mod process;
pub mod report;
mod score;
mod story;
mod watch;
