//! `data counts`: what institutions have counted together, as it was kept here when the task ended.

use super::answer::{Answer, Failure};
use crate::files::{self, Item};
use crate::home::Home;
use clap::Args;
use protocol::ids::TaskId;
use std::path::Path;
use train::count::Known;

/// Longest document: the largest vector of words with room to spare.
const MAX_DOCUMENT: usize = 2 << 30;

#[derive(Debug, Args)]
pub(super) struct Counts {
    /// The task; needed where more than one has counted
    #[arg(long)]
    task: Option<TaskId>,
}

/// Reads a document.
pub(super) fn read(path: &Path) -> Result<Known, Failure> {
    let bytes = files::read(path, MAX_DOCUMENT, Item::Counts).map_err(|e| Failure::trouble("no_counts", &e))?;
    Known::parse(&bytes).map_err(|e| Failure::trouble("bad_counts", &e))
}

pub(super) fn run(home: &Home, options: &Counts) -> Result<Answer, Failure> {
    let path = match options.task {
        Some(task) => home.counted(task),
        None => only(home)?,
    };
    let known = read(&path)?;
    let rows = known.rows();
    Ok(Answer::table(rows.iter().map(|(name, value)| (name.as_str(), value.clone()))).with_data(&known))
}

fn only(home: &Home) -> Result<std::path::PathBuf, Failure> {
    let dir = home.counts();
    let names = files::names(&dir, Item::Counts).map_err(|e| Failure::trouble("no_counts", &e))?;
    match names.as_slice() {
        [] => Err(Failure::trouble_text("no_counts", "no task that counts has ended while this institution took part")
            .hint("concordat-client status says which task is under way")),
        [one] => Ok(dir.join(one)),
        many => Err(Failure::trouble_text("which_counts", &format!("{} tasks have counted", many.len())).hint("name one with --task")),
    }
}
