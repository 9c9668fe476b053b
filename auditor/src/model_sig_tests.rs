//! The vectors of A54: bundles that hold and bundles that do not, all but one signed by the key that is given. `server/src/model_signing.rs`
//! made them (`CONCORDAT_WRITE_VECTORS`, see there): the signer is the one that signs releases.

use super::*;
use serde_json::Value;

const VECTORS: &str = include_str!("../tests/testdata/vectors/model-signing.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// The rule's name, as the vectors state it.
fn rule(e: &BadModelSignature) -> &'static str {
    match e {
        BadModelSignature::NotABundle => "not-a-bundle",
        BadModelSignature::Method => "method",
        BadModelSignature::Signatures(_) => "signatures",
        BadModelSignature::PayloadType(_) => "payload-type",
        BadModelSignature::Key => "key",
        BadModelSignature::OtherKey { .. } => "other-key",
        BadModelSignature::Signature => "signature",
        BadModelSignature::NotAStatement => "not-a-statement",
        BadModelSignature::Serialization { .. } => "serialization",
        BadModelSignature::Name(_) => "name",
        BadModelSignature::Digest(_) => "digest",
        BadModelSignature::Root => "root",
    }
}

#[test]
fn every_vector_comes_to_what_it_states() {
    let v = vectors();
    let (key, mut seen) = (text(&v, "public_key"), BTreeSet::new());
    for case in v["cases"].as_array().unwrap() {
        let (name, expected) = (text(case, "name"), text(case, "expected"));
        let got = open(text(case, "bundle").as_bytes(), key.as_bytes());
        assert_eq!(got.as_ref().map_or_else(rule, |_| "holds"), expected, "{name}: {got:?}");
        seen.insert(expected);
    }
    let rules = [
        "digest",
        "holds",
        "method",
        "name",
        "not-a-bundle",
        "not-a-statement",
        "other-key",
        "payload-type",
        "root",
        "serialization",
        "signature",
        "signatures",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), rules, "each rule has its vector");
}

#[test]
fn what_holds_names_every_file_with_its_digest() {
    let v = vectors();
    let good = v["cases"].as_array().unwrap().iter().find(|c| text(c, "expected") == "holds").unwrap();
    let signed = open(text(good, "bundle").as_bytes(), text(&v, "public_key").as_bytes()).unwrap();
    let files = v["files"].as_object().unwrap();
    let expected: Vec<_> = files.iter().map(|(n, t)| (n.clone(), Sha256(sha256(&[t.as_str().unwrap().as_bytes()])))).collect();
    assert_eq!(signed.resources, expected);
    assert_eq!(signed.key.0, sha256(&[text(&v, "public_key").as_bytes()]));
    assert!(signed.ignored.contains("model.sig"));
}

/// No bit of a bundle can be changed so that it says something else and still holds.
#[test]
fn no_altered_bundle_says_something_else() {
    let v = vectors();
    let good = v["cases"].as_array().unwrap().iter().find(|c| text(c, "expected") == "holds").unwrap();
    let (bundle, key) = (text(good, "bundle").as_bytes().to_vec(), text(&v, "public_key").as_bytes());
    let said = open(&bundle, key).unwrap();
    let mut refused = 0;
    for at in 0..bundle.len() {
        let mut altered = bundle.clone();
        altered[at] ^= 1 << (at % 7);
        match open(&altered, key) {
            // A field that nobody reads (a log entry that is not there, the key's id) may spell anything.
            Ok(other) => assert_eq!(other, said, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused * 10 > bundle.len() * 9, "{refused} of {}", bundle.len());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "a\\b", "a\0b"] {
        assert!(!is_below(bad), "{bad:?}");
    }
    assert!(is_below("model.safetensors") && is_below("a/b.c/..d"));
    assert!(!is_below(&"a".repeat(MAX_NAME + 1)));
}
