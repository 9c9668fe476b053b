//! The rules of one run on scores whose law is known. Seeds are fixed; false-alarm rates are stated.

use super::*;
use crate::audit::tests::seeded_coins;
use crate::noise::{Noise, Sampler, SeededEntropy, StepContext, Stream};
use protocol::ids::ManifestDigest;
use protocol::plan::NoiseKind;

const DELTA: f64 = 1e-5;

/// The configuration of D70: everybody in every step, four steps, σ = 2.
fn claim() -> Claim {
    let phase = Phase { noise_multiplier: 2.0, sampling_rate: 1.0, steps: 4 };
    Claim { phase, epsilon: epsilon_of(phase, DELTA).unwrap(), delta: DELTA, reach: 1.0 }
}

/// What a program does: four steps with this noise, in hundredths of the sensitivity, `signal` for whoever is in, from a seed.
fn scores(coins: &Coins, noise: u64, signal: f64, seed: u64) -> Vec<f64> {
    let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 1 };
    let mut stream = Stream::<Noise>::open(&mut SeededEntropy::new(seed), &context).unwrap();
    // 2^20 grid steps in one sensitivity, and √4 for the steps, in units of 2^-10.
    let sampler = Sampler::of(NoiseKind::RoundedGaussian, (noise << 31) / 100);
    let noise = sampler.draw(&mut stream, coins.sides().len());
    noise.iter().zip(coins.sides()).map(|(n, side)| *n as f64 / 2f64.powi(20) + if *side { 4.0 * signal } else { 0.0 }).collect()
}

fn failing(report: &Report) -> Vec<&'static str> {
    report.checks.iter().filter(|c| c.fails()).map(|c| c.name).collect()
}

fn one(canaries: usize, noise: u64, signal: f64, seed: u64) -> Report {
    let coins = seeded_coins(canaries, seed);
    let scores = scores(&coins, noise, signal, seed);
    report(&claim(), &Outcome { scores: &scores, coins: &coins }).unwrap()
}

/// A right program is called a violation in at most 1.2e-3 of all runs: of 300, more than four would be a chance of 5e-5. Where the limits lie at four
/// deviations, two deviations are passed by 4.55 %: 14 of 300, and 5 deviations of that are 18; and the bound at 95 % lies above the truth in at most 5 %:
/// 15 of 300, and 5 deviations of that are 19.
#[test]
fn a_right_program_is_called_a_violation_as_rarely_as_is_said() {
    let claim = claim();
    let guesses = best_guesses(200, mu(&claim.phase), DELTA).unwrap();
    let (mut violations, mut beyond, mut above) = (0, [0; 2], 0);
    for seed in 1..=300 {
        let coins = seeded_coins(200, seed);
        let scores = scores(&coins, 200, 1.0, seed);
        let report = judge(&claim, &Outcome { scores: &scores, coins: &coins }, guesses).unwrap();
        assert!((report.false_alarm - 1.128e-3).abs() < 1e-9);
        violations += usize::from(report.verdict == crate::audit::Verdict::Violation);
        above += usize::from(report.epsilon_lower_95.unwrap() > claim.epsilon);
        for (count, c) in beyond.iter_mut().zip(&report.checks[..2]) {
            let middle = f64::midpoint(c.least, c.most);
            *count += usize::from((c.value - middle).abs() > (c.most - c.least) / 4.0);
        }
    }
    assert!(violations <= 4 && above <= 34, "{violations} violations, {above} bounds above the truth");
    assert!(beyond.iter().all(|n| (1..=32).contains(n)), "{beyond:?}");
}

#[test]
fn honest_scores_prove_something_and_less_than_the_claim() {
    let report = one(1000, 200, 1.0, 1);
    assert_eq!((failing(&report), report.level), (vec![], Level::OneRun), "{report:?}");
    let (lower, estimate) = (report.epsilon_lower_95.unwrap(), report.epsilon_estimate.unwrap());
    assert!((report.epsilon_claimed - 4.377_178).abs() < 1e-5 && lower > 0.2 && lower < report.epsilon_claimed, "{report:?}");
    assert!((estimate - report.epsilon_claimed).abs() < 1.5, "{estimate}");
    let guessed = report.guessed.unwrap();
    assert!(guessed.canaries == 1000 && guessed.correct <= guessed.guesses && guessed.guesses >= 50, "{guessed:?}");
}

