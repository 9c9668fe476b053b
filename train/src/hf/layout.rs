//! How published files lay a model's tensors out: GPT-2 keeps its matrices transposed, and some files spell names in an older way.

use super::file::{self, FileError, Tensors, Written};
use crate::model::names::Spelling;
use crate::model::parameters::Parameter;

/// How a matrix lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As here: (out, in).
    Straight,
    /// (in, out).
    Transposed,
}

/// GPT-2's linear layers are one-dimensional convolutions, whose weight is (in, out).
pub(crate) fn way(spelling: Spelling, name: &str) -> Way {
    let layer = ["attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"];
    match spelling {
        Spelling::Gpt2 if layer.iter().any(|end| name.ends_with(end)) => Way::Transposed,
        Spelling::Own | Spelling::Bert | Spelling::Gpt2 | Spelling::Llama | Spelling::T5 => Way::Straight,
    }
}

/// Names that the same tensor has in other files: without the model's own prefix, with the old words for gain and shift, or under one of
/// the places that share it.
fn spellings(spelling: Spelling, name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    let prefix = match spelling {
        Spelling::Bert => Some("bert."),
        Spelling::Gpt2 => Some("transformer."),
        Spelling::Llama => Some("model."),
        Spelling::Own | Spelling::T5 => None,
    };
    if let Some(bare) = prefix.and_then(|prefix| name.strip_prefix(prefix)) {
        all.push(bare.to_owned());
    }
    match spelling {
        Spelling::Bert => {
            let old = |name: &String| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            all.extend(all.iter().map(old).collect::<Vec<_>>());
            if name == "cls.predictions.bias" {
                all.push("cls.predictions.decoder.bias".into());
            }
        }
        Spelling::T5 if name == "shared.weight" => all.push("encoder.embed_tokens.weight".into()),
        Spelling::Own | Spelling::Gpt2 | Spelling::Llama | Spelling::T5 => {}
    }
    all
}

fn turned(shape: &[usize], way: Way) -> Vec<usize> {
    match way {
        Way::Straight => shape.to_vec(),
        Way::Transposed => shape.iter().rev().copied().collect(),
    }
}

/// The name under which the file has this tensor, its shape checked.
pub(crate) fn find(spelling: Spelling, parameter: &Parameter, tensors: &Tensors<'_>) -> Result<(String, Way), FileError> {
    let name = spellings(spelling, &parameter.name).into_iter().find(|name| tensors.has(name));
    let (name, way) = (name.unwrap_or_else(|| parameter.name.clone()), way(spelling, &parameter.name));
    tensors.expect(&name, &turned(&parameter.shape, way))?;
    Ok((name, way))
}

/// Copies a tensor of this shape, the model's, into its place.
pub(crate) fn copy(tensors: &Tensors<'_>, name: &str, way: Way, shape: &[usize], out: &mut [f32]) -> Result<(), FileError> {
    let tensor = tensors.expect(name, &turned(shape, way))?;
    match (way, shape) {
        (Way::Transposed, &[outputs, inputs]) => {
            let mut lying = vec![0.0; out.len()];
            file::copy(&tensor, &mut lying);
            out.copy_from_slice(&transposed(&lying, (inputs, outputs)));
        }
        (Way::Straight | Way::Transposed, _) => file::copy(&tensor, out),
    }
    Ok(())
}

/// The transpose of a row-major matrix of this shape.
fn transposed(x: &[f32], (rows, cols): (usize, usize)) -> Vec<f32> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| x[row * cols + col])).collect()
}

/// A tensor as the file has it.
pub(crate) fn lay(spelling: Spelling, parameter: &Parameter, values: &[f32]) -> Written {
    let way = way(spelling, &parameter.name);
    let shape = turned(&parameter.shape, way);
    match (way, &parameter.shape[..]) {
        (Way::Transposed, &[outputs, inputs]) => Written::new(parameter.name.clone(), shape, transposed(values, (outputs, inputs))),
        (Way::Straight | Way::Transposed, _) => Written::new(parameter.name.clone(), shape, values.iter().copied()),
    }
}
