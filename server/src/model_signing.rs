//! Signatures of released models in the format of OpenSSF Model Signing v1.0, method `key` (audit.md A44): a Sigstore bundle v0.3 with a DSSE
//! envelope over an in-toto statement that lists every file with its SHA-256. Anybody checks them with the reference tool; nothing of ours is
//! needed. Knows no log.

use crate::durable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::ids::Sha256;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::json;
use sha2::{Digest, Sha256 as Hasher};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const MAX_KEY_FILE: u64 = 16 << 10;

/// Name of the signature's file beside the model.
pub const SIGNATURE: &str = "model.sig";

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// A file.
    #[error("a file of the model or the key could not be read or written")]
    Storage(#[from] io::Error),
    /// A file where a key or its public half shall go.
    #[error("{0} is there already, and a key is never written over: name another file, or move that one away")]
    Exists(PathBuf),
    /// The secret half under the name of the public one.
    #[error("the public half goes into the file that ends in .pub: give the key another ending, such as release.key")]
    PublicName,
    /// The key.
    #[error("the release key is not an ECDSA P-256 key in PEM; make one with `concordat-server release-key`")]
    Key,
}

/// The key that signs models: ECDSA P-256, kept apart from every other key of the federation. No copy and no text form of it leaves here.
pub struct ReleaseKey(KeyPair);

impl ReleaseKey {
    /// Makes a key and writes it where only its owner can read it; the public half goes beside it, as `<name>.pub`.
    ///
    /// # Errors
    /// [`SigningError`]; no file is written over, neither a key nor the public half of another one.
    pub fn make(path: &Path) -> Result<Self, SigningError> {
        let public = path.with_extension("pub");
        if public == path {
            return Err(SigningError::PublicName);
        }
        let taken = |path: &Path, e: io::Error| {
            if e.kind() == io::ErrorKind::AlreadyExists { SigningError::Exists(path.to_owned()) } else { SigningError::Storage(e) }
        };
        if public.exists() {
            return Err(SigningError::Exists(public));
        }
        let key = Self(KeyPair::generate().map_err(|_| SigningError::Key)?);
        durable::create_secret(path, Zeroizing::new(key.0.serialize_pem()).as_bytes()).map_err(|e| taken(path, e))?;
        durable::create(&public, key.public_pem().as_bytes()).map_err(|e| taken(&public, e))?;
        Ok(key)
    }

    /// Reads a key; refuses a file that others may read.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn read(path: &Path) -> Result<Self, SigningError> {
        Self::parse(&durable::read_secret(path, MAX_KEY_FILE)?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SigningError> {
        let text = std::str::from_utf8(bytes).map_err(|_| SigningError::Key)?;
        let key = KeyPair::from_pem(text).map_err(|_| SigningError::Key)?;
        if key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 { Ok(Self(key)) } else { Err(SigningError::Key) }
    }

    /// The public half as other tools write it: subject public key info in PEM, lines of 64.
    pub fn public_pem(&self) -> String {
        use rcgen::PublicKeyData as _;
        let text = BASE64.encode(self.0.subject_public_key_info());
        let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// SHA-256 of [`Self::public_pem`], by which a bundle hints at its key.
    pub fn hint(&self) -> Sha256 {
        Sha256(protocol::hash::sha256(&[self.public_pem().as_bytes()]))
    }
}

fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher, mut buffer) = (std::fs::File::open(path)?, Hasher::new(), vec![0u8; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// The in-toto statement over these files of `dir`, which have no directories below them.
fn statement(dir: &Path, model: &str, files: &[&str]) -> io::Result<Vec<u8>> {
    let mut names = files.to_vec();
    names.sort_unstable();
    let digests = names.iter().map(|n| digest_of(&dir.join(n))).collect::<io::Result<Vec<_>>>()?;
    let root = digests.iter().fold(Hasher::new(), |h, d| h.chain_update(d)).finalize();
    let resource = |(name, digest): (&&str, &[u8; 32])| json!({"algorithm": "sha256", "digest": hex::encode(digest), "name": name});
    let resources: Vec<_> = names.iter().zip(&digests).map(resource).collect();
    let value = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": model, "digest": {"sha256": hex::encode(root)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": [SIGNATURE]},
            "resources": resources,
        },
    });
    Ok(value.to_string().into_bytes())
}

/// DSSE v1.0 pre-authentication encoding.
fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs these files of `dir`; returns the bytes of `model.sig`. ECDSA draws anew: another call gives another signature.
///
/// # Errors
/// [`SigningError`].
pub fn sign(dir: &Path, model: &str, files: &[&str], key: &ReleaseKey) -> Result<Vec<u8>, SigningError> {
    Ok(bundle(&statement(dir, model, files)?, key)?.to_string().into_bytes())
}

/// The bundle around a signed payload.
fn bundle(payload: &[u8], key: &ReleaseKey) -> Result<serde_json::Value, SigningError> {
    let signature = key.0.sign(&pae(payload)).map_err(|_| SigningError::Key)?;
    Ok(json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": key.hint()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": BASE64.encode(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": BASE64.encode(signature), "keyid": ""}],
        },
    }))
}

/// Whether a bundle of ours lists these files of `dir` as they are now. Who signed it is not looked at.
pub(crate) fn covers(dir: &Path, bundle: &[u8], files: &[&str]) -> io::Result<bool> {
    let Some((model, payload)) = payload_of(bundle) else { return Ok(false) };
    Ok(statement(dir, &model, files)? == payload)
}

