//! One link's life: messages in, machines fed, actions out. Ends with the link, the task, or the process.

use super::{Agent, AgentError, Done, End, Stop, chain};
use crate::clock;
use crate::frames::FrameError;
use crate::link::Link;
use crate::mirror::MirrorError;
use crate::sync::{self, SyncError};
use crate::wire::WireError;
use protocol::decryptor;
use protocol::manifest::{Manifest, SetPayload};
use protocol::messages::{ClientMessage, ServerMessage};
use protocol::participant;
use protocol::reject::Rejection;
use protocol::statement::Statement;
use protocol::time::Time;
use std::time::{Duration, Instant};

/// Pause between looks whether an end is under a quorum.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest wait for witnesses after a task's end.
const LEAVE: Duration = Duration::from_secs(15);
/// How often a server that spoke of entries is asked to show them.
const BEHIND_TURNS: u32 = 10;

/// What ends a session.
pub(super) enum Trouble {
    /// The link; another is tried.
    Link(Box<dyn std::error::Error + Send + Sync>),
    /// The process.
    Fatal(AgentError),
}

impl From<WireError> for Trouble {
    fn from(e: WireError) -> Self {
        Self::Link(Box::new(e))
    }
}

impl From<FrameError> for Trouble {
    fn from(e: FrameError) -> Self {
        Self::Link(Box::new(e))
    }
}

/// Shorthand for `map_err`.
pub(super) fn fatal<E: Into<AgentError>>(e: E) -> Trouble {
    Trouble::Fatal(e.into())
}

impl From<SyncError> for Trouble {
    fn from(e: SyncError) -> Self {
        match e.lasting() {
            Ok(e) => Self::Fatal(e.into()),
            Err(e) => Self::Link(Box::new(e)),
        }
    }
}

impl From<MirrorError> for Trouble {
    fn from(e: MirrorError) -> Self {
        SyncError::Mirror(e).into()
    }
}

enum Next {
    Said(Option<ServerMessage>),
    Done(Option<Done>),
    Tick,
    /// What the participant waits for.
    Due,
}

/// Ends at a time, and never without one.
async fn wait_until(due: Option<Time>) {
    match due {
        Some(due) => tokio::time::sleep(Duration::from_millis(due.ms_since(clock::now()))).await,
        None => std::future::pending::<()>().await,
    }
}

impl Agent {
    /// Serves one link.
    pub(super) async fn session(&mut self, mut link: Link, stop: &mut Stop) -> Result<End, AgentError> {
        self.status.linked = true;
        self.mirror.ask_again();
        self.withdrawing.clear();
        let end = self.serve(&mut link, stop).await;
        self.status.linked = false;
        let (up, down) = link.wire().traffic();
        self.traffic.before = (self.traffic.before.0.saturating_add(up), self.traffic.before.1.saturating_add(down));
        self.uploading.clear();
        self.broken = false;
        link.close().await;
        match end {
            Ok(end) => Ok(end),
            Err(Trouble::Link(error)) => {
                tracing::warn!(error = %chain(&*error), "the link ended");
                if let Some(SyncError::Mirror(MirrorError::BadEntries { .. })) = error.downcast_ref() {
                    self.status.alarm("the server sent entries that do not give the tree that it signed; they are asked for again");
                }
                Ok(End::Lost)
            }
            Err(Trouble::Fatal(error)) => {
                self.status.alarm(&error.to_string());
                // The first error is the one to tell.
                self.show().unwrap_or(());
                Err(error)
            }
        }
    }

