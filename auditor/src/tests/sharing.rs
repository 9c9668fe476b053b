//! The plain share arithmetic against the reference vectors, and its answers to lying decryptors.

use crate::share::{Answer, CHECKS, CheckMatrix, Doubt, candidates, doubts, elements};
use aes::Aes256;
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use protocol::hash::{Domain, expand, sha256, tagged};
use protocol::ids::{CertificateDigest, KeySumDigest, Position};
use protocol::manifest::OpeningPayload;
use protocol::params::{RING_DIMENSION, SHARE_LEN, SHARE_PRIME};
use serde_json::Value;

const VECTORS: &str = include_str!("../../tests/testdata/vectors/key-sum.json");
const P: u64 = SHARE_PRIME as u64;
/// Degree of the share polynomials of the vectors.
const D: usize = 2;
/// Decryptors of the vectors.
const C: u8 = 7;

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}
fn certificate() -> CertificateDigest {
    CertificateDigest(tagged(Domain::Certificate, &[b"example statement payload"]))
}

fn key(domain: Domain, z: u8) -> [u8; 32] {
    let mut key = [0; 32];
    expand(domain, &[&[z; 32]], &mut key);
    key
}

/// The secret of C15, with sign folded into the field.
fn secret(z: u8) -> Vec<u64> {
    let mut bytes = vec![0u8; 24 * RING_DIMENSION];
    Ctr128LE::<Aes256>::new(&key(Domain::Secret, z).into(), &[0u8; 16].into()).apply_keystream(&mut bytes);
    let word = |b: &[u8], i: usize| u64::from_le_bytes(b[8 * i..8 * i + 8].try_into().unwrap());
    let coins = |b: &[u8]| word(b, 0).count_ones() + word(b, 1).count_ones() + (word(b, 2) & ((1 << 52) - 1)).count_ones();
    bytes.chunks(24).map(|b| (u64::from(coins(b)) + P - 90) % P).collect()
}

/// The share of decryptor `x` of the client with secret z (C33).
fn share(z: u8, x: u8) -> Vec<u64> {
    let (secret, x) = (secret(z), u64::from(x));
    let mut random = elements(key(Domain::Shares, z), RING_DIMENSION * D + CHECKS * (D + 1)).into_iter();
    let value = |i: usize| {
        // Order per index: the blind where there is one, then a_1, a_2.
        let constant = secret.get(i).copied().unwrap_or_else(|| random.next().unwrap());
        let (a, b) = (random.next().unwrap(), random.next().unwrap());
        (constant + (a + b * x) % P * x) % P
    };
    (0..SHARE_LEN).map(value).collect()
}

fn le(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    values.into_iter().flat_map(|v| u32::try_from(v).unwrap().to_le_bytes()).collect()
}

/// The opening of the three clients by decryptor `x`; a liar adds one to a coordinate of the last client's share and fits his check values.
fn opening(x: u8, liar: bool) -> OpeningPayload {
    bent_opening(x, u64::from(liar))
}

/// An opening by decryptor `x` to whom the last client's share came with one coordinate off by so much.
fn bent_opening(x: u8, by: u64) -> OpeningPayload {
    let matrix = CheckMatrix::of(certificate());
    let mut shares = [0x42, 0x43, 0x44].map(|z| share(z, x));
    shares[2][9] = (shares[2][9] + by) % P;
    let sum = (0..SHARE_LEN).map(|k| shares.iter().map(|s| s[k]).sum::<u64>() % P);
    let checks = shares.iter().flat_map(|s| matrix.apply(s));
    OpeningPayload { certificate: certificate(), position: Position(x), shares: le(sum), checks: le(checks) }
}

fn answers(positions: &[u8], liars: &[u8]) -> Vec<Answer> {
    positions.iter().map(|x| Answer::parse(&opening(*x, liars.contains(x)), 3).unwrap()).collect()
}

fn true_digest() -> KeySumDigest {
    candidates(&answers(&[1, 2, 3], &[]), D)[0].digest()
}

