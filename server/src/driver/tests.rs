//! What members show the driver when they come: honest notes, forged ones, and those of a history that this disk has lost.

#[path = "standing_tests.rs"]
mod standing;

use super::*;
use crate::endpoint::{Shared, Traffic};
use crate::recover::{OwnTail, recover};
use crate::testing::copy_all;
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, SignerKey};
use audit::tree::TreeHead;
use protocol::entry::{AlarmKind, Facts, LogEntry, Right, Rule, Ruling};
use protocol::ids::TokenId;
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
        let (public_address, config) = ("localhost:1".into(), self.1);
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
    driver.connected(MEMBER, Link { id: 1, outbox: mpsc::channel(8).0, cut: oneshot::channel().0 }, note)
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
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[77; 32]);
    let said = protocol::trust::PolicyApproval { policy: Sha256([5; 32]) };
    let statement = protocol::statement::Statement::sign(&said, &stranger);
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
    let said = protocol::trust::PolicyApproval { policy: Sha256([5; 32]) };
    let header = protocol::statement::Statement::sign(&said, &ed25519_dalek::SigningKey::from_bytes(&[77; 32]));
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
