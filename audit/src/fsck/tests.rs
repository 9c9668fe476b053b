//! Whole logs in memory: a clean one is clean, and each way of tampering is found where it was done.

use std::collections::BTreeSet;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::cosign::cosign;
use crate::key::{KeyType, SignerKey};
use crate::policy::Witness;
use crate::reader::{CHECKPOINT_PATH, MemoryLog, note_path};
use crate::writer::LogWriter;

fn log_key() -> SignerKey {
    SignerKey::new("fed.example/log", KeyType::Note, &[1; 32]).ok().unwrap()
}

fn witness(n: u8) -> SignerKey {
    SignerKey::new(&format!("w{n}.example"), KeyType::Cosignature, &[10 + n; 32]).ok().unwrap()
}

/// Two witnesses, both needed: the loss of any cosignature shows.
fn trust() -> Trust {
    let named: Vec<Witness> = (0..2).map(|n| Witness { name: format!("w{n}"), key: witness(n).verifier().clone() }).collect();
    let none = Policy::compose(log_key().verifier(), &[], None).unwrap();
    let both = Policy::compose(log_key().verifier(), &named, Some(2)).unwrap();
    Trust { policies: BTreeMap::from([(0, none), (1, both)]), min_cosigners: 0, tip: None }
}

fn note(head: TreeHead, cosigners: &[u8], time_s: u64) -> Vec<u8> {
    let mut note = Checkpoint { origin: "fed.example/log".into(), head }.sign(&log_key()).unwrap();
    for n in cosigners {
        let line = cosign(&witness(*n), time_s, note.text()).unwrap();
        note.add(&[line]).unwrap();
    }
    note.encode()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// A log published at each of these sizes, with every partial tile that ever was.
fn log(sizes: &[u64]) -> MemoryLog {
    let (mut log, mut writer) = (MemoryLog::default(), LogWriter::new());
    for (time, size) in (1_000..).zip(sizes) {
        let batch: Vec<Vec<u8>> = (writer.size()..*size).map(entry).collect();
        log.files.extend(writer.append(&batch).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
        let cosigners: &[u8] = if *size == 0 { &[] } else { &[0, 1] };
        let bytes = note(writer.head(), cosigners, time);
        log.files.insert(note_path(*size), bytes.clone());
        log.files.insert(CHECKPOINT_PATH.to_owned(), bytes);
    }
    log
}

fn findings(log: &MemoryLog) -> Vec<Finding> {
    check(log, &trust(), |_, _| ()).unwrap().findings
}

/// Where the findings are, in order.
fn places(log: &MemoryLog) -> Vec<String> {
    findings(log).iter().map(|f| f.place.to_string()).collect()
}

fn flip(log: &MemoryLog, path: &str, at: usize) -> MemoryLog {
    let mut altered = log.clone();
    altered.files.get_mut(path).unwrap()[at] ^= 1;
    altered
}

#[test]
fn a_clean_log_is_clean_and_yields_every_entry_in_order() {
    for sizes in [&[0][..], &[1], &[255], &[256], &[257], &[0, 1, 100, 255, 300, 511, 512, 800]] {
        let (log, size) = (log(sizes), *sizes.last().unwrap());
        let mut next = 0;
        let report = check(&log, &trust(), |index, bytes| {
            assert_eq!((index, bytes), (next, entry(next).as_slice()));
            next += 1;
        });
        let report = report.unwrap();
        assert_eq!(report.findings, [], "{sizes:?}");
        assert_eq!((report.entries, next, report.computed.size), (size, size, size));
        assert_eq!((report.checkpoint, report.notes), (Some(report.computed), sizes.len() as u64));
        assert_eq!((report.is_clean(), report.severity()), (true, None));
    }
}

#[test]
fn a_log_deep_enough_for_three_levels_is_checked_to_the_top() {
    let log = log(&[65_800]);
    assert_eq!(findings(&log), []);
    for (path, at) in [("tile/2/000.p/1", 0), ("tile/1/000", 8_191), ("tile/1/001.p/1", 31)] {
        let found = findings(&flip(&log, path, at));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert_eq!((found[0].place.to_string().as_str(), found[0].severity()), (path, Severity::Integrity));
    }
    // An altered leaf hash is told apart from an altered entry by the tile above.
    assert_eq!(places(&flip(&log, "tile/0/003", 32 * 5)), ["entry 773"]);
    assert_eq!(places(&flip(&log, "tile/entries/003", 4)), ["entry 768"]);
}

#[test]
fn every_flipped_byte_of_a_small_log_is_found() {
    let log = log(&[0, 3, 5]);
    let mut flipped = 0;
    for (path, bytes) in &log.files {
        for at in 0..bytes.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut altered = log.clone();
                altered.files.get_mut(path).unwrap()[at] ^= mask;
                assert!(!findings(&altered).is_empty(), "byte {at} of {path}, mask {mask:#x}");
                flipped += 1;
            }
        }
    }
    assert!(flipped > 4_500, "{flipped} bytes tried");
}

