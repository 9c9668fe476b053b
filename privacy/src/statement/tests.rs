//! The statement against the ledger and the accountants, field by field (privacy.md D68, D69; bug class B16).

use super::*;
use crate::accountant::{Adjacency, epsilon_group, epsilon_pld, epsilon_rdp};
use crate::ledger::machine_tests::{Kept, NOW, dec, digest, mechanism, plan};
use protocol::history::SpendRecord;
use protocol::ids::{LeafIndex, RoundId};

fn around() -> Surroundings {
    let checkpoint = Checkpoint { size: 40, root: Sha256([4; 32]) };
    Surroundings { institution: "hospital-a".into(), opened: 1, checkpoint, audit: None, uploads: UploadAt::Ready }
}

/// A ledger with two rounds paid, one of them void, and what the log shows of the other.
fn story() -> (Kept, Plan, Vec<SpendRecord>) {
    let (mut k, plan) = (Kept::new("8"), plan(1, "2"));
    k.register(&plan).unwrap();
    let paid = k.reserve(&plan, 1).unwrap();
    let pending = k.ledger.void(paid.ledger_counter(), NOW).unwrap();
    k.keep(pending);
    let paid = k.reserve(&plan, 2).unwrap();
    let log = vec![SpendRecord { index: LeafIndex(9), task: plan.task, round: RoundId(2), spend: paid.spend() }];
    (k, plan, log)
}

fn statement() -> (Statement, Kept, Plan) {
    let (k, plan, log) = story();
    let s = Statement::of(&k.ledger, &plan, digest(&plan), &log, around()).unwrap();
    (s, k, plan)
}

/// Nothing in it is a number of its own: each is the ledger's, the plan's or an accountant's.
#[test]
fn every_number_is_the_ledgers_or_the_accountants() {
    let (s, k, plan) = statement();
    let (task, totals) = (k.ledger.task(plan.task).unwrap(), k.ledger.totals());
    let steps = plan.rounds * u64::from(plan.local.steps);
    let e = mechanism(&plan).executed().clone();
    assert_eq!(s.promise.epsilon, terms_of(&e, plan.privacy.epsilon_cap).epsilon(steps).unwrap());
    assert_eq!((s.promise.delta, s.spent), (plan.privacy.delta, task.epsilon));
    assert_eq!((s.lifetime.epsilon, s.lifetime.cap, s.lifetime.order), (totals.epsilon, totals.epsilon_cap, totals.order));
    assert_eq!((s.executed.clone(), s.basis.clone()), (e.clone(), task.schedule.basis.clone()));
    assert_eq!((s.ledger_head, s.plan, s.dataset), (k.ledger.head(), digest(&plan), k.ledger.terms().dataset));
    let counts = RoundCounts { reserved: 2, open: 1, void: 1, ..RoundCounts::default() };
    assert_eq!((s.rounds, s.rounds_registered, s.rounds_opened), (counts, plan.rounds, 1));
    let phase = Phase { noise_multiplier: 2.0, sampling_rate: 0.1, steps };
    let near = |figure: Figure, want: f64| {
        let Figure::Epsilon(e) = figure else { panic!("a finite figure") };
        let got = e.to_f64();
        assert!(got >= want - 1e-12 && got <= want + 2e-6, "{got} for {want}");
    };
    let slack = terms_of(&e, plan.privacy.epsilon_cap).slack(steps);
    let delta = 1e-5 - slack;
    near(s.replace_one, Adjacency::ReplaceOne.epsilon_pld(&[phase], delta).unwrap());
    near(s.rdp.epsilon, epsilon_rdp(&[phase], delta).unwrap().epsilon);
    for m in s.groups {
        near(m.epsilon, epsilon_group(&[phase], m.k, delta).unwrap());
    }
    for m in s.institutions {
        let all = Phase { steps: steps * u64::from(m.k), ..phase };
        near(m.epsilon, epsilon_pld(&[all], 1e-5 - f64::from(m.k) * slack).unwrap());
    }
    assert_eq!((s.groups.map(|m| m.k), s.institutions.map(|m| m.k)), ([2, 4], [2, 4]));
    assert_ne!(s.replace_one, Figure::up(2.0 * s.promise.epsilon.to_f64()), "replacing is never twice adding (D2)");
}

