//! A log directory on disk, read with limits and never followed outside regular files. Knows no meaning of what it reads.

use audit::reader::{DirEntry, LogReader};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A directory that holds a log (audit.md A2).
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

/// Why a directory could not be read; absence is not among the reasons. The world's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The directory given is none.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A pipe, device, link or socket where a file should be: reading it could block or never end.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The operating system refused.
    #[error("{} cannot be read", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The first `limit + 1` bytes of a regular file, or nothing if there is none.
///
/// # Errors
/// [`ReadError`], absence excepted.
pub fn read_file(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(meta) if meta.is_dir() => return Ok(None),
        Ok(_) => return Err(ReadError::NotAFile(path.to_owned())),
        Err(e) if is_absent(e.kind()) => return Ok(None),
        Err(e) => return Err(io(e)),
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(io)?.take(most).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

impl Directory {
    /// The log in `root`.
    ///
    /// # Errors
    /// [`ReadError::NotADirectory`].
    pub fn open(root: &Path) -> Result<Self, ReadError> {
        if root.is_dir() { Ok(Self { root: root.to_owned() }) } else { Err(ReadError::NotADirectory(root.to_owned())) }
    }
}

impl LogReader for Directory {
    type Error = ReadError;

    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        read_file(&self.root.join(path), limit)
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, ReadError> {
        let path = self.root.join(dir);
        let io = |source| ReadError::Io { path: path.clone(), source };
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if is_absent(e.kind()) => return Ok(Vec::new()),
            Err(e) => return Err(io(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io)?;
            // A name that is no text fits no rule of a log; its replacement characters fit none either, so it is reported.
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_dir = entry.file_type().map_err(io)?.is_dir();
            names.push(if is_dir { DirEntry::Directory(name) } else { DirEntry::File(name) });
        }
        // Findings come in the same order on every file system.
        names.sort_unstable();
        Ok(names)
    }
}
