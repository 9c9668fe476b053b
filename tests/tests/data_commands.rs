//! `concordat-client data label | tokenize | describe`, called as its `main` calls them: exit codes, files, and what is not in them.

use corpus::pack::{NO_CLASS, Shard};
use corpus::tokenizer::{Subword, TextTokenizer, WordRule};
use protocol::codec::decode;
use protocol::data_manifest::{CountClass, DataManifest};
use protocol::statement::Payload as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DONE: u8 = 0;
const CHECKED_AND_FALSE: u8 = 1;
const TROUBLE: u8 = 2;

fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

fn client(args: &[&str]) -> String {
    let args = std::iter::once("concordat-client").chain(args.iter().copied()).map(OsString::from);
    format!("{:?}", client::cli::run(args))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn written(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Two persons with two texts each, and one with a long one.
fn home(dir: &Path) -> PathBuf {
    let home = dir.join("home");
    std::fs::create_dir(&home).unwrap();
    let mut records = String::new();
    for (user, label, words) in
        [("a", "ham", "good morning"), ("b", "spam", "you have won"), ("a", "ham", "see you"), ("b", "spam", "call now")]
    {
        records += &serde_json::json!({ "text": words, "label": label, "user": user }).to_string();
        records.push('\n');
    }
    records += &serde_json::json!({ "text": "very long text ".repeat(40), "label": "ham", "user": "c" }).to_string();
    written(&home, "records.jsonl", &records);
    written(&home, "client.toml", "[data]\npath = \"records.jsonl\"\nname = \"messages\"\nuser_field = \"user\"\n");
    home
}

#[test]
fn an_export_becomes_labelled_records_and_bad_items_are_counted_or_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    let good = r#"{"text": "win", "label": ["spam"], "username": "x"}"#;
    let export = written(dir.path(), "doccano.jsonl", &format!("{good}\n{{\"text\": \"ab\", \"label\": [[0, 9, \"X\"]]}}\n"));
    let import = |more: &[&str]| {
        client(&[&["data", "label", "import", "--from", "doccano", "--input", text(&export), "--out", text(&out)][..], more].concat())
    };
    assert_eq!(import(&[]), code(CHECKED_AND_FALSE), "the second item has a span outside its text");
    assert!(!out.exists());
    assert_eq!(import(&["--bad-items", "skip", "--format", "json"]), code(DONE));
    let line: serde_json::Value = serde_json::from_str(std::fs::read_to_string(&out).unwrap().trim()).unwrap();
    assert_eq!((line["text"].as_str(), line["label"].as_str(), line["label_source"].as_str()), (Some("win"), Some("spam"), Some("manual")));
    let before = std::fs::read(&out).unwrap();
    assert_eq!(import(&["--bad-items", "skip"]), code(TROUBLE), "what is there may have been corrected by hand");
    assert_eq!(std::fs::read(&out).unwrap(), before);
    let none = dir.path().join("none");
    assert_eq!(client(&["data", "label", "import", "--from", "prodigy", "--input", text(&none), "--out", text(&out)]), code(TROUBLE));
}

/// What an annotation tool exports is what a plan that asks for tags reads.
#[test]
fn exported_parts_of_texts_become_records_that_are_checked_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let (home, out) = (dir.path(), dir.path().join("records.jsonl"));
    let export = written(home, "doccano.jsonl", "{\"text\": \"took Aspirin\", \"label\": [[5, 12, \"drug\"]], \"username\": \"x\"}\n");
    let line = ["data", "label", "import", "--from", "doccano", "--parts", "--input", text(&export), "--out", text(&out)];
    assert_eq!(client(&line), code(DONE));
    let record: serde_json::Value = serde_json::from_str(std::fs::read_to_string(&out).unwrap().trim()).unwrap();
    assert_eq!(record["spans"], serde_json::json!([{ "start": 5, "end": 12, "label": "drug" }]));
    written(home, "client.toml", "[data]\npath = \"records.jsonl\"\nname = \"notes\"\nlabel_field = \"spans\"\n");
    assert_eq!(client(&["--dir", text(home), "data", "check"]), code(DONE));
}

#[test]
fn rules_label_what_they_match_and_leave_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (
        written(dir.path(), "in.jsonl", "{\"text\": \"a prize\", \"id\": 1}\n\n{\"text\": \"hello\", \"id\": 2}\n"),
        dir.path().join("out"),
    );
    let rules = "labels = [\"ham\", \"spam\"]\n[[rule]]\nname = \"prize\"\npattern = \"prize\"\nlabel = \"spam\"\n";
    let run = |rules: &str, vote: &str| {
        let rules = written(dir.path(), "rules.toml", rules);
        client(&["data", "label", "rules", "--rules", text(&rules), "--input", text(&input), "--out", text(&out), "--vote", vote])
    };
    assert_eq!(run(rules, "majority"), code(DONE));
    let lines = std::fs::read_to_string(&out).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((line["id"].as_u64(), line["label"].as_str(), line["label_source"].as_str()), (Some(1), Some("spam"), Some("automatic")));
    assert_eq!(run(&rules.replace("\"prize\"\nlabel", "\"(\"\nlabel"), "weighted"), code(TROUBLE), "no regular expression");
    assert_eq!(run(&rules.replace("label = \"spam\"", "label = \"eggs\""), "weighted"), code(TROUBLE), "no such label");
}

