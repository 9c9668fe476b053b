//! From openings to the key sum, with the wrong ones corrected and blamed (crypto.md C56). Everything here is public.

use super::opening::CheckMatrix;
use super::{BadShare, CHECKS, field, read_elements};
use crate::sampler::FieldStream;
use protocol::hash::{Domain, expand, tagged};
use protocol::ids::{CertificateDigest, HeaderDigest, KeySumDigest, Position};
use protocol::manifest::{Certificate, OpeningPayload};
use protocol::params::{CBD_BOUND, CommitteeSize, RING_DIMENSION, SHARE_PRIME};
use std::collections::BTreeMap;

/// S: the sum of the set's secret keys. Public once openings are; nothing about one key beyond the sum (C10).
#[derive(Clone, PartialEq, Eq)]
pub struct KeySum {
    certificate: CertificateDigest,
    coefficients: Box<[i32; RING_DIMENSION]>,
}

impl std::fmt::Debug for KeySum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySum({:?})", self.certificate)
    }
}

impl KeySum {
    /// The certificate that it opens.
    pub fn certificate(&self) -> CertificateDigest {
        self.certificate
    }

    /// S, lowest coefficient first.
    pub fn coefficients(&self) -> &[i32; RING_DIMENSION] {
        &self.coefficients
    }

    /// H(`key-sum`; S as 4096 i32 LE).
    pub fn digest(&self) -> KeySumDigest {
        let bytes: Vec<u8> = self.coefficients.iter().flat_map(|c| c.to_le_bytes()).collect();
        KeySumDigest(tagged(Domain::KeySum, &[&bytes]))
    }

    /// A key sum that nobody opened.
    #[cfg(test)]
    pub(crate) fn for_test(certificate: CertificateDigest, coefficients: [i32; RING_DIMENSION]) -> Self {
        Self { certificate, coefficients: Box::new(coefficients) }
    }
}

/// What proves a decryptor wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Another certificate, a position outside the committee, wrong lengths or values outside the field.
    Malformed,
    /// Two different openings of one position.
    TwoOpenings,
    /// Check values that do not add up to blinds plus ρ times the summed shares.
    Contradiction,
}

/// A client and a decryptor whose statements do not fit; neither is proven wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// The client's update.
    pub header: HeaderDigest,
    /// The decryptor.
    pub position: Position,
}

/// Who is at fault, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// Decryptors proven wrong; their openings were not used.
    pub decryptors: Vec<(Position, Fault)>,
    /// Updates whose shares lie on no polynomial of degree d for all but at most d positions.
    pub clients: Vec<HeaderDigest>,
    /// Anything less.
    pub disputed: Vec<Dispute>,
}

/// What openings give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedKeySum {
    /// Never empty. One, if the answers determine it; else every one that passes C59, most agreed first: C60 decides.
    pub candidates: Vec<KeySum>,
    /// Who is at fault.
    pub blame: Blame,
}

/// Why openings give no key sum. More openings may help; nothing else is asked for (C58).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeKeySumError {
    /// Fewer than d + 1 openings that stand up.
    #[error("{got} usable openings, {needed} needed")]
    TooFew {
        /// Usable.
        got: usize,
        /// d + 1.
        needed: usize,
        /// Why others were not.
        blame: Blame,
    },
    /// No key sum of that many members has these openings.
    #[error("no candidate for the key sum lies in the range of the set")]
    OutOfRange {
        /// Who is at fault.
        blame: Blame,
    },
}

impl DecodeKeySumError {
    /// Who is at fault.
    pub fn blame(&self) -> &Blame {
        match self {
            Self::TooFew { blame, .. } | Self::OutOfRange { blame } => blame,
        }
    }
}

/// One opening that is well formed and does not contradict itself.
struct Answer {
    position: Position,
    shares: Vec<u32>,
    /// Four per member.
    checks: Vec<[u32; CHECKS]>,
}

