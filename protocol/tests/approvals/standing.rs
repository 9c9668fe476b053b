//! How an institution stands, and what is accepted from it (audit.md A19, I9).

use super::*;
use protocol::membership::{
    Change, DatasetReason, DatasetWithdrawal, Departure, KeyPurpose, KeyRevocation, Standing, StandingChange, StandingReason,
};
use protocol::plan::Unit;
use protocol::renewal::Rotation;
use protocol::trust::{BudgetDeclaration, DatasetDeclaration};

#[path = "keys.rs"]
mod keys;

const DATASET: Sha256 = Sha256([8; 32]);

fn person(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[50 + n; 32])
}

fn id(n: u8) -> ClientId {
    ClientId::of(&public(&person(n)))
}

impl World {
    /// Two of three administrators, and an institution that both admitted.
    fn with_member(n: u8) -> Self {
        let mut w = Self::new(2);
        w.let_in(n);
        w
    }

    fn let_in(&mut self, n: u8) {
        let request = self.asks(n);
        self.admit(1, &request);
        self.admit(2, &request);
    }

    fn says<P: Payload>(&mut self, n: u8, said: &P, facts: Facts) -> Vec<Clause> {
        let draft = Draft::said(Actor::Institution, Some(id(n)), Statement::sign(said, &person(n)), facts);
        self.append(&draft)
    }

    fn declares(&mut self, n: u8) -> Vec<Clause> {
        let said = DatasetDeclaration { dataset: DATASET, unit: Unit::Record, declared_units: 120 };
        self.says(n, &said, Facts::DatasetDeclared { dataset: DATASET })
    }

    /// What administrators would sign now.
    fn change(&self, n: u8, change: Change, reason: StandingReason) -> StandingChange {
        StandingChange { institution: id(n), since: self.history.members()[&id(n)].since, change, reason }
    }

    fn orders(&mut self, admin_n: u8, said: &StandingChange) -> Vec<Clause> {
        let statement = Statement::sign(said, &admin(admin_n));
        self.append(&Draft::said(Actor::Administrator, Some(said.institution), statement, said.facts()))
    }

    fn standing(&self, n: u8) -> Standing {
        self.history.members()[&id(n)].standing
    }
}

#[test]
fn two_of_three_suspend_and_resume_and_nothing_is_accepted_in_between() {
    let mut w = World::with_member(1);
    assert_eq!(w.declares(1), []);
    let suspend = w.change(1, Change::Suspend, StandingReason::Incident);
    assert_eq!(w.orders(1, &suspend), []);
    assert_eq!((w.standing(1), w.orders(1, &suspend)), (Standing::Active, vec![]), "one administrator counts once");
    assert_eq!(w.declares(1), [], "one word changes nothing");
    let at = LeafIndex(w.size);
    assert_eq!(w.orders(2, &suspend), []);
    assert_eq!((w.standing(1), w.history.members()[&id(1)].since), (Standing::Suspended(StandingReason::Incident), at));
    assert!(w.history.member_ids().is_empty() && !w.history.is_active(id(1)));
    assert_eq!(w.history.barred(id(1)).unwrap().since, at);
    assert_eq!(w.declares(1), [Clause::Barred]);
    let leave = Departure { since: at, reason: StandingReason::Request };
    assert_eq!(w.says(1, &leave, Facts::MemberLeft { since: at, reason: leave.reason }), [Clause::Barred]);

    let resume = w.change(1, Change::Resume, StandingReason::Resolved);
    assert_eq!((w.orders(3, &resume), w.orders(1, &resume)), (vec![], vec![]));
    assert_eq!((w.standing(1), w.declares(1)), (Standing::Active, vec![]));
    assert_eq!(w.history.member_ids(), [id(1)]);
}

/// The words of one occasion, which stand in the log for everybody to copy, do nothing on another.
#[test]
fn old_words_are_not_entered_again() {
    let mut w = World::with_member(1);
    let suspend = w.change(1, Change::Suspend, StandingReason::Incident);
    w.orders(1, &suspend);
    w.orders(2, &suspend);
    assert_eq!(w.orders(3, &suspend), [Clause::Standing], "it is done");
    let resume = w.change(1, Change::Resume, StandingReason::Mistake);
    w.orders(1, &resume);
    w.orders(2, &resume);
    for n in 1..=3 {
        assert_eq!(w.orders(n, &suspend), [Clause::Standing]);
        assert_eq!(w.orders(n, &resume), [Clause::Standing]);
    }
    assert_eq!((w.standing(1), w.history.waiting()), (Standing::Active, vec![]));
}

