//! Files for the pipeline of `corpus`: inputs that the user names, and one directory of our own. Must not know rows.

use corpus::pipeline::Inputs;
use corpus::pipeline::depot::{Depot, ReadAt};
use corpus::pipeline::prepared::INDEX;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The manifest's nonce: it survives another preparation into the same directory.
pub(super) const NONCE: &str = "nonce";
/// Everything else that a preparation leaves, but for shards and working files.
const OURS: &[&str] = &[INDEX, NONCE, "quality.json", "quality.html", "manifest.json", "croissant.jsonld"];

/// The user's files.
pub(super) struct Files<'a> {
    paths: &'a [PathBuf],
    bytes: u64,
}

impl<'a> Files<'a> {
    pub(super) fn of(paths: &'a [PathBuf]) -> Self {
        Self { paths, bytes: paths.iter().filter_map(|p| fs::metadata(p).ok()).map(|m| m.len()).sum() }
    }
}

impl Inputs for Files<'_> {
    fn count(&self) -> usize {
        self.paths.len()
    }

    fn total_bytes(&self) -> u64 {
        self.bytes
    }

    fn open(&self, at: usize) -> io::Result<Box<dyn Read + Send>> {
        let path = self.paths.get(at).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(File::open(path)?))
    }
}

/// The directory of a preparation, for its owner only.
pub(super) struct Folder {
    dir: PathBuf,
}

fn is_shard(name: &str) -> bool {
    (name.starts_with("train-") || name.starts_with("validation-")) && name.ends_with(".jsonl")
}

fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || is_shard(name) || name.starts_with("work-")
}

impl Folder {
    /// Makes the directory, or takes one that holds nothing but an earlier preparation, whose index goes first: from here on nothing
    /// trains on what is half done.
    pub(super) fn begin(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let folder = Self { dir: dir.to_owned() };
        if !folder.names()?.iter().all(|name| is_ours(name)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        folder.clear()?;
        Ok(folder)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Removes everything but the nonce.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.remove_if(|name| name == INDEX)?;
        self.remove_if(|name| is_ours(name) && name != NONCE)
    }

    /// Removes the shards of a preparation that is blocked.
    pub(super) fn drop_shards(&self) -> io::Result<()> {
        self.remove_if(is_shard)
    }

    fn remove_if(&self, which: impl Fn(&str) -> bool) -> io::Result<()> {
        self.names()?.iter().filter(|name| which(name)).try_for_each(|name| fs::remove_file(self.dir.join(name)))
    }
}

impl Depot for Folder {
    fn create(&self, name: &str) -> io::Result<Box<dyn Write + Send>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.dir.join(name))?;
        Ok(if is_shard(name) { Box::new(Durable(file)) } else { Box::new(file) })
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.dir.join(name))?))
    }

    fn reach(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(AnyPlace(File::open(self.dir.join(name))?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }
}

/// A shard: on the disk once it is flushed, before the index names it.
struct Durable(File);

impl Write for Durable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

struct AnyPlace(File);

impl ReadAt for AnyPlace {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}
