//! `chunks`: sealed updates of rounds that are over.

use super::output::{Failure, Output};
use super::{Dir, call, unexpected};
use crate::admin::{AdminReply, AdminRequest};
use clap::{Args, Subcommand};
use protocol::ids::TaskId;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum ChunksVerb {
    /// Delete the sealed updates of old rounds, on record
    ///
    /// The log says of each round that they are deleted before they are. What they are for is lost with them: whoever has no copy can no longer
    /// add the updates of these rounds up again, and `concordat-audit recompute` says so. What stays: the log with every header, signature and
    /// opening, the opened sums, and the models.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    dir: Dir,
    /// How many of the newest rounds of each task stay whole
    #[arg(long, value_name = "N")]
    keep_rounds: u64,
    /// The task; every task that is over unless given
    #[arg(long)]
    task: Option<TaskId>,
    /// Also of tasks that go on: their rounds are then recomputed by nobody who has not done it yet
    #[arg(long)]
    unfinished: bool,
}

pub(super) fn run(verb: &ChunksVerb, output: &Output) -> Result<(), Failure> {
    let ChunksVerb::Delete(args) = verb;
    let request = AdminRequest::DeleteChunks { task: args.task, keep: args.keep_rounds, unfinished: args.unfinished };
    let AdminReply::Deleted { rounds, updates, bytes, left } = call(&args.dir.dir, &request)? else { return Err(unexpected()) };
    let data = json!({ "rounds": rounds, "updates": updates, "bytes": bytes, "left": left });
    let rest = if left == 0 {
        String::new()
    } else {
        format!("\nfiles of {left} updates are still there; the server's diagnostics say why, and its next start tries again")
    };
    let text = match rounds {
        0 => format!("no round is old enough that still holds sealed updates{rest}"),
        _some => format!(
            "deleted on record: {updates} sealed updates of {rounds} rounds, {} MiB\nwhoever has no copy can no longer add them up again; \
             concordat-audit reports these sums as deleted on record{rest}",
            bytes >> 20
        ),
    };
    output.value(&data, &text);
    Ok(())
}
