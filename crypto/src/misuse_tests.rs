//! Item 7 (ii) of the required tests (crypto.md section 9, C19, C34, C47, C52 to C54, C58): replays, half uploads, two sets, cloned machines.
//! (Swapped and damaged blobs: `share/tests.rs`. Truncated chunks, replayed bodies: `open_tests`. A second header, a restart between fsync
//! and send: the protocol's and the edges' tests.)

use crate::blob::{BlobError, open_blob};
use crate::mask::MaskKey;
use crate::open::{OpenError, open_group};
use crate::sampler::{HedgeSecret, RoundSecret, SmallPolynomial};
use crate::seal::SealError;
use crate::share::{DecodeKeySumError, Fault, deal, decode_key_sum};
use crate::statistics_tests::{FALSE_ALARM, chi_square_p};
use crate::sum::{AggregateSum, BlockSum};
use crate::testing::{Federation, Sealed, values};
use ed25519_dalek::SigningKey;
use protocol::codec::encode;
use protocol::ids::{GroupId, HeaderDigest, ManifestDigest, Position, Sha256};
use protocol::manifest::{Certificate, CertificateError, Header, Manifest, SetPayload, set_digest};
use protocol::params::{CommitteeSize, PS_A, RING_DIMENSION};
use protocol::statement::Statement;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

const SEVEN: CommitteeSize = CommitteeSize { decryptors: 7, corrupt: 2 };
const TWO: CommitteeSize = CommitteeSize { decryptors: 2, corrupt: 1 };

fn three(size: CommitteeSize) -> (Federation, Vec<Sealed>) {
    let f = Federation::new(3, 3, size, 8, &[10]);
    let sealed = (0..3).map(|i| f.seal(i, &[values(&f.group().packing, 3, 10)])).collect();
    (f, sealed)
}

/// The same federation and prekeys one round later.
fn next_round(size: CommitteeSize) -> Federation {
    let mut later = Federation::new(3, 3, size, 8, &[10]);
    later.manifest.previous_end = Sha256([7; 32]);
    later.digest = Manifest::digest(&encode(&later.manifest));
    later
}

/// Every parameter set but the one is refused before anything is drawn.
#[test]
fn no_other_parameter_set_seals() {
    let (mut f, _) = three(TWO);
    for set in (0..=u8::MAX).filter(|&set| set != PS_A) {
        f.manifest.parameter_set = set;
        assert_eq!(f.try_seal(0, &[vec![1; 10]]).err(), Some(SealError::ParameterSet(set)));
    }
}

/// A header moved under another manifest has another core digest, to which no blob was sealed.
#[test]
fn a_header_replayed_under_another_manifest_opens_no_blob() {
    let (f, sealed) = three(TWO);
    let later = next_round(TWO);
    assert_ne!(f.digest, later.digest);
    let mut core = sealed[0].update.header.core.clone();
    core.manifest = later.digest;
    let moved = Header { core, blobs: sealed[0].update.header.blobs.clone() };
    for (position, blob) in (1u8..).zip(&sealed[0].update.blobs) {
        let open = |core| open_blob(f.prekey(position), core, Position(position), blob).err();
        assert_eq!(open(moved.core.digest()), Some(BlobError::Open));
        assert_eq!(open(sealed[0].update.header.core.digest()), None);
    }
}

/// Even if every decryptor were to take old shares for a new round's, the bodies are under the old mask.
#[test]
fn updates_replayed_into_another_round_give_no_sum() {
    let (_, sealed) = three(TWO);
    let later = next_round(TWO);
    let certificate = later.certify(&sealed);
    let decoded = decode_key_sum(TWO, &certificate, &later.openings(&certificate, &sealed, &[1, 2])).unwrap();
    let opened = open_group(later.digest, later.group(), &certificate, &decoded.candidates, &later.sum(&sealed));
    assert!(matches!(opened, Err(OpenError::Residual { ratio, .. }) if ratio > 31.0), "{opened:?}");
}

/// One update twice in a set is no set of two; a certificate of one round is none of another.
#[test]
fn duplicate_members_and_foreign_manifests_certify_nothing() {
    let (f, sealed) = three(SEVEN);
    let (a, b) = (sealed[0].digest, sealed[1].digest);
    assert_eq!(f.certificate(&[a, a]).err(), Some(CertificateError::WrongSet));
    assert_eq!(f.certificate(&[a, b, a]).err(), Some(CertificateError::WrongSet));
    let good = f.certificate(&[a, b]).unwrap();
    let later = next_round(SEVEN);
    let elsewhere = Certificate::new(&later.manifest, later.digest, good.headers(), good.statements());
    assert_eq!(elsewhere.err(), Some(CertificateError::WrongManifest));
    let others = Certificate::new(&f.manifest, f.digest, &[a, sealed[2].digest], good.statements());
    assert_eq!(others.err(), Some(CertificateError::WrongSet));
}

