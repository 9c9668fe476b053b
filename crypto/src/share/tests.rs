//! Shares: vectors (C79), decoding with absent and lying decryptors, blame (C56), blobs (C34).

use super::opening::CheckMatrix;
use super::*;
use crate::blob::{BlobError, open_blob};
use crate::testing::{Federation, Sealed, numbers, sha256_hex, values, vectors};
use protocol::ids::{CertificateDigest, CoreDigest, HeaderDigest};
use protocol::manifest::OpeningPayload;
use std::collections::BTreeMap;

const SEVEN: CommitteeSize = CommitteeSize { decryptors: 7, corrupt: 2 };

fn vector_shares(id: u8) -> Vec<Share> {
    let round = RoundSecret::for_vector([0x42 + id; 32]);
    deal(&round.secret(), &round, SEVEN)
}

fn first4(share: &Share) -> Vec<i64> {
    share.values()[..4].iter().map(|&v| i64::from(v)).collect()
}

#[test]
fn shares_and_check_values_are_those_of_the_vectors() {
    let v = vectors();
    let shares = vector_shares(0);
    assert_eq!(first4(&shares[0]), numbers(&v["derived"]["shares"]["id0_decryptor_1_first_4"]));
    assert_eq!(first4(&shares[6]), numbers(&v["derived"]["shares"]["id0_decryptor_7_first_4"]));
    let check = &v["derived"]["consistency"];
    let digest = CertificateDigest(std::array::from_fn(|i| hex::decode(check["certificate_digest_hex"].as_str().unwrap()).unwrap()[i]));
    assert_eq!(protocol::manifest::certificate_digest(b"example statement payload"), digest);
    let matrix = CheckMatrix::of(digest);
    assert_eq!(matrix.row(0)[..4].iter().map(|&x| i64::from(x)).collect::<Vec<_>>(), numbers(&check["rho_first_4_of_row_0"]));
    for (at, share) in shares.iter().enumerate() {
        assert_eq!(sha256_hex(&share.to_bytes()), v["derived"]["shares"]["id0_payload_sha256_by_decryptor"][at].as_str().unwrap());
        assert_eq!(matrix.apply(share.values()).map(i64::from).to_vec(), numbers(&check["id0_values_by_decryptor"][at]));
    }
}

#[test]
fn summed_shares_and_key_sum_are_those_of_the_vectors() {
    let v = &vectors()["derived"]["sum_and_opening"];
    let clients: Vec<Vec<Share>> = (0..3).map(vector_shares).collect();
    let summed: Vec<Vec<u32>> =
        (0..7).map(|at| (0..SHARE_LEN).map(|i| clients.iter().fold(0, |sum, c| field::add(sum, c[at].values()[i]))).collect()).collect();
    for (at, row) in summed.iter().enumerate() {
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(sha256_hex(&bytes), v["opening_sha256_by_decryptor"][at].as_str().unwrap());
    }
    for three in [[0usize, 1, 2], [1, 4, 6], [3, 4, 5]] {
        let points: Vec<u32> = three.iter().map(|&i| u32::try_from(i + 1).unwrap()).collect();
        let weights = field::lagrange(&points, 0);
        let lifted = |i: usize| {
            let value = i64::from(field::dot(&weights, &three.map(|at| summed[at][i])));
            i32::try_from(if value > i64::from(SHARE_PRIME / 2) { value - i64::from(SHARE_PRIME) } else { value }).unwrap()
        };
        let s: Vec<u8> = (0..RING_DIMENSION).flat_map(|i| lifted(i).to_le_bytes()).collect();
        assert_eq!(sha256_hex(&s), v["S_sha256_i32_le"].as_str().unwrap());
    }
}

#[test]
fn bytes_that_are_no_share_are_refused() {
    let share = vector_shares(0).remove(0);
    let bytes = share.to_bytes();
    assert_eq!(Share::from_bytes(Position(1), &bytes).unwrap().values(), share.values());
    assert_eq!(Share::from_bytes(Position(1), &bytes[1..]).err(), Some(BadShare::Length(SHARE_BYTES - 1)));
    for wrong in [SHARE_PRIME, u32::MAX, 1 << 31] {
        let mut bytes = bytes.to_vec();
        bytes[SHARE_BYTES - 4..].copy_from_slice(&wrong.to_le_bytes());
        assert_eq!(Share::from_bytes(Position(1), &bytes).err(), Some(BadShare::NotInField));
    }
}

fn three_sealed() -> (Federation, Vec<Sealed>) {
    let f = Federation::new(3, 3, SEVEN, 8, &[10]);
    let sealed = (0..3).map(|i| f.seal(i, &[values(&f.group().packing, 3, 10)])).collect();
    (f, sealed)
}

