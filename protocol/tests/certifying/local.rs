//! One honest decryptor in an environment without any scruple: every state that the real machine can reach, crashes between any two
//! steps included. What is durable and what is only in memory are kept apart.

use crate::world::{GROUP, ROUND, TASK, World};
use protocol::codec;
use protocol::decryptor::{Action, Decryptor, Event, Record};
use protocol::history::History;
use protocol::ids::Ticket;
use protocol::manifest::{Certificate, Manifest, OpeningPayload};
use protocol::messages::ClientMessage;
use protocol::statement::Statement;
use protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};

const NOW: Time = Time(0);

/// A record of the real machine, by the numbers of manifest, set and computation. It also names the statement that it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Word {
    Endorsed(usize),
    Signed(usize, usize),
    Opened(usize, usize, usize),
}

/// Something that may happen to one honest decryptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The server asks to endorse.
    Endorse(usize),
    /// All share blobs under a manifest are opened and durable.
    Shares(usize),
    /// The server asks to sign a set.
    Sign(usize, usize),
    /// The server shows a certificate.
    Certified(usize, usize),
    /// The opening is computed; the last number tells computations apart.
    Computed(usize, usize, usize),
    /// The disk takes a record, and the machine hears of it.
    Disk(Word),
    /// The disk takes a record, and the process ends before it says anything.
    DiskThenCrash(Word),
    /// The process ends.
    Crash,
    /// The round's end stands in the mirror.
    Ended,
}

/// A driver that does not do its duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Starts from an empty disk.
    ForgetsRecords,
    /// Signs a set although the machine refuses.
    SignsUnasked,
    /// Sends before the record is durable.
    SpeaksBeforeDisk,
}

/// All that the future of a decryptor depends on, and what it has said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) durable: BTreeSet<Word>,
    pub(crate) held: [bool; 2],
    pub(crate) over: bool,
    /// Handed to the disk.
    pub(crate) pending: BTreeSet<Word>,
    pub(crate) computing: BTreeSet<(usize, usize)>,
    /// The endorsement that memory still has when its record is already forgotten.
    pub(crate) memory: Option<usize>,
    /// What has left the process.
    pub(crate) said: BTreeSet<Word>,
}

/// The real machine with the driver around it.
pub(crate) struct Live<'w> {
    world: &'w World,
    fault: Fault,
    machine: Decryptor,
    tickets: BTreeMap<Word, Ticket>,
    pub(crate) state: State,
    refused: bool,
    pub(crate) broken: Option<&'static str>,
}

impl<'w> Live<'w> {
    /// A machine in this state. It gets there by events alone, so that nothing in it is made up.
    pub(crate) fn in_state(world: &'w World, fault: Fault, state: &State) -> Self {
        let mut live = Self::from_disk(world, fault, state);
        if let Some(m) = state.memory {
            let known = (!state.pending.contains(&Word::Endorsed(m))).then(|| live.record(Word::Endorsed(m)));
            live.restart(known);
            live.feed_shares(m);
        } else if !state.computing.is_empty() {
            // A decryptor that has not signed may open; only then may it have signed, so it signs last here.
            live.restart(state.durable.iter().filter(|w| !matches!(w, Word::Signed(..))).map(|w| live.record(*w)).collect::<Vec<_>>());
            (0..2).filter(|m| state.held[*m]).for_each(|m| live.feed_shares(m));
        }
        live.go_on(state);
        if state.memory.is_some() {
            live.event(&world.over, Event::Ended(TASK, ROUND));
        }
        assert_eq!(live.tickets.keys().copied().collect::<BTreeSet<_>>(), state.pending, "{state:?}");
        (live.state, live.broken) = (state.clone(), None);
        live
    }

    /// Takes up what was under way: endorsing, opening, signing.
    fn go_on(&mut self, state: &State) {
        let world = self.world;
        for word in &state.pending {
            if let Word::Endorsed(m) = *word {
                self.event(&world.open, self.ask_endorse(m));
            }
        }
        let computed = state.pending.iter().filter_map(|w| if let Word::Opened(m, s, v) = w { Some(((*m, *s), Some(*v))) } else { None });
        for ((m, s), v) in state.computing.iter().map(|at| (*at, None)).chain(computed) {
            self.event(&world.set((m, s)).certified, self.show_certificate(m, s));
            if let Some(v) = v {
                self.event(&world.open, Event::Computed(self.opening(m, s, v)));
            }
        }
        for word in state.durable.iter().chain(&state.pending) {
            let Word::Signed(m, s) = *word else { continue };
            self.event(&world.set((m, s)).proposed, self.ask_sign(m, s));
            if state.durable.contains(word)
                && let Some(ticket) = self.tickets.remove(word)
            {
                self.event(&world.open, Event::Persisted(ticket));
            }
        }
    }