/// Decryptor `at`'s signature over a set.
fn sign(f: &Federation, at: u8, members: &[HeaderDigest]) -> Statement {
    let set = set_digest(f.digest, f.group().id, members);
    let count = u32::try_from(members.len()).unwrap();
    let payload = SetPayload { manifest: f.digest, group: f.group().id, set, count, log_size: 9 };
    Statement::sign(&payload, &SigningKey::from_bytes(&[at + 1; 32]))
}

/// Seven decryptors, two of them hostile, five needed: if the honest five sign once, two proposed sets never both have a quorum.
#[test]
fn two_proposed_sets_do_not_both_get_a_quorum() {
    let (f, sealed) = three(SEVEN);
    let all: Vec<HeaderDigest> = sealed.iter().map(|s| s.digest).collect();
    let (first, second) = (&all[..], &all[..2]);
    for honest_for_first in 0..=5u8 {
        // The hostile ones, at 5 and 6, sign both.
        let signed = |set: &[HeaderDigest], who: &[u8]| -> Vec<Statement> { who.iter().map(|&at| sign(&f, at, set)).collect() };
        let for_first: Vec<u8> = (0..honest_for_first).chain([5, 6]).collect();
        let for_second: Vec<u8> = (honest_for_first..5).chain([5, 6]).collect();
        let certified = |set: &[HeaderDigest], statements: &[Statement]| Certificate::new(&f.manifest, f.digest, set, statements).is_ok();
        let both = [certified(first, &signed(first, &for_first)), certified(second, &signed(second, &for_second))];
        assert_eq!(both, [honest_for_first >= 3, honest_for_first <= 2]);
        // Signatures over the other set do not count, wherever they stand.
        let mixed = [signed(first, &for_first), signed(second, &for_second)].concat();
        assert_eq!(certified(first, &mixed), honest_for_first >= 3);
    }
}

/// Openings for another set are no openings: their difference would be one client's key.
#[test]
fn openings_of_two_sets_do_not_mix() {
    let (f, sealed) = three(SEVEN);
    let (all, pair) = (f.certify(&sealed), f.certify(&sealed[..2]));
    let mut openings = f.openings(&all, &sealed, &[1, 2]);
    openings.extend(f.openings(&pair, &sealed, &[3, 4]));
    let Err(DecodeKeySumError::TooFew { got: 2, blame, .. }) = decode_key_sum(SEVEN, &all, &openings) else { panic!("decoded") };
    assert_eq!(blame.decryptors, [(Position(3), Fault::Malformed), (Position(4), Fault::Malformed)]);
}

/// A member whose chunk never came: the block holds one update less than the set has members, and nothing is published.
#[test]
fn half_an_upload_gives_no_sum() {
    let (f, sealed) = three(TWO);
    let certificate = f.certify(&sealed);
    let decoded = decode_key_sum(TWO, &certificate, &f.openings(&certificate, &sealed, &[1, 2])).unwrap();
    let open = |sum: &AggregateSum| open_group(f.digest, f.group(), &certificate, &decoded.candidates, sum);
    assert_eq!(open(&f.sum(&sealed[..2])).err(), Some(OpenError::WrongBlock(0)));
    assert!(open(&f.sum(&sealed)).is_ok());
}

/// The same where the first chunk of a member came and the second did not.
#[test]
fn a_missing_second_chunk_gives_no_sum() {
    let mut f = Federation::new(2, 2, TWO, 32, &[1]);
    let per_polynomial = u64::from(f.group().packing.slots) * RING_DIMENSION as u64;
    f.manifest.groups[0].shards[0].length = 256 * per_polynomial + 1;
    f.digest = Manifest::digest(&encode(&f.manifest));
    let shard = vec![5; usize::try_from(f.group().shards[0].length).unwrap()];
    let sealed: Vec<Sealed> = (0..2).map(|i| f.seal(i, std::slice::from_ref(&shard))).collect();
    let certificate = f.certify(&sealed);
    let decoded = decode_key_sum(TWO, &certificate, &f.openings(&certificate, &sealed, &[1, 2])).unwrap();
    let mut opener = crate::open::Opener::new(f.digest, f.group(), &certificate, &decoded.candidates[0]).unwrap();
    let mut second = BlockSum::new(f.group(), 1).unwrap();
    second.add_chunk(&sealed[0].chunks[1]).unwrap();
    let whole = f.sum(&sealed);
    opener.open_block(&whole.blocks()[0]).unwrap();
    assert_eq!(opener.open_block(&second), Err(OpenError::WrongBlock(1)));
    opener.open_block(&whole.blocks()[1]).unwrap();
    assert!(opener.finish().is_ok());
}

