//! The command: exit codes of audit.md A38 and the JSON form of operations.md O3, on the same small log as the library's tests.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not covered by allow-unwrap-in-tests")]

#[path = "../src/tests/fixture.rs"]
mod fixture;
#[path = "../src/tests/sealing.rs"]
mod sealing;
#[path = "../src/tests/secrets.rs"]
mod secrets;
#[path = "../src/tests/story.rs"]
mod story;
#[path = "../src/tests/twist.rs"]
mod twist;
/// The story is told with the library's own steps, check matrix and products.
mod count {
    pub(crate) use auditor::count::{advance, nothing};
}
mod step {
    pub(crate) use auditor::step::{Mass, Opened};
}
mod share {
    pub(crate) use auditor::share::CheckMatrix;
}
mod ring {
    pub(crate) use auditor::ring::{Mask, lift, product};
}

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use story::tell;
use twist::Twist;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_concordat-audit")).args(args).output().unwrap()
}
fn verify(dir: &Path, more: &[&str]) -> Output {
    run(&[&["verify", dir.to_str().unwrap()], more].concat())
}
fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_honest_log_exits_0_in_words_and_in_json() {
    let dir = fixture::write(&tell(Twist::None).files());
    let words = verify(dir.path(), &[]);
    assert_eq!(code(&words), 0);
    assert!(String::from_utf8(words.stdout).unwrap().starts_with("Everything that was checked holds."));
    let out = verify(dir.path(), &["--format", "json", "--quorum", "2"]);
    let v = json(&out);
    assert_eq!((code(&out), &v["schema_version"], &v["status"], &v["data"]["verified"]), (0, &1.into(), &"ok".into(), &true.into()));
    for field in ["entries", "tree_size", "root", "notes", "quorum", "members", "tasks", "checks", "findings", "not_verified"] {
        assert!(!v["data"][field].is_null(), "{field}");
    }
    assert_eq!(v["data"]["tasks"][0]["rounds"][1]["groups"][0]["key_sum_confirmed"], true);
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let invariant = fixture::write(&tell(Twist::TwoSets).files());
    let out = verify(invariant.path(), &["--format", "json"]);
    let v = json(&out);
    assert_eq!((code(&out), &v["status"]), (3, &"error".into()));
    let named = |f: &Value| f["index"].is_u64() && f["clause"].as_str().unwrap().starts_with("I4: a decryptor signed two sets");
    assert!(v["data"]["findings"].as_array().unwrap().iter().any(named), "{v}");
    let mut files = tell(Twist::None).files();
    files.get_mut("tile/1/000.p/1").unwrap()[0] ^= 1;
    let altered = fixture::write(&files);
    assert_eq!(code(&verify(altered.path(), &[])), 1);
    files.remove("tile/1/000.p/1");
    assert_eq!(code(&verify(fixture::write(&files).path(), &[])), 4);
    assert_eq!(code(&verify(altered.path(), &["--quorum", "many"])), 2);
    assert_eq!(code(&verify(&altered.path().join("nowhere"), &[])), 2);
    assert_eq!(json(&verify(&altered.path().join("nowhere"), &["--format", "json"]))["error"]["code"], "bad_input");
}

#[test]
fn show_prints_the_leaf_and_its_proof() {
    let draft = tell(Twist::None);
    let dir = fixture::write(&draft.files());
    let path = dir.path().to_str().unwrap();
    let out = run(&["show", path, "0", "--proof"]);
    let text = String::from_utf8(out.stdout.clone()).unwrap();
    assert_eq!(code(&out), 0);
    assert!(text.starts_with(std::str::from_utf8(&draft.entries[0]).unwrap()) && text.contains("c2sp.org/tlog-proof@v1"));
    let shown = json(&run(&["show", path, "1", "--format", "json"]));
    assert_eq!((&shown["status"], &shown["data"]["entry"]["seq"]), (&"ok".into(), &1.into()));
    assert_eq!(code(&run(&["show", path, "99999"])), 2);
}

