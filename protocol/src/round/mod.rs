//! One round as the server sees it: events and time in, actions out. Knows no socket, file or clock, and no secret.
//!
//! `Selecting -> Reporting -> Certifying -> Opening -> Closed | Abandoned` (audit.md A20). Each state consumes the one before.

mod certifying;
mod dealing;
mod desk;
mod opening;
mod reporting;
mod selecting;

pub use desk::Setup;

use crate::entry::Draft;
use crate::ids::{ClientId, GroupId, HeaderDigest, LeafIndex, ManifestDigest, Position, Sha256, SnapshotDigest, Ticket};
use crate::manifest::{Certificate, Manifest, OpeningPayload};
use crate::messages::ServerMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use desk::Desk;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client takes part.
    Ready(ClientId),
    /// A client takes no part.
    Declined(ClientId, Statement),
    /// A client's connection is gone; it may come back.
    Gone(ClientId),
    /// An institution was suspended or revoked, or has left: nothing more comes from it in this round.
    Barred(ClientId),
    /// A client has a new connection: what it was last asked, and has not answered, is asked again.
    Back(ClientId),
    /// A decryptor reveals its number for the random groups.
    Revealed(ClientId, Statement),
    /// The server's key signed the manifest that [`Action::SignManifest`] named.
    ManifestSigned(Statement),
    /// A decryptor endorses.
    Endorsed(ClientId, Statement),
    /// A client wants to upload; the answer goes to `answer`.
    Begin {
        /// Who.
        from: ClientId,
        /// Signed header.
        header: Statement,
        /// Where the answer goes.
        answer: Ticket,
    },
    /// An upload is whole and durable; the answer goes to `answer`.
    Commit {
        /// Who.
        from: ClientId,
        /// Signed header.
        header: Statement,
        /// Where the answer goes.
        answer: Ticket,
    },
    /// What became of a member's share blob at one decryptor.
    BlobReport {
        /// The decryptor.
        from: ClientId,
        /// Group.
        group: GroupId,
        /// Update.
        header: HeaderDigest,
        /// None when held.
        trouble: Option<Rejection>,
    },
    /// A decryptor signs a set.
    SetSigned(ClientId, Statement),
    /// A decryptor opens.
    Opened(ClientId, Statement),
    /// An entry is durable in the log.
    Recorded {
        /// Which.
        ticket: Ticket,
        /// Where.
        index: LeafIndex,
        /// Its leaf hash.
        leaf: Sha256,
    },
    /// A checkpoint with a quorum covers `size` entries.
    Covered {
        /// Entries.
        size: u64,
        /// The note.
        checkpoint: Vec<u8>,
    },
    /// [`Action::Open`] is done: the signed result, or why there is none.
    SumOpened {
        /// Group.
        group: GroupId,
        /// Result.
        result: Result<Statement, Rejection>,
        /// Whom the openings show to be at fault.
        blame: Blamed,
    },
    /// [`Action::Advance`] is done.
    Advanced(SnapshotDigest),
    /// Time passed.
    Tick,
}

/// Whom a group's openings show to be at fault, whether it opened or not (crypto.md C56).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blamed {
    /// Decryptors whose opening contradicts itself.
    pub decryptors: Vec<Position>,
    /// Updates whose shares lie on no polynomial.
    pub updates: Vec<HeaderDigest>,
    /// Updates and decryptors whose statements do not fit: one of the two is wrong, and nothing proves which.
    pub disputed: Vec<(HeaderDigest, Position)>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Every member.
    All,
    /// These.
    Only(Vec<ClientId>),
}

/// The answer to `Begin` or `Commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The header is in order; send the parts.
    Proceed,
    /// Accepted: durable at this index.
    Accepted(LeafIndex),
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Append to the log and answer with [`Event::Recorded`].
    Record(Ticket, Box<Draft>),
    /// Tell somebody.
    Send(Recipients, ServerMessage),
    /// Answer a `Begin` or `Commit`.
    Answer(Ticket, Result<Verdict, Rejection>),
    /// Sign with the server's statement key and answer with [`Event::ManifestSigned`].
    SignManifest(Box<Manifest>),
    /// Add an accepted update to its group's sum. Comes only after its acceptance is durable. What a certificate then leaves out
    /// is taken out of the sum again before it is opened (C41).
    Accumulate(GroupId, HeaderDigest),
    /// Answer with [`Event::Covered`] once a quorum checkpoint covers so many entries.
    AwaitCover(u64),
    /// Open the sum of exactly the certificate's headers and answer with [`Event::SumOpened`].
    Open(GroupId, Box<Certificate>, Vec<OpeningPayload>),
    /// Apply the strategy to these opened groups and answer with [`Event::Advanced`].
    Advance(Vec<GroupId>),
    /// Nothing more will come.
    Finish(Outcome),
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a new snapshot; the leaf hash of `round.closed`.
    Closed(SnapshotDigest, Sha256),
    /// Without; the leaf hash of `round.abandoned`.
    Abandoned(Rejection, Sha256),
}

