//! An institution: trains on records that never leave it, pays for noise before drawing it, seals, sends, witnesses the log, and opens
//! certified sums as a decryptor. An edge: it alone here knows sockets, files, clocks and entropy. Knows nothing of the server's rooms.

pub mod agent;
pub mod central;
pub mod cli;
mod clock;
pub mod config;
pub mod data;
mod data_manifest;
mod declared_policy;
#[cfg(feature = "test-doors")]
pub mod doors;
pub mod edges;
pub mod endpoint;
pub mod files;
mod foundation;
pub mod frames;
mod home;
pub mod identity;
pub mod join;
pub mod keys;
pub mod leave;
pub mod ledger;
pub mod link;
pub mod machine;
pub mod mirror;
pub mod observer;
pub mod prepare;
mod release;
pub mod renewal;
mod rotation;
mod site_log;
pub mod site_policy;
mod spool;
pub mod status;
mod sync;
#[cfg(test)]
mod testing;
pub mod tls;
mod upload;
pub mod vault;
mod wire;
mod withdrawal;
pub mod witness;
