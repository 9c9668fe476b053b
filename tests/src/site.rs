//! One institution's driver as a puppet: participant, decryptor, own mirror, own disk. What is on the disk survives a restart,
//! everything else does not. Knows no other institution.

use crate::aggregator::{Mutant, NO_MANIFEST, OTHER_BUILD};
use crate::books::{Books, Broken, Fact};
use crate::fixture::{Fixture, TASK, decimal, nonce};
use crate::log::PretendLog;
use crate::net::{Ask, Letter, Net, read_server};
use protocol::dealing::NonceReveal;
use protocol::decimal::Decimal;
use protocol::decryptor::{self, Decryptor, Record, ShareSource};
use protocol::hash::sha256;
use protocol::history::History;
use protocol::ids::{Address, BodyRoot, ClientId, GroupId, HeaderDigest, ManifestDigest, Position, RoundId, Sha256, TaskId, Ticket};
use protocol::manifest::{BudgetSpend, Certificate, Decline, GroupSpec, Header, HeaderCore, Manifest, OpeningPayload};
use protocol::messages::{ClientMessage, ServerMessage};
use protocol::params::Packing;
use protocol::participant::{self, Accepted, Participant, UploadAt};
use protocol::plan::Unit;
use protocol::reject::Rejection;
use protocol::round::Verdict;
use protocol::statement::Statement;
use protocol::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What the disk is busy with.
enum Job {
    Persist(Ticket, Box<Record>),
    Pay(Box<Accepted>),
    Spool(Box<Accepted>),
    Share(ShareSource),
}

/// What survives a restart.
#[derive(Default)]
struct Disk {
    records: Vec<Record>,
    shares: BTreeMap<HeaderDigest, (ManifestDigest, GroupId)>,
    /// Rounds that the ledger has paid for, in order.
    paid: Vec<(RoundId, ManifestDigest)>,
    spool: BTreeMap<RoundId, BTreeMap<GroupId, Statement>>,
}

/// How a client may lie about its update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A second header for the same round and group.
    SecondHeader,
    /// A header for a manifest that does not exist.
    WrongManifest,
    /// A header in another institution's name, signed by itself.
    OtherName,
    /// Another institution's true header, as its own.
    OtherHeader,
}

/// One institution.
pub struct Site {
    me: usize,
    fixture: Arc<Fixture>,
    mirror: History,
    mirrored: usize,
    participant: Participant,
    decryptor: Decryptor,
    disk: Disk,
    jobs: VecDeque<Job>,
    /// What manifests are about; only the books are told.
    rounds: BTreeMap<ManifestDigest, (TaskId, RoundId)>,
    sending: Option<RoundId>,
    /// Whether its process runs.
    pub alive: bool,
    /// What site policy says about taking part.
    pub willing: bool,
    upload_at: UploadAt,
    /// Receipts in hand.
    pub receipts: BTreeMap<HeaderDigest, u64>,
    /// What the decryptor refused, and why.
    pub refusals: Vec<Rejection>,
}

impl Site {
    /// Institution number `me`.
    pub fn new(me: usize, fixture: &Arc<Fixture>) -> Self {
        let id = fixture.sites[me].id;
        Self {
            me,
            fixture: fixture.clone(),
            mirror: fixture.log.history().clone(),
            mirrored: fixture.log.entries().len(),
            participant: Participant::new(id, UploadAt::Ready),
            decryptor: Decryptor::restore(id, &[]),
            disk: Disk::default(),
            jobs: VecDeque::new(),
            rounds: BTreeMap::new(),
            sending: None,
            alive: true,
            willing: true,
            upload_at: UploadAt::Ready,
            receipts: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> ClientId {
        self.fixture.sites[self.me].id
    }
    /// Whether a disk job is outstanding.
    pub fn is_busy(&self) -> bool {
        self.alive && !self.jobs.is_empty()
    }
    /// Sets that its disk says it signed.
    pub fn signed_sets(&self) -> usize {
        self.disk.records.iter().filter(|r| matches!(r, Record::Signed { .. })).count()
    }
    /// Manifests that its disk says it endorsed.
    pub fn endorsements(&self) -> usize {
        self.disk.records.iter().filter(|r| matches!(r, Record::Endorsed { .. })).count()
    }
    /// Headers that stand in its spool, by group.
    pub fn spooled(&self, round: RoundId) -> Vec<Statement> {
        self.disk.spool.get(&round).into_iter().flat_map(|s| s.values().cloned()).collect()
    }

    /// Reads what the log has, and objects where it breaks a rule.
    ///
    /// # Errors
    /// [`Broken::History`].
    pub fn mirror(&mut self, log: &PretendLog, books: &mut Books) -> Result<(), Broken> {
        for bytes in &log.entries()[self.mirrored..] {
            self.mirrored += 1;
            self.mirror.apply(bytes).into_iter().try_for_each(|v| books.take(Fact::Violated(v)))?;
        }
        Ok(())
    }

    /// The site policy, read at the process's start: when updates leave.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn begin_again(&mut self, upload_at: UploadAt, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        self.upload_at = upload_at;
        self.start(now, Mutant::Sound, net, books)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn tick(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        if !self.alive {
            return Ok(());
        }
        self.participant.handle(participant::Event::Clock(now));
        self.act(now, net, books)
    }

    /// The process ends; what is not on the disk is gone.
    pub fn stop(&mut self) {
        self.alive = false;
        self.jobs.clear();
    }

    /// The process begins again from its disk.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn start(&mut self, now: Time, mutant: Mutant, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        self.alive = true;
        self.jobs.clear();
        self.sending = None;
        if mutant == Mutant::ForgetsRecords {
            self.disk.records.clear();
        }
        self.participant = Participant::new(self.id(), self.upload_at);
        self.decryptor = Decryptor::restore(self.id(), &self.disk.records);
        for (header, (manifest, group)) in self.disk.shares.clone() {
            self.decryptor.handle(now, &self.mirror, decryptor::Event::Share { manifest, group, header, trouble: None });
        }
        self.act(now, net, books)
    }

    /// The connection is new.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn reconnected(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        self.participant.handle(participant::Event::Reconnected);
        self.act(now, net, books)
    }