#[test]
fn shares_check_values_and_key_sum_are_those_of_the_vectors() {
    let v = vectors();
    let signed =
        |s: u64| i8::try_from(if s > P / 2 { i64::try_from(s).unwrap() - i64::from(SHARE_PRIME) } else { i64::try_from(s).unwrap() });
    let bytes: Vec<u8> = secret(0x42).into_iter().flat_map(|s| signed(s).unwrap().to_le_bytes()).collect();
    assert_eq!(hex::encode(sha256(&[&bytes])), v["streams"]["s_sha256_i8"]);
    for x in 1..=C {
        let at = usize::from(x) - 1;
        assert_eq!(hex::encode(sha256(&[&le(share(0x42, x))])), v["shares"]["id0_payload_sha256_by_decryptor"][at]);
        assert_eq!(hex::encode(sha256(&[&opening(x, false).shares])), v["sum_and_opening"]["opening_sha256_by_decryptor"][at]);
        let checks = CheckMatrix::of(certificate()).apply(&share(0x42, x));
        assert_eq!(serde_json::json!(checks), v["consistency"]["id0_values_by_decryptor"][at]);
    }
    let sum: Vec<u8> = {
        let total = (0..RING_DIMENSION).map(|k| [0x42, 0x43, 0x44].iter().map(|z| i32::from(signed(secret(*z)[k]).unwrap())).sum::<i32>());
        total.flat_map(i32::to_le_bytes).collect()
    };
    assert_eq!(hex::encode(sha256(&[&sum])), v["sum_and_opening"]["S_sha256_i32_le"]);
    assert_eq!(true_digest(), KeySumDigest(tagged(Domain::KeySum, &[&sum])));
}

#[test]
fn any_three_openings_give_the_same_key_sum() {
    for positions in [[1, 2, 3], [2, 5, 7], [1, 4, 6]] {
        let sums = candidates(&answers(&positions, &[]), D);
        assert_eq!((sums.len(), sums[0].digest()), (1, true_digest()));
        assert!(sums[0].is_bounded(3) && sums[0].agreeing.len() == 3);
    }
    assert!(candidates(&answers(&[1, 2], &[]), D).is_empty());
}

#[test]
fn two_liars_among_seven_are_outvoted_and_named() {
    let all: Vec<u8> = (1..=C).collect();
    let answers = answers(&all, &[3, 6]);
    let matrix = CheckMatrix::of(certificate());
    assert!(answers.iter().all(|a| matrix.is_consistent(a)), "these liars fit their own check values");
    let best = &candidates(&answers, D)[0];
    assert_eq!(best.digest(), true_digest());
    assert_eq!(best.agreeing, [1, 2, 4, 5, 7].map(Position).into());
    let disputed = Doubt::Disputed([3, 6].map(Position).into());
    assert_eq!(doubts(&answers, D, 3), [(2, disputed)], "the member whose shares they bent is not at fault: five of seven agree with it");
}

/// C56: a client is at fault only where more than d answers are off, which d liars alone cannot bring about.
#[test]
fn a_member_that_dealt_no_polynomial_is_at_fault_and_one_that_three_of_seven_speak_against_too() {
    let read = |x: u8, by: u64| Answer::parse(&bent_opening(x, by), 3).unwrap();
    let cubic: Vec<Answer> = (1..=C).map(|x| read(x, u64::from(x).pow(3))).collect();
    assert_eq!(doubts(&cubic, D, 3), [(2, Doubt::AtFault)]);
    let three: Vec<Answer> = (1..=C).map(|x| read(x, u64::from([2, 3, 6].contains(&x)))).collect();
    assert_eq!(doubts(&three, D, 3), [(2, Doubt::AtFault)]);
    assert_eq!(doubts(&answers(&[1, 2, 3, 4, 5, 6, 7], &[]), D, 3), []);
    assert_eq!(doubts(&answers(&[1, 2], &[2]), D, 3), [], "too few to say anything");
}

#[test]
fn with_one_answer_to_spare_a_lie_shows_and_the_truth_is_among_the_candidates() {
    let answers = answers(&[1, 2, 4, 7], &[4]);
    let sums = candidates(&answers, D);
    assert!(sums.len() > 1 && sums.iter().any(|s| s.digest() == true_digest()));
    let clean = sums.iter().filter(|s| s.is_bounded(3)).count();
    assert_eq!(clean, 1, "a false sum is far outside the bound");
    let everybody = Doubt::Disputed([1, 2, 4, 7].map(Position).into());
    assert_eq!(doubts(&answers, D, 3), [(2, everybody)], "any three of the four fit: each may be the one that lies");
}

#[test]
fn a_decryptor_that_contradicts_itself_is_caught_alone() {
    let mut lying = opening(5, false);
    lying.shares[36] ^= 1;
    let answer = Answer::parse(&lying, 3).unwrap();
    assert!(!CheckMatrix::of(certificate()).is_consistent(&answer));
}

#[test]
fn openings_of_another_form_are_refused() {
    let good = opening(1, false);
    assert!(Answer::parse(&good, 2).is_err());
    let short = OpeningPayload { shares: good.shares[4..].to_vec(), ..good.clone() };
    assert!(Answer::parse(&short, 3).is_err());
    let mut large = good;
    large.shares[..4].copy_from_slice(&SHARE_PRIME.to_le_bytes());
    assert!(Answer::parse(&large, 3).is_err());
}
