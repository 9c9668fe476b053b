//! Policies: the language, and who may be believed.

use proptest::prelude::*;

use super::*;
use crate::cosign::cosign;
use crate::hash::leaf_hash;
use crate::key::SignerKey;
use crate::tree::TreeHead;

fn log() -> SignerKey {
    SignerKey::new("fed.example/log", KeyType::Note, &[1; 32]).ok().unwrap()
}

fn witness(n: u8) -> SignerKey {
    SignerKey::new(&format!("w{n}.example"), KeyType::Cosignature, &[100 + n; 32]).ok().unwrap()
}

fn witnesses(n: u8) -> Vec<Witness> {
    (0..n).map(|i| Witness { name: format!("w{i}"), key: witness(i).verifier().clone() }).collect()
}

/// The lines of a policy with one log and `n` witnesses, then `tail`.
fn policy(n: u8, tail: &str) -> Result<Policy, PolicyError> {
    let lines: String = witnesses(n).iter().map(|w| format!("witness {} {}\n", w.name, w.key)).collect();
    Policy::parse(&format!("log {}\n{lines}{tail}", log().verifier()))
}

fn keys(of: &[u8]) -> BTreeSet<[u8; 32]> {
    of.iter().map(|n| witness(*n).verifier().public()).collect()
}

#[test]
fn default_quorums_are_those_of_the_design() {
    let got: Vec<usize> = [1, 2, 3, 4, 5, 7, 10].into_iter().map(default_quorum).collect();
    assert_eq!(got, [1, 2, 2, 3, 4, 5, 7]);
    for n in 1..=MAX_WITNESSES {
        let (k, f) = (default_quorum(n), (n - 1) / 3);
        assert!(2 * k > n + f, "two quorums of {n} share an honest witness");
        assert!(k <= n - f, "{n} witnesses form a quorum with {f} down");
    }
}

#[test]
fn the_two_level_policy_of_the_specification_is_evaluated() {
    let tail = "group X 2 w0 w1 w2\n# a comment\n\n \t group Y any w3 w4 w5\ngroup both all X Y\nquorum both\n";
    let policy = policy(6, tail).unwrap();
    for (cosigners, met) in [(&[0, 1, 3][..], true), (&[0, 2, 5, 4], true), (&[0, 3, 4, 5], false), (&[0, 1, 2], false), (&[], false)] {
        assert_eq!(policy.is_met(&keys(cosigners)), met, "{cosigners:?}");
    }
    assert!(policy.text().ends_with(tail));
}

#[test]
fn one_witness_or_none_can_be_the_quorum() {
    assert!(policy(2, "quorum w1\n").unwrap().is_met(&keys(&[1])));
    assert!(!policy(2, "quorum w1\n").unwrap().is_met(&keys(&[0])));
    let none = policy(0, "quorum none\n").unwrap();
    assert!(none.is_met(&keys(&[])) && !none.demands_witnesses());
}

#[test]
fn what_the_language_forbids_is_refused() {
    for bad in [
        "",
        "quorum w9\n",
        "quorum all\n",
        "quorum w0\nquorum w0\n",
        "group g 0 w0\nquorum g\n",
        "group g 3 w0 w1\nquorum g\n",
        "group g 01 w0\nquorum g\n",
        "group g any\nquorum g\n",
        "group g any w0 w0\nquorum g\n",
        "group g any none\nquorum g\n",
        "group none any w0\nquorum w0\n",
        "group w0 any w1\nquorum w0\n",
        "group g any h\ngroup h any w0\nquorum g\n",
        "group g any w0\ngroup h any w0\nquorum g\n",
        "quorum w0",
        "quorum w0\r\n",
        "quorum w0 x\n",
        "witness x y\nquorum w0\n",
        "nonsense\n",
    ] {
        assert!(policy(2, bad).is_err(), "{bad:?}");
    }
    let doubled = format!("witness again {}\nquorum w0\n", witness(0).verifier());
    assert_eq!(policy(1, &doubled), Err(PolicyError::Repeated { line: 3 }));
    let wrong_type = format!("witness l {}\nquorum none\n", SignerKey::new("x", KeyType::Note, &[9; 32]).ok().unwrap().verifier());
    assert_eq!(policy(0, &wrong_type), Err(PolicyError::WrongKeyType { line: 2 }));
    assert_eq!(Policy::parse("quorum none\n"), Err(PolicyError::NoLog));
    assert!(matches!(policy(65, "quorum w0\n"), Err(PolicyError::TooMany { .. })));
    assert!(policy(64, "quorum w0\n").is_ok());
}

