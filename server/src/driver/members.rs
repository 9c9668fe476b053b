//! Members and newcomers: identity, connections, requests outside of rounds, enrolment.

use super::{Answer, Door, Driver, DriverError, Link, Reply, Waiting, now};
use crate::evidence::{self, Shown};
use crate::identity;
use crate::publish::artefact_path;
use crate::store::Invitation;
use audit::key::{KeyType, VerifierKey};
use audit::tree::TreeHead;
use hmac::{Hmac, KeyInit, Mac};
use protocol::data_manifest::DataManifest;
use protocol::entry::{Actor, Decision, Draft, Facts, Right, Ruling};
use protocol::hash::sha256;
use protocol::ids::{ClientId, LeafIndex, Sha256, Ticket};
use protocol::manifest::Prekeys;
use protocol::membership::{DatasetWithdrawal, Departure, KeyPurpose, Standing};
use protocol::messages::{ClientMessage, JoinMessage, JoinReply, Request, Response, ServerMessage};
use protocol::reject::Rejection;
use protocol::release::SiteAnchor;
use protocol::rotation::WitnessKeyRotation;
use protocol::round::Event;
use protocol::site_policy::SitePolicyDeclaration;
use protocol::statement::{Statement, StatementKind};
use protocol::trust::{BudgetDeclaration, DatasetDeclaration, JoinRequest, Membership};

/// Denials of one right that are recorded in one minute: an attack shows, ten thousand tries do not fill a disk, and strangers at one door do not
/// hide what is tried at another.
const MAX_DENIALS: u32 = 10;
/// Statements of its own accord that are taken from one member in one minute. It tells a handful when it connects; more would only make the log grow.
const MAX_DECLARATIONS: u32 = 120;
/// Requests to join that one token may leave in the log: each attempt has another number of the connection in it.
const MAX_REQUESTS: usize = 8;
/// Notes by which the log's keys handed over that are looked at when a member connects.
const MAX_HANDOVERS: usize = 16;

impl Driver {
    /// The member with this name and TLS key. Anybody else is denied, and the denial stands in the log.
    /// Only holders of a certificate of this federation get as far as this.
    pub(super) fn identify(&mut self, name: &str, key: Sha256) -> Result<Door, DriverError> {
        let found = self.log.history().members().iter().find(|(_, m)| m.name == name && m.shows(key));
        let door = match found.map(|(id, m)| (*id, m.barred())) {
            Some((id, None)) => Door::Member(id),
            Some((id, Some(barred))) => {
                // Its client tries again and again, in good faith: the log hears of it once an hour.
                if self.knocks.count(now(), (id, barred.since)) == 1 {
                    self.deny(Right::StatusRead, Some(id), Rejection::Revoked)?;
                }
                Door::Barred(barred)
            }
            None => {
                self.deny(Right::StatusRead, None, Rejection::NotEnrolled)?;
                Door::Stranger
            }
        };
        Ok(door)
    }

    /// Records a denial; of each right not more than [`MAX_DENIALS`] a minute, the rest are counted in diagnostics.
    pub(super) fn deny(&mut self, right: Right, institution: Option<ClientId>, code: Rejection) -> Result<(), DriverError> {
        let denied = self.denials.count(now(), right);
        if denied > MAX_DENIALS {
            tracing::warn!(denied, right = right.name(), "denials of this minute are no longer recorded one by one");
            return Ok(());
        }
        let denied = Draft { institution, ..Draft::decided(Actor::Stranger, Decision::new(Ruling::Deny, right)) };
        self.append_one(denied.rejected(code)).map(|_| ())
    }

    /// Takes a member's connection in, unless the note that it shows is none of ours.
    ///
    /// # Errors
    /// [`DriverError::Rollback`] if the note proves that this log lost history.
    pub(super) fn connected(&mut self, who: ClientId, link: Link, note: &[u8]) -> Result<Result<ServerMessage, Rejection>, DriverError> {
        // Between the question who it is and its first message the membership may have ended.
        if let Some(barred) = self.log.history().barred(who) {
            link.cut.send(Some(barred)).ok();
            return Ok(Err(Rejection::Revoked));
        }
        // Or its key may have been replaced or revoked.
        if self.log.history().members().get(&who).is_some_and(|m| !m.shows(link.key)) {
            link.cut.send(None).ok();
            return Ok(Err(Rejection::NotEnrolled));
        }
        if let Err(reason) = self.shown(who, note)? {
            return Ok(Err(reason));
        }
        let outbox = link.outbox.clone();
        self.links.insert(who, link);
        if let Some(note) = self.publisher.showing() {
            outbox.try_send(ServerMessage::Cosign { note: note.into() }).ok();
        }
        if let Some(task) = &self.task {
            outbox.try_send(task.catch_up()).ok();
        }
        self.round_event(Event::Back(who));
        Ok(Ok(ServerMessage::Welcome { now: now(), log_size: self.log.size() }))
    }

