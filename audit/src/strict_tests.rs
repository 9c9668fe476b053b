//! The judge with tables against `verify_strict`: over signatures that hold, that are altered, and that are made to part rules from each other.

use super::*;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn signed(key: &SigningKey, message: &[u8]) -> Signed {
    Signed { key: key.verifying_key().to_bytes(), message: message.to_vec(), signature: key.sign(message).to_bytes() }
}

/// A judge that has a table for each of these keys.
fn warm(keys: &[[u8; 32]]) -> Strict {
    let mut judge = Strict::new();
    for key in keys {
        let useless = Signed { key: *key, message: Vec::new(), signature: [0; 64] };
        judge.judge(&vec![useless; OFTEN as usize + 1]);
    }
    judge
}

fn agree(judge: &mut Strict, cases: &[Signed]) -> Vec<bool> {
    let verdicts = judge.judge(cases);
    assert_eq!(verdicts, OneByOne.judge(cases));
    verdicts
}

/// The points of order 1, 2, 4 and 8, in their spellings.
fn small_points() -> Vec<EdwardsPoint> {
    curve25519_dalek::constants::EIGHT_TORSION.to_vec()
}

/// A signature that satisfies s·B = R + k·A, possibly only up to a point of small order: R and A as given, A = a·B + `torsion`.
fn forged(a: Scalar, torsion: EdwardsPoint, r_torsion: EdwardsPoint, message: &[u8]) -> Signed {
    let nonce = Scalar::from(77_u64);
    let public = (EdwardsPoint::mul_base(&a) + torsion).compress();
    let r = (EdwardsPoint::mul_base(&nonce) + r_torsion).compress();
    let hash: [u8; 64] = Sha512::new_with_prefix(r.as_bytes()).chain_update(public.as_bytes()).chain_update(message).finalize().into();
    let s = nonce + Scalar::from_bytes_mod_order_wide(&hash) * a;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r.as_bytes());
    signature[32..].copy_from_slice(s.as_bytes());
    Signed { key: public.to_bytes(), message: message.to_vec(), signature }
}

#[test]
fn a_table_is_made_only_for_a_key_that_signs_often() {
    let mut judge = Strict::new();
    let case = signed(&key(1), b"m");
    for n in 0..OFTEN {
        assert_eq!((judge.judge(std::slice::from_ref(&case)), judge.tables), (vec![true], 0), "after {n}");
    }
    assert_eq!((judge.judge(std::slice::from_ref(&case)), judge.tables), (vec![true], 1));
}

#[test]
fn every_flipped_bit_of_a_signature_is_refused_alike() {
    let good = signed(&key(2), b"a statement");
    let mut judge = warm(&[good.key]);
    let mut cases = vec![good.clone()];
    for bit in 0..512 {
        let mut bad = good.clone();
        bad.signature[bit / 8] ^= 1 << (bit % 8);
        cases.push(bad);
    }
    let verdicts = agree(&mut judge, &cases);
    assert!(verdicts[0] && !verdicts[1..].contains(&true), "one bad signature among good ones is named, and only it");
}

#[test]
fn components_of_small_order_are_judged_as_the_strict_rule_judges_them() {
    let a = Scalar::from(123_456_789_u64);
    let mut accepted = 0;
    for torsion in small_points() {
        for r_torsion in small_points() {
            for message in 0..16_u8 {
                let case = forged(a, torsion, r_torsion, &[message]);
                let mut judge = warm(&[case.key]);
                assert_eq!(judge.tables, 1);
                accepted += agree(&mut judge, &[case]).iter().filter(|v| **v).count();
            }
        }
    }
    // The plain signatures hold; of the others those in which k·(small) happens to cancel the small part of R, by both rules.
    assert!((16..=8 * 8 * 16).contains(&accepted), "{accepted}");
}

#[test]
fn two_signatures_whose_small_components_cancel_are_both_refused() {
    // A batch equation would take these two together: each is off by the same point of order two.
    let two = small_points().into_iter().find(|p| *p != EdwardsPoint::identity() && *p + *p == EdwardsPoint::identity()).unwrap();
    let case = |m: &[u8]| forged(Scalar::from(99_u64), EdwardsPoint::identity(), two, m);
    let cases = [case(b"one"), case(b"two")];
    assert_eq!(agree(&mut warm(&[cases[0].key]), &cases), [false, false]);
}

#[test]
fn scalars_beyond_the_order_and_second_spellings_are_refused_alike() {
    let good = signed(&key(3), b"m");
    let mut judge = warm(&[good.key]);
    // s + ℓ satisfies the equation but is not canonical.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let mut large = good.clone();
    let mut carry = 0_u16;
    for (byte, o) in large.signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(o) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    // The identity spelled in two ways, as R of a signature with s = 0, and keys that are no points or weak.
    let mut zero = Signed { signature: [0; 64], ..good.clone() };
    zero.signature[0] = 1;
    let mut second = zero.clone();
    second.signature[31] = 0x80;
    let weak = Signed {
        key: {
            let mut k = [0; 32];
            k[0] = 1;
            k
        },
        ..zero.clone()
    };
    let none = Signed { key: [0xff; 32], ..good.clone() };
    assert_eq!(agree(&mut judge, &[large, zero, second, weak, none, good]), [false, false, false, false, false, true]);
}

#[test]
fn keys_beyond_the_limit_are_judged_all_the_same() {
    let mut judge = Strict::new();
    judge.keys.extend((0..MAX_KEYS).map(|n| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        (bytes, Known { key: None, seen: 0, table: None })
    }));
    let good = signed(&key(4), b"m");
    let bad = Signed { message: b"n".to_vec(), ..good.clone() };
    assert_eq!(agree(&mut judge, &[good, bad]), [true, false]);
    assert_eq!(judge.keys.len(), MAX_KEYS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn multiples_from_a_table_are_multiples(bytes: [u8; 32], base: [u8; 32]) {
        let (scalar, base) = (Scalar::from_bytes_mod_order(bytes), Scalar::from_bytes_mod_order(base));
        let point = EdwardsPoint::mul_base(&base);
        prop_assert_eq!(Table::of(&point).add_multiple(point, &scalar), point + point * scalar);
    }

    #[test]
    fn mixed_signatures_are_judged_one_by_one(kinds in prop::collection::vec((0_u8..3, 0_u8..4, any::<[u8; 8]>()), 1..40)) {
        let mut judge = warm(&[key(10).verifying_key().to_bytes(), key(11).verifying_key().to_bytes()]);
        let cases: Vec<Signed> = kinds.iter().map(|(who, what, message)| {
            let good = signed(&key(10 + who), message);
            match what {
                0 => Signed { message: b"another".to_vec(), ..good },
                1 => Signed { key: key(10).verifying_key().to_bytes(), ..good },
                _ => good,
            }
        }).collect();
        agree(&mut judge, &cases);
    }
}

#[test]
fn the_largest_scalar_leaves_no_carry() {
    let point = EdwardsPoint::mul_base(&Scalar::from(5_u64));
    let table = Table::of(&point);
    for scalar in [-Scalar::ONE, Scalar::ZERO, Scalar::ONE, Scalar::from(128_u64), Scalar::from(255_u64), Scalar::from(0xffff_u64)] {
        assert_eq!(table.add_multiple(EdwardsPoint::identity(), &scalar), point * scalar);
    }
}
