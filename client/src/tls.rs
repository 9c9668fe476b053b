//! TLS as the institution sees it (transport-storage.md T1, T6, T7): whom it believes, and what it shows. Knows no stream.

use crate::keys::Keys;
use protocol::ids::Sha256;
use protocol::renewal::Lifetime;
use protocol::time::Time;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;

/// DNS name of every federation's server; rustls checks DNS names only (T1).
pub(crate) const SERVER_DNS: &str = "concordat.internal";

/// Why no TLS settings could be made, or a certificate is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// rustls refuses.
    #[error("TLS could not be set up")]
    Rustls(#[from] rustls::Error),
    /// rcgen refuses.
    #[error("the signing request could not be made")]
    Request(#[from] rcgen::Error),
    /// Not a certificate.
    #[error("not an X.509 certificate")]
    NotX509,
    /// The name is not the expected one.
    #[error("the certificate is not for the expected name and role")]
    Name,
    /// The certificate is for another key.
    #[error("the certificate is not for our key")]
    OtherKey,
    /// QUIC needs a cipher that the provider lacks.
    #[error("the TLS settings do not fit QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificate that all of these bytes are.
fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, TlsError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], cert)) => Ok(cert),
        Ok(_) | Err(_) => Err(TlsError::NotX509),
    }
}

/// SHA-256 of a certificate's subject public key info: what tokens and member entries name a key by.
pub(crate) fn spki_hash(der: &[u8]) -> Result<Sha256, TlsError> {
    let cert = parsed(der)?;
    Ok(Sha256(protocol::hash::sha256(&[cert.public_key().raw])))
}

/// The time in which a certificate holds; none of it lies before 1970.
pub(crate) fn lifetime(der: &[u8]) -> Result<Lifetime, TlsError> {
    let cert = parsed(der)?;
    let at = |time: x509_parser::time::ASN1Time| Time(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000));
    Ok(Lifetime { from: at(cert.validity().not_before), until: at(cert.validity().not_after) })
}

/// SHA-256 of a key's subject public key info.
pub(crate) fn key_hash(key: &KeyPair) -> Sha256 {
    use rcgen::PublicKeyData as _;
    Sha256(protocol::hash::sha256(&[&key.subject_public_key_info()]))
}

/// A signing request for a TLS key.
pub(crate) fn signing_request(key: &KeyPair, federation: &str, institution: &str) -> Result<Vec<u8>, TlsError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(client_uri(federation, institution).try_into()?)];
    params.distinguished_name.push(DnType::CommonName, institution);
    Ok(params.serialize_request(key)?.der().to_vec())
}

fn client_uri(federation: &str, institution: &str) -> String {
    format!("spiffe://{federation}/institution/{institution}/client/agent")
}

/// Whether a certificate's one URI is `expected`. None, two, or another is refused (T1).
fn has_uri(der: &[u8], expected: &str) -> Result<(), TlsError> {
    let cert = parsed(der)?;
    let san = cert.subject_alternative_name().map_err(|_| TlsError::Name)?.ok_or(TlsError::Name)?;
    let mut uris = san
        .value
        .general_names
        .iter()
        .filter_map(|n| if let x509_parser::extensions::GeneralName::URI(uri) = n { Some(*uri) } else { None });
    if uris.next() == Some(expected) && uris.next().is_none() { Ok(()) } else { Err(TlsError::Name) }
}

/// Whether the peer showed itself as the federation's server.
pub(crate) fn check_server(der: &[u8], federation: &str) -> Result<(), TlsError> {
    has_uri(der, &format!("spiffe://{federation}/institution/server/server/main"))
}

/// Whether the chain that the server sent is ours: our name, our key, issued by the pinned root.
pub(crate) fn check_issued(chain: &[Vec<u8>], root: &[u8], keys_hash: Sha256, federation: &str, institution: &str) -> Result<(), TlsError> {
    let leaf = chain.first().ok_or(TlsError::NotX509)?;
    has_uri(leaf, &client_uri(federation, institution))?;
    if spki_hash(leaf)? != keys_hash {
        return Err(TlsError::OtherKey);
    }
    let (leaf, root) = (parsed(leaf)?, parsed(root)?);
    leaf.verify_signature(Some(root.public_key())).map_err(|_| TlsError::Name)
}

/// Settings of a member: the pinned root is the only anchor; we show our certificate. No resumption, no early data (T6).
pub(crate) fn member_config(root: &[u8], chain: &[Vec<u8>], keys: &Keys, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec()))?;
    let chain = chain.iter().map(|c| CertificateDer::from(c.clone())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.tls().serialize_der()));
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(with_alpn(config, alpn))
}

/// Settings of a newcomer: the root is whichever certificate of the chain has the pinned key (T11).
pub(crate) fn newcomer_config(root_ca: Sha256, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(PinnedRoot { root_ca, provider: provider() });
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(with_alpn(config, alpn))
}

fn with_alpn(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// The certificate of a chain whose key has this hash.
pub(crate) fn find_root<'a, 'b>(chain: impl IntoIterator<Item = &'a CertificateDer<'b>>, root_ca: Sha256) -> Option<&'a CertificateDer<'b>>
where
    'b: 'a,
{
    chain.into_iter().find(|c| spki_hash(c).is_ok_and(|h| h == root_ca))
}

/// Believes a chain that ends in the root whose key hash the token names, and nothing else.
#[derive(Debug)]
struct PinnedRoot {
    root_ca: Sha256,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let root = find_root(intermediates, self.root_ca).ok_or(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer as _;

    #[test]
    fn a_key_has_the_name_that_its_certificate_and_its_request_have() {
        let key = KeyPair::generate().unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        assert_eq!(spki_hash(&der).unwrap(), key_hash(&key));
        let request = signing_request(&key, "fed", "hospital-a").unwrap();
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        assert_eq!(Sha256(protocol::hash::sha256(&[request.certification_request_info.subject_pki.raw])), key_hash(&key));
    }
}
