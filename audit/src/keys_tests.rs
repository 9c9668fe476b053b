//! Which key signs which tree, for every size and every pair of keys.

use proptest::prelude::*;

use super::*;
use crate::hash::leaf_hash;
use crate::key::SignerKey;

fn signer(n: u8) -> SignerKey {
    SignerKey::new("fed.example/log", KeyType::Note, &[n; 32]).ok().unwrap()
}

fn key(n: u8) -> VerifierKey {
    signer(n).verifier().clone()
}

/// Key 1, then key 2 from size 5 on, then key 3 from size 9 on.
fn three() -> LogKeys {
    let mut keys = LogKeys::new(key(1));
    keys.hand_over(5, key(2)).unwrap();
    keys.hand_over(9, key(3)).unwrap();
    keys
}

fn note(size: u64, by: &[u8]) -> Note {
    let checkpoint = Checkpoint { origin: "fed.example/log".into(), head: TreeHead { size, root: leaf_hash(&size.to_be_bytes()) } };
    let mut notes = by.iter().map(|n| checkpoint.sign(&signer(*n)).unwrap());
    let mut first = notes.next().unwrap();
    notes.for_each(|n| first.add(n.lines()).unwrap());
    first
}

#[test]
fn each_tree_is_signed_by_the_key_of_its_size_and_a_handover_by_both() {
    let keys = three();
    for size in 0..20 {
        let expected: &[u8] = match size {
            0..5 => &[1],
            5 => &[1, 2],
            6..9 => &[2],
            9 => &[2, 3],
            _later => &[3],
        };
        assert!(keys.signers(size).eq(expected.iter().map(|n| key(*n)).collect::<Vec<_>>().iter()), "size {size}");
        for by in [&[1][..], &[2], &[3], &[1, 2], &[2, 3], &[2, 1], &[1, 2, 3]] {
            let enough = expected.iter().all(|n| by.contains(n));
            assert_eq!(keys.signed(&note(size, by)).is_some(), enough, "size {size} by {by:?}");
            assert_eq!(keys.signed_by_any(&note(size, by)).map(|(head, _)| head.size), Some(size));
        }
        assert!(keys.signed(&note(size, &[4])).is_none() && keys.signed_by_any(&note(size, &[4])).is_none());
    }
    assert_eq!((keys.newest(), keys.at(8), keys.name()), (&key(3), &key(2), "fed.example/log"));
    let retired = |size| keys.retired(size).count();
    assert_eq!([4, 5, 8, 9, 99].map(retired), [0, 1, 1, 2, 2]);
}

#[test]
fn a_bad_signature_of_one_of_the_two_spoils_a_handover() {
    let keys = three();
    let both = note(5, &[1, 2]);
    let other = note(6, &[2]);
    // The new key's signature under another text.
    let forged = String::from_utf8(both.encode()).unwrap().replace(&line(&both, 1), &line(&other, 0));
    let forged = Note::parse(forged.as_bytes()).unwrap();
    assert!(keys.signed(&both).is_some() && keys.signed(&forged).is_none());
    let strange = Checkpoint { origin: "other.example/log".into(), head: TreeHead::empty() };
    let stranger = SignerKey::new("other.example/log", KeyType::Note, &[1; 32]).ok().unwrap();
    assert!(keys.signed(&strange.sign(&stranger).unwrap()).is_none());
}

fn line(note: &Note, at: usize) -> String {
    crate::note::write_lines(&note.lines()[at..=at])
}

#[test]
fn a_key_takes_over_once_later_and_in_the_same_logs_name() {
    let mut keys = three();
    let witness = SignerKey::new("fed.example/log", KeyType::Cosignature, &[7; 32]).ok().unwrap();
    let elsewhere = SignerKey::new("other.example/log", KeyType::Note, &[7; 32]).ok().unwrap();
    let before = keys.clone();
    assert_eq!(keys.hand_over(20, witness.verifier().clone()), Err(BadHandover::NoKey));
    assert_eq!(keys.hand_over(20, elsewhere.verifier().clone()), Err(BadHandover::OtherLog));
    for old in 1..=3 {
        assert_eq!(keys.hand_over(20, key(old)), Err(BadHandover::Repeated));
    }
    assert_eq!(keys.hand_over(9, key(4)), Err(BadHandover::Size { got: 9, above: 9 }));
    assert_eq!(LogKeys::new(key(1)).hand_over(0, key(2)), Err(BadHandover::Size { got: 0, above: 0 }));
    assert_eq!(keys, before, "a refusal changes nothing");
    let texts = [1, 2, 3].map(|n| key(n).to_string());
    let of = |sizes: [u64; 3]| LogKeys::of(sizes.into_iter().zip(texts.iter().map(String::as_str)));
    assert_eq!(of([0, 5, 9]), Ok(three()));
    assert_eq!(of([0, 9, 5]), Err(BadHandover::Size { got: 5, above: 9 }));
    assert_eq!(LogKeys::of([]), Err(BadHandover::NoKey));
    assert_eq!(LogKeys::of([(0, "nonsense")]), Err(BadHandover::NoKey));
    assert_eq!(LogKeys::of([(0, witness.verifier().to_string().as_str())]), Err(BadHandover::NoKey));
}

proptest! {
    /// The old key's last tree is the new key's first one, wherever that is: no size is without a key, and none has one that comes later.
    #[test]
    fn every_size_has_its_keys(first in 1u64..50, then in 1u64..50, size in 0u64..120) {
        let mut keys = LogKeys::new(key(1));
        keys.hand_over(first, key(2)).unwrap();
        keys.hand_over(first + then, key(3)).unwrap();
        let signers: Vec<_> = keys.signers(size).cloned().collect();
        prop_assert_eq!(signers.last(), Some(keys.at(size)));
        prop_assert_eq!(signers.len(), 1 + usize::from(size == first || size == first + then));
        let by: Vec<u8> = (1..=3).filter(|n| signers.contains(&key(*n))).collect();
        prop_assert!(keys.signed(&note(size, &by)).is_some());
        for left_out in &by {
            let rest: Vec<u8> = (1..=3).filter(|n| n != left_out).collect();
            prop_assert!(keys.signed(&note(size, &rest)).is_none());
        }
    }
}
