//! Weights made again after every round: over whole logs, with what an auditor may or may not hold besides them.

use super::fixture::{self, Draft, Files};
use super::story::tell;
use super::twist::Twist;
use crate::recompute::{Given, Outcome, Recomputation, SnapshotOutcome, Wanted, everything, recompute};
use crate::{Check, Options, Verdict};
use protocol::ids::RoundId;
use std::cell::Cell;

/// What is handed to the auditor besides the log.
struct Case {
    draft: Draft,
    chunks: Option<Files>,
    sums: Option<Files>,
    snapshots: Option<Files>,
}

impl Case {
    /// Chunks and the snapshot that the task begins with.
    fn new(twist: Twist) -> Self {
        let draft = tell(twist);
        let snapshots = [("of any name.safetensors".to_owned(), base(&draft))].into();
        Self { chunks: Some(draft.chunks.clone()), sums: None, snapshots: Some(snapshots), draft }
    }

    fn with<T>(&self, look: impl FnOnce(&std::path::Path, Given<'_>) -> T) -> T {
        let log = fixture::write(&self.draft.files());
        let [chunks, sums, snapshots] = [&self.chunks, &self.sums, &self.snapshots].map(|f| f.as_ref().map(fixture::write));
        let [chunks, sums, snapshots] = [&chunks, &sums, &snapshots].map(|d| d.as_ref().map(tempfile::TempDir::path));
        look(log.path(), Given { chunks, sums, snapshots })
    }

    fn verify(&self) -> Verdict {
        self.with(|log, given| everything(log, given, &Options::default(), &|_| (), &|_| ()).unwrap())
    }

    fn round(&self, round: u64) -> Recomputation {
        let wanted = Wanted { task: None, round: RoundId(round), group: None };
        self.with(|log, given| recompute(log, given, wanted, &Options::default(), &|_| ()).unwrap())
    }
}

/// What the task begins with, by the plan's hash of it.
fn base(draft: &Draft) -> Vec<u8> {
    let plan: protocol::plan::Plan = protocol::codec::decode(&draft.plan, protocol::plan::Plan::MAX_BYTES).unwrap();
    draft.snapshots.values().find(|bytes| protocol::hash::sha256(&[bytes]) == plan.base.0).unwrap().clone()
}

fn outcomes(v: &Verdict) -> Vec<(Outcome, Option<SnapshotOutcome>)> {
    v.recomputed.iter().map(|r| (r.groups[0].outcome, r.snapshot.as_ref().map(|s| s.outcome))).collect()
}

fn clauses(v: &Verdict) -> Vec<&'static str> {
    v.findings.iter().map(|f| f.clause).collect()
}

const MADE: Option<SnapshotOutcome> = Some(SnapshotOutcome::Agrees);
const OTHER: Option<SnapshotOutcome> = Some(SnapshotOutcome::Differs);
const NOT_MADE: Option<SnapshotOutcome> = Some(SnapshotOutcome::NotMade);

#[test]
fn a_first_snapshot_and_all_chunks_give_every_later_snapshot() {
    for twist in [Twist::None, Twist::Weighted, Twist::Momentum, Twist::Adam, Twist::Hybrid] {
        let case = Case::new(twist);
        let (blocks, ticks) = (Cell::new(0), Cell::new(0));
        let v = case
            .with(|log, given| everything(log, given, &Options::default(), &|n| blocks.set(n), &|_| ticks.set(ticks.get() + 1)).unwrap());
        assert_eq!((v.exit_code, outcomes(&v), clauses(&v)), (0, vec![(Outcome::Agrees, MADE); 2], vec![]), "{twist:?}");
        assert_eq!((blocks.get(), ticks.get()), (2, 2));
        assert!(v.checks.iter().filter(|c| c.name.contains("made again")).all(|c| c.run && c.passed) && v.checks.len() == Check::ALL.len());
        assert!(!v.not_verified.iter().any(|n| n.contains("sums") || n.contains("snapshots")), "{:?}", v.not_verified);
        let text = crate::table::render(&v);
        assert!(text.contains("Made again:") && text.contains("agrees: "), "{text}");
    }
}

