//! Names, shapes and places of all trainable numbers: the model as one flat vector. Knows no arithmetic.

use super::config::Config;
use super::outside::{InPlace, Outside};
use super::transformer::TransformerWeights;
use crate::device::Site;
use candle_core::{Device, Tensor};
use protocol::plan::{EncoderConfig, TensorSpec};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Most numbers of a model in memory, trained or not: 2^30 are 4 GiB, more than the per-unit path is meant for.
pub const MAX_COORDINATES: usize = 1 << 30;
/// Most numbers of a model on a checkpoint, with those that stay in it: 2^34 are 64 GiB, more than one machine reads at every step.
pub(crate) const MAX_NUMBERS: u128 = 1 << 34;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// All 0: shifts.
    Zero,
    /// All 1: gains.
    One,
    /// Bell-shaped around 0 with this deviation.
    Spread(f32),
    /// Rows of length 1 at right angles to each other: the frozen factor of an adapter (training.md M4).
    Orthonormal,
}

/// How operations read a parameter; decides what a unit's gradient of it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// One operation reads all of it.
    Whole,
    /// One operation looks rows up: a unit touches few of them.
    Rows,
    /// Rows are looked up and all of it is multiplied by: a token table that is also the output head.
    RowsAndWhole,
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
    /// How operations read it.
    pub access: Access,
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
    /// Vocabulary, length, width, heads, layers or hidden width are 0, or the heads do not divide the width.
    #[error("width {width} must be a positive multiple of {heads} heads, and no size of the model may be 0")]
    Sizes {
        /// Width C.
        width: u32,
        /// Heads H.
        heads: u32,
    },
    /// An adapter of rank 0.
    #[error("an adapter of rank 0 has nothing to train")]
    Rank,
    /// More than [`MAX_COORDINATES`] beside what stays in a checkpoint, or more than 2^34 with it.
    #[error("the model has more than {MAX_COORDINATES} numbers beside those that stay in its checkpoint, or more than 2^34 in all")]
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
    /// Tensors that lie in a checkpoint, which nobody has given.
    #[error("{0} tensors of the model lie in its base checkpoint, which was not given")]
    NoBase(usize),
    /// A part of the model that does not exist like this.
    #[error("{part}: got {got}, expected {expected}")]
    Part {
        /// Which.
        part: &'static str,
        /// As given.
        got: String,
        /// What would do.
        expected: &'static str,
    },
}

/// A size of the configuration as an index.
pub(crate) fn size(n: u32) -> usize {
    usize::try_from(n).expect("an index has at least 32 bits")
}

/// The tensors of one flat vector, in order. Tables of which rows are looked up come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterTable {
    parameters: Vec<Parameter>,
    len: usize,
}

/// Which of a model's two flat vectors a tensor is in; or in none, but in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Trained,
    Frozen,
    Outside,
}

/// Which part of a model a tensor is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Tables of tokens and places, and what is done to their rows.
    Tables,
    /// A block, counted from below; those of a decoder after those of its encoder.
    Layer(usize),
    /// The last normalisation and the head.
    Top,
}

/// Which tensors of the model itself are trained; adapters say for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trained {
    /// All.
    #[default]
    All,
    /// None.
    Nothing,
    /// The head alone, as with an adapter under a new classifier.
    Head,
    /// The head, all shifts, and gains and shifts of normalisations.
    HeadsAndBiases,
    /// These blocks, counted from below. A range that reaches the last block takes the last normalisation and the head with it.
    Layers(Range<u32>),
    /// The tensors of these names, factors of adapters among them: the shards of a plan that one institution trains.
    Named(Arc<BTreeSet<String>>),
    /// All, and both factors of every adapter: weights that are kept and summed, of which no gradient is taken.
    Kept,
}

impl Trained {
    /// What adapters' factors are where this says so; elsewhere an adapter says for itself.
    fn factor(&self, name: &str) -> Option<Role> {
        match self {
            Self::Named(names) => Some(if names.contains(name) { Role::Trained } else { Role::Frozen }),
            Self::Kept => Some(Role::Trained),
            Self::All | Self::Nothing | Self::Head | Self::HeadsAndBiases | Self::Layers(_) => None,
        }
    }

    fn role(&self, (part, name): (Part, &str), dimensions: usize, layers: usize) -> Role {
        let trained = match (self, part) {
            (Self::Named(names), _) => names.contains(name),
            (Self::Kept, _) => true,
            (Self::All, _) | (Self::Head | Self::HeadsAndBiases, Part::Top) => true,
            (Self::Nothing, _) | (Self::Head, Part::Tables | Part::Layer(_)) | (Self::Layers(_), Part::Tables) => false,
            (Self::HeadsAndBiases, Part::Tables | Part::Layer(_)) => dimensions == 1,
            (Self::Layers(range), Part::Layer(layer)) => (size(range.start)..size(range.end)).contains(&layer),
            (Self::Layers(range), Part::Top) => !range.is_empty() && size(range.end) == layers,
        };
        if trained { Role::Trained } else { Role::Frozen }
    }
}

