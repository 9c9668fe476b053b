//! Files that survive a power cut, and reads with limits (audit.md A29). Knows no format: bytes are bytes here.

use crate::edges::reached;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

/// What a file holds. Stands in errors instead of its path, which may say more than should leave the machine (A22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A secret key.
    Key,
    /// A TLS certificate.
    Certificate,
    /// Who this institution is and where its server listens.
    Identity,
    /// The trust document.
    TrustDocument,
    /// The pending request to join.
    JoinRequest,
    /// A tile or bundle of the mirror.
    Tile,
    /// A note of the log.
    Note,
    /// A witness policy.
    WitnessPolicy,
    /// An artefact that an entry names.
    Artefact,
    /// The witness's state.
    WitnessState,
    /// The privacy ledger.
    Ledger,
    /// The institution's own log.
    SiteLog,
    /// Released values.
    Release,
    /// A decryptor's records.
    Record,
    /// A share held as a decryptor.
    Share,
    /// A prekey's secret.
    Prekey,
    /// A part of a sealed update.
    Spool,
    /// The optimiser's state.
    Optimiser,
    /// The number of a round's random groups.
    GroupNonce,
    /// The dataset's nonce.
    Nonce,
    /// The status file.
    Status,
    /// A plan, as a prepared task holds it.
    Plan,
    /// A kept report of an empirical audit.
    Audit,
    /// The client's settings.
    Settings,
    /// The site policy.
    SitePolicy,
    /// What is said about prepared records.
    DataManifest,
    /// The order to withdraw a dataset.
    Withdrawal,
    /// A name that the log has as a hash.
    Sidecar,
    /// The rule file of a dataset.
    DataRules,
    /// A report or the index of prepared records.
    Prepared,
    /// The running program.
    Program,
    /// A file of records or text, or a plan for training in one place.
    Records,
    /// State or snapshot of training in one place.
    TrainingState,
    /// What a task that counted found.
    Counts,
    /// What a crash left under a temporary name.
    HalfWritten,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "a key file",
            Self::Certificate => "a TLS certificate",
            Self::Identity => "the identity file",
            Self::TrustDocument => "the trust document",
            Self::JoinRequest => "the join request",
            Self::Tile => "a tile of the mirror",
            Self::Note => "a note of the log",
            Self::WitnessPolicy => "a witness policy",
            Self::Artefact => "an artefact",
            Self::WitnessState => "the witness state",
            Self::Ledger => "the privacy ledger",
            Self::SiteLog => "the site log",
            Self::Release => "a file of released values",
            Self::Record => "a decryptor's record",
            Self::Share => "a held share",
            Self::Prekey => "a prekey",
            Self::Spool => "the spool",
            Self::Optimiser => "the optimiser's state",
            Self::GroupNonce => "the number of a round's random groups",
            Self::Nonce => "the dataset's nonce",
            Self::Status => "the status file",
            Self::Plan => "the plan",
            Self::Audit => "the kept audit",
            Self::Settings => "the settings file",
            Self::SitePolicy => "the site policy",
            Self::DataManifest => "the data manifest",
            Self::Withdrawal => "the withdrawal of a dataset",
            Self::Sidecar => "a sidecar",
            Self::DataRules => "the rule file",
            Self::Prepared => "a file of the prepared records",
            Self::Program => "the running program",
            Self::Records => "the file",
            Self::TrainingState => "the state of training",
            Self::Counts => "what was counted",
            Self::HalfWritten => "a half-written file",
        })
    }
}

/// The world's fault: a disk, a mode, another process. A failed write is never retried; the process ends (S4).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Reading failed.
    #[error("{0} could not be read")]
    Read(Item, #[source] io::Error),
    /// Writing or syncing failed.
    #[error("{0} could not be made durable")]
    Write(Item, #[source] io::Error),
    /// Others may read a secret.
    #[error("{0} may be read by others; its mode must be 0600")]
    Exposed(Item),
    /// A file that never changes has other bytes.
    #[error("{0} exists with other bytes")]
    Differs(Item),
    /// Longer than its limit.
    #[error("{0} is longer than its limit of {1} bytes")]
    TooLong(Item, usize),
    /// Not what this program writes.
    #[error("{0} is damaged")]
    Damaged(Item),
    /// Another process owns it.
    #[error("{0} is in use by another process")]
    Locked(Item),
}

impl StoreError {
    /// Whether the file is simply not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read(_, e) if e.kind() == io::ErrorKind::NotFound)
    }
}

