//! Everything together, moved one operation at a time. Knows every machine's driver and believes only the books.

use crate::aggregator::{Aggregator, Mutant};
use crate::books::{Books, Broken, Fact};
use crate::fixture::{Fixture, ROUNDS, Shape, TASK, federation};
use crate::net::{Ask, Letter, Net};
use crate::site::{Lie, Site};
use protocol::codec;
use protocol::ids::{ClientId, GroupId, HeaderDigest, RoundId};
use protocol::manifest::{Manifest, SetPayload, set_digest};
use protocol::messages::ServerMessage;
use protocol::participant::UploadAt;
use protocol::round::{Event, Outcome};
use protocol::statement::Statement;
use protocol::time::Time;
use std::sync::Arc;

/// Steps in which a federation left in peace must come to rest: three rounds of five clients take about 1,500.
const MAX_STEPS: usize = 20_000;

/// One thing that can happen.
#[derive(Clone, Debug)]
pub enum Op {
    /// A letter arrives; not always the oldest.
    Deliver(u16),
    /// A letter is lost.
    Drop(u16),
    /// A letter will arrive twice.
    Double(u16),
    /// The server's disk finishes the oldest write.
    ServerDisk,
    /// A client's disk finishes its oldest job.
    SiteDisk(u8),
    /// The server's oldest job is done: a cover, a decoding, a step.
    Job,
    /// Time passes.
    Wait(u16),
    /// A client's process ends.
    Vanish(u8),
    /// A client's process begins again, from its disk.
    Restart(u8),
    /// A client's connection breaks and is there again.
    Reconnect(u8),
    /// A client's policy changes its mind.
    Unwilling(u8, bool),
    /// A client lies about its update.
    Lie(u8, Lie),
    /// The server asks a decryptor to sign another set.
    OtherSet(u8),
    /// The server asks a decryptor to endorse another manifest.
    OtherManifest(u8),
    /// Nothing bad happens for so many steps.
    Calm(u16),
}

/// A federation in a box.
pub struct World {
    fixture: Arc<Fixture>,
    mutant: Mutant,
    /// Virtual time.
    pub now: Time,
    /// The server.
    pub server: Aggregator,
    /// Institutions.
    pub sites: Vec<Site>,
    /// Letters in flight.
    pub net: Net,
    /// The checker.
    pub books: Books,
    /// How rounds ended.
    pub outcomes: Vec<(RoundId, Outcome)>,
}