/// D12: how long a round took is left out of the promise, unless updates leave by the schedule; then a decline tells what is left to tell.
#[test]
fn how_long_a_round_took_is_not_covered_unless_updates_keep_to_the_schedule() {
    let (k, plan, log) = story();
    for (uploads, language, time, late) in [
        (UploadAt::Ready, Language::English, true, false),
        (UploadAt::Ready, Language::Chinese, true, false),
        (UploadAt::Scheduled, Language::English, false, true),
        (UploadAt::Scheduled, Language::Chinese, false, true),
    ] {
        let s = Statement::of(&k.ledger, &plan, digest(&plan), &log, Surroundings { uploads, ..around() }).unwrap();
        let row = s.rows(language).into_iter().find(|r| r.key == "does_not_cover").unwrap();
        let says = |words: [&str; 2]| row.value.iter().any(|v| words.iter().any(|w| v.contains(w)));
        assert_eq!((says(["how long a round took", "一轮所用的时间"]), says(["not sealed at", "未密封"])), (time, late), "{:?}", row.value);
        // What a machine that trains shows otherwise is part of how long a round took, and stays when that goes.
        assert_eq!(says(["while it trains", "训练期间"]), late, "{:?}", row.value);
    }
}

#[test]
fn every_field_of_the_clause_has_a_row_in_both_languages() {
    const KEYS: [&str; 30] = [
        "institution",
        "federation",
        "task",
        "dataset",
        "unit",
        "neighbours",
        "epsilon",
        "delta",
        "epsilon_spent",
        "lifetime",
        "epsilon_replace_one",
        "rdp",
        "own_epsilon",
        "coalition",
        "groups",
        "institutions",
        "covers",
        "does_not_cover",
        "assumes",
        "mechanism",
        "accountant",
        "sampling",
        "rounds",
        "releases",
        "tuning",
        "pretraining",
        "empirical",
        "plan",
        "ledger",
        "checkpoint",
    ];
    let (s, ..) = statement();
    for language in [Language::English, Language::Chinese] {
        let rows = s.rows(language);
        assert_eq!(rows.iter().map(|r| r.key).collect::<Vec<_>>(), KEYS);
        for r in &rows {
            assert!(!r.label.is_empty() && !r.value.is_empty() && r.value.iter().all(|v| !v.trim().is_empty()), "{r:?}");
        }
    }
    let chinese: String = s.rows(Language::Chinese).iter().map(|r| r.label).collect();
    assert!(chinese.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)));
}

/// D69: one sentence for each row of D8 that has a claim, each with its own figure; staff is promised nothing.
#[test]
fn every_row_with_a_claim_has_its_sentence() {
    let (s, ..) = statement();
    for (language, verb) in [(Language::English, "satisfies"), (Language::Chinese, "满足")] {
        let sentences = s.sentences(language);
        let names: Vec<_> = sentences.iter().map(|x| x.adversary.name()).collect();
        let person = "person-in-institutions";
        assert_eq!(names, ["public", "other-institution", "institutions", "sealing-broken", person, person]);
        for x in &sentences {
            let figure = format!("({}, {})", x.epsilon, s.promise.delta);
            assert!(x.text.contains(&figure) && x.text.contains(verb) && x.text.contains(&s.task.to_hex()), "{}", x.text);
        }
        assert!(sentences[..4].iter().all(|x| x.epsilon == s.promise.epsilon));
        assert!(sentences[4].text.contains('2') && Figure::Epsilon(sentences[5].epsilon) == s.institutions[1].epsilon);
    }
    let all: String = s.sentences(Language::English).into_iter().map(|x| x.text).collect();
    assert!(!all.contains("pending") && !all.to_lowercase().contains("institution-level"));
}

