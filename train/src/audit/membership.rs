//! L3: how well one can tell whose records a model saw (privacy.md D70; Carlini et al. 2022, arXiv 2112.03570), and how well it remembers planted
//! strings (Carlini et al. 2019, arXiv 1802.08232). Models are trained as a round trains, on a random half of the units each.

use super::payment::pay;
use super::{AuditRunError, Audited, Stage};
use crate::batch::{Dataset, Record, UnitExamples};
use crate::eval::{asked, log_odds};
use crate::model::Weights;
use crate::model::parameters::size;
use crate::optim::OptimiserState;
use crate::round::{Means, Round, noised_steps};
use privacy::audit::membership::{self as figures, Claim, Outcome, Shadow};
use privacy::audit::{AuditError, Coins};
use privacy::mechanism::{Mechanism, declared_size};
use privacy::noise::{Canary, EntropySource, StepContext, Stream};
use protocol::ids::ManifestDigest;
use protocol::plan::{Asks, Plan};
use std::ops::ControlFlow;

/// Tokens of a planted string, if the model reads that many.
const STRING: usize = 8;
/// Strings like a planted one that it is ranked among: ten bits of exposure at most.
const CANDIDATES: usize = 1023;

/// How much is trained besides the audited model, and planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Shadow models, an even number: they come in pairs that hold every unit once.
    pub shadows: usize,
    /// Planted strings: units of one record of random tokens and a random class. They are units like all others.
    pub planted: usize,
}

/// How well one planted string is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exposed {
    /// Whether the audited model saw it.
    pub inside: bool,
    /// Exposure in bits, 0 to 10; 1.44 on average for a model that saw nothing.
    pub bits: f64,
}

/// An audited model's figures.
pub struct MembershipRun {
    /// Membership.
    pub membership: figures::Membership,
    /// Planted strings.
    pub exposed: Vec<Exposed>,
}

/// What all models share.
struct Lesson<'a> {
    audited: &'a Audited<'a>,
    plan: Plan,
    mechanism: Mechanism,
    start: Weights,
    units: Dataset,
    models: u64,
}

/// Trains the audited model and the shadow models on halves of the units and tells how well membership can be told.
///
/// # Privacy
/// The models are dropped; the figures are computed from records without noise and are for the institution's own eyes.
///
/// # Errors
/// [`AuditRunError`]: there is no verdict then.
///
/// # Source
/// privacy.md D70, L3.
pub fn membership(
    audited: &Audited<'_>,
    how: Membership,
    entropy: &mut dyn EntropySource,
    tell: &mut dyn FnMut(Stage),
) -> Result<MembershipRun, AuditRunError> {
    // Told before hours of training, not after.
    figures::check_shadows(how.shadows)?;
    let mut units = audited.data.clone();
    let mut made_up = stream(entropy, 0)?;
    units.units.extend((0..how.planted).map(|_| planted(&audited.plan.model, &mut made_up)));
    let lesson = Lesson::new(audited, units, how)?;
    let (count, steps) = (lesson.units.units.len(), lesson.audited.plan.total_steps());
    let coins = Coins::toss(count, &mut stream(entropy, 1)?);
    tell(Stage::Committed(coins.commitment()));
    let target = lesson.train(coins.sides(), 0, entropy, tell)?;
    let confidences = lesson.confidences(&target)?;
    let mut shadows = Vec::new();
    for pair in 0..u64::try_from(how.shadows / 2).unwrap_or(u64::MAX) {
        let half = Coins::toss(count, &mut stream(entropy, 2 + pair)?).sides().to_vec();
        let rest = half.iter().map(|side| !side).collect();
        for (inside, number) in [(half, 2 * pair + 1), (rest, 2 * pair + 2)] {
            let shadow = lesson.train(&inside, number, entropy, tell)?;
            shadows.push(Shadow { confidences: lesson.confidences(&shadow)?, inside });
        }
    }
    let (claimed, epsilon) = audited.claim(Mechanism::of_plan, declared_size(lesson.half()))?;
    let claim = Claim { epsilon, delta: claimed.delta().to_f64(), steps };
    let outcome = Outcome { confidences: &confidences, coins: &coins, shadows: &shadows };
    let membership = figures::report(&claim, &outcome)?;
    let exposed = lesson.exposed(&target, how.planted, coins.sides(), &mut made_up)?;
    Ok(MembershipRun { membership, exposed })
}

