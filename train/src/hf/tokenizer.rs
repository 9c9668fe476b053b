//! Does a tokenizer belong to a model? Its file is kept as it came; only the largest number of a token that texts have is looked for, and the mask.

use serde_json::Value;
use std::collections::BTreeSet;

/// A tokenizer that the model's tables do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// Not JSON.
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    /// No list of words where tokenizers have one.
    #[error("no vocabulary in the tokenizer")]
    NoVocabulary,
    /// No token that stands for what is hidden.
    #[error("the tokenizer has no token [MASK] or <mask>, which stands for what is hidden")]
    NoMask,
    /// A token without a row in the model's table.
    #[error("the tokenizer has token {found}, the model's vocabulary ends at {vocab}")]
    Vocabulary {
        /// Largest number of a token.
        found: u64,
        /// Rows of the model's table.
        vocab: u32,
    },
}

/// Numbers of all tokens in the forms that tokenizer files have: words to numbers (BPE, WordPiece, WordLevel), or a list (Unigram). Tokens that
/// stand in no text do not count.
fn largest(tokenizer: &Value) -> Result<u64, TokenizerError> {
    let unspoken = unspoken(tokenizer);
    let spoken = |word: Option<&str>| word.is_none_or(|word| !unspoken.contains(word));
    let words = match tokenizer.pointer("/model/vocab") {
        Some(Value::Object(words)) => words.iter().filter(|(word, _)| spoken(Some(word.as_str()))).filter_map(|(_, id)| id.as_u64()).max(),
        Some(Value::Array(words)) => {
            let last = words.iter().rposition(|word| spoken(word.get(0).and_then(Value::as_str)));
            last.map(|at| at as u64)
        }
        Some(_) | None => None,
    };
    let others = added(tokenizer).filter(|token| spoken(content(token)));
    words.max(others.filter_map(|token| token.get("id")?.as_u64()).max()).ok_or(TokenizerError::NoVocabulary)
}

fn added(tokenizer: &Value) -> impl Iterator<Item = &Value> {
    tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten()
}

fn content(token: &Value) -> Option<&str> {
    token.get("content")?.as_str()
}

