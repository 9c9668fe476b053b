//! Optimisers on flat vectors. They see noised gradients only, so whatever they do is post-processing (privacy.md D6). Know no model.

use std::ops::Range;

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
    },
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Running sum of gradients.
        velocity: Vec<f32>,
        /// Share of the velocity that is kept.
        momentum: f32,
    },
}

/// Vectors of different lengths, or a learning rate that is not finite. Nothing was changed.
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

const BETA_MEAN: f32 = 0.9;
const BETA_SQUARE: f32 = 0.999;
const EPSILON: f32 = 1e-8;

impl OptimiserState {
    /// AdamW at rest, for `dimension` coordinates.
    pub fn adam_w(dimension: usize) -> Self {
        Self::AdamW { mean: vec![0.0; dimension], square: vec![0.0; dimension], steps: 0 }
    }
    /// Momentum at rest, for `dimension` coordinates.
    pub fn sgd(dimension: usize, momentum: f32) -> Self {
        Self::Sgd { velocity: vec![0.0; dimension], momentum }
    }

    fn dimension(&self) -> usize {
        match self {
            Self::AdamW { mean, square, .. } => mean.len().min(square.len()),
            Self::Sgd { velocity, .. } => velocity.len(),
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
        let (rate, shrink) = (narrow(size.rate), narrow(1.0 - size.rate * size.decay));
        for range in size.decays {
            weights[range.clone()].iter_mut().for_each(|w| *w *= shrink);
        }
        match self {
            Self::AdamW { mean, square, steps } => {
                *steps += 1;
                let t = i32::try_from(*steps).unwrap_or(i32::MAX);
                let (fix_mean, fix_square) = ((1.0 - BETA_MEAN.powi(t)).recip(), (1.0 - BETA_SQUARE.powi(t)).recip());
                for (((w, &g), m), s) in weights.iter_mut().zip(gradient).zip(mean).zip(square) {
                    *m = BETA_MEAN * *m + (1.0 - BETA_MEAN) * g;
                    *s = BETA_SQUARE * *s + (1.0 - BETA_SQUARE) * g * g;
                    *w -= rate * (*m * fix_mean) / ((*s * fix_square).sqrt() + EPSILON);
                }
            }
            Self::Sgd { velocity, momentum } => {
                for ((w, &g), v) in weights.iter_mut().zip(gradient).zip(velocity) {
                    *v = *momentum * *v + g;
                    *w -= rate * *v;
                }
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
fn narrow(x: f64) -> f32 {
    x as f32
}

/// Learning rate of a global step: linear warm-up, then half a cosine down to a tenth of the peak at the last step.
///
/// A function of the step's number in the whole task, so that a restart or a skipped round does not bend it (training.md M8).
pub fn learning_rate(peak: f64, warmup_steps: u64, total_steps: u64, step: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    if step < warmup_steps {
        return peak * share(step + 1, warmup_steps);
    }
    let done = share(step - warmup_steps, total_steps.saturating_sub(warmup_steps)).min(1.0);
    peak * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * done).cos()))
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
    fn both_optimisers_find_the_bottom() {
        assert!((minimise(OptimiserState::adam_w(1), 0.05) - 3.0).abs() < 1e-2);
        assert!((minimise(OptimiserState::sgd(1, 0.9), 0.01) - 3.0).abs() < 1e-2);
    }

    #[test]
    fn the_first_adam_step_has_the_size_of_the_rate() {
        let mut w = [1.0f32, 1.0, 1.0];
        OptimiserState::adam_w(3).step(&mut w, &[5.0, -0.01, 0.0], &StepSize { rate: 0.1, decay: 0.0, decays: &[] }).unwrap();
        assert!((w[0] - 0.9).abs() < 1e-5 && (w[1] - 1.1).abs() < 1e-4 && w[2] == 1.0, "{w:?}");
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
    fn a_state_survives_being_written_down() {
        let mut state = OptimiserState::adam_w(3);
        state.step(&mut [0.0; 3], &[0.1, 0.2, 0.3], &StepSize { rate: 0.1, decay: 0.0, decays: &[] }).unwrap();
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<OptimiserState>(&text).unwrap(), state);
    }

    #[test]
    fn the_rate_rises_then_falls_to_a_tenth() {
        let at = |step| learning_rate(1.0, 10, 110, step);
        assert!((at(0) - 0.1).abs() < 1e-12 && (at(9) - 1.0).abs() < 1e-12 && (at(10) - 1.0).abs() < 1e-12);
        assert!((10..110).all(|s| at(s + 1) <= at(s)) && (at(110) - 0.1).abs() < 1e-12 && (at(5000) - 0.1).abs() < 1e-12);
    }
}