impl World {
    /// A federation whose server has just begun round 1.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn new(shape: Shape, mutant: Mutant) -> Result<Self, Broken> {
        let fixture = federation(shape);
        let ids: Vec<ClientId> = fixture.sites.iter().map(|s| s.id).collect();
        let now = Time(10_000);
        let mut this = Self {
            mutant,
            now,
            server: Aggregator::begin(now, &fixture, mutant, ids.clone()),
            sites: (0..shape.sites).map(|i| Site::new(i, &fixture)).collect(),
            net: Net::default(),
            books: Books::new(&ids, usize::from(fixture.plan.cohort_min)),
            outcomes: Vec::new(),
            fixture,
        };
        this.server.act(now, &mut this.net, &mut this.books)?;
        Ok(this)
    }

    /// Lets one thing happen.
    ///
    /// # Errors
    /// [`Broken`], the promise that it broke.
    pub fn step(&mut self, op: &Op) -> Result<(), Broken> {
        match op {
            Op::Deliver(which) => self.deliver(usize::from(*which))?,
            Op::Drop(which) => drop(self.net.take(usize::from(*which))),
            Op::Double(which) => self.net.double(usize::from(*which)),
            Op::ServerDisk => self.server.disk_done(self.now, &mut self.net, &mut self.books)?,
            Op::SiteDisk(n) => self.site_disk(self.index(*n))?,
            Op::Job => self.server.job_done(self.now, &mut self.net, &mut self.books)?,
            Op::Wait(ms) => self.wait(self.now.plus_ms(u64::from(*ms)))?,
            Op::Vanish(n) => self.vanish(self.index(*n))?,
            Op::Restart(n) => self.restart(self.index(*n))?,
            Op::Reconnect(n) => self.reconnect(self.index(*n))?,
            Op::Unwilling(n, willing) => {
                let at = self.index(*n);
                self.sites[at].willing = *willing;
            }
            Op::Lie(n, lie) => self.lie(self.index(*n), *lie),
            Op::OtherSet(n) => self.other_set(self.index(*n)),
            Op::OtherManifest(n) => self.other_manifest(self.index(*n)),
            Op::Calm(steps) => {
                for _ in 0..*steps {
                    self.peaceful(false)?;
                }
            }
        }
        self.turn()
    }

    fn index(&self, n: u8) -> usize {
        usize::from(n) % self.sites.len()
    }

    fn deliver(&mut self, which: usize) -> Result<(), Broken> {
        self.net.take(which).map_or(Ok(()), |letter| self.hand_over(letter))
    }

    /// Brings a letter to its addressee.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn hand_over(&mut self, letter: Letter) -> Result<(), Broken> {
        let (net, books) = (&mut self.net, &mut self.books);
        match letter {
            Letter::Up { .. } | Letter::Ask { .. } => self.server.deliver(self.now, letter, net, books),
            Letter::Down { to, .. } | Letter::Answer { to, .. } => self.sites[to].deliver(self.now, letter, &self.server.log, net, books),
        }
    }

    fn site_disk(&mut self, at: usize) -> Result<(), Broken> {
        self.sites[at].disk_done(self.now, &mut self.net, &mut self.books)
    }

    fn wait(&mut self, until: Time) -> Result<(), Broken> {
        self.now = until;
        if self.server.timeout() <= self.now { self.tell(Event::Tick) } else { Ok(()) }
    }

    /// Tells the server's machine something.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn tell(&mut self, event: Event) -> Result<(), Broken> {
        self.server.handle(self.now, event, &mut self.net, &mut self.books)
    }

    fn vanish(&mut self, at: usize) -> Result<(), Broken> {
        self.sites[at].stop();
        self.tell(Event::Gone(self.sites[at].id()))
    }

    fn restart(&mut self, at: usize) -> Result<(), Broken> {
        self.tell(Event::Gone(self.sites[at].id()))?;
        self.sites[at].start(self.now, self.mutant, &mut self.net, &mut self.books)?;
        self.reconnect(at)
    }

    fn reconnect(&mut self, at: usize) -> Result<(), Broken> {
        if !self.sites[at].alive {
            return Ok(());
        }
        self.sites[at].reconnected(self.now, &mut self.net, &mut self.books)?;
        self.tell(Event::Back(self.sites[at].id()))
    }

    fn lie(&mut self, at: usize, lie: Lie) {
        let other = (at + 1) % self.sites.len();
        let others = self.sites[other].spooled(self.server.round_id());
        let header = self.server.manifest().and_then(|m| self.sites[at].lie(lie, m, self.sites[other].id(), &others));
        let Some(header) = header.filter(|_| self.sites[at].alive) else { return };
        self.net.send(Letter::Ask { from: at, ask: Ask::Begin, header: header.clone() });
        self.net.send(Letter::Ask { from: at, ask: Ask::Commit, header });
    }

    /// Whether the open round is in this state.
    pub fn phase_is(&self, phase: protocol::round::Phase) -> bool {
        self.server.phase() == phase
    }

    /// Headers that the log holds for the first group of the open round.
    pub fn accepted(&self) -> Vec<HeaderDigest> {
        let round = self.server.log.history().task(TASK).and_then(|t| t.rounds().get(&self.server.round_id()));
        round.and_then(|r| r.groups.get(&GroupId(0))).map(|g| g.accepted.keys().copied().collect()).unwrap_or_default()
    }

    /// The server shows a decryptor a set that is not the log's.
    pub fn other_set(&mut self, at: usize) {
        let (mut headers, Some(manifest)) = (self.accepted(), self.server.manifest()) else { return };
        let manifest = Manifest::digest(&manifest.payload);
        headers.pop();
        let set = set_digest(manifest, GroupId(0), &headers);
        let count = u32::try_from(headers.len()).expect("few headers");
        let log_size = self.server.log.size();
        let payload = SetPayload { manifest, group: GroupId(0), set, count, log_size };
        self.net.down(at, &ServerMessage::SignSet { payload: codec::encode(&payload).into(), headers, log_size });
    }

    /// The server shows a decryptor a second manifest that log and plan would allow.
    pub fn other_manifest(&mut self, at: usize) {
        let Some(Ok(mut manifest)) = self.server.manifest().map(Statement::verify::<Manifest>) else { return };
        manifest.reporting_until = manifest.reporting_until.plus_ms(1);
        let statement = Statement::sign(&manifest, &self.fixture.server);
        let size = self.server.log.size();
        let checkpoint = size.to_le_bytes().to_vec().into();
        self.net.down(at, &ServerMessage::Endorse { manifest: statement, log_size: size, checkpoint });
    }

    /// The server shows a decryptor a manifest in which two institutions have changed their groups.
    pub fn dealt_otherwise(&mut self, at: usize) {
        let Some(Ok(mut manifest)) = self.server.manifest().map(Statement::verify::<Manifest>) else { return };
        let strangers = manifest.groups[1].eligible.iter().find(|c| !manifest.groups[0].eligible.contains(c));
        let (one, Some(&other)) = (manifest.groups[0].eligible[0], strangers) else { return };
        for group in &mut manifest.groups {
            let swap = |c: &mut ClientId| {
                *c = if *c == one {
                    other
                } else if *c == other {
                    one
                } else {
                    *c
                }
            };
            group.eligible.iter_mut().for_each(swap);
            group.eligible.sort_unstable();
        }
        let statement = Statement::sign(&manifest, &self.fixture.server);
        let size = self.server.log.size();
        let checkpoint = size.to_le_bytes().to_vec().into();
        self.net.down(at, &ServerMessage::Endorse { manifest: statement, log_size: size, checkpoint });
    }

    /// The federation's keys and plan.
    pub fn fixture(&self) -> &Fixture {
        &self.fixture
    }

    /// One step without trouble: disks first, then jobs, then letters, then time. Whether anything was left to do.
    fn peaceful(&mut self, let_time_pass: bool) -> Result<bool, Broken> {
        if self.server.is_writing() {
            self.server.disk_done(self.now, &mut self.net, &mut self.books)?;
        } else if let Some(at) = self.sites.iter().position(Site::is_busy) {
            self.site_disk(at)?;
        } else if self.server.is_working() {
            self.server.job_done(self.now, &mut self.net, &mut self.books)?;
        } else if !self.net.is_empty() {
            self.deliver(0)?;
        } else if let_time_pass && self.server.timeout() != Time::NEVER {
            self.wait(self.server.timeout())?;
        } else {
            return Ok(false);
        }
        self.turn()?;
        Ok(true)
    }

    /// A round that has ended makes room for the next.
    fn turn(&mut self) -> Result<(), Broken> {
        let Some(outcome) = self.server.outcome() else { return Ok(()) };
        let round = self.server.round_id();
        if self.outcomes.last().is_some_and(|(r, _)| *r == round) {
            return Ok(());
        }
        self.outcomes.push((round, outcome));
        if round.0 < ROUNDS {
            let connected = self.sites.iter().filter(|s| s.alive).map(Site::id).collect();
            self.server.next_round(self.now, connected);
            self.server.act(self.now, &mut self.net, &mut self.books)?;
        }
        Ok(())
    }

    /// Every client begins again under a site policy that has updates leave at the manifest's time (privacy.md D12).
    ///
    /// # Errors
    /// [`Broken`].
    pub fn keep_schedule(&mut self) -> Result<(), Broken> {
        let (now, net, books) = (self.now, &mut self.net, &mut self.books);
        self.sites.iter_mut().try_for_each(|s| s.begin_again(UploadAt::Scheduled, now, net, books))
    }

    /// Time passes for everybody.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn pass_to(&mut self, until: Time) -> Result<(), Broken> {
        let (net, books) = (&mut self.net, &mut self.books);
        self.sites.iter_mut().try_for_each(|s| s.tick(until, net, books))?;
        self.wait(until)
    }

    /// Leaves the federation in peace, without time, until nothing moves any more.
    ///
    /// # Errors
    /// [`Broken`]; [`Broken::Stuck`] if something always does.
    pub fn still(&mut self) -> Result<(), Broken> {
        for _ in 0..MAX_STEPS {
            if !self.peaceful(false)? {
                return Ok(());
            }
        }
        Err(Broken::Stuck(self.server.round_id()))
    }

    /// Leaves the federation in peace until something is so.
    ///
    /// # Errors
    /// [`Broken`]; [`Broken::Stuck`] if it never is.
    pub fn until(&mut self, so: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        for _ in 0..MAX_STEPS {
            if so(self) {
                return Ok(());
            }
            self.peaceful(true)?;
        }
        Err(Broken::Stuck(self.server.round_id()))
    }

    /// Leaves the federation in peace until round `last` has ended and nothing moves any more.
    ///
    /// # Errors
    /// [`Broken`]; [`Broken::Stuck`] if it never does.
    pub fn rest(&mut self, last: RoundId) -> Result<(), Broken> {
        for _ in 0..MAX_STEPS {
            let ended = self.outcomes.last().is_some_and(|(r, _)| *r >= last);
            if !self.peaceful(!ended)? {
                return if ended { self.books.take(Fact::AtRest) } else { Err(Broken::Stuck(self.server.round_id())) };
            }
        }
        Err(Broken::Stuck(self.server.round_id()))
    }

    /// Every client runs and is connected.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn heal(&mut self) -> Result<(), Broken> {
        for at in 0..self.sites.len() {
            if self.sites[at].alive { self.reconnect(at)? } else { self.restart(at)? }
        }
        Ok(())
    }
}
