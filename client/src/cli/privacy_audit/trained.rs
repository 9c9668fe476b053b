//! The levels that train: which plan, on which records, with a bar for people (privacy.md D70).

use super::super::answer::{Failure, say};
use super::super::bar::{Bar, Step};
use super::{AuditArgs, Found, More};
use crate::config::Config;
use crate::data::{DataError, DataSource};
use crate::files::{self, Item};
use crate::foundation::Foundation;
use crate::home::Home;
use privacy::audit::Subject;
use privacy::noise::EntropySource;
use protocol::codec;
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, PlanDigest, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PrivacyPlan, Strategy,
    TokenizerKind, Unit, UnitObjective, Weighting,
};
use std::num::NonZeroUsize;
use std::path::Path;
use train::audit::{AuditRunError, Audited, Membership, Stage};
use train::batch::Dataset;
use train::hf::base::Base;
use train::model::Weights;
use train::shard::{STEP_EXPONENT, shard_table};
use train::workers::Workers;

/// Noise multiplier of the configuration in which one run has power: everybody in each of four steps, μ = q√T/σ = 1.
pub(super) const POWERFUL_NOISE: &str = "2";
/// Its steps.
const POWERFUL_STEPS: u32 = 4;
/// Units with records beside canaries, unless another number is asked for.
const BYSTANDERS: u32 = 32;
/// Units whose membership is told, unless another number is asked for: at a rate of 0.1 % one false positive among a thousand.
const MEMBERS: u32 = 2000;
/// Seed of generated messages: public, and without influence on anything secret.
const MESSAGES: u64 = 7;
/// Seed of what a plan's checkpoint does not have: as public.
const WEIGHTS: u64 = 1;

pub(in crate::cli) type Planned = (Plan, PlanDigest);

/// A prepared plan.
pub(in crate::cli) fn read_plan(path: &Path) -> Result<Planned, Failure> {
    const HINT: &str = "give the plan.cbor that concordat-server plan prepare wrote";
    let bytes = files::read(path, Plan::MAX_BYTES, Item::Plan).map_err(|e| Failure::trouble("bad_plan", &e).hint(HINT))?;
    let plan: Plan = codec::decode(&bytes, Plan::MAX_BYTES).map_err(|e| Failure::trouble("bad_plan", &e).hint(HINT))?;
    plan.check().map_err(|e| Failure::trouble("bad_plan", &e))?;
    Ok((plan, Plan::digest(&bytes)))
}

pub(super) fn one_run(
    home: &Home,
    args: &AuditArgs,
    (subject, planned): (Subject, Option<Planned>),
    settings: &dyn Fn() -> Result<Config, Failure>,
    entropy: &mut dyn EntropySource,
) -> Result<Found, Failure> {
    let units = args.units.unwrap_or(BYSTANDERS);
    let Some((plan, digest)) = planned else {
        let plan = built_in(POWERFUL_STEPS, Decimal::ONE, subject.claimed).map_err(|e| no_plan(&e))?;
        let ground = Ground { data: made_up(&plan, None, units)?, start: None };
        return canaries(&plan, subject, &ground, args, entropy);
    };
    let ground = ground(home, args, &plan, units, settings)?;
    let powerful = powerful(&plan, &subject).map_err(|e| no_plan(&e))?;
    let beside = canaries(&powerful.0, powerful.1, &ground, args, entropy)?;
    let mut found = canaries(&plan, subject, &ground, args, entropy)?;
    found.plan = Some(digest);
    if let More::OneRun { beside: place, .. } = &mut found.more {
        *place = Some(Box::new(beside));
    }
    Ok(found)
}

/// The plan's model and clipping where an attack has power, with as much less noise than is claimed as the subject has.
fn powerful(plan: &Plan, subject: &Subject) -> Result<(Plan, Subject), protocol::decimal::BadDecimal> {
    let mut plan = plan.clone();
    let claimed: Decimal = POWERFUL_NOISE.parse()?;
    plan.rounds = 1;
    plan.local.steps = POWERFUL_STEPS;
    plan.privacy.sampling_rate = Decimal::ONE;
    plan.privacy.noise_multiplier = claimed;
    let part = subject.noise_multiplier.to_f64() / subject.claimed.to_f64();
    let noise_multiplier = Decimal::ceil(claimed.to_f64() * part, 6)?;
    Ok((plan, subject.clone().with_noise(noise_multiplier, claimed)))
}

