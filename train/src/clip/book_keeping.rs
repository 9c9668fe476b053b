//! Book-Keeping (Bu et al. 2023, arXiv 2210.00038; privacy.md D36): one forward pass with captures, one backward pass of the summed
//! objective, norms, factors, one weighted product per layer. Clipped, but not yet on the grid and not noised: the sum cannot be read.

use super::guard::Guarded;
use super::{norms, weighted};
use crate::batch::{Batch, Spans, UnitExamples};
use crate::capture::{Captures, Tape};
use crate::workers::{Row, Work, WorkError, rows};
use candle_core::Tensor;
use privacy::bound::{ClippedSum, UnitOutcome};

/// What one backward pass of whole units leaves behind.
pub(crate) struct Passed {
    /// None if no unit has a token.
    pub(crate) captures: Option<Captures>,
    /// Which records are whose.
    pub(crate) units: Spans,
    /// Loss of each unit: mean or sum of its records', as the plan says.
    pub(crate) losses: Vec<f64>,
    /// Tokens read.
    pub(crate) tokens: usize,
}

/// Forward and backward pass of all records of these units, each weighted by its share in its unit, so that gradients are those of the
/// units' objectives.
pub(crate) fn pass(work: Work<'_>, units: &[&UnitExamples]) -> Result<Passed, WorkError> {
    let rows = rows(units, work);
    let records: Vec<&Row<'_>> = rows.iter().filter(|r| r.record.is_some()).collect();
    let spans = Spans::of(rows.chunk_by(|a, _| !a.last).map(|unit| unit.iter().filter(|r| r.record.is_some()).count()));
    let batch = Batch::pack(records.iter().filter_map(|r| r.record), work.max_tokens);
    if batch.tokens.is_empty() {
        // The engine records nothing for tensors without numbers.
        return Ok(Passed { captures: None, losses: vec![0.0; spans.records()], units: spans, tokens: 0 });
    }
    let shares: Vec<f32> = records.iter().map(|r| r.share).collect();
    let tape = Tape::on();
    let losses = work.objective.losses(&batch, &tape)?;
    let shares = Tensor::from_vec(shares, records.len(), losses.device())?;
    let weighted = (losses * shares)?; // (B)
    let captures = tape.finish(&weighted.sum_all()?.backward()?, work.table)?;
    let weighted = weighted.to_vec1::<f32>()?;
    let losses = spans.iter().map(|records| weighted[records].iter().map(|&l| f64::from(l)).sum()).collect();
    Ok(Passed { captures: Some(captures), units: spans, losses, tokens: batch.tokens.len() })
}

/// What became of a micro-batch. Computed from records without noise: stays inside the institution.
pub(crate) struct Taken {
    /// Of each unit.
    pub(crate) outcomes: Vec<UnitOutcome>,
    /// Loss of each unit.
    pub(crate) losses: Vec<f64>,
    /// Tokens read.
    pub(crate) tokens: usize,
}

/// Clips every unit of a micro-batch and adds it to the sum.
///
/// A unit whose loss or norm is not finite contributes 0 and still counts as present (D38, training.md M14). What becomes of a unit does
/// not depend on the others: kernels walk record by record.
pub(crate) fn add(work: Work<'_>, units: &[&UnitExamples], sum: &mut ClippedSum) -> Result<Taken, WorkError> {
    let Passed { captures, units: spans, losses, tokens } = pass(work, units).map_err(WorkError::of_smallest_pass)?;
    let Some(captures) = captures else { return Ok(Taken { outcomes: vec![UnitOutcome::Added; units.len()], losses, tokens }) };
    let squares = norms::squares(&captures, &spans)?;
    let factor = |(square, loss): (&Guarded, &f64)| if loss.is_finite() { sum.factor(square.upper()) } else { 0.0 };
    let factors: Vec<f64> = squares.iter().zip(&losses).map(factor).collect();
    weighted::add(sum, captures, &spans, &factors)?;
    let outcome = |&c: &f64| if c > 0.0 { UnitOutcome::Added } else { UnitOutcome::NonFinite };
    Ok(Taken { outcomes: factors.iter().map(outcome).collect(), losses, tokens })
}

#[cfg(test)]
#[path = "book_keeping_tests.rs"]
mod tests;
