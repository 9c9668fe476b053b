//! The institution's process: opens what it owns, holds a link, and drives the machines of `protocol`. The only place that persists.

mod certificate;
mod cosigning;
mod counts;
mod declare;
mod door;
mod duties;
mod ends;
mod exhausted;
mod process;
mod rounds;
mod session;
mod work;

use crate::clock;
use crate::config::Config;
use crate::data::{DataError, DataSource};
use crate::files::{self, Item, Lock, StoreError};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, KeysError};
use crate::ledger::{LedgerError, LedgerStore};
use crate::link::{Backoff, Link, LinkError};
use crate::machine;
use crate::mirror::{Mirror, MirrorError};
use crate::observer::{Observer, Shared};
use crate::prepare::{PrepareError, SharedLedger, TaskWork};
use crate::release;
use crate::renewal::{Certificate, CertificateError};
use crate::site_log::SiteLog;
use crate::site_policy::SitePolicy;
use crate::spool::{self, Spool};
use crate::status::Status;
use crate::sync;
use crate::upload::Uploaded;
use crate::vault::{Vault, VaultError};
use crate::witness::{Witness, WitnessError};
pub(crate) use ends::Cancel;
use ends::Ends;
use privacy::ledger::{Terms, default_order};
use privacy::noise::EntropyError;
use process::{Stop, build_hash};
use protocol::decryptor::{self, Decryptor};
use protocol::ids::{Address, ClientId, GroupId, RoundId, Sha256, TaskId, UploadId};
use protocol::membership::Barred;
use protocol::participant::{Accepted, Participant, UploadAt};
use protocol::reject::Rejection;
use protocol::trust::fingerprint;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use train::workers::Workers;

/// Finished work that may wait for the agent: one preparation and a few uploads.
const DONE: usize = 64;

