//! The bytes of a text as a `tokenizer.json` of the ecosystem: one token for each byte behind a mark at the head. Nothing is learnt, nothing is
//! unknown, and what other programs read as this file cuts texts as training did.

use super::special;
use serde_json::{Map, Value, json};

/// The character that a byte-level tokenizer writes for a byte (GPT-2's rule): itself where it can be seen, else one from 256 on.
fn visible(byte: u8) -> char {
    let seen = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !seen(b)).count();
    u32::try_from(before).ok().and_then(|n| char::from_u32(256 + n)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Ids of the special tokens and the bytes, as [`super::ByteTokenizer`] has them.
fn vocab() -> Map<String, Value> {
    let special = (0u32..).zip(special::NAMES).map(|(id, name)| (name.to_owned(), json!(id)));
    let bytes = (0..=u8::MAX).map(|b| (visible(b).to_string(), json!(special::COUNT + u32::from(b))));
    special.chain(bytes).collect()
}

/// The file. Texts come in their NFKC form.
pub fn byte_tokenizer() -> String {
    let added = |(id, name): (u32, &str)| json!({ "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    let head = special::NAMES[1];
    let (mark, first, second) = (
        json!({ "SpecialToken": { "id": head, "type_id": 0 } }),
        json!({ "Sequence": { "id": "A", "type_id": 0 } }),
        json!({ "Sequence": { "id": "B", "type_id": 1 } }),
    );
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0u32..).zip(special::NAMES).map(added).collect::<Vec<_>>(),
        "normalizer": { "type": "NFKC" },
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "post_processor": {
            "type": "TemplateProcessing", "single": [mark, first], "pair": [mark, first, second],
            "special_tokens": { head: { "id": head, "ids": [special::START], "tokens": [head] } },
        },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab(), "merges": [],
        },
    });
    file.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{ByteTokenizer, Published, TextTokenizer as _};
    use super::*;
    use crate::tokenize::ToSequence as _;
    use std::collections::BTreeSet;

    #[test]
    fn each_byte_has_a_character_of_its_own() {
        let all: BTreeSet<char> = (0..=u8::MAX).map(visible).collect();
        assert_eq!((all.len(), visible(b'a'), visible(b' '), visible(0)), (256, 'a', '\u{120}', '\u{100}'));
    }

    #[test]
    fn other_programs_cut_a_text_into_its_bytes_behind_the_head_mark() {
        let tokenizer = Published::load(byte_tokenizer().as_bytes(), 64).unwrap();
        assert_eq!(tokenizer.vocab(), ByteTokenizer.vocab());
        for text in ["see you at 8", "验证码 8812", "a\tb\nc", "<s> is text", "é🎁"] {
            let bytes = ByteTokenizer.encode(text);
            assert_eq!(tokenizer.bare(text), bytes, "{text}");
            assert_eq!(tokenizer.sequence(text), [vec![special::START], bytes].concat(), "{text}");
        }
        assert_eq!(tokenizer.sequence("\u{ff21}"), [special::START, special::COUNT + 65], "NFKC");
        assert_eq!(tokenizer.sequence(""), [special::START]);
    }

    #[test]
    fn a_long_text_is_cut_at_the_limit() {
        let tokenizer = Published::load(byte_tokenizer().as_bytes(), 4).unwrap();
        assert_eq!(tokenizer.sequence("abcdef"), [1, 101, 102, 103]);
        assert_eq!(tokenizer.bare("abcdef").len(), 4);
    }
}
