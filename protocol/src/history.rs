//! What the log says so far, folded entry by entry: members, tasks, rounds, sets, spends. Knows no tree, no file, no accountant.
//!
//! One fold for everybody: clients judge manifests and sets by their mirror's history, the server restarts from its own, the
//! auditor reports what contradicts it (audit.md A35 check 5, A36).

mod approvals;
mod causes;
mod deleted;
mod exhausted;
mod keys;
mod members;
mod releases;
mod round;
mod rules;
mod sizes;
mod spends;
mod stamps;
mod task;
mod trial;
mod trusts;

pub use approvals::Approval;
use approvals::Effect;
pub use deleted::SealedParts;
pub use exhausted::Exhausted;
pub use members::{Member, Withdrawn};
pub use releases::Lineage;
pub use round::{GroupHistory, RoundHistory, RoundState};
pub use rules::{Clause, Violation};
pub use stamps::Start;
pub use task::{SpendRecord, TaskHistory};
pub use trusts::TrustInForce;

use crate::data_manifest::DataManifest;
use crate::entry::{EntryError, Facts, Identity, LogEntry, Origin};
use crate::ids::{ClientId, LeafIndex, PlanDigest, PublicKey, Sha256, TaskId};
use crate::plan::{Plan, PlanApproval};
use crate::release::{Release, Review, SiteAnchor, Withdrawal};
use crate::site_policy::SitePolicyDeclaration;
use crate::statement::{Checked, Payload, Statement, StatementKind};
use crate::trust::{
    BudgetDeclaration, DatasetDeclaration, JoinRequest, LedgerRepair, PolicyApproval, PolicyInForce, ReleaseSpend, TrustDocument,
};
use std::collections::{BTreeMap, BTreeSet};

/// What an institution declared about one dataset.
#[derive(Clone, Debug)]
pub struct DatasetHistory {
    /// The declaration.
    pub declaration: DatasetDeclaration,
    /// The cap in force.
    pub cap: Option<BudgetDeclaration>,
    /// Spends in order.
    pub spends: Vec<SpendRecord>,
    /// What was declared of it for each spend, by the spend's entry: a declaration that comes after a round's manifest counts from the
    /// next round on, and never for what was spent before.
    pub in_force: BTreeMap<LeafIndex, DatasetDeclaration>,
    /// Repairs of the ledger, in order, with where they stand.
    pub repairs: Vec<(LeafIndex, LedgerRepair)>,
    /// Scalar releases that were paid beside every task, in order, with where they are stated.
    pub releases: Vec<(LeafIndex, ReleaseSpend)>,
    /// Tasks whose budget was said to be exhausted, in order.
    pub exhausted: Vec<Exhausted>,
    /// Since when nothing may be trained on it.
    pub withdrawn: Option<Withdrawn>,
}

impl DatasetHistory {
    /// A dataset that was just declared.
    pub fn declared(declaration: DatasetDeclaration) -> Self {
        let (spends, repairs, releases, exhausted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { declaration, cap: None, spends, in_force: BTreeMap::new(), repairs, releases, exhausted, withdrawn: None }
    }

    /// Adds a spend, paid under what is declared now but for the number of units, where that of its round is known.
    pub fn spend(&mut self, record: SpendRecord, units: Option<u64>) {
        let declared_units = units.unwrap_or(self.declaration.declared_units);
        self.in_force.insert(record.index, DatasetDeclaration { declared_units, ..self.declaration });
        self.spends.push(record);
    }

    /// What was declared for the spend at this entry.
    pub fn declared_for(&self, spend: LeafIndex) -> &DatasetDeclaration {
        self.in_force.get(&spend).unwrap_or(&self.declaration)
    }
}

/// A data manifest where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its entry.
    pub index: LeafIndex,
    /// SHA-256 of its payload.
    pub hash: Sha256,
    /// What it says.
    pub manifest: DataManifest,
}

