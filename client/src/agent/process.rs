//! The process that the agent is: its signals, and the hash of its program.

use super::AgentError;
use crate::files::{Item, StoreError};
use protocol::ids::Sha256;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(super) struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    /// Listens from now on.
    pub(super) fn new() -> Result<Self, AgentError> {
        let on = |kind| signal(kind).map_err(AgentError::Signals);
        Ok(Self { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())? })
    }

    /// Until one of them comes.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// SHA-256 of the running program.
pub(super) fn build_hash() -> Result<Sha256, StoreError> {
    use sha2::Digest as _;
    let failed = |e| StoreError::Read(Item::Program, e);
    let mut file = std::env::current_exe().and_then(std::fs::File::open).map_err(failed)?;
    let mut hash = sha2::Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(failed)?;
    Ok(Sha256(hash.finalize().into()))
}

struct HashWriter<'a>(&'a mut sha2::Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
