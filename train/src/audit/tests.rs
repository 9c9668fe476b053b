//! Whole audits on a small model: a right program is consistent, halved noise and a false claim are not. Seeds are fixed.

use super::*;
use crate::batch::{Record, UnitExamples};
use crate::testing::{data, decimal, plan, small_config};
use privacy::audit::Verdict;
use privacy::ledger::Paid;
use privacy::noise::SeededEntropy;
use protocol::ids::ManifestDigest;
use protocol::plan::{Accumulate, ClipPath, EncoderConfig, Rounding};
use std::num::NonZeroUsize;

fn workers() -> Workers {
    Workers::start(NonZeroUsize::new(2).unwrap()).unwrap()
}

/// The configuration of D70, and enough rows of the token table for the canaries.
fn audit_plan(noise_multiplier: &str, sampling_rate: &str, steps: u32) -> Plan {
    let mut plan = plan(EncoderConfig { vocab: 160, ..small_config() }, steps, noise_multiplier, sampling_rate);
    plan.privacy.epsilon_cap = decimal("45");
    plan
}

fn failing(report: &privacy::audit::Report) -> Vec<&'static str> {
    report.checks.iter().filter(|c| c.fails()).map(|c| c.name).collect()
}

fn run_once(plan: &Plan, executed: &str, claimed: &str, canaries: usize, seed: u64) -> CanaryRun {
    let (data, workers) = (data(12), workers());
    let audited = Audited { plan, executed: decimal(executed), claimed: decimal(claimed), data: &data, workers: &workers, start: None };
    one_run(&audited, canaries, &mut SeededEntropy::new(seed), &mut |_| ()).unwrap()
}

/// Sampling, clipping, grid, paid noise, in the loop that trains. False alarm 1.2e-3 for each of six runs; their seeds are fixed.
#[test]
fn an_honest_run_is_consistent_in_the_audit_configuration_and_in_a_sampled_one() {
    for seed in 1..=3 {
        let report = run_once(&audit_plan("2", "1", 4), "2", "2", 1000, seed).report;
        assert_eq!((report.verdict, failing(&report)), (Verdict::Consistent, vec![]), "{report:?}");
        assert!((report.epsilon_claimed - 4.377_18).abs() < 2e-5 && report.trials == 4 && report.false_alarm < 1.2e-3, "{report:?}");
        assert!(report.epsilon_lower_95.unwrap() < report.epsilon_claimed);
        let sampled = run_once(&audit_plan("0.8", "0.3", 12), "0.8", "0.8", 600, seed).report;
        assert_eq!((sampled.verdict, failing(&sampled)), (Verdict::Consistent, vec![]), "{sampled:?}");
    }
}

/// D70, L2: halved noise at the claim 4.377.
#[test]
fn halved_noise_in_one_run_is_a_violation() {
    for (seed, canaries) in [(1, 1000), (2, 200)] {
        let report = run_once(&audit_plan("2", "1", 4), "1", "2", canaries, seed).report;
        assert_eq!(report.verdict, Verdict::Violation, "{report:?}");
        assert!(failing(&report).contains(&"noise in parts of the claim"), "{report:?}");
        assert!(report.epsilon_estimate.unwrap() > 7.5, "{report:?}");
    }
    let sampled = run_once(&audit_plan("1", "0.3", 12), "0.5", "1", 600, 1).report;
    assert!(failing(&sampled).contains(&"noise in parts of the claim"), "{sampled:?}");
}

/// The audited program is wrong about itself: wherever it makes a mechanism, also the claimed one, it draws half the noise and accounts for
/// all of it. On both paths; seeds are fixed.
#[test]
fn a_mechanism_that_is_wrong_about_itself_is_caught_in_one_run() {
    let hands = payment::Means {
        make: |plan, units| Ok(Mechanism::of_plan(plan, units)?.with_half_its_noise_for_test()),
        pay: |plan, m, _| Ok(Paid::for_test(m, ManifestDigest([0; 32]), 1, u64::from(plan.local.steps))),
    };
    let sums = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered };
    for path in [ClipPath::Exact, sums] {
        let (mut plan, data, workers) = (audit_plan("2", "1", 4), data(12), workers());
        plan.privacy.path = path;
        let two = decimal("2");
        let audited = Audited { plan: &plan, executed: two, claimed: two, data: &data, workers: &workers, start: None };
        let run = |hands| canaries::one_run_with(&audited, hands, 400, &mut SeededEntropy::new(1), &mut |_| ()).unwrap().report;
        let (honest, halved) = (run(payment::REAL), run(hands));
        assert_eq!((honest.verdict, failing(&honest)), (Verdict::Consistent, vec![]), "{path:?}: {honest:?}");
        assert_eq!(halved.verdict, Verdict::Violation, "{path:?}: {halved:?}");
        assert!(failing(&halved).contains(&"noise in parts of the claim"), "{halved:?}");
        assert!((halved.epsilon_claimed - honest.epsilon_claimed).abs() < 1e-12, "the mutant leaves the account");
        assert!(halved.epsilon_estimate.unwrap() > 7.5, "{halved:?}");
    }
}

