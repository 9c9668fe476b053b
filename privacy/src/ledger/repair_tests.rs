//! The ledger against the log: rolled back, copied, lost, repaired (privacy.md D65).

use super::*;
use crate::ledger::machine::tests::{Kept, NOW, digest, plan, propose, sign, terms};
use crate::ledger::{Account, Paid, ReserveError, Terms};
use protocol::ids::{LeafIndex, RoundId};
use protocol::plan::Plan;

/// What the log shows of a payment.
fn shown(index: u64, plan: &Plan, round: u64, paid: &Paid) -> SpendRecord {
    SpendRecord { index: LeafIndex(index), task: plan.task, round: RoundId(round), spend: paid.spend() }
}

fn known<'a>(plan: &'a Plan) -> impl Fn(TaskId) -> Option<KnownPlan<'a>> {
    move |task| (task == plan.task).then(|| KnownPlan { plan, digest: digest(plan) })
}

/// A ledger that paid for rounds 1 to `rounds`, what the log shows of it, and its file after each payment.
fn story(plan: &Plan, rounds: u64) -> (Kept, Vec<SpendRecord>, Vec<Vec<u8>>) {
    let mut k = Kept::new("20");
    k.register(plan).unwrap();
    let (mut log, mut files) = (Vec::new(), vec![k.file.clone()]);
    for round in 1..=rounds {
        let paid = k.reserve(plan, round).unwrap();
        log.push(shown(10 + round, plan, round, &paid));
        files.push(k.file.clone());
    }
    (k, log, files)
}

fn restored(file: &[u8]) -> Kept {
    Kept { ledger: PrivacyLedger::load(file).unwrap().ledger, file: file.to_vec() }
}

/// Repairs, and proves that the repaired ledger counts no less than the whole one did and goes on.
fn repaired(mut k: Kept, log: &[SpendRecord], plan: &Plan) -> Kept {
    let pending = k.ledger.repair(log, &[], 100, known(plan), NOW).unwrap();
    k.keep(pending);
    assert!(k.ledger.compare(log).is_ok());
    assert_eq!(k.reload().ledger.totals(), k.ledger.totals());
    assert_eq!(k.ledger.last_repair().unwrap().log_size, 100);
    k
}

#[test]
fn a_rolled_back_ledger_is_noticed_and_pays_nothing() {
    let plan = plan(1, "2");
    let (whole, log, files) = story(&plan, 2);
    assert!(whole.ledger.compare(&log).is_ok());
    for (rounds, file) in files[..2].iter().enumerate() {
        let mut old = restored(file);
        let lost = &log[rounds];
        let alarm = Alarm::LedgerRolledBack { index: lost.index.0, counter: lost.spend.ledger_counter };
        assert_eq!(old.ledger.compare(&log).err(), Some(alarm));
        // A proof of the whole ledger is none of the old one.
        let request = crate::ledger::ReserveRequest {
            task: plan.task,
            plan: digest(&plan),
            round: RoundId(3),
            manifest: protocol::ids::ManifestDigest([3; 32]),
            mechanism: &crate::ledger::machine::tests::mechanism(&plan),
            steps: 4,
            compared: whole.ledger.compare(&log).unwrap(),
        };
        assert_eq!(old.ledger.reserve(&request, NOW).err(), Some(ReserveError::NotCompared));
    }
}

#[test]
fn every_reservation_needs_a_comparison_of_its_own() {
    let plan = plan(1, "2");
    let (mut k, log, _) = story(&plan, 1);
    let compared = k.ledger.compare(&log).unwrap();
    k.reserve(&plan, 2).unwrap();
    let mechanism = crate::ledger::machine::tests::mechanism(&plan);
    let request = crate::ledger::ReserveRequest {
        task: plan.task,
        plan: digest(&plan),
        round: RoundId(3),
        manifest: protocol::ids::ManifestDigest([3; 32]),
        mechanism: &mechanism,
        steps: 4,
        compared,
    };
    assert_eq!(k.ledger.reserve(&request, NOW).err(), Some(ReserveError::NotCompared));
}

