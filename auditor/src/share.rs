//! From openings to the key sum, in plain arithmetic (crypto.md C33, C55, C56, C59). A second implementation on purpose: it shares no code
//! with the one that the federation runs. Knows no file, no entry and no ciphertext.

use aes::Aes256;
use ctr::Ctr128LE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use protocol::hash::{Domain, expand, sha256, tagged};
use protocol::ids::{CertificateDigest, KeySumDigest, Position};
use protocol::manifest::OpeningPayload;
use protocol::params::{CBD_BOUND, RING_DIMENSION, SHARE_LEN, SHARE_PRIME};
use std::collections::BTreeSet;

const P: u64 = SHARE_PRIME as u64;
/// Rows of the check matrix: four, so that a false share passes with probability p^-4.
pub const CHECKS: usize = SHARE_LEN - RING_DIMENSION;

/// Bytes that are no opening of a set of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadOpening {
    /// Another number of values than shares and members ask for.
    #[error("{got} bytes of {what}, expected {expected}")]
    Length {
        /// Shares or check values.
        what: &'static str,
        /// Bytes given.
        got: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A value that is no element of the share field.
    #[error("a value of the {0} is not below p")]
    Range(&'static str),
}

/// One decryptor's summed share and its check values, by member.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The decryptor's place, its abscissa.
    pub position: Position,
    shares: Vec<u64>,
    checks: Vec<[u64; CHECKS]>,
}

fn field_values(what: &'static str, bytes: &[u8], count: usize) -> Result<Vec<u64>, BadOpening> {
    let expected = 4 * count;
    if bytes.len() != expected {
        return Err(BadOpening::Length { what, got: bytes.len(), expected });
    }
    let values: Vec<u64> = bytes.as_chunks::<4>().0.iter().map(|b| u64::from(u32::from_le_bytes(*b))).collect();
    if values.iter().all(|v| *v < P) { Ok(values) } else { Err(BadOpening::Range(what)) }
}

impl Answer {
    /// Reads an opening of a set with `members` members.
    ///
    /// # Errors
    /// [`BadOpening`] if a length or a value does not fit.
    pub fn parse(opening: &OpeningPayload, members: usize) -> Result<Self, BadOpening> {
        let shares = field_values("shares", &opening.shares, SHARE_LEN)?;
        let checks = field_values("check values", &opening.checks, CHECKS * members)?;
        Ok(Self { position: opening.position, shares, checks: checks.as_chunks::<CHECKS>().0.to_vec() })
    }

    fn abscissa(&self) -> u64 {
        u64::from(self.position.0)
    }
}

/// ρ of C55: four rows of 4096 field elements, fixed by the certificate, so that nobody can choose shares to fit it.
pub struct CheckMatrix(Vec<Vec<u64>>);

impl CheckMatrix {
    /// The matrix of this certificate.
    pub fn of(certificate: CertificateDigest) -> Self {
        let mut key = [0u8; 32];
        expand(Domain::Check, &[&certificate.0], &mut key);
        let all = elements(key, CHECKS * RING_DIMENSION);
        Self(all.chunks(RING_DIMENSION).map(<[u64]>::to_vec).collect())
    }

    /// The check values that a share (or a sum of shares) should have: blind plus ρ times the share.
    pub fn apply(&self, shares: &[u64]) -> [u64; CHECKS] {
        let (coefficients, blinds) = shares.split_at(shares.len().min(RING_DIMENSION));
        std::array::from_fn(|q| {
            let product = self.0[q].iter().zip(coefficients).fold(0, |sum, (r, s)| (sum + r * s) % P);
            (product + blinds.get(q).copied().unwrap_or(0)) % P
        })
    }

    /// Whether the check values of all members add up to those of the summed share. If not, the decryptor contradicts itself.
    pub fn is_consistent(&self, answer: &Answer) -> bool {
        let total = |q: usize| answer.checks.iter().fold(0, |sum, c| (sum + c[q]) % P);
        self.apply(&answer.shares) == std::array::from_fn(total)
    }
}

