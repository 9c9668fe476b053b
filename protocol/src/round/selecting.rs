//! Selecting: who takes part, one manifest, at least Q endorsements of it (crypto.md C37, C38).

use super::dealing::Dealing;
use super::desk::Desk;
use super::{Action, End, Ending, Endorsed, Event, Recipients, Selected, State, reporting};
use crate::entry::{Actor, Draft, Facts};
use crate::ids::{ClientId, LeafIndex, Ticket};
use crate::manifest::{CommitteeMember, Decline, Endorsement, Manifest, Prekeys, committee_of, roster_root};
use crate::messages::ServerMessage;
use crate::params::PS_A;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Waiting for members to say whether they take part, then for endorsements.
pub(super) struct Selecting {
    deadline: Time,
    opened: Ticket,
    announced: bool,
    ready: BTreeSet<ClientId>,
    declined: BTreeSet<ClientId>,
    waiting_for: BTreeSet<ClientId>,
    /// Entries that decryptors must mirror to judge the manifest.
    log_size: u64,
    step: Step,
}

enum Step {
    /// Members answer.
    Gathering,
    /// Decryptors reveal what random groups are dealt from.
    Dealing(Box<Dealing>),
    /// The server's key signs.
    Signing,
    /// Decryptors endorse.
    Endorsing(Proposed),
    /// Manifest and endorsements go into the log.
    Recording { proposed: Proposed, open: BTreeSet<Ticket>, last: LeafIndex },
}

struct Proposed {
    statement: Statement,
    endorsed: Endorsed,
    endorsements: BTreeMap<ClientId, Statement>,
}

