//! Optimisers on flat vectors. In a private task they see noised gradients only, so whatever they do is post-processing (privacy.md D6).
//! Know no model.

use crate::kernels::wide;
use protocol::decimal::Decimal;
use protocol::plan::{LocalOptimiser, LocalTraining};
use std::ops::Range;

pub use protocol::plan::Look;

/// What one step needs besides the gradient.
pub struct StepSize<'a> {
    /// Learning rate of this step.
    pub rate: f64,
    /// Weight decay per unit of learning rate.
    pub decay: f64,
    /// Coordinates that decay; the others are left alone.
    pub decays: &'a [Range<usize>],
}

/// An optimiser's memory; kept by the institution between rounds (training.md M8).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum OptimiserState {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101).
    AdamW {
        /// Running mean of gradients.
        mean: Vec<f32>,
        /// Running mean of squared gradients.
        square: Vec<f32>,
        /// Steps taken.
        steps: u64,
        /// How much of each running mean a step keeps.
        #[serde(default = "usual_betas")]
        betas: [f32; 2],
    },
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Running sum of gradients.
        velocity: Vec<f32>,
        /// Share of the velocity that is kept.
        momentum: f32,
        /// Which way a step goes.
        #[serde(default)]
        look: Look,
    },
}

/// Vectors of different lengths. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{state} optimiser states for {weights} weights and {gradient} gradients")]
pub struct OptimiserMismatch {
    /// Length of the state.
    pub state: usize,
    /// Length of the weights.
    pub weights: usize,
    /// Length of the gradient.
    pub gradient: usize,
}

/// What nearly everybody uses.
pub const USUAL_BETAS: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

fn usual_betas() -> [f32; 2] {
    USUAL_BETAS
}

/// One step's numbers of AdamW.
#[derive(Clone, Copy)]
struct Adam {
    rate: f32,
    betas: [f32; 2],
    /// What makes up for running means that began at zero.
    fixes: [f32; 2],
}

#[inline(always)]
fn adam((adam, weights, gradient, mean, square): (Adam, &mut [f32], &[f32], &mut [f32], &mut [f32])) {
    let Adam { rate, betas: [keep_mean, keep_square], fixes: [fix_mean, fix_square] } = adam;
    for (((w, &g), m), s) in weights.iter_mut().zip(gradient).zip(mean).zip(square) {
        *m = keep_mean * *m + (1.0 - keep_mean) * g;
        *s = keep_square * *s + (1.0 - keep_square) * g * g;
        *w -= rate * (*m * fix_mean) / ((*s * fix_square).sqrt() + EPSILON);
    }
}

#[inline(always)]
fn descend((rate, momentum, look, weights, gradient, velocity): (f32, f32, Look, &mut [f32], &[f32], &mut [f32])) {
    for ((w, &g), v) in weights.iter_mut().zip(gradient).zip(velocity) {
        *v = momentum * *v + g;
        *w -= match look {
            Look::Here => rate * *v,
            Look::Ahead => rate * (momentum * *v + g),
        };
    }
}

#[inline(always)]
fn shrink((weights, by): (&mut [f32], f32)) {
    weights.iter_mut().for_each(|w| *w *= by);
}

impl OptimiserState {
    /// What a plan asks for, at rest, for `dimension` coordinates.
    pub fn of_plan(local: &LocalTraining, dimension: usize) -> Self {
        let kept = |share: Option<Decimal>, usual: f32| share.map_or(usual, |share| narrow(share.to_f64()));
        match local.optimiser() {
            LocalOptimiser::AdamW { beta_mean, beta_square } => {
                Self::adam_w_with(dimension, [kept(beta_mean, USUAL_BETAS[0]), kept(beta_square, USUAL_BETAS[1])])
            }
            LocalOptimiser::Sgd { momentum, look } => Self::sgd_looking(dimension, narrow(momentum.to_f64()), look),
        }
    }
    /// AdamW at rest, for `dimension` coordinates.
    pub fn adam_w(dimension: usize) -> Self {
        Self::adam_w_with(dimension, USUAL_BETAS)
    }
    /// AdamW at rest that keeps this much of its running means.
    pub fn adam_w_with(dimension: usize, betas: [f32; 2]) -> Self {
        Self::AdamW { mean: vec![0.0; dimension], square: vec![0.0; dimension], steps: 0, betas }
    }
    /// Momentum at rest, for `dimension` coordinates.
    pub fn sgd(dimension: usize, momentum: f32) -> Self {
        Self::sgd_looking(dimension, momentum, Look::Here)
    }
    /// Momentum at rest, one way or the other.
    pub fn sgd_looking(dimension: usize, momentum: f32, look: Look) -> Self {
        Self::Sgd { velocity: vec![0.0; dimension], momentum, look }
    }

