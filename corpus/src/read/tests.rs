//! What the reader accepts, names and hides.

use std::error::Error;
use std::fmt::Write;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::spans::SpanError;

fn options(bad_lines: BadLines) -> ReadOptions {
    ReadOptions { user_field: None, bad_lines, max_line_bytes: 200, ..ReadOptions::default() }
}

fn read(bytes: &[u8], bad_lines: BadLines) -> Result<Loaded, ReadError> {
    // A tiny buffer, so that lines lie across its edges.
    read_jsonl(BufReader::with_capacity(7, bytes), &options(bad_lines))
}

fn chain(error: &dyn Error) -> String {
    let mut out = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        write!(out, " | {error}").unwrap();
        next = error.source();
    }
    out
}

fn only_reason(bytes: &[u8]) -> LineError {
    let error = read(bytes, BadLines::Fatal).unwrap_err();
    if let ReadError::BadLine { line: 1, source } = error { source } else { panic!("{error:?}") }
}

#[test]
fn a_byte_order_mark_crlf_blank_lines_and_a_missing_last_line_end_are_accepted() {
    let bytes = "\u{feff}{\"text\":\"你好\",\"label\":\"a\",\"language\":\"zh\"}\r\n\r\n  \n{\"text\":\"hi\",\"label\":7}".as_bytes();
    let loaded = read(bytes, BadLines::Fatal).unwrap();
    let seen: Vec<_> = loaded.records.iter().map(|r| (r.text.as_str(), r.label.as_str(), r.language)).collect();
    assert_eq!(seen, [("你好", "a", Some(Language::Chinese)), ("hi", "7", None)]);
    assert_eq!(loaded.report.to_string(), "kept 2, left out 0");
}

#[test]
fn a_missing_file_is_named() {
    let error = load_jsonl(Path::new("no-such-file.jsonl"), &ReadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot open no-such-file.jsonl");
}

#[test]
fn a_file_on_disk_is_read() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, r#"{{"text":"hello","label":"x","user":12}}"#).unwrap();
    let options = ReadOptions { user_field: Some("user".into()), ..ReadOptions::default() };
    let loaded = load_jsonl(file.path(), &options).unwrap();
    assert_eq!(loaded.records[0].user.as_deref(), Some("12"));
}

