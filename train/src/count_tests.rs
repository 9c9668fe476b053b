//! Counting through the real mechanism, with payments that no ledger made and sums that no cipher carried.

use super::*;
use crate::testing::{decimal, plan, small_config};
use corpus::UnitCap;
use corpus::columns::Wanted;
use corpus::read::ReadOptions;
use privacy::noise::SeededEntropy;
use proptest::prelude::*;
use protocol::ids::{GroupId, ManifestDigest, ShardId};
use protocol::plan::{ClipFunction, EncoderConfig, GroupPlan, Joint, LocalTraining, Mode, PlanError, ShardSpec, TensorSpec};

/// Institutions of a sum.
const SITES: u32 = 3;

fn counting(what: Counted, limbs: u8, bits: u8, values: u32, clip: &str) -> Plan {
    let mut p = plan(small_config(), 1, "0.01", "1");
    p.model = EncoderConfig::none();
    p.local = LocalTraining::none();
    (p.privacy.clip, p.privacy.clip_function, p.privacy.grid_bits) = (decimal(clip), ClipFunction::Flat, 14);
    let tensors = vec![TensorSpec { name: "counts".into(), shape: vec![values * u32::from(limbs)] }];
    p.shards = vec![ShardSpec { id: ShardId(0), tensors, step_exponent: -14 }];
    p.groups = vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits }];
    p.rounds = if matches!(what, Counted::Words { .. }) { 4 } else { 1 };
    p.count = Some(Count { limbs, what });
    p.check().unwrap();
    p
}

fn statistics() -> Plan {
    let queries = vec![
        plan::Query::Moments { column: "amount".into(), low: "-10".parse().unwrap(), high: "90".parse().unwrap() },
        plan::Query::Thresholds { column: "characters(text)".into(), cuts: vec!["4".parse().unwrap(), "6".parse().unwrap()] },
        plan::Query::Labels { column: "label".into(), labels: vec!["a".into(), "b".into()] },
    ];
    let bound = layout(&queries, 4).unwrap().bound().to_string();
    counting(Counted::Statistics { queries }, 3, 16, 9, &bound)
}

fn words() -> Plan {
    counting(Counted::Words { rule: plan::WordRule::Pattern, threshold: decimal("4.5") }, 2, 16, 1 << 14, "16")
}

/// Twenty persons with two records each.
fn units(plan: &Plan, site: u32) -> Units {
    let line = |i: u32| {
        let (text, label) = if i.is_multiple_of(2) { ("hello you", "a") } else { ("you", "c") };
        format!("{{\"text\":\"{text}\",\"label\":\"{label}\",\"user\":\"{}\",\"amount\":{}}}\n", i % 20, i + site)
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), (0..40).map(line).collect::<String>()).unwrap();
    let names = columns(plan.count.as_ref().unwrap(), "text");
    let options = ReadOptions { user_field: Some("user".into()), ..ReadOptions::default() };
    let rows = Wanted { columns: &names, cap: UnitCap { max_records: 4, seed: 1 } }.of_file(file.path(), &options).unwrap();
    Units::of(plan, &rows).unwrap()
}

/// A round at all institutions: the sum of what they would seal.
fn round(plan: &Plan, known: &Known, seed: u64) -> Result<Known, CountError> {
    let mechanism = Mechanism::of_plan(plan, 40).unwrap();
    let mut sum = vec![0i64; usize::try_from(plan.dimension()).unwrap()];
    for site in 0..SITES {
        let paid = Paid::for_test(&mechanism, ManifestDigest([1; 32]), 1, 1);
        let here = units(plan, site);
        let round = CountRound { plan, known, units: &here, mechanism: &mechanism };
        let private = round.sum(paid, &mut SeededEntropy::new(seed * 10 + u64::from(site)))?;
        private.shards().flat_map(|(_, v)| v).zip(&mut sum).for_each(|(v, s)| *s += i64::from(*v));
    }
    advance(plan, known, &sum, SITES)
}

fn answers(known: &Known) -> [&Estimate; 3] {
    let What::Statistics { answers } = &known.what else { panic!("{known:?}") };
    let [a, b, c] = answers.as_slice() else { panic!("{answers:?}") };
    [&a.answer, &b.answer, &c.answer]
}

/// Noise of a hundredth of the bound: at each institution 0.16 records, 0.28 in the sum. Seven deviations: less than one in 10^11.
fn near(figure: &Figure, truth: f64) {
    assert!((figure.value - truth).abs() < 2.0, "{figure:?} for {truth}");
}

fn hold_the_truth(known: &Known) {
    assert_eq!((known.rounds, known.institutions), (1, SITES));
    let [Estimate::Moments(m), Estimate::Below { counts, .. }, Estimate::Labels(labels)] = answers(known) else { panic!("{known:?}") };
    near(&m.count, 120.0);
    near(&m.mean.unwrap(), 20.5);
    assert!((m.variance.unwrap().value - 133.25 - 2.0 / 3.0).abs() < 40.0);
    [60.0, 60.0, 120.0].iter().zip(counts).for_each(|(truth, f)| near(f, *truth));
    [60.0, 0.0, 60.0].iter().zip(labels).for_each(|(truth, f)| near(f, *truth));
}

