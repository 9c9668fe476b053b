//! Opening: decryptors post summed key shares of certified sets only; enough of them give the sum (crypto.md C53 to C56).

use super::desk::Desk;
use super::{Action, Blamed, End, Ending, Endorsed, Event, Recipients, State};
use crate::codec;
use crate::entry::{Actor, AlarmKind, Draft, Facts};
use crate::hash::sha256;
use crate::ids::{CertificateDigest, ClientId, GroupId, HeaderDigest, LeafIndex, Position, Sha256, SnapshotDigest, Ticket};
use crate::manifest::{Certificate, OpeningPayload, SumResult};
use crate::messages::ServerMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Certified sums are opened.
pub(super) struct Opening {
    endorsed: Endorsed,
    groups: BTreeMap<GroupId, Group>,
    /// The checkpoint that covers the certificates.
    checkpoint: Vec<u8>,
    advancing: bool,
}

/// One certified group.
struct Group {
    certificate: Certificate,
    /// Where it stands in the log.
    index: LeafIndex,
    /// Openings on their way to the log.
    pending: BTreeMap<Ticket, (ClientId, OpeningPayload)>,
    /// Durable ones.
    posted: BTreeMap<ClientId, OpeningPayload>,
    /// Evidence that the log already has an alarm about.
    accused: BTreeSet<Sha256>,
    /// What the last attempt left open between an update and a decryptor.
    disputed: BTreeSet<(HeaderDigest, ClientId)>,
    progress: Progress,
}

enum Progress {
    /// Openings come in; so many were not enough, and why.
    Gathering { tried: usize, reason: Rejection },
    /// The driver decodes, extracts and checks.
    Decoding { with: usize },
    /// The result goes into the log.
    Recording { ticket: Ticket },
    /// Open.
    Opened,
    /// Never, and why.
    Failed(Rejection),
}

impl Opening {
    pub(super) fn begin(
        now: Time,
        endorsed: Endorsed,
        certificates: BTreeMap<GroupId, (Certificate, LeafIndex)>,
        checkpoint: Vec<u8>,
        desk: &mut Desk,
    ) -> State {
        let progress = || Progress::Gathering { tried: 0, reason: Rejection::NotCertified };
        let group = |(certificate, index)| Group {
            certificate,
            index,
            pending: BTreeMap::new(),
            posted: BTreeMap::new(),
            accused: BTreeSet::new(),
            disputed: BTreeSet::new(),
            progress: progress(),
        };
        let groups = certificates.into_iter().map(|(id, c)| (id, group(c))).collect();
        let this = Self { endorsed, groups, checkpoint, advancing: false };
        let committee: Vec<_> = this.endorsed.manifest.committee.iter().map(|m| m.institution).collect();
        for group in this.groups.values() {
            desk.send(Recipients::Only(committee.clone()), this.please_open(group));
        }
        this.move_on(now, desk)
    }

    fn please_open(&self, group: &Group) -> ServerMessage {
        ServerMessage::Certified {
            headers: group.certificate.headers().to_vec(),
            statements: group.certificate.statements().to_vec(),
            index: group.index,
            checkpoint: self.checkpoint.clone().into(),
        }
    }

    /// What a decryptor that is back may have missed.
    fn ask_again(&self, from: ClientId, desk: &mut Desk) {
        if self.endorsed.manifest.position(from).is_none() {
            return;
        }
        for group in self.groups.values().filter(|g| !g.has(from)) {
            desk.send(Recipients::Only(vec![from]), self.please_open(group));
        }
    }

    pub(super) fn deadline(&self) -> Time {
        if self.advancing { Time::NEVER } else { self.endorsed.manifest.opening_until }
    }

    pub(super) fn handle(mut self, now: Time, event: Event, desk: &mut Desk) -> State {
        match event {
            Event::Opened(from, statement) => self.posted(now, from, statement, desk),
            Event::Recorded { ticket, .. } => self.recorded(ticket),
            Event::SumOpened { group, result, blame } => {
                self.accuse(group, &blame, desk);
                self.opened(group, result, desk);
            }
            Event::Advanced(snapshot) if self.advancing => return close(snapshot, desk),
            Event::Back(from) => self.ask_again(from, desk),
            Event::Begin { .. } | Event::Commit { .. } => desk.refuse_late(&event),
            Event::Ready(_) | Event::Declined(..) | Event::Gone(_) | Event::Barred(_) | Event::Revealed(..) => {}
            Event::ManifestSigned(_) | Event::Endorsed(..) => {}
            Event::BlobReport { .. } | Event::SetSigned(..) | Event::Covered { .. } | Event::Advanced(_) | Event::Tick => {}
        }
        self.move_on(now, desk)
    }

