//! Where a model's tensors lie in its flat vector. A model with a part that is not known here has no places, and is not computed directly.

use super::{Direct, Keep, Precision};
use crate::kernels::norm::NormKind;
use crate::model::decoder::{HEAD, Head};
use crate::model::embedding::{POSITIONS, TOKENS};
use crate::model::parameters::{ParameterTable, size};
use crate::model::{DecoderConfig, DecoderWeights, Weights};

/// A matrix `(outputs, inputs)` and its bias.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Gain and shift.
#[derive(Clone, Copy)]
pub(super) struct NormAt {
    pub(super) gain: usize,
    pub(super) shift: Option<usize>,
}

/// One block.
#[derive(Clone, Copy)]
pub(super) struct LayerAt {
    pub(super) attention_norm: NormAt,
    pub(super) qkv: Affine,
    pub(super) output: Affine,
    pub(super) feed_forward_norm: NormAt,
    pub(super) up: Affine,
    pub(super) down: Affine,
}

/// What stands on top of the blocks.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// Scores of the next token.
    NextToken(Affine),
    /// Scores of classes, of the mean of a record's rows.
    Classes(Affine),
}

/// A whole model.
pub(super) struct Places {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) hidden: usize,
    pub(super) vocab: usize,
    pub(super) max_tokens: usize,
    pub(super) kind: NormKind,
    pub(super) causal: bool,
    pub(super) tokens: usize,
    pub(super) positions: usize,
    pub(super) layers: Vec<LayerAt>,
    pub(super) norm: NormAt,
    pub(super) end: End,
    /// Coordinates of the flat vector.
    pub(super) len: usize,
}

/// Looks tensors up and counts what it found.
struct Finder<'a> {
    table: &'a ParameterTable,
    found: usize,
}

impl Finder<'_> {
    fn at(&mut self, name: &str, shape: &[usize]) -> Option<usize> {
        let parameter = self.table.find(name).filter(|p| p.shape == shape)?;
        self.found += 1;
        Some(parameter.offset)
    }

    fn affine(&mut self, path: &str, inputs: usize, outputs: usize) -> Option<Affine> {
        let weight = self.at(&format!("{path}.weight"), &[outputs, inputs])?;
        Some(Affine { weight, bias: self.at(&format!("{path}.bias"), &[outputs]), inputs, outputs })
    }

    fn norm(&mut self, path: &str, width: usize) -> Option<NormAt> {
        let gain = self.at(&format!("{path}.weight"), &[width])?;
        Some(NormAt { gain, shift: self.at(&format!("{path}.bias"), &[width]) })
    }

    fn layer(&mut self, path: &str, c: usize, f: usize) -> Option<LayerAt> {
        Some(LayerAt {
            attention_norm: self.norm(&format!("{path}.attention_norm"), c)?,
            qkv: self.affine(&format!("{path}.attention.qkv"), c, 3 * c)?,
            output: self.affine(&format!("{path}.attention.output"), c, c)?,
            feed_forward_norm: self.norm(&format!("{path}.feed_forward_norm"), c)?,
            up: self.affine(&format!("{path}.feed_forward.up"), c, f)?,
            down: self.affine(&format!("{path}.feed_forward.down"), f, c)?,
        })
    }
}

/// Sizes that both families have.
struct Sizes {
    width: usize,
    heads: usize,
    hidden: usize,
    layers: usize,
    vocab: usize,
    max_tokens: usize,
}

fn places(
    table: &ParameterTable,
    sizes: &Sizes,
    (path, kind, causal): (&str, NormKind, bool),
    end: impl FnOnce(&mut Finder<'_>) -> Option<End>,
) -> Option<Places> {
    let mut finder = Finder { table, found: 0 };
    let Sizes { width, heads, hidden, layers, vocab, max_tokens } = *sizes;
    let tokens = finder.at(TOKENS, &[vocab, width])?;
    let positions = finder.at(POSITIONS, &[max_tokens, width])?;
    let layers = (0..layers).map(|i| finder.layer(&format!("{path}.layers.{i}"), width, hidden)).collect::<Option<_>>()?;
    let norm = finder.norm(&format!("{path}.norm"), width)?;
    let end = end(&mut finder)?;
    // A tensor that was not looked for is a part that is not known here.
    let whole = finder.found == table.iter().count();
    let len = table.len();
    whole.then_some(Places { width, heads, hidden, vocab, max_tokens, kind, causal, tokens, positions, layers, norm, end, len })
}

impl Direct {
    fn new(places: Places) -> Self {
        Self { places, precision: Precision::F32, keep: Keep::Everything }
    }

    /// A decoder; none with an adapter or another part that is not known here.
    pub fn of_decoder(weights: &DecoderWeights) -> Option<Self> {
        let DecoderConfig { vocab, max_tokens, width, heads, layers, hidden, head, norm, adapter } = weights.config();
        if adapter.is_some() {
            return None;
        }
        let [vocab, max_tokens, width, heads, layers, hidden] = [vocab, max_tokens, width, heads, layers, hidden].map(|&n| size(n));
        let sizes = Sizes { width, heads, hidden, layers, vocab, max_tokens };
        let end = |finder: &mut Finder<'_>| {
            let weight = match head {
                Head::Tied => finder.table.find(TOKENS)?.offset,
                Head::Own => finder.at(HEAD, &[vocab, width])?,
            };
            Some(End::NextToken(Affine { weight, bias: None, inputs: width, outputs: vocab }))
        };
        places(weights.table(), &sizes, ("decoder", *norm, true), end).map(Self::new)
    }

    /// An encoder; none with a part that is not known here.
    pub fn of_encoder(weights: &Weights) -> Option<Self> {
        let c = weights.config();
        let [vocab, max_tokens, width, heads, layers, hidden] = [c.vocab, c.max_tokens, c.width, c.heads, c.layers, c.hidden].map(size);
        let sizes = Sizes { width, heads, hidden, layers, vocab, max_tokens };
        let end = |finder: &mut Finder<'_>| Some(End::Classes(finder.affine("classifier", width, c.classes.len())?));
        places(weights.table(), &sizes, ("encoder", NormKind::Layer, false), end).map(Self::new)
    }
}
