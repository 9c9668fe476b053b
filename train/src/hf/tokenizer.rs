//! Does a tokenizer belong to a model? Its file is kept as it came; only the largest token number is looked for.

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
