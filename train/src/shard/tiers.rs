//! From tiers and what they train to a shard table: tensors that the same tiers train in the same rounds are one shard, so that every shard
//! has one cohort (training.md M6). Knows no institution.

use super::ShardError;
use super::kind::ShardKind;
use crate::model::lora::{Factor, factor_of};
use crate::model::{Config, ParameterTable, Trained};
use protocol::ids::{RoundId, ShardId};
use protocol::plan::{Assigned, EncoderConfig, ShardSpec, Turn};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a tier trains, as a plan file says it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Part {
    /// Every tensor of the model but the factors of adapters.
    Full,
    /// Blocks `from` to `to`, the last one not included, counted from below; the last normalisation and the head with a range that reaches
    /// the last block.
    Layers {
        /// First block.
        from: u32,
        /// Block after the last.
        to: u32,
    },
    /// The factor B of every adapter; A stays as its seed made it.
    LoraB,
    /// The first columns of the factor B of every adapter, up to one of the plan's nested ranks: the common part of tiers of several ranks.
    LoraBFirst {
        /// How many.
        rank: u32,
    },
    /// B in odd rounds and A in even ones.
    LoraAlternating,
    /// The head alone: what classifies, with what stands between it and the last block.
    Head,
    /// The head, all shifts, and the gains of normalisations.
    HeadsAndBiases,
    /// A window of blocks that moves up with the round.
    Rolling {
        /// Blocks at once.
        window: u32,
    },
}

/// Tiers that give no shard table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TiersError {
    /// A part that the model does not have.
    #[error("tier {tier:?} trains {part:?}, which this model does not have")]
    NoPart {
        /// Which tier.
        tier: String,
        /// What it asks for.
        part: Part,
        /// What there is.
        #[source]
        source: crate::model::ModelError,
    },
    /// Adapters that the model does not have.
    #[error("tier {tier:?} trains {part:?}, but the model has no adapters: expected [model.adapter] with a rank")]
    NoAdapter {
        /// Which tier.
        tier: String,
        /// What it asks for.
        part: Part,
    },
    /// A rank at which the adapters are not cut.
    #[error(
        "tier {tier:?} trains the first {got} columns of B, expected one of {expected:?}: [model.adapter] nested says where they are cut"
    )]
    Rank {
        /// Which tier.
        tier: String,
        /// Asked for.
        got: u32,
        /// The nested ranks and the adapters' own.
        expected: Vec<u32>,
    },
    /// A window as long as no model.
    #[error("tier {tier:?} rolls over {got} blocks at once, expected 1 to {most}")]
    Window {
        /// Which tier.
        tier: String,
        /// Asked for.
        got: u32,
        /// Blocks of the model.
        most: u32,
    },
    /// Both factors of adapters in one round.
    #[error(
        "tier {b:?} trains B of the adapters in rounds in which tier {a:?} trains A: let all tiers that train adapters train \
         \"lora-alternating\", or none of them"
    )]
    BothFactors {
        /// Who trains B.
        b: String,
        /// Who trains A.
        a: String,
    },
    /// A tier that trains nothing.
    #[error("tier {0:?} trains nothing")]
    Nothing(String),
    /// The model.
    #[error("the model cannot be built")]
    Shards(#[from] ShardError),
}

/// Who trains a tensor, and when.
type Membership = Vec<(usize, Turn)>;

/// A shard table and, for each tier, what it trains of it.
///
/// # Errors
/// [`TiersError`], naming what was expected and what was found.
pub fn tier_table(
    config: &EncoderConfig,
    tiers: &[(String, Vec<Part>)],
    step_exponent: i8,
) -> Result<(Vec<ShardSpec>, Vec<Vec<Assigned>>), TiersError> {
    let table = ParameterTable::listed(config).map_err(ShardError::from)?;
    let mut trained: BTreeMap<String, Membership> = BTreeMap::new();
    for (number, (tier, parts)) in tiers.iter().enumerate() {
        let mut mine: BTreeMap<String, Turn> = BTreeMap::new();
        for part in parts {
            for (name, turn) in tensors((config, &table), tier, part)? {
                // What is trained in every round by one part is trained in every round.
                let now = mine.entry(name).or_insert(turn);
                *now = (*now).min(turn);
            }
        }
        if mine.is_empty() {
            return Err(TiersError::Nothing(tier.clone()));
        }
        mine.into_iter().for_each(|(name, turn)| trained.entry(name).or_default().push((number, turn)));
    }
    if let Some((b, a)) = both_factors(&trained) {
        return Err(TiersError::BothFactors { b: tiers[b].0.clone(), a: tiers[a].0.clone() });
    }
    // In the model's order, so that shards that are whole runs of it are found in its order.
    let mut shards: Vec<(ShardSpec, Membership)> = Vec::new();
    for parameter in table.iter() {
        let Some(members) = trained.remove(&parameter.name) else { continue };
        match shards.iter_mut().find(|(_, same)| *same == members) {
            Some((shard, _)) => shard.tensors.push(parameter.spec()),
            None => {
                let id = ShardId(u32::try_from(shards.len()).unwrap_or(u32::MAX));
                shards.push((ShardSpec { id, tensors: vec![parameter.spec()], step_exponent }, members));
            }
        }
    }
    let of = |tier: usize| {
        let mine = shards.iter().filter_map(|(s, members)| members.iter().find(|(t, _)| *t == tier).map(|&(_, turn)| (s.id, turn)));
        mine.map(|(shard, turn)| Assigned { shard, turn }).collect()
    };
    let assigned = (0..tiers.len()).map(of).collect();
    Ok((shards.into_iter().map(|(s, _)| s).collect(), assigned))
}