fn canaries(plan: &Plan, subject: Subject, ground: &Ground, args: &AuditArgs, entropy: &mut dyn EntropySource) -> Result<Found, Failure> {
    let workers = workers()?;
    let audited = ground.audited(plan, &subject, &workers);
    let bar = Bar::default();
    let run = train::audit::one_run(&audited, usize::try_from(args.canaries).unwrap_or(usize::MAX), entropy, &mut |s| show(&bar, s));
    bar.end();
    let run = run.map_err(|e| not_audited(&e))?;
    let more = More::OneRun { opening: run.coins.opening(), beside: None };
    Ok(Found { report: run.report, subject, plan: None, more })
}

pub(super) fn membership(
    home: &Home,
    args: &AuditArgs,
    (subject, planned): (Subject, Option<Planned>),
    settings: &dyn Fn() -> Result<Config, Failure>,
    entropy: &mut dyn EntropySource,
) -> Result<Found, Failure> {
    let (plan, digest) = match planned {
        Some((plan, digest)) => (plan, Some(digest)),
        None => (built_in(60, Decimal::new(1, 1).map_err(|e| no_plan(&e))?, subject.claimed).map_err(|e| no_plan(&e))?, None),
    };
    let (ground, workers) = (ground(home, args, &plan, args.units.unwrap_or(MEMBERS), settings)?, workers()?);
    let audited = ground.audited(&plan, &subject, &workers);
    let [shadows, planted] = [args.shadows, args.planted].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let bar = Bar::default();
    let run = train::audit::membership(&audited, Membership { shadows, planted }, entropy, &mut |s| show(&bar, s));
    bar.end();
    let run = run.map_err(|e| not_audited(&e))?;
    let more = More::Membership { points: run.membership.points.to_vec(), exposed: run.exposed };
    Ok(Found { report: run.membership.report, subject, plan: digest, more })
}

fn not_audited(error: &AuditRunError) -> Failure {
    Failure::trouble("not_audited", error)
}

fn no_plan(error: &dyn std::error::Error) -> Failure {
    Failure::trouble("not_audited", error)
}

fn workers() -> Result<Workers, Failure> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Workers::start(threads).map_err(|e| Failure::trouble("no_threads", &e))
}

/// Coins are committed to before the first step, so that no bar is in the way of the words.
fn show(bar: &Bar, stage: Stage) {
    match stage {
        Stage::Committed(coins) => say(&format!("coins committed to: {coins}")),
        Stage::Steps { done: _, all } => bar.tell(Step::of("training steps"), 1, Some(all)),
    }
}

/// What is trained on, and what training begins from where the plan names a checkpoint.
struct Ground {
    data: Dataset,
    start: Option<Weights>,
}

impl Ground {
    fn audited<'a>(&'a self, plan: &'a Plan, subject: &Subject, workers: &'a Workers) -> Audited<'a> {
        let (executed, claimed) = (subject.noise_multiplier, subject.claimed);
        Audited { plan, executed, claimed, data: &self.data, workers, start: self.start.as_ref() }
    }
}

/// The plan's checkpoint, if it begins from one, is the one that the settings name.
fn ground(
    home: &Home,
    args: &AuditArgs,
    plan: &Plan,
    units: u32,
    settings: &dyn Fn() -> Result<Config, Failure>,
) -> Result<Ground, Failure> {
    let foundation = match plan.model.base {
        Some(_) => Foundation::of_plan(plan, settings()?.base.as_deref(), Some(home.dir())).map_err(|e| Failure::trouble("no_base", &e))?,
        None => None,
    };
    let Some(Foundation { base, outside }) = foundation else {
        return Ok(Ground { data: records(home, args, (plan, None), units, settings)?, start: None });
    };
    let data = records(home, args, (plan, Some(&base)), units, settings)?;
    let first = base.begin(&plan.model, &plan.shards, WEIGHTS).map_err(|e| Failure::trouble("no_base", &e))?;
    Ok(Ground { data, start: Some(first.beside(outside)) })
}

