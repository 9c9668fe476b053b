//! Item 5 of the required tests (crypto.md section 9, C26, C28): exactly n_max clients, all slots at one end of the range, come back as
//! their exact sum. (One client more is refused: `open_tests`. Rows of C26 by the rule: `tests/tables.rs`.)

use crate::noise_of_sums_tests::summed;
use crate::open::open_group;
use crate::packing::pack;
use crate::share::decode_key_sum;
use crate::testing::{Federation, Sealed};
use protocol::params::{CommitteeSize, Packing, RING_DIMENSION};

const TWO: CommitteeSize = CommitteeSize { decryptors: 2, corrupt: 1 };

/// Seals, adds, certifies and opens `n_max` updates that all carry `value`; the last slot of the polynomial is padding.
fn opened(n_max: u8, bits: u8, value: impl Fn(&Packing) -> i64) -> (Vec<i64>, i64) {
    let slots = Packing::derive(u16::from(n_max), bits).unwrap().slots;
    let len = u64::from(slots) * RING_DIMENSION as u64 - 1;
    let f = Federation::new(n_max, u16::from(n_max), TWO, bits, &[len]);
    let value = value(&f.group().packing);
    let shard = vec![i32::try_from(value).unwrap(); usize::try_from(len).unwrap()];
    let sealed: Vec<Sealed> = (0..usize::from(n_max)).map(|i| f.seal(i, std::slice::from_ref(&shard))).collect();
    let certificate = f.certify(&sealed);
    let decoded = decode_key_sum(TWO, &certificate, &f.openings(&certificate, &sealed, &[1, 2])).unwrap();
    let sum = open_group(f.digest, f.group(), &certificate, &decoded.candidates, &f.sum(&sealed)).unwrap();
    let (_, values) = sum.values.into_iter().next().unwrap();
    (values, value * i64::from(n_max))
}

/// Rows of C26 up to a cohort of 100, through everything that a round does.
#[test]
fn full_cohorts_at_both_ends_of_the_range_come_back_exactly() {
    for (n_max, bits) in [(4, 8), (4, 16), (8, 16), (16, 8), (16, 16), (32, 8), (32, 12), (100, 8)] {
        for sign in [1, -1] {
            let (values, expected) = opened(n_max, bits, |p| sign * p.value_range().end());
            assert!(values.iter().all(|&v| v == expected), "{n_max}, {bits} bits: {expected}");
        }
    }
}

/// The rows above, by the sum alone: every slot, carry or not, against the exact sum; padding stays 0.
#[test]
fn the_largest_cohorts_at_both_ends_do_not_carry() {
    for (n_max, bits) in [(100, 6), (100, 10), (100, 16), (256, 8), (1000, 6), (1000, 8), (1000, 16)] {
        let packing = Packing::derive(n_max, bits).unwrap();
        for sign in [1, -1] {
            let value = sign * packing.value_range().end();
            let values = vec![i32::try_from(value).unwrap(); usize::from(packing.slots) * RING_DIMENSION - 1];
            let packed = pack(&packing, &values).unwrap();
            let sum = summed(&packing, n_max, 0, |_| Box::new(**packed));
            let correction = if packing.dropped_bits > 0 { u64::from(n_max / 2) } else { 0 };
            let slots = sum.iter().flat_map(|&x| {
                let x = x.wrapping_add((1 << (packing.noise_bits - 1)) - correction) >> packing.noise_bits;
                (0..packing.slots).map(move |slot| x >> (slot * packing.slot_bits) & ((1 << packing.slot_bits) - 1))
            });
            let expected = u64::try_from(i64::from(n_max) * (value + (1 << (bits - 1)))).unwrap();
            let slots: Vec<u64> = slots.collect();
            let (padding, filled) = slots.split_last().unwrap();
            assert!(filled.iter().all(|&u| u == expected), "{n_max}, {bits} bits, {value}");
            assert_eq!(*padding, 0);
        }
    }
}
