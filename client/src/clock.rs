//! The client's clock and entropy. The only place that asks the operating system for either.

use privacy::noise::{EntropyError, EntropySource};
use protocol::time::Time;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, by this machine's clock. A clock before 1970 reads as 1970, and one beyond the year 500 million as [`Time::NEVER`].
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Now in seconds since 1970, as cosignatures carry it.
pub(crate) fn now_s() -> u64 {
    now().0 / 1000
}

/// A fresh number that tells a process from every other one.
pub(crate) fn boot() -> Result<[u8; 16], EntropyError> {
    let mut boot = [0u8; 16];
    OsEntropy.fill(&mut boot)?;
    Ok(boot)
}

/// Fresh bytes from the operating system.
pub(crate) struct OsEntropy;

impl EntropySource for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }
}