/// The institution's own records where they are asked for, else generated messages.
fn records(
    home: &Home,
    args: &AuditArgs,
    (plan, base): (&Plan, Option<&Base>),
    units: u32,
    settings: &dyn Fn() -> Result<Config, Failure>,
) -> Result<Dataset, Failure> {
    if !args.own_data {
        return made_up(plan, base, units);
    }
    let config = settings()?;
    let named = config.data.as_ref().ok_or_else(|| {
        Failure::trouble_text("no_data", "the settings name no records")
            .hint("add a [data] section to client.toml, or leave out --own-data")
    })?;
    let mut data = DataSource::load(home, named).and_then(|source| source.for_plan(plan, base)).map_err(|e| bad_data(&e))?;
    data.units.truncate(usize::try_from(units).unwrap_or(usize::MAX));
    Ok(data)
}

fn bad_data(error: &DataError) -> Failure {
    Failure::trouble("bad_data", error).hint("concordat-client data check says more")
}

/// Generated messages whose classes take the names of the plan's, if it has any.
fn made_up(plan: &Plan, base: Option<&Base>, units: u32) -> Result<Dataset, Failure> {
    // A few more: some units are lost to cleaning.
    let count = usize::try_from(units).unwrap_or(usize::MAX);
    let mut records = corpus::sms::generate(MESSAGES, 0, 1, count.saturating_mul(3).min(corpus::sms::MAX_COUNT))
        .map_err(|e| Failure::trouble("not_audited", &e))?;
    for record in &mut records {
        let class = corpus::sms::LABELS.iter().position(|l| *l == record.label).unwrap_or(0);
        if let Some(name) = plan.model.classes.iter().cycle().nth(class) {
            record.label.clone_from(name);
        }
        if plan.privacy.unit == Unit::Record {
            record.user = None;
        }
    }
    let mut data = DataSource::made_up(records, plan.privacy.unit).for_plan(plan, base).map_err(|e| bad_data(&e))?;
    data.units.truncate(count);
    Ok(data)
}

/// A small task of generated messages, of one round.
fn built_in(steps: u32, sampling_rate: Decimal, noise_multiplier: Decimal) -> Result<Plan, BuiltInError> {
    let classes = corpus::sms::LABELS.map(str::to_owned).to_vec();
    let model = EncoderConfig { vocab: 1024, max_tokens: 24, width: 16, heads: 2, layers: 1, hidden: 32, classes, ..EncoderConfig::none() };
    let shards = shard_table(&model, 1, STEP_EXPONENT)?;
    Ok(Plan {
        federation: "audit".to_owned(),
        task: TaskId([0; 16]),
        model,
        tokenizer: TokenizerKind::HashedCharacters,
        base: SnapshotDigest([0; 32]),
        rounds: 1,
        groups: vec![GroupPlan { id: GroupId(0), shards: shards.iter().map(|s| s.id).collect(), bits: 16 }],
        shards,
        cohort_min: 2,
        n_max: 2,
        committee: CommitteeSize { decryptors: 3, corrupt: 1 },
        privacy: PrivacyPlan {
            unit: Unit::Record,
            mode: Mode::Local,
            path: ClipPath::Exact,
            clip_function: ClipFunction::AutoS,
            clip: Decimal::ONE,
            grid_bits: 16,
            noise_multiplier,
            sampling_rate,
            delta: Decimal::new(1, 5)?,
            // Above whatever these few steps cost; it bounds the slack of the sampler only.
            epsilon_cap: Decimal::new(40, 0)?,
            max_records_per_unit: 4,
            noise: NoiseKind::RoundedGaussian,
            unit_objective: UnitObjective::Mean,
        },
        local: LocalTraining {
            steps,
            micro_batch: 8,
            learning_rate: Decimal::new(3, 2)?,
            warmup_steps: 5,
            weight_decay: Decimal::ZERO,
            ..LocalTraining::none()
        },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: Decimal::ONE },
        deadlines: Deadlines { selecting_ms: 1, reporting_ms: 1, certifying_ms: 1, opening_ms: 1 },
        robustness: None,
        tiers: None,
        count: None,
        gates: None,
    })
}

/// Why there is no built-in task: a mistake of this program's.
#[derive(Debug, thiserror::Error)]
enum BuiltInError {
    #[error("the built-in model cannot be cut")]
    Shards(#[from] train::shard::ShardError),
    #[error("a built-in number is no decimal")]
    Decimal(#[from] protocol::decimal::BadDecimal),
}