/// A model's tensors while its layers list them.
pub(crate) struct Listing {
    pub(crate) trained: ParameterTable,
    pub(crate) frozen: ParameterTable,
    /// What lies in a checkpoint.
    pub(crate) outside: ParameterTable,
    left_out: Option<Arc<BTreeSet<String>>>,
    base: Trained,
    layers: usize,
    part: Part,
}

impl Listing {
    /// Nothing yet, of a model with so many blocks; `base` says what is trained that is not part of an adapter.
    pub(crate) fn new(base: Trained, layers: usize) -> Self {
        let none = ParameterTable::default;
        Self { trained: none(), frozen: none(), outside: none(), left_out: None, base, layers, part: Part::Tables }
    }
    /// The same, with the tensors of these names in a checkpoint.
    pub(crate) fn leaving_out(self, names: Option<Arc<BTreeSet<String>>>) -> Self {
        Self { left_out: names, ..self }
    }
    /// What is listed from here on is in this part.
    pub(crate) fn enter(&mut self, part: Part) {
        self.part = part;
    }
    /// Adds a tensor of the model itself.
    pub(crate) fn add(&mut self, name: String, shape: &[usize], start: Start) {
        self.add_read(name, shape, start, Access::Whole);
    }
    /// Adds a tensor of the model itself that is not just read as a whole.
    pub(crate) fn add_read(&mut self, name: String, shape: &[usize], start: Start, access: Access) {
        let role = match &self.left_out {
            Some(names) if names.contains(&name) => Role::Outside,
            Some(_) | None => self.base.role((self.part, &name), shape.len(), self.layers),
        };
        self.add_to(role, name, shape, start, access);
    }
    /// Adds a tensor of an adapter.
    pub(crate) fn add_factor(&mut self, role: Role, name: String, shape: &[usize], start: Start) {
        let role = self.base.factor(&name).unwrap_or(role);
        self.add_to(role, name, shape, start, Access::Whole);
    }
    fn add_to(&mut self, role: Role, name: String, shape: &[usize], start: Start, access: Access) {
        let table = match role {
            Role::Trained => &mut self.trained,
            Role::Frozen => &mut self.frozen,
            Role::Outside => &mut self.outside,
        };
        let parameter = Parameter { name, shape: shape.to_vec(), offset: table.len, start, access };
        table.len += parameter.len();
        table.parameters.push(parameter);
    }
}

/// The sizes that every family has, as a plan writes them.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) vocab: u32,
    pub(crate) max_tokens: u32,
    pub(crate) width: u32,
    pub(crate) heads: u32,
    pub(crate) layers: u32,
    pub(crate) hidden: u32,
}

impl Sizes {
    /// Checked in u128 before anything is listed: products of u32 could wrap, and 2^32 layers would fill memory.
    /// `per_layer` and `beyond` are coordinates that the family has besides blocks with their biases and norms.
    pub(crate) fn check(self, per_layer: u128, beyond: u128) -> Result<(), ModelError> {
        let Self { vocab, max_tokens, width, heads, layers, hidden } = self;
        let positive = [vocab, max_tokens, width, heads, layers, hidden].iter().all(|&n| n > 0);
        if !positive || !width.is_multiple_of(heads) {
            return Err(ModelError::Sizes { width, heads });
        }
        let [v, t, w, f, l] = [vocab, max_tokens, width, hidden, layers].map(u128::from);
        let total = (v + t) * w + l * (4 * w * w + 2 * f * w + 9 * w + f + per_layer) + 2 * w + beyond;
        if total > MAX_COORDINATES as u128 { Err(ModelError::TooLarge) } else { Ok(()) }
    }
}

impl ParameterTable {
    /// The table of a plan's model: what its snapshots hold.
    ///
    /// # Errors
    /// [`ModelError`] if such a model cannot be built, or not be held in memory.
    pub fn new(config: &EncoderConfig) -> Result<Self, ModelError> {
        let table = Self::listed(config)?;
        if table.len <= MAX_COORDINATES { Ok(table) } else { Err(ModelError::TooLarge) }
    }

    /// The same for names and shapes only: the numbers need not fit into memory.
    ///
    /// # Errors
    /// [`ModelError`] if such a model cannot be built.
    pub(crate) fn listed(config: &EncoderConfig) -> Result<Self, ModelError> {
        Ok(TransformerWeights::tables(&Config::of_plan(config, Trained::Kept)?).0)
    }

