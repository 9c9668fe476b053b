//! Scalar releases in a pack: they jump a ledger's counter and stand in no header, which is no alarm; what ledger and site log say of them must
//! agree (privacy.md D28, D65).

use super::*;
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use ed25519_dalek::SigningKey;
use privacy::ledger::{Pending, ReleaseRequest, ReserveRequest, Terms, default_order};
use privacy::mechanism::Mechanism;
use protocol::decimal::Decimal;
use protocol::entry::{Actor, Draft, Identity, Origin, Stamp};
use protocol::ids::{ManifestDigest, RoundId};
use protocol::plan::{Plan, Unit};
use protocol::site::SiteFacts;
use protocol::statement::Statement;
use protocol::time::Time;

const NOW: Time = Time(1_700_000_000_000);
const DATASET: Sha256 = Sha256([2; 32]);

struct Kept {
    ledger: PrivacyLedger,
    file: Vec<u8>,
    lines: Vec<SeenRelease>,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}
fn me() -> ClientId {
    ClientId::of(&PublicKey(key().verifying_key().to_bytes()))
}

impl Kept {
    fn new(unit: Unit) -> Self {
        let (epsilon_cap, delta) = ("30".parse().unwrap(), "0.00001".parse().unwrap());
        let order = default_order(epsilon_cap, delta).unwrap();
        let terms = Terms { institution: me(), dataset: DATASET, unit, epsilon_cap, delta, order, own_epsilon_cap: None };
        let first = PrivacyLedger::create(terms, NOW).unwrap();
        let file = first.record(|e| Statement::sign(e, &key()));
        Self { ledger: first.begun(), file, lines: Vec::new() }
    }
    fn keep<T>(&mut self, pending: Pending<T>) -> T {
        self.file.extend(pending.record(|e| Statement::sign(e, &key())));
        self.ledger.recorded(pending).unwrap()
    }
    /// Pays for a round of a plan, of which the log shows these rounds.
    fn pay(&mut self, plan: &Plan, round: u64, shown: &[SpendRecord]) -> SpendRecord {
        let (mechanism, digest) = (Mechanism::of_plan(plan, 1000).unwrap(), Plan::digest(&protocol::codec::encode(plan)));
        if shown.is_empty() {
            let pending = self.ledger.register(plan, digest, &mechanism, NOW).unwrap();
            self.keep(pending);
        }
        let request = ReserveRequest {
            task: plan.task,
            plan: digest,
            round: RoundId(round),
            manifest: ManifestDigest([4; 32]),
            mechanism: &mechanism,
            steps: u64::from(plan.local.steps),
            compared: self.ledger.compare(shown).unwrap(),
        };
        let pending = self.ledger.reserve(&request, NOW).unwrap();
        let spend = self.keep(pending).spend();
        SpendRecord { index: LeafIndex(round), task: plan.task, round: RoundId(round), spend }
    }
    /// What the institution's client states of its releases, as entries 100 and on.
    fn stated(&self) -> Vec<(LeafIndex, ReleaseSpend)> {
        (100..).map(LeafIndex).zip(self.ledger.release_spends()).collect()
    }
    fn release(&mut self, id: u8) {
        let (id, question, compared) = (Sha256([id; 32]), Sha256([1; 32]), self.ledger.compare(&[]).unwrap());
        let request = ReleaseRequest { id, question, values: 3, sensitivity: 1, scale_1024: 50 * 1024, compared };
        let pending = self.ledger.reserve_release(&request, NOW).unwrap();
        let paid = self.keep(pending);
        let (counter, head, unit) = (paid.ledger_counter(), paid.ledger_head(), self.ledger.terms().unit);
        let ReleaseRequest { values, sensitivity, scale_1024, .. } = request;
        self.lines.push(SeenRelease { line: counter, counter, head, unit, id, question, values, sensitivity, scale_1024 });
        let pending = self.ledger.released(counter, Sha256([9; 32]), NOW).unwrap();
        self.keep(pending);
    }
}

fn history(unit: Unit, spends: Vec<SpendRecord>) -> DatasetHistory {
    let declaration = DatasetDeclaration { dataset: DATASET, unit, declared_units: 1000 };
    let cap = BudgetDeclaration {
        dataset: DATASET,
        epsilon_cap: "30".parse().unwrap(),
        delta: "0.00001".parse().unwrap(),
        own_epsilon_cap: None,
    };
    DatasetHistory { cap: Some(cap), spends, ..DatasetHistory::declared(declaration) }
}

