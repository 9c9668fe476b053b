//! Checks 5 and 6: entries one by one through the one fold that everybody uses, with plans learnt before their rounds (A35, A36).
//! Knows no tile and no note.

use crate::ahead::{self, Ahead, Waiting};
use crate::artefacts;
use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Finding, Findings, Place, Rule, Severity};
use crate::policies::Policies;
use crate::stated::{Odd, Stated};
use audit::hash::{Hash, leaf_hash};
use audit::reader::LogReader;
use audit::tree::CompactRange;
use protocol::codec;
use protocol::entry::{Actor, Facts, LogEntry};
use protocol::history::{Clause, History, Violation};
use protocol::ids::{ClientId, GroupId, LeafIndex, PlanDigest, Position, RoundId, Sha256, SnapshotDigest, TaskId};
use protocol::plan::Plan;
use protocol::rotation::{keyid, witness_id};
use protocol::sidecar;
use protocol::statement::Statement;
use protocol::trust::TrustDocument;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

const FIRST: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: entry 0 names this trust document");
/// What is absent contradicts nothing (A38): before the first checkpoint is published no entry can be held against one.
const NO_FIRST: Rule = Rule::new(Check::Trust, Severity::Incomplete, "A14: entry 0 names this trust document");
const ORDER: Rule = Rule::new(Check::Entries, Severity::Incomplete, "A35.5: entries can be read without a hole");
const ALARM: Rule = Rule::new(
    Check::Invariants,
    Severity::Notice,
    "C62: the log holds no alarm; what an alarm says is the server's word, its evidence is named",
);
const PLAN_MISSING: Rule = Rule::new(Check::Artefacts, Severity::Incomplete, "A17: the plan of an approved task is there");
const PLAN_BAD: Rule = Rule::new(Check::Invariants, Severity::Invariant, "I6: an approved plan is a plan of this federation and task");
const PLAN_BASE: Rule = Rule::new(Check::Invariants, Severity::Invariant, "I6: a task opens with the weights of its plan");
const PLAN_ROUNDS: Rule = Rule::new(Check::Invariants, Severity::Invariant, "I7: no round beyond those of the plan");
const COVERED: Rule = Rule::new(Check::Invariants, Severity::Invariant, "I6: a manifest names a checkpoint covering the previous end");
const REPEATS: Rule = Rule::new(Check::Entries, Severity::Integrity, "A17: entry fields agree with what was signed and certified");
const REVIEWED: Rule = Rule::new(Check::Invariants, Severity::Invariant, "A39: a review names a trust document of this log");
const ACTOR: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "I12: who acted is who signed, in a role that the trust document or the roster gives",
);
const OLD_WITNESS: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "A12: an activated policy names no witness key that its institution had replaced, or that was revoked, before it",
);
const NO_QUORUM: Rule = Rule::new(Check::Notes, Severity::Incomplete, "A12: quorum none holds only until the first task opens");

/// Where one sum of the log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SumPlace {
    pub(crate) task: TaskId,
    pub(crate) round: RoundId,
    pub(crate) group: GroupId,
}

/// The entries so far.
pub(crate) struct Fold<'a> {
    log: &'a Directory,
    policies: &'a Policies,
    trust: Sha256,
    history: History,
    findings: Findings,
    activated: Vec<(u64, Sha256)>,
    ends: BTreeMap<TaskId, u64>,
    sums: BTreeMap<SumPlace, u64>,
    failed: BTreeMap<SumPlace, u64>,
    openings: BTreeMap<(SumPlace, Position), u64>,
    named: BTreeSet<Sha256>,
    hidden: BTreeMap<u64, Sha256>,
    wanted: BTreeMap<u64, Option<Hash>>,
    range: CompactRange,
    hole: bool,
    trouble: Option<ReadError>,
    waiting: Waiting,
    stated: Stated,
}