    async fn serve(&mut self, link: &mut Link, stop: &mut Stop) -> Result<End, Trouble> {
        let skew = clock::now().ms_since(link.welcome.0).max(link.welcome.0.ms_since(clock::now()));
        if skew > 5_000 {
            tracing::warn!(skew_ms = skew, "this clock and the server's differ");
            self.status.alarm("this machine's clock and the server's differ by more than 5 s");
        }
        sync::catch_up(&mut self.mirror, &link.wire(), link.welcome.1).await?;
        self.declare(link).await?;
        self.anchor(link).await?;
        self.keep_counts(link).await?;
        self.participant.handle(participant::Event::Reconnected);
        let mut tick = tokio::time::interval(SETTLE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.act(link).await?;
            self.show().map_err(fatal)?;
            // Not at a tick: where in a second ticks fall moves with what kept this loop busy.
            let due = wait_until(self.participant.due());
            let next = tokio::select! {
                said = link.inbox.recv() => Next::Said(said),
                done = self.done.recv() => Next::Done(done),
                _ = tick.tick() => Next::Tick,
                () = due => Next::Due,
                () = stop.wait() => return Ok(End::Stopped),
            };
            match next {
                Next::Said(None) | Next::Done(None) => return Ok(End::Lost),
                Next::Said(Some(message)) => self.said(link, message).await?,
                Next::Done(Some(done)) => self.finished(link, done).await?,
                Next::Due => self.participant.handle(participant::Event::Clock(clock::now())),
                Next::Tick => {
                    self.try_again(link)?;
                    self.settle(link).await?;
                    self.renew(link).await?;
                }
            }
            if self.leaving.is_some_and(|deadline| self.ends.is_empty() || Instant::now() >= deadline) {
                self.act(link).await?;
                return Ok(End::TaskOver);
            }
        }
    }

    /// What broke off on a link that is still there is begun again; nothing of it costs privacy.
    fn try_again(&mut self, link: &Link) -> Result<(), Trouble> {
        if std::mem::take(&mut self.broken) {
            self.participant.handle(participant::Event::Reconnected);
        }
        self.unfetched.take().map_or(Ok(()), |accepted| self.prepare(link, accepted))
    }

    /// Mirrors at least `size` entries before a machine judges by them.
    pub(super) async fn ensure(&mut self, link: &Link, size: u64) -> Result<(), Trouble> {
        Ok(sync::reach(&mut self.mirror, &link.wire(), size, BEHIND_TURNS).await?)
    }

    async fn said(&mut self, link: &mut Link, message: ServerMessage) -> Result<(), Trouble> {
        match message {
            ServerMessage::Welcome { .. } => Err(WireError::Unexpected.into()),
            ServerMessage::TaskOpened { task, .. } => {
                sync::catch_up(&mut self.mirror, &link.wire(), 0).await?;
                self.learn_task(task).await?;
                self.declare(link).await
            }
            ServerMessage::RoundOpened { task, round, plan, snapshot } => {
                sync::catch_up(&mut self.mirror, &link.wire(), 0).await?;
                self.round_opened(task, round, plan, snapshot).await
            }
            ServerMessage::Report { manifest, endorsements, log_size } => {
                self.ensure(link, log_size).await?;
                self.report(&manifest, &endorsements).await
            }
            ServerMessage::Reveal { task, round, log_size } => {
                self.ensure(link, log_size).await?;
                self.duty(decryptor::Event::Reveal(task, round));
                Ok(())
            }
            ServerMessage::Endorse { manifest, log_size, checkpoint } => {
                self.ensure(link, log_size).await?;
                self.endorse(link, manifest, &checkpoint).await
            }
            ServerMessage::BlobReady { header, index } => {
                self.ensure(link, index.0.saturating_add(1)).await?;
                self.duty(decryptor::Event::BlobReady(header));
                Ok(())
            }
            ServerMessage::SignSet { payload, headers, log_size } => {
                self.ensure(link, log_size).await?;
                self.duty(decryptor::Event::SignSet { payload: payload.into(), headers });
                Ok(())
            }
            ServerMessage::Certified { headers, statements, index, checkpoint } => {
                self.ensure(link, index.0.saturating_add(1)).await?;
                self.certified(link, headers, statements, &checkpoint).await
            }
            ServerMessage::RoundEnded { task, round, log_size, .. } => {
                self.ensure(link, log_size).await?;
                self.round_ended(link, task, round).await
            }
            ServerMessage::Cosign { note } => self.cosign(link, &note).await,
            ServerMessage::TaskEnded { task, .. } => {
                sync::catch_up(&mut self.mirror, &link.wire(), 0).await?;
                self.keep_counts(link).await?;
                self.task_ended(task)
            }
            ServerMessage::Ack { upload, address } => {
                // A full channel loses an ack; the upload then asks again what is missing.
                self.uploading.get(&upload).map_or(Ok(()), |acks| acks.try_send(address)).unwrap_or(());
                Ok(())
            }
            ServerMessage::Refused { reason } => {
                tracing::warn!(code = reason.name(), "the server refused something that we said");
                Ok(())
            }
        }
    }