    /// Coordinates of the whole vector, d.
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
    /// Where the tables end of which a unit touches single rows: everything from here on is dense in a unit's gradient.
    pub(crate) fn dense_from(&self) -> usize {
        self.parameters.iter().take_while(|p| p.access == Access::Rows).map(Parameter::len).sum()
    }
    /// Coordinates of matrices: those that weight decay applies to (gains and shifts are left alone).
    pub fn matrices(&self) -> Vec<Range<usize>> {
        self.parameters.iter().filter(|p| p.shape.len() > 1).map(Parameter::range).collect()
    }
    /// Refuses a vector of another length or with a number that is not finite.
    pub(crate) fn check(&self, flat: &[f32]) -> Result<(), ModelError> {
        if flat.len() != self.len {
            return Err(ModelError::Length { got: flat.len(), expected: self.len });
        }
        flat.iter().position(|w| !w.is_finite()).map_or(Ok(()), |at| Err(ModelError::NonFinite(at)))
    }
}

/// Where layers read their tensors from: the trained vector, under an adapter the frozen one, and a checkpoint; and where the layers are to
/// live.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) trained: (&'a ParameterTable, &'a [f32]),
    pub(crate) frozen: Option<(&'a ParameterTable, &'a Arc<[f32]>)>,
    pub(crate) outside: Option<&'a Outside>,
    /// None for the processor.
    pub(crate) site: Option<&'a Site>,
}

/// A tensor, and its first coordinate in the trained vector; none if it is frozen.
#[derive(Clone)]
pub(crate) struct Loaded {
    /// The numbers; of a tensor that is read where it lies only the shape.
    pub(crate) tensor: Tensor,
    pub(crate) place: Option<usize>,
    /// Where the numbers lie, if not in the tensor.
    pub(crate) lies: Option<InPlace>,
}

impl Values<'_> {
    /// Whether the model has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let frozen = || self.frozen.is_some_and(|(table, _)| table.find(name).is_some());
        self.trained.0.find(name).is_some() || frozen() || self.outside.is_some_and(|o| o.find(name).is_some())
    }
    /// Whether anything is trained whose name begins like this.
    pub(crate) fn trains(&self, path: &str) -> bool {
        self.trained.0.iter().any(|p| p.name.starts_with(path))
    }
    /// A copy of one tensor; a frozen one is shared and not copied (training.md M12).
    pub(crate) fn load(&self, name: &str) -> candle_core::Result<Loaded> {
        if let Some((outside, frozen)) = self.outside.and_then(|o| o.find(name).map(|frozen| (o, frozen))) {
            return match self.site {
                Some(site) => Ok(Loaded { tensor: site.bring(outside, name, frozen)?, place: None, lies: None }),
                None => frozen.load(),
            };
        }
        let processor = Device::Cpu;
        let device = self.site.map_or(&processor, Site::device);
        if let Some(p) = self.trained.0.find(name) {
            let tensor = Tensor::from_slice(&self.trained.1[p.range()], p.shape.as_slice(), device)?;
            return Ok(Loaded { tensor, place: Some(p.offset), lies: None });
        }
        let frozen = self.frozen.and_then(|(table, flat)| table.find(name).map(|p| (p, flat)));
        let Some((p, flat)) = frozen else { candle_core::bail!("the model has no parameter {name}") };
        match self.site {
            Some(_) => Ok(Loaded { tensor: Tensor::from_slice(&flat[p.range()], p.shape.as_slice(), device)?, place: None, lies: None }),
            None => Loaded::in_place(InPlace::new(Arc::new(Arc::clone(flat)), p.range()), &p.shape),
        }
    }
}

/// One version of a model: its configuration and all its numbers but those that stay in the checkpoint it began from.
#[derive(Clone, PartialEq)]
pub struct Weights {
    config: EncoderConfig,
    table: Arc<ParameterTable>,
    flat: Vec<f32>,
    outside: Option<Arc<Outside>>,
}

impl Weights {
    /// A flat vector as a model.
    ///
    /// # Errors
    /// [`ModelError`] for an impossible model, a wrong length or a number that is not finite.
    pub fn new(config: &EncoderConfig, flat: Vec<f32>) -> Result<Self, ModelError> {
        let table = ParameterTable::new(config)?;
        table.check(&flat)?;
        Ok(Self { config: config.clone(), table: Arc::new(table), flat, outside: None })
    }

    /// The same with the tensors of its checkpoint beside it: without them it can be stepped and stored, but not computed with.
    #[must_use]
    pub fn beside(self, outside: Arc<Outside>) -> Self {
        Self { outside: Some(outside), ..self }
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

    /// The tensors of its checkpoint, where they were given.
    pub(crate) fn outside(&self) -> Option<&Arc<Outside>> {
        self.outside.as_ref()
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} numbers)", self.flat.len())
    }
}
