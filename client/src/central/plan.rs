//! A plan for training in one place, word for word and checked. Sections and keys that a federation's plan has too are spelled alike.

use protocol::decimal::Decimal;
use protocol::plan::EncoderConfig;
use serde::Deserialize;
use train::direct::{Keep, Precision};
use train::fit::{OptimiserKind, Recipe};
use train::model::DecoderConfig;
use train::model::decoder::Head;
use train::model::norm::NormKind;
use train::optim::{Look, USUAL_BETAS};
use train::schedule::{Rates, Schedule};

/// Why a file is no plan. The institution's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CentralPlanError {
    /// Not TOML of the expected keys.
    #[error("the plan does not parse")]
    Parse(#[source] Box<toml::de::Error>),
    /// A number outside its range.
    #[error("{field} is {got}, expected {expected}")]
    OutOfRange {
        /// The key.
        field: &'static str,
        /// What it is.
        got: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A federation's plan.
    #[error("this is the plan of a federation: its noise is drawn and paid for by `run`, never here")]
    Federation,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    initial_seed: u64,
    model: RawModel,
    data: RawData,
    local: RawLocal,
    evaluation: RawEvaluation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    family: Family,
    #[serde(default)]
    vocab: Option<u32>,
    max_tokens: u32,
    width: u32,
    heads: u32,
    layers: u32,
    hidden: u32,
    #[serde(default)]
    classes: Vec<String>,
}

/// What the model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Family {
    /// Foretells the next character of a text.
    Decoder,
    /// Tells the class of a record.
    Encoder,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawData {
    held_out_permille: u32,
    #[serde(default = "text")]
    text_field: String,
    #[serde(default = "label")]
    label_field: String,
    #[serde(default)]
    balance: Option<Decimal>,
}

fn text() -> String {
    "text".to_owned()
}
fn label() -> String {
    "label".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocal {
    steps: u64,
    batch: u32,
    #[serde(default)]
    micro_batch: Option<u32>,
    #[serde(default = "one")]
    bucket: u32,
    #[serde(default)]
    drop_tokens: Option<Decimal>,
    learning_rate: Decimal,
    warmup_steps: u64,
    #[serde(default)]
    schedule: Schedule,
    #[serde(default = "adam_w")]
    optimiser: RawOptimiser,
    weight_decay: Decimal,
    #[serde(default)]
    max_gradient_norm: Option<Decimal>,
    #[serde(default)]
    precision: Precision,
    #[serde(default)]
    keep: Keep,
    #[serde(default)]
    average: Option<Decimal>,
}

fn one() -> u32 {
    1
}
fn adam_w() -> RawOptimiser {
    RawOptimiser::AdamW { beta_mean: None, beta_square: None }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum RawOptimiser {
    AdamW {
        #[serde(default)]
        beta_mean: Option<Decimal>,
        #[serde(default)]
        beta_square: Option<Decimal>,
    },
    Sgd {
        momentum: Decimal,
        #[serde(default)]
        look: Look,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvaluation {
    every_steps: u64,
}

/// What is trained on which kind of data.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Task {
    /// A language model over the characters of a text. Its vocabulary is the text's.
    Characters(DecoderConfig),
    /// A classifier of labelled records.
    Classes {
        model: EncoderConfig,
        text_field: String,
        label_field: String,
        /// Power of how much rarer a class is, by which its records are read more often.
        balance: f64,
    },
}

/// A checked plan. Can only be made by parsing.
#[derive(Clone, Debug, PartialEq)]
pub struct CentralPlan {
    pub(crate) task: Task,
    pub(crate) initial_seed: u64,
    pub(crate) held_out_permille: u32,
    pub(crate) recipe: Recipe,
    pub(crate) evaluate_every: u64,
}

impl CentralPlan {
    /// Steps of the whole run.
    pub(crate) fn total_steps(&self) -> u64 {
        self.recipe.rates.total_steps
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// [`CentralPlanError`].
    pub fn parse(text: &str) -> Result<Self, CentralPlanError> {
        match toml::from_str::<RawPlan>(text) {
            Ok(raw) => Self::checked(raw),
            Err(_) if is_of_a_federation(text) => Err(CentralPlanError::Federation),
            Err(e) => Err(CentralPlanError::Parse(Box::new(e))),
        }
    }

    fn checked(raw: RawPlan) -> Result<Self, CentralPlanError> {
        within("data.held_out_permille", raw.data.held_out_permille, 1..=500, "1 to 500")?;
        within("evaluation.every_steps", raw.evaluation.every_steps, 1..=u64::MAX, "at least 1")?;
        let recipe = recipe(&raw.local, raw.initial_seed)?;
        let (held_out_permille, evaluate_every) = (raw.data.held_out_permille, raw.evaluation.every_steps);
        Ok(Self { task: task(raw.model, raw.data)?, initial_seed: raw.initial_seed, held_out_permille, recipe, evaluate_every })
    }
}

/// Whether the text has the keys by which a federation's plan is known.
fn is_of_a_federation(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|t| t.contains_key("federation") || t.contains_key("privacy"))
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    got: T,
    range: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<T, CentralPlanError> {
    if range.contains(&got) { Ok(got) } else { Err(CentralPlanError::OutOfRange { field, got: got.to_string(), expected }) }
}

fn task(model: RawModel, data: RawData) -> Result<Task, CentralPlanError> {
    let RawModel { family, vocab, max_tokens, width, heads, layers, hidden, classes } = model;
    match family {
        Family::Decoder => {
            // The vocabulary is the text's; what it becomes is known when the text is read.
            if vocab.is_some() || !classes.is_empty() {
                let (got, expected) = ("given".to_owned(), "none: a decoder has the characters of its text and no classes");
                return Err(CentralPlanError::OutOfRange { field: "model.vocab or model.classes", got, expected });
            }
            let (head, norm, adapter) = (Head::Tied, NormKind::Layer, None);
            Ok(Task::Characters(DecoderConfig { vocab: 1, max_tokens, width, heads, layers, hidden, head, norm, adapter }))
        }
        Family::Encoder => {
            let vocab = vocab.ok_or(CentralPlanError::OutOfRange {
                field: "model.vocab",
                got: "missing".to_owned(),
                expected: "rows of the token table, for an encoder",
            })?;
            let model = EncoderConfig { vocab, max_tokens, width, heads, layers, hidden, classes, ..EncoderConfig::none() };
            let balance = within("data.balance", data.balance.map_or(0.0, Decimal::to_f64), 0.0..=1.0, "0 to 1")?;
            Ok(Task::Classes { model, text_field: data.text_field, label_field: data.label_field, balance })
        }
    }
}

fn recipe(local: &RawLocal, seed: u64) -> Result<Recipe, CentralPlanError> {
    within("local.steps", local.steps, 1..=1_000_000_000, "1 to 1000000000")?;
    let size = |field, n: u32| within(field, n, 1..=65_536, "1 to 65536").map(|n| usize::try_from(n).unwrap_or(1));
    let rate = within("local.learning_rate", local.learning_rate.to_f64(), f64::MIN_POSITIVE..=10.0, "above 0, at most 10")?;
    let weight_decay = within("local.weight_decay", local.weight_decay.to_f64(), 0.0..=10.0, "0 to 10")?;
    let norm = |n: Decimal| within("local.max_gradient_norm", n.to_f64(), f64::MIN_POSITIVE..=1e9, "above 0");
    Ok(Recipe {
        batch: size("local.batch", local.batch)?,
        micro_batch: local.micro_batch.map(|n| size("local.micro_batch", n)).transpose()?,
        rates: Rates { peak: rate, warmup_steps: local.warmup_steps, total_steps: local.steps, schedule: local.schedule },
        weight_decay,
        max_gradient_norm: local.max_gradient_norm.map(norm).transpose()?,
        optimiser: optimiser(&local.optimiser)?,
        seed,
        precision: local.precision,
        keep: local.keep,
        bucket: size("local.bucket", local.bucket)?,
        drop_tokens: within("local.drop_tokens", local.drop_tokens.map_or(0.0, Decimal::to_f64), 0.0..=0.9, "0 to 0.9")?,
        average: within("local.average", local.average.map_or(0.0, Decimal::to_f64), 0.0..=0.999_999, "0 to 0.999999")?,
    })
}

fn optimiser(raw: &RawOptimiser) -> Result<OptimiserKind, CentralPlanError> {
    #[expect(clippy::cast_possible_truncation, reason = "optimisers compute in 32-bit floats")]
    let kept = |field, share: f64| within(field, share, 0.0..=0.999_999, "0 to 0.999999").map(|s| s as f32);
    let beta = |field, given: &Option<Decimal>, usual: f32| kept(field, given.map_or(f64::from(usual), Decimal::to_f64));
    Ok(match raw {
        RawOptimiser::AdamW { beta_mean, beta_square } => OptimiserKind::AdamW {
            betas: [
                beta("local.optimiser.beta_mean", beta_mean, USUAL_BETAS[0])?,
                beta("local.optimiser.beta_square", beta_square, USUAL_BETAS[1])?,
            ],
        },
        RawOptimiser::Sgd { momentum, look } => {
            OptimiserKind::Sgd { momentum: kept("local.optimiser.momentum", momentum.to_f64())?, look: *look }
        }
    })
}
