//! What members show the driver when they come: honest notes, forged ones, and those of a history that this disk has lost.

#[path = "keys_tests.rs"]
mod keys;
#[path = "rotation_tests.rs"]
mod rotation;
#[path = "standing_tests.rs"]
mod standing;
#[path = "told_tests.rs"]
mod told;
#[path = "trust_tests.rs"]
mod trust;

use super::*;
use crate::endpoint::{Shared, Traffic};
use crate::recover::{OwnTail, recover};
use crate::testing::copy_all;
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, SignerKey};
use audit::tree::TreeHead;
use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, AlarmKind, Facts, LogEntry, Right, Rule, Ruling};
use protocol::ids::{PublicKey, TokenId};
use protocol::renewal::Renewal;
use protocol::statement::{Payload, Statement};
use protocol::trust::{JoinRequest, Membership, Token, TrustDocument};
use tokio::sync::Semaphore;

const MEMBER: ClientId = ClientId([9; 32]);

/// The disk of a server, and the hash of the settings that it is started with.
struct Disk(tempfile::TempDir, Sha256);

const SETTINGS: Sha256 = Sha256([1; 32]);

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        crate::init::init(dir.path(), "demo", &dir.path().join("admin.key")).unwrap();
        Self(dir, SETTINGS)
    }

    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_all(self.0.path(), dir.path());
        Self(dir, SETTINGS)
    }

    fn layout(&self) -> Layout {
        Layout::new(self.0.path())
    }

    /// What `serve` puts together, without a network.
    fn driver(&self) -> Result<Driver, DriverError> {
        let layout = self.layout();
        let (keys, log, trust_bytes) = crate::init::open(&layout).unwrap();
        let (store, uploads) = (Store::open(&layout.store()).unwrap(), Uploads::new(layout.clone()));
        let (inputs, _) = mpsc::channel(1);
        let (traffic, memory) = (Traffic::default(), Arc::new(Semaphore::new(1)));
        let shared = Arc::new(Shared { inputs, uploads: uploads.clone(), traffic, federation: "demo".into(), memory });
        let (jobs, _) = std::sync::mpsc::channel();
        let (keys, public_address, config) = (Arc::new(keys), "localhost:1".into(), self.1);
        Driver::new(Parts { layout, keys, trust_bytes, public_address, log, store, uploads, shared, jobs, config })
    }

    fn entries(&self) -> Vec<LogEntry> {
        let (_, log, _) = crate::init::open(&self.layout()).unwrap();
        log.entries(0, log.size()).unwrap().iter().map(|e| LogEntry::parse(e).unwrap()).collect()
    }
}

fn grow(driver: &mut Driver, count: u8) {
    for n in 0..count {
        driver.append_one(Draft::server(Facts::MemberInvited { token: TokenId([n; 16]) })).unwrap();
    }
}

fn come(driver: &mut Driver, note: &[u8]) -> Result<Result<ServerMessage, Rejection>, DriverError> {
    driver.connected(MEMBER, Link { id: 1, key: Sha256([4; 32]), outbox: mpsc::channel(8).0, cut: oneshot::channel().0 }, note)
}

#[test]
fn a_member_without_a_note_of_ours_loses_its_connection_and_stops_nobody_else() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    grow(&mut driver, 2);
    let old = driver.log.note().to_vec();
    grow(&mut driver, 2);
    // The same name, but not our key; and our own note with a size that it does not have.
    let stranger = SignerKey::new("demo/log", KeyType::Note, &[5; 32]).unwrap();
    let head = TreeHead { size: u64::MAX >> 8, root: audit::hash::leaf_hash(b"x") };
    let forged = Checkpoint { origin: "demo/log".into(), head }.sign(&stranger).unwrap().encode();
    let altered = String::from_utf8(driver.log.note().to_vec()).unwrap().replacen("\n6\n", "\n60\n", 1).into_bytes();
    assert_ne!(altered, driver.log.note(), "the altered note is another one");
    for note in [b"18446744073709551615".to_vec(), forged, altered, vec![0; 1 << 20]] {
        assert!(matches!(come(&mut driver, &note), Ok(Err(Rejection::BadSignature))));
        assert!(driver.links.is_empty());
    }
    for note in [Vec::new(), old, driver.log.note().to_vec()] {
        assert!(matches!(come(&mut driver, &note), Ok(Ok(ServerMessage::Welcome { log_size: 6, .. }))));
    }
    grow(&mut driver, 1);
    assert!(!disk.layout().evidence().exists());
}

