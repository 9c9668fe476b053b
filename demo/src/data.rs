//! The demo's records: generated or the user's, split into institutions and a held-out part that no institution sees.

use crate::options::{BadLines, Options};
use corpus::pipeline::prepared::{self, Side};
use corpus::{Confusion, Dataset, LabelSet, NaiveBayes, Record, Tokenizer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Share of distinct texts that are held out, in thousandths.
const HELD_OUT_PERMILLE: u32 = 150;
/// Skew of the split of a user's file: 1 is a moderate Dirichlet skew of classes over institutions.
const CONCENTRATION: f64 = 1.0;

/// All records of the demo.
pub(crate) struct World {
    pub(crate) labels: LabelSet,
    pub(crate) institutions: Vec<Vec<Record>>,
    pub(crate) held_out: Vec<Record>,
    /// Lines and records that were left out, by reason.
    pub(crate) report: corpus::Report,
    /// Whether records have persons.
    pub(crate) users: bool,
}

/// Makes the world that the options ask for.
pub(crate) fn make(options: &Options) -> anyhow::Result<World> {
    match &options.cli.data {
        Some(path) if prepared::is_prepared(path) => from_prepared(path, options),
        Some(path) => from_file(path, options),
        None => generated(options),
    }
}

fn generated(options: &Options) -> anyhow::Result<World> {
    let (seed, operators) = (options.cli.seed, u32::from(options.cli.institutions));
    let labels = LabelSet::new(&corpus::sms::LABELS)?;
    let mut all = Vec::new();
    for operator in 0..operators {
        all.extend(corpus::sms::generate(seed, operator, operators, options.cli.records)?);
    }
    let (clean, report) = corpus::prepare(all, &labels, &corpus::clean::CleanLimits::default());
    let split = corpus::split::hash_split(clean, seed, HELD_OUT_PERMILLE);
    let mut institutions: BTreeMap<u32, Vec<Record>> = (0..operators).map(|o| (o, Vec::new())).collect();
    for record in split.train {
        // The generator names persons `op<operator>-u<number>`.
        let operator = record.user.as_deref().and_then(|u| u.strip_prefix("op")?.split_once('-')?.0.parse().ok());
        if let Some(records) = operator.and_then(|o| institutions.get_mut(&o)) {
            records.push(record);
        }
    }
    Ok(World { labels, institutions: institutions.into_values().collect(), held_out: split.held_out, report, users: true })
}

/// Records that `concordat-client data prepare` has cleaned and split: its validation rows are held out.
fn from_prepared(dir: &Path, options: &Options) -> anyhow::Result<World> {
    let (index, train) = prepared::load(dir, Side::Train)?;
    let (_, held_out) = prepared::load(dir, Side::Validation)?;
    let names: BTreeSet<&str> = train.records.iter().chain(&held_out.records).map(|r| r.label.as_str()).collect();
    let labels = LabelSet::new(&names.into_iter().collect::<Vec<_>>())?;
    let report = corpus::Report { kept: train.report.kept + held_out.report.kept, ..corpus::Report::default() };
    let institutions = corpus::split::partition(train.records, usize::from(options.cli.institutions), options.cli.seed, CONCENTRATION)?;
    Ok(World { labels, institutions, held_out: held_out.records, report, users: index.unit == prepared::Unit::User })
}

fn from_file(path: &Path, options: &Options) -> anyhow::Result<World> {
    let bad_lines = match options.cli.bad_lines {
        BadLines::Skip => corpus::BadLines::Skip,
        BadLines::Fatal => corpus::BadLines::Fatal,
    };
    let read = corpus::ReadOptions {
        text_field: options.cli.text_field.clone(),
        label_field: options.cli.label_field.clone(),
        bad_lines,
        ..corpus::ReadOptions::default()
    };
    let loaded = corpus::load_jsonl(path, &read)?;
    // The demo owns all records, so it may name the classes; in a real federation they are agreed on before anybody looks.
    let names: BTreeSet<&str> = loaded.records.iter().map(|r| r.label.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let labels = LabelSet::new(&names)?;
    let (clean, cleaned) = corpus::prepare(loaded.records, &labels, &corpus::clean::CleanLimits::default());
    let split = corpus::split::hash_split(clean, options.cli.seed, HELD_OUT_PERMILLE);
    let institutions = corpus::split::partition(split.train, usize::from(options.cli.institutions), options.cli.seed, CONCENTRATION)?;
    Ok(World { labels, institutions, held_out: split.held_out, report: loaded.report.then(cleaned), users: false })
}

impl World {
    /// Writes one institution's records where its process will read them.
    pub(crate) fn write(&self, institution: usize, path: &Path) -> std::io::Result<()> {
        let lines: String = self.institutions[institution].iter().map(|r| r.to_json_line() + "\n").collect();
        std::fs::write(path, lines)
    }

    /// Records as the trainer sees them.
    pub(crate) fn encode<'a>(&self, records: impl IntoIterator<Item = &'a Record>, tokenizer: &Tokenizer) -> train::batch::Dataset {
        let records: Vec<Record> = records.into_iter().map(without_user).collect();
        let cap = corpus::UnitCap { max_records: 1, seed: 0 };
        let (dataset, _) = Dataset::from_records(&records, &self.labels, tokenizer, &cap);
        let units = dataset
            .examples
            .into_iter()
            .map(|e| train::batch::UnitExamples {
                records: vec![train::batch::Record { tokens: e.tokens, class: e.class, labels: Vec::new() }],
            })
            .collect();
        train::batch::Dataset { units }
    }

    fn pairs<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Vec<(&'a str, u32)> {
        records.into_iter().filter_map(|r| Some((r.text.as_str(), self.labels.class_of(&r.label)?))).collect()
    }

    /// The floor: multinomial Naive Bayes on character 1-3-grams, trained on all institutions' records together, without privacy.
    /// The better of two smoothings, so that the floor is not made low.
    pub(crate) fn naive_bayes(&self) -> anyhow::Result<Confusion> {
        let train = self.pairs(self.institutions.iter().flatten());
        let test = self.pairs(&self.held_out);
        let mut best: Option<Confusion> = None;
        for alpha in [NaiveBayes::DEFAULT_ALPHA, 0.001] {
            let confusion = NaiveBayes::train(&train, self.labels.classes(), alpha)?.evaluate(&test)?;
            if best.as_ref().is_none_or(|b| confusion.macro_f1() > b.macro_f1()) {
                best = Some(confusion);
            }
        }
        best.ok_or_else(|| anyhow::anyhow!("no floor could be computed"))
    }
}

/// A copy without its person: evaluation counts every record.
fn without_user(r: &Record) -> Record {
    Record { text: r.text.clone(), label: r.label.clone(), user: None, language: r.language }
}