    /// The rollback guard (A32). What is not ours is the member's own trouble; what our key signed and the log here contradicts ends us.
    fn shown(&self, who: ClientId, note: &[u8]) -> Result<Result<(), Rejection>, DriverError> {
        match evidence::judge(&self.log, note)? {
            Shown::Agrees => Ok(Ok(())),
            Shown::Foreign => {
                tracing::warn!(client = %who.short(), "a member shows a note that this log did not sign; its connection is refused");
                Ok(Err(Rejection::BadSignature))
            }
            Shown::Contradicts(head) => Err(self.rolled_back(who, note, head)),
        }
    }

    /// Keeps the evidence that this log lost history; what to end with.
    fn rolled_back(&self, who: ClientId, note: &[u8], head: TreeHead) -> DriverError {
        match evidence::keep(&self.layout, &self.log, note, head) {
            Ok(found) => {
                tracing::error!(client = %who.short(), error = %found, "alarm: rollback");
                found.into()
            }
            Err(error) => error.into(),
        }
    }

    /// A log that an old backup brought back does not know a key that has taken over since, and takes its notes for foreign ones. The note by which
    /// the key that it does know handed over is its own.
    pub(super) fn shown_handovers(&self, who: ClientId, notes: &[Vec<u8>]) -> Result<(), DriverError> {
        if self.log.history().barred(who).is_some() {
            return Ok(());
        }
        for note in notes.iter().take(MAX_HANDOVERS) {
            if let Shown::Contradicts(head) = evidence::judge(&self.log, note)? {
                return Err(self.rolled_back(who, note, head));
            }
        }
        Ok(())
    }

    pub(super) fn disconnected(&mut self, who: ClientId, link: usize) {
        // A newer connection of the same client is not closed by the end of an older one.
        if self.links.get(&who).is_some_and(|l| l.id == link) {
            self.links.remove(&who);
            self.round_event(Event::Gone(who));
        }
    }

    pub(super) fn message(&mut self, who: ClientId, message: ClientMessage) -> Result<(), DriverError> {
        // What was on its way when the membership ended.
        if self.log.history().barred(who).is_some() {
            return Ok(());
        }
        match message {
            ClientMessage::Hello { .. } => {}
            ClientMessage::Ready { task, round } => {
                if self.task.as_ref().is_some_and(|t| t.is_current(task, round)) {
                    self.round_event(Event::Ready(who));
                }
            }
            ClientMessage::Declined { statement } => self.round_event(Event::Declined(who, statement)),
            ClientMessage::Endorsed { statement } => self.round_event(Event::Endorsed(who, statement)),
            ClientMessage::BlobReport { group, header, trouble, .. } => {
                self.round_event(Event::BlobReport { from: who, group, header, trouble });
            }
            ClientMessage::Revealed { statement } => self.round_event(Event::Revealed(who, statement)),
            ClientMessage::SetSigned { statement } => self.round_event(Event::SetSigned(who, statement)),
            ClientMessage::Opened { statement } => self.round_event(Event::Opened(who, statement)),
            ClientMessage::Cosigned { size, line } => {
                if self.publisher.cosigned(&self.log, size, &line)? {
                    self.log.retire(self.publisher.published())?;
                    self.covered()?;
                }
            }
            ClientMessage::Refused { group, reason, .. } => {
                tracing::warn!(client = %who.short(), group = group.map(|g| g.0), reason = reason.name(), "a decryptor refuses");
            }
        }
        Ok(())
    }

