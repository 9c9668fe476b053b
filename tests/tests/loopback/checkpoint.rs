//! A model that begins from a published checkpoint: institutions read what stays in it from their own disks, and only what is trained travels.

use super::families::{is_another_loss, two_rounds};
use super::*;
use protocol::ids::TaskId;
use train::batch::Record;
use train::hf::base::{Base, Digests};

/// Words of the records, marks as published encoders have them.
const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "decoder": null,
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "-", "max_input_chars_per_word": 100,
        "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "win": 4, "a": 5, "prize": 6, "now": 7, "see": 8, "you": 9, "at": 10,
            "noon": 11}}
}"#;

/// Whole words, no marks.
const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "[UNK]",
        "vocab": {"[UNK]": 0, "win": 1, "a": 2, "prize": 3, "now": 4, "see": 5, "you": 6, "at": 7, "noon": 8}}
}"#;

/// A tiny model with random weights, as its publisher's program wrote it.
fn publish(dir: &Path, name: &str, tokenizer: &str) -> Base {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/tests/vectors/hf").join(name);
    std::fs::create_dir(dir).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), dir.join(file)).unwrap();
    }
    std::fs::write(dir.join("tokenizer.json"), tokenizer).unwrap();
    Base::open(dir).unwrap()
}

/// Everybody trains the same parts of a model on this checkpoint, with adapters on these layers.
fn adapted_toml(base: &Base, (asks, targets, trains): (&str, &str, &str)) -> String {
    let Digests { config, weights, tokenizer } = base.digests();
    let plan = plan_toml(2, 120_000, 1).replace("decryptors = 4", "decryptors = 3");
    let sizes = "vocab = 64\nmax_tokens = 8\nwidth = 8\nheads = 2\nlayers = 1\nhidden = 8\n";
    let model = format!(
        "max_tokens = 8\nadapter = {{ rank = 2, alpha = 4, targets = [{targets}] }}\n\
         base = {{ config = \"{config}\", weights = \"{weights}\", tokenizer = \"{tokenizer}\", asks = \"{asks}\" }}\n"
    );
    assert!(plan.contains(sizes));
    format!("{}[[tiers]]\nname = \"all\"\ntrains = [{trains}]\n", plan.replace(sizes, &model))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_published_checkpoint_is_trained_further_and_never_travels() {
    let mut f = Federation::start(3).await;
    let base = publish(&f.dir.path().join("checkpoint"), "bert-classify", TOKENIZER);
    // A head for two classes, which the checkpoint does not have.
    let text = adapted_toml(&base, ("class", "\"query\", \"value\"", "\"lora-b\", \"head\""));
    let file = server::plan_file::PlanFile::parse(&text).unwrap();
    let plan = f.propose_prepared(file.prepare_on(TaskId([7; 16]), Some(&base)).unwrap()).await;
    let [first, weights] = two_rounds(&mut f, &plan).await;
    // What the federation stores and sends is a small part of the model: the table of tokens is not in it.
    let snapshot = train::snapshot::from_bytes(&plan.model, &weights).unwrap();
    assert!(snapshot.table().find("bert.embeddings.word_embeddings.weight").is_none());
    assert_eq!(plan.model.base.as_ref().unwrap().weights, base.digests().weights);
    // With the checkpoint beside it, it is the whole model, and not the one that it began as.
    let [before, after] = [&first, &weights].map(|bytes| {
        let outside = std::sync::Arc::new(base.outside(&plan.model).unwrap());
        let weights = train::snapshot::from_bytes(&plan.model, bytes).unwrap().beside(outside);
        train::eval::classify(&weights, &[2, 4, 5, 6, 3]).unwrap()
    });
    assert_ne!(before, after);
}

/// Three institutions train adapters of a model that writes tokens, for two rounds, and it learns from them about this record.
async fn taught(name: &str, (asks, targets): (&str, &str), record: Record) {
    let mut f = Federation::start(3).await;
    let base = publish(&f.dir.path().join("checkpoint"), name, WORDS);
    let text = adapted_toml(&base, (asks, targets, "\"lora-b\"")).replace("classes = [\"bad\", \"good\"]\n", "");
    let file = server::plan_file::PlanFile::parse(&text).unwrap();
    let plan = f.propose_prepared(file.prepare_on(TaskId([7; 16]), Some(&base)).unwrap()).await;
    let weights = two_rounds(&mut f, &plan).await.map(|bytes| {
        let outside = std::sync::Arc::new(base.outside(&plan.model).unwrap());
        train::snapshot::from_bytes(&plan.model, &bytes).unwrap().beside(outside)
    });
    is_another_loss(record, weights);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_published_decoder_learns_from_texts_that_nobody_labelled() {
    let record = Record { tokens: vec![1, 2, 3, 4, 0, 0], class: 0, labels: Vec::new() };
    taught("gpt2", ("next-token", "\"c_attn\""), record).await;
}

/// The labels are the answers, word for word.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_published_encoder_decoder_learns_what_to_reply() {
    let record = Record { tokens: vec![1, 2, 3, 4], class: 0, labels: vec![5, 0] };
    taught("t5", ("translate", "\"q\", \"v\""), record).await;
}

/// The same by a model whose sides have places of their own; every answer begins with its publisher's mark, which is token 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_published_encoder_decoder_of_barts_kind_learns_what_to_reply() {
    let record = Record { tokens: vec![1, 2, 3, 4], class: 0, labels: vec![0, 5] };
    taught("bart", ("translate", "\"q_proj\", \"v_proj\""), record).await;
}