impl<'a> Fold<'a> {
    /// An empty fold; `wanted` are the sizes whose roots are compared with notes from elsewhere.
    pub(crate) fn new(
        log: &'a Directory,
        policies: &'a Policies,
        trust: (TrustDocument, Sha256),
        wanted: BTreeSet<u64>,
        threads: Option<NonZeroUsize>,
    ) -> Self {
        let mut wanted: BTreeMap<_, _> = wanted.into_iter().map(|size| (size, None)).collect();
        let range = CompactRange::new();
        wanted.entry(0).and_modify(|root| *root = Some(range.root()));
        Self {
            log,
            policies,
            trust: trust.1,
            history: History::new(trust.0),
            findings: Findings::default(),
            activated: Vec::new(),
            ends: BTreeMap::new(),
            sums: BTreeMap::new(),
            failed: BTreeMap::new(),
            openings: BTreeMap::new(),
            named: BTreeSet::new(),
            hidden: BTreeMap::new(),
            wanted,
            range,
            hole: false,
            trouble: None,
            waiting: Waiting::new(threads),
            stated: Stated::default(),
        }
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }
    /// What entries state about others.
    pub(crate) fn stated(&self) -> &Stated {
        &self.stated
    }
    /// The directory that is folded.
    pub(crate) fn log(&self) -> &Directory {
        self.log
    }
    /// The policies of the directory.
    pub(crate) fn policies(&self) -> &Policies {
        self.policies
    }
    /// Entries that activated a policy, with its hash.
    pub(crate) fn activated(&self) -> &[(u64, Sha256)] {
        &self.activated
    }
    /// Artefacts that entries name.
    pub(crate) fn named(&self) -> &BTreeSet<Sha256> {
        &self.named
    }
    /// Hashes behind which a value is hidden that could be guessed, by entry (A18).
    pub(crate) fn hidden(&self) -> &BTreeMap<u64, Sha256> {
        &self.hidden
    }
    /// The recomputed root at a wanted size, if the log reaches it.
    pub(crate) fn root_at(&self, size: u64) -> Option<Hash> {
        self.wanted.get(&size).copied().flatten()
    }
    /// The entry that states a sum.
    pub(crate) fn sum_index(&self, at: SumPlace) -> u64 {
        self.sums.get(&at).copied().unwrap_or(0)
    }
    /// The entry that says that a sum failed, if there is one.
    pub(crate) fn failed_index(&self, at: SumPlace) -> Option<u64> {
        self.failed.get(&at).copied()
    }
    /// The entry that holds an opening.
    pub(crate) fn opening_index(&self, at: SumPlace, position: Position) -> u64 {
        self.openings.get(&(at, position)).copied().unwrap_or(0)
    }

    /// Hands over what was found while folding.
    ///
    /// # Errors
    /// The first trouble with reading a plan.
    pub(crate) fn finish(&mut self, findings: &mut Findings) -> Result<(), ReadError> {
        self.catch_up();
        if self.history.size() == 0 && !self.hole {
            findings.add(NO_FIRST, Place::Index(0), "federation.created", "no entry under a checkpoint");
        }
        findings.absorb(std::mem::take(&mut self.findings));
        self.trouble.take().map_or(Ok(()), Err)
    }

    /// Takes in the next entry; [`Self::finish`] folds those that still wait.
    pub(crate) fn entry(&mut self, index: u64, bytes: &[u8]) {
        if !self.hole && self.waiting.push(index, bytes) {
            self.catch_up();
        }
    }

    /// Folds every entry that waits.
    fn catch_up(&mut self) {
        for entry in self.waiting.read(&self.history) {
            self.fold(entry);
        }
    }