    pub(super) fn request(&mut self, who: ClientId, request: Request, reply: Reply<Answer>) -> Result<(), DriverError> {
        if !self.may_ask(who, &request) {
            reply.send(Rejection::Revoked.into()).ok();
            return Ok(());
        }
        let answer = match request {
            Request::Begin { header, chunks } => {
                return self.begin(who, header, chunks, reply);
            }
            Request::Commit { upload } => match self.uploads.statement(upload) {
                Some(statement) => return self.commit(who, statement, reply),
                None => Rejection::Unknown.into(),
            },
            Request::Log { from, to } => Response::Entries { entries: self.page(from, to)? }.into(),
            Request::Consistency { old, new } => match self.log.consistency(old, new)? {
                Some(hashes) => Response::Bytes { bytes: hashes.iter().flat_map(|h| h.0).collect::<Vec<u8>>().into() }.into(),
                None => Rejection::Unknown.into(),
            },
            Request::Artefact { hash } => bytes_of(&artefact_path(self.log.root(), &hash)),
            Request::Snapshot { digest } => {
                let kept = self.layout.kept_snapshot(&digest).and_then(|path| Some((std::fs::metadata(&path).ok()?.len(), path)));
                match kept {
                    Some((length, path)) => Answer { response: Response::Stream { length }, stream: Some(path) },
                    None => Rejection::Unknown.into(),
                }
            }
            Request::Blob { address } => self.blob(who, &address),
            Request::Checkpoint {} => Response::Bytes { bytes: self.checkpoint().to_vec().into() }.into(),
            Request::Handover { after } => match self.log.handover(after)? {
                Some(note) => Response::Bytes { bytes: note.into() }.into(),
                None => Rejection::Unknown.into(),
            },
            Request::Declare { statement } => self.declare(who, statement)?,
            Request::Renew { csr } => match self.renew(who, &csr, now())? {
                Ok(der) => Response::Bytes { bytes: der.into() }.into(),
                Err(reason) => reason.into(),
            },
        };
        reply.send(answer).ok();
        Ok(())
    }

    /// Whoever has just left may still read the log on the connection on which it left, and not for long: how else would it see that this
    /// stands there?
    fn may_ask(&self, who: ClientId, request: &Request) -> bool {
        match self.log.history().barred(who).map(|b| b.standing) {
            None => true,
            Some(Standing::Left(_)) => match request {
                Request::Log { .. }
                | Request::Consistency { .. }
                | Request::Artefact { .. }
                | Request::Checkpoint {}
                | Request::Handover { .. } => self.leaving.contains_key(&who),
                Request::Begin { .. } | Request::Commit { .. } | Request::Snapshot { .. } => false,
                Request::Blob { .. } | Request::Declare { .. } | Request::Renew { .. } => false,
            },
            Some(Standing::Active | Standing::Suspended(_) | Standing::Revoked(_)) => false,
        }
    }

    /// The note of the present tree: with its quorum's cosignatures if they have come in, so that a client's mirror can show them.
    fn checkpoint(&self) -> &[u8] {
        if self.publisher.published() == self.log.size() { self.publisher.latest() } else { self.log.note() }
    }

