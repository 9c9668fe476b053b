//! Sealing: vectors on both paths (C67, C79), what is refused, and that a resend is byte-identical (C40).

use super::*;
use crate::packing::pack;
use crate::reference::{stock_bodies, stock_bodies_with_small_noise, stock_masks, stock_open};
use crate::sum::BlockSum;
use crate::testing::{Federation, Spool, le_bytes, sha256_hex, values, vectors};
use privacy::noise::SeededEntropy;
use protocol::manifest::GroupShard;
use protocol::params::{CommitteeSize, RING_DIMENSION};

const SEVEN: CommitteeSize = CommitteeSize { decryptors: 7, corrupt: 2 };
const THREE: CommitteeSize = CommitteeSize { decryptors: 3, corrupt: 1 };

fn vector_group() -> GroupSpec {
    let shards = vec![GroupShard { id: ShardId(0), length: 12_278, step_exponent: -10 }];
    GroupSpec {
        id: GroupId(7),
        shards,
        packing: Packing::derive(100, 8).unwrap(),
        cohort_min: 2,
        eligible: vec![ClientId([0; 32])],
        tally: None,
    }
}

fn vector_values(id: i64) -> Vec<i32> {
    values(&Packing::derive(100, 8).unwrap(), id, 12_278)
}

fn vector_mask() -> MaskKey {
    MaskKey::derive(ManifestDigest(std::array::from_fn(|i| u8::try_from(i).unwrap())), GroupId(7))
}

fn words(v: &serde_json::Value) -> Vec<u64> {
    v.as_array().unwrap().iter().map(|w| u64::from_str_radix(w.as_str().unwrap(), 16).unwrap()).collect()
}

#[test]
fn masks_are_those_of_the_vectors_on_both_paths() {
    let v = &vectors()["derived"]["mask_key"];
    let key = vector_mask();
    assert_eq!(hex::encode(key.as_bytes()), v["key_hex"].as_str().unwrap());
    assert_eq!(key.polynomial(0)[..4], words(&v["polynomial_0_first_4_u64_hex"]));
    assert_eq!(key.polynomial(3)[..4], words(&v["polynomial_3_first_4_u64_hex"]));
    assert_eq!(sha256_hex(&le_bytes(key.polynomial(0).as_slice())), v["polynomial_0_sha256_le"].as_str().unwrap());
    assert_eq!(stock_masks(key, 4).pop().unwrap(), key.polynomial(3));
}

fn body(sealing: &Sealing<'_>, j: u64) -> Box<Polynomial> {
    let mut bench = Bench::new();
    sealing.body(j, &mut bench).unwrap();
    Box::new(**bench.body)
}

#[test]
fn bodies_are_those_of_the_vectors_and_their_sum_too() {
    let v = vectors();
    let group = vector_group();
    let layout = Layout::new(&group).unwrap();
    let mut block = BlockSum::new(&group, 0).unwrap();
    for id in 0..3u8 {
        let own = vector_values(i64::from(id));
        let shards = [own.as_slice()];
        let round = RoundSecret::for_vector([0x42 + id; 32]);
        let sealing = Sealing::new(&layout, &shards, &round, vector_mask());
        if id == 0 {
            assert_eq!(body(&sealing, 0)[..4], words(&v["derived"]["seal"]["body_before_truncation_id0_first_4_u64_hex"]));
        }
        let mut packed = vec![0u8; 512 * 51];
        sealing.write(0, &mut Bench::new(), &mut packed).unwrap();
        assert_eq!(sha256_hex(&packed), v["derived"]["seal"]["packed_sha256"][usize::from(id)].as_str().unwrap());
        block.add_chunk(&packed).unwrap();
    }
    assert_eq!(sha256_hex(&block.to_bytes()), v["derived"]["sum_and_opening"]["accumulator_sha256_u64_le"].as_str().unwrap());
}