    fn fold(&mut self, entry: Ahead) {
        if self.hole {
            return;
        }
        let Ahead { index, ref bytes, parsed, verdict } = entry;
        let bytes = bytes.as_slice();
        if index != self.history.size() {
            // What follows a hole cannot be judged: members, plans and sums may have changed in it.
            self.hole = true;
            return self.add(ORDER, index, format!("entry {}", self.history.size()), format!("entry {index}"), None);
        }
        self.remember_root(bytes);
        if index == 0 {
            self.check_first(parsed.as_ref().ok(), leaf_hash(bytes));
        }
        let (tasks, policy) = (self.history.tasks().len(), self.history.policy());
        let mut holds = |s: &Statement| ahead::holds(verdict, s);
        for violation in self.history.apply_judged(bytes, parsed.as_ref().map_err(|e| *e), &mut holds) {
            self.violation(violation, parsed.as_ref().ok(), leaf_hash(bytes));
        }
        if self.history.policy() != policy {
            self.activated.extend(self.history.policy().map(|(hash, at)| (at.0, hash)));
            // The policy's text is kept as an artefact too, where its entry names it.
            self.named.extend(self.history.policy().map(|(hash, _)| hash));
            self.check_witnesses(index);
        }
        if self.history.tasks().len() != tasks {
            self.learn_plans(index);
        }
        if let Ok(entry) = parsed {
            self.follow(index, &entry);
        }
    }

    fn remember_root(&mut self, bytes: &[u8]) {
        // The tree is hashed a second time only when somebody asks for roots of his own.
        if self.wanted.is_empty() {
            return;
        }
        self.range.push(leaf_hash(bytes));
        let size = self.range.size();
        if let Some(root) = self.wanted.get_mut(&size) {
            *root = Some(self.range.root());
        }
    }

    fn check_first(&mut self, entry: Option<&LogEntry>, leaf: Hash) {
        let named = match entry.map(|e| &e.facts) {
            Some(Facts::FederationCreated { trust }) => Some(*trust),
            Some(_) | None => None,
        };
        if named != Some(self.trust) {
            let got = named.map_or("no federation.created".to_owned(), Sha256::to_hex);
            self.add(FIRST, 0, self.trust.to_hex(), got, Some(leaf));
        }
    }

    fn violation(&mut self, v: Violation, entry: Option<&LogEntry>, leaf: Hash) {
        let severity = if v.clause == Clause::UnknownEntry {
            Severity::Notice
        } else if v.clause.is_integrity() {
            Severity::Integrity
        } else {
            Severity::Invariant
        };
        let check = if v.clause.is_integrity() || v.clause == Clause::UnknownEntry { Check::Entries } else { Check::Invariants };
        let got = entry.map_or("an entry that cannot be read", |e| e.kind().name()).to_owned();
        self.add(Rule::new(check, severity, v.clause.text()), v.index.0, "the rule kept", got, Some(leaf));
    }

    fn add(&mut self, rule: Rule, index: u64, expected: impl Into<String>, got: impl Into<String>, leaf: Option<Hash>) {
        let Rule { check, severity, clause } = rule;
        let (expected, got, entry_hash) = (expected.into(), got.into(), leaf.map(|l| l.to_string()));
        self.findings.push(Finding { check, place: Place::Index(index), clause, severity, expected, got, entry_hash });
    }

    /// The policy that this entry activates, where its text is there: who replaced a witness key is not to be known by it any more.
    fn check_witnesses(&mut self, index: u64) {
        let policies = self.policies;
        let Some((_, policy)) = policies.at(index + 1).filter(|(from, _)| *from == index + 1) else { return };
        let named = policy.witnesses().iter().map(|w| witness_id(&w.key.to_string()));
        let named: Vec<Sha256> = named.filter(|w| self.history.is_old_witness(*w)).collect();
        for witness in named {
            self.add(OLD_WITNESS, index, "witnesses as the log has them", witness.to_hex(), None);
        }
    }

