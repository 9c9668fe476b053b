//! The demo as a newcomer runs it: the real program, its exit codes, what it leaves, and what it does not leave.
#![expect(clippy::unwrap_used, reason = "helpers of a test panic with it")]

use auditor::recompute::{Given, Outcome, SnapshotOutcome};
use protocol::ids::RoundId;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Stands in every record and nowhere else that lasts.
const CANARY: &str = "kanarienvogel";

fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_concordat-demo")).args(args).output().expect("the demo starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() { out.extend(files(&entry.path())) } else { out.push(entry.path()) }
    }
    out
}

fn records(dir: &Path) -> PathBuf {
    let line = |i: usize| {
        let (text, label) = if i.is_multiple_of(3) { ("win a prize now", "bad") } else { ("see you at noon", "good") };
        format!("{{\"message\":\"{text} {CANARY} {i}\",\"kind\":\"{label}\"}}\n")
    };
    let path = dir.join("mine.jsonl");
    std::fs::write(&path, (0..400).map(line).collect::<String>()).unwrap();
    path
}

#[test]
fn one_command_trains_verifies_reports_and_leaves_no_record_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (out, data) = (dir.path().join("out"), records(dir.path()));
    let (out_text, data_text) = (out.to_string_lossy(), data.to_string_lossy());
    let run = demo(&[
        "--data",
        &data_text,
        "--text-field",
        "message",
        "--label-field",
        "kind",
        "--institutions",
        "3",
        "--rounds",
        "2",
        "--shards",
        "2",
        "--out",
        &out_text,
        "--keep-chunks",
        "--format",
        "json",
    ]);
    assert!(run.status.success(), "{}", text(&run));

    let answer: serde_json::Value = serde_json::from_slice(&run.stdout).expect("one JSON object on stdout");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(answer["data"]["rounds"].as_array().unwrap().len(), 2);
    assert_eq!((&report["verified"], &report["exact_sum_check"]), (&true.into(), &true.into()));
    assert!(report["naive_bayes_macro_f1"].is_number());
    for round in report["rounds"].as_array().unwrap() {
        for field in ["train_loss", "eval_loss", "accuracy", "macro_f1", "bytes_up", "bytes_down"] {
            assert!(round[field].is_number(), "{field}");
        }
        for phase in ["train", "seal", "upload", "sum", "certify", "open"] {
            assert!(round["seconds"][phase].as_f64().unwrap() > 0.0, "{phase}");
        }
        assert_eq!(round["epsilon"].as_object().unwrap().len(), 3);
        assert_eq!(round["cohort"], serde_json::json!({ "0": 3, "1": 3 }));
    }
    every_epsilon_is_the_accountants(&report);
    assert_eq!(std::fs::read_to_string(out.join("report.html")).unwrap().matches("<svg").count(), 4);
    assert_eq!(files(&out.join("snapshots")).len(), 3);

    for file in files(&out) {
        let bytes = std::fs::read(&file).unwrap();
        let found = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        assert!(!found(CANARY.as_bytes()), "a record's text is in {}", file.display());
        assert!(!found(b"mine.jsonl"), "a path is in {}", file.display());
    }

    make_the_sums_again(&out);

    // Flipping one byte of the model's plan, which every round stands on, is found by the auditor's program's code.
    let artefact = files(&out.join("log").join("artefacts")).pop().unwrap();
    let mut bytes = std::fs::read(&artefact).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&artefact, bytes).unwrap();
    assert_eq!(auditor::verify(&out.join("log"), &auditor::Options::default()).unwrap().exit_code, 1);
}

