//! Names and contents of tiles.

use proptest::prelude::*;

use super::*;

fn path(kind: TileKind, index: u64, width: u16) -> TilePath {
    TilePath::new(kind, index, width).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    for (tile, text) in [
        (path(TileKind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067"),
        (path(TileKind::Hashes(0), 273, 112), "tile/0/273.p/112"),
        (path(TileKind::Hashes(2), 0, 1), "tile/2/000.p/1"),
        (path(TileKind::Entries, 1_000, 256), "tile/entries/x001/000"),
        (path(TileKind::Entries, 999, 255), "tile/entries/999.p/255"),
    ] {
        assert_eq!(tile.to_string(), text);
        assert_eq!(text.parse(), Ok(tile));
    }
}

#[test]
fn other_spellings_are_refused() {
    for bad in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/8/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/+01",
        "tile/entry/000",
        "tile/0/x001/x000/0a0",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000.p/1.p/1",
    ] {
        assert_eq!(bad.parse::<TilePath>(), Err(BadTilePath), "{bad}");
    }
}

#[test]
fn a_tree_of_size_70_000_has_the_tiles_of_the_specification() {
    // A3: 273 full and one partial (112) tiles at level 0, one full and one partial (17) at 1, one partial (1) at 2.
    let widths = |kind| -> Vec<u16> { (0..).map_while(|i| TilePath::in_tree(kind, i, 70_000)).map(|p| p.width()).collect() };
    for kind in [TileKind::Hashes(0), TileKind::Entries] {
        let level0 = widths(kind);
        assert_eq!((level0.len(), level0.iter().filter(|w| **w == 256).count(), level0[273]), (274, 273, 112));
    }
    assert_eq!(widths(TileKind::Hashes(1)), [256, 17]);
    assert_eq!(widths(TileKind::Hashes(2)), [1]);
    assert_eq!(widths(TileKind::Hashes(3)), [] as [u16; 0]);
}

#[test]
fn a_tile_is_covered_once_the_tree_has_all_its_leaves() {
    assert!(path(TileKind::Hashes(0), 1, 44).is_covered_by(300));
    assert!(!path(TileKind::Hashes(0), 1, 45).is_covered_by(300));
    assert!(!path(TileKind::Hashes(1), 0, 2).is_covered_by(511));
    assert!(path(TileKind::Hashes(1), 0, 2).is_covered_by(512));
    assert!(!path(TileKind::Entries, MAX_INDEX, 256).is_covered_by(MAX_SIZE));
    assert_eq!(TilePath::new(TileKind::Entries, MAX_INDEX + 1, 256), Err(BadTilePath));
}

#[test]
fn entries_above_the_limit_are_refused_both_ways() {
    let mut bundle = vec![9];
    assert_eq!(push_entry(&mut bundle, &vec![0; MAX_ENTRY_BYTES + 1]), Err(EntryTooLong { got: MAX_ENTRY_BYTES + 1 }));
    assert_eq!(bundle, [9]);
    let mut long = u16::try_from(MAX_ENTRY_BYTES + 1).unwrap().to_be_bytes().to_vec();
    long.resize(long.len() + MAX_ENTRY_BYTES + 1, 0);
    assert_eq!(decode_bundle(&long, 1), Err(BundleError::TooLong { entry: 0, got: MAX_ENTRY_BYTES + 1 }));
    assert!(push_entry(&mut Vec::new(), &vec![0; MAX_ENTRY_BYTES]).is_ok());
}

proptest! {
    #[test]
    fn a_path_has_one_spelling(level in 0_u8..9, index in 0..=MAX_INDEX, width in 1_u16..257) {
        let kind = if level == 8 { TileKind::Entries } else { TileKind::Hashes(level) };
        let tile = path(kind, index, width);
        prop_assert_eq!(tile.to_string().parse(), Ok(tile));
    }

    #[test]
    fn parsing_a_path_is_canonical(text in "tile/([0-9]{1,2}|entries)/(x?[0-9]{2,4}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
        if let Ok(tile) = text.parse::<TilePath>() { prop_assert_eq!(tile.to_string(), text); }
    }

    #[test]
    fn a_bundle_has_one_spelling(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12)) {
        let mut bundle = Vec::new();
        entries.iter().for_each(|e| push_entry(&mut bundle, e).unwrap());
        let width = u16::try_from(entries.len()).unwrap();
        prop_assert_eq!(decode_bundle(&bundle, width).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert!(decode_bundle(&bundle, width + 1).is_err());
        prop_assert!(width == 0 || decode_bundle(&bundle, width - 1).is_err());
        bundle.push(0);
        prop_assert!(decode_bundle(&bundle, width).is_err());
    }

    #[test]
    fn decoding_a_bundle_of_nonsense_is_canonical(bytes in prop::collection::vec(0_u8..3, 0..30), width in 0_u16..8) {
        if let Ok(entries) = decode_bundle(&bytes, width) {
            let mut again = Vec::new();
            entries.iter().for_each(|e| push_entry(&mut again, e).unwrap());
            prop_assert_eq!(again, bytes);
        }
    }
}