    fn restart(&mut self, records: impl IntoIterator<Item = Record>) {
        self.machine = Decryptor::restore(self.me(), &records.into_iter().collect::<Vec<_>>());
        self.tickets.clear();
    }

    /// The machine as it starts, with the shares that the store has.
    fn from_disk(world: &'w World, fault: Fault, state: &State) -> Self {
        let machine = Decryptor::restore(world.decryptor(world.committee.len() - 1), &[]);
        let kept =
            State { durable: state.durable.clone(), held: state.held, over: state.over, said: state.said.clone(), ..State::default() };
        let mut live = Self { world, fault, machine, tickets: BTreeMap::new(), state: kept, refused: false, broken: None };
        live.restart(state.durable.iter().map(|w| live.record(*w)).collect::<Vec<_>>());
        (0..2).filter(|m| state.held[*m]).for_each(|m| live.feed_shares(m));
        live
    }

    /// The last place of the committee; the hostile ones have the first.
    fn place(&self) -> usize {
        self.world.committee.len() - 1
    }
    fn me(&self) -> protocol::ids::ClientId {
        self.world.decryptor(self.place())
    }

    fn record(&self, word: Word) -> Record {
        match word {
            Word::Endorsed(m) => Record::Endorsed { task: TASK, round: ROUND, manifest: self.world.manifests[m].statement.clone() },
            Word::Signed(m, s) => Record::Signed { payload: self.world.set((m, s)).payload },
            Word::Opened(m, s, v) => {
                Record::Opened { manifest: self.world.manifests[m].digest, group: GROUP, opening: self.opening(m, s, v) }
            }
        }
    }

    fn word(&self, record: &Record) -> Word {
        match record {
            Record::Endorsed { manifest, .. } => Word::Endorsed(self.manifest_number(Manifest::digest(&manifest.payload))),
            Record::Signed { payload } => {
                let m = self.manifest_number(payload.manifest);
                Word::Signed(m, (0..2).find(|s| self.world.set((m, *s)).payload == *payload).unwrap())
            }
            Record::Opened { opening, .. } => self.opened(opening),
        }
    }

    fn manifest_number(&self, digest: protocol::ids::ManifestDigest) -> usize {
        self.world.manifests.iter().position(|m| m.digest == digest).unwrap()
    }

    fn set_number(&self, certificate: protocol::ids::CertificateDigest) -> (usize, usize) {
        let all = (0..2).flat_map(|m| [(m, 0), (m, 1)]);
        all.into_iter().find(|at| self.world.set(*at).certificate.digest() == certificate).unwrap()
    }

    fn opening(&self, m: usize, s: usize, v: usize) -> Statement {
        self.world.set((m, s)).openings[v].clone()
    }

    fn opened(&self, opening: &Statement) -> Word {
        let said: OpeningPayload = codec::decode(&opening.payload, 1024).unwrap();
        let (m, s) = self.set_number(said.certificate);
        Word::Opened(m, s, usize::from(said.shares[0]))
    }

    fn ask_endorse(&self, m: usize) -> Event {
        Event::Endorse { manifest: self.world.manifests[m].statement.clone(), covered: self.world.manifests[m].manifest.log_size }
    }
    pub(crate) fn ask_sign(&self, m: usize, s: usize) -> Event {
        let set = self.world.set((m, s));
        Event::SignSet { payload: codec::encode(&set.payload), headers: set.headers.clone() }
    }
    pub(crate) fn show_certificate(&self, m: usize, s: usize) -> Event {
        self.show_certificate_under(m, s, self.world.set((m, s)).certified.size())
    }
    pub(crate) fn show_certificate_under(&self, m: usize, s: usize, covered: u64) -> Event {
        let set = self.world.set((m, s));
        Event::Certified { headers: set.headers.clone(), statements: set.certificate.statements().to_vec(), covered }
    }

    fn feed_shares(&mut self, m: usize) {
        let world = &self.world.manifests[m];
        for &header in &world.sets[0].headers {
            self.event(&self.world.open, Event::Share { manifest: world.digest, group: GROUP, header, trouble: None });
        }
    }

