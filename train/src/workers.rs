//! Clipped sums over a sample, on several threads. Knows no ledger and draws nothing.
//!
//! Sums are integers, so neither the number of threads nor the order in which they finish changes a bit of the result.

use crate::batch::{Batch, Dataset, Record, UnitExamples};
use crate::capture::{CaptureError, Captures, Tape};
use crate::clip::{UnitGradient, book_keeping};
use crate::device::{self, Multiply, Site};
use crate::model::{Objective, ParameterTable};
use privacy::bound::{Block, ClippedSum, NoiseError, UnitOutcome, UnitSum};
use privacy::mechanism::Mechanism;
use protocol::plan::{ClipPath, UnitObjective};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stack of a worker: the engine walks its graph recursively.
const STACK_BYTES: usize = 64 << 20;

/// Threads that compute gradients. Each has a pool of one, so that matrix products do not compete for processors.
pub struct Workers {
    pools: Vec<rayon::ThreadPool>,
    /// Most records that one of them reads at once.
    most: usize,
    /// One for each worker, or none at all.
    accelerators: Vec<Arc<dyn Multiply>>,
}

/// Where products of layers are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the workers' own threads.
    Processor,
    /// Each worker has an accelerator.
    Accelerators,
}

/// Why a sum could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// A backward pass is incomplete.
    #[error("a gradient is missing")]
    Capture(#[from] CaptureError),
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
    /// Coordinates outside the mechanism's dimension: the plan's shards are not the model's.
    #[error("a gradient does not fit the mechanism's dimension")]
    Misplaced,
    /// Two workers used different mechanisms.
    #[error("sums of different mechanisms")]
    Merge(#[from] NoiseError),
    /// Ten units in a row had a gradient that is not finite (training.md M14).
    #[error("{NON_FINITE_LIMIT} units in a row had no finite gradient")]
    Diverged,
    /// The smallest pass that may be made does not fit into the device's memory: under Book-Keeping that of the plan's micro-batch, which its
    /// privacy is accounted with. How many records that were depends on the sample, so nobody is told (privacy.md D12).
    #[error(
        "the device's memory does not hold the smallest pass that may be made: of one record on the exact path, under Book-Keeping of the \
         plan's micro_batch of units"
    )]
    Memory(#[source] Box<candle_core::Error>),
}

impl WorkError {
    /// What the engine said, if it said that the device's memory is full; else the same again.
    pub(crate) fn out_of_memory(self) -> Result<candle_core::Error, Self> {
        match self {
            Self::Engine(e) | Self::Capture(CaptureError::Engine(e)) if device::is_out_of_memory(&e) => Ok(e),
            Self::Capture(_) | Self::Engine(_) | Self::Misplaced | Self::Merge(_) | Self::Diverged | Self::Memory(_) => Err(self),
        }
    }

    /// The same, named for what it is where the device's memory does not hold a pass that may not be made smaller.
    pub(crate) fn of_smallest_pass(self) -> Self {
        self.out_of_memory().map_or_else(|other| other, |e| Self::Memory(Box::new(e)))
    }
}

/// Units without a finite gradient, one after the other, that stop a task: by then it is the model, not the data.
pub const NON_FINITE_LIMIT: usize = 10;

/// What is known about one step's sample. Stays inside the institution.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Units in the sample.
    pub units: usize,
    /// Units whose gradient was not finite, or not to be shortened; they contributed 0.
    pub non_finite: usize,
    /// Tokens read.
    pub tokens: usize,
    /// Sum of the units' finite losses, in nats.
    pub loss_sum: f64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.units += other.units;
        self.non_finite += other.non_finite;
        self.tokens += other.tokens;
        self.loss_sum += other.loss_sum;
    }
}

