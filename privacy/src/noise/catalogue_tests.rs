//! The bug catalogue (privacy.md section 9) where it is about noise that goes through the whole mechanism. Fixed seeds; every statistical
//! test states how often a right mechanism would fail it.

use super::*;
use crate::bound::{Block, NoisedSum, UnitSum};
use crate::delta::{Delta, PrivateDelta, Quantiser as DeltaQuantiser};
use crate::ledger::Paid;
use crate::mechanism::tests::{mechanism, plan};
use crate::mechanism::{Mechanism, MechanismError};
use crate::sample::poisson_sample;
use protocol::ids::{ManifestDigest, ShardId};

const MANIFEST: ManifestDigest = ManifestDigest([8; 32]);

/// The sum with the noise of reservation `counter`, drawn with the entropy of `client`.
fn noised(sum: UnitSum, m: &Mechanism, client: u64, counter: u64) -> Vec<i64> {
    let step = Paid::for_test(m, MANIFEST, counter, 1).next_step().unwrap();
    let mut stream = Stream::open(&mut SeededEntropy::new(client), &step.context()).unwrap();
    sum.noised(step, m, &mut stream).unwrap().values().to_vec()
}

fn sum_of(m: &Mechanism, units: &[Vec<f32>]) -> UnitSum {
    let mut sum = UnitSum::new(m);
    for values in units {
        sum.add_unit(&[Block { offset: 0, values }]);
    }
    sum
}

fn unit(n: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + n * 3) % 11) as f32 - 5.0).collect()
}

