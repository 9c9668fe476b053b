//! Exit codes and answers of `concordat-server` and `concordat-client` (operations.md O3, O4), called as their `main` calls them. The
//! exit codes of `concordat-audit` are tested beside it. Knows no running server.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const DONE: u8 = 0;
const CHECKED_AND_FALSE: u8 = 1;
const TROUBLE: u8 = 2;
const NOT_REACHABLE: u8 = 4;

fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

fn arguments(program: &str, args: &[&str]) -> Vec<OsString> {
    std::iter::once(program).chain(args.iter().copied()).map(OsString::from).collect()
}

fn server(args: &[&str]) -> String {
    format!("{:?}", server::cli::run(arguments("concordat-server", args)))
}

fn client(args: &[&str]) -> String {
    format!("{:?}", client::cli::run(arguments("concordat-client", args)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

#[test]
fn help_and_version_are_done_and_unknown_words_are_trouble() {
    for run in [server, client] {
        assert_eq!(run(&["--help"]), code(DONE));
        assert_eq!(run(&["--version"]), code(DONE));
        assert_eq!(run(&[]), code(TROUBLE));
        assert_eq!(run(&["frobnicate"]), code(TROUBLE));
        assert_eq!(run(&["status", "--no-such-flag"]), code(TROUBLE));
        assert_eq!(run(&["status", "--format", "yaml"]), code(TROUBLE));
    }
}

#[test]
fn every_verb_explains_itself() {
    for verb in [
        "init",
        "admin-key",
        "serve",
        "invite",
        "member",
        "policy",
        "trust",
        "plan",
        "chunks",
        "counts",
        "release",
        "release-key",
        "export",
        "withdraw",
        "review",
        "log",
        "status",
        "stop",
    ] {
        assert_eq!(server(&[verb, "--help"]), code(DONE), "{verb}");
    }
    let pairs = [
        ["member", "pending"],
        ["member", "approve"],
        ["member", "list"],
        ["member", "suspend"],
        ["member", "resume"],
        ["member", "revoke"],
        ["member", "revoke-key"],
        ["policy", "activate"],
        ["trust", "show"],
        ["trust", "prepare"],
        ["trust", "check"],
        ["trust", "approve"],
        ["plan", "check"],
        ["plan", "prepare"],
        ["plan", "propose"],
        ["log", "recover"],
    ];
    for pair in pairs {
        assert_eq!(server(&[pair[0], pair[1], "--help"]), code(DONE), "{pair:?}");
    }
    for verb in ["join", "run", "status", "privacy", "data", "evidence", "keys", "leave", "train"] {
        assert_eq!(client(&[verb, "--help"]), code(DONE), "{verb}");
    }
    let privacy = ["epsilon", "calibrate", "ledger", "release", "statement", "audit"].map(|verb| ["privacy", verb]);
    let others = [
        ["data", "check"],
        ["data", "prepare"],
        ["data", "make"],
        ["data", "counts"],
        ["data", "withdraw"],
        ["data", "evaluate"],
        ["evidence", "export"],
        ["evidence", "sidecar"],
        ["keys", "rotate"],
        ["bench", "noise"],
        ["bench", "clip"],
        ["bench", "train"],
        ["bench", "fit"],
    ];
    for pair in privacy.into_iter().chain(others) {
        assert_eq!(client(&[pair[0], pair[1], "--help"]), code(DONE), "{pair:?}");
    }
    for verb in ["show", "verify", "repair"] {
        assert_eq!(client(&["privacy", "ledger", verb, "--help"]), code(DONE), "{verb}");
    }
}

#[test]
fn a_log_is_recovered_without_a_server_and_never_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let home = |name: &str| dir.path().join(name);
    for name in ["one", "two"] {
        let (server_dir, key) = (home(name), home(&format!("{name}.key")));
        assert_eq!(server(&["init", "--dir", text(&server_dir), "--federation", "demo", "--admin-key", text(&key)]), code(DONE));
    }
    let from = |name: &str| home(name).join("audit");
    let recover = |mirror: &Path| server(&["log", "recover", "--dir", text(&home("one")), "--from", text(mirror)]);
    assert_eq!(recover(&from("two")), code(CHECKED_AND_FALSE), "another federation");
    assert_eq!(recover(&home("nothing")), code(TROUBLE), "no mirror at all");
    assert_eq!(recover(&from("one")), code(DONE));
}

#[test]
fn a_federation_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let (home, key) = (dir.path().join("server"), dir.path().join("admin.key"));
    let init = |federation: &str| server(&["init", "--dir", text(&home), "--federation", federation, "--admin-key", text(&key)]);
    assert_eq!(init("Not A Name"), code(TROUBLE));
    assert!(!key.exists() && !home.exists(), "a refused name leaves nothing behind");
    assert_eq!(init("fed"), code(DONE));
    let before = std::fs::read(&key).unwrap();
    assert_eq!(init("fed"), code(TROUBLE));
    assert_eq!(std::fs::read(&key).unwrap(), before, "the administrator's key is never replaced");
    assert!(home.join("audit/trust.json").exists());
}

/// Whatever the commands make under a name that somebody gives: what is there already is somebody's key, or worth as much.
#[test]
fn no_command_of_the_server_writes_over_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let (home, key) = (dir.path().join("server"), dir.path().join("admin.key"));
    assert_eq!(server(&["admin-key", "--out", text(&key)]), code(DONE));
    let before = std::fs::read(&key).unwrap();
    assert_eq!(server(&["admin-key", "--out", text(&key)]), code(TROUBLE));
    assert_eq!(server(&["release-key", "--out", text(&key)]), code(TROUBLE));
    assert_eq!(server(&["init", "--dir", text(&home), "--federation", "fed", "--admin-key", text(&key)]), code(TROUBLE));
    assert_eq!(std::fs::read(&key).unwrap(), before);
    assert!(!home.exists() && !key.with_extension("pub").exists(), "refused before anything was made");
    let release = dir.path().join("release.key");
    assert_eq!(server(&["release-key", "--out", text(&release)]), code(DONE));
    let before = [&release, &release.with_extension("pub")].map(|file| std::fs::read(file).unwrap());
    for name in ["release.key", "release.pem", "release.pub"] {
        assert_eq!(server(&["release-key", "--out", text(&dir.path().join(name))]), code(TROUBLE), "{name}");
    }
    assert_eq!([&release, &release.with_extension("pub")].map(|file| std::fs::read(file).unwrap()), before);
    assert!(!dir.path().join("release.pem").exists());
    assert_eq!(client(&["data", "make", "--out", text(&release), "--bytes", "1000"]), code(TROUBLE));
    assert_eq!(std::fs::read(&release).unwrap(), before[0]);
}