/// Decodes the key sum of a certified set.
///
/// Corrects e wrong openings if there are at least d + 1 + 2e, detects one from d + 2. The caller has checked each opening's signature and
/// that its signer stands at its position.
///
/// # Errors
/// [`DecodeKeySumError`].
pub fn decode_key_sum(
    size: CommitteeSize,
    certificate: &Certificate,
    openings: &[OpeningPayload],
) -> Result<DecodedKeySum, DecodeKeySumError> {
    let mut blame = Blame::default();
    let answers = usable(size, certificate, openings, &mut blame);
    let (got, needed) = (answers.len(), size.threshold());
    if got < needed {
        return Err(DecodeKeySumError::TooFew { got, needed, blame });
    }
    judge_clients(certificate, &answers, needed, &mut blame);
    let rows: Vec<&[u32]> = answers.iter().map(|a| &a.shares[..RING_DIMENSION]).collect();
    let points: Vec<u32> = answers.iter().map(|a| u32::from(a.position.0)).collect();
    let bound = CBD_BOUND * i64::from(certificate.members());
    let candidates: Vec<KeySum> = agreements(&points, &rows, needed, certificate.digest(), 0)
        .into_iter()
        .filter_map(|mask| lift(&points, &rows, mask, needed, bound))
        .map(|coefficients| KeySum { certificate: certificate.digest(), coefficients })
        .collect();
    if candidates.is_empty() { Err(DecodeKeySumError::OutOfRange { blame }) } else { Ok(DecodedKeySum { candidates, blame }) }
}

/// Openings that are well formed, alone at their position, and consistent with their own check values.
fn usable(size: CommitteeSize, certificate: &Certificate, openings: &[OpeningPayload], blame: &mut Blame) -> Vec<Answer> {
    let matrix = CheckMatrix::of(certificate.digest());
    let mut by_position: BTreeMap<Position, Vec<&OpeningPayload>> = BTreeMap::new();
    for opening in openings {
        let known = by_position.entry(opening.position).or_default();
        if !known.contains(&opening) {
            known.push(opening);
        }
    }
    let mut answers = Vec::new();
    for (position, said) in by_position {
        let verdict = match said.as_slice() {
            [one] => read(size, certificate, one).ok_or(Fault::Malformed),
            _ => Err(Fault::TwoOpenings),
        };
        match verdict.and_then(|answer| consistent(&matrix, answer)) {
            Ok(answer) => answers.push(answer),
            Err(fault) => blame.decryptors.push((position, fault)),
        }
    }
    answers
}

fn read(size: CommitteeSize, certificate: &Certificate, opening: &OpeningPayload) -> Option<Answer> {
    let fits = opening.certificate == certificate.digest() && (1..=size.decryptors).contains(&opening.position.0);
    if !fits || opening.checks.len() != 4 * CHECKS * certificate.headers().len() {
        return None;
    }
    let shares: Result<_, BadShare> = read_elements(&opening.shares);
    let words: Vec<u32> = opening.checks.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
    let in_field = words.iter().all(|&w| w < SHARE_PRIME);
    let checks = words.as_chunks::<CHECKS>().0.to_vec();
    shares.ok().filter(|_| in_field).map(|shares| Answer { position: opening.position, shares: shares.to_vec(), checks })
}

/// Check values are linear: those of all members add up to those of the summed share.
fn consistent(matrix: &CheckMatrix, answer: Answer) -> Result<Answer, Fault> {
    let expected = matrix.apply(&answer.shares);
    let sum = answer.checks.iter().fold([0; CHECKS], |sum, c| std::array::from_fn(|q| field::add(sum[q], c[q])));
    if sum == expected { Ok(answer) } else { Err(Fault::Contradiction) }
}

/// Finds updates whose check values lie on no polynomial of degree d, and disputes.
fn judge_clients(certificate: &Certificate, answers: &[Answer], needed: usize, blame: &mut Blame) {
    let points: Vec<u32> = answers.iter().map(|a| u32::from(a.position.0)).collect();
    // Usually the same answers agree about every member, so the last finding is tried first.
    let mut hint = 0u16;
    for (member, &header) in certificate.headers().iter().enumerate() {
        let rows: Vec<&[u32]> = answers.iter().filter_map(|a| a.checks.get(member).map(|c| c.as_slice())).collect();
        let masks = agreements(&points, &rows, needed, certificate.digest(), hint);
        hint = masks.first().copied().unwrap_or(hint);
        let most = masks.first().map_or(0, |m| m.count_ones());
        // All but at most d positions, d = needed - 1.
        if usize::try_from(most).is_ok_and(|most| most + needed <= answers.len()) {
            blame.clients.push(header);
            continue;
        }
        // Positions that every best explanation leaves out are named; if explanations compete, all that any leaves out.
        let inside = masks.iter().filter(|m| m.count_ones() == most).fold(u16::MAX, |inside, m| inside & m);
        let outside = answers.iter().enumerate().filter(|&(i, _)| inside >> i & 1 == 0);
        blame.disputed.extend(outside.map(|(_, a)| Dispute { header, position: a.position }));
    }
}

