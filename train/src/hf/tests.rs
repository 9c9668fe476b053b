//! Parity with the reference implementation on tiny random checkpoints (tests/vectors/hf, made by scripts/make-hf-vectors.py), round trips,
//! and what happens to files that lie.

use super::file::Tensors;
use super::*;
use crate::batch::{Batch, Record};
use crate::capture::Tape;
use crate::model::Transformer;
use crate::model::lora::Factor;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::path::PathBuf;

const MODELS: [&str; 10] =
    ["bert-classify", "bert-tag", "bert-masked", "gpt2", "llama", "llama-stretched", "qwen2", "t5", "t5-gated", "bart"];

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hf").join(name)
}

/// What the reference implementation said.
struct Expected(Vec<u8>);

impl Expected {
    fn of(name: &str) -> Self {
        Self(std::fs::read(vectors(name).join("expected.safetensors")).unwrap())
    }
    fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32);
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
    fn numbers(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.tensor(name)
            .unwrap()
            .data()
            .chunks_exact(8)
            .map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
            .collect()
    }
    fn records(&self) -> Vec<Record> {
        let record = |i: usize| Record {
            tokens: self.numbers(&format!("tokens.{i}")),
            class: self.numbers(&format!("class.{i}"))[0],
            labels: self.numbers(&format!("labels.{i}")),
        };
        vec![record(0), record(1)]
    }
}

fn logits(weights: &TransformerWeights, records: &[Record]) -> Vec<f32> {
    let batch = Batch::pack(records, 12);
    let scores = Transformer::load(weights).unwrap().forward(&batch, &Tape::off()).unwrap();
    scores.flatten_all().unwrap().to_vec1().unwrap()
}

