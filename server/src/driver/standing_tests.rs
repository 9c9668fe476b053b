//! Members that are suspended, revoked or gone: what they are told, and what is still taken from them.

use super::*;
use ed25519_dalek::SigningKey;
use protocol::entry::Actor;
use protocol::ids::{LeafIndex, PublicKey};
use protocol::membership::{Barred, Change, Departure, Standing, StandingChange, StandingReason};
use protocol::statement::Statement;
use protocol::trust::{JoinRequest, Membership};

const NAME: &str = "clinic-a";

fn person() -> SigningKey {
    SigningKey::from_bytes(&[21; 32])
}

fn who() -> ClientId {
    ClientId::of(&PublicKey(person().verifying_key().to_bytes()))
}

/// A driver with one member, and its administrator's key.
fn with_member(disk: &Disk) -> (Driver, SigningKey) {
    let mut driver = disk.driver().unwrap();
    let admin = administrator(disk);
    let request = JoinRequest {
        token: TokenId([1; 16]),
        trust: driver.log.history().trust_hash(),
        nonce: Sha256([3; 32]),
        name: NAME.into(),
        institution_key: PublicKey(person().verifying_key().to_bytes()),
        witness_vkey: "w".into(),
        tls_key: Sha256([4; 32]),
    };
    let said = Membership::of(&request);
    let asked = Facts::MemberJoinRequested { token: request.token, request: said.request };
    let joined = Facts::MemberJoined { request: said.request };
    let drafts = [
        Draft::said(Actor::Institution, Some(who()), Statement::sign(&request, &person()), asked),
        Draft::said(Actor::Administrator, Some(who()), Statement::sign(&said, &admin), joined),
    ];
    driver.append(&drafts).unwrap();
    (driver, admin)
}

fn since(driver: &Driver) -> LeafIndex {
    driver.log.history().members()[&who()].since
}

fn order(driver: &mut Driver, admin: &SigningKey, change: Change, reason: StandingReason) -> Result<AdminReply, crate::admin::Refusal> {
    let said = StandingChange { institution: who(), since: since(driver), change, reason };
    driver.change_standing(Statement::sign(&said, admin)).unwrap()
}

/// Connects the member; what its connection would be ended with.
fn link(driver: &mut Driver) -> (oneshot::Receiver<Option<Barred>>, Result<ServerMessage, Rejection>) {
    let (cut, ended) = oneshot::channel();
    let welcome = driver.connected(who(), Link { id: 7, key: Sha256([4; 32]), outbox: mpsc::channel(8).0, cut }, b"").unwrap();
    (ended, welcome)
}

fn ask(driver: &mut Driver, request: Request) -> Response {
    let (reply, mut answer) = oneshot::channel();
    driver.request(who(), request, reply).unwrap();
    answer.try_recv().unwrap().response
}

#[test]
fn whoever_is_suspended_is_cut_off_with_the_reason_and_let_in_when_resumed() {
    let disk = Disk::new();
    let (mut driver, admin) = with_member(&disk);
    let door = |driver: &mut Driver| driver.identify(NAME, Sha256([4; 32])).unwrap();
    assert_eq!(door(&mut driver), Door::Member(who()));
    let (mut ended, welcome) = link(&mut driver);
    assert!(welcome.is_ok() && ended.try_recv().is_err());

    let done = order(&mut driver, &admin, Change::Suspend, StandingReason::Incident).unwrap();
    assert!(matches!(done, AdminReply::Logged { need: 1, .. }), "{done:?}");
    let barred = Barred { standing: Standing::Suspended(StandingReason::Incident), since: since(&driver) };
    assert_eq!(ended.try_recv(), Ok(Some(barred)));
    assert!(driver.links.is_empty());
    assert_eq!(door(&mut driver), Door::Barred(barred));
    assert!(matches!(ask(&mut driver, Request::Checkpoint {}), Response::Rejected { reason: Rejection::Revoked }));
    let (mut ended, welcome) = link(&mut driver);
    assert_eq!((welcome.err(), ended.try_recv()), (Some(Rejection::Revoked), Ok(Some(barred))));
    let entries = driver.log.entries(0, driver.log.size()).unwrap();
    let denied = entries.iter().map(|e| LogEntry::parse(e).unwrap()).filter(|e| matches!(e.facts, Facts::AuthzDenied { .. }));
    assert_eq!(denied.map(|e| (e.institution, e.code)).collect::<Vec<_>>(), [(Some(who()), Some("revoked".to_owned()))]);

    order(&mut driver, &admin, Change::Resume, StandingReason::Resolved).unwrap();
    assert_eq!(door(&mut driver), Door::Member(who()));
    assert!(link(&mut driver).1.is_ok());
    assert!(matches!(ask(&mut driver, Request::Checkpoint {}), Response::Bytes { .. }));
}

