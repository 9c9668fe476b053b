//! `data label`: labels from annotation tools and from rules (corpus room, `label`). Figures go to the terminal, records to the file named.

use super::answer::{Answer, Failure};
use super::bar::{Bar, Step};
use crate::files::{self, Item};
use clap::{Args, Subcommand, ValueEnum};
use corpus::label::{
    Counting, Format, ImportError, MAX_RULE_FILE, RuleSet, Settled, SkipReason, Voting, cohen_pairs, fleiss, fleiss_counts, import,
    ratings, settle, settle_parts, vote,
};
use corpus::read::BadLines;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Most bytes of records that rules label at once: texts and votes are held.
const MAX_INPUT: u64 = 4 << 30;
const READING: Step = Step::of_bytes("reading");

#[derive(Debug, Subcommand)]
pub(super) enum LabelVerb {
    /// Take labels from an annotation tool's export
    ///
    /// Writes one record per line with its text, its label and where that comes from; items on which annotators are level, or without
    /// exactly one label, are left out and counted. Agreement between annotators is part of the answer. With --parts the records have the
    /// list of labelled parts that most annotators gave, in the field spans.
    Import(Import),
    /// Label texts by regular expressions that vote
    ///
    /// The rule file is TOML: labels = ["ham", "spam"], then [[rule]] with name, pattern, label and, where a match is to be passed over
    /// all the same, unless. Rules that do not match abstain.
    Rules(Rules),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tool {
    /// Label Studio, JSON
    LabelStudio,
    /// doccano, JSON Lines
    Doccano,
    /// Prodigy, JSON Lines
    Prodigy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Offsets {
    /// Unicode code points
    CodePoints,
    /// UTF-16 units, as browsers count
    Utf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BadItems {
    /// Leave out and count
    Skip,
    /// Stop at the first
    Fatal,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ballot {
    /// One vote each
    Majority,
    /// Votes weighed by how often a rule agrees with the others
    Weighted,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Which tool wrote the file
    #[arg(long, value_enum, value_name = "TOOL")]
    from: Tool,
    /// The export
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// File for the labelled records, JSON Lines
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What offsets count in doccano's file, which does not say
    #[arg(long, value_enum, default_value = "code-points")]
    offsets: Offsets,
    /// Write labelled parts of texts, for plans that ask for tags, instead of labels of whole texts
    #[arg(long)]
    parts: bool,
    /// What an item does that is no annotation
    #[arg(long, value_enum, default_value = "fatal")]
    bad_items: BadItems,
}

#[derive(Debug, Args)]
pub(super) struct Rules {
    /// Rule file, TOML
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// Texts, JSON Lines
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Field of the text
    #[arg(long, default_value = "text", value_name = "FIELD")]
    text_field: String,
    /// File for the labelled records, JSON Lines
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How votes become a label
    #[arg(long, value_enum, default_value = "weighted")]
    vote: Ballot,
}

pub(super) fn run(verb: &LabelVerb) -> Result<Answer, Failure> {
    match verb {
        LabelVerb::Import(options) => take(options),
        LabelVerb::Rules(options) => label(options),
    }
}

fn take(o: &Import) -> Result<Answer, Failure> {
    let format = match (o.from, o.offsets) {
        (Tool::LabelStudio, _) => Format::LabelStudio,
        (Tool::Doccano, Offsets::CodePoints) => Format::Doccano(Counting::CodePoints),
        (Tool::Doccano, Offsets::Utf16) => Format::Doccano(Counting::Utf16),
        (Tool::Prodigy, _) => Format::Prodigy,
    };
    let bad = match o.bad_items {
        BadItems::Skip => BadLines::Skip,
        BadItems::Fatal => BadLines::Fatal,
    };
    let bar = Bar::default();
    let file = open(&o.input)?;
    let length = file.metadata().map(|m| m.len()).ok();
    let read = Watched { inner: file, bar: &bar, length };
    let got = import(BufReader::new(read), format, bad).map_err(|e| import_failure(&e))?;
    bar.end();
    let (settled, report) = if o.parts { settle_parts(&got.annotations) } else { settle(&got.annotations) };
    let line = |s: &Settled| {
        // Labelled parts are a list in their text's own object, not a text that holds one.
        let parts = || serde_json::from_str(&s.record.label).unwrap_or(Value::Null);
        let (field, label) = if o.parts { ("spans", parts()) } else { ("label", s.record.label.as_str().into()) };
        json!({ "text": s.record.text, field: label, "label_source": s.source })
    };
    write(&o.out, settled.iter().map(line))?;

    let ratings = ratings(&got.annotations);
    let pairs = cohen_pairs(&ratings);
    let fleiss = fleiss(&fleiss_counts(&ratings)).ok();
    let shown = |k: Option<f64>| k.map_or("-".to_owned(), |k| format!("{k:.3}"));
    let mut rows = vec![
        ("items", got.items.to_string()),
        ("annotations", got.annotations.len().to_string()),
        ("labelled records", report.settled.to_string()),
        ("disputed", report.disputed.to_string()),
        ("without one label", report.not_one_label.to_string()),
        ("rejected by annotators", got.count(SkipReason::Rejected).to_string()),
        ("not annotated", got.count(SkipReason::Unlabelled).to_string()),
        ("bad items left out", got.count(SkipReason::Bad).to_string()),
        ("Fleiss' kappa", fleiss.map_or("-".to_owned(), |k| format!("{} over {} items", shown(k.kappa), k.items))),
    ];
    rows.extend(pairs.values().map(|k| ("Cohen's kappa of two", format!("{} over {} items", shown(k.kappa), k.items))));
    let kappa = |k: &corpus::label::Kappa| json!({ "kappa": k.kappa, "observed": k.observed, "expected": k.expected, "items": k.items });
    let bad_items: Vec<Value> =
        got.skipped.iter().filter_map(|s| Some(json!({ "item": s.item, "why": s.error?.to_string() }))).take(100).collect();
    let data = json!({
        "items": got.items, "annotations": got.annotations.len(), "settled": report,
        "skipped": { "bad": got.count(SkipReason::Bad), "rejected": got.count(SkipReason::Rejected), "unlabelled": got.count(SkipReason::Unlabelled) },
        "bad_items": bad_items,
        "agreement": {
            "fleiss": fleiss.as_ref().map(kappa),
            "cohen": pairs.iter().map(|((a, b), k)| json!({ "annotators": [a, b], "figures": kappa(k) })).collect::<Vec<_>>(),
        },
    });
    Ok(Answer::table(rows).with_data(&data))
}

fn label(o: &Rules) -> Result<Answer, Failure> {
    let bytes = files::read(&o.rules, MAX_RULE_FILE, Item::DataRules).map_err(|e| Failure::trouble("no_rules", &e))?;
    let text = String::from_utf8(bytes).map_err(|e| Failure::trouble("bad_rules", &e.utf8_error()))?;
    let set = RuleSet::parse(&text).map_err(|e| Failure::trouble("bad_rules", &e))?;
    let mut rows = Vec::new();
    let mut input = String::new();
    let read = open(&o.input)?.take(MAX_INPUT + 1).read_to_string(&mut input);
    read.map_err(|e| Failure::trouble("bad_data", &e))?;
    if input.len() as u64 > MAX_INPUT {
        return Err(Failure::trouble_text("bad_data", "the input is longer than 4 GiB").hint("label it in parts"));
    }
    let bar = Bar::default();
    for (line, number) in input.lines().zip(1u64..).filter(|(l, _)| !l.trim().is_empty()) {
        bar.tell(READING, line.len() as u64 + 1, Some(input.len() as u64));
        let row = serde_json::from_str::<serde_json::Map<String, Value>>(line)
            .ok()
            .filter(|m| m.get(&o.text_field).is_some_and(Value::is_string));
        rows.push(row.ok_or_else(|| Failure::refused_text("bad_data", &format!("line {number} is no object with a text in the field")))?);
    }
    let votes: Vec<_> =
        bar.each(Step::of("voting"), rows.iter()).map(|m| set.votes(m[&o.text_field].as_str().unwrap_or_default())).collect();
    let voting = match o.vote {
        Ballot::Majority => Voting::Majority,
        Ballot::Weighted => Voting::Weighted,
    };
    bar.end();
    let (outcomes, report) = vote(&votes, set.labels().classes(), voting);
    let labelled = rows.into_iter().zip(&outcomes).filter_map(|(mut row, outcome)| {
        let corpus::label::Outcome::Label(class) = outcome else { return None };
        row.insert("label".into(), set.labels().name(*class)?.into());
        row.insert("label_source".into(), "automatic".into());
        Some(Value::Object(row))
    });
    write(&o.out, labelled)?;

    let mut table = vec![
        ("texts".to_owned(), report.texts.to_string()),
        ("labelled".to_owned(), report.labelled.to_string()),
        ("tied".to_owned(), report.tied.to_string()),
        ("abstained".to_owned(), report.abstained.to_string()),
        ("conflicting".to_owned(), report.conflicting.to_string()),
    ];
    for (name, f) in set.names().zip(&report.rules) {
        let figures = format!(
            "coverage {:.3}, overlap {:.3}, conflict {:.3}, estimated accuracy {:.3}",
            f.coverage, f.overlap, f.conflict, f.accuracy
        );
        table.push((format!("rule {name}"), figures));
    }
    let rules: Vec<Value> = set.names().zip(&report.rules).map(|(name, f)| json!({ "rule": name, "figures": f })).collect();
    let data = json!({
        "texts": report.texts, "labelled": report.labelled, "tied": report.tied, "abstained": report.abstained,
        "conflicting": report.conflicting, "rules": rules,
        "labels": set.labels().names().iter().zip(&report.by_class).map(|(l, n)| json!({ "label": l, "texts": n })).collect::<Vec<_>>(),
    });
    Ok(Answer::table(table.iter().map(|(k, v)| (k.as_str(), v.clone()))).with_data(&data))
}

/// Tells how much of a file was read.
struct Watched<'a> {
    inner: File,
    bar: &'a Bar,
    length: Option<u64>,
}

impl std::io::Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.bar.tell(READING, got as u64, self.length);
        Ok(got)
    }
}

fn import_failure(error: &ImportError) -> Failure {
    if matches!(error, ImportError::Item { .. }) {
        return Failure::refused("bad_item", error).hint("--bad-items skip leaves such items out and counts them");
    }
    Failure::trouble("bad_data", error)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| Failure::trouble("no_data", &e).hint("--input names the file"))
}

/// The whole file or none of it; readable by its owner only. What lies there already, labels that somebody has corrected perhaps, stays.
fn write(path: &Path, lines: impl Iterator<Item = Value>) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(
            Failure::trouble_text("not_written", "there is a file of this name already").hint("--out names a file that does not exist yet")
        );
    }
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend_from_slice(line.to_string().as_bytes());
        bytes.push(b'\n');
    }
    // A bare name lies in the working directory.
    let here = path.parent().is_none_or(|p| p.as_os_str().is_empty());
    let path = if here { Path::new(".").join(path) } else { path.to_owned() };
    files::replace_secret(&path, &bytes, Item::Prepared).map_err(|e| Failure::trouble("not_written", &e))
}
