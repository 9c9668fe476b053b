//! A model as the `config.json` that other programs read: what no published architecture has a field for is refused.

use super::{ConfigError, bart, parse, rotary};
use crate::model::config::{Activation, Choices, Config, Family, FeedForwardKind, Outputs, Positions, Scores, Shifts, Task};
use crate::model::decoder::Head;
use crate::model::names::Spelling;
use serde_json::{Map, Value, json};

/// Writes a `config.json` that [`parse`] and other programs read as this model.
///
/// # Errors
/// [`ConfigError::Unpublished`] for a model that no published architecture describes.
pub fn render(config: &Config) -> Result<String, ConfigError> {
    let published = crate::hf::whole(config)?;
    let c = published.choices();
    let mut fields = match c.spelling {
        Spelling::Own => return Err(ConfigError::Unpublished { part: "Concordat's own names" }),
        Spelling::Bert => render_bert(c),
        Spelling::Gpt2 => render_gpt2(c),
        Spelling::Llama => render_llama(c),
        Spelling::T5 => render_t5(c),
        Spelling::Bart => bart::render(c),
    };
    fields["dtype"] = json!("float32");
    fields["vocab_size"] = json!(c.vocab);
    fields["tie_word_embeddings"] = json!(c.head == Head::Tied);
    let text = serde_json::to_string_pretty(&fields)? + "\n";
    // Whatever the architecture has no field for would be lost in silence.
    if parse(text.as_bytes())? == published { Ok(text) } else { Err(ConfigError::Unpublished { part: "all of these parts" }) }
}

/// A 32-bit float with as many digits as it has, and no more.
pub(super) fn short(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x))
}

fn names(prefix: &str, count: u32) -> Value {
    (0..count).map(|i| (i.to_string(), json!(format!("{prefix}_{i}")))).collect::<Map<_, _>>().into()
}

fn render_bert(c: &Choices) -> Value {
    let (architecture, labels) = match c.family {
        Family::Encoder(Task::Classify { classes }) => ("BertForSequenceClassification", Some(classes)),
        Family::Encoder(Task::Tag { labels }) => ("BertForTokenClassification", Some(labels)),
        Family::Encoder(Task::MaskedTokens) | Family::Decoder | Family::EncoderDecoder { .. } => ("BertForMaskedLM", None),
    };
    let mut fields = json!({
        "architectures": [architecture], "model_type": "bert", "hidden_size": c.width, "num_attention_heads": c.heads,
        "intermediate_size": c.hidden, "num_hidden_layers": c.layers, "max_position_embeddings": c.max_tokens,
        "type_vocab_size": c.segments, "layer_norm_eps": short(c.epsilon), "hidden_act": curve_name(c.feed_forward.activation()),
        "hidden_dropout_prob": short(c.dropout), "attention_probs_dropout_prob": 0.0,
    });
    if let Some(labels) = labels {
        fields["id2label"] = names("LABEL", labels);
        fields["label2id"] = (0..labels).map(|i| (format!("LABEL_{i}"), json!(i))).collect::<Map<_, _>>().into();
    }
    fields
}

fn render_gpt2(c: &Choices) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": c.width, "n_head": c.heads, "n_inner": c.hidden,
        "n_layer": c.layers, "n_positions": c.max_tokens, "layer_norm_epsilon": short(c.epsilon),
        "activation_function": curve_name(c.feed_forward.activation()), "scale_attn_weights": c.scores == Scores::Scaled,
        "resid_pdrop": short(c.dropout), "embd_pdrop": short(c.dropout), "attn_pdrop": 0.0,
        "bos_token_id": null, "eos_token_id": null, // else readers assume those of the published vocabulary
    })
}

fn render_llama(c: &Choices) -> Value {
    let (architecture, kind) = match c.shifts {
        Shifts::Queries => ("Qwen2ForCausalLM", "qwen2"),
        Shifts::All | Shifts::None => ("LlamaForCausalLM", "llama"),
    };
    let mut fields = json!({
        "architectures": [architecture], "model_type": kind, "hidden_size": c.width, "num_attention_heads": c.heads,
        "num_key_value_heads": c.groups, "head_dim": c.head_width, "intermediate_size": c.hidden, "num_hidden_layers": c.layers,
        "max_position_embeddings": c.max_tokens, "rms_norm_eps": short(c.epsilon),
        "hidden_act": curve_name(c.feed_forward.activation()), "attention_dropout": 0.0,
    });
    for (name, value) in rotary::render(c.positions) {
        fields[name] = value;
    }
    if c.shifts == Shifts::All {
        (fields["attention_bias"], fields["mlp_bias"]) = (json!(true), json!(true));
    }
    fields
}

fn render_t5(c: &Choices) -> Value {
    let (decoder_layers, start, end) = match c.family {
        Family::EncoderDecoder { decoder_layers, start, end } => (decoder_layers, start, end),
        Family::Encoder(_) | Family::Decoder => (0, 0, 0),
    };
    let (buckets, farthest) = match c.positions {
        Positions::Distances { buckets, farthest } => (buckets, farthest),
        Positions::Learned | Positions::Sinusoidal | Positions::Rotary { .. } | Positions::Stretched { .. } => (0, 0),
    };
    let curve = match c.feed_forward {
        FeedForwardKind::Gated(Activation::GeluTanh) => "gated-gelu".to_owned(),
        FeedForwardKind::Gated(curve) => format!("gated-{}", curve_name(curve)),
        FeedForwardKind::Plain(curve) => curve_name(curve).to_owned(),
    };
    json!({
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "d_model": c.width, "d_kv": c.head_width, "d_ff": c.hidden,
        "num_layers": c.layers, "num_decoder_layers": decoder_layers, "num_heads": c.heads, "n_positions": c.max_tokens,
        "relative_attention_num_buckets": buckets, "relative_attention_max_distance": farthest,
        "layer_norm_epsilon": short(c.epsilon), "feed_forward_proj": curve, "dropout_rate": short(c.dropout),
        "decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": 0, "is_encoder_decoder": true,
        "scale_decoder_outputs": c.outputs == Outputs::Shrunk,
    })
}

/// Of several names of a curve the usual one.
pub(super) fn curve_name(curve: Activation) -> &'static str {
    match curve {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Silu => "silu",
        Activation::Relu => "relu",
        Activation::Tanh => "tanh",
    }
}
