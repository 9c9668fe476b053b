//! This institution's own part in a round: ready, prepare, upload, receipt, end.

use super::session::{Trouble, fatal};
use super::{Agent, AgentError, Done, chain};
use crate::clock;
use crate::link::Link;
use crate::observer::Phase;
use crate::prepare::{Preparation, PrepareError};
use crate::site_log::acceptance;
use crate::spool::Spool;
use crate::upload::{Uploaded, upload};
use crate::wire::WireError;
use protocol::entry::{Facts, LogEntry};
use protocol::ids::{GroupId, LeafIndex, PlanDigest, RoundId, SnapshotDigest, TaskId};
use protocol::manifest::Header;
use protocol::messages::upload_id;
use protocol::participant::{Accepted, Event, UploadAt};
use protocol::plan::Plan;
use protocol::reject::Rejection;
use protocol::statement::Statement;
use protocol::time::Time;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// Stack of the preparing thread: the tensor engine walks its graph recursively.
const STACK_BYTES: usize = 64 << 20;

/// Longest snapshot of a plan: its weights, or the document of what was counted.
/// Nothing for a model that cannot be.
pub(super) fn most_bytes(plan: &Plan) -> Option<u64> {
    match &plan.count {
        Some(_) => Some(train::count::most_bytes(plan)),
        None => train::snapshot::most_bytes(&plan.model).ok().map(|most| u64::try_from(most).unwrap_or(u64::MAX)),
    }
}

impl Agent {
    pub(super) async fn round_opened(
        &mut self,
        task: TaskId,
        round: RoundId,
        plan: PlanDigest,
        snapshot: SnapshotDigest,
    ) -> Result<(), Trouble> {
        self.learn_task(task).await?;
        if self.current == Some((task, round)) {
            return Ok(());
        }
        let willing = self.willing(task, round, plan, snapshot);
        self.enter(
            task,
            round,
            match &willing {
                Ok(()) => "ready",
                Err(reason) => reason.name(),
            },
        );
        self.participant.handle(Event::RoundOpened { task, round, plan, snapshot, willing });
        Ok(())
    }

    fn enter(&mut self, task: TaskId, round: RoundId, duty: &str) {
        self.current = Some((task, round));
        self.ends.leave_all_but(self.current);
        self.receipts.clear();
        self.status.task = Some(task.to_hex());
        self.status.round = Some(round.0);
        duty.clone_into(&mut self.status.duty);
    }

    pub(super) async fn report(&mut self, manifest: &Statement, endorsements: &[Statement]) -> Result<(), Trouble> {
        let accepted = Accepted::check(self.mirror.history(), self.me, manifest, endorsements).map(Box::new);
        if let Ok(accepted) = &accepted {
            let m = accepted.manifest();
            // A process that starts in the middle of a round was never told that it began.
            self.round_opened(m.task, m.round, m.plan, m.snapshot).await?;
        }
        self.participant.handle(Event::Report(accepted));
        Ok(())
    }

