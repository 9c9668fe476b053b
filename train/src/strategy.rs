//! What the server does with an opened mean: pure functions from old weights to new ones (training.md M17). Know no round and no store.

use crate::model::{ModelError, Weights};
use crate::shard::{self, ShardError};
use protocol::ids::ShardId;
use protocol::plan::{ShardSpec, Strategy};

/// A strategy's memory between rounds. Starts empty.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyState {
    /// Momentum per coordinate; empty until a strategy needs it.
    pub momentum: Vec<f32>,
}

/// A mean that does not fit the model. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StrategyError {
    /// The mean's shards are not the plan's.
    #[error("the mean does not fit the shard table")]
    Shards(#[from] ShardError),
    /// The new weights are not a model, for example because a number is not finite.
    #[error("the new weights are not a model")]
    Model(#[from] ModelError),
    /// Momentum of another model.
    #[error("momentum for {got} coordinates, the model has {expected}")]
    Momentum {
        /// Coordinates of the momentum.
        got: usize,
        /// Coordinates of the model.
        expected: usize,
    },
}

/// New weights and memory after one round.
///
/// `mean` is the mean over the certified institutions of local minus start, so it is added. A shard that was not opened this round is
/// left out of `mean` and keeps its weights and its momentum.
///
/// Only additions and multiplications of 32-bit floats: every machine gets the same bits.
///
/// # Errors
/// [`StrategyError`]; the inputs are never changed.
pub fn advance(
    strategy: &Strategy,
    shards: &[ShardSpec],
    state: &StrategyState,
    weights: &Weights,
    mean: &[(ShardId, Vec<f32>)],
) -> Result<(StrategyState, Weights), StrategyError> {
    shard::check(weights.table(), shards)?;
    let places = shard::places(shards, mean)?;
    let (mut flat, mut state) = (weights.flat().to_vec(), state.clone());
    match strategy {
        Strategy::FedAvg { rate } => {
            let rate = narrow(rate.to_f64());
            for (range, part) in places {
                flat[range].iter_mut().zip(&mean[part].1).for_each(|(w, m)| *w += rate * m);
            }
        }
        Strategy::FedAvgM { rate, momentum } => {
            let (rate, kept) = (narrow(rate.to_f64()), narrow(momentum.to_f64()));
            if state.momentum.is_empty() {
                state.momentum = vec![0.0; flat.len()];
            }
            if state.momentum.len() != flat.len() {
                return Err(StrategyError::Momentum { got: state.momentum.len(), expected: flat.len() });
            }
            for (range, part) in places {
                for ((w, v), m) in flat[range.clone()].iter_mut().zip(&mut state.momentum[range]).zip(&mean[part].1) {
                    *v = kept * *v + m;
                    *w += rate * *v;
                }
            }
        }
    }
    Ok((state, Weights::new(weights.config(), flat)?))
}

#[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial;
    use crate::shard::{shard_table, split};
    use crate::testing::small_config;

    struct World {
        shards: Vec<ShardSpec>,
        start: Weights,
        mean: Vec<(ShardId, Vec<f32>)>,
    }

    fn world() -> World {
        let config = small_config();
        let (shards, start) = (shard_table(&config, 3, -16).unwrap(), initial(&config, 1).unwrap());
        let mean = split(&shards, &vec![0.25; start.flat().len()]).unwrap();
        World { shards, start, mean }
    }

    fn decimal(text: &str) -> protocol::decimal::Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn fedavg_with_rate_one_lands_on_the_mean_of_the_locals() {
        let w = world();
        let plain = Strategy::FedAvg { rate: decimal("1") };
        let (state, new) = advance(&plain, &w.shards, &StrategyState::default(), &w.start, &w.mean).unwrap();
        assert_eq!(state, StrategyState::default());
        assert!(new.flat().iter().zip(w.start.flat()).all(|(n, s)| *n == s + 0.25));
    }

    #[test]
    fn momentum_zero_is_fedavg_and_momentum_adds_up() {
        let w = world();
        let plain = advance(&Strategy::FedAvg { rate: decimal("0.5") }, &w.shards, &StrategyState::default(), &w.start, &w.mean).unwrap();
        let none = Strategy::FedAvgM { rate: decimal("0.5"), momentum: decimal("0") };
        assert_eq!(advance(&none, &w.shards, &StrategyState::default(), &w.start, &w.mean).unwrap().1, plain.1);
        let half = Strategy::FedAvgM { rate: decimal("1"), momentum: decimal("0.5") };
        let (state, once) = advance(&half, &w.shards, &StrategyState::default(), &w.start, &w.mean).unwrap();
        let (_, twice) = advance(&half, &w.shards, &state, &once, &w.mean).unwrap();
        assert!(twice.flat().iter().zip(once.flat()).all(|(t, o)| *t == o + 0.375));
    }

    #[test]
    fn a_shard_that_was_not_opened_stays() {
        let w = world();
        let plain = Strategy::FedAvg { rate: decimal("1") };
        let (_, new) = advance(&plain, &w.shards, &StrategyState::default(), &w.start, &w.mean[1..]).unwrap();
        let first = w.mean[0].1.len();
        assert_eq!(new.flat()[..first], w.start.flat()[..first]);
        assert!(new.flat()[first] != w.start.flat()[first]);
    }

    #[test]
    fn a_mean_that_is_not_finite_or_not_the_models_is_refused() {
        let mut w = world();
        let plain = Strategy::FedAvg { rate: decimal("1") };
        w.mean[0].1[0] = f32::INFINITY;
        assert!(matches!(advance(&plain, &w.shards, &StrategyState::default(), &w.start, &w.mean), Err(StrategyError::Model(_))));
        w.mean[0].1.pop();
        assert!(matches!(advance(&plain, &w.shards, &StrategyState::default(), &w.start, &w.mean), Err(StrategyError::Shards(_))));
    }
}
