//! Following a log: each new checkpoint is verified, with the one before it held against it (audit.md A39). Knows no clock.

use crate::dir::Directory;
use crate::verdict::Verdict;
use crate::verify::{Options, VerifyError, verify};
use audit::note::MAX_NOTE_BYTES;
use audit::reader::{CHECKPOINT_PATH, LogReader as _};
use std::path::{Path, PathBuf};

/// What was last seen of a log.
pub struct Watch {
    dir: PathBuf,
    options: Options,
    seen: Option<Vec<u8>>,
    /// Where the last checkpoint is kept, outside the directory that is watched.
    kept: tempfile::TempDir,
}

/// Why the log cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// There is no verdict.
    #[error("the log cannot be verified")]
    Verify(#[from] VerifyError),
    /// The last checkpoint cannot be kept.
    #[error("the last checkpoint cannot be kept")]
    Keep(#[source] std::io::Error),
}

impl Watch {
    /// Begins to watch the log in `dir`.
    ///
    /// # Errors
    /// [`WatchError::Keep`] without room for the last checkpoint.
    pub fn new(dir: &Path, options: Options) -> Result<Self, WatchError> {
        let kept = tempfile::Builder::new().prefix("concordat-audit-watch").tempdir().map_err(WatchError::Keep)?;
        Ok(Self { dir: dir.to_owned(), options, seen: None, kept })
    }

    /// The verdict, if the checkpoint is another than when it was last looked at. A log that lost what it had, or says something else
    /// about it, fails even if it looks whole by itself.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn look(&mut self) -> Result<Option<Verdict>, WatchError> {
        let log = Directory::open(&self.dir).map_err(VerifyError::from)?;
        let note = log.read(CHECKPOINT_PATH, MAX_NOTE_BYTES).map_err(VerifyError::from)?.unwrap_or_default();
        if self.seen.as_ref() == Some(&note) {
            return Ok(None);
        }
        let mut options = self.options.clone();
        if self.seen.as_ref().is_some_and(|s| !s.is_empty()) {
            options.with.push(self.kept.path().join(CHECKPOINT_PATH));
        }
        let verdict = verify(&self.dir, &options)?;
        // What failed is not what the next one is held against.
        if verdict.exit_code != crate::Severity::Integrity.exit_code() {
            std::fs::write(self.kept.path().join(CHECKPOINT_PATH), &note).map_err(WatchError::Keep)?;
            self.seen = Some(note);
        }
        Ok(Some(verdict))
    }
}
