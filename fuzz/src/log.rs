//! Bytes that a log server, a mirror or a witness may send to the audit room. Every one of its formats has one spelling.

use audit::checkpoint::Checkpoint;
use audit::hash::Hash;
use audit::key::{KeyType, SignerKey, VerifierKey};
use audit::note::{Note, parse_lines, write_lines};
use audit::policy::Policy;
use audit::proof::{Receipt, TlogProof};
use audit::tile::{TilePath, decode_bundle, decode_tile, encode_tile, push_entry};
use audit::tree::{CompactRange, TreeHead};
use audit::witness::{AddCheckpoint, Answer, WitnessState, decide};

/// Notes, signature lines, checkpoints, keys, policies, and a policy's judgement of a note.
pub fn notes(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.encode(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(lines) = parse_lines(text) {
        assert_eq!(write_lines(&lines), text);
    }
    if let Ok(policy) = Policy::parse(text) {
        assert_eq!(policy.text(), text);
        assert!(policy.open(bytes).is_err(), "a policy is no note");
    }
    macro_rules! each { ($($form:ty),*) => {$(
        if let Ok(value) = text.parse::<$form>() {
            assert_eq!(value.to_string(), text);
        }
    )*} }
    each!(Checkpoint, TreeHead, VerifierKey, WitnessState);
    if let Ok(key) = SignerKey::from_secret_text(text) {
        assert_eq!(*key.to_secret_text(), *text);
    }
    if let Ok(hash) = Hash::from_base64(text) {
        assert_eq!(hash.to_base64(), text);
    }
}

/// Requests to a witness, its answers, proofs and receipts.
pub fn requests(bytes: &[u8]) {
    if let Ok(request) = AddCheckpoint::parse(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    if let Ok(key) = SignerKey::new("fuzz/log", KeyType::Note, &[1; 32]) {
        // Nobody has this log's key, so a witness that has seen nothing never moves for what is not among the seeds.
        let _advance = decide(&WitnessState::new(), &key.verifier().clone().into(), bytes, 1_700_000_000);
    }
    if let Ok(proof) = TlogProof::parse(bytes) {
        assert_eq!(proof.encode(), bytes);
    }
    if let Ok(receipt) = Receipt::parse(bytes) {
        assert_eq!(receipt.encode().as_deref(), Ok(bytes));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for status in [200, 400, 403, 404, 409, 422, 500] {
        if let Ok(answer) = Answer::parse(status, text) {
            assert_eq!((answer.status(), answer.body().as_str()), (status, text));
        }
    }
}

/// Names and contents of tiles and bundles, and the stored right edge. The first byte is the width.
pub fn tiles(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(path) = text.parse::<TilePath>()
    {
        assert_eq!(path.to_string(), text);
        assert!((1..=256).contains(&path.width()));
    }
    if let Ok(edge) = CompactRange::decode(bytes) {
        assert_eq!(edge.encode(), bytes);
        assert_eq!(edge.head().size, edge.size());
    }
    let Some((&width, body)) = bytes.split_first() else { return };
    if let Some(hashes) = decode_tile(body, u16::from(width)) {
        assert_eq!(encode_tile(&hashes), body);
    }
    if let Ok(entries) = decode_bundle(body, u16::from(width)) {
        let mut again = Vec::new();
        assert!(entries.iter().all(|e| push_entry(&mut again, e).is_ok()));
        assert_eq!(again, body);
    }
}
