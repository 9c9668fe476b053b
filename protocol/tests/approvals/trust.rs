//! Another trust document: in force with the m-th word of the old administrators, and from there on theirs count no more (audit.md A14).

use super::*;
use protocol::trust::{BadChain, TrustChain, TrustChange};

/// The document in force with `change` in it.
fn next(w: &World, change: impl FnOnce(&mut TrustDocument)) -> TrustChange {
    let mut document = TrustDocument { previous: Some(w.history.trust_hash()), ..w.history.trust().clone() };
    change(&mut document);
    TrustChange { document: document.to_bytes() }
}

impl World {
    fn changes(&mut self, n: u8, said: &TrustChange) -> Vec<Clause> {
        let facts = Facts::TrustChanged { old: self.history.trust_hash(), new: said.hash() };
        self.append(&Draft::said(Actor::Administrator, None, Statement::sign(said, &admin(n)), facts))
    }
}

#[test]
fn the_second_of_two_old_administrators_puts_another_document_in_force() {
    let mut w = World::new(2);
    let first = w.history.trust_hash();
    // 1 to 3 hand over to 4 and 5, who must agree.
    let said = next(&w, |d| d.administrators = vec![public(&admin(4)), public(&admin(5))]);
    assert_eq!(w.changes(1, &said), []);
    assert_eq!((w.changes(1, &said), w.history.trust_hash()), (vec![], first), "one administrator counts once");
    assert_eq!(w.changes(4, &said), [Clause::Signature], "whoever is to administer does not yet");
    let at = LeafIndex(w.size);
    assert_eq!(w.changes(3, &said), []);
    let now = w.history.trusts().last().unwrap();
    assert_eq!((now.hash, now.since, now.words.len()), (said.hash(), at, 2));
    assert!(w.history.knows_trust(first) && w.history.knows_trust(said.hash()) && !w.history.knows_trust(Sha256([1; 32])));
    assert_eq!(w.history.trust_at(at).administrators.len(), 3, "the entry itself is judged by the old document");
    assert_eq!(w.history.trust_at(LeafIndex(at.0 + 1)).administrators.len(), 2);

    // Old administrators have no word, and new ones have.
    let policy = w.policy(Sha256([1; 32]));
    assert_eq!(w.old_word(1, &policy), [Clause::NotAdministrator]);
    assert_eq!((w.old_word(4, &policy), w.history.policy()), (vec![], None));
    assert_eq!(w.old_word(5, &policy), []);
    assert!(w.history.policy().is_some());
}

#[test]
fn what_waited_under_the_old_document_is_void_and_what_had_effect_stays() {
    let mut w = World::new(2);
    let (kept, waits) = (Sha256([1; 32]), PlanDigest([2; 32]));
    w.activate(1, kept);
    w.activate(2, kept);
    w.approve(1, waits);
    let other = next(&w, |d| d.threshold = 1);
    assert_eq!(w.changes(1, &other), []);
    let said = next(&w, |d| d.threshold = 3);
    assert_eq!((w.changes(2, &said), w.changes(3, &said)), (vec![], vec![]));
    assert!(w.history.waiting().is_empty() && w.history.policy().unwrap().0 == kept);
    assert_eq!(w.changes(2, &other), [Clause::Trust], "made over a document that is not in force");
    w.approve(2, waits);
    w.approve(3, waits);
    assert!(w.history.task(TASK).is_none(), "the word of the old time does not count");
    w.approve(1, waits);
    assert!(w.history.task(TASK).is_some());
}

#[test]
fn a_document_that_cannot_follow_is_named() {
    let mut w = World::new(1);
    let bad = [
        next(&w, |d| d.federation = "other".into()),
        next(&w, |d| d.root_ca = Sha256([1; 32])),
        next(&w, |d| d.log_vkey = "test+00000001+AA==".into()),
        next(&w, |d| d.administrators = vec![PublicKey([2; 32])]),
        next(&w, |d| d.threshold = 4),
        next(&w, |_| {}),
        TrustChange { document: b"{}".to_vec() },
    ];
    for said in bad {
        assert_eq!(w.changes(1, &said), [Clause::TrustDocument], "{}", String::from_utf8_lossy(&said.document));
    }
    for previous in [None, Some(Sha256([7; 32]))] {
        let said = next(&w, |d| (d.threshold, d.previous) = (2, previous));
        assert_eq!(w.changes(1, &said), [Clause::Trust]);
    }
    let said = next(&w, |d| d.threshold = 2);
    let facts = Facts::TrustChanged { old: w.history.trust_hash(), new: Sha256([7; 32]) };
    let draft = Draft::said(Actor::Administrator, None, Statement::sign(&said, &admin(1)), facts);
    assert_eq!(w.append(&draft), [Clause::FieldsDiffer]);
}

