//! The private halves of the keys that sign the log (audit.md A9, A14): one file each, made before a trust document names the key and erased when
//! no tree is left that it could have to sign. One guard beside them holds the last tree that any of them signed, so that no two of them can tell
//! two stories. Knows no log.

use crate::durable;
use crate::init::{InitError, create_key, seed};
use crate::layout::Layout;
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, SignerKey, VerifierKey};
use std::io;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The key that a federation begins with.
const FIRST: &str = "log";

/// The directory of the log's keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyRing(Layout);

impl KeyRing {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self(layout.clone())
    }

    /// Makes another key for the log of this federation; it signs once a trust document that names it is in force.
    pub(crate) fn make(&self, federation: &str) -> Result<VerifierKey, InitError> {
        let seed = seed()?;
        let key = SignerKey::new(&Checkpoint::origin_of(federation), KeyType::Note, &seed).map_err(|_| InitError::Key)?;
        create_key(&self.0.key(&later(key.verifier())), &seed[..])?;
        Ok(key.verifier().clone())
    }

    /// The private half of a key; nothing where it was erased, or is another server's.
    pub(crate) fn find(&self, of: &VerifierKey) -> io::Result<Option<SignerKey>> {
        for path in self.places(of) {
            let Some(seed) = read(&path)? else { continue };
            let key = SignerKey::new(of.name(), KeyType::Note, &seed).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if key.verifier() == of {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Erases the private half of a key, if it is here. A file that an erasure before this one has emptied goes too.
    pub(crate) fn erase(&self, of: &VerifierKey) -> io::Result<bool> {
        let mut erased = false;
        for path in self.places(of) {
            let Some(seed) = read(&path)? else { continue };
            let its = SignerKey::new(of.name(), KeyType::Note, &seed).is_ok_and(|key| key.verifier() == of);
            if its || *seed == [0; 32] {
                durable::erase(&path)?;
                erased = true;
            }
        }
        Ok(erased)
    }

    fn places(&self, of: &VerifierKey) -> [PathBuf; 2] {
        [self.0.key(&later(of)), self.0.key(FIRST)]
    }
}

/// Where a key lies that was made after the first one.
fn later(of: &VerifierKey) -> String {
    format!("log-{}", hex::encode(&of.public()[..8]))
}

fn read(path: &std::path::Path) -> io::Result<Option<Zeroizing<[u8; 32]>>> {
    let bytes = match durable::read_secret(path, 32) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let seed = <[u8; 32]>::try_from(&bytes[..]).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some(Zeroizing::new(seed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_public_half_until_it_is_erased() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let ring = KeyRing::new(&layout);
        create_key(&layout.key("log"), &[5; 32]).unwrap();
        let first = SignerKey::new("demo/log", KeyType::Note, &[5; 32]).ok().unwrap();
        let (second, third) = (ring.make("demo").unwrap(), ring.make("demo").unwrap());
        assert_ne!(second, third);
        let has = |key: &VerifierKey| ring.find(key).unwrap().is_some_and(|found| found.verifier() == key);
        assert!(has(first.verifier()) && has(&second) && has(&third));
        assert!(ring.erase(&second).unwrap() && !has(&second) && has(first.verifier()) && has(&third));
        assert!(ring.erase(first.verifier()).unwrap() && !layout.key("log").exists() && has(&third));
        assert!(!ring.erase(first.verifier()).unwrap(), "it is gone");
        // A process that ended between the bytes and the name.
        create_key(&layout.key("log"), &[0; 32]).unwrap();
        assert!(!has(first.verifier()) && ring.erase(first.verifier()).unwrap() && !layout.key("log").exists());
    }
}
