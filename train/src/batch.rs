//! An institution's examples, and how several records become one batch. Knows no file and no text: tokens come in as numbers.
//!
//! Records of a batch lie end to end, without padding: `(N, C)` holds N = n_0 + n_1 + … tokens of B records, and [`Spans`] says where
//! each record begins and ends. Every kernel walks record by record, so the shapes it sees depend on that record alone, and one unit's
//! gradient is bitwise the same whatever else is in the batch (privacy.md D19).

use crate::model::parameters::size;
use candle_core::Tensor;
use protocol::plan::{Asks, EncoderConfig};
use std::ops::Range;
use std::sync::Arc;

/// One labelled record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Token numbers below the plan's vocabulary. Tokens after the longest sequence of the plan are not read.
    pub tokens: Vec<u32>,
    /// Number of the class in the plan's list.
    pub class: u32,
    /// What a model that answers token by token shall say: one label per token (or [`UNASKED`]) for tagging and masked tokens, the
    /// answer's own tokens for a decoder or an encoder-decoder; empty where the class or the text itself says all.
    pub labels: Vec<u32>,
}

/// The label of a token that nobody is asked about.
pub const UNASKED: u32 = u32::MAX;

/// All records of one privacy unit.
#[derive(Clone, PartialEq, Eq)]
pub struct UnitExamples {
    /// In the institution's keyed order (privacy.md D31): a plan's cap keeps the first ones.
    pub records: Vec<Record>,
}

/// The local data of one task. Has no `Debug`: nothing prints a record by accident.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The privacy units.
    pub units: Vec<UnitExamples>,
}

/// Data that does not fit the model. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A token number outside the vocabulary.
    #[error("unit {unit} has a token outside the vocabulary of {vocab}")]
    Token {
        /// Position of the unit in the data set.
        unit: usize,
        /// Size of the vocabulary.
        vocab: u32,
    },
    /// A class number outside the plan's list.
    #[error("unit {unit} has a class outside the plan's {classes} classes")]
    Class {
        /// Position of the unit in the data set.
        unit: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Another number of labels than of tokens, or a label that no token can have.
    #[error("unit {unit} has labels that are not one for each token, each below {choices}")]
    Labels {
        /// Position of the unit in the data set.
        unit: usize,
        /// Labels that there are.
        choices: u32,
    },
}

impl Dataset {
    /// All records of all units.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.units.iter().flat_map(|u| &u.records)
    }

    /// Checks every token of texts and labels, and every class where one is asked for, against the model.
    ///
    /// # Errors
    /// [`DataError`], the first unit that does not fit.
    pub fn check(&self, config: &EncoderConfig) -> Result<(), DataError> {
        let vocab = config.vocab;
        for (unit, examples) in self.units.iter().enumerate() {
            for record in &examples.records {
                let outside = |tokens: &[u32]| tokens.iter().any(|&t| t >= vocab);
                let answered = match config.asks() {
                    Asks::Tags => each(record, config.choices()).then_some(()).ok_or(DataError::Labels { unit, choices: config.choices() }),
                    Asks::MaskedTokens => each(record, vocab).then_some(()).ok_or(DataError::Labels { unit, choices: vocab }),
                    Asks::Class if size(record.class) >= config.classes.len() => {
                        Err(DataError::Class { unit, classes: config.classes.len() })
                    }
                    Asks::Class | Asks::NextToken | Asks::Answer | Asks::Translate if outside(&record.labels) => {
                        Err(DataError::Token { unit, vocab })
                    }
                    Asks::Class | Asks::NextToken | Asks::Answer | Asks::Translate => Ok(()),
                };
                if outside(&record.tokens) {
                    return Err(DataError::Token { unit, vocab });
                }
                answered?;
            }
        }
        Ok(())
    }
}

/// Whether every token has a label of its own, or is not asked for.
fn each(record: &Record, choices: u32) -> bool {
    record.labels.len() == record.tokens.len() && record.labels.iter().all(|&label| label < choices || label == UNASKED)
}

/// Where each record of a batch begins and ends among its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans(Arc<[usize]>);

impl Spans {
    /// Spans of these lengths, end to end.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut bounds = vec![0];
        let mut end = 0usize;
        for length in lengths {
            end += length;
            bounds.push(end);
        }
        Self(bounds.into())
    }
    /// One row per record.
    pub fn single_rows(records: usize) -> Self {
        Self::of(std::iter::repeat_n(1, records))
    }
    /// Records B.
    pub fn records(&self) -> usize {
        self.0.len() - 1
    }
    /// Rows N of all records together.
    pub fn rows(&self) -> usize {
        self.0[self.0.len() - 1]
    }
    /// Rows of one record.
    pub fn of_record(&self, record: usize) -> Range<usize> {
        self.0[record]..self.0[record + 1]
    }
    /// Rows of neighbouring records.
    pub fn of_records(&self, records: &Range<usize>) -> Range<usize> {
        self.0[records.start]..self.0[records.end]
    }
    /// The rows of each record in turn.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.windows(2).map(|w| w[0]..w[1])
    }
}

/// Several records, packed.
pub struct Batch {
    /// Token numbers of all records end to end, N of them.
    pub tokens: Vec<u32>,
    /// Where each record lies.
    pub spans: Spans,
    /// Class of each record, B of them.
    pub classes: Vec<u32>,
    /// Labels of all records end to end.
    pub labels: Vec<u32>,
    /// Where each record's labels lie.
    pub label_spans: Spans,
}

impl Batch {
    /// Packs records, tokens and labels of each shortened to `max_tokens`.
    pub fn pack<'a>(records: impl IntoIterator<Item = &'a Record>, max_tokens: usize) -> Self {
        let (mut tokens, mut lengths, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut labels, mut label_lengths) = (Vec::new(), Vec::new());
        for record in records {
            let [kept, said] = [&record.tokens, &record.labels].map(|all| &all[..all.len().min(max_tokens)]);
            tokens.extend_from_slice(kept);
            lengths.push(kept.len());
            classes.push(record.class);
            labels.extend_from_slice(said);
            label_lengths.push(said.len());
        }
        Self { tokens, spans: Spans::of(lengths), classes, labels, label_spans: Spans::of(label_lengths) }
    }
}

/// Checks that a tensor has as many rows as the spans.
pub(crate) fn expect_rows(x: &Tensor, spans: &Spans) -> candle_core::Result<()> {
    if x.dims().first() == Some(&spans.rows()) {
        return Ok(());
    }
    candle_core::bail!("got {:?}, expected {} rows", x.shape(), spans.rows())
}
