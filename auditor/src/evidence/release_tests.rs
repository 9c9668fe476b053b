//! Scalar releases in a pack: they jump a ledger's counter and stand in no header, which is no alarm; what ledger and site log say of them must
//! agree (privacy.md D28, D65).

use super::*;
use crate::tests::story::tell;
use crate::tests::twist::Twist;
use ed25519_dalek::SigningKey;
use privacy::ledger::{Pending, ReleaseRequest, ReserveRequest, Terms, default_order};
use privacy::mechanism::Mechanism;
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
        let terms = Terms { institution: me(), dataset: DATASET, unit, epsilon_cap, delta, order };
        let first = PrivacyLedger::create(terms, NOW).unwrap();
        let file = first.record(|e| Statement::sign(e, &key()));
        Self { ledger: first.begun(), file, lines: Vec::new() }
    }
    fn keep<T>(&mut self, pending: Pending<T>) -> T {
        self.file.extend(pending.record(|e| Statement::sign(e, &key())));
        self.ledger.recorded(pending).unwrap()
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
    let cap = BudgetDeclaration { dataset: DATASET, epsilon_cap: "30".parse().unwrap(), delta: "0.00001".parse().unwrap() };
    DatasetHistory { cap: Some(cap), spends, ..DatasetHistory::declared(declaration) }
}

/// Rounds with releases before, between and after them: the auditor finds what it finds without releases, which is nothing.
#[test]
fn releases_between_rounds_are_no_finding() {
    let plan: Plan = protocol::codec::decode(&tell(Twist::None).plan, Plan::MAX_BYTES).unwrap();
    let mut kept = Kept::new(plan.privacy.unit);
    let (mechanism, digest) = (Mechanism::of_plan(&plan, 1000).unwrap(), Plan::digest(&protocol::codec::encode(&plan)));
    let pending = kept.ledger.register(&plan, digest, &mechanism, NOW).unwrap();
    kept.keep(pending);
    let mut spends = Vec::new();
    for round in 1..=plan.rounds.min(2) {
        kept.release(u8::try_from(round).unwrap());
        let request = ReserveRequest {
            task: plan.task,
            plan: digest,
            round: RoundId(round),
            manifest: ManifestDigest([4; 32]),
            mechanism: &mechanism,
            steps: u64::from(plan.local.steps),
            compared: kept.ledger.compare(&spends).unwrap(),
        };
        let pending = kept.ledger.reserve(&request, NOW).unwrap();
        let spend = kept.keep(pending).spend();
        spends.push(SpendRecord { index: LeafIndex(round), task: plan.task, round: RoundId(round), spend });
    }
    kept.release(9);
    let (shown, mut findings) = (history(plan.privacy.unit, spends), Findings::default());
    budget::check_dataset(me(), &shown, &|_| Some(&plan), &mut Accounts::default(), &mut findings);
    let found = ledger(DATASET, &kept.file, &shown, Some(&kept.lines), &mut findings).unwrap();
    assert!(findings.list().is_empty(), "{:?}", findings.list());
    assert_eq!(found.releases().count(), kept.lines.len());
    assert!(found.totals().epsilon.is_some());
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
        let agrees = ledger(DATASET, file, &shown, lines, &mut findings).is_some();
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
    assert_eq!(site_releases(&log, DATASET), [SeenRelease { line: 1, ..kept.lines[0].clone() }]);
}