/// A machine cloned with its hedge secret, whose generator repeats: everything but the message digest is the same.
fn clone_with(message: u8) -> RoundSecret {
    let hedge = HedgeSecret::new(&mut [9; 32]);
    RoundSecret::derive(&Zeroizing::new([3; 32]), &hedge, ManifestDigest([4; 32]), GroupId(7), &Zeroizing::new([message; 32]))
}

/// Places where two small polynomials agree. Two independent draws agree in one of 23.8 places (Σ mass²: 0.0420), 172 of 4096, deviation
/// 12.8; more than 256 would be 6.5 deviations (4e-11).
fn agree(a: &SmallPolynomial, b: &SmallPolynomial) -> bool {
    a.iter().zip(b.iter()).filter(|(x, y)| x == y).count() > 256
}

/// C19: two messages on a cloned machine share no stream, at whatever offset of a polynomial: not the secret, no noise, no share.
#[test]
fn a_cloned_machine_shares_no_stream_between_messages() {
    let (a, b) = (clone_with(1), clone_with(2));
    let streams = |z: &RoundSecret| [z.secret(), z.noise(0), z.noise(1), z.noise(2)];
    let (of_a, of_b) = (streams(&a), streams(&b));
    assert!(of_a.iter().all(|x| of_b.iter().all(|y| !agree(x, y))));
    // The other side: the same message on the clone is the same update, stream by stream.
    assert!(streams(&clone_with(1)).iter().zip(&of_a).all(|(x, y)| **x == **y));
    for (x, y) in deal(&of_a[0], &a, SEVEN).iter().zip(deal(&of_b[0], &b, SEVEN)) {
        let (x, y) = (x.to_bytes(), y.to_bytes());
        // Shares are uniform modulo 2^31 - 1: 4100 pairs agree twice with probability below 1e-11.
        assert!(x.as_chunks::<4>().0.iter().zip(y.as_chunks::<4>().0).filter(|(x, y)| x == y).count() < 2);
    }
}

/// Two updates of a cloned machine through the whole seal: no encapsulated key comes twice, so no HPKE nonce does; and the difference of the
/// bodies is no difference of messages, as it would be under one secret (C17): 0 in all but one coefficient. χ² of its low bits over 256
/// classes, false alarm 1e-6.
#[test]
fn a_cloned_machine_reuses_no_encapsulation_and_no_pad() {
    let f = Federation::new(3, 3, SEVEN, 8, &[10, 12_288]);
    let shards = [values(&f.group().packing, 0, 10), values(&f.group().packing, 1, 12_288)];
    let mut other = shards.clone();
    other[1][77] ^= 1;
    let (a, b) = (f.seal(0, &shards), f.seal(0, &other));
    let keys: BTreeSet<&[u8]> = a.update.blobs.iter().chain(&b.update.blobs).map(|blob| &blob[..1120]).collect();
    assert_eq!(keys.len(), 14);
    let block = |s: &Sealed| {
        let mut block = BlockSum::new(f.group(), 0).unwrap();
        block.add_chunk(&s.chunks[0]).unwrap();
        block.polynomials().concat()
    };
    let packing = f.group().packing;
    let mut counts = [0u64; 256];
    let (of_a, of_b) = (block(&a), block(&b));
    for (x, y) in of_a.iter().zip(&of_b) {
        // Eight bits from the lowest that is sent.
        counts[usize::try_from(x.wrapping_sub(*y) >> packing.dropped_bits & 255).unwrap()] += 1;
    }
    let expected = of_a.len() as f64 / 256.0;
    let statistic = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    let p = chi_square_p(statistic, 255);
    assert!(p > FALSE_ALARM, "p {p}");
}

/// A retry is the same bytes: header, blobs, chunks (C39, C58). A second manifest on the same machine shares nothing with the first.
#[test]
fn a_retry_repeats_every_byte_and_another_manifest_none() {
    let (f, sealed) = three(TWO);
    let again = f.seal(1, &[values(&f.group().packing, 3, 10)]);
    assert_eq!(encode(&again.update.header), encode(&sealed[1].update.header));
    assert_eq!((&again.update, &again.chunks), (&sealed[1].update, &sealed[1].chunks));
    let later = next_round(TWO).seal(1, &[values(&f.group().packing, 3, 10)]);
    assert!(later.update.blobs.iter().zip(&again.update.blobs).all(|(x, y)| x[..1120] != y[..1120]));
    assert_ne!(later.chunks, again.chunks);
    let same = later.chunks[0].iter().zip(&again.chunks[0]).filter(|(x, y)| x == y).count();
    assert!(same * 256 < again.chunks[0].len() * 3 / 2, "{same} bytes agree");
    assert_ne!(MaskKey::derive(f.digest, GroupId(7)), MaskKey::derive(f.digest, GroupId(8)));
}
