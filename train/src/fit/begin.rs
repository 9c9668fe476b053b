//! Where a run begins that goes on with an earlier one's weights: tensors of equal name and shape are taken, all others stay as the seed has
//! them. Knows no file system.

use super::Fit;
use super::state::{AVERAGE, FORMAT, LAYOUT, WEIGHTS, finite};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Bytes that no run can begin from. Names tensors and shapes, never numbers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EarlierError {
    /// Not safetensors, or cut off.
    #[error("not a whole file in safetensors format")]
    Format(#[from] SafeTensorError),
    /// A state that does not say where its tensors lie.
    #[error(
        "the state does not say which tensors it holds, expected a list of names and shapes: take best.safetensors, which lies beside it"
    )]
    Layout,
    /// A state whose weights are not what it says.
    #[error("the state has {got} weights, expected as many as the tensors that it lists have")]
    Length {
        /// Numbers of the state.
        got: usize,
    },
    /// A tensor of other numbers.
    #[error("tensor {name:?} is of {found}, expected F32")]
    Type {
        /// As the file has it.
        name: String,
        /// Type of its numbers.
        found: String,
    },
    /// A tensor with a number that is NaN or infinite.
    #[error("tensor {0:?} has a number that is not finite")]
    NonFinite(String),
    /// A tensor of the model that has another shape in the file.
    #[error("tensor {name} has the shape {found:?}, expected {expected:?}")]
    Shape {
        /// Of the model.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// In the model.
        expected: Vec<usize>,
    },
    /// Not one tensor of the model.
    #[error("no tensor of the model is in the file: found {found}, expected {expected}")]
    Nothing {
        /// In the file: how many, and the first names.
        found: String,
        /// In the model: the same.
        expected: String,
    },
    /// A run that is under way.
    #[error("the run has taken {0} steps, expected none")]
    UnderWay(u64),
}

/// What a run took of an earlier one's weights, by the names of tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// As in the file, in the model's order.
    pub taken: Vec<String>,
    /// Of the model and not in the file: they begin from the seed.
    pub fresh: Vec<String>,
    /// In the file and not of the model.
    pub unused: Vec<String>,
}

struct Found {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Fit {
    /// Takes the weights that have the same names as this model's from a snapshot, or from a state, of which those that are judged. The optimiser
    /// remembers nothing of the earlier run.
    ///
    /// # Errors
    /// [`EarlierError`]; nothing is changed then.
    pub fn begin_from(&mut self, bytes: &[u8]) -> Result<Taken, EarlierError> {
        if self.step > 0 {
            return Err(EarlierError::UnderWay(self.step));
        }
        let mut found = tensors(bytes)?;
        let mut weights = self.weights.clone();
        let (mut taken, mut fresh) = (Vec::new(), Vec::new());
        for p in self.table.iter() {
            match found.remove(&p.name) {
                Some(Found { shape, values }) if shape == p.shape => {
                    weights[p.range()].copy_from_slice(&values);
                    taken.push(p.name.clone());
                }
                Some(Found { shape, .. }) => {
                    return Err(EarlierError::Shape { name: p.name.clone(), found: shape, expected: p.shape.clone() });
                }
                None => fresh.push(p.name.clone()),
            }
        }
        let unused: Vec<String> = found.into_keys().collect();
        if taken.is_empty() {
            return Err(EarlierError::Nothing { found: few(&unused), expected: few(&fresh) });
        }
        if !self.average.is_empty() {
            self.average.clone_from(&weights);
        }
        self.weights = weights;
        Ok(Taken { taken, fresh, unused })
    }
}

/// Enough names to see what a file is.
fn few(names: &[String]) -> String {
    let first: Vec<&String> = names.iter().take(3).collect();
    format!("{} tensors that begin with {first:?}", names.len())
}

/// All tensors of a snapshot, or of the weights of a state.
fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Found>, EarlierError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let notes = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes)?;
    if notes.get("format").is_some_and(|format| format == FORMAT) {
        return of_state(&file, notes.get(LAYOUT).map(String::as_str));
    }
    let one = |(name, view): (String, TensorView<'_>)| {
        let values = floats(&name, &view)?;
        Ok((name, Found { shape: view.shape().to_vec(), values }))
    };
    file.tensors().into_iter().map(one).collect()
}

/// A state holds one vector, and beside it the list of what lies in it.
fn of_state(file: &SafeTensors<'_>, layout: Option<&str>) -> Result<BTreeMap<String, Found>, EarlierError> {
    let layout: Vec<(String, Vec<usize>)> = layout.and_then(|text| serde_json::from_str(text).ok()).ok_or(EarlierError::Layout)?;
    let values = match file.tensor(AVERAGE) {
        Ok(average) => floats(AVERAGE, &average)?,
        Err(_) => floats(WEIGHTS, &file.tensor(WEIGHTS)?)?,
    };
    // Shapes come from the file: their product may be more than a number holds.
    let product = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let mut rest = values.as_slice();
    let mut found = BTreeMap::new();
    for (name, shape) in layout {
        let these = product(&shape).and_then(|len| rest.split_at_checked(len));
        let (these, after) = these.ok_or(EarlierError::Length { got: values.len() })?;
        rest = after;
        found.insert(name, Found { shape, values: these.to_vec() });
    }
    if rest.is_empty() { Ok(found) } else { Err(EarlierError::Length { got: values.len() }) }
}

fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, EarlierError> {
    if view.dtype() != Dtype::F32 {
        return Err(EarlierError::Type { name: name.to_owned(), found: format!("{:?}", view.dtype()) });
    }
    finite(view).ok_or_else(|| EarlierError::NonFinite(name.to_owned()))
}
