//! The last pass: rows that stay become shards, and everything is counted where it ends up. Must not decide what is dropped.

use std::io::{BufWriter, Write};

use sha2::{Digest, Sha256};

use super::super::counts::{Dropped, Stage, StageCount};
use super::super::depot::Depot;
use super::super::fit::ColumnFit;
use super::super::manifest::SchemaColumn;
use super::super::prepared::{Index, Shard, Side, Unit};
use super::super::quality::{self, ColumnQuality, LabelCount, Lengths, Quality, Sides};
use super::super::rules::{OnBoundary, Rules};
use super::duplicates::Fates;
use super::spool::{Family, Place, Spool};
use super::{Fate, First, Outcome, PrepareError, Progress, Step};

/// Bytes after which a shard ends: small enough to be read again after an error, large enough to be few.
const SHARD_BYTES: u64 = 64 << 20;
/// Rows between two words on progress.
const TOLD: u32 = 4096;

/// A shard under way: its file, the digest of what is in it so far, and its entry in the index.
type Open = (BufWriter<Box<dyn Write + Send>>, Sha256, Shard);

/// Writes the shards of one side.
struct Shards<'a> {
    depot: &'a dyn Depot,
    side: Side,
    open: Option<Open>,
    done: Vec<Shard>,
}

impl<'a> Shards<'a> {
    fn new(depot: &'a dyn Depot, side: Side) -> Self {
        Self { depot, side, open: None, done: Vec::new() }
    }

