//! The vectors of A54: bundles that hold and bundles that do not, made by the signer that signs releases. `auditor/src/model_sig_tests.rs` reads
//! them. They are made again, with a key that nobody keeps, by
//! `CONCORDAT_WRITE_VECTORS=1 cargo test -p concordat-server --lib model_signing`.

use super::*;
use serde_json::Value;
use std::path::PathBuf;

const FILES: [(&str, &str); 2] = [("lineage.json", "{\"made\": \"for vectors\"}\n"), ("model.safetensors", "weights that are none\n")];

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../auditor/tests/testdata/vectors/model-signing.json")
}

fn write_files(dir: &Path) -> [&'static str; 2] {
    FILES.map(|(name, text)| {
        std::fs::write(dir.join(name), text).unwrap();
        name
    })
}

/// What is signed, and by whom, before something is made wrong in it.
struct Maker {
    good: Value,
    key: ReleaseKey,
    other: ReleaseKey,
    cases: Vec<Value>,
}

impl Maker {
    fn case(&mut self, name: &str, expected: &str, bundle: &str) {
        self.cases.push(json!({"name": name, "expected": expected, "bundle": bundle}));
    }
    /// A statement that was changed before it was signed.
    fn said(&mut self, name: &str, expected: &str, change: impl FnOnce(&mut Value)) {
        let mut payload = self.good.clone();
        change(&mut payload);
        let bundle = bundle(payload.to_string().as_bytes(), &self.key).unwrap();
        self.case(name, expected, &bundle.to_string());
    }
    /// A bundle that was changed after the statement was signed.
    fn wrapped(&mut self, name: &str, expected: &str, change: impl FnOnce(&mut Value)) {
        let mut bundle = bundle(self.good.to_string().as_bytes(), &self.key).unwrap();
        change(&mut bundle);
        self.case(name, expected, &bundle.to_string());
    }
    fn signature(&self, message: &[u8], key: &ReleaseKey) -> Value {
        Value::String(BASE64.encode(key.0.sign(message).unwrap()))
    }

    fn statements(&mut self) {
        self.said("the digest of a file is too short", "digest", |p| p["predicate"]["resources"][0]["digest"] = "00".into());
        self.said("a file is hashed with sha512", "digest", |p| p["predicate"]["resources"][0]["algorithm"] = "sha512".into());
        self.said("a file lies above the model", "name", |p| p["predicate"]["resources"][0]["name"] = "../lineage.json".into());
        self.said("a file has an absolute name", "name", |p| p["predicate"]["resources"][0]["name"] = "/lineage.json".into());
        self.said("a file is listed twice", "name", |p| {
            let first = p["predicate"]["resources"][0].clone();
            p["predicate"]["resources"][1] = first;
        });
        self.said("files are listed in falling order", "name", |p| p["predicate"]["resources"].as_array_mut().unwrap().reverse());
        self.said("what is left out lies above the model", "name", |p| p["predicate"]["serialization"]["ignore_paths"] = json!(["../x"]));
        self.said("an older in-toto statement", "not-a-statement", |p| p["_type"] = "https://in-toto.io/Statement/v0.1".into());
        self.said("another predicate", "not-a-statement", |p| p["predicateType"] = "https://slsa.dev/provenance/v1".into());
        self.said("two subjects", "not-a-statement", |p| {
            let first = p["subject"][0].clone();
            p["subject"].as_array_mut().unwrap().push(first);
        });
        self.said("no resources", "not-a-statement", |p| p["predicate"] = json!({}));
        self.said("another root", "root", |p| p["subject"][0]["digest"]["sha256"] = "00".repeat(32).into());
        self.said("another digest of a file under the old root", "root", |p| {
            p["predicate"]["resources"][0]["digest"] = "11".repeat(32).into();
        });
        self.said("shards instead of files", "serialization", |p| p["predicate"]["serialization"]["method"] = "shards".into());
        self.said("another hash", "serialization", |p| p["predicate"]["serialization"]["hash_type"] = "blake2b".into());
        self.said("links are followed", "serialization", |p| p["predicate"]["serialization"]["allow_symlinks"] = true.into());
    }

