//! Names, shapes and places of all trainable numbers: the model as one flat vector. Knows no arithmetic.

use candle_core::{Device, Tensor};
use protocol::plan::{EncoderConfig, TensorSpec};
use std::ops::Range;
use std::sync::Arc;

/// Most trainable coordinates: 2^30 numbers are 4 GiB, more than the per-unit path is meant for.
pub const MAX_COORDINATES: usize = 1 << 30;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// All 0: shifts.
    Zero,
    /// All 1: gains.
    One,
    /// Bell-shaped around 0 with this deviation.
    Spread(f32),
}

/// One tensor of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Module path, for example `encoder.layers.0.attention.qkv.weight`.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// First coordinate in the flat vector.
    pub offset: usize,
    /// First values.
    pub start: Start,
}

impl Parameter {
    /// Number of coordinates.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Coordinates in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
    /// As a plan's shard table spells it.
    pub fn spec(&self) -> TensorSpec {
        // Every dimension came from a u32 of the configuration, or three times one below 2^30 / 4.
        let shape = self.shape.iter().map(|&d| u32::try_from(d).unwrap_or(u32::MAX)).collect();
        TensorSpec { name: self.name.clone(), shape }
    }
}

/// A model that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Vocabulary, length, width, heads, layers, hidden width or classes are 0, or the heads do not divide the width.
    #[error("width {width} must be a positive multiple of {heads} heads, and no size of the model may be 0")]
    Sizes {
        /// Width C.
        width: u32,
        /// Heads H.
        heads: u32,
    },
    /// More than [`MAX_COORDINATES`].
    #[error("the model has more than {MAX_COORDINATES} trainable coordinates")]
    TooLarge,
    /// A flat vector of another length.
    #[error("got {got} weights, expected {expected}")]
    Length {
        /// Coordinates given.
        got: usize,
        /// Coordinates of the model.
        expected: usize,
    },
    /// A weight that is NaN or infinite.
    #[error("weight {0} is not a finite number")]
    NonFinite(usize),
}

/// A size of the configuration as an index.
pub(crate) fn size(n: u32) -> usize {
    usize::try_from(n).expect("an index has at least 32 bits")
}

/// All trainable tensors in order: token embeddings, position embeddings, then everything else.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterTable {
    parameters: Vec<Parameter>,
    len: usize,
}

impl ParameterTable {
    /// The table of a model.
    ///
    /// # Errors
    /// [`ModelError::Sizes`] and [`ModelError::TooLarge`].
    pub fn new(config: &EncoderConfig) -> Result<Self, ModelError> {
        let c = config;
        let positive = [c.vocab, c.max_tokens, c.width, c.heads, c.layers, c.hidden].iter().all(|&n| n > 0) && !c.classes.is_empty();
        if !positive || !c.width.is_multiple_of(c.heads) {
            return Err(ModelError::Sizes { width: c.width, heads: c.heads });
        }
        // Checked in u128 before anything is listed: products of u32 could wrap, and 2^32 layers would fill memory.
        let [v, t, w, f, l] = [c.vocab, c.max_tokens, c.width, c.hidden, c.layers].map(u128::from);
        let classes = c.classes.len() as u128;
        let total = (v + t) * w + l * (4 * w * w + 2 * f * w + 9 * w + f) + 2 * w + classes * (w + 1);
        if total > MAX_COORDINATES as u128 {
            return Err(ModelError::TooLarge);
        }
        let mut table = Self { parameters: Vec::new(), len: 0 };
        super::encoder::declare(config, &mut table);
        Ok(table)
    }

    /// Adds a tensor after the last one.
    pub(crate) fn add(&mut self, name: String, shape: &[usize], start: Start) {
        let parameter = Parameter { name, shape: shape.to_vec(), offset: self.len, start };
        self.len += parameter.len();
        self.parameters.push(parameter);
    }

    /// Coordinates of the whole model, d.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Never true for a table made by [`Self::new`].
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// All tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter()
    }
    /// The tensor of this name.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }
    /// Everything but the two embedding tables.
    pub(crate) fn after_embeddings(&self) -> &[Parameter] {
        &self.parameters[2..]
    }
    /// Coordinates of matrices: those that weight decay applies to (gains and shifts are left alone).
    pub fn matrices(&self) -> Vec<Range<usize>> {
        self.parameters.iter().filter(|p| p.shape.len() > 1).map(Parameter::range).collect()
    }
}

/// One version of a model: its configuration and all its numbers.
#[derive(Clone, PartialEq)]
pub struct Weights {
    config: EncoderConfig,
    table: Arc<ParameterTable>,
    flat: Vec<f32>,
}

impl Weights {
    /// A flat vector as a model.
    ///
    /// # Errors
    /// [`ModelError`] for an impossible model, a wrong length or a number that is not finite.
    pub fn new(config: &EncoderConfig, flat: Vec<f32>) -> Result<Self, ModelError> {
        let table = ParameterTable::new(config)?;
        if flat.len() != table.len() {
            return Err(ModelError::Length { got: flat.len(), expected: table.len() });
        }
        if let Some(at) = flat.iter().position(|w| !w.is_finite()) {
            return Err(ModelError::NonFinite(at));
        }
        Ok(Self { config: config.clone(), table: Arc::new(table), flat })
    }

    /// The model's configuration.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }
    /// Names and places.
    pub fn table(&self) -> &ParameterTable {
        &self.table
    }
    /// All numbers in the table's order.
    pub fn flat(&self) -> &[f32] {
        &self.flat
    }
    /// All numbers, to be changed by an optimiser.
    pub(crate) fn flat_mut(&mut self) -> &mut [f32] {
        &mut self.flat
    }

    /// A copy of one tensor, and its first coordinate.
    pub(crate) fn tensor(&self, name: &str) -> candle_core::Result<(Tensor, usize)> {
        let Some(parameter) = self.table.find(name) else { candle_core::bail!("the model has no parameter {name}") };
        let tensor = Tensor::from_slice(&self.flat[parameter.range()], parameter.shape.as_slice(), &Device::Cpu)?;
        Ok((tensor, parameter.offset))
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} numbers)", self.flat.len())
    }
}
