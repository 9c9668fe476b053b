//! What the server does with an opened mean: pure functions from old weights to new ones (training.md M17). Know no round and no store.

use crate::model::{ModelError, Weights};
use crate::shard::{self, Place, ShardError};
use protocol::ids::ShardId;
use protocol::plan::{ShardSpec, Strategy};

/// A strategy's memory between rounds. Starts empty.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyState {
    /// Momentum per coordinate; empty until a strategy needs it.
    pub momentum: Vec<f32>,
    /// Second moment per coordinate; empty until a strategy needs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub square: Vec<f32>,
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
/// In modes `distributed` and `hybrid` it is minus the mean gradient at the snapshot ([`crate::combine::descent`]).
///
/// Only additions, multiplications, divisions and square roots of 32-bit floats, each of which IEEE 754 rounds in one way: every machine gets
/// the same bits.
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
    let places = shard::places(weights.table(), shards, mean)?;
    let (mut flat, mut state) = (weights.flat().to_vec(), state.clone());
    match strategy {
        Strategy::FedAvg { rate } => {
            let rate = narrow(rate.to_f64());
            for Place { model, part, within } in places {
                flat[model].iter_mut().zip(&mean[part].1[within]).for_each(|(w, m)| *w += rate * m);
            }
        }
        Strategy::FedAvgM { rate, momentum } => {
            let (rate, kept) = (narrow(rate.to_f64()), narrow(momentum.to_f64()));
            prepare(&mut state.momentum, flat.len())?;
            for Place { model, part, within } in places {
                for ((w, v), m) in flat[model.clone()].iter_mut().zip(&mut state.momentum[model]).zip(&mean[part].1[within]) {
                    *v = kept * *v + m;
                    *w += rate * *v;
                }
            }
        }
        Strategy::FedNesterov { rate, momentum } => {
            let (rate, kept) = (narrow(rate.to_f64()), narrow(momentum.to_f64()));
            prepare(&mut state.momentum, flat.len())?;
            for Place { model, part, within } in places {
                for ((w, v), m) in flat[model.clone()].iter_mut().zip(&mut state.momentum[model]).zip(&mean[part].1[within]) {
                    *v = kept * *v + m;
                    *w += rate * (kept * *v + m);
                }
            }
        }
        Strategy::FedAdam { rate, momentum, decay, floor } | Strategy::FedYogi { rate, momentum, decay, floor } => {
            let towards = match strategy {
                Strategy::FedYogi { .. } => yogi,
                Strategy::FedAvg { .. } | Strategy::FedAvgM { .. } | Strategy::FedNesterov { .. } | Strategy::FedAdam { .. } => adam,
            };
            let [rate, kept, decay, floor] = [rate, momentum, decay, floor].map(|x| narrow(x.to_f64()));
            prepare(&mut state.momentum, flat.len())?;
            prepare(&mut state.square, flat.len())?;
            for Place { model, part, within } in places {
                let moments = state.momentum[model.clone()].iter_mut().zip(&mut state.square[model.clone()]);
                for ((w, (m, v)), &x) in flat[model].iter_mut().zip(moments).zip(&mean[part].1[within]) {
                    *m = kept * *m + (1.0 - kept) * x;
                    *v = towards(*v, decay, x * x);
                    *w += rate * *m / (v.sqrt() + floor);
                }
            }
        }
    }
    Ok((state, Weights::new(weights.config(), flat)?))
}

/// The second moment after a square: part of the way, so much more the farther it is.
fn adam(v: f32, decay: f32, square: f32) -> f32 {
    decay * v + (1.0 - decay) * square
}

/// The second moment after a square: by a part of the square, however far it is. Never below zero: it comes down only from above the square.
fn yogi(v: f32, decay: f32, square: f32) -> f32 {
    let by = (1.0 - decay) * square;
    if v < square {
        v + by
    } else if v > square {
        v - by
    } else {
        v
    }
}