#[test]
fn recompute_makes_a_round_again_and_says_what_lacks() {
    let draft = tell(Twist::None);
    let (dir, mut chunks) = (fixture::write(&draft.files()), draft.chunks.clone());
    let recompute = |chunks: &fixture::Files, round: &str, format: &str| {
        let there = fixture::write(chunks);
        let paths = [dir.path().to_str().unwrap(), "--chunks", there.path().to_str().unwrap()];
        run(&[&["recompute"], &paths[..], &["--round", round, "--format", format]].concat())
    };
    let words = recompute(&chunks, "1", "text");
    assert_eq!(code(&words), 0);
    assert!(String::from_utf8(words.stdout).unwrap().starts_with("Every sum of this round came out again"));
    assert!(words.stderr.is_empty(), "progress is for terminals");
    let out = recompute(&chunks, "2", "json");
    let v = json(&out);
    assert_eq!((code(&out), &v["status"], &v["data"]["round"]), (0, &"ok".into(), &2.into()));
    let group = &v["data"]["groups"][0];
    assert_eq!((&group["outcome"], &group["members"], &group["reason"]), (&"agrees".into(), &3.into(), &Value::Null));
    for figure in ["sum_root", "key_sum", "values", "residual_ratio"] {
        assert_eq!((&group[figure]["agrees"], &group[figure]["stated"]), (&true.into(), &group[figure]["recomputed"]), "{figure}");
    }
    assert_eq!(code(&recompute(&chunks, "3", "json")), 2);
    for (name, bytes) in &mut chunks {
        bytes[0] ^= u8::from(!name.ends_with(".list"));
    }
    assert_eq!(code(&recompute(&chunks, "1", "json")), 1);
    chunks.clear();
    let none = recompute(&chunks, "1", "text");
    assert_eq!(code(&none), 4);
    assert!(String::from_utf8(none.stdout).unwrap().contains("chunks missing"));
}

#[test]
fn entries_are_exported_and_a_broken_log_only_with_marks() {
    let dir = fixture::write(&tell(Twist::None).files());
    let path = dir.path().to_str().unwrap();
    let out = run(&["export", path, "--format", "csv", "--type", "round.*", "--rounds", "1..1", "--institution", "clinic-1"]);
    let text = String::from_utf8(out.stdout.clone()).unwrap();
    assert!(code(&out) == 0 && text.starts_with("index,ts,type,") && text.lines().count() > 1, "{text}");
    // Not among the log's own files, where it would be a stray.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("out.json");
    let export = ["export", path, "--format", "prov-json", "--out", file.to_str().unwrap()];
    assert_eq!(code(&run(&export)), 0);
    assert_eq!(code(&run(&export)), 2, "a file is never written over");
    assert_eq!(code(&run(&["export", path, "--format", "csv", "--rounds", "2..1"])), 2);
    let broken = fixture::write(&tell(Twist::CapExceeded).files());
    let path = broken.path().to_str().unwrap();
    let refused = run(&["export", path, "--format", "jsonl"]);
    assert!(code(&refused) == 3 && refused.stdout.is_empty());
    let marked = run(&["export", path, "--format", "jsonl", "--unverified"]);
    let lines = String::from_utf8(marked.stdout.clone()).unwrap();
    assert!(code(&marked) == 3 && lines.lines().all(|l| l.starts_with("{\"entry\":") && l.contains("\"verified\":false")));
}

#[test]
fn a_report_has_the_exit_code_of_its_verdict() {
    for (twist, exit, word) in [(Twist::None, 0, "Everything that was checked holds."), (Twist::TwoSets, 3, "INVARIANT FAILURE")] {
        let dir = fixture::write(&tell(twist).files());
        let html = dir.path().parent().unwrap().join(format!("report-{exit}-{}.html", std::process::id()));
        let out = run(&["report", dir.path().to_str().unwrap(), "--html", html.to_str().unwrap(), "--format", "json"]);
        assert_eq!((code(&out), &json(&out)["data"]["exit_code"]), (exit, &exit.into()));
        assert!(std::fs::read_to_string(&html).unwrap().contains(word));
        std::fs::write(&html, "somebody's").unwrap();
        let again = run(&["report", dir.path().to_str().unwrap(), "--html", html.to_str().unwrap(), "--format", "json"]);
        assert_eq!((code(&again), &json(&again)["error"]["hint"]), (2, &"name a file that does not exist yet".into()));
        assert_eq!(std::fs::read_to_string(&html).unwrap(), "somebody's", "a file is never written over");
        std::fs::remove_file(html).unwrap();
    }
}