#[test]
fn without_a_running_server_administration_is_not_reachable() {
    let dir = tempfile::tempdir().unwrap();
    let home = text(dir.path());
    for args in [&["status", "--dir", home][..], &["stop", "--dir", home], &["member", "pending", "--dir", home]] {
        assert_eq!(server(args), code(NOT_REACHABLE), "{args:?}");
    }
    assert_eq!(server(&["invite", "--dir", home, "--institution", "a"]), code(NOT_REACHABLE));
    assert_eq!(server(&["serve", "--dir", text(&dir.path().join("nowhere"))]), code(TROUBLE));
}

#[test]
fn a_configuration_with_privacy_in_it_starts_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("server.toml");
    std::fs::write(&config, "epsilon = 8\n").unwrap();
    assert_eq!(server(&["serve", "--dir", text(dir.path()), "--config", text(&config)]), code(TROUBLE));
    assert!(!dir.path().join("lock").exists(), "refused before anything was touched");
}

#[test]
fn plans_are_checked_and_prepared_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/plan-example.toml");
    assert_eq!(server(&["plan", "check", sample]), code(DONE));
    for family in ["decoder", "encoder-decoder", "tags", "masked-tokens"] {
        assert_eq!(server(&["plan", "check", &sample.replace("plan-example", &format!("plan-{family}"))]), code(DONE), "{family}");
    }
    assert_eq!(server(&["plan", "check", text(&dir.path().join("none.toml"))]), code(TROUBLE));
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, std::fs::read_to_string(sample).unwrap().replacen("cohort_min = 3", "cohort_min = 1", 1)).unwrap();
    assert_eq!(server(&["plan", "check", text(&bad)]), code(TROUBLE));
    let out = dir.path().join("prepared");
    assert_eq!(server(&["plan", "prepare", sample, "--out", text(&out)]), code(DONE));
    for file in ["plan.cbor", "plan.json", "base.safetensors"] {
        assert!(out.join(file).exists(), "{file}");
    }
    let before = std::fs::read(out.join("plan.cbor")).unwrap();
    assert_eq!(server(&["plan", "prepare", sample, "--out", text(&out)]), code(TROUBLE));
    assert_eq!(std::fs::read(out.join("plan.cbor")).unwrap(), before, "a plan that administrators may be signing stays");
}

