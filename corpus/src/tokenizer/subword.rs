//! Byte-pair encoding, WordPiece and Unigram through `tokenizers`, which only this file and `published` name. Knows counts of words and texts
//! to cut.

use super::words::PATTERN;
use super::{TextTokenizer, WordCounts, WordRule, Words, special};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::replace::Replace;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

/// Largest `tokenizer.json`: a vocabulary of a million entries with its merges.
pub const MAX_TOKENIZER_BYTES: usize = 64 << 20;
/// Largest vocabulary; an embedding row for each.
const MAX_VOCAB: u32 = crate::tokenize::MAX_VOCAB;
/// Smallest: all bytes and the special ids.
const MIN_VOCAB: u32 = 256 + special::COUNT;
/// Counts are scaled down to this sum of count times length: the trainer adds pairs in 32 bits.
const MAX_MASS: u64 = 1 << 30;
/// Marks a piece that goes on with a word. No byte is written as this character, so no text can look like a mark.
const CONTINUES: &str = "\u{2581}";
/// Longest piece that Unigram seeds.
const MAX_PIECE: usize = 16;

/// Which algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubwordKind {
    /// Byte-pair encoding over bytes.
    Bpe,
    /// WordPiece over bytes: longest match first.
    WordPiece,
    /// Unigram language model over bytes. Its trainer goes by hash maps, so that two runs over the same words differ a little: the digest
    /// names what was learnt. The other two always learn the same.
    Unigram,
}

/// Why there is no tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubwordError {
    /// Vocabulary out of range.
    #[error("a vocabulary has {MIN_VOCAB} to {MAX_VOCAB} ids, 256 more at least for WordPiece, got {got}")]
    Vocab {
        /// Asked for, or found.
        got: u64,
    },
    /// No word to learn from.
    #[error("there are no words to learn from")]
    NoWords,
    /// A file longer than [`MAX_TOKENIZER_BYTES`].
    #[error("the tokenizer has {got} bytes, expected at most {MAX_TOKENIZER_BYTES}")]
    TooLong {
        /// Its bytes.
        got: usize,
    },
    /// Not a `tokenizer.json`. The library's words about it may quote the file and are left out.
    #[error("the bytes are no tokenizer that this version reads")]
    NotATokenizer,
    /// The special ids are not where all tokenizers here have them.
    #[error("the special token with id {id} is missing")]
    Special {
        /// Its id.
        id: u32,
    },
    /// A published tokenizer whose marks leave no room for a text.
    #[error("the tokenizer adds {marks} tokens to every text, a sequence has {most}")]
    Marks {
        /// Tokens that it adds.
        marks: usize,
        /// Longest sequence.
        most: usize,
    },
    /// The trainer failed.
    #[error("the trainer gave no vocabulary")]
    Training,
}

/// A subword tokenizer with the rule that cuts words before it.
///
/// All three work on the bytes of words, written as one visible character each, so that no text has an unknown token.
pub struct Subword {
    inner: Tokenizer,
    words: Words,
    json: String,
    vocab: u32,
}

impl std::fmt::Debug for Subword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subword({} ids, words by {})", self.vocab(), self.words.rule().name())
    }
}

/// The text of a file that is not too long.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, SubwordError> {
    if bytes.len() > MAX_TOKENIZER_BYTES {
        return Err(SubwordError::TooLong { got: bytes.len() });
    }
    std::str::from_utf8(bytes).map_err(|_| SubwordError::NotATokenizer)
}

/// One more than the largest id.
pub(super) fn vocab_of(tokenizer: &Tokenizer) -> u32 {
    tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id.saturating_add(1))
}

/// The library unwraps what a damaged file lacks (seen in its decoders): its panic is a refusal here, and nothing of it is kept.
pub(super) fn parsed(json: &str) -> Option<Tokenizer> {
    serde_json::from_str::<serde::de::IgnoredAny>(json).ok()?;
    crate::foreign::caught(|| Tokenizer::from_bytes(json).ok()).ok().flatten()
}

impl Subword {
    /// Learns a vocabulary of at most `vocab` ids from counts of words that `rule` cut.
    ///
    /// The same counts give the same tokenizer.
    ///
    /// # Privacy
    /// What comes out is as private as the counts that go in.
    ///
    /// # Errors
    /// [`SubwordError`].
    pub fn learn(kind: SubwordKind, counts: &WordCounts, rule: WordRule, vocab: u32) -> Result<Self, SubwordError> {
        let least = if kind == SubwordKind::WordPiece { MIN_VOCAB + 256 } else { MIN_VOCAB };
        if !(least..=MAX_VOCAB).contains(&vocab) {
            return Err(SubwordError::Vocab { got: vocab.into() });
        }
        let counts = written(counts);
        if counts.is_empty() {
            return Err(SubwordError::NoWords);
        }
        let size = usize::try_from(vocab).unwrap_or(usize::MAX);
        let model: ModelWrapper = match kind {
            SubwordKind::Bpe => byte_pairs(&counts, size, None)?.into(),
            SubwordKind::WordPiece => {
                let mut pieces = WordPiece::from_bpe(&byte_pairs(&counts, size, Some(CONTINUES))?);
                pieces.unk_token = special::NAMES[2].to_owned();
                pieces.max_input_chars_per_word = super::words::MAX_WORD_BYTES;
                pieces.into()
            }
            SubwordKind::Unigram => unigram(counts, vocab)?.into(),
        };
        let mut inner = Tokenizer::new(model);
        inner.with_pre_tokenizer(Some(pre_tokenizer(rule)?));
        let bytes = DecoderWrapper::from(ByteLevel::new(false, false, false));
        let unmark = Replace::new(CONTINUES, "").map_err(|_| SubwordError::Training)?;
        inner.with_decoder(Some(Decoders::new(vec![unmark.into(), bytes])));
        inner.add_special_tokens(special_tokens()).map_err(|_| SubwordError::Training)?;
        Self::of_json(inner.to_string(false).map_err(|_| SubwordError::Training)?, rule)
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`SubwordError`].
    ///
    /// # Security
    /// The bytes come with a plan or from a person; what they say is checked as far as ids go.
    pub fn load(bytes: &[u8], rule: WordRule) -> Result<Self, SubwordError> {
        Self::of_json(text_of(bytes)?.to_owned(), rule)
    }