#[test]
fn a_single_round_is_made_again_with_those_that_its_strategy_remembers() {
    for twist in [Twist::None, Twist::Adam] {
        let mut case = Case::new(twist);
        let made = case.round(1);
        assert_eq!((made.exit_code, made.snapshot.as_ref().map(|s| s.outcome)), (0, MADE), "{twist:?}");
        // Without memory round 2 begins with the snapshot before it; with it, at the beginning of the task.
        case.snapshots = Some(case.draft.snapshots.clone());
        let made = case.round(2);
        assert_eq!((made.exit_code, made.groups.len(), made.snapshot.as_ref().map(|s| s.outcome)), (0, 1, MADE), "{twist:?}");
        assert!(made.verdict.not_verified.iter().any(|n| n.starts_with("snapshots of rounds that were not asked for")));
    }
}

#[test]
fn a_snapshot_that_the_sums_do_not_give_is_an_integrity_failure() {
    for twist in [Twist::OtherSnapshot, Twist::StaleMean] {
        let v = Case::new(twist).verify();
        assert_eq!((v.exit_code, outcomes(&v)), (1, vec![(Outcome::Agrees, MADE), (Outcome::Agrees, OTHER)]), "{twist:?}");
        assert_eq!(clauses(&v), ["C60: the plan's step from the opened sums gives the next snapshot"]);
        let mut whole = Case::new(twist);
        whole.snapshots = Some(whole.draft.snapshots.clone());
        let made = whole.round(2);
        assert_eq!((made.exit_code, made.sentence()), (1, "INTEGRITY FAILURE: the snapshot is not what the sums give."));
    }
}

/// The mean is divided by what was declared: a server that divides by a false tally is found twice.
#[test]
fn an_average_by_another_weight_is_found_in_the_tally_and_in_the_snapshot() {
    let mut case = Case::new(Twist::WeightedByTally);
    case.snapshots = Some(case.draft.snapshots.clone());
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (1, vec![(Outcome::Differs, OTHER); 2]));
    assert!(clauses(&v).iter().any(|c| c.starts_with("C24")) && clauses(&v).iter().any(|c| c.starts_with("C60")));
    // One that publishes the false tally and yet averages as declared is found in the tally.
    assert_eq!(outcomes(&Case::new(Twist::OtherWeight).verify()), [(Outcome::Differs, MADE); 2]);
}

#[test]
fn kept_integers_stand_for_chunks_as_far_as_they_hash_to_what_was_signed() {
    for twist in [Twist::None, Twist::Weighted] {
        let mut case = Case::new(twist);
        (case.chunks, case.sums) = (None, Some(case.draft.sums.clone()));
        let v = case.verify();
        assert_eq!((v.exit_code, outcomes(&v)), (0, vec![(Outcome::Kept, MADE); 2]), "{:#?}", v.findings);
        assert!(v.not_verified.iter().any(|n| n.starts_with("summed bodies against the key sums")));
        // Both agree with each other, too.
        case.chunks = Some(case.draft.chunks.clone());
        assert_eq!(outcomes(&case.verify()), [(Outcome::Agrees, MADE); 2]);
    }
    let mut case = Case::new(Twist::LongMean);
    (case.chunks, case.sums) = (None, Some(case.draft.sums.clone()));
    assert_eq!((case.verify().exit_code, outcomes(&case.verify())[0].0), (3, Outcome::Differs), "the bound needs no chunks");
}