/// Rounds with releases before, between and after them: the auditor finds what it finds without releases, which is nothing.
#[test]
fn releases_between_rounds_are_no_finding() {
    let plan: Plan = protocol::codec::decode(&tell(Twist::None).plan, Plan::MAX_BYTES).unwrap();
    let mut kept = Kept::new(plan.privacy.unit);
    let mut spends = Vec::new();
    for round in 1..=plan.rounds.min(2) {
        kept.release(u8::try_from(round).unwrap());
        let paid = kept.pay(&plan, round, &spends);
        spends.push(paid);
    }
    kept.release(9);
    let shown = DatasetHistory { releases: kept.stated(), ..history(plan.privacy.unit, spends) };
    let mut findings = Findings::default();
    budget::check_dataset(me(), &shown, &|_| Some(&plan), &mut Accounts::default(), &mut findings);
    let found = ledger(DATASET, PrivacyLedger::load(&kept.file), &shown, Some(&kept.lines), &mut findings).unwrap();
    assert!(releases::stated(&found, &shown, &mut findings));
    assert!(findings.list().is_empty(), "{:?}", findings.list());
    assert_eq!(found.releases().count(), kept.lines.len());
    assert!(found.totals().epsilon.is_some());
    // The first release was paid before a round that the log shows: whoever has that has no excuse for the other.
    let hidden = DatasetHistory { releases: Vec::new(), ..shown };
    assert!(!releases::stated(&found, &hidden, &mut findings));
    let severities: Vec<_> = findings.list().iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Invariant, Severity::Invariant, Severity::Incomplete], "only the newest may be unsaid");
}

/// What the log states is what the ledger paid: nothing altered, left out, said twice or invented.
#[test]
fn releases_that_are_left_out_or_altered_are_named() {
    let mut kept = Kept::new(Unit::User);
    kept.release(1);
    let yesterday = kept.file.clone();
    kept.release(2);
    let all = kept.stated();
    let verdict = |file: &[u8], said: &[(LeafIndex, ReleaseSpend)]| {
        let shown = DatasetHistory { releases: said.to_vec(), ..history(Unit::User, Vec::new()) };
        let mut findings = Findings::default();
        let agrees = releases::stated(&PrivacyLedger::load(file).unwrap().ledger, &shown, &mut findings);
        assert_eq!(agrees, findings.worst().is_none_or(|s| s == Severity::Incomplete), "{:?}", findings.list());
        findings.worst()
    };
    assert_eq!(verdict(&kept.file, &all), None);
    let with = |at: usize, alter: &dyn Fn(&mut ReleaseSpend)| {
        let mut said = all.clone();
        alter(&mut said[at].1);
        verdict(&kept.file, &said)
    };
    for at in 0..2 {
        assert_eq!(with(at, &|r| r.rho = Decimal::ZERO), Some(Severity::Invariant), "another cost");
        assert_eq!(with(at, &|r| r.ledger_head = Sha256([3; 32])), Some(Severity::Invariant), "another entry");
        assert_eq!(with(at, &|r| r.unit = Unit::Record), Some(Severity::Invariant), "another unit");
        assert_eq!(with(at, &|r| r.ledger_counter += 40), Some(Severity::Invariant), "another place");
    }
    assert_eq!(verdict(&kept.file, &all[1..]), Some(Severity::Invariant), "one before another is left out");
    assert_eq!(verdict(&kept.file, &all[..1]), Some(Severity::Incomplete), "the newest one is not stated yet");
    assert_eq!(verdict(&kept.file, &[&all[..], &all[1..]].concat()), Some(Severity::Invariant), "said twice");
    assert_eq!(verdict(&yesterday, &all), Some(Severity::Invariant), "a ledger from before the second");
}