#[test]
fn proofs_stand_alone_and_a_fork_is_proved_to_anybody() {
    let draft = tell(Twist::None);
    let dir = fixture::write(&draft.files());
    let (path, out) = (dir.path().to_str().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(code(&run(&["prove", path, "7", "250", "--out", out.path().to_str().unwrap()])), 0);
    let at = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let policy = std::fs::read_dir(dir.path().join("policy")).unwrap().next().unwrap().unwrap().path();
    let check = |file: &str, more: &[&str]| run(&[&["proof", "check", file, "--format", "json"], more].concat());
    let with_policy = ["--policy", policy.to_str().unwrap()];
    let good = check(&at("250.tlog-proof"), &with_policy);
    assert_eq!((code(&good), &json(&good)["data"]["index"]), (0, &250.into()));
    assert_eq!(code(&check(&at("7.tlog-proof"), &[])), 2, "nobody has said which log");
    let entry = at("250.entry");
    let other = [&with_policy[..], &["--entry", &entry]].concat();
    assert_eq!(code(&check(&at("7.tlog-proof"), &other)), 1, "another entry");
    let mut entries = draft.entries.clone();
    entries[100] = String::from_utf8(entries[100].clone()).unwrap().replacen("status.read", "update.submit", 1).into_bytes();
    let fork = fixture::write(&fixture::Draft { entries, ..draft.clone() }.files());
    assert_eq!(code(&run(&["diff", path, path])), 0);
    let diff = run(&["diff", path, fork.path().to_str().unwrap(), "--out", &at("fork.json"), "--format", "json"]);
    let v = json(&diff);
    assert_eq!((code(&diff), &v["data"]["relation"], &v["data"]["parting"]["index"]), (1, &"forked".into(), &100.into()));
    let (kept, diff) = (std::fs::read(at("fork.json")).unwrap(), ["diff", path, fork.path().to_str().unwrap(), "--out"]);
    for taken in ["fork.json", "250.entry"] {
        let taken = at(taken);
        assert_eq!(code(&run(&[&diff[..], &[taken.as_str()]].concat())), 2, "a file is never written over");
    }
    assert_eq!(code(&run(&["prove", path, "250", "--out", out.path().to_str().unwrap()])), 2, "nor is a proof");
    assert_eq!(std::fs::read(at("fork.json")).unwrap(), kept);
    let proved = check(&at("fork.json"), &with_policy);
    assert_eq!((code(&proved), &json(&proved)["data"]["cosigned_both"][0]), (0, &"w1".into()));
    let text = std::fs::read_to_string(at("fork.json")).unwrap().replacen("\"size\": ", "\"size\": 1", 1);
    std::fs::write(at("bad.json"), text).unwrap();
    assert_eq!(code(&check(&at("bad.json"), &with_policy)), 1);
}

#[test]
fn a_small_bench_measures_and_nonsense_is_refused() {
    let out = run(&["bench", "--entries", "1000", "--notes", "10", "--statements", "50", "--format", "json"]);
    let v = json(&out);
    assert_eq!((code(&out), &v["data"]["entries"], &v["data"]["exit_code"]), (0, &1000.into(), &0.into()));
    for field in ["verify_s", "cpu_s", "peak_memory_bytes", "inclusion_bytes"] {
        assert!(v["data"][field].is_number(), "{field}");
    }
    assert_eq!(code(&run(&["bench", "--entries", "10"])), 2);
    assert_eq!(code(&run(&["verify-evidence", "/nowhere/at/all"])), 2);
}

#[test]
fn a_watched_log_gives_one_line_for_a_checkpoint_and_its_code() {
    for (twist, exit) in [(Twist::None, 0), (Twist::TwoSets, 3)] {
        let dir = fixture::write(&tell(twist).files());
        let out = run(&["watch", dir.path().to_str().unwrap(), "--count", "1", "--threads", "2", "--format", "json"]);
        let lines = String::from_utf8(out.stdout.clone()).unwrap();
        assert_eq!((code(&out), lines.lines().count(), &json(&out)["data"]["exit_code"]), (exit, 1, &exit.into()));
    }
    assert_eq!(code(&run(&["watch", "/nowhere", "--count", "1"])), 2);
}

#[test]
fn a_review_is_written_with_a_key_that_nobody_else_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, place) = (fixture::write(&tell(Twist::None).files()), tempfile::tempdir().unwrap());
    let (key, out) = (place.path().join("reviewer.key"), place.path().join("review"));
    std::fs::write(&key, format!("{}\n", "01".repeat(32))).unwrap();
    let review = |range: &str| {
        let (dir, key, out) = (dir.path().to_str().unwrap(), key.to_str().unwrap(), out.to_str().unwrap());
        run(&["review", dir, "--entries", range, "--key", key, "--out", out, "--format", "json"])
    };
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(code(&review("0..9")), 2, "a key that others may read");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    for bad in ["0..", "9..0", "0..9999999"] {
        assert_eq!(code(&review(bad)), 2, "{bad}");
    }
    assert!(!out.exists());
    let done = review("0..9");
    assert_eq!((code(&done), &json(&done)["data"]["last"]), (0, &9.into()));
    assert!(out.join("findings.json").exists() && out.join("review.statement").exists());
}