#[test]
fn what_the_log_holds_of_changes_is_a_chain_that_anybody_can_follow() {
    let mut w = World::new(2);
    let first = w.history.trust().clone();
    let up = next(&w, |d| d.threshold = 3);
    assert_eq!((w.changes(1, &up), w.changes(2, &up)), (vec![], vec![]));
    let server = SigningKey::from_bytes(&[44; 32]);
    let key = next(&w, |d| d.server = public(&server));
    assert!((1..=3).all(|n| w.changes(n, &key).is_empty()));
    let words = w.history.trust_words();
    let mut chain = TrustChain::new(first.clone());
    chain.follow(&words).unwrap();
    assert_eq!((words.len(), chain.last(), chain.first()), (5, w.history.trust(), &first));
    assert!([up.hash(), key.hash()].into_iter().all(|hash| chain.reaches(hash)) && !chain.reaches(Sha256([1; 32])));
    // Every word is needed, in its place.
    for left_out in 0..words.len() {
        let mut some = words.clone();
        some.remove(left_out);
        let mut chain = TrustChain::new(first.clone());
        assert!(chain.follow(&some).is_err(), "without word {left_out}");
    }
    let forged = Statement { signature: [1; 64], ..words[1].clone() };
    assert_eq!(TrustChain::new(first.clone()).follow(&[words[0].clone(), forged]), Err(BadChain::Word));
    assert_eq!(TrustChain::new(first.clone()).follow(&[words[0].clone(), words[0].clone()]), Err(BadChain::TooFew));
    // The server signs with its new key from there on, and not with the old one.
    let identity = w.history.stamp(&Draft::server(Facts::ProcessStopped {}), String::new(), String::new(), origin()).who;
    let before = World::new(2).history;
    let was = before.stamp(&Draft::server(Facts::ProcessStopped {}), String::new(), String::new(), origin()).who;
    assert!(identity.spki != was.spki && identity.uri == was.uri);
}

/// What a newcomer compared by telephone stands in its own signed request: a log that leaves that document out cannot take it in unnoticed.
#[test]
fn nobody_joins_under_a_trust_document_that_the_log_does_not_have() {
    let mut w = World::new(1);
    let (first, later) = (w.history.trust_hash(), next(&w, |d| d.threshold = 2));
    assert_eq!(w.asks_under(1, later.hash()).1, [Clause::Shown], "not in force");
    assert_eq!(w.changes(1, &later), []);
    assert_eq!(w.asks_under(2, later.hash()).1, []);
    assert_eq!(w.asks_under(3, first).1, [], "invitations that are out stay good");
}

/// What waits is kept in memory by whoever folds the log: one administrator can make it hold so much and no more, and others are not kept from
/// speaking.
#[test]
fn one_administrator_proposes_so_many_documents_and_no_more() {
    let mut w = World::new(2);
    // Each names another new administrator.
    let documents: Vec<TrustChange> = (0..=TrustChange::MAX_WAITING)
        .map(|n| next(&w, |d| d.administrators.push(public(&admin(100 + u8::try_from(n).unwrap())))))
        .collect();
    let (last, first) = documents.split_last().unwrap();
    for said in first {
        assert_eq!(w.changes(1, said), []);
    }
    assert_eq!(w.changes(1, &first[0]), [], "said again it is one word");
    assert_eq!(w.changes(1, last), [Clause::TrustWaiting]);
    let hash = w.history.trust_hash();
    assert_eq!((w.changes(2, last), w.history.trust_hash()), (vec![], hash), "the word that was one too many does not count");
    assert_eq!(w.changes(2, &first[3]), []);
    assert_eq!((w.history.trust_hash(), w.history.trust_words().len()), (first[3].hash(), 2));
    let again = next(&w, |d| d.threshold = 1);
    assert_eq!(w.changes(1, &again), [], "from the next document on there is room again");
}

fn origin() -> Origin {
    Origin { name: "test".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 }
}

/// A verifier key of this federation's log, in its one spelling.
fn vkey(federation: &str, n: u8) -> String {
    use base64::Engine as _;
    let name = format!("{federation}/log");
    let material = [&[1u8][..], &public(&SigningKey::from_bytes(&[n; 32])).0[..]].concat();
    let id = protocol::hash::sha256(&[name.as_bytes(), b"\n", &material]);
    format!("{name}+{}+{}", hex::encode(&id[..4]), base64::engine::general_purpose::STANDARD.encode(&material))
}

#[test]
fn a_key_of_the_log_signs_from_the_entry_that_puts_it_in_force_and_is_never_taken_back() {
    let mut w = World::new(2);
    let (document, federation) = (w.history.trust().clone(), w.history.trust().federation.clone());
    let [second, third] = [50, 51].map(|n| vkey(&federation, n));
    let keys = |w: &World| w.history.log_vkeys().map(|(size, key)| (size, key.to_owned())).collect::<Vec<_>>();
    let said = next(&w, |d| d.log_vkey = second.clone());
    assert_eq!(w.changes(1, &said), []);
    assert_eq!(keys(&w), [(0, document.log_vkey.clone())], "one of two");
    let at = w.size;
    assert_eq!(w.changes(2, &said), []);
    // Something else changes, and another key takes over.
    let more = next(&w, |d| d.administrators.push(public(&admin(4))));
    assert_eq!((w.changes(1, &more), w.changes(2, &more)), (vec![], vec![]));
    let said = next(&w, |d| d.log_vkey = third.clone());
    assert_eq!(w.changes(1, &said), []);
    let then = w.size;
    assert_eq!(w.changes(4, &said), []);
    assert_eq!(keys(&w), [(0, document.log_vkey.clone()), (at + 1, second.clone()), (then + 1, third.clone())]);
    for taken in [second.clone(), document.log_vkey.clone(), vkey("other", 52), vkey(&federation, 52) + "="] {
        let back = next(&w, |d| d.log_vkey = taken.clone());
        assert_eq!(w.changes(1, &back), [Clause::TrustDocument], "{taken}");
    }
    // Nor in what a newcomer is shown.
    let mut chain = TrustChain::new(document);
    chain.follow(&w.history.trust_words()).unwrap();
    let back = next(&w, |d| d.log_vkey = second.clone());
    let words = [1, 2].map(|n| Statement::sign(&back, &admin(n)));
    assert_eq!(chain.follow(&words), Err(BadChain::Successor(protocol::trust::BadSuccessor::LogKey)));
}
