//! What a task that counted found, kept at the institution once the log says that the task is over. Public numbers: opened sums, noised.

use super::rounds::most_bytes;
use super::session::{Trouble, fatal};
use super::{Agent, chain};
use crate::files::{self, Item};
use crate::link::Link;
use protocol::history::TaskHistory;
use protocol::ids::{SnapshotDigest, TaskId};

impl Agent {
    /// Fetches the results of counting tasks that are over and not here yet: once on each link, and when a task ends, before the process may
    /// go. What does not come now is asked for on the next link, not at every tick: a server that refuses it would be asked for ever, and
    /// everything else would wait.
    pub(super) async fn keep_counts(&mut self, link: &Link) -> Result<(), Trouble> {
        for (task, snapshot, limit) in self.uncounted() {
            let bytes = match link.wire().snapshot(snapshot, limit).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(task = %task, error = %chain(&error), "what was counted did not come");
                    continue;
                }
            };
            // The bytes are those that the log names; whether they say something is looked at where they are shown.
            files::replace_secret(&self.home.counted(task), &bytes, Item::Counts).map_err(fatal)?;
        }
        Ok(())
    }

    /// Tasks that counted and ended, with their last snapshots.
    fn uncounted(&self) -> Vec<(TaskId, SnapshotDigest, u64)> {
        let of = |(id, task): (&TaskId, &TaskHistory)| {
            let plan = task.plan().filter(|plan| plan.count.is_some() && !task.is_open())?;
            let missing = !self.home.counted(*id).exists();
            missing.then(|| Some((*id, task.snapshot()?, most_bytes(plan)?)))?
        };
        self.mirror.history().tasks().iter().filter_map(of).collect()
    }
}
