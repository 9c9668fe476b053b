//! Which notes lie in a log's directory, and which tree a note states. Believes no note.

use crate::dir::{Directory, ReadError};
use audit::checkpoint::Checkpoint;
use audit::note::Note;
use audit::reader::{CHECKPOINT_PATH, DirEntry, HANDOVERS, LogReader as _};
use audit::tree::TreeHead;

/// Directory of the notes that a log retains (A2).
const RETAINED: &str = "checkpoints";

/// Paths of the notes that the log retains.
pub(crate) fn retained(log: &Directory) -> Result<Vec<String>, ReadError> {
    below(log, RETAINED)
}

/// Paths of the newest note, of those that the log retains, and of those by which its keys handed over.
pub(crate) fn all(log: &Directory) -> Result<Vec<String>, ReadError> {
    let mut paths = vec![CHECKPOINT_PATH.to_owned()];
    paths.extend(below(log, RETAINED)?);
    paths.extend(below(log, HANDOVERS)?);
    Ok(paths)
}

fn below(log: &Directory, dir: &str) -> Result<Vec<String>, ReadError> {
    let path = |e: DirEntry| match e {
        DirEntry::File(name) => Some(format!("{dir}/{name}")),
        DirEntry::Directory(_) => None,
    };
    Ok(log.list(dir)?.into_iter().filter_map(path).collect())
}

/// Sizes of the retained notes, ascending. What else lies there is the tree's own check's to name.
pub(crate) fn sizes(log: &Directory) -> Result<Vec<u64>, ReadError> {
    let size = |e: &DirEntry| match e {
        DirEntry::File(name) => name.strip_suffix(".note")?.parse::<u64>().ok(),
        DirEntry::Directory(_) => None,
    };
    let mut sizes: Vec<u64> = log.list(RETAINED)?.iter().filter_map(size).collect();
    sizes.sort_unstable();
    Ok(sizes)
}

/// A note with the tree that it states, whoever signed it.
pub(crate) fn stated(bytes: &[u8]) -> Option<(Note, TreeHead)> {
    let note = Note::parse(bytes).ok()?;
    let head = note.text().parse::<Checkpoint>().ok()?.head;
    Some((note, head))
}