#[test]
fn figures_come_from_sums_in_every_mode() {
    let local = statistics();
    let known = round(&local, &Known::nothing(&local).unwrap(), 1).unwrap();
    hold_the_truth(&known);
    let bytes = known.to_bytes().unwrap();
    // The bytes are what counts; reading may round a last binary digit.
    assert_eq!(Known::of_plan(&local, &bytes).unwrap().rows(), known.rows());
    assert_eq!(known.rows().len(), 3 + 3 + 3 + 3);

    let mut joint = local;
    joint.privacy.mode = Mode::Distributed(Joint { colluding: 0, coalition_epsilon: decimal("8") });
    (joint.shards[0].tensors[0].shape[0], joint.groups[0].bits) = (9, 28);
    (joint.cohort_min, joint.count.as_mut().unwrap().limbs) = (3, 1);
    joint.check().unwrap();
    hold_the_truth(&round(&joint, &Known::nothing(&joint).unwrap(), 2).unwrap());
}

#[test]
fn words_are_found_round_by_round_from_documents_alone() {
    let plan = words();
    let mut bytes = Known::nothing(&plan).unwrap().to_bytes().unwrap();
    for seed in 0..plan.rounds {
        bytes = round(&plan, &Known::of_plan(&plan, &bytes).unwrap(), seed).unwrap().to_bytes().unwrap();
    }
    let known = Known::parse(&bytes).unwrap();
    let (rule, counts) = known.words().unwrap();
    assert_eq!((rule, known.rounds), (WordRule::Pattern, 4));
    // Ten persons in each of three institutions say so, each twice: a word counts once for a person.
    for word in ["hello", " you", "you"] {
        let got = counts.get(word).copied().unwrap_or(0);
        assert!(got.abs_diff(30) <= 2, "{word}: {got}");
    }
    assert!(!counts.contains_key("hell"));
}

#[test]
fn one_person_of_any_content_moves_the_sum_by_at_most_the_bound() {
    let plan = statistics();
    let mechanism = Mechanism::of_plan(&plan, 40).unwrap();
    let known = Known::nothing(&plan).unwrap();
    let sealed = |units: &Units| {
        let paid = Paid::for_test(&mechanism, ManifestDigest([1; 32]), 1, 1);
        let private =
            CountRound { plan: &plan, known: &known, units, mechanism: &mechanism }.sum(paid, &mut SeededEntropy::new(7)).unwrap();
        let slots: Vec<i64> = private.shards().flat_map(|(_, v)| v.iter().map(|&v| i64::from(v))).collect();
        limbs(&plan).unwrap().join(&slots).unwrap()
    };
    let mut here = units(&plan, 0);
    let without = sealed(&here);
    let Kind::Statistics(inside) = &mut here.0 else { panic!("statistics") };
    inside.push(vec![(0, i64::MAX), (8, i64::MIN + 1)]);
    let square: i128 = sealed(&here).iter().zip(&without).map(|(a, b)| i128::from(a - b).pow(2)).sum();
    assert!(square > 1 << 26 && square <= 1 << 28, "{square}");
}

#[test]
fn documents_of_other_plans_and_sums_of_other_lengths_are_refused() {
    let (numbers, texts) = (statistics(), words());
    let known = Known::nothing(&numbers).unwrap();
    let bytes = known.to_bytes().unwrap();
    assert!(matches!(Known::of_plan(&texts, &bytes), Err(CountError::Document)));
    assert!(matches!(Known::of_plan(&numbers, &Known::nothing(&texts).unwrap().to_bytes().unwrap()), Err(CountError::Document)));
    assert!(matches!(advance(&numbers, &known, &[0; 26], 3), Err(CountError::Length { got: 26, expected: 27 })));
    assert!(matches!(Known::nothing(&plan(small_config(), 1, "1", "1")), Err(CountError::Trains)));
    let newer = String::from_utf8(bytes).unwrap().replace("\"version\":1", "\"version\":2");
    assert!(matches!(Known::parse(newer.as_bytes()), Err(CountError::Document)));
    // Another number of integers than the queries have.
    let mut long = statistics();
    long.shards[0].tensors[0].shape[0] = 30;
    assert!(matches!(Known::nothing(&long), Err(CountError::Length { got: 10, expected: 9 })));
}

#[test]
fn a_plan_that_counts_says_nothing_about_training() {
    type Change = fn(&mut Plan);
    let changes: [(&str, Change); 9] = [
        ("model", |p| p.model.vocab = 16),
        ("local", |p| p.local.steps = 2),
        ("strategy", |p| p.strategy = protocol::plan::Strategy::FedAvg { rate: decimal("2") }),
        ("privacy.sampling_rate", |p| p.privacy.sampling_rate = decimal("0.5")),
        ("privacy.clip_function", |p| p.privacy.clip_function = ClipFunction::AutoS),
        ("rounds", |p| p.rounds = 2),
        ("shards", |p| p.shards[0].tensors[0].shape[0] = 28),
        ("count.limbs", |p| p.privacy.mode = Mode::Distributed(Joint { colluding: 0, coalition_epsilon: decimal("1") })),
        ("weighting", |p| p.weighting = protocol::plan::Weighting::Declared { max_weight: 9 }),
    ];
    for (name, change) in changes {
        let mut p = statistics();
        change(&mut p);
        assert!(matches!(p.check(), Err(PlanError::OutOfRange { field, .. }) if field == name), "{name}: {:?}", p.check());
    }
}

proptest! {
    /// What a server sends is read without a panic, and what was read once can be read again.
    #[test]
    fn any_bytes_are_a_document_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        drop(Known::parse(&bytes));
        let mut near = Known::nothing(&words()).unwrap().to_bytes().unwrap();
        *at.get_mut(&mut near) = to;
        if let Ok(known) = Known::parse(&near) {
            prop_assert_eq!(Known::parse(&known.to_bytes().unwrap()).unwrap().rows(), known.rows());
        }
    }
}