/// The log so far.
#[derive(Clone, Debug)]
pub struct History {
    /// The trust document in force.
    trust: TrustDocument,
    /// It and those before it.
    trusts: Vec<TrustInForce>,
    /// Words for another one.
    pending_trust: Vec<Statement>,
    size: u64,
    last_ts: String,
    /// Every key that may sign, or might once, by the hash that entries name it with.
    keys: BTreeMap<Sha256, PublicKey>,
    /// The institution of every statement key that one has or had.
    holders: BTreeMap<Sha256, ClientId>,
    requests: BTreeMap<Sha256, JoinRequest>,
    members: BTreeMap<ClientId, Member>,
    datasets: BTreeMap<(ClientId, Sha256), DatasetHistory>,
    manifests: BTreeMap<(ClientId, Sha256), Vec<Described>>,
    tasks: BTreeMap<TaskId, TaskHistory>,
    policy: Option<(Sha256, LeafIndex)>,
    releases: Vec<(LeafIndex, Release)>,
    /// Releases that administrators signed, whether or not enough of them did.
    proposed: Vec<(LeafIndex, Release)>,
    /// Which administrators signed what.
    approvals: approvals::Approvals,
    withdrawals: Vec<(LeafIndex, Withdrawal)>,
    reviews: Vec<(LeafIndex, Review)>,
    anchors: BTreeMap<ClientId, Vec<(LeafIndex, SiteAnchor)>>,
    site_policies: BTreeMap<ClientId, Vec<(LeafIndex, SitePolicyDeclaration)>>,
    unclean: bool,
    /// The server, as entries name it.
    server: Identity,
    /// The program that writes, from the start of its process to its end.
    origin: Option<Origin>,
    /// The last two starts of the server's process, the newer one last.
    starts: [Option<Start>; 2],
    /// Witnesses that are said to be missing.
    missing: BTreeSet<Sha256>,
    causes: causes::Causes,
}

/// RFC 6962 leaf hash of an entry.
pub fn leaf_hash(bytes: &[u8]) -> Sha256 {
    Sha256(crate::hash::sha256(&[&[0], bytes]))
}

impl History {
    /// The history of an empty log under this trust document.
    pub fn new(trust: TrustDocument) -> Self {
        let keys = trusts::speakers(&trust).collect();
        let server = stamps::server(&trust.federation, &trust.server);
        Self {
            trusts: vec![TrustInForce::first(trust.clone())],
            trust,
            pending_trust: Vec::new(),
            size: 0,
            last_ts: String::new(),
            keys,
            holders: BTreeMap::new(),
            requests: BTreeMap::new(),
            members: BTreeMap::new(),
            datasets: BTreeMap::new(),
            manifests: BTreeMap::new(),
            tasks: BTreeMap::new(),
            policy: None,
            releases: Vec::new(),
            proposed: Vec::new(),
            approvals: approvals::Approvals::default(),
            withdrawals: Vec::new(),
            reviews: Vec::new(),
            anchors: BTreeMap::new(),
            site_policies: BTreeMap::new(),
            unclean: false,
            server,
            origin: None,
            starts: [None; 2],
            missing: BTreeSet::new(),
            causes: causes::Causes::default(),
        }
    }

    /// Entries folded so far.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// The trust document in force.
    pub fn trust(&self) -> &TrustDocument {
        &self.trust
    }
    /// Institutions that were ever admitted, with how they stand; [`Self::active`] are those whose word counts.
    pub fn members(&self) -> &BTreeMap<ClientId, Member> {
        &self.members
    }
    /// Requests to join by the hash of their payload.
    pub fn requests(&self) -> &BTreeMap<Sha256, JoinRequest> {
        &self.requests
    }
    /// Data manifests of an institution's dataset, oldest first.
    pub fn data_manifests(&self, who: ClientId, dataset: Sha256) -> &[Described] {
        self.manifests.get(&(who, dataset)).map_or(&[], Vec::as_slice)
    }

