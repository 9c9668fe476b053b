//! Reporting: headers are checked before a chunk is taken, acceptance is spoken after it is durable (crypto.md C41, C42).

use super::desk::Desk;
use super::{Action, Endorsed, Event, Recipients, State, Verdict, certifying};
use crate::entry::{Actor, AlarmKind, Draft, Facts};
use crate::hash::sha256;
use crate::ids::{ClientId, GroupId, HeaderDigest, LeafIndex, Sha256, Ticket};
use crate::manifest::{GroupSpec, Header};
use crate::messages::ServerMessage;
use crate::params::Packing;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Updates of one group that are durable in the log.
#[derive(Clone, Default)]
pub(super) struct Arrivals {
    pub(super) accepted: BTreeMap<HeaderDigest, Accepted>,
    /// For each header, which decryptors hold its share.
    pub(super) held: BTreeMap<HeaderDigest, BTreeSet<ClientId>>,
    /// For each header, which decryptors have said anything.
    reported: BTreeMap<HeaderDigest, BTreeSet<ClientId>>,
}

/// One accepted update.
#[derive(Clone)]
pub(super) struct Accepted {
    pub(super) client: ClientId,
    header: Statement,
    pub(super) index: LeafIndex,
}

/// An acceptance on its way to the log.
struct Pending {
    client: ClientId,
    group: GroupId,
    digest: HeaderDigest,
    header: Statement,
    answers: Vec<Ticket>,
}

/// Updates come in.
pub(super) struct Reporting {
    endorsed: Endorsed,
    arrivals: BTreeMap<GroupId, Arrivals>,
    pending: BTreeMap<Ticket, Pending>,
    /// What every eligible client was sent.
    report: ServerMessage,
    /// Claimed before it is durable, so that a second header in flight is a duplicate.
    claimed: BTreeMap<(GroupId, ClientId), HeaderDigest>,
    declined: BTreeSet<ClientId>,
    /// Who may say nothing more: what they sent before will be in no set (I2).
    barred: BTreeSet<ClientId>,
    /// Whose second header stands in the log already: once is evidence, more would only make the log grow.
    accused: BTreeSet<(GroupId, ClientId)>,
}

impl Reporting {
    pub(super) fn begin(now: Time, endorsed: Endorsed, report: ServerMessage, declined: BTreeSet<ClientId>, desk: &mut Desk) -> State {
        let arrivals = endorsed.manifest.groups.iter().map(|g| (g.id, Arrivals::default())).collect();
        let (pending, claimed, barred, accused) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { endorsed, arrivals, pending, report, claimed, declined, barred, accused }.move_on(now, desk)
    }

    /// Blob reports may trail the last acceptance by a quarter of the certifying time.
    fn reports_until(&self) -> Time {
        let m = &self.endorsed.manifest;
        m.reporting_until.plus_ms(m.certifying_until.ms_since(m.reporting_until) / 4)
    }

    pub(super) fn deadline(&self) -> Time {
        self.reports_until()
    }

    pub(super) fn handle(mut self, now: Time, event: Event, desk: &mut Desk) -> State {
        match event {
            Event::Begin { from, header, answer } => self.begin_upload(now, from, &header, answer, desk),
            Event::Commit { from, header, answer } => self.commit(now, from, header, answer, desk),
            Event::Recorded { ticket, index, .. } => self.recorded(ticket, index, desk),
            Event::BlobReport { from, group, header, trouble } => self.report(from, group, header, trouble),
            Event::Declined(from, statement) => self.decline(from, statement, desk),
            Event::Barred(from) => {
                self.declined.insert(from);
                self.barred.insert(from);
            }
            Event::Back(from) => self.ask_again(from, desk),
            Event::Ready(_) | Event::Gone(_) | Event::Revealed(..) | Event::ManifestSigned(_) | Event::Endorsed(..) => {}
            Event::SetSigned(..) | Event::Opened(..) | Event::Covered { .. } => {}
            Event::SumOpened { .. } | Event::Advanced(_) | Event::Tick => {}
        }
        self.move_on(now, desk)
    }

    fn move_on(self, now: Time, desk: &mut Desk) -> State {
        if self.pending.is_empty() && (self.complete() || now >= self.reports_until()) {
            return certifying::Certifying::begin(now, self.endorsed, self.arrivals, &self.barred, desk);
        }
        State::Reporting(self)
    }

