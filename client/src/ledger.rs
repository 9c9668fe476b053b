//! The privacy ledger's file (privacy.md D58, D60, D67): append, fsync, and only then believe. Knows no rule of the ledger itself.

use crate::clock::now;
use crate::edges::reached;
use crate::files::{self, Item, Lock, StoreError};
use crate::home::Home;
use privacy::ledger::{
    CloseError, CreateError, LoadError, NotNext, Paid, Pending, PrivacyLedger, RegisterError, ReserveError, ReserveRequest, Terms,
};
use privacy::mechanism::Mechanism;
use protocol::decimal::Decimal;
use protocol::ids::{PlanDigest, Sha256, TaskId};
use protocol::plan::Plan;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Longest ledger: a million reservations at half a kilobyte.
const MAX_FILE: usize = 512 << 20;

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
    /// The file belongs to another institution, dataset or unit.
    #[error("the ledger's file belongs to another institution, dataset or unit")]
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
        )
    }

    /// Whether the process must end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Load(_) | Self::NotNext(_))
    }
}

/// A ledger and its file.
pub(crate) struct LedgerStore {
    file: File,
    ledger: PrivacyLedger,
    /// One owner process (D58).
    _lock: Lock,
}

impl LedgerStore {
    /// Opens the ledger, or makes it durable as new. A torn last record was never answered and is cut off.
    pub(crate) fn open(home: &Home, terms: Terms) -> Result<Self, LedgerError> {
        let lock = Lock::take(&home.ledger_lock(), Item::Ledger)?;
        let path = home.ledger(&terms.dataset);
        let bytes = files::read_if_there(&path, MAX_FILE, Item::Ledger)?.unwrap_or_default();
        let mut file = open_append(&path)?;
        let ledger = match PrivacyLedger::load(&bytes) {
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
                let (ledger, first) = PrivacyLedger::create(terms.clone(), now())?;
                append(&mut file, &first, "ledger/created")?;
                ledger
            }
            Err(e) => return Err(e.into()),
        };
        files::sync_dir(&home.ledger_dir(), Item::Ledger)?;
        let same = |a: &Terms, b: &Terms| (a.institution, a.dataset, a.unit) == (b.institution, b.dataset, b.unit);
        if !same(ledger.terms(), &terms) {
            return Err(LedgerError::OtherTerms);
        }
        Ok(Self { file, ledger, _lock: lock })
    }

    /// The ledger as it stands.
    pub(crate) fn ledger(&self) -> &PrivacyLedger {
        &self.ledger
    }

    /// Makes an entry durable, then counts it. `what` names it at the edges.
    fn record<T>(&mut self, what: &str, pending: Pending<T>) -> Result<T, LedgerError> {
        reached("before", what);
        append(&mut self.file, pending.bytes(), what)?;
        reached("durable", what);
        Ok(self.ledger.recorded(pending)?)
    }

    /// Takes on a task's whole schedule.
    pub(crate) fn register(&mut self, plan: &Plan, digest: PlanDigest, mechanism: &Mechanism) -> Result<(), LedgerError> {
        let pending = self.ledger.register(plan, digest, mechanism, now())?;
        self.record("ledger/registered", pending)
    }

    /// Pays for a round; the payment exists only after the entry is on the disk.
    pub(crate) fn reserve(&mut self, request: &ReserveRequest<'_>) -> Result<Paid, LedgerError> {
        let pending = self.ledger.reserve(request, now())?;
        self.record("ledger/reserved", pending)
    }

    /// The update is spooled.
    pub(crate) fn sealed(&mut self, reservation: u64, update: Sha256) -> Result<(), LedgerError> {
        let pending = self.ledger.sealed(reservation, update, now())?;
        self.record("ledger/sealed", pending)
    }

    /// Receipts for the whole update are held.
    pub(crate) fn sent(&mut self, reservation: u64) -> Result<(), LedgerError> {
        let pending = self.ledger.sent(reservation, now())?;
        self.record("ledger/sent", pending)
    }

    /// The round came to nothing; what it cost stays spent.
    pub(crate) fn void(&mut self, reservation: u64) -> Result<(), LedgerError> {
        let pending = self.ledger.void(reservation, now())?;
        self.record("ledger/void", pending)
    }

    /// The task is over.
    pub(crate) fn end_task(&mut self, task: TaskId) -> Result<(), LedgerError> {
        let pending = self.ledger.end_task(task, now())?;
        self.record("ledger/task-ended", pending)
    }

    /// A new lifetime total (D64).
    pub(crate) fn declare_cap(&mut self, cap: Decimal) -> Result<(), LedgerError> {
        let pending = self.ledger.declare_cap(cap, now())?;
        self.record("ledger/cap-declared", pending)
    }
}

fn open_append(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|e| StoreError::Write(Item::Ledger, e))
}

fn append(file: &mut File, bytes: &[u8], what: &str) -> Result<(), StoreError> {
    let failed = |e| StoreError::Write(Item::Ledger, e);
    file.write_all(bytes).map_err(failed)?;
    reached("written", what);
    file.sync_all().map_err(failed)
}

fn cut(file: &mut File, len: usize) -> Result<(), StoreError> {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    file.set_len(len).and_then(|()| file.sync_all()).map_err(|e| StoreError::Write(Item::Ledger, e))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