#[test]
fn each_kind_of_bad_line_has_its_reason() {
    assert!(matches!(only_reason(b"{\"text\":\"a\",\n"), LineError::NotJson { .. }));
    assert_eq!(only_reason(b"[1]"), LineError::NotAnObject { got: JsonKind::Array });
    assert_eq!(only_reason(b"{\"text\":\"\xff\"}"), LineError::NotUtf8 { valid_up_to: 9 });
    assert_eq!(only_reason(br#"{"text":3,"label":"x"}"#), LineError::WrongType { role: FieldRole::Text, got: JsonKind::Number });
    assert_eq!(only_reason(br#"{"text":"a","label":1.5}"#), LineError::WrongType { role: FieldRole::Label, got: JsonKind::Number });
    assert_eq!(only_reason(br#"{"text":"a","label":null}"#), LineError::WrongType { role: FieldRole::Label, got: JsonKind::Null });
    assert_eq!(only_reason(br#"{"text":" ","label":"x"}"#), LineError::EmptyField { role: FieldRole::Text });
    assert_eq!(only_reason(&[b'x'; 201]), LineError::TooLong { max: 200 });
}

#[test]
fn a_label_may_be_a_list_of_parts_of_the_text_and_has_one_spelling_then() {
    let list = r#"[{"label":"b","end":5,"start":3},{"start":0,"end":2,"label":"a","score":1}]"#;
    let loaded = read(format!("{{\"text\":\"ab cd\",\"label\":{list}}}").as_bytes(), BadLines::Fatal).unwrap();
    let spelt = r#"[{"end":2,"label":"a","start":0},{"end":5,"label":"b","start":3}]"#;
    assert_eq!(loaded.records[0].label, spelt);
    let outside = br#"{"text":"CANARY","label":[{"start":0,"end":7,"label":"CANARY"}]}"#;
    assert!(matches!(only_reason(outside), LineError::Spans(SpanError::Offsets { number: 1, .. })));
    let over = br#"{"text":"CANARY","label":[{"start":0,"end":3,"label":"a"},{"start":2,"end":4,"label":"a"}]}"#;
    assert_eq!(only_reason(over), LineError::Spans(SpanError::Overlap));
    let shown = chain(&read(outside, BadLines::Fatal).unwrap_err());
    assert!(shown.contains("span 1 does not lie in its text") && !shown.contains("CANARY"), "{shown}");
    let skipped = read(&[&outside[..], b"\n", br#"{"text":"ab","label":[]}"#].concat(), BadLines::Skip).unwrap();
    assert_eq!(skipped.report.to_string(), "kept 1, left out 1; bad_spans 1");
}

#[test]
fn a_missing_field_lists_the_fields_that_are_there() {
    let error = read(br#"{"txt":"CANARY","label":"CANARY"}"#, BadLines::Fatal).unwrap_err();
    let shown = chain(&error);
    assert!(shown.contains(r#"its fields are ["label", "txt"]"#), "{shown}");
    assert!(!shown.contains("CANARY"));
}

#[test]
fn the_longest_line_may_be_as_long_as_the_limit_and_no_longer() {
    for (padding, fits) in [(0, true), (1, false)] {
        let frame = r#"{"text":"","label":"x"}"#.len();
        let text = "a".repeat(200 - frame + padding);
        let line = format!("\u{feff}{{\"text\":\"{text}\",\"label\":\"x\"}}\r\n");
        assert_eq!(read(line.as_bytes(), BadLines::Fatal).is_ok(), fits);
    }
}

#[test]
fn skipped_lines_are_numbered_counted_and_capped() {
    let mut bytes = br#"{"text":"a","label":"x"}"#.to_vec();
    bytes.extend_from_slice(b"\nnot json".repeat(150).as_slice());
    bytes.push(b'\n');
    bytes.extend_from_slice(&[b'y'; 500]);
    let loaded = read(&bytes, BadLines::Skip).unwrap();
    assert_eq!((loaded.records.len(), loaded.skipped.len(), loaded.skipped[0].line), (1, MAX_NAMED_SKIPS, 2));
    assert_eq!(loaded.report.to_string(), "kept 1, left out 151; line_too_long 1; not_json 150");
}

#[test]
fn a_file_without_a_single_record_is_an_error_even_when_lines_may_be_skipped() {
    assert!(matches!(read(b"\n\n", BadLines::Skip).unwrap_err(), ReadError::Empty));
    let error = read(b"\n{}\n{}\n", BadLines::Skip).unwrap_err();
    assert!(matches!(error, ReadError::NothingUsable { lines: 2, first: 2, .. }), "{error:?}");
}

#[test]
fn no_error_and_no_debug_line_contains_what_a_record_says() {
    let lines: [&str; 7] = [
        r#"{"text":"CANARY","label":CANARY}"#,
        r#""CANARY""#,
        r#"{"text":["CANARY"],"label":"CANARY"}"#,
        r#"{"text":"CANARY","label":{"CANARY":1}}"#,
        r#"{"text":"CANARY"}"#,
        r#"{"text":"CANARY","label":"  "}"#,
        "CANARY",
    ];
    for line in lines {
        let error = read(line.as_bytes(), BadLines::Fatal).unwrap_err();
        assert!(!chain(&error).contains("CANARY"), "{}", chain(&error));
        let good_and_bad = format!("{{\"text\":\"CANARY\",\"label\":\"CANARY\"}}\n{line}");
        let loaded = read(good_and_bad.as_bytes(), BadLines::Skip).unwrap();
        assert!(!format!("{loaded:?} {}", loaded.report).contains("CANARY"));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_every_line_is_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(loaded) = read(&bytes, BadLines::Skip) {
            prop_assert_eq!(loaded.report.kept, loaded.records.len() as u64);
        }
    }

    #[test]
    fn what_a_record_writes_is_what_is_read(text in "[^\\s].{0,20}", label in "[a-z]{1,8}", user in "[a-z]{1,8}") {
        let record = Record { text, label, user: Some(user), language: Some(Language::English) };
        let options = ReadOptions { user_field: Some("user".into()), ..ReadOptions::default() };
        let loaded = read_jsonl(record.to_json_line().as_bytes(), &options).unwrap();
        prop_assert_eq!(&loaded.records, &[record]);
    }
}
