//! Opening: the vector of C79, the law open(sum(seal x_i)) = Σ x_i, overflow at the edges, and every check of C59 and C60.

use super::*;
use crate::share::{DecodedKeySum, decode_key_sum};
use crate::sum::AddError;
use crate::testing::{Federation, Sealed, numbers, sha256_hex, values, vectors};
use proptest::prelude::*;
use protocol::manifest::CertificateError;
use protocol::params::CommitteeSize;

const FOUR: CommitteeSize = CommitteeSize { decryptors: 4, corrupt: 1 };
const TWO: CommitteeSize = CommitteeSize { decryptors: 2, corrupt: 1 };

fn decode(f: &Federation, sealed: &[Sealed], positions: &[u8]) -> (Certificate, DecodedKeySum) {
    let certificate = f.certify(sealed);
    let openings = f.openings(&certificate, sealed, positions);
    let decoded = decode_key_sum(f.manifest.size, &certificate, &openings).unwrap();
    (certificate, decoded)
}

fn open(f: &Federation, sealed: &[Sealed], positions: &[u8]) -> Result<OpenedSum, OpenError> {
    let (certificate, decoded) = decode(f, sealed, positions);
    open_group(f.digest, f.group(), &certificate, &decoded.candidates, &f.sum(sealed))
}

fn exact(inputs: &[Vec<Vec<i32>>]) -> Vec<(ShardId, Vec<i64>)> {
    let shards = inputs[0].len();
    (0..shards)
        .zip(0u32..)
        .map(|(s, id)| {
            let sums = (0..inputs[0][s].len()).map(|i| inputs.iter().map(|x| i64::from(x[s][i])).sum()).collect();
            (ShardId(id), sums)
        })
        .collect()
}

