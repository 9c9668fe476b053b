//! What the receipts prove, taken together. Knows no file.

use super::DatasetSummary;
use super::pack::Pack;
use super::releases;
use super::trusts::Trusts;
use crate::budget::{self, Accounts};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use audit::checkpoint::Checkpoint;
use audit::tree::CompactRange;
use privacy::ledger::{LoadError, Loaded, PrivacyLedger, SeenRelease};
use protocol::entry::{Actor, Facts, LogEntry};
use protocol::exhausted::BudgetExhausted;
use protocol::hash::sha256;
use protocol::history::{DatasetHistory, SpendRecord};
use protocol::ids::{ClientId, LeafIndex, PlanDigest, PublicKey, Sha256, TaskId};
use protocol::manifest::Header;
use protocol::membership::{DatasetWithdrawal, Departure, KeyPurpose};
use protocol::plan::PlanApproval;
use protocol::release::SiteAnchor;
use protocol::renewal::Rotation;
use protocol::rotation::{StatementKeyRotation, WitnessKeyRotation, keyid, witness_id};
use protocol::sidecar;
use protocol::site::SiteEntry;
use protocol::site_policy::SitePolicyDeclaration;
use protocol::statement::Checked;
use protocol::trust::{
    BudgetDeclaration, DatasetDeclaration, LedgerRepair, Membership, PolicyApproval, ReleaseSpend, RoundSpend, TrustDocument,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const PINNED: Rule = Rule::new(Check::Trust, Severity::Integrity, "A35.1: the trust document is the one that was pinned");
const STATED: Rule = Rule::new(Check::Trust, Severity::Integrity, "A14: the pack is about this federation and its trust document");
const LOG_KEY: Rule =
    Rule::new(Check::Trust, Severity::Integrity, "A14: the policy names the key of the log that the trust document in force names");
const POLICY: Rule = Rule::new(Check::Trust, Severity::Integrity, "A12: the policy is one that an administrator activated in the log");
const PROVED: Rule = Rule::new(Check::Notes, Severity::Integrity, "A13: a receipt's entry is in the tree of a checkpoint with its quorum");
const QUORUM: Rule = Rule::new(Check::Notes, Severity::Incomplete, "A13: a receipt's checkpoint has its quorum");
const ENTRY: Rule = Rule::new(Check::Entries, Severity::Integrity, "A15: an entry is of the schema in its one spelling");
const SIGNED: Rule =
    Rule::new(Check::Entries, Severity::Integrity, "A17: a statement is signed by the key that the institution had where it stands");
const FIELDS: Rule = Rule::new(Check::Entries, Severity::Integrity, "A17: entry fields agree with what was signed");
const MEMBER: Rule = Rule::new(Check::Invariants, Severity::Incomplete, "I9: the pack proves that the institution was admitted");
const UNDECLARED: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: spend from a dataset that was not declared");
const CAP: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: epsilon is above the signed cap");
const SITE: Rule = Rule::new(Check::Artefacts, Severity::Integrity, "A27: the site log gives the roots that were anchored");
const SHRINKS: Rule = Rule::new(Check::Invariants, Severity::Invariant, "I14: a site log grows between its anchors");
const RELEASE: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: scalar release from a dataset that was not declared");
const STRANGER: Rule = Rule::new(Check::Budgets, Severity::Notice, "I8: a ledger in the pack is of a dataset that the receipts declare");
const LIFETIME: Rule =
    Rule::new(Check::Budgets, Severity::Notice, "I8: what a ledger spent over all tasks and releases is above the cap declared last");
const ACCOUNT: Rule =
    Rule::new(Check::Budgets, Severity::Invariant, "I8: the ledger charges by the account that the signed cap names (privacy.md D61)");
const SAME_ACCOUNT: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: a signed cap is of the same account as the one before it");
const LEDGER: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: the ledger has every spend that the log shows");

/// What came of it.
pub(super) struct Judged {
    /// Whether the trust document, or one that took its place, is the one that was pinned.
    pub(super) pinned: bool,
    pub(super) name: String,
    pub(super) tree_size: u64,
    pub(super) cosigners: Vec<String>,
    pub(super) receipts: usize,
    pub(super) statements: usize,
    pub(super) datasets: Vec<DatasetSummary>,
    pub(super) anchors: usize,
    pub(super) site_entries: Option<u64>,
    /// Hashes behind which a value is hidden, by proved entry.
    pub(super) hidden: BTreeMap<u64, Sha256>,
}

/// Entries that are proved, in order.
pub(super) type Proved = BTreeMap<u64, LogEntry>;

/// Judges a pack.
pub(super) fn judge(pack: &Pack, pinned: Option<Sha256>, findings: &mut Findings) -> Judged {
    let hash = TrustDocument::hash(&pack.trust_bytes);
    let place = || Place::Path("trust.json".to_owned());
    let about = (pack.about.trust, pack.about.federation.as_str());
    if about != (hash, pack.trust.federation.as_str()) {
        findings.add(STATED, place(), format!("{hash}, {}", pack.trust.federation), format!("{}, {}", about.0, about.1));
    }
    let mut cosigners = Vec::new();
    let (proved, tree_size) = prove(pack, &mut cosigners, findings);
    if tree_size != pack.about.size {
        findings.add(QUORUM, Place::Path("evidence.json".to_owned()), pack.about.size.to_string(), tree_size.to_string());
    }
    let trusts = Trusts::of(&pack.trust, hash, &proved);
    if let Some(pinned) = pinned.filter(|p| !trusts.knows(*p)) {
        findings.add(PINNED, place(), pinned.to_hex(), hash.to_hex());
    }
    // Who administers says which key signs a tree of this size (A14).
    let (log, expected) = (pack.policy.log().to_string(), trusts.log_vkey_at(tree_size));
    if log != expected {
        findings.add(LOG_KEY, Place::Path("policy.txt".to_owned()), expected, log);
    }
    check_policy(pack, &trusts, &proved, findings);
    let first = proved.get(&0).map(|e| &e.facts);
    if !matches!(first, Some(Facts::FederationCreated { trust }) if *trust == hash) {
        findings.add(STATED, Place::Index(0), hash.to_hex(), "no federation.created with this trust document");
    }
    let member = member(pack, &trusts, &proved, findings);
    let mut folded = Own::default();
    if let Some(member) = &member {
        trusts.check_shown(member, &proved, findings);
        folded.keys.push(member.institution_key);
        for (index, entry) in &proved {
            folded.entry(*index, entry, pack.about.institution, findings);
        }
    }
    let datasets = folded.budgets(pack, &trusts, &proved, findings);
    let site_entries = folded.site_log(pack, findings);
    Judged {
        pinned: pinned.is_some_and(|p| trusts.knows(p)),
        name: member.map_or_else(|| pack.about.name.clone(), |m| m.name),
        tree_size,
        cosigners,
        receipts: proved.len(),
        statements: folded.statements,
        datasets,
        anchors: folded.anchors.len(),
        site_entries,
        hidden: proved.iter().filter_map(|(index, e)| Some((*index, sidecar::hidden(&e.facts)?))).collect(),
    }
}

/// Checks every receipt; the smallest tree that covers them all is the one to report.
fn prove(pack: &Pack, cosigners: &mut Vec<String>, findings: &mut Findings) -> (Proved, u64) {
    let (mut proved, mut size) = (Proved::new(), 0);
    // All receipts of a pack carry one note: its signatures are checked once.
    let mut known: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    for (index, receipt) in &pack.receipts {
        let note = receipt.proof.note.encode();
        let head = receipt.proof.note.text().parse::<Checkpoint>().map(|c| c.head);
        let good = match known.get(&note) {
            Some(good) => *good,
            None => {
                let opened = pack.policy.open(&note).ok();
                let quorum = opened.as_ref().is_some_and(audit::policy::Opened::has_quorum);
                if let Some(opened) = &opened {
                    let signed = |w: &&audit::policy::Witness| opened.cosigners().contains_key(&w.key.public());
                    *cosigners = pack.policy.witnesses().iter().filter(signed).map(|w| w.name.clone()).collect();
                    if !quorum {
                        findings.add(QUORUM, Place::Index(*index), "a quorum", format!("{} cosigners", cosigners.len()));
                    }
                } else {
                    findings.add(PROVED, Place::Index(*index), "a checkpoint that this log signed", "another note");
                }
                known.insert(note, opened.is_some());
                opened.is_some()
            }
        };
        let Ok(head) = head else { continue };
        let leaf = audit::hash::leaf_hash(&receipt.entry);
        match receipt.proof.inclusion.verify(&head, *index, &leaf) {
            Ok(()) if good => size = size.max(head.size),
            Ok(()) => continue,
            Err(e) => {
                findings.add(PROVED, Place::Index(*index), "an entry of the tree", e.to_string());
                continue;
            }
        }
        match LogEntry::parse(&receipt.entry) {
            Ok(entry) if entry.stamp.seq == *index && entry.stamp.federation == pack.trust.federation => drop(proved.insert(*index, entry)),
            Ok(entry) => findings.add(ENTRY, Place::Index(*index), index.to_string(), entry.stamp.seq.to_string()),
            Err(e) => findings.add(ENTRY, Place::Index(*index), "an entry", e.to_string()),
        }
    }
    (proved, size)
}

fn check_policy(pack: &Pack, trusts: &Trusts, proved: &Proved, findings: &mut Findings) {
    // As it is, or as it was before the log handed over to another key: it goes on in the same words.
    let known: BTreeSet<Sha256> = trusts.policies(&pack.policy).map(|p| Sha256(sha256(&[p.text().as_bytes()]))).collect();
    let activates = |e: &&LogEntry| matches!(e.facts, Facts::PolicyActivated { policy, .. } if known.contains(&policy));
    let said = trusts.by_enough(proved.values().filter(activates), |e| trusts.administrator::<PolicyApproval>(e));
    if !said.iter().any(|p| known.contains(&p.policy)) {
        let hash = Sha256(sha256(&[pack.policy.text().as_bytes()]));
        findings.add(POLICY, Place::Path("policy.txt".to_owned()), hash.to_hex(), "no such policy.activated among the receipts");
    }
}

fn member(pack: &Pack, trusts: &Trusts, proved: &Proved, findings: &mut Findings) -> Option<Membership> {
    let own = |m: &Membership| m.institution == pack.about.institution && ClientId::of(&m.institution_key) == m.institution;
    let joined = proved.values().filter(|e| matches!(e.facts, Facts::MemberJoined { .. }));
    let said = trusts.by_enough(joined, |e| trusts.administrator::<Membership>(e)).into_iter().find(own);
    if said.is_none() {
        findings.add(MEMBER, Place::Path("entries".to_owned()), "member.joined by an administrator", "none");
    }
    said
}

/// What the institution said, folded.
#[derive(Default)]
struct Own {
    /// Its statement keys, oldest first: what it says is signed by the last of them.
    keys: Vec<PublicKey>,
    statements: usize,
    datasets: BTreeMap<Sha256, DatasetHistory>,
    /// Anchors of the site log, with where they stand.
    anchors: Vec<(u64, SiteAnchor)>,
    /// The site policy that it declared last.
    site_policy: Option<Sha256>,
}

impl Own {
    fn entry(&mut self, index: u64, entry: &LogEntry, who: ClientId, findings: &mut Findings) {
        // What administrators and the server say about it is theirs to sign.
        let own = entry.institution == Some(who) && matches!(entry.actor, Actor::Institution | Actor::Decryptor);
        let (Some(stmt), Some(key), true) = (&entry.stmt, self.keys.last(), own) else { return };
        let checked = stmt.with_key(*key).ok().and_then(|s| s.checked().ok());
        let Some(statement) = checked else {
            return findings.add(SIGNED, Place::Index(index), "a signature that holds", entry.kind().name());
        };
        self.statements += 1;
        if !self.take(index, entry, &statement, findings) {
            findings.add(FIELDS, Place::Index(index), "the signed fields", entry.kind().name());
        }
    }

    /// Takes in another key; false where something else was signed, or for another federation, or without its proof.
    fn rotated(&mut self, purpose: KeyPurpose, keys: (Sha256, Sha256), entry: &LogEntry, s: &Checked) -> bool {
        let here = |federation: &str, who: ClientId| federation == entry.stamp.federation && Some(who) == entry.institution;
        match purpose {
            KeyPurpose::Tls => s.read::<Rotation>().is_ok_and(|r| (r.old, r.new) == keys),
            KeyPurpose::Statement => {
                let change = s.read::<StatementKeyRotation>().ok().and_then(|r| r.change().ok());
                let change = change.filter(|c| here(&c.federation, c.institution) && c.old == s.key);
                let new = change.filter(|c| (keyid(&c.old), keyid(&c.new)) == keys).map(|c| c.new);
                self.keys.extend(new);
                new.is_some()
            }
            KeyPurpose::Witness => {
                s.read::<WitnessKeyRotation>().is_ok_and(|r| here(&r.federation, r.institution) && (r.old, witness_id(&r.new)) == keys)
            }
        }
    }

    /// Folds a statement; false where the entry says something else than was signed.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other types have no figures; their signature was checked")]
    fn take(&mut self, index: u64, entry: &LogEntry, s: &Checked, findings: &mut Findings) -> bool {
        match &entry.facts {
            Facts::DatasetDeclared { dataset } => s.read::<DatasetDeclaration>().is_ok_and(|d| {
                let new = DatasetHistory::declared(d);
                self.datasets.entry(d.dataset).and_modify(|h| h.declaration = d).or_insert(new);
                d.dataset == *dataset
            }),
            Facts::BudgetDeclared { dataset, epsilon_cap } => s.read::<BudgetDeclaration>().is_ok_and(|b| {
                let before = self.datasets.get_mut(&b.dataset).and_then(|h| h.cap.replace(b));
                if before.is_some_and(|c| c.own_epsilon_cap.is_some() != b.own_epsilon_cap.is_some()) {
                    findings.add(SAME_ACCOUNT, Place::Index(index), "the account of the cap before it", "another");
                }
                (b.dataset, b.epsilon_cap) == (*dataset, *epsilon_cap)
            }),
            Facts::BudgetRepaired { dataset, ledger_counter } => s.read::<LedgerRepair>().is_ok_and(|r| {
                self.datasets.entry(r.dataset).and_modify(|h| h.repairs.push((LeafIndex(index), r)));
                (r.dataset, r.ledger_counter) == (*dataset, *ledger_counter)
            }),
            Facts::BudgetReleased { dataset, ledger_counter } => s.read::<ReleaseSpend>().is_ok_and(|r| {
                match self.datasets.get_mut(&r.dataset) {
                    Some(h) => h.releases.push((LeafIndex(index), r)),
                    None => findings.add(RELEASE, Place::Index(index), "a declared dataset", r.dataset.to_hex()),
                }
                (r.dataset, r.ledger_counter) == (*dataset, *ledger_counter)
            }),
            Facts::BudgetExhausted { .. } => s.read::<BudgetExhausted>().is_ok_and(|e| {
                let agrees = e.is_sound() && (Some(e.task), Some(e.round)) == (entry.task, entry.round);
                agrees && e.facts() == entry.facts
            }),
            Facts::BudgetSpent { dataset, ledger_counter } => s.read::<RoundSpend>().is_ok_and(|r| {
                let same = (r.spend.dataset, r.spend.ledger_counter, Some(r.task), Some(r.round));
                let agrees = same == (*dataset, *ledger_counter, entry.task, entry.round);
                let record = SpendRecord { index: LeafIndex(index), task: r.task, round: r.round, spend: r.spend };
                self.spend(record, findings);
                agrees
            }),
            Facts::SitePolicyDeclared { .. } => s.read::<SitePolicyDeclaration>().is_ok_and(|d| {
                let follows = d.follows(self.site_policy.replace(d.new));
                follows && d.facts() == entry.facts
            }),
            Facts::DatasetWithdrawn { dataset, reason } => {
                s.read::<DatasetWithdrawal>().is_ok_and(|w| (w.dataset, w.reason) == (*dataset, *reason))
            }
            Facts::KeyRotated { purpose, old, new } => self.rotated(*purpose, (*old, *new), entry, s),
            Facts::MemberLeft { since, reason } => s.read::<Departure>().is_ok_and(|d| (d.since, d.reason) == (*since, *reason)),
            Facts::SiteAnchored { size, root } => s.read::<SiteAnchor>().is_ok_and(|a| {
                if self.anchors.last().is_some_and(|(_, last)| a.size <= last.size) {
                    findings.add(SHRINKS, Place::Index(index), "a larger site log", a.size.to_string());
                }
                self.anchors.push((index, a));
                (a.size, a.root) == (*size, *root)
            }),
            Facts::UpdateAccepted { header, .. } => {
                let (Ok(said), Some(task), Some(round)) = (s.read::<Header>(), entry.task, entry.round) else { return false };
                let record = SpendRecord { index: LeafIndex(index), task, round, spend: said.core.spend };
                self.spend(record, findings);
                Header::digest(&s.payload) == *header && entry.group == Some(said.core.group)
            }
            _other => true,
        }
    }

    /// Takes in a spend; one from a dataset that the receipts do not declare is named.
    fn spend(&mut self, record: SpendRecord, findings: &mut Findings) {
        match self.datasets.get_mut(&record.spend.dataset) {
            // The manifest is not the institution's to show: what it had declared by now counts.
            Some(d) => d.spend(record, None),
            None => findings.add(UNDECLARED, Place::Index(record.index.0), "a declared dataset", record.spend.dataset.to_hex()),
        }
    }

    /// The site log against its anchors, where the pack has it; answers its whole entries.
    fn site_log(&self, pack: &Pack, findings: &mut Findings) -> Option<u64> {
        let bytes = pack.site_log.as_ref()?;
        let place = || Place::Path("site/log.jsonl".to_owned());
        let mut range = CompactRange::new();
        let mut roots: BTreeMap<u64, String> = BTreeMap::new();
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            if !SiteEntry::parse(line).is_ok_and(|e| e.seq == range.size()) {
                findings.add(SITE, place(), format!("entry {} in its one spelling", range.size()), "another line");
                return Some(range.size());
            }
            range.push(audit::hash::leaf_hash(line));
            if self.anchors.iter().any(|(_, a)| a.size == range.size()) {
                roots.insert(range.size(), range.root().to_string());
            }
        }
        for (index, anchor) in &self.anchors {
            let got = roots.get(&anchor.size).cloned().unwrap_or_else(|| format!("{} entries", range.size()));
            if got != anchor.root.to_hex() {
                findings.add(SITE, Place::Index(*index), format!("root {} at size {}", anchor.root, anchor.size), got);
            }
        }
        Some(range.size())
    }

    fn budgets(&self, pack: &Pack, trusts: &Trusts, proved: &Proved, findings: &mut Findings) -> Vec<DatasetSummary> {
        let approvals = trusts.by_enough(proved.values(), |e| approved(trusts, e));
        let plans: BTreeMap<TaskId, PlanDigest> = approvals.into_iter().map(|p| (p.task, p.plan)).collect();
        let plan_of = |task: TaskId| plans.get(&task).and_then(|d| pack.plans.get(d)).filter(|p| p.task == task);
        let mut accounts = Accounts::default();
        let mut out = Vec::new();
        for (id, d) in &self.datasets {
            budget::check_dataset(pack.about.institution, d, &plan_of, &mut accounts, findings);
            for r in &d.spends {
                let cap = d.cap.map(|c| c.most_own());
                if cap.is_none_or(|c| r.spend.epsilon_after.to_f64() > c.to_f64()) {
                    let cap = cap.map_or_else(|| "a cap".to_owned(), |c| c.to_string());
                    findings.add(CAP, Place::Index(r.index.0), cap, r.spend.epsilon_after.to_string());
                }
            }
            out.push(DatasetSummary {
                dataset: id.to_hex(),
                declared_units: d.declaration.declared_units,
                epsilon_cap: d.cap.map(|c| c.epsilon_cap.to_string()),
                own_epsilon_cap: d.cap.and_then(|c| c.own_epsilon_cap).map(|c| c.to_string()),
                epsilon: d.spends.last().map(|r| r.spend.epsilon_after.to_string()),
                delta: d.spends.last().map(|r| r.spend.delta.to_string()),
                spends: d.spends.len(),
                stated_releases: d.releases.len(),
                ..ledger_summary(pack, *id, d, self.keys.get(1..).unwrap_or_default(), findings)
            });
        }
        for id in pack.ledgers.keys().filter(|id| !self.datasets.contains_key(*id)) {
            findings.add(STRANGER, Place::Path(format!("ledger/{id}.ledger")), "a declared dataset", "no dataset.declared of it");
        }
        out
    }
}

