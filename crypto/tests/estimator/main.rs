//! Item 6 of the required tests (crypto.md C5, C8): what attacking the parameter set costs, recomputed, and the entry of every number in it.
//!
//! The cost is core-SVP of the primal attack: the smallest block size β for which BKZ-β finds the unusually short vector by the usual
//! success condition √β·σ <= δ^(2β - d - 1)·Vol^(1/d) (Alkim, Ducas, Pöppelmann, Schwabe 2016; Albrecht, Göpfert, Virdia, Wunderer 2017),
//! the best number of samples taken, one BKZ block at 2^0.292β classically and 2^0.265β on a quantum computer. Secrets narrower than the
//! noise are scaled to it (Bai, Galbraith 2014). The same attacks in gates, at MATZOV's prices: [`matzov`].

mod matzov;

use protocol::params::{CBD_BOUND, PS_A, RING_DIMENSION, SHARE_PRIME};
use std::f64::consts::{E, PI};

/// An LWE problem: `n` unknowns modulo 2^`q_bits`, deviations of secret and noise, as many samples as unknowns.
struct Lwe {
    n: u32,
    q_bits: f64,
    secret: f64,
    noise: f64,
}

/// Bits of work.
#[derive(Debug)]
struct Cost {
    beta: u32,
    classical: f64,
    quantum: f64,
}

/// log2 of the root Hermite factor of BKZ-β.
fn log_delta(beta: u32) -> f64 {
    let b = f64::from(beta);
    ((PI * b).powf(1.0 / b) * b / (2.0 * PI * E)).log2() / (2.0 * (b - 1.0))
}

impl Lwe {
    /// Whether BKZ-β solves it for some number of samples.
    fn solved_by(&self, beta: u32) -> bool {
        let (n, b) = (f64::from(self.n), f64::from(beta));
        let short = b.log2() / 2.0 + self.noise.log2();
        let scale = n * (self.noise / self.secret).log2();
        (self.n / 8..3 * self.n).step_by(8).any(|m| {
            let d = f64::from(m) + n + 1.0;
            short <= (2.0 * b - d - 1.0) * log_delta(beta) + (f64::from(m) * self.q_bits + scale) / d
        })
    }

    fn cost(&self) -> Cost {
        // Monotone: what a block size solves, a larger one solves too.
        let (mut fails, mut solves) = (50u32, 4096);
        while solves - fails > 1 {
            let middle = fails.midpoint(solves);
            if self.solved_by(middle) { solves = middle } else { fails = middle }
        }
        Cost { beta: solves, classical: 0.292 * f64::from(solves), quantum: 0.265 * f64::from(solves) }
    }
}

/// Centred sum of 2k coins: variance k/2.
fn cbd(k: f64) -> f64 {
    (k / 2.0).sqrt()
}

/// TUniform(b): uniform on -2^b..=2^b with half the mass at both ends.
fn t_uniform(b: i32) -> f64 {
    ((2f64.powi(2 * b + 1) + 1.0) / 6.0).sqrt()
}

/// Dimension of PS-A as the estimator takes it.
fn dimension() -> u32 {
    u32::try_from(RING_DIMENSION).expect("the dimension is small")
}

/// C10: after the hint, secret and noise are CBD(11) of an attacker who knows the rest.
fn after_the_hint() -> Lwe {
    Lwe { n: dimension(), q_bits: 64.0, secret: cbd(11.0), noise: cbd(11.0) }
}

#[test]
fn the_parameter_set_after_the_hint_costs_what_the_law_asks() {
    let (cost, gates) = (after_the_hint().cost(), after_the_hint().gates());
    assert!(cost.quantum >= 128.0, "{cost:?}");
    assert!(cost.beta.abs_diff(702) <= 4, "{cost:?}");
    assert!(gates.log >= 192.0, "{gates:?}");
}

/// The table of C8, MATZOV column, within one bit; and the known order of the attacks on our set: decoding, short vector, dual.
#[test]
fn the_table_of_gates_is_what_the_estimate_gives() {
    let narrow = |deviation| Lwe { n: dimension(), q_bits: 64.0, secret: deviation, noise: deviation };
    let binary = |n, noise| Lwe { n, q_bits: 64.0, secret: 0.5, noise };
    let rows = [
        ("CBD(11)", after_the_hint(), 229.0),
        ("CBD(22)", narrow(cbd(22.0)), 233.0),
        ("normal 3.35", narrow(3.35), 233.0),
        ("binary, TUniform(17), key sum of two opened", binary(1024, t_uniform(17)), 68.0),
        ("binary 4096, normal 3.2, key sum of two opened", binary(2048, 3.2), 104.0),
    ];
    for (name, problem, figure) in rows {
        let gates = problem.gates();
        assert!((gates.log - figure).abs() <= 1.0, "{name}: {gates:?}");
    }
    // For a binary secret of full dimension the tool finds 134.8 by guessing a part of it, which is not modelled here.
    let published = binary(2048, t_uniform(17)).gates();
    assert!((134.8..137.0).contains(&published.log), "{published:?}");
    let ours = after_the_hint();
    let [decoding, short, dual] = [ours.decoding(), ours.short_vector(), ours.dual()].map(|g| g.log);
    assert!(decoding < short && short < dual, "{decoding} {short} {dual}");
}