    /// Begins to pay, train, seal and spool; or finds that it was done before. Nothing of it runs on the async threads.
    pub(super) fn prepare(&mut self, link: &Link, accepted: Box<Accepted>) -> Result<(), Trouble> {
        let (task, round) = (accepted.manifest().task, accepted.manifest().round);
        if let Some(spool) = Spool::open(&self.home, task, round).map_err(fatal)? {
            let same = spool.index().manifest == accepted.digest();
            self.participant.handle(if same { Event::Spooled } else { Event::NotPrepared(Rejection::WrongManifest) });
            return Ok(());
        }
        if let Err(reason) = self.in_use() {
            self.participant.handle(Event::NotPrepared(reason));
            return Ok(());
        }
        let work = self.tasks.get(&task).and_then(|w| w.as_ref().ok().cloned());
        let (Some(work), Some(ledger), Some(workers)) = (work, self.ledger.clone(), self.workers.clone()) else {
            self.participant.handle(Event::NotPrepared(Rejection::Policy));
            return Ok(());
        };
        let compared = match self.compared() {
            Ok(compared) => compared,
            Err(reason) => {
                self.participant.handle(Event::NotPrepared(reason));
                return Ok(());
            }
        };
        let weight = match self.weight(&accepted) {
            Ok(weight) => weight,
            Err(reason) => {
                tracing::warn!(round = round.0, "the log holds no declared size of this dataset from before the manifest");
                self.participant.handle(Event::NotPrepared(reason));
                return Ok(());
            }
        };
        // Of the whole model: what this institution does not train it reads.
        let Some(limit) = most_bytes(&work.plan) else {
            self.participant.handle(Event::NotPrepared(Rejection::BadParameters));
            return Ok(());
        };
        "training".clone_into(&mut self.status.duty);
        let (home, keys, me, build, sealed_by) =
            (self.home.clone(), Arc::clone(&self.keys), self.me, self.build, self.sealed_by(&accepted));
        let (wire, sender, observer) = (link.wire(), self.sender.clone(), self.observer.clone());
        let (cancel, bench) = (self.ends.begin((task, round)), Arc::clone(&self.bench));
        tokio::spawn(async move {
            // Before anything is paid: a snapshot that does not come costs no privacy. And before waiting for a step of an earlier round to end: the
            // server would see how long that took (privacy.md D12).
            let done = match wire.snapshot(accepted.manifest().snapshot, limit).await {
                Ok(snapshot) => {
                    // What is still prepared for an earlier round has been cancelled and ends soon.
                    let _turn = bench.lock_owned().await;
                    let job = Preparation {
                        home,
                        keys,
                        me,
                        build,
                        workers,
                        work,
                        ledger,
                        compared,
                        observer,
                        accepted,
                        weight,
                        snapshot,
                        sealed_by,
                        cancel,
                    };
                    Done::Prepared { task, round, result: on_own_thread(job).await }
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the snapshot did not come");
                    let reason = if let WireError::Rejected(reason) = error { Some(reason) } else { None };
                    Done::NoSnapshot { accepted, reason }
                }
            };
            // An agent that is gone needs no answer.
            sender.send(done).await.unwrap_or(());
        });
        Ok(())
    }

    /// From when on an update of the round may not become whole any more; nothing where updates leave when they are ready (privacy.md D12).
    fn sealed_by(&self, accepted: &Accepted) -> Option<Time> {
        match super::upload_at(self.policy.as_ref()) {
            UploadAt::Ready => None,
            UploadAt::Scheduled => Some(accepted.upload_from()),
        }
    }

    /// What this institution weighs in the round, as everybody reads it from the log; nothing where the round weighs nobody (C24).
    fn weight(&self, accepted: &Accepted) -> Result<Option<u64>, Rejection> {
        let m = accepted.manifest();
        let Some(group) = accepted.groups_of(self.me).into_iter().find(|&id| m.group(id).is_some_and(|g| g.tally.is_some())) else {
            return Ok(None);
        };
        let data = self.data.as_ref().ok_or(Rejection::Policy)?;
        let round = self.mirror.history().task(m.task).and_then(|t| t.rounds().get(&m.round));
        let weight = round.and_then(|r| r.weight(group, self.me, data.dataset())).filter(|&w| w > 0);
        weight.map(Some).ok_or(Rejection::Policy)
    }

    /// Sends a group's update from the spool.
    pub(super) fn upload(&mut self, link: &Link, group: GroupId) -> Result<(), Trouble> {
        let Some((task, round)) = self.current else { return Ok(()) };
        let spool = Spool::open(&self.home, task, round).map_err(fatal)?;
        let Some((spool, held)) = spool.and_then(|s| s.group(group).cloned().map(|g| (s, g))) else {
            self.participant.handle(Event::Refused(group, Rejection::Unknown));
            return Ok(());
        };
        "uploading".clone_into(&mut self.status.duty);
        let id = upload_id(&held.header);
        if self.uploading.contains_key(&id) {
            return Ok(());
        }
        // Every part may be acked twice: once for an earlier sending that the server has only now made durable.
        let (acks, inbox) = mpsc::channel(2 * (held.chunks.len() + held.blobs.len()) + 1);
        self.uploading.insert(id, acks);
        let (wire, sender, over) = (link.wire(), self.sender.clone(), link.id());
        tokio::spawn(async move {
            let clock = Instant::now();
            let result = upload(&wire, &spool, &held, inbox).await;
            let seconds = clock.elapsed().as_secs_f64();
            sender.send(Done::Uploaded { task, round, group, upload: id, link: over, seconds, result }).await.unwrap_or(());
        });
        Ok(())
    }

