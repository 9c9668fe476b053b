//! `data tokenize`: records to shards of token ids, with a tokenizer that is read or learnt here. A tokenizer that is learnt from these
//! records alone says something about them and stays at the institution; one that is learnt from words that were counted together does not.

use super::answer::{Answer, Failure};
use super::bar::{Bar, Step};
use super::named_records;
use crate::config::Config;
use crate::files::{self, Item};
use clap::{Args, ValueEnum};
use corpus::Record;
use corpus::pack::{MAX_SHARD_BYTES, NO_CLASS, Row, RowError, ShardBuilder, pack, pad};
use corpus::tokenizer::{ByteTokenizer, CharacterTokenizer, MAX_TOKENIZER_BYTES, Subword, SubwordKind, TextTokenizer, WordRule, Words};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Tokenize {
    /// Directory for the shards and the tokenizer
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What cuts the texts
    #[arg(long, value_enum, default_value = "bpe")]
    kind: Kind,
    /// A tokenizer.json to use; without it one is learnt from these records and must not leave the institution
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Words that institutions counted together, as `data counts` shows them: the tokenizer is learnt from them and may be shared
    #[arg(long, value_name = "FILE", conflicts_with = "tokenizer")]
    counts: Option<PathBuf>,
    /// How words are cut before: pattern or jieba; counted words bring their own rule
    #[arg(long, default_value = "pattern", value_name = "RULE", value_parser = rule)]
    words: WordRule,
    /// Ids of a tokenizer that is learnt
    #[arg(long, default_value_t = 8192, value_name = "N")]
    vocab: u32,
    /// Tokens of a row
    #[arg(long, default_value_t = 128, value_name = "T")]
    row: u32,
    /// One text per row, or each person's texts joined
    #[arg(long, value_enum, default_value = "padded")]
    rows: Rows,
    /// Bytes of a shard at most
    #[arg(long, default_value_t = 64 << 20, value_name = "BYTES")]
    shard_bytes: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Bytes
    Byte,
    /// Characters of these records
    Character,
    /// Byte-pair encoding
    Bpe,
    /// WordPiece
    WordPiece,
    /// Unigram language model
    Unigram,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rows {
    /// One text per row, with its class
    Padded,
    /// Texts of one person joined, for language models
    Packed,
}

pub(super) fn rule(text: &str) -> Result<WordRule, &'static str> {
    [WordRule::Pattern, WordRule::Jieba].into_iter().find(|r| r.name() == text).ok_or("expected pattern or jieba")
}

pub(super) fn run(config: &Config, o: &Tokenize) -> Result<Answer, Failure> {
    let records = crate::data::records(named_records(config)?).map_err(|e| Failure::refused("bad_data", &e))?;
    files::make_dir(&o.out, Item::Prepared).map_err(|e| Failure::trouble("not_written", &e))?;
    match o.kind {
        Kind::Byte => shards(o, &ByteTokenizer, &records, None),
        Kind::Character => {
            let characters: std::collections::BTreeSet<char> = records.iter().flat_map(|r| r.text.chars()).collect();
            shards(o, &CharacterTokenizer::new(characters), &records, None)
        }
        Kind::Bpe => subword(o, SubwordKind::Bpe, &records),
        Kind::WordPiece => subword(o, SubwordKind::WordPiece, &records),
        Kind::Unigram => subword(o, SubwordKind::Unigram, &records),
    }
}

fn subword(o: &Tokenize, kind: SubwordKind, records: &[Record]) -> Result<Answer, Failure> {
    let tokenizer = match (&o.tokenizer, &o.counts) {
        (_, Some(path)) => {
            let no_words = || Failure::trouble_text("bad_counts", "the document holds statistics, not words");
            let (rule, counts) = super::counts::read(path)?.words().ok_or_else(no_words)?;
            Subword::learn(kind, &counts, rule, o.vocab)
        }
        (Some(path), None) => {
            let bytes = files::read(path, MAX_TOKENIZER_BYTES, Item::Prepared).map_err(|e| Failure::trouble("no_tokenizer", &e))?;
            Subword::load(&bytes, o.words)
        }
        (None, None) => {
            let bar = Bar::default();
            let texts = bar.each(Step::of("counting words"), records.iter()).map(|r| r.text.as_str());
            let counts = Words::new(o.words).count(texts);
            bar.tell(Step::of("learning a tokenizer"), 0, None);
            Subword::learn(kind, &counts, o.words, o.vocab)
        }
    };
    let tokenizer = tokenizer.map_err(|e| Failure::trouble("bad_tokenizer", &e))?;
    let json = tokenizer.to_json().to_owned();
    shards(o, &tokenizer, records, Some(json))
}

