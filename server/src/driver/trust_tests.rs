//! Another trust document in force: whose words count from then on, which key the server signs with, and what newcomers are shown.

use super::*;
use crate::admin::Refusal;
use crate::keyring::KeyRing;
use audit::note::{Note, write_lines};
use audit::policy::{Policy, Witness};
use protocol::trust::{PolicyApproval, TrustChain, TrustChange};

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

/// The document in force with `change` in it.
fn next(driver: &Driver, change: impl FnOnce(&mut TrustDocument)) -> TrustChange {
    let history = driver.log.history();
    let mut document = TrustDocument { previous: Some(history.trust_hash()), ..history.trust().clone() };
    change(&mut document);
    TrustChange { document: document.to_bytes() }
}

fn approve(driver: &mut Driver, said: &TrustChange, key: &SigningKey) -> Result<AdminReply, Refusal> {
    let answer = driver.admin(AdminRequest::ChangeTrust { statement: Statement::sign(said, key) }).unwrap();
    if let AdminReply::Refused { reason } = answer { Err(reason) } else { Ok(answer) }
}

fn is_done(answer: &Result<AdminReply, Refusal>) -> bool {
    matches!(answer, Ok(AdminReply::Done {}))
}

fn changes(driver: &Driver) -> usize {
    let entries = driver.log.entries(0, driver.log.size()).unwrap();
    entries.iter().filter(|e| matches!(LogEntry::parse(e).unwrap().facts, Facts::TrustChanged { .. })).count()
}

#[test]
fn administrators_hand_over_to_others_and_have_no_word_after_it() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (old, second, third) = (administrator(&disk), key(31), key(32));
    let first_hash = driver.log.history().trust_hash();
    // One administrator makes two others, of whom both must agree.
    let said = next(&driver, |d| (d.administrators, d.threshold) = (vec![public(&second), public(&third)], 2));
    assert_eq!(approve(&mut driver, &said, &second).err(), Some(Refusal::Statement), "not one yet");
    assert!(is_done(&approve(&mut driver, &said, &old)));
    assert!(is_done(&approve(&mut driver, &said, &old)), "whoever lost the answer asks again, and nothing is recorded");
    assert_eq!((driver.log.history().trust_hash(), changes(&driver)), (said.hash(), 1));
    let kept = std::fs::read(disk.layout().artefact(&said.hash())).unwrap();
    assert_eq!(kept, said.document);

    let back = next(&driver, |d| (d.administrators, d.threshold) = (vec![public(&old)], 1));
    assert_eq!(approve(&mut driver, &back, &old).err(), Some(Refusal::Statement), "one no more");
    assert!(matches!(approve(&mut driver, &back, &second), Ok(AdminReply::Logged { need: 2, .. })));
    assert_eq!(driver.log.history().trust_hash(), said.hash(), "one of two");
    assert!(is_done(&approve(&mut driver, &back, &third)));
    assert_eq!((driver.log.history().trust_hash(), driver.log.history().trusts().len()), (back.hash(), 3));
    assert!(driver.log.history().knows_trust(first_hash));

    // What a newcomer is shown leads from the first document to the last, whichever its invitation names.
    let JoinReply::Trust { trust, changes, .. } = driver.join(JoinMessage::Start {}, Sha256([1; 32])).unwrap() else { panic!("trust") };
    let mut chain = TrustChain::new(TrustDocument::parse(&trust).unwrap());
    chain.follow(&changes).unwrap();
    assert_eq!(chain.last(), driver.log.history().trust());
    assert!([first_hash, said.hash(), back.hash()].into_iter().all(|hash| chain.reaches(hash)));
    let AdminReply::Token { line } = driver.admin(AdminRequest::Invite { institution: "clinic".into(), ttl_s: 9 }).unwrap() else {
        panic!("a token")
    };
    assert_eq!(Token::parse(&line).unwrap().trust, back.hash(), "an invitation names the document in force");

    drop(driver);
    // A log that was recovered has the documents in its entries only.
    std::fs::remove_file(disk.layout().artefact(&said.hash())).unwrap();
    let driver = disk.driver().unwrap();
    assert_eq!(driver.log.history().trust_hash(), back.hash());
    assert!(disk.layout().artefact(&said.hash()).exists());
}