fn farthest(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Scores of both records in one batch, against theirs one by one.
fn agrees_in_scores(name: &str, weights: &TransformerWeights) {
    let expected = Expected::of(name);
    let theirs: Vec<f32> = (0..2).flat_map(|i| expected.floats(&format!("logits.{i}"))).collect();
    let off = farthest(&logits(weights, &expected.records()), &theirs);
    assert!(off < 1e-4, "{name}: scores off by {off}");
    assert!(theirs.iter().any(|x| x.abs() > 0.1), "{name}: scores too small to tell");
}

/// Gradients of the sum of both losses; each tensor within 1e-3 of its largest number.
fn agrees_in_gradients(name: &str, weights: &TransformerWeights, key: impl Fn(&str) -> String) {
    let expected = Expected::of(name);
    let (losses, gradient) = weights.gradient(&Batch::pack(&expected.records(), 12), None).unwrap();
    let off = farthest(&losses, &expected.floats("losses"));
    assert!(off < 1e-4, "{name}: losses off by {off}");
    for p in weights.table().iter() {
        let theirs = expected.floats(&key(&p.name));
        let theirs = match (layout::way(weights.config().spelling, &p.name), &p.shape[..]) {
            (layout::Way::Transposed, &[outputs, inputs]) => {
                (0..outputs).flat_map(|o| (0..inputs).map(move |i| i * outputs + o)).map(|at| theirs[at]).collect()
            }
            _ => theirs,
        };
        let (off, size) = (farthest(&gradient[p.range()], &theirs), theirs.iter().fold(0.0f32, |m, x| m.max(x.abs())));
        assert!(off <= 1e-3 * size.max(1e-2), "{name}: {} off by {off} of {size}", p.name);
    }
}

#[test]
fn scores_losses_and_gradients_are_those_of_the_reference_implementation() {
    for name in MODELS {
        let checkpoint = load(&vectors(name)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(checkpoint.unused, Vec::<String>::new(), "{name}");
        agrees_in_scores(name, &checkpoint.weights);
        agrees_in_gradients(name, &checkpoint.weights, |p| format!("gradient.{p}"));
    }
}

#[test]
fn what_is_written_is_read_again_bit_by_bit() {
    for name in MODELS {
        let checkpoint = load(&vectors(name)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        save(&checkpoint, directory.path()).unwrap();
        let again = load(directory.path()).unwrap();
        assert_eq!(again, checkpoint, "{name}");
        let records = Expected::of(name).records();
        assert_eq!(logits(&again.weights, &records), logits(&checkpoint.weights, &records), "{name}");
        // Other programs find every tensor under the name and in the shape that they wrote.
        let (theirs, ours) = (std::fs::read(vectors(name).join(WEIGHTS)).unwrap(), std::fs::read(directory.path().join(WEIGHTS)).unwrap());
        let list = |bytes: &[u8]| {
            let file = SafeTensors::deserialize(bytes).unwrap();
            let mut all: Vec<_> = file.tensors().into_iter().map(|(n, t)| (n, t.shape().to_vec(), t.data().to_vec())).collect();
            all.sort();
            all
        };
        assert_eq!(list(&ours), list(&theirs), "{name}");
    }
}

#[test]
fn an_adapter_computes_what_peft_computes_and_survives_the_round_trip() {
    let base = load(&vectors("llama")).unwrap().weights;
    let key = |p: &str| format!("gradient.base_model.model.{p}");
    for factor in [Factor::A, Factor::B] {
        let adapted = adapter::load(&vectors("llama-lora"), &base, factor).unwrap();
        agrees_in_scores("llama-lora", &adapted);
        agrees_in_gradients("llama-lora", &adapted, key);
        let directory = tempfile::tempdir().unwrap();
        adapter::save(&adapted, "llama", directory.path()).unwrap();
        assert_eq!(adapter::load(directory.path(), &base, factor).unwrap(), adapted);
        agrees_in_scores("llama-lora", &adapter::merge(&adapted).unwrap());
        assert!(matches!(adapter::merge(&base), Err(HfError::Adapter(adapter::AdapterError::None))));
    }
}

/// A LoRA-B shard starts as the base model, and its export carries the frozen factor.
#[test]
fn a_fresh_adapter_is_the_base_model() {
    let base = load(&vectors("gpt2")).unwrap().weights;
    let config = br#"{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["c_attn"]}"#;
    let lora = crate::model::lora::Lora { rank: 2, alpha: 4, trains: Factor::B };
    let adapters =
        crate::model::lora::Adapters { targets: Some(vec!["c_attn".to_owned()].into()), ..crate::model::lora::Adapters::everywhere(lora) };
    let fresh = base.retraining(&base.config().training(Some(adapters), crate::model::Trained::Nothing).unwrap(), 9).unwrap();
    let records = Expected::of("gpt2").records();
    assert_eq!(logits(&fresh, &records), logits(&base, &records));
    let (written, tensors) = adapter::to_bytes(&fresh, "gpt2").unwrap();
    assert!(String::from_utf8(written).unwrap().contains("\"fan_in_fan_out\": true"));
    assert_eq!(SafeTensors::deserialize(&tensors).unwrap().len(), 4);
    assert_eq!(adapter::from_bytes(config, &tensors, &base, Factor::B).unwrap(), fresh);
}

fn with_config(name: &str, from: &str, to: &str) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(vectors(name).join(CONFIG)).unwrap();
    assert!(text.contains(from), "{from}");
    config::parse(text.replace(from, to).as_bytes())
}

#[test]
fn what_would_be_computed_differently_is_refused_by_name() {
    let unsupported = |name, from, to| match with_config(name, from, to) {
        Err(ConfigError::Unsupported { field, .. }) => field,
        other => panic!("{from}: {other:?}"),
    };
    assert_eq!(unsupported("llama", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"mish\""), "hidden_act");
    assert_eq!(unsupported("llama", "\"rope_type\": \"default\"", "\"rope_type\": \"yarn\""), "rope_parameters.rope_type");
    assert_eq!(unsupported("llama", "\"attention_bias\": false", "\"attention_bias\": true"), "attention_bias");
    assert_eq!(unsupported("llama", "\"mlp_bias\": false", "\"mlp_bias\": true"), "mlp_bias");
    assert_eq!(unsupported("qwen2", "\"use_sliding_window\": false", "\"use_sliding_window\": true"), "use_sliding_window");
    let architecture = with_config("llama", "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
    assert!(matches!(architecture, Err(ConfigError::Architecture { found }) if found == "mamba"));
    let missing = with_config("gpt2", "\"n_head\": 2", "\"heads\": 2");
    assert!(matches!(missing, Err(ConfigError::Field { field: "n_head", .. })));
    assert!(matches!(with_config("gpt2", "\"n_head\": 2", "\"n_head\": 3"), Err(ConfigError::Model(_))));
    assert!(matches!(with_config("gpt2", "\"n_head\": 2", "\"n_head\": 0"), Err(ConfigError::Model(_))));
    assert!(matches!(with_config("gpt2", "\"n_embd\": 16", "\"n_embd\": 4294967295"), Err(ConfigError::Model(_))));
    assert!(matches!(config::parse(b"[]"), Err(ConfigError::Json(_))));
}

#[test]
fn relatives_of_bart_are_refused_by_what_differs() {
    let scaled = "\"scale_embedding\": true";
    let with = |more: &str| match with_config("bart", scaled, &format!("{scaled}, {more}")) {
        Err(ConfigError::Unsupported { field, .. }) => field,
        other => panic!("{more}: {other:?}"),
    };
    assert_eq!(with("\"normalize_before\": true"), "normalize_before");
    assert_eq!(with("\"add_final_layer_norm\": true"), "add_final_layer_norm");
    assert_eq!(with("\"normalize_embedding\": false"), "normalize_embedding");
    assert_eq!(with("\"static_position_embeddings\": true"), "static_position_embeddings");
    let refused = |from, to| with_config("bart", from, to).unwrap_err().to_string();
    assert!(refused("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false").contains("tie_word_embeddings"));
    assert!(refused("\"decoder_ffn_dim\": 24", "\"decoder_ffn_dim\": 32").contains("decoder_ffn_dim is 32"));
    assert!(refused("\"decoder_attention_heads\": 2", "\"decoder_attention_heads\": 4").contains("decoder_attention_heads is 4"));
    assert!(refused("\"model_type\": \"bart\"", "\"model_type\": \"mbart\"").contains("normalises before each part"));
    assert!(refused("BartForConditionalGeneration", "BartForCausalLM").contains("unknown architecture BartForCausalLM"));
    let trunk = with_config("bart", "BartForConditionalGeneration", "BartModel").unwrap();
    assert_eq!(trunk, load(&vectors("bart")).unwrap().weights.config().clone());
}

/// Names, shapes and bytes of a file's tensors.
type Listed = Vec<(String, Vec<usize>, Vec<u8>)>;

/// A checkpoint of the vectors with its list of tensors changed, and the names that it has no use for.
fn rewritten(model: &str, change: impl Fn(&mut Listed)) -> Result<(TransformerWeights, Vec<String>), HfError> {
    let bytes = std::fs::read(vectors(model).join(WEIGHTS)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Listed = file.tensors().into_iter().map(|(n, t)| (n, t.shape().to_vec(), t.data().to_vec())).collect();
    change(&mut all);
    let written = all.into_iter().map(|(name, shape, bytes)| file::Written { name, shape, bytes }).collect();
    let config = config::parse(&std::fs::read(vectors(model).join(CONFIG)).unwrap()).unwrap();
    from_bytes(&config, &file::serialize(written).unwrap())
}

/// The trunk alone was published first: its file has no prefix, and what is added to scores is zero.
#[test]
fn a_file_of_barts_trunk_is_the_whole_model_without_a_shift_of_scores() {
    let whole = load(&vectors("bart")).unwrap().weights;
    let shift = "final_logits_bias";
    let (trunk, unused) = rewritten("bart", |all| {
        all.retain(|t| t.0 != shift);
        all.iter_mut().for_each(|t| t.0 = t.0.replacen("model.", "", 1));
    })
    .unwrap();
    assert_eq!(unused, Vec::<String>::new());
    for p in whole.table().iter() {
        let (ours, theirs) = (trunk.tensor(&p.name).unwrap(), whole.tensor(&p.name).unwrap());
        assert!(if p.name == shift { ours.iter().all(|&x| x == 0.0) } else { ours == theirs }, "{}", p.name);
    }
    assert!(whole.tensor(shift).unwrap().iter().all(|&x| x != 0.0));
    assert_eq!(whole.table().find(shift).unwrap().shape, [60], "a row in the file, a shift here");
}

/// Writers that store a shared table once choose one of its names.
#[test]
fn a_shared_table_is_found_under_each_of_its_names_and_an_own_head_is_none() {
    let renamed = |model: &str, from: &str, to: &str| {
        rewritten(model, |all| all.iter_mut().filter(|t| t.0 == from).for_each(|t| t.0 = to.to_owned())).map(|(weights, _)| weights)
    };
    for (model, table, others) in [
        ("bart", "model.shared.weight", &["lm_head.weight", "model.encoder.embed_tokens.weight", "decoder.embed_tokens.weight"][..]),
        ("t5", "shared.weight", &["lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"][..]),
        ("t5-gated", "shared.weight", &["decoder.embed_tokens.weight"][..]),
        ("gpt2", "transformer.wte.weight", &["lm_head.weight", "wte.weight"][..]),
        ("qwen2", "model.embed_tokens.weight", &["lm_head.weight", "embed_tokens.weight"][..]),
        (
            "bert-masked",
            "bert.embeddings.word_embeddings.weight",
            &["cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"][..],
        ),
    ] {
        let published = load(&vectors(model)).unwrap().weights;
        for other in others {
            assert_eq!(renamed(model, table, other).unwrap(), published, "{model} {other}");
        }
    }
    let untied = renamed("llama", "model.embed_tokens.weight", "elsewhere");
    assert!(matches!(untied, Err(HfError::Weights(FileError::Missing(name))) if name == "model.embed_tokens.weight"));
}

/// A llama checkpoint with one thing changed.
fn changed(change: impl Fn(&mut Listed)) -> Result<(), HfError> {
    rewritten("llama", change).map(|(_, unused)| assert_eq!(unused, ["more"]))
}

#[test]
fn missing_and_misshaped_tensors_are_named() {
    let is = |name: &str| {
        let name = name.to_owned();
        move |t: &(String, Vec<usize>, Vec<u8>)| t.0 == name
    };
    let norm = "model.norm.weight";
    let missing = changed(|all| all.retain(|t| !is(norm)(t)));
    assert!(matches!(missing, Err(HfError::Weights(FileError::Missing(name))) if name == norm));
    let turned = changed(|all| all.iter_mut().filter(|t| t.0.contains("down_proj")).for_each(|t| t.1.reverse()));
    assert!(matches!(turned, Err(HfError::Weights(FileError::Shape { name, expected, found }))
        if name.contains("down_proj") && expected == [16, 24] && found == [24, 16]));
    let nan = changed(|all| all.iter_mut().filter(|t| is(norm)(t)).for_each(|t| t.2[..4].copy_from_slice(&f32::NAN.to_le_bytes())));
    assert!(matches!(nan, Err(HfError::Model(ModelError::NonFinite(_)))));
    changed(|all| all.push(("more".into(), vec![1], vec![0; 4]))).unwrap();
}

#[test]
fn cut_files_and_games_with_offsets_are_refused() {
    let bytes = std::fs::read(vectors("gpt2").join(WEIGHTS)).unwrap();
    for keep in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(Tensors::parse(&bytes[..keep]).is_err(), "{keep}");
    }
    let file = |header: &str, body: usize| -> Vec<u8> {
        (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(vec![0; body]).collect()
    };
    let tensor = |name: &str, shape: &str, from: u64, to: u64| {
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    assert!(Tensors::parse(&file(&two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 8, 16)), 16)).is_ok());
    for (what, bad) in [
        ("overlap", file(&two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 4, 12)), 12)),
        ("hole", file(&two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 12, 20)), 20)),
        ("beyond the end", file(&two(tensor("a", "[2]", 0, 8), tensor("b", "[2]", 8, 1 << 40)), 16)),
        ("backwards", file(&two(tensor("a", "[2]", 8, 0), tensor("b", "[2]", 8, 16)), 16)),
        ("wrong length", file(&format!("{{{}}}", tensor("a", "[3]", 0, 8)), 8)),
        ("wrapping shape", file(&format!("{{{}}}", tensor("a", "[4294967296,4294967296,4]", 0, 8)), 8)),
        ("more than the tensors", file(&format!("{{{}}}", tensor("a", "[2]", 0, 8)), 12)),
    ] {
        assert!(matches!(Tensors::parse(&bad), Err(FileError::Format(_))), "{what}");
    }
    let huge: Vec<u8> = u64::MAX.to_le_bytes().into_iter().chain([0; 64]).collect();
    assert!(matches!(Tensors::parse(&huge), Err(FileError::Header { .. })));
    let whole = file("{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8);
    assert!(matches!(Tensors::parse(&whole).unwrap().expect("a", &[1]), Err(FileError::Numbers { .. })));
}

