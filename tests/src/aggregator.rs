//! The server's driver as a puppet: one round machine, a log that is durable when told so, jobs that finish when told so.
//! Knows no client but by its connection.

use crate::books::{Books, Broken, Fact, weight};
use crate::fixture::{Fixture, TASK};
use crate::log::PretendLog;
use crate::net::{Ask, Letter, Net, read_client};
use protocol::decimal::Decimal;
use protocol::entry::{Draft, Facts};
use protocol::ids::{
    ClientId, GroupId, HeaderDigest, KeySumDigest, ManifestDigest, RoundId, Sha256, SnapshotDigest, SumRoot, Ticket, ValueDigest,
};
use protocol::manifest::{Certificate, Header, Manifest, OpeningPayload, SumResult};
use protocol::messages::ClientMessage;
use protocol::reject::Rejection;
use protocol::round::{Action, Blamed, Event, Outcome, Phase, Recipients, Round, Setup};
use protocol::statement::Statement;
use protocol::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A bug that is put in on purpose, to see that the books find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Sound,
    /// Sums an update when its entry is asked for, not when it is durable.
    SumsFirst,
    /// Leaves dropped updates in the sum.
    KeepsDropped,
    /// A decryptor's disk forgets everything at a restart.
    ForgetsRecords,
}

/// Work off the machine's task.
enum Job {
    Cover(u64),
    Open(GroupId, Box<Certificate>, usize),
    Advance,
}

/// A request under way.
struct Question {
    from: usize,
    ask: Ask,
    header: Statement,
}

/// The server.
pub struct Aggregator {
    fixture: Arc<Fixture>,
    mutant: Mutant,
    round: Round,
    id: RoundId,
    /// Its log.
    pub log: PretendLog,
    writes: VecDeque<(Ticket, Box<Draft>)>,
    jobs: VecDeque<Job>,
    questions: BTreeMap<u64, Question>,
    next_question: u64,
    sums: BTreeMap<GroupId, BTreeMap<HeaderDigest, u64>>,
    manifest: Option<Statement>,
    snapshot: SnapshotDigest,
    finished: Option<Outcome>,
    /// Groups whose sum does not open, and why.
    pub spoiled: BTreeMap<GroupId, Rejection>,
    /// Whom every opening shows to be at fault.
    pub blamed: Blamed,
}

impl Aggregator {
    /// A server that begins round 1 at `now` with these clients connected.
    pub fn begin(now: Time, fixture: &Arc<Fixture>, mutant: Mutant, connected: Vec<ClientId>) -> Self {
        let log = fixture.log.clone();
        let snapshot = fixture.plan.base;
        let round = Round::begin(now, setup(fixture, &log, RoundId::FIRST, snapshot, connected));
        Self {
            fixture: fixture.clone(),
            mutant,
            round,
            id: RoundId::FIRST,
            log,
            writes: VecDeque::new(),
            jobs: VecDeque::new(),
            questions: BTreeMap::new(),
            next_question: 0,
            sums: BTreeMap::new(),
            manifest: None,
            snapshot,
            finished: None,
            spoiled: BTreeMap::new(),
            blamed: Blamed::default(),
        }
    }

    /// Begins the next round once this one has ended.
    pub fn next_round(&mut self, now: Time, connected: Vec<ClientId>) {
        self.id = self.id.next().expect("few rounds");
        self.round = Round::begin(now, setup(&self.fixture, &self.log, self.id, self.snapshot, connected));
        (self.manifest, self.finished) = (None, None);
        self.sums.clear();
    }

