//! Where the pipeline keeps what does not fit into memory, and where prepared rows go. An interface only: files are the edge's.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// A place for named streams of bytes. Names are the pipeline's own, never those of the institution's files.
pub trait Depot: Sync {
    /// Begins a stream; one of the same name is replaced.
    ///
    /// # Errors
    /// As the place fails.
    fn create(&self, name: &str) -> io::Result<Box<dyn Write + Send>>;
    /// Reads a whole stream from its beginning.
    ///
    /// # Errors
    /// As the place fails, or there is no such stream.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
    /// Reads a stream at any place.
    ///
    /// # Errors
    /// As for [`Self::open`].
    fn reach(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;
    /// Removes a stream that is no longer needed.
    ///
    /// # Errors
    /// As the place fails.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Reads at any place of a stream, from several threads.
pub trait ReadAt: Sync + Send {
    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// As the place fails; too few bytes are [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A depot in memory, for tests and small sets.
#[derive(Default)]
pub struct MemoryDepot {
    streams: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryDepot {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names of all streams.
    pub fn names(&self) -> Vec<String> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The bytes of a stream.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn known(&self, name: &str) -> io::Result<Vec<u8>> {
        self.bytes(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

struct Stream {
    name: String,
    streams: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.entry(self.name.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Depot for MemoryDepot {
    fn create(&self, name: &str) -> io::Result<Box<dyn Write + Send>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Vec::new());
        Ok(Box::new(Stream { name: name.to_owned(), streams: Arc::clone(&self.streams) }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.known(name)?)))
    }

    fn reach(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.known(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let part = from.checked_add(buffer.len()).and_then(|to| self.get(from..to)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}
