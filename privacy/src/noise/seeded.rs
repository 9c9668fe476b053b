//! Entropy that is not entropy: the same bytes for the same seed. For tests only; release builds refuse it.

use super::{EntropyError, EntropySource};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

/// A reproducible source for tests.
pub struct SeededEntropy(ChaCha20);

impl SeededEntropy {
    /// The source that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha20::new(&key.into(), &[0u8; 12].into()))
    }
}

impl EntropySource for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(0);
        self.0.apply_keystream(out);
        Ok(())
    }
}