#[test]
fn words_for_different_changes_or_reasons_do_not_add_up_and_lapse_together() {
    let mut w = World::with_member(1);
    let suspend = w.change(1, Change::Suspend, StandingReason::Incident);
    let revoke = w.change(1, Change::Revoke, StandingReason::Incident);
    let other = w.change(1, Change::Revoke, StandingReason::Misconduct);
    assert_eq!((w.orders(1, &suspend), w.orders(2, &revoke), w.orders(3, &other)), (vec![], vec![], vec![]));
    assert_eq!((w.standing(1), w.history.waiting().len()), (Standing::Active, 3));
    assert_eq!(w.orders(1, &revoke), []);
    assert_eq!(w.standing(1), Standing::Revoked(StandingReason::Incident));
    assert!(w.history.waiting().is_empty(), "the rest can have no effect any more");
}

#[test]
fn a_revoked_key_never_comes_back_and_its_name_may() {
    let mut w = World::with_member(1);
    let revoke = w.change(1, Change::Revoke, StandingReason::KeyCompromise);
    // 101 asks under the name of 1 with a key of its own.
    let again = w.asks(101);
    let said = Membership::of(&again);
    let admits =
        |n| Draft::said(Actor::Administrator, None, Statement::sign(&said, &admin(n)), Facts::MemberJoined { request: said.request });
    assert_eq!(w.append(&admits(1)), [Clause::Enrolled], "the name is taken");
    w.orders(1, &revoke);
    w.orders(2, &revoke);
    let resume = w.change(1, Change::Resume, StandingReason::Mistake);
    assert_eq!(w.orders(1, &resume), [Clause::Standing]);
    assert_eq!((w.append(&admits(2)), w.standing(101)), (vec![], Standing::Active));
    let old = w.history.requests().values().find(|r| r.institution_key == public(&person(1))).map(Membership::of).unwrap();
    let facts = Facts::MemberJoined { request: old.request };
    let draft = Draft::said(Actor::Administrator, None, Statement::sign(&old, &admin(3)), facts);
    assert_eq!(w.append(&draft), [Clause::Enrolled]);
    assert_eq!((w.declares(1), w.declares(101)), (vec![Clause::Barred], vec![]));
}

#[test]
fn an_institution_leaves_by_its_own_word_alone_and_for_good() {
    let mut w = World::with_member(1);
    w.let_in(2);
    let since = w.history.members()[&id(1)].since;
    let (reason, leaves) = (StandingReason::Request, |since, reason| Facts::MemberLeft { since, reason });
    let said = Departure { since, reason };
    let forged = Draft::said(Actor::Institution, Some(id(1)), Statement::sign(&said, &person(2)), leaves(since, reason));
    assert_eq!(w.append(&forged), [Clause::NotMember]);
    assert_eq!(w.says(1, &said, leaves(since, StandingReason::Agreement)), [Clause::FieldsDiffer]);
    let mut w = World::with_member(1);
    w.let_in(2);
    let revoke = w.change(1, Change::Revoke, StandingReason::Inactive);
    w.orders(1, &revoke);
    assert_eq!(w.says(1, &said, leaves(since, reason)), []);
    assert_eq!((w.standing(1), w.standing(2)), (Standing::Left(reason), Standing::Active));
    assert!(w.history.waiting().is_empty(), "what waited was about somebody who is gone");
    assert_eq!((w.says(1, &said, leaves(since, reason)), w.declares(1)), (vec![Clause::Barred], vec![Clause::Barred]));
    for change in Change::ALL.iter().copied() {
        let said = w.change(1, change, reason);
        assert_eq!(w.orders(1, &said), [Clause::Standing]);
    }
}

