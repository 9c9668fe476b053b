//! A hashed tokenizer with a fixed rule, so that no vocabulary is learnt from anybody's data. Must not know labels or models.

use sha2::{Digest, Sha256};
use std::ops::Range;

use crate::clean::normal_form_up_to;

mod pieces;

/// Smallest vocabulary: three special ids and something to tell apart.
pub const MIN_VOCAB: u32 = 16;
/// Largest vocabulary: an embedding row for each is the largest tensor of a small model.
pub const MAX_VOCAB: u32 = 1 << 20;
/// Longest sequence: attention is quadratic in it.
pub const MAX_TOKENS: u32 = 8192;

/// A vocabulary or sequence length outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// Vocabulary out of range.
    #[error("a vocabulary has {MIN_VOCAB} to {MAX_VOCAB} ids, got {got}")]
    Vocab {
        /// Ids asked for.
        got: u32,
    },
    /// Sequence length out of range.
    #[error("a sequence has 2 to {MAX_TOKENS} tokens, got {got}")]
    MaxTokens {
        /// Tokens asked for.
        got: u32,
    },
}

/// A token and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub token: u32,
    /// Bytes of the text that it was cut from; none for a mark, which is not of the text.
    pub bytes: Option<Range<usize>>,
}

/// Turns a text into the whole sequence that a model reads, marks at its ends included and cut at the limit.
pub trait ToSequence {
    /// The token ids of a text.
    fn sequence(&self, text: &str) -> Vec<u32>;
    /// The same without marks: what follows a text, or answers it.
    fn bare(&self, text: &str) -> Vec<u32>;
    /// The same sequence with the places of its tokens in a text of normal form.
    fn pieces(&self, text: &str) -> Vec<Piece>;
}

impl ToSequence for Tokenizer {
    fn sequence(&self, text: &str) -> Vec<u32> {
        self.encode(text)
    }
    fn bare(&self, text: &str) -> Vec<u32> {
        self.encode(text).split_off(1)
    }
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let mut out = Vec::new();
        self.cut(text, |token, bytes| out.push(Piece { token, bytes }));
        out
    }
}

/// Turns a text into token ids.
///
/// The rule, version 1, fixed for ever: the normal form of the text (NFKC, invisible characters removed, whitespace folded) is cut
/// from left to right into
/// - `<url>` for a web address,
/// - one piece per Chinese, Japanese or Korean character,
/// - words of other letters, in lower case, in parts of at most eight characters,
/// - `<num:n>` for a run of n digits, n up to 20,
/// - one piece per other visible character (punctuation, emoji); spaces only separate.
///
/// A piece's id is 3 plus its FNV-1a hash, finished by a 64-bit mixer, modulo the vocabulary less three. Characters without a meaning
/// of their own (private use, replacement character) become [`Tokenizer::OTHER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    vocab: u32,
    max_tokens: u32,
}

impl Tokenizer {
    /// Id that pads a batch. Never comes out of [`Self::encode`].
    pub const PADDING: u32 = 0;
    /// Id that stands for what is hidden from a model. No batch is padded where tokens are hidden, so it is the padding's.
    pub const MASK: u32 = Self::PADDING;
    /// Id at the head of every sequence.
    pub const CLS: u32 = 1;
    /// Id of characters that have no piece.
    pub const OTHER: u32 = 2;
    /// Ids that are not hashed.
    const SPECIAL: u32 = 3;

    /// A tokenizer with ids `0..vocab` and sequences of at most `max_tokens`, the head included.
    ///
    /// # Errors
    /// [`TokenizerError`] when a number is outside its limits.
    pub fn new(vocab: u32, max_tokens: u32) -> Result<Self, TokenizerError> {
        if !(MIN_VOCAB..=MAX_VOCAB).contains(&vocab) {
            return Err(TokenizerError::Vocab { got: vocab });
        }
        if !(2..=MAX_TOKENS).contains(&max_tokens) {
            return Err(TokenizerError::MaxTokens { got: max_tokens });
        }
        Ok(Self { vocab, max_tokens })
    }

    /// Number of ids.
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    /// Most tokens of a sequence, the head included.
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// The token ids of a text: [`Self::CLS`], then its pieces, cut at the limit, not padded.
    ///
    /// # Shape
    /// Out `(T)` with `1 <= T <= max_tokens`, each id below `vocab`.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        self.cut(text, |token, _| out.push(token));
        out
    }

    /// Hands the same ids to `take`, each with its bytes of the normal form.
    fn cut(&self, text: &str, mut take: impl FnMut(u32, Option<Range<usize>>)) {
        let max = usize::try_from(self.max_tokens).unwrap_or(usize::MAX);
        // A piece that counts is rarely longer than 64 characters: what lies behind that is cut off anyway.
        let normal = normal_form_up_to(text, max.saturating_mul(64));
        let mut taken = 1;
        take(Self::CLS, None);
        pieces::for_each(&normal, |bytes, piece| {
            take(piece.map_or(Self::OTHER, |piece| self.id_of(piece)), Some(bytes));
            taken += 1;
            taken < max
        });
    }

    /// SHA-256 over the version of the rule and both numbers: what a plan names.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"concordat/corpus/tokenizer/v1\0");
        hash.update(self.vocab.to_be_bytes());
        hash.update(self.max_tokens.to_be_bytes());
        hash.finalize().into()
    }

    fn id_of(&self, piece: &str) -> u32 {
        let bucket = hash(piece.as_bytes()) % u64::from(self.vocab - Self::SPECIAL);
        Self::SPECIAL + u32::try_from(bucket).expect("a remainder by a number of 32 bits has 32 bits")
    }
}

