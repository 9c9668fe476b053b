//! A round's sums made again by an outsider, with no key: from log, openings and sealed chunks to the exact integers that the server stated
//! (crypto.md C59 to C63, audit.md A37). A second implementation on purpose. Bit for bit what the federation computes, or a finding.

pub(crate) mod bodies;
pub(crate) mod chunks;
pub(crate) mod extract;
pub(crate) mod group;
mod report;
mod round;

pub use report::{Figure, GroupReport, Outcome, Recomputation, render};

use crate::dir::ReadError;
use crate::finding::Findings;
use crate::fold::Fold;
use crate::verify::{Options, VerifyError, verify_with};
use chunks::Store;
use protocol::ids::{GroupId, ManifestDigest, RoundId, TaskId};
use round::Round;
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
    /// The directory of chunks.
    #[error("the chunks cannot be read")]
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

/// Told after every block of a group: the group, blocks done, blocks in all.
pub type Progress<'a> = &'a dyn Fn(GroupId, u64, u64);

/// Verifies the log in `dir` and makes the wanted sums of a round again from the sealed chunks in `chunks`.
///
/// # Errors
/// [`RecomputeError`] if there is nothing to make again, or something cannot be read at all.
///
/// # Security
/// Both directories may be an attacker's. Files of chunks are named by their address and checked against it; the list of a member's addresses
/// is checked against the body root that the member signed. Nothing else of the directory is believed.
pub fn recompute(
    dir: &Path,
    chunks: &Path,
    wanted: Wanted,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Recomputation, RecomputeError> {
    let store = Store::open(chunks)?;
    let look = |fold: &Fold<'_>, findings: &mut Findings| Round::find(fold, wanted)?.recompute(&store, wanted.group, findings, progress);
    let (mut verdict, seen) = verify_with(dir, options, look)?;
    let seen = seen.transpose()?.unwrap_or_default();
    verdict.add_sums(seen.groups.iter().any(|g| matches!(g.outcome, Outcome::Agrees | Outcome::Differs)));
    Ok(Recomputation {
        exit_code: verdict.exit_code,
        task: seen.task.or(wanted.task).map(TaskId::to_hex),
        round: wanted.round.0,
        manifest: seen.manifest.map(ManifestDigest::to_hex),
        groups: seen.groups,
        verdict,
    })
}