#[test]
fn nobody_but_administrators_changes_how_somebody_stands() {
    let mut w = World::with_member(1);
    w.let_in(2);
    let said = w.change(1, Change::Revoke, StandingReason::Misconduct);
    let by_member = Draft::said(Actor::Administrator, Some(id(1)), Statement::sign(&said, &person(2)), said.facts());
    assert_eq!(w.append(&by_member), [Clause::NotAdministrator]);
    // The entry says less, or of another, than was signed.
    let softer = StandingChange { change: Change::Suspend, ..said };
    let draft = |who, facts| Draft::said(Actor::Administrator, Some(who), Statement::sign(&said, &admin(1)), facts);
    assert_eq!(w.append(&draft(id(1), softer.facts())), [Clause::FieldsDiffer]);
    assert_eq!(w.append(&draft(id(2), said.facts())), [Clause::FieldsDiffer]);
    let stranger = StandingChange { institution: ClientId([3; 32]), ..said };
    assert_eq!(w.orders(1, &stranger), [Clause::Standing]);
}

#[test]
fn a_withdrawn_dataset_is_not_declared_again_nor_withdrawn_twice() {
    let mut w = World::with_member(1);
    w.let_in(2);
    let said = DatasetWithdrawal { dataset: DATASET, reason: DatasetReason::Consent };
    let facts = || Facts::DatasetWithdrawn { dataset: DATASET, reason: DatasetReason::Consent };
    assert_eq!(w.says(1, &said, facts()), [Clause::Withdrawn], "nothing was declared");
    assert_eq!((w.declares(1), w.declares(2)), (vec![], vec![]));
    let other = Facts::DatasetWithdrawn { dataset: DATASET, reason: DatasetReason::Quality };
    assert_eq!(w.says(2, &said, other), [Clause::FieldsDiffer]);
    let at = LeafIndex(w.size);
    assert_eq!(w.says(1, &said, facts()), []);
    let withdrawn = w.history.datasets()[&(id(1), DATASET)].withdrawn.unwrap();
    assert_eq!((withdrawn.index, withdrawn.reason), (at, DatasetReason::Consent));
    assert_eq!((w.says(1, &said, facts()), w.declares(1)), (vec![Clause::Withdrawn], vec![Clause::Withdrawn]));
    let cap = BudgetDeclaration {
        dataset: DATASET,
        epsilon_cap: "3".parse().unwrap(),
        delta: "0.000001".parse().unwrap(),
        own_epsilon_cap: None,
    };
    assert_eq!(w.says(1, &cap, Facts::BudgetDeclared { dataset: DATASET, epsilon_cap: cap.epsilon_cap }), [Clause::Withdrawn]);
    assert!(w.history.is_active(id(1)), "the institution itself stands as before");
}

/// privacy.md D61: which cost a cap is of never changes; a higher cap of the same kind is told as ever.
#[test]
fn a_cap_never_changes_the_account_that_it_is_of() {
    let mut w = World::with_member(1);
    assert_eq!(w.declares(1), []);
    let mut says = |cap: &str, own: Option<&str>| {
        let (epsilon_cap, delta) = (cap.parse().unwrap(), "0.000001".parse().unwrap());
        let cap = BudgetDeclaration { dataset: DATASET, epsilon_cap, delta, own_epsilon_cap: own.map(|o| o.parse().unwrap()) };
        w.says(1, &cap, Facts::BudgetDeclared { dataset: DATASET, epsilon_cap })
    };
    assert_eq!((says("3", Some("8")), says("4", Some("9"))), (vec![], vec![]));
    assert_eq!(says("4", None), [Clause::BudgetAccount]);
    let mut w = World::with_member(2);
    assert_eq!(w.declares(2), []);
    let mut says = |own: Option<&str>| {
        let (epsilon_cap, delta) = ("3".parse().unwrap(), "0.000001".parse().unwrap());
        let cap = BudgetDeclaration { dataset: DATASET, epsilon_cap, delta, own_epsilon_cap: own.map(|o| o.parse().unwrap()) };
        // A cap of own cost is written as before there was a choice.
        assert_eq!(protocol::codec::encode(&cap)[0], if own.is_some() { 0x84 } else { 0x83 });
        w.says(2, &cap, Facts::BudgetDeclared { dataset: DATASET, epsilon_cap })
    };
    assert_eq!((says(None), says(None), says(Some("8"))), (vec![], vec![], vec![Clause::BudgetAccount]), "nor the other way round");
}

