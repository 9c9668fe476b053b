//! L2: one training run with many canaries, each in it by a secret coin (privacy.md D70; Steinke, Nasr, Jagielski 2023, arXiv 2305.08846).

use super::payment::{Means as Hands, REAL};
use super::{AuditRunError, Audited, Stage};
use crate::batch::Dataset;
use crate::model::config::Family;
use crate::model::parameters::{Access, size};
use crate::model::{Config, ParameterTable, TransformerWeights};
use crate::optim::OptimiserState;
use crate::round::{Means, Round, noised_steps};
use crate::shard::names;
use crate::workers::WorkError;
use privacy::accountant::Phase;
use privacy::audit::one_run::{Claim, Outcome, report};
use privacy::audit::{Coins, Expected, Report};
use privacy::bound::{Block, UnitOutcome, UnitSum};
use privacy::mechanism::{Mechanism, declared_size};
use privacy::noise::{Canary, EntropySource, StepContext, Stream};
use protocol::ids::ManifestDigest;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Length of a canary's gradient in clip bounds, or in ones where the bound is smaller: it must be clipped to count as C·u, so that clipping is
/// audited too, and the 0.01 of AUTO-S must not show.
const LOUD: f64 = 1000.0;

/// Canaries of one run: a unit of gradient 1000·C along one coordinate each. In a step they come and go like units with records; what their
/// coordinates show after the noise is added up.
pub(crate) struct Canaries {
    /// The coordinate of each canary, whether it is in or not.
    places: Vec<usize>,
    /// Those that are in, by position in `places`.
    inside: Vec<usize>,
    /// Sum over steps of the noised integers at each place.
    scores: Vec<i64>,
}

impl Canaries {
    fn new(places: Vec<usize>, sides: &[bool]) -> Self {
        let inside = sides.iter().enumerate().filter(|(_, side)| **side).map(|(at, _)| at).collect();
        Self { scores: vec![0; places.len()], places, inside }
    }

    /// How many are in.
    pub(crate) fn inside(&self) -> usize {
        self.inside.len()
    }

    /// Adds the sampled ones as `workers` add units: through clipping and grid.
    pub(crate) fn add_to(&self, sum: &mut UnitSum, sampled: impl Iterator<Item = usize>, m: &Mechanism) -> Result<(), WorkError> {
        #[expect(clippy::cast_possible_truncation, reason = "gradients are 32-bit floats")]
        let loud = [(m.clip().max(1.0) * LOUD) as f32];
        for at in sampled {
            let block = Block { offset: self.places[self.inside[at]], values: &loud };
            if sum.add_unit(&[block]) != UnitOutcome::Added {
                return Err(WorkError::Misplaced);
            }
        }
        Ok(())
    }

    /// What the noised sum of one step shows.
    pub(crate) fn see(&mut self, noised: &[i64]) {
        self.scores.iter_mut().zip(&self.places).for_each(|(score, &place)| *score += noised[place]);
    }
}

/// An audited run and what opens its commitment.
pub struct CanaryRun {
    /// The report.
    pub report: Report,
    /// The coins; of canaries, so they say nothing about anybody.
    pub coins: Coins,
}

/// Trains the task once with `canaries` made-up units beside the data and judges what their directions show.
///
/// # Privacy
/// unit: the plan's · the canaries count as units of the run · the trained weights are dropped; figures about the noise leave.
///
/// # Errors
/// [`AuditRunError`]: there is no verdict then.
///
/// # Source
/// privacy.md D70, L2.
pub fn one_run(
    audited: &Audited<'_>,
    canaries: usize,
    entropy: &mut dyn EntropySource,
    tell: &mut dyn FnMut(Stage),
) -> Result<CanaryRun, AuditRunError> {
    one_run_with(audited, REAL, canaries, entropy, tell)
}

