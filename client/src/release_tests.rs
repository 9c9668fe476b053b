//! A release over processes that end at every single operation of ledger, site log and shelf (privacy.md D66, D67; bug class B19): no payment is
//! drawn twice, no draw is unpaid, and values that were shown once are shown for ever.

use super::*;
use crate::files::Lock;
use crate::ledger::crash_tests::{Disk as Medium, Faulty, LEFT, Left};
use crate::ledger::tests::{keys, terms};
use privacy::ledger::{PrivacyLedger, SeenRelease};
use privacy::noise::giant::gaussian_release;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

const NAMES: [&str; 3] = ["monthly", "weekly", "entry-9"];

fn asked<F: Journal>(store: &LedgerStore<F>, name: &str, scale_1024: u64) -> Asked {
    let digest = |text: &str| Sha256(sha256(&[text.as_bytes()]));
    Asked {
        name: Name::known(name).unwrap(),
        id: digest(name),
        question: digest("how many?"),
        dataset: terms().dataset,
        unit: Unit::Record,
        what: What::Records,
        max_records_per_unit: 1,
        labels: Vec::new(),
        scale_1024,
        delta: terms().delta,
        compared: store.ledger().compare(&[]).unwrap(),
    }
}

/// Files that end the process when the medium does. A replaced file is there whole or not at all.
struct Cupboard {
    medium: Rc<RefCell<Medium>>,
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Whether the file arrives although the process does not live to hear of it.
    arrives: bool,
}

impl Shelf for Cupboard {
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let done = self.medium.borrow_mut().work();
        if done.is_ok() || self.arrives {
            self.files.borrow_mut().insert(name.to_owned(), bytes.to_vec());
        }
        done.map_err(|e| StoreError::Write(Item::Release, e))
    }
    fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.borrow().get(name).cloned())
    }
    fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.files.borrow().keys().cloned().collect())
    }
}

/// An institution over all its processes.
#[derive(Default)]
struct Life {
    file: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
    lines: Vec<SeenRelease>,
    /// Draws by name, and what they cost.
    drawn: BTreeMap<String, u64>,
    real: u64,
    /// Values that somebody was shown.
    told: BTreeMap<String, Vec<i64>>,
}

impl Life {
    fn process(&mut self, ends_at: Option<usize>, left: Left) -> usize {
        let medium = Rc::new(RefCell::new(Medium { durable: self.file.clone(), ends_at, ..Medium::default() }));
        let arrives = matches!(left, Left::All);
        let shelf = Cupboard { medium: Rc::clone(&medium), files: RefCell::new(self.files.clone()), arrives };
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(&dir.path().join("lock"), Item::Ledger).unwrap();
        let store = LedgerStore::begin(Faulty(Rc::clone(&medium)), &self.file, terms(), keys(), lock);
        if let Ok(mut store) = store {
            // What happens after the process ended is nobody's.
            let _ended = self.play(&mut store, &shelf, &medium);
        }
        self.files = shelf.files.into_inner();
        self.file = medium.borrow().after(left);
        medium.borrow().operations
    }

    fn play(&mut self, store: &mut LedgerStore<Faulty>, shelf: &Cupboard, medium: &Rc<RefCell<Medium>>) -> Result<(), ReleaseFailure> {
        store.ledger().compare_releases(&self.lines).expect("every line of the site log is in the ledger");
        self.never_less(store.ledger());
        settle(store, shelf)?;
        for name in NAMES {
            let asked = asked(store, name, 30 * 1024);
            let (lines, drawn, real) = (&mut self.lines, &mut self.drawn, &mut self.real);
            let mut say = |facts: SiteFacts| {
                let SiteFacts::ReleasePaid {
                    unit, release, question, values, sensitivity, scale_1024, ledger_counter, ledger_head, ..
                } = facts
                else {
                    panic!("a release says nothing else")
                };
                medium.borrow_mut().work().map_err(|e| StoreError::Write(Item::SiteLog, e))?;
                let (line, counter, head, id) = (lines.len() as u64, ledger_counter, ledger_head, release);
                lines.push(SeenRelease { line, counter, head, unit, id, question, values, sensitivity, scale_1024 });
                Ok(())
            };
            let draw = |paid: PaidRelease| {
                assert!(drawn.insert(name.to_owned(), paid.ledger_counter()).is_none(), "{name} was drawn twice");
                *real += paid.release().cost.0;
                gaussian_release(paid, &[1000])
            };
            match release(store, shelf, &asked, &mut say, draw) {
                Ok((stored, how)) => {
                    let before = self.told.insert(name.to_owned(), stored.values.clone());
                    assert!(before.is_none_or(|b| b == stored.values && how == Shown::Again), "{name} was shown as other values");
                }
                Err(ReleaseFailure::Lost { .. }) => assert!(!self.told.contains_key(name), "{name} was shown and is lost"),
                Err(e) => return Err(e),
            }
            self.never_less(store.ledger());
        }
        Ok(())
    }

