//! The institution's records on their way into training: read once, declared by a hash, prepared per plan. Knows no connection.
//! No text, label or count of a record stands in any error here, and no path or place of one in what the log is told (audit.md A22).

use crate::clock::OsEntropy;
use crate::config::DataConfig;
use crate::files::{self, Item, StoreError};
use crate::home::Home;
use corpus::clean::CleanLimits;
use corpus::columns::Wanted;
use corpus::dataset::UnitCap;
use corpus::labels::LabelSetError;
use corpus::pipeline::prepared::{self, LoadError, Side};
use corpus::read::{ReadError, ReadOptions, load_jsonl};
use corpus::spans::Spans;
use corpus::tokenize::{ToSequence, Tokenizer, TokenizerError};
use corpus::tokenizer::{Published, SubwordError, byte_tokenizer};
use corpus::{LabelSet, Record, Uniqueness};
use privacy::noise::{EntropyError, EntropySource as _};
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::plan::own::END;
use protocol::plan::{Asks, EncoderConfig, Plan, TokenizerKind, Unit};
use protocol::sidecar::{BadSidecar, NONCE, Sidecar};
use protocol::trust::two_digits;
use std::collections::{BTreeMap, BTreeSet};
use train::batch::{Dataset, Record as TrainRecord, UnitExamples};
use train::count::{CountError, Units};
use train::hf::base::Base;

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file of records. Names lines and fields, never values.
    #[error("the records could not be read")]
    Read(#[from] ReadError),
    /// A prepared directory.
    #[error("the prepared records could not be read")]
    Prepared(#[from] LoadError),
    /// The nonce.
    #[error("the dataset's nonce could not be read or written")]
    Store(#[from] StoreError),
    /// No randomness for the nonce.
    #[error("the source of entropy failed")]
    Entropy(#[from] EntropyError),
    /// Fewer than two labels, or too many.
    #[error("the labels are not a label set")]
    Labels(#[from] LabelSetError),
    /// The plan's numbers are no tokenizer.
    #[error("the plan's tokenizer cannot be made")]
    Tokenizer(#[from] TokenizerError),
    /// The checkpoint's tokenizer is none that this version reads.
    #[error("the checkpoint's tokenizer cannot be used")]
    Published(#[from] SubwordError),
    /// The checkpoint's tokenizer has tokens that the model does not have.
    #[error("the checkpoint's tokenizer has {got} tokens, the model's vocabulary {expected}")]
    Vocabulary {
        /// One more than the largest number of a token.
        got: u32,
        /// Rows of the model's table.
        expected: u32,
    },
    /// The tokenizer gives tokens that the model does not have, or a class that the plan does not name.
    #[error("the tokenizer does not fit the plan's model")]
    Tokens(#[from] train::batch::DataError),
    /// A command that has no checkpoint at hand.
    #[error("the plan's tokenizer is that of its base checkpoint, which this command does not take")]
    NoBase,
    /// The plan protects another unit than the records have.
    #[error("the plan's unit of privacy is not that of the records")]
    OtherUnit,
    /// Fewer than two of the plan's classes occur.
    #[error("the records have fewer than two of the plan's classes")]
    OtherClasses,
    /// Tags are asked for, and nobody has labelled parts of texts.
    #[error("no record has labelled parts: data.label_field must name a list such as [{{\"start\": 3, \"end\": 9, \"label\": \"drug\"}}]")]
    NoSpans,
    /// Cleaning left nothing.
    #[error("no record is left after cleaning")]
    Nothing,
    /// The plan's counts.
    #[error("the plan's counts cannot be made of the records")]
    Count(#[from] CountError),
    /// The settings name the dataset in a way that no sidecar holds.
    #[error("data.name of client.toml cannot be told")]
    Name(#[from] BadSidecar),
}

impl DataError {
    /// What the client's log may say. The causes of some errors name a file, or which unit it was: those are for the owner's terminal only.
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::Store(_) | Self::Entropy(_) | Self::Labels(_) | Self::Tokenizer(_) | Self::Published(_) | Self::Count(_) => {
                crate::agent::chain(self)
            }
            Self::Read(_) | Self::Prepared(_) | Self::Tokens(_) | Self::Vocabulary { .. } => self.to_string(),
            Self::NoBase | Self::OtherUnit | Self::OtherClasses | Self::NoSpans | Self::Nothing | Self::Name(_) => self.to_string(),
        }
    }
}

/// Opaque id of the lineage that the settings name. The records themselves may be gone.
pub(crate) fn dataset_id(home: &Home, config: &DataConfig) -> Result<Sha256, DataError> {
    Ok(named(&nonce(home)?, config))
}

fn named(nonce: &[u8; 16], config: &DataConfig) -> Sha256 {
    Sha256(sha256(&[&name_nonce(nonce), config.name.as_bytes()]))
}

/// The nonce of the name alone: whoever is told it, with the name, learns nothing of what else the dataset's nonce hides, such as labels.
fn name_nonce(nonce: &[u8; 16]) -> [u8; NONCE] {
    first(sha256(&[b"concordat/client/dataset-name\0", nonce]))
}

/// A nonce for something else that the log has the hash of, made of what says what it is and of the one that stays here.
pub(crate) fn nonce_of(home: &Home, what: &[&[u8]]) -> Result<[u8; NONCE], DataError> {
    let secret = nonce(home)?;
    let mut parts: Vec<&[u8]> = what.to_vec();
    parts.push(&secret);
    Ok(first(sha256(&parts)))
}

fn first(digest: [u8; 32]) -> [u8; NONCE] {
    let mut out = [0; NONCE];
    out.copy_from_slice(&digest[..NONCE]);
    out
}

/// The name of the dataset, and what hides it in the log (audit.md A18): for whoever the institution tells it.
pub(crate) fn sidecar(home: &Home, config: &DataConfig) -> Result<Sidecar, DataError> {
    Ok(Sidecar::new(name_nonce(&nonce(home)?), &config.name)?)
}

/// The label of every record where none is read.
const TEXT: &str = "text";

pub(crate) mod per_token;

/// The records of one dataset lineage. No `Debug`.
pub(crate) struct DataSource {
    records: Vec<Record>,
    dataset: Sha256,
    unit: Unit,
    declared_units: u64,
    cap_seed: u64,
    /// Where they came from; none for records that nobody has.
    config: Option<DataConfig>,
    nonce: [u8; 16],
}

/// What a task works on.
pub(crate) enum TaskData {
    /// Examples to learn from.
    Train(Dataset),
    /// Units to count.
    Count(Units),
}

impl DataSource {
    /// Reads the records and names them by nonce and hash.
    pub(crate) fn load(home: &Home, config: &DataConfig) -> Result<Self, DataError> {
        let (corpus::Loaded { records, .. }, unit) = loaded(config)?;
        let nonce = nonce(home)?;
        let declared_units = two_digits(count_units(&records)?);
        let seed = sha256(&[b"concordat/client/unit-cap", &nonce]);
        let cap_seed = u64::from_le_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
        Ok(Self { records, dataset: named(&nonce, config), unit, declared_units, cap_seed, config: Some(config.clone()), nonce })
    }

    /// Records that nobody has: they have no lineage and are declared nowhere.
    pub(crate) fn made_up(records: Vec<Record>, unit: Unit) -> Self {
        Self { records, dataset: Sha256([0; 32]), unit, declared_units: 0, cap_seed: 0, config: None, nonce: [0; 16] }
    }

    /// Opaque id of the lineage.
    pub(crate) fn dataset(&self) -> Sha256 {
        self.dataset
    }
    /// Whose data one unit is.
    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }
    /// Units, two digits, rounded down (privacy.md D4).
    pub(crate) fn declared_units(&self) -> u64 {
        self.declared_units
    }

    /// What a plan works on: its units to count, or its examples to learn from. `base` is the checkpoint that its model begins from.
    pub(crate) fn for_task(&self, plan: &Plan, base: Option<&Base>) -> Result<TaskData, DataError> {
        match &plan.count {
            Some(_) => self.counted(plan).map(TaskData::Count),
            None => self.for_plan(plan, base).map(TaskData::Train),
        }
    }

    /// The columns that a plan counts, read once more from where the records came from: what is counted is what was prepared, as it stands.
    fn counted(&self, plan: &Plan) -> Result<Units, DataError> {
        let (Some(count), Some(config)) = (&plan.count, &self.config) else { return Err(CountError::Trains.into()) };
        if plan.privacy.unit != self.unit {
            return Err(DataError::OtherUnit);
        }
        let max_records = usize::try_from(plan.privacy.max_records_per_unit).unwrap_or(usize::MAX);
        let cap = UnitCap { max_records, seed: self.cap_seed };
        let units = if prepared::is_prepared(&config.path) {
            Wanted { columns: &train::count::columns(count, "text"), cap }.of_prepared(&config.path, Side::Train)?
        } else {
            Wanted { columns: &train::count::columns(count, &config.text_field), cap }.of_file(&config.path, &read_options(config))?
        };
        Ok(Units::of(plan, &units)?)
    }

    /// The records as they were read.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }
    /// Key of the choice among the records of a unit that has more than may count.
    pub(crate) fn cap_seed(&self) -> u64 {
        self.cap_seed
    }
    /// A digest that nobody can look up who lacks this institution's nonce: names of labels are few.
    pub(crate) fn blinded(&self, domain: &str, text: &[u8]) -> Sha256 {
        Sha256(sha256(&[domain.as_bytes(), b"\0", &self.nonce, &self.dataset.0, text]))
    }

    /// Cleans, de-duplicates, tokenizes and groups the records as a plan says.
    pub(crate) fn for_plan(&self, plan: &Plan, base: Option<&Base>) -> Result<Dataset, DataError> {
        if plan.privacy.unit != self.unit {
            return Err(DataError::OtherUnit);
        }
        let asks = plan.model.asks();
        // A label that nobody asks for decides nothing, not even whether its record counts: every text has the same one then.
        let (records, labels) = per_token::asked(self.records.clone(), asks, &plan.model.classes)?;
        let tokenizer = tokenizer(plan, base)?;
        let limits = CleanLimits::default();
        let (records, cleaned) = corpus::prepare_within(records, &labels, &limits, Uniqueness::WithinPerson);
        let max_records = usize::try_from(plan.privacy.max_records_per_unit).unwrap_or(usize::MAX);
        let cap = UnitCap { max_records, seed: self.cap_seed };
        let (examples, capped) = corpus::Dataset::from_records(&records, &labels, &*tokenizer, &cap);
        if cleaned.then(capped).kept == 0 {
            return Err(DataError::Nothing);
        }
        let classes = examples.class_counts().iter().filter(|c| **c > 0).count();
        if asks == Asks::Class && classes < 2 {
            return Err(DataError::OtherClasses);
        }
        let mut data = by_unit(&examples, |record| answer(&plan.model, (&*tokenizer, base), &records[record]));
        if asks == Asks::Answer {
            // A decoder without an answer would be asked for the text. A record without tokens is not asked for anything.
            for record in data.units.iter_mut().flat_map(|u| &mut u.records) {
                if record.labels.is_empty() {
                    record.tokens.clear();
                } else if plan.model.base.is_none() {
                    // No publisher says where an answer ends.
                    record.labels.push(END);
                }
            }
        }
        if matches!(asks, Asks::Tags | Asks::MaskedTokens) {
            data.units.iter_mut().flat_map(|u| &mut u.records).for_each(per_token::matched);
        }
        data.check(&plan.model)?; // here, before anything is paid
        Ok(data)
    }
}

/// What a model is to write after a record's text, or in answer to it, or to say of each of its tokens; nothing where no label is read token by
/// token. An encoder-decoder ends its answers itself.
fn answer(model: &EncoderConfig, (tokenizer, base): (&dyn ToSequence, Option<&Base>), record: &Record) -> Vec<u32> {
    match model.asks() {
        Asks::Class | Asks::NextToken => Vec::new(),
        Asks::Tags | Asks::MaskedTokens => per_token::labels(record, model, tokenizer),
        Asks::Translate => base.and_then(Base::opening).into_iter().chain(tokenizer.bare(&record.label)).collect(),
        Asks::Answer => tokenizer.bare(&record.label).into_iter().chain(base.and_then(Base::end)).collect(),
    }
}

/// What cuts a record's text.
fn tokenizer(plan: &Plan, base: Option<&Base>) -> Result<Box<dyn ToSequence>, DataError> {
    let model = &plan.model;
    match (plan.tokenizer, base) {
        (TokenizerKind::HashedCharacters, _) => Ok(Box::new(Tokenizer::new(model.vocab, model.max_tokens)?)),
        (TokenizerKind::Checkpoint, Some(base)) => {
            let published = Published::load(base.tokenizer(), model.max_tokens)?;
            // By the files alone: whether a plan is declined must not depend on which tokens somebody's records have.
            if published.vocab() > model.vocab {
                return Err(DataError::Vocabulary { got: published.vocab(), expected: model.vocab });
            }
            Ok(Box::new(published))
        }
        (TokenizerKind::Bytes, _) => Ok(Box::new(Published::load(byte_tokenizer().as_bytes(), model.max_tokens)?)),
        (TokenizerKind::Checkpoint, None) => Err(DataError::NoBase),
    }
}

/// What `data check` shows to the institution's own people. Exact counts: for their terminal, not for the wire.
pub(crate) struct DataReport {
    units: u64,
    declared_units: u64,
    unit: Unit,
    read: corpus::Report,
    labels: BTreeMap<String, u64>,
    /// Labelled parts of texts, by kind.
    parts: BTreeMap<String, u64>,
}

impl DataReport {
    /// Names and values for a table.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let unit = match self.unit {
            Unit::Record => "record",
            Unit::User => "user",
        };
        let mut rows = vec![
            ("unit".to_owned(), unit.to_owned()),
            ("units".to_owned(), self.units.to_string()),
            ("declared".to_owned(), self.declared_units.to_string()),
            ("lines".to_owned(), self.read.to_string()),
        ];
        rows.extend(self.parts.iter().map(|(kind, count)| (format!("parts {kind}"), count.to_string())));
        // Labels that are texts of their own say nothing in a list.
        if LabelSet::new(&self.labels.keys().collect::<Vec<_>>()).is_ok() {
            rows.extend(self.labels.iter().map(|(name, count)| (format!("label {name}"), count.to_string())));
        } else {
            rows.push(("different labels".to_owned(), self.labels.len().to_string()));
        }
        rows
    }
}

impl DataSource {
    /// Reads the records as training would; writes nothing.
    pub(crate) fn check(config: &DataConfig) -> Result<DataReport, DataError> {
        let (loaded, unit) = loaded(config)?;
        let (mut labels, mut parts) = (BTreeMap::new(), BTreeMap::new());
        for record in &loaded.records {
            match Spans::of_label(&record.label, &record.text) {
                Ok(spans) => spans.labels().for_each(|kind| *parts.entry(kind.to_owned()).or_insert(0) += 1),
                Err(_) => *labels.entry(record.label.clone()).or_insert(0) += 1,
            }
        }
        let units = count_units(&loaded.records)?;
        Ok(DataReport { units, declared_units: two_digits(units), unit, read: loaded.report, labels, parts })
    }
}

/// The records and the unit of privacy: of a directory that `data prepare` wrote, whose index says whose records they are, or of a file.
fn loaded(config: &DataConfig) -> Result<(corpus::Loaded, Unit), DataError> {
    if !prepared::is_prepared(&config.path) {
        return Ok((load_jsonl(&config.path, &read_options(config))?, unit_of(config)));
    }
    let (index, loaded) = prepared::load(&config.path, Side::Train)?;
    let unit = match index.unit {
        prepared::Unit::User => Unit::User,
        prepared::Unit::Record => Unit::Record,
    };
    Ok((loaded, unit))
}

/// The records of the settings, for work that stays at the institution.
pub(crate) fn records(config: &DataConfig) -> Result<Vec<Record>, DataError> {
    loaded(config).map(|(loaded, _)| loaded.records)
}

/// The records to judge a model by, for work that stays at the institution: of a prepared directory the side that nobody trains on, of a file
/// all of them.
pub(crate) fn held_out(config: &DataConfig) -> Result<Vec<Record>, DataError> {
    if !prepared::is_prepared(&config.path) {
        return records(config);
    }
    let (_, loaded) = prepared::load(&config.path, Side::Validation)?;
    Ok(loaded.records)
}

/// The person where the records name one, else the record.
fn unit_of(config: &DataConfig) -> Unit {
    if config.user_field.is_some() { Unit::User } else { Unit::Record }
}

fn read_options(config: &DataConfig) -> ReadOptions {
    ReadOptions {
        text_field: config.text_field.clone(),
        label_field: config.label_field.clone(),
        user_field: config.user_field.clone(),
        bad_lines: config.bad_lines,
        ..ReadOptions::default()
    }
}

/// `labels` are the tokens that a model is to write for the record at a position.
fn by_unit(examples: &corpus::Dataset, labels: impl Fn(usize) -> Vec<u32>) -> Dataset {
    let record = |at: usize| {
        let example = &examples.examples[at];
        TrainRecord { tokens: example.tokens.clone(), class: example.class, labels: labels(example.record) }
    };
    let units = examples.by_unit().into_iter().map(|u| UnitExamples { records: u.into_iter().map(record).collect() });
    Dataset { units: units.collect() }
}

/// Persons, or records where there are none, after cleaning and de-duplication. Labels are only counted apart, not chosen.
fn count_units(records: &[Record]) -> Result<u64, DataError> {
    let labels = LabelSet::of_texts();
    let (kept, _) = corpus::prepare_within(records.to_vec(), &labels, &CleanLimits::default(), Uniqueness::WithinPerson);
    let users: BTreeSet<&str> = kept.iter().filter_map(|r| r.user.as_deref()).collect();
    let alone = kept.iter().filter(|r| r.user.is_none()).count();
    let units = u64::try_from(users.len() + alone).unwrap_or(u64::MAX);
    if units == 0 { Err(DataError::Nothing) } else { Ok(units) }
}

/// Sixteen bytes that stay here, whatever is told: what is hidden by them says nothing to anybody else.
fn nonce(home: &Home) -> Result<[u8; 16], DataError> {
    let damaged = || StoreError::Damaged(Item::Nonce);
    if !home.dataset_nonce().exists() {
        let mut fresh = [0u8; 16];
        OsEntropy.fill(&mut fresh)?;
        files::replace_secret(&home.dataset_nonce(), &fresh, Item::Nonce)?;
    }
    let bytes = files::read_secret(&home.dataset_nonce(), 16, Item::Nonce)?;
    Ok(bytes.as_slice().try_into().map_err(|_| damaged())?)
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
