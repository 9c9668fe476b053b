//! Members that go on with another statement key or another witness key (audit.md A12, A17): what is taken from them before and after.

use super::*;
use audit::policy::Policy;
use protocol::ids::{PlanDigest, RoundId, SnapshotDigest, TaskId};
use protocol::membership::{KeyPurpose, KeyRevocation, StandingReason};
use protocol::plan::{PlanApproval, Unit};
use protocol::rotation::{StatementKeyChange, StatementKeyRotation, WitnessKeyRotation, keyid};
use protocol::trust::{DatasetDeclaration, PolicyApproval};

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn declare<P: Payload>(driver: &mut Driver, who: ClientId, key: &SigningKey, said: &P) -> Result<(), Rejection> {
    let (reply, mut answer) = oneshot::channel();
    driver.request(who, Request::Declare { statement: Statement::sign(said, key) }, reply).unwrap();
    let response = answer.try_recv().unwrap().response;
    if let Response::Rejected { reason } = response {
        return Err(reason);
    }
    assert!(matches!(response, Response::Receipt { .. }));
    Ok(())
}

fn dataset(n: u8) -> DatasetDeclaration {
    DatasetDeclaration { dataset: Sha256([n; 32]), unit: Unit::Record, declared_units: 120 }
}

/// The member `who` goes from one key to the next, by the word of `signer` with the proof of `prover`.
fn change(who: ClientId, old: &SigningKey, new: &SigningKey, prover: &SigningKey) -> StatementKeyRotation {
    let change = StatementKeyChange { federation: "demo".into(), institution: who, old: public(old), new: public(new) };
    StatementKeyRotation::new(&change, prover)
}

#[test]
fn a_member_speaks_with_its_new_statement_key_and_the_old_one_is_refused_everywhere() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (first, second, csr) = (key(7), key(8), request());
    let who = admit(&disk, &mut driver, &first, &csr);
    assert_eq!(declare(&mut driver, who, &second, &dataset(1)), Err(Rejection::BadSignature));
    assert_eq!(declare(&mut driver, who, &first, &change(who, &first, &second, &first)), Err(Rejection::Malformed), "no proof");
    assert_eq!(declare(&mut driver, who, &second, &change(who, &first, &second, &second)), Err(Rejection::BadSignature));
    let admin = administrator(&disk);
    assert_eq!(declare(&mut driver, who, &first, &change(who, &first, &admin, &admin)), Err(Rejection::Policy), "somebody's");
    assert_eq!(declare(&mut driver, who, &first, &change(who, &first, &second, &second)), Ok(()));
    assert_eq!(declare(&mut driver, who, &first, &dataset(1)), Err(Rejection::BadSignature));
    assert_eq!(declare(&mut driver, who, &second, &dataset(1)), Ok(()));
    // A certificate at the door, too, is for whoever has the key of now.
    let nonce = Sha256([4; 32]);
    let said = Renewal { trust: TrustDocument::hash(&driver.trust_bytes), nonce, tls_key: crate::identity::csr_key_hash(&csr).unwrap() };
    let mut come = |key: &SigningKey| driver.come_back(&Statement::sign(&said, key), &csr, nonce, BEGIN).unwrap();
    assert!(matches!(come(&first), JoinReply::Rejected { reason: Rejection::NotEnrolled }));
    assert!(matches!(come(&second), JoinReply::Renewed { .. }));
    let pending = driver.admin(AdminRequest::Pending {}).unwrap();
    assert!(matches!(pending, AdminReply::Pending { joins } if joins.is_empty()), "nobody asks to join");
    drop(driver);
    let mut driver = disk.driver().unwrap();
    assert_eq!(driver.log.history().speaker(&public(&second)), Some(who));
    assert_eq!(declare(&mut driver, who, &first, &dataset(2)), Err(Rejection::BadSignature));
    drop(driver);
    let rotated = Facts::KeyRotated { purpose: KeyPurpose::Statement, old: keyid(&public(&first)), new: keyid(&public(&second)) };
    assert_eq!(disk.entries().iter().filter(|e| e.facts == rotated).count(), 1);
}

