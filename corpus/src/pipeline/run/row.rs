//! One row from bytes to its place in the spool. Must not know other rows.

use sha2::{Digest, Sha256};

use super::super::cells::{self, ColumnCount};
use super::super::counts::{Dropped, Stage, StageCount};
use super::super::fit::ColumnFit;
use super::super::near::{self, BANDS, Signature};
use super::super::parse::RowFault;
use super::super::quality::Lengths;
use super::super::rules::{Fill, Role, Rules};
use super::super::scrub::{self, Hits};
use super::super::source::{Batch, RawRow};
use super::super::value::Cell;
use crate::clean::normal_form;

/// Sums over rows, for the report.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    pub(super) columns: Vec<ColumnCount>,
    pub(super) failed_checks: Vec<u64>,
    pub(super) pii: Hits,
    pub(super) pii_rows: u64,
    pub(super) lengths: Lengths,
}

impl Totals {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            columns: vec![ColumnCount::default(); rules.columns.len()],
            failed_checks: vec![0; rules.checks.len()],
            pii: Hits::new(),
            pii_rows: 0,
            lengths: Lengths::default(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.columns.iter_mut().zip(&other.columns).for_each(|(a, b)| a.add(b));
        self.failed_checks.iter_mut().zip(&other.failed_checks).for_each(|(a, b)| *a += b);
        for (kind, count) in &other.pii {
            *self.pii.entry(*kind).or_insert(0) += count;
        }
        self.pii_rows += other.pii_rows;
        self.lengths.add(&other.lengths);
    }
}

/// Whose a row is and which side it falls on: a keyed hash of the person, or of the text where there is no person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// Pseudonym of the person, where the schema has one.
    pub(crate) person: Option<[u8; 16]>,
    /// Whether the row is held out.
    pub(crate) validation: bool,
}

impl Home {
    /// The home of a row as it was read; `None` where the deciding value is missing. Depends on nothing but the key and that value, so
    /// that other rows, their order and rules of cleaning never move a person.
    pub(crate) fn of(rules: &Rules, row: &[Cell]) -> Option<Self> {
        let digest = |domain: &[u8], value: &str| -> [u8; 32] {
            let mut hash = Sha256::new();
            hash.update(domain);
            hash.update(u64::try_from(rules.split.key.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(rules.split.key.as_bytes());
            hash.update(value.as_bytes());
            hash.finalize().into()
        };
        let (digest, is_person) = match rules.unit {
            Some(at) => (digest(b"concordat/corpus/person/v1\0", row.get(at)?.text()?.trim()), true),
            None => (digest(b"concordat/corpus/row/v1\0", &normal_form(row.get(rules.text)?.text()?)), false),
        };
        let head = digest.iter().skip(16).take(8).fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        let person = digest.first_chunk().copied().filter(|_| is_person);
        Some(Self { person, validation: head % 1000 < u64::from(rules.split.validation_permille) })
    }
}

/// Keys under which equal and similar texts meet.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) exact: Option<[u8; 16]>,
    pub(super) bands: Option<[u64; BANDS]>,
}

/// A clean row on its way to the spool. No `Debug`.
pub(super) struct Clean {
    pub(super) text: String,
    pub(super) label: String,
    /// The other members of its JSON object, each with a comma before it.
    pub(super) rest: String,
    pub(super) home: Home,
    pub(super) chars: u32,
    /// Among rows that may drop one another.
    pub(super) within: Option<Keys>,
    /// Among all rows, to find what crosses the boundary; only where `within` does not already reach them.
    pub(super) across: Option<Keys>,
}

/// What a chunk of rows gave.
pub(super) struct Chunk {
    pub(super) read: StageCount,
    pub(super) clean: StageCount,
    pub(super) scrub: StageCount,
    pub(super) totals: Totals,
    pub(super) bad: Vec<(u64, RowFault)>,
    pub(super) rows: Vec<Clean>,
}

/// What all workers know.
pub(super) struct Worker<'a> {
    pub(super) rules: &'a Rules,
    pub(super) fits: &'a [Option<ColumnFit>],
}

