//! TLS identities (transport-storage.md section 1): the root CA, SPIFFE-shaped names, and who is on the other end of a connection.

use protocol::ids::Sha256;
use protocol::renewal::Lifetime;
use protocol::time::Time;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certificate::X509Certificate;

/// DNS name of every federation's server; rustls checks DNS names only (T1).
pub(crate) const SERVER_DNS: &str = "concordat.internal";

/// Why a TLS object could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate library.
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
    /// Not a certificate.
    #[error("not an X.509 certificate")]
    NotX509,
    /// Not exactly one URI of the expected form (T1).
    #[error("the certificate's name is not of this federation")]
    Name,
    /// A clock beyond all calendars.
    #[error("this machine's clock shows a time that no certificate can carry")]
    Clock,
}

/// The certificate that all of these bytes are.
fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], cert)) => Ok(cert),
        Ok(_) | Err(_) => Err(IdentityError::NotX509),
    }
}

/// SHA-256 of a certificate's subject public key info: what tokens and member entries name a key by.
pub(crate) fn spki_hash(der: &[u8]) -> Result<Sha256, IdentityError> {
    let cert = parsed(der)?;
    Ok(Sha256(protocol::hash::sha256(&[cert.public_key().raw])))
}

/// SHA-256 of a signing request's subject public key info, after its self-signature was checked.
pub(crate) fn csr_key_hash(der: &[u8]) -> Result<Sha256, IdentityError> {
    use x509_parser::prelude::FromDer as _;
    // rcgen's parser checks the self-signature: proof that the asker holds the key.
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))?;
    let csr = match x509_parser::certification_request::X509CertificationRequest::from_der(der) {
        Ok(([], csr)) => csr,
        Ok(_) | Err(_) => return Err(IdentityError::NotX509),
    };
    Ok(Sha256(protocol::hash::sha256(&[csr.certification_request_info.subject_pki.raw])))
}

/// The one URI of a certificate: federation, institution, role (T1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerName {
    pub(crate) federation: String,
    pub(crate) institution: String,
    pub(crate) role: String,
}

/// Reads the peer's name; none, two, or another shape is refused.
pub(crate) fn peer_name(der: &[u8]) -> Result<PeerName, IdentityError> {
    let cert = parsed(der)?;
    let san = cert.subject_alternative_name().map_err(|_| IdentityError::Name)?.ok_or(IdentityError::Name)?;
    let uris: Vec<&str> = san
        .value
        .general_names
        .iter()
        .filter_map(|n| if let x509_parser::extensions::GeneralName::URI(u) = n { Some(*u) } else { None })
        .collect();
    let [uri] = uris.as_slice() else { return Err(IdentityError::Name) };
    let parts: Vec<&str> = uri.strip_prefix("spiffe://").ok_or(IdentityError::Name)?.split('/').collect();
    let [federation, "institution", institution, role, name] = parts.as_slice() else { return Err(IdentityError::Name) };
    if [federation, institution, role, name].iter().all(|p| protocol::trust::is_name(p)) {
        Ok(PeerName { federation: (*federation).to_owned(), institution: (*institution).to_owned(), role: (*role).to_owned() })
    } else {
        Err(IdentityError::Name)
    }
}

fn uri(federation: &str, institution: &str, role: &str, name: &str) -> Result<SanType, IdentityError> {
    let text = format!("spiffe://{federation}/institution/{institution}/{role}/{name}");
    Ok(SanType::URI(text.try_into()?))
}

/// A self-signed root: 10 years (T3).
pub(crate) fn make_root(federation: &str, key: &KeyPair, now: Time) -> Result<CertificateDer<'static>, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("{federation} root"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, now, 3650)?;
    Ok(params.self_signed(key)?.der().clone())
}

/// Certificates live for 7 days (T9).
const LEAF_DAYS: u64 = 7;
/// For clocks that are not quite right.
const BACK_MS: u64 = 5 * 60 * 1000;

fn validity(params: &mut CertificateParams, now: Time, days: u64) -> Result<(), IdentityError> {
    let at = |time: Time| {
        let date = i64::try_from(time.0 / 1000).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
        // A certificate writes years in four digits.
        date.filter(|d| d.year() <= 9999).ok_or(IdentityError::Clock)
    };
    params.not_before = at(Time(now.0.saturating_sub(BACK_MS)))?;
    params.not_after = at(now.plus_ms(days * 24 * 3600 * 1000))?;
    Ok(())
}

