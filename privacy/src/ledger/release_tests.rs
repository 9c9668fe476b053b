//! Releases: pay first, once, under the cap of all tasks; and what a rolled-back ledger knows of them (privacy.md D28, D60 to D67).

use super::*;
use crate::ledger::machine_tests::{Kept, NOW, dec, digest, plan, sign};
use crate::ledger::{KnownPlan, LoadError, Nats, PrivacyLedger, RegisterError, RepairError};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn request(kept: &Kept, id: u8, scale_1024: u64) -> ReleaseRequest {
    let compared = kept.ledger.compare(&[]).unwrap();
    ReleaseRequest { id: Sha256([id; 32]), question: Sha256([9; 32]), values: 3, sensitivity: 2, scale_1024, compared }
}
fn pay(kept: &mut Kept, id: u8, scale_1024: u64) -> Result<PaidRelease, ReleaseError> {
    let pending = kept.ledger.reserve_release(&request(kept, id, scale_1024), NOW)?;
    Ok(kept.keep(pending))
}
/// What the site log says of a payment.
fn seen(paid: &PaidRelease) -> SeenRelease {
    let r = paid.release();
    SeenRelease {
        line: 5,
        counter: paid.counter,
        head: paid.head,
        unit: Unit::User,
        id: r.id,
        question: r.question,
        values: r.values,
        sensitivity: r.sensitivity,
        scale_1024: r.scale_1024,
    }
}

/// ρα at every order, rounded up, and the same at α*: 2²/(2·10²) is 0.02.
#[test]
fn a_release_costs_rho_alpha_at_every_order() {
    let mut kept = Kept::new("8");
    let paid = pay(&mut kept, 1, 10 * 1024).unwrap();
    let r = paid.release();
    assert!((r.rho() - 0.02).abs() < 1e-15);
    for (alpha, cost) in orders().zip(&r.costs) {
        let want = 0.02 * alpha * 1e9;
        assert!(cost.0 as f64 >= want - 1e-3 && cost.0 as f64 <= want + 2.0, "{alpha}: {cost:?}");
    }
    assert_eq!(r.costs.len(), orders().count());
    assert_eq!(kept.ledger.totals().spent, r.cost);
    assert!((r.cost.decimal().to_f64() - 0.02 * kept.ledger.terms().order.to_f64()).abs() < 2e-9);
}

/// The federation's log is told of every payment, also of one that came to nothing: cost and place in the chain, and nothing of the question.
#[test]
fn every_payment_is_stated_with_its_cost_and_its_place() {
    let mut kept = Kept::new("8");
    let paid = [1, 2].map(|id| pay(&mut kept, id, 10 * 1024).unwrap());
    let pending = kept.ledger.void(paid[0].ledger_counter(), NOW).unwrap();
    kept.keep(pending);
    let (dataset, unit) = (kept.ledger.terms().dataset, kept.ledger.terms().unit);
    let stated: Vec<_> = kept.reload().ledger.release_spends().collect();
    let rho = dec("0.02");
    let want = paid.map(|p| ReleaseSpend { dataset, unit, rho, ledger_counter: p.counter, ledger_head: p.head });
    assert_eq!(stated.len(), 2);
    for (s, w) in stated.iter().zip(&want) {
        // The last place is rounded up.
        assert!((0.0..2e-9).contains(&(s.rho.to_f64() - w.rho.to_f64())), "{s:?}");
        assert_eq!(ReleaseSpend { rho, ..*s }, *w);
        assert!(kept.ledger.holds(s.ledger_counter, s.ledger_head));
    }
}

#[test]
fn an_id_is_paid_once_for_ever() {
    let mut kept = Kept::new("8");
    let counter = pay(&mut kept, 1, 10 * 1024).unwrap().ledger_counter();
    assert_eq!(pay(&mut kept, 1, 10 * 1024).err(), Some(ReleaseError::AlreadyReserved { counter }));
    let pending = kept.ledger.void(counter, NOW).unwrap();
    kept.keep(pending);
    assert_eq!(pay(&mut kept, 1, 20 * 1024).err(), Some(ReleaseError::AlreadyReserved { counter }), "nor when it came to nothing");
    let again = kept.reload().ledger;
    let (at, state) = again.release(&Sha256([1; 32])).unwrap();
    assert_eq!((at, state.unwrap().stage), (counter, ReleaseStage::Void));
    assert_eq!(again.totals().spent, state.unwrap().release.cost, "still spent");
}

