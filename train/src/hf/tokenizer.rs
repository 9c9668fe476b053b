//! Does a tokenizer belong to a model? Its file is kept as it came; only the largest token number is looked for, and the mask.

use serde_json::Value;

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

/// Numbers of all tokens in the forms that tokenizer files have: words to numbers (BPE, WordPiece, WordLevel), or a list (Unigram).
fn largest(tokenizer: &Value) -> Result<u64, TokenizerError> {
    let words = match tokenizer.pointer("/model/vocab") {
        Some(Value::Object(words)) => words.values().filter_map(Value::as_u64).max(),
        Some(Value::Array(words)) => (words.len() as u64).checked_sub(1),
        Some(_) | None => None,
    };
    let added = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let added = added.filter_map(|token| token.get("id")?.as_u64()).max();
    words.max(added).ok_or(TokenizerError::NoVocabulary)
}

/// The token that stands for what is hidden, under the names that published encoders give it. Special tokens decide before words.
///
/// # Errors
/// [`TokenizerError::NoMask`], also for a tokenizer that is none.
pub fn mask(bytes: &[u8]) -> Result<u32, TokenizerError> {
    let tokenizer: Value = serde_json::from_slice(bytes)?;
    let added = || tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let find = |name: &&str| {
        let special = added().find(|token| token.get("content").and_then(Value::as_str) == Some(*name)).and_then(|token| token.get("id"));
        special.or_else(|| tokenizer.pointer("/model/vocab")?.get(*name))?.as_u64()
    };
    let found = ["[MASK]", "<mask>"].iter().find_map(find);
    found.and_then(|id| u32::try_from(id).ok()).ok_or(TokenizerError::NoMask)
}

/// Checks that every token of a `tokenizer.json` has a row in a table of `vocab` rows. Spare rows are usual.
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
        assert!(matches!(fits("{}", 9), Err(TokenizerError::NoVocabulary)));
        assert!(matches!(fits("{", 9), Err(TokenizerError::Json(_))));
    }
}
