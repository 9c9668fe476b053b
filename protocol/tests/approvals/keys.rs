//! Statement and witness keys, replaced by their institution's word (audit.md A12, A17, A19): whose word a signature is, before and after.

use super::*;
use protocol::ids::{RoundId, SnapshotDigest};
use protocol::rotation::{StatementKeyChange, StatementKeyRotation, WitnessKeyRotation, keyid, witness_id};

const NEXT_WITNESS: &str = "test+00000002+AQ==";

fn second() -> SigningKey {
    SigningKey::from_bytes(&[90; 32])
}

fn change(n: u8, old: &SigningKey, new: &SigningKey) -> StatementKeyChange {
    StatementKeyChange { federation: "test".into(), institution: id(n), old: public(old), new: public(new) }
}

impl World {
    fn said_by<P: Payload>(&mut self, n: u8, key: &SigningKey, said: &P, facts: Facts) -> Vec<Clause> {
        self.append(&Draft::said(Actor::Institution, Some(id(n)), Statement::sign(said, key), facts))
    }

    /// `signer` says the change that `prover` has signed.
    fn replaces(&mut self, signer: &SigningKey, change: &StatementKeyChange, prover: &SigningKey) -> Vec<Clause> {
        let facts = Facts::KeyRotated { purpose: KeyPurpose::Statement, old: keyid(&change.old), new: keyid(&change.new) };
        self.said_by(1, signer, &StatementKeyRotation::new(change, prover), facts)
    }

    fn declares_by(&mut self, n: u8, key: &SigningKey) -> Vec<Clause> {
        let said = DatasetDeclaration { dataset: DATASET, unit: Unit::Record, declared_units: 120 };
        self.said_by(n, key, &said, Facts::DatasetDeclared { dataset: DATASET })
    }

    fn other_witness(&mut self, n: u8, old: Sha256, new: &str) -> Vec<Clause> {
        let said = WitnessKeyRotation { federation: "test".into(), institution: id(n), old, new: new.into() };
        self.says(n, &said, Facts::KeyRotated { purpose: KeyPurpose::Witness, old, new: witness_id(new) })
    }

    fn witness(&self, n: u8) -> Sha256 {
        self.history.members()[&id(n)].witness()
    }
}

#[test]
fn from_its_entry_on_the_new_key_speaks_for_the_institution_and_the_old_one_for_nobody() {
    let mut w = World::with_member(1);
    let (first, second) = (person(1), second());
    assert_eq!((w.declares_by(1, &first), w.declares_by(1, &second)), (vec![], vec![Clause::Signature]));
    assert_eq!(w.replaces(&first, &change(1, &first, &second), &second), []);
    assert_eq!((w.declares_by(1, &first), w.declares_by(1, &second)), (vec![Clause::RetiredKey], vec![]));
    assert_eq!((w.history.speaker(&public(&second)), w.history.speaker(&public(&first))), (Some(id(1)), None));
    assert_eq!(w.history.holder(keyid(&public(&first))), Some(id(1)), "what it said before stays its own word");
    let declared: Vec<_> = w.history.datasets().keys().copied().collect();
    assert_eq!((declared, w.history.members().len()), (vec![(id(1), DATASET)], 1), "the same institution, under the same id");
    // Nobody goes back, and old words do nothing.
    assert_eq!(w.replaces(&first, &change(1, &first, &second), &second), [Clause::RetiredKey]);
    assert_eq!(w.replaces(&second, &change(1, &second, &first), &first), [Clause::KeyRotation]);
    let third = SigningKey::from_bytes(&[91; 32]);
    assert_eq!((w.replaces(&second, &change(1, &second, &third), &third), w.declares_by(1, &third)), (vec![], vec![]));
}

#[test]
fn a_change_of_key_takes_both_keys_and_is_about_its_own_institution() {
    let mut w = World::with_member(1);
    w.let_in(2);
    let (first, second, stranger) = (person(1), second(), SigningKey::from_bytes(&[92; 32]));
    let good = change(1, &first, &second);
    assert_eq!(w.replaces(&stranger, &good, &second), [Clause::Signature], "signed by neither");
    assert_eq!(w.replaces(&second, &good, &second), [Clause::Signature], "signed by the new key alone");
    assert_eq!(w.replaces(&first, &good, &first), [Clause::Possession], "signed by the old key alone");
    assert_eq!(w.replaces(&person(2), &good, &second), [Clause::NotMember], "another institution's");
    assert_eq!(w.replaces(&first, &change(1, &stranger, &second), &second), [Clause::KeyRotation], "not the key that signs");
    for taken in [first.clone(), person(2), admin(3)] {
        assert_eq!(w.replaces(&first, &change(1, &first, &taken), &taken), [Clause::KeyRotation], "a key that somebody has");
    }
    assert_eq!(w.replaces(&first, &change(2, &first, &second), &second), [Clause::FieldsDiffer]);
    let elsewhere = StatementKeyChange { federation: "other".into(), ..good.clone() };
    assert_eq!(w.replaces(&first, &elsewhere, &second), [Clause::FieldsDiffer]);
    let suspend = w.change(1, Change::Suspend, StandingReason::KeyCompromise);
    w.orders(1, &suspend);
    w.orders(2, &suspend);
    assert_eq!(w.replaces(&first, &good, &second), [Clause::Barred]);
    assert_eq!(w.history.speaker(&public(&first)), Some(id(1)), "nothing of this changed a key");
}

