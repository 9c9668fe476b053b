//! The next snapshot made again, round after round, and compared with the one that the log names (crypto.md C60, audit.md A37): weights, or the
//! document of a task that counts. Knows files of them by their hashes, and no arithmetic.

use super::report::{SnapshotOutcome, SnapshotReport};
use super::round::Round;
use crate::count::{self, CountError};
use crate::dir::{Directory, ReadError};
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::step::{self, Memory, Opened, StepError};
use audit::reader::{DirEntry, LogReader as _};
use protocol::hash::sha256;
use protocol::history::RoundState;
use protocol::ids::{RoundId, SnapshotDigest, TaskId};
use protocol::plan::Plan;
use std::collections::BTreeMap;
use std::path::Path;

const NEXT: Rule = Rule::new(Check::Snapshots, Severity::Integrity, "C60: the plan's step from the opened sums gives the next snapshot");
const MADE: Rule = Rule::new(Check::Snapshots, Severity::Incomplete, "A37: what the next snapshot is made from is there");
const BEGINS: Rule = Rule::new(Check::Snapshots, Severity::Invariant, "A37: a task that counts begins with nothing known");

/// Endings of snapshots' names: of weights, and of what a task that counts knows.
const ENDINGS: [&str; 2] = [Plan::WEIGHTS, Plan::KNOWN];
/// Most bytes of a snapshot: 2^30 numbers (training.md M4) and their names.
const MAX_SNAPSHOT: usize = (4 << 30) + (1 << 20) + 8;
/// Files of a directory that are looked into for one of another name.
const MAX_FILES: usize = 4096;

/// A directory of snapshots, named by their digests or in any other way.
struct Files {
    dir: Directory,
    /// Digests of files that were looked into.
    known: BTreeMap<SnapshotDigest, String>,
    looked: bool,
}

fn digest(bytes: &[u8]) -> SnapshotDigest {
    SnapshotDigest(sha256(&[bytes]))
}

impl Files {
    /// The snapshot of this digest.
    fn find(&mut self, wanted: SnapshotDigest) -> Result<Option<Vec<u8>>, ReadError> {
        for ending in ENDINGS {
            if let Some(bytes) = self.read(&format!("{}.{ending}", wanted.to_hex()), wanted)? {
                return Ok(Some(bytes));
            }
        }
        if !self.looked {
            self.look()?;
        }
        let Some(name) = self.known.get(&wanted).cloned() else { return Ok(None) };
        self.read(&name, wanted)
    }

    /// A file's bytes if they have this digest. Another file of this name says nothing: what is wanted may have another one.
    fn read(&self, name: &str, wanted: SnapshotDigest) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.dir.read(name, MAX_SNAPSHOT)?.filter(|bytes| digest(bytes) == wanted))
    }

    fn look(&mut self) -> Result<(), ReadError> {
        self.looked = true;
        let is_snapshot = |entry: DirEntry| match entry {
            DirEntry::File(name) if name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending)) => Some(name),
            DirEntry::File(_) | DirEntry::Directory(_) => None,
        };
        for name in self.dir.list("")?.into_iter().filter_map(is_snapshot).take(MAX_FILES) {
            if let Some(bytes) = self.dir.read(&name, MAX_SNAPSHOT)? {
                self.known.insert(digest(&bytes), name);
            }
        }
        Ok(())
    }
}

/// Where a task stands.
struct Standing {
    /// What the strategy remembers, or since which round nobody can know.
    memory: Result<Memory, RoundId>,
    /// What came out of the last round.
    last: Option<(SnapshotDigest, Vec<u8>)>,
}

/// Tasks on their way from snapshot to snapshot.
pub(super) struct Walk {
    files: Files,
    tasks: BTreeMap<TaskId, Standing>,
}

impl Walk {
    pub(super) fn open(root: &Path) -> Result<Self, ReadError> {
        let files = Files { dir: Directory::open(root)?, known: BTreeMap::new(), looked: false };
        Ok(Self { files, tasks: BTreeMap::new() })
    }