/// What every worker reads.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) objective: &'a dyn Objective,
    /// What is trained.
    pub(crate) table: &'a ParameterTable,
    pub(crate) mechanism: &'a Mechanism,
    /// Longest sequence that the model reads.
    pub(crate) max_tokens: usize,
    /// Records in one forward pass; bounds memory and changes nothing else.
    pub(crate) micro_batch: usize,
    pub(crate) max_records: usize,
    /// What a unit's records are asked for together.
    pub(crate) of_unit: UnitObjective,
}

impl Workers {
    /// Starts `threads` workers.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(threads: NonZeroUsize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(1).stack_size(STACK_BYTES).build();
        let pools = (0..threads.get()).map(|_| pool()).collect::<Result<_, _>>()?;
        Ok(Self { pools, most: usize::MAX, accelerators: Vec::new() })
    }

    /// Starts one worker for each accelerator; without any, one on the processor. They must be of one kind: which of them computes a unit's
    /// gradient must not show in it (privacy.md D19).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(accelerators: Vec<Arc<dyn Multiply>>) -> Result<Self, rayon::ThreadPoolBuildError> {
        if accelerators.is_empty() {
            return Self::start(NonZeroUsize::MIN);
        }
        let pool = |(number, accelerator): (usize, Arc<dyn Multiply>)| {
            let attach = move |_: usize| device::attach(number, Arc::clone(&accelerator));
            rayon::ThreadPoolBuilder::new().num_threads(1).stack_size(STACK_BYTES).start_handler(attach).build()
        };
        let pools = accelerators.iter().cloned().enumerate().map(pool).collect::<Result<_, _>>()?;
        Ok(Self { pools, most: usize::MAX, accelerators })
    }

    /// Where products of layers are computed.
    pub fn place(&self) -> Place {
        if self.accelerators.is_empty() { Place::Processor } else { Place::Accelerators }
    }

    /// Where each worker's models live; nothing if they live on the processor.
    pub(crate) fn sites(&self) -> Vec<&Site> {
        self.accelerators.iter().map(|accelerator| accelerator.site()).collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// How many of them have to be asked whether they compute alike: threads of one processor do.
    pub(crate) fn kinds(&self) -> usize {
        match self.place() {
            Place::Processor => self.count().min(1),
            Place::Accelerators => self.count(),
        }
    }

    /// The same on a machine where more records than this at once do not fit (training.md M9).
    #[must_use]
    pub fn reading_at_most(self, records: NonZeroUsize) -> Self {
        Self { most: records.get(), ..self }
    }

    /// Records in one pass where the plan has `planned`. What is executed under Book-Keeping is registered with its micro-batch, because what
    /// floats lose depends on it (privacy.md D19); only exact sums may be made of smaller passes.
    pub(crate) fn records_at_once(&self, planned: usize, path: ClipPath) -> usize {
        match path {
            ClipPath::Exact => planned.min(self.most),
            ClipPath::BookKeeping { .. } => planned,
        }
    }

    /// Sum of the clipped gradients of the sampled units.
    pub(crate) fn sum(&self, work: Work<'_>, data: &Dataset, sample: &[usize]) -> Result<(UnitSum, Tally), WorkError> {
        let units: Vec<&UnitExamples> = sample.iter().map(|&i| &data.units[i]).collect();
        let jobs: Vec<&[&UnitExamples]> = units.chunks(work.micro_batch).collect();
        let next = AtomicUsize::new(0);
        let (jobs_left, next_job) = (&jobs[..], &next);
        let results = std::thread::scope(|scope| {
            let start = |pool: &'_ rayon::ThreadPool| pool.install(|| drain(work, jobs_left, next_job));
            let running: Vec<_> = self.pools.iter().map(|pool| scope.spawn(move || start(pool))).collect();
            // A worker that panics takes the step with it: nothing of a half-summed step may be used.
            running.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect::<Vec<_>>()
        });
        merge(work.mechanism, results, jobs.len())
    }

    /// The same where only the clipped sum exists, in floats (privacy.md D36).
    ///
    /// Which worker adds which micro-batch is fixed, so that the same sample gives the same sum; another number of workers adds in another
    /// order, and what floats lose by that is within the mechanism's allowance ν (D19).
    pub(crate) fn clipped_sum(&self, work: Work<'_>, data: &Dataset, sample: &[usize]) -> Result<(ClippedSum, Tally), WorkError> {
        let units: Vec<&UnitExamples> = sample.iter().map(|&i| &data.units[i]).collect();
        let jobs: Vec<&[&UnitExamples]> = units.chunks(work.micro_batch).collect();
        let (jobs, step) = (&jobs[..], self.pools.len().max(1));
        let results = std::thread::scope(|scope| {
            let start = |pool: &'_ rayon::ThreadPool, first: usize| pool.install(|| book_keep(work, jobs, first, step));
            let running: Vec<_> = self.pools.iter().enumerate().map(|(first, pool)| scope.spawn(move || start(pool, first))).collect();
            // As above: nothing of a half-summed step may be used.
            running.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect::<Vec<_>>()
        });
        let (mut sum, mut tally, mut finite) = (ClippedSum::new(work.mechanism)?, Tally::default(), vec![Vec::new(); jobs.len()]);
        for part in results {
            let (part_sum, part_tally, outcomes) = part?;
            sum.merge(&part_sum)?;
            tally.add(part_tally);
            outcomes.into_iter().for_each(|(job, outcome)| finite[job] = outcome);
        }
        not_diverged(&finite.concat())?;
        Ok((sum, tally))
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// Runs `job` once for each state, each on a worker of its own, and gives the results in the states' order.
    pub(crate) fn each<S: Send, T: Send>(&self, states: &mut [S], job: impl Fn(usize, &mut S) -> T + Sync) -> Vec<T> {
        let job = &job;
        std::thread::scope(|scope| {
            let start = |(number, (pool, state)): (usize, (&rayon::ThreadPool, &mut S))| pool.install(|| job(number, state));
            let parts = self.pools.iter().zip(states).enumerate();
            let running: Vec<_> = parts.map(|part| scope.spawn(move || start(part))).collect();
            // A worker that panics takes the step with it: nothing of a half-computed step may be used.
            running.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    /// Runs on the first worker: for whatever needs its stack and its single thread.
    pub(crate) fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        match self.pools.first() {
            Some(pool) => pool.install(job),
            None => job(),
        }
    }
}

/// One worker's sum, tally, and the outcomes of its jobs by number.
type Part = (UnitSum, Tally, Vec<(usize, Vec<bool>)>);

fn merge(mechanism: &Mechanism, parts: Vec<Result<Part, WorkError>>, jobs: usize) -> Result<(UnitSum, Tally), WorkError> {
    let (mut sum, mut tally) = (UnitSum::new(mechanism), Tally::default());
    let mut finite = vec![Vec::new(); jobs];
    for part in parts {
        let (part_sum, part_tally, outcomes) = part?;
        sum.merge(&part_sum)?;
        tally.add(part_tally);
        outcomes.into_iter().for_each(|(job, outcome)| finite[job] = outcome);
    }
    not_diverged(&finite.concat())?; // in the order of the sample, whoever computed what
    Ok((sum, tally))
}

fn not_diverged(finite: &[bool]) -> Result<(), WorkError> {
    if finite.windows(NON_FINITE_LIMIT).any(|w| w.iter().all(|&ok| !ok)) { Err(WorkError::Diverged) } else { Ok(()) }
}

/// One worker's float sum, tally, and the outcomes of its jobs by number.
type ClippedPart = (ClippedSum, Tally, Vec<(usize, Vec<bool>)>);

/// Every `step`-th micro-batch from the first on.
fn book_keep(work: Work<'_>, jobs: &[&[&UnitExamples]], first: usize, step: usize) -> Result<ClippedPart, WorkError> {
    let (mut sum, mut tally, mut outcomes) = (ClippedSum::new(work.mechanism)?, Tally::default(), Vec::new());
    for (number, units) in jobs.iter().enumerate().skip(first).step_by(step) {
        let taken = book_keeping::add(work, units, &mut sum)?;
        let finite: Vec<bool> = taken.outcomes.iter().map(|o| *o == UnitOutcome::Added).collect();
        tally.tokens += taken.tokens;
        tally.units += finite.len();
        tally.non_finite += finite.iter().filter(|ok| !**ok).count();
        tally.loss_sum += taken.losses.iter().zip(&finite).filter(|(_, ok)| **ok).map(|(loss, _)| loss).sum::<f64>();
        outcomes.push((number, finite));
    }
    Ok((sum, tally, outcomes))
}

fn drain(work: Work<'_>, jobs: &[&[&UnitExamples]], next: &AtomicUsize) -> Result<Part, WorkError> {
    let (mut sum, mut tally, mut outcomes) = (UnitSum::new(work.mechanism), Tally::default(), Vec::new());
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(units) = jobs.get(number) else { return Ok((sum, tally, outcomes)) };
        let mut finite = Vec::with_capacity(units.len());
        tally.tokens += unit_gradients(work, units, &mut |blocks, loss| {
            tally.units += 1;
            // A loss that is not finite drops the unit even if its gradient is (training.md M14).
            let outcome = if loss.is_finite() { sum.add_unit(blocks) } else { UnitOutcome::NonFinite };
            finite.push(outcome == UnitOutcome::Added);
            match outcome {
                UnitOutcome::Added => tally.loss_sum += loss,
                UnitOutcome::NonFinite | UnitOutcome::TooLong => tally.non_finite += 1,
                UnitOutcome::Misplaced => return Err(WorkError::Misplaced),
            }
            Ok(())
        })?;
        outcomes.push((number, finite));
    }
}

/// A record, and whether it is its unit's last. A unit without any record still has one row, so that it is reported like any other.
pub(crate) struct Row<'a> {
    pub(crate) record: Option<&'a Record>,
    /// Its part in the unit's objective: 1 in a sum, one over their number in a mean.
    pub(crate) share: f32,
    pub(crate) last: bool,
}

/// All rows of these units. Records without tokens say nothing and are left out before the mean.
pub(crate) fn rows<'a>(units: &[&'a UnitExamples], work: Work<'_>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for unit in units {
        let kept: Vec<&Record> = unit.records.iter().take(work.max_records).filter(|r| !r.tokens.is_empty()).collect();
        #[expect(clippy::cast_precision_loss, reason = "records per unit are capped far below 2^24")]
        let share = match work.of_unit {
            UnitObjective::Mean => (kept.len().max(1) as f32).recip(),
            UnitObjective::Sum => 1.0,
        };
        let last = kept.len().saturating_sub(1);
        rows.extend(kept.iter().enumerate().map(|(i, record)| Row { record: Some(record), share, last: i == last }));
        if kept.is_empty() {
            rows.push(Row { record: None, share, last: true });
        }
    }
    rows
}

