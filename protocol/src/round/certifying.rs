//! Certifying: one exact set per group, signed by a quorum (crypto.md C42, C49 to C52), under a quorum checkpoint (C53).

use super::desk::Desk;
use super::reporting::{Accepted, Arrivals};
use super::{Action, End, Ending, Endorsed, Event, Recipients, State, opening};
use crate::codec;
use crate::entry::{Actor, AlarmKind, Draft, Facts};
use crate::ids::{ClientId, GroupId, HeaderDigest, LeafIndex, Sha256, Ticket};
use crate::manifest::{Certificate, SetPayload, set_digest};
use crate::messages::ServerMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// One exact set is agreed for each group.
pub(super) struct Certifying {
    endorsed: Endorsed,
    groups: BTreeMap<GroupId, Progress>,
    covering: Option<u64>,
    /// Whose second set stands in the log already.
    accused: BTreeSet<(GroupId, ClientId)>,
}

/// How far one group is.
enum Progress {
    /// Drops go into the log, before the set that they are not in.
    Dropping { set: Vec<HeaderDigest>, size: u64, open: BTreeSet<Ticket> },
    /// The proposal goes into the log.
    Proposing { set: Vec<HeaderDigest>, payload: SetPayload, ticket: Ticket },
    /// Decryptors sign.
    Signing { set: Vec<HeaderDigest>, payload: SetPayload, log_size: u64, signatures: BTreeMap<ClientId, Statement> },
    /// Signatures and certificate go into the log.
    Recording { certificate: Certificate, open: BTreeSet<Ticket>, last: LeafIndex },
    /// Done.
    Certified { certificate: Certificate, index: LeafIndex },
    /// No set, or no quorum.
    Failed(Rejection),
}

impl Certifying {
    /// `barred` are those whose membership ended before a set was proposed: what they sent is in none (I2).
    pub(super) fn begin(
        now: Time,
        endorsed: Endorsed,
        arrivals: BTreeMap<GroupId, Arrivals>,
        barred: &BTreeSet<ClientId>,
        desk: &mut Desk,
    ) -> State {
        let groups = arrivals.into_iter().map(|(id, a)| (id, choose(&endorsed, id, a, barred, desk))).collect();
        Self { endorsed, groups, covering: None, accused: BTreeSet::new() }.move_on(now, desk)
    }

    pub(super) fn deadline(&self) -> Time {
        let m = &self.endorsed.manifest;
        if self.covering.is_some() { m.opening_until } else { m.certifying_until }
    }

    pub(super) fn handle(mut self, now: Time, event: Event, desk: &mut Desk) -> State {
        match event {
            Event::Recorded { ticket, index, .. } => self.recorded(ticket, index, desk),
            Event::SetSigned(from, statement) => self.signed(from, statement, desk),
            Event::Covered { size, checkpoint } if self.covering.is_some_and(|needed| size >= needed) => {
                return self.open(now, checkpoint, desk);
            }
            Event::Back(from) => self.ask_again(from, desk),
            Event::Begin { .. } | Event::Commit { .. } => desk.refuse_late(&event),
            Event::Barred(from) => self.barred(from),
            Event::Ready(_) | Event::Declined(..) | Event::Gone(_) | Event::Revealed(..) => {}
            Event::ManifestSigned(_) | Event::Endorsed(..) => {}
            Event::BlobReport { .. } | Event::Opened(..) | Event::Covered { .. } => {}
            Event::SumOpened { .. } | Event::Advanced(_) | Event::Tick => {}
        }
        self.move_on(now, desk)
    }

    /// What a decryptor that is back may have missed.
    fn ask_again(&self, from: ClientId, desk: &mut Desk) {
        if self.endorsed.manifest.position(from).is_none() {
            return;
        }
        for progress in self.groups.values() {
            if let Progress::Signing { set, payload, log_size, signatures } = progress
                && !signatures.contains_key(&from)
            {
                desk.send(Recipients::Only(vec![from]), sign_set(set, payload, *log_size));
            }
        }
    }

    fn recorded(&mut self, ticket: Ticket, index: LeafIndex, desk: &mut Desk) {
        let committee: Vec<_> = self.endorsed.manifest.committee.iter().map(|m| m.institution).collect();
        for progress in self.groups.values_mut() {
            match progress {
                Progress::Dropping { size, open, .. } => {
                    if open.remove(&ticket) {
                        *size = (*size).max(index.0 + 1);
                    }
                }
                Progress::Recording { open, last, .. } => {
                    if open.remove(&ticket) {
                        *last = (*last).max(index);
                    }
                }
                Progress::Proposing { set, payload, ticket: own } if *own == ticket => {
                    let log_size = index.0 + 1;
                    desk.send(Recipients::Only(committee.clone()), sign_set(set, payload, log_size));
                    let (set, payload, signatures) = (std::mem::take(set), *payload, BTreeMap::new());
                    *progress = Progress::Signing { set, payload, log_size, signatures };
                }
                Progress::Proposing { .. } | Progress::Signing { .. } | Progress::Certified { .. } | Progress::Failed(_) => {}
            }
        }
    }

