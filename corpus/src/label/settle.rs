//! One label per item out of what its annotators said. Knows no tool.

use super::{Annotation, Source};
use crate::record::Record;
use crate::spans::Spans;
use serde::Serialize;
use std::collections::BTreeMap;

/// A record with where its label comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The record.
    pub record: Record,
    /// The least certain source among those that said so.
    pub source: Source,
}

/// What became of the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettleReport {
    /// Items with annotations.
    pub items: usize,
    /// Items with one label: in the output.
    pub settled: usize,
    /// Items whose annotators are level: left out.
    pub disputed: usize,
    /// Items without a label of the whole text, or with several by one annotator; or of which no annotator's parts can be used: left out.
    pub not_one_label: usize,
}

/// The label that most annotators of each item gave, in the file's order. Each annotator has one vote; who gave several labels has none.
pub fn settle(annotations: &[Annotation]) -> (Vec<Settled>, SettleReport) {
    settled_by(annotations, |said| match said.labels.as_slice() {
        [label] => Some(label.clone()),
        _ => None,
    })
}

/// The same of labelled parts of texts: the list that most annotators of each item gave, all of it, as a record's label spells it
/// ([`Spans::to_label`]). Whose parts overlap or hold nothing has no vote, nor who labelled the whole text and no part.
pub fn settle_parts(annotations: &[Annotation]) -> (Vec<Settled>, SettleReport) {
    settled_by(annotations, |said| {
        let about_parts = !said.spans.is_empty() || said.labels.is_empty();
        let spans = about_parts.then(|| Spans::of_spans(said.spans.clone()).ok()).flatten()?;
        Some(spans.to_label(&said.text))
    })
}

fn settled_by(annotations: &[Annotation], vote: impl Fn(&Annotation) -> Option<String>) -> (Vec<Settled>, SettleReport) {
    let mut items: BTreeMap<u64, Vec<&Annotation>> = BTreeMap::new();
    annotations.iter().for_each(|a| items.entry(a.item).or_default().push(a));
    let (mut out, mut report) = (Vec::new(), SettleReport { items: items.len(), ..SettleReport::default() });
    for said in items.values() {
        let mut votes: BTreeMap<String, Vec<&Annotation>> = BTreeMap::new();
        for &a in said {
            if let Some(label) = vote(a) {
                votes.entry(label).or_default().push(a);
            }
        }
        let most = votes.values().map(Vec::len).max().unwrap_or(0);
        let mut best = votes.iter().filter(|(_, by)| by.len() == most);
        match (best.next(), best.next()) {
            (Some((label, by)), None) => {
                let record = Record { text: said[0].text.clone(), label: label.clone(), user: None, language: None };
                let source = by.iter().map(|a| a.source).max().unwrap_or(Source::Automatic);
                out.push(Settled { record, source });
                report.settled += 1;
            }
            (Some(_), Some(_)) => report.disputed += 1,
            (None, _) => report.not_one_label += 1,
        }
    }
    (out, report)
}