#[test]
fn a_blob_opens_only_for_its_decryptor_update_and_position() {
    let (f, sealed) = three_sealed();
    let core = sealed[0].update.header.core.digest();
    let blobs = &sealed[0].update.blobs;
    let open = |prekey, core, position, blob: &[u8]| open_blob(f.prekey(prekey), core, Position(position), blob).err();
    assert_eq!(open(1, core, 1, &blobs[0]), None);
    assert_eq!(open(1, core, 1, &blobs[1]), Some(BlobError::Open), "swapped within one update");
    assert_eq!(open(2, core, 1, &blobs[1]), Some(BlobError::Open), "another position");
    assert_eq!(open(1, core, 1, &sealed[1].update.blobs[0]), Some(BlobError::Open), "of another client");
    assert_eq!(open(1, CoreDigest([0; 32]), 1, &blobs[0]), Some(BlobError::Open), "another core digest");
    assert_eq!(open(1, core, 1, &blobs[0][1..]), Some(BlobError::Length(protocol::params::BLOB_BYTES - 1)));
    for at in [0, 1119, 1120, 17_535] {
        let mut damaged = blobs[0].clone();
        damaged[at] ^= 1;
        assert_eq!(open(1, core, 1, &damaged), Some(BlobError::Open), "byte {at}");
    }
}

#[test]
fn an_opening_needs_every_member_and_ignores_others() {
    let (f, sealed) = three_sealed();
    let two = f.certify(&sealed[..2]);
    let all_shares = f.shares(&sealed, 1);
    assert_eq!(post_opening(&two, Position(1), &all_shares).unwrap(), post_opening(&two, Position(1), &f.shares(&sealed[..2], 1)).unwrap());
    let mut missing = all_shares;
    missing.remove(&sealed[0].digest);
    assert_eq!(post_opening(&two, Position(1), &missing), Err(OpeningError::Missing(sealed[0].digest)));
    assert!(matches!(post_opening(&two, Position(2), &f.shares(&sealed, 1)), Err(OpeningError::WrongPosition { .. })));
}

fn shift_share(opening: &mut OpeningPayload, at: usize, by: u32) {
    let four: &mut [u8; 4] = &mut opening.shares.as_chunks_mut::<4>().0[at];
    *four = field::add(u32::from_le_bytes(*four), by).to_le_bytes();
}

fn shift_check(opening: &mut OpeningPayload, at: usize, by: u32) {
    let four: &mut [u8; 4] = &mut opening.checks.as_chunks_mut::<4>().0[at];
    *four = field::add(u32::from_le_bytes(*four), by).to_le_bytes();
}

/// Lies about coefficient 5 so that the check values of member 0 still add up.
fn lie_consistently(opening: &mut OpeningPayload) {
    shift_share(opening, 5, 1);
    let matrix = CheckMatrix::of(opening.certificate);
    (0..CHECKS).for_each(|q| shift_check(opening, q, matrix.row(q)[5]));
}

#[test]
fn any_three_of_seven_give_the_same_key_sum() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let openings = f.openings(&certificate, &sealed, &[1, 2, 3, 4, 5, 6, 7]);
    let all = decode_key_sum(SEVEN, &certificate, &openings).unwrap();
    assert_eq!((all.candidates.len(), &all.blame), (1, &Blame::default()));
    for three in [[0, 1, 2], [4, 5, 6], [0, 3, 6]] {
        let some: Vec<_> = three.iter().map(|&i: &usize| openings[i].clone()).collect();
        assert_eq!(decode_key_sum(SEVEN, &certificate, &some).unwrap(), all);
    }
    let few = decode_key_sum(SEVEN, &certificate, &openings[..2]);
    assert!(matches!(few, Err(DecodeKeySumError::TooFew { got: 2, needed: 3, .. })));
}

#[test]
fn a_decryptor_that_contradicts_itself_is_blamed_and_left_out() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let honest = f.openings(&certificate, &sealed, &[1, 2, 3, 4]);
    let good = decode_key_sum(SEVEN, &certificate, &honest).unwrap();
    let mut openings = honest.clone();
    shift_share(&mut openings[2], 0, 7);
    let decoded = decode_key_sum(SEVEN, &certificate, &openings).unwrap();
    assert_eq!(decoded.candidates, good.candidates);
    assert_eq!(decoded.blame.decryptors, [(Position(3), Fault::Contradiction)]);
}

#[test]
fn malformed_and_double_openings_are_blamed() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let mut openings = f.openings(&certificate, &sealed, &[1, 2, 3, 4, 5, 6, 7]);
    openings[0].certificate = CertificateDigest([0; 32]);
    openings[1].shares[3] = 0xff;
    openings[2].checks.pop();
    openings[3].position = Position(8);
    let mut twin = openings[4].clone();
    shift_share(&mut twin, 0, 1);
    openings.push(twin);
    openings.push(openings[5].clone());
    let Err(DecodeKeySumError::TooFew { got: 2, blame, .. }) = decode_key_sum(SEVEN, &certificate, &openings) else { panic!("decoded") };
    let malformed = |p| (Position(p), Fault::Malformed);
    assert_eq!(blame.decryptors, [malformed(1), malformed(2), malformed(3), (Position(5), Fault::TwoOpenings), malformed(8)]);
}