#[test]
fn a_word_for_what_cannot_follow_is_refused_with_its_reason_and_recorded_nowhere() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let admin = administrator(&disk);
    let log = SignerKey::new("demo/log", KeyType::Note, &[5; 32]).unwrap();
    let stale = next(&driver, |d| d.administrators.push(public(&key(31))));
    let bad = [
        (next(&driver, |d| d.log_vkey = log.verifier().to_string()), Refusal::TrustLogKey),
        (next(&driver, |d| d.root_ca = Sha256([1; 32])), Refusal::Trust),
        (next(&driver, |_| {}), Refusal::Trust),
        (next(&driver, |d| (d.previous, d.administrators) = (None, vec![public(&admin), public(&key(31))])), Refusal::TrustReplaced),
        (next(&driver, |d| d.server = public(&key(33))), Refusal::TrustServerKey),
        (TrustChange { document: b"{}".to_vec() }, Refusal::Trust),
    ];
    for (said, why) in bad {
        assert_eq!(approve(&mut driver, &said, &admin).err(), Some(why));
    }
    assert_eq!(changes(&driver), 0);
    let said = next(&driver, |d| d.administrators.push(public(&key(32))));
    assert!(is_done(&approve(&mut driver, &said, &admin)));
    assert_eq!(approve(&mut driver, &stale, &admin).err(), Some(Refusal::TrustReplaced), "prepared before the last change");
}

/// What leads from the first document to the last is one answer at the door; a federation never grows out of it.
#[test]
fn no_word_is_taken_that_newcomers_could_not_be_shown() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let admin = administrator(&disk);
    let numbered = |n: u16| {
        let mut seed = [5; 32];
        seed[..2].copy_from_slice(&n.to_le_bytes());
        public(&SigningKey::from_bytes(&seed))
    };
    let many: Vec<PublicKey> = std::iter::once(public(&admin)).chain((1..400).map(numbered)).collect();
    let said = next(&driver, |d| (d.administrators, d.threshold) = (many, 40));
    assert!(is_done(&approve(&mut driver, &said, &admin)));
    // Forty words of 26 KiB each.
    let said = next(&driver, |d| d.administrators.swap(0, 1));
    assert_eq!(approve(&mut driver, &said, &admin).err(), Some(Refusal::TrustTooLong));
    assert_eq!(changes(&driver), 1);
    let said = next(&driver, |d| (d.administrators, d.threshold) = (vec![public(&admin)], 1));
    assert!(matches!(approve(&mut driver, &said, &admin), Ok(AdminReply::Logged { need: 40, .. })), "the way out is short");
}

