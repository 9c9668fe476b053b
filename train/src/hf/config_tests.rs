//! Files as their publishers' programs have written them over the years: fields that are left out, have older names, or come in two forms.

use super::*;
use crate::model::config::Stretch;
use serde_json::json;

/// These fields, and more or others.
fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

fn read(fields: &Value) -> Result<Config, ConfigError> {
    parse(fields.to_string().as_bytes())
}

/// The field that a file is refused for.
fn refused(fields: &Value) -> &'static str {
    match read(fields) {
        Err(ConfigError::Unsupported { field, .. } | ConfigError::Field { field, .. }) => field,
        other => panic!("{fields}: {other:?}"),
    }
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 32, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 1,
    })
}

fn t5() -> Value {
    json!({ "model_type": "t5", "vocab_size": 32, "d_model": 8, "num_heads": 2, "d_kv": 4, "d_ff": 8, "num_layers": 1 })
}

fn bart() -> Value {
    json!({
        "model_type": "bart", "vocab_size": 32, "d_model": 8, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
    })
}

#[test]
fn what_a_file_leaves_out_is_what_its_publishers_program_takes() {
    let found = read(&llama()).unwrap();
    assert_eq!((found.max_tokens, found.groups, found.head_width, found.head), (2048, 2, 4, Head::Own));
    assert_eq!((found.positions, found.epsilon), (Positions::Rotary { theta: 10_000.0 }, 1e-6));
    let found = read(&t5()).unwrap();
    assert_eq!(found.family, Family::EncoderDecoder { decoder_layers: 1, start: 0, end: 1 });
    assert_eq!((found.head, found.outputs, found.max_tokens), (Head::Tied, Outputs::Shrunk, 512));
    assert_eq!(found.positions, Positions::Distances { buckets: 32, farthest: 128 });
    assert_eq!(found.feed_forward, FeedForwardKind::Plain(Activation::Relu));
    let found = read(&bart()).unwrap();
    assert_eq!(found.family, Family::EncoderDecoder { decoder_layers: 1, start: 2, end: 2 });
    assert_eq!((found.max_tokens, found.head, found.inputs, found.place), (1024, Head::Tied, Inputs::Plain, NormPlace::After));
    assert_eq!((found.feed_forward, found.epsilon), (FeedForwardKind::Plain(Activation::Gelu), 1e-5));
    let gpt2 = json!({ "model_type": "gpt2", "vocab_size": 32, "n_embd": 8, "n_head": 2, "n_layer": 1, "n_inner": null });
    let found = read(&gpt2).unwrap();
    assert_eq!((found.hidden, found.max_tokens, found.head), (32, 1024, Head::Tied));
    assert_eq!(found.feed_forward, FeedForwardKind::Plain(Activation::GeluTanh));
    assert_eq!(read(&with(gpt2.clone(), json!({ "n_ctx": 64 }))).unwrap().max_tokens, 64);
    assert_eq!(read(&with(gpt2, json!({ "n_ctx": 64, "n_positions": 32 }))).unwrap().max_tokens, 32);
}

#[test]
fn a_head_is_tied_where_the_file_or_its_kind_says_so() {
    let head = |fields: Value, tied: bool| read(&with(fields, json!({ "tie_word_embeddings": tied }))).unwrap().head;
    assert_eq!((head(llama(), true), head(t5(), true), head(t5(), false)), (Head::Tied, Head::Tied, Head::Own));
    // A later form of T5: a gate, and a head of its own, which reads what the blocks have made as it is.
    let later = read(&with(t5(), json!({ "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false }))).unwrap();
    assert_eq!((later.feed_forward, later.outputs), (FeedForwardKind::Gated(Activation::GeluTanh), Outputs::Plain));
}

#[test]
fn one_curve_has_many_names() {
    let curve = |name: &str| read(&with(llama(), json!({ "hidden_act": name }))).map(|c| c.feed_forward.activation());
    for (names, expected) in [
        (&["gelu", "gelu_python"][..], Activation::Gelu),
        (&["gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"][..], Activation::GeluTanh),
        (&["silu", "swish"][..], Activation::Silu),
        (&["relu"][..], Activation::Relu),
    ] {
        names.iter().for_each(|name| assert_eq!(curve(name).unwrap(), expected, "{name}"));
    }
    for other in ["quick_gelu", "gelu_10", "mish"] {
        assert!(matches!(curve(other), Err(ConfigError::Unsupported { field: "hidden_act", found, .. }) if found == other));
    }
}

/// Newer files have one group, older ones a number beside a group; both say the same.
#[test]
fn turns_are_read_in_both_forms() {
    let positions = |more: Value| read(&with(llama(), more)).unwrap().positions;
    let plain = Positions::Rotary { theta: 500_000.0 };
    for same in [
        json!({ "rope_theta": 500_000.0, "rope_scaling": null }),
        json!({ "rope_theta": 500_000 }),
        json!({ "rope_theta": 500_000.0, "rope_scaling": { "type": "default" } }),
        json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 500_000.0 } }),
        json!({ "rope_theta": 500_000.0, "rope_parameters": { "rope_type": "default" } }),
    ] {
        assert_eq!(positions(same), plain);
    }
    let linear = Positions::Stretched { theta: 10_000.0, stretch: Stretch::Even { factor: 2.0 } };
    assert_eq!(positions(json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } })), linear);
    let slow = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    });
    let stretch = Stretch::Slow { factor: 8.0, low: 1.0, high: 4.0, tokens: 8192.0 };
    let expected = Positions::Stretched { theta: 500_000.0, stretch };
    let (older, newer) = (json!({ "rope_theta": 500_000.0, "rope_scaling": slow }), with(slow.clone(), json!({ "rope_theta": 500_000.0 })));
    assert_eq!(positions(older.clone()), expected);
    assert_eq!(positions(json!({ "rope_parameters": newer })), expected);
    // What goes out is read by both.
    let text = render(&read(&with(llama(), older)).unwrap()).unwrap();
    let mut fields: Value = serde_json::from_str(&text).unwrap();
    for name in ["rope_scaling", "rope_parameters"] {
        let kept = fields.clone();
        fields.as_object_mut().unwrap().remove(name);
        assert_eq!(read(&fields).unwrap().positions, expected, "without {name}");
        fields = kept;
    }
}