    /// Takes in finished work. What belongs to a round that we have left is only cleaned up.
    pub(super) async fn finished(&mut self, link: &mut Link, done: Done) -> Result<(), Trouble> {
        match done {
            Done::NoSnapshot { accepted, reason } => {
                self.ends.done((accepted.manifest().task, accepted.manifest().round));
                if self.current == Some((accepted.manifest().task, accepted.manifest().round)) {
                    match reason {
                        Some(reason) => self.participant.handle(Event::NotPrepared(reason)),
                        // Asked for again at the next tick, as long as an update may still come of it; nothing was paid.
                        None => self.unfetched = Some(accepted).filter(|a| self.sealed_by(a).is_none_or(|by| clock::now() < by)),
                    }
                }
                Ok(())
            }
            Done::Prepared { task, round, result } => {
                self.ends.done((task, round));
                self.prepared((task, round), result)
            }
            Done::Uploaded { task, round, group, upload, link: over, seconds, result } => {
                // What ended with an earlier link was begun again on this one, under the same name.
                if over == link.id() {
                    self.uploading.remove(&upload);
                    self.broken |= matches!(result, Uploaded::Broken);
                }
                self.uploaded(link, (task, round), group, seconds, result).await
            }
        }
    }

    fn prepared(&mut self, at: (TaskId, RoundId), result: Result<(), PrepareError>) -> Result<(), Trouble> {
        let here = self.current == Some(at);
        match result {
            Ok(()) if here => {
                "sealed".clone_into(&mut self.status.duty);
                self.participant.handle(Event::Spooled);
            }
            Ok(()) => self.void(at)?,
            Err(error) if error.is_fatal() => return Err(fatal(error)),
            Err(error) => {
                tracing::warn!(error = %error.for_log(), "the round's update could not be prepared");
                if error.is_alarm() {
                    tracing::error!(round = at.1.0, "what was executed is not what was paid for");
                    self.status.alarm(&format!("round {}: {}", at.1.0, chain(&error)));
                }
                // Of what was cancelled somebody knows already, or will at the time of uploading.
                if here && !matches!(error, PrepareError::Cancelled) {
                    error.rejection().name().clone_into(&mut self.status.duty);
                    self.participant.handle(Event::NotPrepared(error.rejection()));
                }
            }
        }
        Ok(())
    }

    async fn uploaded(
        &mut self,
        link: &Link,
        at: (TaskId, RoundId),
        group: GroupId,
        seconds: f64,
        result: Uploaded,
    ) -> Result<(), Trouble> {
        let here = self.current == Some(at);
        match result {
            Uploaded::Receipt(index, entry) => {
                self.ensure(link, index.0.saturating_add(1)).await?;
                self.check_receipt(index, &entry)?;
                self.check_acceptance(at, group, &entry)?;
                if let Some(facts) = acceptance(index, &entry) {
                    self.site.append(facts).map_err(fatal)?;
                }
                self.observer.tell(|o| o.phase(at.1, Phase::Upload, seconds));
                self.status.last_receipt = Some(index.0);
                if here {
                    self.participant.handle(Event::Receipt(group, index));
                    self.receipts.insert(group);
                    self.sent_if_whole(at)?;
                }
            }
            Uploaded::Refused(reason) => {
                tracing::warn!(group = group.0, code = reason.name(), "the update was refused");
                if here {
                    reason.name().clone_into(&mut self.status.duty);
                    self.participant.handle(Event::Refused(group, reason));
                }
            }
            // Sent again at the next tick, or by the next link.
            Uploaded::Broken => {}
            Uploaded::Unreadable(error) => return Err(fatal(error)),
        }
        Ok(())
    }

