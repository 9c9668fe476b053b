//! Our log against `tlog_tiles` and `signed_note`, written by others (A48): roots, tiles, proofs, checkpoints and notes.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::{Hash, leaf_hash};
use crate::key::{KeyType, SignerKey};
use crate::merkle::{ConsistencyProof, InclusionProof, prove_consistency, prove_inclusion};
use crate::note::Note;
use crate::reader::{MemoryLog, TileHashes};
use crate::tile::TilePath;
use crate::tree::TreeHead;
use crate::writer::LogWriter;
use proptest::prelude::*;
use signed_note::Verifier as _;
use tlog_tiles::{HashReader, Tile};

/// Their log: hashes by storage index.
#[derive(Default)]
struct Theirs(Vec<tlog_tiles::Hash>);

impl HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|i| self.0[usize::try_from(*i).unwrap()]).collect())
    }
}

fn theirs(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn ours(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|h| Hash(h.0)).collect()
}

/// Both logs at `size`, ours written in two batches split at `cut`.
fn both(size: u64, cut: u64) -> (MemoryLog, LogWriter, BTreeSet<String>, Theirs) {
    let entries: Vec<Vec<u8>> = (0..size).map(|i| i.to_string().into_bytes()).collect();
    let (first, second) = entries.split_at(usize::try_from(cut).unwrap());
    let (mut log, mut writer) = (MemoryLog::default(), LogWriter::new());
    log.files.extend(writer.append(first).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
    let files = writer.append(second).unwrap();
    let written = files.iter().map(|f| f.path.to_string()).collect();
    log.files.extend(files.into_iter().map(|f| (f.path.to_string(), f.bytes)));
    let mut other = Theirs::default();
    for (i, entry) in (0..).zip(&entries) {
        let new = tlog_tiles::stored_hashes(i, entry, &other).unwrap();
        other.0.extend(new);
    }
    (log, writer, written, other)
}

/// Their path of a tile in our form: theirs names the height first.
fn path(tile: &Tile) -> String {
    tile.path().replace("tile/8/", "tile/").replace("tile/data/", "tile/entries/")
}

const TEXT: &str = "a text\n";

/// The line of a key's signature over [`TEXT`], with its line feed.
fn signature(key: &SignerKey) -> String {
    let note = String::from_utf8(Note::sign(TEXT, key).unwrap().encode()).unwrap();
    format!("{}\n", note.lines().last().unwrap())
}

/// The same line with one letter of the signature changed.
fn flipped(line: &str) -> String {
    let at = line.rfind(' ').unwrap() + 20;
    let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &line[..at], &line[at + 1..])
}

fn check_all(size: u64, cut: u64) {
    let (log, writer, written, other) = both(size, cut);
    if size > 0 {
        assert_eq!(tlog_tiles::tree_hash(size, &other).unwrap().0, writer.head().root.0);
    }
    let tiles: BTreeMap<String, Vec<u8>> = Tile::new_tiles(8, cut, size).iter().map(|t| (path(t), t.read_data(&other).unwrap())).collect();
    let hash_tiles: BTreeSet<String> = written.into_iter().filter(|p| !p.contains("entries")).collect();
    assert_eq!(tiles.keys().cloned().collect::<BTreeSet<_>>(), hash_tiles, "{cut} to {size}");
    for (name, bytes) in tiles {
        assert_eq!(log.files[&name], bytes, "{name}");
        assert_eq!(name.parse::<TilePath>().unwrap().to_string(), name);
    }
    let reader = TileHashes::new(&log, size);
    for index in (0..size).step_by(1 + usize::try_from(size / 5).unwrap()) {
        let proof = prove_inclusion(&reader, index, size).unwrap();
        assert_eq!(InclusionProof(ours(tlog_tiles::prove_record(size, index, &other).unwrap())), proof);
        let leaf = leaf_hash(index.to_string().as_bytes());
        let path = proof.0.iter().map(|h| theirs(*h)).collect();
        tlog_tiles::check_record(&path, size, theirs(writer.head().root), index, theirs(leaf)).unwrap();
    }
    if cut > 0 && cut <= size {
        let proof = prove_consistency(&reader, cut, size).unwrap();
        assert_eq!(ConsistencyProof(ours(tlog_tiles::prove_tree(size, cut, &other).unwrap())), proof);
        let old = TreeHead { size: cut, root: Hash(tlog_tiles::tree_hash(cut, &other).unwrap().0) };
        assert_eq!(proof.verify(&old, &writer.head()), Ok(()));
    }
}