    /// The round that is open, or has just ended.
    pub fn round_id(&self) -> RoundId {
        self.id
    }
    /// Its state.
    pub fn phase(&self) -> Phase {
        self.round.phase()
    }
    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.finished
    }
    /// The round's manifest, once it is signed.
    pub fn manifest(&self) -> Option<&Statement> {
        self.manifest.as_ref()
    }
    /// When the machine wants to be woken.
    pub fn timeout(&self) -> Time {
        self.round.poll_timeout()
    }
    /// Whether a write is outstanding.
    pub fn is_writing(&self) -> bool {
        !self.writes.is_empty()
    }
    /// Whether a job is outstanding.
    pub fn is_working(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Hands an event to the machine and does what it asks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn handle(&mut self, now: Time, event: Event, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        self.round.handle(now, event);
        books.take(Fact::Woken(now, self.round.poll_timeout()))?;
        self.act(now, net, books)
    }

    /// Does what the machine asks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn act(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        while let Some(action) = self.round.poll_action() {
            match action {
                Action::Record(ticket, draft) => {
                    if let (Mutant::SumsFirst, Facts::UpdateAccepted { header, .. }) = (self.mutant, &draft.facts) {
                        books.take(Fact::Accumulated(*header))?;
                    }
                    self.writes.push_back((ticket, draft));
                }
                Action::Send(to, message) => self.addressees(&to).into_iter().for_each(|i| net.down(i, &message)),
                Action::Answer(ticket, verdict) => self.answer(ticket, verdict, net, books)?,
                Action::SignManifest(manifest) => {
                    let statement = Statement::sign(&*manifest, &self.fixture.server);
                    self.manifest = Some(statement.clone());
                    self.round.handle(now, Event::ManifestSigned(statement));
                }
                Action::Accumulate(group, header) => self.accumulate(group, header, books)?,
                Action::AwaitCover(size) => self.jobs.push_back(Job::Cover(size)),
                Action::Open(group, certificate, openings) => {
                    let distinct = openings.iter().map(|o: &OpeningPayload| o.position).collect::<std::collections::BTreeSet<_>>();
                    self.jobs.push_back(Job::Open(group, certificate, distinct.len()));
                }
                Action::Advance(_) => self.jobs.push_back(Job::Advance),
                Action::Finish(outcome) => self.finish(outcome, books)?,
            }
        }
        Ok(())
    }

    /// The disk finishes the oldest write.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn disk_done(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        let Some((ticket, draft)) = self.writes.pop_front() else { return Ok(()) };
        let done = self.log.append(now, &draft);
        books.take(Fact::Durable(done.index, Box::new(done.entry)))?;
        done.violations.into_iter().try_for_each(|v| books.take(Fact::Violated(v)))?;
        self.handle(now, Event::Recorded { ticket, index: done.index, leaf: done.leaf }, net, books)
    }

    /// The oldest job is done.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn job_done(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        let event = match self.jobs.pop_front() {
            None => return Ok(()),
            Some(Job::Cover(size)) => {
                books.take(Fact::Covered(size))?;
                Event::Covered { size, checkpoint: size.to_le_bytes().to_vec() }
            }
            Some(Job::Open(group, certificate, openings)) => {
                let result = self.open(&certificate, openings, books)?;
                Event::SumOpened { group, result, blame: self.blamed.clone() }
            }
            Some(Job::Advance) => Event::Advanced(SnapshotDigest([u8::try_from(self.id.0 + 1).expect("few rounds"); 32])),
        };
        self.handle(now, event, net, books)
    }

    /// A client's message arrives.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn deliver(&mut self, now: Time, letter: Letter, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        let event = match letter {
            Letter::Up { from, frame } => self.event(self.fixture.sites[from].id, read_client(&frame)),
            Letter::Ask { from, ask, header } => {
                let (client, answer) = (self.fixture.sites[from].id, Ticket(self.next_question));
                self.next_question += 1;
                books.take(Fact::Asked(answer.0))?;
                self.questions.insert(answer.0, Question { from, ask, header: header.clone() });
                Some(match ask {
                    Ask::Begin => Event::Begin { from: client, header, answer },
                    Ask::Commit => Event::Commit { from: client, header, answer },
                })
            }
            Letter::Down { .. } | Letter::Answer { .. } => None,
        };
        event.map_or(Ok(()), |e| self.handle(now, e, net, books))
    }

    /// The driver knows which round a message is for; one for another round ends here.
    fn event(&self, from: ClientId, message: ClientMessage) -> Option<Event> {
        match message {
            ClientMessage::Ready { task, round } => (task == TASK && round == self.id).then_some(Event::Ready(from)),
            ClientMessage::Declined { statement } => Some(Event::Declined(from, statement)),
            ClientMessage::Endorsed { statement } => Some(Event::Endorsed(from, statement)),
            ClientMessage::BlobReport { manifest, group, header, trouble } => {
                let current = self.manifest.as_ref().is_some_and(|m| Manifest::digest(&m.payload) == manifest);
                current.then_some(Event::BlobReport { from, group, header, trouble })
            }
            ClientMessage::Revealed { statement } => Some(Event::Revealed(from, statement)),
            ClientMessage::SetSigned { statement } => Some(Event::SetSigned(from, statement)),
            ClientMessage::Opened { statement } => Some(Event::Opened(from, statement)),
            ClientMessage::Hello { .. } | ClientMessage::Cosigned { .. } | ClientMessage::Refused { .. } => None,
        }
    }

    fn addressees(&self, to: &Recipients) -> Vec<usize> {
        let all = self.fixture.sites.iter().enumerate();
        match to {
            Recipients::All => all.map(|(i, _)| i).collect(),
            Recipients::Only(these) => all.filter(|(_, s)| these.contains(&s.id)).map(|(i, _)| i).collect(),
        }
    }

    fn answer(
        &mut self,
        ticket: Ticket,
        verdict: Result<protocol::round::Verdict, Rejection>,
        net: &mut Net,
        books: &mut Books,
    ) -> Result<(), Broken> {
        let Some(q) = self.questions.remove(&ticket.0) else { return Err(Broken::AnsweredTwice(ticket.0)) };
        books.take(Fact::Answered { ticket: ticket.0, header: Header::digest(&q.header.payload), verdict })?;
        net.send(Letter::Answer { to: q.from, ask: q.ask, header: q.header, verdict });
        Ok(())
    }

    fn accumulate(&mut self, group: GroupId, header: HeaderDigest, books: &mut Books) -> Result<(), Broken> {
        if self.mutant != Mutant::SumsFirst {
            books.take(Fact::Accumulated(header))?;
        }
        let client = self.log.history().task(TASK).and_then(|t| t.rounds().get(&self.id)).and_then(|r| r.groups.get(&group));
        let client = client.and_then(|g| g.accepted.get(&header)).map(|(c, ..)| *c);
        let at = self.fixture.sites.iter().position(|s| Some(s.id) == client).ok_or(Broken::SummedBeforeDurable(header))?;
        *self.sums.entry(group).or_default().entry(header).or_default() += weight(at);
        Ok(())
    }

    /// Takes out what the certificate leaves out, and opens.
    fn open(&mut self, certificate: &Certificate, openings: usize, books: &mut Books) -> Result<Result<Statement, Rejection>, Broken> {
        let said = certificate.payload();
        if openings < self.fixture.plan.committee.threshold() {
            return Ok(Err(Rejection::BadSum));
        }
        if let Some(reason) = self.spoiled.get(&said.group) {
            return Ok(Err(*reason));
        }
        let parts = self.sums.entry(said.group).or_default();
        let kept = |h: &HeaderDigest| self.mutant == Mutant::KeepsDropped || certificate.headers().contains(h);
        let sum = parts.iter().filter(|(h, _)| kept(h)).map(|(_, w)| w).sum();
        books.take(Fact::Opened { certificate: certificate.digest(), sum })?;
        let result = SumResult {
            manifest: said.manifest,
            group: said.group,
            set: said.set,
            sum_root: SumRoot([1; 32]),
            key_sum: KeySumDigest([2; 32]),
            values: ValueDigest([3; 32]),
            residual_ratio: Decimal::new(1, 0).expect("one is a decimal"),
        };
        Ok(Ok(Statement::sign(&result, &self.fixture.server)))
    }

    fn finish(&mut self, outcome: Outcome, books: &mut Books) -> Result<(), Broken> {
        if let Outcome::Closed(snapshot, _) = outcome {
            self.snapshot = snapshot;
        }
        self.finished = Some(outcome);
        // The next round's manifest names a checkpoint that covers this end.
        books.take(Fact::Covered(self.log.size()))
    }
}

fn setup(fixture: &Fixture, log: &PretendLog, round: RoundId, snapshot: SnapshotDigest, connected: Vec<ClientId>) -> Setup {
    let history = log.history();
    let task = history.task(TASK).expect("the task is in the log");
    Setup {
        plan: fixture.plan.clone(),
        plan_digest: fixture.plan_digest,
        task: TASK,
        round,
        snapshot,
        previous_end: task.previous_end(),
        log_size: log.size(),
        checkpoint: log.size().to_le_bytes().to_vec(),
        members: history.active().map(|(id, m)| (*id, m.key)).collect(),
        connected,
        prekeys: fixture.sites.iter().map(|s| (s.id, task.prekeys(s.id).to_vec())).collect(),
    }
}

/// A digest that no manifest has.
pub const NO_MANIFEST: ManifestDigest = ManifestDigest([0xee; 32]);
/// A build that nobody runs.
pub const OTHER_BUILD: Sha256 = Sha256([0xdd; 32]);