/// Sets of answers, as bit masks, that lie on one polynomial vector of degree `needed` - 1; largest first. Only the first, if it is so large
/// that no other vector can have as many. Answers of `hint` are tried first.
fn agreements(points: &[u32], rows: &[&[u32]], needed: usize, certificate: CertificateDigest, hint: u16) -> Vec<u16> {
    let combined = combine(rows, certificate);
    let single: Vec<&[u32]> = combined.iter().map(std::slice::from_ref).collect();
    let all = points.len();
    let mut found: Vec<u16> = Vec::new();
    let first = (hint != 0).then(|| first_places(hint, needed));
    for subset in first.into_iter().chain(subsets(all, needed)) {
        // A larger agreement that contains this subset is the same polynomial.
        if found.iter().any(|&mask| mask & subset == subset) {
            continue;
        }
        let mut mask = agreeing(points, &single, subset);
        if mask != subset {
            mask = agreeing(points, rows, subset);
        }
        let agreed = usize::try_from(mask.count_ones()).unwrap_or(0);
        // All but e agree and there are at least d + 1 + 2e answers: unique.
        if all >= needed + 2 * (all - agreed) {
            return vec![mask];
        }
        found.push(mask);
    }
    found.sort_by_key(|mask| std::cmp::Reverse(mask.count_ones()));
    found
}

/// One random combination of the columns, so that most subsets are judged on one number. A chance agreement is found out afterwards.
fn combine(rows: &[&[u32]], certificate: CertificateDigest) -> Vec<u32> {
    let mut hash = blake3::Hasher::new();
    for row in rows {
        row.iter().for_each(|v| {
            hash.update(&v.to_le_bytes());
        });
    }
    let mut key = [0u8; 32];
    expand(Domain::Check, &[&certificate.0, hash.finalize().as_bytes()], &mut key);
    let mut elements = FieldStream::keyed(&key);
    let weights: Vec<u32> = (0..rows.first().map_or(0, |r| r.len())).map(|_| elements.next()).collect();
    rows.iter().map(|row| field::dot(&weights, row)).collect()
}

/// All subsets of `size` out of `all` answers, ascending.
fn subsets(all: usize, size: usize) -> impl Iterator<Item = u16> {
    let end = 1u32 << all;
    (0..end).filter(move |m| usize::try_from(m.count_ones()).is_ok_and(|n| n == size)).filter_map(|m| u16::try_from(m).ok())
}

/// Places of the set bits.
fn places(mask: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |i| mask >> i & 1 == 1)
}

/// The lowest `count` set bits.
fn first_places(mask: u16, count: usize) -> u16 {
    places(mask).take(count).fold(0, |m, i| m | 1 << i)
}

/// Which answers lie on the polynomial vector through `subset`, in every column.
fn agreeing(points: &[u32], rows: &[&[u32]], subset: u16) -> u16 {
    let base: Vec<u32> = places(subset).map(|i| points[i]).collect();
    let columns = rows.first().map_or(0, |r| r.len());
    (0..points.len()).filter(|i| subset >> i & 1 == 0).fold(subset, |mask, i| {
        let weights = field::lagrange(&base, points[i]);
        let same = (0..columns).all(|column| interpolate(rows, subset, &weights, column) == rows[i][column]);
        mask | u16::from(same) << i
    })
}

fn interpolate(rows: &[&[u32]], subset: u16, weights: &[u32], column: usize) -> u32 {
    places(subset).zip(weights).fold(0, |sum, (i, &w)| field::add_mul(sum, w, rows[i][column]))
}

/// The value at 0, lifted to (-p/2, p/2), if every coefficient lies within `bound` (C59).
fn lift(points: &[u32], rows: &[&[u32]], mask: u16, needed: usize, bound: i64) -> Option<Box<[i32; RING_DIMENSION]>> {
    let subset = first_places(mask, needed);
    let base: Vec<u32> = places(subset).map(|i| points[i]).collect();
    let weights = field::lagrange(&base, 0);
    let mut out = Box::new([0i32; RING_DIMENSION]);
    for (column, coefficient) in out.iter_mut().enumerate() {
        let value = i64::from(interpolate(rows, subset, &weights, column));
        let lifted = if value > i64::from(SHARE_PRIME / 2) { value - i64::from(SHARE_PRIME) } else { value };
        if lifted.abs() > bound {
            return None;
        }
        *coefficient = i32::try_from(lifted).ok()?;
    }
    Some(out)
}