/// The name of the model in a bundle, and the payload that says so. Whether anybody signed it is not looked at.
pub(crate) fn payload_of(bundle: &[u8]) -> Option<(String, Vec<u8>)> {
    let said: serde_json::Value = serde_json::from_slice(bundle).ok()?;
    let payload = BASE64.decode(said["dsseEnvelope"]["payload"].as_str()?).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some((value["subject"][0]["name"].as_str()?.to_owned(), payload))
}

#[cfg(test)]
#[path = "model_signing_vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData as _;
    use serde_json::Value;

    fn signed() -> (tempfile::TempDir, ReleaseKey, Value, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("model.safetensors"), b"weights").unwrap();
        std::fs::write(dir.path().join("lineage.json"), b"{}").unwrap();
        let key = ReleaseKey::make(&dir.path().join("release.key")).unwrap();
        let bundle = sign(dir.path(), "demo", &["model.safetensors", "lineage.json"], &key).unwrap();
        let value: Value = serde_json::from_slice(&bundle).unwrap();
        let payload = BASE64.decode(value["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        (dir, key, value, payload)
    }

    #[test]
    fn the_envelope_holds_under_the_public_key_and_no_longer_when_a_bit_changes() {
        let (_dir, key, bundle, payload) = signed();
        let signature = BASE64.decode(bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let p256 = rustls::pki_types::alg_id::ECDSA_P256;
        let sha256 = rustls::pki_types::alg_id::ECDSA_SHA256;
        let algorithms = provider.signature_verification_algorithms.all.iter();
        let algorithm = algorithms.clone().find(|a| a.public_key_alg_id() == p256 && a.signature_alg_id() == sha256).unwrap();
        let holds = |message: &[u8]| algorithm.verify_signature(key.0.der_bytes(), message, &signature).is_ok();
        assert!(holds(&pae(&payload)));
        let mut altered = pae(&payload);
        altered[40] ^= 1;
        assert!(!holds(&altered) && !holds(&payload));
    }

    #[test]
    fn every_file_is_named_in_order_with_its_digest_and_all_of_them_give_the_root() {
        let (dir, key, bundle, payload) = signed();
        let statement: Value = serde_json::from_slice(&payload).unwrap();
        let resources = statement["predicate"]["resources"].as_array().unwrap();
        let names: Vec<_> = resources.iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["lineage.json", "model.safetensors"]);
        let mut root = Hasher::new();
        for r in resources {
            let digest = digest_of(&dir.path().join(r["name"].as_str().unwrap())).unwrap();
            assert_eq!(r["digest"], hex::encode(digest));
            root.update(digest);
        }
        assert_eq!(statement["subject"][0]["digest"]["sha256"], hex::encode(root.finalize()));
        assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], key.hint().to_hex());
    }

    /// A54. The tool is Python, so it is no part of a build: `MODEL_SIGNING` names its command where somebody has it.
    #[test]
    fn the_reference_tool_takes_our_bundle_and_refuses_an_altered_model() {
        let Ok(tool) = std::env::var("MODEL_SIGNING") else {
            return eprintln!("SKIPPED: set MODEL_SIGNING to the command of the reference tool (model-signing on PyPI)");
        };
        let dir = tempfile::tempdir().unwrap();
        let (model, key_file) = (dir.path().join("model"), dir.path().join("release.key"));
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("model.safetensors"), b"weights").unwrap();
        std::fs::write(model.join("lineage.json"), b"{}").unwrap();
        let key = ReleaseKey::make(&key_file).unwrap();
        let bundle = sign(&model, "demo", &["model.safetensors", "lineage.json"], &key).unwrap();
        std::fs::write(model.join(SIGNATURE), bundle).unwrap();
        let verify = || {
            let mut command = std::process::Command::new(&tool);
            command.args(["verify", "key"]).arg(&model).arg("--signature").arg(model.join(SIGNATURE));
            let out = command.arg("--public_key").arg(key_file.with_extension("pub")).output().unwrap();
            (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
        };
        let (good, said) = verify();
        assert!(good, "{said}");
        std::fs::write(model.join("model.safetensors"), b"Weights").unwrap();
        let (good, said) = verify();
        assert!(!good, "{said}");
    }

    #[test]
    fn a_key_comes_back_from_its_file_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release.key");
        let key = ReleaseKey::make(&path).unwrap();
        assert_eq!(ReleaseKey::read(&path).unwrap().public_pem(), key.public_pem());
        let public = dir.path().join("release.pub");
        // Neither the key, nor the public half of one that has another ending, nor a key in the place of a public half.
        assert!(matches!(ReleaseKey::make(&path), Err(SigningError::Exists(at)) if at == public));
        assert!(matches!(ReleaseKey::make(&dir.path().join("release.pem")), Err(SigningError::Exists(at)) if at == public));
        assert!(matches!(ReleaseKey::make(&public), Err(SigningError::PublicName)));
        assert_eq!(std::fs::read_to_string(&public).unwrap(), key.public_pem());
        std::fs::remove_file(&public).unwrap();
        assert!(matches!(ReleaseKey::make(&path), Err(SigningError::Exists(at)) if at == path));
        assert!(!public.exists(), "refused before anything was written");
        assert_eq!(ReleaseKey::read(&path).unwrap().public_pem(), key.public_pem());
        let open = dir.path().join("open.key");
        std::fs::write(&open, key.0.serialize_pem()).unwrap();
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(ReleaseKey::read(&open).is_err());
    }
}