#[test]
fn a_repair_counts_what_the_log_shows_and_no_round_is_paid_again() {
    let plan = plan(1, "2");
    let (whole, log, files) = story(&plan, 2);
    for file in &files[..2] {
        let mut k = repaired(restored(file), &log, &plan);
        assert_eq!(k.ledger.totals().spent, whole.ledger.totals().spent, "nothing is counted twice here");
        assert_eq!(k.ledger.totals().held, whole.ledger.totals().held);
        let (task, want) = (k.ledger.task(plan.task).unwrap(), whole.ledger.task(plan.task).unwrap());
        assert_eq!((task.rounds_reserved, task.epsilon), (want.rounds_reserved, want.epsilon));
        for round in 1..=2 {
            assert!(matches!(k.reserve(&plan, round).err(), Some(ReserveError::AlreadyReserved { .. })), "round {round}");
        }
        // The next header continues what the log shows: a higher counter, more steps, no less epsilon (I8).
        let (last, next) = (&log[1].spend, k.reserve(&plan, 3).unwrap().spend());
        assert!(next.ledger_counter > last.ledger_counter && next.steps_total == last.steps_total + 4);
        assert_eq!(next.epsilon_before, last.epsilon_after);
        assert!(matches!(k.reserve(&plan, 4).err(), Some(ReserveError::ScheduleExhausted(_))));
    }
}

#[test]
fn what_a_repair_raised_never_falls_again() {
    let plan = plan(1, "2");
    let (_, mut log, files) = story(&plan, 2);
    // A header may state more than this version's accountant would: an older one did, or a round was lost with its entry.
    let shown: Decimal = "2".parse().unwrap();
    log[1].spend.epsilon_after = shown;
    let mut k = repaired(restored(&files[0]), &log, &plan);
    let next = k.reserve(&plan, 3).unwrap().spend();
    assert_eq!((next.epsilon_before, next.epsilon_after), (shown, shown));
}

/// D61: a cap on own ε holds where a repair raised a task's figure too. A header above it would break the log's rules.
#[test]
fn a_repaired_task_is_held_to_the_cap_on_own_cost() {
    let plan = plan(1, "2");
    let (_, mut log, _) = story(&plan, 2);
    let shown: Decimal = "2".parse().unwrap();
    log[1].spend.epsilon_after = shown;
    for (own, refused) in [("2", false), ("1.9", true)] {
        let own: Decimal = own.parse().unwrap();
        let first = PrivacyLedger::create(Terms { own_epsilon_cap: Some(own), ..terms("20") }, NOW).unwrap();
        let file = first.record(sign);
        let mut k = Kept { ledger: first.begun(), file };
        k.register(&plan).unwrap();
        let mut k = repaired(k, &log, &plan);
        let exhausted = ReserveError::BudgetExhausted { account: Account::Task, order: None, needed: shown, remaining: own };
        assert_eq!(k.reserve(&plan, 3).err(), refused.then_some(exhausted), "{own}");
    }
}

#[test]
fn a_ledger_that_was_lost_whole_is_rebuilt_from_the_log() {
    let plan = plan(1, "2");
    let (whole, log, _) = story(&plan, 2);
    let mut k = repaired(Kept::new("20"), &log, &plan);
    assert_eq!(k.ledger.totals().spent, whole.ledger.totals().spent);
    // The task is registered again later and has only its last round left.
    k.register(&plan).unwrap();
    assert_eq!(k.ledger.totals().held, whole.ledger.totals().held);
    let next = k.reserve(&plan, 3).unwrap().spend();
    assert_eq!((next.steps_total, next.epsilon_before), (12, log[1].spend.epsilon_after));
    assert!(matches!(k.reserve(&plan, 4).err(), Some(ReserveError::ScheduleExhausted(_))));
}