/// A plan that counts goes the way of any other; before anything was counted there is nothing to show.
#[test]
fn plans_that_count_are_prepared_and_their_results_are_shown_when_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/plan-statistics.toml");
    let (out, home) = (dir.path().join("prepared"), text(dir.path()));
    assert_eq!(server(&["plan", "check", sample]), code(DONE));
    assert_eq!(server(&["plan", "prepare", sample, "--out", text(&out)]), code(DONE));
    assert_eq!(server(&["counts", "--dir", home]), code(TROUBLE));
    assert_eq!(client(&["--dir", home, "data", "counts"]), code(TROUBLE));
    // What the plan begins with is a document already: as after a round, it can be shown.
    let task = "07".repeat(16);
    for (folder, name) in [(format!("counts/{task}"), "00000001.json".to_owned()), ("counts".to_owned(), format!("{task}.json"))] {
        std::fs::create_dir_all(dir.path().join(&folder)).unwrap();
        std::fs::copy(out.join("base.json"), dir.path().join(folder).join(name)).unwrap();
    }
    let copy = dir.path().join("copy.json");
    assert_eq!(server(&["counts", "--dir", home, "--task", &task, "--out", text(&copy), "--format", "json"]), code(DONE));
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(out.join("base.json")).unwrap());
    assert_eq!(client(&["--dir", home, "data", "counts", "--task", &task]), code(DONE));
    let tokens = dir.path().join("tokens");
    let no_words = ["data", "tokenize", "--counts", text(&copy), "--out", text(&tokens)];
    std::fs::write(dir.path().join("client.toml"), "[data]\npath = \"records.jsonl\"\nname = \"m\"\n").unwrap();
    std::fs::write(dir.path().join("records.jsonl"), "{\"text\":\"good morning\",\"label\":\"a\"}\n").unwrap();
    assert_eq!(client(&[&["--dir", home][..], &no_words].concat()), code(TROUBLE), "statistics are no words");
}

#[test]
fn an_institution_that_never_joined_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let home = text(dir.path());
    assert_eq!(client(&["--dir", home, "status"]), code(TROUBLE));
    assert_eq!(client(&["--dir", home, "run"]), code(TROUBLE));
    assert_eq!(client(&["--dir", home, "join", "no-token"]), code(TROUBLE));
    assert_eq!(client(&["--dir", home, "privacy", "ledger"]), code(DONE), "no ledger is no broken ledger");
    let release = ["--dir", home, "privacy", "release", "--what", "units", "--epsilon", "1"];
    assert_eq!(client(&release), code(TROUBLE), "nobody pays");
    assert!(!dir.path().join("ledger").exists() && !dir.path().join("releases").exists());
}

#[test]
fn records_are_checked_as_training_would_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let (home, records) = (dir.path(), dir.path().join("records.jsonl"));
    let config = "[data]\npath = \"records.jsonl\"\nname = \"messages\"\n";
    std::fs::write(home.join("client.toml"), config).unwrap();
    assert_eq!(client(&["--dir", text(home), "data", "check"]), code(CHECKED_AND_FALSE), "there is no file");
    std::fs::write(&records, "{\"text\":\"good morning\",\"label\":\"a\"}\n{\"text\":\"you have won\",\"label\":\"b\"}\n").unwrap();
    assert_eq!(client(&["--dir", text(home), "data", "check", "--format", "json"]), code(DONE));
    std::fs::write(&records, "{\"text\":\"good morning\",\"label\":\"a\"}\nno record\n").unwrap();
    assert_eq!(client(&["--dir", text(home), "data", "check"]), code(CHECKED_AND_FALSE), "a line is no record");
    std::fs::write(home.join("client.toml"), "noise_multiplier = 0.1\n").unwrap();
    assert_eq!(client(&["--dir", text(home), "data", "check"]), code(TROUBLE), "privacy is not a setting");
}

#[test]
fn privacy_figures_need_no_federation_and_nonsense_has_none() {
    let figures = ["--sample-rate", "0.05", "--steps", "50", "--delta", "0.00001"];
    let epsilon = |sigma| client(&[&["privacy", "epsilon", "--noise-multiplier", sigma][..], &figures].concat());
    assert_eq!(epsilon("1.1"), code(DONE));
    assert_eq!(epsilon("-1"), code(TROUBLE));
    assert_eq!(epsilon("NaN"), code(TROUBLE));
    let calibrate = |target| client(&[&["privacy", "calibrate", "--target-epsilon", target][..], &figures].concat());
    assert_eq!(calibrate("3"), code(DONE));
    assert_eq!(calibrate("0"), code(TROUBLE));
}

