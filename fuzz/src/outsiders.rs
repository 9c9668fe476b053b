//! Files that an auditor gets from anybody: proofs of forks, packs of evidence, lists of chunks, kept integers, snapshots, signatures of models.

use audit::fork::ForkProof;
use audit::key::VerifierKey;
use auditor::doors::model_statement;
use auditor::evidence::verify_evidence;
use auditor::model_sig::{self, MAX_RESOURCES, Signed};
use auditor::recompute::{parse_chunk_list, parse_kept};
use auditor::weights::Weights;
use std::path::{Component, Path};

/// A proof of a fork has one spelling, and shows two roots or nothing.
pub fn forks(bytes: &[u8]) {
    let Ok(proof) = ForkProof::parse(bytes) else { return };
    assert_eq!(proof.to_bytes(), bytes);
    let Ok(key) = proof.log.parse::<VerifierKey>() else { return };
    if let Ok(fork) = proof.check(&key, None) {
        assert!(fork.first_root != fork.second_root && fork.size == proof.size);
    }
}

/// Lists of chunk addresses, kept integers, and snapshots.
pub fn lists(bytes: &[u8]) {
    if let Some(addresses) = parse_chunk_list(bytes) {
        assert!(addresses.len() <= bytes.len() / 64);
    }
    if let Some(groups) = parse_kept(bytes) {
        let integers: usize = groups.values().flat_map(|g| g.values()).map(Vec::len).sum();
        assert!(integers <= bytes.len(), "every integer has a byte of its own");
    }
    let Ok(mut weights) = Weights::parse(bytes.to_vec()) else { return };
    assert!(4 * weights.numbers() <= bytes.len());
    (0..weights.numbers()).for_each(|at| weights.set(at, weights.get(at)));
    assert!(weights.into_bytes().len() == bytes.len());
}

/// Files of a pack in one: names and contents, each behind its length in four bytes.
pub fn join<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let framed = |part: &[u8]| [&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()[..], part].concat();
    files.into_iter().flat_map(|(name, bytes)| [framed(name.as_bytes()), framed(bytes)].concat()).collect()
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at(rest.len().min(usize::try_from(u32::from_le_bytes(*length)).ok()?));
    *bytes = rest;
    Some(part)
}

/// A name below a directory, of plain letters, and not above it.
fn is_below(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let below = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    !name.is_empty() && name.len() < 200 && !name.ends_with('/') && name.chars().all(plain) && below
}

/// A pack of evidence as an institution hands it over; what comes of it is a verdict or a refusal.
pub fn packs(mut bytes: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    while let (Some(name), Some(content)) = (part(&mut bytes), part(&mut bytes)) {
        let Some(name) = std::str::from_utf8(name).ok().filter(|n| is_below(n)) else { continue };
        let path = dir.path().join(name);
        // A file where a directory should be is one of the things that a pack may have.
        if path.parent().is_some_and(|parent| std::fs::create_dir_all(parent).is_ok()) {
            drop(std::fs::write(path, content));
        }
    }
    if let Ok(verdict) = verify_evidence(dir.path(), None) {
        assert_eq!(verdict.verified, verdict.exit_code == 0);
        assert!(!verdict.trust_pinned && verdict.receipts <= 1_000_000);
    }
}

/// Names below the model's directory, rising, each once.
fn is_plain(signed: &Signed) -> bool {
    let names: Vec<&str> = signed.resources.iter().map(|(name, _)| name.as_str()).collect();
    let below = |name: &str| Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    names.len() <= MAX_RESOURCES
        && names.is_sorted_by(|a, b| a < b)
        && names.iter().all(|n| below(n))
        && signed.ignored.iter().all(|n| below(n))
}

/// A key in PEM and the bundle that it signed, with a zero between them; and what stands behind a signature that no fuzzer can make.
pub fn signatures(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (key, bundle) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    if let Ok(signed) = model_sig::open(bundle, key) {
        assert!(is_plain(&signed));
    }
    assert!(model_statement(bytes).is_none_or(|signed| is_plain(&signed)));
}
