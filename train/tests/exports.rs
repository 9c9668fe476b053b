//! Writes every checkpoint of the test vectors again, where `scripts/check-hf-exports.py` lets the reference implementation read it.

use std::path::Path;
use train::hf;
use train::model::lora::Factor;

#[test]
fn every_vector_is_exported_and_reads_back_the_same() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hf");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hf");
    for name in ["bert-classify", "bert-tag", "bert-masked", "gpt2", "llama", "llama-stretched", "qwen2", "t5", "t5-gated", "bart"] {
        let (checkpoint, at) = (hf::load(&vectors.join(name)).unwrap(), out.join(name));
        std::fs::create_dir_all(&at).unwrap();
        hf::save(&checkpoint, &at).unwrap();
        assert_eq!(hf::load(&at).unwrap(), checkpoint, "{name}");
    }
    let (base, at) = (hf::load(&vectors.join("llama")).unwrap().weights, out.join("llama-lora"));
    let adapted = hf::adapter::load(&vectors.join("llama-lora"), &base, Factor::B).unwrap();
    std::fs::create_dir_all(&at).unwrap();
    hf::adapter::save(&adapted, "llama", &at).unwrap();
    assert_eq!(hf::adapter::load(&at, &base, Factor::B).unwrap(), adapted);
}