    /// Coordinates that it remembers something of.
    pub fn dimension(&self) -> usize {
        match self {
            Self::AdamW { mean, square, .. } => mean.len().min(square.len()),
            Self::Sgd { velocity, .. } => velocity.len(),
        }
    }

    /// What it remembers of these coordinates, in the order in which they are given. Steps are counted over all coordinates together.
    #[must_use]
    pub fn part(&self, places: &[Range<usize>]) -> Self {
        let take = |from: &[f32]| places.iter().flat_map(|p| from.get(p.clone()).unwrap_or_default()).copied().collect();
        match self {
            Self::AdamW { mean, square, steps, betas } => {
                Self::AdamW { mean: take(mean), square: take(square), steps: *steps, betas: *betas }
            }
            Self::Sgd { velocity, momentum, look } => Self::Sgd { velocity: take(velocity), momentum: *momentum, look: *look },
        }
    }

    /// Brings a part back to where it was taken from. A part of another kind changes nothing; one that is too short leaves the places that
    /// it does not fill as they are.
    pub fn put(&mut self, places: &[Range<usize>], part: Self) {
        let give = |to: &mut [f32], mut from: &[f32]| {
            for place in places {
                if let (Some(to), Some((head, tail))) = (to.get_mut(place.clone()), from.split_at_checked(place.len())) {
                    to.copy_from_slice(head);
                    from = tail;
                }
            }
        };
        match (self, part) {
            (Self::AdamW { mean, square, steps, .. }, Self::AdamW { mean: m, square: s, steps: taken, .. }) => {
                give(mean, &m);
                give(square, &s);
                *steps = taken;
            }
            (Self::Sgd { velocity, .. }, Self::Sgd { velocity: v, .. }) => give(velocity, &v),
            (Self::AdamW { .. }, Self::Sgd { .. }) | (Self::Sgd { .. }, Self::AdamW { .. }) => {}
        }
    }