    /// What a client or decryptor that is back may have missed.
    fn ask_again(&self, from: ClientId, desk: &mut Desk) {
        let m = &self.endorsed.manifest;
        if m.groups.iter().any(|g| g.eligible.contains(&from) && !self.claimed.contains_key(&(g.id, from))) {
            // A client that began anew has forgotten the call; one that has not ignores it.
            desk.send(Recipients::Only(vec![from]), desk.round_opened());
            desk.send(Recipients::Only(vec![from]), self.report.clone());
        }
        if m.position(from).is_none() {
            return;
        }
        for arrivals in self.arrivals.values() {
            let reported = |h| arrivals.reported.get(h).is_some_and(|s| s.contains(&from));
            for (_, a) in arrivals.accepted.iter().filter(|(h, _)| !reported(*h)) {
                desk.send(Recipients::Only(vec![from]), ServerMessage::BlobReady { header: a.header.clone(), index: a.index });
            }
        }
    }

    /// Everybody who may contribute has or will not, and one quorum of decryptors holds every share.
    fn complete(&self) -> bool {
        self.endorsed.manifest.groups.iter().all(|g| {
            let Some(arrivals) = self.arrivals.get(&g.id) else { return false };
            let has = |c: &ClientId| arrivals.accepted.values().any(|a| a.client == *c);
            g.eligible.iter().all(|c| self.declined.contains(c) || has(c)) && self.settled(arrivals)
        })
    }

    /// The same quorum holds all shares, or nobody has more to say. A quorum per header is not enough: two quorums that differ
    /// share too few decryptors, and an update would be dropped only because a report was still on its way.
    fn settled(&self, arrivals: &Arrivals) -> bool {
        let m = &self.endorsed.manifest;
        let all = |map: &BTreeMap<HeaderDigest, BTreeSet<ClientId>>, d: ClientId| {
            arrivals.accepted.keys().all(|h| map.get(h).is_some_and(|s| s.contains(&d)))
        };
        let count = |map| m.committee.iter().filter(|d| all(map, d.institution)).count();
        count(&arrivals.held) >= m.size.quorum() || count(&arrivals.reported) >= m.committee.len()
    }

    /// Checks a header against manifest, roster, clock and limits. Changes nothing.
    fn check(&self, now: Time, from: ClientId, statement: &Statement, desk: &Desk) -> Result<Header, Rejection> {
        let key = desk.key(from).ok_or(Rejection::NotEnrolled)?;
        let header: Header = statement.verify_by(&key).map_err(|_| Rejection::BadSignature)?;
        let core = &header.core;
        if core.manifest != self.endorsed.digest {
            return Err(Rejection::WrongManifest);
        }
        let group = self.endorsed.manifest.group(core.group).ok_or(Rejection::WrongGroup)?;
        if core.institution != from || !group.eligible.contains(&from) {
            return Err(Rejection::WrongGroup);
        }
        check_sizes(group, &header, self.endorsed.manifest.committee.len())?;
        let digest = Header::digest(&statement.payload);
        match self.claimed.get(&(core.group, from)) {
            Some(&known) if known == digest => Ok(header),
            Some(_) => Err(Rejection::Duplicate),
            // At or after the deadline nothing new is taken; what is known may still be asked for.
            None if now >= self.endorsed.manifest.reporting_until => Err(Rejection::Late),
            None => Ok(header),
        }
    }

    fn begin_upload(&mut self, now: Time, from: ClientId, statement: &Statement, answer: Ticket, desk: &mut Desk) {
        let verdict = self.check(now, from, statement, desk);
        self.note_duplicate(from, statement, verdict.as_ref().err().copied(), desk);
        let verdict = verdict.map(|_| desk.receipt(from, statement).map_or(Verdict::Proceed, Verdict::Accepted));
        desk.actions.push_back(Action::Answer(answer, verdict));
    }