    /// A letter arrives; the mirror is up to date before it is judged.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn deliver(&mut self, now: Time, letter: Letter, log: &PretendLog, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        if !self.alive {
            return Ok(());
        }
        self.mirror(log, books)?;
        match letter {
            Letter::Down { frame, .. } => self.pushed(now, read_server(&frame)),
            Letter::Answer { ask, header, verdict, .. } => self.answered(ask, header, verdict, net),
            Letter::Up { .. } | Letter::Ask { .. } => {}
        }
        self.act(now, net, books)
    }

    fn pushed(&mut self, now: Time, message: ServerMessage) {
        use decryptor::Event as D;
        use participant::Event as P;
        match message {
            ServerMessage::RoundOpened { task, round, plan, snapshot } => {
                let willing = if self.willing { Ok(()) } else { Err(Rejection::Policy) };
                self.participant.handle(P::RoundOpened { task, round, plan, snapshot, willing });
            }
            ServerMessage::Reveal { task, round, .. } => self.decryptor.handle(now, &self.mirror, D::Reveal(task, round)),
            ServerMessage::Endorse { manifest, checkpoint, .. } => {
                if let Ok(m) = manifest.verify::<Manifest>() {
                    self.rounds.insert(Manifest::digest(&manifest.payload), (m.task, m.round));
                }
                self.decryptor.handle(now, &self.mirror, D::Endorse { manifest, covered: covered(&checkpoint) });
            }
            ServerMessage::Report { manifest, endorsements, .. } => {
                let accepted = Accepted::check(&self.mirror, self.id(), &manifest, &endorsements).map(Box::new);
                self.participant.handle(P::Report(accepted));
            }
            ServerMessage::BlobReady { header, .. } => self.decryptor.handle(now, &self.mirror, D::BlobReady(header)),
            ServerMessage::SignSet { payload, headers, .. } => {
                self.decryptor.handle(now, &self.mirror, D::SignSet { payload: payload.to_vec(), headers });
            }
            ServerMessage::Certified { headers, statements, checkpoint, .. } => {
                self.decryptor.handle(now, &self.mirror, D::Certified { headers, statements, covered: covered(&checkpoint) });
            }
            ServerMessage::RoundEnded { task, round, .. } => {
                let over = self.mirror.task(task).and_then(|t| t.rounds().get(&round)).is_some_and(|r| r.is_over());
                if over {
                    self.participant.handle(P::Ended(task, round));
                    self.decryptor.handle(now, &self.mirror, D::Ended(task, round));
                }
            }
            ServerMessage::Welcome { .. } | ServerMessage::TaskOpened { .. } | ServerMessage::Cosign { .. } => {}
            ServerMessage::TaskEnded { .. } | ServerMessage::Ack { .. } | ServerMessage::Refused { .. } => {}
        }
    }

    fn answered(&mut self, ask: Ask, header: Statement, verdict: Result<Verdict, Rejection>, net: &mut Net) {
        // Only the update that is being sent has somebody who waits for an answer.
        let current = self.sending.and_then(|r| self.disk.spool.get(&r));
        let Some(group) = current.and_then(|s| s.iter().find(|(_, h)| **h == header)).map(|(g, _)| *g) else { return };
        match verdict {
            Ok(Verdict::Accepted(index)) => {
                self.receipts.insert(Header::digest(&header.payload), index.0);
                self.participant.handle(participant::Event::Receipt(group, index));
            }
            Ok(Verdict::Proceed) if ask == Ask::Begin => net.send(Letter::Ask { from: self.me, ask: Ask::Commit, header }),
            Ok(Verdict::Proceed) => {}
            Err(reason) => self.participant.handle(participant::Event::Refused(group, reason)),
        }
    }

    /// The disk finishes its oldest job.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn disk_done(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        match self.jobs.pop_front() {
            None => return Ok(()),
            Some(Job::Persist(ticket, record)) => {
                self.disk.records.push(*record);
                self.decryptor.handle(now, &self.mirror, decryptor::Event::Persisted(ticket));
            }
            Some(Job::Pay(accepted)) => {
                self.disk.paid.push((accepted.manifest().round, accepted.digest()));
                books.take(Fact::Paid(self.id(), accepted.manifest().round))?;
                self.jobs.push_back(Job::Spool(accepted));
            }
            Some(Job::Spool(accepted)) => {
                let headers = accepted.groups_of(self.id()).into_iter().map(|g| (g, self.seal(&accepted, g, Sha256([9; 32])))).collect();
                self.disk.spool.insert(accepted.manifest().round, headers);
                self.sending = Some(accepted.manifest().round);
                self.participant.handle(participant::Event::Spooled);
            }
            Some(Job::Share(s)) => {
                self.disk.shares.insert(s.header, (s.manifest, s.group));
                let event = decryptor::Event::Share { manifest: s.manifest, group: s.group, header: s.header, trouble: None };
                self.decryptor.handle(now, &self.mirror, event);
            }
        }
        self.act(now, net, books)
    }

    fn act(&mut self, now: Time, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        loop {
            if let Some(action) = self.participant.poll_action() {
                self.take_part(action, net, books)?;
            } else if let Some(action) = self.decryptor.poll_action() {
                self.decrypt(now, action, net, books)?;
            } else {
                return Ok(());
            }
        }
    }

    fn take_part(&mut self, action: participant::Action, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        use participant::Action as A;
        match action {
            A::Send(message) => net.up(self.me, &message),
            A::Decline(task, round, reason) => {
                let statement = self.sign(&Decline { task, round, reason });
                net.up(self.me, &ClientMessage::Declined { statement });
            }
            A::Prepare(accepted) => self.prepare(accepted),
            A::Upload(group) => {
                let Some((round, header)) = self.sending.and_then(|r| Some((r, self.disk.spool.get(&r)?.get(&group)?.clone()))) else {
                    return Ok(());
                };
                books.take(Fact::Sent(self.id(), round, group, Header::digest(&header.payload)))?;
                net.send(Letter::Ask { from: self.me, ask: Ask::Begin, header });
            }
            A::Clear(_, round) => {
                self.disk.spool.remove(&round);
            }
        }
        Ok(())
    }

    /// One reservation per round, for ever: a whole spool is sent again, a lost one is lost (D60).
    fn prepare(&mut self, accepted: Box<Accepted>) {
        let round = accepted.manifest().round;
        let paying = self.jobs.iter().any(|j| matches!(j, Job::Pay(a) | Job::Spool(a) if a.manifest().round == round));
        match self.disk.paid.iter().find(|(r, _)| *r == round) {
            None if !paying => self.jobs.push_back(Job::Pay(accepted)),
            Some((_, digest)) if *digest == accepted.digest() && self.disk.spool.contains_key(&round) => {
                self.sending = Some(round);
                self.participant.handle(participant::Event::Spooled);
            }
            None | Some(_) => self.participant.handle(participant::Event::NotPrepared(Rejection::BudgetExhausted)),
        }
    }

    fn decrypt(&mut self, now: Time, action: decryptor::Action, net: &mut Net, books: &mut Books) -> Result<(), Broken> {
        use decryptor::Action as A;
        let who = self.id();
        match action {
            A::Persist(ticket, record) => self.jobs.push_back(Job::Persist(ticket, record)),
            A::Reveal(task, round) => {
                let statement = self.sign(&NonceReveal { task, round, nonce: nonce(who, round) });
                net.up(self.me, &ClientMessage::Revealed { statement });
            }
            A::SignEndorsement(e) => {
                let of = self.rounds.get(&e.manifest).copied().unwrap_or((TASK, RoundId(0)));
                let remembered =
                    self.remembers(|r| matches!(r, Record::Endorsed { manifest, .. } if Manifest::digest(&manifest.payload) == e.manifest));
                books.take(Fact::Endorsed { who, of, manifest: e.manifest, remembered })?;
                net.up(self.me, &ClientMessage::Endorsed { statement: self.sign(&e) });
            }
            A::SignSet(payload) => {
                let remembered = self.remembers(|r| matches!(r, Record::Signed { payload: p } if *p == payload));
                books.take(Fact::SetSigned { who, payload, remembered })?;
                net.up(self.me, &ClientMessage::SetSigned { statement: self.sign(&payload) });
            }
            A::Fetch(source) => self.jobs.push_back(Job::Share(source)),
            A::Compute(certificate, position) => {
                let opening = self.compute(&certificate, position);
                self.decryptor.handle(now, &self.mirror, decryptor::Event::Computed(opening));
            }
            A::Send(message) => {
                if let ClientMessage::Refused { reason, .. } = &message {
                    self.refusals.push(*reason);
                }
                if let ClientMessage::Opened { statement } = &message {
                    let remembered = self.remembers(|r| matches!(r, Record::Opened { opening, .. } if opening == statement));
                    let said = statement.verify::<OpeningPayload>().expect("own words");
                    books.take(Fact::OpeningSent { who, certificate: said.certificate, bytes: statement.payload.clone(), remembered })?;
                }
                net.up(self.me, &message);
            }
            A::Forget(_, _, manifest) => self.disk.shares.retain(|_, (m, _)| *m != manifest),
        }
        Ok(())
    }

    fn remembers(&self, what: impl Fn(&Record) -> bool) -> bool {
        self.disk.records.iter().any(what)
    }

    fn sign<P: protocol::statement::Payload>(&self, value: &P) -> Statement {
        Statement::sign(value, &self.fixture.sites[self.me].key)
    }

    /// A made-up key share; that every share is in the store is not made up.
    fn compute(&self, certificate: &Certificate, position: Position) -> Statement {
        assert!(certificate.headers().iter().all(|h| self.disk.shares.contains_key(h)), "opens what it does not hold");
        self.sign(&OpeningPayload { certificate: certificate.digest(), position, shares: vec![1; 8], checks: vec![2; 8] })
    }

    /// A header for one group, as the manifest's numbers want it.
    fn seal(&self, accepted: &Accepted, group: GroupId, build: Sha256) -> Statement {
        let spec = accepted.manifest().group(group).expect("an eligible group");
        let core = self.core(accepted.digest(), self.id(), accepted.manifest().round, spec, build);
        self.sign(&Header { core, blobs: vec![Address([3; 32]); accepted.manifest().committee.len()] })
    }

    fn core(&self, manifest: ManifestDigest, institution: ClientId, round: RoundId, spec: &GroupSpec, build: Sha256) -> HeaderCore {
        let polynomials = spec.polynomials().expect("a sound group");
        HeaderCore {
            manifest,
            institution,
            group: spec.id,
            polynomials,
            chunks: Packing::chunks(polynomials),
            body_bytes: polynomials * spec.packing.polynomial_bytes(),
            body_root: BodyRoot(sha256(&[&institution.0, &round.0.to_le_bytes(), &spec.id.0.to_le_bytes()])),
            build,
            spend: self.spend(round),
        }
    }

    /// Half a unit of epsilon per paid round.
    fn spend(&self, round: RoundId) -> BudgetSpend {
        let nth = self.disk.paid.iter().position(|(r, _)| *r == round).unwrap_or(self.disk.paid.len()) as u64;
        let half = |n: u64| Decimal::new(n * 5, 1).expect("a small decimal");
        BudgetSpend {
            dataset: self.fixture.sites[self.me].dataset,
            unit: Unit::Record,
            noise_multiplier: decimal("1"),
            sampling_rate: decimal("0.01"),
            steps: 1,
            steps_total: nth + 1,
            delta: decimal("0.00001"),
            epsilon_before: half(nth),
            epsilon_after: half(nth + 1),
            epsilon_cap: decimal("100"),
            ledger_counter: nth + 1,
            ledger_head: Sha256(sha256(&[&nth.to_le_bytes()])),
            accountant: "pretend".into(),
        }
    }

    /// A header that an honest client would never send.
    pub fn lie(&self, lie: Lie, manifest: &Statement, other: ClientId, others: &[Statement]) -> Option<Statement> {
        let m: Manifest = manifest.verify().ok()?;
        let spec = m.groups.first()?;
        let digest = Manifest::digest(&manifest.payload);
        let blobs = vec![Address([3; 32]); m.committee.len()];
        let core = match lie {
            Lie::SecondHeader => self.core(digest, self.id(), m.round, spec, OTHER_BUILD),
            Lie::WrongManifest => self.core(NO_MANIFEST, self.id(), m.round, spec, OTHER_BUILD),
            Lie::OtherName => self.core(digest, other, m.round, spec, OTHER_BUILD),
            Lie::OtherHeader => return others.first().cloned(),
        };
        Some(self.sign(&Header { core, blobs }))
    }
}

/// What a driver knows of the log: how much of it a quorum has cosigned (A33). Here a checkpoint is nothing but its size.
fn covered(checkpoint: &[u8]) -> u64 {
    <[u8; 8]>::try_from(checkpoint).map_or(0, u64::from_le_bytes)
}
