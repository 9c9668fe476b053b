use super::*;
use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, Draft, Identity, Origin, Stamp};
use protocol::ids::{ClientId, PublicKey, TokenId};
use protocol::trust::TrustChange;

fn trust(administrator: &SigningKey) -> TrustDocument {
    let public = |k: &SigningKey| PublicKey(k.verifying_key().to_bytes());
    TrustDocument {
        v: 1,
        federation: "fed".into(),
        log_vkey: "unused".into(),
        root_ca: Sha256([1; 32]),
        administrators: vec![public(administrator)],
        threshold: 1,
        server: public(&SigningKey::from_bytes(&[9; 32])),
        previous: None,
    }
}

fn request(key: &SigningKey) -> (JoinRequest, Statement) {
    let request = JoinRequest {
        token: TokenId([2; 16]),
        trust: Sha256([3; 32]),
        nonce: Sha256([4; 32]),
        name: "hospital-a".into(),
        institution_key: PublicKey(key.verifying_key().to_bytes()),
        witness_vkey: "unused".into(),
        tls_key: Sha256([5; 32]),
    };
    let statement = Statement::sign(&request, key);
    (request, statement)
}

fn entry(membership: &Membership, hash: Sha256, signer: &SigningKey, seq: u64) -> Vec<u8> {
    let stamp = Stamp {
        seq,
        id: "018f0000-0000-7000-8000-000000000000".into(),
        ts: "2026-01-02T03:04:05.000006Z".into(),
        who: Identity::default(),
        origin: Origin { name: "concordat-server".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 },
        federation: "fed".into(),
        cause: None,
    };
    let draft = Draft::said(
        Actor::Administrator,
        Some(membership.institution),
        Statement::sign(membership, signer),
        Facts::MemberJoined { request: hash },
    );
    LogEntry::new(stamp, &draft).to_bytes()
}

#[test]
fn only_an_administrators_word_for_exactly_our_request_admits() {
    let (administrator, ours) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
    let (trust, (asked, statement)) = (trust(&administrator), request(&ours));
    let (membership, hash) = (Membership::of(&asked), Sha256(protocol::hash::sha256(&[&statement.payload])));
    let good = entry(&membership, hash, &administrator, 5);
    assert!(check_entries(&trust, &statement, &[&good], LeafIndex(5)).is_ok());
    assert!(matches!(check_entries(&trust, &statement, &[&good], LeafIndex(6)), Err(JoinError::NotAdmitted)));
    let by_stranger = entry(&membership, hash, &ours, 5);
    assert!(matches!(check_entries(&trust, &statement, &[&by_stranger], LeafIndex(5)), Err(JoinError::NotAdmitted)));
    let other = Membership { institution: ClientId([0; 32]), ..membership.clone() };
    let for_another = entry(&other, hash, &administrator, 5);
    assert!(matches!(check_entries(&trust, &statement, &[&for_another], LeafIndex(5)), Err(JoinError::NotAdmitted)));
    let another_request = entry(&membership, Sha256([0; 32]), &administrator, 5);
    assert!(matches!(check_entries(&trust, &statement, &[&another_request], LeafIndex(5)), Err(JoinError::NotAdmitted)));
}

#[test]
fn where_two_administrators_must_admit_one_is_not_enough() {
    let [first, second, ours] = [7u8, 6, 8].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let public = |k: &SigningKey| PublicKey(k.verifying_key().to_bytes());
    let trust = TrustDocument { administrators: vec![public(&first), public(&second)], threshold: 2, ..trust(&first) };
    let (asked, statement) = request(&ours);
    let (membership, hash) = (Membership::of(&asked), Sha256(protocol::hash::sha256(&[&statement.payload])));
    let (early, late) = (entry(&membership, hash, &first, 4), entry(&membership, hash, &second, 5));
    let check = |words: &[&[u8]]| check_entries(&trust, &statement, words, LeafIndex(5)).is_ok();
    assert!(check(&[&late, &early]));
    assert!(!check(&[&late]) && !check(&[&early]) && !check(&[]));
    assert!(!check(&[&late, &entry(&membership, hash, &second, 4)]), "one administrator twice");
    assert!(!check(&[&late, &entry(&membership, hash, &ours, 4)]), "a stranger");
    assert!(!check(&[&late, &entry(&membership, hash, &first, 6)]), "a word that came later");
    let other = Membership { name: "hospital-b".into(), ..membership.clone() };
    assert!(!check(&[&late, &entry(&other, hash, &first, 4)]), "a word for another");
}

