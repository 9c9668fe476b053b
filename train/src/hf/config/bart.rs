//! BART's `config.json` (Lewis et al. 2019, arXiv 1910.13461), both ways: an encoder-decoder that normalises after each sum, with a table of places
//! and a normalisation for each side.

use super::render::{curve_name, short};
use super::{ConfigError, Fields, bert_like, head, per_head, rate, unsupported};
use crate::model::Choices;
use crate::model::config::{Family, FeedForwardKind, Inputs, MaskKind, NormPlace};
use crate::model::decoder::Head;
use crate::model::names::Spelling;
use serde_json::{Value, json};

/// What its normalisations add to a variance; the file has no field for it.
const EPSILON: f32 = 1e-5;

/// The reason why its cousin, whose file looks alike, is none.
pub(super) fn mbart() -> ConfigError {
    unsupported("model_type", "mbart", "bart: mBART normalises before each part and begins answers with the mark of their language")
}

/// A file of the whole model or of its trunk, to which nothing is missing: the head is the table of tokens.
pub(super) fn published(f: &Fields) -> Result<Choices, ConfigError> {
    match f.architecture().unwrap_or("BartForConditionalGeneration") {
        "BartForConditionalGeneration" | "BartModel" => choices(f),
        other => Err(ConfigError::Architecture { found: other.chars().take(80).collect() }),
    }
}

/// The model of a file, whatever head it was published with.
pub(super) fn choices(f: &Fields) -> Result<Choices, ConfigError> {
    no_cousin(f)?;
    let (width, heads, hidden) = (f.size("d_model")?, f.size("encoder_attention_heads")?, f.size("encoder_ffn_dim")?);
    same(f, "decoder_attention_heads", heads, "the encoder's")?;
    same(f, "decoder_ffn_dim", hidden, "the encoder's")?;
    Ok(Choices {
        family: Family::EncoderDecoder {
            decoder_layers: f.size("decoder_layers")?,
            start: f.token_or("decoder_start_token_id", 2)?,
            end: f.token_or("eos_token_id", 2)?,
        },
        max_tokens: f.size_or("max_position_embeddings", Some(1024))?,
        width,
        heads,
        groups: heads,
        head_width: per_head(width, heads)?,
        hidden,
        layers: f.size("encoder_layers")?,
        epsilon: EPSILON,
        place: NormPlace::After,
        feed_forward: FeedForwardKind::Plain(f.activation("activation_function", "gelu")?),
        mask: MaskKind::Full,
        dropout: rate(f, "dropout")?,
        inputs: if f.flag_or("scale_embedding", false)? { Inputs::Grown } else { Inputs::Plain },
        spelling: Spelling::Bart,
        ..bert_like(f)?
    })
}

/// Refuses the relatives that older files call BART too.
fn no_cousin(f: &Fields) -> Result<(), ConfigError> {
    for field in ["normalize_before", "add_final_layer_norm", "static_position_embeddings"] {
        f.off(field)?;
    }
    if !f.flag_or("normalize_embedding", true)? {
        return Err(unsupported("normalize_embedding", "false", "true"));
    }
    same(f, "extra_pos_embeddings", 2, "2")?;
    match head(f, true)? {
        Head::Tied => Ok(()),
        Head::Own => Err(unsupported("tie_word_embeddings", "false", "true")),
    }
}

/// A size that must be this one where the file has it.
fn same(f: &Fields, field: &'static str, size: u32, expected: &'static str) -> Result<(), ConfigError> {
    let found = f.size_or(field, Some(size))?;
    if found == size { Ok(()) } else { Err(unsupported(field, &found.to_string(), expected)) }
}

/// The fields that this program knows.
pub(super) fn render(c: &Choices) -> Value {
    let (decoder_layers, start, end) = match c.family {
        Family::EncoderDecoder { decoder_layers, start, end } => (decoder_layers, start, end),
        Family::Encoder(_) | Family::Decoder => (0, 0, 0),
    };
    json!({
        "architectures": ["BartForConditionalGeneration"], "model_type": "bart", "d_model": c.width,
        "encoder_layers": c.layers, "decoder_layers": decoder_layers, "num_hidden_layers": c.layers,
        "encoder_attention_heads": c.heads, "decoder_attention_heads": c.heads, "encoder_ffn_dim": c.hidden, "decoder_ffn_dim": c.hidden,
        "max_position_embeddings": c.max_tokens, "activation_function": curve_name(c.feed_forward.activation()),
        "scale_embedding": c.inputs == Inputs::Grown, "dropout": short(c.dropout), "attention_dropout": 0.0, "activation_dropout": 0.0,
        "decoder_start_token_id": start, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": end, "forced_eos_token_id": end,
        "is_encoder_decoder": true,
    })
}