/// The stages of a release are not those of a round, and each comes once.
#[test]
fn stages_follow_their_order() {
    let (mut kept, p) = (Kept::new("8"), plan(1, "2"));
    let counter = pay(&mut kept, 1, 10 * 1024).unwrap().ledger_counter();
    assert_eq!(kept.ledger.unsealed(), [counter]);
    assert_eq!(kept.ledger.sealed(counter, Sha256([1; 32]), NOW).err(), Some(CloseError::WrongState), "a release is never an update");
    let pending = kept.ledger.released(counter, Sha256([4; 32]), NOW).unwrap();
    kept.keep(pending);
    assert!(kept.ledger.unsealed().is_empty());
    assert_eq!(kept.ledger.released(counter, Sha256([5; 32]), NOW).err(), Some(CloseError::WrongState));
    assert_eq!(kept.ledger.void(counter, NOW).err(), Some(CloseError::WrongState));
    kept.register(&p).unwrap();
    let round = kept.reserve(&p, 1).unwrap().ledger_counter();
    assert_eq!(kept.ledger.released(round, Sha256([4; 32]), NOW).err(), Some(CloseError::WrongState), "an update is never a release");
    assert_eq!(kept.reload().ledger.releases().next().unwrap().1.stage, ReleaseStage::Released(Sha256([4; 32])));
}

/// D61, D62: what is held for a task is not there for a release, and what a release took is not there for a task.
#[test]
fn one_cap_holds_over_tasks_and_releases() {
    let (mut kept, p) = (Kept::new("2"), plan(1, "1.5"));
    kept.register(&p).unwrap();
    let (before, free) = (kept.ledger.head(), kept.ledger.totals());
    let Err(ReleaseError::BudgetExhausted { order, needed, remaining }) = pay(&mut kept, 1, 2 * 1024) else {
        panic!("no room for rho 1/2")
    };
    assert_eq!((order, remaining), (kept.ledger.terms().order, Nats(free.budget.0 - free.spent.0 - free.held.0).decimal()));
    assert!((needed.to_f64() - 0.5 * order.to_f64()).abs() < 1e-8);
    assert_eq!((kept.ledger.head(), kept.ledger.totals()), (before, free), "a refusal changes nothing");
    pay(&mut kept, 1, 200 * 1024).unwrap();
    let mut other = Kept::new("2");
    let room = other.ledger.totals().budget.decimal().to_f64() / other.ledger.terms().order.to_f64();
    pay(&mut other, 1, scale_1024_for(room * 0.99, 2).unwrap()).unwrap();
    assert!(matches!(other.register(&p), Err(RegisterError::BudgetExhausted { .. })));
    assert!(other.ledger.totals().epsilon.unwrap().to_f64() <= 2.0);
}

#[test]
fn nothing_is_paid_without_a_comparison_or_beyond_the_limits() {
    let mut kept = Kept::new("8");
    let stale = request(&kept, 2, 10 * 1024);
    pay(&mut kept, 1, 10 * 1024).unwrap();
    assert_eq!(kept.ledger.reserve_release(&stale, NOW).err(), Some(ReleaseError::NotCompared), "compared before the last payment");
    let good = request(&kept, 3, 10 * 1024);
    let mut other = Kept::new("7");
    pay(&mut other, 1, 10 * 1024).unwrap();
    let foreign = ReleaseRequest { compared: other.ledger.compare(&[]).unwrap(), ..good };
    assert_eq!(kept.ledger.reserve_release(&foreign, NOW).err(), Some(ReleaseError::NotCompared), "a comparison of another ledger");
    for bad in [
        ReleaseRequest { values: 0, ..good },
        ReleaseRequest { values: MAX_VALUES + 1, ..good },
        ReleaseRequest { sensitivity: 0, ..good },
        ReleaseRequest { sensitivity: MAX_SENSITIVITY + 1, ..good },
        ReleaseRequest { scale_1024: 0, ..good },
        ReleaseRequest { scale_1024: MAX_SCALE_1024 + 1, ..good },
    ] {
        assert_eq!(kept.ledger.reserve_release(&bad, NOW).err(), Some(ReleaseError::OutOfRange), "{bad:?}");
    }
    let pending = kept.ledger.reserve_release(&good, NOW).unwrap();
    assert_eq!(kept.ledger.reserve_release(&good, NOW).err(), Some(ReleaseError::Outstanding));
    kept.keep(pending);
}