/// Prices and attacks against what the tool's own documentation prints for Kyber-512: 2^143.8 by the short vector with block size 406, and
/// 2^140.3 by decoding.
#[test]
fn kyber_512_costs_what_is_published() {
    let kyber = Lwe { n: 512, q_bits: 3329f64.log2(), secret: cbd(3.0), noise: cbd(3.0) };
    let (short, decoding) = (kyber.short_vector(), kyber.decoding());
    assert!((short.log - 143.8).abs() < 0.1 && short.beta == 406, "{short:?}");
    assert!((decoding.log - 140.3).abs() < 0.5, "{decoding:?}");
}

/// The table of C8, core-SVP columns, within two bits. A published binary set loses most of its security when two honest clients' key sum
/// is opened: half of the secret is known, so the dimension halves.
#[test]
fn the_table_of_costs_is_what_the_estimate_gives() {
    let binary = |n, noise| Lwe { n, q_bits: 64.0, secret: 0.5, noise };
    let narrow = |deviation| Lwe { n: dimension(), q_bits: 64.0, secret: deviation, noise: deviation };
    let rows = [
        ("CBD(11)", after_the_hint(), 205.0, 186.0),
        ("CBD(22)", narrow(cbd(22.0)), 209.0, 190.0),
        ("normal 3.35", narrow(3.35), 209.0, 190.0),
        ("binary, TUniform(17)", binary(2048, t_uniform(17)), 109.0, 99.0),
        ("the same, key sum of two opened", binary(1024, t_uniform(17)), 38.0, 34.0),
        ("binary 4096, normal 3.2, key sum of two opened", binary(2048, 3.2), 75.0, 68.0),
    ];
    for (name, problem, classical, quantum) in rows {
        let cost = problem.cost();
        assert!((cost.classical - classical).abs() <= 2.0 && (cost.quantum - quantum).abs() <= 2.0, "{name}: {cost:?}");
    }
}

/// The estimate can fail: what C8 calls too weak is below the law, and each step down in dimension or noise costs bits.
#[test]
fn weaker_sets_do_not_meet_the_law() {
    let half = Lwe { n: 2048, ..after_the_hint() };
    assert!(half.cost().quantum < 128.0);
    // C8: the larger modulus that is not offered, 95 bits.
    let wide = Lwe { q_bits: 104.0, ..after_the_hint() };
    assert!((wide.cost().quantum - 95.0).abs() <= 2.0, "{:?}", wide.cost());
    let quiet = Lwe { noise: cbd(1.0), secret: cbd(1.0), ..after_the_hint() };
    assert!(quiet.cost().quantum < after_the_hint().cost().quantum - 5.0);
    assert!(half.gates().log < 192.0 && wide.gates().log < 192.0, "{:?} {:?}", half.gates(), wide.gates());
    assert!(quiet.gates().log < after_the_hint().gates().log - 5.0);
}

/// What was estimated, with which tool, and what came out; [`the_table_of_gates_is_what_the_estimate_gives`] comes to the same figure by
/// itself. The entry stands next to the numbers that it is about.
struct Entry {
    parameter_set: u8,
    dimension: usize,
    q_bits: u32,
    half_coins: i64,
    share_prime: u32,
    /// Commit of lattice-estimator.
    estimator: &'static str,
    /// CBD(k) left to the attacker after the hint (C10).
    after_hint: f64,
    /// log2 of the cheapest classical attack, MATZOV cost, dual attacks included.
    matzov: f64,
}

const ENTRIES: [Entry; 1] = [Entry {
    parameter_set: 1,
    dimension: 4096,
    q_bits: 64,
    half_coins: 90,
    share_prime: 0x7fff_ffff,
    estimator: "27a581b",
    after_hint: 11.0,
    matzov: 229.0,
}];

/// Any change of a parameter fails here until it was estimated anew and entered.
#[test]
fn the_parameters_in_use_are_those_of_an_entry() {
    let entry = ENTRIES.iter().find(|e| e.parameter_set == PS_A).expect("the parameter set has an entry");
    let in_use = (RING_DIMENSION, u64::BITS, CBD_BOUND, SHARE_PRIME);
    assert_eq!(in_use, (entry.dimension, entry.q_bits, entry.half_coins, entry.share_prime), "estimate anew and enter the result");
    assert_eq!(size_of::<crypto::Polynomial>(), entry.dimension * usize::try_from(entry.q_bits).unwrap() / 8);
    assert_eq!((entry.estimator.len(), entry.after_hint.to_bits()), (7, 11f64.to_bits()));
    assert!(entry.matzov >= 192.0, "the law of C5");
    let gates = after_the_hint().gates();
    assert!((entry.matzov - gates.log).abs() <= 1.0, "entered {}, recomputed {gates:?}", entry.matzov);
}