    fn signed(&mut self, from: ClientId, statement: Statement, desk: &mut Desk) {
        let Some(key) = desk.key(from).filter(|_| self.endorsed.manifest.position(from).is_some()) else {
            return desk.refuse(from, Rejection::WrongGroup);
        };
        let Ok(said) = statement.verify_by::<SetPayload>(&key) else { return desk.refuse(from, Rejection::BadSignature) };
        match self.groups.get_mut(&said.group) {
            Some(Progress::Signing { payload, signatures, .. }) if *payload == said => {
                signatures.entry(from).or_insert(statement);
            }
            // A decryptor's signature over another set of this round is evidence against it (C49); of another round it is only old.
            Some(Progress::Signing { .. }) if said.manifest == self.endorsed.digest && self.accused.insert((said.group, from)) => {
                let evidence = Sha256(crate::hash::sha256(&[&statement.payload]));
                let mut draft = Draft::server(Facts::AuditAlarm { alarm: AlarmKind::TwoSets, evidence });
                draft.institution = Some(from);
                desk.record(draft.rejected(Rejection::AlreadySigned));
            }
            Some(_) | None => {}
        }
    }

    /// A signature that is not in the log yet never will be. A proposed set stays: it was of members in good standing.
    fn barred(&mut self, from: ClientId) {
        for progress in self.groups.values_mut() {
            if let Progress::Signing { signatures, .. } = progress {
                signatures.remove(&from);
            }
        }
    }

    fn move_on(mut self, now: Time, desk: &mut Desk) -> State {
        let late = now >= self.endorsed.manifest.certifying_until;
        for (&id, progress) in &mut self.groups {
            *progress = step(&self.endorsed, id, std::mem::replace(progress, Progress::Failed(Rejection::Late)), late, desk);
        }
        let done = |p: &Progress| matches!(p, Progress::Certified { .. } | Progress::Failed(_));
        if self.covering.is_some() || !self.groups.values().all(done) {
            // A certificate that no quorum covers in time opens nothing.
            let stuck = self.covering.is_some() && now >= self.endorsed.manifest.opening_until;
            return if stuck { Ending::record(desk, End::Abandoned(Rejection::NotCertified)) } else { State::Certifying(self) };
        }
        let sizes = self.groups.values().filter_map(|p| if let Progress::Certified { index, .. } = p { Some(index.0 + 1) } else { None });
        let Some(size) = sizes.max() else { return Ending::record(desk, End::Abandoned(self.reason())) };
        self.covering = Some(size);
        desk.actions.push_back(Action::AwaitCover(size));
        State::Certifying(self)
    }

    /// Why no group has a certificate: what the first one failed of.
    fn reason(&self) -> Rejection {
        let failed = |p: &Progress| if let Progress::Failed(code) = p { Some(*code) } else { None };
        self.groups.values().find_map(failed).unwrap_or(Rejection::Cohort)
    }

    /// Asks the committee to open, showing the checkpoint that covers the certificates.
    fn open(self, now: Time, checkpoint: Vec<u8>, desk: &mut Desk) -> State {
        let certified = |(id, p)| if let Progress::Certified { certificate, index } = p { Some((id, (certificate, index))) } else { None };
        let certificates = self.groups.into_iter().filter_map(certified).collect();
        opening::Opening::begin(now, self.endorsed, certificates, checkpoint, desk)
    }
}

/// Takes one group as far as it can go without a new event.
fn step(endorsed: &Endorsed, id: GroupId, progress: Progress, late: bool, desk: &mut Desk) -> Progress {
    match progress {
        Progress::Signing { set, payload, signatures, .. } if signatures.len() >= endorsed.manifest.size.quorum() => {
            certify(endorsed, id, &set, &payload, &signatures, desk)
        }
        Progress::Recording { certificate, open, last } if open.is_empty() => Progress::Certified { certificate, index: last },
        Progress::Dropping { .. } | Progress::Proposing { .. } | Progress::Signing { .. } if late => fail(id, Rejection::Late, desk),
        Progress::Dropping { set, size, open } if open.is_empty() => propose(endorsed, id, set, size, desk),
        same @ (Progress::Dropping { .. } | Progress::Proposing { .. } | Progress::Signing { .. }) => same,
        same @ (Progress::Recording { .. } | Progress::Certified { .. } | Progress::Failed(_)) => same,
    }
}