/// Who signs an entry that charges less than its numbers cost writes no ledger: every cost is computed again when it is read.
#[test]
fn an_entry_that_charges_too_little_is_not_read() {
    let (free, whole) = (Kept::new("8"), Kept::new("8"));
    let r = Release::of(&request(&free, 1, 10 * 1024), free.ledger.terms().order).unwrap();
    type Change = fn(&mut Release);
    let cheaper: [Change; 6] = [
        |r| r.cost = Nats(r.cost.0 - 1),
        |r| r.costs[7] = Nats(0),
        |r| r.costs.truncate(5),
        |r| r.sensitivity = 3,
        |r| r.scale_1024 -= 1,
        |r| r.values = MAX_VALUES + 1,
    ];
    let load = |release: Release| {
        let event = Event::ReleaseReserved(release);
        let entry = crate::ledger::Entry { counter: 1, previous: whole.ledger.head(), at: NOW, event };
        PrivacyLedger::load(&[&whole.file[..], &crate::ledger::record::write(&sign(&entry))].concat()).err()
    };
    assert_eq!(load(r.clone()), None);
    for change in cheaper {
        let mut bad = r.clone();
        change(&mut bad);
        assert_eq!(load(bad), Some(LoadError::Contradiction { counter: 1 }));
    }
}

/// A ledger from yesterday, or a copy, does not hold what the site log shows; a repair takes it in, counts it once, and never pays its id.
#[test]
fn a_ledger_that_lost_a_release_is_noticed_and_repaired() {
    let mut kept = Kept::new("8");
    pay(&mut kept, 1, 10 * 1024).unwrap();
    let yesterday = kept.file.clone();
    let paid = pay(&mut kept, 2, 10 * 1024).unwrap();
    let lines = [seen(&paid)];
    assert_eq!(kept.ledger.compare_releases(&lines), Ok(()));
    let mut back = Kept { ledger: PrivacyLedger::load(&yesterday).unwrap().ledger, file: yesterday };
    let alarm = Err(Alarm::ReleaseLost { line: 5, counter: paid.counter });
    assert_eq!(back.ledger.compare_releases(&lines), alarm);
    // A copy that went another way holds the counter, but not that entry.
    pay(&mut back, 3, 10 * 1024).unwrap();
    assert_eq!(back.ledger.compare_releases(&lines), alarm);
    let spent = back.ledger.totals().spent;
    let nothing = |_| None::<KnownPlan<'_>>;
    let pending = back.ledger.repair(&[], &lines, 0, nothing, NOW).unwrap();
    back.keep(pending);
    assert_eq!(back.ledger.totals().spent, Nats(spent.0 + paid.release().cost.0));
    assert_eq!((back.ledger.compare_releases(&lines), back.ledger.lost_releases()), (Ok(()), 1));
    assert!(back.ledger.counter() > paid.counter + 1);
    assert_eq!(back.ledger.repair(&[], &lines, 0, nothing, NOW).err(), Some(RepairError::NothingToRepair));
    assert!(matches!(pay(&mut back, 2, 10 * 1024), Err(ReleaseError::AlreadyReserved { .. })), "the lost id is not paid again");
    let again = back.reload().ledger;
    assert_eq!((again.totals(), again.compare_releases(&lines)), (back.ledger.totals(), Ok(())));
    let mut absurd = lines[0].clone();
    (absurd.scale_1024, absurd.head) = (0, Sha256([8; 32]));
    let pending = back.ledger.repair(&[], &[absurd], 0, nothing, NOW).unwrap();
    back.keep(pending);
    assert!(matches!(pay(&mut back, 9, 1 << 40), Err(ReleaseError::BudgetExhausted { .. })), "what cannot be counted costs everything");
}

/// Spends of rounds are compared as before, whatever is released between them: counters jump, nothing is missing.
#[test]
fn releases_between_rounds_raise_no_alarm() {
    let (mut kept, p) = (Kept::new("20"), plan(1, "2"));
    kept.register(&p).unwrap();
    let mut log = Vec::new();
    for round in 1..=2 {
        pay(&mut kept, u8::try_from(round).unwrap(), 50 * 1024).unwrap();
        let spend = kept.reserve(&p, round).unwrap().spend();
        let index = protocol::ids::LeafIndex(round);
        log.push(protocol::history::SpendRecord { index, task: p.task, round: protocol::ids::RoundId(round), spend });
    }
    assert!(log[1].spend.ledger_counter > log[0].spend.ledger_counter + 1);
    assert_eq!(log[1].spend.epsilon_before, log[0].spend.epsilon_after, "a task's figures are its own");
    assert!(kept.ledger.compare(&log).is_ok() && kept.reload().ledger.compare(&log).is_ok());
    let known = |_| Some(KnownPlan { plan: &p, digest: digest(&p) });
    assert_eq!(kept.ledger.repair(&log, &[], 9, known, NOW).err(), Some(RepairError::NothingToRepair));
}

