//! Working files: clean rows, an index of them, and keys in partitions. Must not interpret a key or a text.

use std::io::{self, BufReader, BufWriter, Read, Write};

use super::super::depot::{Depot, ReadAt};
use super::super::near::BANDS;
use super::row::{Clean, Keys};
use super::{MAX_LABELS, MAX_ROWS, PrepareError};

/// Most partitions of a family of keys: of the largest preparation each holds some 100 MiB, and each keeps a file and a buffer open.
const MAX_PARTS: usize = 64;
/// Bytes of input per partition, so that small preparations have few.
const BYTES_PER_PART: u64 = 4 << 20;
const BUFFER: usize = 64 * 1024;

const ROWS: &str = "work-rows";
const INDEX: &str = "work-index";
/// Bytes of an index entry: offset 8, text 4, rest 4, characters 4, label 2, side 1, person 1.
const ENTRY: usize = 24;

/// A family of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Equal texts that may drop one another.
    ExactWithin,
    /// Similar texts that may drop one another.
    NearWithin,
    /// Equal texts of anybody.
    ExactAcross,
    /// Similar texts of anybody.
    NearAcross,
    /// Persons.
    Persons,
}

impl Family {
    const ALL: [Self; 5] = [Self::ExactWithin, Self::NearWithin, Self::ExactAcross, Self::NearAcross, Self::Persons];

    fn name(self, part: usize) -> String {
        let name = match self {
            Self::ExactWithin => "exact-within",
            Self::NearWithin => "near-within",
            Self::ExactAcross => "exact-across",
            Self::NearAcross => "near-across",
            Self::Persons => "persons",
        };
        format!("work-{name}-{part:02}")
    }
}

/// A row of a partition: its key, then its number. Equal keys of a wide family are told apart by their second half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) key: (u64, u64),
    pub(super) row: u32,
}

/// What the index knows of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    text: u32,
    rest: u32,
    pub(super) chars: u32,
    pub(super) label: u16,
    pub(super) validation: bool,
    pub(super) person: bool,
}

impl Place {
    fn to_bytes(self) -> [u8; ENTRY] {
        let mut out = [0; ENTRY];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.text.to_le_bytes());
        out[12..16].copy_from_slice(&self.rest.to_le_bytes());
        out[16..20].copy_from_slice(&self.chars.to_le_bytes());
        out[20..22].copy_from_slice(&self.label.to_le_bytes());
        out[22] = u8::from(self.validation);
        out[23] = u8::from(self.person);
        out
    }

    fn from_bytes(b: &[u8; ENTRY]) -> Self {
        let four = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Self {
            offset: u64::from(four(0)) | u64::from(four(4)) << 32,
            text: four(8),
            rest: four(12),
            chars: four(16),
            label: u16::from_le_bytes([b[20], b[21]]),
            validation: b[22] == 1,
            person: b[23] == 1,
        }
    }
}

/// What was spooled.
pub(super) struct Spool {
    pub(super) rows: u32,
    pub(super) parts: usize,
    /// Labels by their number, in the order of their first row.
    pub(super) labels: Vec<String>,
}

impl Spool {
    pub(super) fn begin(depot: &dyn Depot, bytes: u64) -> Result<SpoolWriter, PrepareError> {
        let parts = usize::try_from(bytes / BYTES_PER_PART).unwrap_or(MAX_PARTS).clamp(1, MAX_PARTS);
        let create = |name: &str| depot.create(name).map(|w| BufWriter::with_capacity(BUFFER, w));
        let mut keys = Vec::new();
        for family in Family::ALL {
            let files = (0..parts).map(|part| create(&family.name(part))).collect::<io::Result<Vec<_>>>()?;
            keys.push(files);
        }
        let spool = Self { rows: 0, parts, labels: Vec::new() };
        Ok(SpoolWriter { rows: create(ROWS)?, index: create(INDEX)?, keys, offset: 0, spool })
    }

    /// The entries of one partition, sorted by key and then by row.
    pub(super) fn partition(&self, depot: &dyn Depot, family: Family, part: usize) -> Result<Vec<Entry>, PrepareError> {
        let mut bytes = Vec::new();
        depot.open(&family.name(part))?.read_to_end(&mut bytes)?;
        let word = |b: &[u8]| b.first_chunk().map_or(0, |w| u64::from_le_bytes(*w));
        let row = |b: &[u8]| b.first_chunk().map_or(0, |w| u32::from_le_bytes(*w));
        let wide = matches!(family, Family::ExactWithin | Family::ExactAcross | Family::Persons);
        let length = if wide { 20 } else { 12 };
        if bytes.len() % length != 0 {
            return Err(PrepareError::Damaged);
        }
        let entry = |b: &[u8]| Entry { key: (word(b), if wide { word(&b[8..]) } else { 0 }), row: row(&b[length - 4..]) };
        let mut out: Vec<Entry> = bytes.chunks_exact(length).map(entry).collect();
        if out.iter().any(|e| e.row >= self.rows) {
            return Err(PrepareError::Damaged);
        }
        out.sort_unstable();
        Ok(out)
    }

    /// All places, in the order of rows.
    pub(super) fn places(&self, depot: &dyn Depot) -> Result<impl Iterator<Item = io::Result<Place>>, PrepareError> {
        let mut index = BufReader::with_capacity(BUFFER, depot.open(INDEX)?);
        Ok((0..self.rows).map(move |_| {
            let mut bytes = [0; ENTRY];
            index.read_exact(&mut bytes).map(|()| Place::from_bytes(&bytes))
        }))
    }