/// `count` field elements of the AES-256-CTR stream under `key`: u32 LE without the top bit, the value p skipped (C33).
pub(crate) fn elements(key: [u8; 32], count: usize) -> Vec<u64> {
    let mut stream = Ctr128LE::<Aes256>::new(&key.into(), &[0u8; 16].into());
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let mut block = [0u8; 1024];
        stream.apply_keystream(&mut block);
        let values = block.as_chunks::<4>().0.iter().map(|b| u64::from(u32::from_le_bytes(*b) & SHARE_PRIME));
        out.extend(values.filter(|v| *v != P).take(count - out.len()));
    }
    out
}

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut base, mut out) = (base % P, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = out * base % P;
        }
        base = base * base % P;
        exponent >>= 1;
    }
    out
}

/// Weights with which the values at the distinct abscissae `nodes` give the value at `x` of the polynomial through them (Lagrange).
fn weights(nodes: &[u64], x: u64) -> Vec<u64> {
    let minus = |a: u64, b: u64| (a + P - b) % P;
    let weight = |i: u64| {
        let others = nodes.iter().filter(|j| **j != i);
        let (top, bottom) = others.fold((1, 1), |(t, b), &j| (t * minus(x, j) % P, b * minus(i, j) % P));
        top * power(bottom, P - 2) % P
    };
    nodes.iter().map(|i| weight(*i)).collect()
}

fn combine(weights: &[u64], values: impl Iterator<Item = u64>) -> u64 {
    weights.iter().zip(values).fold(0, |sum, (w, v)| (sum + w * v) % P)
}

/// A member whose check values do not all lie on one polynomial (C56).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No polynomial meets all but at most d answers: the member dealt shares that are none.
    AtFault,
    /// One does: the member or these decryptors are wrong, and nothing proves which. Where polynomials compete, all that any leaves out.
    Disputed(Vec<Position>),
}

/// Members, by their place in the set, whose check values do not all lie on one polynomial of degree `degree`, and what that shows.
pub fn doubts(answers: &[Answer], degree: usize, members: usize) -> Vec<(usize, Doubt)> {
    let curve = |base| Curve::through(answers, base);
    let Some(first) = subsets(answers.len(), degree + 1).next().map(curve) else { return Vec::new() };
    let all = answers.len();
    let doubtful: Vec<usize> = (0..members).filter(|&m| first.meets(answers, m).len() < all).collect();
    if doubtful.is_empty() {
        return Vec::new();
    }
    let curves: Vec<Curve> = subsets(all, degree + 1).map(curve).collect();
    let judge = |m: usize| {
        let best = largest(&curves, answers, m, degree);
        let most = best.first().map_or(0, BTreeSet::len);
        if most + degree < all {
            return (m, Doubt::AtFault);
        }
        let outside = (0..all).filter(|i| best.iter().any(|met| !met.contains(i)));
        (m, Doubt::Disputed(outside.map(|i| answers[i].position).collect()))
    };
    doubtful.into_iter().map(judge).collect()
}

/// The largest sets of answers, by their place, that one polynomial meets about member `m`; one, if it is so large that no other can be.
fn largest(curves: &[Curve], answers: &[Answer], m: usize, degree: usize) -> Vec<BTreeSet<usize>> {
    let mut found: Vec<BTreeSet<usize>> = Vec::new();
    for curve in curves {
        if found.iter().any(|met| curve.base.iter().all(|i| met.contains(i))) {
            continue;
        }
        let met = curve.meets(answers, m);
        let missed = answers.len() - met.len();
        if answers.len() > degree + 2 * missed {
            return vec![met];
        }
        found.push(met);
    }
    let most = found.iter().map(BTreeSet::len).max().unwrap_or(0);
    found.retain(|met| met.len() == most);
    found
}

/// The polynomials through d + 1 answers, and how they give the others.
struct Curve {
    base: Vec<usize>,
    rest: Vec<(usize, Vec<u64>)>,
}

impl Curve {
    fn through(answers: &[Answer], base: Vec<usize>) -> Self {
        let nodes: Vec<u64> = base.iter().map(|&i| answers[i].abscissa()).collect();
        let rest = (0..answers.len()).filter(|i| !base.contains(i)).map(|i| (i, weights(&nodes, answers[i].abscissa()))).collect();
        Self { base, rest }
    }

    /// The answers, by their place, that lie on it about member `m`.
    fn meets(&self, answers: &[Answer], m: usize) -> BTreeSet<usize> {
        let given = |w: &[u64], q: usize| combine(w, self.base.iter().map(|&b| answers[b].checks[m][q]));
        let met = self.rest.iter().filter(|(i, w)| (0..CHECKS).all(|q| given(w, q) == answers[*i].checks[m][q])).map(|(i, _)| *i);
        self.base.iter().copied().chain(met).collect()
    }
}

