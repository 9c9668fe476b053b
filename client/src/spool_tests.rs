use super::*;
use ed25519_dalek::SigningKey;
use protocol::manifest::Decline;
use protocol::reject::Rejection;

fn address(bytes: &[u8]) -> Address {
    Address(*blake3::hash(bytes).as_bytes())
}

/// Any signed statement will do: a spool does not read its header.
fn header() -> Statement {
    let said = Decline { task: TaskId([1; 16]), round: RoundId(3), reason: Rejection::Late };
    Statement::sign(&said, &SigningKey::from_bytes(&[3; 32]))
}

fn write(home: &Home) -> SpoolIndex {
    let mut writer = SpoolWriter::begin(home, TaskId([1; 16]), RoundId(3)).unwrap();
    for part in [b"chunk one".as_slice(), b"chunk two", b"blob"] {
        writer.put(address(part), part).unwrap();
    }
    let group = SpooledGroup {
        group: GroupId(0),
        header: header(),
        chunks: vec![address(b"chunk one"), address(b"chunk two")],
        blobs: vec![address(b"blob")],
    };
    let index = SpoolIndex { manifest: ManifestDigest([5; 32]), reservation: 4, groups: vec![group] };
    writer.complete(index.clone()).unwrap();
    index
}

#[test]
fn what_is_sent_again_is_byte_identical() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let index = write(&home);
    let read = || {
        let spool = Spool::open(&home, TaskId([1; 16]), RoundId(3)).unwrap().unwrap();
        let group = spool.group(GroupId(0)).unwrap().clone();
        let parts: Vec<Vec<u8>> = group.chunks.iter().chain(&group.blobs).map(|a| spool.part(*a).unwrap()).collect();
        (codec::encode(&group.header), parts, spool.index().clone())
    };
    let (first, second) = (read(), read());
    assert_eq!(first, second);
    assert_eq!(first.2, index);
    assert_eq!(first.1, [b"chunk one".to_vec(), b"chunk two".to_vec(), b"blob".to_vec()]);
}

#[test]
fn a_spool_without_its_index_does_not_exist_and_a_changed_part_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    write(&home);
    let at = home.spool(TaskId([1; 16]), RoundId(3));
    let part = at.join("parts").join(address(b"blob").to_hex());
    std::fs::write(&part, b"blub").unwrap();
    let spool = Spool::open(&home, TaskId([1; 16]), RoundId(3)).unwrap().unwrap();
    assert!(matches!(spool.part(address(b"blob")), Err(StoreError::Damaged(Item::Spool))));
    std::fs::remove_file(at.join("index")).unwrap();
    assert!(Spool::open(&home, TaskId([1; 16]), RoundId(3)).unwrap().is_none());
    assert_eq!(rounds(&home).unwrap(), [(TaskId([1; 16]), RoundId(3))]);
    clear(&home, TaskId([1; 16]), RoundId(3)).unwrap();
    assert!(rounds(&home).unwrap().is_empty());
}
