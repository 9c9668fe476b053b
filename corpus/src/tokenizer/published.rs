//! The tokenizer of a published checkpoint, taken as it comes: its own rule, its own special tokens. Knows no model and learns nothing.

use super::subword::{SubwordError, parsed, text_of};
use crate::foreign::caught;
use crate::tokenize::{Piece, ToSequence};
use std::collections::BTreeSet;
use tokenizers::{PostProcessor as _, Tokenizer, TruncationParams};

/// A text that holds characters which a vocabulary rarely has: what a tokenizer cannot number shows here, not in somebody's record.
const STRANGE: &str = "\u{2a6a5} \u{1f9ff} \u{10348}";

/// A `tokenizer.json` of the ecosystem.
pub struct Published {
    inner: Tokenizer,
    vocab: u32,
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Published({} ids)", self.vocab)
    }
}

impl Published {
    /// Reads a `tokenizer.json`; sequences have at most `max_tokens` tokens, the tokenizer's own marks at their ends included.
    ///
    /// # Errors
    /// [`SubwordError::TooLong`], [`SubwordError::NotATokenizer`], also for a tokenizer that fails on characters it does not know, and
    /// [`SubwordError::Marks`] if the marks alone fill a sequence.
    ///
    /// # Security
    /// A record's text is text: words that look like the tokenizer's marks are cut like any other.
    pub fn load(bytes: &[u8], max_tokens: u32) -> Result<Self, SubwordError> {
        let mut inner = parsed(text_of(bytes)?).ok_or(SubwordError::NotATokenizer)?;
        let (marks, most) =
            (inner.get_post_processor().map_or(0, |p| p.added_tokens(false)), usize::try_from(max_tokens).unwrap_or(usize::MAX));
        if marks >= most {
            return Err(SubwordError::Marks { marks, most });
        }
        inner.with_padding(None);
        inner
            .with_truncation(Some(TruncationParams { max_length: most, ..TruncationParams::default() }))
            .map_err(|_| SubwordError::NotATokenizer)?;
        inner.set_encode_special_tokens(true);
        // As in `parsed`: what the library unwraps in a damaged file is a refusal here.
        let strange = caught(|| inner.encode_fast(STRANGE, true).map(|e| e.get_ids().to_vec()));
        let Ok(Ok(strange)) = strange else { return Err(SubwordError::NotATokenizer) };
        let vocab = rows(&inner, &strange);
        Ok(Self { inner, vocab })
    }

    /// One more than the largest id of a text, the marks at its ends included. Other special tokens, such as the mask of the first training, do not
    /// count: some published models have no row for them.
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    /// The library fails for what has no token, which `load` has tried. A text that fails all the same, or makes it panic, says nothing: no
    /// record ends a task.
    fn ids(&self, text: &str, marks: bool) -> Vec<u32> {
        let ids = caught(|| self.inner.encode_fast(text, marks).map(|e| e.get_ids().to_vec()));
        // A token that counts for nothing says nothing, should a text ever be cut into one.
        ids.ok().and_then(Result::ok).unwrap_or_default().into_iter().filter(|id| *id < self.vocab).collect()
    }
}

/// One more than the largest id that texts are cut into: a word, or what `strange` has, which is marks and what stands for everything unknown.
fn rows(inner: &Tokenizer, strange: &[u32]) -> u32 {
    let added = inner.get_added_tokens_decoder();
    let special: BTreeSet<u32> = added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
    let words = inner.get_vocab(true).into_values().filter(|id| !special.contains(id));
    words.chain(strange.iter().copied()).max().map_or(0, |id| id.saturating_add(1))
}

impl ToSequence for Published {
    fn sequence(&self, text: &str) -> Vec<u32> {
        self.ids(text, true)
    }
    fn bare(&self, text: &str) -> Vec<u32> {
        self.ids(text, false)
    }
    /// As the ids: a text that the library fails on says nothing.
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let cut = caught(|| self.inner.encode(text, true).map(|e| pieces_of(&e)));
        cut.ok().and_then(Result::ok).unwrap_or_default().into_iter().filter(|piece| piece.token < self.vocab).collect()
    }
}