/// A key sum S with the answers that agree on it.
#[derive(Clone, Debug)]
pub struct KeySum {
    coefficients: Vec<i32>,
    /// Positions whose openings lie on the same polynomials.
    pub agreeing: BTreeSet<Position>,
}

impl KeySum {
    /// S, coefficient by coefficient.
    pub fn coefficients(&self) -> &[i32] {
        &self.coefficients
    }

    /// H(`key-sum`; S as 4096 i32 LE).
    pub fn digest(&self) -> KeySumDigest {
        let bytes: Vec<u8> = self.coefficients.iter().flat_map(|c| c.to_le_bytes()).collect();
        KeySumDigest(tagged(Domain::KeySum, &[&bytes]))
    }

    /// Largest |S_i|.
    pub fn largest(&self) -> u32 {
        self.coefficients.iter().map(|c| c.unsigned_abs()).max().unwrap_or(0)
    }

    /// Whether |S_i| <= 90 · |set| for all i (C59).
    pub fn is_bounded(&self, members: u16) -> bool {
        i64::from(self.largest()) <= CBD_BOUND * i64::from(members)
    }
}

/// Every key sum that some `degree + 1` answers give, the one that most answers agree on first. None if there are too few answers.
///
/// # Security
/// Agreement is first judged on one combination of coordinates whose coefficients depend on all the openings, so that no opening can be
/// made to fit it; what passes is compared coordinate by coordinate.
pub fn candidates(answers: &[Answer], degree: usize) -> Vec<KeySum> {
    let seed_parts: Vec<Vec<u8>> = answers.iter().map(|a| a.shares.iter().flat_map(|s| s.to_le_bytes()).collect()).collect();
    let seed = sha256(&seed_parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mix = elements(seed, SHARE_LEN);
    let mixed: Vec<u64> = answers.iter().map(|a| combine(&mix, a.shares.iter().copied())).collect();
    let mut seen = BTreeSet::new();
    for subset in subsets(answers.len(), degree + 1) {
        let nodes: Vec<u64> = subset.iter().map(|&i| answers[i].abscissa()).collect();
        let agrees = |i: usize| combine(&weights(&nodes, answers[i].abscissa()), subset.iter().map(|&s| mixed[s])) == mixed[i];
        seen.insert((0..answers.len()).filter(|&i| subset.contains(&i) || agrees(i)).collect::<Vec<_>>());
    }
    let mut groups: Vec<_> = seen.into_iter().collect();
    groups.sort_by_key(|g| std::cmp::Reverse(g.len()));
    groups.iter().map(|g| interpolate(answers, g, degree)).collect()
}

/// S through the first `degree + 1` of `group`; the others of the group stay agreeing only if every coordinate does.
fn interpolate(answers: &[Answer], group: &[usize], degree: usize) -> KeySum {
    let (base, rest) = group.split_at(degree + 1);
    let nodes: Vec<u64> = base.iter().map(|&i| answers[i].abscissa()).collect();
    let at = |w: &[u64], k: usize| combine(w, base.iter().map(|&i| answers[i].shares[k]));
    let zero = weights(&nodes, 0);
    let coefficients = (0..RING_DIMENSION).map(|k| lift(at(&zero, k))).collect();
    let agrees = |i: &&usize| {
        let w = weights(&nodes, answers[**i].abscissa());
        (0..SHARE_LEN).all(|k| at(&w, k) == answers[**i].shares[k])
    };
    let agreeing = base.iter().chain(rest.iter().filter(agrees)).map(|&i| answers[i].position).collect();
    KeySum { coefficients, agreeing }
}

/// The representative of v in (-p/2, p/2).
fn lift(v: u64) -> i32 {
    let signed = i64::try_from(v).unwrap_or_default();
    let p = i64::from(SHARE_PRIME);
    i32::try_from(if signed > p / 2 { signed - p } else { signed }).unwrap_or(i32::MAX)
}

/// All ascending choices of `k` of `n` (n is at most 16, C46).
fn subsets(n: usize, k: usize) -> impl Iterator<Item = Vec<usize>> {
    let n = n.min(16);
    (0u32..1 << n).filter(move |bits| bits.count_ones() as usize == k).map(move |bits| (0..n).filter(|i| bits >> i & 1 == 1).collect())
}