/// The whole file, at most `limit` bytes.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn read(path: &Path, limit: usize, item: Item) -> Result<Vec<u8>, StoreError> {
    let bytes = read_prefix(path, limit).map_err(|e| StoreError::Read(item, e))?;
    if bytes.len() > limit { Err(StoreError::TooLong(item, limit)) } else { Ok(bytes) }
}

/// As [`read`], with absence as `None`.
pub(crate) fn read_if_there(path: &Path, limit: usize, item: Item) -> Result<Option<Vec<u8>>, StoreError> {
    match read(path, limit, item) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.is_absent() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The first `limit + 1` bytes, so that too long a file is seen without being held.
pub(crate) fn read_prefix(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A secret file, refused if group or others may touch it (T19).
pub(crate) fn read_secret(path: &Path, limit: usize, item: Item) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let mode = fs::metadata(path).map_err(|e| StoreError::Read(item, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(StoreError::Exposed(item));
    }
    read(path, limit, item).map(Zeroizing::new)
}

/// Makes a directory that nobody else may look into.
pub(crate) fn make_private_dir(path: &Path, item: Item) -> Result<(), StoreError> {
    make_dir(path, item)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|e| StoreError::Write(item, e))
}

/// Creates a directory and makes its name durable, with every parent that is new.
pub(crate) fn make_dir(path: &Path, item: Item) -> Result<(), StoreError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_dir(parent, item)?;
    match fs::create_dir(path) {
        Ok(()) => sync_dir(parent, item),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(StoreError::Write(item, e)),
    }
}

/// Makes the names in a directory durable. The parent of a bare name is the empty path: the working directory.
pub(crate) fn sync_dir(path: &Path, item: Item) -> Result<(), StoreError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|d| d.sync_all()).map_err(|e| StoreError::Write(item, e))
}

/// A file that never changes: written once, and byte-equal ever after.
pub(crate) fn write_once(path: &Path, bytes: &[u8], item: Item) -> Result<(), StoreError> {
    match read_prefix(path, bytes.len()) {
        Ok(old) if old == bytes => Ok(()),
        Ok(_) => Err(StoreError::Differs(item)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => replace(path, bytes, item),
        Err(e) => Err(StoreError::Read(item, e)),
    }
}

/// Replaces a file in one step: after a crash it has the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8], item: Item) -> Result<(), StoreError> {
    replace_mode(path, bytes, 0o644, item)
}

/// As [`replace`], for its owner only.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8], item: Item) -> Result<(), StoreError> {
    replace_mode(path, bytes, 0o600, item)
}

fn replace_mode(path: &Path, bytes: &[u8], mode: u32, item: Item) -> Result<(), StoreError> {
    let failed = |e| StoreError::Write(item, e);
    let nameless = || failed(io::ErrorKind::InvalidInput.into());
    let (parent, name) = (path.parent().ok_or_else(nameless)?, path.file_name().ok_or_else(nameless)?);
    make_dir(parent, item)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = parent.join(temporary);
    reached("before", path);
    // What a crash left behind under this name was never anybody's file.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    reached("written", path);
    file.sync_all().map_err(failed)?;
    reached("synced", path);
    fs::rename(&temporary, path).map_err(failed)?;
    reached("renamed", path);
    sync_dir(parent, item)?;
    reached("durable", path);
    Ok(())
}

/// Removes a file if it is there, durably.
pub(crate) fn remove(path: &Path, item: Item) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), |p| sync_dir(p, item)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::Write(item, e)),
    }
}

/// Removes a directory with all that is in it, durably.
pub(crate) fn remove_dir(path: &Path, item: Item) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Ok(()) => path.parent().map_or(Ok(()), |p| sync_dir(p, item)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::Write(item, e)),
    }
}

