//! Labels from annotation tools and from rules: imports, votes, agreement. Knows texts and labels; must not know a model, a network or whose
//! task the labels are for.
//!
//! ```text
//! import (Label Studio, doccano, Prodigy) -> Annotation -> settle -> Record
//! RuleSet::votes -> vote (majority, weighted) -> label or nothing
//! agreement: Cohen's and Fleiss' kappa over what several annotators said
//! ```
//!
//! No text, label, name of an annotator or file stands in an error or a `Debug` line here; reports count.

mod agreement;
mod import;
mod offsets;
mod rules;
mod settle;
mod vote;

pub use agreement::{Kappa, KappaError, cohen, cohen_pairs, fleiss, fleiss_counts, ratings};
pub use import::{Format, ImportError, Imported, ItemError, MAX_ITEM_BYTES, MAX_ITEMS, SkipReason, Skipped, import};
pub use offsets::{Counting, OffsetError, Offsets};
pub use rules::{MAX_PATTERN_BYTES, MAX_RULE_FILE, MAX_RULES, RawRule, RawRules, RuleError, RuleSet};
pub use settle::{SettleReport, Settled, settle, settle_parts};
pub use vote::{Outcome, RuleFigures, VoteReport, Voting, vote};

use serde::{Deserialize, Serialize};

/// How a label came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A person chose it.
    Manual,
    /// A person accepted or changed what a program proposed.
    SemiAutomatic,
    /// A program chose it and nobody looked.
    Automatic,
}

impl Source {
    /// As files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::SemiAutomatic => "semi-automatic",
            Self::Automatic => "automatic",
        }
    }
}

/// A labelled part of a text.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// First byte; on a character's border.
    pub start: usize,
    /// Byte behind the last; on a character's border.
    pub end: usize,
    /// Its label.
    pub label: String,
}

/// What one annotator, or one program, said about one text.
///
/// # Privacy
/// Raw personal data. `Debug` prints lengths only.
#[derive(Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Number of the item in its file, from 1: all annotations of one item share it.
    pub item: u64,
    /// The text.
    pub text: String,
    /// Labels of the whole text, in the file's order.
    pub labels: Vec<String>,
    /// Labelled parts, in the file's order.
    pub spans: Vec<Span>,
    /// Who said so, as the tool names them.
    pub annotator: Option<String>,
    /// How.
    pub source: Source,
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Span({}..{})", self.start, self.end)
    }
}

impl std::fmt::Debug for Annotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Annotation")
            .field("item", &self.item)
            .field("text_bytes", &self.text.len())
            .field("labels", &self.labels.len())
            .field("spans", &self.spans)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