#[test]
fn half_precision_checkpoints_are_widened() {
    let wide = |dtype: Dtype, bytes: &[u8], count: usize| {
        let view = safetensors::tensor::TensorView::new(dtype, vec![count], bytes).unwrap();
        let mut out = vec![0.0; count];
        file::copy(&view, &mut out);
        out
    };
    assert_eq!(wide(Dtype::BF16, &[0x80, 0x3f, 0x20, 0xc0], 2), [1.0, -2.5]);
    assert_eq!(wide(Dtype::F16, &[0x00, 0x3c, 0x00, 0xc1], 2), [1.0, -2.5]);
    assert_eq!(wide(Dtype::F64, &1.5f64.to_le_bytes(), 1), [1.5]);
}

#[test]
fn a_tokenizer_of_another_vocabulary_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut checkpoint = load(&vectors("llama")).unwrap();
    assert!(checkpoint.tokenizer.is_some());
    checkpoint.tokenizer = Some(br#"{"model":{"vocab":{"a":0,"b":60}}}"#.to_vec());
    save(&checkpoint, directory.path()).unwrap();
    assert!(matches!(load(directory.path()), Err(HfError::Tokenizer(TokenizerError::Vocabulary { found: 60, vocab: 60 }))));
    assert!(matches!(load(&directory.path().join("nowhere")), Err(HfError::File { file, .. }) if file == CONFIG));
}