/// D8, D22, D69: in the modes where others add noise, promises rest on own noise; what shares are worth is said in other words.
#[test]
fn figures_that_wait_for_a_review_are_no_promises() {
    let mut k = Kept::new("20");
    let plan = crate::ledger::machine_tests::joint_plan(1, "2");
    let m = crate::mechanism::Mechanism::of_plan(&plan, 1000).unwrap();
    let pending = k.ledger.register(&plan, digest(&plan), &m, NOW).unwrap();
    k.keep(pending);
    let s = Statement::of(&k.ledger, &plan, digest(&plan), &[], around()).unwrap();
    let figures = s.coalition.unwrap();
    assert_eq!((figures.shares, figures.colluding, figures.standing), (2, 1, Standing::PendingReview));
    let number = |f: Figure| match f {
        Figure::Epsilon(e) => e.to_f64(),
        Figure::Unbounded | Figure::NotReported => f64::INFINITY,
    };
    assert!(number(figures.epsilon) < s.promise.epsilon.to_f64(), "more noise, smaller epsilon");
    for (language, verb, words) in [(Language::English, "satisfies", "Pending review"), (Language::Chinese, "满足", "待审查")] {
        let sentences = s.sentences(language);
        let names: Vec<_> = sentences.iter().map(|x| (x.adversary.name(), x.claim)).collect();
        let (person, yes, no) = ("person-in-institutions", Claim::Promise, Claim::PendingReview);
        let promised = ["public", "other-institution", "coalition", "institutions", "sealing-broken", person, person].map(|n| (n, yes));
        let shown = ["public", "other-institution", "coalition"].map(|n| (n, no));
        assert_eq!(names, [&promised[..], &shown[..]].concat());
        for x in &sentences {
            let promise = x.claim == Claim::Promise;
            assert!(x.text.contains(verb) == promise && x.text.contains(words) != promise, "{}", x.text);
            assert!(x.text.contains(&format!("({}, {})", x.epsilon, s.promise.delta)), "{}", x.text);
            assert!(!promise || Figure::Epsilon(x.epsilon) != figures.epsilon, "a coalition's figure in a promise: {}", x.text);
        }
        let rows = s.rows(language);
        let row = |key: &str| rows.iter().find(|r| r.key == key).unwrap().value.join(" ");
        assert!(row("coalition").contains(&figures.epsilon.to_string()) && row("coalition").contains("h 2, c 1"), "{}", row("coalition"));
        assert!(row("mechanism").contains("hybrid") && row("mechanism").contains("R = "), "{}", row("mechanism"));
    }
}

/// D9: in mode `local` a sum of updates has a figure of its own only where one step of each is linear in its noise. AdamW's is not, with any
/// number of steps, so none is stated and the words say why.
#[test]
fn sums_of_local_steps_have_no_figure_of_their_own() {
    for steps in [1, 4] {
        let (mut k, mut plan) = (Kept::new("20"), plan(1, "2"));
        plan.local.steps = steps;
        k.register(&plan).unwrap();
        let s = Statement::of(&k.ledger, &plan, digest(&plan), &[], around()).unwrap();
        assert_eq!(s.coalition, None);
        let row = |l| s.rows(l).into_iter().find(|r| r.key == "coalition").unwrap().value.concat();
        assert!(row(Language::English).contains("not linear in the noise") && row(Language::Chinese).contains("不是线性"));
    }
}

/// D23: sums of discrete Gaussians have a published bound, with sampling and without, and then the row is a promise; what is charged stays own.
#[test]
fn a_published_bound_makes_a_promise() {
    for rate in ["1", "0.1"] {
        promised_by_a_published_bound(dec(rate));
    }
}