impl Worker<'_> {
    pub(super) fn chunk(&self, batch: &Batch, rows: &[RawRow]) -> Chunk {
        let mut out = Chunk {
            read: StageCount::new(Stage::Read),
            clean: StageCount::new(Stage::Clean),
            scrub: StageCount::new(Stage::Scrub),
            totals: Totals::new(self.rules),
            bad: Vec::new(),
            rows: Vec::with_capacity(rows.len()),
        };
        for raw in rows {
            out.read.rows_in += 1;
            let parsed = raw.body.as_ref().map_err(RowFault::clone).and_then(|body| super::cells(batch, body, self.rules));
            match parsed {
                Ok(row) => {
                    out.read.rows_out += 1;
                    self.one(row, &mut out);
                }
                Err(fault) => {
                    out.read.drop_row(fault.reason());
                    out.bad.push((raw.line, fault));
                }
            }
        }
        out
    }

    fn one(&self, mut row: Vec<Cell>, out: &mut Chunk) {
        let rules = self.rules;
        out.clean.rows_in += 1;
        let home = Home::of(rules, &row);
        let cleaned = cells::clean(rules, self.fits, &mut row, &mut out.totals.columns, &mut out.totals.failed_checks);
        // A row without its deciding value is dropped by cleaning: text and person are never missing.
        let home = match cleaned.and_then(|()| home.ok_or(Dropped::MissingValue)) {
            Ok(home) => home,
            Err(reason) => return out.clean.drop_row(reason),
        };
        out.clean.rows_out += 1;
        out.scrub.rows_in += 1;
        let mut hits = Hits::new();
        for &at in &rules.scrub_columns {
            if let Cell::Text(text) = &row[at]
                && let Some(scrubbed) = scrub::scrub(text, &rules.scrub, &mut hits)
            {
                row[at] = Cell::Text(scrubbed);
            }
        }
        out.totals.pii_rows += u64::from(!hits.is_empty());
        for (kind, count) in hits {
            *out.totals.pii.entry(kind).or_insert(0) += count;
        }
        out.scrub.rows_out += 1;
        let clean = self.finish(row, home);
        out.totals.lengths.take(clean.chars);
        out.rows.push(clean);
    }

    fn finish(&self, mut row: Vec<Cell>, home: Home) -> Clean {
        let rules = self.rules;
        let mut take = |at: usize| match std::mem::replace(&mut row[at], Cell::Missing) {
            Cell::Text(text) => text,
            Cell::Missing | Cell::Integer(_) | Cell::Number(_) | Cell::Boolean(_) => String::new(),
        };
        let (text, label) = (take(rules.text), take(rules.label));
        let rest = self.rest(&row, &label, home);
        let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let digest = rules.dedup.exact.then(|| blake3::hash(text.as_bytes()));
        let signature = rules.dedup.near.then(|| Signature::of(&near::shingles(&text, rules.dedup.shingle_chars)));
        let keys = |domain: Option<[u8; 16]>| Keys {
            exact: digest.as_ref().map(|digest| exact_key(domain, digest)),
            bands: signature.as_ref().map(|signature| near::bands(signature, domain_number(domain))),
        };
        let (within, across) = match (rules.private, home.person) {
            (false, _) => (Some(keys(None)), None),
            (true, Some(person)) => (Some(keys(Some(person))), Some(keys(None))),
            (true, None) => (None, Some(keys(None))),
        };
        let across = across.filter(|_| rules.split.validation_permille > 0);
        Clean { text, label, rest, home, chars, within, across }
    }

    /// Label, pseudonym and features as members of a JSON object.
    fn rest(&self, row: &[Cell], label: &str, home: Home) -> String {
        let mut out = String::with_capacity(64);
        let mut member = |name: &str, value: serde_json::Value| {
            out.push(',');
            out.push_str(&serde_json::Value::from(name).to_string());
            out.push(':');
            out.push_str(&value.to_string());
        };
        member("label", label.into());
        if let Some(person) = home.person {
            member("user", person.iter().map(|b| format!("{b:02x}")).collect::<String>().into());
        }
        for (column, cell) in self.rules.columns.iter().zip(row).filter(|(column, _)| column.role == Role::Feature) {
            member(&column.name, json(cell));
            if column.missing == Fill::Flag {
                member(&format!("{}_missing", column.name), cell.is_missing().into());
            }
        }
        out
    }
}

fn json(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Missing => serde_json::Value::Null,
        Cell::Text(text) => text.as_str().into(),
        Cell::Integer(n) => (*n).into(),
        Cell::Number(n) => (*n).into(),
        Cell::Boolean(b) => (*b).into(),
    }
}

/// Of a text's digest: equal texts of one domain meet. Lives for one run.
fn exact_key(domain: Option<[u8; 16]>, digest: &blake3::Hash) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    hash.update(&[u8::from(domain.is_some())]);
    hash.update(&domain.unwrap_or([0; 16]));
    hash.update(digest.as_bytes());
    let mut key = [0; 16];
    hash.finalize_xof().fill(&mut key);
    key
}

fn domain_number(domain: Option<[u8; 16]>) -> u64 {
    domain.and_then(|d| d.first_chunk().copied()).map_or(0, u64::from_be_bytes)
}
