//! Batching, resuming, and reading hashes back.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::merkle::{HashReader, prove_consistency, prove_inclusion};
use crate::reader::{MemoryLog, TileHashes};

fn entries(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("{{\"seq\":{i}}}").into_bytes()).collect()
}

/// Writes as a server would: an existing file must be byte-equal.
fn apply(log: &mut MemoryLog, files: Vec<TileFile>) {
    for file in files {
        let old = log.files.insert(file.path.to_string(), file.bytes.clone());
        assert!(old.is_none_or(|o| o == file.bytes), "{} rewritten", file.path);
    }
}

fn write(batches: &[&[Vec<u8>]]) -> (MemoryLog, LogWriter) {
    let (mut log, mut writer) = (MemoryLog::default(), LogWriter::new());
    batches.iter().for_each(|b| apply(&mut log, writer.append(b).unwrap()));
    (log, writer)
}

#[test]
fn a_log_of_70_000_entries_has_the_files_of_the_specification() {
    let (log, writer) = write(&[&entries(70_000)]);
    let count = |prefix: &str| log.files.keys().filter(|p| p.starts_with(prefix)).count();
    assert_eq!((count("tile/0/"), count("tile/1/"), count("tile/2/"), count("tile/3/")), (274, 2, 1, 0));
    assert_eq!(count("tile/entries/"), 274);
    for (path, hashes) in
        [("tile/0/272", 256), ("tile/0/273.p/112", 112), ("tile/1/000", 256), ("tile/1/001.p/17", 17), ("tile/2/000.p/1", 1)]
    {
        assert_eq!(log.files[path].len(), hashes * 32, "{path}");
    }
    assert_eq!(LogWriter::resume(70_000, &log).unwrap().head(), writer.head());
    let hashes = TileHashes::new(&log, 70_000);
    let leaf = leaf_hash(b"{\"seq\":69999}");
    let proof = prove_inclusion(&hashes, 69_999, 70_000).unwrap();
    assert_eq!(proof.verify(&writer.head(), 69_999, &leaf), Ok(()));
    let (_, old) = write(&[&entries(65_800)]);
    assert_eq!(prove_consistency(&hashes, 65_800, 70_000).unwrap().verify(&old.head(), &writer.head()), Ok(()));
    assert!(hashes.node(17, 0).is_err() && hashes.node(63, u64::MAX).is_err() && hashes.node(16, 0).is_ok());
}

#[test]
fn a_full_tile_comes_with_its_parent() {
    let (log, _) = write(&[&entries(256)]);
    let names: Vec<&str> = log.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
}

#[test]
fn a_refused_batch_leaves_the_log_as_it_was() {
    let (_, mut writer) = write(&[&entries(3)]);
    let before = writer.head();
    let long = vec![b"fine".to_vec(), vec![0; crate::MAX_ENTRY_BYTES + 1]];
    assert!(matches!(writer.append(&long), Err(AppendError::TooLong(_))));
    assert_eq!(writer.head(), before);
    assert_eq!(writer.append(&[] as &[Vec<u8>]), Ok(vec![]));
}

#[test]
fn a_damaged_right_edge_is_not_resumed_from() {
    let (log, writer) = write(&[&entries(300)]);
    for path in ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"] {
        let mut missing = log.clone();
        missing.files.remove(path);
        assert!(matches!(LogWriter::resume(300, &missing), Err(ResumeError::Missing { .. })), "{path}");
        let mut altered = log.clone();
        altered.files.get_mut(path).unwrap()[9] ^= 1;
        let resumed = LogWriter::resume(300, &altered);
        assert!(resumed.is_err() || resumed.unwrap().head() != writer.head(), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_batching_gives_the_same_log(n in 0_usize..900, cuts in prop::collection::vec(0_usize..900, 0..6), restart in any::<bool>()) {
        let all = entries(n);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(n)).chain([0, n]).collect();
        cuts.sort_unstable();
        let (mut log, mut writer) = (MemoryLog::default(), LogWriter::new());
        for cut in cuts.windows(2) {
            apply(&mut log, writer.append(&all[cut[0]..cut[1]]).unwrap());
            if restart {
                let resumed = LogWriter::resume(writer.size(), &log).unwrap();
                prop_assert_eq!(resumed.head(), writer.head());
                prop_assert_eq!(resumed.edge(), writer.edge());
                writer = resumed;
            }
        }
        let (once, at_once) = write(&[&all]);
        prop_assert_eq!(writer.head(), at_once.head());
        // What one batch writes, every batching has written; the rest are older partial tiles, prefixes of these.
        let needed: BTreeMap<_, _> = log.files.iter().filter(|(p, _)| once.files.contains_key(*p)).collect();
        prop_assert_eq!(needed, once.files.iter().collect::<BTreeMap<_, _>>());
    }

    #[test]
    fn every_prefix_is_consistent(new in 1_u64..900, pick in any::<u64>()) {
        let old = pick % (new + 1);
        let all = entries(usize::try_from(new).unwrap());
        let (first, second) = all.split_at(usize::try_from(old).unwrap());
        let (_, before) = write(&[first]);
        let (log, after) = write(&[first, second]);
        let proof = prove_consistency(&TileHashes::new(&log, new), old, new).unwrap();
        prop_assert_eq!(proof.verify(&before.head(), &after.head()), Ok(()));
    }
}