/// A line that the ledger lacks, a ledger from before a line, and a release that no line shows are named; without a site log nothing is.
#[test]
fn a_release_that_only_one_of_them_shows_is_named() {
    let mut kept = Kept::new(Unit::User);
    kept.release(1);
    let yesterday = kept.file.clone();
    kept.release(2);
    let shown = history(Unit::User, Vec::new());
    let verdict = |file: &[u8], lines: Option<&[SeenRelease]>| {
        let mut findings = Findings::default();
        let agrees = ledger(DATASET, PrivacyLedger::load(file), &shown, lines, &mut findings).is_some();
        assert_eq!(agrees, findings.list().is_empty());
        assert!(findings.list().iter().all(|f| f.severity == Severity::Invariant && f.clause.contains("same scalar releases")));
        agrees
    };
    assert!(verdict(&kept.file, Some(&kept.lines)) && verdict(&kept.file, None));
    assert!(!verdict(&yesterday, Some(&kept.lines)), "a ledger from before the second");
    assert!(!verdict(&kept.file, Some(&kept.lines[..1])), "a release that the site log hides");
    let mut other = kept.lines.clone();
    other[1].head = Sha256([3; 32]);
    assert!(!verdict(&kept.file, Some(&other)), "another entry under this counter");
}

/// privacy.md D61: a ledger that charges by another account than the signed cap names is named, whatever its totals are.
#[test]
fn a_ledger_of_another_account_than_was_signed_is_named() {
    let kept = Kept::new(Unit::User);
    let mut shown = history(Unit::User, Vec::new());
    let verdict = |shown: &DatasetHistory| {
        let mut findings = Findings::default();
        let agrees = ledger(DATASET, PrivacyLedger::load(&kept.file), shown, None, &mut findings).is_some();
        (agrees, findings.worst())
    };
    assert_eq!(verdict(&shown), (true, None));
    shown.cap = shown.cap.map(|c| BudgetDeclaration { own_epsilon_cap: "40".parse().ok(), ..c });
    assert_eq!(verdict(&shown), (false, Some(Severity::Invariant)));
}

/// The line of the site log is read as it is written, for its own dataset only.
#[test]
fn lines_of_another_dataset_do_not_count() {
    let mut kept = Kept::new(Unit::User);
    kept.release(1);
    let line = |seq: u64, dataset: Sha256| {
        let SeenRelease { counter, head, unit, id, question, values, sensitivity, scale_1024, .. } = kept.lines[0].clone();
        let facts = SiteFacts::ReleasePaid {
            dataset,
            unit,
            release: id,
            question,
            values,
            sensitivity,
            scale_1024,
            ledger_counter: counter,
            ledger_head: head,
        };
        SiteEntry { v: 1, seq, ts: "2026-01-02T03:04:05.006Z".into(), facts }.to_bytes()
    };
    let log = [line(0, Sha256([5; 32])), b"\n".to_vec(), line(1, DATASET), b"\nno line\n".to_vec()].concat();
    assert_eq!(releases::of_site_log(&log, DATASET), [SeenRelease { line: 1, ..kept.lines[0].clone() }]);
}

/// What was paid for a round that took no update rests on a declared dataset, as the spend of an update does.
#[test]
fn a_spend_without_an_update_of_a_dataset_that_is_not_declared_is_named() {
    let plan: Plan = protocol::codec::decode(&tell(Twist::None).plan, Plan::MAX_BYTES).unwrap();
    let SpendRecord { task, round, spend, .. } = Kept::new(plan.privacy.unit).pay(&plan, 1, &[]);
    let facts = Facts::BudgetSpent { dataset: spend.dataset, ledger_counter: spend.ledger_counter };
    let statement = Statement::sign(&RoundSpend { task, round, spend }, &key());
    let draft = Draft::said(Actor::Institution, Some(me()), statement.clone(), facts).in_round(task, round);
    let origin = Origin { name: String::new(), version: String::new(), build: String::new(), boot_ms: 0 };
    let (id, ts, federation) = (String::new(), String::new(), String::new());
    let entry = LogEntry::new(Stamp { seq: 7, id, ts, who: Identity::default(), origin, federation, cause: None }, &draft);
    let said = statement.checked().unwrap();
    let found = |datasets: BTreeMap<Sha256, DatasetHistory>| {
        let mut own = Own { keys: Vec::new(), statements: 0, datasets, anchors: Vec::new(), site_policy: None };
        let mut findings = Findings::default();
        assert!(own.take(7, &entry, &said, &mut findings), "the fields are those that were signed");
        let clauses: Vec<&str> = findings.list().iter().map(|f| f.clause).collect();
        (own.datasets.values().map(|d| d.spends.len()).sum::<usize>(), clauses)
    };
    assert_eq!(found(BTreeMap::new()), (0, vec!["I8: spend from a dataset that was not declared"]));
    assert_eq!(found([(DATASET, history(plan.privacy.unit, Vec::new()))].into()), (1, Vec::new()));
}
