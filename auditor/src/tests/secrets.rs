//! Secrets of pretended updates, their shares and openings, and the sum of their keys. Real arithmetic over made-up numbers.

use crate::share::CheckMatrix;
use protocol::hash::{Domain, tagged};
use protocol::ids::{CertificateDigest, HeaderDigest, KeySumDigest, Position};
use protocol::manifest::OpeningPayload;
use protocol::params::{RING_DIMENSION, SHARE_LEN, SHARE_PRIME};

/// Not random, and need not be: secrets of a test.
pub(super) struct Pseudo(pub(super) u64);

impl Pseudo {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// One update's secret and its degree-1 share polynomials.
pub(super) struct Sealed {
    pub(super) header: HeaderDigest,
    pub(super) secret: Vec<i32>,
    constant: Vec<u64>,
    slope: Vec<u64>,
}

impl Sealed {
    pub(super) fn new(header: HeaderDigest, seed: u64) -> Self {
        let (mut random, p) = (Pseudo(seed), i64::from(SHARE_PRIME));
        let secret: Vec<i32> = (0..RING_DIMENSION).map(|_| i32::try_from(random.next() % 181).unwrap() - 90).collect();
        let blinds: Vec<u64> = (RING_DIMENSION..SHARE_LEN).map(|_| random.next() % u64::from(SHARE_PRIME)).collect();
        let constant = secret.iter().map(|s| u64::try_from(i64::from(*s).rem_euclid(p)).unwrap()).chain(blinds).collect();
        let slope = (0..SHARE_LEN).map(|_| random.next() % u64::from(SHARE_PRIME)).collect();
        Self { header, secret, constant, slope }
    }

    fn share(&self, x: u64) -> Vec<u64> {
        self.constant.iter().zip(&self.slope).map(|(a, b)| (a + b * x) % u64::from(SHARE_PRIME)).collect()
    }
}

fn le(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    values.into_iter().flat_map(|v| u32::try_from(v).unwrap().to_le_bytes()).collect()
}

/// An opening of these updates by the decryptor at `position`: a `lie` contradicts its check values, with a `bend` of the first share they fit.
pub(super) fn opening(certificate: CertificateDigest, position: Position, updates: &[Sealed], lie: u64, bend: u64) -> OpeningPayload {
    let (matrix, x, p) = (CheckMatrix::of(certificate), u64::from(position.0), u64::from(SHARE_PRIME));
    let mut shares: Vec<Vec<u64>> = updates.iter().map(|u| u.share(x)).collect();
    shares[0][9] = (shares[0][9] + bend) % p;
    let mut sum: Vec<u64> = (0..SHARE_LEN).map(|k| shares.iter().map(|s| s[k]).sum::<u64>() % p).collect();
    sum[5] = (sum[5] + lie) % p;
    let checks = shares.iter().flat_map(|s| matrix.apply(s)).collect::<Vec<_>>();
    OpeningPayload { certificate, position, shares: le(sum), checks: le(checks) }
}

pub(super) fn key_sum(updates: &[Sealed]) -> KeySumDigest {
    let sum = (0..RING_DIMENSION).map(|k| updates.iter().map(|u| u.secret[k]).sum::<i32>());
    let bytes: Vec<u8> = sum.flat_map(i32::to_le_bytes).collect();
    KeySumDigest(tagged(Domain::KeySum, &[&bytes]))
}