fn promised_by_a_published_bound(rate: Decimal) {
    let (mut k, noise) = (Kept::new("20"), protocol::plan::NoiseKind::DiscreteGaussian);
    let mut plan = crate::ledger::machine_tests::joint_plan(1, "2");
    (plan.privacy.noise, plan.privacy.sampling_rate) = (noise, rate);
    let m = crate::mechanism::Mechanism::of_plan(&plan, 1000).unwrap();
    let pending = k.ledger.register(&plan, digest(&plan), &m, NOW).unwrap();
    k.keep(pending);
    let s = Statement::of(&k.ledger, &plan, digest(&plan), &[], around()).unwrap();
    let figures = s.coalition.unwrap();
    assert_eq!(figures.standing, Standing::Published);
    let sentences = s.sentences(Language::English);
    assert!(sentences.iter().all(|x| x.claim == Claim::Promise && x.text.contains("satisfies") && !x.text.contains("ending review")));
    let of = |name: &str| sentences.iter().filter(|x| x.adversary.name() == name).map(|x| Figure::Epsilon(x.epsilon)).collect::<Vec<_>>();
    assert_eq!(of("coalition"), [Figure::Epsilon(s.promise.epsilon), figures.epsilon]);
    assert_eq!(of("institutions"), [Figure::Epsilon(s.promise.epsilon)], "all others together see own noise only");
    // D8, D23: a person in k institutions by zCDP over the steps of all; replacing and groups have no account for this noise.
    assert_eq!(of("person-in-institutions"), s.institutions.map(|m| m.epsilon));
    let phase = |k: u64| Phase { noise_multiplier: 2.0, sampling_rate: rate.to_f64(), steps: k * plan.rounds };
    for m in s.institutions {
        let Figure::Epsilon(epsilon) = m.epsilon else { panic!("{m:?}") };
        let rdp = epsilon_noise_rdp(&[(noise, phase(u64::from(m.k)))], 1e-5).unwrap().epsilon;
        assert!((epsilon.to_f64() - rdp).abs() < 2e-6 && rdp > s.promise.epsilon.to_f64(), "{m:?}");
    }
    assert_eq!((s.replace_one, s.groups[0].epsilon), (Figure::NotReported, Figure::NotReported));
    let label = s.rows(Language::English).into_iter().find(|r| r.key == "epsilon").unwrap().label;
    assert_eq!(label, "ε of the registered schedule (RDP)", "no PLD stands behind it");
    // D61: the account that totals are of is told where it is not own cost.
    let mut signed = s.clone();
    signed.lifetime.own_cap = Some(dec("8"));
    for (language, charged, own) in
        [(Language::English, "charged over all tasks", "own ε ≤ 8"), (Language::Chinese, "计入全部任务", "ε ≤ 8")]
    {
        let says =
            |s: &Statement, key: &str, words: &str| s.rows(language).iter().any(|r| r.key == key && r.value.concat().contains(words));
        assert!(says(&signed, "coalition", charged) && says(&signed, "lifetime", own));
        assert!(!says(&s, "coalition", charged) && !says(&s, "lifetime", own));
    }
}

/// A bound that is not finite, or that no accountant reports, makes no sentence: neither a promise nor a figure that waits for a review.
#[test]
fn no_sentence_is_made_of_a_figure_that_does_not_exist() {
    let mut k = Kept::new("20");
    let plan = crate::ledger::machine_tests::joint_plan(1, "2");
    let m = crate::mechanism::Mechanism::of_plan(&plan, 1000).unwrap();
    let pending = k.ledger.register(&plan, digest(&plan), &m, NOW).unwrap();
    k.keep(pending);
    let whole = Statement::of(&k.ledger, &plan, digest(&plan), &[], around()).unwrap();
    for missing in [Figure::NotReported, Figure::Unbounded] {
        for standing in [Standing::Published, Standing::PendingReview] {
            let mut s = whole.clone();
            s.institutions[0].epsilon = missing;
            s.coalition = s.coalition.map(|c| CoalitionFigures { epsilon: missing, standing, ..c });
            for language in [Language::English, Language::Chinese] {
                let sentences = s.sentences(language);
                // Of nine, one person's and the three rows of the coalition are gone.
                assert_eq!(sentences.len(), whole.sentences(language).len() - 4);
                assert!(sentences.iter().all(|x| !x.text.contains("not reported") && !x.text.contains("inf,") && !x.text.contains("(inf")));
            }
        }
    }
}

