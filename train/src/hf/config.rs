//! `config.json` of published models, both ways. What this program would compute differently is refused, not ignored.

use crate::model::config::{Activation, Family, FeedForwardKind, Inputs, MaskKind, NormPlace, Outputs, Positions, Scores, Shifts, Task};
use crate::model::decoder::Head;
use crate::model::names::Spelling;
use crate::model::norm::NormKind;
use crate::model::{Choices, Config, ModelError, Trained};
use protocol::plan::Asks;
use serde_json::{Map, Value};

mod bart;
mod render;
mod rotary;

pub use render::render;

/// A configuration that is not one of the models here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not a JSON object.
    #[error("not a JSON object")]
    Json(#[from] serde_json::Error),
    /// Another architecture.
    #[error("unknown architecture {found}, expected bert, gpt2, llama, qwen2, t5 or bart")]
    Architecture {
        /// As in the file.
        found: String,
    },
    /// A field that is missing or of another kind.
    #[error("field {field} is missing or not {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A field whose value is not supported.
    #[error("field {field} is {found}, expected {expected}")]
    Unsupported {
        /// Which.
        field: &'static str,
        /// As in the file.
        found: String,
        /// What is supported.
        expected: &'static str,
    },
    /// The fields together are no model.
    #[error("the fields together are no model")]
    Model(#[from] ModelError),
    /// The model has parts that no published architecture has.
    #[error("no published architecture has {part}")]
    Unpublished {
        /// Which.
        part: &'static str,
    },
}

/// The fields of a file.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let fields = Self(serde_json::from_slice(bytes)?);
        match fields.find("quantization_config") {
            None => Ok(fields),
            Some(_) => Err(unsupported("quantization_config", "set", "null: weights of 16, 32 or 64 bits")),
        }
    }
    /// None where it is missing or null.
    fn find(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|v| !v.is_null())
    }
    fn size(&self, field: &'static str) -> Result<u32, ConfigError> {
        self.size_or(field, None)
    }
    fn size_or(&self, field: &'static str, default: Option<u32>) -> Result<u32, ConfigError> {
        let wrong = ConfigError::Field { field, expected: "a whole number below 2^32" };
        match self.find(field) {
            None => default.ok_or(wrong),
            Some(value) => value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or(wrong),
        }
    }
    fn number_or(&self, field: &'static str, default: f64) -> Result<f64, ConfigError> {
        match self.find(field) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or(ConfigError::Field { field, expected: "a number" }),
        }
    }
    fn flag_or(&self, field: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.find(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or(ConfigError::Field { field, expected: "true or false" }),
        }
    }
    fn text_or<'a>(&'a self, field: &'static str, default: &'a str) -> Result<&'a str, ConfigError> {
        match self.find(field) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or(ConfigError::Field { field, expected: "a text" }),
        }
    }
    /// Refuses a switch that would change what the model computes.
    fn off(&self, field: &'static str) -> Result<(), ConfigError> {
        if self.flag_or(field, false)? { Err(unsupported(field, "true", "false")) } else { Ok(()) }
    }
    #[expect(clippy::cast_possible_truncation, reason = "the model computes in 32 bits")]
    fn epsilon(&self, field: &'static str, default: f64) -> Result<f32, ConfigError> {
        Ok(self.number_or(field, default)? as f32)
    }
    /// The number of a token; of several the first.
    fn token_or(&self, field: &'static str, default: u32) -> Result<u32, ConfigError> {
        let wrong = ConfigError::Field { field, expected: "the number of a token, or a list of such numbers" };
        let first = |found: &Value| found.as_array().map_or(Some(found), |all| all.first()).and_then(Value::as_u64);
        match self.find(field) {
            None => Ok(default),
            Some(found) => first(found).and_then(|n| u32::try_from(n).ok()).ok_or(wrong),
        }
    }
    /// The first of `architectures`.
    fn architecture(&self) -> Option<&str> {
        self.find("architectures")?.as_array()?.first()?.as_str()
    }
    fn labels(&self) -> Result<u32, ConfigError> {
        let named = self.find("id2label").and_then(Value::as_object).map(Map::len);
        match named.and_then(|n| u32::try_from(n).ok()) {
            Some(n) => Ok(n),
            None => self.size_or("num_labels", Some(2)),
        }
    }
    fn activation(&self, field: &'static str, default: &str) -> Result<Activation, ConfigError> {
        curve(field, self.text_or(field, default)?)
    }
}

