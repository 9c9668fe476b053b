use super::*;
use crate::testing::plan;
use privacy::ledger::default_order;
use protocol::ids::{ClientId, ManifestDigest, RoundId};
use protocol::plan::Unit;

/// The institution's keys, made once.
pub(crate) fn keys() -> Arc<Keys> {
    static KEYS: std::sync::OnceLock<Arc<Keys>> = std::sync::OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Keys::load_or_make(&Home::new(dir.path()), "fed/a").ok().unwrap())
    };
    Arc::clone(KEYS.get_or_init(make))
}

pub(crate) fn terms() -> Terms {
    let (cap, delta): (Decimal, Decimal) = ("20".parse().unwrap(), "0.00001".parse().unwrap());
    let order = default_order(cap, delta).unwrap();
    Terms {
        institution: keys().client(),
        dataset: Sha256([2; 32]),
        unit: Unit::Record,
        epsilon_cap: cap,
        delta,
        order,
        own_epsilon_cap: None,
    }
}

pub(super) fn mechanism() -> Mechanism {
    Mechanism::new(&plan().privacy, plan().dimension(), 1000).unwrap()
}

pub(super) fn request<'a, F: Journal>(store: &LedgerStore<F>, mechanism: &'a Mechanism, round: u64) -> ReserveRequest<'a> {
    ReserveRequest {
        task: plan().task,
        plan: PlanDigest([3; 32]),
        round: RoundId(round),
        manifest: ManifestDigest([4; 32]),
        mechanism,
        steps: u64::from(plan().local.steps),
        compared: store.ledger().compare(&[]).unwrap(),
    }
}

#[test]
fn a_ledger_comes_back_at_every_byte_that_a_crash_may_leave() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let mechanism = mechanism();
    let path = home.ledger(&terms().dataset);
    let lengths = {
        let mut store = LedgerStore::open(&home, terms(), keys()).unwrap();
        let len = || usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        let mut lengths = vec![len()];
        store.register(&plan(), PlanDigest([3; 32]), &mechanism).unwrap();
        lengths.push(len());
        let paid = store.reserve(&request(&store, &mechanism, 1), now()).unwrap();
        lengths.push(len());
        store.sealed(paid.ledger_counter(), Sha256([5; 32])).unwrap();
        lengths.push(len());
        lengths
    };
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let store = LedgerStore::open(&home, terms(), keys()).unwrap();
        let records = lengths.iter().filter(|l| **l <= cut).count();
        assert_eq!(store.ledger().counter(), u64::try_from(records.max(1)).unwrap(), "cut at {cut}");
        // Paid is paid, from the moment that the record is whole.
        assert_eq!(store.ledger().reservation(plan().task, RoundId(1)).is_some(), records >= 3, "cut at {cut}");
        assert_eq!(store.ledger().unsealed().len(), usize::from(records == 3), "cut at {cut}");
    }
}

#[test]
fn a_round_is_paid_once_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (home, mechanism) = (Home::new(dir.path()), mechanism());
    let mut store = LedgerStore::open(&home, terms(), keys()).unwrap();
    store.register(&plan(), PlanDigest([3; 32]), &mechanism).unwrap();
    let paid = store.reserve(&request(&store, &mechanism, 1), now()).unwrap();
    assert!(
        matches!(store.reserve(&request(&store, &mechanism, 1), now()), Err(LedgerError::Reserve(ReserveError::AlreadyReserved { counter })) if counter == paid.ledger_counter())
    );
    assert_eq!(store.ledger().void_spends().count(), 0, "its update may still come");
    store.void(paid.ledger_counter()).unwrap();
    drop(store);
    let mut store = LedgerStore::open(&home, terms(), keys()).unwrap();
    assert!(store.reserve(&request(&store, &mechanism, 1), now()).is_err());
    // What the log may be told is what the header would have stated.
    let void: Vec<_> = store.ledger().void_spends().map(|s| (s.task, s.round, s.spend)).collect();
    assert_eq!(void, [(plan().task, RoundId(1), paid.spend())]);
    store.reserve(&request(&store, &mechanism, 2), now()).ok().unwrap();
    assert!(store.reserve(&request(&store, &mechanism, 3), now()).err().unwrap().is_exhausted());
}

