//! Sums made again: over groups of every shape, and over whole logs with one thing wrong in log or chunks.

use super::fixture::{self, Files};
use super::sealing::{self, Bodies, address};
use super::story::tell;
use super::twist::Twist;
use crate::recompute::chunks::ChunkFault;
use crate::recompute::extract::{Extraction, Fault, Places};
use crate::recompute::group::{Job, Sum};
use crate::recompute::integers::Keep;
use crate::recompute::{Given, Outcome, Recomputation, Tick, Wanted, recompute, render};
use crate::{Options, RecomputeError, Severity};
use protocol::ids::{Address, GroupId, ManifestDigest, RoundId, ShardId, TaskId};
use protocol::manifest::{GroupShard, GroupSpec};
use protocol::params::{Packing, RING_DIMENSION, Tally};
use std::collections::BTreeMap;
use tempfile::TempDir;

const MANIFEST: ManifestDigest = ManifestDigest([9; 32]);

fn group(n_max: u16, bits: u8, lengths: &[u64], max_weight: Option<u64>) -> GroupSpec {
    let shards = lengths.iter().zip(0..).map(|(&length, i)| GroupShard { id: ShardId(i), length, step_exponent: -10 }).collect();
    let packing = Packing::derive(n_max, bits).unwrap();
    let tally = max_weight.map(|w| Tally::derive(w, bits).unwrap());
    GroupSpec { id: GroupId(7), shards, packing, cohort_min: 2, eligible: Vec::new(), tally }
}

/// A small secret of its own for every seed.
fn secret(seed: i32) -> Vec<i32> {
    (0..4096).map(|i| (i * (2 * seed + 3) + seed) % 181 - 90).collect()
}

/// Updates of this group; member i weighs i + 1.
fn sealed(spec: &GroupSpec, members: u8) -> Vec<Bodies> {
    let seal = |id: u8| {
        let mut values = sealing::values(spec, i64::from(id));
        let limbs = spec.tally.map(|t| t.split(u64::from(id) + 1).unwrap().into_iter().map(i64::from).collect());
        values.extend(limbs);
        sealing::seal(spec, MANIFEST, &secret(i32::from(id)), values, u64::from(id) + 1)
    };
    (0..members).map(seal).collect()
}

fn key_sum(members: u8) -> Vec<i32> {
    let all: Vec<Vec<i32>> = (0..members).map(|id| secret(i32::from(id))).collect();
    (0..4096).map(|i| all.iter().map(|s| s[i]).sum()).collect()
}

fn run(spec: &GroupSpec, updates: &[Bodies], key_sum: &[i32]) -> Sum {
    let places = Places::of(spec).unwrap();
    let bytes: BTreeMap<Address, &Vec<u8>> = updates.iter().flat_map(|u| &u.chunks).map(|c| (address(c), c)).collect();
    let members: Vec<Vec<Address>> = updates.iter().map(|u| u.chunks.iter().map(|c| address(c)).collect()).collect();
    let job = Job { manifest: MANIFEST, spec, places: &places, members: &members, key_sum, keep: Keep::Values };
    let read = |a: Address, len: usize| {
        assert_eq!(bytes[&a].len(), len);
        Ok::<_, ChunkFault>(bytes[&a].clone())
    };
    job.run(read, |_, _| ()).unwrap()
}

#[test]
fn groups_of_every_shape_open_to_what_was_sealed() {
    let shapes = [
        (4u16, 8u8, vec![5000u64, 3, 20_481], None),
        (100, 8, vec![1], Some(1000)),
        (100, 16, vec![8193], Some(1 << 40)),
        (5, 32, vec![10], None),
    ];
    for (n_max, bits, lengths, weight) in shapes {
        let spec = group(n_max, bits, &lengths, weight);
        let updates = sealed(&spec, 3);
        let expected = sealing::stated(&spec, MANIFEST, &updates.iter().collect::<Vec<_>>());
        let got = run(&spec, &updates, &key_sum(3));
        let opened = got.opened.unwrap_or_else(|e| panic!("{n_max} {bits}: {e}"));
        let integers = opened.integers;
        assert_eq!((got.sum_root, integers.digest), (expected.sum_root, expected.values), "{n_max} {bits}");
        assert!((opened.worst - expected.ratio).abs() < 1e-9, "{} {}", opened.worst, expected.ratio);
        assert_eq!(integers.weight, weight.map(|_| 1 + 2 + 3));
        let values: Vec<Vec<i64>> = integers.values.unwrap().into_iter().map(|(_, v)| v).collect();
        let sum = |shard: usize, i: usize| updates.iter().map(|u| u.values[shard][i]).sum::<i64>();
        for (shard, got) in values.iter().enumerate() {
            assert!(got.iter().enumerate().all(|(i, v)| *v == sum(shard, i)) && got.len() as u64 == lengths[shard]);
            assert_eq!(integers.squares[shard], got.iter().map(|v| u128::from(v.unsigned_abs()) * u128::from(v.unsigned_abs())).sum());
        }
    }
}

