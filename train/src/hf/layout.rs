//! How published files lay a model's tensors out: GPT-2 keeps its matrices transposed, and some files spell names in another way.

use super::file::{self, FileError, Tensors, Written};
use crate::model::names::Spelling;
use crate::model::parameters::{Access, Parameter};

/// How a tensor lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As here; a matrix (out, in).
    Straight,
    /// (in, out).
    Transposed,
    /// One row of a matrix: (1, length).
    Row,
    /// Not at all: its numbers are all zero.
    Absent,
}

/// GPT-2's linear layers are one-dimensional convolutions, whose weight is (in, out); BART adds a row to its scores.
pub(crate) fn way(spelling: Spelling, name: &str) -> Way {
    let layer = ["attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"];
    match spelling {
        Spelling::Gpt2 if layer.iter().any(|end| name.ends_with(end)) => Way::Transposed,
        Spelling::Bart if spelling.head_shift() == Some(name) => Way::Row,
        Spelling::Own | Spelling::Bert | Spelling::Gpt2 | Spelling::Llama | Spelling::T5 | Spelling::Bart => Way::Straight,
    }
}

/// What published files leave out where it is zero: BART was trained without what its later form adds to scores.
fn may_lack(spelling: Spelling, name: &str) -> bool {
    spelling.head_shift() == Some(name)
}

/// Names that the same tensor has in other files: without the model's own prefix, with the old words for gain and shift, or under one of
/// the places that share it.
fn spellings(spelling: Spelling, parameter: &Parameter) -> Vec<String> {
    let name = &parameter.name;
    let mut all = vec![name.clone()];
    if name == spelling.tokens() {
        all.extend(sharing(spelling, parameter.access).iter().map(|&name| name.to_owned()));
    }
    let prefix = match spelling {
        Spelling::Bert => Some("bert."),
        Spelling::Gpt2 => Some("transformer."),
        Spelling::Llama | Spelling::Bart => Some("model."),
        Spelling::Own | Spelling::T5 => None,
    };
    let bare: Vec<String> =
        prefix.map(|prefix| all.iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()).unwrap_or_default();
    all.extend(bare);
    match spelling {
        Spelling::Bert => {
            let old = |name: &String| name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            all.extend(all.iter().map(old).collect::<Vec<_>>());
            if name == "cls.predictions.bias" {
                all.push("cls.predictions.decoder.bias".into());
            }
        }
        Spelling::Own | Spelling::Gpt2 | Spelling::Llama | Spelling::T5 | Spelling::Bart => {}
    }
    all
}

/// Other places of the table of tokens, one of which some writers keep in its stead: both stacks, and the head where it is tied.
fn sharing(spelling: Spelling, access: Access) -> &'static [&'static str] {
    match (spelling, access) {
        (Spelling::Bart, Access::RowsAndWhole) => {
            &["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"]
        }
        (Spelling::T5, Access::RowsAndWhole) => &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"],
        (Spelling::T5, Access::Rows | Access::Whole) => &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
        (Spelling::Gpt2 | Spelling::Llama, Access::RowsAndWhole) => &["lm_head.weight"],
        (Spelling::Bert, Access::RowsAndWhole) => &["cls.predictions.decoder.weight"],
        (Spelling::Own, _) | (Spelling::Bart | Spelling::Gpt2 | Spelling::Llama | Spelling::Bert, Access::Rows | Access::Whole) => &[],
    }
}

fn turned(shape: &[usize], way: Way) -> Vec<usize> {
    match way {
        Way::Straight | Way::Absent => shape.to_vec(),
        Way::Transposed => shape.iter().rev().copied().collect(),
        Way::Row => std::iter::once(1).chain(shape.iter().copied()).collect(),
    }
}

/// The name under which the file has this tensor, its shape checked.
pub(crate) fn find(spelling: Spelling, parameter: &Parameter, tensors: &Tensors<'_>) -> Result<(String, Way), FileError> {
    let name = spellings(spelling, parameter).into_iter().find(|name| tensors.has(name));
    if name.is_none() && may_lack(spelling, &parameter.name) {
        return Ok((parameter.name.clone(), Way::Absent));
    }
    let (name, way) = (name.unwrap_or_else(|| parameter.name.clone()), way(spelling, &parameter.name));
    tensors.expect(&name, &turned(&parameter.shape, way))?;
    Ok((name, way))
}

/// Copies a tensor of this shape, the model's, into its place.
pub(crate) fn copy(tensors: &Tensors<'_>, name: &str, way: Way, shape: &[usize], out: &mut [f32]) -> Result<(), FileError> {
    if way == Way::Absent {
        out.fill(0.0);
        return Ok(());
    }
    let tensor = tensors.expect(name, &turned(shape, way))?;
    match (way, shape) {
        (Way::Transposed, &[outputs, inputs]) => {
            let mut lying = vec![0.0; out.len()];
            file::copy(&tensor, &mut lying);
            out.copy_from_slice(&transposed(&lying, (inputs, outputs)));
        }
        (Way::Straight | Way::Transposed | Way::Row | Way::Absent, _) => file::copy(&tensor, out),
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
        (Way::Straight | Way::Transposed | Way::Row | Way::Absent, _) => {
            Written::new(parameter.name.clone(), shape, values.iter().copied())
        }
    }
}