    fn never_less(&self, ledger: &PrivacyLedger) {
        assert!(ledger.totals().spent.0 >= self.real, "{:?} recorded, {} drawn", ledger.totals().spent, self.real);
    }
}

#[test]
fn a_process_may_end_at_every_step_of_a_release() {
    let whole = Life::default().process(None, Left::Nothing);
    assert!(whole >= 3 * 6, "{whole} operations have too few edges");
    for end in 0..whole {
        for left in LEFT {
            let mut life = Life::default();
            life.process(Some(end), left);
            life.process(None, Left::Nothing);
            let (told, file) = (life.told.clone(), life.file.clone());
            life.process(None, Left::Nothing);
            assert_eq!((&life.told, &life.file), (&told, &file), "ended at {end}, left {left:?}: the third process pays or shows anew");
            assert!(told.len() >= 2, "one crash loses one release at most");
            let ledger = PrivacyLedger::load(&life.file).unwrap().ledger;
            assert!(ledger.unsealed().is_empty() && ledger.releases().count() == 3, "each id is paid once, drawn or not");
        }
    }
}

#[test]
fn a_process_may_end_twice_on_its_way_to_a_release() {
    let whole = Life::default().process(None, Left::Nothing);
    for (first, second) in (0..whole).flat_map(|a| (1..6).map(move |b| (a, b))) {
        let mut life = Life::default();
        life.process(Some(first), Left::Half);
        life.process(Some(second), Left::All);
        life.process(None, Left::Nothing);
        assert!(!life.told.is_empty());
    }
}

/// A store over a file that never fails, and a shelf.
fn calm() -> (LedgerStore<Faulty>, Cupboard, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::take(&dir.path().join("lock"), Item::Ledger).unwrap();
    let medium = Rc::new(RefCell::new(Medium::default()));
    let store = LedgerStore::begin(Faulty(Rc::clone(&medium)), &[], terms(), keys(), lock).unwrap();
    (store, Cupboard { medium, files: RefCell::default(), arrives: false }, dir)
}

fn ask(store: &mut LedgerStore<Faulty>, shelf: &Cupboard, asked: &Asked) -> Result<(Stored, Shown), ReleaseFailure> {
    release(store, shelf, asked, &mut |_| Ok(()), |paid| gaussian_release(paid, &[1000]))
}

#[test]
fn an_id_stands_for_one_question_and_one_noise() {
    let (mut store, shelf, _dir) = calm();
    let asked = |store: &LedgerStore<Faulty>, scale| asked(store, "monthly", scale);
    let first = asked(&store, 30 * 1024);
    let (stored, how) = ask(&mut store, &shelf, &first).unwrap();
    assert_eq!((how, stored.values.len(), stored.scale()), (Shown::New, 1, 30.0));
    assert_eq!(ask(&mut store, &shelf, &first).unwrap(), (stored, Shown::Again));
    let spent = store.ledger().totals().spent;
    let less = asked(&store, 20 * 1024);
    assert!(matches!(ask(&mut store, &shelf, &less), Err(ReleaseFailure::OtherQuestion { counter: 1 })));
    let other = Asked { question: Sha256([1; 32]), ..asked(&store, 30 * 1024) };
    assert!(matches!(ask(&mut store, &shelf, &other), Err(ReleaseFailure::OtherQuestion { counter: 1 })));
    assert_eq!(store.ledger().totals().spent, spent, "asking again costs nothing");
}

