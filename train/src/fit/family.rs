//! Which model is trained, what it is asked for, and who computes its passes.

use super::FitError;
use super::engine::{Engine, Graph};
use super::order::Material;
use crate::device::Site;
use crate::direct::{Direct, DirectError, Keep, Precision};
use crate::mask::Masks;
use crate::model::config::Config;
use crate::model::parameters::{Values, size};
use crate::model::{Decoder, DecoderConfig, ParameterTable, Trained, Transformer, Weights};
use crate::workers::Workers;
use protocol::plan::{Asks, EncoderConfig};

/// Which model is trained, with the passes that are written out for it, if there are any.
pub(super) enum Family {
    /// A language model.
    Decoder(Box<DecoderConfig>, Box<Direct>),
    /// A classifier from random weights.
    Encoder(Box<EncoderConfig>, Box<Direct>),
    /// An encoder, whatever it is asked for: computed by the graph of its layers, which knows every part that a plan or a checkpoint can name.
    /// Slower on a processor than passes that are written out, and the same as in a round.
    Asked(Box<EncoderConfig>),
}

impl Family {
    /// An encoder that is asked for what its plan says, of which nothing is left to a checkpoint.
    pub(super) fn asked(weights: &Weights, precision: Precision) -> Result<Self, FitError> {
        let plan = weights.config();
        let known = matches!(plan.asks(), Asks::Class | Asks::Tags | Asks::MaskedTokens);
        let whole = plan.adapter.is_none() && plan.base.as_ref().is_none_or(|base| base.frozen.is_empty());
        if known && whole && precision == Precision::F32 { Ok(Self::Asked(Box::new(plan.clone()))) } else { Err(FitError::Model) }
    }

    /// What is asked of each record, or of a text.
    pub(super) fn asks(&self) -> Asks {
        match self {
            Self::Decoder(..) => Asks::NextToken,
            Self::Encoder(plan, _) | Self::Asked(plan) => plan.asks(),
        }
    }

    /// Classes or tags that the model tells apart; 0 of a model of tokens.
    pub(super) fn choices(&self) -> usize {
        match self {
            Self::Encoder(plan, _) | Self::Asked(plan) if matches!(plan.asks(), Asks::Class | Asks::Tags) => size(plan.choices()),
            Self::Decoder(..) | Self::Encoder(..) | Self::Asked(_) => 0,
        }
    }

    /// Refuses material of another kind than the model reads.
    pub(super) fn check(&self, material: &Material) -> Result<(), FitError> {
        match (self, material) {
            (Self::Decoder(..), Material::Text(_)) | (Self::Encoder(..) | Self::Asked(_), Material::Records(_)) => Ok(()),
            (Self::Decoder(..), Material::Records(_)) | (Self::Encoder(..), Material::Text(_)) => Err(DirectError::OtherFamily.into()),
            (Self::Asked(_), Material::Text(_)) => Err(FitError::Model),
        }
    }

    /// What step `step` hides; nothing of a model that is asked for something else.
    pub(super) fn masks(&self, seed: u64, step: u64) -> Option<Masks> {
        match self {
            Self::Decoder(..) | Self::Encoder(..) => None,
            Self::Asked(plan) => Masks::of_pass(plan, seed, step),
        }
    }

    /// What is hidden where the model is judged: always the same.
    pub(super) fn masks_of_judgement(&self) -> Option<Masks> {
        match self {
            Self::Decoder(..) | Self::Encoder(..) => None,
            Self::Asked(plan) => Masks::of_judgement(plan),
        }
    }

    /// The passes that are written out for this model.
    fn direct(&self) -> Option<&Direct> {
        match self {
            Self::Decoder(_, direct) | Self::Encoder(_, direct) => Some(&**direct),
            Self::Asked(_) => None,
        }
    }

    /// The layers' graph on every device that holds models. Without such devices one on the processor for all workers, or none where passes
    /// are written out.
    pub(super) fn graphs(&self, flat: (&ParameterTable, &[f32]), workers: &Workers, keep: Keep) -> Result<Vec<Graph>, FitError> {
        let mut sites: Vec<Option<&Site>> = workers.sites().into_iter().map(Some).collect();
        if sites.is_empty() && self.direct().is_none() {
            sites.push(None);
        }
        sites.into_iter().map(|site| self.graph(flat, site, keep)).collect()
    }

    fn graph(&self, trained: (&ParameterTable, &[f32]), site: Option<&Site>, keep: Keep) -> Result<Graph, FitError> {
        let values = Values { trained, frozen: None, outside: None, site };
        Ok(match self {
            Self::Decoder(config, _) => Graph::Decoder(Box::new(Decoder::of(config, values)?.keeping(keep))),
            Self::Encoder(plan, _) | Self::Asked(plan) => {
                let config = Config::of_plan(plan, Trained::Kept).map_err(|_| FitError::Model)?;
                Graph::Encoder(Box::new(Transformer::of(config, values)?.keeping(keep)))
            }
        })
    }

    /// The graphs where there are any, else the passes that are written out. `shown` takes weights as products see them, where they are rounded.
    pub(super) fn engine<'a>(
        &'a self,
        graphs: &'a [Graph],
        (table, weights): (&'a ParameterTable, &'a [f32]),
        shown: &'a mut Vec<f32>,
    ) -> Engine<'a> {
        match self.direct() {
            Some(direct) if graphs.is_empty() => Engine::Direct(direct, direct.shown(weights, shown)),
            Some(_) | None => Engine::Graphs(graphs, table),
        }
    }
}