/// C67: bit for bit, over several polynomials; and stock opens ours.
#[test]
fn stock_encryption_without_its_noise_gives_our_bodies() {
    let mut group = vector_group();
    group.shards[0].length = 3 * 12_288;
    let own = values(&group.packing, 5, 3 * 12_288);
    let layout = Layout::new(&group).unwrap();
    let shards = [own.as_slice()];
    let round = RoundSecret::for_vector([0x55; 32]);
    let sealing = Sealing::new(&layout, &shards, &round, vector_mask());
    let plaintexts: Vec<_> = (0..3u64)
        .map(|j| {
            let mut plain = pack(layout.packing(), values_of(&layout, &shards, j).1).unwrap();
            for (m, &e) in plain.iter_mut().zip(round.noise(j).iter()) {
                *m = m.wrapping_add(i64::from(e).cast_unsigned());
            }
            plain
        })
        .collect();
    let ours: Vec<Box<Polynomial>> = (0..3u64).map(|j| body(&sealing, j)).collect();
    assert_eq!(stock_bodies(vector_mask(), &sealing.key, &plaintexts), ours);
    let opened = stock_open(vector_mask(), &sealing.key, &ours);
    assert_eq!(opened, plaintexts.iter().flat_map(|p| p.iter().copied()).collect::<Vec<_>>());
}

/// Item 2 of the required tests: stock encryption with its own noise of -1, 0 and 1, less the message and our A·s, is exactly that noise. The
/// prototype counted 8209, 16290 and 8269 of 32768. The seed is fixed; for another one each of two counts fails with 6e-7.
#[test]
fn stock_encryption_with_its_smallest_noise_leaves_just_that_over_our_product() {
    let secret = RoundSecret::for_vector([0x56; 32]).secret();
    let key = RingKey::new(&secret);
    let plaintexts: Vec<_> = (0..8i64).map(|id| pack(&Packing::derive(100, 8).unwrap(), &vector_values(id)).unwrap()).collect();
    let bodies = stock_bodies_with_small_noise(vector_mask(), &RingKey::reference(&secret), &plaintexts);
    let mut counts = [0u64; 3];
    for ((body, plain), j) in bodies.iter().zip(&plaintexts).zip(0..) {
        let product = key.times(&vector_mask().polynomial(j));
        for ((&b, &m), &a) in body.iter().zip(plain.iter()).zip(product.iter()) {
            let noise = b.wrapping_sub(m).wrapping_sub(a).wrapping_add(1);
            *counts.get_mut(usize::try_from(noise).unwrap()).expect("-1, 0 or 1") += 1;
        }
    }
    let n: f64 = 8.0 * 4096.0;
    for (count, p) in counts.into_iter().zip([0.25, 0.5, 0.25]) {
        let z = (count as f64 - n * p) / (n * p * (1.0 - p)).sqrt();
        assert!(z.abs() < 5.0, "{counts:?}");
    }
}

#[test]
fn the_same_inputs_and_entropy_give_the_same_bytes_and_others_share_nothing() {
    let f = Federation::new(3, 3, SEVEN, 8, &[100, 20_000]);
    let shards = [values(&f.group().packing, 0, 100), values(&f.group().packing, 1, 20_000)];
    let (a, b) = (f.seal(0, &shards), f.seal(0, &shards));
    assert_eq!((&a.update, &a.chunks), (&b.update, &b.chunks));
    // The generator repeats, the message differs by one: all bodies and encapsulations are unrelated (C19).
    let mut other = shards.clone();
    other[1][19_999] ^= 1;
    let c = f.seal(0, &other);
    let same = a.chunks[0].iter().zip(&c.chunks[0]).filter(|(x, y)| x == y).count();
    // One byte in 256 agrees by chance; 1.5 times that is more than 60 deviations away.
    assert!(same * 256 < a.chunks[0].len() * 3 / 2, "{same} of {} bytes agree", a.chunks[0].len());
    assert!(a.update.blobs.iter().zip(&c.update.blobs).all(|(x, y)| x[..32] != y[..32]));
}

#[test]
fn header_describes_what_was_sealed() {
    let f = Federation::new(3, 3, THREE, 8, &[100, 20_000]);
    let s = f.seal(1, &[values(&f.group().packing, 0, 100), values(&f.group().packing, 1, 20_000)]);
    let core = &s.update.header.core;
    assert_eq!((core.polynomials, core.chunks), (f.group().polynomials().unwrap(), 1));
    assert_eq!(core.body_bytes, s.chunks.iter().map(|c| c.len() as u64).sum::<u64>());
    assert_eq!(core.body_root, body_root(&s.update.chunks));
    assert_eq!(s.update.header.blobs, s.update.blobs.iter().map(|b| address_of(b)).collect::<Vec<_>>());
    assert!(s.update.blobs.iter().all(|b| b.len() == protocol::params::BLOB_BYTES));
}

