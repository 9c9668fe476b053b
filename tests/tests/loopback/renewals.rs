//! TLS certificates on the real wire (transport-storage.md T9): one that is nearly over is renewed on the link, and an institution whose certificate
//! has run out comes back.

use super::*;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType, date_time_ymd};
use std::time::SystemTime;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Puts a certificate that the federation's root made at another time in the place of an institution's own.
fn plant(f: &Federation, index: usize, life: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = |path: std::path::PathBuf| KeyPair::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (keys, home) = (f.server_dir().join("keys"), f.dir.path().join(name(index)));
    let (root, own) = (key(keys.join("root-ca.pem")), key(home.join("keys/tls.pem")));
    let der = std::fs::read(keys.join("root-ca.der")).unwrap().into();
    let mut params = CertificateParams::default();
    let uri = format!("spiffe://loop/institution/{}/client/agent", name(index));
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    life(&mut params);
    let leaf = params.signed_by(&own, &Issuer::from_ca_cert_der(&der, &root).unwrap()).unwrap().der().to_vec();
    std::fs::write(home.join("tls/leaf.der"), &leaf).unwrap();
    leaf
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_certificate_is_renewed_in_time_and_also_after_it() {
    let mut f = Federation::start(3).await;
    connected(&f, 3).await;
    for client in &mut f.clients {
        client.abort();
        assert!(client.await.is_err_and(|e| e.is_cancelled()), "a client ended by itself");
    }
    f.clients.clear();
    // One has run out, one is in its sixth day, one is as it was.
    let over = plant(&f, 0, |params| (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 1, 8)));
    let old = plant(&f, 1, |params| {
        (params.not_before, params.not_after) = ((SystemTime::now() - 6 * DAY).into(), (SystemTime::now() + DAY).into());
    });
    let root = f.dir.path().to_owned();
    let leaf = |index: usize| std::fs::read(root.join(name(index)).join("tls/leaf.der")).unwrap();
    let young = leaf(2);
    f.come_back(3);
    until(async || (leaf(0) != over && leaf(1) != old).then_some(())).await;
    connected(&f, 3).await;
    assert_eq!(leaf(2), young);
    f.clients_are_well().await;
    let verdict = f.verify(&f.published().await);
    assert!(verdict.verified, "{:?}", verdict.findings);
}
