//! A decryptor's duties: endorse one manifest per round, sign one set per group, open only what is certified (crypto.md section 5).
//! Knows no key, no cipher and no file: the driver signs, opens blobs and persists.

use crate::codec;
use crate::history::{History, RoundHistory};
use crate::ids::{
    Address, CertificateDigest, ClientId, CoreDigest, GroupId, HeaderDigest, ManifestDigest, Position, RoundId, TaskId, Ticket,
};
use crate::manifest::{Certificate, Endorsement, Header, Manifest, OpeningPayload, SetPayload, certificate_digest, set_digest};
use crate::messages::ClientMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use minicbor::{CborLen, Decode, Encode};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a decryptor must never forget while its round is open (C44). Persisted before the statement that it allows is sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum Record {
    /// Endorsed this manifest for (task, round).
    #[n(0)]
    Endorsed {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Round.
        #[n(1)]
        round: RoundId,
        /// Signed manifest.
        #[n(2)]
        manifest: Statement,
    },
    /// Signed this set.
    #[n(1)]
    Signed {
        /// What was signed.
        #[n(0)]
        payload: SetPayload,
    },
    /// Posted this opening; the same bytes for ever (C54).
    #[n(2)]
    Opened {
        /// Manifest.
        #[n(0)]
        manifest: ManifestDigest,
        /// Group.
        #[n(1)]
        group: GroupId,
        /// Signed opening.
        #[n(2)]
        opening: Statement,
    },
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server asks to reveal the number for the random groups of a round.
    Reveal(TaskId, RoundId),
    /// The server asks to endorse.
    Endorse {
        /// Signed manifest.
        manifest: Statement,
        /// Entries of this institution's mirror that are under a quorum's checkpoint.
        covered: u64,
    },
    /// An accepted update has a blob for this decryptor.
    BlobReady(Statement),
    /// The driver holds the share durably, or could not get it.
    Share {
        /// Manifest.
        manifest: ManifestDigest,
        /// Group.
        group: GroupId,
        /// Update.
        header: HeaderDigest,
        /// None when held.
        trouble: Option<Rejection>,
    },
    /// The server asks to sign a set.
    SignSet {
        /// Canonical bytes of a [`SetPayload`].
        payload: Vec<u8>,
        /// Its members.
        headers: Vec<HeaderDigest>,
    },
    /// The server asks to open.
    Certified {
        /// Members.
        headers: Vec<HeaderDigest>,
        /// Signed sets.
        statements: Vec<Statement>,
        /// Entries of this institution's mirror that are under a quorum's checkpoint. Where the certificate stands among them is the
        /// mirror's to say, never the server's (A33c).
        covered: u64,
    },
    /// The driver made the opening that [`Action::Compute`] asked for.
    Computed(Statement),
    /// A record is durable.
    Persisted(Ticket),
    /// The round's end stands in the mirror under a quorum checkpoint.
    Ended(TaskId, RoundId),
}

/// Where a share is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareSource {
    /// Manifest.
    pub manifest: ManifestDigest,
    /// Task.
    pub task: TaskId,
    /// Round: names the prekey.
    pub round: RoundId,
    /// Group.
    pub group: GroupId,
    /// Update.
    pub header: HeaderDigest,
    /// What the blob is bound to.
    pub core: CoreDigest,
    /// This decryptor's place.
    pub position: Position,
    /// The blob.
    pub blob: Address,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Make durable and answer with [`Event::Persisted`].
    Persist(Ticket, Box<Record>),
    /// Reveal the number of this round, the same for ever, signed with the institution's key, as `Revealed`.
    Reveal(TaskId, RoundId),
    /// Sign with the institution's key and send as `Endorsed`.
    SignEndorsement(Endorsement),
    /// Sign with the institution's key and send as `SetSigned`.
    SignSet(SetPayload),
    /// Fetch, open, store durably; answer with [`Event::Share`].
    Fetch(ShareSource),
    /// Add the shares of the certified set and answer with [`Event::Computed`].
    Compute(Box<Certificate>, Position),
    /// Send as it is.
    Send(ClientMessage),
    /// Delete prekey, shares and check data of this round (C57).
    Forget(TaskId, RoundId, ManifestDigest),
}

