//! Embeddings: token number t becomes row t of one table; its place in the record becomes a row of another, or a pattern of sines; the
//! two are added. Over characters a convolution may follow, so that each one knows its neighbours before attention begins.

use super::block::BlockShape;
use super::config::{Choices, Positions};
use super::entrance;
use super::linear::{self, Linear, LinearParts};
use super::names::{Side, Spelling};
use super::norm::{self, Norm};
use super::parameters::{Access, Listing, Loaded, Start, Values, size};
use crate::batch::{Batch, Spans};
use crate::capture::{Lookup, Tape};
use crate::ops::activation::{Activation, activation};
use crate::ops::composed::{self, Way, constant, way};
use crate::ops::neighbours::neighbours;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::ops::Range;

/// Name of the token table.
pub const TOKENS: &str = "embeddings.tokens.weight";
/// Name of the position table.
pub const POSITIONS: &str = "embeddings.positions.weight";

/// Tokens on their way into a model.
pub(crate) struct Reading {
    /// N tokens, record by record.
    pub(crate) tokens: Vec<u32>,
    /// Where each record lies.
    pub(crate) spans: Spans,
    /// Sequences of which each has a first place: the records, or two parts of each record.
    pub(crate) parts: Spans,
}

/// The tables and what is done to their rows.
pub struct Embedding {
    tokens: Loaded,            // (V, C)
    positions: Option<Loaded>, // (T, C)
    segments: Option<Loaded>,  // (S, C)
    sinusoidal: bool,
    stem: Option<Stem>,
    norm: Option<Norm>,
    /// Whether stem or normalisation are trained.
    trained: bool,
    dropout: f32,
}

/// A convolution: each token's vector with its neighbours', bent and added.
struct Stem {
    layer: Linear, // (C, K·C)
    kernel: usize,
    /// Neighbours that come before; in a model that writes, all of them.
    before: usize,
}

/// Lists both tables. `tokens` says whether the token table is the output head too; tables that are not come first.
pub(crate) fn declare((vocab, max_tokens, width): (usize, usize, usize), tokens: Access, listing: &mut Listing) {
    let positions = |listing: &mut Listing| declare_places(POSITIONS, (max_tokens, width), listing);
    let table = |listing: &mut Listing| declare_tokens(TOKENS, (vocab, width), tokens, listing);
    match tokens {
        Access::Rows => {
            table(listing);
            positions(listing);
        }
        Access::Whole | Access::RowsAndWhole => {
            positions(listing);
            table(listing);
        }
    }
}

fn declare_tokens(name: &str, (vocab, width): (usize, usize), access: Access, listing: &mut Listing) {
    listing.add_read(name.into(), &[vocab, width], Start::Spread(0.1), access);
}

pub(super) fn declare_places(name: &str, (rows, width): (usize, usize), listing: &mut Listing) {
    // Smaller than the tokens: at first it matters more which token it is than where it stands.
    listing.add_read(name.into(), &[rows, width], Start::Spread(0.02), Access::Rows);
}

/// Lists all that these choices have: tables of which only rows are read, then the rest.
pub(crate) fn declare_all(choices: &Choices, tokens: Access, listing: &mut Listing) {
    let (spelling, c, token_table) = (choices.spelling, size(choices.width), (size(choices.vocab), size(choices.width)));
    if tokens == Access::Rows {
        declare_tokens(spelling.tokens(), token_table, tokens, listing);
    }
    match choices.positions {
        Positions::Learned if spelling.entrance(Side::Encoder).is_some() => entrance::declare_tables(choices, listing),
        Positions::Learned => declare_places(spelling.places(), (size(choices.max_tokens), c), listing),
        Positions::Sinusoidal | Positions::Rotary { .. } | Positions::Stretched { .. } | Positions::Distances { .. } => {}
    }
    if choices.segments > 0 {
        declare_places(spelling.segments(), (size(choices.segments), c), listing);
    }
    if tokens != Access::Rows {
        declare_tokens(spelling.tokens(), token_table, tokens, listing);
    }
    if let Some(kernel) = choices.stem {
        linear::declare(spelling.stem(), (size(kernel) * c, c), LinearParts::default(), listing);
    }
    if let Some(name) = spelling.embedding_norm() {
        norm::declare(name, choices.norm, c, listing);
    }
    entrance::declare_norms(choices, listing);
}

/// Row `i` of a table of width `c`.
fn row(i: usize, c: usize) -> Range<usize> {
    i * c..(i + 1) * c
}

/// Adds row `ids[t]` of a table to row t.
fn add_rows(out: &mut [f32], table: &Loaded, ids: &[usize]) -> Result<()> {
    let c = table.tensor.dims2()?.1;
    table.read(|table| {
        for (out, &id) in out.chunks_exact_mut(c).zip(ids) {
            let Some(row) = table.get(row(id, c)) else { bail!("token or place outside its table") };
            out.iter_mut().zip(row).for_each(|(o, r)| *o += r);
        }
        Ok(())
    })
}

/// Row `ids[t]` of a table for each t, where the table is: `(N, C)`.
pub(super) fn rows(table: &Loaded, ids: &[usize]) -> Result<Tensor> {
    let (rows, c) = table.tensor.dims2()?;
    match way(&table.tensor) {
        Way::Fused => {
            let mut out = vec![0.0; ids.len() * c];
            add_rows(&mut out, table, ids)?;
            Tensor::from_vec(out, (ids.len(), c), &Device::Cpu)
        }
        Way::Composed if ids.iter().any(|&id| id >= rows) => bail!("token or place outside its table"),
        Way::Composed => composed::rows(&table.whole()?, &ids.iter().copied().map(Some).collect::<Vec<_>>()),
    }
}

