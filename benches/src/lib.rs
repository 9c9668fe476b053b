//! What the benchmarks share. They stand in a crate of their own because release builds refuse the doors that tests have (privacy.md D27).
//!
//! `cargo bench -p concordat-benches`; nothing here is part of a product.

use privacy::noise::{EntropyError, EntropySource};

/// Fresh bytes from the operating system.
pub struct OsEntropy;

impl EntropySource for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }
}