#[test]
fn verify_model_has_its_exit_codes_and_its_form() {
    let (dir, log) = (tempfile::tempdir().unwrap(), fixture::write(&tell(Twist::RealModel).files()));
    story::real::Model::new().write(dir.path());
    let path = dir.path().to_str().unwrap();
    let verify_model = |more: &[&str]| run(&[&["verify-model", path, "--format", "json"], more].concat());
    let good = verify_model(&["--log", log.path().to_str().unwrap()]);
    let v = json(&good);
    assert_eq!((code(&good), &v["schema_version"], &v["status"]), (0, &1.into(), &"ok".into()));
    for field in ["model", "key", "signature", "snapshot", "release", "trust_hash"] {
        assert!(!v["data"][field].is_null(), "{field}");
    }
    assert_eq!((&v["data"]["release"]["last_round"], &v["data"]["trust_pinned"]), (&2.into(), &false.into()));
    assert_eq!((&v["data"]["key_in_log"], &v["data"]["key_given"]), (&true.into(), &false.into()));
    let hash = v["data"]["trust_hash"].as_str().unwrap();
    let pinned = verify_model(&["--log", log.path().to_str().unwrap(), "--trust-hash", hash]);
    assert_eq!((code(&pinned), &json(&pinned)["data"]["trust_pinned"]), (0, &true.into()));
    let withdrawn = fixture::write(&tell(Twist::RealModelWithdrawn).files());
    assert_eq!(code(&verify_model(&["--log", withdrawn.path().to_str().unwrap()])), 3);
    std::fs::write(dir.path().join("model/model.safetensors"), "other weights").unwrap();
    assert_eq!(code(&verify_model(&[])), 1);
    std::fs::remove_file(dir.path().join("model/model.safetensors")).unwrap();
    assert_eq!(code(&verify_model(&[])), 4);
    std::fs::remove_file(dir.path().join("model/model.sig")).unwrap();
    let none = verify_model(&[]);
    assert_eq!((code(&none), &json(&none)["error"]["code"]), (2, &"bad_input".into()));
    assert!(json(&none)["error"]["message"].as_str().unwrap().contains("model.sig"));
}

#[test]
fn verify_makes_sums_and_snapshots_again_where_they_are_given() {
    let draft = tell(Twist::None);
    let log = fixture::write(&draft.files());
    let [chunks, sums, models] = [&draft.chunks, &draft.sums, &draft.snapshots].map(fixture::write);
    let [chunks, sums, models] = [&chunks, &sums, &models].map(|d| d.path().to_str().unwrap());
    let out = verify(log.path(), &["--chunks", chunks, "--sums", sums, "--snapshots", models, "--format", "json"]);
    let v = json(&out);
    assert_eq!((code(&out), v["data"]["recomputed"].as_array().map(Vec::len)), (0, Some(2)), "{v}");
    for round in v["data"]["recomputed"].as_array().unwrap() {
        assert_eq!((&round["groups"][0]["outcome"], &round["snapshot"]["outcome"]), (&"agrees".into(), &"agrees".into()));
    }
    let words = verify(log.path(), &["--sums", sums]);
    assert_eq!(code(&words), 0);
    assert!(String::from_utf8(words.stdout).unwrap().contains("not summed; the kept integers are the signed ones"));
    // Snapshots are made of sums: alone they say nothing. Those of a round are made of all its groups.
    assert_eq!(code(&verify(log.path(), &["--snapshots", models])), 2);
    let one = ["recompute", log.path().to_str().unwrap(), "--chunks", chunks, "--round", "2", "--snapshots", models];
    assert_eq!(code(&run(&one)), 0);
    assert_eq!(code(&run(&[&one[..], &["--group", "0"]].concat())), 2);
    let false_step = tell(Twist::OtherSnapshot);
    let log = fixture::write(&false_step.files());
    let [chunks, models] = [&false_step.chunks, &false_step.snapshots].map(fixture::write);
    let [chunks, models] = [&chunks, &models].map(|d| d.path().to_str().unwrap());
    let out = verify(log.path(), &["--chunks", chunks, "--snapshots", models]);
    assert_eq!((code(&out), verify(log.path(), &[]).status.code()), (1, Some(0)), "the log alone does not show it");
    assert!(String::from_utf8(out.stdout).unwrap().contains("DIFFERS: stated"));
}

#[test]
fn verify_names_the_figure_of_a_counting_task_that_was_altered() {
    let draft = tell(Twist::OtherFigure);
    let log = fixture::write(&draft.files());
    let [chunks, models] = [&draft.chunks, &draft.snapshots].map(fixture::write);
    let [chunks, models] = [&chunks, &models].map(|d| d.path().to_str().unwrap());
    let out = verify(log.path(), &["--chunks", chunks, "--snapshots", models, "--format", "json"]);
    let v = json(&out);
    let after = &v["data"]["recomputed"][0]["snapshot"];
    assert_eq!((code(&out), &after["outcome"]), (1, &"differs".into()), "{v}");
    assert!(
        after["reason"].as_str().unwrap().starts_with("/what/statistics/answers/0/answer/moments/count/value is stated as 1"),
        "{after}"
    );
    assert_eq!(verify(log.path(), &[]).status.code(), Some(0), "the log alone does not show it");
}
