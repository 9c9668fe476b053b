//! The signature of a released model, checked here as anybody's tool checks it: OpenSSF Model Signing v1.0, method `key` (audit.md A44, A54). A
//! Sigstore bundle v0.3 carries a DSSE envelope around an in-toto statement, which lists every file with its SHA-256 and the root over them.
//! The only file that names `p256`. Knows no directory and no log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use protocol::hash::sha256;
use protocol::ids::Sha256;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Longest bundle: some ten thousand files with long names.
pub const MAX_BUNDLE_BYTES: usize = 16 << 20;
/// Longest public key in PEM.
pub const MAX_KEY_BYTES: usize = 4096;
/// Most files of a model.
pub const MAX_RESOURCES: usize = 10_000;
const MAX_NAME: usize = 1024;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// What a signature says, once it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the key's PEM, by which the bundle and the log hint at it.
    pub key: Sha256,
    /// Files with their SHA-256, by name.
    pub resources: Vec<(String, Sha256)>,
    /// Files that the signature leaves out.
    pub ignored: BTreeSet<String>,
}

/// Why a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadModelSignature {
    /// Not a bundle.
    #[error("the file is no Sigstore bundle v0.3 with a DSSE envelope")]
    NotABundle,
    /// Signed in another way.
    #[error("the bundle is not of method `key`: it carries a certificate, or no hint at a key")]
    Method,
    /// Not exactly one signature.
    #[error("the envelope has {0} signatures, expected 1")]
    Signatures(usize),
    /// Another kind of payload.
    #[error("the envelope's payload is of type {0}, expected {PAYLOAD}")]
    PayloadType(String),
    /// The key.
    #[error("the public key is no ECDSA P-256 key in PEM (subject public key info)")]
    Key,
    /// Another key.
    #[error("the bundle was made with the key {got}, the one given is {given}")]
    OtherKey {
        /// The bundle's hint.
        got: String,
        /// Hash of the key given.
        given: Sha256,
    },
    /// The signature does not hold.
    #[error("the signature does not hold under the key given")]
    Signature,
    /// Not a statement about a model.
    #[error("what was signed is no in-toto statement v1 of predicate {PREDICATE}")]
    NotAStatement,
    /// Hashed in a way that this version does not know.
    #[error("the files are hashed by method {method} and {hash}, expected files and sha256, without links")]
    Serialization {
        /// Method.
        method: String,
        /// Hash.
        hash: String,
    },
    /// A name that leads elsewhere, twice the same, or out of order.
    #[error("the list of files names {0:?}, which leads elsewhere, is there twice, or is out of order")]
    Name(String),
    /// A file's digest.
    #[error("the digest of {0:?} is no SHA-256")]
    Digest(String),
    /// The root.
    #[error("the root of the statement's subject is not that of its files")]
    Root,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Hint>,
    certificate: Option<serde_json::Value>,
    x509_certificate_chain: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Hint {
    hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    sha256: String,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    #[serde(default)]
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// DSSE v1.0 pre-authentication encoding: what is signed.
fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Checks a bundle under a public key in PEM, and tells what it says.
///
/// # Errors
/// [`BadModelSignature`], the first rule broken. Nothing of the payload is read before its signature holds.
///
/// # Security
/// All bytes may be an attacker's. Names in the answer lead nowhere but below the model's directory.
pub fn open(bundle: &[u8], public_pem: &[u8]) -> Result<Signed, BadModelSignature> {
    let given = Sha256(sha256(&[public_pem]));
    let text = std::str::from_utf8(public_pem).ok().filter(|t| t.len() <= MAX_KEY_BYTES).ok_or(BadModelSignature::Key)?;
    let key = VerifyingKey::from_public_key_pem(text).map_err(|_| BadModelSignature::Key)?;
    if bundle.len() > MAX_BUNDLE_BYTES {
        return Err(BadModelSignature::NotABundle);
    }
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| BadModelSignature::NotABundle)?;
    if bundle.media_type != BUNDLE {
        return Err(BadModelSignature::NotABundle);
    }
    let material = bundle.verification_material;
    let Some(hint) = material.public_key.filter(|_| material.certificate.is_none() && material.x509_certificate_chain.is_none()) else {
        return Err(BadModelSignature::Method);
    };
    if hint.hint != given.to_hex() {
        return Err(BadModelSignature::OtherKey { got: hint.hint.chars().take(64).collect(), given });
    }
    let envelope = bundle.dsse_envelope;
    if envelope.payload_type != PAYLOAD {
        return Err(BadModelSignature::PayloadType(envelope.payload_type.chars().take(64).collect()));
    }
    let [signature] = envelope.signatures.as_slice() else { return Err(BadModelSignature::Signatures(envelope.signatures.len())) };
    let payload = BASE64.decode(&envelope.payload).map_err(|_| BadModelSignature::NotABundle)?;
    let der = BASE64.decode(&signature.sig).map_err(|_| BadModelSignature::Signature)?;
    let signature = Signature::from_der(&der).map_err(|_| BadModelSignature::Signature)?;
    key.verify(&pae(PAYLOAD, &payload), &signature).map_err(|_| BadModelSignature::Signature)?;
    read(&payload, given)
}

/// The statement, of which the signature holds.
pub(crate) fn read(payload: &[u8], key: Sha256) -> Result<Signed, BadModelSignature> {
    let statement: Statement = serde_json::from_slice(payload).map_err(|_| BadModelSignature::NotAStatement)?;
    let [subject] = statement.subject.as_slice() else { return Err(BadModelSignature::NotAStatement) };
    if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
        return Err(BadModelSignature::NotAStatement);
    }
    let Serialization { method, hash_type, allow_symlinks, ignore_paths } = statement.predicate.serialization;
    if method != "files" || hash_type != "sha256" || allow_symlinks {
        return Err(BadModelSignature::Serialization { method, hash: hash_type });
    }
    let resources = resources(statement.predicate.resources)?;
    let digests: Vec<&[u8]> = resources.iter().map(|(_, d)| d.0.as_slice()).collect();
    if Sha256(sha256(&digests)).to_hex() != subject.digest.sha256 {
        return Err(BadModelSignature::Root);
    }
    if let Some(bad) = ignore_paths.iter().find(|n| !is_below(n)) {
        return Err(BadModelSignature::Name(bad.chars().take(64).collect()));
    }
    Ok(Signed { model: subject.name.clone(), key, resources, ignored: ignore_paths.into_iter().collect() })
}

/// Files in rising order of their names, each once.
fn resources(listed: Vec<Resource>) -> Result<Vec<(String, Sha256)>, BadModelSignature> {
    let mut out: Vec<(String, Sha256)> = Vec::with_capacity(listed.len().min(MAX_RESOURCES));
    for Resource { name, algorithm, digest } in listed {
        let rises = out.last().is_none_or(|(last, _)| *last < name);
        if !rises || !is_below(&name) || out.len() >= MAX_RESOURCES {
            return Err(BadModelSignature::Name(name.chars().take(64).collect()));
        }
        match digest.parse() {
            Ok(digest) if algorithm == "sha256" => out.push((name, digest)),
            Ok(_) | Err(_) => return Err(BadModelSignature::Digest(name.chars().take(64).collect())),
        }
    }
    Ok(out)
}

/// Whether a name stays below the directory that it is taken in.
fn is_below(name: &str) -> bool {
    let part = |p: &str| !p.is_empty() && p != "." && p != "..";
    name.len() <= MAX_NAME && !name.contains(['\0', '\\']) && name.split('/').all(part)
}

#[cfg(test)]
#[path = "model_sig_tests.rs"]
mod tests;