/// The same run trains with the institutions that carry only a part and without them, and says what both can do.
#[test]
fn a_mixed_federation_is_shown_beside_the_one_without_its_small_institutions() {
    let dir = tempfile::tempdir().unwrap();
    let (out, data) = (dir.path().join("out"), records(dir.path()));
    let (out_text, data_text) = (out.to_string_lossy(), data.to_string_lossy());
    let fields = ["--text-field", "message", "--label-field", "kind"];
    let size = ["--institutions", "4", "--rounds", "1", "--shards", "mixed", "--format", "json"];
    let run = demo(&[&["--data", &data_text, "--out", &out_text], &fields[..], &size[..]].concat());
    assert!(run.status.success(), "{}", text(&run));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let mixed = &report["mixed"];
    assert_eq!((&mixed["small"], &mixed["without_small_sound"]), (&2.into(), &true.into()), "{mixed}");
    let tier = |i: usize, name: &str| mixed["tiers"][i][name].clone();
    assert_eq!((tier(0, "name"), tier(1, "name")), ("full".into(), "top-layers".into()));
    assert!(3 * tier(1, "parameters").as_u64().unwrap() < tier(0, "parameters").as_u64().unwrap(), "{mixed}");
    // The lower part is the full institutions' sum, the top everybody's.
    assert_eq!(report["rounds"][0]["cohort"], serde_json::json!({ "0": 2, "1": 4 }));
    for side in ["with_small", "without_small"] {
        assert!(mixed[side]["eval_loss"].is_number() && mixed[side]["macro_f1"].is_number(), "{side}");
    }
    let other: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("without-small/report.json")).unwrap()).unwrap();
    assert_eq!((&other["institutions"], &other["parameters"]), (&2.into(), &tier(0, "parameters")));
    assert!(auditor::verify(&out.join("without-small/log"), &auditor::Options::default()).unwrap().verified);
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("without these 2"));
}

/// What the report says about ε is what the accountant says about the noise that each institution executed, the rate and the steps: never below,
/// and above by no more than rounding up at the sixth place. Slack of samplers is far below that. The last round keeps to what was asked for.
fn every_epsilon_is_the_accountants(report: &serde_json::Value) {
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let executed = report["executed_noise_multiplier"].as_object().unwrap();
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!((executed.len(), rounds.len()), (3, 2));
    for (steps, round) in (1u64..).map(|n| n * report["local_steps"].as_u64().unwrap()).zip(rounds) {
        assert_eq!(round["epsilon"].as_object().unwrap().len(), executed.len());
        for (who, sigma) in executed {
            let (noise_multiplier, sampling_rate) = (number(sigma), number(&report["sampling_rate"]));
            let phase = privacy::accountant::Phase { noise_multiplier, sampling_rate, steps };
            let want = privacy::accountant::epsilon_pld(&[phase], number(&report["delta"])).unwrap();
            let stated = number(&round["epsilon"][who]);
            assert!(stated >= want && stated - want <= 2e-6, "{who}, {steps} steps: {stated} for {want}");
            assert!(stated <= number(&report["epsilon_target"]));
        }
    }
}

/// What the federation opened, the auditor's second implementation opens too, from chunks alone; and not from chunks that were touched. Its own
/// step leads to the snapshots that were published.
fn make_the_sums_again(out: &Path) {
    let (log, chunks, snapshots) = (out.join("log"), out.join("chunks"), out.join("snapshots"));
    let (options, none) = (auditor::Options::default(), |_: u64| ());
    let given = Given { chunks: Some(&chunks), sums: None, snapshots: Some(&snapshots) };
    let round = |round: u64| {
        let wanted = auditor::Wanted { task: None, round: RoundId(round), group: None };
        auditor::recompute::recompute(&log, Given { snapshots: None, ..given }, wanted, &options, &|_| ()).unwrap()
    };
    let all = auditor::recompute::everything(&log, given, &options, &none, &|_| ()).unwrap();
    let after: Vec<_> = all.recomputed.iter().map(|r| r.snapshot.as_ref().map(|s| s.outcome)).collect();
    assert_eq!((all.exit_code, after), (0, vec![Some(SnapshotOutcome::Agrees); 2]), "{:#?}", all.findings);
    for id in [1, 2] {
        let made = round(id);
        assert!(made.exit_code == 0 && made.groups.len() == 2, "{made:?}");
        for group in &made.groups {
            assert_eq!((group.outcome, group.members), (Outcome::Agrees, 3));
            assert!(group.values.as_ref().is_some_and(|f| f.recomputed.as_ref() == Some(&f.stated)), "bit for bit");
        }
    }
    // Six updates of one chunk each in two rounds, and nothing else: no key shares.
    let (lists, bodies): (Vec<_>, Vec<_>) = files(&chunks).into_iter().partition(|f| f.extension().is_some());
    assert_eq!((lists.len(), bodies.len()), (12, 12));
    let whole = std::fs::read(&bodies[0]).unwrap();
    let mut bytes = whole.clone();
    bytes[77] ^= 32;
    std::fs::write(&bodies[0], bytes).unwrap();
    assert_eq!([1, 2].map(|id| round(id).exit_code).iter().sum::<u8>(), 1, "one round fails, with the code of integrity");
    std::fs::remove_file(&bodies[0]).unwrap();
    assert_eq!([1, 2].map(|id| round(id).exit_code).iter().sum::<u8>(), 4, "one round is incomplete");
    std::fs::write(&bodies[0], whole).unwrap();
}

