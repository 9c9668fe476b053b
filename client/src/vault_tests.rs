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

/// A power cut may leave the file longer, and zeros where the record should be; nothing was answered on it.
#[test]
fn zeros_where_a_record_should_be_are_a_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let (mut vault, _) = Vault::open(&home).unwrap();
    records().iter().for_each(|record| vault.persist(record).unwrap());
    let path = home.duty(TaskId([1; 16]), RoundId(7)).join("records");
    let whole = std::fs::read(&path).unwrap();
    for zeros in [1, FRAME - 1, FRAME, FRAME + 1, 500] {
        std::fs::write(&path, [whole.as_slice(), &vec![0; zeros]].concat()).unwrap();
        let (_, found) = Vault::open(&home).unwrap();
        assert_eq!((found, std::fs::read(&path).unwrap()), (records(), whole.clone()), "{zeros} zeros");
    }
    std::fs::write(&path, [&[0u8; 500][..], &whole].concat()).unwrap();
    assert!(Vault::open(&home).is_err(), "zeros before a record are damage");
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
    let (public, until) = vault.prekey(task, round, Time(50)).unwrap();
    assert_eq!((public.len(), until), (PREKEY_BYTES, Time(50)));
    assert_eq!(vault.prekey(task, round, Time(90)).unwrap(), (public.clone(), Time(50)), "what was published holds");
    assert_ne!(vault.prekey(task, RoundId(8), Time(90)).unwrap().0, public);
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

/// C57: prekeys that no round has used by their expiry go, also after a restart; those of a round with a duty stay until it has ended.
#[test]
fn a_prekey_that_nobody_used_is_deleted_when_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let (mut vault, _) = Vault::open(&home).unwrap();
    let (task, used, unused, later) = (TaskId([1; 16]), RoundId(7), RoundId(8), RoundId(9));
    let old = [used, unused].map(|round| vault.prekey(task, round, Time(50)).unwrap().0);
    vault.prekey(task, later, Time(60)).unwrap();
    let number = vault.nonce(task, unused).unwrap();
    records().iter().for_each(|record| vault.persist(record).unwrap());
    assert!(!vault.expire(Time(49)).unwrap());
    let (mut vault, _) = Vault::open(&home).unwrap();
    assert!(vault.expire(Time(50)).unwrap() && !vault.expire(Time(50)).unwrap());
    let secret = |vault: &Vault, round| vault.secret(task, round).unwrap().is_some();
    assert_eq!([used, unused, later].map(|round| secret(&vault, round)), [true, false, true]);
    assert_eq!(vault.prekey(task, used, Time(90)).unwrap(), (old[0].clone(), Time(50)));
    let (new, until) = vault.prekey(task, unused, Time(90)).unwrap();
    assert!(new != old[1] && until == Time(90));
    assert_eq!(vault.nonce(task, unused).unwrap(), number, "what was committed to stays");
    vault.forget(task, used).unwrap();
    assert!(!secret(&vault, used));
}

/// Files below a directory, however deep.
fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|e| e.unwrap().path());
    paths.flat_map(|p| if p.is_dir() { files_below(&p) } else { vec![p] }).collect()
}

/// A decryptor's round with everything that C57 names: prekey, number, records, a share.
fn round_with_secrets(home: &Home) -> (TaskId, RoundId) {
    let (task, round) = (TaskId([1; 16]), RoundId(7));
    let (mut vault, _) = Vault::open(home).unwrap();
    vault.prekey(task, round, Time(50)).unwrap();
    vault.nonce(task, round).unwrap();
    let records = records();
    records.iter().for_each(|record| vault.persist(record).unwrap());
    let Record::Signed { payload } = &records[1] else { panic!("the second record is a set") };
    let share = Share::from_bytes(Position(1), &[0; SHARE_BYTES]).unwrap();
    vault.keep(payload.manifest, payload.group, HeaderDigest([4; 32]), &share).unwrap();
    (task, round)
}

/// C57 across a crash: whichever file was the last to go, the next start still knows that the round left something, and what is left goes.
#[test]
fn forgetting_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let count = {
        let dir = tempfile::tempdir().unwrap();
        round_with_secrets(&Home::new(dir.path()));
        files_below(dir.path()).len()
    };
    assert_eq!(count, 5, "two halves of a prekey, a number, records, a share");
    for gone in 0u32..1 << count {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let at = round_with_secrets(&home);
        let mut files = files_below(dir.path());
        files.sort();
        for (_, path) in files.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 1) {
            std::fs::remove_file(path).unwrap();
        }
        let (mut vault, _) = Vault::open(&home).unwrap();
        if gone + 1 < 1 << count {
            assert_eq!(vault.rounds().unwrap(), [at], "{gone:b}");
        }
        vault.forget(at.0, at.1).unwrap();
        assert!(files_below(dir.path()).is_empty(), "{gone:b}");
        assert!(vault.rounds().unwrap().is_empty());
    }
}