    fn put(&mut self, line: &[u8]) -> Result<(), PrepareError> {
        if self.open.as_ref().is_some_and(|(_, _, shard)| shard.bytes >= SHARD_BYTES) {
            self.close()?;
        }
        if self.open.is_none() {
            let shard = Shard { name: self.side.shard(self.done.len()), side: self.side, rows: 0, bytes: 0, sha256: String::new() };
            self.open = Some((BufWriter::new(self.depot.create(&shard.name)?), Sha256::new(), shard));
        }
        if let Some((file, hash, shard)) = &mut self.open {
            file.write_all(line)?;
            hash.update(line);
            shard.rows += 1;
            shard.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), PrepareError> {
        if let Some((mut file, hash, mut shard)) = self.open.take() {
            file.flush()?;
            shard.sha256 = quality::hex(&hash.finalize());
            self.done.push(shard);
        }
        Ok(())
    }
}

/// One JSON object of a prepared row, with its line end.
fn line(out: &mut Vec<u8>, text: &str, rest: &str) {
    out.clear();
    out.extend_from_slice(b"{\"text\":");
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// What becomes of a row at last.
fn fate(rules: &Rules, fates: &Fates, row: u32) -> Fate {
    match fates.duplicate(row) {
        Some(reason) => Fate::Dropped(reason),
        None if fates.leaks(row) && rules.dedup.boundary == OnBoundary::DropFromValidation => Fate::Dropped(Dropped::LeaksFromTraining),
        None => Fate::Kept,
    }
}

/// Counts of the last pass.
struct Counted {
    dedup: StageCount,
    split: StageCount,
    labels: Vec<LabelCount>,
    lengths: Sides<Lengths>,
}

impl Counted {
    /// Counts a row; true if it is to be written.
    fn take(&mut self, place: &Place, fate: Fate) -> bool {
        self.dedup.rows_in += 1;
        let reason = match fate {
            Fate::Dropped(reason) if reason.stage() == Stage::Deduplicate => {
                self.dedup.drop_row(reason);
                return false;
            }
            Fate::Dropped(reason) => Some(reason),
            Fate::Kept => None,
        };
        self.dedup.rows_out += 1;
        self.split.rows_in += 1;
        if let Some(reason) = reason {
            self.split.drop_row(reason);
            return false;
        }
        self.split.rows_out += 1;
        self.lengths.of(place.validation).take(place.chars);
        if let Some(label) = self.labels.get_mut(usize::from(place.label)) {
            *label.rows.of(place.validation) += 1;
        }
        true
    }
}

pub(super) fn write(
    rules: &Rules,
    depot: &dyn Depot,
    first: &mut First,
    fates: Fates,
    fits: &[Option<ColumnFit>],
    progress: Progress<'_>,
) -> Result<Outcome, PrepareError> {
    let labels = std::mem::take(&mut first.spool.labels);
    let mut counted = Counted {
        dedup: StageCount::new(Stage::Deduplicate),
        split: StageCount::new(Stage::Split),
        labels: labels.into_iter().map(|label| LabelCount { label, rows: Sides::default() }).collect(),
        lengths: Sides::default(),
    };
    let (mut train, mut validation) = (Shards::new(depot, Side::Train), Shards::new(depot, Side::Validation));
    let mut bytes = Vec::new();
    first.spool.walk(depot, |row, place, text, rest| {
        if row % TOLD == 0 {
            progress(Step::Write, u64::from(TOLD), Some(u64::from(first.spool.rows)));
        }
        if counted.take(&place, fate(rules, &fates, row)) {
            line(&mut bytes, text, rest);
            if place.validation { validation.put(&bytes)? } else { train.put(&bytes)? }
        }
        Ok(())
    })?;
    train.close()?;
    validation.close()?;
    let shards: Vec<Shard> = train.done.into_iter().chain(validation.done).collect();
    let unit = if rules.unit.is_some() { Unit::User } else { Unit::Record };
    let units = if rules.unit.is_some() { persons(rules, depot, &first.spool, &fates)? } else { rows(&shards) };
    counted.labels.sort_by(|a, b| a.label.cmp(&b.label));
    let quality = Quality {
        version: quality::VERSION,
        rows: rows(&shards),
        units,
        unit,
        stages: vec![first.read.clone(), first.clean.clone(), first.scrub.clone(), counted.dedup, counted.split],
        encodings: std::mem::take(&mut first.assumed),
        bad_rows: std::mem::take(&mut first.bad_rows),
        columns: columns(rules, first, fits),
        checks: rules.checks.iter().zip(&first.totals.failed_checks).map(|(c, n)| (c.name.clone(), *n)).collect(),
        pii: first.totals.pii.clone(),
        pii_rows: first.totals.pii_rows,
        lengths_before: first.totals.lengths,
        lengths: counted.lengths,
        labels: counted.labels,
        leaks: fates.leaks,
        drift: None,
        verdicts: Vec::new(),
    };
    // What the shards hold was counted a second time, by the shards themselves.
    let split = quality.stages.last().map_or(0, |s| s.rows_out);
    let written = quality.rows.train + quality.rows.validation;
    if written != split {
        return Err(super::Imbalance { stage: Stage::Split, rows_in: split, rows_out: written, dropped: 0, before: split }.into());
    }
    let index = Index { version: super::super::prepared::VERSION, rules: quality::hex(&rules.digest), unit, shards };
    Ok(Outcome { index, quality, inputs: std::mem::take(&mut first.inputs) })
}

fn rows(shards: &[Shard]) -> Sides<u64> {
    let of = |side| shards.iter().filter(|s| s.side == side).map(|s| s.rows).sum();
    Sides { train: of(Side::Train), validation: of(Side::Validation) }
}

/// Persons with a row that stays. A person is on one side: the side is a function of the person.
fn persons(rules: &Rules, depot: &dyn Depot, spool: &Spool, fates: &Fates) -> Result<Sides<u64>, PrepareError> {
    let sides: Vec<bool> = spool.places(depot)?.map(|p| p.map(|p| p.validation)).collect::<std::io::Result<_>>()?;
    let mut out = Sides::default();
    for part in 0..spool.parts {
        for person in spool.partition(depot, Family::Persons, part)?.chunk_by(|a, b| a.key == b.key) {
            let stays = person.iter().find(|e| fate(rules, fates, e.row) == Fate::Kept);
            let side = stays.and_then(|e| sides.get(usize::try_from(e.row).ok()?));
            if let Some(validation) = side {
                *out.of(*validation) += 1;
            }
        }
    }
    Ok(out)
}

fn columns(rules: &Rules, first: &First, fits: &[Option<ColumnFit>]) -> Vec<ColumnQuality> {
    let each = rules.columns.iter().zip(&first.totals.columns).zip(fits);
    each.map(|((column, counts), fit)| ColumnQuality {
        schema: SchemaColumn::of(column),
        counts: *counts,
        fitted_on_a_sample: fit.as_ref().map(|f| f.sampled),
    })
    .collect()
}
