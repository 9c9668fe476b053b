//! A certificate's life under a clock of our own: asked for in time, taken only if it is ours and holds for longer.

use super::*;
use protocol::ids::ClientId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::CertificateDer;

const URI: &str = "spiffe://fed/institution/hospital-a/client/agent";
const HOUR: u64 = 3600 * 1000;
/// 2027-01-01.
const NEW_YEAR: Time = Time(1_798_761_600_000);

struct Root {
    key: KeyPair,
    der: CertificateDer<'static>,
}

impl Root {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { key, der }
    }

    /// A certificate from one day of January 2027 to another.
    fn issue(&self, key: &KeyPair, uri: &str, (from, until): (u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        (params.not_before, params.not_after) = (date_time_ymd(2027, 1, from), date_time_ymd(2027, 1, until));
        let issuer = Issuer::from_ca_cert_der(&self.der, &self.key).unwrap();
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }
}

fn identity() -> Identity {
    let (federation, institution, server) = ("fed".into(), "hospital-a".into(), "localhost:1".into());
    Identity { v: 1, federation, institution, client: ClientId([1; 32]), server }
}

#[test]
fn the_next_certificate_is_asked_for_within_the_fifth_day_of_seven() {
    let (dir, root, key) = (tempfile::tempdir().unwrap(), Root::new(), KeyPair::generate().unwrap());
    let home = Home::new(dir.path());
    crate::link::store_chain(&home, &[root.issue(&key, URI, (1, 8))], &root.der).unwrap();
    let mut certificate = Certificate::load(&home).unwrap();
    assert_eq!(certificate.until(), NEW_YEAR.plus_ms(7 * 24 * HOUR));
    assert!(!certificate.is_due(NEW_YEAR.plus_ms(4 * 24 * HOUR)) && certificate.is_due(NEW_YEAR.plus_ms(7 * 24 * HOUR * 2 / 3)));
    // Nothing came of it: an hour later, and on, until it is over.
    let mut now = NEW_YEAR.plus_ms(5 * 24 * HOUR);
    while certificate.holds(now) {
        assert!(certificate.is_due(now));
        certificate.asked(now);
        assert!(!certificate.is_due(now.plus_ms(HOUR - 1)));
        now = now.plus_ms(HOUR);
    }
    assert_eq!(now, certificate.until());
    // It came: durable, and the next one is due four days later.
    certificate.take(&home, &identity(), &root.issue(&key, URI, (6, 13)), now).unwrap();
    let again = Certificate::load(&home).unwrap();
    assert_eq!((again.life, again.due), (certificate.life, certificate.due));
    assert!(!again.is_due(NEW_YEAR.plus_ms(9 * 24 * HOUR)) && again.is_due(NEW_YEAR.plus_ms(10 * 24 * HOUR)));
}

#[test]
fn what_is_not_ours_or_holds_no_longer_is_not_taken() {
    let (dir, root, key) = (tempfile::tempdir().unwrap(), Root::new(), KeyPair::generate().unwrap());
    let home = Home::new(dir.path());
    let leaf = root.issue(&key, URI, (1, 8));
    crate::link::store_chain(&home, std::slice::from_ref(&leaf), &root.der).unwrap();
    let mut certificate = Certificate::load(&home).unwrap();
    let of_another = root.issue(&KeyPair::generate().unwrap(), URI, (6, 13));
    let to_another = root.issue(&key, &URI.replace("hospital-a", "hospital-b"), (6, 13));
    let by_another = Root::new().issue(&key, URI, (6, 13));
    let now = NEW_YEAR.plus_ms(5 * 24 * HOUR);
    for der in [&of_another, &to_another, &by_another, &b"no certificate".to_vec()] {
        assert!(matches!(certificate.take(&home, &identity(), der, now), Err(CertificateError::Tls(_))));
    }
    for life in [(1, 8), (2, 7)] {
        let der = root.issue(&key, URI, life);
        assert!(matches!(certificate.take(&home, &identity(), &der, now), Err(CertificateError::NoLonger)));
    }
    assert_eq!(std::fs::read(home.certificate("leaf.der")).unwrap(), leaf);
}

/// A server whose clock was ahead for a while makes certificates that hold for nobody when it is right again.
#[test]
fn a_certificate_of_another_time_takes_no_place_and_keeps_none() {
    let (dir, root, key) = (tempfile::tempdir().unwrap(), Root::new(), KeyPair::generate().unwrap());
    let home = Home::new(dir.path());
    let (good, ahead) = (root.issue(&key, URI, (1, 8)), root.issue(&key, URI, (20, 27)));
    let now = NEW_YEAR.plus_ms(5 * 24 * HOUR);
    crate::link::store_chain(&home, std::slice::from_ref(&good), &root.der).unwrap();
    let mut certificate = Certificate::load(&home).unwrap();
    assert!(matches!(certificate.take(&home, &identity(), &ahead, now), Err(CertificateError::OtherTime)));
    assert_eq!(std::fs::read(home.certificate("leaf.der")).unwrap(), good);
    // One that was taken all the same, by a clock that was ahead as well: it is no reason to refuse one that ends earlier and holds.
    crate::link::store_chain(&home, std::slice::from_ref(&ahead), &root.der).unwrap();
    let mut certificate = Certificate::load(&home).unwrap();
    assert!(!certificate.holds(now));
    assert!(matches!(certificate.take(&home, &identity(), &ahead, now), Err(CertificateError::NoLonger)), "the same one is no news");
    certificate.take(&home, &identity(), &good, now).unwrap();
    assert!(certificate.holds(now) && Certificate::load(&home).unwrap().holds(now));
}