/// FNV-1a with 64 bits, then the finisher of MurmurHash3: the low bits of FNV alone are poor for short pieces.
///
/// # Source
/// draft-eastlake-fnv, section 2; Appleby, MurmurHash3 `fmix64` (public domain).
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let h = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces_of(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        pieces::for_each(&crate::clean::normal_form(text), |_, piece| {
            out.push(piece.unwrap_or("<other>").to_owned());
            true
        });
        out
    }

    #[test]
    fn the_rule_cuts_as_it_says() {
        assert_eq!(pieces_of("【云棹】验证码：８８１２"), ["【", "云", "棹", "】", "验", "证", "码", ":", "<num:4>"]);
        assert_eq!(pieces_of("Congratulations, you WON"), ["congratu", "lations", ",", "you", "won"]);
        assert_eq!(pieces_of("see http://a.example/x?y=1, or m-bank.example now"), ["see", "<url>", ",", "or", "<url>", "now"]);
        assert_eq!(pieces_of("点击www.x.example/领取"), ["点", "击", "<url>", "领", "取"]);
        assert_eq!(pieces_of("ok.Then 3.14 A3f"), ["ok", ".", "then", "<num:1>", ".", "<num:2>", "a", "<num:1>", "f"]);
        assert_eq!(pieces_of("🎁\u{fe0f}\u{e000}\u{fffd}é Привет"), ["🎁", "<other>", "<other>", "é", "привет"]);
        assert_eq!(pieces_of(&"9".repeat(99)), ["<num:20>"]);
    }

    #[test]
    fn ids_stay_what_they_are_for_ever() {
        let tokenizer = Tokenizer::new(2048, 12).unwrap();
        assert_eq!(tokenizer.encode("验证码8812，请勿告诉 anyone! http://x.example"), PINNED);
        assert_eq!(hash(b""), 0xefd0_1f60_ba99_2926);
    }

    /// Written down when version 1 of the rule was made; a change of these numbers is a new version.
    const PINNED: [u32; 12] = [1, 668, 80, 1728, 1867, 153, 335, 1441, 1193, 649, 1241, 1617];

    #[test]
    fn sizes_out_of_range_do_not_make_a_tokenizer() {
        assert_eq!(Tokenizer::new(15, 8), Err(TokenizerError::Vocab { got: 15 }));
        assert_eq!(Tokenizer::new(100, 1), Err(TokenizerError::MaxTokens { got: 1 }));
    }

    #[test]
    fn different_sizes_have_different_digests() {
        let digest = |vocab, max| Tokenizer::new(vocab, max).unwrap().digest();
        assert_ne!(digest(100, 8), digest(100, 9));
        assert_ne!(digest(100, 8), digest(101, 8));
    }

    proptest! {
        #[test]
        fn any_text_stays_within_bounds(text in any::<String>(), vocab in 16u32..5000, max in 2u32..50) {
            let tokens = Tokenizer::new(vocab, max).unwrap().encode(&text);
            prop_assert_eq!(tokens[0], Tokenizer::CLS);
            prop_assert!(tokens.len() <= max as usize);
            prop_assert!(tokens[1..].iter().all(|&id| (Tokenizer::OTHER..vocab).contains(&id)));
        }

        #[test]
        fn mixed_text_stays_within_bounds(text in "([a-zA-Z0-9 .:/]|http://|www\\.|验|证|\u{1f600}|\u{301}|１){0,80}") {
            let tokens = Tokenizer::new(300, 32).unwrap().encode(&text);
            prop_assert!((1..=32).contains(&tokens.len()));
        }

        /// Places are of the text, one behind the other, and the tokens are those without places.
        #[test]
        fn every_token_lies_where_it_was_cut(text in "([a-zA-Z0-9 .:/]|www\\.|验|é|\u{1f600}){0,60}", max in 2u32..40) {
            let (tokenizer, text) = (Tokenizer::new(300, max).unwrap(), crate::clean::normal_form(&text));
            let pieces = tokenizer.pieces(&text);
            prop_assert_eq!(pieces.iter().map(|p| p.token).collect::<Vec<_>>(), tokenizer.encode(&text));
            prop_assert!(pieces[0].bytes.is_none());
            let mut end = 0;
            for bytes in pieces[1..].iter().map(|p| p.bytes.clone().unwrap()) {
                prop_assert!(end <= bytes.start && bytes.start < bytes.end);
                prop_assert!(text[end..bytes.start].chars().all(|c| c == ' ') && text.is_char_boundary(bytes.end));
                end = bytes.end;
            }
        }

        #[test]
        fn the_normal_form_has_the_same_tokens(text in any::<String>()) {
            let tokenizer = Tokenizer::new(1000, 64).unwrap();
            prop_assert_eq!(tokenizer.encode(&crate::clean::normal_form(&text)), tokenizer.encode(&text));
        }
    }
}