    /// Goes one round further. Nothing for a round that closed with no snapshot.
    ///
    /// `opened` has the integers of every opened group, or those that could be had.
    pub(super) fn round(
        &mut self,
        round: &Round<'_>,
        opened: &[Opened],
        findings: &mut Findings,
    ) -> Result<Option<SnapshotReport>, ReadError> {
        let RoundState::Closed(stated) = round.history.state else { return Ok(None) };
        let place = || Place::Path(format!("task {}, round {}", round.task, round.id));
        let first = Standing { memory: Ok(Memory::default()), last: None };
        let standing = self.tasks.entry(round.task).or_insert(first);
        let made = match make(round, opened, standing, &mut self.files)? {
            Ok(bytes) => bytes,
            Err(why) => {
                if let (Some(true), Ok(_)) = (round.plan.map(|plan| plan.strategy.remembers()), &standing.memory) {
                    standing.memory = Err(round.id);
                }
                standing.last = None;
                findings.add(why.rule(), place(), stated.to_hex(), why.to_string());
                let outcome = if why.rule().severity == Severity::Integrity { SnapshotOutcome::Differs } else { SnapshotOutcome::NotMade };
                let (stated, reason) = (stated.to_hex(), Some(why.to_string()));
                return Ok(Some(SnapshotReport { outcome, stated, recomputed: None, reason }));
            }
        };
        let ours = digest(&made);
        let (outcome, reason) = if ours == stated {
            (SnapshotOutcome::Agrees, None)
        } else {
            let reason = difference(round.plan, stated, &made, &mut self.files)?;
            let got = reason.as_ref().map_or_else(|| ours.to_hex(), |why| format!("{}: {why}", ours.to_hex()));
            findings.add(NEXT, place(), stated.to_hex(), got);
            (SnapshotOutcome::Differs, reason)
        };
        standing.last = Some((ours, made));
        Ok(Some(SnapshotReport { outcome, stated: stated.to_hex(), recomputed: Some(ours.to_hex()), reason }))
    }
}

/// Which figure of a document is not ours, where a task counts and the stated document is there.
fn difference(plan: Option<&Plan>, stated: SnapshotDigest, ours: &[u8], files: &mut Files) -> Result<Option<String>, ReadError> {
    if plan.is_none_or(|p| p.count.is_none()) {
        return Ok(None);
    }
    let document = files.find(stated)?;
    Ok(document.and_then(|theirs| count::first_difference(&theirs, ours)).map(|d| d.to_string()))
}

/// Why no snapshot was made.
#[derive(Debug, thiserror::Error)]
enum NotMade {
    #[error("the plan is not there")]
    NoPlan,
    #[error("the integers of group {0} could not be had")]
    NoIntegers(u32),
    #[error("the strategy remembers round {0}, which could not be made again")]
    NoMemory(RoundId),
    #[error("the snapshot {0} is not there")]
    NoSnapshot(SnapshotDigest),
    #[error("what the plan begins with is not that nothing is known")]
    Begins,
    #[error("{}", chain(.0))]
    Step(StepError),
    #[error("{0}")]
    Count(CountError),
}

fn chain(error: &StepError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl NotMade {
    fn rule(&self) -> Rule {
        match self {
            Self::NoPlan | Self::NoIntegers(_) | Self::NoMemory(_) | Self::NoSnapshot(_) => MADE,
            Self::Begins => BEGINS,
            // No server that follows the plan closes a round that gives no step.
            Self::Step(_) | Self::Count(_) => NEXT,
        }
    }
}

fn make(round: &Round<'_>, opened: &[Opened], standing: &mut Standing, files: &mut Files) -> Result<Result<Vec<u8>, NotMade>, ReadError> {
    let Some(plan) = round.plan else { return Ok(Err(NotMade::NoPlan)) };
    let lacks = |id: &&protocol::ids::GroupId| opened.iter().all(|o| o.group != **id);
    let stated = round.history.groups.iter().filter(|(_, g)| g.result.is_some()).map(|(id, _)| id);
    if let Some(group) = stated.into_iter().find(lacks) {
        return Ok(Err(NotMade::NoIntegers(group.0)));
    }
    let memory = match &mut standing.memory {
        Ok(memory) => memory,
        Err(since) => return Ok(Err(NotMade::NoMemory(*since))),
    };
    let before = match before(round.manifest.snapshot, plan, &mut standing.last, files)? {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Err(why)),
    };
    if plan.count.is_some() {
        return Ok(count::advance(plan, &before, opened).map_err(NotMade::Count));
    }
    Ok(match step::advance(plan, before, std::mem::take(memory), opened) {
        Ok((bytes, next)) => {
            *memory = next;
            Ok(bytes)
        }
        Err(e) => Err(NotMade::Step(e)),
    })
}

/// What a round began from: what came out of the last one, or a file. A task that counts begins with nothing known, for which no file is needed.
fn before(
    from: SnapshotDigest,
    plan: &Plan,
    last: &mut Option<(SnapshotDigest, Vec<u8>)>,
    files: &mut Files,
) -> Result<Result<Vec<u8>, NotMade>, ReadError> {
    if let Some((_, bytes)) = last.take().filter(|(digest, _)| *digest == from) {
        return Ok(Ok(bytes));
    }
    if plan.count.is_some() && from == plan.base {
        let nothing = count::nothing(plan).map_err(NotMade::Count);
        return Ok(nothing.and_then(|bytes| if digest(&bytes) == from { Ok(bytes) } else { Err(NotMade::Begins) }));
    }
    Ok(files.find(from)?.ok_or(NotMade::NoSnapshot(from)))
}