    /// All rows in order: place, text, the rest of the object.
    pub(super) fn walk(
        &self,
        depot: &dyn Depot,
        mut take: impl FnMut(u32, Place, &str, &str) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let mut rows = BufReader::with_capacity(BUFFER, depot.open(ROWS)?);
        let mut bytes = Vec::new();
        for (row, place) in (0..self.rows).zip(self.places(depot)?) {
            let place = place?;
            let (text, rest) = (usize_of(place.text), usize_of(place.rest));
            bytes.resize(text + rest, 0);
            rows.read_exact(&mut bytes)?;
            let whole = std::str::from_utf8(&bytes).map_err(|_| PrepareError::Damaged)?;
            let (text, rest) = whole.split_at_checked(text).ok_or(PrepareError::Damaged)?;
            take(row, place, text, rest)?;
        }
        Ok(())
    }

    /// Texts by row, from several threads.
    pub(super) fn texts(depot: &dyn Depot) -> Result<Texts, PrepareError> {
        Ok(Texts { rows: depot.reach(ROWS)?, index: depot.reach(INDEX)? })
    }
}

/// Reads single texts back.
pub(super) struct Texts {
    rows: Box<dyn ReadAt>,
    index: Box<dyn ReadAt>,
}

impl Texts {
    pub(super) fn text(&self, row: u32) -> Result<String, PrepareError> {
        let mut entry = [0; ENTRY];
        self.index.read_exact_at(&mut entry, u64::from(row) * ENTRY as u64)?;
        let place = Place::from_bytes(&entry);
        let mut bytes = vec![0; usize_of(place.text)];
        self.rows.read_exact_at(&mut bytes, place.offset)?;
        String::from_utf8(bytes).map_err(|_| PrepareError::Damaged)
    }
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).expect("at least 32 bits")
}

type Out = BufWriter<Box<dyn Write + Send>>;

/// Writes rows in their order. Memory: its buffers and the labels.
pub(super) struct SpoolWriter {
    rows: Out,
    index: Out,
    /// By family, then partition.
    keys: Vec<Vec<Out>>,
    offset: u64,
    spool: Spool,
}

impl SpoolWriter {
    pub(super) fn put(&mut self, row: Clean) -> Result<(), PrepareError> {
        let number = self.spool.rows;
        if number == MAX_ROWS {
            return Err(PrepareError::TooManyRows);
        }
        let length = |text: &str| u32::try_from(text.len()).map_err(|_| PrepareError::TooManyRows);
        let (text, rest) = (length(&row.text)?, length(&row.rest)?);
        let label = self.label(row.label)?;
        let Clean { home, chars, .. } = row;
        let place = Place { offset: self.offset, text, rest, chars, label, validation: home.validation, person: home.person.is_some() };
        self.rows.write_all(row.text.as_bytes())?;
        self.rows.write_all(row.rest.as_bytes())?;
        self.index.write_all(&place.to_bytes())?;
        self.offset += u64::from(text) + u64::from(rest);
        self.spool.rows += 1;
        self.keys(row.within, number, Family::ExactWithin, Family::NearWithin)?;
        self.keys(row.across, number, Family::ExactAcross, Family::NearAcross)?;
        if let Some(person) = home.person {
            self.key(Family::Persons, &person, number)?;
        }
        Ok(())
    }

    fn label(&mut self, label: String) -> Result<u16, PrepareError> {
        let known = &mut self.spool.labels;
        let at = match known.iter().position(|l| *l == label) {
            Some(at) => at,
            None if known.len() == MAX_LABELS => return Err(PrepareError::TooManyLabels),
            None => {
                known.push(label);
                known.len() - 1
            }
        };
        u16::try_from(at).map_err(|_| PrepareError::TooManyLabels)
    }

    fn keys(&mut self, keys: Option<Keys>, row: u32, exact: Family, near: Family) -> Result<(), PrepareError> {
        let Some(keys) = keys else { return Ok(()) };
        if let Some(key) = keys.exact {
            self.key(exact, &key, row)?;
        }
        for key in keys.bands.iter().flatten() {
            self.key(near, &key.to_le_bytes(), row)?;
        }
        debug_assert!(keys.bands.is_none_or(|b| b.len() == BANDS));
        Ok(())
    }

    fn key(&mut self, family: Family, key: &[u8], row: u32) -> Result<(), PrepareError> {
        let head = key.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        // The low bits of a hash; keys are hashes.
        let part = usize::try_from(head % self.spool.parts as u64).unwrap_or(0);
        let at = Family::ALL.iter().position(|f| *f == family).unwrap_or(0);
        let file = &mut self.keys[at][part];
        file.write_all(key)?;
        file.write_all(&row.to_le_bytes())?;
        Ok(())
    }

    /// Everything is in the depot afterwards.
    pub(super) fn finish(mut self) -> Result<Spool, PrepareError> {
        self.rows.flush()?;
        self.index.flush()?;
        for file in self.keys.iter_mut().flatten() {
            file.flush()?;
        }
        Ok(self.spool)
    }
}

/// Removes the working files.
pub(super) fn remove(depot: &dyn Depot, parts: usize) -> Result<(), PrepareError> {
    for family in Family::ALL {
        for part in 0..parts {
            depot.remove(&family.name(part))?;
        }
    }
    depot.remove(ROWS)?;
    Ok(depot.remove(INDEX)?)
}
