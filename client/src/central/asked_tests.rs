//! Encoders that are asked about tokens in one place, from files to figures, from random weights and on a tiny published checkpoint; and plans
//! that ask for what there is not.

use super::super::begun::FromError;
use super::super::run::{Event, Means, Outcome, run};
use super::super::{CentralPlan, CentralPlanError, Loaded};
use super::*;
use corpus::report::RejectReason;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use train::device::Wanted;

const CHARACTERS: &str = include_str!("../../../configs/train-characters.toml");
const TAGS: &str = include_str!("../../../configs/train-tags.toml");
const MASKED: &str = include_str!("../../../configs/train-masked-tokens.toml");

/// A sample of small sizes and few steps.
fn small(plan: &str, steps: u32) -> String {
    let line = |l: &str| match l.split(" = ").next() {
        Some("steps") => format!("steps = {steps}\n"),
        Some("warmup_steps") => "warmup_steps = 2\n".to_owned(),
        Some("every_steps") => format!("every_steps = {steps}\n"),
        Some("vocab") => "vocab = 2048\n".to_owned(),
        Some("width" | "hidden") => l.replace("96", "16").replace("192", "16") + "\n",
        Some("layers") => "layers = 1\n".to_owned(),
        Some("max_tokens") => "max_tokens = 12\n".to_owned(),
        Some("learning_rate") => "learning_rate = \"0.02\"\n".to_owned(),
        _ => format!("{l}\n"),
    };
    plan.lines().map(line).collect()
}

/// The same on a checkpoint, whose sizes it leaves out.
fn on(plan: &str, base: &Base, asks: &str) -> String {
    let Digests { config, weights, tokenizer } = base.digests();
    let sizes = ["vocab", "width", "heads", "layers", "hidden", "asks"];
    let kept = plan.lines().filter(|l| !sizes.iter().any(|size| l.starts_with(&format!("{size} = "))));
    let text: String = kept.map(|l| format!("{l}\n")).collect();
    let named =
        format!("[model]\nbase = {{ config = \"{config}\", weights = \"{weights}\", tokenizer = \"{tokenizer}\", asks = \"{asks}\" }}\n");
    text.replacen("[model]\n", &named, 1)
}

/// A tiny encoder as its publisher's program wrote it, with a tokenizer of whole words that has marks and a mask.
fn published(name: &str) -> (tempfile::TempDir, Base) {
    let (from, dir) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/tests/vectors/hf").join(name), tempfile::tempdir().unwrap());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer.json"), WORDS).unwrap();
    let base = Base::open(dir.path()).unwrap();
    (dir, base)
}

const WORDS: &str = r###"{
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
        {"id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        {"id": 3, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        {"id": 4, "content": "[MASK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
    ],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, "decoder": null,
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "took": 5, "aspirin": 6, "ibuprofen": 7, "today": 8}}
}"###;

/// Two drugs after one word, of one kind; every text is another.
fn notes(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("notes.jsonl");
    let line = |i: usize| {
        let drug = ["Aspirin", "Ibuprofen"][i % 2];
        let end = 5 + drug.len();
        format!("{{\"text\": \"took {drug} number {i} today\", \"spans\": [{{\"start\": 5, \"end\": {end}, \"label\": \"drug\"}}]}}\n")
    };
    std::fs::write(&path, (0..120).map(line).collect::<String>()).unwrap();
    path
}

fn train(plan: &str, data: &Path, base: Option<Base>, dir: Option<&Path>) -> Outcome {
    let checked = CentralPlan::parse(plan).unwrap();
    let loaded = Loaded::read(&checked, data, base).unwrap();
    let means = Means { device: Wanted::Cpu, threads: NonZeroUsize::MIN, dir };
    run(&checked, plan, loaded, means, &mut |_: Event<'_>| {}).unwrap()
}

fn chain(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", chain(cause)))
}

#[test]
fn parts_are_found_and_texts_without_labels_are_learnt_from_random_weights() {
    let dir = tempfile::tempdir().unwrap();
    let data = notes(dir.path());
    let tags = train(&small(TAGS, 80), &data, None, None).last;
    let parts = tags.parts.unwrap();
    assert!(tags.evaluation.unwrap().macro_f1() > 0.5 && parts[0].f1() > 0.9, "{parts:?}");
    let short = train(&small(MASKED, 2), &data, None, None).last;
    let long = train(&small(MASKED, 80), &data, None, None).last;
    assert!(long.loss < short.loss && long.evaluation.is_none() && long.foretold > 0, "{} {}", short.loss, long.loss);
}

/// The best model stands beside the state as other programs load it.
#[test]
fn a_published_encoder_is_trained_and_goes_out_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = notes(dir.path());
    for (asks, plan, architecture) in [("masked-tokens", MASKED, "BertForMaskedLM"), ("tags", TAGS, "BertForTokenClassification")] {
        let (_files, base) = published("bert-masked");
        let (plan, state) = (on(&small(plan, 4), &base, asks), dir.path().join(asks));
        let outcome = train(&plan, &data, Some(base), Some(&state));
        assert!(outcome.last.loss.is_finite(), "{asks}");
        let out = state.join("best");
        let again = train::hf::load(&out).unwrap();
        assert_eq!((again.unused, again.weights.flat().len()), (Vec::new(), outcome.parameters));
        assert!(std::fs::read_to_string(out.join("config.json")).unwrap().contains(architecture), "{asks}");
        assert_eq!(std::fs::read_to_string(out.join("tokenizer.json")).unwrap(), WORDS);
    }
}

