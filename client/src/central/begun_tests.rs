//! From hidden tokens to classes over one file: the same texts held out, the same encoder below a fresh head, and what is no beginning.

use super::super::run::{Means, Outcome, RunError, run};
use super::*;
use crate::agent::chain;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use train::device::Wanted;
use train::fit::Material;

const CHARACTERS: &str = include_str!("../../../configs/train-characters.toml");
const SMS: &str = include_str!("../../../configs/train-sms.toml");
const MASKED: &str = include_str!("../../../configs/train-sms-masked.toml");

/// A sample of small sizes and so many steps, judged once.
fn small(plan: &str, steps: u32) -> String {
    let line = |l: &str| match l.split(" = ").next() {
        Some(key @ ("steps" | "every_steps")) => format!("{key} = {steps}\n"),
        Some("warmup_steps") => "warmup_steps = 1\n".to_owned(),
        Some(key @ ("width" | "hidden" | "max_tokens")) => format!("{key} = 16\n"),
        Some("layers") => "layers = 1\n".to_owned(),
        _ => format!("{l}\n"),
    };
    plan.lines().map(line).collect()
}

/// Texts that differ by a word of their own, under labels of the classifier's sample.
fn messages(dir: &Path) -> PathBuf {
    let path = dir.join("records.jsonl");
    let labels = ["advertisement", "fraud", "illegal", "other"];
    let word = |mut i: usize| -> String {
        let mut word = String::new();
        for _ in 0..3 {
            word.push(['b', 'd', 'k', 'm', 'r', 't'][i % 6]);
            word.push('a');
            i /= 6;
        }
        word
    };
    let line = |i: usize| format!("{{\"text\": \"{} says {}\", \"category\": \"{}\"}}\n", labels[i % 4], word(i), labels[i % 4]);
    std::fs::write(&path, (0..200).map(line).collect::<String>()).unwrap();
    path
}

fn loaded(plan: &str, data: &Path) -> (CentralPlan, Loaded) {
    let plan = CentralPlan::parse(plan).unwrap();
    let loaded = Loaded::read(&plan, data, None).unwrap();
    (plan, loaded)
}

fn train(text: &str, data: &Path, dir: &Path, from: Option<&Path>) -> Result<Outcome, RunError> {
    let (plan, mut loaded) = loaded(text, data);
    if let Some(from) = from {
        loaded.begin_from(&plan, from).unwrap();
    }
    let means = Means { device: Wanted::Cpu, threads: NonZeroUsize::MIN, dir: Some(dir) };
    run(&plan, text, loaded, means, &mut |_| {})
}

/// The records' tokens, whatever their order.
fn tokens(material: &Material) -> Vec<&[u32]> {
    let Material::Records(records) = material else { panic!("records expected") };
    let mut tokens: Vec<&[u32]> = records.iter().map(|r| r.tokens.as_slice()).collect();
    tokens.sort_unstable();
    tokens
}

/// No text that the classifier is judged by is read by the run before it, and both cut texts into the same tokens.
#[test]
fn both_plans_hold_the_same_texts_out_whatever_their_labels() {
    let dir = tempfile::tempdir().unwrap();
    let data = messages(dir.path());
    let ((_, masked), (_, classes)) = (loaded(MASKED, &data), loaded(SMS, &data));
    assert_eq!((masked.sizes, masked.sizes.0 + masked.sizes.1), (classes.sizes, 200));
    assert_eq!(tokens(&masked.held_out), tokens(&classes.held_out));
    // The label's field may be named and is not read; a class that nobody declared is a text like others.
    let by_category = MASKED.replace("label_field = \"text\"", "label_field = \"category\"");
    assert_ne!(by_category, MASKED);
    let more = std::fs::read_to_string(&data).unwrap() + "{\"text\": \"something else entirely\", \"category\": \"undeclared\"}\n";
    std::fs::write(&data, more).unwrap();
    for plan in [MASKED, by_category.as_str()] {
        let sizes = loaded(plan, &data).1.sizes;
        assert_eq!(sizes.0 + sizes.1, 201);
    }
    let sizes = loaded(SMS, &data).1.sizes;
    assert_eq!(sizes.0 + sizes.1, 200);
}