    /// Reads the plans of tasks that were just approved, so that their rounds are checked against them.
    fn learn_plans(&mut self, index: u64) {
        let unknown = self.history.tasks().iter().filter(|(_, t)| t.plan().is_none()).map(|(id, t)| (*id, t.plan_digest()));
        let fresh: Vec<(TaskId, PlanDigest)> = unknown.filter(|(_, d)| !self.named.contains(&Sha256(d.0))).collect();
        for (task, digest) in fresh {
            let hash = Sha256(digest.0);
            self.named.insert(hash);
            match self.log.read(&artefacts::path(&hash), artefacts::MAX_ARTEFACT_BYTES) {
                Ok(Some(bytes)) => self.learn_plan(index, task, digest, &bytes),
                Ok(None) => self.add(PLAN_MISSING, index, digest.to_hex(), "nothing", None),
                Err(e) => self.trouble = self.trouble.take().or(Some(e)),
            }
        }
    }

    fn learn_plan(&mut self, index: u64, task: TaskId, digest: PlanDigest, bytes: &[u8]) {
        if Plan::digest(bytes) != digest {
            return; // reported by the sweep of all artefacts
        }
        let plan = codec::decode::<Plan>(bytes, Plan::MAX_BYTES).ok().filter(|p| p.check().is_ok());
        let federation = &self.history.trust().federation;
        match plan {
            Some(plan) if plan.task == task && plan.federation == *federation => self.history.learn_plan(bytes, &plan),
            Some(plan) => {
                self.add(PLAN_BAD, index, format!("{federation}, task {task}"), format!("{}, task {}", plan.federation, plan.task), None)
            }
            None => self.add(PLAN_BAD, index, "a plan that can be run", "bytes that are none", None),
        }
    }

    /// What the history does not keep: where sums and openings stand, and what only the plan and the policies forbid.
    fn follow(&mut self, index: u64, entry: &LogEntry) {
        self.hidden.extend(sidecar::hidden(&entry.facts).map(|hash| (index, hash)));
        if !self.repeats(entry) {
            self.add(REPEATS, index, "the signed fields", entry.kind().name(), None);
        }
        if !self.acted(index, entry) {
            self.add(ACTOR, index, "the role of the signer", format!("{:?}, {}", entry.actor, entry.kind().name()), None);
        }
        if let Some(Odd { rule, expected, got }) = self.stated.entry(index, entry, &self.history) {
            self.add(rule, index, expected, got, None);
        }
        match (&entry.facts, entry.task, entry.round, entry.group) {
            (Facts::SumOpened { .. }, Some(task), Some(round), Some(group)) => {
                self.sums.entry(SumPlace { task, round, group }).or_insert(index);
            }
            (Facts::SumFailed {}, Some(task), Some(round), Some(group)) => {
                self.failed.entry(SumPlace { task, round, group }).or_insert(index);
            }
            (Facts::TrustChanged { new, .. }, ..) => {
                self.named.insert(*new);
            }
            (Facts::AuditReviewed { .. }, ..) => {
                let said = self.history.reviews().last().filter(|(at, _)| at.0 == index).map(|(_, r)| r.trust);
                if let Some(other) = said.filter(|t| !self.history.knows_trust(*t)) {
                    self.add(REVIEWED, index, self.history.trust_hash().to_hex(), other.to_hex(), None);
                }
            }
            (Facts::ManifestPublished { .. }, Some(task), Some(round), _) => self.manifest_published(index, task, round),
            (Facts::RoundClosed { .. } | Facts::RoundAbandoned {}, Some(task), ..) => {
                self.ends.insert(task, index);
            }
            (Facts::OpeningPosted { position, .. }, Some(task), Some(round), Some(group)) => {
                self.openings.entry((SumPlace { task, round, group }, *position)).or_insert(index);
            }
            (Facts::AuditAlarm { alarm, evidence }, ..) => {
                let about = entry.institution.map_or_else(String::new, |who| format!(" about {who}"));
                self.add(ALARM, index, "none", format!("{}{about}, evidence {evidence}", alarm.name()), None);
            }
            (Facts::TaskOpened { snapshot, .. }, Some(task), ..) => self.task_opened(index, task, *snapshot),
            (Facts::RoundOpened { .. }, Some(task), Some(round), _) => {
                let most = self.history.task(task).and_then(|t| t.plan()).map(|p| p.rounds);
                if let Some(most) = most.filter(|m| round.0 > *m) {
                    self.add(PLAN_ROUNDS, index, format!("at most {most}"), round.to_string(), None);
                }
            }
            _other => {}
        }
    }

