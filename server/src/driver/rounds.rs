//! Rounds as the driver lives them: events to the machine, its actions to log, worker and wires.

use super::{Answer, Driver, DriverError, Waiting, now};
use crate::sums::{Done, Job, Opened, Opening, Step};
use crate::task::{Active, RoundReport, Stage};
use crate::uploads::Upload;
use protocol::entry::{Actor, Draft, Facts};
use protocol::history::{Clause, RoundHistory, RoundState};
use protocol::ids::{ClientId, GroupId, HeaderDigest, RoundId, Sha256, Ticket};
use protocol::manifest::{Header, Manifest};
use protocol::messages::{Response, ServerMessage, upload_id};
use protocol::reject::Rejection;
use protocol::round::{Action, Event, Outcome, Phase, Recipients, Verdict};
use protocol::statement::Statement;
use protocol::time::Time;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Driver {
    /// `process.started`, and an end for a round that the last process left open.
    pub(super) fn started(&mut self, config: Sha256) -> Result<(), DriverError> {
        self.tell_start(config)?;
        self.empty_rounds();
        let open = self.task.as_ref().and_then(|t| {
            let history = self.log.history().task(t.id)?;
            let (id, round) = history.rounds().iter().next_back()?;
            let over = matches!(round.state, RoundState::Closed(_) | RoundState::Abandoned);
            (!over).then_some((t.id, *id))
        });
        if let Some((task, round)) = open {
            self.append_one(Draft::server(Facts::RoundAbandoned {}).in_round(task, round).failed(Rejection::ShuttingDown))?;
        }
        if let Some(task) = &mut self.task {
            task.abandoned += u64::from(open.is_some());
            task.cover = self.log.size();
        }
        self.publisher.want(self.log.size());
        Ok(())
    }

    pub(super) fn stopped(&mut self) -> Result<(), DriverError> {
        let open = self.task.as_ref().and_then(|t| t.active.as_ref().map(|a| (t.id, a.id)));
        if let Some((task, round)) = open {
            self.append_one(Draft::server(Facts::RoundAbandoned {}).in_round(task, round).failed(Rejection::ShuttingDown))?;
        }
        self.append_one(Draft::server(Facts::ProcessStopped {}))?;
        Ok(())
    }

    /// When to look again if nothing comes in. Never less than 20 ms, so that a deadline that has passed does not spin.
    pub(super) fn next_wake(&self) -> Duration {
        let deadline = self.task.as_ref().and_then(|t| t.active.as_ref()).map_or(Time::NEVER, |a| a.machine.poll_timeout());
        Duration::from_millis(deadline.ms_since(now()).clamp(20, 500))
    }

    pub(super) fn tick(&mut self) -> Result<(), DriverError> {
        let due = self.task.as_ref().and_then(|t| t.active.as_ref()).is_some_and(|a| now() >= a.machine.poll_timeout());
        if due {
            self.round_event(Event::Tick);
        }
        Ok(())
    }

    /// Hands one event to the round under way, if there is one. Whoever waits for an answer has looked before: without a round it is refused.
    pub(super) fn round_event(&mut self, event: Event) {
        if let Some(active) = self.task.as_mut().and_then(|t| t.active.as_mut()) {
            active.machine.handle(now(), event);
        }
    }

    /// Does what the machine asks until it asks for nothing: entries of one pass are one batch in the log.
    pub(super) fn pump(&mut self) -> Result<(), DriverError> {
        loop {
            let mut batch: Vec<(Ticket, Draft)> = Vec::new();
            while let Some(action) = self.poll_action() {
                self.act(action, &mut batch)?;
            }
            if batch.is_empty() {
                break;
            }
            let (tickets, drafts): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let done = self.append(&drafts)?;
            for (ticket, entry) in tickets.into_iter().zip(done) {
                self.round_event(Event::Recorded { ticket, index: entry.index, leaf: entry.leaf });
            }
        }
        if self.begin_round()? {
            return self.pump();
        }
        self.end_task()?;
        if self.publisher.passes(now(), self.log.size()) {
            let (size, published) = (self.log.size(), self.publisher.published());
            tracing::error!(size, published, "alarm: no quorum of witnesses for 15 minutes; rounds and releases wait for it");
        }
        self.watch_witnesses()?;
        self.end_leaving(now());
        self.show_note();
        Ok(())
    }

    fn poll_action(&mut self) -> Option<Action> {
        let active = self.task.as_mut()?.active.as_mut()?;
        active.note_phase(now());
        active.machine.poll_action()
    }

    fn act(&mut self, action: Action, batch: &mut Vec<(Ticket, Draft)>) -> Result<(), DriverError> {
        match action {
            Action::Record(ticket, draft) => batch.push((ticket, self.by_the_key_in_force(*draft))),
            Action::Send(to, message) => self.send(&to, &message),
            Action::Answer(ticket, verdict) => self.answer(ticket, verdict)?,
            Action::SignManifest(manifest) => self.sign_manifest(*manifest)?,
            Action::Accumulate(group, header) => self.job(Job::Add(group, vec![header]))?,
            Action::AwaitCover(size) => {
                self.publisher.want(size);
                if self.publisher.published() >= size {
                    self.covered()?;
                }
            }
            Action::Open(group, certificate, openings) => {
                if let Some(active) = self.task.as_mut().and_then(|t| t.active.as_mut()) {
                    active.meter.members.insert(group, certificate.members());
                }
                let Some(plan) = self.task.as_ref().map(|t| t.plan.clone()) else { return Ok(()) };
                let round = self.round_in_the_log();
                let (weight, units) = (round.and_then(|r| r.total_weight(group)), round.and_then(|r| r.total_units(group)));
                self.job(Job::Open(Box::new(Opening { plan, group, certificate: *certificate, openings, weight, units })))?;
            }
            Action::Advance(groups) => self.advance(groups)?,
            Action::Finish(outcome) => self.finish(outcome)?,
        }
        Ok(())
    }

    /// What the log says of the round that is under way.
    pub(super) fn round_in_the_log(&self) -> Option<&RoundHistory> {
        let task = self.task.as_ref()?;
        self.log.history().task(task.id)?.rounds().get(&task.active.as_ref()?.id)
    }

    fn job(&self, job: Job) -> Result<(), DriverError> {
        self.jobs.send(job).map_err(|_| DriverError::Worker)
    }

    fn sign_manifest(&mut self, manifest: Manifest) -> Result<(), DriverError> {
        let statement = Statement::sign(&manifest, &self.statement);
        self.job(Job::Begin(Box::new(manifest.clone()), Manifest::digest(&statement.payload)))?;
        if let Some(active) = self.task.as_mut().and_then(|t| t.active.as_mut()) {
            active.manifest = Some(manifest);
        }
        self.round_event(Event::ManifestSigned(statement));
        Ok(())
    }

    fn advance(&mut self, groups: Vec<GroupId>) -> Result<(), DriverError> {
        let Some(task) = &self.task else { return Ok(()) };
        let Some(active) = &task.active else { return Ok(()) };
        let step = Step { plan: task.plan.clone(), groups, snapshot: active.snapshot };
        self.job(Job::Advance(Box::new(step)))
    }

    pub(super) fn work_done(&mut self, done: Done) -> Result<(), DriverError> {
        match done {
            Done::Opened(opened) => {
                let Opened { group, result, blame, seconds } = *opened;
                if let Some(active) = self.task.as_mut().and_then(|t| t.active.as_mut()) {
                    active.meter.sum_s += seconds.sum;
                    active.meter.open_s += seconds.open;
                }
                let result = result.map(|r| Statement::sign(&r, &self.statement));
                self.round_event(Event::SumOpened { group, result, blame });
            }
            Done::Advanced(result) => self.round_event(Event::Advanced(result?)),
        }
        Ok(())
    }

    /// Answers a `Begin` or `Commit`. Acceptance is spoken only here, after `Recorded`.
    fn answer(&mut self, ticket: Ticket, verdict: Result<Verdict, Rejection>) -> Result<(), DriverError> {
        let Some(Waiting { who, reply, begin }) = self.answers.remove(&ticket) else { return Ok(()) };
        let answer = match (verdict, begin) {
            (Err(reason), _) => Err(reason),
            (Ok(Verdict::Accepted(index)), _) => Ok(self.receipt(index)),
            (Ok(Verdict::Proceed), Some((statement, chunks))) => self.have(who, &statement, chunks)?,
            (Ok(Verdict::Proceed), None) => Ok(Rejection::BadHeader.into()),
        };
        match answer {
            Ok(answer) => {
                // The client may have gone; it asks again when it is back.
                reply.send(answer).ok();
                Ok(())
            }
            Err(reason) => self.refuse(who, reason, reply),
        }
    }

    fn receipt(&self, index: protocol::ids::LeafIndex) -> Answer {
        match self.log.entries(index.0, index.0 + 1).ok().and_then(|mut e| e.pop()) {
            Some(entry) => Response::Receipt { index, entry: entry.into() }.into(),
            None => Rejection::Unknown.into(),
        }
    }

    /// The header, if the log could take its acceptance now. An update that breaks a rule of the log must never reach the round: a
    /// member's lie about its spend would stop the server.
    pub(super) fn acceptable(&mut self, who: protocol::ids::ClientId, statement: &Statement) -> Result<Header, Rejection> {
        let header = statement.verify::<Header>().map_err(|_| Rejection::BadSignature)?;
        let task = self.task.as_ref().ok_or(Rejection::WrongRound)?;
        let round = task.active.as_ref().map(|a| a.id).ok_or(Rejection::WrongRound)?;
        let (digest, core) = (Header::digest(&statement.payload), &header.core);
        let facts = Facts::UpdateAccepted { header: digest, body_root: core.body_root, body_bytes: core.body_bytes };
        let draft = Draft::said(Actor::Institution, Some(who), statement.clone(), facts).in_round(task.id, round).in_group(core.group);
        match self.log.would_violate(&draft) {
            None => Ok(header),
            // Asking again for what is accepted already, or after the deadline, is the round's to answer.
            Some(v) if matches!(v.clause, Clause::Twice | Clause::State) => Ok(header),
            Some(v) => {
                tracing::warn!(client = %who.short(), clause = v.clause.text(), "a header is refused");
                Err(if v.clause == Clause::Barred { Rejection::Revoked } else { Rejection::Policy })
            }
        }
    }

    /// Opens an upload.
    fn have(
        &mut self,
        who: ClientId,
        statement: &Statement,
        chunks: Vec<protocol::ids::Address>,
    ) -> Result<Result<Answer, Rejection>, DriverError> {
        let header = match self.acceptable(who, statement) {
            Ok(header) => header,
            Err(reason) => return Ok(Err(reason)),
        };
        let (upload, group) = (upload_id(statement), header.core.group);
        let begun = Upload::new(who, statement.clone(), header, chunks).and_then(|u| self.uploads.begin(upload, u));
        let (chunks, blobs) = match begun {
            Ok(missing) => missing,
            Err(reason) => return Ok(Err(reason)),
        };
        self.begun(who, group, Header::digest(&statement.payload))?;
        Ok(Ok(Response::Have { upload, chunks, blobs }.into()))
    }

    /// `round.update.rejected`, once in a round for each institution and reason: who asks again and again cannot make the log grow.
    pub(super) fn note_refusal(&mut self, who: ClientId, reason: Rejection) -> Result<(), DriverError> {
        if !self.refusals.insert((who, reason)) {
            return Ok(());
        }
        let refused = Draft { institution: Some(who), ..Draft::server(Facts::UpdateRejected {}) }.rejected(reason);
        let placed = match self.task.as_ref().map(|t| (t.id, t.active.as_ref().map(|a| a.id))) {
            Some((task, Some(round))) => refused.in_round(task, round),
            Some((task, None)) => refused.in_task(task),
            None => refused,
        };
        self.append_one(placed).map(|_| ())
    }

    /// `round.update.begun`, once for each update (A21); it stands before anybody is told which parts to send.
    fn begun(&mut self, who: ClientId, group: GroupId, header: HeaderDigest) -> Result<(), DriverError> {
        let current = self.task.as_ref().and_then(|t| Some((t.id, t.active.as_ref()?.id)));
        let (Some((task, round)), Some(known)) = (current, self.round_in_the_log()) else { return Ok(()) };
        let taken = known.state == RoundState::Reporting;
        if taken && known.groups.get(&group).is_some_and(|g| !g.begun.contains(&header)) {
            let begun = Draft { institution: Some(who), ..Draft::server(Facts::UpdateBegun { header }) };
            self.append_one(begun.in_round(task, round).in_group(group))?;
        }
        Ok(())
    }

    /// A quorum checkpoint was published: tells whoever waits for it.
    pub(super) fn covered(&mut self) -> Result<(), DriverError> {
        let (size, checkpoint) = (self.publisher.published(), self.publisher.latest().to_vec());
        self.round_event(Event::Covered { size, checkpoint });
        if let Some(task) = &mut self.task
            && let Stage::Ending(snapshot) = task.stage
            && size >= task.cover
        {
            task.stage = Stage::Ended(snapshot);
            let message = ServerMessage::TaskEnded { task: task.id, snapshot };
            self.send(&Recipients::All, &message);
        }
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome) -> Result<(), DriverError> {
        let size = self.log.size();
        let Some(task) = &mut self.task else { return Ok(()) };
        let Some(active) = task.active.take() else { return Ok(()) };
        let snapshot = match outcome {
            Outcome::Closed(snapshot, _) => {
                task.closed += 1;
                Some(snapshot)
            }
            Outcome::Abandoned(reason, _) => {
                tracing::warn!(round = active.id.0, reason = reason.name(), "round abandoned");
                task.abandoned += 1;
                None
            }
        };
        task.cover = size;
        self.publisher.want(size);
        self.uploads.clear();
        self.report(&active, snapshot)?;
        self.covered_if_published()
    }

    fn covered_if_published(&mut self) -> Result<(), DriverError> {
        let ready = self.task.as_ref().is_some_and(|t| self.publisher.published() >= t.cover);
        if ready { self.covered() } else { Ok(()) }
    }

    /// One line per round for operators: counts, bytes and seconds, nothing of any institution.
    fn report(&self, active: &Active, snapshot: Option<protocol::ids::SnapshotDigest>) -> Result<(), DriverError> {
        let Some(task) = &self.task else { return Ok(()) };
        let (m, end) = (&active.meter, now());
        let traffic = &self.traffic.traffic;
        let line = RoundReport {
            task: task.id,
            round: active.id,
            snapshot,
            cohort: m.members.iter().map(|(g, n)| (g.0, *n)).collect(),
            bytes_up: traffic.up.load(Ordering::Relaxed).saturating_sub(m.up),
            bytes_down: traffic.down.load(Ordering::Relaxed).saturating_sub(m.down),
            selecting_s: m.seconds(Phase::Selecting, end),
            reporting_s: m.seconds(Phase::Reporting, end),
            certify_s: m.seconds(Phase::Certifying, end),
            opening_s: m.seconds(Phase::Opening, end),
            sum_s: m.sum_s,
            open_s: m.open_s,
        };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.layout.rounds())?;
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        Ok(file.write_all(&bytes)?)
    }

    /// Begins the next round if everything it needs is there.
    fn begin_round(&mut self) -> Result<bool, DriverError> {
        if self.is_held(now()) {
            return Ok(false);
        }
        let connected: Vec<_> = self.links.keys().copied().collect();
        let (history, published) = (self.log.history(), (self.publisher.published(), self.publisher.latest()));
        let Some(task) = &mut self.task else { return Ok(false) };
        let Some(setup) = task.next_round(now(), history, published, connected) else { return Ok(false) };
        if !self.has_room(&setup.plan, setup.round)? {
            return Ok(false);
        }
        tracing::info!(round = setup.round.0, "round begins");
        let mut active = Active::begin(now(), setup);
        let traffic = &self.traffic.traffic;
        (active.meter.up, active.meter.down) = (traffic.up.load(Ordering::Relaxed), traffic.down.load(Ordering::Relaxed));
        if let Some(task) = &mut self.task {
            task.active = Some(active);
        }
        self.refusals.clear();
        Ok(true)
    }

    /// After the last round: `task.ended`, under a checkpoint, then the word to all.
    fn end_task(&mut self) -> Result<(), DriverError> {
        let Some(task) = &self.task else { return Ok(()) };
        let Some(history) = self.log.history().task(task.id) else { return Ok(()) };
        let last = history.last_round().unwrap_or(RoundId(0));
        let over = task.stage == Stage::Open && task.active.is_none() && last.0 >= task.plan.rounds;
        let Some(snapshot) = history.snapshot().filter(|_| over && self.publisher.published() >= task.cover) else { return Ok(()) };
        let facts = Facts::TaskEnded { snapshot, closed: task.closed, abandoned: task.abandoned };
        let done = self.append_one(Draft::server(facts).in_task(task.id))?;
        if let Some(task) = &mut self.task {
            task.stage = Stage::Ending(snapshot);
            task.cover = done.index.0 + 1;
        }
        self.publisher.want(done.index.0 + 1);
        Ok(())
    }
}