/// Forward and backward pass of one batch: what per-record gradients are made of, and each record's loss.
fn pass(work: Work<'_>, batch: &Batch) -> Result<(Captures, Vec<f32>), WorkError> {
    let tape = Tape::on();
    let losses = work.objective.losses(batch, &tape)?; // (B)
    // The sum, never the mean: a mean would scale one unit's gradient by how many others came (privacy.md D32).
    let captures = tape.finish(&losses.sum_all()?.backward()?, work.table)?;
    Ok((captures, losses.to_vec1::<f32>()?))
}

/// Receives one unit's gradient and loss.
type Take<'f> = dyn FnMut(&[Block<'_>], f64) -> Result<(), WorkError> + 'f;

/// What a pass over some records left behind.
struct Passed {
    records: usize,
    tokens: usize,
    /// None if no record has a token: the engine records nothing for tensors without numbers.
    found: Option<(Captures, Vec<f32>)>,
}

/// A pass over all of these rows at once.
fn pass_over(work: Work<'_>, rows: &[Row<'_>]) -> Result<Passed, WorkError> {
    let batch = Batch::pack(rows.iter().filter_map(|r| r.record), work.max_tokens);
    let (records, tokens) = (rows.len(), batch.tokens.len());
    let found = if tokens == 0 { None } else { Some(pass(work, &batch)?) };
    Ok(Passed { records, tokens, found })
}