/// One round's duty.
struct Duty {
    manifest: Manifest,
    position: Position,
    held: BTreeMap<GroupId, BTreeMap<HeaderDigest, Option<Rejection>>>,
    signed: BTreeMap<GroupId, SetPayload>,
    opened: BTreeMap<GroupId, Statement>,
    computing: BTreeMap<GroupId, CertificateDigest>,
}

/// A decryptor.
pub struct Decryptor {
    me: ClientId,
    duties: BTreeMap<ManifestDigest, Duty>,
    endorsed: BTreeMap<(TaskId, RoundId), ManifestDigest>,
    persisting: BTreeMap<Ticket, Record>,
    next_ticket: u64,
    actions: VecDeque<Action>,
}

impl Decryptor {
    /// A decryptor with the records of its open rounds. An institution without any starts with none.
    pub fn restore(me: ClientId, records: &[Record]) -> Self {
        let mut this = Self {
            me,
            duties: BTreeMap::new(),
            endorsed: BTreeMap::new(),
            persisting: BTreeMap::new(),
            next_ticket: 0,
            actions: VecDeque::new(),
        };
        for record in records {
            this.remember(record);
        }
        this
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes in one event at `now`; `mirror` is this institution's own copy of the log.
    pub fn handle(&mut self, now: Time, mirror: &History, event: Event) {
        match event {
            // Only after our own mirror has the join list: a number that is known earlier lets the server choose who joins (C37).
            Event::Reveal(task, round) if mirror.may_reveal(self.me, task, round) => self.actions.push_back(Action::Reveal(task, round)),
            Event::Reveal(..) => {}
            Event::Endorse { manifest, covered } => self.endorse(now, mirror, &manifest, covered),
            Event::BlobReady(header) => self.blob_ready(mirror, &header),
            Event::Share { manifest, group, header, trouble } => self.share(manifest, group, header, trouble),
            Event::SignSet { payload, headers } => self.sign_set(now, mirror, &payload, &headers),
            Event::Certified { headers, statements, covered } => self.certified(now, mirror, &headers, &statements, covered),
            Event::Computed(opening) => self.computed(opening),
            Event::Persisted(ticket) => self.persisted(ticket),
            Event::Ended(task, round) => self.ended(task, round),
        }
    }

    fn remember(&mut self, record: &Record) {
        match record {
            Record::Endorsed { task, round, manifest: statement } => {
                let digest = Manifest::digest(&statement.payload);
                self.endorsed.insert((*task, *round), digest);
                let Ok(manifest) = statement.verify::<Manifest>() else { return };
                let Some(position) = manifest.position(self.me) else { return };
                let duty = Duty {
                    manifest,
                    position,
                    held: BTreeMap::new(),
                    signed: BTreeMap::new(),
                    opened: BTreeMap::new(),
                    computing: BTreeMap::new(),
                };
                self.duties.entry(digest).or_insert(duty);
            }
            Record::Signed { payload } => {
                if let Some(duty) = self.duties.get_mut(&payload.manifest) {
                    duty.signed.insert(payload.group, *payload);
                }
            }
            Record::Opened { manifest, group, opening } => {
                if let Some(duty) = self.duties.get_mut(manifest) {
                    // The first opening stands (C54).
                    duty.opened.entry(*group).or_insert_with(|| opening.clone());
                }
            }
        }
    }

    fn persist(&mut self, record: Record) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.persisting.insert(ticket, record.clone());
        self.actions.push_back(Action::Persist(ticket, Box::new(record)));
    }

    fn is_persisting(&self, what: impl Fn(&Record) -> bool) -> bool {
        self.persisting.values().any(what)
    }

    fn refuse(&mut self, manifest: ManifestDigest, group: Option<GroupId>, reason: Rejection) {
        self.actions.push_back(Action::Send(ClientMessage::Refused { manifest, group, reason }));
    }

