//! The driver: one task that owns log, rounds and members. The only place that persists; what it says, it has persisted.

mod admin;
mod budgets;
mod members;
mod process;
mod release;
mod renew;
mod retention;
mod rotate;
mod rounds;
mod standing;
mod trust;
mod words;

use crate::admin::{AdminReply, AdminRequest};
use crate::init::Keys;
use crate::layout::Layout;
use crate::log::{Appended, Log, LogError};
use crate::publish::Publisher;
use crate::quota::{HOUR_MS, MINUTE_MS, Quota};
use crate::store::{Store, StoreError};
use crate::sums::{Done, Job};
use crate::task::TaskRun;
use crate::uploads::Uploads;
use ed25519_dalek::SigningKey;
use protocol::entry::{Draft, Right};
use protocol::ids::{ClientId, LeafIndex, Sha256, Ticket};
use protocol::membership::Barred;
use protocol::messages::{ClientMessage, JoinMessage, JoinReply, Request, Response, ServerMessage};
use protocol::reject::Rejection;
use protocol::round::Recipients;
use protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// The answer to a member's request; for large things a file whose bytes follow.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) stream: Option<PathBuf>,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { response, stream: None }
    }
}

impl From<Rejection> for Answer {
    fn from(reason: Rejection) -> Self {
        Response::Rejected { reason }.into()
    }
}

/// Who stands at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// A member in good standing.
    Member(ClientId),
    /// A member whose word does not count now, and why.
    Barred(Barred),
    /// Nobody that was admitted.
    Stranger,
}

/// Something from outside.
pub(crate) enum Input {
    Identify {
        name: String,
        key: Sha256,
        reply: Reply<Door>,
    },
    Connected {
        who: ClientId,
        /// The TLS key that it showed.
        key: Sha256,
        link: usize,
        outbox: mpsc::Sender<ServerMessage>,
        cut: oneshot::Sender<Option<Barred>>,
        note: Vec<u8>,
        /// Notes by which the log's keys handed over, as far as the member has them.
        handovers: Vec<Vec<u8>>,
        reply: Reply<Result<ServerMessage, Rejection>>,
    },
    Disconnected {
        who: ClientId,
        link: usize,
    },
    Message(ClientId, ClientMessage),
    Request {
        who: ClientId,
        request: Box<Request>,
        reply: Reply<Answer>,
    },
    Join {
        message: Box<JoinMessage>,
        nonce: Sha256,
        reply: Reply<JoinReply>,
    },
    Admin {
        request: Box<AdminRequest>,
        reply: Reply<AdminReply>,
    },
    Work(Done),
    StorageFailed,
    Stop,
}

