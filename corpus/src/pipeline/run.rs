//! The whole way: files to prepared shards, in passes over bounded memory. Must not know where the depot keeps its streams.
//!
//! ```text
//! [fit]      read -> parse                        constants of the training rows; only where the rules need them
//! first      read -> parse -> clean -> scrub      rows to the spool, keys of their texts and persons to partitions
//! duplicates partition by partition               what is dropped, and what crosses the boundary
//! last       spool                                shards of training and validation, counted
//! ```
//!
//! The result depends on the files, the rules and nothing else: not on threads, batches or time.

use std::io::{self, Read};
use std::sync::mpsc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::counts::{Dropped, Imbalance, Stage, StageCount};
use super::depot::Depot;
use super::fit::{ColumnFit, FitError, Fitter};
use super::parse::{self, RowFault};
use super::prepared::Index;
use super::quality::{BadRow, MAX_NAMED, Quality};
use super::rules::{OnBadRow, Rules};
use super::source::{self, Assumed, Batch, RawBody, SourceError};
use super::value::Cell;

mod duplicates;
mod last;
mod row;
mod spool;

pub use duplicates::Leaks;
use row::{Chunk, Worker};
use spool::Spool;

/// Most rows of one preparation: five bytes of memory are held for each.
pub const MAX_ROWS: u32 = 1 << 26;
/// Most different labels.
pub const MAX_LABELS: usize = 256;
/// Rows that one task of a thread takes.
const CHUNK_ROWS: usize = 256;
/// Batches that wait between reader, workers and writer.
const WAITING: usize = 2;