/// D19: the allowance of float sums stands among the assumptions, and the sensitivity that it makes beside the grid.
#[test]
fn sums_of_floats_are_stated_with_their_assumption() {
    use protocol::plan::{Accumulate, ClipPath, Rounding};
    for (accumulate, words) in [(Accumulate::F32, "assumption F"), (Accumulate::F64, "a theorem")] {
        let mut k = Kept::new("20");
        let mut plan = crate::ledger::machine_tests::plan(1, "2");
        plan.privacy.path = ClipPath::BookKeeping { accumulate, rounding: Rounding::Dithered };
        let m = crate::mechanism::Mechanism::of_plan(&plan, 1000).unwrap();
        let pending = k.ledger.register(&plan, digest(&plan), &m, NOW).unwrap();
        k.keep(pending);
        let s = Statement::of(&k.ledger, &plan, digest(&plan), &[], around()).unwrap();
        assert!(s.assumptions(Language::English)[0].contains(words) && s.sensitivity_ratio() != dec("1"));
        let mechanism = s.rows(Language::English).into_iter().find(|r| r.key == "mechanism").unwrap().value.join(" ");
        assert!(mechanism.contains("Book-Keeping") && mechanism.contains("β = 1e-12"), "{mechanism}");
    }
}

/// D28: counts from the same records are in the figure over all tasks, and in none of the task's.
#[test]
fn releases_are_stated_beside_the_task() {
    let (mut k, plan, log) = story();
    let of = |k: &Kept| Statement::of(&k.ledger, &plan, digest(&plan), &log, around()).unwrap();
    let before = of(&k);
    assert_eq!(before.releases, Releases { paid: 0, values: 0, lost: 0, rho: Some(dec("0")) });
    for id in 1..=2 {
        let compared = k.ledger.compare(&log).unwrap();
        let (id, question) = (Sha256([id; 32]), Sha256([1; 32]));
        let request = crate::ledger::ReleaseRequest { id, question, values: 3, sensitivity: 1, scale_1024: 10 * 1024, compared };
        let pending = k.ledger.reserve_release(&request, NOW).unwrap();
        let counter = k.keep(pending).ledger_counter();
        if id == Sha256([2; 32]) {
            let pending = k.ledger.released(counter, Sha256([7; 32]), NOW).unwrap();
            k.keep(pending);
        }
    }
    let after = of(&k);
    assert_eq!(after.releases, Releases { paid: 2, values: 3, lost: 0, rho: Some(dec("0.010000001")) });
    assert_eq!((after.promise, after.spent), (before.promise, before.spent));
    assert!(after.lifetime.epsilon.unwrap().to_f64() > before.lifetime.epsilon.unwrap().to_f64());
    for (language, none) in [(Language::English, "none"), (Language::Chinese, "无")] {
        let words = |s: &Statement| s.rows(language).into_iter().find(|r| r.key == "releases").unwrap().value.concat();
        assert_eq!(words(&before), none);
        assert!(words(&after).contains("0.010000001") && words(&after).contains('3'), "{}", words(&after));
    }
}

#[test]
fn another_plan_an_unknown_task_or_a_ledger_behind_the_log_gives_no_statement() {
    let (k, plan, log) = story();
    let of = |plan: &Plan, digest, log: &[SpendRecord]| Statement::of(&k.ledger, plan, digest, log, around()).err();
    assert_eq!(of(&plan, PlanDigest([1; 32]), &log), Some(StatementError::OtherPlan));
    let other = crate::ledger::machine_tests::plan(2, "2");
    assert_eq!(of(&other, digest(&other), &log), Some(StatementError::UnknownTask));
    let mut ahead = log;
    ahead[0].spend.ledger_counter += 1;
    assert!(matches!(of(&plan, digest(&plan), &ahead), Some(StatementError::Alarm(Alarm::LedgerRolledBack { .. }))));
}

