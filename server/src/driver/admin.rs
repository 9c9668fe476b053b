//! Administrators' requests: each that changes something is a statement that the driver checks and records.

use super::retention::Order;
use super::{Driver, DriverError, now};
use crate::admin::{AdminReply, AdminRequest, PendingJoin, Refusal, Status};
use crate::durable;
use crate::publish::{artefact_path, compose};
use crate::store::Invitation;
use crate::task::{Stage, TaskRun};
use audit::policy::Policy;
use audit::reader::policy_path;
use protocol::codec;
use protocol::entry::{Actor, Draft, Facts, Right, Rule};
use protocol::history::Member;
use protocol::ids::{ClientId, Sha256, TokenId};
use protocol::messages::ServerMessage;
use protocol::plan::{Plan, PlanApproval};
use protocol::reject::Rejection;
use protocol::rotation::witness_id;
use protocol::round::{Phase, Recipients};
use protocol::statement::{Payload, Statement};
use protocol::trust::{Membership, PolicyApproval, Token, is_name};
use std::path::Path;

impl Driver {
    pub(super) fn admin(&mut self, request: AdminRequest) -> Result<AdminReply, DriverError> {
        let unentitled = self.unentitled(&request);
        let answer = match request {
            AdminRequest::Invite { institution, ttl_s } => self.invite(&institution, ttl_s)?,
            AdminRequest::Pending {} => Ok(self.pending()),
            AdminRequest::Approve { statement } => self.approve(statement)?,
            AdminRequest::ComposePolicy {} => match compose(self.log.history()) {
                Some(p) if p.witnesses().len() >= 2 => {
                    Ok(AdminReply::Policy { text: p.text().to_owned(), replaces: self.log.history().policy_in_force() })
                }
                Some(_) | None => Err(Refusal::TooFewMembers),
            },
            AdminRequest::ActivatePolicy { text, statement } => self.activate(&text, statement)?,
            AdminRequest::Propose { plan, statement, snapshot_path } => self.propose(&plan, statement, Path::new(&snapshot_path))?,
            AdminRequest::Status {} => Ok(AdminReply::Status { status: self.status() }),
            AdminRequest::Releasable { task, round } => self.releasable(task, round),
            AdminRequest::Release { statement } => self.release(statement)?,
            AdminRequest::Released { task, snapshot } => self.released(task, snapshot),
            AdminRequest::Withdraw { statement } => self.withdraw(statement)?,
            AdminRequest::Review { statement } => self.review(statement)?,
            AdminRequest::Members {} => Ok(self.members()),
            AdminRequest::ChangeStanding { statement } => self.change_standing(statement)?,
            AdminRequest::Trust {} => Ok(self.trust()),
            AdminRequest::ChangeTrust { statement } => self.change_trust(statement)?,
            AdminRequest::ExportLog {} => self.export_log()?,
            AdminRequest::DeleteChunks { task, keep, unfinished } => self.delete_chunks(Order { task, keep, unfinished })?,
            AdminRequest::Stop {} => Ok(AdminReply::Done {}),
        };
        if let (Some(right), Err(_)) = (unentitled, &answer) {
            self.deny(right, None, Rejection::NotEnrolled)?;
        }
        Ok(answer.unwrap_or_else(|reason| AdminReply::Refused { reason }))
    }

    /// The right that a request asks for with the statement of somebody who does not have it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other requests carry no statement")]
    fn unentitled(&self, request: &AdminRequest) -> Option<Right> {
        let (right, statement) = match request {
            AdminRequest::Approve { statement } => (Right::MemberApprove, statement),
            AdminRequest::ChangeStanding { statement } => (Right::MemberRevoke, statement),
            AdminRequest::ActivatePolicy { statement, .. } => (Right::PolicyActivate, statement),
            AdminRequest::ChangeTrust { statement } => (Right::TrustChange, statement),
            AdminRequest::Propose { statement, .. } => (Right::TaskPropose, statement),
            AdminRequest::Release { statement } => (Right::ModelRelease, statement),
            AdminRequest::Withdraw { statement } => (Right::ModelWithdraw, statement),
            AdminRequest::Review { statement } => (Right::LogReview, statement),
            _without_a_statement => return None,
        };
        let reviewer = right.rule() == Rule::Reviewer && self.is_members(statement);
        (!self.is_administrator(statement) && !reviewer).then_some(right)
    }