    /// Entries from `from` on that fit one frame.
    fn page(&self, from: u64, to: u64) -> Result<Vec<minicbor::bytes::ByteVec>, DriverError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in self.log.entries(from, to)? {
            bytes += entry.len() + 8;
            if bytes > 900 << 10 {
                break;
            }
            entries.push(entry.into());
        }
        Ok(entries)
    }

    /// A share blob, for the decryptor that it is sealed to.
    fn blob(&self, who: ClientId, address: &protocol::ids::Address) -> Answer {
        let place = self.task.as_ref().and_then(|t| t.committee_place(who));
        if !place.is_some_and(|p| self.uploads.is_blob_at(address, p)) {
            return Rejection::Unknown.into();
        }
        match self.uploads.read(address) {
            Ok(bytes) => Response::Bytes { bytes: bytes.into() }.into(),
            Err(_) => Rejection::BadChunk.into(),
        }
    }

    fn begin(
        &mut self,
        who: ClientId,
        header: Statement,
        chunks: Vec<protocol::ids::Address>,
        reply: Reply<Answer>,
    ) -> Result<(), DriverError> {
        if self.task.as_ref().is_none_or(|t| t.active.is_none()) {
            return self.refuse(who, Rejection::WrongRound, reply);
        }
        let answer = self.wait(Waiting { who, reply, begin: Some((header.clone(), chunks)) });
        self.round_event(Event::Begin { from: who, header, answer });
        Ok(())
    }

    fn commit(&mut self, who: ClientId, header: Statement, reply: Reply<Answer>) -> Result<(), DriverError> {
        // Checked again: another group's header of the same client may have come in since the upload began.
        if let Err(reason) = self.acceptable(who, &header) {
            return self.refuse(who, reason, reply);
        }
        let answer = self.wait(Waiting { who, reply, begin: None });
        self.round_event(Event::Commit { from: who, header, answer });
        Ok(())
    }

    /// Tells a client that its update is refused, once the log says so.
    pub(super) fn refuse(&mut self, who: ClientId, reason: Rejection, reply: Reply<Answer>) -> Result<(), DriverError> {
        self.note_refusal(who, reason)?;
        reply.send(reason.into()).ok();
        Ok(())
    }

    fn wait(&mut self, waiting: Waiting) -> Ticket {
        let ticket = Ticket(self.next_answer);
        self.next_answer += 1;
        self.answers.insert(ticket, waiting);
        ticket
    }

    /// A member's statement that belongs to no round. It goes into the log only if it keeps the log's rules.
    fn declare(&mut self, who: ClientId, statement: Statement) -> Result<Answer, DriverError> {
        let declared = self.declarations.count(now(), who);
        if declared > MAX_DECLARATIONS {
            tracing::warn!(client = %who.short(), declared, "a member's declarations of this minute are too many");
            return Ok(Rejection::OverQuota.into());
        }
        let key = self.log.history().members().get(&who).filter(|m| m.is_active()).map(|m| m.key);
        if key != Some(statement.key) {
            return Ok(Rejection::BadSignature.into());
        }
        if statement.verify::<WitnessKeyRotation>().is_ok_and(|said| self.is_taken_witness(&said.new)) {
            return Ok(Rejection::Policy.into());
        }
        let Some(draft) = declaration(who, statement, now()) else { return Ok(Rejection::Malformed.into()) };
        if let Some(violation) = self.log.would_violate(&draft) {
            return Ok(self.against(who, violation.clause).into());
        }
        // Nothing may follow that would publish it: an institution that only comes back for a look, or that leaves, is cosigned too.
        let rotated = matches!(draft.facts, Facts::KeyRotated { .. });
        let told = matches!(draft.facts, Facts::SiteAnchored { .. } | Facts::MemberLeft { .. } | Facts::DatasetWithdrawn { .. });
        let published = rotated || told;
        let left = matches!(draft.facts, Facts::MemberLeft { .. });
        let speaks_anew = matches!(draft.facts, Facts::KeyRotated { purpose: KeyPurpose::Statement, .. });
        let done = self.append_one(draft)?;
        if speaks_anew {
            self.waits_no_more(who);
        }
        if published {
            self.publisher.want(done.index.0 + 1);
        }
        if left {
            self.let_go(who, now());
        }
        Ok(Response::Receipt { index: done.index, entry: done.bytes.into() }.into())
    }

    pub(super) fn join(&mut self, message: JoinMessage, nonce: Sha256) -> Result<JoinReply, DriverError> {
        match message {
            JoinMessage::Start {} => {
                let (trust, changes) = (self.trust_bytes.clone().into(), self.log.history().trust_words());
                Ok(JoinReply::Trust { trust, nonce, changes })
            }
            JoinMessage::Request { secret, statement, csr } => self.join_request(&secret, statement, &csr, nonce),
            JoinMessage::Poll { secret, institution } => self.join_poll(&secret, institution),
            JoinMessage::Renew { statement, csr } => self.come_back(&statement, &csr, nonce, now()),
        }
    }

    /// Unknown token and wrong institution get one answer (T13).
    fn join_request(&mut self, secret: &[u8; 32], statement: Statement, csr: &[u8], nonce: Sha256) -> Result<JoinReply, DriverError> {
        let denied = JoinReply::Rejected { reason: Rejection::NotEnrolled };
        let Ok(request) = statement.verify::<JoinRequest>() else { return Ok(denied) };
        let who = statement.signer();
        let invitation = self.store.invitation(request.token)?;
        let valid = invitation.is_some_and(|i| self.admits(&i, secret, &request));
        let fits = request.institution_key == statement.key && self.log.history().knows_trust(request.trust);
        let key_fits = identity::csr_key_hash(csr).is_ok_and(|k| k == request.tls_key);
        let witness_fits = self.names_its_witness(&request);
        // Also where a crash came before the token of an earlier request was marked as used: the log knows.
        let fresh = self.log.history().requests().values().all(|r| r.token != request.token || r.institution_key == statement.key);
        if !(valid && fits && key_fits && witness_fits && fresh && request.nonce == nonce) {
            self.deny(Right::MemberJoin, None, Rejection::NotEnrolled)?;
            return Ok(denied);
        }
        let hash = Sha256(protocol::hash::sha256(&[&statement.payload]));
        if self.log.history().requests().contains_key(&hash) {
            return Ok(JoinReply::Pending {});
        }
        let before = self.log.history().requests().values().filter(|r| r.token == request.token).count();
        if before >= MAX_REQUESTS {
            self.deny(Right::MemberJoin, None, Rejection::OverQuota)?;
            return Ok(denied);
        }
        // The request is durable in the log before the token is used up (T11 step 5).
        let facts = Facts::MemberJoinRequested { token: request.token, request: hash };
        self.store.put_csr(who, csr)?;
        self.append_one(Draft::said(Actor::Institution, Some(who), statement, facts))?;
        Ok(if self.store.use_invitation(request.token, who)? { JoinReply::Pending {} } else { denied })
    }

    /// Whether the witness is one that policies can name, under its institution's name: a signature line is known by its name and 32 bits.
    fn names_its_witness(&self, request: &JoinRequest) -> bool {
        let name = format!("{}/{}", self.log.history().trust().federation, request.name);
        request.witness_vkey.parse::<VerifierKey>().is_ok_and(|key| key.kind() == KeyType::Cosignature && key.name() == name)
    }

    fn admits(&self, invitation: &Invitation, secret: &[u8; 32], request: &JoinRequest) -> bool {
        let who = ClientId::of(&request.institution_key);
        let unused = invitation.used_by.is_none_or(|w| w == who);
        let in_time = now().0 / 1000 < invitation.expires_s;
        self.verify_secret(invitation, secret) && unused && in_time && invitation.institution == request.name
    }

    fn verify_secret(&self, invitation: &Invitation, secret: &[u8; 32]) -> bool {
        let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(&self.keys.token_mac[..]) else { return false };
        mac.update(secret);
        mac.verify_slice(&invitation.mac.0).is_ok()
    }

    /// HMAC of a token's secret: what the store keeps instead of it.
    pub(super) fn token_mac(&self, secret: &[u8; 32]) -> Option<Sha256> {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.keys.token_mac[..]).ok()?;
        mac.update(secret);
        Some(Sha256(mac.finalize().into_bytes().into()))
    }

    fn join_poll(&mut self, secret: &[u8; 32], who: ClientId) -> Result<JoinReply, DriverError> {
        let denied = JoinReply::Rejected { reason: Rejection::NotEnrolled };
        let token = self.log.history().requests().values().find(|r| ClientId::of(&r.institution_key) == who).map(|r| r.token);
        let Some(token) = token else { return Ok(denied) };
        let invitation = self.store.invitation(token)?;
        // The request is in the log; a crash may have come before its token was used up, which is done now (T11 step 5).
        if !invitation.is_some_and(|i| self.verify_secret(&i, secret)) || !self.store.use_invitation(token, who)? {
            return Ok(denied);
        }
        if self.log.history().barred(who).is_some() {
            return Ok(JoinReply::Rejected { reason: Rejection::Revoked });
        }
        let Some(joined) = self.log.history().members().get(&who).map(|m| m.joined) else { return Ok(JoinReply::Pending {}) };
        self.admitted(who, joined)
    }

    /// The TLS certificate, with the entry that admits its holder.
    fn admitted(&mut self, who: ClientId, index: LeafIndex) -> Result<JoinReply, DriverError> {
        let denied = JoinReply::Rejected { reason: Rejection::NotEnrolled };
        let Some(der) = self.store.issued(who)? else { return Ok(denied) };
        let entry = self.log.entries(index.0, index.0 + 1)?.pop().unwrap_or_default();
        let chain = vec![der.into(), self.keys.root_der.to_vec().into()];
        Ok(JoinReply::Admitted { chain, index, entry: entry.into(), others: self.other_words(who, index)? })
    }

    /// The entries in which other administrators admitted the same institution before.
    fn other_words(&self, who: ClientId, index: LeafIndex) -> Result<Vec<minicbor::bytes::ByteVec>, DriverError> {
        let history = self.log.history();
        let request = history.requests().values().find(|r| ClientId::of(&r.institution_key) == who);
        let places = request.and_then(|r| history.approval(&Membership::of(r))).map(|a| a.places()).unwrap_or_default();
        let mut out = Vec::new();
        for at in places.into_iter().filter(|at| *at < index) {
            out.extend(self.log.entries(at.0, at.0 + 1)?.pop().map(Into::into));
        }
        Ok(out)
    }
}