/// What a repair counts beyond the schedule is in the promise.
#[test]
fn a_repaired_task_promises_no_less_than_it_spent() {
    let (k, plan, log) = story();
    let mut fresh = Kept::new("8");
    fresh.register(&plan).unwrap();
    for round in 1..=2 {
        fresh.reserve(&plan, round).unwrap();
    }
    let known = |_| Some(crate::ledger::KnownPlan { plan: &plan, digest: digest(&plan) });
    let mut shown = log;
    shown[0].spend.ledger_head = Sha256([1; 32]);
    let pending = fresh.ledger.repair(&shown, &[], 50, known, NOW).unwrap();
    fresh.keep(pending);
    let s = Statement::of(&fresh.ledger, &plan, digest(&plan), &shown, around()).unwrap();
    assert_eq!((s.rounds.lost, s.rounds.reserved), (2, 4), "the gap before the shown round counts too");
    assert!(s.promise.epsilon.to_f64() > statement().0.promise.epsilon.to_f64());
    assert_eq!(s.promise.epsilon, s.spent);
    drop(k);
}

/// B3: what the rate and the steps come to is told, so that a rate that was not meant shows.
#[test]
fn passes_over_the_records_are_reported() {
    let (s, ..) = statement();
    assert_eq!(s.passes(), dec("1.2"), "3 rounds of 4 steps at 0.1");
    for language in [Language::English, Language::Chinese] {
        assert!(s.rows(language).into_iter().find(|r| r.key == "mechanism").unwrap().value.concat().contains("1.2"));
    }
}

#[test]
fn the_deviation_is_printed_exactly() {
    let (mut s, ..) = statement();
    for (grid, text) in [(1024, "1"), (1025, "1.0009765625"), (1536, "1.5"), (134_217_728, "131072"), (1023, "0.9990234375")] {
        s.executed.sigma_grid_1024 = grid;
        assert_eq!(s.sigma_grid(), text);
    }
    assert_eq!(dec("1"), s.sensitivity_ratio());
}

/// B28: who stops a task early may have looked at private results when doing so, so it is charged as if it had run to its end (D57).
#[test]
fn a_task_that_stopped_early_promises_its_whole_schedule() {
    let (s, k, plan) = statement();
    assert!(k.ledger.task(plan.task).unwrap().rounds_reserved < plan.rounds);
    let whole = terms_of(mechanism(&plan).executed(), plan.privacy.epsilon_cap).epsilon(plan.rounds * u64::from(plan.local.steps)).unwrap();
    assert_eq!(s.promise.epsilon, whole);
    assert!(s.spent.to_f64() < whole.to_f64());
    assert!(s.sentences(Language::English).iter().take(4).all(|x| x.text.contains(&whole.to_string())));
}

/// What an audit found stands beside the promise, also where it contradicts it, and never as a proof.
#[test]
fn a_kept_audit_stands_in_the_statement() {
    let (k, plan, log) = story();
    let told = |verdict, language| {
        let audit = Some(Empirical { id: Sha256([7; 32]), epsilon_lower: dec("0.53"), verdict });
        let s = Statement::of(&k.ledger, &plan, digest(&plan), &log, Surroundings { audit, ..around() }).unwrap();
        s.rows(language).into_iter().find(|r| r.key == "empirical").unwrap().value.concat()
    };
    for language in [Language::English, Language::Chinese] {
        let (good, bad) = (told(crate::audit::Verdict::Consistent, language), told(crate::audit::Verdict::Violation, language));
        assert!(good.contains("0.53") && good.contains(&Sha256([7; 32]).to_string()) && good != bad, "{good} {bad}");
        assert!(!good.contains("verified"));
    }
    assert!(told(crate::audit::Verdict::Violation, Language::English).contains("CONTRADICTED"));
}
