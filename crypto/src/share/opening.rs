//! A decryptor adds its shares of a certified set and blinds its check values (crypto.md C53 to C55). Knows no other decryptor's share.

use super::{CHECKS, Share, field};
use crate::sampler::FieldStream;
use protocol::hash::{Domain, expand};
use protocol::ids::{CertificateDigest, HeaderDigest, Position};
use protocol::manifest::{Certificate, OpeningPayload};
use protocol::params::{RING_DIMENSION, SHARE_LEN};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Why this decryptor does not open. Nothing was revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpeningError {
    /// It does not hold the share of a member of the set (C53).
    #[error("no share of the member {0}")]
    Missing(HeaderDigest),
    /// A share dealt to another position.
    #[error("the share of {header} is for position {got}, not {expected}")]
    WrongPosition {
        /// Whose.
        header: HeaderDigest,
        /// Position of the share.
        got: Position,
        /// This decryptor's.
        expected: Position,
    },
}

/// ρ: 4 × 4096 field elements from the certificate, row by row (C55). Public.
pub(super) struct CheckMatrix(Vec<u32>);

impl CheckMatrix {
    pub(super) fn of(certificate: CertificateDigest) -> Self {
        let mut key = [0u8; 32];
        expand(Domain::Check, &[&certificate.0], &mut key);
        let mut elements = FieldStream::keyed(&key);
        Self((0..CHECKS * RING_DIMENSION).map(|_| elements.next()).collect())
    }

    /// Row q.
    pub(super) fn row(&self, q: usize) -> &[u32] {
        self.0.chunks_exact(RING_DIMENSION).nth(q).unwrap_or_default()
    }

    /// share[4096 + q] + Σ_i ρ[q][i]·share[i] for q = 0..3.
    pub(super) fn apply(&self, values: &[u32]) -> [u32; CHECKS] {
        let (coefficients, blinds) = values.split_at(RING_DIMENSION.min(values.len()));
        std::array::from_fn(|q| field::add(blinds.get(q).copied().unwrap_or(0), field::dot(self.row(q), coefficients)))
    }
}

/// The opening of exactly the certified set: 4100 summed shares and four check values per member.
///
/// Shares of other updates may be in the map; they are not used. The caller makes the opening durable before sending it, sends the same
/// bytes for ever and computes none for a second certificate of the same (manifest, group) (C54).
///
/// # Security
/// A sum of shares can be had only with a quorum's certificate, and only over all its members:
///
/// ```compile_fail,E0308
/// use protocol::{ids::*, manifest::SetPayload};
/// fn hurried(set: &SetPayload, shares: &std::collections::BTreeMap<HeaderDigest, crypto::share::Share>) {
///     let _ = crypto::share::post_opening(set, Position(1), shares);
/// }
/// ```
///
/// # Errors
/// [`OpeningError`].
pub fn post_opening(
    certificate: &Certificate,
    position: Position,
    shares: &BTreeMap<HeaderDigest, Share>,
) -> Result<OpeningPayload, OpeningError> {
    add_shares(certificate.digest(), certificate.headers(), position, shares)
}

/// [`post_opening`] of a certificate's members.
pub(crate) fn add_shares(
    certificate: CertificateDigest,
    members: &[HeaderDigest],
    position: Position,
    shares: &BTreeMap<HeaderDigest, Share>,
) -> Result<OpeningPayload, OpeningError> {
    let matrix = CheckMatrix::of(certificate);
    let mut sum = Zeroizing::new(vec![0u32; SHARE_LEN]);
    let mut checks = Vec::with_capacity(4 * CHECKS * members.len());
    for &header in members {
        let share = shares.get(&header).ok_or(OpeningError::Missing(header))?;
        if share.position() != position {
            return Err(OpeningError::WrongPosition { header, got: share.position(), expected: position });
        }
        for (total, &value) in sum.iter_mut().zip(share.values()) {
            *total = field::add(*total, value);
        }
        checks.extend(matrix.apply(share.values()).into_iter().flat_map(u32::to_le_bytes));
    }
    let shares = sum.iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(OpeningPayload { certificate, position, shares, checks })
}
