//! A plain second program for numbers that everybody derives and nobody chooses: packing (crypto.md C25, C26), quorum (C46, C47) and set digest
//! (C36), over all of C16's ranges (C77). It shares no line with `protocol`'s: integers where that has logarithms, search where that has a
//! formula, bytes where that has fields.

use proptest::prelude::*;
use protocol::hash::sha256;
use protocol::ids::{GroupId, HeaderDigest, ManifestDigest, SetDigest};
use protocol::manifest::set_digest;
use protocol::params::{CommitteeSize, Packing};

/// (w, l, f, r, k) as C26 words it.
type Row = (u32, u32, u32, u32, u32);

/// Bits by which the chance of a wrong sum of 10^9 parameters lies above 2^-40, for l slots, a noise field of f bits and r dropped ones.
///
/// T = (2^f − 1)/2 and 2V = n·(540 + 4^r − 1)/6, so T²/2V = 3·(2^f − 1)²/(2·n·(539 + 4^r)): whole numbers up to the last division.
fn above_the_limit(n: u32, l: u32, f: u32, r: u32) -> f64 {
    let field = (1u128 << f) - 1;
    let (top, bottom) = (3 * field * field, 2 * u128::from(n) * (539 + (1u128 << (2 * r))));
    let nats = (2e9 / f64::from(l)).ln() - top as f64 / bottom as f64;
    nats / std::f64::consts::LN_2 + 40.0
}

/// Every l and r of the rule, none skipped; what is closest to the limit too.
fn row(n: u32, b: u32) -> (Option<Row>, f64) {
    let most = u64::from(n) * ((1u64 << b) - 1);
    let w = (1..=64).find(|w| u128::from(most) < 1u128 << w).unwrap();
    let mut closest = f64::INFINITY;
    let mut rows: Vec<Row> = Vec::new();
    for l in (1..=64 / w).filter(|l| 64 - l * w >= 2) {
        let f = 64 - l * w;
        let above: Vec<f64> = (0..=f - 2).map(|r| above_the_limit(n, l, f, r)).collect();
        closest = above.iter().fold(closest, |least, x| least.min(x.abs()));
        let largest = (0u32..).zip(&above).filter(|(_, above)| **above <= 0.0).map(|(r, _)| r).last();
        rows.extend(largest.map(|r| (w, l, f, r, 64 - r)));
    }
    // 27720 is a multiple of every number up to 12: k / l as whole numbers. The smallest, and of equal ones the larger l.
    let price = |&(_, l, _, _, k): &Row| {
        assert!(l <= 12, "{l} slots need a larger denominator");
        (k * (27_720 / l), std::cmp::Reverse(l))
    };
    rows.sort_by_key(price);
    (rows.first().copied(), closest)
}

#[test]
fn every_packing_is_what_the_rule_gives() {
    let mut nearest = f64::INFINITY;
    for n in 2..=1000u16 {
        for b in 4..=32u8 {
            let (expected, closest) = row(n.into(), b.into());
            nearest = nearest.min(closest);
            // C26's one exception.
            let expected = if (n, b) == (1000, 16) { Some((26, 2, 12, 0, 64)) } else { expected };
            let got = Packing::derive(n, b).ok().map(|p| {
                assert_eq!((p.n_max, p.bits), (n, b));
                (p.slot_bits.into(), p.slots.into(), p.noise_bits.into(), p.dropped_bits.into(), p.body_bits.into())
            });
            assert_eq!(got, expected, "n = {n}, b = {b}");
        }
    }
    assert!(nearest > 0.001, "a case within {nearest} bits of the limit: machines may decide differently");
    for (n, b) in [(0, 8), (1, 8), (1001, 8), (u16::MAX, 8), (100, 0), (100, 3), (100, 33), (100, u8::MAX)] {
        assert!(Packing::derive(n, b).is_err(), "{n} {b} is outside C16");
    }
}

/// Rows of the design's table, typed off.
#[test]
fn the_rule_gives_the_designs_table() {
    let table = [
        (4, 8, (10, 5, 14, 10, 54)),
        (8, 16, (19, 2, 26, 21, 43)),
        (32, 12, (17, 3, 13, 7, 57)),
        (100, 6, (13, 4, 12, 6, 58)),
        (100, 8, (15, 3, 19, 13, 51)),
        (100, 16, (23, 2, 18, 12, 52)),
        (256, 8, (16, 3, 16, 9, 55)),
        (1000, 8, (18, 2, 28, 20, 44)),
    ];
    for (n, b, expected) in table {
        assert_eq!(row(n, b).0, Some(expected), "{n} {b}");
    }
}

/// The smallest Q of which any two among c share d + 1.
#[test]
fn every_quorum_is_the_smallest_whose_pairs_share_an_honest_decryptor() {
    for (decryptors, corrupt) in (0..=u8::MAX).flat_map(|c| (0..=u8::MAX).map(move |d| (c, d))) {
        let size = CommitteeSize { decryptors, corrupt };
        let exists = decryptors > 1 && decryptors < 17 && corrupt > 0 && corrupt < decryptors;
        assert_eq!(size.check().is_ok(), exists, "{size:?}");
        if exists {
            let (c, d) = (i32::from(decryptors), i32::from(corrupt));
            // At least this many stand in both of two sets of q among c, and as few do when the sets are apart.
            let shared = |q: i32| (2 * q - c).max(0);
            let smallest = (1..=c).find(|q| shared(*q) > d).unwrap();
            assert_eq!((i32::try_from(size.quorum()), i32::try_from(size.threshold())), (Ok(smallest), Ok(d + 1)), "{size:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_set_digest_is_the_hash_of_its_bytes(
        manifest: [u8; 32],
        group: u32,
        headers in prop::collection::btree_set(any::<[u8; 32]>(), 2..1000),
        turn in 0usize..1000,
    ) {
        let mut bytes = b"concordat/v1/set\x00".to_vec();
        bytes.extend(manifest);
        bytes.extend(group.to_le_bytes());
        bytes.extend(u32::try_from(headers.len()).unwrap().to_le_bytes());
        // A set of arrays is in ascending order.
        bytes.extend(headers.iter().flatten());
        let mut given: Vec<HeaderDigest> = headers.into_iter().map(HeaderDigest).collect();
        let turn = turn % given.len();
        given.rotate_left(turn);
        prop_assert_eq!(set_digest(ManifestDigest(manifest), GroupId(group), &given), SetDigest(sha256(&[&bytes])));
    }
}