#[test]
fn a_backup_that_came_back_appends_nothing_until_it_is_recovered() {
    let disk = Disk::new();
    let backup = disk.copy();
    let note = {
        let mut driver = disk.driver().unwrap();
        grow(&mut driver, 6);
        driver.log.note().to_vec()
    };
    let size = {
        let mut driver = backup.driver().unwrap();
        let size = driver.log.size();
        let refused = come(&mut driver, &note);
        assert!(matches!(refused, Err(DriverError::Rollback(_))), "{:?}", refused.map(drop));
        assert!(driver.links.is_empty());
        size
    };
    // Whoever starts it again, and however often: it does not even say that it started.
    for _ in 0..2 {
        assert!(matches!(backup.driver().map(drop), Err(DriverError::Rollback(_))));
        assert_eq!(backup.entries().len() as u64, size);
    }
    // An operator who recovers from a mirror that is itself too old is told so: what members have shown counts there too.
    let old = Disk::new();
    copy_all(&backup.layout().audit(), &old.0.path().join("old"));
    assert!(recover(&backup.layout(), &old.0.path().join("old"), &[], OwnTail::GivenUp).is_err());
    // The backup has begun a history of its own by its start: it never showed it to anybody, and is told to give it up.
    assert!(recover(&backup.layout(), &disk.layout().audit(), &[], OwnTail::Binds).is_err());
    recover(&backup.layout(), &disk.layout().audit(), &[], OwnTail::GivenUp).unwrap();
    let evidence = Sha256(protocol::hash::sha256(&[&note]));
    let alarm = Facts::AuditAlarm { alarm: AlarmKind::Rollback, evidence };
    assert_eq!(backup.entries().last().unwrap().facts, alarm, "the log tells that it was shown more than it had");
    let mut driver = backup.driver().unwrap();
    assert!(matches!(come(&mut driver, &note), Ok(Ok(_))));
    assert_eq!(std::fs::read_dir(backup.layout().evidence()).unwrap().count(), 1, "the evidence is kept for ever");
}

#[test]
fn another_tree_of_the_same_size_or_of_a_smaller_one_is_a_rollback() {
    for more in [0, 5] {
        let disk = Disk::new();
        let twin = disk.copy();
        let note = disk.driver().unwrap().log.note().to_vec();
        let mut driver = twin.driver().unwrap();
        // Both have appended one entry; the twin goes on, so that the note's size is below its own.
        grow(&mut driver, more);
        assert!(matches!(come(&mut driver, &note), Err(DriverError::Rollback(_))), "{more}");
    }
}

const DAY: u64 = 24 * 3600 * 1000;
/// When certificates begin in the tests of them.
const BEGIN: Time = Time(1_800_000_000_000);

/// A signing request for a new TLS key.
fn request() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

/// An institution asks to join with this signing request and a witness of this seed; what admits it.
fn ask_to_join(driver: &mut Driver, name: &str, key: &SigningKey, csr: &[u8], witness: u8) -> Membership {
    let (token, institution_key) = (TokenId([key.to_bytes()[0]; 16]), PublicKey(key.verifying_key().to_bytes()));
    let asked = JoinRequest {
        token,
        trust: TrustDocument::hash(&driver.trust_bytes),
        nonce: Sha256([2; 32]),
        name: name.into(),
        institution_key,
        witness_vkey: SignerKey::new(&format!("demo/{name}"), KeyType::Cosignature, &[witness; 32]).unwrap().verifier().to_string(),
        tls_key: crate::identity::csr_key_hash(csr).unwrap(),
    };
    let said = Membership::of(&asked);
    let facts = Facts::MemberJoinRequested { token, request: said.request };
    driver.store.put_csr(said.institution, csr).unwrap();
    driver.append_one(Draft::server(Facts::MemberInvited { token })).unwrap();
    driver.append_one(Draft::said(Actor::Institution, Some(said.institution), Statement::sign(&asked, key), facts)).unwrap();
    said
}

fn administrator(disk: &Disk) -> SigningKey {
    crate::init::read_admin_key(&disk.0.path().join("admin.key")).unwrap()
}

/// An institution that the administrator admitted with this signing request.
fn admit(disk: &Disk, driver: &mut Driver, key: &SigningKey, csr: &[u8]) -> ClientId {
    admit_as(disk, driver, ("clinic", 3), key, csr)
}

