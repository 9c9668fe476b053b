//! What somebody on the server's host asks for that leaves or goes, on record first (audit.md A19, A20): sealed chunks of rounds that are over are
//! deleted, what a crash leaves of them at the next start; a copy of the log is handed out.

use super::words::permission;
use super::{Driver, DriverError};
use crate::admin::{AdminReply, Refusal};
use crate::retention::{self, Sealed};
use protocol::entry::{Actor, Draft, Facts};
use protocol::history::{RoundHistory, TaskHistory};
use protocol::ids::{Address, RoundId, Sha256, TaskId};
use std::collections::BTreeSet;

/// Rounds whose deletion is recorded in one batch.
const BATCH: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// The task; every task that is over unless given.
    pub(super) task: Option<TaskId>,
    /// Newest rounds of each task that stay whole.
    pub(super) keep: u64,
    /// Whether rounds of a task that goes on may be emptied too.
    pub(super) unfinished: bool,
}

impl Order {
    fn names(self, id: TaskId, task: &TaskHistory) -> bool {
        self.task.is_none_or(|named| named == id) && (self.unfinished || task.ended().is_some())
    }

    /// Rounds of a task that are over, hold something, and are older than those that stay.
    fn rounds(self, task: &TaskHistory) -> impl Iterator<Item = (RoundId, &RoundHistory)> {
        let last = task.last_round().map_or(0, |last| last.0);
        let old = move |id: RoundId| id.0.saturating_add(self.keep) <= last;
        task.rounds().iter().map(|(id, round)| (*id, round)).filter(move |(id, round)| old(*id) && round.can_be_emptied())
    }
}

impl Driver {
    /// Records what goes, then lets it go.
    pub(super) fn delete_chunks(&mut self, order: Order) -> Result<Result<AdminReply, Refusal>, DriverError> {
        if let Some(named) = order.task {
            match self.log.history().task(named) {
                None => return Ok(Err(Refusal::NoSuchTask)),
                Some(task) if task.ended().is_none() && !order.unfinished => return Ok(Err(Refusal::TaskGoesOn)),
                Some(_) => {}
            }
        }
        let (mut updates, mut bytes) = (0u64, 0u64);
        let mut drafts = Vec::new();
        for (task, history) in self.log.history().tasks().iter().filter(|(id, t)| order.names(**id, t)) {
            for (round, history) in order.rounds(history) {
                let parts = history.sealed_parts();
                (updates, bytes) = (updates.saturating_add(parts.updates), bytes.saturating_add(parts.bytes));
                drafts.push(Draft { actor: Actor::Administrator, ..Draft::server(parts.facts()) }.in_round(*task, round));
            }
        }
        for batch in drafts.chunks(BATCH) {
            let allowed: Vec<Draft> = batch.iter().flat_map(|draft| permission(draft).into_iter().chain([draft.clone()])).collect();
            self.append(&allowed)?;
        }
        if !drafts.is_empty() {
            self.publisher.want(self.log.size());
        }
        let left = self.empty_rounds();
        Ok(Ok(AdminReply::Deleted { rounds: drafts.len() as u64, updates, bytes, left }))
    }

    /// Records that whoever asks is given the log up to the newest published checkpoint; the command that asks copies it.
    pub(super) fn export_log(&mut self) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let size = self.publisher.published();
        let root = if size == 0 { None } else { self.log.root_at(size)? };
        let Some(root) = root else { return Ok(Err(Refusal::NoCheckpoint)) };
        let facts = Facts::AuditExported { size, root: Sha256(root.0) };
        let done = self.append_allowed(Draft { actor: Actor::Administrator, ..Draft::server(facts) })?;
        self.publisher.want(self.log.size());
        Ok(Ok(AdminReply::Exported { size, index: done.index }))
    }

    /// Deletes what the log says is deleted and is there all the same; answers how many updates could not be. Also at a start, after a crash.
    pub(super) fn empty_rounds(&self) -> u64 {
        let all = || self.log.history().tasks().values().flat_map(|t| t.rounds().values());
        let accepted = |r: &RoundHistory| {
            let updates = r.groups.values().flat_map(|g| &g.accepted);
            updates.map(|(digest, (_, _, header))| Sealed::of(*digest, header)).collect::<Vec<_>>()
        };
        let gone = retention::left(&self.layout, all().filter(|r| r.deleted.is_some()).flat_map(accepted));
        if gone.is_empty() {
            return 0;
        }
        let kept: Vec<Sealed> = all().filter(|r| r.deleted.is_none()).flat_map(accepted).collect();
        let needed = kept.iter().map(|sealed| sealed.parts(&self.layout)).collect::<Result<Vec<_>, _>>();
        let done = needed.and_then(|needed| {
            let needed: BTreeSet<Address> = needed.into_iter().flatten().chain(self.uploads.parts()).collect();
            retention::delete(&self.layout, &gone, &needed)
        });
        match done {
            Ok(()) => 0,
            Err(error) => {
                let left = retention::left(&self.layout, gone).len() as u64;
                tracing::error!(%error, left, "chunks whose deletion stands in the log are still there; the next start tries again");
                left
            }
        }
    }
}