/// The time in which a certificate holds; none of it lies before 1970.
pub(crate) fn lifetime(der: &[u8]) -> Result<Lifetime, IdentityError> {
    let cert = parsed(der)?;
    let at = |time: x509_parser::time::ASN1Time| Time(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000));
    Ok(Lifetime { from: at(cert.validity().not_before), until: at(cert.validity().not_after) })
}

/// The root as an issuer.
pub(crate) fn issuer<'a>(root: &CertificateDer<'_>, key: &'a KeyPair) -> Result<Issuer<'a, &'a KeyPair>, IdentityError> {
    Ok(Issuer::from_ca_cert_der(root, key)?)
}

/// The server's own certificate.
pub(crate) fn make_server(
    federation: &str,
    key: &KeyPair,
    issuer: &Issuer<'_, &KeyPair>,
    now: Time,
) -> Result<CertificateDer<'static>, IdentityError> {
    let mut params = CertificateParams::new(vec![SERVER_DNS.to_owned()])?;
    params.subject_alt_names.push(uri(federation, "server", "server", "main")?);
    params.distinguished_name.push(DnType::CommonName, format!("{federation} server"));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    validity(&mut params, now, LEAF_DAYS)?;
    Ok(params.signed_by(key, issuer)?.der().clone())
}

/// A client's certificate for the key in its request. The name is ours, not the request's.
pub(crate) fn make_client(
    federation: &str,
    institution: &str,
    csr: &[u8],
    issuer: &Issuer<'_, &KeyPair>,
    now: Time,
) -> Result<CertificateDer<'static>, IdentityError> {
    let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))?;
    request.params = CertificateParams::default();
    request.params.subject_alt_names = vec![uri(federation, institution, "client", "agent")?];
    request.params.distinguished_name.push(DnType::CommonName, institution);
    request.params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    validity(&mut request.params, now, LEAF_DAYS)?;
    Ok(request.signed_by(issuer)?.der().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_has_the_name_that_the_server_gave_it() {
        let root_key = KeyPair::generate().unwrap();
        let now = Time(1_800_000_000_000);
        let root = make_root("fed", &root_key, now).unwrap();
        let issuer = issuer(&root, &root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut asked = CertificateParams::default();
        asked.subject_alt_names.push(uri("fed", "somebody-else", "server", "main").unwrap());
        let csr = asked.serialize_request(&key).unwrap();
        let der = make_client("fed", "hospital-a", csr.der(), &issuer, now).unwrap();
        let name = peer_name(&der).unwrap();
        assert_eq!((name.institution.as_str(), name.role.as_str()), ("hospital-a", "client"));
        assert_eq!(spki_hash(&der).unwrap(), csr_key_hash(csr.der()).unwrap());
        // It holds for a week from the time that the server was told, whatever the clock of this machine says.
        let life = lifetime(&der).unwrap();
        assert_eq!((now.ms_since(life.from), life.until.ms_since(now)), (5 * 60 * 1000, 7 * 24 * 3600 * 1000));
        assert!(matches!(make_client("fed", "hospital-a", csr.der(), &issuer, Time::NEVER), Err(IdentityError::Clock)));
        let behind = |der: &[u8]| [der, &[0]].concat();
        let (der, csr) = (behind(&der), behind(csr.der()));
        assert!(spki_hash(&der).is_err() && peer_name(&der).is_err() && csr_key_hash(&csr).is_err(), "one byte more is another file");
    }

    #[test]
    fn two_names_or_a_foreign_shape_are_refused() {
        let key = KeyPair::generate().unwrap();
        let make = |uris: &[&str]| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = uris.iter().map(|u| SanType::URI((*u).try_into().unwrap())).collect();
            params.self_signed(&key).unwrap().der().clone()
        };
        let good = "spiffe://fed/institution/a/client/agent";
        assert!(peer_name(&make(&[good])).is_ok());
        for bad in [
            &[good, good][..],
            &["https://fed/institution/a/client/agent"],
            &["spiffe://fed/institution/a/client"],
            &["spiffe://fed/institution/A/client/x"],
        ] {
            assert!(peer_name(&make(bad)).is_err(), "{bad:?}");
        }
        assert!(peer_name(b"no certificate").is_err());
    }
}
