//! The way from a table of tokens that two stacks share into one of them, where each side has places and a normalisation of its own (BART, Lewis
//! et al. 2019, arXiv 1910.13461).

use super::block::BlockShape;
use super::config::{Choices, Inputs};
use super::embedding;
use super::names::{EntranceNames, Side};
use super::norm::{self, Norm};
use super::parameters::{Listing, Loaded, Values, size};
use crate::batch::Spans;
use crate::capture::{Lookup, Tape};
use candle_core::{Result, Tensor};

/// BART's tables of places begin with two rows that no token reads.
const FIRST_PLACE: usize = 2;
/// Where numbers are dropped, below the site of the heads.
const DROPOUT_SITES: [u64; 2] = [u64::MAX - 2, u64::MAX - 3];

/// What one side does to rows of the shared table.
pub(crate) struct Entrance {
    /// What they are multiplied by.
    scale: Option<f64>,
    places: Loaded, // (2 + T, C)
    norm: Norm,
    /// Whether the normalisation is trained.
    trained: bool,
    dropout: f32,
    site: u64,
}

fn names(choices: &Choices) -> impl Iterator<Item = EntranceNames> {
    let spelling = choices.spelling;
    [Side::Encoder, Side::Decoder].into_iter().filter_map(move |side| spelling.entrance(side))
}

/// Lists both tables of places.
pub(crate) fn declare_tables(choices: &Choices, listing: &mut Listing) {
    let shape = (FIRST_PLACE + size(choices.max_tokens), size(choices.width));
    names(choices).for_each(|names| embedding::declare_places(&names.places, shape, listing));
}

/// Lists both normalisations.
pub(crate) fn declare_norms(choices: &Choices, listing: &mut Listing) {
    names(choices).for_each(|names| norm::declare(&names.norm, choices.norm, size(choices.width), listing));
}

impl Entrance {
    /// Those of the encoder and of the decoder, where the architecture has them.
    pub(crate) fn load_both(choices: &Choices, shape: &BlockShape, values: Values<'_>) -> Result<Option<Box<[Self; 2]>>> {
        let scale = match choices.inputs {
            Inputs::Plain => None,
            Inputs::Grown => Some(f64::from(choices.width).sqrt()),
        };
        let load = |side: Side, site: u64| -> Result<Option<Self>> {
            let Some(EntranceNames { places, norm }) = choices.spelling.entrance(side) else { return Ok(None) };
            let trained = values.trains(&format!("{norm}."));
            let (places, norm) = (values.load(&places)?, Norm::load(&norm, shape, values)?);
            Ok(Some(Self { scale, places, norm, trained, dropout: choices.dropout, site }))
        };
        let both = (load(Side::Encoder, DROPOUT_SITES[0])?, load(Side::Decoder, DROPOUT_SITES[1])?);
        Ok(both.0.zip(both.1).map(|(reads, writes)| Box::new([reads, writes])))
    }

    /// # Shape
    /// in rows of the token table `(N, C)`, one span of them per record; out `(N, C)`.
    ///
    /// # Errors
    /// The tensor engine's, for a record longer than the table of places.
    pub(crate) fn forward(&self, x: Tensor, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let grown = match self.scale {
            Some(scale) => (x * scale)?,
            None => x,
        };
        let placed = (grown + self.places(spans, tape)?)?; // (N, C)
        let begun = tape.begin(placed, self.trained, spans)?;
        tape.drop_out(&self.norm.forward(&begun, spans, tape)?, self.dropout, self.site, spans)
    }

    /// A row for each token's place in its record: `(N, C)`. Gradients of the table end here.
    fn places(&self, spans: &Spans, tape: &Tape) -> Result<Tensor> {
        let ids: Vec<usize> = spans.iter().flat_map(|rows| FIRST_PLACE..FIRST_PLACE + rows.len()).collect();
        let found = embedding::rows(&self.places, &ids)?;
        match self.places.place {
            Some(at) => tape.source(found, spans, vec![Lookup { at, rows: self.places.tensor.dims2()?.0, ids: ids.into() }]),
            None => Ok(found),
        }
    }
}