#[test]
fn kept_integers_that_are_others_are_an_integrity_failure_and_absent_ones_incomplete() {
    let mut case = Case::new(Twist::None);
    let mut sums = case.draft.sums.clone();
    let name = sums.keys().next().unwrap().clone();
    let text = String::from_utf8(sums[&name].clone()).unwrap();
    case.chunks = None;
    for bad in [text.replacen('[', "[1", 1), text.replacen(',', "", 1), text.replacen("\"0\"", "\"1\"", 1), "{".to_owned(), String::new()] {
        sums.insert(name.clone(), bad.clone().into_bytes());
        case.sums = Some(sums.clone());
        let v = case.verify();
        assert_eq!(v.exit_code, 1, "{bad:.60}: {:#?}", v.findings);
        assert!(clauses(&v).contains(&"A37: the kept integers give the stated value digest"));
        assert_eq!(outcomes(&v)[0].1, NOT_MADE, "nothing is made of integers that nobody signed");
    }
    sums.remove(&name);
    case.sums = Some(sums);
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (4, vec![(Outcome::NotRecomputed, NOT_MADE), (Outcome::Kept, NOT_MADE)]));
    assert!(v.not_verified.iter().any(|n| n.starts_with("sums that could not be made again")));
}

/// Nothing contradicts anything, but nothing was made either: no success, and each round says why.
#[test]
fn what_is_missing_is_named_and_is_no_success() {
    let reason = |v: &Verdict, at: usize| v.recomputed[at].snapshot.as_ref().and_then(|s| s.reason.clone()).unwrap_or_default();
    let mut case = Case::new(Twist::None);
    case.snapshots = Some([("other.safetensors".to_owned(), vec![1, 2, 3])].into());
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (4, vec![(Outcome::Agrees, NOT_MADE); 2]));
    assert!(reason(&v, 0).contains("is not there"), "{}", reason(&v, 0));
    // A strategy that remembers is lost with its first round, one that does not goes on from the next snapshot.
    for (twist, second) in [(Twist::None, MADE), (Twist::Momentum, NOT_MADE)] {
        let mut case = Case::new(twist);
        let mut snapshots = case.draft.snapshots.clone();
        let first = base(&case.draft);
        snapshots.retain(|_, bytes| *bytes != first);
        case.snapshots = Some(snapshots);
        let v = case.verify();
        assert_eq!((v.exit_code, outcomes(&v)[1].1), (4, second), "{twist:?}");
        assert!(second == MADE || reason(&v, 1).contains("the strategy remembers round 1"), "{}", reason(&v, 1));
    }
    // Without the plan nobody knows what a step is.
    let mut case = Case::new(Twist::None);
    case.draft.plan.push(0);
    let v = case.verify();
    assert!(v.exit_code != 0 && outcomes(&v).iter().all(|(_, s)| *s == NOT_MADE), "{:?}", outcomes(&v));
}

/// A file of the right name is no snapshot yet: its bytes are what the log names, or it is not there.
#[test]
fn a_snapshot_file_is_believed_by_its_hash_alone() {
    let mut case = Case::new(Twist::None);
    let mut snapshots = case.draft.snapshots.clone();
    snapshots.values_mut().for_each(|bytes| *bytes.last_mut().unwrap() ^= 1);
    case.snapshots = Some(snapshots);
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (4, vec![(Outcome::Agrees, NOT_MADE); 2]));
}

#[test]
fn a_round_without_a_sum_has_no_step() {
    let v = Case::new(Twist::SumFails).verify();
    assert_eq!((v.exit_code, outcomes(&v)), (0, vec![(Outcome::Agrees, MADE), (Outcome::Failed, None)]), "{:#?}", v.findings);
}