    /// Datasets by institution and opaque id.
    pub fn datasets(&self) -> &BTreeMap<(ClientId, Sha256), DatasetHistory> {
        &self.datasets
    }
    /// Tasks.
    pub fn tasks(&self) -> &BTreeMap<TaskId, TaskHistory> {
        &self.tasks
    }
    /// One task.
    pub fn task(&self, id: TaskId) -> Option<&TaskHistory> {
        self.tasks.get(&id)
    }
    /// Hash of the witness policy in force and the entry that activated it.
    pub fn policy(&self) -> Option<(Sha256, LeafIndex)> {
        self.policy
    }
    /// It, as whoever approves the next one names it.
    pub fn policy_in_force(&self) -> Option<PolicyInForce> {
        self.policy.map(|(policy, entry)| PolicyInForce { policy, entry })
    }
    /// Whether the last process of the server began and has not ended in order.
    pub fn server_running(&self) -> bool {
        self.unclean
    }

    /// Folds one entry. What contradicts the rules is returned; the rest of the entry still counts, so that one fault does not
    /// hide the next. An entry of an unknown type is skipped ("integrity holds, meaning unknown", A38).
    pub fn apply(&mut self, bytes: &[u8]) -> Vec<Violation> {
        self.apply_judged(bytes, LogEntry::parse(bytes).as_ref().map_err(|e| *e), &mut |s| s.check_signature().is_ok())
    }

    /// As [`Self::apply`] for an entry that the caller has parsed already: `parsed` is what [`LogEntry::parse`] says of `bytes`, and
    /// `holds` knows whether the entry's statement is signed by its key.
    ///
    /// # Security
    /// See [`Statement::checked_by`].
    pub fn apply_judged(
        &mut self,
        bytes: &[u8],
        parsed: Result<&LogEntry, EntryError>,
        holds: &mut dyn FnMut(&Statement) -> bool,
    ) -> Vec<Violation> {
        let index = LeafIndex(self.size);
        self.size += 1;
        let mut out = rules::Report::at(index);
        match parsed {
            Ok(entry) => self.apply_entry(index, bytes, entry, holds, &mut out),
            Err(e) => {
                self.causes.note_unread();
                out.add(if e == EntryError::Unknown { Clause::UnknownEntry } else { Clause::Schema });
            }
        }
        out.into_violations()
    }

    /// The key that entries name by this hash, if somebody enrolled so far has it or had it.
    pub fn key(&self, keyid: &Sha256) -> Option<PublicKey> {
        self.keys.get(keyid).copied()
    }

