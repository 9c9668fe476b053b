//! What is written comes back; whatever is damaged is an error of its own kind.

use super::*;
use crate::tokenizer::special;
use proptest::prelude::*;

const DIGEST: [u8; 32] = [7; 32];

fn shard(rows: &[Row], vocab: u32) -> Vec<u8> {
    let mut b = ShardBuilder::new(8, vocab, DIGEST, MAX_SHARD_BYTES).unwrap();
    rows.iter().for_each(|r| b.push(r.clone()).unwrap());
    b.finish()
}

fn some_rows() -> Vec<Row> {
    pack([(0, &[5, 6, 7][..]), (0, &[8; 9]), (1, &[9])], 8)
}

#[test]
fn texts_of_two_units_never_share_a_row() {
    let rows = some_rows();
    let tokens: Vec<(u32, &[u32])> = rows.iter().map(|r| (r.unit, r.tokens.as_slice())).collect();
    let end = special::END;
    assert_eq!(tokens, [(0, &[5, 6, 7, end, 8, 8, 8, 8][..]), (0, &[8, 8, 8, 8, 8, end]), (1, &[9, end])]);
    assert_eq!(pad(3, 1, &[5; 20], 4), Row { unit: 3, class: 1, tokens: vec![special::START, 5, 5, 5] });
}

#[test]
fn a_shard_comes_back_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shard");
    for vocab in [100, 70_000] {
        std::fs::write(&path, shard(&some_rows(), vocab)).unwrap();
        let s = Shard::open(&path).unwrap();
        assert_eq!((0..s.len()).map(|i| s.row(i).unwrap()).collect::<Vec<_>>(), some_rows());
        assert_eq!((s.row(3), s.row_len(), s.vocab()), (None, 8, vocab));
        assert_eq!(s.tokens(2).collect::<Vec<_>>(), [9, special::END, 0, 0, 0, 0, 0, 0]);
        assert!(s.expect_tokenizer(DIGEST).is_ok() && matches!(s.expect_tokenizer([0; 32]), Err(ShardError::OtherTokenizer)));
    }
    std::fs::write(&path, []).unwrap();
    assert!(matches!(Shard::open(&path), Err(ShardError::Size { got: 0, .. })));
    assert!(matches!(Shard::open(&dir.path().join("none")), Err(ShardError::Io(_))));
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut b = ShardBuilder::new(4, 50, DIGEST, (HEADER + 2 * (ROW_NUMBERS + 8)) as u64).unwrap();
    let row = |tokens: &[u32]| Row { unit: 0, class: 0, tokens: tokens.to_vec() };
    assert_eq!(b.push(row(&[])), Err(RowError::Length { got: 0, row: 4 }));
    assert_eq!(b.push(row(&[5; 5])), Err(RowError::Length { got: 5, row: 4 }));
    assert_eq!(b.push(row(&[50])), Err(RowError::Token { got: 50, vocab: 50 }));
    assert_eq!(b.push(row(&[0])), Err(RowError::Token { got: 0, vocab: 50 }));
    assert_eq!([(); 3].map(|()| b.push(row(&[5])).err()), [None, None, Some(RowError::Full)]);
    assert!(ShardBuilder::new(1, 50, DIGEST, 1000).is_err() && ShardBuilder::new(4, 4, DIGEST, 1000).is_err());
}

/// A file with another header, whose own checksum is right.
fn with_header(change: impl Fn(&mut [u8])) -> Result<Shard, ShardError> {
    let mut bytes = shard(&some_rows(), 100);
    change(&mut bytes[..96]);
    let seal = blake3::hash(&bytes[..96]);
    bytes[96..128].copy_from_slice(seal.as_bytes());
    Shard::of_bytes(bytes)
}

#[test]
fn a_header_that_lies_is_caught_by_what_it_lies_about() {
    let put = |at: usize, n: u32| move |h: &mut [u8]| h[at..at + 4].copy_from_slice(&n.to_le_bytes());
    assert!(matches!(with_header(put(0, 0)), Err(ShardError::Magic)));
    assert!(matches!(with_header(put(8, 4)), Err(ShardError::Limits)));
    assert!(matches!(with_header(put(12, 1 << 20)), Err(ShardError::Limits)));
    assert!(matches!(with_header(put(16, 4)), Err(ShardError::Size { .. })));
    assert!(matches!(with_header(put(20, u32::MAX)), Err(ShardError::Limits)));
    assert!(matches!(with_header(put(24, 6)), Err(ShardError::Row(0))), "a token is not below the vocabulary");
    assert!(matches!(with_header(put(64, 0)), Err(ShardError::Body)));
    assert!(with_header(|_| ()).is_ok());
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (any::<u32>(), any::<u32>(), prop::collection::vec(1u32..100, 1..=8));
    prop::collection::vec(row.prop_map(|(unit, class, tokens)| Row { unit, class, tokens }), 0..20)
}

proptest! {
    #[test]
    fn rows_come_back(rows in rows()) {
        let s = Shard::of_bytes(shard(&rows, 100)).unwrap();
        prop_assert_eq!((0..s.len()).map(|i| s.row(i).unwrap()).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed(rows in rows(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = shard(&rows, 100);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Shard::of_bytes(bytes).is_err());
    }

    #[test]
    fn no_cut_goes_unnoticed_and_no_bytes_panic(rows in rows(), at in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = shard(&rows, 100);
        prop_assert!(Shard::of_bytes(bytes[..at.index(bytes.len())].to_vec()).is_err());
        prop_assert!(Shard::of_bytes([bytes, vec![0]].concat()).is_err());
        prop_assert!(Shard::of_bytes(noise).is_err());
    }

    #[test]
    fn packing_loses_no_token_and_mixes_no_unit(texts in prop::collection::vec((0u32..4, prop::collection::vec(4u32..50, 0..30)), 0..20), row in 2u32..20) {
        let rows = pack(texts.iter().map(|(u, t)| (*u, t.as_slice())), row);
        let of = |unit: u32| texts.iter().filter(move |(u, _)| *u == unit).flat_map(|(_, t)| t.iter().copied().chain([special::END])).collect::<Vec<_>>();
        for unit in 0..4 {
            let got: Vec<u32> = rows.iter().filter(|r| r.unit == unit).flat_map(|r| r.tokens.clone()).collect();
            prop_assert_eq!(got, of(unit));
        }
        prop_assert!(rows.iter().all(|r| (1..=row as usize).contains(&r.tokens.len())));
    }
}
