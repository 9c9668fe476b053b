//! The strict rule of Ed25519 (A8) for many signatures of few keys: each signature is judged alone, with what its key allows to precompute.
//! Knows no note and no statement: a message is bytes here.
//!
//! **The same verdict as `verify_strict`, always.** That rule asks: s is below the group's order; neither A nor R has small order; R is the
//! one spelling of s·B − k·A, without a cofactor. Here the same point s·B − k·A is computed, from tables instead of by doubling, spelled,
//! and compared with R's bytes. If the bytes are equal, R is the spelling of that very point, so its order is that point's order. Nothing
//! is added up over signatures: a batch equation with random factors accepts what the strict rule refuses whenever components of small
//! order cancel, and auditors must agree. What is shared between signatures is one field inversion of the spelling, which is exact.

use std::collections::HashMap;
use std::sync::LazyLock;

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity as _;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};

/// A signature to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The public key.
    pub key: [u8; 32],
    /// The exact bytes that were signed.
    pub message: Vec<u8>,
    /// The signature: R, then s.
    pub signature: [u8; 64],
}

/// Whoever can say which signatures hold by the strict rule.
pub trait Judge {
    /// The verdict on each signature, in order, as `verify_strict` would give it.
    fn judge(&mut self, signed: &[Signed]) -> Vec<bool>;
}

/// Judges each signature by the library's own `verify_strict`.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneByOne;

impl OneByOne {
    /// Whether this signature holds.
    pub fn holds(self, s: &Signed) -> bool {
        VerifyingKey::from_bytes(&s.key).is_ok_and(|key| holds(&key, s))
    }
}

impl Judge for OneByOne {
    fn judge(&mut self, signed: &[Signed]) -> Vec<bool> {
        signed.iter().map(|s| self.holds(s)).collect()
    }
}

fn holds(key: &VerifyingKey, s: &Signed) -> bool {
    key.verify_strict(&s.message, &Signature::from_bytes(&s.signature)).is_ok()
}

/// Signatures of a key after which its table is made: a table costs about as much as sixty judgements without one, so a small log pays
/// nothing and a large one little.
const OFTEN: u32 = 64;
/// Most tables of one judge: 4096 points of 160 bytes, 640 KiB, each, for 64 witnesses, 64 institutions and their successors.
const MAX_TABLES: usize = 256;
/// Most keys that are remembered at all; beyond them every judgement stands alone.
const MAX_KEYS: usize = 4096;

/// A judge that remembers keys.
#[derive(Default)]
pub struct Strict {
    keys: HashMap<[u8; 32], Known>,
    tables: usize,
}

/// What is remembered of a key.
struct Known {
    /// Nothing for bytes that are no key.
    key: Option<VerifyingKey>,
    seen: u32,
    /// Multiples of −A.
    table: Option<Table>,
}

impl Known {
    fn of(bytes: &[u8; 32]) -> Self {
        // The strict rule refuses every signature of a key of small order.
        Self { key: VerifyingKey::from_bytes(bytes).ok().filter(|k| !k.is_weak()), seen: 0, table: None }
    }
}

impl Judge for Strict {
    fn judge(&mut self, signed: &[Signed]) -> Vec<bool> {
        let mut verdicts = vec![false; signed.len()];
        // Points to spell together, and whose they are.
        let (mut points, mut places) = (Vec::new(), Vec::new());
        for (place, s) in signed.iter().enumerate() {
            match self.recompute(s) {
                Recomputed::Point(point) if !point.is_small_order() => {
                    points.push(point);
                    places.push(place);
                }
                Recomputed::Point(_) => {}
                Recomputed::Verdict(holds) => verdicts[place] = holds,
            }
        }
        for (place, spelled) in places.into_iter().zip(EdwardsPoint::compress_batch_alloc(&points)) {
            let given = signed.get(place).map(|s| &s.signature[..32]);
            verdicts[place] = given == Some(spelled.as_bytes());
        }
        verdicts
    }
}

/// What came of one signature.
enum Recomputed {
    /// The point that R must spell.
    Point(EdwardsPoint),
    /// Judged already.
    Verdict(bool),
}

impl Strict {
    /// A judge that has seen no key.
    pub fn new() -> Self {
        Self::default()
    }

    fn recompute(&mut self, s: &Signed) -> Recomputed {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&s.key) {
            return Recomputed::Verdict(OneByOne.holds(s));
        }
        let known = self.keys.entry(s.key).or_insert_with(|| Known::of(&s.key));
        let Some(key) = known.key else { return Recomputed::Verdict(false) };
        known.seen = known.seen.saturating_add(1);
        if known.table.is_none() && known.seen > OFTEN && self.tables < MAX_TABLES {
            // `from_bytes` took these bytes, so they decompress; otherwise the key stays without a table.
            known.table = CompressedEdwardsY(s.key).decompress().map(|point| Table::of(&-point));
            self.tables += usize::from(known.table.is_some());
        }
        let Some(table) = &known.table else { return Recomputed::Verdict(holds(&key, s)) };
        let (r, scalar) = s.signature.split_at(32);
        let scalar: Option<Scalar> = scalar.try_into().ok().and_then(|b: [u8; 32]| Scalar::from_canonical_bytes(b).into_option());
        let Some(scalar) = scalar else { return Recomputed::Verdict(false) };
        let challenge: [u8; 64] = Sha512::new_with_prefix(r).chain_update(s.key).chain_update(&s.message).finalize().into();
        let challenge = Scalar::from_bytes_mod_order_wide(&challenge);
        let sum = BASE.add_multiple(EdwardsPoint::identity(), &scalar);
        Recomputed::Point(table.add_multiple(sum, &challenge))
    }
}

/// Digits of a scalar below 2^253 in base 256.
const DIGITS: usize = 32;
/// Multiples of each power that are kept: signed digits reach from −128 to 128.
const MULTIPLES: usize = 128;

/// 1 to 128 times P, 256·P, 256²·P and so on: a multiple of P is then one addition for each byte of the scalar.
///
/// # Security
/// Which entries are read depends on the scalar: for public values only.
struct Table(Vec<EdwardsPoint>);

/// Multiples of the base point, made once for all judges.
static BASE: LazyLock<Table> = LazyLock::new(|| Table::of(&ED25519_BASEPOINT_POINT));

impl Table {
    fn of(point: &EdwardsPoint) -> Self {
        let (mut out, mut power) = (Vec::with_capacity(DIGITS * MULTIPLES), *point);
        for _ in 0..DIGITS {
            let mut multiple = power;
            for _ in 0..MULTIPLES {
                out.push(multiple);
                multiple += power;
            }
            // Twice 128·P is the next power.
            power = out.last().map_or(power, |half| half + half);
        }
        Self(out)
    }

    /// `sum` + scalar·P.
    fn add_multiple(&self, sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let (mut sum, mut carry) = (sum, 0_i32);
        for (row, byte) in self.0.chunks_exact(MULTIPLES).zip(scalar.as_bytes()) {
            let digit = i32::from(*byte) + carry;
            // A canonical scalar's last byte is at most 16, so the last carry stays 0.
            (carry, sum) = match digit {
                0 => (0, sum),
                1..=128 => (0, row.get(digit.unsigned_abs() as usize - 1).map_or(sum, |p| sum + p)),
                _large => {
                    let negative = 256 - digit;
                    let subtracted = negative.unsigned_abs() as usize;
                    (1, if subtracted == 0 { sum } else { row.get(subtracted - 1).map_or(sum, |p| sum - p) })
                }
            };
        }
        sum
    }
}

#[cfg(test)]
#[path = "strict_tests.rs"]
mod tests;