    fn apply_entry(
        &mut self,
        index: LeafIndex,
        bytes: &[u8],
        entry: &LogEntry,
        holds: &mut dyn FnMut(&Statement) -> bool,
        out: &mut rules::Report,
    ) {
        out.require(entry.stamp.seq == index.0, Clause::Sequence);
        out.require(entry.stamp.ts > self.last_ts, Clause::TimeOrder);
        self.check_stamp(entry, out);
        self.note(index, entry);
        self.last_ts.clone_from(&entry.stamp.ts);
        let statement = match self.checked(entry, holds) {
            Ok(statement) => statement,
            Err(clause) => return out.add(clause),
        };
        match (&entry.facts, statement) {
            (Facts::FederationCreated { .. }, None) => out.require(index.0 == 0, Clause::Schema),
            (Facts::TrustChanged { old, new }, Some(s)) => self.trust_changed(index, (*old, *new), &s, out),
            (Facts::ProcessStarted { build, config, .. }, None) => self.process_started(Start { build: *build, config: *config }),
            (Facts::ProcessStopped {}, None) => self.unclean = false,
            (Facts::ProcessUpgraded { old, new }, None) => out.require(self.is_change(*old, *new, |s| s.build), Clause::Restart),
            (Facts::ProcessConfigChanged { old, new }, None) => out.require(self.is_change(*old, *new, |s| s.config), Clause::Restart),
            (Facts::ProcessClockSkew { .. } | Facts::ProcessStorageLow { .. }, None) => {}
            (Facts::WitnessMissing { witness, size }, None) => self.witness_missing(entry, *witness, *size, out),
            (Facts::WitnessReturned { witness, size }, None) => self.witness_returned(entry, *witness, *size, out),
            (Facts::MemberInvited { .. } | Facts::AuthzAllowed {} | Facts::AuthzDenied {}, None) => {}
            (Facts::AuditAlarm { .. } | Facts::UpdateRejected {}, None) => {}
            (Facts::MemberJoinRequested { request, .. }, Some(s)) => self.join_requested(entry, *request, &s, out),
            (Facts::MemberJoined { request }, Some(s)) => self.joined(index, entry, *request, &s, out),
            (Facts::MemberRenewed { tls_key, .. }, None) => {
                let member = entry.institution.and_then(|who| self.members.get(&who));
                out.require(member.is_some_and(|m| m.is_active() && m.shows(*tls_key)), Clause::Renewed);
            }
            (Facts::MemberSuspended { .. } | Facts::MemberResumed { .. } | Facts::MemberRevoked { .. }, Some(s)) => {
                self.standing_changed(index, entry, &s, out);
            }
            (Facts::MemberLeft { .. }, Some(s)) => self.left(index, entry, &s, out),
            (Facts::KeyRotated { purpose, .. }, Some(s)) => self.key_rotated(*purpose, entry, &s, out),
            (Facts::KeyRevoked { .. }, Some(s)) => self.key_revoked(index, entry, &s, out),
            (Facts::PolicyActivated { old, policy }, Some(s)) => self.activated(index, (*old, *policy), &s, out),
            (Facts::ModelReleased { .. }, Some(s)) => self.released(index, entry, &s, out),
            (Facts::ModelWithdrawn { .. }, Some(s)) => self.withdrawn(index, entry, &s, out),
            (Facts::AuditReviewed { .. }, Some(s)) => self.reviewed(index, entry, &s, out),
            (Facts::ProcessRecovered { before, size, .. }, None) => {
                // The log that was built is what stands before this entry.
                out.require(*before <= *size && *size == index.0, Clause::Recovered);
            }
            // Of what a checkpoint covered before it.
            (Facts::AuditExported { size, .. }, None) => out.require((1..=index.0).contains(size), Clause::Exported),
            (Facts::SiteAnchored { .. }, Some(s)) => self.anchored(index, entry, &s, out),
            (Facts::DatasetDeclared { dataset }, Some(s)) => self.dataset(entry, *dataset, &s, out),
            (Facts::DatasetChanged { dataset, manifest }, Some(s)) => self.described(index, entry, (*dataset, *manifest), &s, out),
            (Facts::DatasetWithdrawn { .. }, Some(s)) => self.dataset_withdrawn(index, entry, &s, out),
            (Facts::BudgetDeclared { dataset, .. }, Some(s)) => self.cap(entry, *dataset, &s, out),
            (Facts::BudgetRepaired { .. } | Facts::BudgetSpent { .. } | Facts::BudgetReleased { .. }, Some(s)) => {
                self.ledger_told(index, entry, &s, out);
            }
            (Facts::BudgetExhausted { .. }, Some(s)) => self.exhausted(index, entry, &s, out),
            (Facts::SitePolicyDeclared { .. }, Some(s)) => self.site_policy_declared(index, entry, &s, out),
            (Facts::TaskApproved { plan }, Some(s)) => self.task_approved(index, entry, *plan, &s, out),
            (_, statement) => self.in_task(index, bytes, entry, statement.as_ref(), out),
        }
    }

    fn in_task(&mut self, index: LeafIndex, bytes: &[u8], entry: &LogEntry, statement: Option<&Checked>, out: &mut rules::Report) {
        let Some(task) = entry.task.and_then(|t| self.tasks.get_mut(&t)) else { return out.add(Clause::UnknownTask) };
        let world = round::World { members: &self.members, datasets: &self.datasets, server: self.trust.server };
        let spend = task.apply(index, bytes, entry, statement, &world, out);
        let Some((client, spend)) = spend else {
            if let (Facts::TaskEnded { .. }, Some(ended)) = (&entry.facts, entry.task) {
                self.room_after(index, ended);
            }
            return;
        };
        let Some(dataset) = self.datasets.get_mut(&(client, spend.spend.dataset)) else {
            return out.add(Clause::BudgetUndeclared);
        };
        dataset.must_be_in_use(out);
        rules::check_spend(dataset, &spend, out);
        let id = (client, spend.spend.dataset);
        let units = task.rounds().get(&spend.round).and_then(|r| r.declared.get(&id)).copied();
        dataset.spend(spend, units);
    }