/// D67: whatever prefix of the file a crash leaves, every payment that was handed out is in it.
#[test]
fn a_kill_at_any_byte_never_counts_less_than_was_paid() {
    let mut kept = Kept::new("8");
    let mut durable = vec![(0, Nats(0))];
    for id in 1..=3 {
        let counter = pay(&mut kept, id, 40 * 1024).unwrap().ledger_counter();
        durable.push((kept.file.len(), kept.ledger.totals().spent));
        let pending = kept.ledger.released(counter, Sha256([id; 32]), NOW).unwrap();
        kept.keep(pending);
    }
    let first = Kept::new("8").file.len();
    for cut in first..=kept.file.len() {
        let ledger = PrivacyLedger::load(&kept.file[..cut]).unwrap().ledger;
        let paid = durable.iter().filter(|(len, _)| *len <= cut).map(|(_, spent)| *spent).max().unwrap();
        assert!(ledger.totals().spent >= paid, "cut at {cut}");
    }
}

/// Old ledgers have no field for lost releases, and a repair without any writes none.
#[test]
fn a_repair_without_releases_keeps_its_spelling() {
    let without = crate::ledger::Repair { log_size: 3, tasks: Vec::new(), releases: None };
    assert_eq!(protocol::codec::encode(&without), [0x82, 3, 0x80]);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Pay {
        id: u8,
        scale: u64,
    },
    Release(u64),
    Void(u64),
    Reload,
    /// The file of an earlier moment comes back; the site log does not.
    RollBack(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..6u8, 5..60u64).prop_map(|(id, scale)| Op::Pay { id, scale }),
        2 => (0..12u64).prop_map(Op::Release),
        1 => (0..12u64).prop_map(Op::Void),
        1 => Just(Op::Reload),
        1 => (0..8usize).prop_map(Op::RollBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// No life of a ledger, with a person who repairs what the comparison names, counts less than was handed out or pays an id twice.
    #[test]
    fn no_life_of_a_ledger_counts_less_than_was_released(ops in prop::collection::vec(op(), 1..30)) {
        let mut kept = Kept::new("8");
        let (mut files, mut lines, mut drawn, mut real) = (vec![kept.file.clone()], Vec::new(), BTreeSet::new(), 0u64);
        for op in ops {
            match op {
                Op::Pay { id, scale } => {
                    if let Ok(paid) = pay(&mut kept, id, scale * 1024) {
                        prop_assert!(drawn.insert(id), "{} was paid twice", id);
                        real += paid.release().cost.0;
                        lines.push(seen(&paid));
                    }
                }
                Op::Release(c) => {
                    if let Ok(pending) = kept.ledger.released(c, Sha256([1; 32]), NOW) {
                        kept.keep(pending);
                    }
                }
                Op::Void(c) => {
                    if let Ok(pending) = kept.ledger.void(c, NOW) {
                        kept.keep(pending);
                    }
                }
                Op::Reload => kept.ledger = kept.reload().ledger,
                Op::RollBack(to) => {
                    kept.file = files[to % files.len()].clone();
                    kept.ledger = kept.reload().ledger;
                }
            }
            if kept.ledger.compare_releases(&lines).is_err() {
                let pending = kept.ledger.repair(&[], &lines, 0, |_| None::<KnownPlan<'_>>, NOW).unwrap();
                kept.keep(pending);
            }
            prop_assert!(kept.ledger.totals().spent.0 >= real, "{:?} recorded, {} drawn", kept.ledger.totals().spent, real);
            prop_assert_eq!(kept.reload().ledger.totals(), kept.ledger.totals());
            files.push(kept.file.clone());
        }
        prop_assert!(kept.ledger.totals().epsilon.unwrap().to_f64() <= dec("8").to_f64() || kept.ledger.lost_releases() > 0);
    }
}
