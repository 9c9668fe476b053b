//! From a file to what is learnt from and what is judged by. No text stands in any error here.

use super::asked::{BeginError, unnamed};
use super::begun::Begun;
use super::plan::{CentralPlan, Task};
use crate::data::{DataError, per_token};
use crate::files::{self, Item, StoreError};
use corpus::clean::CleanLimits;
use corpus::dataset::UnitCap;
use corpus::labels::LabelSetError;
use corpus::read::{ReadError, ReadOptions, read_jsonl};
use corpus::report::RejectReason;
use corpus::split::hash_split;
use corpus::tokenize::{ToSequence, Tokenizer, TokenizerError};
use corpus::tokenizer::{Published, SubwordError};
use corpus::{LabelSet, Record, Report};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::plan::{Asks, EncoderConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use train::batch::Record as TrainRecord;
use train::fit::{Fit, FitError, Material};
use train::hf::base::Base;
use train::model::{DecoderConfig, DecoderWeights, ModelError, initial};

/// Most bytes of a file that is read whole.
const MAX_FILE: usize = 1 << 30;
/// Most different characters; more would be a sign of a file that is no text.
const MAX_CHARACTERS: usize = 1 << 16;

/// Why there is nothing to train on. The institution's to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MaterialError {
    /// The file.
    #[error("the data could not be read")]
    Store(#[from] StoreError),
    /// Not UTF-8.
    #[error("the text is not UTF-8; the first byte that is not is number {0}")]
    NotText(usize),
    /// Too many different characters.
    #[error("the text has {0} different characters, at most {MAX_CHARACTERS} expected")]
    Characters(usize),
    /// The records. Names lines and fields, never values.
    #[error("the records could not be read")]
    Read(#[from] ReadError),
    /// Classes that are no label set.
    #[error("the plan's classes are not a label set")]
    Labels(#[from] LabelSetError),
    /// Numbers that are no tokenizer.
    #[error("the plan's tokenizer cannot be made")]
    Tokenizer(#[from] TokenizerError),
    /// A model that cannot be built.
    #[error("the plan's model cannot be built")]
    Model(#[from] ModelError),
    /// A model that begins from nothing.
    #[error("the plan's model cannot begin")]
    Begin(#[from] BeginError),
    /// Records that say nothing of what is asked.
    #[error("the records do not fit the plan")]
    Data(#[from] DataError),
    /// A tokenizer that this version does not read.
    #[error("the checkpoint's tokenizer cannot be used")]
    Published(#[from] SubwordError),
    /// A model that this loop does not know.
    #[error("the plan's model cannot be trained here")]
    Fit(#[from] FitError),
    /// One side of the split is empty or too short.
    #[error("the split leaves {train} to learn from and {held_out} to judge by; both must be more than {least}")]
    Split {
        /// Tokens or records.
        train: usize,
        /// Tokens or records.
        held_out: usize,
        /// What a side must have more of.
        least: usize,
    },
}

/// A model at its start, and its data.
pub(crate) struct Loaded {
    pub(crate) fit: Fit,
    pub(crate) train: Material,
    pub(crate) held_out: Material,
    /// Of the data file.
    pub(crate) data_digest: Sha256,
    /// What became of records, where there are records.
    pub(crate) report: Option<Report>,
    /// Tokens or records on either side.
    pub(crate) sizes: (usize, usize),
    /// What the best model goes out by, beside its snapshot; none for a model from random weights.
    pub(crate) publishes: Option<(Base, EncoderConfig)>,
    /// What it begins from instead of its seed's weights, if anything.
    pub(crate) begun: Option<Begun>,
}

impl Loaded {
    /// Reads the data and builds the model, on the checkpoint that the plan names.
    pub(crate) fn read(plan: &CentralPlan, path: &Path, base: Option<Base>) -> Result<Self, MaterialError> {
        let bytes = files::read(path, MAX_FILE, Item::Records)?;
        let digest = Sha256(sha256(&[&bytes]));
        match (&plan.task, base) {
            (Task::Asked { .. }, base) => asked(plan, base, &bytes, digest),
            (Task::Characters(_) | Task::Classes { .. }, Some(base)) => Err(unnamed(&base).into()),
            (Task::Characters(config), None) => characters(plan, config, &bytes, digest),
            (Task::Classes { .. }, None) => classes(plan, &bytes, digest),
        }
    }
}

/// Characters in the order of their code points: the same text has the same numbers everywhere.
fn characters(plan: &CentralPlan, config: &DecoderConfig, bytes: &[u8], data_digest: Sha256) -> Result<Loaded, MaterialError> {
    let text = std::str::from_utf8(bytes).map_err(|e| MaterialError::NotText(e.valid_up_to()))?;
    let alphabet: BTreeSet<char> = text.chars().collect();
    if alphabet.len() > MAX_CHARACTERS {
        return Err(MaterialError::Characters(alphabet.len()));
    }
    let numbers: BTreeMap<char, u32> = alphabet.into_iter().zip(0..).collect();
    let tokens: Vec<u32> = text.chars().map(|c| numbers[&c]).collect();
    let vocab = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    let weights = DecoderWeights::initial(&DecoderConfig { vocab, ..config.clone() }, plan.initial_seed)?;
    // By position: neighbouring characters are no independent records, so only the end of the text is new.
    let kept = usize::try_from(plan.held_out_permille).unwrap_or(0).saturating_mul(tokens.len()) / 1000;
    let (train, held_out) = tokens.split_at(tokens.len() - kept);
    let (least, sizes) = (usize::try_from(config.max_tokens).unwrap_or(usize::MAX), (train.len(), held_out.len()));
    if sizes.0 <= least || sizes.1 <= least {
        return Err(MaterialError::Split { train: sizes.0, held_out: sizes.1, least });
    }
    let (train, held_out) = (Material::Text(train.to_vec()), Material::Text(held_out.to_vec()));
    let fit = Fit::decoder(&weights, plan.recipe.clone())?;
    Ok(Loaded { fit, train, held_out, data_digest, report: None, sizes, publishes: None, begun: None })
}

/// Cleaned, unique, and split by a hash of the text.
fn classes(plan: &CentralPlan, bytes: &[u8], data_digest: Sha256) -> Result<Loaded, MaterialError> {
    let Task::Classes { model, text_field, label_field, balance } = &plan.task else { return Err(FitError::Model.into()) };
    let options = ReadOptions { text_field: text_field.clone(), label_field: label_field.clone(), ..ReadOptions::default() };
    let loaded = read_jsonl(bytes, &options)?;
    let labels = LabelSet::new(&model.classes)?;
    let (records, report) = corpus::prepare(loaded.records, &labels, &CleanLimits::default());
    let tokenizer = Tokenizer::new(model.vocab, model.max_tokens)?;
    let weights = initial(model, plan.initial_seed)?;
    let fit = Fit::encoder(&weights, plan.recipe.clone())?;
    let split = hash_split(records, plan.initial_seed, plan.held_out_permille);
    let tokens = |records: &[Record]| -> Vec<TrainRecord> {
        let cap = UnitCap { max_records: usize::MAX, seed: 0 };
        let examples = corpus::Dataset::from_records(records, &labels, &tokenizer, &cap).0.examples;
        examples.into_iter().map(|e| TrainRecord { tokens: e.tokens, class: e.class, labels: Vec::new() }).collect()
    };
    let (train, held_out) = (tokens(&split.train), tokens(&split.held_out));
    let sizes = (train.len(), held_out.len());
    if sizes.0 == 0 || sizes.1 == 0 {
        return Err(MaterialError::Split { train: sizes.0, held_out: sizes.1, least: 0 });
    }
    let train = balanced(train, *balance);
    let report = Some(loaded.report.then(report));
    Ok(Loaded {
        fit,
        train: Material::Records(train),
        held_out: Material::Records(held_out),
        data_digest,
        report,
        sizes,
        publishes: None,
        begun: None,
    })
}

/// Cleaned, unique, split by a hash of the text, and cut by the plan's tokenizer or the checkpoint's.
fn asked(plan: &CentralPlan, base: Option<Base>, bytes: &[u8], data_digest: Sha256) -> Result<Loaded, MaterialError> {
    let Task::Asked { begins, text_field, label_field } = &plan.task else { return Err(FitError::Model.into()) };
    let weights = begins.weights(base.as_ref(), plan.initial_seed)?;
    let model = weights.config().clone();
    let options = ReadOptions { text_field: text_field.clone(), label_field: label_field.clone(), ..ReadOptions::default() };
    let loaded = read_jsonl(bytes, &options)?;
    let (records, labels) = per_token::asked(loaded.records, model.asks(), &model.classes)?;
    let (records, mut report) = corpus::prepare(records, &labels, &CleanLimits::default());
    let tokenizer: Box<dyn ToSequence> = match &base {
        Some(base) => Box::new(Published::load(base.tokenizer(), model.max_tokens)?),
        None => Box::new(Tokenizer::new(model.vocab, model.max_tokens)?),
    };
    let split = hash_split(records, plan.initial_seed, plan.held_out_permille);
    let cut = |record: &Record| TrainRecord {
        tokens: tokenizer.sequence(&record.text),
        class: labels.class_of(&record.label).unwrap_or(0),
        labels: per_token::labels(record, &model, &*tokenizer),
    };
    let mut side = |records: &[Record]| {
        let mut side: Vec<TrainRecord> = records.iter().map(&cut).collect();
        if model.asks() != Asks::Class {
            side.iter_mut().for_each(per_token::matched);
        }
        with_tokens(side, &mut report)
    };
    let (train, held_out) = (side(&split.train), side(&split.held_out));
    let sizes = (train.len(), held_out.len());
    if sizes.0 == 0 || sizes.1 == 0 {
        return Err(MaterialError::Split { train: sizes.0, held_out: sizes.1, least: 0 });
    }
    let fit = Fit::asked(&weights, plan.recipe.clone())?;
    let (report, publishes) = (Some(loaded.report.then(report)), base.map(|base| (base, model.clone())));
    let (train, held_out) = (Material::Records(train), Material::Records(held_out));
    Ok(Loaded { fit, train, held_out, data_digest, report, sizes, publishes, begun: None })
}

/// Records that the tokenizer made nothing of say nothing: they are left out as rounds leave them out, and counted.
fn with_tokens(mut side: Vec<TrainRecord>, report: &mut Report) -> Vec<TrainRecord> {
    side.retain(|record| {
        let kept = !record.tokens.is_empty();
        if !kept {
            report.reject(RejectReason::NoTokens);
            report.kept = report.kept.saturating_sub(1);
        }
        kept
    });
    side
}

/// Most times that one record is read in a pass.
const MOST_TIMES: usize = 64;

/// Every record as often as its class is rarer than the most common one, to this power: 0 leaves all as they are, 1 makes all classes
/// equally common.
fn balanced(records: Vec<TrainRecord>, power: f64) -> Vec<TrainRecord> {
    let mut counts = BTreeMap::new();
    records.iter().for_each(|r| *counts.entry(r.class).or_insert(0u32) += 1);
    let most = f64::from(counts.values().copied().max().unwrap_or(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio of counts, at least 1, cut at the limit")]
    let times = |r: &TrainRecord| (((most / f64::from(counts[&r.class])).powf(power).round()) as usize).clamp(1, MOST_TIMES);
    records.iter().flat_map(|r| std::iter::repeat_n(r.clone(), times(r))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_are_read_more_often_as_the_power_says() {
        let record = |class| TrainRecord { tokens: vec![1], class, labels: Vec::new() };
        let records: Vec<TrainRecord> = (0..16).map(|_| record(0)).chain([record(1)]).collect();
        let count = |power| balanced(records.clone(), power).iter().filter(|r| r.class == 1).count();
        assert_eq!((count(0.0), count(0.5), count(1.0)), (1, 4, 16));
        assert_eq!(balanced(records.clone(), 1.0).len(), 32);
    }
}
