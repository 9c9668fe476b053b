//! The privacy ledger's file (privacy.md D58, D60, D67): append, fsync, and only then believe. Knows no rule of the ledger itself.

use crate::clock::now;
use crate::edges::reached;
use crate::files::{self, Item, Lock, StoreError};
use crate::home::Home;
use crate::keys::Keys;
use privacy::ledger::{
    CloseError, CreateError, KnownPlan, LoadError, NotNext, Paid, PaidRelease, Pending, PrivacyLedger, RegisterError, ReleaseError,
    ReleaseRequest, RepairError, ReserveError, ReserveRequest, SeenRelease, Shortage, Terms,
};
use privacy::mechanism::Mechanism;
use protocol::decimal::Decimal;
use protocol::exhausted::BudgetExhausted;
use protocol::history::{DatasetHistory, History};
use protocol::ids::{PlanDigest, RoundId, Sha256, TaskId};
use protocol::plan::Plan;
use protocol::time::Time;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// Longest ledger: hundreds of thousands of rounds.
pub(crate) const MAX_FILE: usize = 512 << 20;

/// Why the ledger does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file. The process ends: a ledger that cannot remember must not pay.
    #[error("the ledger could not be read or written")]
    Store(#[from] StoreError),
    /// The bytes are no ledger.
    #[error("the ledger's file does not hold")]
    Load(#[from] LoadError),
    /// No ledger can be made on these terms.
    #[error("no ledger can be made on these terms")]
    Create(#[from] CreateError),
    /// The file belongs to another institution, dataset or unit, or was begun under another account of what is charged.
    #[error("the ledger's file belongs to another institution, dataset or unit, or charges by another `charge` or `own_epsilon_cap`")]
    OtherTerms,
    /// File and machine disagree.
    #[error("the ledger's file and its machine disagree")]
    NotNext(#[from] NotNext),
    /// The schedule is refused.
    #[error("the task's schedule is refused")]
    Register(#[from] RegisterError),
    /// The round is refused.
    #[error("the round is refused")]
    Reserve(#[from] ReserveError),
    /// The scalar release is refused.
    #[error("the release is refused")]
    Release(#[from] ReleaseError),
    /// The repair is refused.
    #[error("the ledger is not repaired")]
    Repair(#[from] RepairError),
    /// No such transition.
    #[error("the reservation does not allow this")]
    Close(#[from] CloseError),
}

impl LedgerError {
    /// Whether a budget says no, as opposed to something being wrong.
    pub fn is_exhausted(&self) -> bool {
        matches!(
            self,
            Self::Register(RegisterError::BudgetExhausted { .. })
                | Self::Reserve(ReserveError::BudgetExhausted { .. } | ReserveError::ScheduleExhausted(_))
                | Self::Release(ReleaseError::BudgetExhausted { .. })
        )
    }

    /// Whether the process must end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Load(_) | Self::NotNext(_))
    }
}

/// What the ledger asks of its file. Nothing is believed before `sync` has answered.
pub(crate) trait Journal {
    /// Appends.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything so far durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Shortens the file.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Journal for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// A ledger and its file.
pub(crate) struct LedgerStore<F = File> {
    file: F,
    ledger: PrivacyLedger,
    /// Which caps cannot pay for which tasks, as of when it was asked last.
    short: BTreeMap<TaskId, Shortage>,
    keys: Arc<Keys>,
    /// One owner process (D58).
    _lock: Lock,
}

impl LedgerStore {
    /// Opens the ledger, or makes it durable as new. A torn last record was never answered and is cut off.
    pub(crate) fn open(home: &Home, terms: Terms, keys: Arc<Keys>) -> Result<Self, LedgerError> {
        let lock = Lock::take(&home.ledger_lock(), Item::Ledger)?;
        let path = home.ledger(&terms.dataset);
        let bytes = files::read_if_there(&path, MAX_FILE, Item::Ledger)?.unwrap_or_default();
        let store = Self::begin(open_append(&path)?, &bytes, terms, keys, lock)?;
        files::sync_dir(&home.ledger_dir(), Item::Ledger)?;
        Ok(store)
    }
}

impl<F: Journal> LedgerStore<F> {
    pub(crate) fn begin(mut file: F, bytes: &[u8], terms: Terms, keys: Arc<Keys>, lock: Lock) -> Result<Self, LedgerError> {
        let same = |a: &Terms| {
            let own = a.own_epsilon_cap == terms.own_epsilon_cap;
            own && (a.institution, a.dataset, a.unit) == (terms.institution, terms.dataset, terms.unit)
        };
        let ledger = match PrivacyLedger::load_signed(bytes, keys.later()) {
            Ok(loaded) if !same(loaded.ledger.terms()) => return Err(LedgerError::OtherTerms),
            Ok(loaded) => {
                if loaded.torn {
                    tracing::warn!("the ledger ended in a torn record, which was never paid on");
                    cut(&mut file, loaded.valid_len)?;
                }
                loaded.ledger
            }
            // Not even the first record is whole: nothing was ever reserved.
            Err(LoadError::Empty) => {
                cut(&mut file, 0)?;
                let first = PrivacyLedger::create(terms, now())?;
                append(&mut file, &first.record(|entry| keys.sign(entry)), "ledger/created")?;
                first.begun()
            }
            Err(e) => return Err(e.into()),
        };
        Ok(Self { file, ledger, short: BTreeMap::new(), keys, _lock: lock })
    }

    /// The ledger as it stands.
    pub(crate) fn ledger(&self) -> &PrivacyLedger {
        &self.ledger
    }

    /// Makes an entry durable, then counts it. `what` names it at the edges.
    fn record<T>(&mut self, what: &str, pending: Pending<T>) -> Result<T, LedgerError> {
        reached("before", what);
        append(&mut self.file, &pending.record(|entry| self.keys.sign(entry)), what)?;
        reached("durable", what);
        Ok(self.ledger.recorded(pending)?)
    }

    /// Takes on a task's whole schedule.
    pub(crate) fn register(&mut self, plan: &Plan, digest: PlanDigest, mechanism: &Mechanism) -> Result<(), LedgerError> {
        let asked = self.ledger.register(plan, digest, mechanism, now());
        self.remember(plan.task, asked.as_ref().err().and_then(RegisterError::shortage));
        let pending = asked?;
        self.record("ledger/registered", pending)
    }

    /// Pays for a round; the payment exists only after the entry is on the disk. `at` is the entry's time.
    pub(crate) fn reserve(&mut self, request: &ReserveRequest<'_>, at: Time) -> Result<Paid, LedgerError> {
        let asked = self.ledger.reserve(request, at);
        self.remember(request.task, asked.as_ref().err().and_then(ReserveError::shortage));
        let pending = asked?;
        self.record("ledger/reserved", pending)
    }

    fn remember(&mut self, task: TaskId, shortage: Option<Shortage>) {
        match shortage {
            Some(shortage) => self.short.insert(task, shortage),
            None => self.short.remove(&task),
        };
    }

    /// What the federation is told of a task that this ledger refused to pay for when it was asked last; nothing where it did not.
    pub(crate) fn exhausted(&self, task: TaskId, round: RoundId) -> Option<BudgetExhausted> {
        let Shortage { account, order, needed, remaining } = *self.short.get(&task)?;
        let terms = self.ledger.terms();
        Some(BudgetExhausted {
            task,
            round,
            dataset: terms.dataset,
            unit: terms.unit,
            delta: terms.delta,
            epsilon_cap: terms.epsilon_cap,
            account,
            order,
            epsilon_before: self.ledger.task(task).map_or(Decimal::ZERO, |t| t.epsilon),
            needed,
            remaining,
            ledger_counter: self.ledger.counter().saturating_sub(1),
            ledger_head: self.ledger.head(),
        })
    }

    /// The update is spooled.
    pub(crate) fn sealed(&mut self, reservation: u64, update: Sha256) -> Result<(), LedgerError> {
        self.sealed_at(reservation, update, now())
    }

    /// The same in an entry of this time. All else in the entry is public, and the next header names its hash: who reads the log can try times
    /// until the hash is met.
    pub(crate) fn sealed_at(&mut self, reservation: u64, update: Sha256, at: Time) -> Result<(), LedgerError> {
        let pending = self.ledger.sealed(reservation, update, at)?;
        self.record("ledger/sealed", pending)
    }

    /// Receipts for the whole update are held.
    pub(crate) fn sent(&mut self, reservation: u64) -> Result<(), LedgerError> {
        let pending = self.ledger.sent(reservation, now())?;
        self.record("ledger/sent", pending)
    }

    /// The round came to nothing; what it cost stays spent.
    pub(crate) fn void(&mut self, reservation: u64) -> Result<(), LedgerError> {
        self.void_at(reservation, now())
    }

    /// The same in an entry of this time; see [`Self::sealed_at`].
    pub(crate) fn void_at(&mut self, reservation: u64, at: Time) -> Result<(), LedgerError> {
        let pending = self.ledger.void(reservation, at)?;
        self.record("ledger/void", pending)
    }

    /// Pays for a scalar release; the payment exists only after the entry is on the disk.
    pub(crate) fn reserve_release(&mut self, request: &ReleaseRequest) -> Result<PaidRelease, LedgerError> {
        let pending = self.ledger.reserve_release(request, now())?;
        self.record("ledger/release-reserved", pending)
    }

    /// The noised values of a scalar release are durable.
    pub(crate) fn released(&mut self, reservation: u64, result: Sha256) -> Result<(), LedgerError> {
        let pending = self.ledger.released(reservation, result, now())?;
        self.record("ledger/released", pending)
    }

    /// The task is over.
    pub(crate) fn end_task(&mut self, task: TaskId) -> Result<(), LedgerError> {
        let pending = self.ledger.end_task(task, now())?;
        self.record("ledger/task-ended", pending)
    }

    /// Raises the ledger to what the log shows of its dataset, and the site log of its releases (D65).
    pub(crate) fn repair(&mut self, shown: Option<&DatasetHistory>, seen: &[SeenRelease], history: &History) -> Result<(), LedgerError> {
        let plan = |task| {
            // Of a plan with tiers the whole: more coordinates than this institution's never make its figure smaller.
            let known = history.task(task)?;
            Some(KnownPlan { plan: known.plan()?, digest: known.plan_digest() })
        };
        let spends = shown.map(|d| d.spends.as_slice()).unwrap_or_default();
        let pending = self.ledger.repair(spends, seen, history.size(), plan, now())?;
        self.record("ledger/repaired", pending)
    }

    /// A new lifetime total (D64).
    pub(crate) fn declare_cap(&mut self, cap: Decimal) -> Result<(), LedgerError> {
        let pending = self.ledger.declare_cap(cap, now())?;
        self.record("ledger/cap-declared", pending)
    }
}

/// Whether a lineage other than `own` has no ledger here. Where it was spent from, nothing is paid for any other: a new name for the same
/// people is no new budget (D58).
pub(crate) fn is_gone(home: &Home, dataset: &Sha256, own: Sha256) -> bool {
    *dataset != own && !home.ledger(dataset).exists()
}

fn open_append(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|e| StoreError::Write(Item::Ledger, e))
}

fn append(file: &mut impl Journal, bytes: &[u8], what: &str) -> Result<(), StoreError> {
    let failed = |e| StoreError::Write(Item::Ledger, e);
    file.append(bytes).map_err(failed)?;
    reached("written", what);
    file.sync().map_err(failed)
}

fn cut(file: &mut impl Journal, len: usize) -> Result<(), StoreError> {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    file.cut(len).and_then(|()| file.sync()).map_err(|e| StoreError::Write(Item::Ledger, e))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "ledger_crash_tests.rs"]
pub(crate) mod crash_tests;
