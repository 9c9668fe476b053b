//! Mask, product and opening against the reference vectors (crypto.md C63, C77 to C79), and Karatsuba against the definition.

use super::sealing::pack;
use crate::recompute::bodies;
use crate::recompute::extract::Extraction;
use crate::ring::{Mask, lift, product};
use aes::Aes256;
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use proptest::prelude::*;
use protocol::hash::{Domain, expand, sha256};
use protocol::ids::{GroupId, ManifestDigest};
use protocol::params::{Packing, RING_DIMENSION};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../crypto/tests/testdata/vectors/crypto-vectors.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}
fn sha256_of(words: &[u64]) -> String {
    hex::encode(sha256(&[&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>()]))
}
fn words(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|w| u64::from_str_radix(w.as_str().unwrap(), 16).unwrap()).collect()
}
fn group_mask() -> Mask {
    Mask::of(ManifestDigest(std::array::from_fn(|i| u8::try_from(i).unwrap())), GroupId(7))
}

#[test]
fn the_mask_is_that_of_the_vectors() {
    let v = vectors();
    let stock = &v["stock"]["mask"];
    let key = hex::decode(stock["key_bytes_hex"].as_str().unwrap()).unwrap();
    let mask = Mask::from_key(key.try_into().unwrap()).polynomial(0);
    assert_eq!(mask[..4], words(&stock["mask_first_4_u64_hex"]));
    assert_eq!(sha256_of(&mask), stock["mask_polynomial_0_sha256_le"].as_str().unwrap());
    let derived = &v["derived"]["mask_key"];
    assert_eq!(sha256_of(&group_mask().polynomial(0)), derived["polynomial_0_sha256_le"].as_str().unwrap());
    assert_eq!(group_mask().polynomial(3)[..4], words(&derived["polynomial_3_first_4_u64_hex"]));
}

#[test]
fn the_product_is_that_of_the_vectors() {
    let v = &vectors()["stock"];
    let key = hex::decode(v["mask"]["key_bytes_hex"].as_str().unwrap()).unwrap();
    let mask = Mask::from_key(key.try_into().unwrap()).polynomial(0);
    let s: Vec<i32> = (0..4096u64).map(|i| i32::try_from(((i * 2_654_435_761) >> 7) % 181).unwrap() - 90).collect();
    let out = product(&mask, &lift(&s));
    assert_eq!(out[..4], words(&v["product"]["product_first_4_u64_hex"]));
    assert_eq!(sha256_of(&out), v["product"]["product_sha256_le"].as_str().unwrap());
}

/// Centred coins from the stream of this type under z, from coefficient 0 on (C15).
fn coins(domain: Domain, z: u8) -> Vec<i32> {
    let mut key = [0; 32];
    expand(domain, &[&[z; 32]], &mut key);
    let mut bytes = vec![0u8; 24 * RING_DIMENSION];
    Ctr128LE::<Aes256>::new(&key.into(), &[0u8; 16].into()).apply_keystream(&mut bytes);
    let word = |b: &[u8], i: usize| u64::from_le_bytes(b[8 * i..8 * i + 8].try_into().unwrap());
    let heads = |b: &[u8]| word(b, 0).count_ones() + word(b, 1).count_ones() + (word(b, 2) & ((1 << 52) - 1)).count_ones();
    bytes.chunks(24).map(|b| i32::try_from(heads(b)).unwrap() - 90).collect()
}

fn value(id: i64, i: usize) -> i64 {
    (37 * i64::try_from(i).unwrap() + 101 * id + 11).rem_euclid(255) - 127
}

/// The packed body of client `id`, sealed here from its stream.
fn packed(id: u8, packing: &Packing) -> Vec<u8> {
    let (s, e) = (coins(Domain::Secret, 0x42 + id), coins(Domain::Noise, 0x42 + id));
    let masked = product(&group_mask().polynomial(0), &lift(&s));
    let message = |c: usize| {
        let slot =
            |t: usize| if 3 * c + t < 12_278 { u64::try_from(value(i64::from(id), 3 * c + t) + 128).unwrap() << (19 + 15 * t) } else { 0 };
        slot(0) | slot(1) | slot(2)
    };
    let body = |c: usize| masked[c].wrapping_add(message(c)).wrapping_add(i64::from(e[c]).cast_unsigned()).wrapping_add(1 << 12) >> 13;
    pack(&(0..RING_DIMENSION).map(body).collect::<Vec<_>>(), packing.body_bits)
}

#[test]
fn the_sum_opens_as_in_the_vectors() {
    let v = &vectors()["derived"];
    let (packing, opening) = (Packing::derive(100, 8).unwrap(), &v["sum_and_opening"]);
    let mut acc = vec![0u64; RING_DIMENSION];
    for id in 0..3u8 {
        let body = packed(id, &packing);
        assert_eq!(hex::encode(sha256(&[&body])), v["seal"]["packed_sha256"][usize::from(id)].as_str().unwrap());
        assert_eq!(body.len(), bodies::packed_len(&packing, acc.len()));
        bodies::add(&mut acc, &body, &packing);
    }
    assert_eq!(sha256_of(&acc), opening["accumulator_sha256_u64_le"].as_str().unwrap());
    let clients: Vec<Vec<i32>> = (0..3).map(|id| coins(Domain::Secret, 0x42 + id)).collect();
    let s: Vec<i32> = (0..RING_DIMENSION).map(|i| clients.iter().map(|c| c[i]).sum()).collect();
    let bytes: Vec<u8> = s.iter().flat_map(|c| c.to_le_bytes()).collect();
    assert_eq!(hex::encode(sha256(&[&bytes])), opening["S_sha256_i32_le"].as_str().unwrap());
    let removed = product(&group_mask().polynomial(0), &lift(&s));
    let opened = Extraction::new(packing, 3).open(0, &acc, &removed, 12_278).unwrap();
    let bytes: Vec<u8> = opened.values.iter().flat_map(|v| i32::try_from(*v).unwrap().to_le_bytes()).collect();
    assert_eq!(hex::encode(sha256(&[&bytes])), opening["V_sha256_i32_le"].as_str().unwrap());
    assert_eq!(format!("{:.6}", opened.ratio), opening["residual_mean_square_over_prediction"].to_string());
    // One value fewer than there are: the last one stands where padding should be.
    assert!(Extraction::new(packing, 3).open(0, &acc, &removed, 12_277).is_err());
}

/// The definition: X^n = -1, one term at a time.
fn definition(a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0u64; n];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let term = x.wrapping_mul(*y);
            out[(i + j) % n] = if i + j < n { out[i + j].wrapping_add(term) } else { out[i + j - n].wrapping_sub(term) };
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn karatsuba_is_the_definition(power in 0u32..10, seed in any::<u64>(), edges in proptest::collection::vec(0usize..5, 16)) {
        let word = |i: u64| [0, 1 << 63, u64::MAX, seed.rotate_left(u32::try_from(i % 64).unwrap()).wrapping_mul(i | 1), 1][edges[usize::try_from(i % 16).unwrap()]];
        let a: Vec<u64> = (0..1 << power).map(word).collect();
        let b: Vec<u64> = (0..1 << power).map(|i| word(i * 7 + 3).wrapping_add(i * i)).collect();
        prop_assert_eq!(product(&a, &b), definition(&a, &b));
    }
}

#[test]
fn karatsuba_is_the_definition_at_full_length() {
    let a = group_mask().polynomial(1);
    let b: Vec<i32> = coins(Domain::Secret, 7).iter().map(|c| c * 1000).collect();
    assert_eq!(product(&a, &lift(&b)), definition(&a, &lift(&b)));
}