/// The same under this name, with a witness of this seed.
fn admit_as(disk: &Disk, driver: &mut Driver, (name, witness): (&str, u8), key: &SigningKey, csr: &[u8]) -> ClientId {
    let said = ask_to_join(driver, name, key, csr, witness);
    let facts = Facts::MemberJoined { request: said.request };
    let statement = Statement::sign(&said, &administrator(disk));
    driver.append_one(Draft::said(Actor::Administrator, Some(said.institution), statement, facts)).unwrap();
    said.institution
}

/// What TLS and policies know an institution by is never another one's.
#[test]
fn nobody_is_admitted_with_the_tls_key_or_the_witness_of_another() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (csr, admin) = (request(), administrator(&disk));
    admit(&disk, &mut driver, &SigningKey::from_bytes(&[7; 32]), &csr);
    let mut approve = |seed: u8, csr: &[u8], witness: u8| {
        let said = ask_to_join(&mut driver, "bank", &SigningKey::from_bytes(&[seed; 32]), csr, witness);
        driver.admin(AdminRequest::Approve { statement: Statement::sign(&said, &admin) }).unwrap()
    };
    let shared = |reply: &AdminReply| matches!(reply, AdminReply::Refused { reason: crate::admin::Refusal::SharedKey });
    assert!(shared(&approve(8, &csr, 4)), "the TLS key");
    assert!(shared(&approve(9, &request(), 3)), "the witness, under another name");
    assert!(matches!(approve(10, &request(), 4), AdminReply::Done {}));
}

/// Times until which the log says that certificates hold.
fn renewed(driver: &Driver) -> Vec<u64> {
    let entries = driver.log.entries(0, driver.log.size()).unwrap();
    let until = |e: &Vec<u8>| {
        let facts = LogEntry::parse(e).unwrap().facts;
        if let Facts::MemberRenewed { until_s, .. } = facts { Some(until_s) } else { None }
    };
    entries.iter().filter_map(until).collect()
}

/// T9, under a clock of the test's own.
#[test]
fn a_member_gets_its_next_certificate_once_half_of_the_last_is_over() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (key, csr) = (SigningKey::from_bytes(&[7; 32]), request());
    let who = admit(&disk, &mut driver, &key, &csr);
    let at = |driver: &mut Driver, day: u64| driver.renew(who, &csr, BEGIN.plus_ms(day * DAY)).unwrap().unwrap();
    let first = at(&mut driver, 0);
    assert_eq!(at(&mut driver, 3), first, "asked again too early, or because the answer was lost");
    let second = at(&mut driver, 4);
    assert_ne!(second, first);
    let life = crate::identity::lifetime(&second).unwrap();
    assert_eq!(life.until, BEGIN.plus_ms(11 * DAY));
    assert_eq!(crate::identity::spki_hash(&second).unwrap(), crate::identity::csr_key_hash(&csr).unwrap());
    assert_eq!(crate::identity::peer_name(&second).unwrap().institution, "clinic");
    // Each stands in the log, with its end, and breaks no rule there.
    assert_eq!(renewed(&driver), [BEGIN.0 / 1000 + 7 * DAY / 1000, BEGIN.0 / 1000 + 11 * DAY / 1000]);
    // Another key than the admitted one, and a stranger.
    let later = BEGIN.plus_ms(20 * DAY);
    assert_eq!(driver.renew(who, &request(), later).unwrap(), Err(Rejection::BadSignature));
    assert_eq!(driver.renew(who, b"no request", later).unwrap(), Err(Rejection::BadSignature));
    assert_eq!(driver.renew(MEMBER, &csr, later).unwrap(), Err(Rejection::NotEnrolled));
    assert_eq!(renewed(&driver).len(), 2);
    drop(driver);
    // After a restart the last one is still known, and its successor comes when it is due.
    let mut driver = disk.driver().unwrap();
    assert_eq!(at(&mut driver, 5), second);
    assert_ne!(at(&mut driver, 8), second);
}

