//! Near duplicates: shingles, MinHash, bands, and the exact similarity of candidates. Must not know files or persons.
//!
//! # Source
//! Broder, *On the resemblance and containment of documents*, 1997; Leskovec, Rajaraman, Ullman, *Mining of Massive Datasets*,
//! section 3.4 (banding).

/// Bands of a signature. Two texts are compared if one band agrees: with similarity s that is 1 - (1 - s^4)^8, so 98.5 % at 0.8, 99.98 %
/// at 0.9 and 40 % at 0.5.
pub const BANDS: usize = 8;
/// Hash functions per band.
const ROWS: usize = 4;
const HASHES: usize = BANDS * ROWS;

/// Multipliers and shifts of the hash functions: odd numbers from SplitMix64, fixed for ever.
const FUNCTIONS: ([u64; HASHES], [u64; HASHES]) = functions();

const fn functions() -> ([u64; HASHES], [u64; HASHES]) {
    let mut out = ([0; HASHES], [0; HASHES]);
    let mut state = 0x636f_6e63_6f72_6461_u64;
    let mut at = 0;
    while at < HASHES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        out.0[at] = mixed(state) | 1;
        out.1[at] = mixed(state ^ 0x5555_5555_5555_5555);
        at += 1;
    }
    out
}

const fn mixed(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The set of runs of `k` characters, as sorted hashes of 64 bits; the whole text where it is shorter. Two different runs share a hash
/// with a chance of 2^-64 each, so that similarities of these sets are those of the texts.
pub fn shingles(text: &str, k: usize) -> Vec<u64> {
    let chars: Vec<u32> = text.chars().map(u32::from).collect();
    let one = |h: u64, c: &u32| (h ^ u64::from(*c)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let hash = |run: &[u32]| mixed(run.iter().fold(0x243f_6a88_85a3_08d3, one));
    let mut out: Vec<u64> = if chars.len() <= k { vec![hash(&chars)] } else { chars.windows(k).map(hash).collect() };
    out.sort_unstable();
    out.dedup();
    out
}

/// The least value of each hash function over a set.
#[derive(Clone, Copy)]
pub struct Signature([u64; HASHES]);

impl Signature {
    /// Of a set.
    pub fn of(set: &[u64]) -> Self {
        pulp::Arch::new().dispatch(Least(set))
    }
}

/// [`Signature::of`] with the machine's best vector instructions; all give the same numbers.
struct Least<'a>(&'a [u64]);

impl pulp::NullaryFnOnce for Least<'_> {
    type Output = Signature;
    #[inline(always)]
    fn call(self) -> Signature {
        let mut least = [u64::MAX; HASHES];
        for &shingle in self.0 {
            for ((least, times), plus) in least.iter_mut().zip(FUNCTIONS.0).zip(FUNCTIONS.1) {
                *least = (*least).min(shingle.wrapping_mul(times).wrapping_add(plus));
            }
        }
        Signature(least)
    }
}

/// Keys of the bands of a set: equal keys make two texts candidates. `domain` keeps apart what is never compared.
pub fn bands(signature: &Signature, domain: u64) -> [u64; BANDS] {
    let mut out = [0; BANDS];
    for (band, (key, rows)) in (1u64..).zip(out.iter_mut().zip(signature.0.chunks_exact(ROWS))) {
        *key = rows.iter().fold(mixed(domain ^ band.wrapping_mul(0x9e37_79b9_7f4a_7c15)), |h, row| mixed(h ^ *row).wrapping_add(*row));
    }
    out
}

/// Whether the Jaccard similarity of two sorted sets is at least so many thousandths. Exact: in whole numbers.
pub fn is_near(a: &[u64], b: &[u64], permille: u32) -> bool {
    let (small, large) = if a.len() < b.len() { (a.len(), b.len()) } else { (b.len(), a.len()) };
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    // The most that the sizes allow.
    if wide(small) * 1000 < wide(large) * u64::from(permille) {
        return false;
    }
    let (mut i, mut j, mut common) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j, common) = (i + 1, j + 1, common + 1);
            }
        }
    }
    let union = a.len() + b.len() - common;
    wide(common) * 1000 >= wide(union) * u64::from(permille)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jaccard(a: &[u64], b: &[u64]) -> f64 {
        let common = a.iter().filter(|x| b.contains(x)).count();
        common as f64 / (a.len() + b.len() - common) as f64
    }

    #[test]
    fn shingles_are_runs_of_characters() {
        assert_eq!(shingles("验证码是一二", 4).len(), 3);
        assert_eq!(shingles("aaaaaaaa", 4).len(), 1);
        assert_eq!(shingles("ab", 4), shingles("ab", 3));
        assert_ne!(shingles("ab", 4), shingles("ba", 4));
    }

    /// With similarity 0.8 the chance to be compared is 1 - (1 - 0.8^4)^8 = 0.9853. Over 400 fixed pairs 394.1 +- 2.4; fixed sets, so no
    /// false alarm. At 0.3 it is 0.063: 25 of 400.
    #[test]
    fn similar_sets_meet_and_others_mostly_do_not() {
        let set = |from: u64, to: u64, salt: u64| {
            let mut s: Vec<u64> = (from..to).map(|n| mixed(n ^ (salt << 32))).collect();
            s.sort_unstable();
            s
        };
        let met = |common: u64, own: u64| {
            (0..400u64)
                .filter(|&salt| {
                    let (a, b) = (set(0, common + own, salt), [set(0, common, salt), set(9000, 9000 + own, salt)].concat());
                    let mut b = b;
                    b.sort_unstable();
                    bands(&Signature::of(&a), 7).iter().zip(bands(&Signature::of(&b), 7)).any(|(x, y)| *x == y)
                })
                .count()
        };
        let (near, far) = (met(160, 20), met(60, 70));
        assert!(near >= 385, "{near} of 400 pairs of similarity 0.8 met");
        assert!((5..=60).contains(&far), "{far} of 400 pairs of similarity 0.3 met");
    }

    #[test]
    fn domains_never_meet() {
        let set = Signature::of(&shingles("one and the same text", 4));
        assert!(bands(&set, 1).iter().zip(bands(&set, 2)).all(|(a, b)| *a != b));
        assert_eq!(bands(&set, 1), bands(&set, 1));
    }

    #[test]
    fn every_set_of_instructions_gives_the_same_signature() {
        let set = shingles("您的验证码是 1234, do not share it with anybody", 4);
        let plain = pulp::NullaryFnOnce::call(Least(&set));
        assert_eq!(plain.0, Signature::of(&set).0);
        assert_eq!(plain.0, pulp::Arch::Scalar.dispatch(Least(&set)).0);
    }

    proptest! {
        #[test]
        fn nearness_is_the_jaccard_similarity(a in prop::collection::btree_set(0u64..40, 1..30), b in prop::collection::btree_set(0u64..40, 1..30)) {
            let (a, b): (Vec<_>, Vec<_>) = (a.into_iter().collect(), b.into_iter().collect());
            let exact = jaccard(&a, &b);
            for permille in [500, 667, 800, 1000] {
                // Whole numbers decide ties; floats only where they are clear of one.
                if (exact - f64::from(permille) / 1000.0).abs() > 1e-9 {
                    prop_assert_eq!(is_near(&a, &b, permille), exact > f64::from(permille) / 1000.0);
                }
            }
            prop_assert!(is_near(&a, &a, 1000));
        }
    }
}