    fn posted(&mut self, now: Time, from: ClientId, statement: Statement, desk: &mut Desk) {
        let position = self.endorsed.manifest.position(from);
        let (Some(key), Some(position)) = (desk.key(from), position) else { return desk.refuse(from, Rejection::WrongGroup) };
        let Ok(payload) = statement.verify_by::<OpeningPayload>(&key) else { return desk.refuse(from, Rejection::BadSignature) };
        if payload.position != position {
            return desk.refuse(from, Rejection::BadHeader);
        }
        if now >= self.endorsed.manifest.opening_until {
            return desk.refuse(from, Rejection::Late);
        }
        let digest = payload.certificate;
        let Some((id, group)) = self.find(digest) else { return desk.refuse(from, Rejection::NotCertified) };
        // One opening per decryptor and certificate, for ever (C54): the first one stands.
        if group.has(from) {
            return;
        }
        let facts = Facts::OpeningPosted { certificate: digest, position };
        let ticket = desk.record(Draft::said(Actor::Decryptor, Some(from), statement, facts).in_group(id));
        group.pending.insert(ticket, (from, payload));
    }

    fn find(&mut self, digest: CertificateDigest) -> Option<(GroupId, &mut Group)> {
        self.groups.iter_mut().find(|(_, g)| g.certificate.digest() == digest).map(|(&id, g)| (id, g))
    }

    fn recorded(&mut self, ticket: Ticket) {
        for group in self.groups.values_mut() {
            if let Some((who, payload)) = group.pending.remove(&ticket) {
                group.posted.insert(who, payload);
            }
            if matches!(group.progress, Progress::Recording { ticket: own } if own == ticket) {
                group.progress = Progress::Opened;
            }
        }
    }

    /// Alarms with evidence that stands in the log: the opening's or the header's digest (C62). Each once. What is only disputed waits until
    /// the group is over: further openings may still settle it.
    fn accuse(&mut self, id: GroupId, blame: &Blamed, desk: &mut Desk) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let committee = &self.endorsed.manifest.committee;
        let at = |p: &Position| usize::from(p.0).checked_sub(1).and_then(|at| committee.get(at)).map(|m| m.institution);
        group.disputed = blame.disputed.iter().filter_map(|(header, position)| Some((*header, at(position)?))).collect();
        for position in &blame.decryptors {
            let member = at(position);
            let opening = member.and_then(|m| group.posted.get(&m));
            let evidence = opening.map(|o| Sha256(sha256(&[&codec::encode(o)])));
            if let Some(evidence) = evidence.filter(|e| group.accused.insert(*e)) {
                let draft = Draft { institution: member, ..Draft::server(Facts::AuditAlarm { alarm: AlarmKind::FalseOpening, evidence }) };
                desk.record(draft.in_group(id).rejected(Rejection::BadSum));
            }
        }
        for evidence in blame.updates.iter().map(|h| Sha256(h.0)).filter(|e| group.accused.insert(*e)) {
            let draft = Draft::server(Facts::AuditAlarm { alarm: AlarmKind::FalseShares, evidence });
            desk.record(draft.in_group(id).rejected(Rejection::BadShares));
        }
    }

    fn opened(&mut self, id: GroupId, result: Result<Statement, Rejection>, desk: &mut Desk) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Progress::Decoding { with } = group.progress else { return };
        let said = result.and_then(|s| s.verify::<SumResult>().map(|r| (s, r)).map_err(|_| Rejection::BadSignature));
        let (statement, r) = match said {
            Ok(said) => said,
            Err(reason) => {
                group.progress = if is_final(reason) { group.fail(id, reason, desk) } else { Progress::Gathering { tried: with, reason } };
                return;
            }
        };
        let facts = Facts::SumOpened {
            certificate: group.certificate.digest(),
            sum_root: r.sum_root,
            key_sum: r.key_sum,
            values: r.values,
            residual_ratio: r.residual_ratio,
        };
        group.log_disputes(id, desk);
        let ticket = desk.record(Draft::said(Actor::Server, None, statement, facts).in_group(id));
        group.progress = Progress::Recording { ticket };
    }

    fn move_on(mut self, now: Time, desk: &mut Desk) -> State {
        let late = now >= self.endorsed.manifest.opening_until;
        let size = self.endorsed.manifest.size;
        for (&id, group) in &mut self.groups {
            group.step(id, size.quorum(), size.threshold(), usize::from(size.decryptors), late, desk);
        }
        let over = |g: &Group| matches!(g.progress, Progress::Opened | Progress::Failed(_));
        if self.advancing || !self.groups.values().all(over) {
            return State::Opening(self);
        }
        let opened = self.counting(desk);
        if opened.is_empty() {
            return Ending::record(desk, End::Abandoned(self.reason()));
        }
        desk.actions.push_back(Action::Advance(opened));
        self.advancing = true;
        State::Opening(self)
    }

    fn counting(&self, desk: &Desk) -> Vec<GroupId> {
        let opened: Vec<_> = self.groups.iter().filter(|(_, g)| matches!(g.progress, Progress::Opened)).map(|(&id, _)| id).collect();
        desk.setup.plan.counting(&opened)
    }

    /// Why no sum is left: what the first group failed of.
    fn reason(&self) -> Rejection {
        let failed = |g: &Group| if let Progress::Failed(code) = g.progress { Some(code) } else { None };
        self.groups.values().find_map(failed).unwrap_or(Rejection::NotCertified)
    }
}

