//! Bytes between records and training: exports of annotation tools, token shards, and the state of a search for words.

use corpus::BadLines;
use corpus::label::{Counting, Format, import};
use corpus::pack::Shard;
use corpus::tokenizer::Discovery;

/// Exports of every tool, strict and lenient: every item gives annotations or is named as skipped, and spans lie inside their texts.
pub fn annotations(bytes: &[u8]) {
    let formats = [Format::LabelStudio, Format::Doccano(Counting::CodePoints), Format::Doccano(Counting::Utf16), Format::Prodigy];
    for format in formats {
        drop(import(bytes, format, BadLines::Fatal));
        let Ok(got) = import(bytes, format, BadLines::Skip) else { continue };
        let named = got.skipped.len() as u64 + got.annotations.len() as u64;
        assert!(named >= got.items, "an item was lost");
        for a in &got.annotations {
            assert!(a.spans.iter().all(|s| a.text.get(s.start..s.end).is_some()));
        }
    }
}

/// Shards: what is opened can be read to its last row, and every token is one of the vocabulary.
pub fn tokens(bytes: &[u8]) {
    let Ok(shard) = Shard::of_bytes(bytes.to_vec()) else { return };
    for i in 0..shard.len() {
        let Some(row) = shard.row(i) else { unreachable!("a row below the length") };
        assert!(row.tokens.len() <= shard.row_len() && row.tokens.iter().all(|t| *t < shard.vocab()));
    }
    assert!(shard.row(shard.len()).is_none());
}

/// Searches for words, whose coordinates lie inside their vector.
pub fn searches(bytes: &[u8]) {
    let Ok(search) = serde_json::from_slice::<Discovery>(bytes) else { return };
    if let Ok(search) = search.checked() {
        let places = search.contribution(["hello", "你好", "ab", "a"]);
        assert!(places.iter().all(|at| *at < search.settings().coordinates));
        assert!(search.counts().keys().all(|w| !w.is_empty()));
    }
}