/// No document is needed: a task that counts begins with nothing known.
#[test]
fn what_a_task_that_counts_knows_follows_from_its_sums_alone() {
    for (twist, rounds) in [(Twist::Counts, 1), (Twist::CountsWords, 2)] {
        let mut case = Case::new(twist);
        case.snapshots = Some(Files::new());
        let v = case.verify();
        assert_eq!((v.exit_code, outcomes(&v), clauses(&v)), (0, vec![(Outcome::Agrees, MADE); rounds], vec![]), "{twist:?}");
        (case.chunks, case.sums) = (None, Some(case.draft.sums.clone()));
        assert_eq!(outcomes(&case.verify()), vec![(Outcome::Kept, MADE); rounds], "{twist:?}");
    }
    // A later round alone begins with the document before it, whatever its name and ending.
    let mut case = Case::new(Twist::CountsWords);
    case.snapshots = Some(case.draft.snapshots.clone());
    assert_eq!((case.round(1).exit_code, case.round(2).exit_code), (0, 0));
    assert!(case.round(2).snapshot.is_some_and(|s| s.outcome == SnapshotOutcome::Agrees));
    let renamed = case.draft.snapshots.values().zip(0u8..).map(|(bytes, i)| (format!("{i}.json"), bytes.clone()));
    case.snapshots = Some(renamed.collect());
    assert_eq!(case.round(2).exit_code, 0);
}

/// One count that was not opened, one value that does not follow, one word, and a round that is left out.
#[test]
fn figures_and_words_that_the_sums_do_not_give_are_integrity_failures() {
    let altered = [
        (Twist::OtherCount, 1, "/answers/0/answer/moments/count/"),
        (Twist::OtherFigure, 1, "/what/statistics/answers/0/answer/moments/count/value is stated as 1"),
        (Twist::OtherWord, 2, "/what/words/search/found/ab is stated as 562, came out as 563"),
        (Twist::CountsForgetARound, 2, "/rounds is stated as 1, came out as 2"),
    ];
    for (twist, rounds, place) in altered {
        let mut case = Case::new(twist);
        let mut expected = vec![(Outcome::Agrees, MADE); rounds - 1];
        expected.push((Outcome::Agrees, OTHER));
        let v = case.verify();
        assert_eq!((v.exit_code, outcomes(&v)), (1, expected.clone()), "{twist:?}");
        assert_eq!(clauses(&v), ["C60: the plan's step from the opened sums gives the next snapshot"], "{twist:?}");
        // With the published document at hand, what was altered is named.
        case.snapshots = Some(case.draft.snapshots.clone());
        let v = case.verify();
        assert_eq!((v.exit_code, outcomes(&v)), (1, expected), "{twist:?}");
        let reason = v.recomputed.last().unwrap().snapshot.as_ref().unwrap().reason.clone().unwrap_or_default();
        assert!(reason.contains(place) && v.findings[0].got.contains(place), "{twist:?}: {reason}");
        assert!(crate::table::render(&v).contains("DIFFERS: stated"), "{twist:?}");
    }
}

#[test]
fn a_round_of_counts_without_its_sum_is_no_success_and_its_document_carries_on() {
    let mut case = Case::new(Twist::CountsWords);
    let (first, _) = case.draft.sums.pop_first().unwrap();
    assert!(first.ends_with("00000001.json"), "{first}");
    (case.chunks, case.sums) = (None, Some(case.draft.sums.clone()));
    case.snapshots = Some(Files::new());
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (4, vec![(Outcome::NotRecomputed, NOT_MADE), (Outcome::Kept, NOT_MADE)]));
    case.snapshots = Some(case.draft.snapshots.clone());
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (4, vec![(Outcome::NotRecomputed, NOT_MADE), (Outcome::Kept, MADE)]));
}

#[test]
fn a_task_that_counts_from_something_is_an_invariant_failure() {
    let mut case = Case::new(Twist::CountsFromSomething);
    case.snapshots = Some(case.draft.snapshots.clone());
    let v = case.verify();
    assert_eq!((v.exit_code, outcomes(&v)), (3, vec![(Outcome::Agrees, NOT_MADE), (Outcome::Agrees, MADE)]));
    assert_eq!(clauses(&v), ["A37: a task that counts begins with nothing known"]);
}