impl Selecting {
    pub(super) fn begin(now: Time, desk: &mut Desk) -> Self {
        let opened = desk.record(Draft::server(Facts::RoundOpened { previous_end: desk.setup.previous_end }));
        let waiting_for = desk.setup.connected.iter().copied().filter(|c| desk.setup.members.contains_key(c)).collect();
        let deadline = now.plus_ms(desk.setup.plan.deadlines.selecting_ms);
        Self {
            deadline,
            opened,
            announced: false,
            ready: BTreeSet::new(),
            declined: BTreeSet::new(),
            waiting_for,
            log_size: desk.setup.log_size,
            step: Step::Gathering,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    pub(super) fn handle(mut self, now: Time, event: Event, desk: &mut Desk) -> State {
        match event {
            Event::Recorded { ticket, index, .. } if ticket == self.opened => {
                // Whoever judges the manifest sees the roster that the round began with.
                self.log_size = self.log_size.max(index.0 + 1);
                self.announce(desk);
            }
            Event::Recorded { ticket, index, .. } => match &mut self.step {
                Step::Dealing(dealing) => {
                    // Decryptors have the time to reveal that members had to get ready.
                    if dealing.recorded(ticket, index, desk) {
                        self.deadline = now.plus_ms(desk.setup.plan.deadlines.selecting_ms);
                    }
                }
                Step::Gathering | Step::Signing | Step::Endorsing(_) => {}
                Step::Recording { .. } => return self.recorded(now, ticket, index, desk),
            },
            Event::Revealed(from, statement) => {
                if let Step::Dealing(dealing) = &mut self.step {
                    dealing.revealed(from, statement, desk);
                }
            }
            Event::Ready(from) => self.ready(from, desk),
            Event::Declined(from, statement) => self.declined(from, statement, desk),
            Event::Gone(from) => {
                self.waiting_for.remove(&from);
            }
            Event::Barred(from) => self.barred(from),
            Event::Back(from) => self.ask_again(from, desk),
            Event::ManifestSigned(statement) => self.signed(now, statement, desk),
            Event::Endorsed(from, statement) => self.endorse(from, &statement, desk),
            Event::Begin { .. } | Event::Commit { .. } => desk.refuse_late(&event),
            Event::BlobReport { .. } | Event::SetSigned(..) | Event::Opened(..) | Event::Covered { .. } => {}
            Event::SumOpened { .. } | Event::Advanced(_) | Event::Tick => {}
        }
        self.move_on(now, desk)
    }

    fn announce(&mut self, desk: &mut Desk) {
        self.announced = true;
        desk.send(Recipients::All, desk.round_opened());
    }

    fn please_endorse(&self, manifest: &Statement, desk: &Desk) -> ServerMessage {
        let checkpoint = desk.setup.checkpoint.clone().into();
        ServerMessage::Endorse { manifest: manifest.clone(), log_size: self.log_size, checkpoint }
    }

    /// What a client that is back may have missed.
    fn ask_again(&self, from: ClientId, desk: &mut Desk) {
        let only = Recipients::Only(vec![from]);
        match &self.step {
            Step::Gathering if self.announced => desk.send(only, desk.round_opened()),
            Step::Dealing(dealing) => dealing.ask(from, desk),
            Step::Endorsing(p) if p.endorsed.manifest.position(from).is_some() && !p.endorsements.contains_key(&from) => {
                desk.send(only, self.please_endorse(&p.statement, desk));
            }
            Step::Gathering | Step::Signing | Step::Endorsing(_) | Step::Recording { .. } => {}
        }
    }

    fn ready(&mut self, from: ClientId, desk: &mut Desk) {
        if !desk.setup.members.contains_key(&from) {
            return desk.refuse(from, Rejection::NotEnrolled);
        }
        // Who declined stays out: changing its mind again and again would only make the log grow.
        if self.declined.contains(&from) {
            return desk.refuse(from, Rejection::AlreadySigned);
        }
        self.ready.insert(from);
        self.waiting_for.remove(&from);
    }

    /// Who may say nothing more is out as if it had declined. A manifest that names it already stays: the roster is the one that the round
    /// began with, and what is not accepted from it is dropped like everything that does not come.
    fn barred(&mut self, from: ClientId) {
        self.waiting_for.remove(&from);
        self.ready.remove(&from);
        self.declined.insert(from);
        if let Step::Endorsing(proposed) = &mut self.step {
            proposed.endorsements.remove(&from);
        }
    }

    fn declined(&mut self, from: ClientId, statement: Statement, desk: &mut Desk) {
        let Some(key) = desk.key(from) else { return desk.refuse(from, Rejection::NotEnrolled) };
        let said = statement.verify_by::<Decline>(&key);
        let Some(decline) = said.ok().filter(|d| d.task == desk.setup.task && d.round == desk.setup.round) else {
            return desk.refuse(from, Rejection::BadSignature);
        };
        self.waiting_for.remove(&from);
        self.ready.remove(&from);
        // Once is enough: a second decline would only make the log grow.
        if self.declined.insert(from) {
            desk.record(Draft::said(Actor::Institution, Some(from), statement, Facts::RoundDeclined {}).rejected(decline.reason));
        }
    }

    fn endorse(&mut self, from: ClientId, statement: &Statement, desk: &mut Desk) {
        let Step::Endorsing(proposed) = &mut self.step else { return };
        let Some(key) = desk.key(from).filter(|_| proposed.endorsed.manifest.position(from).is_some()) else {
            return desk.refuse(from, Rejection::WrongGroup);
        };
        match statement.verify_by::<Endorsement>(&key) {
            Ok(e) if e.manifest == proposed.endorsed.digest => {
                proposed.endorsements.entry(from).or_insert_with(|| statement.clone());
            }
            Ok(_) => desk.refuse(from, Rejection::WrongManifest),
            Err(_) => desk.refuse(from, Rejection::BadSignature),
        }
    }

    fn signed(&mut self, now: Time, statement: Statement, desk: &mut Desk) {
        let (Step::Signing, Ok(manifest)) = (&self.step, statement.verify::<Manifest>()) else { return };
        let digest = Manifest::digest(&statement.payload);
        let committee = manifest.committee.iter().map(|m| m.institution).collect();
        let message = self.please_endorse(&statement, desk);
        desk.send(Recipients::Only(committee), message);
        // Decryptors answer within the time that members had to get ready.
        self.deadline = now.plus_ms(desk.setup.plan.deadlines.selecting_ms);
        self.step = Step::Endorsing(Proposed { statement, endorsed: Endorsed { manifest, digest }, endorsements: BTreeMap::new() });
    }

    fn recorded(mut self, now: Time, ticket: Ticket, index: LeafIndex, desk: &mut Desk) -> State {
        let Step::Recording { proposed, open, last } = &mut self.step else { return State::Selecting(self) };
        open.remove(&ticket);
        *last = (*last).max(index);
        if !open.is_empty() {
            return State::Selecting(self);
        }
        let eligible = proposed.endorsed.manifest.groups.iter().flat_map(|g| &g.eligible).copied().collect::<BTreeSet<_>>();
        let report = ServerMessage::Report {
            manifest: proposed.statement.clone(),
            endorsements: proposed.endorsements.values().cloned().collect(),
            log_size: last.0 + 1,
        };
        desk.send(Recipients::Only(eligible.into_iter().collect()), report.clone());
        reporting::Reporting::begin(now, proposed.endorsed.clone(), report, self.declined, desk)
    }

    /// Goes to the next step when this one is complete or its time is up.
    fn move_on(mut self, now: Time, desk: &mut Desk) -> State {
        let late = now >= self.deadline;
        match std::mem::replace(&mut self.step, Step::Signing) {
            Step::Gathering if self.announced && (late || self.waiting_for.is_empty()) => return self.gathered(now, desk),
            Step::Dealing(dealing) => match dealing.finish(late, desk) {
                Some(selected) => return self.selected(now, selected, desk),
                None => self.step = Step::Dealing(dealing),
            },
            Step::Endorsing(p) if p.endorsements.len() >= p.endorsed.manifest.size.quorum() => self.step = record(p, desk),
            Step::Endorsing(_) if late => return Ending::record(desk, End::Abandoned(Rejection::Late)),
            same @ (Step::Gathering | Step::Signing | Step::Endorsing(_) | Step::Recording { .. }) => self.step = same,
        }
        State::Selecting(self)
    }

    /// Who takes part is known; random groups are still to be dealt.
    fn gathered(mut self, now: Time, desk: &mut Desk) -> State {
        let (ready, plan) = (self.ready.iter().copied().collect::<Vec<_>>(), &desk.setup.plan);
        if ready.len() < plan.fewest() || ready.len() > usize::from(plan.n_max) {
            return Ending::record(desk, End::Abandoned(Rejection::Cohort));
        }
        if plan.robust().random_groups == 1 {
            let log_size = self.log_size;
            return self.selected(now, Ok(Selected { parts: vec![ready], log_size }), desk);
        }
        self.step = Step::Dealing(Box::new(Dealing::begin(ready, desk)));
        State::Selecting(self)
    }

    fn selected(mut self, now: Time, selected: Result<Selected, Rejection>, desk: &mut Desk) -> State {
        let manifest = selected.and_then(|selected| {
            self.log_size = selected.log_size;
            propose(now, &selected.parts, desk)
        });
        match manifest {
            Ok(manifest) => desk.actions.push_back(Action::SignManifest(Box::new(manifest))),
            Err(code) => return Ending::record(desk, End::Abandoned(code)),
        }
        self.step = Step::Signing;
        State::Selecting(self)
    }
}

fn propose(now: Time, parts: &[Vec<ClientId>], desk: &Desk) -> Result<Manifest, Rejection> {
    let s = &desk.setup;
    let members: Vec<_> = s.members.keys().copied().collect();
    let size = s.plan.committee;
    let d = s.plan.deadlines;
    let reporting_until = now.plus_ms(d.selecting_ms).plus_ms(d.reporting_ms);
    let certifying_until = reporting_until.plus_ms(d.certifying_ms);
    let opening_until = certifying_until.plus_ms(d.opening_ms);
    let prekey = |institution: ClientId| {
        let said = s.prekeys.get(&institution).map_or(&[][..], Vec::as_slice);
        let key = Prekeys::choose(said, s.round, opening_until).ok_or(Rejection::Unknown)?;
        Ok(CommitteeMember { institution, prekey: key.to_vec().into() })
    };
    let committee = committee_of(&members, s.previous_end, size).into_iter().map(prekey).collect::<Result<Vec<_>, _>>()?;
    if committee.len() != usize::from(size.decryptors) {
        return Err(Rejection::Cohort);
    }
    let groups = Manifest::groups_of(&s.plan, s.round, parts).map_err(|_| Rejection::BadParameters)?;
    if groups.is_empty() {
        // Of those that are ready, too few train any shard that has its turn.
        return Err(Rejection::Cohort);
    }
    Ok(Manifest {
        federation: s.plan.federation.clone(),
        task: s.task,
        round: s.round,
        plan: s.plan_digest,
        snapshot: s.snapshot,
        parameter_set: PS_A,
        groups,
        roster: roster_root(&members),
        committee,
        size,
        reporting_until,
        certifying_until,
        opening_until,
        log_size: s.log_size,
        previous_end: s.previous_end,
    })
}

fn record(proposed: Proposed, desk: &mut Desk) -> Step {
    let digest = proposed.endorsed.digest;
    let published = Draft::said(Actor::Server, None, proposed.statement.clone(), Facts::ManifestPublished { manifest: digest });
    let mut open = BTreeSet::from([desk.record(published)]);
    for (&who, statement) in &proposed.endorsements {
        let draft = Draft::said(Actor::Decryptor, Some(who), statement.clone(), Facts::ManifestEndorsed { manifest: digest });
        open.insert(desk.record(draft));
    }
    Step::Recording { proposed, open, last: LeafIndex(0) }
}