    /// Whether the actor that an entry states is the one whose key signed, and no more is claimed than the key may do.
    fn acted(&self, index: u64, entry: &LogEntry) -> bool {
        // The last word for another trust document is still one under the old one.
        let trust = self.history.trust_at(LeafIndex(index));
        match (entry.actor, entry.stmt.as_ref().map(|s| s.keyid)) {
            (Actor::Server | Actor::Stranger, None) => true,
            (Actor::Server, Some(signer)) => keyid(&trust.server) == signer,
            (Actor::Administrator, Some(signer)) => trust.administrators.iter().any(|k| keyid(k) == signer),
            // On the server's host an administrator is whoever may run the command: a token is made there, chunks are deleted, and a copy of the log
            // is handed out. What is allowed shows no statement.
            (Actor::Administrator, None) => {
                let at_the_host = matches!(entry.facts, Facts::RoundChunksDeleted { .. } | Facts::AuditExported { .. });
                at_the_host || matches!(entry.facts, Facts::MemberInvited { .. } | Facts::AuthzAllowed {})
            }
            (Actor::Institution, None) => matches!(entry.facts, Facts::AuthzAllowed {}),
            (Actor::Institution | Actor::Decryptor, Some(signer)) => {
                // Who asks to join is known by its key alone.
                entry.institution == Some(self.history.holder(signer).unwrap_or(ClientId(signer.0)))
            }
            (Actor::Decryptor, None) | (Actor::Stranger, Some(_)) => false,
        }
    }

    /// Whether the fields that the history does not compare repeat what was signed (A17).
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other types have nothing that is left to compare")]
    fn repeats(&self, entry: &LogEntry) -> bool {
        let round = entry.task.and_then(|t| self.history.task(t)).and_then(|t| t.rounds().get(&entry.round?));
        let group = round.and_then(|r| r.groups.get(&entry.group?));
        match &entry.facts {
            Facts::MemberJoinRequested { request, token } => self.history.requests().get(request).is_none_or(|r| r.token == *token),
            Facts::ManifestEndorsed { manifest } => round.and_then(|r| r.manifest.as_ref()).is_none_or(|(_, m)| m == manifest),
            Facts::SetCertified { set, .. } => group.and_then(|g| g.proposed).is_none_or(|s| s == *set),
            Facts::SumOpened { certificate, .. } => group.and_then(|g| g.certificate.as_ref()).is_none_or(|c| c.digest() == *certificate),
            _other => true,
        }
    }

    fn manifest_published(&mut self, index: u64, task: TaskId, round: RoundId) {
        let manifest = self.history.task(task).and_then(|t| t.rounds().get(&round)).and_then(|r| r.manifest.as_ref());
        let (Some(size), Some(end)) = (manifest.map(|(m, _)| m.log_size), self.ends.get(&task)) else { return };
        if size <= *end || size > index {
            self.add(COVERED, index, format!("a size above {end} and at most {index}"), size.to_string(), None);
        }
    }

    fn task_opened(&mut self, index: u64, task: TaskId, snapshot: SnapshotDigest) {
        self.ends.insert(task, index);
        let base = self.history.task(task).and_then(|t| t.plan()).map(|p| p.base);
        if let Some(base) = base.filter(|b| *b != snapshot) {
            self.add(PLAN_BASE, index, base.to_hex(), snapshot.to_hex(), None);
        }
        if self.policies.at(index + 1).is_none_or(|(_, p)| !p.demands_witnesses()) {
            self.add(NO_QUORUM, index, "a policy with a quorum", "quorum none", None);
        }
    }
}
