//! A client's part in one round: ready, one endorsed manifest, one preparation, one update per group (crypto.md C38 to C40).
//! Knows no data, no ledger, no cipher: the driver trains, pays, seals and spools.

use crate::history::History;
use crate::ids::{ClientId, GroupId, LeafIndex, ManifestDigest, PlanDigest, RoundId, SnapshotDigest, TaskId};
use crate::manifest::{Endorsement, Manifest};
use crate::messages::ClientMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An upload that keeps to the schedule begins when a quarter of the plan's time for reporting is left.
const UPLOAD_SHARE: u64 = 4;

/// When a client's updates leave (privacy.md D12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadAt {
    /// As soon as they are sealed: whoever sees an upload begin learns how long training took.
    #[default]
    Ready,
    /// At [`Accepted::upload_from`], which follows from manifest and plan alone. A round whose update is not sealed by then, because it is late or
    /// because something failed, is declined at that very time.
    Scheduled,
}

/// A manifest that this client may seal under. Made only by [`Accepted::check`].
#[derive(Clone, Debug)]
pub struct Accepted {
    manifest: Manifest,
    digest: ManifestDigest,
    upload_from: Time,
}

impl Accepted {
    /// Checks C38: the server's signature, at least Q endorsements, numbers as log and plan give them, this client eligible.
    ///
    /// # Errors
    /// [`Rejection`], the first rule broken.
    pub fn check(mirror: &History, me: ClientId, statement: &Statement, endorsements: &[Statement]) -> Result<Self, Rejection> {
        let manifest = mirror.read_manifest(statement).map_err(|_| Rejection::BadSignature)?;
        let digest = Manifest::digest(&statement.payload);
        if !mirror.agrees_with(&manifest) {
            return Err(Rejection::WrongManifest);
        }
        let endorsers: BTreeSet<_> = endorsements
            .iter()
            .filter_map(|s| Some((mirror.speaker(&s.key).filter(|who| manifest.position(*who).is_some())?, s)))
            .filter(|(_, s)| s.verify::<Endorsement>().is_ok_and(|e| e.manifest == digest))
            .map(|(who, _)| who)
            .collect();
        if endorsers.len() < manifest.size.quorum() {
            return Err(Rejection::NotCertified);
        }
        if !manifest.groups.iter().any(|g| g.eligible.contains(&me)) {
            return Err(Rejection::WrongGroup);
        }
        let reporting_ms = mirror.task(manifest.task).and_then(|t| t.plan()).ok_or(Rejection::WrongManifest)?.deadlines.reporting_ms;
        let upload_from = Time(manifest.reporting_until.0.saturating_sub(reporting_ms / UPLOAD_SHARE));
        Ok(Self { manifest, digest, upload_from })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// Its digest.
    pub fn digest(&self) -> ManifestDigest {
        self.digest
    }
    /// When a client that keeps to the schedule begins to upload: the manifest's deadline less a quarter of the plan's time for reporting.
    pub fn upload_from(&self) -> Time {
        self.upload_from
    }
    /// Groups that `me` contributes to.
    pub fn groups_of(&self, me: ClientId) -> Vec<GroupId> {
        self.manifest.groups.iter().filter(|g| g.eligible.contains(&me)).map(|g| g.id).collect()
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A round begins. `willing` is what site policy, plan and ledger say.
    RoundOpened {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Plan.
        plan: PlanDigest,
        /// Weights.
        snapshot: SnapshotDigest,
        /// Whether this client takes part.
        willing: Result<(), Rejection>,
    },
    /// A manifest with its endorsements, checked against the mirror.
    Report(Result<Box<Accepted>, Rejection>),
    /// Every group's sealed update is whole and durable in the spool.
    Spooled,
    /// Preparation failed; nothing was sent.
    NotPrepared(Rejection),
    /// The log holds a group's update.
    Receipt(GroupId, LeafIndex),
    /// The server refuses a group's update.
    Refused(GroupId, Rejection),
    /// The connection was lost and is there again.
    Reconnected,
    /// It is so late. Only a client that keeps to the schedule acts on it.
    Clock(Time),
    /// The round is over.
    Ended(TaskId, RoundId),
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send as it is.
    Send(ClientMessage),
    /// Sign a decline for the round and send it.
    Decline(TaskId, RoundId, Rejection),
    /// Pay, train, seal, spool; answer with [`Event::Spooled`] or [`Event::NotPrepared`].
    Prepare(Box<Accepted>),
    /// Send the group's update from the spool; answer with [`Event::Receipt`] or [`Event::Refused`].
    Upload(GroupId),
    /// The spool of this round may go.
    Clear(TaskId, RoundId),
}

/// What has become of the round.
enum State {
    Idle,
    Ready(TaskId, RoundId),
    Preparing(Box<Accepted>),
    /// Sealed and durable, or never to be sealed for this reason; the clock has not announced the time to upload.
    Waiting(Box<Accepted>, Result<(), Rejection>),
    Sending {
        accepted: Box<Accepted>,
        receipts: BTreeMap<GroupId, Option<LeafIndex>>,
    },
    Out(TaskId, RoundId),
}

/// One client in one task.
pub struct Participant {
    me: ClientId,
    upload_at: UploadAt,
    state: State,
    /// The latest round that was answered: a call is answered once, however often it comes.
    answered: Option<(TaskId, RoundId)>,
    actions: VecDeque<Action>,
}

impl Participant {
    /// A client that takes part in nothing yet.
    pub fn new(me: ClientId, upload_at: UploadAt) -> Self {
        Self { me, upload_at, state: State::Idle, answered: None, actions: VecDeque::new() }
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Clock`] is waited for; nothing where nothing depends on the time.
    pub fn due(&self) -> Option<Time> {
        match (&self.state, self.upload_at) {
            (State::Waiting(accepted, _), _) | (State::Preparing(accepted), UploadAt::Scheduled) => Some(accepted.upload_from),
            (
                State::Idle | State::Ready(..) | State::Preparing(_) | State::Sending { .. } | State::Out(..),
                UploadAt::Ready | UploadAt::Scheduled,
            ) => None,
        }
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::RoundOpened { task, round, willing, .. } => self.round_opened(task, round, willing),
            Event::Report(accepted) => self.report(accepted),
            Event::Spooled => self.spooled(),
            Event::NotPrepared(reason) => self.not_prepared(reason),
            Event::Receipt(group, index) => self.receipt(group, index),
            Event::Refused(group, reason) => self.refused(group, reason),
            Event::Reconnected => self.resend(),
            Event::Clock(now) => self.clock(now),
            Event::Ended(task, round) => self.ended(task, round),
        }
    }

    fn round_opened(&mut self, task: TaskId, round: RoundId, willing: Result<(), Rejection>) {
        // A call that comes again must not make a prepared round begin anew: that would pay twice (D60).
        if let Some((t, last)) = self.answered.filter(|(t, _)| *t == task)
            && round <= last
        {
            if (t, round) == (task, last) {
                self.say_ready();
            }
            return;
        }
        self.answered = Some((task, round));
        match willing {
            Ok(()) => {
                self.state = State::Ready(task, round);
                self.actions.push_back(Action::Send(ClientMessage::Ready { task, round }));
            }
            Err(reason) => {
                self.state = State::Out(task, round);
                self.actions.push_back(Action::Decline(task, round, reason));
            }
        }
    }

    /// A second manifest for the same round finds another state and is not prepared: one reservation per round, for ever (D60).
    fn report(&mut self, accepted: Result<Box<Accepted>, Rejection>) {
        let State::Ready(task, round) = self.state else { return };
        match accepted {
            Ok(a) if a.manifest.task == task && a.manifest.round == round => {
                self.actions.push_back(Action::Prepare(a.clone()));
                self.state = State::Preparing(a);
            }
            Ok(_) => {}
            Err(reason) => self.decline(reason),
        }
    }

    fn spooled(&mut self) {
        let State::Preparing(accepted) = &self.state else { return };
        let accepted = accepted.clone();
        match self.upload_at {
            UploadAt::Ready => self.send(accepted),
            UploadAt::Scheduled => self.state = State::Waiting(accepted, Ok(())),
        }
    }

    /// On a schedule a failure is told when the update would have left: how long it took to fail tells as much as how long it takes to succeed.
    fn not_prepared(&mut self, reason: Rejection) {
        match (&self.state, self.upload_at) {
            (State::Preparing(accepted), UploadAt::Scheduled) => {
                let accepted = accepted.clone();
                self.state = State::Waiting(accepted, Err(reason));
            }
            (State::Waiting(..), _) => {}
            (
                State::Idle | State::Ready(..) | State::Preparing(_) | State::Sending { .. } | State::Out(..),
                UploadAt::Ready | UploadAt::Scheduled,
            ) => self.decline(reason),
        }
    }

    /// Uploads begin, and late rounds are declined, at a time that does not depend on how long anything took.
    fn clock(&mut self, now: Time) {
        match (&self.state, self.upload_at) {
            (State::Waiting(accepted, Ok(())), _) if now >= accepted.upload_from => {
                let accepted = accepted.clone();
                self.send(accepted);
            }
            (State::Waiting(accepted, Err(reason)), _) if now >= accepted.upload_from => {
                let reason = *reason;
                self.decline(reason);
            }
            (State::Preparing(accepted), UploadAt::Scheduled) if now >= accepted.upload_from => self.decline(Rejection::Late),
            (
                State::Idle | State::Ready(..) | State::Preparing(_) | State::Waiting(..) | State::Sending { .. } | State::Out(..),
                UploadAt::Ready | UploadAt::Scheduled,
            ) => {}
        }
    }

    fn send(&mut self, accepted: Box<Accepted>) {
        let receipts: BTreeMap<_, _> = accepted.groups_of(self.me).into_iter().map(|g| (g, None)).collect();
        self.actions.extend(receipts.keys().map(|g| Action::Upload(*g)));
        self.state = State::Sending { accepted, receipts };
    }

    fn decline(&mut self, reason: Rejection) {
        let (task, round) = match &self.state {
            State::Ready(task, round) => (*task, *round),
            State::Preparing(a) | State::Waiting(a, Err(_)) => (a.manifest.task, a.manifest.round),
            State::Idle | State::Waiting(_, Ok(())) | State::Sending { .. } | State::Out(..) => return,
        };
        self.state = State::Out(task, round);
        self.actions.push_back(Action::Decline(task, round, reason));
    }

    fn receipt(&mut self, group: GroupId, index: LeafIndex) {
        if let State::Sending { receipts, .. } = &mut self.state {
            receipts.entry(group).and_modify(|r| *r = Some(index));
        }
    }

    fn refused(&mut self, group: GroupId, reason: Rejection) {
        if let State::Sending { receipts, .. } = &mut self.state {
            // Told to try again later: the same bytes from the spool. Anything else is final for this round, but a receipt stands.
            if reason != Rejection::ShuttingDown && receipts.get(&group) == Some(&None) {
                receipts.remove(&group);
            }
        }
    }

    /// What has no receipt is sent again, byte for byte from the spool (C40).
    fn resend(&mut self) {
        match &self.state {
            State::Ready(..) => self.say_ready(),
            State::Sending { receipts, .. } => {
                self.actions.extend(receipts.iter().filter(|(_, r)| r.is_none()).map(|(g, _)| Action::Upload(*g)));
            }
            // What waits for its time goes when the clock says so, on whatever connection there is then.
            State::Idle | State::Preparing(_) | State::Waiting(..) | State::Out(..) => {}
        }
    }

    fn say_ready(&mut self) {
        if let State::Ready(task, round) = self.state {
            self.actions.push_back(Action::Send(ClientMessage::Ready { task, round }));
        }
    }

    fn ended(&mut self, task: TaskId, round: RoundId) {
        let current = match &self.state {
            State::Ready(t, r) | State::Out(t, r) => Some((*t, *r)),
            State::Preparing(a) | State::Waiting(a, _) => Some((a.manifest.task, a.manifest.round)),
            State::Sending { accepted, .. } => Some((accepted.manifest.task, accepted.manifest.round)),
            State::Idle => None,
        };
        if current == Some((task, round)) {
            self.state = State::Idle;
            self.actions.push_back(Action::Clear(task, round));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Sha256;
    use crate::manifest::GroupSpec;
    use crate::params::{CommitteeSize, Packing};

    const TASK: TaskId = TaskId([1; 16]);

    fn call(round: u64, willing: Result<(), Rejection>) -> Event {
        Event::RoundOpened { task: TASK, round: RoundId(round), plan: PlanDigest([2; 32]), snapshot: SnapshotDigest([3; 32]), willing }
    }

    fn said(p: &mut Participant) -> Vec<String> {
        let name = |a: Action| match a {
            Action::Send(_) => "ready",
            Action::Decline(..) => "decline",
            Action::Prepare(_) => "prepare",
            Action::Upload(_) => "upload",
            Action::Clear(..) => "clear",
        };
        std::iter::from_fn(|| p.poll_action()).map(|a| name(a).to_owned()).collect()
    }

    #[test]
    fn a_decline_is_final_for_its_round_only() {
        let mut p = Participant::new(ClientId([9; 32]), UploadAt::Ready);
        p.handle(call(1, Err(Rejection::Policy)));
        p.handle(call(1, Ok(())));
        assert_eq!(said(&mut p), ["decline"]);
        p.handle(Event::Ended(TASK, RoundId(1)));
        p.handle(call(2, Ok(())));
        assert_eq!(said(&mut p), ["clear", "ready"]);
    }

    #[test]
    fn a_call_that_comes_again_is_answered_again_and_an_old_one_is_not() {
        let mut p = Participant::new(ClientId([9; 32]), UploadAt::Ready);
        p.handle(call(2, Ok(())));
        p.handle(call(2, Ok(())));
        p.handle(call(1, Ok(())));
        p.handle(Event::Reconnected);
        assert_eq!(said(&mut p), ["ready", "ready", "ready"]);
        p.handle(Event::Ended(TASK, RoundId(2)));
        p.handle(call(2, Ok(())));
        assert_eq!(said(&mut p), ["clear"], "an ended round does not begin again");
    }

    #[test]
    fn a_bad_manifest_is_declined_once() {
        let mut p = Participant::new(ClientId([9; 32]), UploadAt::Ready);
        p.handle(call(1, Ok(())));
        p.handle(Event::Report(Err(Rejection::WrongManifest)));
        p.handle(Event::Report(Err(Rejection::WrongManifest)));
        p.handle(Event::NotPrepared(Rejection::BudgetExhausted));
        assert_eq!(said(&mut p), ["ready", "decline"]);
    }

    fn accepted(round: u64) -> Box<Accepted> {
        let me = ClientId([9; 32]);
        let packing = Packing { n_max: 4, bits: 16, slot_bits: 18, slots: 2, noise_bits: 8, dropped_bits: 2, body_bits: 62 };
        let group = GroupSpec { id: GroupId(0), shards: Vec::new(), packing, cohort_min: 2, eligible: vec![me], tally: None };
        let manifest = Manifest {
            federation: "fed".into(),
            task: TASK,
            round: RoundId(round),
            plan: PlanDigest([2; 32]),
            snapshot: SnapshotDigest([3; 32]),
            parameter_set: 1,
            groups: vec![group],
            roster: Sha256([4; 32]),
            committee: Vec::new(),
            size: CommitteeSize { decryptors: 4, corrupt: 1 },
            reporting_until: Time(10_000),
            certifying_until: Time(20_000),
            opening_until: Time(30_000),
            log_size: 1,
            previous_end: Sha256([5; 32]),
        };
        Box::new(Accepted { manifest, digest: ManifestDigest([6; 32]), upload_from: Time(7_500) })
    }

    fn reporting(upload_at: UploadAt) -> Participant {
        let mut p = Participant::new(ClientId([9; 32]), upload_at);
        p.handle(call(1, Ok(())));
        p.handle(Event::Report(Ok(accepted(1))));
        assert_eq!(said(&mut p), ["ready", "prepare"]);
        p
    }

    /// privacy.md D12: whenever sealing ended, and whatever connections did meanwhile, the upload begins at the same time.
    #[test]
    fn on_a_schedule_the_time_of_the_upload_does_not_depend_on_when_the_update_was_ready() {
        for ready in [0, 4_000, 7_499] {
            let mut p = reporting(UploadAt::Scheduled);
            for now in 0..7_500 {
                if now == ready {
                    p.handle(Event::Spooled);
                    p.handle(Event::Reconnected);
                }
                p.handle(Event::Clock(Time(now)));
                assert!(said(&mut p).is_empty() && p.due() == Some(Time(7_500)), "{ready} {now}");
            }
            p.handle(Event::Clock(Time(7_500)));
            assert_eq!((said(&mut p).as_slice(), p.due()), (["upload".to_owned()].as_slice(), None));
            p.handle(Event::Clock(Time(7_501)));
            assert!(said(&mut p).is_empty(), "once");
            p.handle(Event::Reconnected);
            assert_eq!(said(&mut p), ["upload"], "what has no receipt is sent again");
        }
    }

    /// Found sealed by a process that begins after the time: that a process ended says nothing about training, so the update goes.
    #[test]
    fn what_was_sealed_before_a_kill_is_sent_after_it() {
        let mut p = reporting(UploadAt::Scheduled);
        p.handle(Event::Spooled);
        p.handle(Event::Clock(Time(9_000)));
        assert_eq!(said(&mut p), ["upload"]);
    }

    #[test]
    fn on_a_schedule_a_late_update_never_leaves_and_the_decline_has_the_same_time() {
        let mut p = reporting(UploadAt::Scheduled);
        p.handle(Event::Clock(Time(7_499)));
        assert!(said(&mut p).is_empty());
        p.handle(Event::Clock(Time(7_500)));
        assert_eq!(said(&mut p), ["decline"]);
        p.handle(Event::Spooled);
        p.handle(Event::Clock(Time(8_000)));
        p.handle(Event::Reconnected);
        assert!(said(&mut p).is_empty());
        p.handle(Event::Ended(TASK, RoundId(1)));
        assert_eq!(said(&mut p), ["clear"]);
    }

    /// Whenever it failed, and whatever connections did meanwhile, the decline goes at the time of the upload, once, and for its own reason.
    #[test]
    fn on_a_schedule_what_failed_is_declined_at_the_time_of_the_upload() {
        for failed in [0, 4_000, 7_499] {
            let mut p = reporting(UploadAt::Scheduled);
            for now in 0..7_500 {
                if now == failed {
                    p.handle(Event::NotPrepared(Rejection::BudgetExhausted));
                    p.handle(Event::Reconnected);
                    p.handle(Event::Spooled);
                    p.handle(Event::NotPrepared(Rejection::Policy));
                }
                p.handle(Event::Clock(Time(now)));
                assert!(said(&mut p).is_empty() && p.due() == Some(Time(7_500)), "{failed} {now}");
            }
            p.handle(Event::Clock(Time(7_500)));
            assert!(matches!(p.poll_action(), Some(Action::Decline(task, _, Rejection::BudgetExhausted)) if task == TASK));
            p.handle(Event::Clock(Time(7_501)));
            assert!(said(&mut p).is_empty(), "once");
        }
        let mut p = reporting(UploadAt::Scheduled);
        p.handle(Event::NotPrepared(Rejection::Policy));
        p.handle(Event::Ended(TASK, RoundId(1)));
        assert_eq!(said(&mut p), ["clear"], "a round that is over is not declined any more");
        p.handle(Event::Clock(Time(7_500)));
        assert!(said(&mut p).is_empty());
        let mut p = reporting(UploadAt::Ready);
        p.handle(Event::NotPrepared(Rejection::Policy));
        assert_eq!(said(&mut p), ["decline"], "without a schedule at once");
    }

    #[test]
    fn without_a_schedule_an_update_leaves_when_it_is_ready_and_no_clock_declines() {
        let mut p = reporting(UploadAt::Ready);
        p.handle(Event::Clock(Time(9_000)));
        assert!(said(&mut p).is_empty() && p.due().is_none());
        p.handle(Event::Spooled);
        assert_eq!(said(&mut p), ["upload"]);
    }
}