    pub(crate) fn event(&mut self, mirror: &History, event: Event) {
        self.machine.handle(NOW, mirror, event);
        while let Some(action) = self.machine.poll_action() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Persist(ticket, record) => {
                let word = self.word(&record);
                self.tickets.insert(word, ticket);
                self.state.pending.insert(word);
                if self.fault == Fault::SpeaksBeforeDisk {
                    self.say(word);
                }
            }
            Action::SignEndorsement(e) => self.say(Word::Endorsed(self.manifest_number(e.manifest))),
            Action::SignSet(payload) => self.say(self.word(&Record::Signed { payload })),
            Action::Compute(certificate, position) => {
                assert_eq!(usize::from(position.0), self.place() + 1);
                self.state.computing.insert(self.set_number(Certificate::digest(&certificate)));
            }
            Action::Send(ClientMessage::Opened { statement }) => self.say(self.opened(&statement)),
            Action::Send(ClientMessage::Refused { .. }) => self.refused = true,
            Action::Send(_report) => {}
            Action::Forget(..) => {
                let endorsed = |words: &BTreeSet<Word>| words.iter().find_map(|w| if let Word::Endorsed(m) = w { Some(*m) } else { None });
                self.state.memory = endorsed(&self.state.durable).or(endorsed(&self.state.pending));
                self.state.durable.clear();
                self.state.computing.clear();
                self.state.held = [false; 2];
            }
            Action::Fetch(_) => unreachable!("shares are fed as such"),
            Action::Reveal(..) => unreachable!("the plan deals no random groups"),
        }
    }

    /// C38, C49, C54: one manifest, one set, one opening. C44: none before its record is durable, or was until the round's end.
    fn say(&mut self, word: Word) {
        let forgotten = matches!(word, Word::Endorsed(m) if self.state.memory == Some(m));
        let other = |w: &&Word| std::mem::discriminant(*w) == std::mem::discriminant(&word) && **w != word;
        if self.state.said.iter().any(|w| other(&w)) {
            self.broken = Some("it says two different things of one kind");
        } else if !forgotten && !self.state.durable.contains(&word) && !self.state.said.contains(&word) {
            self.broken = Some("it speaks before its record is durable");
        }
        self.state.said.insert(word);
    }

    pub(crate) fn take(&mut self, step: Step) {
        let (world, over) = (self.world, self.state.over);
        let view = |history: &'w History| if over { &world.over } else { history };
        self.refused = false;
        match step {
            Step::Endorse(m) => self.event(view(&world.open), self.ask_endorse(m)),
            Step::Shares(m) => {
                self.state.held[m] = true;
                self.feed_shares(m);
            }
            Step::Sign(m, s) => {
                self.event(view(&world.set((m, s)).proposed), self.ask_sign(m, s));
                if self.refused && self.fault == Fault::SignsUnasked {
                    self.say(Word::Signed(m, s));
                }
            }
            Step::Certified(m, s) => self.event(view(&world.set((m, s)).certified), self.show_certificate(m, s)),
            Step::Computed(m, s, v) => self.event(view(&world.open), Event::Computed(self.opening(m, s, v))),
            Step::Disk(word) => {
                let ticket = self.tickets.remove(&word).unwrap();
                self.durable(word);
                self.event(view(&world.open), Event::Persisted(ticket));
            }
            Step::DiskThenCrash(word) => {
                self.durable(word);
                self.crash();
            }
            Step::Crash => self.crash(),
            Step::Ended => {
                self.state.over = true;
                self.event(&world.over, Event::Ended(TASK, ROUND));
            }
        }
        // Once an opening is durable, that one is in the making means nothing any more.
        let opened: BTreeSet<_> =
            self.state.durable.iter().filter_map(|w| if let Word::Opened(m, ..) = w { Some(*m) } else { None }).collect();
        self.state.computing.retain(|(m, _)| !opened.contains(m));
    }

    fn durable(&mut self, word: Word) {
        self.state.pending.remove(&word);
        self.state.durable.insert(word);
        if matches!(word, Word::Endorsed(_)) {
            self.state.memory = None;
        }
    }

    fn crash(&mut self) {
        if self.fault == Fault::ForgetsRecords {
            self.state.durable.clear();
            self.state.held = [false; 2];
        }
        *self = Self { broken: self.broken, ..Self::from_disk(self.world, self.fault, &self.state) };
    }
}