    /// C38: at most one manifest per (task, round), and only the one that log and plan give.
    fn endorse(&mut self, now: Time, mirror: &History, statement: &Statement, covered: u64) {
        let digest = Manifest::digest(&statement.payload);
        let manifest = match mirror.read_manifest(statement) {
            Ok(m) => m,
            Err(_) => return self.refuse(digest, None, Rejection::BadSignature),
        };
        match self.endorsed.get(&(manifest.task, manifest.round)) {
            // Asked again while the record is on its way to the disk: the answer follows it (C44).
            Some(&known)
                if known == digest && self.is_persisting(|r| matches!(r, Record::Endorsed { manifest, .. } if manifest == statement)) =>
            {
                return;
            }
            Some(&known) if known == digest => return self.actions.push_back(Action::SignEndorsement(Endorsement { manifest: digest })),
            Some(_) => return self.refuse(digest, None, Rejection::AlreadySigned),
            None => {}
        }
        let in_time = now < manifest.reporting_until && manifest.reporting_until < manifest.certifying_until;
        // The history knows that the checkpoint which the manifest names covers the end of the round before; that a quorum has cosigned it, so
        // that nobody was shown another end and thus another committee, only this institution's own mirror.
        let cosigned = manifest.log_size <= covered;
        if manifest.position(self.me).is_none() || !mirror.agrees_with(&manifest) || !in_time || !cosigned {
            return self.refuse(digest, None, Rejection::WrongManifest);
        }
        // Claimed before it is durable, so that a second manifest in flight is refused and no blob finds nobody at home.
        let record = Record::Endorsed { task: manifest.task, round: manifest.round, manifest: statement.clone() };
        self.remember(&record);
        self.persist(record);
    }

    fn blob_ready(&mut self, mirror: &History, statement: &Statement) {
        let Ok(header) = statement.verify::<Header>() else { return };
        let digest = Header::digest(&statement.payload);
        let core = &header.core;
        let member = mirror.speaker(&statement.key) == Some(core.institution);
        let Some(duty) = self.duties.get(&core.manifest).filter(|_| member) else { return };
        let eligible = duty.manifest.group(core.group).is_some_and(|g| g.eligible.contains(&core.institution));
        if !eligible || header.blobs.len() != duty.manifest.committee.len() {
            return;
        }
        if duty.holds_all(core.group, &[digest]) {
            // The report was lost, not the share.
            return self.share(core.manifest, core.group, digest, None);
        }
        let Some(blob) = header.blobs.get(usize::from(duty.position.0) - 1) else { return };
        let source = ShareSource {
            manifest: core.manifest,
            task: duty.manifest.task,
            round: duty.manifest.round,
            group: core.group,
            header: digest,
            core: core.digest(),
            position: duty.position,
            blob: *blob,
        };
        self.actions.push_back(Action::Fetch(source));
    }

    fn share(&mut self, manifest: ManifestDigest, group: GroupId, header: HeaderDigest, trouble: Option<Rejection>) {
        let Some(duty) = self.duties.get_mut(&manifest) else { return };
        duty.held.entry(group).or_default().insert(header, trouble);
        self.actions.push_back(Action::Send(ClientMessage::BlobReport { manifest, group, header, trouble }));
    }

    fn sign_set(&mut self, now: Time, mirror: &History, bytes: &[u8], headers: &[HeaderDigest]) {
        let Ok(payload) = codec::decode::<SetPayload>(bytes, 1024) else { return };
        let Some(duty) = self.duties.get(&payload.manifest) else {
            return self.refuse(payload.manifest, Some(payload.group), Rejection::WrongManifest);
        };
        match duty.signed.get(&payload.group) {
            Some(known) if *known == payload && self.is_persisting(|r| matches!(r, Record::Signed { payload: p } if *p == payload)) => {
                return;
            }
            Some(known) if *known == payload => return self.actions.push_back(Action::SignSet(payload)),
            Some(_) => return self.refuse(payload.manifest, Some(payload.group), Rejection::AlreadySigned),
            None => {}
        }
        if duty.opens_another(&payload, bytes) {
            return self.refuse(payload.manifest, Some(payload.group), Rejection::AlreadySigned);
        }
        if let Err(reason) = duty.check_set(now, mirror, &payload, headers) {
            return self.refuse(payload.manifest, Some(payload.group), reason);
        }
        if let Some(duty) = self.duties.get_mut(&payload.manifest) {
            // Claimed before it is durable, so that a second set in flight is refused.
            duty.signed.insert(payload.group, payload);
        }
        self.persist(Record::Signed { payload });
    }

