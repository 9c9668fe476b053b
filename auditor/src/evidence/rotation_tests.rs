//! A key that an institution takes in another federation is none that it takes here: words of another log do nothing in a pack.

use super::*;
use ed25519_dalek::SigningKey;
use protocol::entry::{Draft, Identity, Origin, Stamp};
use protocol::rotation::StatementKeyChange;
use protocol::statement::Statement;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn public(n: u8) -> PublicKey {
    PublicKey(key(n).verifying_key().to_bytes())
}

/// An entry of the federation `demo` about the institution with key 1, and what is said in it.
fn told(statement: &Statement, facts: Facts) -> (LogEntry, Checked) {
    let draft = Draft::said(Actor::Institution, Some(ClientId::of(&public(1))), statement.clone(), facts);
    let origin = Origin { name: String::new(), version: String::new(), build: String::new(), boot_ms: 0 };
    let (id, ts, federation) = (String::new(), String::new(), "demo".to_owned());
    let stamp = Stamp { seq: 7, id, ts, who: Identity::default(), origin, federation, cause: None };
    (LogEntry::new(stamp, &draft), statement.clone().checked().unwrap())
}

#[test]
fn a_rotation_of_another_federation_or_institution_is_none_here() {
    let me = ClientId::of(&public(1));
    let statement_key = |federation: &str, institution: ClientId| {
        let change = StatementKeyChange { federation: federation.into(), institution, old: public(1), new: public(2) };
        let facts = Facts::KeyRotated { purpose: KeyPurpose::Statement, old: keyid(&change.old), new: keyid(&change.new) };
        let (entry, said) = told(&Statement::sign(&StatementKeyRotation::new(&change, &key(2)), &key(1)), facts);
        let mut own = Own { keys: vec![public(1)], ..Own::default() };
        (own.take(7, &entry, &said, &mut Findings::default()), own.keys.len())
    };
    assert_eq!(
        [statement_key("demo", me), statement_key("other", me), statement_key("demo", ClientId([9; 32]))],
        [(true, 2), (false, 1), (false, 1)]
    );
    let witness_key = |federation: &str, institution: ClientId| {
        let said = WitnessKeyRotation { federation: federation.into(), institution, old: Sha256([1; 32]), new: "w+00000001+AA==".into() };
        let facts = Facts::KeyRotated { purpose: KeyPurpose::Witness, old: said.old, new: witness_id(&said.new) };
        let (entry, said) = told(&Statement::sign(&said, &key(1)), facts);
        Own::default().take(7, &entry, &said, &mut Findings::default())
    };
    assert_eq!([witness_key("demo", me), witness_key("other", me), witness_key("demo", ClientId([9; 32]))], [true, false, false]);
}