/// What waits is kept in memory by whoever follows the log: one administrator alone cannot fill it, and hears why.
#[test]
fn an_administrator_below_the_threshold_proposes_so_many_documents_and_no_more() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let (first, second) = (administrator(&disk), key(31));
    let said = next(&driver, |d| (d.administrators, d.threshold) = (vec![public(&first), public(&second)], 2));
    assert!(is_done(&approve(&mut driver, &said, &first)));
    let documents: Vec<TrustChange> = (0..=TrustChange::MAX_WAITING)
        .map(|n| next(&driver, |d| d.administrators.push(public(&key(100 + u8::try_from(n).unwrap())))))
        .collect();
    let (last, waiting) = documents.split_last().unwrap();
    for said in waiting {
        assert!(matches!(approve(&mut driver, said, &first), Ok(AdminReply::Logged { need: 2, .. })));
    }
    assert_eq!(approve(&mut driver, last, &first).err(), Some(Refusal::TrustWaiting));
    assert_eq!(changes(&driver), 1 + TrustChange::MAX_WAITING, "nothing of it is in the log");
    assert!(matches!(approve(&mut driver, last, &second), Ok(AdminReply::Logged { need: 2, .. })), "another one has his own");
    assert!(is_done(&approve(&mut driver, &waiting[7], &second)));
    let AdminReply::Trust { document, words, .. } = driver.admin(AdminRequest::Trust {}).unwrap() else { panic!("the document") };
    assert_eq!(TrustDocument::hash(&document), waiting[7].hash());
    // The words that led here, whatever else was proposed.
    let led: Vec<LogEntry> = words.iter().map(|at| LogEntry::parse(&driver.log.entries(at.0, at.0 + 1).unwrap()[0]).unwrap()).collect();
    let hashes: Vec<_> = led.iter().map(|e| if let Facts::TrustChanged { new, .. } = e.facts { new } else { Sha256([0; 32]) }).collect();
    assert_eq!(hashes, [said.hash(), waiting[7].hash(), waiting[7].hash()]);
}

#[test]
fn what_was_signed_before_the_servers_key_changed_is_recorded_under_the_next_one() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let made = crate::init::make_statement_key(&disk.layout()).unwrap();
    let said = next(&driver, |d| d.server = made);
    let facts = || Facts::ManifestPublished { manifest: protocol::ids::ManifestDigest([1; 32]) };
    // Any words of the server will do.
    let own = Draft::said(Actor::Server, None, Statement::sign(&said, &driver.statement), facts());
    let others = Draft::said(Actor::Decryptor, Some(MEMBER), Statement::sign(&said, &key(31)), facts());
    assert_eq!(driver.by_the_key_in_force(own.clone()).statement, own.statement);
    assert!(is_done(&approve(&mut driver, &said, &administrator(&disk))));
    let recorded = driver.by_the_key_in_force(own.clone()).statement.unwrap();
    assert_eq!((recorded.key, &recorded.payload), (made, &own.statement.unwrap().payload));
    assert!(recorded.verify_by::<TrustChange>(&made).is_ok());
    assert_eq!(driver.by_the_key_in_force(others.clone()).statement, others.statement, "nobody else's");
}

#[test]
fn the_server_signs_with_the_key_in_force_also_after_a_restart() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let before = public(&driver.statement);
    let made = crate::init::make_statement_key(&disk.layout()).unwrap();
    let said = next(&driver, |d| d.server = made);
    assert!(is_done(&approve(&mut driver, &said, &administrator(&disk))));
    assert!(public(&driver.statement) == made && made != before);
    drop(driver);
    let driver = disk.driver().unwrap();
    assert_eq!(public(&driver.statement), made);
    drop(driver);
    let keys = disk.layout().key("statement");
    let later = keys.with_file_name(format!("statement-{}", &made.to_hex()[..16]));
    std::fs::remove_file(later).unwrap();
    assert!(matches!(crate::init::open(&disk.layout()), Err(crate::init::InitError::Statement)));
}

fn watcher() -> SignerKey {
    SignerKey::new("demo/clinic", KeyType::Cosignature, &[77; 32]).unwrap()
}

/// Puts a policy of one witness in force.
fn watched(driver: &mut Driver, admin: &SigningKey) -> Policy {
    let named = [Witness { name: "clinic".into(), key: watcher().verifier().clone() }];
    let policy = Policy::compose(driver.log.key().verifier(), &named, Some(1)).unwrap();
    let hash = Sha256(protocol::hash::sha256(&[policy.text().as_bytes()]));
    let said = PolicyApproval { policy: hash, replaces: driver.log.history().policy_in_force() };
    let request = AdminRequest::ActivatePolicy { text: policy.text().to_owned(), statement: Statement::sign(&said, admin) };
    assert!(matches!(driver.admin(request).unwrap(), AdminReply::Done {}));
    policy
}