/// Zeros before the first step; afterwards as many numbers as the model has.
fn prepare(memory: &mut Vec<f32>, expected: usize) -> Result<(), StrategyError> {
    if memory.is_empty() {
        *memory = vec![0.0; expected];
    }
    let got = memory.len();
    if got == expected { Ok(()) } else { Err(StrategyError::Momentum { got, expected }) }
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

    /// By hand: the first two steps of one coordinate whose mean is 0.25, then 0.5.
    #[test]
    fn adam_over_rounds_is_the_papers() {
        let mut w = world();
        let adam = Strategy::FedAdam { rate: decimal("0.1"), momentum: decimal("0.9"), decay: decimal("0.99"), floor: decimal("0.001") };
        let (state, once) = advance(&adam, &w.shards, &StrategyState::default(), &w.start, &w.mean).unwrap();
        let step = |before: &Weights, after: &Weights| f64::from(after.flat()[0]) - f64::from(before.flat()[0]);
        let first = 0.1 * 0.025 / (0.000_625f64.sqrt() + 0.001);
        assert!((step(&w.start, &once) - first).abs() < 1e-6, "{}", step(&w.start, &once));
        w.mean.iter_mut().flat_map(|(_, v)| v).for_each(|x| *x = 0.5);
        let (m, v) = (0.9 * 0.025 + 0.1 * 0.5, 0.99 * 0.000_625 + 0.01 * 0.25f64);
        let (_, twice) = advance(&adam, &w.shards, &state, &once, &w.mean).unwrap();
        assert!((step(&once, &twice) - 0.1 * m / (v.sqrt() + 0.001)).abs() < 1e-6, "{}", step(&once, &twice));
        let short = StrategyState { square: vec![0.0; 3], ..state };
        assert!(matches!(advance(&adam, &w.shards, &short, &once, &w.mean), Err(StrategyError::Momentum { got: 3, .. })));
    }

    /// By hand: means of 0.25, then 0.5, with half of the momentum kept.
    #[test]
    fn nesterov_looks_ahead() {
        let mut w = world();
        let nesterov = Strategy::FedNesterov { rate: decimal("1"), momentum: decimal("0.5") };
        let (state, once) = advance(&nesterov, &w.shards, &StrategyState::default(), &w.start, &w.mean).unwrap();
        assert!(once.flat().iter().zip(w.start.flat()).all(|(o, s)| *o == s + 0.375));
        w.mean.iter_mut().flat_map(|(_, v)| v).for_each(|x| *x = 0.5);
        let (state, twice) = advance(&nesterov, &w.shards, &state, &once, &w.mean).unwrap();
        assert!(twice.flat().iter().zip(once.flat()).all(|(t, o)| *t == o + (0.5 * 0.625 + 0.5)));
        assert!(state.momentum.iter().all(|m| *m == 0.625) && state.square.is_empty());
    }

    /// By hand: after a loud round Yogi comes down by the square of a quiet one, where Adam falls by a hundredth of what it has.
    #[test]
    fn yogi_comes_down_by_what_it_sees() {
        let mut w = world();
        let [rate, momentum, decay, floor] = ["0.1", "0.5", "0.5", "0.25"].map(decimal);
        let yogi = Strategy::FedYogi { rate, momentum, decay, floor };
        let mut state = StrategyState::default();
        let mut squares = Vec::new();
        for mean in [2.0, 1.0, 0.0, 4.0] {
            w.mean.iter_mut().flat_map(|(_, v)| v).for_each(|x| *x = mean);
            let before = w.start.clone();
            (state, w.start) = advance(&yogi, &w.shards, &state, &w.start, &w.mean).unwrap();
            let step = f64::from(w.start.flat()[0]) - f64::from(before.flat()[0]);
            let expected = 0.1 * f64::from(state.momentum[0]) / (f64::from(state.square[0]).sqrt() + 0.25);
            assert!((step - expected).abs() < 1e-6, "{step} for {expected}");
            squares.push((state.momentum[0], state.square[0]));
        }
        // 0 + 4/2; 2 - 1/2; 1.5 - 0; 1.5 + 16/2.
        assert_eq!(squares, [(1.0, 2.0), (1.0, 1.5), (0.5, 1.5), (2.25, 9.5)]);
        assert_eq!([super::yogi(1.0, 0.5, 1.0), super::yogi(0.0, 0.5, 0.0)], [1.0, 0.0]);
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
