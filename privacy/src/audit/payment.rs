//! Payments for audited steps: a real ledger that lives in memory, for made-up data that belongs to nobody. Knows no file.

use super::AuditError;
use super::subject::{Make, Subject, Way};
use crate::accountant::{Phase, epsilon_rdp};
use crate::bound::{Block, ClippedSum, UnitOutcome, UnitSum};
use crate::ledger::{Paid, PaidStep, PrivacyLedger, ReserveRequest, Terms, default_order};
use crate::mechanism::Mechanism;
use crate::noise::{Dither, EntropySource, Noise, Stream};
use protocol::codec;
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, ManifestDigest, PlanDigest, RoundId, Sha256};
use protocol::plan::Plan;
use protocol::time::Time;
use std::sync::Arc;

/// Largest cap of the audited task. The slack of the samplers grows with e^cap and must stay below a hundredth of δ (D44): at 45 it does so
/// for 2^20 coordinates and δ = 1e-5.
const TASK_CAP: f64 = 45.0;
/// Lifetime cap of the ledger. Nobody's data is behind it.
const LIFETIME_CAP: u64 = 1_000_000;

/// How mechanisms are made and paid for. Tests put a program that is wrong about itself here.
#[derive(Clone, Copy)]
pub(super) struct Means {
    pub(super) make: Make,
    pub(super) pay: fn(&Plan, &Mechanism) -> Result<Paid, AuditError>,
}

/// As every task does it.
pub(super) const REAL: Means = Means { make: Mechanism::of_plan, pay: reserve };

/// One paid step after the other, each of a world of its own.
pub(super) struct Payments {
    mechanism: Arc<Mechanism>,
    way: Way,
    paid: Paid,
    worlds: u64,
}

impl Payments {
    /// A ledger of its own that pays for one step of the executed mechanism.
    ///
    /// # Errors
    /// [`AuditError::Register`] among others, if the step has no ε that a ledger pays.
    pub(super) fn new(subject: &Subject, means: Means, dimension: usize) -> Result<Self, AuditError> {
        let (plan, mechanism) = subject.executed(means.make, cap(subject)?, dimension)?;
        let paid = (means.pay)(&plan, &mechanism)?;
        Ok(Self { mechanism: Arc::new(mechanism), way: subject.way(), paid, worlds: 0 })
    }

    /// Another institution with the same mechanism.
    pub(super) fn beside(&self) -> Self {
        let paid = self.paid.in_another_world(ManifestDigest([1; 32]));
        Self { mechanism: Arc::clone(&self.mechanism), paid, ..*self }
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

    /// One paid step over what units have, on the path of the mechanism: clip, grid, sum, noise.
    ///
    /// # Errors
    /// [`AuditError`].
    #[expect(clippy::cast_precision_loss, reason = "sums of few units and noise below 2^44 grid steps are exact")]
    pub(super) fn noised<'a>(
        &self,
        paid: PaidStep,
        units: impl Iterator<Item = &'a [f32]>,
        entropy: &mut dyn EntropySource,
    ) -> Result<Vec<f64>, AuditError> {
        let (context, m) = (paid.context(), self.mechanism());
        let sum = match self.way {
            Way::Gradients => added(m, units, |sum, values| sum.add_unit(&[Block { offset: 0, values }]))?,
            Way::Counts => added(m, units, |sum, values| sum.add_counts(&counted(values)))?,
            Way::FloatSums => {
                let mut sum = ClippedSum::new(m)?;
                for values in units {
                    let square = values.iter().map(|&x| f64::from(x).powi(2)).sum();
                    sum.add_scaled(0, values, sum.factor(square));
                }
                sum.rounded(&paid, &mut Stream::<Dither>::open(entropy, &context)?)?
            }
        };
        let noised = sum.noised(paid, m, &mut Stream::<Noise>::open(entropy, &context)?)?;
        Ok(noised.values().iter().map(|&v| v as f64).collect())
    }
}

fn added<'a>(
    m: &Mechanism,
    units: impl Iterator<Item = &'a [f32]>,
    add: impl Fn(&mut UnitSum, &[f32]) -> UnitOutcome,
) -> Result<UnitSum, AuditError> {
    let mut sum = UnitSum::new(m);
    for values in units {
        match add(&mut sum, values) {
            UnitOutcome::Added => {}
            other @ (UnitOutcome::NonFinite | UnitOutcome::Misplaced | UnitOutcome::TooLong) => return Err(AuditError::Unit(other)),
        }
    }
    Ok(sum)
}

/// Whole numbers, as a plan that counts has them.
#[expect(clippy::cast_possible_truncation, reason = "float to integer casts saturate; what is too long is shortened")]
fn counted(values: &[f32]) -> Vec<(u32, i64)> {
    let whole = values.iter().map(|x| x.ceil() as i64);
    (0u32..).zip(whole).filter(|(_, n)| *n != 0).collect()
}

/// Room in the task's cap for what one step costs: no more, since the slack of the sampler grows with it.
fn cap(subject: &Subject) -> Result<Decimal, AuditError> {
    let noise_multiplier = subject.noise_multiplier.to_f64();
    let phase = Phase { noise_multiplier, sampling_rate: 1.0, steps: 1 };
    // What has no figure is refused by the ledger, in its words.
    let needed = epsilon_rdp(&[phase], subject.delta().to_f64() / 2.0).map_or(TASK_CAP, |answer| answer.epsilon);
    Ok(Decimal::ceil((needed + 1.0).min(TASK_CAP), 0)?)
}

/// One step through a whole ledger: created, registered, compared, reserved. Nothing is written down: what is paid for here protects
/// nobody, and ends with the audit.
fn reserve(plan: &Plan, mechanism: &Mechanism) -> Result<Paid, AuditError> {
    let (epsilon_cap, delta) = (Decimal::new(LIFETIME_CAP, 0)?, plan.privacy.delta);
    // At such a cap every order is worth something.
    let order = default_order(epsilon_cap, delta).unwrap_or(epsilon_cap);
    let (institution, dataset, unit) = (ClientId([0; 32]), Sha256([0; 32]), plan.privacy.unit);
    let mut ledger =
        PrivacyLedger::create(Terms { institution, dataset, unit, epsilon_cap, delta, order, own_epsilon_cap: None }, Time(0))?.begun();
    let digest: PlanDigest = Plan::digest(&codec::encode(plan));
    let registered = ledger.register(plan, digest, mechanism, Time(0))?;
    ledger.recorded(registered)?;
    let (task, round, manifest, compared) = (plan.task, RoundId(1), ManifestDigest([0; 32]), ledger.compare(&[])?);
    let reserved = ledger.reserve(&ReserveRequest { task, plan: digest, round, manifest, mechanism, steps: 1, compared }, Time(0))?;
    Ok(ledger.recorded(reserved)?)
}