/// Removes what a crash left half-written of one file, beside it.
pub(crate) fn remove_temporaries_of(path: &Path) -> Result<(), StoreError> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else { return Ok(()) };
    let half = |n: &String| n.starts_with(&format!(".{name}.")) && n.ends_with(".tmp");
    let failed = |e| StoreError::Write(Item::HalfWritten, e);
    names(dir, Item::HalfWritten)?.iter().filter(|n| half(n)).try_for_each(|n| fs::remove_file(dir.join(n)).map_err(failed))
}

/// Removes what a crash left half-written below `dir`: only names that this file gives, some of which may hold secrets.
pub(crate) fn remove_temporaries(dir: &Path) -> Result<(), StoreError> {
    let failed = |e| StoreError::Write(Item::HalfWritten, e);
    for name in names(dir, Item::HalfWritten)? {
        let path = dir.join(&name);
        if fs::symlink_metadata(&path).map_err(failed)?.is_dir() {
            remove_temporaries(&path)?;
        } else if name.starts_with('.') && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Names in a directory, sorted; empty if there is none. Names that are no text are passed over: this program writes none.
pub(crate) fn names(dir: &Path, item: Item) -> Result<Vec<String>, StoreError> {
    let failed = |e| StoreError::Read(item, e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        out.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    out.sort();
    Ok(out)
}

/// Holds a lock file for as long as it lives.
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

impl Lock {
    /// Takes the lock or says who may not.
    pub(crate) fn take(path: &Path, item: Item) -> Result<Self, StoreError> {
        if let Some(parent) = path.parent() {
            make_dir(parent, item)?;
        }
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = open.map_err(|e| StoreError::Write(item, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(item)),
            Err(fs::TryLockError::Error(e)) => Err(StoreError::Write(item, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        replace_secret(&path, b"secret", Item::Key).unwrap();
        assert_eq!(&read_secret(&path, 64, Item::Key).unwrap()[..], b"secret");
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_secret(&path, 64, Item::Key), Err(StoreError::Exposed(Item::Key))), "{mode:o}");
        }
    }

    /// The parent of `report.html` is the empty path; the name is still in a directory.
    #[test]
    fn the_parent_of_a_bare_name_is_the_working_directory() {
        let nowhere = Path::new("");
        assert!(make_dir(nowhere, Item::Status).is_ok() && sync_dir(nowhere, Item::Status).is_ok());
        assert!(sync_dir(Path::new("a directory that is not there"), Item::Status).is_err());
    }

    #[test]
    fn a_file_written_once_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        write_once(&path, b"one", Item::Tile).unwrap();
        write_once(&path, b"one", Item::Tile).unwrap();
        assert!(matches!(write_once(&path, b"two", Item::Tile), Err(StoreError::Differs(Item::Tile))));
        assert!(matches!(write_once(&path, b"on", Item::Tile), Err(StoreError::Differs(Item::Tile))));
        assert!(matches!(read(&path, 2, Item::Tile), Err(StoreError::TooLong(Item::Tile, 2))));
    }

    #[test]
    fn what_a_crash_left_half_written_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        write_once(&dir.path().join("a/whole.tmp"), b"1", Item::Tile).unwrap();
        fs::write(dir.path().join("a/.share.77.tmp"), b"half").unwrap();
        fs::write(dir.path().join("a/.whole.tmp.78.tmp"), b"half").unwrap();
        fs::write(dir.path().join("a/.other.78.tmp"), b"somebody's").unwrap();
        remove_temporaries_of(&dir.path().join("a/whole.tmp")).unwrap();
        assert_eq!(names(&dir.path().join("a"), Item::Tile).unwrap(), [".other.78.tmp", ".share.77.tmp", "whole.tmp"]);
        remove_temporaries(dir.path()).unwrap();
        remove_temporaries(&dir.path().join("none")).unwrap();
        assert_eq!(names(&dir.path().join("a"), Item::Tile).unwrap(), ["whole.tmp"]);
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path, Item::Ledger).unwrap();
        assert!(matches!(Lock::take(&path, Item::Ledger), Err(StoreError::Locked(Item::Ledger))));
        drop(held);
        assert!(Lock::take(&path, Item::Ledger).is_ok());
    }
}
