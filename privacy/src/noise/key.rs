//! One ChaCha20 stream per (reservation, step, purpose), keyed by fresh entropy that the edge hands in (privacy.md D27).
//! Knows no seed, no operating system and no data.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use hkdf::Hkdf;
use protocol::ids::ManifestDigest;
use sha2::Sha256;
use std::marker::PhantomData;
use zeroize::{Zeroize, Zeroizing};

/// The edge could not give fresh random bytes. Nothing may be drawn then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source of entropy failed")]
pub struct EntropyError;

/// Fresh, secret, uniform bytes. The edges implement it over the operating system.
pub trait EntropySource {
    /// Fills `out` completely.
    ///
    /// # Errors
    /// [`EntropyError`] if the system has none; `out` is then not to be used.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// Which step of which reservation a stream belongs to. Enters the key, so that no two steps share bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepContext {
    /// The round's manifest.
    pub manifest: ManifestDigest,
    /// Counter of the reservation in the institution's ledger.
    pub ledger_counter: u64,
    /// Step within the reservation, from 0.
    pub step: u64,
}

mod sealed {
    #[expect(unnameable_types, reason = "that nobody outside can name it is what closes the list")]
    pub trait Sealed {}
}

/// What a stream is for. A closed list: a stream of one purpose does not fit where another is needed.
pub trait Purpose: sealed::Sealed {
    /// The name that enters the key.
    const NAME: &'static str;
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Purpose for $name { const NAME: &'static str = $text; }
    )*};
}

purposes! {
    /// Noise of a step.
    Noise = "noise";
    /// Which units enter a step.
    Sample = "sample";
    /// Dithered rounding of a float sum.
    Dither = "dither";
    /// Stochastic rounding of a delta.
    Quantiser = "quantiser";
    /// Coins of an empirical audit.
    Canary = "canary";
}

/// Bytes kept ready; a multiple of the ChaCha20 block.
const BUFFER: usize = 4096;

/// A stream of secret uniform bytes for one purpose of one step. Zeroised when dropped; cannot be copied or printed.
pub struct Stream<P> {
    cipher: ChaCha20,
    buffer: Box<[u8; BUFFER]>,
    at: usize,
    context: StepContext,
    purpose: PhantomData<P>,
}

impl<P: Purpose> Stream<P> {
    /// A stream keyed by 64 fresh bytes and bound to the step and the purpose.
    ///
    /// # Errors
    /// [`EntropyError`] if the edge has no entropy.
    ///
    /// # Panics
    /// Never: HKDF refuses only keys longer than 8160 bytes.
    ///
    /// # Source
    /// privacy.md D27; RFC 5869 with SHA-256; RFC 8439. 256 GiB per stream, far above what one step draws.
    pub fn open(entropy: &mut dyn EntropySource, context: &StepContext) -> Result<Self, EntropyError> {
        let mut fresh = Zeroizing::new([0u8; 64]);
        entropy.fill(fresh.as_mut())?;
        let mut key = Zeroizing::new([0u8; 32]);
        let info = [context.manifest.0.as_slice(), &context.ledger_counter.to_le_bytes(), &context.step.to_le_bytes(), P::NAME.as_bytes()];
        Hkdf::<Sha256>::new(None, fresh.as_ref()).expand_multi_info(&info, key.as_mut()).expect("32 bytes are within HKDF's limit of 8160");
        // The key is used once, so a constant nonce is never used twice with it.
        let cipher = ChaCha20::new((&*key).into(), &[0u8; 12].into());
        Ok(Self { cipher, buffer: Box::new([0; BUFFER]), at: BUFFER, context: *context, purpose: PhantomData })
    }

    /// The step that this stream was opened for.
    pub fn context(&self) -> &StepContext {
        &self.context
    }

    /// The same stream with two or three buffers left of its 256 GiB: it panics in the middle of a long draw. Tests only.
    #[cfg(test)]
    pub(crate) fn at_its_end_for_test(mut self) -> Self {
        let left = u64::try_from(3 * BUFFER).unwrap();
        chacha20::cipher::StreamCipherSeek::seek(&mut self.cipher, (1u64 << 38) - left);
        self.at = BUFFER;
        self
    }

    fn refill(&mut self) {
        self.buffer.fill(0);
        self.cipher.apply_keystream(self.buffer.as_mut());
        self.at = 0;
    }

    /// The next eight bytes as a little-endian number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let mut word = [0u8; 8];
        // Most words lie whole in the buffer; the rest takes the long way to the same bytes.
        if let Some(kept) = self.buffer.get_mut(self.at..self.at + 8) {
            word.copy_from_slice(kept);
            kept.fill(0);
            self.at += 8;
        } else {
            self.fill(&mut word);
        }
        u64::from_le_bytes(word)
    }

    /// The next four bytes as a little-endian number.
    pub fn next_u32(&mut self) -> u32 {
        let mut word = [0u8; 4];
        self.fill(&mut word);
        u32::from_le_bytes(word)
    }

    /// Fills `out` with the next bytes of the stream.
    pub fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.at == BUFFER {
                self.refill();
            }
            let take = out.len().min(BUFFER - self.at);
            let (now, later) = out.split_at_mut(take);
            now.copy_from_slice(&self.buffer[self.at..self.at + take]);
            // Bytes that were handed out are not kept.
            self.buffer[self.at..self.at + take].fill(0);
            self.at += take;
            out = later;
        }
    }
}

impl<P> Drop for Stream<P> {
    // The cipher clears its own state (feature `zeroize`).
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