fn checkpoint(origin: &str) -> Checkpoint {
    Checkpoint { origin: origin.to_owned(), head: TreeHead { size: 5, root: leaf_hash(b"root") } }
}

/// A note of the log with cosignatures of these witnesses at these times.
fn note(cosigners: &[(u8, u64)]) -> Note {
    let mut note = checkpoint("fed.example/log").sign(&log()).unwrap();
    for (n, time) in cosigners {
        let line = cosign(&witness(*n), *time, note.text()).unwrap();
        note.add(&[line]).unwrap();
    }
    note
}

#[test]
fn a_checkpoint_needs_the_log_and_then_its_quorum() {
    let policy = Policy::compose(log().verifier(), &witnesses(3), Some(2)).unwrap();
    let open = |cosigners: &[(u8, u64)]| policy.open(&note(cosigners).encode()).unwrap();
    assert!(!open(&[]).has_quorum());
    assert!(!open(&[(0, 7), (0, 9)]).has_quorum(), "one witness counts once");
    assert!(!open(&[(0, 7), (4, 9)]).has_quorum(), "a stranger does not count");
    let opened = open(&[(0, 7), (2, 9), (0, 8)]);
    assert!(opened.has_quorum());
    assert_eq!(opened.cosigners().values().copied().collect::<BTreeSet<_>>(), BTreeSet::from([8, 9]));
    assert_eq!(opened.checkpoint(), &checkpoint("fed.example/log"));
}

#[test]
fn a_note_that_the_log_did_not_sign_is_not_opened() {
    let policy = Policy::compose(log().verifier(), &witnesses(3), Some(2)).unwrap();
    let other = SignerKey::new("fed.example/log", KeyType::Note, &[2; 32]).ok().unwrap();
    let forged = checkpoint("fed.example/log").sign(&other).unwrap();
    assert_eq!(policy.open(&forged.encode()), Err(OpenError::NotByLog));
    let elsewhere = checkpoint("other.example/log").sign(&log()).unwrap();
    assert!(matches!(policy.open(&elsewhere.encode()), Err(OpenError::WrongOrigin { .. })));
    assert!(matches!(policy.open(&Note::sign("x\n", &log()).unwrap().encode()), Err(OpenError::Checkpoint(_))));
}

#[test]
fn one_forged_cosignature_of_a_known_witness_rejects_the_note() {
    let policy = Policy::compose(log().verifier(), &witnesses(3), Some(1)).unwrap();
    let mut note = note(&[(0, 7)]);
    let elsewhere = cosign(&witness(1), 7, "another text\n").unwrap();
    note.add(&[elsewhere]).unwrap();
    assert!(matches!(policy.open(&note.encode()), Err(OpenError::Note(NoteError::BadSignature { .. }))));
}

proptest! {
    #[test]
    fn parsing_nonsense_never_panics(text in "((log|witness|group|quorum|#) ?[a-c1-3 \t]{0,8}\n){0,5}") {
        prop_assert!(Policy::parse(&text).is_err());
    }
}

#[test]
fn a_policy_for_the_next_key_of_its_log_differs_in_one_line_only() {
    let next = SignerKey::new(log().verifier().name(), KeyType::Note, &[77; 32]).ok().unwrap();
    let tail =
        "# log of ours\nwitness w0 VKEY https://w.example/\ngroup g 1 w0\nquorum g\n".replace("VKEY", &witness(0).verifier().to_string());
    let policy = Policy::parse(&format!("log  {}\thttps://l.example/\n{tail}", log().verifier())).unwrap();
    let other = policy.with_log(next.verifier()).unwrap();
    assert_eq!(other.text(), format!("log  {}\thttps://l.example/\n{tail}", next.verifier()));
    assert_eq!((other.log(), other.witnesses()), (next.verifier(), policy.witnesses()));
    assert_eq!(other.with_log(log().verifier()).unwrap(), policy, "and back, not a space is another");
    let none = Policy::compose(log().verifier(), &[], None).unwrap().with_log(next.verifier()).unwrap();
    assert_eq!(none, Policy::compose(next.verifier(), &[], None).unwrap());
    // A witness's key cannot be the log's too.
    let doubled = SignerKey::new(log().verifier().name(), KeyType::Note, &[100; 32]).ok().unwrap();
    assert!(matches!(policy.with_log(doubled.verifier()), Err(PolicyError::Repeated { .. })));
}
