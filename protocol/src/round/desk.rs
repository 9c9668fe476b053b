//! What every state of a round shares: the setup, the tickets, and the queue of actions.

use super::{Action, Event, Recipients, Verdict};
use crate::entry::Draft;
use crate::ids::{ClientId, HeaderDigest, LeafIndex, PlanDigest, PublicKey, RoundId, Sha256, SnapshotDigest, TaskId, Ticket};
use crate::manifest::{Header, Prekeys};
use crate::messages::ServerMessage;
use crate::plan::Plan;
use crate::reject::Rejection;
use crate::statement::Statement;
use std::collections::{BTreeMap, VecDeque};

/// Everything that a round needs to know when it begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The plan; checked.
    pub plan: Plan,
    /// Its digest.
    pub plan_digest: PlanDigest,
    /// The task.
    pub task: TaskId,
    /// The round.
    pub round: RoundId,
    /// Weights that it starts from.
    pub snapshot: SnapshotDigest,
    /// Leaf hash of the entry that ended the round before, or of `task.opened`.
    pub previous_end: Sha256,
    /// Size of a quorum checkpoint that covers that entry.
    pub log_size: u64,
    /// That checkpoint.
    pub checkpoint: Vec<u8>,
    /// Enrolled institutions with their statement keys.
    pub members: BTreeMap<ClientId, PublicKey>,
    /// Those with a connection now; others are not waited for.
    pub connected: Vec<ClientId>,
    /// Prekeys that cover this round, in the order of the log.
    pub prekeys: BTreeMap<ClientId, Vec<Prekeys>>,
}

/// The desk of a round.
pub(super) struct Desk {
    pub(super) setup: Setup,
    pub(super) actions: VecDeque<Action>,
    /// Acceptances that are durable: whoever lost a receipt may ask again until the round is forgotten (C40).
    pub(super) receipts: BTreeMap<HeaderDigest, (ClientId, LeafIndex)>,
    next_ticket: u64,
}

impl Desk {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, actions: VecDeque::new(), receipts: BTreeMap::new(), next_ticket: 0 }
    }

    /// Asks for an entry; the ticket comes back with [`Event::Recorded`].
    pub(super) fn record(&mut self, draft: Draft) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let draft = draft.in_round(self.setup.task, self.setup.round);
        self.actions.push_back(Action::Record(ticket, Box::new(draft)));
        ticket
    }

    /// The call for this round.
    pub(super) fn round_opened(&self) -> ServerMessage {
        let s = &self.setup;
        ServerMessage::RoundOpened { task: s.task, round: s.round, plan: s.plan_digest, snapshot: s.snapshot }
    }

    pub(super) fn send(&mut self, to: Recipients, message: ServerMessage) {
        self.actions.push_back(Action::Send(to, message));
    }

    /// Tells one peer that what it said was refused.
    pub(super) fn refuse(&mut self, to: ClientId, reason: Rejection) {
        self.send(Recipients::Only(vec![to]), ServerMessage::Refused { reason });
    }

    /// The key of a member.
    pub(super) fn key(&self, member: ClientId) -> Option<PublicKey> {
        self.setup.members.get(&member).copied()
    }

    /// Where this client's update stands in the log, if its acceptance is durable.
    pub(super) fn receipt(&self, from: ClientId, header: &Statement) -> Option<LeafIndex> {
        self.receipts.get(&Header::digest(&header.payload)).filter(|(who, _)| *who == from).map(|&(_, index)| index)
    }

    /// Answers what comes in a state that takes no new update, so that nobody waits for ever; what is accepted stays accepted.
    pub(super) fn refuse_late(&mut self, event: &Event) {
        match event {
            Event::Begin { from, header, answer } | Event::Commit { from, header, answer } => {
                let verdict = self.receipt(*from, header).map(Verdict::Accepted).ok_or(Rejection::Late);
                self.actions.push_back(Action::Answer(*answer, verdict));
            }
            Event::Declined(..) | Event::Revealed(..) | Event::Endorsed(..) | Event::SetSigned(..) | Event::Opened(..) => {}
            Event::Ready(_) | Event::Gone(_) | Event::Barred(_) | Event::Back(_) | Event::ManifestSigned(_) => {}
            Event::BlobReport { .. } => {}
            Event::Recorded { .. } | Event::Covered { .. } | Event::SumOpened { .. } | Event::Advanced(_) | Event::Tick => {}
        }
    }
}