fn pieces_of(cut: &tokenizers::Encoding) -> Vec<Piece> {
    let places = cut.get_offsets().iter().zip(cut.get_special_tokens_mask());
    let piece =
        |(&token, (&(start, end), &mark)): (&u32, (&(usize, usize), &u32))| Piece { token, bytes: (mark == 0).then_some(start..end) };
    cut.get_ids().iter().zip(places).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole words in lower case between two marks, as published encoders have it.
    const WORDS: &str = r###"{
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [
            {"id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 3, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "pay": 4, "##ment": 5, "now": 6, "\u4ed8": 7}}
    }"###;

    #[test]
    fn a_published_tokenizer_keeps_its_rule_and_its_marks() {
        let tokenizer = Published::load(WORDS.as_bytes(), 6).unwrap();
        assert_eq!(tokenizer.sequence("Payment NOW"), [2, 4, 5, 6, 3]);
        assert_eq!(tokenizer.sequence("付 pay"), [2, 7, 4, 3]);
        assert_eq!(tokenizer.sequence(""), [2, 3]);
        assert_eq!(tokenizer.bare("Payment NOW"), [4, 5, 6]);
        assert_eq!(tokenizer.vocab(), 8);
        let cut = tokenizer.sequence("now now now now now now now");
        assert_eq!(cut, [2, 6, 6, 6, 6, 3], "the mark at the end stays");
        assert!(!tokenizer.sequence("[SEP]")[1..2].contains(&3), "a record cannot write a mark");
    }

    /// A mask is a token of the file, and of no text.
    #[test]
    fn a_special_token_that_no_text_has_needs_no_row() {
        let added = "\"added_tokens\": [";
        let mask = r#"{"id": 8, "content": "<mask>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true},"#;
        let tokenizer = Published::load(WORDS.replace(added, &format!("{added}{mask}")).as_bytes(), 8).unwrap();
        assert_eq!(tokenizer.vocab(), 8);
        assert!(tokenizer.sequence("pay <mask> now").iter().all(|&id| id < 8));
        // A word that was added is one that a text may have.
        let word = mask.replace("true}", "false}").replace("\"lstrip\": true", "\"lstrip\": false");
        let tokenizer = Published::load(WORDS.replace(added, &format!("{added}{word}")).as_bytes(), 8).unwrap();
        assert_eq!((tokenizer.vocab(), tokenizer.sequence("pay <mask>")), (9, vec![2, 4, 8, 3]));
    }

    /// Marks are of no text; the others lie where their words stand, whatever the tokenizer makes of these.
    #[test]
    fn every_token_of_a_published_tokenizer_knows_its_place() {
        let tokenizer = Published::load(WORDS.as_bytes(), 6).unwrap();
        for text in ["Payment NOW", "付 pay", "now now now now now now now", ""] {
            let pieces = tokenizer.pieces(text);
            assert_eq!(pieces.iter().map(|p| p.token).collect::<Vec<_>>(), tokenizer.sequence(text));
            assert!(pieces.first().unwrap().bytes.is_none() && pieces.last().unwrap().bytes.is_none());
        }
        let places: Vec<_> = tokenizer.pieces("Payment NOW").into_iter().filter_map(|p| p.bytes).collect();
        assert_eq!(places, [0..3, 3..7, 8..11]);
        let chinese: Vec<_> = tokenizer.pieces("付 pay").into_iter().filter_map(|p| p.bytes).collect();
        assert_eq!(chinese, [0..3, 4..7]);
    }

    #[test]
    fn what_cannot_cut_a_record_is_refused_before_there_is_one() {
        assert!(matches!(Published::load(b"{}", 8), Err(SubwordError::NotATokenizer)));
        assert!(matches!(Published::load(b"\xff", 8), Err(SubwordError::NotATokenizer)));
        assert!(matches!(Published::load(WORDS.as_bytes(), 2), Err(SubwordError::Marks { marks: 2, most: 2 })));
        let unknown = WORDS.replace("\"[UNK]\": 1, ", "");
        assert!(matches!(Published::load(unknown.as_bytes(), 8), Err(SubwordError::NotATokenizer)));
    }
}