/// What `signers` said to put `document` in force.
fn change(document: &TrustDocument, signers: &[&SigningKey]) -> Vec<Statement> {
    let said = TrustChange { document: document.to_bytes() };
    signers.iter().map(|key| Statement::sign(&said, key)).collect()
}

#[test]
fn a_pinned_trust_document_leads_to_later_ones_and_nobody_elses_is_believed() {
    let [first, second, third, stranger] = [7u8, 6, 5, 4].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let public = |k: &SigningKey| PublicKey(k.verifying_key().to_bytes());
    let hash = |d: &TrustDocument| TrustDocument::hash(&d.to_bytes());
    let old = trust(&first);
    let middle =
        TrustDocument { administrators: vec![public(&second), public(&third)], threshold: 2, previous: Some(hash(&old)), ..old.clone() };
    let last = TrustDocument { administrators: vec![public(&third)], threshold: 1, previous: Some(hash(&middle)), ..old.clone() };
    let mut words = change(&middle, &[&first]);
    words.extend(change(&last, &[&second, &third]));
    for pinned in [&old, &middle, &last] {
        let chain = believed(&old.to_bytes(), &words, hash(pinned)).unwrap();
        assert_eq!((chain.first(), chain.last()), (&old, &last));
    }
    let refused = |words: &[Statement], pinned: Sha256| believed(&old.to_bytes(), words, pinned).is_err();
    assert!(refused(&words, Sha256([9; 32])), "a hash that no chain reaches");
    assert!(refused(&words[..1], hash(&last)) && refused(&words[..2], hash(&old)), "one of two has not said it");
    assert!(refused(&change(&middle, &[&stranger]), hash(&old)), "a stranger");
    assert!(refused(&change(&last, &[&first]), hash(&old)), "a document in between is left out");
    // Another beginning does not lead to a pinned document, whoever signs it.
    let forged = trust(&stranger);
    assert!(believed(&forged.to_bytes(), &change(&middle, &[&stranger]), hash(&middle)).is_err());
    let fork = TrustDocument { previous: Some(hash(&forged)), ..middle.clone() };
    assert!(believed(&forged.to_bytes(), &change(&fork, &[&stranger]), hash(&middle)).is_err());

    // Whoever joins by an invitation that names the middle one is admitted by its administrators or later ones, and by no earlier one.
    let chain = believed(&old.to_bytes(), &words, hash(&middle)).unwrap();
    let since: Vec<&TrustDocument> = chain.since(hash(&middle)).collect();
    assert_eq!(since, [&middle, &last]);
}

#[tokio::test]
async fn a_second_call_in_the_same_directory_makes_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let first = Lock::take(&Home::new(dir.path()).lock(), Item::Identity).unwrap();
    let (address, institution) = ("localhost:1".to_owned(), "hospital-a".to_owned());
    let (root_ca, trust, id, secret) = (Sha256([1; 32]), Sha256([2; 32]), TokenId([3; 16]), [4; 32]);
    let token = Token { address, root_ca, trust, id, secret, institution }.to_line();
    let second = join(dir.path(), &token, Duration::ZERO, &mut |_| {}).await;
    assert!(matches!(second, Err(JoinError::Store(StoreError::Locked(_)))));
    assert!(!dir.path().join("keys").exists());
    drop(first);
}
