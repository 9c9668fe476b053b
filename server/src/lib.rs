//! The server: rounds over QUIC, a log that cannot be rewritten, sums of what it cannot read.
//! Never holds a key that opens an update. The driver is the only place that persists.

pub mod admin;
pub mod cli;
pub mod config;
#[cfg(feature = "test-doors")]
pub mod doors;
mod driver;
mod durable;
pub mod edges;
mod endpoint;
mod evidence;
pub mod identity;
pub mod init;
mod join;
mod keyring;
mod layout;
mod log;
pub mod model_signing;
pub mod plan_file;
mod presence;
mod publish;
mod quota;
mod recover;
mod resets;
mod retention;
pub mod serve;
mod store;
mod sums;
mod task;
#[cfg(test)]
mod testing;
mod uploads;
