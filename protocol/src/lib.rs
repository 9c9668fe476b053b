//! The words and the round: ids, plans, manifests, messages, log entries, and the machines that turn events into actions.
//! Knows no socket, no file, no clock, no tensor and no cipher beyond signatures.

pub mod codec;
mod codes;
pub mod data_manifest;
pub mod dealing;
pub mod decimal;
pub mod decryptor;
pub mod entry;
pub mod exhausted;
pub mod hash;
pub mod history;
pub mod ids;
pub mod manifest;
pub mod membership;
pub mod messages;
pub mod params;
pub mod participant;
pub mod plan;
pub mod reject;
pub mod release;
pub mod renewal;
pub mod rotation;
pub mod round;
pub mod sidecar;
pub mod site;
pub mod site_policy;
pub mod statement;
pub mod time;
pub mod trust;