/// One polynomial more than a block holds.
#[test]
fn sums_of_several_blocks_hold_one_at_a_time() {
    let spec = group(2, 32, &[256 * 4096 + 1], None);
    let updates = sealed(&spec, 2);
    assert_eq!((updates[0].chunks.len(), spec.polynomials().unwrap()), (2, 257));
    let expected = sealing::stated(&spec, MANIFEST, &updates.iter().collect::<Vec<_>>());
    let got = run(&spec, &updates, &key_sum(2));
    assert_eq!((got.sum_root, got.opened.unwrap().integers.digest), (expected.sum_root, expected.values));
}

#[test]
fn another_set_or_key_leaves_residuals_that_no_seal_has() {
    let spec = group(10, 8, &[100], None);
    let updates = sealed(&spec, 3);
    let mut wrong = key_sum(3);
    wrong[17] += 1;
    for key in [wrong, key_sum(2)] {
        assert!(matches!(run(&spec, &updates, &key).opened, Err(Fault::Residual(0, ratio)) if ratio > 1.25));
    }
    assert!(matches!(run(&spec, &updates[..2], &key_sum(3)).opened, Err(Fault::Residual(0, _))));
}

/// Sums without noise, slot by slot: U = 3 + i.
#[test]
fn slots_padding_and_tallies_have_their_ranges() {
    let packing = Packing::derive(10, 8).unwrap();
    let bias = 1;
    let acc = |first: u64, rest: u64| -> Vec<u64> {
        (0..RING_DIMENSION).map(|i| ((if i == 0 { first } else { rest }) << packing.noise_bits) + bias).collect()
    };
    let zero = vec![0u64; RING_DIMENSION];
    let open = |first, rest, used| Extraction::new(packing, 3).open(5, &acc(first, rest), &zero, used).map(|o| (o.values, o.ratio));
    assert_eq!(open(3, 0, 1), Ok((vec![3 - 3 * 128], 0.0)), "quiet, but in range");
    assert_eq!(open(3 * 255, 0, 1), Ok((vec![3 * 127], 0.0)));
    assert_eq!([open(2, 0, 1), open(3 * 255 + 1, 0, 1)], [Err(Fault::Range(5)), Err(Fault::Range(5))]);
    assert_eq!(open(3, 1, 1), Err(Fault::Padding(5)));
    // A tally of which no limb may be negative: a member that weighs nothing at all.
    let spec = group(10, 8, &[10], Some(1000));
    let mut updates = sealed(&spec, 2);
    let mut values = sealing::values(&spec, 0);
    values.push(vec![-5, 0]);
    updates[0] = sealing::seal(&spec, MANIFEST, &secret(0), values, 1);
    assert_eq!(run(&spec, &updates, &key_sum(2)).opened.err(), Some(Fault::Tally));
}

#[test]
fn numbers_that_nobody_derives_are_refused() {
    let mut spec = group(10, 8, &[100], Some(1000));
    assert_eq!(Places::of(&spec).map(|p| (p.polynomials(), p.at(0), p.at(1), p.at(2))).ok(), Some((2, Some((0, 100)), Some((1, 2)), None)));
    spec.tally = Some(Tally { max_weight: 1000, bits: 9 });
    assert!(Places::of(&spec).is_err());
    let mut spec = group(10, 8, &[100], None);
    spec.packing.dropped_bits += 1;
    assert!(Places::of(&spec).is_err());
}

/// A log and its chunks on disk.
struct Case {
    log: TempDir,
    chunks: Files,
}

fn case(twist: Twist) -> Case {
    let draft = tell(twist);
    Case { log: fixture::write(&draft.files()), chunks: draft.chunks }
}

impl Case {
    fn try_round(&self, round: u64, task: Option<TaskId>, group: Option<u32>) -> Result<Recomputation, RecomputeError> {
        let wanted = Wanted { task, round: RoundId(round), group: group.map(GroupId) };
        let chunks = fixture::write(&self.chunks);
        recompute(self.log.path(), Given { chunks: Some(chunks.path()), ..Given::default() }, wanted, &Options::default(), &|_: Tick| ())
    }
    fn round(&self, round: u64) -> Recomputation {
        self.try_round(round, None, None).unwrap()
    }
    /// The names of all chunks or all lists.
    fn names(&self, lists: bool) -> Vec<String> {
        self.chunks.keys().filter(|n| n.ends_with(".list") == lists).cloned().collect()
    }
    /// The one round of the two that no longer comes out.
    fn damaged(&self) -> Recomputation {
        let (bad, good): (Vec<_>, Vec<_>) = [1, 2].map(|r| self.round(r)).into_iter().partition(|r| r.exit_code != 0);
        assert_eq!((bad.len(), good.len()), (1, 1));
        bad.into_iter().next().unwrap()
    }
}

