//! Files that survive a power cut (audit.md A29, transport-storage.md S4): temporary name, fsync, rename, fsync of the directory.
//! A failed fsync is never retried: the caller ends the process.

use crate::edges::reached;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Creates a directory and makes its name durable, with every parent that is new.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
        std::fs::create_dir_all(path)?;
        sync_dir(parent)?;
    }
    Ok(())
}

/// Makes the names in a directory durable. The parent of a bare file name is an empty path: the directory that we stand in.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
}

/// Writes a new file. One that exists already must be byte-equal: content-addressed and log files never change.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::read(path) {
        Ok(old) if old == bytes => return Ok(()),
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists with other bytes")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    replace(path, bytes)
}

/// Writes a file of a name that somebody chose. One that is there already stays as it is, whatever is in it.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_with(path, 0o644, bytes)
}

/// As [`create`], readable by its owner only: no key is ever written over.
pub(crate) fn create_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_with(path, 0o600, bytes)
}

fn create_with(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let parent = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file has a directory"))?;
    create_dir(parent)?;
    reached("before", path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    reached("created", path);
    if let Err(e) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        // Half a file was nobody's yet, and it would be in the way of the next attempt.
        std::fs::remove_file(path).unwrap_or(());
        return Err(e);
    }
    sync_dir(parent)?;
    reached("durable", path);
    Ok(())
}

/// Replaces a file in one step: after a crash it has the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, 0o644, |file| file.write_all(bytes))
}

/// As [`replace`], for a file that is too large to be in memory as a whole.
pub(crate) fn replace_by(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    replace_with(path, 0o644, |file| {
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.flush()
    })
}

/// As [`replace`], readable by its owner only.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, 0o600, |file| file.write_all(bytes))
}

/// Erases a file: its bytes are written over, then its name goes. What a file system or a backup keeps of them elsewhere, this does not reach.
pub(crate) fn erase(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()?;
    reached("emptied", path);
    std::fs::remove_file(path)?;
    reached("erased", path);
    sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// Numbers of temporary files: one part may come in over two connections at once, and neither may write into the other's file (F21).
static NEXT: AtomicU64 = AtomicU64::new(0);

fn replace_with(path: &Path, mode: u32, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let parent = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file has a directory"))?;
    create_dir(parent)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let temporary = parent.join(name);
    reached("before", path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    write(&mut file)?;
    reached("written", path);
    file.sync_all()?;
    reached("synced", path);
    std::fs::rename(&temporary, path)?;
    reached("renamed", path);
    sync_dir(parent)?;
    reached("durable", path);
    Ok(())
}

/// Removes what a crash left half-written below `dir`: only names that this file gives.
pub(crate) fn remove_temporaries(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_temporaries(&entry.path())?;
        } else if entry.file_name().to_string_lossy().ends_with(".tmp") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Reads at most `limit` bytes; more is an error.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut out = Vec::new();
    file.take(limit + 1).read_to_end(&mut out)?;
    if out.len() as u64 > limit { Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is longer than its limit")) } else { Ok(out) }
}

/// As [`read_limited`], for text.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_limited(path, limit)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

/// Reads a secret; refuses a file that others may read (transport-storage.md T19).
pub(crate) fn read_secret(path: &Path, limit: u64) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    use std::os::unix::fs::PermissionsExt as _;
    if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a key file must be readable by its owner only (chmod 600)"));
    }
    read_limited(path, limit).map(zeroize::Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_never_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        write_new(&path, b"one").unwrap();
        write_new(&path, b"one").unwrap();
        assert_eq!(write_new(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_limited(&path, 3).unwrap(), b"one");
        assert!(read_limited(&path, 2).is_err());
        assert_eq!(read_text(&path, 3).unwrap(), "one");
        assert!(read_text(&path, 2).is_err());
        replace(&path, b"\xff").unwrap();
        assert!(read_text(&path, 3).is_err());
    }

    #[test]
    fn what_is_created_takes_nobodys_place() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a/key"), dir.path().join("link"));
        create_secret(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Not even with the same bytes, and not through a link that leads nowhere.
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        for (path, bytes) in [(&path, b"one"), (&path, b"two"), (&link, b"two")] {
            assert_eq!(create(path, bytes).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(create_secret(path, bytes).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn the_directory_of_a_bare_file_name_is_the_one_we_stand_in() {
        let parent = Path::new("fork.json").parent().unwrap();
        create_dir(parent).unwrap();
        sync_dir(parent).unwrap();
    }

    #[test]
    fn the_same_file_may_be_written_by_many_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = (dir.path().join("part"), vec![7; 1 << 16]);
        std::thread::scope(|s| {
            let writers: Vec<_> = (0..8).map(|_| s.spawn(|| (0..8).try_for_each(|_| replace(&path, &bytes)))).collect();
            writers.into_iter().for_each(|w| w.join().unwrap().unwrap());
        });
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_a_crash_left_half_written_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        write_new(&dir.path().join("a/whole"), b"1").unwrap();
        std::fs::write(dir.path().join("a/half.77.tmp"), b"2").unwrap();
        remove_temporaries(dir.path()).unwrap();
        assert!(dir.path().join("a/whole").exists() && !dir.path().join("a/half.77.tmp").exists());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
        replace(&open, b"k").unwrap();
        replace_secret(&closed, b"k").unwrap();
        assert!(read_secret(&open, 9).is_err());
        assert_eq!(&read_secret(&closed, 9).unwrap()[..], b"k");
    }
}
