//! What training reads: an index and shards of JSON Lines with their checksums. Must not know rules or raw records.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::read::{BadLines, Loaded, MAX_RECORDS, ReadError, ReadOptions, read_jsonl};

/// Version of the index.
pub const VERSION: u32 = 1;
/// Name of the index in its directory. It is written last, and only when every limit of quality holds.
pub const INDEX: &str = "prepared.json";
/// Longest index: some hundred bytes for each of many thousand shards.
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// Longest row of a shard: what a rule file may allow, escaped.
const MAX_LINE_BYTES: usize = 64 << 20;

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// To learn from.
    Train,
    /// To judge by.
    Validation,
}

impl Side {
    /// Name of a shard.
    pub(super) fn shard(self, number: usize) -> String {
        let side = match self {
            Self::Train => "train",
            Self::Validation => "validation",
        };
        format!("{side}-{number:05}.jsonl")
    }
}

/// Whose data a unit of privacy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A person's.
    User,
    /// A record is a unit of its own.
    Record,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Name in the directory.
    pub name: String,
    /// Its side.
    pub side: Side,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// The index of a prepared directory. Stays at the institution: its counts are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`VERSION`].
    pub version: u32,
    /// SHA-256 of the rule file, in hex.
    pub rules: String,
    /// Whose data a unit is.
    pub unit: Unit,
    /// All shards, in order.
    pub shards: Vec<Shard>,
}

/// Why a prepared directory cannot be used. Names shards, which are names of our own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file.
    #[error("cannot read {name} of the prepared directory {dir}; data prepare writes it when every limit of quality holds", dir = dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// Name of the file.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The index.
    #[error("the index of the prepared directory does not parse, or is of another version than {VERSION}")]
    Index,
    /// A shard that changed.
    #[error("shard {name} is not what was prepared: its checksum differs; prepare again")]
    Changed {
        /// Its name.
        name: String,
    },
    /// A line of a shard.
    #[error("a shard of the prepared directory cannot be read")]
    Read(#[from] ReadError),
}

/// Whether a path is a prepared directory, or a directory at all.
pub fn is_prepared(path: &Path) -> bool {
    path.is_dir()
}

/// Reads the index of a prepared directory.
///
/// # Errors
/// [`LoadError`].
pub fn index(dir: &Path) -> Result<Index, LoadError> {
    let open = |source| LoadError::Open { dir: dir.to_owned(), name: INDEX.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(dir.join(INDEX)).and_then(|f| f.take(MAX_INDEX_BYTES).read_to_end(&mut bytes)).map_err(open)?;
    parse(&bytes)
}

/// Parses an index. Shards lie in the directory itself: their names are those that we give.
///
/// # Errors
/// [`LoadError::Index`].
pub fn parse(bytes: &[u8]) -> Result<Index, LoadError> {
    let index: Index = serde_json::from_slice(bytes).map_err(|_| LoadError::Index)?;
    let ours = |(number, shard): (usize, &Shard)| shard.name == shard.side.shard(number);
    let side = |side| index.shards.iter().filter(move |s| s.side == side).enumerate();
    let named = side(Side::Train).all(ours) && side(Side::Validation).all(ours);
    if index.version == VERSION && named { Ok(index) } else { Err(LoadError::Index) }
}

/// The records of one side, every shard compared with its checksum while it is read.
///
/// # Errors
/// [`LoadError`].
pub fn load(dir: &Path, side: Side) -> Result<(Index, Loaded), LoadError> {
    let mut all = Loaded::default();
    let index = for_each_shard(dir, side, &mut |source, options| {
        let loaded = read_jsonl(source, options)?;
        if all.records.len() + loaded.records.len() > MAX_RECORDS {
            return Err(ReadError::TooManyRecords { max: MAX_RECORDS });
        }
        all.report.kept += loaded.report.kept;
        all.records.extend(loaded.records);
        Ok(())
    })?;
    if all.records.is_empty() {
        return Err(ReadError::Empty.into());
    }
    Ok((index, all))
}

/// What takes in one shard.
pub(crate) type TakeShard<'a> = &'a mut dyn FnMut(&mut dyn BufRead, &ReadOptions) -> Result<(), ReadError>;

/// Hands every shard of one side to `take`, which reads it to its end, and compares it with its checksum then.
///
/// # Errors
/// [`LoadError`].
pub(crate) fn for_each_shard(dir: &Path, side: Side, take: TakeShard<'_>) -> Result<Index, LoadError> {
    let index = index(dir)?;
    let options = ReadOptions {
        user_field: (index.unit == Unit::User).then(|| "user".to_owned()),
        bad_lines: BadLines::Fatal,
        max_line_bytes: MAX_LINE_BYTES,
        ..ReadOptions::default()
    };
    for shard in index.shards.iter().filter(|s| s.side == side) {
        let open = |source| LoadError::Open { dir: dir.to_owned(), name: shard.name.clone(), source };
        let file = File::open(dir.join(&shard.name)).map_err(open)?;
        let mut hashed = Hashed { inner: file, hash: Sha256::new() };
        take(&mut BufReader::with_capacity(1 << 16, &mut hashed), &options)?;
        if super::quality::hex(&hashed.hash.finalize()) != shard.sha256 {
            return Err(LoadError::Changed { name: shard.name.clone() });
        }
    }
    Ok(index)
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hash.update(&buffer[..got]);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(name: &str, side: Side) -> Shard {
        Shard { name: name.into(), side, rows: 1, bytes: 2, sha256: "00".into() }
    }

    fn bytes(shards: Vec<Shard>) -> Vec<u8> {
        serde_json::to_vec(&Index { version: VERSION, rules: "aa".into(), unit: Unit::User, shards }).unwrap()
    }

    #[test]
    fn an_index_names_no_file_outside() {
        let good = vec![shard("train-00000.jsonl", Side::Train), shard("validation-00000.jsonl", Side::Validation)];
        assert!(parse(&bytes(good)).is_ok());
        for name in ["../train-00000.jsonl", "/etc/passwd", "train-00001.jsonl", "validation-00000.jsonl"] {
            assert!(matches!(parse(&bytes(vec![shard(name, Side::Train)])), Err(LoadError::Index)), "{name}");
        }
        assert!(matches!(parse(b"{}"), Err(LoadError::Index)));
    }

    #[test]
    fn a_shard_that_changed_is_not_trained_on() {
        let dir = tempfile::tempdir().unwrap();
        let line = b"{\"text\":\"good morning\",\"label\":\"a\",\"user\":\"u\"}\n";
        let sum = super::super::quality::hex(&Sha256::digest(line));
        let entry = Shard { rows: 1, bytes: line.len() as u64, sha256: sum, ..shard("train-00000.jsonl", Side::Train) };
        std::fs::write(dir.path().join(INDEX), bytes(vec![entry])).unwrap();
        std::fs::write(dir.path().join("train-00000.jsonl"), line).unwrap();
        let (index, loaded) = load(dir.path(), Side::Train).unwrap();
        assert_eq!((index.unit, loaded.records[0].user.as_deref()), (Unit::User, Some("u")));
        std::fs::write(dir.path().join("train-00000.jsonl"), [&line[..], line].concat()).unwrap();
        assert!(matches!(load(dir.path(), Side::Train), Err(LoadError::Changed { .. })));
        std::fs::remove_file(dir.path().join(INDEX)).unwrap();
        assert!(matches!(load(dir.path(), Side::Train), Err(LoadError::Open { .. })));
    }
}
