use super::*;
use ed25519_dalek::SigningKey;
use protocol::ids::SetDigest;
use protocol::manifest::{Endorsement, SetPayload};
use protocol::statement::Statement;
use std::os::unix::fs::PermissionsExt as _;

fn records() -> Vec<Record> {
    // A statement of any kind: the vault names rounds by the hash of its payload and reads nothing in it.
    let manifest = Statement::sign(&Endorsement { manifest: ManifestDigest([1; 32]) }, &SigningKey::from_bytes(&[5; 32]));
    let digest = Manifest::digest(&manifest.payload);
    let payload = SetPayload { manifest: digest, group: GroupId(2), set: SetDigest([3; 32]), count: 4, log_size: 9 };
    vec![
        Record::Endorsed { task: TaskId([1; 16]), round: RoundId(7), manifest: manifest.clone() },
        Record::Signed { payload },
        Record::Opened { manifest: digest, group: GroupId(2), opening: manifest },
    ]
}

#[test]
fn records_come_back_at_every_byte_that_a_crash_may_leave() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let (mut vault, none) = Vault::open(&home).unwrap();
    assert!(none.is_empty());
    let path = home.duty(TaskId([1; 16]), RoundId(7)).join("records");
    let mut ends = Vec::new();
    for record in records() {
        vault.persist(&record).unwrap();
        ends.push(std::fs::read(&path).unwrap().len());
    }
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (_, found) = Vault::open(&home).unwrap();
        let expected = ends.iter().filter(|e| **e <= cut).count();
        assert_eq!(found, records()[..expected], "cut at {cut}");
    }
}

#[test]
fn damage_before_the_last_record_is_no_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let (mut vault, _) = Vault::open(&home).unwrap();
    for record in records() {
        vault.persist(&record).unwrap();
    }
    let path = home.duty(TaskId([1; 16]), RoundId(7)).join("records");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(Vault::open(&home).is_err());
}

#[test]
fn a_prekey_is_made_once_kept_closed_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let (mut vault, _) = Vault::open(&home).unwrap();
    let (task, round) = (TaskId([1; 16]), RoundId(7));
    let public = vault.prekey(task, round).unwrap();
    assert_eq!(public.len(), PREKEY_BYTES);
    assert_eq!(vault.prekey(task, round).unwrap(), public);
    assert_ne!(vault.prekey(task, RoundId(8)).unwrap(), public);
    let secret = home.prekey(task, round).with_extension("secret");
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(vault.secret(task, round).unwrap().is_some());
    assert_eq!(vault.rounds().unwrap(), [(task, round), (task, RoundId(8))]);
    let nonce = vault.nonce(task, round).unwrap();
    assert_eq!(vault.nonce(task, round).unwrap(), nonce, "what was committed to is what will be revealed");
    assert_ne!(vault.nonce(task, RoundId(8)).unwrap(), nonce);
    assert_eq!(std::fs::metadata(home.nonce(task, round)).unwrap().permissions().mode() & 0o777, 0o600);
    vault.forget(task, round).unwrap();
    assert!(vault.secret(task, round).unwrap().is_none() && !secret.exists() && !home.nonce(task, round).exists());
}
