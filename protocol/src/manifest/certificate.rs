//! The exact set of one sum, and the quorum of signatures over it that lets it be opened (crypto.md C52). Knows no key and no share.

use super::Manifest;
use crate::hash::{Domain, tagged};
use crate::ids::{CertificateDigest, ClientId, GroupId, HeaderDigest, ManifestDigest, SetDigest};
use crate::statement::{Payload, Statement, StatementKind};
use minicbor::{CborLen, Decode, Encode};

/// The exact set that is to be opened. Every decryptor signs the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct SetPayload {
    /// The manifest.
    #[n(0)]
    pub manifest: ManifestDigest,
    /// The group.
    #[n(1)]
    pub group: GroupId,
    /// Over the member headers.
    #[n(2)]
    pub set: SetDigest,
    /// Members.
    #[n(3)]
    pub count: u32,
    /// Tree size at which all headers and the proposal stand in the log.
    #[n(4)]
    pub log_size: u64,
}

impl Payload for SetPayload {
    const KIND: StatementKind = StatementKind::Set;
}

/// H(`set`; manifest digest ‖ group ‖ count ‖ header digests ascending).
pub fn set_digest(manifest: ManifestDigest, group: GroupId, headers: &[HeaderDigest]) -> SetDigest {
    let mut headers = headers.to_vec();
    headers.sort_unstable();
    let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    let flat: Vec<u8> = headers.iter().flat_map(|h| h.0).collect();
    SetDigest(tagged(Domain::Set, &[&manifest.0, &group.0.to_le_bytes(), &count.to_le_bytes(), &flat]))
}

/// H(`certificate`; `set` payload).
pub fn certificate_digest(set_payload: &[u8]) -> CertificateDigest {
    CertificateDigest(tagged(Domain::Certificate, &[set_payload]))
}

/// A quorum of decryptors' signatures over one `set` payload. Made only by [`Certificate::new`], so holding one is proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    payload: SetPayload,
    digest: CertificateDigest,
    headers: Vec<HeaderDigest>,
    statements: Vec<Statement>,
}

/// Why signatures are no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Fewer than Q distinct valid signatures of committee members over identical bytes.
    #[error("{got} valid signatures over the set, {needed} needed")]
    BelowQuorum {
        /// Valid ones.
        got: usize,
        /// Q.
        needed: usize,
    },
    /// Header digests that do not give the signed set digest, or a wrong count.
    #[error("the header list is not the signed set")]
    WrongSet,
    /// Another manifest or a group it does not have.
    #[error("the set is not of this manifest")]
    WrongManifest,
    /// Fewer members than the minimum, or more than the packing carries.
    #[error("{0} members are outside the group's limits")]
    Cohort(u32),
}

impl Certificate {
    /// As [`Self::of`], for a committee whose members have the keys that they joined with.
    ///
    /// # Errors
    /// [`CertificateError`], the first rule broken.
    pub fn new(
        manifest: &Manifest,
        digest: ManifestDigest,
        headers: &[HeaderDigest],
        statements: &[Statement],
    ) -> Result<Self, CertificateError> {
        Self::of(manifest, digest, headers, statements.iter().map(|s| (s.signer(), s)))
    }

    /// Checks C52: identical payload, at least Q distinct committee members, and the listed headers are the set.
    ///
    /// # Security
    /// Each statement comes with the institution whose key signed it. That is the caller's to know, from the log: after a rotation the key alone
    /// does not tell.
    ///
    /// # Errors
    /// [`CertificateError`], the first rule broken.
    pub fn of<'a>(
        manifest: &Manifest,
        digest: ManifestDigest,
        headers: &[HeaderDigest],
        signed: impl IntoIterator<Item = (ClientId, &'a Statement)>,
    ) -> Result<Self, CertificateError> {
        let needed = manifest.size.quorum();
        let mut signed = signed.into_iter().peekable();
        let Some(&(_, first)) = signed.peek() else { return Err(CertificateError::BelowQuorum { got: 0, needed }) };
        let mut signers = std::collections::BTreeMap::new();
        for (who, s) in signed.filter(|(_, s)| s.payload == first.payload) {
            if manifest.position(who).is_some() && s.verify::<SetPayload>().is_ok() {
                signers.entry(who).or_insert_with(|| s.clone());
            }
        }
        let got = signers.len();
        if got < needed {
            return Err(CertificateError::BelowQuorum { got, needed });
        }
        let payload: SetPayload = first.verify().map_err(|_| CertificateError::BelowQuorum { got: 0, needed })?;
        Self::check(manifest, digest, &payload, headers)?;
        let mut headers = headers.to_vec();
        headers.sort_unstable();
        Ok(Self { payload, digest: certificate_digest(&first.payload), headers, statements: signers.into_values().collect() })
    }

    fn check(manifest: &Manifest, digest: ManifestDigest, payload: &SetPayload, headers: &[HeaderDigest]) -> Result<(), CertificateError> {
        let group = manifest.group(payload.group).ok_or(CertificateError::WrongManifest)?;
        if payload.manifest != digest {
            return Err(CertificateError::WrongManifest);
        }
        let distinct: std::collections::BTreeSet<_> = headers.iter().collect();
        let count = payload.count;
        let counted = usize::try_from(count).is_ok_and(|c| c == headers.len() && c == distinct.len());
        if !counted || set_digest(digest, payload.group, headers) != payload.set {
            return Err(CertificateError::WrongSet);
        }
        let limits = u32::from(group.cohort_min)..=u32::from(group.packing.n_max);
        if limits.contains(&count) { Ok(()) } else { Err(CertificateError::Cohort(count)) }
    }

    /// What was signed.
    pub fn payload(&self) -> &SetPayload {
        &self.payload
    }
    /// Digest of the signed bytes.
    pub fn digest(&self) -> CertificateDigest {
        self.digest
    }
    /// Members, ascending.
    pub fn headers(&self) -> &[HeaderDigest] {
        &self.headers
    }
    /// Members in the sum; the only count that extraction may use (C32).
    pub fn members(&self) -> u16 {
        u16::try_from(self.payload.count).unwrap_or(u16::MAX)
    }
    /// The signatures.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}