#[test]
fn two_consistent_lies_among_seven_are_corrected_and_disputed() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let mut openings = f.openings(&certificate, &sealed, &[1, 2, 3, 4, 5, 6, 7]);
    let good = decode_key_sum(SEVEN, &certificate, &openings).unwrap();
    lie_consistently(&mut openings[0]);
    lie_consistently(&mut openings[0]);
    lie_consistently(&mut openings[5]);
    let decoded = decode_key_sum(SEVEN, &certificate, &openings).unwrap();
    assert_eq!(decoded.candidates, good.candidates);
    let header = certificate.headers()[0];
    assert_eq!(decoded.blame.disputed, [Dispute { header, position: Position(1) }, Dispute { header, position: Position(6) }]);
    assert!(decoded.blame.decryptors.is_empty() && decoded.blame.clients.is_empty());
}

/// One consistent lie among four answers of threshold three: every subset is a candidate, the right one is among them.
#[test]
fn too_few_answers_to_correct_leave_candidates() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let mut openings = f.openings(&certificate, &sealed, &[1, 2, 3, 4]);
    let good = decode_key_sum(SEVEN, &certificate, &openings).unwrap();
    lie_consistently(&mut openings[1]);
    let decoded = decode_key_sum(SEVEN, &certificate, &openings).unwrap();
    assert!(decoded.candidates.contains(&good.candidates[0]));
    assert!(!decoded.blame.disputed.is_empty());
}

#[test]
fn a_client_with_inconsistent_shares_is_blamed() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let culprit: HeaderDigest = sealed[1].digest;
    let opening = |position: u8| {
        let mut shares: BTreeMap<_, _> = f.shares(&sealed, position);
        let share = shares.get_mut(&culprit).unwrap();
        // Cubic instead of quadratic in one coordinate: no degree-2 polynomial meets more than three of these values.
        share.values[9] = field::add(share.values[9], u32::from(position).pow(3));
        post_opening(&certificate, Position(position), &shares).unwrap()
    };
    let openings: Vec<_> = (1..=7).map(opening).collect();
    let blame = match decode_key_sum(SEVEN, &certificate, &openings) {
        Ok(decoded) => decoded.blame,
        Err(DecodeKeySumError::OutOfRange { blame }) => blame,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(blame.clients, [culprit]);
    assert!(blame.decryptors.is_empty() && blame.disputed.is_empty());
}

/// The largest committee, as many liars as can be corrected, all in front: the search stays short.
#[test]
fn four_consistent_lies_among_sixteen_are_corrected() {
    let size = CommitteeSize { decryptors: 16, corrupt: 7 };
    let f = Federation::new(3, 3, size, 8, &[10]);
    let sealed: Vec<Sealed> = (0..3).map(|i| f.seal(i, &[values(&f.group().packing, 3, 10)])).collect();
    let certificate = f.certify(&sealed);
    let positions: Vec<u8> = (1..=16).collect();
    let mut openings = f.openings(&certificate, &sealed, &positions);
    let good = decode_key_sum(size, &certificate, &openings).unwrap();
    openings[..4].iter_mut().for_each(lie_consistently);
    let decoded = decode_key_sum(size, &certificate, &openings).unwrap();
    assert_eq!(decoded.candidates, good.candidates);
    assert_eq!(decoded.blame.disputed.iter().map(|d| d.position.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

/// C59 where openings are decoded: shares that fit together, of keys that no honest client has, give no candidate. One more than 90 per
/// member is enough, at either end; 90 per member is not.
#[test]
fn a_key_sum_beyond_what_so_many_members_can_have_is_no_candidate() {
    let (f, sealed) = three_sealed();
    let certificate = f.certify(&sealed);
    let decoded = |largest: [i8; 3]| {
        let opening = |position: u8| {
            let shares = sealed.iter().zip(largest).map(|(s, value)| {
                let round = RoundSecret::for_vector([0x51; 32]);
                let mut secret = round.secret();
                secret[100] = value;
                (s.digest, deal(&secret, &round, SEVEN).remove(usize::from(position) - 1))
            });
            post_opening(&certificate, Position(position), &shares.collect()).unwrap()
        };
        decode_key_sum(SEVEN, &certificate, &(1..=7).map(opening).collect::<Vec<_>>())
    };
    for sign in [1, -1] {
        let found = decoded([sign * 90; 3]).unwrap();
        assert_eq!((found.candidates.len(), found.candidates[0].coefficients()[100]), (1, i32::from(sign) * 270));
        let Err(DecodeKeySumError::OutOfRange { blame }) = decoded([sign * 90, sign * 90, sign * 91]) else { panic!("decoded") };
        assert_eq!(blame, Blame::default(), "the shares lie on polynomials: nobody's statements contradict");
    }
}
