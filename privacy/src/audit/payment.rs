//! Payments for audited steps: a real ledger that lives in memory, for made-up data that belongs to nobody. Knows no file.

use super::AuditError;
use crate::ledger::{Paid, PaidStep, PrivacyLedger, ReserveRequest, Terms, default_order};
use crate::mechanism::Mechanism;
use protocol::codec;
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, GroupId, ManifestDigest, PlanDigest, RoundId, Sha256, ShardId, SnapshotDigest, TaskId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PrivacyPlan, ShardSpec, Strategy,
    TensorSpec, TokenizerKind, Unit, Weighting,
};
use protocol::time::Time;
use std::sync::Arc;

/// Cap of the audited task. The slack of the samplers grows with e^cap and must stay below a hundredth of δ (D44): at 45 it does so for
/// 2^20 coordinates.
const TASK_CAP: u64 = 45;
/// Lifetime cap of the ledger. Nobody's data is behind it.
const LIFETIME_CAP: u64 = 1_000_000;
/// Units that every audited plan declares.
const DECLARED_UNITS: u64 = 1000;

/// The privacy section that is audited: default grid, AUTO-S clipping at 1, δ = 1e-5.
fn privacy_plan(noise_multiplier: Decimal, sampling_rate: Decimal) -> Result<PrivacyPlan, AuditError> {
    Ok(PrivacyPlan {
        unit: Unit::Record,
        mode: Mode::Local,
        path: ClipPath::Exact,
        clip_function: ClipFunction::AutoS,
        clip: Decimal::new(1, 0)?,
        grid_bits: 16,
        noise_multiplier,
        sampling_rate,
        delta: Decimal::new(1, 5)?,
        epsilon_cap: Decimal::new(TASK_CAP, 0)?,
        max_records_per_unit: 1,
        noise: NoiseKind::RoundedGaussian,
    })
}

/// The mechanism of that section.
///
/// # Errors
/// [`AuditError::Mechanism`].
pub(super) fn mechanism(noise_multiplier: Decimal, sampling_rate: Decimal, dimension: u64) -> Result<Mechanism, AuditError> {
    Ok(Mechanism::new(&privacy_plan(noise_multiplier, sampling_rate)?, dimension, DECLARED_UNITS)?)
}

/// One paid step after the other, each of a world of its own.
pub(super) struct Payments {
    mechanism: Arc<Mechanism>,
    paid: Paid,
    worlds: u64,
}

impl Payments {
    /// A ledger of its own that pays for one step of this mechanism.
    ///
    /// # Errors
    /// [`AuditError::Register`] among others, if the step has no ε that a ledger pays.
    pub(super) fn new(noise_multiplier: Decimal, sampling_rate: Decimal, dimension: u64) -> Result<Self, AuditError> {
        let mechanism = mechanism(noise_multiplier, sampling_rate, dimension)?;
        let paid = reserve(&privacy_plan(noise_multiplier, sampling_rate)?, &mechanism)?;
        Ok(Self { mechanism: Arc::new(mechanism), paid, worlds: 0 })
    }

    /// Another institution with the same mechanism.
    pub(super) fn beside(&self) -> Self {
        let paid = self.paid.in_another_world(ManifestDigest([1; 32]));
        Self { mechanism: Arc::clone(&self.mechanism), paid, worlds: 0 }
    }

    /// The mechanism that is paid for.
    pub(super) fn mechanism(&self) -> &Mechanism {
        &self.mechanism
    }

    /// The payment for the next step.
    ///
    /// # Errors
    /// [`AuditError::NoStep`], which a reservation of one step does not have.
    pub(super) fn step(&mut self) -> Result<PaidStep, AuditError> {
        self.worlds += 1;
        let mut manifest = self.paid.manifest();
        manifest.0[..8].copy_from_slice(&self.worlds.to_le_bytes());
        self.paid.in_another_world(manifest).next_step().ok_or(AuditError::NoStep)
    }
}

/// One step through a whole ledger: created, registered, compared, reserved. Nothing is written down: what is paid for here protects
/// nobody, and ends with the audit.
fn reserve(privacy: &PrivacyPlan, mechanism: &Mechanism) -> Result<Paid, AuditError> {
    let (epsilon_cap, delta) = (Decimal::new(LIFETIME_CAP, 0)?, privacy.delta);
    // At such a cap every order is worth something.
    let order = default_order(epsilon_cap, delta).unwrap_or(epsilon_cap);
    let (institution, dataset, unit) = (ClientId([0; 32]), Sha256([0; 32]), privacy.unit);
    let mut ledger = PrivacyLedger::create(Terms { institution, dataset, unit, epsilon_cap, delta, order }, Time(0))?.begun();
    let plan = plan(privacy, mechanism.dimension())?;
    let digest: PlanDigest = Plan::digest(&codec::encode(&plan));
    let registered = ledger.register(&plan, digest, mechanism, Time(0))?;
    ledger.recorded(registered)?;
    let (task, round, manifest, compared) = (plan.task, RoundId(1), ManifestDigest([0; 32]), ledger.compare(&[])?);
    let reserved = ledger.reserve(&ReserveRequest { task, plan: digest, round, manifest, mechanism, steps: 1, compared }, Time(0))?;
    Ok(ledger.recorded(reserved)?)
}

/// A plan of one step around the privacy section. Nobody trains it.
fn plan(privacy: &PrivacyPlan, dimension: u64) -> Result<Plan, AuditError> {
    let tensor = TensorSpec { name: "made-up".to_owned(), shape: vec![u32::try_from(dimension).unwrap_or(u32::MAX)] };
    let one = Decimal::new(1, 0)?;
    Ok(Plan {
        federation: "audit".to_owned(),
        task: TaskId([0; 16]),
        model: EncoderConfig {
            vocab: 1,
            max_tokens: 1,
            width: 1,
            heads: 1,
            layers: 1,
            hidden: 1,
            classes: vec!["made-up".to_owned()],
            adapter: None,
        },
        tokenizer: TokenizerKind::HashedCharacters,
        base: SnapshotDigest([0; 32]),
        rounds: 1,
        shards: vec![ShardSpec { id: ShardId(0), tensors: vec![tensor], step_exponent: -14 }],
        groups: vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits: 16 }],
        cohort_min: 2,
        n_max: 2,
        committee: CommitteeSize { decryptors: 3, corrupt: 1 },
        privacy: privacy.clone(),
        local: LocalTraining { steps: 1, micro_batch: 1, learning_rate: one, warmup_steps: 0, weight_decay: Decimal::ZERO },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: one },
        deadlines: Deadlines { selecting_ms: 1, reporting_ms: 1, certifying_ms: 1, opening_ms: 1 },
        robustness: None,
        tiers: None,
        count: None,
        gates: None,
    })
}