/// Σ(z/s)²/n of a normal sample lies within five standard deviations of 1: false alarm 6e-7. Rounding adds 1/12s² (here below 1e-6).
fn has_deviation(name: &str, values: &[i64], s: f64) {
    let n = values.len() as f64;
    let square = values.iter().map(|&z| (z as f64 / s).powi(2)).sum::<f64>() / n;
    assert!((square - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{name}: {square}");
}

/// B7: no batch size, rate or declared size scales the noise. It is the sampler's draw at sigma_grid, whatever was summed.
#[test]
fn noise_on_the_sum_is_the_same_whatever_was_summed_and_whatever_it_is_divided_by() {
    let first = mechanism("1", "0.5", 16, 4000);
    let expected = {
        let context = StepContext { manifest: MANIFEST, ledger_counter: 3, step: 0 };
        first.sampler().draw(&mut Stream::open(&mut SeededEntropy::new(1), &context).unwrap(), 4000)
    };
    has_deviation("sum", &expected, 65_536.0);
    let units: Vec<Vec<f32>> = (0..50).map(|n| unit(n, 4000)).collect();
    for (rate, declared) in [("0.5", 1000u64), ("0.001", 1000), ("1", 10), ("0.5", 100_000)] {
        let mut small = plan("1", rate, 16);
        small.delta = "0.000001".parse().unwrap();
        let m = Mechanism::new(&small, 4000, declared).unwrap();
        assert_eq!(noised(UnitSum::new(&m), &m, 1, 3), expected, "q {rate}, {declared} units");
        for count in [1, 50] {
            let (loud, quiet) = (noised(sum_of(&m, &units[..count]), &m, 1, 3), noised(sum_of(&m, &units[..count]), &m, 2, 3));
            let (noise, other) = (minus(&loud, &expected), minus(&quiet, &noised(UnitSum::new(&m), &m, 2, 3)));
            assert_eq!(noise, other, "what is left is the data, whatever the noise");
        }
    }
}

fn minus(a: &[i64], b: &[i64]) -> Vec<i64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

/// B8: micro-batches and devices sum in parts; the noise is one draw on the whole.
#[test]
fn noise_is_one_draw_however_the_sum_was_split() {
    let m = mechanism("1", "0.5", 16, 300);
    let units: Vec<Vec<f32>> = (0..30).map(|n| unit(n, 300)).collect();
    let whole = noised(sum_of(&m, &units), &m, 1, 1);
    for part in [1usize, 4, 7, 29] {
        let mut sum = UnitSum::new(&m);
        units.chunks(part).for_each(|chunk| sum.merge(&sum_of(&m, chunk)).unwrap());
        assert_eq!(noised(sum, &m, 1, 1), whole, "parts of {part}");
    }
}

/// B8: nobody relies on the others' noise. Three clients' messages each have the whole variance, and their sum three times that.
#[test]
fn each_clients_message_alone_has_its_whole_variance() {
    let m = mechanism("0.7", "0.5", 16, 20_000);
    let messages: Vec<Vec<i64>> = (1..=3).map(|client| noised(UnitSum::new(&m), &m, client, 5)).collect();
    messages.iter().for_each(|v| has_deviation("one client", v, m.sigma_grid()));
    let sum: Vec<i64> = (0..20_000).map(|i| messages.iter().map(|v| v[i]).sum()).collect();
    has_deviation("three clients", &sum, m.sigma_grid() * 3f64.sqrt());
}

/// B9: noised coordinates = d, and each tensor has the variance, also those that no unit ever touched.
#[test]
fn every_tensor_is_noised_with_the_same_variance() {
    let tensors = [2000usize, 500, 3000, 1500];
    let m = mechanism("1", "0.5", 16, 7000);
    let mut sum = UnitSum::new(&m);
    let touched = unit(1, tensors[0]);
    (0..20).for_each(|_| {
        sum.add_unit(&[Block { offset: 0, values: &touched }]);
    });
    let clean = minus(&noised(sum_of(&m, &vec![touched.clone(); 20]), &m, 9, 1), &noised(UnitSum::new(&m), &m, 9, 1));
    let noise = minus(&noised(sum, &m, 1, 1), &clean);
    assert_eq!(noise.len(), 7000);
    let mut at = 0;
    for len in tensors {
        has_deviation("tensor", &noise[at..at + len], m.sigma_grid());
        // A coordinate is 0 about once in 164,000.
        assert!(noise[at..at + len].iter().filter(|z| **z == 0).count() <= 5);
        at += len;
    }
}

/// B4: nobody is drawn, the step is noised all the same, its payment is used up, and what is sent is noise.
#[test]
fn a_round_of_empty_samples_is_paid_noised_and_sent() {
    let m = mechanism("1", "0.000000000001", 16, 1000);
    let mut paid = Paid::for_test(&m, MANIFEST, 4, 2);
    let mut weights = vec![0f32; 1000];
    while let Some(step) = paid.next_step() {
        let context = step.context();
        let drawn = poisson_sample(&mut Stream::open(&mut SeededEntropy::new(1), &context).unwrap(), m.sampling_rate(), 1000);
        assert!(drawn.is_empty());
        let mut stream = Stream::open(&mut SeededEntropy::new(2), &context).unwrap();
        let gradient = UnitSum::new(&m).noised(step, &m, &mut stream).unwrap().mean_gradient(&m);
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w += g * 1e-12);
    }
    assert_eq!(paid.spend().steps, 2);
    let delta = Delta::new(vec![(ShardId(0), weights)], paid.finish().unwrap());
    let quantiser = DeltaQuantiser::new(&[(ShardId(0), 1000, -14, 24)]).unwrap();
    let context = StepContext { manifest: MANIFEST, ledger_counter: 4, step: 2 };
    let message = delta.bound(&quantiser, &mut Stream::open(&mut SeededEntropy::new(3), &context).unwrap()).unwrap().privatize_local();
    let sent: Vec<i64> = message.shards().flat_map(|(_, v)| v.iter().map(|&x| i64::from(x)).collect::<Vec<_>>()).collect();
    // Two steps of deviation 1/B̄, with B̄ = 1e-9, times 1e-12, in steps of 2^-14.
    has_deviation("message", &sent, 2f64.sqrt() * 1e-3 * 16_384.0);
}

/// B17: there is no noise without fresh entropy, and fresh entropy is asked for at every step.
#[test]
fn every_stream_asks_for_fresh_bytes() {
    struct Counted(usize);
    impl EntropySource for Counted {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
            self.0 += out.len();
            out.fill(self.0.to_le_bytes()[0]);
            Ok(())
        }
    }
    let (mut entropy, m) = (Counted(0), mechanism("1", "0.5", 16, 8));
    let mut paid = Paid::for_test(&m, MANIFEST, 1, 3);
    let mut seen = Vec::new();
    while let Some(step) = paid.next_step() {
        let mut stream = Stream::open(&mut entropy, &step.context()).unwrap();
        seen.push(UnitSum::new(&m).noised(step, &m, &mut stream).unwrap().values().to_vec());
    }
    assert_eq!(entropy.0, 3 * 64);
    assert!(seen[0] != seen[1] && seen[0] != seen[2] && seen[1] != seen[2]);
}