#[test]
fn extraction_gives_the_values_of_the_vectors() {
    let v = &vectors()["derived"]["sum_and_opening"];
    let packing = Packing::derive(100, 8).unwrap();
    let extract = Extract::new(&packing, 3);
    assert_eq!(extract.centre, (1 << 18) - 1);
    let u: Vec<u64> = numbers(&v["U_first_6"]).into_iter().map(i64::cast_unsigned).collect();
    let mut x = [1u64 << 18; RING_DIMENSION];
    u.chunks(3).zip(&mut x).for_each(|(u, x)| *x += u[0] << 19 | u[1] << 34 | u[2] << 49);
    let mut sums = [0i64; 6];
    let taken = Take { packing: &packing, members: 3, x: &x, sums: &mut sums };
    let taken = pulp::NullaryFnOnce::call(taken);
    assert_eq!((sums.to_vec(), taken.in_range, taken.padding_is_empty, taken.squares), (numbers(&v["V_first_6"]), true, true, 0));
    // All 12,278 sums of the vector, computed in the clear.
    let clients: Vec<Vec<i32>> = (0..3).map(|id| values(&packing, id, 12_278)).collect();
    let bytes: Vec<u8> = (0..12_278).flat_map(|i| clients.iter().map(|c| c[i]).sum::<i32>().to_le_bytes()).collect();
    assert_eq!(sha256_hex(&bytes), v["V_sha256_i32_le"].as_str().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// The law, over shapes, widths, cohorts and absent decryptors.
    #[test]
    fn the_opened_sum_is_the_sum(
        members in 2u8..5, spare in 0u16..60, bits in 4u8..=32, lengths in proptest::collection::vec(1u64..9000, 1..4), seed in 0i64..1_000_000,
        positions in proptest::sample::subsequence(vec![1u8, 2, 3, 4], 2..=4),
    ) {
        let f = Federation::new(members, u16::from(members) + spare, FOUR, bits, &lengths);
        let inputs: Vec<Vec<Vec<i32>>> = (0..i64::from(members))
            .map(|id| lengths.iter().map(|&n| values(&f.group().packing, seed * 31 + id, usize::try_from(n).unwrap())).collect())
            .collect();
        let sealed: Vec<Sealed> = inputs.iter().enumerate().map(|(i, x)| f.seal(i, x)).collect();
        let opened = open(&f, &sealed, &positions).unwrap();
        prop_assert_eq!(&opened.values, &exact(&inputs));
        // An honest polynomial exceeds 1.25 with probability below 2^-75; 0.8 is as far on the other side.
        prop_assert!((0.8..=MAX_RESIDUAL_RATIO).contains(&opened.residual_ratio), "{}", opened.residual_ratio);
        prop_assert_eq!(opened.quiet_polynomials, 0);
    }
}

#[test]
fn sums_at_both_ends_of_the_range_do_not_carry() {
    for bits in [4u8, 8, 16, 32] {
        let f = Federation::new(5, 5, TWO, bits, &[5000]);
        let most = i32::try_from(*f.group().packing.value_range().end()).unwrap();
        for v in [most, -most] {
            let inputs = vec![vec![vec![v; 5000]]; 5];
            let sealed: Vec<Sealed> = inputs.iter().enumerate().map(|(i, x)| f.seal(i, x)).collect();
            assert_eq!(open(&f, &sealed, &[1, 2]).unwrap().values, exact(&inputs), "{bits} bits, {v}");
        }
    }
}

#[test]
fn one_member_more_than_the_packing_carries_is_refused() {
    let f = Federation::new(3, 2, TWO, 8, &[10]);
    let sealed: Vec<Sealed> = (0..3).map(|i| f.seal(i, &[vec![1; 10]])).collect();
    let digests: Vec<_> = sealed.iter().map(|s| s.digest).collect();
    assert_eq!(f.certificate(&digests).err(), Some(CertificateError::Cohort(3)));
    let mut sum = f.sum(&sealed[..2]);
    assert_eq!(sum.add_chunk(0, &sealed[2].chunks[0]), Err(AddError::Full(2)));
    assert_eq!(sum.add_chunk(1, &sealed[2].chunks[0]), Err(AddError::NoSuchBlock(1)));
}

#[test]
fn truncated_chunks_are_refused_and_change_nothing() {
    let f = Federation::new(2, 2, TWO, 8, &[10]);
    let s = f.seal(0, &[vec![1; 10]]);
    let mut sum = AggregateSum::new(f.group()).unwrap();
    let chunk = &s.chunks[0];
    for wrong in [&chunk[1..], &[], &[chunk.as_slice(), &[0]].concat()] {
        assert!(matches!(sum.add_chunk(0, wrong), Err(AddError::Length(_))));
    }
    assert_eq!((sum.blocks()[0].added(), sum.blocks()[0].to_bytes().iter().all(|&b| b == 0)), (0, true));
}

/// The server may add in any order and keep blocks as bytes between additions.
#[test]
fn order_and_storage_do_not_change_the_sum() {
    let f = Federation::new(3, 3, TWO, 8, &[10]);
    let sealed: Vec<Sealed> = (0..3).map(|i| f.seal(i, &[vec![1; 10]])).collect();
    let address = f.sum(&sealed).blocks()[0].address();
    let mut block = BlockSum::new(f.group(), 0).unwrap();
    for s in sealed.iter().rev() {
        block.add_chunk(&s.chunks[0]).unwrap();
        block = BlockSum::from_bytes(f.group(), 0, &block.to_bytes(), block.added()).unwrap();
    }
    assert_eq!(block.address(), address);
    assert!(BlockSum::from_bytes(f.group(), 0, &[0; 8], 1).is_err());
    assert!(BlockSum::new(f.group(), 1).is_err());
}

fn two() -> (Federation, Vec<Sealed>) {
    let f = Federation::new(3, 3, TWO, 8, &[10, 4096 * 6]);
    let sealed = (0..3).map(|i| f.seal(i, &[vec![1; 10], vec![-2; 4096 * 6]])).collect();
    (f, sealed)
}

#[test]
fn a_wrong_key_sum_leaves_residuals_that_no_honest_sum_has() {
    let (f, sealed) = two();
    let (certificate, decoded) = decode(&f, &sealed, &[1, 2]);
    let mut wrong = *decoded.candidates[0].coefficients();
    wrong[17] ^= 1;
    let wrong = KeySum::for_test(certificate.digest(), wrong);
    let sum = f.sum(&sealed);
    let alone = open_group(f.digest, f.group(), &certificate, std::slice::from_ref(&wrong), &sum);
    assert!(matches!(alone, Err(OpenError::Residual { ratio, .. }) if ratio > 31.0), "{alone:?}");
    // C56: the candidate that passes is taken.
    let both = [wrong, decoded.candidates[0].clone()];
    assert!(open_group(f.digest, f.group(), &certificate, &both, &sum).is_ok());
}

#[test]
fn a_key_sum_outside_the_range_of_the_set_is_refused() {
    let (f, sealed) = two();
    let (certificate, decoded) = decode(&f, &sealed, &[1, 2]);
    let mut wrong = *decoded.candidates[0].coefficients();
    wrong[17] = 271;
    let wrong = KeySum::for_test(certificate.digest(), wrong);
    assert_eq!(open_group(f.digest, f.group(), &certificate, &[wrong], &f.sum(&sealed)), Err(OpenError::KeySumRange(17)));
}

#[test]
fn another_set_manifest_or_key_sum_is_refused() {
    let (f, sealed) = two();
    let (certificate, decoded) = decode(&f, &sealed, &[1, 2]);
    let sum = f.sum(&sealed);
    let other = ManifestDigest([0; 32]);
    assert_eq!(open_group(other, f.group(), &certificate, &decoded.candidates, &sum), Err(OpenError::WrongCertificate));
    let (pair, of_pair) = decode(&f, &sealed[..2], &[1, 2]);
    assert_eq!(open_group(f.digest, f.group(), &certificate, &of_pair.candidates, &sum), Err(OpenError::WrongKeySum));
    assert_eq!(open_group(f.digest, f.group(), &pair, &of_pair.candidates, &sum), Err(OpenError::WrongBlock(0)));
    assert_eq!(open_group(f.digest, f.group(), &certificate, &[], &sum), Err(OpenError::WrongKeySum));
    // As many members, but one of them twice instead of the third.
    let mut replayed = f.sum(&sealed[..2]);
    sealed[0].chunks.iter().zip(0..).for_each(|(c, i)| replayed.add_chunk(i, c).unwrap());
    let opened = open_group(f.digest, f.group(), &certificate, &decoded.candidates, &replayed);
    assert!(matches!(opened, Err(OpenError::Residual { .. })));
}

/// The third update is made of bodies that carry `forge` on top of an honest one: the residual is untouched, the slots are not.
#[test]
fn slots_and_padding_that_no_valid_update_has_are_refused() {
    let (f, sealed) = two();
    let (certificate, decoded) = decode(&f, &sealed, &[1, 2]);
    let packing = f.group().packing;
    let open_forged = |polynomial: usize, at: usize, value: u64| {
        let mut bytes = f.sum(&sealed).blocks()[0].to_bytes();
        let word = &mut bytes.as_chunks_mut::<8>().0[polynomial * RING_DIMENSION + at];
        *word = u64::from_le_bytes(*word).wrapping_add(value).to_le_bytes();
        let block = BlockSum::from_bytes(f.group(), 0, &bytes, 3).unwrap();
        let mut opener = Opener::new(f.digest, f.group(), &certificate, &decoded.candidates[0]).unwrap();
        opener.open_block(&block)
    };
    let unit = 1u64 << packing.noise_bits;
    assert_eq!(open_forged(0, 4000, unit), Err(OpenError::Padding { polynomial: 0 }));
    assert_eq!(open_forged(1, 0, unit * 500), Err(OpenError::SlotRange { polynomial: 1 }));
    assert_eq!(open_forged(1, 0, 0), Ok(()));
}

#[test]
fn an_opener_with_blocks_missing_does_not_finish() {
    let (f, sealed) = two();
    let (certificate, decoded) = decode(&f, &sealed, &[1, 2]);
    let opener = Opener::new(f.digest, f.group(), &certificate, &decoded.candidates[0]).unwrap();
    assert_eq!(opener.finish().err(), Some(OpenError::WrongBlock(0)));
}

/// C24: weights travel sealed, come back as their exact sum, and enter the value digest.
#[test]
fn a_tally_opens_to_the_sum_of_the_weights() {
    let mut f = Federation::new(4, 4, FOUR, 8, &[10, 9000]);
    f.weigh(100_000);
    let inputs: Vec<Vec<Vec<i32>>> =
        (0..4).map(|i| vec![values(&f.group().packing, i, 10), values(&f.group().packing, i + 9, 9000)]).collect();
    let sealed: Vec<_> = inputs.iter().enumerate().map(|(i, s)| f.seal(i, s)).collect();
    let opened = open(&f, &sealed, &[1, 2, 3, 4]).unwrap();
    assert_eq!((opened.weight, &opened.values), (Some(1 + 2 + 3 + 4), &exact(&inputs)));
    assert_ne!(opened.value_digest, value_digest(f.digest, f.group().id, &opened.values, &[]));
}

#[test]
fn a_weight_without_its_tally_is_not_sealed() {
    let mut f = Federation::new(4, 4, FOUR, 8, &[10]);
    let delta = |f: &Federation, weight| {
        let delta = privacy::delta::PrivateDelta::for_test(vec![(ShardId(0), vec![1; 10])]);
        let hedge = crate::sampler::HedgeSecret::new(&mut [9; 32]);
        let context = crate::seal::SealContext { weight, ..f.context(0) };
        let mut entropy = privacy::noise::SeededEntropy::new(1);
        crate::seal::seal(&context, &delta, &hedge, &mut entropy, &mut crate::testing::Spool::default()).err()
    };
    assert_eq!(delta(&f, Some(1)), Some(crate::seal::SealError::Weight));
    f.weigh(50);
    for weight in [None, Some(0), Some(51)] {
        assert_eq!(delta(&f, weight), Some(crate::seal::SealError::Weight));
    }
    assert_eq!(delta(&f, Some(50)), None);
}