fn unsupported(field: &'static str, found: &str, expected: &'static str) -> ConfigError {
    ConfigError::Unsupported { field, found: found.chars().take(80).collect(), expected }
}

fn curve(field: &'static str, name: &str) -> Result<Activation, ConfigError> {
    match name {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        // One curve under as many names as programs have computed it.
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        other => Err(unsupported(field, other, "gelu, gelu_new, gelu_pytorch_tanh, silu or relu")),
    }
}

/// Width of one head where the file does not say.
fn per_head(width: u32, heads: u32) -> Result<u32, ConfigError> {
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(ModelError::Sizes { width, heads }.into());
    }
    Ok(width / heads)
}

/// Dropout is this program's own choice at training, so a file's rates are taken over; attention weights are never dropped.
#[expect(clippy::cast_possible_truncation, reason = "a chance keeps its first digits")]
fn rate(fields: &Fields, field: &'static str) -> Result<f32, ConfigError> {
    Ok(fields.number_or(field, 0.0)? as f32)
}

fn head(fields: &Fields, default: bool) -> Result<Head, ConfigError> {
    Ok(if fields.flag_or("tie_word_embeddings", default)? { Head::Tied } else { Head::Own })
}

/// Reads a `config.json`. Everything is trained.
///
/// # Errors
/// [`ConfigError`].
pub fn parse(bytes: &[u8]) -> Result<Config, ConfigError> {
    let fields = Fields::parse(bytes)?;
    let choices = match fields.text_or("model_type", "none")? {
        "bert" => bert(&fields, bert_task(&fields)?)?,
        "gpt2" => gpt2(&fields)?,
        "llama" => llama(&fields, Shifts::None)?,
        "qwen2" => llama(&fields, Shifts::Queries)?,
        "t5" => t5(&fields)?,
        "bart" => bart::published(&fields)?,
        "mbart" => return Err(bart::mbart()),
        other => return Err(ConfigError::Architecture { found: other.chars().take(80).collect() }),
    };
    Ok(Config::new(choices)?)
}

/// The model that a `config.json` describes, for what a plan asks: an encoder whatever head it was published with, under one for so many classes
/// or kinds of tags, or for hidden tokens; a decoder; an encoder-decoder.
///
/// # Errors
/// [`ConfigError`], also for a model that cannot be asked so.
pub(crate) fn asked(bytes: &[u8], asks: Asks, classes: u32) -> Result<Choices, ConfigError> {
    let fields = Fields::parse(bytes)?;
    match (asks, fields.text_or("model_type", "none")?) {
        (Asks::Class, "bert") => bert(&fields, Task::Classify { classes }),
        (Asks::Tags, "bert") => bert(&fields, Task::Tag { labels: asks.choices(classes) }),
        (Asks::MaskedTokens, "bert") => bert(&fields, Task::MaskedTokens),
        (Asks::Class | Asks::Tags | Asks::MaskedTokens, other) => {
            Err(unsupported("model_type", other, "bert for class, tags and masked-tokens"))
        }
        (Asks::NextToken | Asks::Answer, "gpt2") => gpt2(&fields),
        (Asks::NextToken | Asks::Answer, "llama") => llama(&fields, Shifts::None),
        (Asks::NextToken | Asks::Answer, "qwen2") => llama(&fields, Shifts::Queries),
        (Asks::NextToken | Asks::Answer, other) => Err(unsupported("model_type", other, "gpt2, llama or qwen2 for next-token and answer")),
        (Asks::Translate, "t5") => t5(&fields),
        (Asks::Translate, "bart") => bart::choices(&fields),
        (Asks::Translate, "mbart") => Err(bart::mbart()),
        (Asks::Translate, other) => Err(unsupported("model_type", other, "t5 or bart for asks = \"translate\"")),
    }
}

/// The token that ends a text, where a `config.json` names one; of several the first.
pub(crate) fn end(bytes: &[u8]) -> Option<u32> {
    let fields = Fields::parse(bytes).ok()?;
    fields.find("eos_token_id")?;
    fields.token_or("eos_token_id", 0).ok()
}

