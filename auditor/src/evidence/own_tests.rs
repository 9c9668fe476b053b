//! What an institution said is judged in a pack as the fold of the whole log judges it: words of another federation do nothing, and a cap stays of
//! one account.

use super::*;
use ed25519_dalek::SigningKey;
use protocol::entry::{Draft, Identity, Origin, Stamp};
use protocol::plan::Unit;
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

/// privacy.md D61: the fields are those that were signed; what is wrong is that the account is another one.
#[test]
fn a_cap_of_another_account_than_the_one_before_it_is_named() {
    let dataset = Sha256([1; 32]);
    let mut own = Own::default();
    let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 1000 };
    own.datasets.insert(dataset, DatasetHistory::declared(declaration));
    let mut declares = |own_cap: Option<&str>| {
        let (epsilon_cap, delta) = ("3".parse().unwrap(), "0.00001".parse().unwrap());
        let cap = BudgetDeclaration { dataset, epsilon_cap, delta, own_epsilon_cap: own_cap.map(|c| c.parse().unwrap()) };
        let (entry, said) = told(&Statement::sign(&cap, &key(1)), Facts::BudgetDeclared { dataset, epsilon_cap });
        let mut findings = Findings::default();
        assert!(own.take(7, &entry, &said, &mut findings));
        findings.list().iter().map(|f| (f.clause, f.severity)).collect::<Vec<_>>()
    };
    assert_eq!((declares(None), declares(None)), (Vec::new(), Vec::new()));
    assert_eq!(declares(Some("8")), [("I8: a signed cap is of the same account as the one before it", Severity::Invariant)]);
}
