//! The floor on public data, beside the figures of the design. Runs only where the data is: the build never depends on it.

use std::path::PathBuf;

use corpus::clean::CleanLimits;
use corpus::split::hash_split;
use corpus::{BadLines, LabelSet, NaiveBayes, ReadOptions, Record, load_jsonl, prepare};

#[expect(clippy::disallowed_methods, reason = "the one setting of this test; the library itself reads no environment")]
fn data_file(name: &str) -> Option<PathBuf> {
    let path = std::env::var("CONCORDAT_DATA_DIR").ok().map(|dir| PathBuf::from(dir).join(name)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIPPED: {name} is not there; set CONCORDAT_DATA_DIR to the folder that holds it");
    }
    path
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0);
    (100.0 * mean, 100.0 * variance.sqrt())
}

fn pairs<'a>(records: &'a [Record], labels: &LabelSet) -> Vec<(&'a str, u32)> {
    records
        .iter()
        .map(|record| (record.text.as_str(), labels.class_of(&record.label).expect("prepared records have declared labels")))
        .collect()
}

/// Fake-base-station SMS, four categories, de-duplicated, five hash splits with a fifth held out. The design measured accuracy
/// 97.6 +- 0.4 and macro-F1 84.2 +- 2.5 on all fourteen source files; the public file leaves two out.
#[test]
fn naive_bayes_on_fake_base_station_messages() {
    let Some(path) = data_file("fake-base-station-sms.jsonl") else { return };
    let options = ReadOptions { label_field: "category".into(), bad_lines: BadLines::Skip, ..ReadOptions::default() };
    let loaded = load_jsonl(&path, &options).unwrap();
    let labels = LabelSet::new(&["advertisement", "fraud", "illegal", "other"]).unwrap();
    let (records, report) = prepare(loaded.records, &labels, &CleanLimits::default());
    println!("{}", loaded.report.then(report));
    let (mut accuracy, mut f1) = (Vec::new(), Vec::new());
    for seed in 0..5 {
        let split = hash_split(records.clone(), seed, 200);
        let model = NaiveBayes::train(&pairs(&split.train, &labels), labels.classes(), NaiveBayes::DEFAULT_ALPHA).unwrap();
        let confusion = model.evaluate(&pairs(&split.held_out, &labels)).unwrap();
        accuracy.push(confusion.accuracy().unwrap());
        f1.push(confusion.macro_f1().unwrap());
    }
    let ((accuracy, accuracy_sd), (f1, f1_sd)) = (mean_and_deviation(&accuracy), mean_and_deviation(&f1));
    println!("naive Bayes over 5 splits: accuracy {accuracy:.1} +- {accuracy_sd:.1}, macro-F1 {f1:.1} +- {f1_sd:.1}");
    assert!(accuracy > 95.0 && f1 > 75.0);
}
