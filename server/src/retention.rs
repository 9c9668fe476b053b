//! Sealed parts on the disk of rounds whose deletion stands in the log (audit.md A19). Whatever a crash leaves can be deleted again: the list of an
//! update's chunks goes last, when everything that it names is gone durably. Knows no log.

use crate::durable;
use crate::edges::reached;
use crate::layout::Layout;
use protocol::ids::{Address, BodyRoot, HeaderDigest};
use protocol::manifest::{Header, body_root};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Longest list that is read: several times that of the largest update.
const MAX_LIST: u64 = 1 << 20;

/// An accepted update, as far as its parts have names.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    header: HeaderDigest,
    body_root: BodyRoot,
    blobs: Vec<Address>,
}

impl Sealed {
    pub(crate) fn of(digest: HeaderDigest, header: &Header) -> Self {
        Self { header: digest, body_root: header.core.body_root, blobs: header.blobs.clone() }
    }

    /// Every part whose name is known: of an update that never was in a sum, the blobs alone.
    pub(crate) fn parts(&self, layout: &Layout) -> io::Result<Vec<Address>> {
        Ok(self.listed(layout)?.into_iter().chain(self.blobs.iter().copied()).collect())
    }

    /// The chunks that its list names, if the list is the signed one.
    fn listed(&self, layout: &Layout) -> io::Result<Vec<Address>> {
        let text = match durable::read_text(&layout.chunk_list(&self.header), MAX_LIST) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let all: Option<Vec<Address>> = text.lines().map(|line| line.parse().ok()).collect();
        Ok(all.filter(|all| body_root(all) == self.body_root).unwrap_or_default())
    }

    /// Whether something of it is there: the list, or the blob that goes last.
    fn is_left(&self, layout: &Layout) -> bool {
        layout.chunk_list(&self.header).exists() || self.blobs.last().is_some_and(|blob| layout.part(blob).exists())
    }
}

/// Those of which something is there.
pub(crate) fn left(layout: &Layout, all: impl IntoIterator<Item = Sealed>) -> Vec<Sealed> {
    all.into_iter().filter(|sealed| sealed.is_left(layout)).collect()
}

/// Deletes the parts of these updates but those that others need, and then their lists.
///
/// # Errors
/// The first file that cannot be deleted; what is left can be deleted again.
pub(crate) fn delete(layout: &Layout, gone: &[Sealed], needed: &BTreeSet<Address>) -> io::Result<()> {
    let mut touched = BTreeSet::new();
    for sealed in gone {
        for part in sealed.parts(layout)?.iter().filter(|part| !needed.contains(part)) {
            remove(&layout.part(part), &mut touched)?;
        }
    }
    sync(&touched)?;
    touched.clear();
    for sealed in gone {
        remove(&layout.chunk_list(&sealed.header), &mut touched)?;
    }
    sync(&touched)
}

fn remove(path: &Path, touched: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => {
            touched.extend(path.parent().map(Path::to_owned));
            reached("removed", path);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync(dirs: &BTreeSet<PathBuf>) -> io::Result<()> {
    dirs.iter().try_for_each(|dir| durable::sync_dir(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(bytes: &[u8]) -> Address {
        Address(*blake3::hash(bytes).as_bytes())
    }

    /// An update of two chunks and a blob on the disk.
    fn kept(layout: &Layout, n: u8) -> Sealed {
        let parts = [[n, 1], [n, 2], [n, 3]];
        parts.iter().for_each(|bytes| durable::write_new(&layout.part(&address(bytes)), bytes).unwrap());
        let chunks = vec![address(&parts[0]), address(&parts[1])];
        let lines: String = chunks.iter().map(|a| format!("{a}\n")).collect();
        let header = HeaderDigest([n; 32]);
        durable::write_new(&layout.chunk_list(&header), lines.as_bytes()).unwrap();
        Sealed { header, body_root: body_root(&chunks), blobs: vec![address(&parts[2])] }
    }

    #[test]
    fn what_goes_is_what_was_named_and_a_second_time_finds_what_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (one, two) = (kept(&layout, 1), kept(&layout, 2));
        assert_eq!(one.parts(&layout).unwrap().len(), 3);
        // Whoever sent the same bytes in a later round still has them there.
        let shared = address(&[1, 2]);
        // As a crash leaves it: a chunk is gone, its list is not.
        std::fs::remove_file(layout.part(&address(&[1, 1]))).unwrap();
        assert_eq!(left(&layout, [one.clone()]).len(), 1);
        delete(&layout, std::slice::from_ref(&one), &BTreeSet::from([shared])).unwrap();
        assert!(left(&layout, [one.clone()]).is_empty() && layout.part(&shared).exists());
        assert!(!layout.part(&address(&[1, 3])).exists() && !layout.chunk_list(&HeaderDigest([1; 32])).exists());
        delete(&layout, &[one], &BTreeSet::new()).unwrap();
        assert!(two.parts(&layout).unwrap().iter().all(|part| layout.part(part).exists()), "the other round's stay");
    }

    #[test]
    fn a_list_that_is_not_the_signed_one_deletes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (one, two) = (kept(&layout, 1), kept(&layout, 2));
        let of_two = std::fs::read(layout.chunk_list(&HeaderDigest([2; 32]))).unwrap();
        std::fs::write(layout.chunk_list(&HeaderDigest([1; 32])), of_two).unwrap();
        delete(&layout, &[one], &BTreeSet::new()).unwrap();
        assert!(two.parts(&layout).unwrap().iter().all(|part| layout.part(part).exists()));
    }
}