/// D70: halved noise at the claim 4.377, by the noise that is seen; a thousand canaries and two hundred.
#[test]
fn halved_noise_is_a_violation_in_every_run() {
    for (seed, canaries) in [(1, 1000), (2, 1000), (3, 200), (4, 200), (5, 200)] {
        let report = one(canaries, 100, 1.0, seed);
        assert!(failing(&report).contains(&"noise in parts of the claim"), "{report:?}");
        assert!(report.epsilon_estimate.unwrap() > 7.5, "{report:?}");
    }
    assert_eq!(failing(&one(1000, 260, 1.0, 1)), ["noise in parts of the claim"], "other noise than is said, on the safe side");
}

/// A unit that moves the sum by more than its bound, and one that is in fewer steps than is said.
#[test]
fn a_bound_that_is_not_kept_and_a_rate_that_is_not_the_plans_are_seen() {
    assert_eq!(failing(&one(1000, 200, 1.5, 1)), ["signal in parts of the claim"]);
    assert_eq!(failing(&one(1000, 200, 0.5, 1)), ["signal in parts of the claim"]);
}

/// The counting bound stands by itself: noise far too small for the claim is proved without any law of the noise.
#[test]
fn guesses_alone_prove_that_there_is_hardly_any_noise() {
    let coins = seeded_coins(1000, 1);
    let scores = scores(&coins, 2, 1.0, 1);
    let phase = Phase { noise_multiplier: 16.0, ..claim().phase };
    let claim = Claim { phase, epsilon: epsilon_of(phase, DELTA).unwrap(), ..claim() };
    let report = report(&claim, &Outcome { scores: &scores, coins: &coins }).unwrap();
    assert!(failing(&report).contains(&"epsilon lower bound"), "{report:?}");
    assert_eq!(report.guessed.unwrap().correct, report.guessed.unwrap().guesses);
    assert!(report.epsilon_lower_95.unwrap() > 2.0 && report.epsilon_estimate.unwrap() > 1000.0, "{report:?}");
}

/// More distance never asks for more guesses, and what is expected of the best number is more than of all.
#[test]
fn the_number_of_guesses_follows_from_the_claim_alone() {
    for mu in [0.3, 1.0, 2.0] {
        let best = best_guesses(1000, mu, DELTA).unwrap();
        let bound = |guesses| expected(1000, guesses, mu).unwrap().epsilon_lower(DELTA, 0.05).unwrap();
        assert!((2..=1000).contains(&best) && bound(best) >= bound(1000), "{mu}: {best}");
    }
    assert!(expected(1000, 1000, 0.0).unwrap() == Guesses::new(1000, 1000, 500).unwrap());
    assert!(
        expected(1000, 100, 60.0).unwrap() == Guesses::new(1000, 100, 99).unwrap()
            || expected(1000, 100, 60.0).unwrap() == Guesses::new(1000, 100, 100).unwrap()
    );
}

#[test]
fn what_cannot_be_judged_is_told() {
    let coins = seeded_coins(100, 1);
    let told = |scores: &[f64], coins: &Coins| report(&claim(), &Outcome { scores, coins }).unwrap_err();
    assert_eq!(told(&[0.0; 99], &coins), AuditError::Coins { scores: 99, coins: 100, least: 10 });
    assert!(matches!(told(&[0.0; 8], &seeded_coins(8, 1)), AuditError::Coins { .. }));
    assert!(matches!(told(&[], &seeded_coins(0, 1)), AuditError::Coins { .. } | AuditError::Bounds(_)));
    let report = report(&claim(), &Outcome { scores: &[f64::NAN; 100], coins: &coins }).unwrap();
    assert_eq!(report.verdict, crate::audit::Verdict::Violation, "what is no number is no proof of privacy");
}