/// Two copies of one ledger were spent from: what one paid is added to what the other paid.
#[test]
fn a_copy_that_was_spent_from_is_added() {
    let plan = plan(1, "2");
    let (_, log, files) = story(&plan, 1);
    let (mut ours, mut copy) = (restored(&files[1]), restored(&files[1]));
    ours.reserve(&plan, 2).unwrap();
    let theirs = copy.reserve(&plan, 3).unwrap();
    let log = [log[0].clone(), shown(20, &plan, 3, &theirs)];
    let one = ours.ledger.task(plan.task).unwrap().schedule.cost_per_round;
    let before = ours.ledger.totals().spent;
    assert_eq!(ours.ledger.compare(&log).err(), Some(Alarm::LedgerRolledBack { index: 20, counter: theirs.ledger_counter() }));
    let ours = repaired(ours, &log, &plan);
    assert_eq!(ours.ledger.totals().spent, before.plus(one));
    assert_eq!(ours.ledger.task(plan.task).unwrap().rounds_reserved, 3);
}

/// A running total that rises by more than the header's own steps was paid for by rounds that left no header.
#[test]
fn a_gap_in_the_log_counts_as_spent() {
    let plan = plan(1, "2");
    let (whole, log, files) = story(&plan, 3);
    let sparse = [log[0].clone(), log[2].clone()];
    let k = repaired(restored(&files[1]), &sparse, &plan);
    assert_eq!(k.ledger.totals().spent, whole.ledger.totals().spent);
}

#[test]
fn a_spend_after_the_repair_that_is_not_ours_is_an_alarm_again() {
    let plan = plan(1, "2");
    let (_, log, files) = story(&plan, 2);
    let k = repaired(restored(&files[1]), &log, &plan);
    let mut later = log[1].clone();
    later.index = LeafIndex(100);
    later.round = RoundId(3);
    assert!(k.ledger.compare(&[log[0].clone(), log[1].clone(), later]).is_err());
}

#[test]
fn a_whole_ledger_needs_no_repair_and_a_repair_needs_its_plans() {
    let plan = plan(1, "2");
    let (mut whole, log, files) = story(&plan, 2);
    assert_eq!(whole.ledger.repair(&log, &[], 100, known(&plan), NOW).err(), Some(RepairError::NothingToRepair));
    let mut old = restored(&files[0]);
    assert_eq!(old.ledger.repair(&log, &[], 100, |_| None, NOW).err(), Some(RepairError::NoPlan));
    assert!(propose(&mut old.ledger, &plan, 1).is_ok(), "a refused repair leaves nothing outstanding");
}

/// Headers of several groups repeat one payment: it is counted once.
#[test]
fn a_payment_for_several_groups_is_counted_once() {
    let plan = plan(1, "2");
    let (whole, log, files) = story(&plan, 2);
    let mut twice = Vec::new();
    for s in &log {
        let mut other = s.clone();
        other.index = LeafIndex(s.index.0 + 50);
        twice.extend([s.clone(), other]);
    }
    let k = repaired(restored(&files[0]), &twice, &plan);
    assert_eq!(k.ledger.totals().spent, whole.ledger.totals().spent);
}

#[test]
fn only_a_repair_may_jump_over_counters() {
    let plan = plan(1, "2");
    let (_, mut log, files) = story(&plan, 2);
    log[1].spend.ledger_counter += 1000;
    let k = repaired(restored(&files[1]), &log, &plan);
    assert_eq!(k.ledger.counter(), log[1].spend.ledger_counter + 2);
    let mut other = restored(&files[1]);
    let end = crate::ledger::Event::Ended { task: plan.task };
    let pending = other.ledger.propose_at(5000, NOW, end, |_, _| ());
    other.file.extend(pending.record(sign));
    assert!(matches!(PrivacyLedger::load(&other.file), Err(crate::ledger::LoadError::Chain { .. })));
}