    fn task_approved(&mut self, index: LeafIndex, entry: &LogEntry, plan: PlanDigest, s: &Checked, out: &mut rules::Report) {
        let Some(said) = self.administrator::<PlanApproval>(s, out) else { return };
        let Some(task) = entry.task else { return out.add(Clause::Schema) };
        out.require(said.plan == plan && said.task == task, Clause::FieldsDiffer);
        if self.effect(s, index) == Effect::Now {
            self.tasks.entry(task).or_insert_with(|| TaskHistory::approved(plan));
        }
        // Other administrators may approve the same plan; another one under this name would change what was opened.
        out.require(self.tasks.get(&task).is_none_or(|known| known.plan_digest() == plan), Clause::State);
    }

    /// The entry's statement, if it has one, once its signature holds under a key that is known at this index.
    fn checked(&self, entry: &LogEntry, holds: &mut dyn FnMut(&Statement) -> bool) -> Result<Option<Checked>, Clause> {
        let Some(stmt) = &entry.stmt else { return Ok(None) };
        let key = self.key(&stmt.keyid).or_else(|| self.new_key(entry)).ok_or(Clause::Signature)?;
        let statement = stmt.with_key(key).map_err(|_| Clause::Signature)?;
        let checked = statement.checked_by(holds).map_err(|_| Clause::Signature)?;
        if self.is_retired(stmt.keyid) {
            return Err(Clause::RetiredKey);
        }
        Ok(Some(match self.holder(stmt.keyid) {
            Some(who) => checked.said_by(who),
            None => checked,
        }))
    }

    /// The key of a newcomer stands in its own join request, which it signed.
    fn new_key(&self, entry: &LogEntry) -> Option<PublicKey> {
        let stmt = entry.stmt.as_ref().filter(|_| matches!(entry.facts, Facts::MemberJoinRequested { .. }))?;
        let payload = stmt.payload_bytes().ok()?;
        let request: JoinRequest = crate::codec::decode(&payload, JoinRequest::LIMIT).ok()?;
        (stmt.media_type == StatementKind::JoinRequest.media_type()).then_some(request.institution_key)
    }

    /// A policy is in force from the m-th word on. What was signed when another one was in force is void, whoever brings it again (I11).
    fn activated(&mut self, index: LeafIndex, fields: (Option<Sha256>, Sha256), statement: &Checked, out: &mut rules::Report) {
        let Some(said) = self.administrator::<PolicyApproval>(statement, out) else { return };
        out.require((said.replaces.map(|r| r.policy), said.policy) == fields, Clause::FieldsDiffer);
        if said.replaces != self.policy_in_force() {
            return out.add(Clause::Policy);
        }
        if self.effect(statement, index) == Effect::Now {
            self.policy = Some((said.policy, index));
            // What others said names a policy that is not in force any more.
            self.approvals.forget_all(StatementKind::Policy);
        }
    }

    /// Counts an administrator's word for what it says (A14).
    fn effect(&mut self, statement: &Statement, index: LeafIndex) -> Effect {
        self.approvals.count(statement, index, self.trust.threshold)
    }

    fn administrator<P: Payload>(&self, statement: &Checked, out: &mut rules::Report) -> Option<P> {
        if !self.trust.administrators.contains(&statement.key) {
            out.add(Clause::NotAdministrator);
            return None;
        }
        let said = statement.read::<P>();
        out.require(said.is_ok(), Clause::Signature);
        said.ok()
    }

    fn member_said<P: Payload>(&self, entry: &LogEntry, statement: &Checked, out: &mut rules::Report) -> Option<(ClientId, P)> {
        let who = statement.signer();
        if !members::speaks(&self.members, who, entry.institution, out) {
            return None;
        }
        let said = statement.read::<P>();
        out.require(said.is_ok(), Clause::Signature);
        said.ok().map(|p| (who, p))
    }

