//! Bytes that an institution's own files may hold: raw records of every format, rule files, reports and indices of prepared directories.

use corpus::label::{MAX_RULES, RuleSet};
use corpus::pipeline::counts::{self, Stage};
use corpus::pipeline::depot::MemoryDepot;
use corpus::pipeline::quality::Quality;
use corpus::pipeline::{Inputs, Rules, prepare, prepared, scrub};
use corpus::{BadLines, ReadOptions, read_jsonl};
use std::io::{self, Cursor, Read};

/// One file in memory.
struct One<'a>(&'a [u8]);

impl Inputs for One<'_> {
    fn count(&self) -> usize {
        1
    }
    fn total_bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn open(&self, _: usize) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.to_vec())))
    }
}

/// A rule file for a format, with a stage of every kind.
pub fn rules(input: &str, private: bool) -> String {
    format!(
        "[dataset]\nname = \"fuzz\"\nlicence = \"none\"\npurpose = \"fuzz\"\nretention_days = 1\n[input]\nbad_rows = \"skip\"\nmax_row_bytes = 300\n\
         max_fields = 6\n{input}\n[[columns]]\nname = \"text\"\nrole = \"text\"\nmax_chars = 80\n[[columns]]\nname = \"label\"\nrole = \"label\"\n\
         missing = \"constant\"\nconstant = \"none\"\n\
         [text]\nsimplified = true\nmax_repeat = 3\nboilerplate = ['reply [a-z]+$']\nscripts = [\"han\", \"latin\"]\n\
         [[checks]]\nname = \"short\"\nrequire = \"len(text) < 70 or missing(label)\"\n\
         [scrub]\nkinds = [\"url\", \"email\", \"ip\", \"credit-code\", \"id-number\", \"bank-card\", \"mobile\", \"phone\", \"plate\", \"code\", \"name\"]\n\
         columns = [\"text\"]\n[split]\nkey = \"k\"\nvalidation_permille = 300\n[training]\nprivate = {private}\n"
    )
}

const FORMATS: &[&str] = &[
    "format = \"jsonl\"",
    "format = \"csv\"",
    "format = \"tsv\"\nheader = false\nfields = [\"label\", \"text\"]\nquote = \"none\"",
    "format = \"text\"\nencoding = \"gb18030\"",
    "format = \"csv\"\nencoding = \"utf-16le\"",
    "format = \"text\"\nencoding = \"big5\"",
];

/// Whole preparations: whatever the bytes are, the counters add up and what is written can be read back.
pub fn records(bytes: &[u8]) {
    let (pick, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let format = FORMATS[usize::from(pick & 0x7f) % FORMATS.len()];
    prepared_by(&rules(format, pick & 0x80 != 0), bytes);
}

/// The same of Parquet, whose reader is a foreign library that may unwrap what a damaged page lacks; `prepare` turns that into a refusal.
pub fn parquets(bytes: &[u8]) {
    prepared_by(&rules("format = \"parquet\"\nmax_file_bytes = 100000", false), bytes);
}

fn prepared_by(rules: &str, bytes: &[u8]) {
    let Ok(rules) = Rules::parse(rules) else { unreachable!("the rules above are valid") };
    let depot = MemoryDepot::new();
    let Ok(outcome) = prepare(&rules, &One(bytes), &depot, &|_, _, _| {}) else { return };
    assert_eq!(counts::check(&outcome.quality.stages), Ok(()));
    let written: usize = outcome
        .index
        .shards
        .iter()
        .map(|shard| depot.bytes(&shard.name).map_or(0, |b| b.iter().filter(|byte| **byte == b'\n').count()))
        .sum();
    let dropped: u64 = Stage::ALL.iter().map(|stage| outcome.quality.dropped(*stage)).sum();
    assert_eq!(written as u64 + dropped, outcome.quality.rows_in(Stage::Read));
}

/// A preparation that reports of earlier ones are compared with, and its rules.
pub fn now() -> (Rules, Quality) {
    let Ok(rules) = Rules::parse(&rules(FORMATS[0], false)) else { unreachable!("the rules above are valid") };
    let lines = b"{\"text\":\"good morning\",\"label\":\"a\"}\n{\"text\":\"you have won\",\"label\":\"b\"}\n";
    let Ok(outcome) = prepare(&rules, &One(lines), &MemoryDepot::new(), &|_, _, _| {}) else { unreachable!("two good rows") };
    (rules, outcome.quality)
}

/// Rule files, indices and reports, and texts as scrubbing meets them.
pub fn papers(bytes: &[u8]) {
    if let Ok(index) = prepared::parse(bytes) {
        assert!(index.shards.iter().all(|shard| !shard.name.contains('/')));
    }
    if let Ok(before) = serde_json::from_slice::<Quality>(bytes) {
        let (rules, mut now) = now();
        now.judge(&rules.thresholds, Some(&before));
        assert!(now.drift.is_some());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(Rules::parse(text));
    let kinds = scrub::Kind::ALL.into_iter().collect();
    let mut hits = scrub::Hits::new();
    let found = scrub::scrub(text, &kinds, &mut hits);
    assert_eq!(found.is_some(), hits.values().any(|count| *count > 0));
}

/// Records that are trained on as they are, strict and lenient: no line is lost, and none is longer than its limit.
pub fn lines(bytes: &[u8]) {
    for bad_lines in [BadLines::Fatal, BadLines::Skip] {
        let options = ReadOptions { user_field: Some("user".into()), bad_lines, max_line_bytes: 200, ..ReadOptions::default() };
        let Ok(read) = read_jsonl(bytes, &options) else { continue };
        assert_eq!(read.report.kept, read.records.len() as u64);
        assert!(bad_lines == BadLines::Skip || read.skipped.is_empty(), "a bad line is fatal");
        assert!(read.records.len() + read.skipped.len() <= 1 + bytes.iter().filter(|b| **b == b'\n').count());
    }
}

/// Rules that label: each votes for a class of the set, or abstains.
pub fn label_rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(set) = RuleSet::parse(text) else { return };
    assert!((1..=MAX_RULES).contains(&set.names().len()));
    let votes = set.votes("you have won 12 prizes, 验证码 1234");
    assert!(votes.len() == set.names().len() && votes.iter().flatten().all(|class| set.labels().name(*class).is_some()));
}