    fn certified(&mut self, now: Time, mirror: &History, headers: &[HeaderDigest], statements: &[Statement], covered: u64) {
        let Some(said) = statements.first().and_then(|s| s.verify::<SetPayload>().ok()) else { return };
        let Some(duty) = self.duties.get_mut(&said.manifest) else {
            return self.refuse(said.manifest, Some(said.group), Rejection::WrongManifest);
        };
        if let Some(opening) = duty.opened.get(&said.group) {
            // The same bytes again, whatever is asked (C54).
            return self.actions.push_back(Action::Send(ClientMessage::Opened { statement: opening.clone() }));
        }
        match duty.check_certificate(now, mirror, &said, headers, statements).and_then(|c| duty.check_covered(mirror, covered, c)) {
            Ok(certificate) => {
                if let Entry::Vacant(free) = duty.computing.entry(said.group) {
                    free.insert(certificate.digest());
                    self.actions.push_back(Action::Compute(Box::new(certificate), duty.position));
                }
            }
            Err(reason) => self.refuse(said.manifest, Some(said.group), reason),
        }
    }

    fn computed(&mut self, opening: Statement) {
        let Ok(said) = opening.verify::<OpeningPayload>() else { return };
        let found = self.duties.iter().find_map(|(m, d)| {
            let group = d.computing.iter().find(|(_, c)| **c == said.certificate)?;
            Some((*m, *group.0))
        });
        let Some((manifest, group)) = found else { return };
        let known = self.duties.get(&manifest).is_some_and(|d| d.opened.contains_key(&group));
        if known || self.is_persisting(|r| matches!(r, Record::Opened { manifest: m, group: g, .. } if (*m, *g) == (manifest, group))) {
            return;
        }
        self.persist(Record::Opened { manifest, group, opening });
    }

    fn persisted(&mut self, ticket: Ticket) {
        let Some(record) = self.persisting.remove(&ticket) else { return };
        self.remember(&record);
        self.actions.push_back(match record {
            Record::Endorsed { manifest, .. } => Action::SignEndorsement(Endorsement { manifest: Manifest::digest(&manifest.payload) }),
            Record::Signed { payload } => Action::SignSet(payload),
            Record::Opened { opening, .. } => Action::Send(ClientMessage::Opened { statement: opening }),
        });
    }

    fn ended(&mut self, task: TaskId, round: RoundId) {
        let over: Vec<_> =
            self.duties.iter().filter(|(_, d)| d.manifest.task == task && d.manifest.round == round).map(|(m, _)| *m).collect();
        for manifest in over {
            self.duties.remove(&manifest);
            self.actions.push_back(Action::Forget(task, round, manifest));
        }
    }
}