#[test]
fn the_key_of_an_institution_asks_to_join_for_nobody_else() {
    let mut w = World::with_member(1);
    let (first, second) = (person(1), second());
    assert_eq!(w.replaces(&first, &change(1, &first, &second), &second), []);
    let request = JoinRequest {
        token: TokenId([9; 16]),
        trust: w.history.trust_hash(),
        nonce: Sha256([5; 32]),
        name: "clinic-9".into(),
        institution_key: public(&second),
        witness_vkey: NEXT_WITNESS.into(),
        tls_key: Sha256([7; 32]),
    };
    let facts = Facts::MemberJoinRequested { token: request.token, request: Membership::of(&request).request };
    let own = Some(ClientId::of(&public(&second)));
    let draft = Draft::said(Actor::Institution, own, Statement::sign(&request, &second), facts);
    assert_eq!(w.append(&draft), [Clause::FieldsDiffer]);
    let said = Membership::of(&request);
    let draft = Draft::said(Actor::Administrator, None, Statement::sign(&said, &admin(1)), Facts::MemberJoined { request: said.request });
    assert_eq!(w.append(&draft), [Clause::Enrolled]);
}

#[test]
fn in_a_round_an_institution_speaks_with_one_key() {
    let mut w = World::with_member(1);
    let (first, second, plan) = (person(1), second(), PlanDigest([1; 32]));
    w.approve(1, plan);
    w.approve(2, plan);
    let snapshot = SnapshotDigest([2; 32]);
    assert_eq!(w.append(&Draft::server(Facts::TaskOpened { plan, snapshot }).in_task(TASK)), []);
    let previous_end = w.history.task(TASK).unwrap().previous_end();
    assert_eq!(w.append(&Draft::server(Facts::RoundOpened { previous_end }).in_round(TASK, RoundId::FIRST)), []);
    let good = change(1, &first, &second);
    assert_eq!(w.replaces(&first, &good, &second), [Clause::KeyInRound]);
    assert_eq!(w.append(&Draft::server(Facts::RoundAbandoned {}).in_round(TASK, RoundId::FIRST)), []);
    assert_eq!(w.replaces(&first, &good, &second), []);
}

#[test]
fn a_witness_is_replaced_by_one_that_nobody_has_or_had() {
    let mut w = World::with_member(1);
    let (first, next) = (w.witness(1), witness_id(NEXT_WITNESS));
    assert_eq!(w.other_witness(1, next, NEXT_WITNESS), [Clause::KeyRotation], "not the witness that it has");
    assert_eq!(w.other_witness(1, first, "two words"), [Clause::KeyRotation]);
    assert_eq!(w.other_witness(1, first, "other+00000002+AQ=="), [Clause::KeyRotation], "under another name");
    assert_eq!(w.other_witness(1, first, NEXT_WITNESS), []);
    let member = &w.history.members()[&id(1)];
    assert!(member.cosigns(next) && !member.cosigns(first) && member.has_had(first));
    // The policy in force names the old one: that it is away, and back, is still told of its institution.
    let told = |facts| Draft { institution: Some(id(1)), ..Draft::server(facts) };
    assert_eq!(w.append(&told(Facts::WitnessMissing { witness: first, size: 1 })), []);
    assert_eq!(w.append(&told(Facts::WitnessReturned { witness: first, size: 1 })), []);
    assert_eq!(w.other_witness(1, next, "test+00000001+AA=="), [Clause::KeyRotation], "a witness never comes back");
    w.let_in(2);
    let own = w.witness(2);
    assert_eq!(w.other_witness(2, own, NEXT_WITNESS), [Clause::KeyRotation], "somebody else's");
}

#[test]
fn administrators_revoke_a_witness_and_never_a_statement_key() {
    let mut w = World::with_member(1);
    let first = w.witness(1);
    let revoke = |w: &mut World, admin_n: u8, purpose, key| {
        let said = KeyRevocation { institution: id(1), purpose, key, reason: StandingReason::KeyCompromise };
        let statement = Statement::sign(&said, &admin(admin_n));
        w.append(&Draft::said(Actor::Administrator, Some(id(1)), statement, said.facts()))
    };
    let own = keyid(&public(&person(1)));
    assert_eq!(revoke(&mut w, 1, KeyPurpose::Statement, own), [Clause::KeyRevocation]);
    assert_eq!(revoke(&mut w, 1, KeyPurpose::Tls, first), [Clause::KeyRevocation], "no TLS key");
    assert_eq!(revoke(&mut w, 1, KeyPurpose::Witness, first), []);
    assert!(w.history.members()[&id(1)].cosigns(first), "one of two");
    assert_eq!(revoke(&mut w, 2, KeyPurpose::Witness, first), []);
    let member = &w.history.members()[&id(1)];
    assert!(!member.cosigns(first) && member.shows(member.tls_key) && member.is_active());
    let (next, name) = (witness_id(NEXT_WITNESS), member.name.clone());
    assert_eq!(w.history.revoked_witness_of(first).map(|m| m.name.clone()), Some(name));
    assert!(w.history.has_gone(first) && !w.history.has_gone(next) && w.history.revoked_witness_of(next).is_none());
    assert_eq!(revoke(&mut w, 2, KeyPurpose::Witness, first), [Clause::KeyRevocation], "once");
    assert_eq!(w.other_witness(1, first, NEXT_WITNESS), []);
    assert!(w.history.members()[&id(1)].cosigns(witness_id(NEXT_WITNESS)));
}
