//! Payments: what a durable reservation yields and noise consumes (privacy.md D60). Knows no file and no accountant.

use crate::mechanism::{Executed, Mechanism};
use crate::noise::StepContext;
use protocol::ids::ManifestDigest;
use protocol::manifest::BudgetSpend;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The steps of one reservation that is durable in the ledger. Made only by [`super::PrivacyLedger::recorded`];
/// inside this room the audit may repeat one for made-up data.
pub struct Paid {
    executed: Arc<Executed>,
    manifest: ManifestDigest,
    counter: u64,
    steps: u64,
    next: u64,
    used: Arc<AtomicU64>,
    spend: BudgetSpend,
}

/// Some steps were paid for and carry no noise: there is no proof for the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{used} of {paid} paid steps were noised")]
pub struct UnusedSteps {
    /// Steps that were noised.
    pub used: u64,
    /// Steps that were paid for.
    pub paid: u64,
}

impl Paid {
    pub(super) fn new(executed: Executed, manifest: ManifestDigest, counter: u64, steps: u64, spend: BudgetSpend) -> Self {
        Self { executed: Arc::new(executed), manifest, counter, steps, next: 0, used: Arc::default(), spend }
    }

    /// The payment for the next step, or `None` when all were handed out.
    pub fn next_step(&mut self) -> Option<PaidStep> {
        let step = self.next;
        if step >= self.steps {
            return None;
        }
        self.next += 1;
        let context = StepContext { manifest: self.manifest, ledger_counter: self.counter, step };
        Some(PaidStep { executed: Arc::clone(&self.executed), context, used: Arc::clone(&self.used) })
    }

    /// Steps that were paid for.
    pub fn steps(&self) -> u64 {
        self.steps
    }
    /// The round's manifest.
    pub fn manifest(&self) -> ManifestDigest {
        self.manifest
    }
    /// Counter of the reservation.
    pub fn ledger_counter(&self) -> u64 {
        self.counter
    }
    /// What the header says about this round's cost.
    pub fn spend(&self) -> BudgetSpend {
        self.spend.clone()
    }

    /// The same steps in another world, for the audit's made-up data: the ledger behind it protects nobody, and each run of an audit is a
    /// life of its own that was never joined with the others (privacy.md D70). Not for anything that holds a record.
    pub(crate) fn in_another_world(&self, manifest: ManifestDigest) -> Self {
        Self::new((*self.executed).clone(), manifest, self.counter, self.steps, self.spend.clone())
    }

    /// Trades the payment for the proof that every step was noised.
    ///
    /// # Errors
    /// [`UnusedSteps`] if a step was not handed out or its payment did not go through [`crate::bound::UnitSum::noised`].
    pub fn finish(self) -> Result<NoisedLocally, UnusedSteps> {
        let used = self.used.load(Ordering::Acquire);
        if used != self.steps {
            return Err(UnusedSteps { used, paid: self.steps });
        }
        Ok(NoisedLocally { dimension: self.executed.dimension, steps: self.steps, manifest: self.manifest, counter: self.counter })
    }

    /// A payment without a ledger. Tests only.
    ///
    /// # Panics
    /// Never: zero is a decimal.
    #[cfg(any(test, feature = "test-doors"))]
    pub fn for_test(m: &Mechanism, manifest: ManifestDigest, ledger_counter: u64, steps: u64) -> Self {
        let zero = "0".parse().expect("zero is a decimal");
        let spend = BudgetSpend {
            dataset: protocol::ids::Sha256([0; 32]),
            unit: m.executed().unit,
            noise_multiplier: m.noise_multiplier_accounted(),
            sampling_rate: m.sampling_rate_decimal(),
            steps,
            steps_total: steps,
            delta: m.delta(),
            epsilon_before: zero,
            epsilon_after: zero,
            epsilon_cap: zero,
            ledger_counter,
            ledger_head: protocol::ids::Sha256([0; 32]),
            accountant: "none".to_owned(),
        };
        Self::new(m.executed().clone(), manifest, ledger_counter, steps, spend)
    }
}

/// The payment for one step; noise consumes it. Cannot be copied or made elsewhere.
///
/// ```compile_fail,E0061
/// # use privacy::{bound::UnitSum, mechanism::Mechanism, noise::{Noise, Stream}};
/// // Noise cannot be drawn without a payment.
/// fn unpaid(sum: UnitSum, m: &Mechanism, noise: &mut Stream<Noise>) { let _ = sum.noised(m, noise); }
/// ```
///
/// ```compile_fail,E0599
/// fn twice(step: privacy::ledger::PaidStep) { let _second = step.clone(); }
/// ```
pub struct PaidStep {
    executed: Arc<Executed>,
    context: StepContext,
    used: Arc<AtomicU64>,
}

impl PaidStep {
    /// Step within the reservation, from 0.
    pub fn index(&self) -> u64 {
        self.context.step
    }
    /// What the streams of this step are opened with.
    pub fn context(&self) -> StepContext {
        self.context
    }
    pub(crate) fn pays_for(&self, m: &Mechanism) -> bool {
        *self.executed == *m.executed()
    }
    pub(crate) fn use_up(self) {
        self.used.fetch_add(1, Ordering::AcqRel);
    }
}

/// Proof that every paid step of one reservation was noised by this institution.
pub struct NoisedLocally {
    dimension: u64,
    steps: u64,
    manifest: ManifestDigest,
    counter: u64,
}

impl NoisedLocally {
    pub(crate) fn dimension(&self) -> u64 {
        self.dimension
    }
    /// Steps that were noised.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }
    /// Whether a stream belongs to this reservation.
    pub(crate) fn covers(&self, c: &StepContext) -> bool {
        c.manifest == self.manifest && c.ledger_counter == self.counter
    }

    /// A proof of nothing. Tests only.
    #[cfg(any(test, feature = "test-doors"))]
    pub fn for_test(m: &Mechanism, manifest: ManifestDigest, ledger_counter: u64) -> Self {
        Self { dimension: m.dimension(), steps: 1, manifest, counter: ledger_counter }
    }
}