    fn invite(&mut self, institution: &str, ttl_s: u64) -> Result<Result<AdminReply, Refusal>, DriverError> {
        if !is_name(institution) {
            return Ok(Err(Refusal::Name));
        }
        let (mut secret, mut id) = ([0u8; 32], [0u8; 16]);
        if getrandom::fill(&mut secret).and_then(|()| getrandom::fill(&mut id)).is_err() {
            return Err(std::io::Error::other("the operating system gives no randomness").into());
        }
        let Some(mac) = self.token_mac(&secret) else { return Ok(Err(Refusal::Statement)) };
        let expires_s = (now().0 / 1000).saturating_add(ttl_s);
        let id = TokenId(id);
        self.store.put_invitation(id, &Invitation { mac, institution: institution.to_owned(), expires_s, used_by: None })?;
        self.append_allowed(Draft { actor: Actor::Administrator, ..Draft::server(Facts::MemberInvited { token: id }) })?;
        let token = Token {
            address: self.public_address.clone(),
            root_ca: self.log.history().trust().root_ca,
            trust: self.log.history().trust_hash(),
            id,
            secret,
            institution: institution.to_owned(),
        };
        Ok(Ok(AdminReply::Token { line: token.to_line() }))
    }

    fn pending(&self) -> AdminReply {
        let history = self.log.history();
        let open = history.requests().iter().filter(|(_, r)| !history.members().contains_key(&ClientId::of(&r.institution_key)));
        let joins = open.map(|(hash, r)| PendingJoin { request: codec::encode(r).into(), hash: *hash }).collect();
        AdminReply::Pending { joins }
    }

    fn is_members(&self, statement: &Statement) -> bool {
        let history = self.log.history();
        history.speaker(&statement.key).is_some_and(|who| history.is_active(who))
    }

    fn is_administrator(&self, statement: &Statement) -> bool {
        self.log.history().trust().administrators.contains(&statement.key)
    }

    pub(super) fn said<P: Payload>(&self, statement: &Statement) -> Option<P> {
        if self.is_administrator(statement) { statement.verify().ok() } else { None }
    }

    /// Issues the TLS certificate, then records the membership: a member without a certificate would be locked out by a crash. With the
    /// m-th administrator only: the words before it make nobody a member.
    fn approve(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Some(said) = self.said::<Membership>(&statement) else { return Ok(Err(Refusal::Statement)) };
        if let Some(word) = self.known_word(&statement) {
            return Ok(Ok(word.done()));
        }
        let effective = self.log.history().takes_effect(&statement);
        let facts = Facts::MemberJoined { request: said.request };
        let draft = Draft::said(Actor::Administrator, Some(said.institution), statement, facts);
        // Not what anybody asked for, a name that is taken, or an institution that is enrolled already, under whatever name it asks again.
        if self.log.would_violate(&draft).is_some() {
            return Ok(Err(Refusal::NoSuchJoin));
        }
        if self.shares_a_key(&said) {
            return Ok(Err(Refusal::SharedKey));
        }
        let Some(csr) = self.store.csr(said.institution)? else { return Ok(Err(Refusal::NoSuchJoin)) };
        if effective {
            let Ok(der) = self.certificate(&said.name, &csr, now()) else { return Ok(Err(Refusal::NoSuchJoin)) };
            self.store.put_issued(said.institution, &der)?;
        }
        Ok(Ok(self.say(draft, None)?.done()))
    }

