//! Plans that count, on the same wire: nothing is trained, sums are opened, and everybody ends up with the same figures.

use super::*;
use corpus::statistics::{Estimate, Figure};
use protocol::ids::TaskId;
use server::admin;
use server::plan_file::AnyPlanFile;
use train::count::{Known, What};

/// Units of each institution; each has one record.
const UNITS: usize = 60;

fn counting_toml(privacy: &str, count: &str) -> String {
    format!(
        "federation = \"loop\"\ncohort_min = 3\nn_max = 4\n[committee]\ndecryptors = 4\ncorrupt = 1\n\
         [privacy]\nunit = \"user\"\ndelta = \"0.00001\"\nmax_records_per_unit = 1\n{privacy}\n\
         [deadlines]\nselecting_ms = 20000\nreporting_ms = 120000\ncertifying_ms = 20000\nopening_ms = 20000\n{count}"
    )
}

async fn counted(f: &mut Federation, toml: &str) -> Known {
    let prepared = AnyPlanFile::parse(toml).unwrap().prepare(TaskId([7; 16])).unwrap();
    let plan = f.propose_prepared(prepared).await;
    f.ended().await;
    opened_sums_are_exact(f, &plan, plan.groups.len(), &[0, 1, 2, 3]);
    // Figures are no model: there is nothing to release, whether the task is named or not.
    for (task, expected) in [(Some(plan.task), admin::Refusal::Counts), (None, admin::Refusal::NothingToRelease)] {
        let refused = call(&f.server_dir(), AdminRequest::Releasable { task, round: None }).await;
        assert!(matches!(refused, AdminReply::Refused { reason } if reason == expected), "{refused:?}");
    }
    let verdict = f.verify(&f.log());
    assert!(verdict.verified, "{:?}", verdict.findings);
    documents_come_out_again(f, &plan);
    let name = format!("counts/{}/{:08}.json", plan.task.to_hex(), plan.rounds);
    let bytes = std::fs::read(f.server_dir().join(name)).unwrap();
    // The snapshot that the log names is called what it is.
    let models = f.server_dir().join("models");
    assert!(std::fs::read(models.join(format!("{}.json", train::snapshot::digest(&bytes).to_hex()))).unwrap() == bytes);
    assert!(files(&models).iter().all(|file| file.extension().is_some_and(|e| e == "json")), "weights of a task that has none");
    // Every institution keeps the bytes that the log names.
    for i in 0..4 {
        let kept = f.dir.path().join(super::name(i)).join("counts").join(format!("{}.json", plan.task));
        let here = until(async || std::fs::read(&kept).ok()).await;
        assert!(here == bytes, "institution {i}");
    }
    let known = Known::of_plan(&plan, &bytes).unwrap();
    assert_eq!((known.rounds, known.institutions), (plan.rounds, 4));
    known
}

/// What each round published follows from its sealed chunks, in the auditor's own program, with no document at hand.
fn documents_come_out_again(f: &Federation, plan: &protocol::plan::Plan) {
    use auditor::recompute::{Given, Outcome, SnapshotOutcome, everything};
    let (chunks, none) = (f.server_dir().join("chunks"), f.dir.path().join("no-documents"));
    std::fs::create_dir_all(&none).unwrap();
    let given = Given { chunks: Some(&chunks), sums: None, snapshots: Some(&none) };
    let verdict = everything(&f.log(), given, &auditor::Options::default(), &|_| (), &|_| ()).unwrap();
    let made = verdict.recomputed.iter().map(|r| (r.groups[0].outcome, r.snapshot.as_ref().map(|s| s.outcome)));
    let expected = (Outcome::Agrees, Some(SnapshotOutcome::Agrees));
    assert_eq!(made.collect::<Vec<_>>(), vec![expected; usize::try_from(plan.rounds).unwrap()], "{:?}", verdict.findings);
}

/// Within seven deviations: missed once in 10^11 by noise alone.
fn near(figure: &Figure, truth: f64, deviation: f64) {
    assert!((figure.value - truth).abs() <= 7.0 * deviation, "{figure:?} for {truth}, deviation {deviation}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_count_together_and_pay_for_it() {
    let mut f = Federation::of_sizes(&[UNITS; 4]).await;
    let queries = "[[count.statistics.queries]]\nkind = \"moments\"\ncolumn = \"amount\"\nlow = \"-20\"\nhigh = \"100\"\n\
         [[count.statistics.queries]]\nkind = \"thresholds\"\ncolumn = \"amount\"\ncuts = [\"-5\", \"20\", \"40\"]\n\
         [[count.statistics.queries]]\nkind = \"labels\"\ncolumn = \"label\"\nlabels = [\"bad\"]\n";
    let known = counted(&mut f, &counting_toml("epsilon = \"8\"\nnoise = \"discrete-gaussian\"", queries)).await;
    let What::Statistics { answers } = &known.what else { panic!("{known:?}") };
    let (all, s) = (4.0 * UNITS as f64, known.deviation);
    assert!(s > 0.5 && s < 10.0, "a deviation of {s} records");
    let [a, b, c] = answers.as_slice() else { panic!("{answers:?}") };
    let (Estimate::Moments(m), Estimate::Below { counts, .. }, Estimate::Labels(labels)) = (&a.answer, &b.answer, &c.answer) else {
        panic!("{answers:?}")
    };
    near(&m.count, all, s);
    // Amounts are 0 to 59 at each institution; a mean of 240 moves by the range's half over 240 for a record of noise.
    near(&m.mean.unwrap(), 29.5, 60.0 * s * 2.0 / all);
    [0.0, 80.0, 160.0, all].iter().zip(counts).for_each(|(truth, f)| near(f, *truth, 2.0 * s));
    [all / 2.0, all / 2.0].iter().zip(labels).for_each(|(truth, f)| near(f, *truth, s));

    for file in files(&f.server_dir()) {
        assert!(!contains(&std::fs::read(&file).unwrap(), CANARY.as_bytes()), "a record's text is in {}", file.display());
    }
    // What each ledger paid stands in the log, above nothing and within the plan's cap.
    let verdict = f.verify(&f.dir.path().join("log"));
    let spent: Vec<f64> = verdict.tasks[0].rounds[0].epsilon.iter().map(|e| e.epsilon.parse().unwrap()).collect();
    assert!(spent.len() == 4 && spent.iter().all(|e| (1.0..=8.0).contains(e)), "{spent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn institutions_find_their_common_words_round_by_round() {
    let mut f = Federation::of_sizes(&[UNITS; 4]).await;
    let privacy = "mode = { hybrid = { colluding = 0, epsilon_floor = \"11\" } }\nepsilon = \"8\"";
    let words = "[count.words]\nrule = \"pattern\"\ncoordinates = 65536\nrounds = 3\nbound = 4\nthreshold = \"4.5\"\n";
    let known = counted(&mut f, &counting_toml(privacy, words)).await;
    let (_, counts) = known.words().unwrap();
    // Half of the records begin with each; words of up to five characters are whole after three rounds.
    for word in ["win", "see", " now", " you"] {
        let got = counts.get(word).copied().unwrap_or(0);
        assert!((got as f64 - 2.0 * UNITS as f64).abs() <= 7.0 * known.deviation, "{word}: {got}, deviation {}", known.deviation);
    }
}