#[test]
fn what_does_not_fit_the_manifest_is_refused() {
    let f = Federation::new(3, 3, THREE, 8, &[100]);
    let good = values(&f.group().packing, 0, 100);
    let refused = |f: &Federation, client, shards: &[Vec<i32>]| f.try_seal(client, shards).err().unwrap();
    assert_eq!(refused(&f, 0, &[]), SealError::MissingShard(ShardId(0)));
    assert_eq!(refused(&f, 0, &[good[1..].to_vec()]), SealError::ShardLength { shard: ShardId(0), got: 99, expected: 100 });
    for v in [128, -128, i32::MIN, i32::MAX] {
        let mut bad = good.clone();
        bad[50] = v;
        assert_eq!(refused(&f, 0, &[bad]), SealError::OutOfRange(0));
    }
    let mut g = Federation::new(3, 3, THREE, 8, &[100]);
    g.manifest.groups[0].eligible.retain(|&id| id != g.ids[0]);
    assert_eq!(refused(&g, 0, std::slice::from_ref(&good)), SealError::NotEligible);
    let mut g = Federation::new(3, 3, THREE, 8, &[100]);
    g.manifest.parameter_set = 2;
    assert_eq!(refused(&g, 0, std::slice::from_ref(&good)), SealError::ParameterSet(2));
    let mut g = Federation::new(3, 3, THREE, 8, &[100]);
    let mut twin = g.manifest.groups[0].clone();
    twin.id = GroupId(8);
    g.manifest.groups.push(twin);
    assert_eq!(refused(&g, 0, std::slice::from_ref(&good)), SealError::Overlap(ShardId(0)));
    let mut g = Federation::new(3, 3, THREE, 8, &[100]);
    g.manifest.groups[0].packing.noise_bits -= 1;
    assert!(matches!(refused(&g, 0, std::slice::from_ref(&good)), SealError::Parameters(_)));
    let mut g = Federation::new(3, 3, THREE, 8, &[100]);
    g.manifest.committee[1].prekey = vec![0xff; 1216].into();
    assert_eq!(refused(&g, 0, std::slice::from_ref(&good)), SealError::Prekey(Position(2)));
    let mut g = Federation::new(3, 3, THREE, 8, &[100]);
    g.manifest.committee.pop();
    assert_eq!(refused(&g, 0, &[good]), SealError::Committee { got: 2, expected: 3 });
}

#[test]
fn a_machine_without_entropy_seals_nothing() {
    struct Dry;
    impl EntropySource for Dry {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }
    let f = Federation::new(3, 3, THREE, 8, &[100]);
    let delta = PrivateDelta::for_test(vec![(ShardId(0), vec![0; 100])]);
    let mut spool = Spool::default();
    let sealed = seal(&f.context(0), &delta, &HedgeSecret::new(&mut [1; 32]), &mut Dry, &mut spool);
    assert_eq!(sealed, Err(SealError::Entropy(EntropyError)));
    assert!(spool.0.is_empty());
}

/// A chunk is 256 polynomials; the second chunk goes on where the first ends.
#[test]
fn a_group_larger_than_a_chunk_is_sealed_in_chunks() {
    let mut f = Federation::new(2, 2, THREE, 32, &[1]);
    let per_polynomial = u64::from(f.group().packing.slots) * RING_DIMENSION as u64;
    f.manifest.groups[0].shards[0].length = 257 * per_polynomial - 5;
    let len = usize::try_from(f.group().shards[0].length).unwrap();
    let delta = PrivateDelta::for_test(vec![(ShardId(0), vec![3; len])]);
    let mut spool = Spool::default();
    let hedge = HedgeSecret::new(&mut [1; 32]);
    let update = seal(&f.context(0), &delta, &hedge, &mut SeededEntropy::new(1), &mut spool).unwrap();
    let bytes = usize::try_from(f.group().packing.polynomial_bytes()).unwrap();
    assert_eq!(spool.0.iter().map(Vec::len).collect::<Vec<_>>(), [256 * bytes, bytes]);
    assert_eq!(update.header.core.chunks, 2);
}
