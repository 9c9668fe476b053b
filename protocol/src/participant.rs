//! A client's part in one round: ready, one endorsed manifest, one preparation, one update per group (crypto.md C38 to C40).
//! Knows no data, no ledger, no cipher: the driver trains, pays, seals and spools.

use crate::history::History;
use crate::ids::{ClientId, GroupId, LeafIndex, ManifestDigest, PlanDigest, RoundId, SnapshotDigest, TaskId};
use crate::manifest::{Endorsement, Manifest};
use crate::messages::ClientMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A manifest that this client may seal under. Made only by [`Accepted::check`].
#[derive(Clone, Debug)]
pub struct Accepted {
    manifest: Manifest,
    digest: ManifestDigest,
}

impl Accepted {
    /// Checks C38: the server's signature, at least Q endorsements, numbers as log and plan give them, this client eligible.
    ///
    /// # Errors
    /// [`Rejection`], the first rule broken.
    pub fn check(mirror: &History, me: ClientId, statement: &Statement, endorsements: &[Statement]) -> Result<Self, Rejection> {
        let manifest: Manifest = statement.verify_by(&mirror.trust().server).map_err(|_| Rejection::BadSignature)?;
        let digest = Manifest::digest(&statement.payload);
        if !mirror.agrees_with(&manifest) {
            return Err(Rejection::WrongManifest);
        }
        let endorsers: BTreeSet<_> = endorsements
            .iter()
            .filter(|s| manifest.position(s.signer()).is_some())
            .filter(|s| s.verify::<Endorsement>().is_ok_and(|e| e.manifest == digest))
            .map(Statement::signer)
            .collect();
        if endorsers.len() < manifest.size.quorum() {
            return Err(Rejection::NotCertified);
        }
        if !manifest.groups.iter().any(|g| g.eligible.contains(&me)) {
            return Err(Rejection::WrongGroup);
        }
        Ok(Self { manifest, digest })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// Its digest.
    pub fn digest(&self) -> ManifestDigest {
        self.digest
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
    Sending { accepted: Box<Accepted>, receipts: BTreeMap<GroupId, Option<LeafIndex>> },
    Out(TaskId, RoundId),
}

/// One client in one task.
pub struct Participant {
    me: ClientId,
    state: State,
    /// The latest round that was answered: a call is answered once, however often it comes.
    answered: Option<(TaskId, RoundId)>,
    actions: VecDeque<Action>,
}

impl Participant {
    /// A client that takes part in nothing yet.
    pub fn new(me: ClientId) -> Self {
        Self { me, state: State::Idle, answered: None, actions: VecDeque::new() }
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::RoundOpened { task, round, willing, .. } => self.round_opened(task, round, willing),
            Event::Report(accepted) => self.report(accepted),
            Event::Spooled => self.spooled(),
            Event::NotPrepared(reason) => self.decline(reason),
            Event::Receipt(group, index) => self.receipt(group, index),
            Event::Refused(group, reason) => self.refused(group, reason),
            Event::Reconnected => self.resend(),
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
        let State::Preparing(accepted) = std::mem::replace(&mut self.state, State::Idle) else { return };
        let receipts: BTreeMap<_, _> = accepted.groups_of(self.me).into_iter().map(|g| (g, None)).collect();
        self.actions.extend(receipts.keys().map(|g| Action::Upload(*g)));
        self.state = State::Sending { accepted, receipts };
    }

    fn decline(&mut self, reason: Rejection) {
        let (task, round) = match &self.state {
            State::Ready(task, round) => (*task, *round),
            State::Preparing(a) => (a.manifest.task, a.manifest.round),
            State::Idle | State::Sending { .. } | State::Out(..) => return,
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
            State::Idle | State::Preparing(_) | State::Out(..) => {}
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
            State::Preparing(a) => Some((a.manifest.task, a.manifest.round)),
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
        let mut p = Participant::new(ClientId([9; 32]));
        p.handle(call(1, Err(Rejection::Policy)));
        p.handle(call(1, Ok(())));
        assert_eq!(said(&mut p), ["decline"]);
        p.handle(Event::Ended(TASK, RoundId(1)));
        p.handle(call(2, Ok(())));
        assert_eq!(said(&mut p), ["clear", "ready"]);
    }

    #[test]
    fn a_call_that_comes_again_is_answered_again_and_an_old_one_is_not() {
        let mut p = Participant::new(ClientId([9; 32]));
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
        let mut p = Participant::new(ClientId([9; 32]));
        p.handle(call(1, Ok(())));
        p.handle(Event::Report(Err(Rejection::WrongManifest)));
        p.handle(Event::Report(Err(Rejection::WrongManifest)));
        p.handle(Event::NotPrepared(Rejection::BudgetExhausted));
        assert_eq!(said(&mut p), ["ready", "decline"]);
    }
}
