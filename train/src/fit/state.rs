//! A run at rest: weights, their running mean, the optimiser's memory and the step's number as safetensors bytes. Knows no file system.

use super::Fit;
use crate::model::ParameterTable;
use crate::optim::OptimiserState;
use crate::workers::NON_FINITE_LIMIT;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::HashMap;

/// Version of the format; stands in the metadata.
pub(super) const FORMAT: &str = "concordat-fit-1";
/// The vector that is trained.
pub(super) const WEIGHTS: &str = "weights";
/// Its running mean, where there is one.
pub(super) const AVERAGE: &str = "average";
/// Names and shapes of what lies in these vectors, in order; for a run that begins from them (`begin`). Stands in the metadata.
pub(super) const LAYOUT: &str = "tensors";

/// Bytes that no run can go on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not safetensors.
    #[error("not in safetensors format")]
    Format(#[from] SafeTensorError),
    /// Of another plan, other data or another beginning, or of another version.
    #[error("the state is of another run: {field} is {found}, expected {expected}")]
    OtherRun {
        /// What differs.
        field: &'static str,
        /// In the state.
        found: String,
        /// Of this run.
        expected: String,
    },
    /// A vector that is missing or has another length.
    #[error("{0} is missing or has another length than the model")]
    Vector(&'static str),
    /// A number that is missing, NaN or infinite, or that no run leaves behind.
    #[error("{0} is missing or no number that a run leaves behind")]
    Number(&'static str),
}

fn layout(table: &ParameterTable) -> String {
    table.iter().map(|p| vec![Value::from(p.name.as_str()), Value::from(p.shape.clone())]).collect::<Value>().to_string()
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The numbers of a tensor of 32-bit floats; none if one of them is not finite.
pub(super) fn finite(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let values: Vec<f32> = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    values.iter().all(|v| v.is_finite()).then_some(values)
}

fn vector(file: &SafeTensors<'_>, name: &'static str, expected: usize) -> Result<Vec<f32>, StateError> {
    let tensor = file.tensor(name).map_err(|_| StateError::Vector(name))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != [expected] {
        return Err(StateError::Vector(name));
    }
    finite(&tensor).ok_or(StateError::Number(name))
}

impl Fit {
    /// Everything that the next step depends on. `run` names plan and data; `best` is whatever the caller measures
    /// its best snapshot by.
    ///
    /// # Errors
    /// [`StateError::Format`] if the format refuses, which it does for no model that exists.
    pub fn to_bytes(&self, run: &str, best: Option<f64>) -> Result<Vec<u8>, StateError> {
        let mut vectors = vec![(WEIGHTS, bytes_of(&self.weights))];
        let mut notes = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("run".to_owned(), run.to_owned()),
            ("step".to_owned(), self.step.to_string()),
            ("in_a_row".to_owned(), self.in_a_row.to_string()),
            (LAYOUT.to_owned(), layout(&self.table)),
        ]);
        if let Some(best) = best {
            notes.insert("best".to_owned(), format!("{best:e}"));
        }
        match &self.optimiser {
            OptimiserState::AdamW { mean, square, steps, .. } => {
                vectors.extend([("mean", bytes_of(mean)), ("square", bytes_of(square))]);
                notes.insert("optimiser_steps".to_owned(), steps.to_string());
            }
            OptimiserState::Sgd { velocity, .. } => vectors.push(("velocity", bytes_of(velocity))),
        }
        if !self.average.is_empty() {
            vectors.push((AVERAGE, bytes_of(&self.average)));
        }
        let tensors = vectors
            .iter()
            .map(|(name, bytes)| Ok((*name, TensorView::new(Dtype::F32, vec![self.weights.len()], bytes)?)))
            .collect::<Result<Vec<_>, SafeTensorError>>()?;
        Ok(safetensors::serialize(tensors, Some(notes))?)
    }

    /// Goes on from a state; returns the `best` that stands in it.
    ///
    /// # Errors
    /// [`StateError`]; nothing is changed then.
    pub fn resume(&mut self, bytes: &[u8], run: &str) -> Result<Option<f64>, StateError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let notes = header.metadata().clone().unwrap_or_default();
        let note = |name: &str| notes.get(name).cloned().unwrap_or_default();
        for (field, expected) in [("format", FORMAT), ("run", run)] {
            if note(field) != expected {
                return Err(StateError::OtherRun { field, found: note(field), expected: expected.to_owned() });
            }
        }
        let number = |name: &'static str| note(name).parse::<u64>().map_err(|_| StateError::Number(name));
        let (file, len) = (SafeTensors::deserialize(bytes)?, self.weights.len());
        let weights = vector(&file, WEIGHTS, len)?;
        let optimiser = match &self.optimiser {
            OptimiserState::AdamW { betas, .. } => OptimiserState::AdamW {
                mean: vector(&file, "mean", len)?,
                square: vector(&file, "square", len)?,
                steps: number("optimiser_steps")?,
                betas: *betas,
            },
            OptimiserState::Sgd { momentum, look, .. } => {
                OptimiserState::Sgd { velocity: vector(&file, "velocity", len)?, momentum: *momentum, look: *look }
            }
        };
        let average = if self.average.is_empty() { Vec::new() } else { vector(&file, AVERAGE, len)? };
        let (step, in_a_row) = (number("step")?, number("in_a_row")?);
        // One more ends the run, so no state has as many.
        let in_a_row = usize::try_from(in_a_row).ok().filter(|n| *n < NON_FINITE_LIMIT).ok_or(StateError::Number("in_a_row"))?;
        let best = match notes.get("best") {
            Some(best) => Some(best.parse::<f64>().ok().filter(|b| b.is_finite()).ok_or(StateError::Number("best"))?),
            None => None,
        };
        (self.weights, self.average, self.optimiser, self.step) = (weights, average, optimiser, step);
        self.in_a_row = in_a_row;
        Ok(best)
    }
}