/// The state a round is in.
enum State {
    Selecting(selecting::Selecting),
    Reporting(reporting::Reporting),
    Certifying(certifying::Certifying),
    Opening(opening::Opening),
    /// The end is being recorded.
    Ending(Ending),
    Done,
}

/// The last entry of the round is on its way to the log.
struct Ending {
    ticket: Ticket,
    end: End,
}

/// Which end.
#[derive(Clone, Copy)]
enum End {
    Closed(SnapshotDigest),
    Abandoned(Rejection),
}

/// The name of a state, for status displays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Who takes part.
    Selecting,
    /// Updates come in.
    Reporting,
    /// One exact set is agreed.
    Certifying,
    /// Its sum is opened.
    Opening,
    /// Over.
    Ended,
}

/// One round of one task.
pub struct Round {
    desk: Desk,
    state: State,
    /// When the last event was handled.
    seen: Time,
}

impl Round {
    /// Begins a round at `now`; the first action records `round.opened`.
    pub fn begin(now: Time, setup: Setup) -> Self {
        let mut desk = Desk::new(setup);
        let state = State::Selecting(selecting::Selecting::begin(now, &mut desk));
        Self { desk, state, seen: now }
    }

    /// Takes in one event at `now`. Never blocks; results come out of [`Self::poll_action`].
    pub fn handle(&mut self, now: Time, event: Event) {
        let desk = &mut self.desk;
        self.seen = self.seen.max(now);
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Selecting(s) => s.handle(now, event, desk),
            State::Reporting(s) => s.handle(now, event, desk),
            State::Certifying(s) => s.handle(now, event, desk),
            State::Opening(s) => s.handle(now, event, desk),
            State::Ending(e) => e.handle(&event, desk),
            State::Done => {
                desk.refuse_late(&event);
                State::Done
            }
        };
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.desk.actions.pop_front()
    }

    /// When to wake the machine with [`Event::Tick`] if nothing else happens. Always later than the last event: past a deadline the
    /// machine waits for an answer (a durable entry, a decoded sum), not for time.
    pub fn poll_timeout(&self) -> Time {
        let deadline = match &self.state {
            State::Selecting(s) => s.deadline(),
            State::Reporting(s) => s.deadline(),
            State::Certifying(s) => s.deadline(),
            State::Opening(s) => s.deadline(),
            State::Ending(_) | State::Done => Time::NEVER,
        };
        if deadline > self.seen { deadline } else { Time::NEVER }
    }

    /// Which state the round is in.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Selecting(_) => Phase::Selecting,
            State::Reporting(_) => Phase::Reporting,
            State::Certifying(_) => Phase::Certifying,
            State::Opening(_) => Phase::Opening,
            State::Ending(_) | State::Done => Phase::Ended,
        }
    }
}

impl Ending {
    /// Records the end; the outcome is spoken only when the entry is durable.
    fn record(desk: &mut Desk, end: End) -> State {
        use crate::entry::Facts;
        let draft = match end {
            End::Closed(snapshot) => Draft::server(Facts::RoundClosed { snapshot }),
            End::Abandoned(code) => Draft::server(Facts::RoundAbandoned {}).failed(code),
        };
        let ticket = desk.record(draft);
        State::Ending(Self { ticket, end })
    }

    fn handle(self, event: &Event, desk: &mut Desk) -> State {
        let Event::Recorded { ticket, index, leaf } = event else {
            desk.refuse_late(event);
            return State::Ending(self);
        };
        if *ticket != self.ticket {
            return State::Ending(self);
        }
        let (outcome, snapshot) = match self.end {
            End::Closed(s) => (Outcome::Closed(s, *leaf), Some(s)),
            End::Abandoned(code) => (Outcome::Abandoned(code, *leaf), None),
        };
        let (task, round) = (desk.setup.task, desk.setup.round);
        desk.send(Recipients::All, ServerMessage::RoundEnded { task, round, snapshot, log_size: index.0 + 1 });
        desk.actions.push_back(Action::Finish(outcome));
        State::Done
    }
}

/// Who contributes to which part, and how much of the log it takes to see why.
pub(crate) struct Selected {
    pub(crate) parts: Vec<Vec<ClientId>>,
    pub(crate) log_size: u64,
}

/// The manifest of the round with its digest and the decryptors' endorsements.
#[derive(Clone)]
pub(crate) struct Endorsed {
    pub(crate) manifest: Manifest,
    pub(crate) digest: ManifestDigest,
}