fn fail(id: GroupId, code: Rejection, desk: &mut Desk) -> Progress {
    desk.record(Draft::server(Facts::SumFailed {}).in_group(id).failed(code));
    Progress::Failed(code)
}

fn sign_set(set: &[HeaderDigest], payload: &SetPayload, log_size: u64) -> ServerMessage {
    ServerMessage::SignSet { payload: codec::encode(payload).into(), headers: set.to_vec(), log_size }
}

/// Drops what barred institutions sent and what too few decryptors hold, and keeps the largest set that at least Q hold in full.
fn choose(endorsed: &Endorsed, id: GroupId, mut arrivals: Arrivals, barred: &BTreeSet<ClientId>, desk: &mut Desk) -> Progress {
    let mut open = BTreeSet::new();
    let mut leave_out = |header: &HeaderDigest, sent: &Accepted, why: Rejection| {
        let draft = Draft::server(Facts::UpdateDropped { header: *header }).in_group(id).rejected(why);
        open.insert(desk.record(Draft { institution: Some(sent.client), ..draft }));
    };
    for (header, sent) in arrivals.take_from(barred) {
        leave_out(&header, &sent, Rejection::Revoked);
    }
    let set = largest_held(endorsed, &arrivals);
    let size = arrivals.accepted.values().map(|a| a.index.0 + 1).max().unwrap_or(0);
    for (header, sent) in arrivals.accepted.iter().filter(|(h, _)| !set.contains(h)) {
        leave_out(header, sent, Rejection::BadShares);
    }
    let minimum = endorsed.manifest.group(id).map_or(u16::MAX, |g| g.cohort_min);
    if set.len() < usize::from(minimum) {
        return fail(id, Rejection::Cohort, desk);
    }
    Progress::Dropping { set, size, open }
}

/// The largest set of headers that at least Q decryptors hold in full: over all Q-subsets of the committee (c <= 16), the best intersection.
fn largest_held(endorsed: &Endorsed, arrivals: &Arrivals) -> Vec<HeaderDigest> {
    let committee: Vec<_> = endorsed.manifest.committee.iter().map(|m| m.institution).collect();
    let quorum = endorsed.manifest.size.quorum();
    let holders: Vec<(HeaderDigest, u32)> = arrivals
        .accepted
        .keys()
        .map(|h| {
            let held = arrivals.held.get(h);
            let bits = committee.iter().enumerate().filter(|(_, d)| held.is_some_and(|s| s.contains(d)));
            (*h, bits.fold(0u32, |mask, (i, _)| mask | (1 << i)))
        })
        .collect();
    let subsets = (0u32..1 << committee.len()).filter(|s| s.count_ones() as usize == quorum);
    let kept = |s: u32| holders.iter().filter(move |(_, mask)| mask & s == s).map(|(h, _)| *h);
    subsets.max_by_key(|&s| kept(s).count()).map(|s| kept(s).collect()).unwrap_or_default()
}

fn propose(endorsed: &Endorsed, id: GroupId, set: Vec<HeaderDigest>, log_size: u64, desk: &mut Desk) -> Progress {
    let digest = set_digest(endorsed.digest, id, &set);
    let count = u32::try_from(set.len()).unwrap_or(u32::MAX);
    let payload = SetPayload { manifest: endorsed.digest, group: id, set: digest, count, log_size };
    let ticket = desk.record(Draft::server(Facts::SetProposed { set: digest, count, log_size }).in_group(id));
    Progress::Proposing { set, payload, ticket }
}

fn certify(
    endorsed: &Endorsed,
    id: GroupId,
    set: &[HeaderDigest],
    payload: &SetPayload,
    signatures: &BTreeMap<ClientId, Statement>,
    desk: &mut Desk,
) -> Progress {
    let signed = signatures.iter().map(|(&who, statement)| (who, statement));
    let Ok(certificate) = Certificate::of(&endorsed.manifest, endorsed.digest, set, signed) else {
        return fail(id, Rejection::NotCertified, desk);
    };
    let mut open = BTreeSet::new();
    for (&who, statement) in signatures {
        let draft = Draft::said(Actor::Decryptor, Some(who), statement.clone(), Facts::SetSigned { set: payload.set }).in_group(id);
        open.insert(desk.record(draft));
    }
    let facts = Facts::SetCertified { set: payload.set, certificate: certificate.digest() };
    open.insert(desk.record(Draft::server(facts).in_group(id)));
    Progress::Recording { certificate, open, last: LeafIndex(0) }
}