/// B20: from the grid to the message there are integers. Another type does not compile here.
#[test]
fn what_carries_noise_is_integers() {
    let _: fn(&NoisedSum) -> &[i64] = NoisedSum::values;
    fn integers(delta: &PrivateDelta) -> impl Iterator<Item = (ShardId, &[i32])> {
        delta.shards()
    }
    let _ = integers;
    let m = mechanism("1", "0.5", 8, 64);
    assert!(noised(UnitSum::new(&m), &m, 1, 1).iter().any(|z| *z != 0));
}

/// B21: the finest grid, the largest coordinate, as many units as may be declared, the widest noise: below 2^62, nothing wraps (a debug
/// build panics on overflow). Beyond these numbers there is no mechanism.
#[test]
fn the_largest_sum_that_a_plan_allows_does_not_overflow() {
    let mut extreme = plan("65536", "1", 24);
    (extreme.clip_function, extreme.delta) = (protocol::plan::ClipFunction::Flat, "0.000000000001".parse().unwrap());
    let m = Mechanism::new(&extreme, 1, 1 << 36).unwrap();
    assert_eq!(m.executed().sigma_grid_1024, 1 << 50);
    let mut sum = UnitSum::new(&m);
    sum.add_unit(&[Block { offset: 0, values: &[f32::MAX] }]);
    for _ in 0..36 {
        let mut twin = UnitSum::new(&m);
        twin.merge(&sum).unwrap();
        sum.merge(&twin).unwrap();
    }
    let value = noised(sum, &m, 1, 1)[0];
    let noise = noised(UnitSum::new(&m), &m, 1, 1)[0];
    assert!((1 << 60) - (1 << 36) <= value - noise && value - noise <= 1 << 60, "2^36 units of 2^24, less half a step each");
    assert!(noise.unsigned_abs() < 1 << 44 && value < 1 << 62);
    assert_eq!(Mechanism::new(&extreme, 1, (1 << 36) + 1).unwrap_err(), MechanismError::DeclaredUnits((1 << 36) + 1));
    extreme.noise_multiplier = "65537".parse().unwrap();
    assert!(matches!(Mechanism::new(&extreme, 1, 10), Err(MechanismError::NoiseMultiplier(_))));
    (extreme.noise_multiplier, extreme.grid_bits) = ("1".parse().unwrap(), 25);
    assert_eq!(Mechanism::new(&extreme, 1, 10).unwrap_err(), MechanismError::GridBits(25));
}

/// D23: a plan that asks for the discrete Gaussian gets it, whole and for itself, and a payment for the one law does not buy the other (B25).
#[test]
fn the_plans_law_is_the_one_that_is_drawn() {
    let mut p = plan("1", "1", 8);
    let rounded = Mechanism::new(&p, 20_000, 1000).unwrap();
    p.noise = protocol::plan::NoiseKind::DiscreteGaussian;
    let discrete = Mechanism::new(&p, 20_000, 1000).unwrap();
    let drawn = noised(UnitSum::new(&discrete), &discrete, 1, 1);
    has_deviation("discrete", &drawn, 256.0);
    let context = StepContext { manifest: MANIFEST, ledger_counter: 1, step: 0 };
    let direct = Sampler::of(p.noise, 256 << 10).draw(&mut Stream::open(&mut SeededEntropy::new(1), &context).unwrap(), 20_000);
    assert_eq!(drawn, direct);
    let step = Paid::for_test(&rounded, MANIFEST, 1, 1).next_step().unwrap();
    let mut stream = Stream::open(&mut SeededEntropy::new(1), &step.context()).unwrap();
    assert!(UnitSum::new(&discrete).noised(step, &discrete, &mut stream).is_err());
}
