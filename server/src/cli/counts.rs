//! `counts`: what tasks that count have found, from the server's own directory.

use super::Dir;
use super::output::{Failure, Output};
use crate::durable;
use crate::layout::Layout;
use anyhow::{Context as _, anyhow};
use clap::Args;
use protocol::ids::TaskId;
use std::path::{Path, PathBuf};
use train::count::Known;

/// Longest document: the largest vector of words with room to spare.
const MAX_DOCUMENT: u64 = 2 << 30;

#[derive(Debug, Args)]
pub(super) struct CountsArgs {
    #[command(flatten)]
    dir: Dir,
    /// The task; needed where more than one has counted
    #[arg(long)]
    task: Option<TaskId>,
    /// Write the document to this new file too: what institutions learn a common tokenizer from
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &CountsArgs, output: &Output) -> Result<(), Failure> {
    let counts = Layout::new(&args.dir.dir).counts();
    let task = match args.task {
        Some(task) => task.to_hex(),
        None => only(&counts)?,
    };
    let last = last_round(&counts.join(&task)).ok_or_else(|| none(&task))?;
    let bytes = durable::read_limited(&counts.join(&task).join(last), MAX_DOCUMENT).map_err(Failure::trouble)?;
    let known = Known::parse(&bytes).map_err(Failure::trouble)?;
    if let Some(out) = &args.out {
        let named = || format!("{} cannot be written; name a file that does not exist yet", out.display());
        durable::create(out, &bytes).with_context(named).map_err(Failure::input)?;
    }
    let rows: Vec<String> = known.rows().into_iter().map(|(name, value)| format!("{name:<32} {value}")).collect();
    output.value(&known, &rows.join("\n"));
    Ok(())
}

fn none(task: &str) -> Failure {
    Failure::input(anyhow!("no round of task {task} has been counted; `concordat-server status` says where the task stands"))
}

/// The one task that has counted.
fn only(counts: &Path) -> Result<String, Failure> {
    let mut tasks = names(counts);
    match (tasks.pop(), tasks.is_empty()) {
        (None, _) => Err(Failure::input(anyhow!("no task has counted anything yet"))),
        (Some(task), true) => Ok(task),
        (Some(_), false) => Err(Failure::input(anyhow!("{} tasks have counted; name one with --task", tasks.len() + 1))),
    }
}

/// The last round's document. Eight digits: the last name is the last round; a crash may have left the half of a later one.
fn last_round(task: &Path) -> Option<String> {
    names(task).into_iter().rfind(|n| n.ends_with(".json"))
}

/// Names in a directory, in order; none where there is no directory. Names of the user's own directory are text.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_half_written_is_no_round() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_round(dir.path()), None);
        for name in ["00000002.json", "00000003.json", "00000003.json.77-1.tmp", "00000004.json.77-2.tmp"] {
            std::fs::write(dir.path().join(name), b"{}").unwrap();
        }
        assert_eq!(last_round(dir.path()).as_deref(), Some("00000003.json"));
    }
}