/// Special tokens that are neither put around texts nor in the place of what has no word, such as the mask of the first training: records spell
/// none, for what looks like one is cut as text. Some published models have no row for them.
fn unspoken(tokenizer: &Value) -> BTreeSet<&str> {
    let mut marks = BTreeSet::new();
    if let Some(around) = tokenizer.get("post_processor") {
        texts(around, &mut marks);
    }
    let unknown = tokenizer.pointer("/model/unk_id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
    let unknown = unknown.and_then(|id| tokenizer.pointer("/model/vocab")?.get(id)?.get(0));
    marks.extend(tokenizer.pointer("/model/unk_token").or(unknown).and_then(Value::as_str));
    let special = added(tokenizer).filter(|token| token.get("special").and_then(Value::as_bool) == Some(true));
    special.filter_map(content).filter(|word| !marks.contains(word)).collect()
}

/// All texts in a value.
fn texts<'a>(value: &'a Value, all: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => {
            all.insert(text);
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, all)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            all.insert(name);
            texts(value, all);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The token that stands for what is hidden, under the names that published encoders give it. Special tokens decide before words.
///
/// # Errors
/// [`TokenizerError::NoMask`], also for a tokenizer that is none.
pub fn mask(bytes: &[u8]) -> Result<u32, TokenizerError> {
    let tokenizer: Value = serde_json::from_slice(bytes)?;
    let find = |name: &&str| {
        let special = added(&tokenizer).find(|token| content(token) == Some(*name)).and_then(|token| token.get("id"));
        special.or_else(|| tokenizer.pointer("/model/vocab")?.get(*name))?.as_u64()
    };
    let found = ["[MASK]", "<mask>"].iter().find_map(find);
    found.and_then(|id| u32::try_from(id).ok()).ok_or(TokenizerError::NoMask)
}

/// Checks that every token of a `tokenizer.json` that a text can have has a row in a table of `vocab` rows. Spare rows are usual.
///
/// # Errors
/// [`TokenizerError`].
pub fn fits(bytes: &[u8], vocab: u32) -> Result<(), TokenizerError> {
    let found = largest(&serde_json::from_slice(bytes)?)?;
    if found < u64::from(vocab) { Ok(()) } else { Err(TokenizerError::Vocabulary { found, vocab }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_found_by_its_name() {
        let bert = r#"{"model":{"vocab":{"a":0,"[MASK]":3}},"added_tokens":[{"id":7,"content":"[MASK]"}]}"#;
        assert_eq!(mask(bert.as_bytes()).unwrap(), 7);
        assert_eq!(mask(br#"{"model":{"vocab":{"a":0,"[MASK]":3}}}"#).unwrap(), 3);
        assert_eq!(mask(br#"{"model":{"vocab":[["a",-1.0]]},"added_tokens":[{"id":4,"content":"<mask>"}]}"#).unwrap(), 4);
        assert!(matches!(mask(br#"{"model":{"vocab":{"a":0}}}"#), Err(TokenizerError::NoMask)));
        assert!(matches!(mask(b"{"), Err(TokenizerError::Json(_))));
    }

    #[test]
    fn the_largest_token_decides() {
        let fits = |text: &str, vocab| fits(text.as_bytes(), vocab);
        let words = r#"{"model":{"type":"BPE","vocab":{"a":0,"b":7}},"added_tokens":[{"id":9}]}"#;
        assert!(fits(words, 10).is_ok() && fits(words, 64).is_ok());
        assert!(matches!(fits(words, 9), Err(TokenizerError::Vocabulary { found: 9, vocab: 9 })));
        let list = r#"{"model":{"type":"Unigram","vocab":[["a",-1.0],["b",-2.0]]}}"#;
        assert!(fits(list, 2).is_ok() && fits(list, 1).is_err());
        // A mask that stands in no text needs no row, in a list or among words; a mark that is put around every text does.
        let special = |post: &str| {
            format!(
                r#"{{"model":{{"vocab":{{"a":0,"b":7,"<mask>":9}}}},"added_tokens":[{{"id":9,"content":"<mask>","special":true}},
                    {{"id":8,"content":"</s>","special":true}}],"post_processor":{post}}}"#
            )
        };
        assert!(fits(&special("null"), 8).is_ok() && fits(&special("null"), 7).is_err());
        let around = special(r#"{"type":"BertProcessing","sep":["</s>",8],"cls":["a",0]}"#);
        assert!(fits(&around, 9).is_ok() && fits(&around, 8).is_err());
        let around = special(r#"{"type":"TemplateProcessing","special_tokens":{"</s>":{"id":"</s>","ids":[8]}}}"#);
        assert!(fits(&around, 9).is_ok() && fits(&around, 8).is_err());
        let plain = special("null").replace("true", "false");
        assert!(fits(&plain, 10).is_ok() && fits(&plain, 9).is_err(), "a word that is no special token may stand in a text");
        let list = r#"{"model":{"vocab":[["a",-1.0],["<mask>",0.0]]},"added_tokens":[{"id":1,"content":"<mask>","special":true}]}"#;
        assert!(fits(list, 1).is_ok());
        // What stands for everything else may come of any text.
        let unknown =
            r#"{"model":{"unk_token":"<unk>","vocab":{"a":0,"<unk>":3}},"added_tokens":[{"id":3,"content":"<unk>","special":true}]}"#;
        assert!(fits(unknown, 4).is_ok() && fits(unknown, 3).is_err());
        let unknown = r#"{"model":{"unk_id":1,"vocab":[["a",0],["<unk>",0]]},"added_tokens":[{"id":1,"content":"<unk>","special":true}]}"#;
        assert!(fits(unknown, 2).is_ok() && fits(unknown, 1).is_err());
        assert!(matches!(fits("{}", 9), Err(TokenizerError::NoVocabulary)));
        assert!(matches!(fits("{", 9), Err(TokenizerError::Json(_))));
    }
}