#[test]
fn a_classifier_begins_with_the_weights_of_the_masked_run_and_a_fresh_head() {
    let dir = tempfile::tempdir().unwrap();
    let (data, state) = (messages(dir.path()), dir.path().join("masked"));
    let (masked, classes) = (small(MASKED, 3), small(SMS, 3));
    train(&masked, &data, &state, None).unwrap();
    let Task::Asked { begins: Begins::Random(model), .. } = CentralPlan::parse(&masked).unwrap().task else { panic!("an encoder") };
    let best = std::fs::read(state.join("best.safetensors")).unwrap();
    let earlier = train::snapshot::from_bytes(&model, &best).unwrap();
    let (_, seed) = loaded(&classes, &data);
    // One judgement: the best snapshot has the weights of the state.
    for file in ["best.safetensors", "state.safetensors"] {
        let (plan, mut begins) = loaded(&classes, &data);
        begins.begin_from(&plan, &state.join(file)).unwrap();
        let taken = &begins.begun.as_ref().unwrap().taken;
        assert_eq!((taken.taken.len(), taken.unused.len()), (earlier.table().iter().count(), 0));
        assert_eq!(taken.fresh, ["classifier.weight", "classifier.bias"]);
        for p in begins.fit.table().iter() {
            let source = match earlier.table().find(&p.name) {
                Some(there) => &earlier.flat()[there.range()],
                None => &seed.fit.weights()[p.range()],
            };
            assert_eq!(&begins.fit.weights()[p.range()], source, "{file} {}", p.name);
        }
    }
}

#[test]
fn a_run_goes_on_only_with_the_beginning_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let (data, masked, sms) = (messages(dir.path()), dir.path().join("masked"), dir.path().join("sms"));
    let classes = small(SMS, 3);
    train(&small(MASKED, 3), &data, &masked, None).unwrap();
    let (best, state) = (masked.join("best.safetensors"), masked.join("state.safetensors"));
    let first = train(&classes, &data, &sms, Some(&best)).unwrap();
    let again = train(&classes, &data, &sms, Some(&best)).unwrap();
    assert_eq!((again.tokens, again.last), (0, first.last));
    for other in [None, Some(state.as_path())] {
        assert!(matches!(train(&classes, &data, &sms, other), Err(RunError::State(_))));
    }
    // And one that began from its seed does not go on from somewhere else.
    let plain = dir.path().join("plain");
    train(&classes, &data, &plain, None).unwrap();
    assert!(matches!(train(&classes, &data, &plain, Some(&best)), Err(RunError::State(_))));
}

#[test]
fn what_is_no_beginning_says_what_was_found_and_expected() {
    let dir = tempfile::tempdir().unwrap();
    let (data, state) = (messages(dir.path()), dir.path().join("masked"));
    train(&small(MASKED, 1), &data, &state, None).unwrap();
    let best = state.join("best.safetensors");
    let refused = |text: &str, from: &Path| {
        let (plan, mut loaded) = loaded(text, &data);
        let error = loaded.begin_from(&plan, from).unwrap_err();
        assert!(loaded.begun.is_none());
        error
    };
    let wide = small(SMS, 1).replace("width = 16", "width = 32");
    let said = chain(&refused(&wide, &best));
    assert!(said.contains("embeddings.tokens.weight has the shape [8192, 16], expected [8192, 32]"), "{said}");
    let vocabulary = small(SMS, 1).replace("vocab = 8192", "vocab = 4096");
    assert!(chain(&refused(&vocabulary, &best)).contains("[8192, 16], expected [4096, 16]"));
    let damaged = dir.path().join("damaged");
    let bytes = std::fs::read(&best).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(refused(&small(SMS, 1), &damaged), FromError::Earlier(EarlierError::Format(_))));
    assert!(matches!(refused(&small(SMS, 1), &dir.path().join("nothing")), FromError::Store(_)));
    assert!(matches!(refused(&small(CHARACTERS, 1), &best), FromError::Characters));
}