/// Tiers of which one trains B in a round in which the other trains A; they may be one. The mean of products is not the product of means, and noise
/// would become quadratic (training.md M5).
fn both_factors(trained: &BTreeMap<String, Membership>) -> Option<(usize, usize)> {
    let who = |factor: Factor| -> BTreeSet<(usize, Turn)> {
        let of = trained.iter().filter(|(name, _)| factor_of(name).is_some_and(|(_, found, _)| found == factor));
        of.flat_map(|(_, members)| members.iter().copied()).collect()
    };
    // A factor is trained in every round or in every second one.
    let meet = |one: Turn, other: Turn| [RoundId(1), RoundId(2)].into_iter().any(|round| one.has(round) && other.has(round));
    let (of_b, of_a) = (who(Factor::B), who(Factor::A));
    of_b.iter().find_map(|&(b, turn)| of_a.iter().find(|(_, other)| meet(turn, *other)).map(|&(a, _)| (b, a)))
}

/// Names of a part's tensors, with the rounds in which they are trained.
fn tensors((config, table): (&EncoderConfig, &ParameterTable), tier: &str, part: &Part) -> Result<Vec<(String, Turn)>, TiersError> {
    let wrong = |source| TiersError::NoPart { tier: tier.to_owned(), part: part.clone(), source };
    let plain = EncoderConfig { adapter: None, ..config.clone() };
    let base = Config::of_plan(&plain, Trained::All).map_err(wrong)?;
    let named = |kind: ShardKind, round: u64, turn: Turn| -> Result<Vec<(String, Turn)>, TiersError> {
        Ok(kind.tensors(&base, round).map_err(wrong)?.into_iter().map(|t| (t.name, turn)).collect())
    };
    let adapter = || config.adapter.as_ref().ok_or_else(|| TiersError::NoAdapter { tier: tier.to_owned(), part: part.clone() });
    match part {
        Part::Full => named(ShardKind::Full, 1, Turn::ALWAYS),
        Part::Layers { from, to } => named(ShardKind::Layers(Range { start: *from, end: *to }), 1, Turn::ALWAYS),
        Part::Head => named(ShardKind::Head, 1, Turn::ALWAYS),
        Part::HeadsAndBiases => named(ShardKind::HeadsAndBiases, 1, Turn::ALWAYS),
        Part::LoraB => Ok(factors(table, (Factor::B, adapter()?.rank), Turn::ALWAYS)),
        Part::LoraBFirst { rank } => {
            let expected: Vec<u32> = adapter()?.ranks().collect();
            if !expected.contains(rank) {
                return Err(TiersError::Rank { tier: tier.to_owned(), got: *rank, expected });
            }
            Ok(factors(table, (Factor::B, *rank), Turn::ALWAYS))
        }
        Part::LoraAlternating => {
            let (rank, [b, a]) = (adapter()?.rank, [0, 1].map(|at| Turn { every: 2, at }));
            Ok([factors(table, (Factor::B, rank), b), factors(table, (Factor::A, rank), a)].concat())
        }
        Part::Rolling { window } => {
            let layers = base.all_layers();
            if *window == 0 || *window > layers {
                return Err(TiersError::Window { tier: tier.to_owned(), got: *window, most: layers });
            }
            let every = u16::try_from(layers.div_ceil(*window)).unwrap_or(u16::MAX);
            let turn = |at: u16| named(ShardKind::Rolling { window: *window }, u64::from(at) + 1, Turn { every, at });
            Ok((0..every).map(turn).collect::<Result<Vec<_>, _>>()?.concat())
        }
    }
}

/// A factor of every adapter, up to this rank.
fn factors(table: &ParameterTable, (factor, rank): (Factor, u32), turn: Turn) -> Vec<(String, Turn)> {
    let named = |name: &str| factor_of(name).is_some_and(|(_, of, first)| of == factor && first < rank);
    table.iter().filter(|p| named(&p.name)).map(|p| (p.name.clone(), turn)).collect()
}

#[cfg(test)]
#[path = "tiers_tests.rs"]
mod tests;