fn bytes_of(path: &std::path::Path) -> Answer {
    match crate::durable::read_limited(path, protocol::plan::Plan::MAX_BYTES as u64) {
        Ok(bytes) => Response::Bytes { bytes: bytes.into() }.into(),
        Err(_) => Rejection::Unknown.into(),
    }
}

/// The entry that a member's own statement asks for.
fn declaration(who: ClientId, statement: Statement, now: protocol::time::Time) -> Option<Draft> {
    let (facts, task) = match statement.kind {
        StatementKind::Dataset => (Facts::DatasetDeclared { dataset: statement.verify::<DatasetDeclaration>().ok()?.dataset }, None),
        StatementKind::Budget => {
            let said = statement.verify::<BudgetDeclaration>().ok()?;
            (Facts::BudgetDeclared { dataset: said.dataset, epsilon_cap: said.epsilon_cap }, None)
        }
        StatementKind::DataManifest => {
            let said = statement.verify::<DataManifest>().ok().filter(DataManifest::is_sound)?;
            (Facts::DatasetChanged { dataset: said.dataset, manifest: Sha256(sha256(&[&statement.payload])) }, None)
        }
        StatementKind::Repair | StatementKind::ReleaseSpend | StatementKind::Spend | StatementKind::Exhausted => {
            return super::budgets::told(who, statement);
        }
        StatementKind::Prekeys => {
            let said = statement.verify::<Prekeys>().ok()?;
            let most = protocol::manifest::MAX_PREKEY_ROUNDS;
            let sized = said.keys.iter().all(|k| k.len() == protocol::manifest::PREKEY_BYTES);
            let sized = sized && said.nonces.as_ref().is_none_or(|n| n.len() == said.keys.len());
            let whole = sized
                && said.last_until(now)
                && !said.keys.is_empty()
                && said.keys.len() as u64 <= most
                && said.first.0.checked_add(most).is_some();
            if !whole {
                return None;
            }
            (Facts::PrekeysPublished { first: said.first, count: said.keys.len() as u64 }, Some(said.task))
        }
        StatementKind::Departure => {
            let said = statement.verify::<Departure>().ok()?;
            (Facts::MemberLeft { since: said.since, reason: said.reason }, None)
        }
        StatementKind::DatasetWithdrawal => {
            let said = statement.verify::<DatasetWithdrawal>().ok()?;
            (Facts::DatasetWithdrawn { dataset: said.dataset, reason: said.reason }, None)
        }
        StatementKind::SitePolicy => (statement.verify::<SitePolicyDeclaration>().ok()?.facts(), None),
        StatementKind::SiteAnchor => {
            let said = statement.verify::<SiteAnchor>().ok()?;
            (Facts::SiteAnchored { size: said.size, root: said.root }, None)
        }
        StatementKind::StatementKeyRotation | StatementKind::WitnessKeyRotation => (super::rotate::rotated(&statement)?, None),
        StatementKind::StatementKeyChange => return None,
        StatementKind::Release | StatementKind::JoinRequest | StatementKind::Membership | StatementKind::Plan | StatementKind::Manifest => {
            return None;
        }
        StatementKind::Endorsement | StatementKind::Header | StatementKind::Set | StatementKind::Opening => return None,
        StatementKind::Withdrawal | StatementKind::Review | StatementKind::Renewal | StatementKind::Rotation => return None,
        StatementKind::Standing | StatementKind::KeyRevocation | StatementKind::TrustChange => return None,
        StatementKind::Decline | StatementKind::SumResult | StatementKind::Policy | StatementKind::Nonce | StatementKind::LedgerEntry => {
            return None;
        }
    };
    let actor = if task.is_some() { Actor::Decryptor } else { Actor::Institution };
    let draft = Draft::said(actor, Some(who), statement, facts);
    Some(match task {
        Some(task) => draft.in_task(task),
        None => draft,
    })
}
