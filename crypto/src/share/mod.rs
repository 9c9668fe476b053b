//! Shamir shares of the secret key over F_p: dealing, adding for a certified set, decoding (crypto.md C33, C53 to C56).
//! Knows no mask, no body and no value.

mod decode;
mod field;
mod opening;

pub use decode::{Blame, DecodeKeySumError, DecodedKeySum, Dispute, Fault, KeySum, decode_key_sum};
pub(crate) use opening::add_shares;
pub use opening::{OpeningError, post_opening};

use crate::sampler::{RoundSecret, SmallPolynomial};
use protocol::ids::Position;
use protocol::params::{CommitteeSize, RING_DIMENSION, SHARE_LEN, SHARE_PRIME};
use zeroize::Zeroizing;

/// Bytes of one share: 4100 `u32` LE.
pub const SHARE_BYTES: usize = 4 * SHARE_LEN;
/// Blinds behind the coefficients; also rows of the check matrix.
pub(crate) const CHECKS: usize = SHARE_LEN - RING_DIMENSION;

/// One decryptor's share of one client's secret key. Zeroised when dropped.
///
/// ```compile_fail,E0599
/// fn twice(share: crypto::share::Share) { let _second = share.clone(); }
/// ```
pub struct Share {
    position: Position,
    values: Zeroizing<Vec<u32>>,
}

/// Bytes that are no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadShare {
    /// Not 16,400 bytes.
    #[error("share has {0} bytes, expected 16400")]
    Length(usize),
    /// A value that is no element of the field.
    #[error("a share value is not below 2^31 - 1")]
    NotInField,
}

impl Share {
    /// Whose share it is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The share as 4100 `u32` LE, for the blob and for the decryptor's own durable store.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(SHARE_BYTES));
        for value in self.values.iter() {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// A share from its bytes.
    ///
    /// # Errors
    /// [`BadShare`].
    pub fn from_bytes(position: Position, bytes: &[u8]) -> Result<Self, BadShare> {
        read_elements(bytes).map(|values| Self { position, values })
    }

    pub(crate) fn values(&self) -> &[u32] {
        &self.values
    }
}

/// 4100 field elements from their bytes.
fn read_elements(bytes: &[u8]) -> Result<Zeroizing<Vec<u32>>, BadShare> {
    if bytes.len() != SHARE_BYTES {
        return Err(BadShare::Length(bytes.len()));
    }
    let values: Zeroizing<Vec<u32>> = Zeroizing::new(bytes.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect());
    // All values are looked at before judging, so that time says nothing about a share.
    let wrong = values.iter().fold(0u64, |wrong, &v| wrong | (u64::from(SHARE_PRIME - 1).wrapping_sub(u64::from(v)) >> 63));
    if wrong == 0 { Ok(values) } else { Err(BadShare::NotInField) }
}

/// Deals the secret key and four blinds to positions 1..=c, threshold d + 1.
///
/// # Security
/// d shares say nothing about the key. No branch or index depends on it.
pub fn deal(secret: &SmallPolynomial, round: &RoundSecret, size: CommitteeSize) -> Vec<Share> {
    let mut elements = round.share_elements();
    let mut shares: Vec<Share> =
        (1..=size.decryptors).map(|x| Share { position: Position(x), values: Zeroizing::new(Vec::with_capacity(SHARE_LEN)) }).collect();
    let mut polynomial = Zeroizing::new(vec![0u32; size.threshold()]);
    for i in 0..SHARE_LEN {
        for (power, coefficient) in polynomial.iter_mut().enumerate() {
            let key = (power == 0).then(|| secret.get(i)).flatten();
            *coefficient = match key {
                Some(&s) => field::embed(s),
                None => elements.next(),
            };
        }
        for share in &mut shares {
            share.values.push(field::evaluate(&polynomial, u32::from(share.position.0)));
        }
    }
    shares
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