/// The accountant's own command, for what an institution executed.
fn accountant(dir: &Path, sigma: &str, rate: &str, steps: u64, delta: &str) -> f64 {
    let side = dir.to_string_lossy();
    let steps = steps.to_string();
    let numbers = ["--noise-multiplier", sigma, "--sample-rate", rate, "--steps", &steps, "--delta", delta, "--format", "json"];
    let run = demo(&[&["__role", "client", &side, "privacy", "epsilon"], &numbers[..]].concat());
    assert!(run.status.success(), "{}", text(&run));
    let answer: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    answer["data"]["epsilon_pld"].as_f64().unwrap()
}

/// Shares of noise, sums of floats, a server that takes the steps: exact sums, and ε as the accountant has it for what was executed. Slack of
/// samplers and dither is far below the sixth place here.
#[test]
fn institutions_that_share_noise_open_exact_sums_and_are_charged_for_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (out, data) = (dir.path().join("out"), records(dir.path()));
    let (out_text, data_text) = (out.to_string_lossy(), data.to_string_lossy());
    let asked = ["--mode", "hybrid", "--clip-path", "book-keeping", "--epsilon", "4", "--epsilon-floor", "7", "--institutions", "3"];
    let rest = ["--data", &data_text, "--text-field", "message", "--label-field", "kind", "--rounds", "3", "--out", &out_text];
    let run = demo(&[&asked[..], &rest[..], &["--format", "json"]].concat());
    assert!(run.status.success(), "{}", text(&run));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["verified"], &report["exact_sum_check"], &report["findings"]), (&true.into(), &true.into(), &0.into()));
    assert_eq!((&report["mode"], &report["epsilon_cap"], &report["steps"]), (&"hybrid".into(), &"7".into(), &3.into()));
    let word = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    let (rate, delta) = (word(&report["sampling_rate"]), word(&report["delta"]));
    let executed = report["executed_noise_multiplier"].as_object().unwrap();
    assert_eq!(executed.len(), 3);
    for (steps, round) in (1..).zip(report["rounds"].as_array().unwrap()) {
        for (who, sigma) in executed {
            let (stated, want) =
                (word(&round["epsilon"][who]).parse::<f64>().unwrap(), accountant(dir.path(), &word(sigma), &rate, steps, &delta));
            assert!((stated - want).abs() <= 2e-6 && stated >= want, "{who}, round {steps}: {stated} for {want}");
            assert!(stated <= 7.0);
        }
    }
    // Three institutions, nobody else colluding: two shares besides the looking one's.
    let coalition = &report["coalition"];
    assert_eq!((&coalition["shares"], &coalition["standing"]), (&2.into(), &"pending review".into()));
    let sigma = executed.values().next().map(word).unwrap().parse::<f64>().unwrap();
    let joint = accountant(dir.path(), &(sigma * 2f64.sqrt()).to_string(), &rate, 3, &delta);
    let shown = word(&coalition["epsilon"]).parse::<f64>().unwrap();
    assert!((shown - joint).abs() < 1e-3 * joint && shown <= 4.0, "{shown} for {joint}");
}

#[test]
fn bad_input_is_named_and_nothing_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let out = out.to_string_lossy();
    let broken = dir.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"text\":\"hello there\",\"label\":\"a\"}\nnot json\n{\"text\":\"hello you\",\"label\":\"b\"}\n").unwrap();
    let broken = broken.to_string_lossy();
    let busy = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let cases: [(&[&str], &str); 10] = [
        (&["--data", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (&["--data", &broken], "line 2"),
        (&["--data", &broken, "--label-field", "kind", "--bad-lines", "fatal"], "label"),
        (&["--epsilon", "0"], "--epsilon"),
        (&["--epsilon", "-3"], "--epsilon"),
        (&["--epsilon", "NaN"], "--epsilon"),
        (&["--institutions", "3", "--decryptors", "4"], "--decryptors"),
        (&["--mode", "distributed", "--institutions", "2"], "no guaranteed share"),
        (&["--mode", "hybrid", "--epsilon-floor", "0"], "--epsilon-floor"),
        (&["--records", "200", "--port", &port], "in use"),
    ];
    for (args, expected) in cases {
        let run = demo(&[args, &["--out", &out]].concat());
        assert_eq!(run.status.code(), Some(2), "{args:?}: {}", text(&run));
        assert!(text(&run).contains(expected), "{args:?}: {}", text(&run));
    }
}