#[test]
fn turns_of_another_kind_are_refused_by_the_field_that_says_so() {
    let wrong = |more: Value| refused(&with(llama(), more));
    assert_eq!(wrong(json!({ "rope_scaling": { "rope_type": "yarn", "factor": 4.0 } })), "rope_scaling.rope_type");
    assert_eq!(wrong(json!({ "rope_scaling": { "type": "dynamic", "factor": 4.0 } })), "rope_scaling.rope_type");
    assert_eq!(wrong(json!({ "rope_scaling": { "type": "linear" } })), "factor");
    assert_eq!(wrong(json!({ "rope_scaling": 2.0 })), "rope_scaling");
    assert_eq!(wrong(json!({ "rope_parameters": { "full_attention": { "rope_type": "default" } } })), "rope_parameters");
    assert_eq!(wrong(json!({ "partial_rotary_factor": 0.5 })), "partial_rotary_factor");
    let twice = json!({ "rope_parameters": { "rope_type": "default" }, "rope_scaling": { "type": "linear", "factor": 2.0 } });
    assert_eq!(wrong(twice), "rope_scaling");
    let half = read(&with(llama(), json!({ "rope_scaling": { "type": "linear", "factor": 0.5 } })));
    assert!(matches!(half, Err(ConfigError::Model(ModelError::Part { part: "stretch", .. }))));
}

#[test]
fn a_token_may_be_one_of_a_list() {
    let ends = |fields: Value| match read(&with(fields, json!({ "eos_token_id": [7, 9] }))).unwrap().family {
        Family::EncoderDecoder { end, .. } => end,
        Family::Encoder(_) | Family::Decoder => panic!("one stack only"),
    };
    assert_eq!((ends(t5()), ends(bart())), (7, 7));
    let end = |fields: Value| end(fields.to_string().as_bytes());
    let several = [json!(3), json!([5, 6]), json!([]), json!("</s>"), Value::Null];
    assert_eq!(several.map(|eos| end(json!({ "eos_token_id": eos }))), [Some(3), Some(5), None, None, None]);
    assert_eq!(end(json!({})), None);
    assert_eq!(refused(&with(t5(), json!({ "eos_token_id": "</s>" }))), "eos_token_id");
    // Only publishers of BART begin answers with a token of their own.
    let opens = |fields: Value| opening(fields.to_string().as_bytes());
    let named = |fields: Value| opens(with(fields, json!({ "bos_token_id": 4 })));
    assert_eq!([opens(bart()), named(bart()), named(t5()), named(llama())], [Some(0), Some(4), None, None]);
}

#[test]
fn what_would_be_read_wrong_is_refused() {
    for fields in [llama(), t5(), bart()] {
        assert_eq!(refused(&with(fields, json!({ "quantization_config": { "quant_method": "gptq" } }))), "quantization_config");
    }
    let bert = json!({
        "model_type": "bert", "vocab_size": 32, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 1,
        "max_position_embeddings": 16,
    });
    for (published, expected) in [("BertForPreTraining", Some(Family::Encoder(Task::MaskedTokens))), ("BertForQuestionAnswering", None)] {
        let found = read(&with(bert.clone(), json!({ "architectures": [published] })));
        assert_eq!(found.ok().map(|c| c.family), expected, "{published}");
    }
    let unknown = read(&with(bert, json!({ "model_type": "roberta" }))).unwrap_err().to_string();
    assert!(unknown.contains("roberta") && unknown.contains("bert, gpt2, llama, qwen2, t5 or bart"), "{unknown}");
}
