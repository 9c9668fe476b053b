//! Domain-separated hashes (crypto.md C13, C14). The list of types is closed: a new one changes the design document.

use sha2::{Digest, Sha256};
use sha3::digest::{ExtendableOutput, Update, XofReader};

/// The types t of D(t) = `concordat/v1/` ‖ t ‖ 00 (crypto.md C14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Manifest digest.
    Manifest,
    /// Core digest.
    Core,
    /// Header digest.
    Header,
    /// Body root.
    Body,
    /// HPKE info of a share blob.
    Blob,
    /// Set digest.
    Set,
    /// Certificate digest.
    Certificate,
    /// Sum root.
    Sum,
    /// Key-sum digest.
    KeySum,
    /// Value digest.
    Values,
    /// Mask key.
    Mask,
    /// Round secret z.
    RoundSecret,
    /// Message digest inside z.
    Message,
    /// Key of the secret stream.
    Secret,
    /// Key of the noise stream.
    Noise,
    /// Key of the share stream.
    Shares,
    /// HPKE encapsulation randomness.
    Encapsulation,
    /// Key of the check matrix.
    Check,
    /// Seed of the random groups.
    Groups,
    /// Commitment to a group nonce.
    Nonce,
}

impl Domain {
    /// The bytes D(t).
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"concordat/v1/manifest\0",
            Self::Core => b"concordat/v1/core\0",
            Self::Header => b"concordat/v1/header\0",
            Self::Body => b"concordat/v1/body\0",
            Self::Blob => b"concordat/v1/blob\0",
            Self::Set => b"concordat/v1/set\0",
            Self::Certificate => b"concordat/v1/certificate\0",
            Self::Sum => b"concordat/v1/sum\0",
            Self::KeySum => b"concordat/v1/key-sum\0",
            Self::Values => b"concordat/v1/values\0",
            Self::Mask => b"concordat/v1/mask\0",
            Self::RoundSecret => b"concordat/v1/round-secret\0",
            Self::Message => b"concordat/v1/message\0",
            Self::Secret => b"concordat/v1/secret\0",
            Self::Noise => b"concordat/v1/noise\0",
            Self::Shares => b"concordat/v1/shares\0",
            Self::Encapsulation => b"concordat/v1/encapsulation\0",
            Self::Check => b"concordat/v1/check\0",
            Self::Groups => b"concordat/v1/groups\0",
            Self::Nonce => b"concordat/v1/nonce\0",
        }
    }
}

/// SHA-256 of the concatenated parts, without a domain.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Sha256::new();
    for part in parts {
        Digest::update(&mut h, part);
    }
    h.finalize().into()
}

/// H(t; x…) = SHA-256(D(t) ‖ x…).
pub fn tagged(domain: Domain, parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Sha256::new();
    Digest::update(&mut h, domain.prefix());
    for part in parts {
        Digest::update(&mut h, part);
    }
    h.finalize().into()
}

/// X(t, L; x…): fills `out` with the first L bytes of SHAKE256(D(t) ‖ x…).
pub fn expand(domain: Domain, parts: &[&[u8]], out: &mut [u8]) {
    let mut x = sha3::Shake256::default();
    x.update(domain.prefix());
    for part in parts {
        x.update(part);
    }
    x.finalize_xof().read(out);
}
