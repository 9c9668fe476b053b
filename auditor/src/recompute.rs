//! A round's sums made again by an outsider, with no key: from log, openings and sealed chunks to the exact integers that the server stated
//! (crypto.md C59 to C63, audit.md A37). A second implementation on purpose. Bit for bit what the federation computes, or a finding.

pub(crate) mod bodies;
pub(crate) mod chunks;
pub(crate) mod extract;
pub(crate) mod group;
pub(crate) mod integers;
pub(crate) mod kept;
mod report;
mod round;
mod snapshots;

pub use chunks::parse_list as parse_chunk_list;
pub use kept::{Groups as KeptGroups, parse as parse_kept};
pub(crate) use report::rounds;
pub use report::{Figure, GroupReport, Outcome, Recomputation, RoundReport, SnapshotOutcome, SnapshotReport, render};

use crate::dir::ReadError;
use crate::finding::Findings;
use crate::fold::Fold;
use crate::verdict::{Again, Verdict};
use crate::verify::{Options, VerifyError, verify_with};
use chunks::Store;
use integers::Keep;
use kept::Kept;
use protocol::ids::{GroupId, ManifestDigest, RoundId, TaskId};
use round::{Round, Seen, Sources};
use snapshots::Walk;
use std::path::Path;

/// Which sums to make again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The task; the only one of the log unless given.
    pub task: Option<TaskId>,
    /// The round.
    pub round: RoundId,
    /// The group; all of the round unless given.
    pub group: Option<GroupId>,
}

/// Why nothing was even tried. Whatever is wrong with log or chunks is a finding, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecomputeError {
    /// The log.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The directory of chunks, of kept sums or of snapshots.
    #[error("chunks, sums or snapshots cannot be read")]
    Chunks(#[from] ReadError),
    /// No task of this id, or no task at all.
    #[error("the log has no such task")]
    NoTask,
    /// More than one task, and none named.
    #[error("the log has {0} tasks: name one with --task")]
    ManyTasks(usize),
    /// The task has no such round, or the round no manifest.
    #[error("the log has no round {0} with a manifest")]
    NoRound(RoundId),
    /// The round has no such group.
    #[error("the round has no group {0}")]
    NoGroup(GroupId),
}

/// A block of a group that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The round.
    pub round: RoundId,
    /// The group.
    pub group: GroupId,
    /// Blocks of it done.
    pub done: u64,
    /// Blocks of it in all.
    pub all: u64,
}

/// Told after every block.
pub type Progress<'a> = &'a dyn Fn(Tick);

/// What an auditor holds besides the log. Nothing of it is believed but what hashes to what was signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// Sealed chunks by address, with the list of each update: a server's `chunks/`, or a flat copy.
    pub chunks: Option<&'a Path>,
    /// Opened integers: a server's `sums/`.
    pub sums: Option<&'a Path>,
    /// Snapshots, of whatever names: a server's `models/`. The first one of a task is enough.
    pub snapshots: Option<&'a Path>,
}

impl Given<'_> {
    fn open(&self) -> Result<(Sources, Option<Walk>), ReadError> {
        let chunks = self.chunks.map(Store::open).transpose()?;
        let sums = self.sums.map(Kept::open).transpose()?;
        let walk = self.snapshots.map(Walk::open).transpose()?;
        let keep = if walk.is_some() { Keep::Values } else { Keep::Nothing };
        Ok((Sources { chunks, sums, keep }, walk))
    }
}

/// Verifies the log in `dir` and makes the wanted sums of a round again from what is given; with snapshots also the weights after it.
///
/// A strategy that remembers earlier rounds needs them: their sums are made again first.
///
/// # Errors
/// [`RecomputeError`] if there is nothing to make again, or something cannot be read at all.
///
/// # Security
/// All directories may be an attacker's. Files of chunks are named by their address and checked against it; the list of a member's addresses
/// is checked against the body root that the member signed; kept integers and snapshots are checked against their signed digests. Nothing else
/// of the directories is believed.
pub fn recompute(
    dir: &Path,
    given: Given<'_>,
    wanted: Wanted,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Recomputation, RecomputeError> {
    let (sources, mut walk) = given.open()?;
    let look = |fold: &Fold<'_>, findings: &mut Findings| one_round(fold, findings, (&sources, walk.as_mut()), wanted, progress);
    let (mut verdict, seen) = verify_with(dir, options, look)?;
    let (manifest, report) = seen.transpose()?.unzip();
    verdict.add_again(&Again::of(report.as_slice(), given, false));
    let task = report.as_ref().map(|r| r.task.clone()).or(wanted.task.map(TaskId::to_hex));
    let (groups, snapshot) = report.map_or((Vec::new(), None), |r| (r.groups, r.snapshot));
    let manifest = manifest.map(ManifestDigest::to_hex);
    Ok(Recomputation { exit_code: verdict.exit_code, task, round: wanted.round.0, manifest, groups, snapshot, verdict })
}

fn one_round(
    fold: &Fold<'_>,
    findings: &mut Findings,
    (sources, walk): (&Sources, Option<&mut Walk>),
    wanted: Wanted,
    progress: Progress<'_>,
) -> Result<(ManifestDigest, RoundReport), RecomputeError> {
    let round = Round::find(fold, wanted)?;
    let mut walk = walk.filter(|_| wanted.group.is_none());
    if let (Some(walk), Some(true)) = (walk.as_deref_mut(), round.plan.map(|plan| plan.strategy.remembers())) {
        for earlier in round.before() {
            let seen = earlier.recompute(sources, None, findings, progress)?;
            walk.round(&earlier, &seen.opened, findings)?;
        }
    }
    let seen = round.recompute(sources, wanted.group, findings, progress)?;
    round.check_opened(&seen, findings);
    let snapshot = walk.map(|walk| walk.round(&round, &seen.opened, findings)).transpose()?.flatten();
    Ok((round.digest, report_of(&round, seen, snapshot)))
}

fn report_of(round: &Round<'_>, seen: Seen, snapshot: Option<SnapshotReport>) -> RoundReport {
    RoundReport { task: round.task.to_hex(), round: round.id.0, groups: seen.groups, snapshot }
}

/// Verifies the log in `dir` and makes every sum that it states again from what is given, and with snapshots the weights after every round. The
/// verdict says of each round what was checked and what was not. `total` hears how many blocks there are before the first one is done.
///
/// Holds one round at a time: without snapshots one block of it, with snapshots its integers and one model.
///
/// # Errors
/// [`RecomputeError`] if something cannot be read at all.
///
/// # Security
/// See [`recompute`].
pub fn everything(
    dir: &Path,
    given: Given<'_>,
    options: &Options,
    total: &dyn Fn(u64),
    progress: Progress<'_>,
) -> Result<Verdict, RecomputeError> {
    let (sources, mut walk) = given.open()?;
    let look = |fold: &Fold<'_>, findings: &mut Findings| -> Result<Vec<RoundReport>, RecomputeError> {
        if given.chunks.is_some() {
            total(Round::all(fold).map(|r| r.blocks()).sum());
        }
        let one = |round: Round<'_>| {
            let seen = round.recompute(&sources, None, findings, progress)?;
            let snapshot = walk.as_mut().map(|walk| walk.round(&round, &seen.opened, findings)).transpose()?.flatten();
            Ok(report_of(&round, seen, snapshot))
        };
        Round::all(fold).map(one).collect()
    };
    let (mut verdict, seen) = verify_with(dir, options, look)?;
    let rounds = seen.transpose()?.unwrap_or_default();
    verdict.add_again(&Again::of(&rounds, given, true));
    verdict.recomputed = rounds;
    Ok(verdict)
}
