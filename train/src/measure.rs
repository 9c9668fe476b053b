//! Work for the `bench` commands: one gradient step of a decoder on made-up tokens, with privacy and without (privacy.md D43). Knows no
//! clock. No gradient leaves this room.

use crate::batch::{Batch, Record, UnitExamples};
use crate::capture::{CaptureError, Tape};
use crate::clip::book_keeping;
use crate::clip::guard::square_sum;
use crate::direct::{Keep, Precision};
use crate::fit::{Fit, FitError, Material, OptimiserKind, Recipe};
use crate::model::config::{Family, MaskKind};
use crate::model::decoder::Head;
use crate::model::norm::NormKind;
use crate::model::{Choices, Config, DecoderConfig, DecoderWeights, ModelError, Objective, Transformer, TransformerWeights};
use crate::optim::USUAL_BETAS;
use crate::schedule::{Rates, Schedule};
use crate::shard::kind::{LowRank, ShardKind};
use crate::workers::{Work, WorkError, Workers, unit_gradients};
use privacy::bound::{ClippedSum, NoiseError, UnitOutcome, UnitSum};
use privacy::mechanism::{Accumulate, FloatSums, Mechanism, MechanismError, Rounding};
use privacy::noise::{Noise, Stream};
use protocol::decimal::Decimal;
use protocol::plan::{ClipFunction, ClipPath, EncoderConfig, Mode, NoiseKind, PrivacyPlan, Unit, UnitObjective};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::num::NonZeroUsize;

/// Seed of weights and tokens: every run measures the same work.
const SEED: u64 = 20;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Units B in the micro-batch, one record each.
    pub units: u32,
    /// Tokens T of each record.
    pub tokens: u32,
    /// Model width.
    pub width: u32,
    /// Blocks.
    pub layers: u32,
    /// Vocabulary.
    pub vocab: u32,
    /// What is trained.
    pub trains: Trains,
    /// How clipped sums are made.
    pub path: Path,
    /// What is kept between the passes.
    pub keep: Keep,
}

/// What of the decoder is trained; the rest is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trains {
    /// Everything.
    Full,
    /// So many blocks at the top, the last normalisation with them.
    Top(u32),
    /// The factors B of adapters of this rank on every linear layer of the blocks.
    LoraB(u32),
    /// Shifts and gains.
    Biases,
}

impl Trains {
    fn kind(self, layers: u32) -> ShardKind {
        match self {
            Self::Full => ShardKind::Full,
            Self::Top(blocks) => ShardKind::Layers(layers.saturating_sub(blocks)..layers),
            Self::LoraB(rank) => ShardKind::LoraB(LowRank { rank, alpha: rank.saturating_mul(2), targets: None }),
            Self::Biases => ShardKind::HeadsAndBiases,
        }
    }
}