impl Duty {
    fn round<'a>(&self, mirror: &'a History) -> Option<&'a RoundHistory> {
        mirror.task(self.manifest.task)?.rounds().get(&self.manifest.round)
    }

    fn holds_all(&self, group: GroupId, headers: &[HeaderDigest]) -> bool {
        let held = self.held.get(&group);
        headers.iter().all(|h| held.is_some_and(|m| m.get(h) == Some(&None)))
    }

    /// Whether it has opened, or is about to open, another set of this group than the payload's: then it has spoken for that one (C49, C54).
    fn opens_another(&self, payload: &SetPayload, bytes: &[u8]) -> bool {
        let this = certificate_digest(bytes);
        let opened = self.opened.get(&payload.group).and_then(|s| s.verify::<OpeningPayload>().ok()).map(|o| o.certificate);
        opened.into_iter().chain(self.computing.get(&payload.group).copied()).any(|other| other != this)
    }

    /// C50, all on this institution's own mirror and its own store.
    fn check_set(&self, now: Time, mirror: &History, payload: &SetPayload, headers: &[HeaderDigest]) -> Result<(), Rejection> {
        if now >= self.manifest.certifying_until {
            return Err(Rejection::Late);
        }
        self.check_members(mirror, payload, headers)
    }

    /// C50 without the deadline for signing: what must hold of a set before this decryptor signs it, and before it opens one that others
    /// signed (C53).
    fn check_members(&self, mirror: &History, payload: &SetPayload, headers: &[HeaderDigest]) -> Result<(), Rejection> {
        let round = self.round(mirror).ok_or(Rejection::WrongRound)?;
        let spec = self.manifest.group(payload.group).ok_or(Rejection::WrongGroup)?;
        let group = round.groups.get(&payload.group).ok_or(Rejection::WrongGroup)?;
        let manifested = round.manifest.as_ref().is_some_and(|(_, d)| *d == payload.manifest);
        if !manifested || round.endorsed.len() < self.manifest.size.quorum() {
            return Err(Rejection::WrongManifest);
        }
        let limits = u32::from(spec.cohort_min)..=u32::from(spec.packing.n_max);
        // The log shows a signature that this decryptor has forgotten: its disk went back in time (C49).
        let me = self.manifest.decryptor(self.position).map(|m| m.institution);
        let forgotten = me.and_then(|me| group.signed.get(&me)).is_some_and(|s| s.payload != codec::encode(payload));
        if forgotten {
            return Err(Rejection::AlreadySigned);
        }
        if !limits.contains(&payload.count) || usize::try_from(payload.count) != Ok(headers.len()) {
            return Err(Rejection::Cohort);
        }
        // Distinct, enrolled, eligible, accepted and not dropped: exactly what the mirror's members of the group are.
        let same = group.members() == headers && group.proposed == Some(payload.set);
        if !same || set_digest(payload.manifest, payload.group, headers) != payload.set {
            return Err(Rejection::NotCertified);
        }
        // Noise is calibrated by institutions, not by headers (privacy.md D11): with one twice, the limits above would count too many.
        let institutions: BTreeSet<ClientId> = headers.iter().filter_map(|h| group.accepted.get(h)).map(|(who, ..)| *who).collect();
        let enrolled = institutions.iter().filter(|who| mirror.members().contains_key(who)).count();
        if enrolled != headers.len() {
            return Err(Rejection::Cohort);
        }
        if self.holds_all(payload.group, headers) { Ok(()) } else { Err(Rejection::BadShares) }
    }

    /// C53: a valid certificate, in the mirror, over a set for which everything holds that its signers should have looked at. A quorum's word
    /// is not enough: more than d of them may be wrong in the same way, and an opening cannot be taken back.
    fn check_certificate(
        &self,
        now: Time,
        mirror: &History,
        said: &SetPayload,
        headers: &[HeaderDigest],
        statements: &[Statement],
    ) -> Result<Certificate, Rejection> {
        if now >= self.manifest.opening_until {
            return Err(Rejection::Late);
        }
        let signed = statements.iter().filter_map(|s| Some((mirror.speaker(&s.key)?, s)));
        let certificate = Certificate::of(&self.manifest, said.manifest, headers, signed).map_err(|_| Rejection::NotCertified)?;
        let logged = self.round(mirror).and_then(|r| r.groups.get(&said.group)).and_then(|g| g.certificate.as_ref());
        if logged.map(Certificate::digest) != Some(certificate.digest()) {
            return Err(Rejection::NotCertified);
        }
        // Having signed another set would mean two certificates; a decryptor that did not sign may open (C53).
        if self.signed.get(&said.group).is_some_and(|s| s != said) {
            return Err(Rejection::AlreadySigned);
        }
        self.check_members(mirror, said, headers).map(|()| certificate)
    }

    /// C53: the certificate's entry is under a quorum's checkpoint, on this institution's own mirror (A33c).
    fn check_covered(&self, mirror: &History, covered: u64, certificate: Certificate) -> Result<Certificate, Rejection> {
        let group = self.round(mirror).and_then(|r| r.groups.get(&certificate.payload().group));
        let at = group.and_then(|g| g.certified_at);
        if at.is_some_and(|at| at.0 < covered) { Ok(certificate) } else { Err(Rejection::NotCertified) }
    }
}