/// A pass over as many of the first rows as the plan and the device's memory allow (training.md M9).
fn pass_over_first(work: Work<'_>, rows: &[Row<'_>]) -> Result<Passed, WorkError> {
    let mut records = device::fits(work.micro_batch).min(rows.len());
    loop {
        match pass_over(work, &rows[..records]) {
            Ok(passed) => return Ok(passed),
            Err(e) => {
                let said = Box::new(e.out_of_memory()?);
                records = device::halve(records).ok_or(WorkError::Memory(said))?;
            }
        }
    }
}

/// A pass over as many of the first rows as the plan says, whatever the device is known to hold.
fn pass_over_planned(work: Work<'_>, rows: &[Row<'_>]) -> Result<Passed, WorkError> {
    let records = work.micro_batch.min(rows.len()).max(1);
    pass_over(work, &rows[..records]).map_err(WorkError::of_smallest_pass)
}

/// Computes each unit's gradient and hands it to `take` with the unit's loss, in order. Returns the tokens read.
///
/// No step of this mixes records: a unit's blocks are bitwise the same whatever else is in the batch.
pub(crate) fn unit_gradients(work: Work<'_>, units: &[&UnitExamples], take: &mut Take<'_>) -> Result<usize, WorkError> {
    gradients(work, units, pass_over_first, take)
}