/// How clipped sums are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Every unit's gradient is instantiated and clipped in integers (privacy.md D17).
    Exact,
    /// Norms first, then weighted products in these floats (D18, D36).
    Sum(Accumulate),
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The sizes are not a model.
    #[error("the sizes are not a model")]
    Model(#[from] ModelError),
    /// The numbers are not a mechanism.
    #[error("the numbers are not a mechanism")]
    Mechanism(#[from] MechanismError),
    /// A gradient could not be computed.
    #[error("gradients could not be computed")]
    Work(#[from] WorkError),
    /// A backward pass is incomplete.
    #[error("a gradient is missing")]
    Capture(#[from] CaptureError),
    /// The tensor engine failed.
    #[error("the tensor engine failed")]
    Engine(#[from] candle_core::Error),
    /// No sum for this mechanism.
    #[error("the mechanism takes no such sum")]
    Sum(#[from] NoiseError),
    /// The system gave no thread.
    #[error("the system gave no thread")]
    Thread(#[from] rayon::ThreadPoolBuildError),
    /// A model that is not trained without privacy.
    #[error("the model cannot be trained directly")]
    Untrainable(#[from] FitError),
    /// A unit's gradient was not finite: what was measured is not what is meant.
    #[error("a made-up unit had no finite gradient")]
    NonFinite,
}

/// A model, a micro-batch and a mechanism.
pub struct Workload {
    size: Size,
    weights: TransformerWeights,
    model: Transformer,
    units: Vec<UnitExamples>,
    mechanism: Mechanism,
    worker: Workers,
}

impl Workload {
    /// Makes everything up, from one fixed seed.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn new(size: Size) -> Result<Self, MeasureError> {
        let weights = TransformerWeights::initial(&size.trains.kind(size.layers).config(&model(size)?, 1)?, SEED)?;
        let dimension = weights.flat().len() as u64;
        let (plan, declared) = (privacy(), u64::from(size.units) * 100);
        let mechanism = match size.path {
            Path::Exact => Mechanism::new(&plan, dimension, declared)?,
            Path::Sum(accumulate) => {
                let sums = FloatSums { accumulate, rounding: Rounding::Dithered, micro_batch: size.units, max_rows: size.tokens };
                Mechanism::of_float_sums(&plan, dimension, declared, sums)?
            }
        };
        let model = Transformer::load(&weights)?.keeping(size.keep);
        Ok(Self { size, weights, model, units: units(size), mechanism, worker: Workers::start(NonZeroUsize::MIN)? })
    }

    /// Trained coordinates.
    pub fn dimension(&self) -> u64 {
        self.mechanism.dimension()
    }

    fn batch(&self, units: &[UnitExamples]) -> Batch {
        Batch::pack(units.iter().flat_map(|u| &u.records), crate::model::parameters::size(self.size.tokens))
    }

    fn gradient(&self, units: &[UnitExamples]) -> Result<Vec<f32>, MeasureError> {
        let tape = Tape::total(self.weights.flat().len());
        let losses = self.model.losses(&self.batch(units), &tape)?;
        Ok(tape.finish_total(&losses.sum_all()?.backward()?, self.weights.table())?)
    }

    /// Forward and backward pass and the gradient of the whole micro-batch, with the same layers and nothing for privacy.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn plain(&self) -> Result<(), MeasureError> {
        self.worker.run(|| self.gradient(&self.units).map(drop))
    }

    /// The same with every unit clipped by itself, up to the clipped sum.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn private(&self) -> Result<(), MeasureError> {
        self.worker.run(|| match self.size.path {
            Path::Exact => self.exact(),
            Path::Sum(_) => self.book_keeping(),
        })
    }

    fn work(&self) -> Work<'_> {
        let units = self.units.len();
        let max_tokens = crate::model::parameters::size(self.size.tokens);
        let (objective, table, mechanism) = (&self.model, self.weights.table(), &self.mechanism);
        Work { objective, table, mechanism, max_tokens, micro_batch: units, max_records: 1, of_unit: UnitObjective::Mean }
    }

    fn exact(&self) -> Result<(), MeasureError> {
        let mut sum = UnitSum::new(&self.mechanism);
        let units: Vec<&UnitExamples> = self.units.iter().collect();
        let mut all_finite = true;
        unit_gradients(self.work(), &units, &mut |blocks, _| {
            all_finite &= sum.add_unit(blocks) == UnitOutcome::Added;
            Ok(())
        })?;
        if all_finite { Ok(()) } else { Err(MeasureError::NonFinite) }
    }

    fn book_keeping(&self) -> Result<(), MeasureError> {
        let mut sum = ClippedSum::new(&self.mechanism)?;
        let units: Vec<&UnitExamples> = self.units.iter().collect();
        let outcomes = book_keeping::add(self.work(), &units, &mut sum)?.outcomes;
        if outcomes.iter().all(|&o| o == UnitOutcome::Added) { Ok(()) } else { Err(MeasureError::NonFinite) }
    }

    /// The same one unit at a time, as if the micro-batch were 1: the loop that everything else is compared with.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn naive_loop(&self) -> Result<(), MeasureError> {
        self.worker.run(|| {
            let mut sum = vec![0.0f64; self.weights.flat().len()];
            for unit in self.units.chunks(1) {
                let gradient = self.gradient(unit)?;
                let factor = self.mechanism.clip() / (square_sum(&gradient).sqrt() + 0.01);
                if !factor.is_finite() {
                    return Err(MeasureError::NonFinite);
                }
                sum.iter_mut().zip(&gradient).for_each(|(sum, &g)| *sum += factor * f64::from(g));
            }
            Ok(())
        })
    }

    /// The noise of one step, drawn and forgotten.
    ///
    /// # Privacy
    /// unit: none, for no datum is read and nothing comes out (privacy.md D43, D73).
    pub fn noise(&self, noise: &mut Stream<Noise>) {
        self.mechanism.rehearse(noise);
    }
}

/// A decoder and made-up text for measuring training without privacy: AdamW, always the whole model, `units` pieces of `tokens` tokens a
/// step.
///
/// # Errors
/// [`MeasureError`].
pub fn training(size: Size, steps: u64, precision: Precision) -> Result<(Fit, Material), MeasureError> {
    let weights = DecoderWeights::initial(&direct(size), SEED)?;
    let rates = Rates { peak: 1e-3, warmup_steps: 0, total_steps: steps, schedule: Schedule::Constant };
    let recipe = Recipe {
        batch: crate::model::parameters::size(size.units),
        micro_batch: None,
        rates,
        weight_decay: 0.1,
        max_gradient_norm: None,
        optimiser: OptimiserKind::AdamW { betas: USUAL_BETAS },
        seed: SEED,
        precision,
        keep: size.keep,
        bucket: 1,
        drop_tokens: 0.0,
        average: 0.0,
    };
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let text = (0..1 << 16).map(|_| rng.next_u32() % size.vocab).collect();
    Ok((Fit::decoder(&weights, recipe)?, Material::Text(text)))
}

/// Heads, and width of the feed-forward part.
fn usual(width: u32) -> (u32, u32) {
    ((width / 64).max(1), width.saturating_mul(4))
}

/// The decoder for the direct passes.
fn direct(size: Size) -> DecoderConfig {
    let Size { tokens, width, layers, vocab, .. } = size;
    let (heads, hidden) = usual(width);
    DecoderConfig { vocab, max_tokens: tokens, width, heads, layers, hidden, head: Head::Tied, norm: NormKind::Layer, adapter: None }
}

/// The same decoder as rounds compute with it: the parts of Concordat's own classifier, asked for the next token.
fn model(size: Size) -> Result<Config, ModelError> {
    let Size { tokens, width, layers, vocab, .. } = size;
    let (heads, hidden) = usual(width);
    let sizes = EncoderConfig { vocab, max_tokens: tokens, width, heads, layers, hidden, ..EncoderConfig::none() };
    let own = Choices::own(&sizes, 0)?;
    Config::new(Choices { family: Family::Decoder, mask: MaskKind::Causal, head: Head::Tied, ..own })
}

fn units(size: Size) -> Vec<UnitExamples> {
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let mut record = || Record { tokens: (0..size.tokens).map(|_| rng.next_u32() % size.vocab).collect(), class: 0, labels: Vec::new() };
    (0..size.units).map(|_| UnitExamples { records: vec![record()] }).collect()
}

fn privacy() -> PrivacyPlan {
    let decimal = |digits, places| Decimal::new(digits, places).expect("a digit and at most nine places are a decimal");
    PrivacyPlan {
        unit: Unit::User,
        mode: Mode::Local,
        path: ClipPath::Exact,
        noise: NoiseKind::RoundedGaussian,
        clip_function: ClipFunction::AutoS,
        clip: decimal(1, 0),
        grid_bits: 16,
        noise_multiplier: decimal(1, 0),
        sampling_rate: decimal(1, 2),
        delta: decimal(1, 6),
        epsilon_cap: decimal(8, 0),
        max_records_per_unit: 1,
        unit_objective: UnitObjective::Mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_step_runs_on_a_small_model() {
        for (trains, path, keep) in [
            (Trains::Full, Path::Sum(Accumulate::F32), Keep::Everything),
            (Trains::Full, Path::Sum(Accumulate::F64), Keep::Inputs),
            (Trains::Full, Path::Exact, Keep::Everything),
            (Trains::LoraB(2), Path::Exact, Keep::Inputs),
            (Trains::Top(1), Path::Exact, Keep::Everything),
            (Trains::Biases, Path::Exact, Keep::Everything),
        ] {
            let size = Size { units: 3, tokens: 6, width: 8, layers: 2, vocab: 11, trains, path, keep };
            let work = Workload::new(size).unwrap();
            work.plain().unwrap();
            work.private().unwrap();
            work.naive_loop().unwrap();
            assert_eq!(work.dimension(), work.weights.flat().len() as u64);
        }
    }
    /// Counted by hand: blocks of width C and hidden width F, the last normalisation, tables that are the head too.
    #[test]
    fn each_choice_trains_its_own_coordinates() {
        let dimension = |trains| {
            let size = Size { units: 1, tokens: 4, width: 8, layers: 3, vocab: 11, trains, path: Path::Exact, keep: Keep::Everything };
            Workload::new(size).map(|work| work.dimension())
        };
        let (c, f) = (8, 32);
        let block = 4 * c * c + 4 * c + 2 * c * f + f + c + 4 * c;
        assert_eq!(dimension(Trains::Top(1)).unwrap(), block + 2 * c);
        assert_eq!(dimension(Trains::Top(2)).unwrap(), 2 * block + 2 * c);
        assert_eq!(dimension(Trains::Full).unwrap(), 3 * block + 2 * c + (11 + 4) * c);
        assert_eq!(dimension(Trains::Biases).unwrap(), 3 * (9 * c + f) + 2 * c);
        assert_eq!(dimension(Trains::LoraB(2)).unwrap(), 3 * 2 * (3 * c + c + f + c));
        assert!(dimension(Trains::Top(0)).is_err() && dimension(Trains::LoraB(0)).is_err());
    }
}