#[test]
fn stored_values_that_are_not_the_ledgers_are_not_shown() {
    let (mut store, shelf, _dir) = calm();
    let asked = asked(&store, "monthly", 30 * 1024);
    ask(&mut store, &shelf, &asked).unwrap();
    let whole = shelf.files.borrow()["monthly"].clone();
    for bad in
        [whole[..whole.len() - 1].to_vec(), String::from_utf8(whole).unwrap().replacen("\"values\":[", "\"values\":[1", 1).into_bytes()]
    {
        shelf.files.borrow_mut().insert("monthly".to_owned(), bad);
        assert!(matches!(ask(&mut store, &shelf, &asked), Err(ReleaseFailure::Altered { counter: 1 })));
    }
    shelf.files.borrow_mut().clear();
    assert!(matches!(ask(&mut store, &shelf, &asked), Err(ReleaseFailure::Altered { counter: 1 })), "nor drawn again");
}

#[test]
fn a_refusal_and_a_full_disk_draw_nothing() {
    let (mut store, shelf, _dir) = calm();
    let dear = asked(&store, "monthly", 1);
    let never = |_: PaidRelease| -> Result<Noised, DrawError> { panic!("nothing was paid") };
    let refused = release(&mut store, &shelf, &dear, &mut |_| Ok(()), never).unwrap_err();
    let ReleaseFailure::Ledger(error) = &refused else { panic!("{refused}") };
    assert!(error.is_exhausted() && store.ledger().entries() == 1);
    let asked = asked(&store, "monthly", 30 * 1024);
    let full = |_: SiteFacts| Err(StoreError::Write(Item::SiteLog, io::ErrorKind::StorageFull.into()));
    assert!(matches!(release(&mut store, &shelf, &asked, &mut { full }, never), Err(ReleaseFailure::Store(_))));
    settle(&mut store, &shelf).unwrap();
    assert!(matches!(ask(&mut store, &shelf, &asked), Err(ReleaseFailure::Lost { counter: 1 })), "paid, and never drawn");
}

#[test]
fn what_is_drawn_has_the_cost_that_is_stated() {
    let (mut store, shelf, _dir) = calm();
    let asked = Asked { max_records_per_unit: 3, ..asked(&store, "monthly", 30 * 1024) };
    let (stored, _) = ask(&mut store, &shelf, &asked).unwrap();
    assert_eq!(stored.sensitivity, 3);
    assert!((0.005..0.005_000_002).contains(&stored.rho.to_f64()), "{}", stored.rho);
    assert!((stored.epsilon.to_f64() - epsilon_zcdp(0.005, 1e-5).unwrap()).abs() < 2e-6);
    let spent = store.ledger().totals().spent.decimal().to_f64();
    assert!((spent - 0.005 * terms().order.to_f64()).abs() < 2e-9);
}

#[test]
fn names_are_names_of_files_and_nothing_else() {
    for good in ["a", "monthly-2026-11", "0"] {
        assert!(Name::chosen(good).is_ok() && Name::known(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", "a/b", "..", "A", "a b", "ü", &"a".repeat(65)] {
        assert!(Name::known(bad).is_err(), "{bad}");
    }
    assert!(Name::chosen("entry-7").is_err() && Name::known(Name::generated(7).as_str()).is_ok());
}

#[test]
fn the_disk_keeps_values_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let (dataset, other) = (Sha256([1; 32]), Sha256([2; 32]));
    let disk = Disk(&home, dataset);
    assert_eq!((disk.names().unwrap(), disk.kept("a").unwrap()), (vec![], None));
    disk.keep("a", b"1").unwrap();
    std::fs::write(home.releases(&dataset).join("notes.txt"), b"mine").unwrap();
    assert_eq!((disk.names().unwrap(), disk.kept("a").unwrap()), (vec!["a".to_owned()], Some(b"1".to_vec())));
    assert_eq!(std::fs::metadata(home.release(&dataset, "a")).unwrap().permissions().mode() & 0o777, 0o600);
    Disk(&home, other).keep("a", b"2").unwrap();
    assert_eq!(disk.kept("a").unwrap(), Some(b"1".to_vec()), "another dataset's release has the same name and another place");
    // What a crash leaves half-written goes at the next start, as everywhere.
    let half = home.releases(&dataset).join(".a.json.77.tmp");
    std::fs::write(&half, b"half").unwrap();
    home.written().iter().try_for_each(|dir| files::remove_temporaries(dir)).unwrap();
    assert!(!half.exists() && disk.kept("a").unwrap().is_some());
}