/// A member that dials twice and is then revoked keeps no connection.
#[test]
fn a_newer_connection_ends_the_older_one() {
    use tokio::sync::oneshot::error::TryRecvError;
    let disk = Disk::new();
    let (mut driver, admin) = with_member(&disk);
    let ((mut old, _), (mut new, _)) = (link(&mut driver), link(&mut driver));
    assert_eq!((old.try_recv(), new.try_recv()), (Err(TryRecvError::Closed), Err(TryRecvError::Empty)));
    order(&mut driver, &admin, Change::Revoke, StandingReason::KeyCompromise).unwrap();
    assert!(new.try_recv().is_ok_and(|why| why.is_some_and(|barred| barred.standing.is_final())));
}

#[test]
fn a_change_that_does_not_follow_or_that_no_administrator_signed_is_refused() {
    let disk = Disk::new();
    let (mut driver, admin) = with_member(&disk);
    let refused = order(&mut driver, &admin, Change::Resume, StandingReason::Mistake);
    assert_eq!(refused.err(), Some(crate::admin::Refusal::Standing));
    let refused = order(&mut driver, &person(), Change::Revoke, StandingReason::Mistake);
    assert_eq!(refused.err(), Some(crate::admin::Refusal::Statement));
    order(&mut driver, &admin, Change::Revoke, StandingReason::Misconduct).unwrap();
    for change in Change::ALL.iter().copied() {
        assert_eq!(order(&mut driver, &admin, change, StandingReason::Mistake).err(), Some(crate::admin::Refusal::Standing));
    }
    let AdminReply::Members { members } = driver.members() else { panic!("members") };
    assert_eq!((members.len(), members[0].standing.as_str(), members[0].reason.as_deref()), (1, "revoked", Some("misconduct")));
}

#[test]
fn whoever_leaves_gets_its_receipt_and_reads_the_log_on_the_same_connection() {
    let disk = Disk::new();
    let (mut driver, _) = with_member(&disk);
    let (mut ended, _) = link(&mut driver);
    let said = Departure { since: since(&driver), reason: StandingReason::Request };
    let statement = Statement::sign(&said, &person());
    let Response::Receipt { index, .. } = ask(&mut driver, Request::Declare { statement: statement.clone() }) else { panic!("a receipt") };
    assert!(ended.try_recv().is_err(), "the answer is still on its way");
    assert_eq!(driver.log.history().barred(who()).unwrap().standing, Standing::Left(StandingReason::Request));
    assert!(matches!(ask(&mut driver, Request::Log { from: index.0, to: index.0 + 1 }), Response::Entries { .. }));
    assert!(matches!(ask(&mut driver, Request::Declare { statement }), Response::Rejected { reason: Rejection::Revoked }));
    // A connection that it keeps open is no way to read the log for ever.
    driver.end_leaving(now());
    assert!(matches!(ask(&mut driver, Request::Checkpoint {}), Response::Bytes { .. }) && ended.try_recv().is_err());
    driver.end_leaving(Time::NEVER);
    assert_eq!(ended.try_recv(), Ok(Some(Barred { standing: Standing::Left(StandingReason::Request), since: index })));
    assert!(matches!(ask(&mut driver, Request::Checkpoint {}), Response::Rejected { reason: Rejection::Revoked }));
    assert!(matches!(driver.identify(NAME, Sha256([4; 32])).unwrap(), Door::Barred(b) if b.standing.is_final()));
    drop(driver);
    // What stands in the log stands after a restart.
    let mut driver = disk.driver().unwrap();
    assert!(matches!(driver.identify(NAME, Sha256([4; 32])).unwrap(), Door::Barred(_)));
}

/// The minute may end while the test runs, once.
#[test]
fn a_member_that_declares_without_end_is_not_listened_to_any_more_and_others_are() {
    let disk = Disk::new();
    let (mut driver, _) = with_member(&disk);
    let statement =
        Statement::sign(&Departure { since: since(&driver), reason: StandingReason::Request }, &SigningKey::from_bytes(&[22; 32]));
    let mut declare = || {
        let answer = ask(&mut driver, Request::Declare { statement: statement.clone() });
        let Response::Rejected { reason } = answer else { panic!("somebody else signed it") };
        reason
    };
    let reasons: Vec<Rejection> = (0..500).map(|_| declare()).collect();
    let judged = reasons.iter().filter(|r| **r == Rejection::BadSignature).count();
    let unheard = reasons.iter().filter(|r| **r == Rejection::OverQuota).count();
    assert!((120..=240).contains(&judged) && judged + unheard == 500, "{judged} {unheard}");
    assert_eq!(driver.declarations.count(now(), MEMBER), 1);
}

/// The hour may end while the test runs, once.
#[test]
fn a_member_that_is_shut_out_is_told_so_each_time_and_the_log_once_an_hour() {
    let disk = Disk::new();
    let (mut driver, admin) = with_member(&disk);
    order(&mut driver, &admin, Change::Suspend, StandingReason::Incident).unwrap();
    for _ in 0..50 {
        assert!(matches!(driver.identify(NAME, Sha256([4; 32])).unwrap(), Door::Barred(_)));
    }
    drop(driver);
    let denied = disk.entries().iter().filter(|e| e.facts == Facts::AuthzDenied {}).count();
    assert!((1..=2).contains(&denied), "{denied}");
}