/// audit.md A19: what the federation is told of a refusal is what the ledger refused, and nothing once it pays.
#[test]
fn a_refusal_is_told_until_the_task_can_be_paid_for() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let mut store = LedgerStore::open(&home, terms(), keys()).unwrap();
    let (task, round, mut dear) = (plan().task, RoundId(1), plan());
    dear.privacy.epsilon_cap = "0.000001".parse().unwrap();
    assert!(store.exhausted(task, round).is_none(), "nobody asked");
    let error = store.register(&dear, PlanDigest([3; 32]), &Mechanism::of_plan(&dear, 1000).unwrap()).unwrap_err();
    assert!(error.is_exhausted());
    let said = store.exhausted(task, round).unwrap();
    assert!(said.is_sound() && (said.task, said.round, said.dataset) == (task, round, terms().dataset));
    assert_eq!((said.account.name(), said.order, said.remaining), ("task", None, dear.privacy.epsilon_cap));
    assert_eq!((said.epsilon_before, said.epsilon_cap, said.delta), (Decimal::ZERO, terms().epsilon_cap, terms().delta));
    assert_eq!((said.ledger_counter, said.ledger_head), (0, store.ledger().head()));
    store.register(&plan(), PlanDigest([3; 32]), &mechanism()).unwrap();
    assert!(store.exhausted(task, round).is_none());
}

/// D12: headers name hashes of entries, and all of an entry but its time is public. On a schedule that time is public too.
#[test]
fn entries_of_a_round_carry_the_time_that_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let (home, mechanism, time) = (Home::new(dir.path()), mechanism(), Time(7_500));
    let mut store = LedgerStore::open(&home, terms(), keys()).unwrap();
    store.register(&plan(), PlanDigest([3; 32]), &mechanism).unwrap();
    let first = store.reserve(&request(&store, &mechanism, 1), time).unwrap().ledger_counter();
    store.sealed_at(first, Sha256([5; 32]), time).unwrap();
    let second = store.reserve(&request(&store, &mechanism, 2), time).unwrap().ledger_counter();
    store.void_at(second, time).unwrap();
    let entries = PrivacyLedger::load(&std::fs::read(home.ledger(&terms().dataset)).unwrap()).unwrap().entries;
    let of_rounds: Vec<Time> = entries.iter().filter(|e| e.counter >= first).map(|e| e.at).collect();
    assert_eq!(of_rounds, [time; 4]);
}

#[test]
fn a_ledger_has_one_owner_and_its_own_terms() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let store = LedgerStore::open(&home, terms(), keys()).unwrap();
    assert!(matches!(LedgerStore::open(&home, terms(), keys()), Err(LedgerError::Store(StoreError::Locked(_)))));
    drop(store);
    let foreign = Terms { institution: ClientId([9; 32]), ..terms() };
    assert!(matches!(LedgerStore::open(&home, foreign, keys()), Err(LedgerError::OtherTerms)));
    let by_another_account = Terms { own_epsilon_cap: "30".parse().ok(), ..terms() };
    assert!(matches!(LedgerStore::open(&home, by_another_account, keys()), Err(LedgerError::OtherTerms)), "D61: one account for ever");
}

#[test]
fn a_flipped_byte_stops_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let mut store = LedgerStore::open(&home, terms(), keys()).unwrap();
    store.register(&plan(), PlanDigest([3; 32]), &mechanism()).unwrap();
    drop(store);
    let path = home.ledger(&terms().dataset);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        assert!(LedgerStore::open(&home, terms(), keys()).is_err(), "byte {at}");
    }
}