fn approved(trusts: &Trusts, e: &LogEntry) -> Option<PlanApproval> {
    let Facts::TaskApproved { plan } = e.facts else { return None };
    let said = trusts.administrator::<PlanApproval>(e)?;
    (said.plan == plan && Some(said.task) == e.task).then_some(said)
}

/// What the ledger of a dataset adds to its summary, where it is in the pack; `later` are the institution's keys after the first.
fn ledger_summary(pack: &Pack, id: Sha256, shown: &DatasetHistory, later: &[PublicKey], findings: &mut Findings) -> DatasetSummary {
    let mut out = DatasetSummary::default();
    let Some(bytes) = pack.ledgers.get(&id) else { return out };
    let lines = pack.site_log.as_deref().map(|log| releases::of_site_log(log, id));
    let found = ledger(id, PrivacyLedger::load_signed(bytes, later), shown, lines.as_deref(), findings);
    out.ledger_agrees = Some(found.as_ref().is_some_and(|ledger| releases::stated(ledger, shown, findings)));
    if let Some(ledger) = found {
        out.releases = Some(ledger.releases().count());
        let (epsilon, cap) = (ledger.totals().epsilon, shown.cap.map(|c| c.epsilon_cap));
        out.ledger_epsilon = epsilon.map(|e| e.to_string());
        // A cap may be lowered below what is spent: nothing is paid then, and nothing was paid wrongly.
        if let Some(cap) = cap.filter(|c| epsilon.is_none_or(|e| e.to_f64() > c.to_f64())) {
            let got = epsilon.map_or_else(|| "unbounded".to_owned(), |e| e.to_string());
            findings.add(LIFETIME, Place::Path(format!("ledger/{id}.ledger")), cap.to_string(), got);
        }
    }
    out
}