/// Why the driver ends. After any of these the process ends too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DriverError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the index failed")]
    Store(#[from] StoreError),
    #[error("a file could not be made durable")]
    Storage(#[from] std::io::Error),
    #[error("the summing worker has ended")]
    Worker,
    #[error("the next snapshot could not be made")]
    Advance(#[from] crate::sums::WorkError),
    #[error(transparent)]
    Rollback(#[from] crate::evidence::RolledBack),
    #[error("the log does not say yet that it was recovered")]
    Unsaid(#[from] crate::recover::Unsaid),
}

/// A member's connection.
struct Link {
    id: usize,
    /// The TLS key that it shows.
    key: Sha256,
    outbox: mpsc::Sender<ServerMessage>,
    /// Ends the connection: with the reason, or because its key is nobody's any more. Dropped, it ends it without either.
    cut: oneshot::Sender<Option<Barred>>,
}

/// Everything the server owns.
pub(crate) struct Driver {
    layout: Layout,
    keys: Arc<Keys>,
    /// What the server signs with, by the trust document in force.
    statement: SigningKey,
    /// The trust document that the log began with.
    trust_bytes: Vec<u8>,
    public_address: String,
    log: Log,
    store: Store,
    publisher: Publisher,
    uploads: Uploads,
    traffic: Arc<crate::endpoint::Shared>,
    links: BTreeMap<ClientId, Link>,
    jobs: std::sync::mpsc::Sender<Job>,
    task: Option<TaskRun>,
    answers: BTreeMap<Ticket, Waiting>,
    next_answer: u64,
    /// Denials in a minute.
    denials: Quota<Right>,
    /// Attempts to connect in an hour, by members whose word does not count since an entry.
    knocks: Quota<(ClientId, LeafIndex)>,
    /// Declarations in a minute.
    declarations: Quota<ClientId>,
    clock: process::Clock,
    /// Whether the log was told that the disk has no room for the next round.
    storage_is_low: bool,
    /// Refusals of updates that the log was told of since the last round began.
    refusals: BTreeSet<(ClientId, Rejection)>,
    /// Those who have just left: until when they may look for their entry in the log, on the connection on which they left, and what that ends
    /// with.
    leaving: BTreeMap<ClientId, (Time, Link, Barred)>,
    /// Until when no round begins, because these members wait to change their statement key between two of them.
    held: BTreeMap<ClientId, Time>,
}

/// Who waits for a round's answer.
struct Waiting {
    who: ClientId,
    reply: Reply<Answer>,
    begin: Option<(protocol::statement::Statement, Vec<protocol::ids::Address>)>,
}

/// The clock of this process.
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What the driver is made of.
pub(crate) struct Parts {
    pub(crate) layout: Layout,
    pub(crate) keys: Arc<Keys>,
    pub(crate) trust_bytes: Vec<u8>,
    pub(crate) public_address: String,
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) shared: Arc<crate::endpoint::Shared>,
    pub(crate) jobs: std::sync::mpsc::Sender<Job>,
    /// SHA-256 of the settings.
    pub(crate) config: Sha256,
}

impl Driver {
    /// Takes up where the log ends; a round that was under way is abandoned (its spending stays spent).
    ///
    /// # Errors
    /// [`DriverError`]; with evidence against this log on the disk nothing is appended, not even that the process started (A32).
    pub(crate) fn new(mut parts: Parts) -> Result<Self, DriverError> {
        crate::evidence::check(&parts.layout, &parts.log)?;
        crate::recover::last_word(&parts.layout, &mut parts.log)?;
        trust::keep(&parts.log)?;
        let publisher = Publisher::open(&parts.log)?;
        // A process may have ended between a quorum for a handover and this.
        parts.log.retire(publisher.published())?;
        let task = TaskRun::resume(parts.log.history());
        let mut this = Self {
            layout: parts.layout,
            statement: parts.keys.statement.clone(),
            keys: parts.keys,
            trust_bytes: parts.trust_bytes,
            public_address: parts.public_address,
            log: parts.log,
            store: parts.store,
            publisher,
            uploads: parts.uploads,
            traffic: parts.shared,
            links: BTreeMap::new(),
            jobs: parts.jobs,
            task,
            answers: BTreeMap::new(),
            next_answer: 0,
            denials: Quota::each(MINUTE_MS),
            knocks: Quota::each(HOUR_MS),
            declarations: Quota::each(MINUTE_MS),
            clock: process::Clock::new(),
            storage_is_low: false,
            refusals: BTreeSet::new(),
            leaving: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        this.started(parts.config)?;
        Ok(this)
    }

    /// Runs until it is told to stop or storage fails.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), DriverError> {
        loop {
            let wait = self.next_wake();
            let input = tokio::time::timeout(wait, inputs.recv()).await;
            let goes_on = tokio::task::block_in_place(|| self.step(input.ok()))?;
            if !goes_on {
                return tokio::task::block_in_place(|| self.stopped());
            }
        }
    }

    /// One input, or the passing of time. False when the server shall end.
    fn step(&mut self, input: Option<Option<Input>>) -> Result<bool, DriverError> {
        self.watch_clock()?;
        match input {
            None => self.tick()?,
            Some(None | Some(Input::Stop)) => return Ok(false),
            Some(Some(Input::StorageFailed)) => return Err(std::io::Error::other("a part could not be made durable").into()),
            Some(Some(Input::Admin { request, reply })) => {
                let stop = matches!(*request, AdminRequest::Stop {});
                let answer = self.admin(*request)?;
                reply.send(answer).ok();
                if stop {
                    return Ok(false);
                }
            }
            Some(Some(input)) => self.take(input)?,
        }
        self.pump()?;
        Ok(true)
    }

    fn take(&mut self, input: Input) -> Result<(), DriverError> {
        match input {
            Input::Identify { name, key, reply } => {
                let door = self.identify(&name, key)?;
                reply.send(door).ok();
            }
            Input::Connected { who, key, link, outbox, cut, note, handovers, reply } => {
                self.shown_handovers(who, &handovers)?;
                let welcome = self.connected(who, Link { id: link, key, outbox, cut }, &note)?;
                reply.send(welcome).ok();
            }
            Input::Disconnected { who, link } => self.disconnected(who, link),
            Input::Message(who, message) => self.message(who, message)?,
            Input::Request { who, request, reply } => self.request(who, *request, reply)?,
            Input::Join { message, nonce, reply } => {
                let answer = self.join(*message, nonce)?;
                reply.send(answer).ok();
            }
            Input::Work(done) => self.work_done(done)?,
            Input::Admin { .. } | Input::StorageFailed | Input::Stop => {}
        }
        Ok(())
    }

    /// Appends; when this returns the entries are durable.
    fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>, DriverError> {
        Ok(self.log.append(drafts)?)
    }

    fn append_one(&mut self, draft: Draft) -> Result<Appended, DriverError> {
        let mut done = self.log.append(&[draft])?;
        done.pop().ok_or(DriverError::Log(LogError::Inconsistent("an append gave no entry")))
    }

    /// Sends to those who are connected. A client that does not drain its messages is cut off; it reconnects and catches up.
    fn send(&mut self, to: &Recipients, message: &ServerMessage) {
        let wanted = |id: &ClientId| match to {
            Recipients::All => true,
            Recipients::Only(ids) => ids.contains(id),
        };
        self.links.retain(|id, link| !wanted(id) || link.outbox.try_send(message.clone()).is_ok());
    }

    /// Shows the newest tree to the witnesses, if somebody waits for a checkpoint.
    fn show_note(&mut self) {
        if let Some(note) = self.publisher.start(&self.log, now()) {
            self.send(&Recipients::All, &ServerMessage::Cosign { note: note.into() });
        }
    }
}

#[cfg(test)]
#[path = "driver/tests.rs"]
mod tests;