    fn bundles(&mut self) {
        self.wrapped("an older bundle", "not-a-bundle", |b| b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.2+json".into());
        self.wrapped("a payload that is no base64", "not-a-bundle", |b| b["dsseEnvelope"]["payload"] = "%%%".into());
        self.case("no JSON", "not-a-bundle", "model");
        self.wrapped("a certificate", "method", |b| b["verificationMaterial"]["certificate"] = json!({"rawBytes": ""}));
        self.wrapped("no key", "method", |b| drop(b["verificationMaterial"].as_object_mut().unwrap().remove("publicKey")));
        let hint = self.other.hint();
        self.wrapped("the hint of another key", "other-key", |b| b["verificationMaterial"]["publicKey"]["hint"] = json!(hint));
        self.wrapped("another type of payload", "payload-type", |b| b["dsseEnvelope"]["payloadType"] = "application/json".into());
        self.wrapped("no signature", "signatures", |b| b["dsseEnvelope"]["signatures"] = json!([]));
        self.wrapped("two signatures", "signatures", |b| {
            let first = b["dsseEnvelope"]["signatures"][0].clone();
            b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(first);
        });
        let payload = self.good.to_string().into_bytes();
        let (bare, theirs) = (self.signature(&payload, &self.key), self.signature(&pae(&payload), &self.other));
        self.wrapped("signed without its type", "signature", |b| b["dsseEnvelope"]["signatures"][0]["sig"] = bare);
        self.wrapped("signed by another key", "signature", |b| b["dsseEnvelope"]["signatures"][0]["sig"] = theirs);
        self.wrapped("a signature of zeros", "signature", |b| b["dsseEnvelope"]["signatures"][0]["sig"] = BASE64.encode([0; 64]).into());
        let renamed = self.good.to_string().replacen("vector", "Vector", 1);
        self.wrapped("another name after the signature", "signature", |b| b["dsseEnvelope"]["payload"] = BASE64.encode(renamed).into());
    }
}

fn make() -> Value {
    let dir = tempfile::tempdir().unwrap();
    let (model, keys) = (dir.path().join("model"), [dir.path().join("a.key"), dir.path().join("b.key")]);
    std::fs::create_dir(&model).unwrap();
    let names = write_files(&model);
    let [key, other] = keys.map(|path| ReleaseKey::make(&path).unwrap());
    let good = serde_json::from_slice(&statement(&model, "vector", &names).unwrap()).unwrap();
    let whole = String::from_utf8(sign(&model, "vector", &names, &key).unwrap()).unwrap();
    let public = key.public_pem();
    let mut maker = Maker { good, key, other, cases: Vec::new() };
    maker.case("as the server signs", "holds", &whole);
    let spaced = serde_json::to_vec_pretty(&maker.good).unwrap();
    let spaced = bundle(&spaced, &maker.key).unwrap().to_string();
    maker.case("the same statement with other white space", "holds", &spaced);
    maker.statements();
    maker.bundles();
    let files: serde_json::Map<String, Value> = FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect();
    json!({
        "made_by": "server/src/model_signing_vectors.rs: the signer of releases, with a key that nobody keeps",
        "public_key": public, "files": files, "cases": maker.cases,
    })
}

/// The vectors are of this signer: it would sign the same statement over the same files today.
#[test]
fn the_vectors_are_of_this_signer() {
    if std::env::var_os("CONCORDAT_WRITE_VECTORS").is_some() {
        std::fs::write(path(), format!("{:#}\n", make())).unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let names = write_files(dir.path());
    assert_eq!(kept["cases"][0]["expected"], "holds");
    let bundle: Value = serde_json::from_str(kept["cases"][0]["bundle"].as_str().unwrap()).unwrap();
    let payload = BASE64.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload, statement(dir.path(), "vector", &names).unwrap());
    let cases = |v: &Value| -> Vec<(Value, Value)> {
        v["cases"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["expected"].clone())).collect()
    };
    assert_eq!(cases(&kept), cases(&make()), "a case was added: make the vectors again");
}