    /// Takes one step down the gradient.
    ///
    /// # Errors
    /// [`OptimiserMismatch`]; weights and state are then unchanged.
    pub fn step(&mut self, weights: &mut [f32], gradient: &[f32], size: &StepSize<'_>) -> Result<(), OptimiserMismatch> {
        let state = self.dimension();
        if state != weights.len() || state != gradient.len() {
            return Err(OptimiserMismatch { state, weights: weights.len(), gradient: gradient.len() });
        }
        let (rate, by) = (narrow(size.rate), narrow(1.0 - size.rate * size.decay));
        for range in size.decays {
            wide(shrink, (&mut weights[range.clone()], by));
        }
        match self {
            Self::AdamW { mean, square, steps, betas } => {
                // A state comes from a disk, which may hold any number.
                *steps = steps.saturating_add(1);
                let t = i32::try_from(*steps).unwrap_or(i32::MAX);
                let fixes = betas.map(|keep| (1.0 - keep.powi(t)).recip());
                wide(adam, (Adam { rate, betas: *betas, fixes }, weights, gradient, mean.as_mut_slice(), square.as_mut_slice()));
            }
            Self::Sgd { velocity, momentum, look } => {
                wide(descend, (rate, *momentum, *look, weights, gradient, velocity.as_mut_slice()));
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the first coordinate decays.
    const FIRST: [Range<usize>; 2] = [0..1, 2..2];

    /// (x - 3)² from 0.
    fn minimise(mut state: OptimiserState, rate: f64) -> f32 {
        let mut x = [0.0f32];
        for _ in 0..400 {
            let g = [2.0 * (x[0] - 3.0)];
            state.step(&mut x, &g, &StepSize { rate, decay: 0.0, decays: &[] }).unwrap();
        }
        x[0]
    }

    #[test]
    fn every_optimiser_finds_the_bottom() {
        assert!((minimise(OptimiserState::adam_w(1), 0.05) - 3.0).abs() < 1e-2);
        assert!((minimise(OptimiserState::sgd(1, 0.9), 0.01) - 3.0).abs() < 1e-2);
        assert!((minimise(OptimiserState::sgd_looking(1, 0.9, Look::Ahead), 0.01) - 3.0).abs() < 1e-2);
    }

    /// Two steps of gradients 1 and 2 with momentum 1/2 and rate 1, by hand: v = 1, then 2.5; looking ahead adds half the velocity again.
    #[test]
    fn momentum_is_that_of_the_definition() {
        let run = |look| {
            let (mut w, mut state) = ([0.0f32], OptimiserState::sgd_looking(1, 0.5, look));
            for g in [1.0, 2.0] {
                state.step(&mut w, &[g], &StepSize { rate: 1.0, decay: 0.0, decays: &[] }).unwrap();
            }
            w[0]
        };
        assert_eq!((run(Look::Here), run(Look::Ahead)), (-3.5, -1.5 - 3.25));
    }

    #[test]
    fn a_plan_that_says_nothing_has_adam_and_one_that_does_has_what_it_says() {
        let of = |optimiser| OptimiserState::of_plan(&LocalTraining { optimiser, ..LocalTraining::none() }, 3);
        assert_eq!(of(None), OptimiserState::adam_w(3));
        assert_eq!(of(Some(LocalOptimiser::USUAL)), OptimiserState::adam_w(3));
        let share = |text: &str| text.parse::<Decimal>().unwrap();
        let adam = LocalOptimiser::AdamW { beta_mean: None, beta_square: Some(share("0.99")) };
        assert_eq!(of(Some(adam)), OptimiserState::adam_w_with(3, [0.9, 0.99]));
        let sgd = LocalOptimiser::Sgd { momentum: share("0.5"), look: Look::Ahead };
        assert_eq!(of(Some(sgd)), OptimiserState::sgd_looking(3, 0.5, Look::Ahead));
    }

    #[test]
    fn the_first_adam_step_has_the_size_of_the_rate() {
        let mut w = [1.0f32, 1.0, 1.0];
        OptimiserState::adam_w(3).step(&mut w, &[5.0, -0.01, 0.0], &StepSize { rate: 0.1, decay: 0.0, decays: &[] }).unwrap();
        assert!((w[0] - 0.9).abs() < 1e-5 && (w[1] - 1.1).abs() < 1e-4 && w[2] == 1.0, "{w:?}");
    }

    #[test]
    fn a_count_of_steps_at_its_end_stays_there() {
        let mut state = OptimiserState::AdamW { mean: vec![0.0], square: vec![0.0], steps: u64::MAX, betas: USUAL_BETAS };
        let mut w = [1.0f32];
        state.step(&mut w, &[1.0], &StepSize { rate: 0.1, decay: 0.0, decays: &[] }).unwrap();
        assert!(w[0].is_finite() && matches!(state, OptimiserState::AdamW { steps: u64::MAX, .. }));
    }

    #[test]
    fn decay_reaches_only_its_coordinates() {
        let mut w = [1.0f32, 1.0];
        OptimiserState::sgd(2, 0.0).step(&mut w, &[0.0, 0.0], &StepSize { rate: 0.1, decay: 0.5, decays: &FIRST }).unwrap();
        assert_eq!(w, [0.95, 1.0]);
    }

    #[test]
    fn lengths_that_differ_change_nothing() {
        let (mut state, mut w) = (OptimiserState::adam_w(2), [1.0f32, 2.0]);
        let before = state.clone();
        assert!(state.step(&mut w, &[1.0], &StepSize { rate: 0.1, decay: 0.5, decays: &FIRST }).is_err());
        assert_eq!((state, w), (before, [1.0, 2.0]));
    }

    #[test]
    fn a_state_survives_being_written_down_and_one_of_before_is_read() {
        let mut state = OptimiserState::adam_w(3);
        state.step(&mut [0.0; 3], &[0.1, 0.2, 0.3], &StepSize { rate: 0.1, decay: 0.0, decays: &[] }).unwrap();
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<OptimiserState>(&text).unwrap(), state);
        let before = r#"{"adam-w":{"mean":[0.0],"square":[0.0],"steps":0}}"#;
        assert_eq!(serde_json::from_str::<OptimiserState>(before).unwrap(), OptimiserState::adam_w(1));
    }
}