/// The commitment is told before a step is taken and opens to the coins; every step is told.
#[test]
fn coins_are_committed_to_before_anything_is_trained() {
    let (plan, data, workers) = (audit_plan("2", "1", 4), data(5), workers());
    let audited = Audited { plan: &plan, executed: decimal("2"), claimed: decimal("2"), data: &data, workers: &workers, start: None };
    let mut stages = Vec::new();
    let run = one_run(&audited, 100, &mut SeededEntropy::new(4), &mut |s| stages.push(s)).unwrap();
    let steps = (1..=4).map(|done| Stage::Steps { done, all: 4 });
    assert_eq!(stages, std::iter::once(Stage::Committed(run.coins.commitment())).chain(steps).collect::<Vec<_>>());
    assert_eq!(run.report.seed_commitment, Some(run.coins.commitment()));
}

/// Rounds of several steps are one run of all of them, so the claim is that of the whole schedule.
#[test]
fn all_rounds_of_a_plan_are_audited_as_one() {
    let mut plan = audit_plan("2", "1", 2);
    plan.rounds = 2;
    let report = run_once(&plan, "2", "2", 100, 5).report;
    assert!((report.epsilon_claimed - 4.377_18).abs() < 2e-5 && report.trials == 4, "{report:?}");
}

#[test]
fn too_many_canaries_for_the_vocabulary_are_told() {
    let (plan, data, workers) = (audit_plan("2", "1", 4), data(5), workers());
    let audited = Audited { plan: &plan, executed: decimal("2"), claimed: decimal("2"), data: &data, workers: &workers, start: None };
    let told = one_run(&audited, 2000, &mut SeededEntropy::new(4), &mut |_| ()).err().unwrap();
    assert!(matches!(told, AuditRunError::Directions { wanted: 2000, there } if there < 1280 && there > 1000), "{told}");
}

#[test]
fn hardly_any_noise_is_refused_at_once() {
    let (plan, data, workers) = (audit_plan("2", "1", 4), data(5), workers());
    let audited = Audited { plan: &plan, executed: decimal("0.001"), claimed: decimal("2"), data: &data, workers: &workers, start: None };
    let told = one_run(&audited, 100, &mut SeededEntropy::new(4), &mut |_| ()).err().unwrap();
    assert!(matches!(told, AuditRunError::TooLittle(_)), "{told}");
    let none = Audited { executed: decimal("0"), ..audited };
    assert!(matches!(one_run(&none, 100, &mut SeededEntropy::new(4), &mut |_| ()).err().unwrap(), AuditRunError::TooLittle(_)));
}

/// Units of random tokens and random classes: nothing can be learnt about them but by heart.
fn by_heart(units: u32) -> Dataset {
    let mut state = 1u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let unit =
        |_| UnitExamples { records: vec![Record { tokens: (0..8).map(|_| 3 + next(997)).collect(), class: next(3), labels: Vec::new() }] };
    Dataset { units: (0..units).map(unit).collect() }
}

fn told(executed: &str, claimed: &str, seed: u64) -> MembershipRun {
    let mut plan = plan(EncoderConfig { vocab: 1000, ..small_config() }, 40, claimed, "0.5");
    (plan.privacy.epsilon_cap, plan.local.learning_rate) = (decimal("45"), decimal("0.005"));
    let (data, workers) = (by_heart(120), workers());
    let audited =
        Audited { plan: &plan, executed: decimal(executed), claimed: decimal(claimed), data: &data, workers: &workers, start: None };
    let mut last = None;
    let how = Membership { shadows: 4, planted: 8 };
    let run = membership(&audited, how, &mut SeededEntropy::new(seed), &mut |s| last = Some(s)).unwrap();
    assert_eq!(last, Some(Stage::Steps { done: 5 * 40, all: 5 * 40 }));
    assert_eq!(run.exposed.len(), 8);
    run
}

/// D70, L3: less than a hundredth of the noise lets the model learn its units by heart, which a claim does not allow.
#[test]
fn a_model_that_learns_by_heart_contradicts_its_claim() {
    let run = told("0.9", "100", 1);
    let (report, points) = (&run.membership.report, run.membership.points);
    assert_eq!(report.verdict, Verdict::Violation, "{report:?} {points:?} {:?}", run.exposed);
    assert!(report.epsilon_lower_95.unwrap() > report.epsilon_claimed, "{report:?}");
    assert!(run.exposed.iter().all(|e| (0.0..=10.0).contains(&e.bits)), "{:?}", run.exposed);
}

/// False alarm 1e-3.
#[test]
fn a_model_with_its_noise_is_consistent() {
    let run = told("4", "4", 2);
    let report = &run.membership.report;
    assert_eq!((report.verdict, failing(report)), (Verdict::Consistent, vec![]), "{report:?}");
    assert!(report.guessed.unwrap().canaries == 128 && report.trials == 40);
    assert!(run.membership.points.iter().all(|p| p.true_positives.low <= p.ceiling), "{:?}", run.membership.points);
}