#[test]
fn trees_tiles_and_proofs_agree_around_tile_borders() {
    for (cut, size) in
        [(0, 1), (1, 2), (254, 255), (255, 256), (0, 256), (256, 257), (100, 513), (65_535, 65_536), (65_536, 65_540), (300, 70_000)]
    {
        check_all(size, cut);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn trees_tiles_and_proofs_agree(size in 1_u64..1200, pick in any::<u64>()) {
        check_all(size, pick % (size + 1));
    }

    #[test]
    fn tile_paths_agree(n in 0_u64..1 << 40, w in 1_u32..257, level in 0_u8..8) {
        let tile = Tile::new(8, level, n, w, false);
        prop_assert_eq!(path(&tile).parse::<TilePath>().unwrap().to_string(), path(&tile));
    }

    #[test]
    fn notes_agree(seed in any::<[u8; 32]>(), text in "[a-z é\n]{0,20}\n") {
        let key = SignerKey::new("log.example/x", KeyType::Note, &seed).ok().unwrap();
        let Ok(note) = Note::sign(&text, &key) else { return Ok(()) };
        let other = signed_note::StandardVerifier::new(&key.verifier().to_string()).unwrap();
        prop_assert_eq!(other.key_id().to_be_bytes(), key.verifier().id().0);
        let parsed = signed_note::Note::from_bytes(&note.encode()).unwrap();
        prop_assert_eq!(parsed.text(), text.as_bytes());
        let known = signed_note::VerifierList::new(vec![Box::new(other)]);
        prop_assert_eq!(parsed.verify(&known).unwrap().0.len(), 1);
    }

    /// The same notes are believed (A7), but for one: where a known key signs twice they look at the first line alone, we at every line, so
    /// that a bad one behind a good one rejects the note.
    #[test]
    fn signatures_are_judged_alike(kinds in prop::collection::vec(0_u8..4, 1..6)) {
        let [known, unknown, namesake] = [("log.example/x", 1), ("other.example/y", 2), ("log.example/x", 3)]
            .map(|(name, seed)| SignerKey::new(name, KeyType::Note, &[seed; 32]).ok().unwrap());
        let good = signature(&known);
        let lines = [good.clone(), flipped(&good), signature(&unknown), signature(&namesake)];
        let note: String = std::iter::once(format!("{TEXT}\n")).chain(kinds.iter().map(|k| lines[usize::from(*k)].clone())).collect();
        let verifier = signed_note::StandardVerifier::new(&known.verifier().to_string()).unwrap();
        let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let they = signed_note::Note::from_bytes(note.as_bytes()).unwrap().verify(&list).is_ok();
        let we = Note::parse(note.as_bytes()).unwrap().verify([known.verifier()]).is_ok_and(|v| !v.is_empty());
        let bad_behind_good = kinds.iter().find(|k| **k < 2) == Some(&0) && kinds.contains(&1);
        prop_assert_eq!(they, we || bad_behind_good, "{:?}", kinds);
        prop_assert!(!(we && kinds.contains(&1)), "{:?}", kinds);
    }

    #[test]
    fn note_parsers_accept_the_same(note in "[ab\n\t]{0,6}\n\n(— [a-c+]{0,2} (AAAAAAA=|AAAAAAAA|AAAAAAB=|AAA)\n?){0,3}") {
        let (we, they) = (Note::parse(note.as_bytes()), signed_note::Note::from_bytes(note.as_bytes()));
        prop_assert_eq!(we.is_ok(), they.is_ok(), "{:?}: {:?} / {:?}", note, we, they.err());
    }
}
