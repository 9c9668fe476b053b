//! Learning rates as functions of the step's number in the whole task, so that a restart or a skipped round does not bend them
//! (training.md M8).

use protocol::plan::Plan;

pub use protocol::plan::Schedule;

/// Peak, length and shape of a task's rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Highest rate.
    pub peak: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole task.
    pub total_steps: u64,
    /// What comes after the warm-up.
    pub schedule: Schedule,
}

/// Share of the peak that a cosine or a line ends at.
const FLOOR: f64 = 0.1;
/// Share of the steps after which WSD decays (Hu et al. 2024, arXiv 2404.06395, have 0.9; small runs gain from a longer decay).
const STABLE: f64 = 0.8;

impl Rates {
    /// Those of a federated task.
    pub fn of_plan(plan: &Plan) -> Self {
        let local = &plan.local;
        Self {
            peak: local.learning_rate.to_f64(),
            warmup_steps: u64::from(local.warmup_steps),
            total_steps: plan.total_steps(),
            schedule: local.schedule.unwrap_or_default(),
        }
    }

    /// Rate of a step, counted from 0. Steps beyond the last have its rate.
    pub fn at(&self, step: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        if step < self.warmup_steps {
            return self.peak * share(step + 1, self.warmup_steps);
        }
        let done = share(step - self.warmup_steps, self.total_steps.saturating_sub(self.warmup_steps)).min(1.0);
        self.peak
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Cosine => FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
                Schedule::Linear => 1.0 - (1.0 - FLOOR) * done,
                Schedule::Wsd => ((1.0 - share(step, self.total_steps).min(1.0)) / (1.0 - STABLE)).min(1.0),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule) -> Rates {
        Rates { peak: 1.0, warmup_steps: 10, total_steps: 110, schedule }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn every_schedule_rises_alike_and_never_rises_again() {
        for schedule in [Schedule::Constant, Schedule::Cosine, Schedule::Linear, Schedule::Wsd] {
            let at = |step| rates(schedule).at(step);
            assert!(close(at(0), 0.1) && close(at(9), 1.0) && close(at(10), 1.0), "{schedule:?}");
            assert!((10..150).all(|s| at(s + 1) <= at(s) && at(s + 1) >= 0.0), "{schedule:?}");
        }
    }

    #[test]
    fn each_schedule_ends_where_it_says() {
        let end = |schedule| rates(schedule).at(110);
        assert!(close(end(Schedule::Constant), 1.0) && close(end(Schedule::Wsd), 0.0));
        assert!(close(end(Schedule::Cosine), 0.1) && close(end(Schedule::Linear), 0.1) && close(rates(Schedule::Cosine).at(5000), 0.1));
        let half = |schedule| rates(schedule).at(60);
        assert!(close(half(Schedule::Cosine), 0.55) && close(half(Schedule::Linear), 0.55) && close(half(Schedule::Wsd), 1.0));
        assert!(close(rates(Schedule::Wsd).at(99), 0.5));
    }
}
