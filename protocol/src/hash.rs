//! Domain-separated hashes (crypto.md C13, C14). The list of types is closed: a new one changes the design document. Beside them stand only the
//! digests over lists of institutions ([`List`]), whose names no D(t) begins with.

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

/// A list of institutions that manifest and log name by its digest: SHA-256(`concordat/` ‖ name ‖ `/v1` ‖ count u64 LE ‖ ids ascending). Not of
/// C14's types: anyone makes these digests again from the log and compares them; no key, mask or challenge comes from one under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Who joined a round with random groups (C37).
    Joined,
    /// Who is enrolled (C35).
    Roster,
}

impl List {
    /// The bytes before the count. Count and ids have fixed lengths, so nothing has to end the name.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Self::Joined => b"concordat/joined/v1",
            Self::Roster => b"concordat/roster/v1",
        }
    }

    /// The digest of these ids, in whatever order they come.
    pub fn digest(self, mut ids: Vec<[u8; 32]>) -> [u8; 32] {
        ids.sort_unstable();
        sha256(&[self.prefix(), &(ids.len() as u64).to_le_bytes(), ids.as_flattened()])
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two uses of one hash must never see the same bytes: no name is the beginning of another.
    #[test]
    fn no_name_begins_with_another() {
        let domains = [
            Domain::Manifest,
            Domain::Core,
            Domain::Header,
            Domain::Body,
            Domain::Blob,
            Domain::Set,
            Domain::Certificate,
            Domain::Sum,
            Domain::KeySum,
            Domain::Values,
            Domain::Mask,
            Domain::RoundSecret,
            Domain::Message,
            Domain::Secret,
            Domain::Noise,
            Domain::Shares,
            Domain::Encapsulation,
            Domain::Check,
            Domain::Groups,
            Domain::Nonce,
        ];
        let names: Vec<&[u8]> = domains.map(Domain::prefix).into_iter().chain([List::Joined, List::Roster].map(List::prefix)).collect();
        for (i, a) in names.iter().enumerate() {
            assert!(names.iter().enumerate().all(|(j, b)| i == j || !b.starts_with(a)), "{}", String::from_utf8_lossy(a));
        }
    }

    /// Digests that stand in logs: they stay what they are, whatever the order of the ids.
    #[test]
    fn digests_over_lists_are_count_and_ids_in_ascending_order() {
        let two = vec![[2u8; 32], [1; 32]];
        let bytes = [b"concordat/roster/v1".as_slice(), &2u64.to_le_bytes(), &[1; 32], &[2; 32]].concat();
        assert_eq!(List::Roster.digest(two.clone()), sha256(&[&bytes]));
        assert_ne!(List::Roster.digest(two.clone()), List::Joined.digest(two));
    }
}