    /// What counts is the text: scores of Unigram change in their last digit when they are read and written again.
    fn of_json(json: String, rule: WordRule) -> Result<Self, SubwordError> {
        let mut inner = parsed(&json).ok_or(SubwordError::NotATokenizer)?;
        for (id, name) in (0u32..).zip(special::NAMES) {
            if inner.token_to_id(name) != Some(id) {
                return Err(SubwordError::Special { id });
            }
        }
        let vocab = vocab_of(&inner);
        if vocab > MAX_VOCAB {
            return Err(SubwordError::Vocab { got: vocab.into() });
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|_| SubwordError::NotATokenizer)?;
        inner.set_encode_special_tokens(true);
        Ok(Self { inner, words: Words::new(rule), json, vocab })
    }

    /// The `tokenizer.json`. With [`WordRule::Pattern`] other programs cut the same with it; jieba's words are cut here, before it.
    pub fn to_json(&self) -> &str {
        &self.json
    }

    /// The rule that cuts words.
    pub fn rule(&self) -> WordRule {
        self.words.rule()
    }
}

impl TextTokenizer for Subword {
    fn encode(&self, text: &str) -> Vec<u32> {
        let ids = |text: &str| self.inner.encode_fast(text, false).map(|e| e.get_ids().to_vec());
        // The library fails only for models without an unknown token, and bytes are never unknown here.
        let word = |w: &str| ids(w).unwrap_or_else(|_| vec![special::UNKNOWN]);
        self.words.cut(text).into_iter().flat_map(word).collect()
    }

    fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }

    fn vocab(&self) -> u32 {
        self.vocab
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"concordat/corpus/subword/v1\0");
        hash.update(self.words.rule().name());
        hash.update([0]);
        hash.update(&self.json);
        hash.finalize().into()
    }
}

fn special_tokens() -> Vec<AddedToken> {
    special::NAMES.iter().map(|name| AddedToken::from(*name, true)).collect()
}

/// Words as the byte-level alphabet writes them, with counts that 32 bits can add.
fn written(counts: &WordCounts) -> WordCounts {
    let table = alphabet();
    let mass: u128 = counts.iter().map(|(w, &n)| u128::from(n) * w.len() as u128).sum();
    let divisor = u64::try_from(mass / u128::from(MAX_MASS) + 1).unwrap_or(u64::MAX);
    let write = |w: &String| w.bytes().map(|b| table[usize::from(b)]).collect::<String>();
    counts.iter().filter(|(w, n)| !w.is_empty() && **n >= divisor).map(|(w, n)| (write(w), n / divisor)).collect()
}

/// The visible character of each byte, as byte-level tokenizers write it: bytes that are visible in Latin-1 stand for themselves, the others
/// follow from U+0100 on.
fn alphabet() -> [char; 256] {
    let mut next = 0x100u32;
    std::array::from_fn(|b| {
        let b = u32::try_from(b).unwrap_or(0);
        let code = if matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
            b
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

fn pre_tokenizer(rule: WordRule) -> Result<PreTokenizerWrapper, SubwordError> {
    let bytes = || PreTokenizerWrapper::from(ByteLevel::new(false, false, false));
    match rule {
        WordRule::Jieba => Ok(bytes()),
        WordRule::Pattern => {
            let split = Split::new(SplitPattern::Regex(PATTERN.to_owned()), SplitDelimiterBehavior::Isolated, false);
            let split = split.map_err(|_| SubwordError::Training)?;
            Ok(Sequence::new(vec![split.into(), bytes()]).into())
        }
    }
}

fn byte_pairs(counts: &WordCounts, vocab: usize, prefix: Option<&str>) -> Result<BPE, SubwordError> {
    let letters: HashSet<char> = alphabet().into_iter().collect();
    let mut first = special_tokens();
    // Every byte has its token inside a word too. Named first, because the trainer would number them in the order in which its hash map
    // gives out words, which is another one every time.
    first.extend(prefix.iter().flat_map(|p| alphabet().map(|c| AddedToken::from(format!("{p}{c}"), true))));
    let trainer = BpeTrainer::builder().show_progress(false).vocab_size(vocab).special_tokens(first).initial_alphabet(letters);
    let trainer = match prefix {
        Some(prefix) => trainer.continuing_subword_prefix(prefix.to_owned()),
        None => trainer,
    };
    let mut model = BPE::default();
    let counts = counts.iter().map(|(w, &n)| (w.as_str().into(), n)).collect();
    trainer.build().do_train(&counts, &mut model).map_err(|_| SubwordError::Training)?;
    Ok(model)
}

fn unigram(counts: WordCounts, vocab: u32) -> Result<Unigram, SubwordError> {
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab)
        .special_tokens(special_tokens())
        .initial_alphabet(alphabet().into_iter().collect())
        .unk_token(Some(special::NAMES[2].to_owned()))
        .max_piece_length(MAX_PIECE)
        .build()
        .map_err(|_| SubwordError::Training)?;
    let mut model = Unigram::default();
    let words = counts.into_iter().map(|(w, n)| (w, u32::try_from(n).unwrap_or(u32::MAX))).collect();
    trainer.do_train(words, &mut model).map_err(|_| SubwordError::Training)?;
    Ok(model)
}