    /// Feeds the decryptor, unless the log has broken its rules (A26).
    fn duty(&mut self, event: decryptor::Event) {
        if self.mirror.violations().is_empty() {
            self.decryptor.handle(clock::now(), self.mirror.history(), event);
        }
    }

    /// C38: the manifest's checkpoint must meet the policy in force, on our own mirror.
    async fn endorse(&mut self, link: &mut Link, manifest: Statement, checkpoint: &[u8]) -> Result<(), Trouble> {
        let note = sync::understand(&mut self.mirror, &link.wire(), checkpoint).await?;
        sync::follow(&mut self.mirror, &link.wire(), &note).await?;
        self.mirror.observe(checkpoint)?;
        if !self.mirror.violations().is_empty() {
            let manifest = Manifest::digest(&manifest.payload);
            return Ok(link.say(&ClientMessage::Refused { manifest, group: None, reason: Rejection::Policy }).await?);
        }
        self.duty(decryptor::Event::Endorse { manifest, covered: self.mirror.published() });
        Ok(())
    }

    /// A33c: opens only when the certificate's entry is under a checkpoint that meets the policy in force, on our own mirror; which entry
    /// that is, the machine looks up there.
    async fn certified(
        &mut self,
        link: &mut Link,
        headers: Vec<protocol::ids::HeaderDigest>,
        statements: Vec<Statement>,
        checkpoint: &[u8],
    ) -> Result<(), Trouble> {
        let note = sync::understand(&mut self.mirror, &link.wire(), checkpoint).await?;
        sync::follow(&mut self.mirror, &link.wire(), &note).await?;
        if let Some(covered) = self.mirror.observe(checkpoint)? {
            self.duty(decryptor::Event::Certified { headers, statements, covered });
            return Ok(());
        }
        let said = statements.first().and_then(|s| s.verify::<SetPayload>().ok());
        let Some(said) = said else { return Ok(()) };
        let refused = ClientMessage::Refused { manifest: said.manifest, group: Some(said.group), reason: Rejection::NotCertified };
        Ok(link.say(&refused).await?)
    }

    /// A25: mirrored, stored, compared and set, then signed. Content never blocks evidence (A26).
    async fn cosign(&mut self, link: &mut Link, note: &[u8]) -> Result<(), Trouble> {
        let note = sync::understand(&mut self.mirror, &link.wire(), note).await?;
        sync::follow(&mut self.mirror, &link.wire(), &note).await?;
        let (size, line) = self.witness.cosign(&self.mirror, &self.keys, &note, clock::now_s()).map_err(fatal)?;
        self.retire_witness().map_err(fatal)?;
        Ok(link.say(&ClientMessage::Cosigned { size, line }).await?)
    }

    /// Looks whether ends are under a quorum by now, and then forgets what belongs to them (C57, S12).
    pub(super) async fn settle(&mut self, link: &mut Link) -> Result<(), Trouble> {
        if self.ends.waits_beyond(self.mirror.published()) {
            sync::catch_up(&mut self.mirror, &link.wire(), 0).await?;
        }
        for (task, round) in self.ends.take_covered(self.mirror.published()) {
            self.decryptor.handle(clock::now(), self.mirror.history(), decryptor::Event::Ended(task, round));
            self.vault.forget(task, round).map_err(fatal)?;
            crate::spool::clear(&self.home, task, round).map_err(fatal)?;
        }
        self.declare_withdrawals(link).await?;
        // Prekeys that nobody used in time go, and new ones take their place.
        if self.vault.expire(clock::now()).map_err(fatal)? {
            self.declare(link).await?;
        }
        Ok(())
    }

    fn task_ended(&mut self, task: protocol::ids::TaskId) -> Result<(), Trouble> {
        self.forget_task(task)?;
        self.find_ended().map_err(fatal)?;
        "waiting for a task".clone_into(&mut self.status.duty);
        if self.config.exit_when_task_ends {
            self.leaving = Some(Instant::now() + LEAVE);
        }
        Ok(())
    }
}
