//! Packing: edges of the range, bit strings against a plain second program, layout of groups.

use super::*;
use proptest::prelude::*;
use protocol::ids::{ClientId, GroupId, ShardId};
use protocol::manifest::GroupShard;

fn group(packing: Packing, lengths: &[u64]) -> GroupSpec {
    let shards = lengths.iter().zip(0u32..).map(|(&length, i)| GroupShard { id: ShardId(i), length, step_exponent: -10 }).collect();
    GroupSpec { id: GroupId(0), shards, packing, cohort_min: 2, eligible: vec![ClientId([0; 32])], tally: None }
}

#[test]
fn the_whole_range_is_packed_and_one_more_is_refused() {
    for bits in [4u8, 8, 16, 32] {
        let packing = Packing::derive(4, bits).unwrap();
        let most = i32::try_from(*packing.value_range().end()).unwrap();
        assert!(pack(&packing, &[most, -most, 0]).is_ok(), "{bits}");
        assert_eq!(pack(&packing, &[-most - 1]).err(), Some(OutOfRange), "{bits}");
        if bits < 32 {
            assert_eq!(pack(&packing, &[0, most + 1]).err(), Some(OutOfRange), "{bits}");
            assert_eq!(pack(&packing, &[i32::MAX]).err(), Some(OutOfRange), "{bits}");
            assert_eq!(pack(&packing, &[i32::MIN]).err(), Some(OutOfRange), "{bits}");
        }
    }
}

#[test]
fn padding_is_zero_and_no_value_is() {
    let packing = Packing::derive(4, 8).unwrap();
    let most = i32::try_from(*packing.value_range().end()).unwrap();
    let packed = pack(&packing, &[-most]).unwrap();
    assert_eq!(packed[0] >> packing.noise_bits, 1);
    assert!(packed[1..].iter().all(|&c| c == 0));
}

#[test]
fn every_shard_starts_at_a_fresh_polynomial() {
    let packing = Packing::derive(100, 8).unwrap();
    let full = 3 * 4096;
    let layout = Layout::new(&group(packing, &[full + 1, 5])).unwrap();
    assert_eq!(layout.polynomials(), 3);
    assert_eq!(layout.span(0), Some(Span { shard: 0, start: 0, len: 12_288 }));
    assert_eq!(layout.span(1), Some(Span { shard: 0, start: 12_288, len: 1 }));
    assert_eq!(layout.span(2), Some(Span { shard: 1, start: 0, len: 5 }));
    assert_eq!(layout.span(3), None);
}

#[test]
fn a_packing_that_somebody_chose_is_refused() {
    let mut packing = Packing::derive(100, 8).unwrap();
    packing.dropped_bits += 1;
    packing.body_bits -= 1;
    assert!(Layout::new(&group(packing, &[10])).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the definition, bit by bit.
    #[test]
    fn bit_strings_are_little_endian_and_come_back(k in 1u8..=64, seed in any::<u64>()) {
        let mask = u64::MAX >> (64 - u32::from(k));
        let values: Polynomial = std::array::from_fn(|i| seed.wrapping_mul(2 * i as u64 + 1) & mask);
        let mut bytes = vec![0u8; 512 * usize::from(k)];
        write_bits(&values, k, &mut bytes);
        for (i, value) in values.iter().enumerate().step_by(97) {
            for bit in 0..usize::from(k) {
                let at = i * usize::from(k) + bit;
                prop_assert_eq!(u64::from(bytes[at / 8] >> (at % 8) & 1), value >> bit & 1);
            }
        }
        // C30 and C70 in one pass: the rounding of every body, then the same string.
        let body = |i: u64| if i.is_multiple_of(5) { u64::MAX } else { seed.rotate_left(u32::from(i.to_le_bytes()[0] % 64)).wrapping_mul(2 * i + 1) };
        let bodies: Polynomial = std::array::from_fn(|i| body(i as u64));
        let half = if k < 64 { 1u64 << (63 - k) } else { 0 };
        let rounded = bodies.map(|v| v.wrapping_add(half) >> (64 - k));
        let (mut once, mut twice) = (bytes.clone(), bytes.clone());
        write_rounded(&bodies, k, &mut once);
        write_bits(&rounded, k, &mut twice);
        prop_assert!(once == twice);
        let mut sum = [seed; 4096];
        add_bits(&bytes, k, &mut sum);
        prop_assert!(sum.iter().zip(values).all(|(s, v)| *s == (v << (64 - k)).wrapping_add(seed)));
    }
}