/// A ledger that holds by itself, has every spend that the log shows and every release that the site log shows, and none that it does not.
fn ledger(
    id: Sha256,
    loaded: Result<Loaded, LoadError>,
    shown: &DatasetHistory,
    lines: Option<&[SeenRelease]>,
    findings: &mut Findings,
) -> Option<PrivacyLedger> {
    let place = || Place::Path(format!("ledger/{id}.ledger"));
    match loaded {
        Err(e) => findings.add(LEDGER, place(), "a ledger that holds", e.to_string()),
        Ok(loaded) if loaded.ledger.terms().dataset != id => {
            findings.add(LEDGER, place(), id.to_hex(), loaded.ledger.terms().dataset.to_hex())
        }
        Ok(loaded) if shown.cap.is_some_and(|c| c.own_epsilon_cap.is_some() != loaded.ledger.terms().own_epsilon_cap.is_some()) => {
            findings.add(ACCOUNT, place(), "the account of the signed cap", "another")
        }
        Ok(loaded) => match loaded.ledger.compare(&shown.spends) {
            Ok(_) => match lines.map_or(Ok(()), |lines| releases::same(&loaded.ledger, lines)) {
                Ok(()) => return Some(loaded.ledger),
                Err(got) => findings.add(releases::SITE, place(), "the same releases", got),
            },
            Err(e) => findings.add(LEDGER, place(), "every spend of the log", e.to_string()),
        },
    }
    None
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod own_tests;

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
