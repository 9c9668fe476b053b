//! What the fuzz target for checkpoints does, on stable: whole files of every kind and thousands of damaged ones, always the same.
#![expect(clippy::unwrap_used, reason = "helpers of a test panic with it")]

#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
#[path = "../../fuzz/src/checkpoints.rs"]
mod checkpoints;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::path::Path;

fn files() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hf");
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    let base = train::hf::config::parse(&read("gpt2/config.json")).unwrap();
    let small = train::model::Choices { vocab: 5, width: 4, head_width: 2, hidden: 4, layers: 1, max_tokens: 3, ..base.choices().clone() };
    let small = train::model::TransformerWeights::initial(&train::model::Config::new(small).unwrap(), 2).unwrap();
    let lists =
        ["bert-tag/config.json", "llama/config.json", "t5/config.json", "bart/config.json", "gpt2/config.json", "llama/tokenizer.json"];
    let mut files: Vec<Vec<u8>> = lists.iter().map(|name| read(name)).collect();
    files.push(train::hf::to_bytes(&small).unwrap());
    files.push(br#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#.to_vec());
    files.push([read("llama-lora/adapter_config.json"), vec![0], read("llama-lora/adapter_model.safetensors")].concat());
    files
}

#[test]
fn no_damaged_checkpoint_panics() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for file in files() {
        checkpoints::checkpoints(&file);
        for _ in 0..400 {
            let mut bad = file.clone();
            let mut at = |len: usize| usize::try_from(rng.next_u32()).unwrap() % len.max(1);
            for _ in 0..=at(3) {
                let place = at(bad.len().min(2000));
                match at(4) {
                    0 => bad.truncate(at(bad.len())),
                    1 => drop(bad.drain(place..(place + at(8)).min(bad.len()))),
                    2 => bad.insert(place.min(bad.len()), u8::try_from(at(256)).unwrap()),
                    _ => bad.iter_mut().skip(place).take(1).for_each(|b| *b ^= 1 << at(8)),
                }
            }
            checkpoints::checkpoints(&bad);
        }
    }
}