/// Why nothing was prepared. Names files by their position, rows by their lines, never a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// An input cannot be opened.
    #[error("input {input} cannot be opened")]
    Open {
        /// One-based position.
        input: usize,
        /// The cause.
        source: io::Error,
    },
    /// An input cannot be read.
    #[error("input {input} cannot be read")]
    Source {
        /// One-based position.
        input: usize,
        /// The cause.
        source: SourceError,
    },
    /// A row that cannot be read, where the rules say so.
    #[error("input {input}, line {line} is no row (input.bad_rows = \"skip\" would leave it out and count it)")]
    BadRow {
        /// One-based position.
        input: usize,
        /// One-based line.
        line: u64,
        /// Why.
        source: RowFault,
    },
    /// The place of working files and shards.
    #[error("the output cannot be written or read back")]
    Depot(#[from] io::Error),
    /// No constants.
    #[error("a constant cannot be fitted on the training rows")]
    Fit(#[from] FitError),
    /// Over [`MAX_ROWS`].
    #[error("there are more than {MAX_ROWS} rows after cleaning: prepare them in parts")]
    TooManyRows,
    /// Over [`MAX_LABELS`].
    #[error("the label column has more than {MAX_LABELS} different values: is it the label? `values` can name the right ones")]
    TooManyLabels,
    /// Counters that do not add up.
    #[error("the counters do not add up: this is a bug, and nothing was prepared")]
    Imbalance(#[from] Imbalance),
    /// Working files that are not what was written.
    #[error("a working file is damaged: nothing was prepared")]
    Damaged,
}

/// What is being done, for a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking for constants; units are bytes of input.
    Fit,
    /// Reading, cleaning, scrubbing; units are bytes of input.
    Clean,
    /// Looking for duplicates; units are partitions.
    Duplicates,
    /// Writing shards; units are rows.
    Write,
}

/// Hears how far the work is: a step, its units done since the last call, and their total where it is known.
pub type Progress<'a> = &'a (dyn Fn(Step, u64, Option<u64>) + Sync);

/// Where the input comes from.
pub trait Inputs: Sync {
    /// Number of files.
    fn count(&self) -> usize;
    /// Bytes of all files together.
    fn total_bytes(&self) -> u64;
    /// Opens a file from its beginning; called once per pass.
    ///
    /// # Errors
    /// As the system fails.
    fn open(&self, at: usize) -> io::Result<Box<dyn Read + Send>>;
}

/// What a preparation gives.
pub struct Outcome {
    /// What training reads.
    pub index: Index,
    /// For the institution's own people.
    pub quality: Quality,
    /// SHA-256 of each input, in order.
    pub inputs: Vec<[u8; 32]>,
}

/// Prepares files. Runs on the current rayon pool; memory is bounded by the limits named in this room and not by the files.
///
/// # Privacy
/// Where [`Rules::private`] holds, whether a row is kept in training depends on that person's rows alone: one person more or less changes
/// nothing else of the training shards but their order of writing. Without a column of the unit each row is a unit of its own.
///
/// # Errors
/// [`PrepareError`]; shards may have been begun, and are to be thrown away.
pub fn prepare(rules: &Rules, inputs: &dyn Inputs, depot: &dyn Depot, progress: Progress<'_>) -> Result<Outcome, PrepareError> {
    let fits = if rules.needs_fit() { fit(rules, inputs, progress)? } else { rules.columns.iter().map(|_| None).collect() };
    let mut first = first_pass(rules, &fits, inputs, depot, progress)?;
    let fates = duplicates::find(rules, depot, &first.spool, progress)?;
    let outcome = last::write(rules, depot, &mut first, fates, &fits, progress)?;
    spool::remove(depot, first.spool.parts)?;
    super::counts::check(&outcome.quality.stages)?;
    Ok(outcome)
}

/// What the first pass leaves.
struct First {
    spool: Spool,
    read: StageCount,
    clean: StageCount,
    scrub: StageCount,
    totals: row::Totals,
    bad_rows: Vec<BadRow>,
    assumed: Vec<Assumed>,
    inputs: Vec<[u8; 32]>,
}

/// Hands all batches of all files to `take`, in order, from a thread of its own.
fn each_batch(
    rules: &Rules,
    inputs: &dyn Inputs,
    step: Step,
    progress: Progress<'_>,
    mut take: impl FnMut(Batch) -> Result<(), PrepareError>,
) -> Result<Vec<(Assumed, [u8; 32])>, PrepareError> {
    let names = rules.names();
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(WAITING);
        let reader = scope.spawn(move || -> Result<Vec<(Assumed, [u8; 32])>, PrepareError> {
            let mut known = Vec::new();
            for at in 0..inputs.count() {
                let source = inputs.open(at).map_err(|source| PrepareError::Open { input: at + 1, source })?;
                let (hash_out, hash_in) = mpsc::channel();
                let watched = Box::new(Watched { inner: source, hash: Sha256::new(), done: hash_out });
                let mut open = true;
                let total = inputs.total_bytes();
                let read = source::read(at, watched, &rules.input, &names, &mut |batch| {
                    progress(step, u64::try_from(batch.bytes.len()).unwrap_or(0), Some(total));
                    open = send.send(batch).is_ok();
                    open
                });
                let assumed = read.map_err(|source| PrepareError::Source { input: at + 1, source })?;
                known.push((assumed, hash_in.recv().unwrap_or([0; 32])));
                if !open {
                    break;
                }
            }
            Ok(known)
        });
        for batch in &receive {
            take(batch)?;
        }
        reader.join().map_err(|_| PrepareError::Damaged)?
    })
}

/// Hashes what is read, and tells when it is dropped.
struct Watched {
    inner: Box<dyn Read + Send>,
    hash: Sha256,
    done: mpsc::Sender<[u8; 32]>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hash.update(&buffer[..got]);
        Ok(got)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Nobody listens once the pass has failed.
        self.done.send(std::mem::take(&mut self.hash).finalize().into()).unwrap_or(());
    }
}