#[track_caller]
fn expect(made: &Recomputation, exit_code: u8, clause: &str, outcome: Outcome) {
    let hit = made.verdict.findings.iter().any(|f| f.clause.contains(clause) && f.severity.exit_code() == exit_code);
    assert!(hit, "{clause}: {:#?}", made.verdict.findings);
    assert_eq!((made.exit_code, made.groups[0].outcome), (exit_code, outcome), "{:#?}", made.groups);
    assert!(!made.verdict.verified && made.verdict.checks.iter().any(|c| c.name.contains("chunks") && !c.passed));
}

#[test]
fn an_honest_round_comes_out_again() {
    let mut case = case(Twist::None);
    for round in [1, 2] {
        let made = case.round(round);
        let group = &made.groups[0];
        assert_eq!((made.exit_code, group.outcome, group.members, group.polynomials, group.chunks), (0, Outcome::Agrees, 3, 1, 3));
        assert_eq!((&group.reason, group.quiet_polynomials, made.verdict.findings.len()), (&None, 0, 0));
        let text = render(&made);
        assert!(
            text.starts_with("Every sum of this round came out again") && text.contains("honest") && !text.contains("no chunks were given")
        );
    }
    // As the server keeps them; then without the lists, which updates of one chunk can do without.
    case.chunks = case.chunks.into_iter().map(|(name, bytes)| (format!("{}/{name}", &name[..2]), bytes)).collect();
    assert_eq!(case.round(1).exit_code, 0);
    case.chunks.retain(|name, _| !name.ends_with(".list"));
    assert_eq!(case.round(2).exit_code, 0);
    // What nobody named does not matter.
    case.chunks.insert("ab/stranger".to_owned(), vec![1]);
    case.chunks.insert(address(b"another").to_hex(), b"another".to_vec());
    assert_eq!(case.round(2).exit_code, 0);
}

#[test]
fn one_flipped_bit_of_a_chunk_is_an_integrity_failure() {
    let mut case = case(Twist::None);
    let name = case.names(false)[1].clone();
    case.chunks.get_mut(&name).unwrap()[1000] ^= 4;
    let made = case.damaged();
    expect(&made, 1, "C41", Outcome::NotRecomputed);
    assert!(made.groups[0].reason.as_ref().unwrap().contains(&name));
    // Too long is altered too, and is not read to its end.
    case.chunks.get_mut(&name).unwrap()[1000] ^= 4;
    case.chunks.get_mut(&name).unwrap().push(0);
    expect(&case.damaged(), 1, "C41", Outcome::NotRecomputed);
}

#[test]
fn a_missing_chunk_is_named_and_is_no_success() {
    let mut case = case(Twist::None);
    let name = case.names(false)[0].clone();
    case.chunks.remove(&name);
    let made = case.damaged();
    expect(&made, 4, "the chunks of every member", Outcome::NotRecomputed);
    let text = render(&made);
    assert!(text.contains("not recomputed") && text.contains("chunks missing"), "{text}");
    assert!(made.groups[0].reason.as_ref().unwrap().contains(&name));
    assert!(made.verdict.not_verified.iter().any(|n| n.contains("no chunks were given")));
    case.chunks.clear();
    expect(&case.round(2), 4, "the chunks of every member", Outcome::NotRecomputed);
}

/// audit.md A19: a copy is worth as much as before; without one it is told that nobody hides anything.
#[test]
fn chunks_that_were_deleted_on_record_are_told_so_and_others_are_missing() {
    let mut case = case(Twist::ChunksDeleted);
    assert_eq!((case.round(1).exit_code, case.round(1).groups[0].outcome), (0, Outcome::Agrees), "somebody kept a copy");
    case.chunks.clear();
    let made = case.round(1);
    assert_eq!((made.exit_code, made.groups[0].outcome), (0, Outcome::Deleted), "{:#?}", made.verdict.findings);
    let text = render(&made);
    assert!(text.contains("deleted on record") && !text.contains("came out again"), "{text}");
    assert!(made.verdict.not_verified.iter().any(|line| line.starts_with("sums whose sealed chunks were deleted")));
    expect(&case.round(2), 4, "the chunks of every member", Outcome::NotRecomputed);
}