#[test]
fn noise_is_measured_for_deviations_that_have_a_sampler_and_for_no_others() {
    let small = ["bench", "noise", "--values", "2000", "--runs", "1", "--format", "json"];
    let with = |more: &[&str]| client(&[&small[..], more].concat());
    for kind in ["rounded-gaussian", "discrete-gaussian"] {
        assert_eq!(with(&["--kind", kind, "--sigma-grid", "2.3"]), code(DONE), "{kind}");
        assert_eq!(with(&["--kind", kind, "--sigma-grid", "1099511627776"]), code(DONE), "{kind}");
    }
    for bad in [["--sigma-grid", "0"], ["--sigma-grid", "1099511627777"], ["--sigma-grid", "nan"], ["--kind", "laplace"]] {
        assert_eq!(with(&bad), code(TROUBLE), "{bad:?}");
    }
    assert_eq!(client(&["bench", "noise", "--values", "0"]), code(TROUBLE));
}

/// From made-up raw records to a directory that training reads: done, blocked, or trouble.
#[test]
fn raw_records_are_prepared_for_training() {
    let dir = tempfile::tempdir().unwrap();
    let (home, raw, out) = (dir.path().join("home"), dir.path().join("raw.jsonl"), dir.path().join("out"));
    assert_eq!(client(&["data", "make", "--out", text(&raw), "--bytes", "300000", "--seed", "4"]), code(DONE));
    let rules = include_str!("../../configs/data-sms.toml")
        .replace("name = \"category\"", "name = \"label\"")
        .replace("values = [\"advertisement\", \"fraud\", \"illegal\", \"other\"]", "")
        .replace(
            "name = \"subcategory\"\nrole = \"feature\"\nnullable = true\nmissing = \"keep\"",
            "name = \"subscriber\"\nrole = \"unit\"",
        )
        .replace(
            "require = \"missing(subcategory) or category != 'advertisement' or len(subcategory) >= 2\"",
            "require = \"len(text) > 3\"",
        )
        .replace("private = false", "private = true")
        .replace("min_train_rows = 1000", "min_train_rows = 500");
    let file = dir.path().join("rules.toml");
    std::fs::write(&file, &rules).unwrap();
    let prepare = |rules: &Path, out: &Path, more: &[&str]| {
        let args = ["data", "prepare", "--config", text(rules), "--input", text(&raw), "--out", text(out)];
        client(&[&args[..], more].concat())
    };
    assert_eq!(prepare(&file, &out, &["--format", "json"]), code(DONE));
    for name in ["prepared.json", "manifest.json", "croissant.jsonld", "quality.json", "quality.html", "nonce", "train-00000.jsonl"] {
        assert!(out.join(name).exists(), "{name}");
    }
    assert!(!std::fs::read_dir(&out).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().starts_with("work-")));
    let shard = std::fs::read(out.join("train-00000.jsonl")).unwrap();
    let manifest = std::fs::read(out.join("manifest.json")).unwrap();
    assert_eq!(prepare(&file, &out, &["--threads", "1"]), code(DONE), "again, into the same directory");
    assert_eq!(std::fs::read(out.join("train-00000.jsonl")).unwrap(), shard);
    assert_eq!(std::fs::read(out.join("manifest.json")).unwrap(), manifest, "the nonce stays");

    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("client.toml"), "[data]\npath = \"../out\"\nname = \"messages\"\n").unwrap();
    assert_eq!(client(&["--dir", text(&home), "data", "check"]), code(DONE), "training reads it");
    std::fs::write(out.join("train-00000.jsonl"), &shard[..shard.len() / 2]).unwrap();
    assert_eq!(client(&["--dir", text(&home), "data", "check"]), code(CHECKED_AND_FALSE), "a shard was changed");

    let strict = dir.path().join("strict.toml");
    std::fs::write(&strict, rules.replace("min_train_rows = 500", "min_train_rows = 500000")).unwrap();
    let blocked = dir.path().join("blocked");
    assert_eq!(prepare(&strict, &blocked, &["--previous", text(&out)]), code(CHECKED_AND_FALSE));
    assert!(
        blocked.join("quality.html").exists() && !blocked.join("prepared.json").exists() && !blocked.join("train-00000.jsonl").exists()
    );

    assert_eq!(client(&["data", "prepare", "--input", text(&raw), "--out", text(&out)]), code(TROUBLE), "no rules");
    assert_eq!(prepare(&home.join("client.toml"), &out, &[]), code(TROUBLE), "other rules");
    assert_eq!(prepare(&file, dir.path(), &[]), code(TROUBLE), "a directory of somebody else");
    assert!(raw.exists() && file.exists());
}
