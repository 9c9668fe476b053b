//! The gradient of one batch on all workers, and the way out when it is not finite.

use super::FitError;
use super::engine::Engine;
use super::order::{Item, reading};
use crate::device;
use crate::direct::Scratch;
use crate::kernels::sums;
use crate::workers::Workers;

/// One worker's memory.
pub(super) struct Lane {
    pub(super) grad: Vec<f32>,
    scratch: Scratch,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { grad: Vec::new(), scratch: Scratch::new() }
    }

    pub(super) fn scratch(&mut self) -> &mut Scratch {
        &mut self.scratch
    }

    fn clear(&mut self, dimension: usize) {
        self.grad.resize(dimension, 0.0);
        self.grad.fill(0.0);
    }
}

/// What all workers read.
pub(super) struct Job<'a> {
    pub(super) engine: Engine<'a>,
    pub(super) weights: &'a [f32],
    pub(super) items: &'a [Item<'a>],
    pub(super) max_tokens: usize,
}

/// Losses in the order of the batch; none where one is not finite.
pub(super) struct Found {
    pub(super) losses: Vec<Option<f64>>,
    pub(super) tokens: usize,
}

/// A record's part in the mean over the batch.
#[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 records")]
fn share(items: usize) -> f32 {
    (items.max(1) as f32).recip()
}

/// One worker's losses: which item, and how much.
type Part = Result<(Vec<(usize, f64)>, usize), FitError>;

/// The parts of one worker: every `lanes`-th pass, so that who computes what does not depend on who is faster.
fn work(job: &Job<'_>, micro: usize, (number, lanes): (usize, usize), lane: &mut Lane) -> Part {
    lane.clear(job.weights.len());
    let (mut losses, mut tokens) = (Vec::new(), 0);
    for (pass, items) in job.items.chunks(micro).enumerate().skip(number).step_by(lanes) {
        let (mut left, mut at, mut most) = (items, pass * micro, device::fits(items.len()));
        while !left.is_empty() {
            let (now, later) = left.split_at(most.min(left.len()));
            let reading = reading(now, job.max_tokens);
            let weights = (number, job.weights);
            match job.engine.gradient(weights, (&reading, share(job.items.len())), &mut lane.scratch, &mut lane.grad) {
                Ok(found) => {
                    tokens += reading.rows();
                    losses.extend(found.into_iter().enumerate().map(|(i, loss)| (at + i, loss)));
                    (left, at) = (later, at + now.len());
                }
                // There was no room: the same again with half as many (training.md M9).
                Err(e) => {
                    let said = e.out_of_memory()?;
                    most = device::halve(now.len()).ok_or(FitError::Memory(Box::new(said)))?;
                }
            }
        }
    }
    Ok((losses, tokens))
}

/// Gradient of the mean loss, in the first lane. Sums of the lanes are added in their order: the same seed and number of workers give
/// the same bits.
pub(super) fn sum(job: &Job<'_>, micro: usize, lanes: &mut [Lane], workers: &Workers) -> Result<Found, FitError> {
    let count = lanes.len();
    let parts = workers.each(lanes, |number, lane| work(job, micro, (number, count), lane));
    let mut found = Found { losses: vec![None; job.items.len()], tokens: 0 };
    for part in parts {
        let (losses, tokens) = part?;
        found.tokens += tokens;
        losses.into_iter().for_each(|(i, loss)| found.losses[i] = Some(loss).filter(|l| l.is_finite()));
    }
    if let Some((first, rest)) = lanes.split_first_mut() {
        rest.iter().for_each(|lane| sums::add(&mut first.grad, &lane.grad));
    }
    Ok(found)
}

/// The same record by record, leaving out those whose loss or gradient is not finite; they still count in the mean (training.md M14).
pub(super) fn one_by_one(job: &Job<'_>, lanes: &mut Vec<Lane>) -> Result<Found, FitError> {
    lanes.resize_with(lanes.len().max(2), Lane::new);
    let [total, single, ..] = lanes.as_mut_slice() else { return Err(FitError::Nothing) };
    total.clear(job.weights.len());
    let mut found = Found { losses: Vec::with_capacity(job.items.len()), tokens: 0 };
    for item in job.items {
        single.clear(job.weights.len());
        let reading = reading(&[*item], job.max_tokens);
        found.tokens += reading.rows();
        let losses = job.engine.gradient((0, job.weights), (&reading, share(job.items.len())), &mut single.scratch, &mut single.grad)?;
        let finite = losses.iter().all(|l| l.is_finite()) && sums::squares(&single.grad).is_finite();
        if finite {
            sums::add(&mut total.grad, &single.grad);
        }
        found.losses.push(losses.first().copied().filter(|_| finite));
    }
    Ok(found)
}