    fn commit(&mut self, now: Time, from: ClientId, statement: Statement, answer: Ticket, desk: &mut Desk) {
        let header = match self.check(now, from, &statement, desk) {
            Ok(header) => header,
            Err(code) => {
                self.note_duplicate(from, &statement, Some(code), desk);
                return desk.actions.push_back(Action::Answer(answer, Err(code)));
            }
        };
        let (group, digest) = (header.core.group, Header::digest(&statement.payload));
        if let Some(index) = desk.receipt(from, &statement) {
            return desk.actions.push_back(Action::Answer(answer, Ok(Verdict::Accepted(index))));
        }
        if let Some(pending) = self.pending.values_mut().find(|p| p.digest == digest) {
            return pending.answers.push(answer);
        }
        self.claimed.insert((group, from), digest);
        let facts = Facts::UpdateAccepted { header: digest, body_root: header.core.body_root, body_bytes: header.core.body_bytes };
        let ticket = desk.record(Draft::said(Actor::Institution, Some(from), statement.clone(), facts).in_group(group));
        self.pending.insert(ticket, Pending { client: from, group, digest, header: statement, answers: vec![answer] });
    }

    /// Two different headers for one (round, group) are evidence (crypto.md C40). Only a verified signature counts.
    fn note_duplicate(&mut self, from: ClientId, statement: &Statement, code: Option<Rejection>, desk: &mut Desk) {
        let header = statement.verify::<Header>();
        let fresh = code == Some(Rejection::Duplicate) && header.is_ok_and(|h| self.accused.insert((h.core.group, from)));
        if fresh {
            let evidence = Sha256(sha256(&[&statement.payload]));
            let mut draft = Draft::server(Facts::AuditAlarm { alarm: AlarmKind::TwoHeaders, evidence });
            draft.institution = Some(from);
            desk.record(draft.rejected(Rejection::Duplicate));
        }
    }

    fn recorded(&mut self, ticket: Ticket, index: LeafIndex, desk: &mut Desk) {
        let Some(p) = self.pending.remove(&ticket) else { return };
        if let Some(arrivals) = self.arrivals.get_mut(&p.group) {
            arrivals.accepted.insert(p.digest, Accepted { client: p.client, header: p.header.clone(), index });
        }
        desk.receipts.insert(p.digest, (p.client, index));
        desk.actions.push_back(Action::Accumulate(p.group, p.digest));
        for answer in p.answers {
            desk.actions.push_back(Action::Answer(answer, Ok(Verdict::Accepted(index))));
        }
        let committee = self.endorsed.manifest.committee.iter().map(|m| m.institution).collect();
        desk.send(Recipients::Only(committee), ServerMessage::BlobReady { header: p.header, index });
    }

    fn report(&mut self, from: ClientId, group: GroupId, header: HeaderDigest, trouble: Option<Rejection>) {
        if self.endorsed.manifest.position(from).is_none() {
            return;
        }
        let Some(arrivals) = self.arrivals.get_mut(&group).filter(|a| a.accepted.contains_key(&header)) else { return };
        arrivals.reported.entry(header).or_default().insert(from);
        if trouble.is_none() {
            arrivals.held.entry(header).or_default().insert(from);
        }
    }

    /// A client that cannot go on says so; the others no longer wait for it.
    fn decline(&mut self, from: ClientId, statement: Statement, desk: &mut Desk) {
        let known = desk.key(from).and_then(|key| statement.verify_by::<crate::manifest::Decline>(&key).ok());
        let Some(decline) = known.filter(|d| d.task == desk.setup.task && d.round == desk.setup.round) else {
            return desk.refuse(from, Rejection::BadSignature);
        };
        let has_update = self.claimed.keys().any(|&(_, c)| c == from);
        if !has_update && self.declined.insert(from) {
            desk.record(Draft::said(Actor::Institution, Some(from), statement, Facts::RoundDeclined {}).rejected(decline.reason));
        }
    }
}

impl Arrivals {
    /// Takes out what these institutions sent.
    pub(super) fn take_from(&mut self, barred: &BTreeSet<ClientId>) -> BTreeMap<HeaderDigest, Accepted> {
        let is_theirs = |(_, a): &(HeaderDigest, Accepted)| barred.contains(&a.client);
        let (theirs, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.accepted).into_iter().partition(is_theirs);
        self.accepted = rest;
        theirs
    }
}

/// Sizes follow from the manifest; the header only repeats them (T32).
fn check_sizes(group: &GroupSpec, header: &Header, committee: usize) -> Result<(), Rejection> {
    let polynomials = group.polynomials().map_err(|_| Rejection::BadParameters)?;
    let core = &header.core;
    let same = core.polynomials == polynomials
        && core.chunks == Packing::chunks(polynomials)
        && core.body_bytes == polynomials * group.packing.polynomial_bytes()
        && header.blobs.len() == committee;
    if same { Ok(()) } else { Err(Rejection::BadHeader) }
}