/// T2: without a certificate that holds, the institution's own key speaks for it, on this connection and for its own TLS key.
#[test]
fn a_member_whose_certificate_has_run_out_comes_back_by_its_statement_key() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (key, csr, nonce) = (SigningKey::from_bytes(&[7; 32]), request(), Sha256([4; 32]));
    let who = admit(&disk, &mut driver, &key, &csr);
    driver.renew(who, &csr, BEGIN).unwrap().unwrap();
    let good = Renewal { trust: TrustDocument::hash(&driver.trust_bytes), nonce, tls_key: crate::identity::csr_key_hash(&csr).unwrap() };
    let late = BEGIN.plus_ms(40 * DAY);
    let ask = |driver: &mut Driver, statement: &Statement, csr: &[u8]| driver.come_back(statement, csr, nonce, late).unwrap();
    let refused = |reply: &JoinReply| matches!(reply, JoinReply::Rejected { .. });
    let bad = [
        Statement::sign(&Renewal { nonce: Sha256([5; 32]), ..good }, &key),
        Statement::sign(&Renewal { trust: Sha256([5; 32]), ..good }, &key),
        Statement::sign(&Renewal { tls_key: Sha256([5; 32]), ..good }, &key),
        Statement::sign(&good, &SigningKey::from_bytes(&[8; 32])),
        Statement::sign(&protocol::trust::PolicyApproval { policy: nonce, replaces: None }, &key),
    ];
    for statement in &bad {
        assert!(refused(&ask(&mut driver, statement, &csr)));
    }
    let statement = Statement::sign(&good, &key);
    assert_eq!(statement.kind, Renewal::KIND);
    assert!(refused(&ask(&mut driver, &statement, &request())), "another TLS key");
    assert_eq!(renewed(&driver).len(), 1);
    let JoinReply::Renewed { leaf } = ask(&mut driver, &statement, &csr) else { panic!("refused") };
    assert!(crate::identity::lifetime(&leaf).unwrap().holds(late));
    assert_eq!(renewed(&driver).len(), 2);
}

#[test]
fn a_start_with_other_settings_tells_the_old_and_the_new_ones_and_one_with_the_same_does_not() {
    let mut disk = Disk::new();
    disk.driver().unwrap().stopped().unwrap();
    disk.driver().unwrap().stopped().unwrap();
    disk.1 = Sha256([2; 32]);
    disk.driver().unwrap().stopped().unwrap();
    let entries = disk.entries();
    let changes: Vec<_> = entries.iter().filter(|e| matches!(e.facts, Facts::ProcessConfigChanged { .. })).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].facts, Facts::ProcessConfigChanged { old: SETTINGS, new: disk.1 });
    let cause = changes[0].stamp.cause.unwrap();
    assert_eq!(cause.0 + 1, changes[0].stamp.seq);
    assert!(matches!(entries[usize::try_from(cause.0).unwrap()].facts, Facts::ProcessStarted { clean: true, .. }));
    assert!(entries.iter().all(|e| !matches!(e.facts, Facts::ProcessUpgraded { .. })), "the program is the same one");
}

#[test]
fn what_an_administrator_asks_for_is_allowed_right_before_it_is_done() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let request = AdminRequest::Invite { institution: "clinic-a".into(), ttl_s: 60 };
    assert!(matches!(driver.admin(request).unwrap(), AdminReply::Token { .. }));
    assert_eq!(driver.identify("clinic-a", Sha256([3; 32])).unwrap(), Door::Stranger);
    drop(driver);
    let entries = disk.entries();
    let [.., allowed, invited, denied] = entries.as_slice() else { panic!("three entries and more") };
    let ruling = |e: &LogEntry| e.decision.map(|d| (d.ruling, d.right, d.rule));
    assert_eq!(ruling(allowed), Some((Ruling::Allow, Right::MemberInvite, Rule::Host)));
    assert!(matches!(invited.facts, Facts::MemberInvited { .. }));
    assert_eq!(invited.stamp.cause.map(|i| i.0), Some(allowed.stamp.seq));
    assert_eq!(ruling(denied), Some((Ruling::Deny, Right::StatusRead, Rule::Enrolled)));
    let server = "spiffe://demo/institution/server/server/main";
    assert_eq!(entries[0].stamp.who.uri.as_deref(), Some(server));
    assert!(entries.iter().all(|e| e.stamp.origin == entries[0].stamp.origin));
}

#[test]
fn an_act_that_somebody_else_signed_is_refused_and_the_denial_stands_in_the_log() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let stranger = SigningKey::from_bytes(&[77; 32]);
    let said = protocol::trust::PolicyApproval { policy: Sha256([5; 32]), replaces: None };
    let statement = Statement::sign(&said, &stranger);
    let answer = driver.admin(AdminRequest::ActivatePolicy { text: String::new(), statement }).unwrap();
    assert!(matches!(answer, AdminReply::Refused { .. }));
    drop(driver);
    let decision = disk.entries().last().unwrap().decision.unwrap();
    assert_eq!((decision.ruling, decision.right, decision.rule), (Ruling::Deny, Right::PolicyActivate, Rule::Administrator));
}

