//! The public mask polynomials A_j of a group (crypto.md C13). Knows no secret: everybody computes the same mask.

use crate::Polynomial;
use aes::Aes128;
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use protocol::hash::{Domain, expand};
use protocol::ids::{GroupId, ManifestDigest};
use protocol::params::RING_DIMENSION;

/// Bytes of one polynomial.
const POLYNOMIAL_BYTES: usize = 8 * RING_DIMENSION;
/// AES blocks of one polynomial: where the next one's counter starts.
const POLYNOMIAL_BLOCKS: u128 = (POLYNOMIAL_BYTES / 16) as u128;

/// The public key that a group's mask is expanded from. Nobody transmits it; everybody derives it from the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskKey([u8; 16]);

impl MaskKey {
    /// K = X(`mask`, 16; manifest digest ‖ group).
    ///
    /// # Security
    /// A hash of the endorsed manifest, so that nobody can choose a weak mask.
    pub fn derive(manifest: ManifestDigest, group: GroupId) -> Self {
        let mut key = [0u8; 16];
        expand(Domain::Mask, &[&manifest.0, &group.0.to_le_bytes()], &mut key);
        Self(key)
    }

    /// A key from its bytes: for vectors.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Mask polynomial j: AES-128-CTR keystream, little-endian counter from 2048·j, read as `u64` LE.
    pub fn polynomial(&self, j: u64) -> Box<Polynomial> {
        let mut out = Box::new([0u64; RING_DIMENSION]);
        self.expand(j, &mut out);
        out
    }

    /// Writes mask polynomial j over `out`.
    pub(crate) fn expand(&self, j: u64, out: &mut Polynomial) {
        let counter = u128::from(j).wrapping_mul(POLYNOMIAL_BLOCKS);
        let mut stream = Ctr128LE::<Aes128>::new(&self.0.into(), &counter.to_le_bytes().into());
        stream.write_keystream(bytemuck::cast_slice_mut(out.as_mut_slice()));
        out.iter_mut().for_each(|word| *word = u64::from_le(*word));
    }
}