/// The same with mechanisms and payments that tests may have spoiled.
pub(super) fn one_run_with(
    audited: &Audited<'_>,
    hands: Hands,
    canaries: usize,
    entropy: &mut dyn EntropySource,
    tell: &mut dyn FnMut(Stage),
) -> Result<CanaryRun, AuditRunError> {
    let (start, model) = (audited.first()?, &audited.plan.model);
    // Coordinates are those of what is trained.
    let part = TransformerWeights::part_of(&start, names(&audited.plan.shards))?;
    let read = read(part.config(), audited.data, size(model.max_tokens));
    let places = quiet((part.table(), part.config().spelling.tokens()), &read, size(model.width), canaries)?;
    let (plan, declared) =
        (audited.executed_plan()?, declared_size(u64::try_from(audited.data.units.len() + canaries).unwrap_or(u64::MAX)));
    let (claimed, epsilon) = audited.claim(hands.make, declared)?;
    // Asked of the plan and the account, not of a mechanism that may be wrong about itself.
    let expected = Expected::of_plan(&plan, declared, claimed.noise_multiplier_accounted());
    let mechanism = (hands.make)(&plan, declared)?;
    let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 };
    let coins = Coins::toss(canaries, &mut Stream::<Canary>::open(entropy, &context).map_err(privacy::audit::AuditError::from)?);
    tell(Stage::Committed(coins.commitment()));
    let mut seen = Canaries::new(places, coins.sides());
    let round = Round { plan: &plan, start: &start, data: audited.data, mechanism: &mechanism, global_step: 0 };
    let mut optimiser = OptimiserState::of_plan(&plan.local, part.flat().len());
    let paid = (hands.pay)(&plan, &mechanism, 0)?;
    let means = Means { workers: audited.workers, entropy, canaries: Some(&mut seen) };
    noised_steps(&round, paid, &mut optimiser, means, &mut |p| {
        tell(Stage::Steps { done: p.step + 1, all: p.steps });
        ControlFlow::Continue(())
    })?;
    let phase = Phase {
        noise_multiplier: expected.noise_multiplier(),
        sampling_rate: claimed.sampling_rate_decimal().to_f64(),
        steps: u64::from(plan.local.steps),
    };
    let claim = Claim { phase, epsilon, delta: claimed.delta().to_f64(), reach: reach(&expected) };
    let scores = in_sensitivities(&seen.scores, &expected);
    Ok(CanaryRun { report: report(&claim, &Outcome { scores: &scores, coins: &coins })?, coins })
}

/// What a canary, which is put on the grid by itself on every path, has left of one sensitivity (privacy.md D17).
fn reach(expected: &Expected) -> f64 {
    expected.left_by_itself() / expected.delta_grid()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sums of steps below 2^44 grid steps stay below 2^53 for 500 steps and lose less than noise beyond"
)]
fn in_sensitivities(scores: &[i64], expected: &Expected) -> Vec<f64> {
    scores.iter().map(|&score| score as f64 / expected.delta_grid()).collect()
}

/// Rows of the token table that some record reads.
fn read(config: &Config, data: &Dataset, most: usize) -> BTreeSet<usize> {
    let start = match config.family {
        Family::EncoderDecoder { start, .. } => Some(start),
        Family::Encoder(_) | Family::Decoder => None,
    };
    let shown = data.records().flat_map(|r| [&r.tokens, &r.labels]).flat_map(|tokens| tokens.iter().take(most).copied());
    shown.chain(start).map(size).collect()
}

/// So many coordinates that no record moves: rows of the token table that nobody reads, evenly spread. What others add to a canary's direction
/// would blur its score and hide what is looked for. A table that is the head too is moved everywhere.
fn quiet(
    (table, tokens): (&ParameterTable, &str),
    read: &BTreeSet<usize>,
    width: usize,
    wanted: usize,
) -> Result<Vec<usize>, AuditRunError> {
    let rows = table.find(tokens).filter(|p| p.access == Access::Rows).map(|p| p.range()).unwrap_or_default();
    let there: Vec<usize> = rows.clone().filter(|at| !read.contains(&((at - rows.start) / width))).collect();
    if there.len() < wanted || wanted == 0 {
        return Err(AuditRunError::Directions { wanted, there: there.len() });
    }
    Ok((0..wanted).map(|i| there[i * there.len() / wanted]).collect())
}

#[cfg(test)]
#[path = "canaries_tests.rs"]
mod tests;