fn cells(batch: &Batch, body: &RawBody, rules: &Rules) -> Result<Vec<Cell>, RowFault> {
    let columns = &rules.columns;
    match body {
        RawBody::Line(range) if rules.input.format == super::rules::Format::Text => {
            parse::text(&batch.bytes[range.clone()], columns, rules.text)
        }
        RawBody::Line(range) => parse::json(&batch.bytes[range.clone()], columns),
        RawBody::Fields { start, ends } => {
            let starts = std::iter::once(*start).chain(ends.iter().copied());
            let fields: Vec<&[u8]> = starts.zip(ends).map(|(from, to)| &batch.bytes[from..*to]).collect();
            parse::fields(fields.into_iter(), &batch.places, columns)
        }
        RawBody::Loose(values) => parse::loose(values, columns),
    }
}

fn fit(rules: &Rules, inputs: &dyn Inputs, progress: Progress<'_>) -> Result<Vec<Option<ColumnFit>>, PrepareError> {
    let mut fitter = Fitter::new(&rules.columns);
    let mut number = 0u64;
    each_batch(rules, inputs, Step::Fit, progress, |batch| {
        let rows: Vec<Option<Vec<Cell>>> = batch
            .rows
            .par_iter()
            .map(|raw| {
                // Rows that cannot be read are met again, and told, in the next pass.
                let row = raw.body.as_ref().ok().and_then(|body| cells(&batch, body, rules).ok())?;
                row::Home::of(rules, &row).filter(|home| !home.validation).map(|_| row)
            })
            .collect();
        for row in rows {
            number += 1;
            if let Some(row) = row {
                fitter.take(number, &row);
            }
        }
        Ok(())
    })?;
    Ok(fitter.finish()?)
}

fn first_pass(
    rules: &Rules,
    fits: &[Option<ColumnFit>],
    inputs: &dyn Inputs,
    depot: &dyn Depot,
    progress: Progress<'_>,
) -> Result<First, PrepareError> {
    let worker = Worker { rules, fits };
    let (mut read, mut clean, mut scrub) = (StageCount::new(Stage::Read), StageCount::new(Stage::Clean), StageCount::new(Stage::Scrub));
    let mut totals = row::Totals::new(rules);
    let mut bad_rows = Vec::new();
    let writer = Spool::begin(depot, inputs.total_bytes())?;
    let (writer, known) = std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<Vec<row::Clean>>(WAITING);
        let writing = scope.spawn(move || -> Result<spool::SpoolWriter, PrepareError> {
            let mut writer = writer;
            for rows in &receive {
                for row in rows {
                    writer.put(row)?;
                }
            }
            Ok(writer)
        });
        let known = each_batch(rules, inputs, Step::Clean, progress, |batch| {
            let chunks: Vec<Chunk> = batch.rows.par_chunks(CHUNK_ROWS).map(|rows| worker.chunk(&batch, rows)).collect();
            let mut clean_rows = Vec::new();
            for chunk in chunks {
                for (line, fault) in chunk.bad {
                    if rules.input.bad_rows == OnBadRow::Fail {
                        return Err(PrepareError::BadRow { input: batch.file + 1, line, source: fault });
                    }
                    if bad_rows.len() < MAX_NAMED {
                        bad_rows.push(BadRow { input: batch.file + 1, line, reason: fault.reason(), what: fault.to_string() });
                    }
                }
                read.add(&chunk.read);
                clean.add(&chunk.clean);
                scrub.add(&chunk.scrub);
                totals.add(&chunk.totals);
                clean_rows.extend(chunk.rows);
            }
            // The writer ended early: its error is told when it is joined.
            send.send(clean_rows).map_err(|_| PrepareError::Damaged)
        });
        drop(send);
        let written = writing.join().map_err(|_| PrepareError::Damaged)?;
        // A disk that is full is the cause of whatever came after it.
        Ok::<_, PrepareError>((written?, known?))
    })?;
    let (assumed, inputs) = known.into_iter().unzip();
    Ok(First { spool: writer.finish()?, read, clean, scrub, totals, bad_rows, assumed, inputs })
}

/// What became of a row after cleaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped(Dropped),
}

#[cfg(test)]
mod tests;