/// Adds sin(p / 10000^(2i/C)) at coordinate 2i and the cosine at 2i + 1.
fn add_sines(out: &mut [f32], c: usize, places: &[usize]) {
    for (out, &place) in out.chunks_exact_mut(c).zip(places) {
        for (i, out) in out.iter_mut().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "places and widths are far below 2^53")]
            let angle = place as f64 / 10_000f64.powf((i / 2 * 2) as f64 / c as f64);
            #[expect(clippy::cast_possible_truncation, reason = "rounded once to the precision of the model")]
            let value = if i % 2 == 0 { angle.sin() } else { angle.cos() } as f32;
            *out += value;
        }
    }
}

impl Embedding {
    pub(crate) fn load(values: Values<'_>) -> Result<Self> {
        let (tokens, positions) = (values.load(TOKENS)?, Some(values.load(POSITIONS)?));
        Ok(Self { tokens, positions, segments: None, sinusoidal: false, stem: None, norm: None, trained: false, dropout: 0.0 })
    }

    /// What these choices have. `writes` says whether a token may only know its past.
    pub(crate) fn load_all(choices: &Choices, shape: &BlockShape, writes: bool, values: Values<'_>) -> Result<Self> {
        let spelling: Spelling = choices.spelling;
        let find = |name: &str| values.has(name).then(|| values.load(name)).transpose();
        let stem = |kernel: u32| -> Result<Stem> {
            let kernel = size(kernel);
            let before = if writes { kernel - 1 } else { (kernel - 1) / 2 };
            Ok(Stem { layer: Linear::load(spelling.stem(), None, values)?, kernel, before })
        };
        let trained = |name: Option<&str>| name.is_some_and(|name| values.trains(name));
        Ok(Self {
            tokens: values.load(spelling.tokens())?,
            positions: find(spelling.places())?,
            segments: find(spelling.segments())?,
            sinusoidal: matches!(choices.positions, Positions::Sinusoidal),
            stem: choices.stem.map(stem).transpose()?,
            norm: spelling.embedding_norm().map(|name| Norm::load(name, shape, values)).transpose()?,
            trained: trained(Some(spelling.stem())) || trained(spelling.embedding_norm()),
            // Where each side has an entrance, numbers are dropped there.
            dropout: if spelling.entrance(Side::Encoder).is_some() { 0.0 } else { choices.dropout },
        })
    }

    /// # Shape
    /// in N token numbers, out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a token outside the vocabulary or a record longer than the position table.
    pub fn forward(&self, batch: &Batch, tape: &Tape) -> Result<Tensor> {
        self.read(&Reading { tokens: batch.tokens.clone(), spans: batch.spans.clone(), parts: batch.spans.clone() }, tape)
    }

    /// The root of what `tape` records, where a table is trained: gradients end here.
    pub(crate) fn read(&self, reading: &Reading, tape: &Tape) -> Result<Tensor> {
        let (n, c) = (reading.tokens.len(), self.tokens.tensor.dims2()?.1);
        let tokens: Vec<usize> = reading.tokens.iter().map(|&t| size(t)).collect();
        let places: Vec<usize> = reading.parts.iter().flat_map(|rows| 0..rows.len()).collect();
        let mut sines = vec![0.0; n * c];
        if self.sinusoidal {
            add_sines(&mut sines, c, &places);
        }
        let tables = [(Some(&self.tokens), tokens), (self.positions.as_ref(), places), (self.segments.as_ref(), vec![0; n])];
        let tables: Vec<(&Loaded, Vec<usize>)> = tables.into_iter().filter_map(|(table, ids)| table.map(|t| (t, ids))).collect();
        let x = match way(&self.tokens.tensor) {
            Way::Fused => {
                tables.iter().try_for_each(|(table, ids)| add_rows(&mut sines, table, ids))?;
                Tensor::from_vec(sines, (n, c), &Device::Cpu)? // (N) -> (N, C)
            }
            Way::Composed => {
                let table = &self.tokens.tensor;
                let first =
                    if self.sinusoidal { constant(sines, &[n, c], table)? } else { Tensor::zeros((n, c), DType::F32, table.device())? };
                tables.iter().try_fold(first, |sum, (table, ids)| sum + rows(table, ids)?)?
            }
        };
        let mut lookups = Vec::new();
        for (table, ids) in tables {
            if let Some(at) = table.place {
                lookups.push(Lookup { at, rows: table.tensor.dims2()?.0, ids: ids.into() });
            }
        }
        let x = if lookups.is_empty() { x } else { tape.source(x, &reading.spans, lookups)? };
        self.refine(tape.begin(x, self.trained, &reading.spans)?, reading, tape)
    }

    /// Stem, normalisation and dropout.
    fn refine(&self, mut x: Tensor, reading: &Reading, tape: &Tape) -> Result<Tensor> {
        if let Some(stem) = &self.stem {
            let beside = neighbours(&x, (stem.kernel, stem.before), &reading.parts)?; // (N, C) -> (N, K·C)
            let seen = stem.layer.forward(&beside, &reading.spans, tape)?; // (N, K·C) -> (N, C)
            x = (x + activation(&seen, Activation::GeluTanh)?)?;
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x, &reading.spans, tape)?;
        }
        tape.drop_out(&x, self.dropout, DROPOUT_SITE, &reading.spans)
    }
}

/// Blocks count theirs from 0; heads and entrances have the ones below.
const DROPOUT_SITE: u64 = u64::MAX;