    /// Whether somebody who was ever admitted has or had the same TLS key, or has the same witness: nobody could tell the two apart on a
    /// connection, and no policy may name a witness twice.
    fn shares_a_key(&self, said: &Membership) -> bool {
        let tls = |m: &Member| m.tls_key == said.tls_key || m.retired.contains(&said.tls_key);
        self.log.history().members().values().any(tls) || self.is_taken_witness(&said.witness_vkey)
    }

    /// The policy's artefact is durable before its entry; the file that auditors read follows and is written again at a start.
    fn activate(&mut self, text: &str, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Some(said) = self.said::<PolicyApproval>(&statement) else { return Ok(Err(Refusal::Statement)) };
        let hash = Sha256(protocol::hash::sha256(&[text.as_bytes()]));
        if said.policy != hash {
            return Ok(Err(Refusal::Statement));
        }
        let Ok(policy) = Policy::parse(text) else { return Ok(Err(Refusal::Policy)) };
        if policy.log() != self.log.key().verifier() || !policy.demands_witnesses() {
            return Ok(Err(Refusal::Policy));
        }
        if let Some(word) = self.known_word(&statement) {
            return Ok(Ok(word.done()));
        }
        if self.log.history().policy().is_some_and(|(in_force, _)| in_force == hash) {
            return Ok(Ok(AdminReply::Done {}));
        }
        // Made before a witness was replaced, and signed after that: the log would say for ever that the old one was named.
        let history = self.log.history();
        if policy.witnesses().iter().any(|w| history.is_old_witness(witness_id(&w.key.to_string()))) {
            return Ok(Err(Refusal::PolicyWitness));
        }
        let facts = Facts::PolicyActivated { old: said.replaces.map(|r| r.policy), policy: hash };
        let draft = Draft::said(Actor::Administrator, None, statement, facts);
        if self.log.would_violate(&draft).is_some() {
            return Ok(Err(Refusal::PolicyReplaced));
        }
        durable::write_new(&artefact_path(self.log.root(), &hash), text.as_bytes())?;
        let word = self.say(draft, None)?;
        if word.is_effective() {
            durable::write_new(&self.log.root().join(policy_path(word.index.0 + 1)), text.as_bytes())?;
            self.publisher.adopt(policy);
        }
        self.publisher.want(word.index.0 + 1);
        Ok(Ok(word.done()))
    }

    /// Records an administrator's word for a plan; with the m-th the task opens.
    fn propose(&mut self, bytes: &[u8], statement: Statement, snapshot: &Path) -> Result<Result<AdminReply, Refusal>, DriverError> {
        if self.said::<PlanApproval>(&statement).is_some()
            && let Some(word) = self.known_word(&statement)
        {
            return Ok(Ok(word.done()));
        }
        if self.task.as_ref().is_some_and(|t| !matches!(t.stage, Stage::Ended(_))) {
            return Ok(Err(Refusal::TaskOpen));
        }
        if !self.publisher.has_policy() {
            return Ok(Err(Refusal::NoPolicy));
        }
        let Some(said) = self.said::<PlanApproval>(&statement) else { return Ok(Err(Refusal::Statement)) };
        let Ok(plan) = codec::decode::<Plan>(bytes, Plan::MAX_BYTES) else { return Ok(Err(Refusal::Plan)) };
        let digest = Plan::digest(bytes);
        let own = plan.federation == self.log.history().trust().federation && !self.log.history().tasks().contains_key(&plan.task);
        if plan.check().is_err() || !own || said != (PlanApproval { task: plan.task, plan: digest }) {
            return Ok(Err(Refusal::Plan));
        }
        let members = self.log.history().active().count();
        if members < usize::from(plan.committee.decryptors) || members < plan.fewest() || members > usize::from(plan.n_max) {
            return Ok(Err(Refusal::TooFewForPlan));
        }
        let named = plan.tiers.iter().flatten().flat_map(|t| &t.institutions);
        if let Some(stranger) = named.copied().find(|who| !self.log.history().is_active(*who)) {
            tracing::warn!(%stranger, "a tier of the plan names an institution that is not enrolled");
            return Ok(Err(Refusal::Stranger));
        }
        let Ok(weights) = std::fs::read(snapshot) else { return Ok(Err(Refusal::Snapshot)) };
        if train::snapshot::digest(&weights) != plan.base {
            return Ok(Err(Refusal::Snapshot));
        }
        if let Err(refusal) = check_base(&plan, &weights) {
            return Ok(Err(refusal));
        }
        durable::write_new(&self.layout.snapshot(&plan.base, plan.snapshot_ending()), &weights)?;
        durable::write_new(&self.layout.artefact(&Sha256(digest.0)), bytes)?;
        let task = plan.task;
        let opened = Draft::server(Facts::TaskOpened { plan: digest, snapshot: plan.base }).in_task(task);
        let opened = self.log.history().takes_effect(&statement).then_some(opened);
        let approved = Draft::said(Actor::Administrator, None, statement, Facts::TaskApproved { plan: digest }).in_task(task);
        let word = self.say(approved, opened)?;
        let size = self.log.size();
        self.publisher.want(size);
        if word.is_effective() {
            self.task = Some(TaskRun::new(task, plan, digest, size));
            self.send(&Recipients::All, &ServerMessage::TaskOpened { task, plan: digest });
        }
        Ok(Ok(word.done()))
    }

