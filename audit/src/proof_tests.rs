//! Proofs and receipts.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::cosign::cosign;
use crate::key::{KeyType, SignerKey};
use crate::merkle::prove_inclusion;
use crate::policy::Witness;
use crate::reader::{MemoryLog, TileHashes};
use crate::writer::LogWriter;

/// A receipt for entry 3 of 300 under `cosigners` of seven witnesses, and the policy that asks for five.
fn receipt(cosigners: u8) -> (Receipt, Policy) {
    let log_key = SignerKey::new("fed.example/log", KeyType::Note, &[1; 32]).ok().unwrap();
    let witness = |n: u8| SignerKey::new(&format!("w{n}.example"), KeyType::Cosignature, &[10 + n; 32]).ok().unwrap();
    let named: Vec<Witness> = (0..7).map(|n| Witness { name: format!("w{n}"), key: witness(n).verifier().clone() }).collect();
    let policy = Policy::compose(log_key.verifier(), &named, Some(5)).unwrap();
    let entries: Vec<Vec<u8>> = (0..300).map(|i| format!("entry {i}").into_bytes()).collect();
    let (mut log, mut writer) = (MemoryLog::default(), LogWriter::new());
    log.files.extend(writer.append(&entries).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
    let mut note = Checkpoint { origin: "fed.example/log".into(), head: writer.head() }.sign(&log_key).unwrap();
    for n in 0..cosigners {
        let line = cosign(&witness(n), 1_700_000_000, note.text()).unwrap();
        note.add(&[line]).unwrap();
    }
    let inclusion = prove_inclusion(&TileHashes::new(&log, 300), 3, 300).unwrap();
    (Receipt { entry: entries[3].clone(), proof: TlogProof { index: 3, inclusion, note } }, policy)
}

#[test]
fn a_receipt_convinces_with_a_quorum_only() {
    let (good, policy) = receipt(5);
    assert_eq!(good.verify(&policy).unwrap().checkpoint().head.size, 300);
    let (weak, _) = receipt(4);
    assert_eq!(weak.verify(&policy), Err(Unproved::BelowQuorum { size: 300, cosigners: 4 }));
}

#[test]
fn another_entry_or_place_is_not_proved() {
    let (good, policy) = receipt(5);
    let mut other = good.clone();
    other.entry.push(b' ');
    assert!(matches!(other.verify(&policy), Err(Unproved::Inclusion(_))));
    let mut moved = good;
    moved.proof.index = 2;
    assert!(matches!(moved.verify(&policy), Err(Unproved::Inclusion(_))));
}

#[test]
fn a_proof_with_seven_cosignatures_fits_three_kibibytes() {
    // A13; here 9 hashes instead of 20, so 11 * 45 bytes are added.
    let (receipt, _) = receipt(7);
    assert!(receipt.proof.encode().len() + 11 * 45 <= 3 * 1024);
}

#[test]
fn a_receipt_has_one_spelling() {
    let (receipt, _) = receipt(5);
    let bytes = receipt.encode().unwrap();
    assert_eq!(Receipt::parse(&bytes).unwrap(), receipt);
    assert!(Receipt::parse(&bytes[..bytes.len() - 1]).is_err());
    assert!(Receipt::parse(&[bytes.as_slice(), b"\n"].concat()).is_err());
    assert!(Receipt::parse(b"").is_err() && Receipt::parse(&[0xff, 0xff]).is_err());
}

#[test]
fn every_changed_byte_of_a_receipt_is_noticed() {
    let (receipt, policy) = receipt(5); // exactly the quorum: a lost cosignature is noticed too
    let bytes = receipt.encode().unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let convinced = Receipt::parse(&altered).is_ok_and(|r| r.verify(&policy).is_ok());
        assert!(!convinced, "byte {at}");
    }
}

#[test]
fn extra_lines_and_loose_forms_are_refused() {
    let good = String::from_utf8(receipt(0).0.proof.encode()).unwrap();
    assert!(TlogProof::parse(good.as_bytes()).is_ok());
    for bad in [
        good.replace("index 3", "extra AAAA\nindex 3"),
        good.replace("index 3", "index 03"),
        good.replace("index 3", "index  3"),
        good.replace("@v1", "@v2"),
        good.replace("index 3\n", "index 3\n\n"),
        format!("\n{good}"),
        String::new(),
    ] {
        assert!(TlogProof::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let long = good.replace("index 3\n", &format!("index 3\n{}", hash.repeat(MAX_PROOF_HASHES)));
    assert_eq!(TlogProof::parse(long.as_bytes()), Err(ProofFormatError::BadHashLine { line: MAX_PROOF_HASHES }));
}

proptest! {
    #[test]
    fn parsing_nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(TlogProof::parse(&bytes).is_err());
        prop_assert!(Receipt::parse(&bytes).is_err());
    }
}