/// The same with no pass smaller than planned, to find out whether there is room for it: [`WorkError::Memory`] if not, and the device does
/// not remember it.
pub(crate) fn unit_gradients_as_planned(work: Work<'_>, units: &[&UnitExamples], take: &mut Take<'_>) -> Result<usize, WorkError> {
    gradients(work, units, pass_over_planned, take)
}

/// A pass over some of the first rows.
type Over = fn(Work<'_>, &[Row<'_>]) -> Result<Passed, WorkError>;

fn gradients(work: Work<'_>, units: &[&UnitExamples], over: Over, take: &mut Take<'_>) -> Result<usize, WorkError> {
    let mut unit = UnitGradient::new(work.table);
    let (mut unit_loss, mut tokens) = (0.0, 0);
    let rows = rows(units, work);
    let mut left = &rows[..];
    while !left.is_empty() {
        let passed = over(work, left)?;
        tokens += passed.tokens;
        let (now, later) = left.split_at(passed.records);
        left = later;
        let mut at = 0;
        for row in now {
            if let (Some(_), Some((captures, losses))) = (row.record, &passed.found) {
                unit.add_record(captures, at, row.share)?;
                unit_loss += f64::from(losses[at] * row.share);
                at += 1;
            }
            if row.last {
                take(&unit.blocks(), unit_loss)?;
                unit.clear();
                unit_loss = 0.0;
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::{Accumulate, Rounding};

    #[test]
    fn a_small_machine_reads_less_at_once_where_that_changes_nothing() {
        let workers = |most: usize| Workers::start(NonZeroUsize::MIN).unwrap().reading_at_most(NonZeroUsize::new(most).unwrap());
        let book_keeping = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Nearest };
        let at_once = |most, path| workers(most).records_at_once(8, path);
        assert_eq!([at_once(3, ClipPath::Exact), at_once(99, ClipPath::Exact), at_once(3, book_keeping)], [3, 8, 8]);
        assert_eq!(Workers::start(NonZeroUsize::MIN).unwrap().records_at_once(8, ClipPath::Exact), 8);
    }
}
