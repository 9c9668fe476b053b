//! A member goes on with another TLS key, by its own word (transport-storage.md T9): what the log says, who is let in, and what old words do.

use super::*;
use protocol::membership::{Change, KeyPurpose, KeyRevocation, StandingChange, StandingReason};
use protocol::renewal::Rotation;

const NONCE: Sha256 = Sha256([6; 32]);

fn person() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn hash(csr: &[u8]) -> Sha256 {
    crate::identity::csr_key_hash(csr).unwrap()
}

/// The member asks, on the connection with this nonce, for the key of `new` in place of that of `old`.
fn rotate(driver: &mut Driver, old: &[u8], new: &[u8], nonce: Sha256) -> JoinReply {
    let said = Rotation { trust: TrustDocument::hash(&driver.trust_bytes), nonce: NONCE, old: hash(old), new: hash(new) };
    driver.come_back(&Statement::sign(&said, &person()), new, nonce, BEGIN).unwrap()
}

fn leaf(reply: JoinReply) -> Vec<u8> {
    let JoinReply::Renewed { leaf } = reply else { panic!("{reply:?}") };
    leaf.into()
}

fn refused(reply: &JoinReply, expected: Rejection) -> bool {
    matches!(reply, JoinReply::Rejected { reason } if *reason == expected)
}

fn rotations(driver: &Driver) -> usize {
    let entries = driver.log.entries(0, driver.log.size()).unwrap();
    entries.iter().filter(|e| matches!(LogEntry::parse(e).unwrap().facts, Facts::KeyRotated { .. })).count()
}

#[test]
fn another_tls_key_takes_the_place_of_the_one_so_far_at_once_and_the_old_one_never_comes_back() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (first, second) = (request(), request());
    let who = admit(&disk, &mut driver, &person(), &first);
    driver.renew(who, &first, BEGIN).unwrap().unwrap();
    let (cut, mut ended) = oneshot::channel();
    driver.connected(who, Link { id: 7, key: hash(&first), outbox: mpsc::channel(8).0, cut }, b"").unwrap().unwrap();
    assert!(refused(&rotate(&mut driver, &first, &second, Sha256([5; 32])), Rejection::NotEnrolled), "said on another connection");
    assert!(refused(&rotate(&mut driver, &second, &second, NONCE), Rejection::Policy), "not in the place of the log's key");
    assert_eq!((rotations(&driver), renewed(&driver).len()), (0, 1));

    let given = leaf(rotate(&mut driver, &first, &second, NONCE));
    assert_eq!(crate::identity::spki_hash(&given).unwrap(), hash(&second));
    assert_eq!((rotations(&driver), renewed(&driver).len()), (1, 2));
    assert!(ended.try_recv().unwrap().is_none() && driver.links.is_empty(), "whoever has the old key is cut off");
    assert_eq!(driver.identify("clinic", hash(&second)).unwrap(), Door::Member(who));
    assert_eq!(driver.identify("clinic", hash(&first)).unwrap(), Door::Stranger);
    // The answer was lost: the same once more, and nothing new in the log.
    assert_eq!(leaf(rotate(&mut driver, &first, &second, NONCE)), given);
    assert_eq!((rotations(&driver), renewed(&driver).len()), (1, 2));
    assert!(refused(&rotate(&mut driver, &second, &first, NONCE), Rejection::Policy), "a key never comes back");
    assert_eq!(driver.renew(who, &first, BEGIN).unwrap(), Err(Rejection::BadSignature));
    drop(driver);
    assert_eq!(disk.driver().unwrap().identify("clinic", hash(&second)).unwrap(), Door::Member(who));
}

#[test]
fn whoever_is_suspended_gets_no_certificate_and_no_other_key() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (first, second) = (request(), request());
    let who = admit(&disk, &mut driver, &person(), &first);
    let since = driver.log.history().members()[&who].since;
    let admin = administrator(&disk);
    let said = StandingChange { institution: who, since, change: Change::Suspend, reason: StandingReason::KeyCompromise };
    driver.change_standing(Statement::sign(&said, &admin)).unwrap().unwrap();
    assert!(refused(&rotate(&mut driver, &first, &second, NONCE), Rejection::Revoked));
    assert_eq!(driver.renew(who, &first, BEGIN).unwrap(), Err(Rejection::Revoked));
    let said = Renewal { trust: TrustDocument::hash(&driver.trust_bytes), nonce: NONCE, tls_key: hash(&first) };
    let reply = driver.come_back(&Statement::sign(&said, &person()), &first, NONCE, BEGIN).unwrap();
    assert!(refused(&reply, Rejection::Revoked));
    assert_eq!((rotations(&driver), renewed(&driver).len()), (0, 0));
}

#[test]
fn a_key_that_administrators_revoked_lets_nobody_in_and_the_next_one_does() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (first, second) = (request(), request());
    let who = admit(&disk, &mut driver, &person(), &first);
    let admin = administrator(&disk);
    let revoke = |driver: &mut Driver, csr: &[u8], key: &SigningKey| {
        let said = KeyRevocation { institution: who, purpose: KeyPurpose::Tls, key: hash(csr), reason: StandingReason::KeyCompromise };
        driver.change_standing(Statement::sign(&said, key)).unwrap()
    };
    let link = |driver: &mut Driver, csr: &[u8]| {
        let (cut, ended) = oneshot::channel();
        let welcome = driver.connected(who, Link { id: 7, key: hash(csr), outbox: mpsc::channel(8).0, cut }, b"").unwrap();
        (ended, welcome)
    };
    let (mut ended, welcome) = link(&mut driver, &first);
    assert!(welcome.is_ok());
    assert_eq!(revoke(&mut driver, &second, &admin).err(), Some(crate::admin::Refusal::Standing), "not its key");
    assert_eq!(revoke(&mut driver, &first, &person()).err(), Some(crate::admin::Refusal::Statement));
    revoke(&mut driver, &first, &admin).unwrap();
    assert!(ended.try_recv().unwrap().is_none() && driver.links.is_empty());
    assert_eq!(driver.identify("clinic", hash(&first)).unwrap(), Door::Stranger);
    let (mut ended, welcome) = link(&mut driver, &first);
    assert_eq!((welcome.err(), ended.try_recv().unwrap()), (Some(Rejection::NotEnrolled), None), "identified before");
    assert_eq!(driver.renew(who, &first, BEGIN).unwrap(), Err(Rejection::Revoked));
    assert!(driver.log.history().is_active(who), "a member as before");
    leaf(rotate(&mut driver, &first, &second, NONCE));
    assert_eq!(driver.identify("clinic", hash(&second)).unwrap(), Door::Member(who));
    assert_eq!(revoke(&mut driver, &first, &admin).err(), Some(crate::admin::Refusal::Standing), "old words do nothing");
    drop(driver);
    assert_eq!(disk.driver().unwrap().identify("clinic", hash(&first)).unwrap(), Door::Stranger);
}