impl Group {
    /// Whether this decryptor's opening came.
    fn has(&self, who: ClientId) -> bool {
        self.posted.contains_key(&who) || self.pending.values().any(|(w, _)| *w == who)
    }

    /// No sum, for ever: the entry with its code, and an alarm where what was opened is wrong. The certificate is the evidence: openings,
    /// headers and declarations that belong to it stand in the log (C62).
    fn fail(&self, id: GroupId, code: Rejection, desk: &mut Desk) -> Progress {
        self.log_disputes(id, desk);
        desk.record(Draft::server(Facts::SumFailed {}).in_group(id).failed(code));
        if is_false(code) {
            let evidence = Sha256(self.certificate.digest().0);
            desk.record(Draft::server(Facts::AuditAlarm { alarm: AlarmKind::FalseSum, evidence }).in_group(id).failed(code));
        }
        Progress::Failed(code)
    }

    /// Logs what stayed open between a client and a decryptor (C56): the two are named together, neither is accused alone.
    fn log_disputes(&self, id: GroupId, desk: &mut Desk) {
        for &(header, decryptor) in &self.disputed {
            let facts = Facts::AuditAlarm { alarm: AlarmKind::Disputed, evidence: Sha256(header.0) };
            let draft = Draft { institution: Some(decryptor), ..Draft::server(facts) };
            desk.record(draft.in_group(id).rejected(Rejection::BadShares));
        }
    }

    /// Tries to open when a quorum has posted, again with each further opening, and last at the deadline.
    fn step(&mut self, id: GroupId, quorum: usize, threshold: usize, all: usize, late: bool, desk: &mut Desk) {
        let Progress::Gathering { tried, reason } = self.progress else { return };
        let have = self.posted.len();
        let settled = self.pending.is_empty();
        let fresh = have > tried && settled && (have >= quorum || (late && have >= threshold));
        if fresh {
            let openings = self.posted.values().cloned().collect();
            desk.actions.push_back(Action::Open(id, Box::new(self.certificate.clone()), openings));
            self.progress = Progress::Decoding { with: have };
        } else if settled && (late || have == all) {
            self.progress = self.fail(id, reason, desk);
        }
    }
}

/// Whether something was opened and is wrong, as opposed to openings that did not come.
fn is_false(reason: Rejection) -> bool {
    matches!(reason, Rejection::BadSum) || is_final(reason)
}

/// Whether more openings cannot help: the sum was decoded, and it is the sum that is wrong.
fn is_final(reason: Rejection) -> bool {
    matches!(reason, Rejection::BadWeight | Rejection::NormBound)
}

fn close(snapshot: SnapshotDigest, desk: &mut Desk) -> State {
    Ending::record(desk, End::Closed(snapshot))
}
