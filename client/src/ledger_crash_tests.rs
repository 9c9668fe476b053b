//! A process that ends at every single write, sync and cut of the ledger's file, and starts again (privacy.md D66, D67; bug class B19).
//! Real spend is what was handed out as payments, since noise consumes nothing else; the file must never say less.

use super::tests::{keys, request, terms};
use super::*;
use privacy::ledger::Nats;
use protocol::ids::RoundId;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What is left of bytes that were written and not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left {
    Nothing,
    Half,
    All,
    /// The length arrived, the data did not.
    Zeros,
}
/// Few enough steps and enough noise that the accountant answers at once.
fn plan() -> Plan {
    let mut plan = crate::testing::plan();
    plan.privacy.noise_multiplier = "4".parse().unwrap();
    plan.privacy.sampling_rate = "1".parse().unwrap();
    plan
}
fn mechanism() -> Mechanism {
    Mechanism::new(&plan().privacy, plan().dimension(), 1000).unwrap()
}

pub(crate) const LEFT: [Left; 4] = [Left::Nothing, Left::Half, Left::All, Left::Zeros];

/// A disk that ends the process at its n-th operation.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) durable: Vec<u8>,
    pub(crate) written: Vec<u8>,
    pub(crate) operations: usize,
    pub(crate) ends_at: Option<usize>,
}

impl Disk {
    pub(crate) fn work(&mut self) -> io::Result<()> {
        let at = self.operations;
        self.operations += 1;
        // A process that ended does nothing more.
        if self.ends_at.is_some_and(|end| at >= end) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// The file as the next process finds it.
    pub(crate) fn after(&self, left: Left) -> Vec<u8> {
        let mut file = self.durable.clone();
        match left {
            Left::Nothing => {}
            Left::Half => file.extend(&self.written[..self.written.len() / 2]),
            Left::All => file.extend(&self.written),
            Left::Zeros => file.extend(vec![0; self.written.len()]),
        }
        file
    }
}

#[derive(Clone)]
pub(crate) struct Faulty(pub(crate) Rc<RefCell<Disk>>);

impl Journal for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        // The bytes may reach the disk although the process does not live to hear of it.
        let done = disk.work();
        disk.written.extend(bytes);
        done
    }
    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.work()?;
        let written = std::mem::take(&mut disk.written);
        disk.durable.extend(written);
        Ok(())
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.work()?;
        let whole = disk.after(Left::All);
        disk.durable = whole[..usize::try_from(len).unwrap().min(whole.len())].to_vec();
        disk.written.clear();
        Ok(())
    }
}

/// An institution over all its processes.
#[derive(Default)]
struct Life {
    file: Vec<u8>,
    /// Rounds for which a payment was handed out: each may have been noised.
    drawn: BTreeSet<u64>,
}

impl Life {
    /// One process: starts on the file, voids what it finds unsealed, registers, and plays all rounds. Answers its disk.
    fn process(&mut self, ends_at: Option<usize>) -> Disk {
        let disk = Rc::new(RefCell::new(Disk { durable: self.file.clone(), ends_at, ..Disk::default() }));
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(&dir.path().join("lock"), Item::Ledger).unwrap();
        let result = LedgerStore::begin(Faulty(Rc::clone(&disk)), &self.file, terms(), keys(), lock).and_then(|store| self.play(store));
        assert_eq!(result.is_err(), ends_at.is_some_and(|end| disk.borrow().operations > end), "{:?}", result.err());
        drop(dir);
        Rc::into_inner(disk).unwrap().into_inner()
    }

    fn play(&mut self, mut store: LedgerStore<Faulty>) -> Result<(), LedgerError> {
        self.never_less(store.ledger());
        for counter in store.ledger().unsealed() {
            store.void(counter)?;
        }
        let mechanism = mechanism();
        if store.ledger().task(plan().task).is_none() {
            store.register(&plan(), PlanDigest([3; 32]), &mechanism)?;
        }
        for round in 1..=plan().rounds {
            if store.ledger().reservation(plan().task, RoundId(round)).is_some() {
                continue;
            }
            let paid = store.reserve(&request(&store, &mechanism, round), now())?;
            assert!(self.drawn.insert(round), "round {round} was paid twice: noise would be drawn again");
            self.never_less(store.ledger());
            store.sealed(paid.ledger_counter(), Sha256([5; 32]))?;
            store.sent(paid.ledger_counter())?;
        }
        Ok(())
    }

    fn never_less(&self, ledger: &PrivacyLedger) {
        let one = ledger.task(plan().task).map_or(Nats(0), |t| t.schedule.cost_per_round);
        let real = one.0 * self.drawn.len() as u64;
        assert!(ledger.totals().spent.0 >= real, "{:?} recorded, {real} drawn", ledger.totals().spent);
    }
}

#[test]
fn a_process_may_end_at_every_write_of_its_ledger() {
    let whole = Life::default().process(None).operations;
    assert!(whole >= 14, "a life of {whole} operations has no edges");
    for end in 0..whole {
        for left in LEFT {
            let mut life = Life::default();
            let disk = life.process(Some(end));
            if disk.written.is_empty() && !matches!(left, Left::Nothing) {
                continue;
            }
            life.file = disk.after(left);
            // The next process finds what is left, and one after it finds all of it in order.
            life.file = life.process(None).durable;
            assert!(life.process(None).operations == 0, "ended at {end}, left {left:?}: something was still to be done");
            let spent = PrivacyLedger::load(&life.file).unwrap().ledger.totals().spent.0;
            let ledger = PrivacyLedger::load(&life.file).unwrap().ledger;
            let one = ledger.task(plan().task).unwrap().schedule.cost_per_round.0;
            assert_eq!(spent, one * plan().rounds, "every round is paid once, drawn or not");
        }
    }
}

#[test]
fn a_process_may_end_twice() {
    let whole = Life::default().process(None).operations;
    for (first, second) in (0..whole).flat_map(|a| [(a, 1), (a, 3)]) {
        let mut life = Life::default();
        life.file = life.process(Some(first)).after(Left::Half);
        life.file = life.process(Some(second)).after(Left::All);
        life.process(None);
    }
}