/// Opens the first round of a task, with everybody on its roster.
fn round_opens(disk: &Disk, driver: &mut Driver) -> TaskId {
    let (task, plan, snapshot) = (TaskId([3; 16]), PlanDigest([4; 32]), SnapshotDigest([5; 32]));
    let approval = Statement::sign(&PlanApproval { task, plan }, &administrator(disk));
    driver.append_one(Draft::said(Actor::Administrator, None, approval, Facts::TaskApproved { plan }).in_task(task)).unwrap();
    driver.append_one(Draft::server(Facts::TaskOpened { plan, snapshot }).in_task(task)).unwrap();
    let previous_end = driver.log.history().task(task).unwrap().previous_end();
    driver.append_one(Draft::server(Facts::RoundOpened { previous_end }).in_round(task, RoundId::FIRST)).unwrap();
    task
}

#[test]
fn a_statement_key_waits_for_the_end_of_a_round_and_the_next_round_waits_for_it() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (first, second) = (key(7), key(8));
    let who = admit(&disk, &mut driver, &first, &request());
    let task = round_opens(&disk, &mut driver);
    let good = change(who, &first, &second, &second);
    assert!(!driver.is_held(now()));
    assert_eq!(declare(&mut driver, who, &first, &good), Err(Rejection::InRound));
    let later = now();
    assert!(driver.is_held(later) && !driver.is_held(later.plus_ms(60_000)), "not for ever");
    driver.append_one(Draft::server(Facts::RoundAbandoned {}).in_round(task, RoundId::FIRST)).unwrap();
    assert_eq!(declare(&mut driver, who, &first, &good), Ok(()));
    assert!(!driver.is_held(now()));
}

#[test]
fn whoever_waits_for_the_end_of_a_round_is_waited_for_whatever_others_do() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let [first, second, third, fourth] = [7, 8, 9, 10].map(key);
    let clinic = admit(&disk, &mut driver, &first, &request());
    let bank = admit_as(&disk, &mut driver, ("bank", 4), &third, &request());
    let task = round_opens(&disk, &mut driver);
    let (one, other) = (change(clinic, &first, &second, &second), change(bank, &third, &fourth, &fourth));
    assert_eq!(declare(&mut driver, clinic, &first, &one), Err(Rejection::InRound));
    // Another member's witness key, and its statement key, are no reason to go on without this one.
    let (old, new) = (driver.log.history().members()[&bank].witness(), SignerKey::new("demo/bank", KeyType::Cosignature, &[5; 32]));
    let witness = WitnessKeyRotation { federation: "demo".into(), institution: bank, old, new: new.unwrap().verifier().to_string() };
    assert_eq!(declare(&mut driver, bank, &third, &witness), Ok(()));
    assert!(driver.is_held(now()));
    assert_eq!(declare(&mut driver, bank, &third, &other), Err(Rejection::InRound));
    driver.append_one(Draft::server(Facts::RoundAbandoned {}).in_round(task, RoundId::FIRST)).unwrap();
    assert_eq!(declare(&mut driver, bank, &third, &other), Ok(()));
    assert!(driver.is_held(now()), "the clinic has not had its turn");
    assert_eq!(declare(&mut driver, clinic, &first, &one), Ok(()));
    assert!(!driver.is_held(now()));
}

#[test]
fn a_policy_that_was_made_before_a_witness_was_replaced_is_not_activated() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (person, admin) = (key(7), administrator(&disk));
    let who = admit(&disk, &mut driver, &person, &request());
    admit_as(&disk, &mut driver, ("bank", 4), &key(9), &request());
    let made = |driver: &Driver| crate::publish::compose(driver.log.history()).unwrap().text().to_owned();
    let activate = |driver: &mut Driver, text: &str| {
        let (policy, replaces) = (Sha256(protocol::hash::sha256(&[text.as_bytes()])), driver.log.history().policy_in_force());
        let statement = Statement::sign(&PolicyApproval { policy, replaces }, &admin);
        driver.admin(AdminRequest::ActivatePolicy { text: text.to_owned(), statement }).unwrap()
    };
    let before = made(&driver);
    let (old, new) = (driver.log.history().members()[&who].witness(), SignerKey::new("demo/clinic", KeyType::Cosignature, &[5; 32]));
    let said = WitnessKeyRotation { federation: "demo".into(), institution: who, old, new: new.unwrap().verifier().to_string() };
    assert_eq!(declare(&mut driver, who, &person, &said), Ok(()));
    assert!(matches!(activate(&mut driver, &before), AdminReply::Refused { reason: crate::admin::Refusal::PolicyWitness }));
    assert_eq!(driver.log.history().policy(), None);
    let after = made(&driver);
    assert!(matches!(activate(&mut driver, &after), AdminReply::Done {}));
}