/// The witness cosigns what the driver shows; says the size.
fn cosigns(driver: &mut Driver) -> u64 {
    driver.show_note();
    let note = Note::parse(&driver.publisher.showing().unwrap()).unwrap();
    let size = note.text().parse::<Checkpoint>().unwrap().head.size;
    let line = write_lines(&[audit::cosign::cosign(&watcher(), 1_000, note.text()).unwrap()]);
    driver.message(MEMBER, ClientMessage::Cosigned { size, line }).unwrap();
    size
}

#[test]
fn the_log_is_handed_over_and_its_old_key_erased_when_a_quorum_has_followed() {
    let disk = Disk::new();
    let (mut driver, admin, ring) = (disk.driver().unwrap(), administrator(&disk), KeyRing::new(&disk.layout()));
    let old = driver.log.key().verifier().clone();
    let policy = watched(&mut driver, &admin);
    let first = cosigns(&mut driver);
    drop(driver);
    let backup = disk.copy();
    let mut driver = disk.driver().unwrap();
    let made = ring.make("demo").unwrap();
    let said = next(&driver, |d| d.log_vkey = made.to_string());
    assert!(is_done(&approve(&mut driver, &said, &admin)));
    let (at, _) = driver.log.keys().handovers().next().unwrap();
    let handover = driver.log.handover(first).unwrap().unwrap();
    assert_eq!((driver.log.size(), driver.log.key().verifier()), (at, &made));
    assert!(ring.find(&old).unwrap().is_some() && driver.publisher.published() == first, "no quorum has followed yet");
    // The policy goes on for the new key in the same words, for whoever reads the directory.
    let next_policy = std::fs::read_to_string(driver.log.root().join(audit::reader::policy_path(at))).unwrap();
    assert_eq!(next_policy, policy.with_log(&made).unwrap().text());

    // A process that ends here finds its published note, of the old key's time, and goes on.
    drop(driver);
    let mut driver = disk.driver().unwrap();
    assert!(driver.publisher.published() == first && ring.find(&old).unwrap().is_some());
    driver.publisher.want(driver.log.size());
    let size = cosigns(&mut driver);
    assert!(size > at && driver.publisher.published() == size);
    assert!(ring.find(&old).unwrap().is_none(), "the old key is erased");
    let back = next(&driver, |d| d.log_vkey = old.to_string());
    assert_eq!(approve(&mut driver, &back, &admin).err(), Some(Refusal::TrustLogKey));
    let newest = driver.log.note().to_vec();
    drop(driver);
    assert_eq!(disk.driver().unwrap().log.key().verifier(), &made);

    // A backup from before the handover does not know the key of the newest note, and the note of the handover it does.
    let mut lost = backup.driver().unwrap();
    assert!(matches!(come(&mut lost, &newest), Ok(Err(Rejection::BadSignature))));
    assert!(lost.shown_handovers(MEMBER, &[b"nonsense".to_vec(), newest]).is_ok());
    assert!(matches!(lost.shown_handovers(MEMBER, std::slice::from_ref(&handover)), Err(DriverError::Rollback(_))));
    drop(lost);
    assert!(matches!(backup.driver().map(drop), Err(DriverError::Rollback(_))), "and not after another start");
    // Recovered from a mirror of the new key's time it has the note of the handover; the new key it must be given.
    let recovered = || recover(&backup.layout(), &disk.layout().audit(), &[], OwnTail::GivenUp);
    assert!(recovered().is_err());
    let name = format!("log-{}", hex::encode(&made.public()[..8]));
    std::fs::copy(disk.layout().key(&name), backup.layout().key(&name)).unwrap();
    recovered().unwrap();
    let driver = backup.driver().unwrap();
    assert_eq!((driver.log.key().verifier(), driver.log.handover(0).unwrap()), (&made, Some(handover)));
    assert!(KeyRing::new(&backup.layout()).find(&old).unwrap().is_none(), "its copy of the old key is erased too");
}