#[test]
fn records_become_shards_that_their_tokenizer_reads() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let tokenize = |out: &Path, more: &[&str]| {
        let args = ["--dir", text(&home), "data", "tokenize", "--out", text(out), "--row", "16", "--vocab", "300"];
        client(&[&args[..], more].concat())
    };
    let padded = dir.path().join("padded");
    assert_eq!(tokenize(&padded, &[]), code(DONE));
    let json = std::fs::read(padded.join("tokenizer.json")).unwrap();
    let tokenizer = Subword::load(&json, WordRule::Pattern).unwrap();
    let shard = Shard::open(&padded.join("tokens-00000.bin")).unwrap();
    shard.expect_tokenizer(tokenizer.digest()).unwrap();
    let rows: Vec<_> = (0..shard.len()).map(|i| shard.row(i).unwrap()).collect();
    let texts: Vec<String> = rows.iter().map(|r| tokenizer.decode(&r.tokens)).collect();
    assert_eq!((rows.len(), texts[0].as_str(), texts[2].as_str(), rows[0].class, rows[2].class), (5, "good morning", "you have won", 0, 1));
    assert_eq!((rows[0].unit, rows[1].unit, rows[2].unit), (0, 0, 1), "a person's texts lie together");

    let packed = dir.path().join("packed");
    let file = padded.join("tokenizer.json");
    let more = ["--rows", "packed", "--tokenizer", text(&file), "--shard-bytes", "400"];
    assert_eq!(tokenize(&packed, &more), code(DONE));
    let shards: Vec<Shard> =
        (0..).map(|i| packed.join(format!("tokens-{i:05}.bin"))).take_while(|p| p.exists()).map(|p| Shard::open(&p).unwrap()).collect();
    assert!(shards.len() > 1, "four hundred bytes hold few rows");
    let all: Vec<_> = shards.iter().flat_map(|s| (0..s.len()).map(|i| s.row(i).unwrap())).collect();
    assert!(all.iter().all(|r| r.class == NO_CLASS));
    let of = |unit: u32| tokenizer.decode(&all.iter().filter(|r| r.unit == unit).flat_map(|r| r.tokens.clone()).collect::<Vec<_>>());
    assert_eq!([of(0), of(1)], ["good morningsee you", "you have woncall now"]);

    assert_eq!(tokenize(&packed, &["--kind", "byte"]), code(DONE));
    assert_eq!(tokenize(&packed, &["--tokenizer", text(&home.join("client.toml"))]), code(TROUBLE), "no tokenizer");
    assert_eq!(tokenize(&packed, &["--vocab", "100"]), code(TROUBLE));
}

/// A22: a description has codes, classes and hashes, whatever words stand in what it is made of.
#[test]
fn what_is_said_about_records_has_no_words_and_no_counts_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let prepared = dir.path().join("CANARY-prepared");
    std::fs::create_dir(&prepared).unwrap();
    let manifest = serde_json::json!({
        "name": "CANARY-name", "licence": "CANARY-licence", "purpose": "CANARY-purpose", "retention_days": 90, "unit": "user",
        "schema": [{ "name": "CANARY-column" }], "treatment": { "rules_sha256": "ab".repeat(32) },
        "counts": { "train": "10000-19999", "train_units": "5000-9999" }, "quality_holds": true,
    });
    written(&prepared, "manifest.json", &manifest.to_string());
    let describe = |more: &[&str]| client(&[&["--dir", text(&home), "data", "describe", "--prepared", text(&prepared)][..], more].concat());
    assert_eq!(describe(&[]), code(TROUBLE), "the ground is not guessed");
    assert_eq!(describe(&["--basis", "because"]), code(TROUBLE));
    assert_eq!(describe(&["--basis", "research", "--period", "2026-06..2026-01"]), code(TROUBLE));
    assert_eq!(describe(&["--basis", "research", "--period", "2026-01..2026-06", "--format", "json"]), code(DONE));
    let bytes = std::fs::read(home.join("data-manifest")).unwrap();
    let said: DataManifest = decode(&bytes, DataManifest::LIMIT).unwrap();
    assert_eq!((said.records, said.units, said.retention_days), (CountClass::of(10_000), CountClass::of(5_000), 90));
    assert!(!bytes.windows(6).any(|w| w == b"CANARY"));
    written(&prepared, "manifest.json", &manifest.to_string().replace("\"user\"", "\"record\""));
    assert_eq!(describe(&["--basis", "research"]), code(CHECKED_AND_FALSE), "another unit than the settings");
}