#[test]
fn status_tells_of_a_revoked_witness_until_the_next_policy() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let admin = administrator(&disk);
    let who = admit(&disk, &mut driver, &key(7), &request());
    admit_as(&disk, &mut driver, ("bank", 4), &key(9), &request());
    let activate = |driver: &mut Driver| {
        let text = crate::publish::compose(driver.log.history()).unwrap().text().to_owned();
        let (policy, replaces) = (Sha256(protocol::hash::sha256(&[text.as_bytes()])), driver.log.history().policy_in_force());
        let statement = Statement::sign(&PolicyApproval { policy, replaces }, &admin);
        assert!(matches!(driver.admin(AdminRequest::ActivatePolicy { text, statement }).unwrap(), AdminReply::Done {}));
    };
    let revoked = |driver: &mut Driver| {
        let AdminReply::Status { status } = driver.admin(AdminRequest::Status {}).unwrap() else { panic!("a status") };
        status.revoked_witnesses
    };
    activate(&mut driver);
    assert_eq!(revoked(&mut driver), Vec::<String>::new());
    let member = driver.log.history().members()[&who].clone();
    let said =
        KeyRevocation { institution: who, purpose: KeyPurpose::Witness, key: member.witness(), reason: StandingReason::KeyCompromise };
    driver.change_standing(Statement::sign(&said, &admin)).unwrap().unwrap();
    assert_eq!(revoked(&mut driver), [member.name]);
    activate(&mut driver);
    assert_eq!(revoked(&mut driver), Vec::<String>::new());
}

/// The witnesses of the policy that would be made now.
fn composed(driver: &Driver) -> Vec<String> {
    let policy = crate::publish::compose(driver.log.history());
    policy.as_ref().map(Policy::witnesses).unwrap_or_default().iter().map(|w| w.key.to_string()).collect()
}

#[test]
fn the_next_policy_names_the_new_witness_and_none_that_was_revoked() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let person = key(7);
    let who = admit(&disk, &mut driver, &person, &request());
    let vkey = |name: &str, kind, n: u8| SignerKey::new(name, kind, &[n; 32]).unwrap().verifier().to_string();
    let (first, second) = (vkey("demo/clinic", KeyType::Cosignature, 3), vkey("demo/clinic", KeyType::Cosignature, 4));
    let old = driver.log.history().members()[&who].witness();
    let say = |driver: &mut Driver, new: &str| {
        let said = WitnessKeyRotation { federation: "demo".into(), institution: who, old, new: new.into() };
        declare(driver, who, &person, &said)
    };
    assert_eq!(composed(&driver), std::slice::from_ref(&first));
    assert_eq!(say(&mut driver, "demo"), Err(Rejection::Malformed), "no key");
    assert_eq!(say(&mut driver, &vkey("demo/clinic", KeyType::Note, 4)), Err(Rejection::Malformed), "a key that cosigns nothing");
    assert_eq!(say(&mut driver, &vkey("demo/other", KeyType::Cosignature, 3)), Err(Rejection::Policy), "the same under another name");
    assert_eq!(say(&mut driver, &vkey("demo/bank", KeyType::Cosignature, 4)), Err(Rejection::Policy), "under another's name");
    assert_eq!(say(&mut driver, &second), Ok(()));
    assert_eq!(composed(&driver), std::slice::from_ref(&second));
    assert_eq!(say(&mut driver, &first), Err(Rejection::Policy), "never again");
    let key = driver.log.history().members()[&who].witness();
    let said = KeyRevocation { institution: who, purpose: KeyPurpose::Witness, key, reason: StandingReason::KeyCompromise };
    driver.change_standing(Statement::sign(&said, &administrator(&disk))).unwrap().unwrap();
    assert_eq!(composed(&driver), Vec::<String>::new());
    let AdminReply::Status { status } = driver.admin(AdminRequest::Status {}).unwrap() else { panic!("a status") };
    assert_eq!(status.revoked_witnesses, Vec::<String>::new(), "no policy names it");

    assert!(driver.log.history().is_active(who), "a member as before");
}