/// A tokenizer that has no marks and makes nothing of question marks.
#[test]
fn a_record_without_tokens_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let data = notes(dir.path());
    let (files, _) = published("bert-masked");
    let normalizer = r#""normalizer": {"type": "Replace", "pattern": {"String": "?"}, "content": ""}"#;
    let old = r#""normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#;
    let marks = r#""post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}"#;
    assert!(WORDS.contains(old) && WORDS.contains(marks));
    let words = WORDS.replace(old, normalizer).replace(marks, r#""post_processor": null"#);
    std::fs::write(files.path().join("tokenizer.json"), words).unwrap();
    let read = || {
        let base = Base::open(files.path()).unwrap();
        let plan = CentralPlan::parse(&on(&small(MASKED, 4), &base, "masked-tokens")).unwrap();
        let loaded = Loaded::read(&plan, &data, Some(base)).unwrap();
        (loaded.sizes.0 + loaded.sizes.1, loaded.report.unwrap())
    };
    let (all, report) = read();
    assert_eq!((all, report.kept, report.rejected.get(&RejectReason::NoTokens)), (120, 120, None));
    let mut lines = std::fs::read_to_string(&data).unwrap();
    lines.push_str("{\"text\": \"?? ???? ??? ??\", \"spans\": []}\n");
    std::fs::write(&data, lines).unwrap();
    let (all, report) = read();
    assert_eq!((all, report.kept, report.rejected.get(&RejectReason::NoTokens)), (120, 120, Some(&1)));
}

#[test]
fn a_checkpoint_is_the_one_that_the_plan_names() {
    let dir = tempfile::tempdir().unwrap();
    let (data, (_files, base)) = (notes(dir.path()), published("bert-masked"));
    let named = CentralPlan::parse(&on(&small(MASKED, 4), &base, "masked-tokens")).unwrap();
    let refused = |plan: &CentralPlan, base: Option<Base>| chain(&Loaded::read(plan, &data, base).err().unwrap());
    assert!(refused(&named, None).contains("--base"));
    let (_others, other) = published("bert-classify");
    assert!(refused(&named, Some(other)).contains("config.json has the SHA-256"));
    let weights = base.digests().weights.to_string();
    let unnamed = CentralPlan::parse(&small(TAGS, 4)).unwrap();
    assert!(refused(&unnamed, Some(base)).contains(&weights), "the lines to add");
}

/// Its tensors and its tokenizer are the checkpoint's; what an earlier run made of one is a checkpoint again.
#[test]
fn a_run_on_a_checkpoint_begins_from_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (data, (_files, base)) = (notes(dir.path()), published("bert-masked"));
    let plan = CentralPlan::parse(&on(&small(MASKED, 4), &base, "masked-tokens")).unwrap();
    let mut loaded = Loaded::read(&plan, &data, Some(base)).unwrap();
    assert!(matches!(loaded.begin_from(&plan, &data), Err(FromError::Checkpoint)));
}

#[test]
fn plans_that_ask_for_what_there_is_not_are_refused_by_the_key() {
    let with = |plan: &str, from: &str, to: &str| {
        assert!(plan.contains(from), "{from}");
        CentralPlan::parse(&plan.replacen(from, to, 1)).map(|_| ()).unwrap_err()
    };
    let field = |e: CentralPlanError| match e {
        CentralPlanError::OutOfRange { field, .. } => field.to_owned(),
        other @ (CentralPlanError::Parse(_) | CentralPlanError::Model(_) | CentralPlanError::Federation) => chain(&other),
    };
    assert_eq!(field(with(TAGS, "asks = \"tags\"", "asks = \"answer\"")), "model.asks");
    assert_eq!(field(with(TAGS, "asks = \"tags\"", "asks = \"tags\"\nmasking = {}")), "model.masking");
    assert_eq!(field(with(TAGS, "family = \"encoder\"", "family = \"decoder\"")), "model.asks, model.masking or model.base");
    let classes = "family = \"decoder\"\nasks = \"class\"";
    assert_eq!(field(with(CHARACTERS, "family = \"decoder\"", classes)), "model.asks, model.masking or model.base");
    assert_eq!(field(with(TAGS, "width = 96\n", "")), "model.width");
    assert_eq!(field(with(TAGS, "[local]\n", "[local]\nprecision = \"bf16\"\n")), "local.precision");
    assert_eq!(field(with(TAGS, "[data]\n", "[data]\nbalance = \"0.5\"\n")), "data.balance");
    assert!(field(with(TAGS, "[\"drug\", \"dose\"]", "[\"drug\", \"drug\"]")).contains("model.classes"));
    assert!(field(with(MASKED, "share = \"0.15\"", "share = \"0\"")).contains("model.masking.share"));
    let unlabelled = tempfile::tempdir().unwrap();
    let data = unlabelled.path().join("texts.jsonl");
    std::fs::write(&data, "{\"text\": \"CANARY\", \"spans\": \"drug\"}\n").unwrap();
    let told = chain(&Loaded::read(&CentralPlan::parse(TAGS).unwrap(), &data, None).err().unwrap());
    assert!(told.contains("no record has labelled parts") && !told.contains("CANARY"), "{told}");
}