fn shards(o: &Tokenize, tokenizer: &impl TextTokenizer, records: &[Record], json: Option<String>) -> Result<Answer, Failure> {
    let failed = |e: &RowError| Failure::trouble("bad_rows", e);
    let mut builder =
        ShardBuilder::new(o.row, tokenizer.vocab(), tokenizer.digest(), o.shard_bytes.min(MAX_SHARD_BYTES)).map_err(|e| failed(&e))?;
    let (units, labels) = (numbers(records.iter().map(|r| r.user.as_deref())), labels(records));
    let (mut written, mut rows, mut tokens, mut characters) = (0usize, 0usize, 0usize, 0usize);
    let mut put = |row: Row, builder: &mut ShardBuilder| {
        rows += 1;
        tokens += row.tokens.len();
        match builder.push(row.clone()) {
            Err(RowError::Full) if !builder.is_empty() => {
                save(&o.out, written, &builder.finish())?;
                written += 1;
                builder.push(row).map_err(|e| failed(&e))
            }
            other => other.map_err(|e| failed(&e)),
        }
    };
    // A person's records lie next to each other, so that they share rows.
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|&i| units[i]);
    let bar = Bar::default();
    for group in order.chunk_by(|&a, &b| units[a] == units[b]) {
        bar.tell(Step::of("cutting texts"), group.len() as u64, Some(records.len() as u64));
        let cut: Vec<Vec<u32>> = group.iter().map(|&i| tokenizer.encode(&records[i].text)).collect();
        characters += group.iter().map(|&i| records[i].text.chars().count()).sum::<usize>();
        let made: Vec<Row> = match o.rows {
            Rows::Packed => pack(cut.iter().map(|t| (units[group[0]], t.as_slice())), o.row),
            Rows::Padded => {
                let class = |i: usize| labels.get(records[i].label.as_str()).copied().unwrap_or(NO_CLASS);
                group.iter().zip(&cut).map(|(&i, t)| pad(units[i], class(i), t, o.row)).collect()
            }
        };
        made.into_iter().try_for_each(|row| put(row, &mut builder))?;
    }
    if !builder.is_empty() {
        save(&o.out, written, &builder.finish())?;
        written += 1;
    }
    if let Some(json) = json {
        files::replace_secret(&o.out.join("tokenizer.json"), json.as_bytes(), Item::Prepared)
            .map_err(|e| Failure::trouble("not_written", &e))?;
    }
    let per_character = if characters == 0 { 0.0 } else { tokens as f64 / characters as f64 };
    Ok(Answer::table([
        ("records", records.len().to_string()),
        ("rows", rows.to_string()),
        ("shards", written.to_string()),
        ("tokens", tokens.to_string()),
        ("tokens per character", format!("{per_character:.4}")),
        ("vocabulary", tokenizer.vocab().to_string()),
        ("tokenizer", hex(&tokenizer.digest())),
        ("classes", labels.keys().copied().collect::<Vec<_>>().join(", ")),
    ]))
}

/// One number per person, and one per record without a person.
fn numbers<'a>(users: impl Iterator<Item = Option<&'a str>>) -> Vec<u32> {
    let (mut known, mut next) = (BTreeMap::new(), 0u32);
    let number = |user: Option<&'a str>| {
        let fresh = next;
        let number = user.map_or(fresh, |u| *known.entry(u).or_insert(fresh));
        next += u32::from(number == fresh);
        number
    };
    users.map(number).collect()
}

/// Classes in the alphabetical order of the labels.
fn labels(records: &[Record]) -> BTreeMap<&str, u32> {
    let names: std::collections::BTreeSet<&str> = records.iter().map(|r| r.label.as_str()).collect();
    names.into_iter().zip(0u32..).collect()
}

fn save(dir: &Path, number: usize, bytes: &[u8]) -> Result<(), Failure> {
    let path = dir.join(format!("tokens-{number:05}.bin"));
    files::replace_secret(&path, bytes, Item::Prepared).map_err(|e| Failure::trouble("not_written", &e))
}

fn hex(bytes: &[u8]) -> String {
    protocol::ids::Sha256(bytes.try_into().unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_person_share_a_number_and_records_of_nobody_have_one_each() {
        let users = [Some("a"), None, Some("b"), Some("a"), None];
        assert_eq!(numbers(users.into_iter()), [0, 1, 2, 0, 3]);
    }
}