#[test]
fn flipped_bytes_of_a_log_with_full_tiles_are_found() {
    // Every 31st byte: bundles, full tiles, older partial forms of both, upper tiles.
    let log = log(&[200, 257, 300]);
    for (path, bytes) in log.files.iter().filter(|(p, _)| p.starts_with("tile/")) {
        for at in (0..bytes.len()).step_by(31) {
            assert!(!findings(&flip(&log, path, at)).is_empty(), "byte {at} of {path}");
        }
    }
}

#[test]
fn every_file_that_is_cut_or_lengthened_is_found() {
    let log = log(&[200, 257, 300]);
    for path in log.files.keys() {
        let mut cut = log.clone();
        cut.files.get_mut(path).unwrap().pop();
        assert!(!findings(&cut).is_empty(), "{path} cut");
        let mut longer = log.clone();
        longer.files.get_mut(path).unwrap().push(b'\n');
        assert!(!findings(&longer).is_empty(), "{path} lengthened");
    }
}

#[test]
fn every_needed_file_that_is_missing_is_found() {
    let log = log(&[300]);
    for path in log.files.keys() {
        let mut lost = log.clone();
        lost.files.remove(path);
        // Dropping one of two equal notes is a fork of nothing; the walk over sizes cannot know it existed.
        let known_gap = *path == note_path(300);
        assert_eq!(findings(&lost).is_empty(), known_gap, "{path}");
    }
    assert_eq!(places(&MemoryLog::default()), ["checkpoint"]);
}

#[test]
fn a_hole_ends_the_pass_and_names_what_it_hides() {
    let mut log = log(&[100, 300, 600]);
    log.files.remove("tile/0/001");
    log.files.remove("tile/0/001.p/44");
    assert_eq!(places(&log), ["tile/0/001"], "the bundle still tells the leaves");
    log.files.remove("tile/entries/001");
    log.files.remove("tile/entries/001.p/44");
    let found = findings(&log);
    let unreachable: Vec<u64> =
        found.iter().filter_map(|f| if let Fault::Unreachable { size, got: 256 } = f.fault { Some(size) } else { None }).collect();
    assert_eq!(unreachable, [300, 600, 600], "the note of size 100 was recomputed");
}