/// The token that an answer begins with before its own first one, where an architecture's publishers trained it so: BART's `bos_token_id`.
pub(crate) fn opening(bytes: &[u8]) -> Option<u32> {
    let fields = Fields::parse(bytes).ok()?;
    let begins = fields.text_or("model_type", "none").is_ok_and(|kind| kind == "bart");
    if begins { fields.token_or("bos_token_id", 0).ok() } else { None }
}

/// What a published BERT is for.
fn bert_task(f: &Fields) -> Result<Task, ConfigError> {
    match f.architecture().unwrap_or("BertForMaskedLM") {
        "BertForSequenceClassification" => Ok(Task::Classify { classes: f.labels()? }),
        "BertForTokenClassification" => Ok(Task::Tag { labels: f.labels()? }),
        "BertForMaskedLM" | "BertForPreTraining" => Ok(Task::MaskedTokens),
        other => Err(ConfigError::Architecture { found: other.chars().take(80).collect() }),
    }
}

fn bert(f: &Fields, task: Task) -> Result<Choices, ConfigError> {
    f.off("is_decoder")?;
    let (width, heads) = (f.size("hidden_size")?, f.size("num_attention_heads")?);
    let position = f.text_or("position_embedding_type", "absolute")?;
    if position != "absolute" {
        return Err(unsupported("position_embedding_type", position, "absolute"));
    }
    Ok(Choices {
        family: Family::Encoder(task),
        vocab: f.size("vocab_size")?,
        max_tokens: f.size("max_position_embeddings")?,
        width,
        heads,
        groups: heads,
        head_width: per_head(width, heads)?,
        hidden: f.size("intermediate_size")?,
        layers: f.size("num_hidden_layers")?,
        positions: Positions::Learned,
        segments: f.size_or("type_vocab_size", Some(2))?,
        stem: None,
        norm: NormKind::Layer,
        epsilon: f.epsilon("layer_norm_eps", 1e-12)?,
        place: NormPlace::After,
        feed_forward: FeedForwardKind::Plain(f.activation("hidden_act", "gelu")?),
        shifts: Shifts::All,
        scores: Scores::Scaled,
        mask: MaskKind::Full,
        window: None,
        dropout: rate(f, "hidden_dropout_prob")?,
        inputs: Inputs::Plain,
        head: head(f, true)?,
        outputs: Outputs::Plain,
        spelling: Spelling::Bert,
        adapter: None,
        trained: Trained::All,
        outside: None,
    })
}

fn gpt2(f: &Fields) -> Result<Choices, ConfigError> {
    f.off("scale_attn_by_inverse_layer_idx")?;
    f.off("add_cross_attention")?;
    let (width, heads) = (f.size("n_embd")?, f.size("n_head")?);
    Ok(Choices {
        family: Family::Decoder,
        max_tokens: f.size_or("n_positions", Some(f.size_or("n_ctx", Some(1024))?))?,
        width,
        heads,
        groups: heads,
        head_width: per_head(width, heads)?,
        hidden: f.size_or("n_inner", Some(width.saturating_mul(4)))?,
        layers: f.size("n_layer")?,
        segments: 0,
        epsilon: f.epsilon("layer_norm_epsilon", 1e-5)?,
        place: NormPlace::Before,
        feed_forward: FeedForwardKind::Plain(f.activation("activation_function", "gelu_new")?),
        scores: if f.flag_or("scale_attn_weights", true)? { Scores::Scaled } else { Scores::Plain },
        mask: MaskKind::Causal,
        dropout: rate(f, "resid_pdrop")?,
        spelling: Spelling::Gpt2,
        ..bert_like(f)?
    })
}

/// What GPT-2 shares with BERT.
fn bert_like(f: &Fields) -> Result<Choices, ConfigError> {
    Ok(Choices {
        family: Family::Decoder,
        vocab: f.size("vocab_size")?,
        max_tokens: 1,
        width: 1,
        heads: 1,
        groups: 1,
        head_width: 1,
        hidden: 1,
        layers: 1,
        positions: Positions::Learned,
        segments: 0,
        stem: None,
        norm: NormKind::Layer,
        epsilon: 1e-5,
        place: NormPlace::Before,
        feed_forward: FeedForwardKind::Plain(Activation::GeluTanh),
        shifts: Shifts::All,
        scores: Scores::Scaled,
        mask: MaskKind::Causal,
        window: None,
        dropout: 0.0,
        inputs: Inputs::Plain,
        head: head(f, true)?,
        outputs: Outputs::Plain,
        spelling: Spelling::Own,
        adapter: None,
        trained: Trained::All,
        outside: None,
    })
}