/// The list beside the chunks is not believed: more, fewer, other or no addresses do not give the signed root.
#[test]
fn a_list_that_is_not_the_signed_one_is_an_integrity_failure() {
    let honest = case(Twist::None);
    let lists = honest.names(true);
    let other = honest.chunks[&lists[1]].clone();
    let both = [honest.chunks[&lists[0]].clone(), other.clone()].concat();
    for bytes in [both, other, Vec::new(), b"\xff\n".to_vec()] {
        let mut files = honest.chunks.clone();
        files.insert(lists[0].clone(), bytes);
        let case = Case { log: fixture::write(&tell(Twist::None).files()), chunks: files };
        expect(&case.damaged(), 1, "C36", Outcome::NotRecomputed);
    }
}

#[test]
fn a_member_too_many_in_the_sum_is_an_integrity_failure() {
    let made = case(Twist::StrangerSummed).round(1);
    expect(&made, 1, "add up to the stated sum root", Outcome::Differs);
    expect(&made, 1, "the stated value digest", Outcome::Differs);
    assert!(render(&made).contains("a sum is not what the server stated"));
}

#[test]
fn figures_that_did_not_come_out_are_integrity_failures() {
    expect(&case(Twist::OtherValues).round(1), 1, "the stated value digest", Outcome::Differs);
    expect(&case(Twist::OtherRatio).round(2), 1, "the residual ratio", Outcome::Differs);
    expect(&case(Twist::WrongKeySum).round(1), 1, "the stated key sum", Outcome::Differs);
    let none = case(Twist::AllOpeningsLie).round(1);
    expect(&none, 1, "the stated key sum", Outcome::Differs);
    assert!(none.groups[0].sum_root.as_ref().is_some_and(|f| f.agrees), "bodies need no openings");
}

/// C24: a member that weighs less in its tally than it declared, and a server that publishes the sum all the same.
#[test]
fn a_tally_other_than_the_declared_weights_is_an_integrity_failure() {
    let made = case(Twist::OtherWeight).round(1);
    expect(&made, 1, "C24: the opened tally", Outcome::Differs);
    let figure = made.groups[0].weights.as_ref().unwrap();
    assert_eq!((figure.stated.as_str(), figure.recomputed.as_deref(), figure.agrees), ("36000", Some("24500"), false));
    assert!(made.groups[0].values.as_ref().is_some_and(|f| f.agrees) && render(&made).contains("24500; DECLARED: 36000"));
    let honest = case(Twist::Weighted).round(1);
    assert_eq!((honest.exit_code, honest.groups[0].outcome, honest.groups[0].weight), (0, Outcome::Agrees, Some(36_000)));
}

/// training.md M18: a server that publishes a group whose mean is longer than the plan allows.
#[test]
fn a_mean_beyond_the_plans_bound_is_an_invariant_failure() {
    let made = case(Twist::LongMean).round(2);
    expect(&made, 3, "C64: a group whose mean is longer", Outcome::Differs);
    assert!(render(&made).contains("TOO LONG"));
    let honest = case(Twist::Weighted).round(2);
    assert!(honest.exit_code == 0 && honest.groups[0].norm.as_ref().is_some_and(|f| f.agrees), "{:?}", honest.groups[0].norm);
}

/// One lying decryptor of three is blamed, and the sum still comes out of the other two.
#[test]
fn a_lying_opening_does_not_hide_the_sum() {
    let made = case(Twist::OpeningLies).round(1);
    assert_eq!((made.exit_code, made.groups[0].outcome), (3, Outcome::Agrees));
}

#[test]
fn a_sum_that_failed_is_told_as_such() {
    let case = case(Twist::SumFails);
    assert_eq!(case.round(1).exit_code, 0);
    let made = case.round(2);
    assert_eq!((made.exit_code, made.groups[0].outcome), (4, Outcome::Failed));
    let notice = made.verdict.findings.iter().find(|f| f.got == "round.sum.failed").unwrap();
    assert_eq!(notice.severity, Severity::Notice);
}

#[test]
fn what_is_not_in_the_log_is_asked_for_in_vain() {
    let case = case(Twist::None);
    let task: TaskId = "07".repeat(16).parse().unwrap();
    assert_eq!(case.try_round(1, Some(task), Some(0)).unwrap().exit_code, 0);
    assert!(matches!(case.try_round(9, None, None), Err(RecomputeError::NoRound(RoundId(9)))));
    assert!(matches!(case.try_round(1, None, Some(5)), Err(RecomputeError::NoGroup(GroupId(5)))));
    assert!(matches!(case.try_round(1, Some(TaskId([1; 16])), None), Err(RecomputeError::NoTask)));
    std::fs::remove_file(case.log.path().join("trust.json")).unwrap();
    let made = case.round(1);
    assert_eq!((made.exit_code, made.groups.len()), (4, 0), "nothing can be believed without it");
}