#[test]
fn weights_that_run_as_a_program_are_refused_by_their_name() {
    for older in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        let directory = tempfile::tempdir().unwrap();
        save(&load(&vectors("gpt2")).unwrap(), directory.path()).unwrap();
        std::fs::write(directory.path().join(older), b"\x80\x02").unwrap();
        assert!(load(directory.path()).is_ok(), "what lies beside the weights is not looked at");
        std::fs::remove_file(directory.path().join(WEIGHTS)).unwrap();
        assert!(matches!(load(directory.path()), Err(HfError::Pickled(name)) if name == older));
    }
}

#[test]
fn adapters_of_other_models_are_refused_by_name() {
    let (llama, gpt2) = (load(&vectors("llama")).unwrap().weights, load(&vectors("gpt2")).unwrap().weights);
    let config = std::fs::read_to_string(vectors("llama-lora").join("adapter_config.json")).unwrap();
    let tensors = std::fs::read(vectors("llama-lora").join("adapter_model.safetensors")).unwrap();
    let load = |config: &str, base| match adapter::from_bytes(config.as_bytes(), &tensors, base, Factor::B) {
        Err(HfError::Adapter(e)) => e.to_string(),
        Err(e) => format!("{e:?}"),
        Ok(_) => "fine".into(),
    };
    assert_eq!(load(&config, &llama), "fine");
    assert!(load(&config, &gpt2).starts_with("none of the target modules"));
    assert!(load(&config.replace("\"r\": 3", "\"r\": 4"), &llama).contains("Shape"));
    assert!(load(&config.replace("\"v_proj\"", "\"k_proj\""), &llama).contains("Missing"));
    assert!(load(&config.replace("\"v_proj\"", "\"q_proj\""), &llama).contains("belongs to no adapted layer"));
    assert!(load(&config.replace("\"use_dora\": false", "\"use_dora\": true"), &llama).contains("use_dora"));
    assert!(load(&config.replace("\"r\": 3", "\"r\": 0"), &llama).contains("Rank"));
}