impl World {
    fn rotates(&mut self, n: u8, old: Sha256, new: Sha256) -> Vec<Clause> {
        let said = Rotation { trust: Sha256([1; 32]), nonce: Sha256([2; 32]), old, new };
        self.says(n, &said, Facts::KeyRotated { purpose: KeyPurpose::Tls, old, new })
    }

    /// The server's word that it issued a certificate.
    fn renews(&mut self, n: u8, tls_key: Sha256) -> Vec<Clause> {
        let draft = Draft::server(Facts::MemberRenewed { tls_key, until_s: 9 });
        self.append(&Draft { institution: Some(id(n)), ..draft })
    }
}

#[test]
fn a_tls_key_is_replaced_by_one_that_nobody_has_or_had_and_certificates_are_for_the_key_of_the_log() {
    let mut w = World::with_member(1);
    let (first, second, third) = (w.history.members()[&id(1)].tls_key, Sha256([21; 32]), Sha256([22; 32]));
    assert_eq!((w.renews(1, first), w.renews(1, second)), (vec![], vec![Clause::Renewed]));
    assert_eq!(w.rotates(1, second, third), [Clause::KeyRotation], "not the key that it has");
    assert_eq!(w.rotates(1, first, first), [Clause::KeyRotation]);
    assert_eq!((w.rotates(1, first, second), w.history.members()[&id(1)].tls_key), (vec![], second));
    assert_eq!(w.rotates(1, first, second), [Clause::KeyRotation], "old words do nothing");
    assert_eq!(w.rotates(1, second, first), [Clause::KeyRotation], "a key never comes back");
    assert_eq!((w.renews(1, first), w.renews(1, second)), (vec![Clause::Renewed], vec![]));
    w.let_in(2);
    assert_eq!(w.rotates(2, first, second), [Clause::KeyRotation], "somebody else's");
    assert_eq!(w.renews(3, first), [Clause::Renewed], "nobody");
    let suspend = w.change(1, Change::Suspend, StandingReason::KeyCompromise);
    w.orders(1, &suspend);
    w.orders(2, &suspend);
    assert_eq!((w.rotates(1, second, third), w.renews(1, second)), (vec![Clause::Barred], vec![Clause::Renewed]));
}

#[test]
fn two_administrators_revoke_a_tls_key_and_the_institution_goes_on_with_another() {
    let mut w = World::with_member(1);
    let (first, second) = (w.history.members()[&id(1)].tls_key, Sha256([21; 32]));
    let said = |key, reason| KeyRevocation { institution: id(1), purpose: KeyPurpose::Tls, key, reason };
    let revoke = |w: &mut World, admin_n: u8, said: &KeyRevocation| {
        let statement = Statement::sign(said, &admin(admin_n));
        w.append(&Draft::said(Actor::Administrator, Some(id(1)), statement, said.facts()))
    };
    let (lost, wrong) = (said(first, StandingReason::KeyCompromise), said(first, StandingReason::Mistake));
    assert_eq!((revoke(&mut w, 1, &lost), revoke(&mut w, 1, &wrong)), (vec![], vec![]), "one of two each");
    assert!(w.history.members()[&id(1)].shows(first));
    assert_eq!(revoke(&mut w, 1, &said(second, StandingReason::Mistake)), [Clause::KeyRevocation], "not its key");
    assert_eq!(revoke(&mut w, 2, &lost), []);
    assert!(!w.history.members()[&id(1)].shows(first) && w.history.is_active(id(1)));
    assert_eq!(revoke(&mut w, 2, &wrong), [Clause::KeyRevocation], "once");
    assert_eq!((w.renews(1, first), w.rotates(1, first, first)), (vec![Clause::Renewed], vec![Clause::KeyRotation]));
    assert_eq!((w.rotates(1, first, second), w.renews(1, second)), (vec![], vec![]));
    assert_eq!(revoke(&mut w, 2, &lost), [Clause::KeyRevocation], "old words do nothing");
    let again = said(second, StandingReason::KeyCompromise);
    let draft = Draft::said(Actor::Institution, Some(id(1)), Statement::sign(&again, &person(1)), again.facts());
    assert_eq!(w.append(&draft), [Clause::NotAdministrator]);
}