    fn dataset(&mut self, entry: &LogEntry, dataset: Sha256, statement: &Checked, out: &mut rules::Report) {
        let Some((who, declaration)) = self.member_said::<DatasetDeclaration>(entry, statement, out) else { return };
        out.require(declaration.dataset == dataset, Clause::FieldsDiffer);
        let new = DatasetHistory::declared(declaration);
        if let Some(known) = self.datasets.get(&(who, dataset)) {
            known.must_be_in_use(out);
        }
        // A new version of a dataset stays in its lineage: what was spent is not forgotten (privacy.md D58).
        let known = self.datasets.entry((who, dataset)).or_insert(new);
        // Another size means another sampling, which may cost less.
        if known.declaration != declaration {
            known.make_room(LeafIndex(entry.stamp.seq), |_| true);
        }
        known.declaration = declaration;
    }

    /// A manifest is of a declared dataset and its unit, and names the one before it, so that none is left out unnoticed.
    fn described(&mut self, index: LeafIndex, entry: &LogEntry, fields: (Sha256, Sha256), statement: &Checked, out: &mut rules::Report) {
        let Some((who, manifest)) = self.member_said::<DataManifest>(entry, statement, out) else { return };
        let hash = Sha256(crate::hash::sha256(&[&statement.payload]));
        out.require((manifest.dataset, hash) == fields, Clause::FieldsDiffer);
        let Some(dataset) = self.datasets.get(&(who, manifest.dataset)) else { return out.add(Clause::DataManifest) };
        dataset.must_be_in_use(out);
        let before = self.manifests.entry((who, manifest.dataset)).or_default();
        let follows = manifest.previous == before.last().map(|d| d.hash);
        out.require(manifest.is_sound() && follows && manifest.unit == dataset.declaration.unit, Clause::DataManifest);
        before.push(Described { index, hash, manifest });
    }

    fn cap(&mut self, entry: &LogEntry, dataset: Sha256, statement: &Checked, out: &mut rules::Report) {
        let Some((who, cap)) = self.member_said::<BudgetDeclaration>(entry, statement, out) else { return };
        let same = matches!(&entry.facts, Facts::BudgetDeclared { epsilon_cap, .. } if *epsilon_cap == cap.epsilon_cap);
        out.require(same && cap.dataset == dataset, Clause::FieldsDiffer);
        match self.datasets.get_mut(&(who, dataset)) {
            Some(d) => {
                d.must_be_in_use(out);
                let same = d.cap.is_none_or(|before| before.own_epsilon_cap.is_some() == cap.own_epsilon_cap.is_some());
                out.require(same, Clause::BudgetAccount);
                d.cap_declared(LeafIndex(entry.stamp.seq), cap);
            }
            None => out.add(Clause::BudgetUndeclared),
        }
    }

    fn repaired(&mut self, index: LeafIndex, who: ClientId, repair: LedgerRepair, out: &mut rules::Report) {
        let Some(dataset) = self.datasets.get_mut(&(who, repair.dataset)) else { return out.add(Clause::BudgetUndeclared) };
        rules::check_repair(dataset, index, &repair, out);
        // What a repair takes for rounds that are over is not held for them any more.
        dataset.make_room(index, |_| true);
        dataset.repairs.push((index, repair));
    }

    /// A release is stated once, about a declared dataset and its unit. Its counter may lie below those of spends: it is told when the
    /// institution is next connected, not when it is paid.
    fn release_paid(&mut self, index: LeafIndex, who: ClientId, release: ReleaseSpend, out: &mut rules::Report) {
        let Some(dataset) = self.datasets.get_mut(&(who, release.dataset)) else { return out.add(Clause::BudgetUndeclared) };
        out.require(release.unit == dataset.declaration.unit, Clause::FieldsDiffer);
        let spends = dataset.spends.iter().map(|r| r.spend.ledger_counter);
        let mut taken = spends.chain(dataset.releases.iter().map(|(_, r)| r.ledger_counter));
        out.require(taken.all(|counter| counter != release.ledger_counter), Clause::LedgerCounter);
        dataset.releases.push((index, release));
    }

    /// Tells the history what a plan's artefact says; from then on rounds of its tasks are checked against it.
    pub fn learn_plan(&mut self, bytes: &[u8], plan: &Plan) {
        let digest = Plan::digest(bytes);
        for task in self.tasks.values_mut().filter(|t| t.plan_digest() == digest) {
            task.learn_plan(plan.clone());
        }
    }
}