    /// The server's word against our own copy of the log.
    pub(super) fn check_receipt(&mut self, index: LeafIndex, entry: &[u8]) -> Result<(), Trouble> {
        let same = self.mirror.entry(index)?.is_some_and(|mirrored| mirrored == entry);
        if same { Ok(()) } else { Err(fatal(AgentError::FalseReceipt)) }
    }

    /// The receipt is the acceptance of exactly our header.
    fn check_acceptance(&self, at: (TaskId, RoundId), group: GroupId, entry: &[u8]) -> Result<(), Trouble> {
        let held = Spool::open(&self.home, at.0, at.1).map_err(fatal)?.and_then(|s| s.group(group).cloned());
        let Some(held) = held else { return Ok(()) };
        let ours = Header::digest(&held.header.payload);
        let said = LogEntry::parse(entry).map(|e| e.facts);
        if matches!(said, Ok(Facts::UpdateAccepted { header, .. }) if header == ours) {
            Ok(())
        } else {
            Err(fatal(AgentError::FalseReceipt))
        }
    }

    /// With a receipt for every group, the ledger's reservation is `Sent`.
    fn sent_if_whole(&mut self, (task, round): (TaskId, RoundId)) -> Result<(), Trouble> {
        let Some(spool) = Spool::open(&self.home, task, round).map_err(fatal)? else { return Ok(()) };
        if !spool.index().groups.iter().all(|g| self.receipts.contains(&g.group)) {
            return Ok(());
        }
        "sent; waiting for the round's end".clone_into(&mut self.status.duty);
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let sent = ledger.lock().unwrap_or_else(PoisonError::into_inner).sent(spool.index().reservation);
        allow_closed(sent)
    }

    /// The round ended without our update: what it cost stays spent.
    fn void(&mut self, (task, round): (TaskId, RoundId)) -> Result<(), Trouble> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(counter) = ledger.ledger().reservation(task, round) else { return Ok(()) };
        allow_closed(ledger.void(counter))
    }

    pub(super) async fn round_ended(&mut self, link: &mut Link, task: TaskId, round: RoundId) -> Result<(), Trouble> {
        if !self.is_over(task, round) {
            tracing::warn!(round = round.0, "the server says that a round is over, the log does not");
            return Ok(());
        }
        self.participant.handle(Event::Ended(task, round));
        if self.current == Some((task, round)) {
            self.current = None;
            self.unfetched = None;
            self.ends.leave_all_but(None);
            "waiting for a round".clone_into(&mut self.status.duty);
            if self.receipts.is_empty() {
                self.void((task, round))?;
            }
        }
        self.ends.ended((task, round), self.mirror.size());
        self.report_traffic(link, round);
        self.settle(link).await?;
        self.declare(link).await
    }

    fn report_traffic(&mut self, link: &Link, round: RoundId) {
        let (up, down) = link.wire().traffic();
        let total = (self.traffic.before.0.saturating_add(up), self.traffic.before.1.saturating_add(down));
        let last = std::mem::replace(&mut self.traffic.reported, total);
        self.observer.tell(|o| o.bytes(round, total.0.saturating_sub(last.0), total.1.saturating_sub(last.1)));
    }
}

/// A transition that the reservation is already past is no fault.
fn allow_closed(result: Result<(), crate::ledger::LedgerError>) -> Result<(), Trouble> {
    match result {
        Ok(()) | Err(crate::ledger::LedgerError::Close(_)) => Ok(()),
        Err(e) => Err(fatal(e)),
    }
}

/// Runs a preparation on a thread with room for the tensor engine.
async fn on_own_thread(job: Preparation) -> Result<(), PrepareError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let run = move || {
        // A receiver that is gone has stopped waiting; the spool and the ledger hold the result.
        sender.send(job.run()).unwrap_or(());
    };
    let thread = std::thread::Builder::new().name("prepare".to_owned()).stack_size(STACK_BYTES).spawn(run);
    match thread {
        Ok(_detached) => receiver.await.map_err(|_| PrepareError::Vanished)?,
        Err(_) => Err(PrepareError::Vanished),
    }
}