#[test]
fn a_thief_who_repairs_all_tiles_is_found_by_every_later_note() {
    let honest = log(&[2, 5, 9]);
    let mut writer = LogWriter::new();
    let mut log = honest.clone();
    let forged: Vec<Vec<u8>> = (0..9).map(|i| if i == 3 { b"forged".to_vec() } else { entry(i) }).collect();
    for batch in [&forged[..2], &forged[2..5], &forged[5..]] {
        log.files.extend(writer.append(batch).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
    }
    assert_eq!(places(&log), [note_path(5), note_path(9), CHECKPOINT_PATH.to_owned()]);
    // With the log key too, the latest checkpoint is repaired; the retained notes still speak.
    log.files.insert(CHECKPOINT_PATH.to_owned(), note(writer.head(), &[0, 1], 2_000));
    assert_eq!(places(&log), [note_path(5), note_path(9)]);
}

#[test]
fn a_truncated_tail_is_found_by_the_note_it_leaves_behind() {
    let (long, short) = (log(&[5, 9]), log(&[5]));
    let mut cut = short;
    cut.files.insert(note_path(9), long.files[&note_path(9)].clone());
    let found = findings(&cut);
    assert!(found.iter().any(|f| f.fault == Fault::Behind { newest: 9, got: 5 }), "{found:?}");
    assert!(found.iter().any(|f| matches!(f.fault, Fault::Unreachable { size: 9, .. }) || f.fault == Fault::Missing), "{found:?}");
}

#[test]
fn quorum_time_and_size_of_notes_are_judged() {
    let clean = log(&[3, 5]);
    let head = |size: u64| {
        let mut writer = LogWriter::new();
        writer.append(&(0..size).map(entry).collect::<Vec<_>>()).unwrap();
        writer.head()
    };
    let with = |path: String, bytes: Vec<u8>| {
        let mut log = clean.clone();
        log.files.insert(path, bytes);
        findings(&log)
    };
    let weak = with(note_path(3), note(head(3), &[1], 1_000));
    assert_eq!((weak.len(), weak[0].severity(), &weak[0].fault), (1, Severity::Incomplete, &Fault::BelowQuorum { cosigners: 1 }));
    let fell = with(note_path(5), note(head(5), &[0, 1], 999));
    assert!(fell.iter().all(|f| matches!(f.fault, Fault::TimeFell { before: 1_000, after: 999, .. })) && fell.len() == 2, "{fell:?}");
    let renamed = with(note_path(4), note(head(5), &[0, 1], 1_001));
    assert_eq!(renamed[0].fault, Fault::WrongSize { expected: 4, got: 5 });
    let more = check(&clean, &Trust { min_cosigners: 3, ..trust() }, |_, _| ()).unwrap();
    assert_eq!(more.severity(), Some(Severity::Incomplete));
    let lawless = check(&clean, &Trust { policies: BTreeMap::new(), ..trust() }, |_, _| ()).unwrap();
    assert_eq!(lawless.findings[0].fault, Fault::NoPolicy { size: 3 });
}

#[test]
fn a_note_that_fails_lends_no_verdict_to_the_next() {
    let clean = log(&[3, 5]);
    // A digit of the signature on a line of a note; its neighbour is a digit too.
    let digit = |path: &String, line: usize| {
        let bytes = &clean.files[path];
        let (end, _) = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(line - 1).unwrap();
        (end + 41..).find(|at| (b'b'..=b'y').contains(&bytes[*at])).unwrap()
    };
    // The log's line of the first note fails, before two that hold; of the second note the last line fails.
    let (first, second) = (note_path(3), note_path(5));
    let one = flip(&clean, &first, digit(&first, 4));
    let both = flip(&one, &second, digit(&second, 6));
    assert_eq!(places(&both), [first, second]);
}

#[test]
fn files_without_a_place_are_named() {
    let clean = log(&[5]);
    for path in [
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "tile/entries/000.p/6",
        "tile/0/000.p/05",
        "tile/readme",
        "checkpoints/5.note",
        "checkpoints/a/b",
        "tile/0/a/b/c/d/e/f/g/h/i/j/k",
        "tile/entries/000.p/5/x",
    ] {
        let mut log = clean.clone();
        log.files.insert(path.to_owned(), vec![0; 32]);
        let found = findings(&log);
        assert!(found.iter().any(|f| matches!(f.fault, Fault::Unexpected | Fault::Beyond { size: 5 })), "{path}: {found:?}");
    }
}

#[test]
fn a_live_log_is_checked_up_to_its_committed_head() {
    let mut writer = LogWriter::new();
    let mut live = log(&[5]);
    for batch in [0..5, 5..9] {
        let batch: Vec<Vec<u8>> = batch.map(entry).collect();
        live.files.extend(writer.append(&batch).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
    }
    let beyond: BTreeSet<String> = places(&live).into_iter().collect();
    assert_eq!(beyond, BTreeSet::from(["tile/0/000.p/9".to_owned(), "tile/entries/000.p/9".to_owned()]));
    let with_tip = Trust { tip: Some(writer.head()), ..trust() };
    assert_eq!(check(&live, &with_tip, |_, _| ()).unwrap().findings, []);
    let altered = flip(&live, "tile/entries/000.p/9", 60);
    assert!(!check(&altered, &with_tip, |_, _| ()).unwrap().is_clean());
}

#[test]
fn findings_are_bounded_and_counted() {
    let mut log = log(&[1]);
    for i in 0..MAX_FINDINGS + 5 {
        log.files.insert(format!("tile/stray{i}"), vec![]);
    }
    let report = check(&log, &trust(), |_, _| ()).unwrap();
    assert_eq!((report.findings.len(), report.omitted), (MAX_FINDINGS, 5));
}
