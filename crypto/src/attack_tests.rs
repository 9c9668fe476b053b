//! Item 7 (i) of the required tests (crypto.md section 9, C9, C10): what opening a key sum of two honest clients tells about one of them.
//! In a toy ring, narrow or flat secrets and noises give the whole key away; the sampler in use gives no exact equation at all.

use crate::sampler::RoundSecret;
use crate::statistics_tests::SplitMix;
use protocol::params::RING_DIMENSION;

/// Dimension of the toy ring `Z[X]/(X^64 + 1)` modulo 2^64.
const N: usize = 64;
/// Noise field below the message, as the packing for (100, 8) has it.
const FIELD: u32 = 19;
/// Polynomials that a client seals: 262,144 coefficients.
const POLYNOMIALS: u64 = 4096;

type Toy = [i64; N];

/// Laws of secrets and noises. Only the last one exists outside this file.
#[derive(Clone, Copy, Debug)]
enum Law {
    /// 0 or 1.
    Binary,
    /// Uniform on -16..=16 with half the mass at both ends: TUniform(4).
    TUniform,
    /// The sampler in use, CBD(90).
    Coins,
}

impl Law {
    /// Smallest and largest value.
    fn ends(self) -> (i64, i64) {
        match self {
            Self::Binary => (0, 1),
            Self::TUniform => (-16, 16),
            Self::Coins => (-90, 90),
        }
    }

    /// Draw number `which` of client `client`.
    fn draw(self, client: u8, which: u64) -> Toy {
        let mut random = SplitMix(u64::from(client) << 56 | which);
        match self {
            Self::Binary => std::array::from_fn(|_| (random.next() & 1).cast_signed()),
            // Half of a value in 0..=31 drawn with a fair bit: both ends come half as often.
            Self::TUniform => std::array::from_fn(|_| ((random.next() & 31) + (random.next() & 1)).cast_signed() - 16),
            Self::Coins => {
                let per_polynomial = (RING_DIMENSION / N) as u64;
                let noise = RoundSecret::for_vector([client; 32]).noise(which / per_polynomial);
                let at = usize::try_from(which % per_polynomial).unwrap() * N;
                std::array::from_fn(|i| i64::from(noise[at + i]))
            }
        }
    }

    /// The value of both summands, where their sum leaves no choice.
    fn both(self, sum: i64) -> Option<i64> {
        let (low, high) = self.ends();
        [low, high].into_iter().find(|end| 2 * end == sum)
    }
}

/// Public mask polynomial j.
fn mask(j: u64) -> [u64; N] {
    let mut random = SplitMix(0xa5a5 << 40 | j);
    std::array::from_fn(|_| random.next())
}

/// What coefficient k of mask·s takes from s_i.
fn weight(mask: &[u64; N], k: usize, i: usize) -> u64 {
    if i <= k { mask[k - i] } else { mask[N + k - i].wrapping_neg() }
}

fn product(mask: &[u64; N], s: &Toy, k: usize) -> u64 {
    (0..N).fold(0, |sum, i| sum.wrapping_add(weight(mask, k, i).wrapping_mul(s[i].cast_unsigned())))
}

/// Body coefficient k of one client: product, noise, and a message above the noise field that nobody knows.
fn body(j: u64, k: usize, s: &Toy, e: &Toy, client: u8) -> u64 {
    let message = SplitMix(u64::from(client) << 48 | j << 8 | k as u64).next() << FIELD;
    product(&mask(j), s, k).wrapping_add(e[k].cast_unsigned()).wrapping_add(message)
}

/// Linear equations modulo 2^64 in echelon form; every kept row has an odd pivot, so it can be divided by.
struct Equations {
    unknowns: usize,
    rows: Vec<Option<(Vec<u64>, u64)>>,
}

/// 1/a modulo 2^64 for odd a, by Newton.
fn inverse(a: u64) -> u64 {
    (0..6).fold(a, |x, _| x.wrapping_mul(2u64.wrapping_sub(a.wrapping_mul(x))))
}

impl Equations {
    fn new(unknowns: usize) -> Self {
        Self { unknowns, rows: vec![None; unknowns] }
    }

    fn add(&mut self, mut row: Vec<u64>, mut right: u64) {
        for pivot in 0..self.unknowns {
            if let Some((known, value)) = &self.rows[pivot] {
                let times = row[pivot];
                row.iter_mut().zip(known).for_each(|(a, &b)| *a = a.wrapping_sub(times.wrapping_mul(b)));
                right = right.wrapping_sub(times.wrapping_mul(*value));
            } else if row[pivot] & 1 == 1 {
                let by = inverse(row[pivot]);
                row.iter_mut().for_each(|a| *a = a.wrapping_mul(by));
                self.rows[pivot] = Some((row, right.wrapping_mul(by)));
                return;
            }
        }
    }