/// Why the process ends. Everything else is tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A file.
    #[error("the client's store failed")]
    Store(#[from] StoreError),
    /// The keys.
    #[error("the keys cannot be used")]
    Keys(#[from] KeysError),
    /// The TLS certificate.
    #[error("the TLS certificate cannot be used")]
    Certificate(#[from] CertificateError),
    /// The mirror.
    #[error("the mirror of the log does not hold")]
    Mirror(#[from] MirrorError),
    /// The witness.
    #[error("the witness state does not hold")]
    Witness(#[from] WitnessError),
    /// The decryptor's store.
    #[error("the decryptor's store does not hold")]
    Vault(#[from] VaultError),
    /// The ledger.
    #[error("the privacy ledger does not hold")]
    Ledger(#[from] LedgerError),
    /// The records.
    #[error("the records cannot be used")]
    Data(#[from] DataError),
    /// A preparation met a failing disk.
    #[error("an update could not be prepared")]
    Prepare(#[from] PrepareError),
    /// The lifetime cap allows nothing at any order.
    #[error("the site policy's epsilon allows nothing at its delta")]
    NothingToSpend,
    /// A receipt that the log does not bear out. Kept in status; participation ends.
    #[error("the server's receipt is not the entry that the log has")]
    FalseReceipt,
    /// The membership is over.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// Signals.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// No randomness.
    #[error("the source of entropy failed")]
    Entropy(#[from] EntropyError),
}

impl AgentError {
    /// Whether storage failed, so that a supervisor should start the process again (operations.md O4).
    pub fn is_storage(&self) -> bool {
        match self {
            Self::Store(e) => !matches!(e, StoreError::Exposed(_) | StoreError::Locked(_)) && !e.is_absent(),
            Self::Ledger(e) => e.is_fatal(),
            Self::Prepare(_) | Self::Vault(_) => true,
            Self::Mirror(MirrorError::Store(_)) | Self::Witness(WitnessError::Store(_)) => true,
            Self::Mirror(_) | Self::Witness(_) | Self::Keys(_) | Self::Data(_) => false,
            Self::NothingToSpend | Self::FalseReceipt | Self::Barred(_) | Self::Signals(_) | Self::Entropy(_) | Self::Certificate(_) => {
                false
            }
        }
    }
}

/// Work that ended somewhere else.
enum Done {
    /// The spool is whole, or why not.
    Prepared { task: TaskId, round: RoundId, result: Result<(), PrepareError> },
    /// The snapshot did not come; nothing was paid.
    NoSnapshot { accepted: Box<Accepted>, reason: Option<Rejection> },
    /// An upload ended.
    Uploaded { task: TaskId, round: RoundId, group: GroupId, upload: UploadId, link: usize, seconds: f64, result: Uploaded },
}

/// Why a session ended.
enum End {
    /// The link is gone.
    Lost,
    /// We were told to stop.
    Stopped,
    /// The task is over and the settings say to go.
    TaskOver,
}

struct Agent {
    home: Home,
    config: Config,
    identity: Identity,
    keys: Arc<Keys>,
    certificate: Certificate,
    me: ClientId,
    build: Sha256,
    boot: [u8; 16],
    /// With the hash of its file. None: decline everything (T15).
    policy: Option<(SitePolicy, Sha256)>,
    data: Option<Arc<DataSource>>,
    ledger: Option<SharedLedger>,
    /// Where there are records to compute on.
    workers: Option<Arc<Workers>>,
    observer: Shared,
    status: Status,
    mirror: Mirror,
    site: SiteLog,
    witness: Witness,
    vault: Vault,
    participant: Participant,
    decryptor: Decryptor,
    /// What plan and records became, per task, or why not.
    tasks: BTreeMap<TaskId, Result<Arc<TaskWork>, Rejection>>,
    /// The round that the participant is in.
    current: Option<(TaskId, RoundId)>,
    /// A manifest whose snapshot did not come.
    unfetched: Option<Box<Accepted>>,
    /// Uploads on the present link.
    uploading: BTreeMap<UploadId, mpsc::Sender<Address>>,
    /// An upload broke off although the link is there: it is begun again at the next tick.
    broken: bool,
    /// One preparation at a time: each needs the memory and the threads that the settings give to all of them.
    bench: Arc<tokio::sync::Mutex<()>>,
    receipts: BTreeSet<GroupId>,
    ends: Ends,
    leaving: Option<Instant>,
    /// Datasets of whose withdrawal the server was told on the present link.
    withdrawing: BTreeSet<Sha256>,
    /// Whether the status says that the server does not let us in.
    shut_out: bool,
    traffic: Traffic,
    sender: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    _lock: Lock,
}

/// Bytes over all connections of this process.
#[derive(Default)]
struct Traffic {
    before: (u64, u64),
    reported: (u64, u64),
}

/// Runs the institution until it is told to stop, or until the task ends where the settings say so.
///
/// # Errors
/// [`AgentError`]: a failing store, keys or records that cannot be used, or a log that contradicts itself.
pub async fn run(dir: &Path, config: Config, observer: Box<dyn Observer>) -> Result<(), AgentError> {
    let mut stop = Stop::new()?;
    let home = Home::new(dir);
    let opened = tokio::task::spawn_blocking(move || Agent::open(home, config, observer));
    let mut agent = opened.await.map_err(|_| PrepareError::Vanished)??;
    agent.restore_shares()?;
    let mut backoff = Backoff::new(agent.config.reconnect_max);
    loop {
        tokio::select! {
            () = agent.come_back() => {}
            () = stop.wait() => return agent.leave(),
        }
        let hello = sync::hello(agent.boot, &agent.mirror)?;
        let opening = Link::open(&agent.home, &agent.identity, &agent.keys, &hello);
        let link = tokio::select! {
            link = opening => link,
            () = stop.wait() => return agent.leave(),
        };
        match link {
            Ok(link) => {
                backoff.reset();
                agent.let_in();
                match agent.session(link, &mut stop).await? {
                    End::Lost => {}
                    End::Stopped | End::TaskOver => return agent.leave(),
                }
            }
            Err(LinkError::Barred(barred)) => agent.not_let_in(barred)?,
            Err(LinkError::NoMember) => agent.no_member()?,
            Err(error) => tracing::warn!(error = %chain(&error), "no link to the server"),
        }
        if agent.leaving.is_some() {
            return agent.leave();
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = stop.wait() => return agent.leave(),
        }
    }
}

/// An error with its causes, for diagnostics.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Agent {
    /// Opens everything in the directory; blocking.
    fn open(home: Home, config: Config, observer: Box<dyn Observer>) -> Result<Self, AgentError> {
        let lock = Lock::take(&home.lock(), Item::Identity)?;
        home.written().iter().try_for_each(|dir| files::remove_temporaries(dir))?;
        home.written_beside().iter().try_for_each(|file| files::remove_temporaries_of(file))?;
        files::remove_dir(&home.incoming(), Item::Tile)?;
        let identity = Identity::load(&home)?;
        let keys = Arc::new(Keys::load_settled(&home)?);
        let certificate = Certificate::load(&home)?;
        let mirror = Mirror::open(&home)?;
        let site = SiteLog::open(&home)?;
        let witness = Witness::open(&home, &mirror)?;
        let (vault, records) = Vault::open(&home)?;
        let policy = match SitePolicy::read(&home.site_policy()) {
            Ok(policy) => Some(policy),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "no site policy: everything will be declined");
                None
            }
        };
        let data = config.data.as_ref().map(|d| DataSource::load(&home, d)).transpose()?.map(Arc::new);
        let workers = data.as_ref().map(|_| machine::workers(&config)).transpose().map_err(PrepareError::from)?.map(Arc::new);
        let me = keys.client();
        let ledger = match (&data, &policy) {
            (Some(data), Some((policy, _))) => Some(Arc::new(Mutex::new(open_ledger(&home, &keys, data, policy)?))),
            (None, _) | (_, None) => None,
        };
        let (sender, done) = mpsc::channel(DONE);
        let mut agent = Self {
            build: build_hash()?,
            status: first_status(&identity),
            participant: Participant::new(me, upload_at(policy.as_ref())),
            decryptor: Decryptor::restore(me, &records),
            observer: Shared::new(observer),
            keys,
            certificate,
            me,
            boot: clock::boot()?,
            policy,
            data,
            ledger,
            workers,
            mirror,
            site,
            witness,
            vault,
            tasks: BTreeMap::new(),
            current: None,
            unfetched: None,
            uploading: BTreeMap::new(),
            broken: false,
            bench: Arc::default(),
            receipts: BTreeSet::new(),
            ends: Ends::default(),
            leaving: None,
            withdrawing: BTreeSet::new(),
            shut_out: false,
            traffic: Traffic::default(),
            sender,
            done,
            home,
            config,
            identity,
            _lock: lock,
        };
        agent.recover()?;
        // At the start as before each reservation (privacy.md D65): an alarm is shown before there is a link.
        agent.compared().map(drop).unwrap_or(());
        Ok(agent)
    }

    /// After a crash: what was sealed is sent again, what was only paid is void (privacy.md D60, D66).
    fn recover(&mut self) -> Result<(), AgentError> {
        let mut whole = BTreeMap::new();
        for (task, round) in spool::rounds(&self.home)? {
            match Spool::open(&self.home, task, round)? {
                Some(spool) => whole.insert(spool.index().reservation, spool.index().digest()),
                None => {
                    spool::clear(&self.home, task, round)?;
                    None
                }
            };
        }
        if let Some(ledger) = &self.ledger {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            // Values that are on the disk were released; what was only paid is void.
            let dataset = ledger.ledger().terms().dataset;
            release::settle(&mut ledger, &release::Disk(&self.home, dataset))?;
            for counter in ledger.ledger().unsealed() {
                match whole.get(&counter) {
                    Some(update) => ledger.sealed(counter, *update)?,
                    None => ledger.void(counter)?,
                }
            }
        }
        self.find_ended()
    }

    /// Rounds that ended while we were away.
    fn find_ended(&mut self) -> Result<(), AgentError> {
        let mut rounds = self.vault.rounds()?;
        rounds.extend(spool::rounds(&self.home)?);
        for (task, round) in rounds {
            if self.is_over(task, round) {
                self.ends.ended((task, round), self.mirror.size());
            }
        }
        Ok(())
    }

    /// Writes the status a last time.
    fn leave(&mut self) -> Result<(), AgentError> {
        self.status.linked = false;
        "stopped".clone_into(&mut self.status.duty);
        self.show()
    }

    /// Rewrites the status file.
    fn show(&mut self) -> Result<(), AgentError> {
        self.status.log_size = self.mirror.size();
        self.status.witnessed_size = self.mirror.published();
        self.status.cosigned_size = self.witness.cosigned().0;
        if let Some(trust) = self.mirror.history().trusts().last() {
            (self.status.trust, self.status.trust_since) = (Some(fingerprint(&trust.hash)), trust.since.0);
        }
        if let Some(ledger) = &self.ledger {
            let totals = ledger.lock().unwrap_or_else(PoisonError::into_inner).ledger().totals();
            self.status.epsilon = totals.epsilon.map(|e| e.to_string());
            self.status.epsilon_cap = Some(totals.epsilon_cap.to_string());
        }
        if !self.mirror.violations().is_empty() {
            self.status.alarm("the log breaks its rules: this institution witnesses but takes no part");
        }
        self.status.training = self.observer.training();
        self.status.certificate_until_ms = self.certificate.until().0;
        self.status.updated_ms = clock::now().0;
        Ok(self.status.store(&self.home)?)
    }

    /// Gives a decryptor that starts again the shares that it holds.
    fn restore_shares(&mut self) -> Result<(), AgentError> {
        for held in self.vault.held()? {
            let event = decryptor::Event::Share { manifest: held.manifest, group: held.group, header: held.header, trouble: None };
            self.decryptor.handle(clock::now(), self.mirror.history(), event);
        }
        Ok(())
    }
}

/// When updates leave; without a policy none is made.
fn upload_at(policy: Option<&(SitePolicy, Sha256)>) -> UploadAt {
    policy.map(|(p, _)| p.upload_at).unwrap_or_default()
}

fn first_status(identity: &Identity) -> Status {
    Status {
        federation: identity.federation.clone(),
        institution: identity.institution.clone(),
        client: identity.client.short(),
        server: identity.server.clone(),
        duty: "starting".to_owned(),
        ..Status::default()
    }
}

/// The ledger of the records, under the cap that the site policy states.
pub(crate) fn open_ledger(home: &Home, keys: &Arc<Keys>, data: &DataSource, policy: &SitePolicy) -> Result<LedgerStore, AgentError> {
    let (cap, delta) = (policy.max_eps_total, policy.max_delta);
    let order = default_order(cap, delta).ok_or(AgentError::NothingToSpend)?;
    let (institution, dataset, unit, own_epsilon_cap) = (keys.client(), data.dataset(), data.unit(), policy.own_cap_beside_coalition());
    let terms = Terms { institution, dataset, unit, epsilon_cap: cap, delta, order, own_epsilon_cap };
    let mut ledger = LedgerStore::open(home, terms, Arc::clone(keys))?;
    // A new total, not a new start (D64): what was spent stays spent, and the log is told.
    if ledger.ledger().terms().epsilon_cap != cap {
        ledger.declare_cap(cap)?;
    }
    Ok(ledger)
}