    fn status(&self) -> Status {
        let history = self.log.history();
        let name = |id: &protocol::ids::ClientId| history.members().get(id).map(|m| m.name.clone());
        let task = self.task.as_ref();
        let active = task.and_then(|t| t.active.as_ref());
        let last = task.and_then(|t| history.task(t.id)).and_then(|t| t.last_round());
        Status {
            federation: history.trust().federation.clone(),
            log_size: self.log.size(),
            published: self.publisher.published(),
            members: history.active().map(|(_, m)| m.name.clone()).collect(),
            ids: history.member_ids(),
            connected: self.links.keys().filter_map(name).collect(),
            task: task.map(|t| t.id),
            plan: task.map(|t| t.digest),
            round: active.map(|a| a.id).or(last),
            rounds: task.map_or(0, |t| t.plan.rounds),
            phase: phase_name(active.map(|a| a.machine.phase()), task.map(|t| t.stage)).to_owned(),
            ended: matches!(task.map(|t| t.stage), Some(Stage::Ended(_))),
            revoked_witnesses: self.publisher.named().filter_map(|w| Some(history.revoked_witness_of(w)?.name.clone())).collect(),
            waiting_for: history.active().map(|(id, _)| id).filter(|id| !self.links.contains_key(id)).filter_map(name).collect(),
        }
    }
}

/// Whether these bytes are what round 1 of the plan can start from, and a plan that trains cuts its model, and nothing else.
fn check_base(plan: &Plan, base: &[u8]) -> Result<(), Refusal> {
    if plan.count.is_some() {
        let nothing = train::count::Known::nothing(plan).and_then(|known| known.to_bytes());
        return if nothing.is_ok_and(|bytes| bytes == base) { Ok(()) } else { Err(Refusal::Snapshot) };
    }
    let base = train::snapshot::from_bytes(&plan.model, base).map_err(|_| Refusal::Snapshot)?;
    train::shard::check(base.table(), &plan.shards).map_err(|error| {
        tracing::warn!(%error, "the plan's shards are not the model's");
        Refusal::Plan
    })
}

fn phase_name(phase: Option<Phase>, stage: Option<Stage>) -> &'static str {
    match (phase, stage) {
        (Some(Phase::Selecting), _) => "selecting",
        (Some(Phase::Reporting), _) => "reporting",
        (Some(Phase::Certifying), _) => "certifying",
        (Some(Phase::Opening), _) => "opening",
        (Some(Phase::Ended), _) => "ending",
        (None, Some(Stage::Open)) => "between-rounds",
        (None, Some(Stage::Ending(_))) => "awaiting-witnesses",
        (None, Some(Stage::Ended(_))) => "ended",
        (None, None) => "no-task",
    }
}