    /// The solution modulo 2^[`FIELD`], lifted to small numbers, once there are enough equations.
    fn solve(&self) -> Option<Vec<i64>> {
        let rows: Vec<_> = self.rows.iter().map(Option::as_ref).collect::<Option<_>>()?;
        // A row may still hold unknowns in front of its pivot; what remains is solved column by column.
        let mut rows: Vec<(Vec<u64>, u64)> = rows.into_iter().cloned().collect();
        for pivot in 0..self.unknowns {
            let (row, right) = rows[pivot].clone();
            let by = inverse(row[pivot]);
            for (at, (other, value)) in rows.iter_mut().enumerate().filter(|(at, _)| *at != pivot) {
                let times = other[pivot].wrapping_mul(by);
                other.iter_mut().zip(&row).for_each(|(a, &b)| *a = a.wrapping_sub(times.wrapping_mul(b)));
                *value = value.wrapping_sub(times.wrapping_mul(right));
                debug_assert_ne!(at, pivot);
            }
        }
        let lift = |x: u64| (x << (64 - FIELD)).cast_signed() >> (64 - FIELD);
        Some(rows.iter().zip(0..).map(|((row, right), i): (_, usize)| lift(right.wrapping_mul(inverse(row[i])))).collect())
    }
}

/// What the attack found.
struct Outcome {
    /// Coefficients of the secret read off the key sum.
    known: usize,
    /// Exact equations from noise sums at an end.
    equations: usize,
    /// The first client's whole secret, if the equations suffice.
    secret: Option<Vec<i64>>,
    /// The truth.
    right: Toy,
}

/// Two honest clients, whose key sum S and noise sum E are opened. The attacker has bodies, masks, S and E.
fn attack(secrets: Law, noises: Law) -> Outcome {
    let (s1, s2) = (secrets.draw(1, 0), secrets.draw(2, 0));
    let read: Vec<Option<i64>> = (0..N).map(|i| secrets.both(s1[i] + s2[i])).collect();
    let open: Vec<usize> = (0..N).filter(|&i| read[i].is_none()).collect();
    let mut system = Equations::new(open.len());
    let mut equations = 0;
    for j in 0..POLYNOMIALS {
        let (e1, e2) = (noises.draw(1, j + 1), noises.draw(2, j + 1));
        for k in 0..N {
            let Some(e) = noises.both(e1[k] + e2[k]) else { continue };
            equations += 1;
            let a = mask(j);
            let mut right = body(j, k, &s1, &e1, 1).wrapping_sub(e.cast_unsigned());
            for (i, value) in read.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))) {
                right = right.wrapping_sub(weight(&a, k, i).wrapping_mul(value.cast_unsigned()));
            }
            system.add(open.iter().map(|&i| weight(&a, k, i)).collect(), right);
        }
    }
    let solved = system.solve().map(|found| {
        let mut found = found.into_iter();
        read.iter().map(|v| v.or_else(|| found.next()).unwrap()).collect()
    });
    Outcome { known: N - open.len(), equations, secret: solved, right: s1 }
}

#[test]
fn flat_noise_gives_the_whole_key_away_whatever_the_secret() {
    for secrets in [Law::Binary, Law::TUniform, Law::Coins] {
        let outcome = attack(secrets, Law::TUniform);
        // One noise sum in 2^11 is at an end: 128 of 262,144, each an equation; 64 unknowns at most.
        assert!((70..200).contains(&outcome.equations), "{secrets:?}: {} equations", outcome.equations);
        assert_eq!(outcome.secret.as_deref(), Some(outcome.right.as_slice()), "{secrets:?}");
    }
}

#[test]
fn half_of_a_binary_secret_is_read_off_the_key_sum() {
    let outcome = attack(Law::Binary, Law::Coins);
    // 64 fair coins: outside 12..=52 with probability below 1e-6.
    assert!((12..=52).contains(&outcome.known), "{} known", outcome.known);
    assert_eq!(outcome.equations, 0);
}

/// The same attack on what is in use: an end of the range has mass 2^-180, so nothing is read off and no equation is exact.
#[test]
fn the_sampler_in_use_gives_nothing_exact() {
    let outcome = attack(Law::Coins, Law::Coins);
    assert_eq!((outcome.known, outcome.equations, outcome.secret), (0, 0, None));
}