fn stream(entropy: &mut dyn EntropySource, step: u64) -> Result<Stream<Canary>, AuditError> {
    Ok(Stream::open(entropy, &StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step })?)
}

/// A number below `below`, from 64 bits: as good as uniform for numbers of 32 bits.
fn below(stream: &mut Stream<Canary>, below: u32) -> u32 {
    u32::try_from(stream.next_u64() % u64::from(below.max(1))).unwrap_or(0)
}

/// Random tokens. Numbers below 3 are special to the tokenizer and say nothing.
fn string(vocab: u32, length: usize, stream: &mut Stream<Canary>) -> Vec<u32> {
    (0..length).map(|_| 3.min(vocab - 1) + below(stream, vocab.saturating_sub(3))).collect()
}

fn planted(model: &protocol::plan::EncoderConfig, stream: &mut Stream<Canary>) -> UnitExamples {
    let tokens = string(model.vocab, STRING.min(size(model.max_tokens)), stream);
    let class = below(stream, u32::try_from(model.classes.len()).unwrap_or(1));
    UnitExamples { records: vec![Record { tokens, class, labels: Vec::new() }] }
}

impl<'a> Lesson<'a> {
    fn new(audited: &'a Audited<'a>, units: Dataset, how: Membership) -> Result<Self, AuditRunError> {
        let plan = audited.executed_plan()?;
        let start = audited.first()?;
        // Told before hours of training, too.
        asked(&start, Asks::Class)?;
        let half = u64::try_from(units.units.len() / 2).unwrap_or(u64::MAX);
        let mechanism = Mechanism::of_plan(&plan, declared_size(half))?;
        let models = u64::try_from(how.shadows).unwrap_or(u64::MAX).saturating_add(1);
        Ok(Self { audited, plan, mechanism, start, units, models })
    }

    /// What every model declares: the same, whatever its coins gave it.
    fn half(&self) -> u64 {
        u64::try_from(self.units.units.len() / 2).unwrap_or(u64::MAX)
    }

    /// A model of the units that are inside.
    fn train(
        &self,
        inside: &[bool],
        number: u64,
        entropy: &mut dyn EntropySource,
        tell: &mut dyn FnMut(Stage),
    ) -> Result<Weights, AuditRunError> {
        let chosen = self.units.units.iter().zip(inside).filter(|(_, inside)| **inside).map(|(unit, _)| unit.clone());
        let data = Dataset { units: chosen.collect() };
        let round = Round { plan: &self.plan, start: &self.start, data: &data, mechanism: &self.mechanism, global_step: 0 };
        let mut optimiser = OptimiserState::of_plan(&self.plan.local, usize::try_from(self.plan.dimension()).unwrap_or(usize::MAX));
        let paid = pay(&self.plan, &self.mechanism, number)?;
        let means = Means { workers: self.audited.workers, entropy, canaries: None };
        let (weights, _) = noised_steps(&round, paid, &mut optimiser, means, &mut |p| {
            tell(Stage::Steps { done: number * p.steps + p.step + 1, all: self.models * p.steps });
            ControlFlow::Continue(())
        })?;
        Ok(weights.within(&self.start)?)
    }

    fn confidences(&self, model: &Weights) -> Result<Vec<f64>, AuditRunError> {
        Ok(log_odds(model, &self.units, size(self.plan.privacy.max_records_per_unit), self.audited.workers)?)
    }

    /// The planted strings are the last units. Each is ranked among fresh strings of its own length and class.
    fn exposed(
        &self,
        model: &Weights,
        planted: usize,
        inside: &[bool],
        made_up: &mut Stream<Canary>,
    ) -> Result<Vec<Exposed>, AuditRunError> {
        let first = self.units.units.len() - planted;
        let mut out = Vec::new();
        for (unit, &inside) in self.units.units.iter().zip(inside).skip(first) {
            let like = |record: &Record, stream: &mut Stream<Canary>| {
                let tokens = string(self.plan.model.vocab, record.tokens.len(), stream);
                UnitExamples { records: vec![Record { tokens, class: record.class, labels: Vec::new() }] }
            };
            let mut units = vec![unit.clone()];
            units.extend(unit.records.iter().flat_map(|r| std::iter::repeat_n(r, CANDIDATES)).map(|r| like(r, made_up)));
            let sure = log_odds(model, &Dataset { units }, 1, self.audited.workers)?;
            out.push(Exposed { inside, bits: figures::exposure(sure[0], &sure[1..]) });
        }
        Ok(out)
    }
}