/// What the first Llama was trained on: files that do not say are of its time.
const LLAMA_TOKENS: u32 = 2048;

fn llama(f: &Fields, shifts: Shifts) -> Result<Choices, ConfigError> {
    let shifts = biases(f, shifts)?;
    f.off("use_sliding_window")?;
    let (width, heads) = (f.size("hidden_size")?, f.size("num_attention_heads")?);
    let head_width = match f.find("head_dim") {
        Some(_) => f.size("head_dim")?,
        None => per_head(width, heads)?,
    };
    Ok(Choices {
        family: Family::Decoder,
        max_tokens: f.size_or("max_position_embeddings", Some(LLAMA_TOKENS))?,
        width,
        heads,
        groups: f.size_or("num_key_value_heads", Some(heads))?,
        head_width,
        hidden: f.size("intermediate_size")?,
        layers: f.size("num_hidden_layers")?,
        positions: rotary::read(f)?,
        norm: NormKind::RootMeanSquare,
        epsilon: f.epsilon("rms_norm_eps", 1e-6)?,
        feed_forward: FeedForwardKind::Gated(f.activation("hidden_act", "silu")?),
        shifts,
        head: head(f, false)?,
        spelling: Spelling::Llama,
        ..bert_like(f)?
    })
}

/// Llama's layers have no constants, or all of them.
fn biases(f: &Fields, shifts: Shifts) -> Result<Shifts, ConfigError> {
    match (f.flag_or("attention_bias", false)?, f.flag_or("mlp_bias", false)?, shifts) {
        (false, false, shifts) => Ok(shifts),
        (true, true, Shifts::None) => Ok(Shifts::All),
        (true, ..) => Err(unsupported("attention_bias", "true", "false, or true with mlp_bias in a llama")),
        (false, true, _) => Err(unsupported("mlp_bias", "true", "false, or true with attention_bias in a llama")),
    }
}

/// Reads as long a text as one likes; this program wants a limit, and takes what T5 was trained on where the file has none.
const T5_TOKENS: u32 = 512;

fn t5(f: &Fields) -> Result<Choices, ConfigError> {
    let heads = f.size("num_heads")?;
    let (gated, curve_name) = match f.text_or("feed_forward_proj", "relu")?.split_once('-') {
        Some(("gated", "gelu")) => (true, "gelu_new"), // the published models mean the tanh form
        Some(("gated", curve)) => (true, curve),
        Some(_) | None => (false, f.text_or("feed_forward_proj", "relu")?),
    };
    let curve = curve("feed_forward_proj", curve_name)?;
    let layers = f.size("num_layers")?;
    let (start, end) = (f.token_or("decoder_start_token_id", f.token_or("pad_token_id", 0)?)?, f.token_or("eos_token_id", 1)?);
    let head = head(f, true)?;
    let shrunk = f.flag_or("scale_decoder_outputs", head == Head::Tied)?;
    Ok(Choices {
        family: Family::EncoderDecoder { decoder_layers: f.size_or("num_decoder_layers", Some(layers))?, start, end },
        max_tokens: f.size_or("n_positions", Some(T5_TOKENS))?,
        width: f.size("d_model")?,
        heads,
        groups: heads,
        head_width: f.size("d_kv")?,
        hidden: f.size("d_ff")?,
        layers,
        positions: Positions::Distances {
            buckets: f.size_or("relative_attention_num_buckets", Some(32))?,
            farthest: f.size_or("relative_attention_max_distance", Some(128))?,
        },
        norm: NormKind::RootMeanSquare,
        epsilon: f.epsilon("layer_norm_epsilon", 1e-6)?,
        feed_forward: if gated { FeedForwardKind::Gated(curve) } else { FeedForwardKind::Plain(curve) },
        shifts: Shifts::None,
        scores: Scores::Plain,
        mask: MaskKind::Full,
        dropout: rate(f, "dropout_rate")?,
        head,
        outputs: if shrunk { Outputs::Shrunk } else { Outputs::Plain },
        spelling: Spelling::T5,
        ..bert_like(f)?
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