#[test]
fn a_refused_update_stands_in_the_log_once_before_the_client_hears_of_it() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let said = protocol::trust::PolicyApproval { policy: Sha256([5; 32]), replaces: None };
    let header = Statement::sign(&said, &SigningKey::from_bytes(&[77; 32]));
    for _ in 0..3 {
        let (reply, mut answer) = oneshot::channel();
        driver.request(MEMBER, Request::Begin { header: header.clone(), chunks: Vec::new() }, reply).unwrap();
        let Response::Rejected { reason } = answer.try_recv().unwrap().response else { panic!("no round is open") };
        assert_eq!(reason, Rejection::WrongRound);
    }
    drop(driver);
    let entries = disk.entries();
    let refused: Vec<_> = entries.iter().filter(|e| e.facts == Facts::UpdateRejected {}).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].institution, refused[0].code.as_deref()), (Some(MEMBER), Some("wrong_round")));
    assert_eq!((refused[0].stamp.cause, refused[0].round), (None, None));
}

/// The minute may end while the test runs, once.
#[test]
fn strangers_at_one_door_neither_fill_the_log_nor_hide_what_is_tried_at_another() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    for _ in 0..100 {
        driver.deny(Right::MemberJoin, None, Rejection::NotEnrolled).unwrap();
    }
    driver.deny(Right::StatusRead, None, Rejection::NotEnrolled).unwrap();
    drop(driver);
    let denied: Vec<Right> = disk.entries().iter().filter_map(|e| e.decision).map(|d| d.right).collect();
    assert_eq!(denied.last(), Some(&Right::StatusRead));
    assert!((11..=21).contains(&denied.len()), "{denied:?}");
}

#[test]
fn nobody_asks_to_join_with_a_witness_that_no_policy_could_name() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let invite = AdminRequest::Invite { institution: "clinic".into(), ttl_s: 600 };
    let AdminReply::Token { line } = driver.admin(invite).unwrap() else { panic!("a token") };
    let (token, key, csr, nonce) = (Token::parse(&line).unwrap(), SigningKey::from_bytes(&[7; 32]), request(), Sha256([1; 32]));
    let mut ask = |name: &str, kind| {
        let asked = JoinRequest {
            token: token.id,
            trust: token.trust,
            nonce,
            name: "clinic".into(),
            institution_key: PublicKey(key.verifying_key().to_bytes()),
            witness_vkey: SignerKey::new(name, kind, &[3; 32]).unwrap().verifier().to_string(),
            tls_key: crate::identity::csr_key_hash(&csr).unwrap(),
        };
        let message = JoinMessage::Request { secret: token.secret, statement: Statement::sign(&asked, &key), csr: csr.clone().into() };
        matches!(driver.join(message, nonce).unwrap(), JoinReply::Pending {})
    };
    assert!(!ask("demo/clinic", KeyType::Note), "a key that cosigns nothing");
    assert!(!ask("demo/bank", KeyType::Cosignature), "another institution's name");
    assert!(ask("demo/clinic", KeyType::Cosignature));
}

#[test]
fn a_token_leaves_few_requests_in_the_log_however_often_it_is_used() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let invite = AdminRequest::Invite { institution: "clinic".into(), ttl_s: 600 };
    let AdminReply::Token { line } = driver.admin(invite).unwrap() else { panic!("a token") };
    let (token, key, csr) = (Token::parse(&line).unwrap(), SigningKey::from_bytes(&[7; 32]), request());
    let mut ask = |n: u8| {
        let asked = JoinRequest {
            token: token.id,
            trust: TrustDocument::hash(&driver.trust_bytes),
            nonce: Sha256([n; 32]),
            name: "clinic".into(),
            institution_key: PublicKey(key.verifying_key().to_bytes()),
            witness_vkey: SignerKey::new("demo/clinic", KeyType::Cosignature, &[3; 32]).unwrap().verifier().to_string(),
            tls_key: crate::identity::csr_key_hash(&csr).unwrap(),
        };
        let (statement, nonce) = (Statement::sign(&asked, &key), asked.nonce);
        let message = JoinMessage::Request { secret: token.secret, statement, csr: csr.clone().into() };
        matches!(driver.join(message, nonce).unwrap(), JoinReply::Pending {})
    };
    let taken: Vec<u8> = (0..12).filter(|n| ask(*n)).collect();
    assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(ask(3), "a request that stands in the log is told again");
    drop(driver);
    let entries = disk.entries();
    let requests = entries.iter().filter(|e| matches!(e.facts, Facts::MemberJoinRequested { .. })).count();
    let codes: Vec<_> = entries.iter().filter(|e| e.decision.is_some()).filter_map(|e| e.code.as_deref()).collect();
    assert_eq!((requests, codes), (8, vec!["over_quota"; 4]));
}
