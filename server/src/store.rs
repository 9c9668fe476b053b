//! The embedded index: tokens and issued TLS chains. Small values only, each change made durable before it is spoken of
//! (transport-storage.md S5, S6). The only file that names sled.

use crate::edges::reached;
use protocol::codec;
use protocol::ids::{ClientId, Sha256, TokenId};
use std::fs::File;
use std::io;
use std::path::Path;

/// Largest value (S6): larger ones would go to files that sled never syncs.
const MAX_VALUE: usize = 4096;

/// The store failed: stop accepting, exit, restart (S6).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The database.
    #[error("the index failed")]
    Database(#[from] sled::Error),
    /// Its file could not be made durable.
    #[error("the index could not be made durable")]
    Sync(#[from] io::Error),
    /// A value above the limit.
    #[error("a value has {0} bytes, the limit is 4096")]
    TooLarge(usize),
    /// A value that does not decode: the index is damaged.
    #[error("a value in the index does not decode")]
    Damaged,
}

/// An invitation as the server remembers it: never its secret.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode, minicbor::CborLen)]
pub(crate) struct Invitation {
    /// HMAC of the secret under the server's token key.
    #[n(0)]
    pub(crate) mac: Sha256,
    #[n(1)]
    pub(crate) institution: String,
    /// Seconds since 1970.
    #[n(2)]
    pub(crate) expires_s: u64,
    /// The institution that used it.
    #[n(3)]
    pub(crate) used_by: Option<ClientId>,
}

impl Invitation {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        codec::decode(bytes, MAX_VALUE).map_err(|_| StoreError::Damaged)
    }
}

/// sled with its pitfalls fenced in.
pub(crate) struct Store {
    db: sled::Db,
    file: File,
}

impl Store {
    /// Opens the database. The caller holds the lock of the server's directory.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        crate::durable::create_dir(path)?;
        remove_half_written_snapshots(path)?;
        let db = sled::Config::new().path(path).flush_every_ms(Some(200)).mode(sled::Mode::LowSpace).use_compression(false).open()?;
        let file = File::options().read(true).write(true).open(path.join("db"))?;
        crate::durable::sync_dir(path)?;
        Ok(Self { db, file })
    }

    /// Makes everything written so far durable: sled's flush does not fsync, so the file is synced here.
    fn barrier(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(self.file.sync_data()?)
    }

    fn put(&self, space: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if value.len() > MAX_VALUE {
            return Err(StoreError::TooLarge(value.len()));
        }
        reached("before", space);
        self.db.open_tree(space)?.insert(key, value)?;
        self.barrier()?;
        reached("durable", space);
        Ok(())
    }

    fn read(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.open_tree(space)?.get(key)?.map(|v| v.to_vec()))
    }

    pub(crate) fn put_invitation(&self, id: TokenId, invitation: &Invitation) -> Result<(), StoreError> {
        self.put("invitations", &id.0, &codec::encode(invitation))
    }

    pub(crate) fn invitation(&self, id: TokenId) -> Result<Option<Invitation>, StoreError> {
        self.read("invitations", &id.0)?.map(|b| Invitation::parse(&b)).transpose()
    }

    /// Uses a token up for one institution: compare-and-set, repeatable for the same one.
    pub(crate) fn use_invitation(&self, id: TokenId, by: ClientId) -> Result<bool, StoreError> {
        let Some(mut invitation) = self.invitation(id)? else { return Ok(false) };
        match invitation.used_by {
            Some(other) => Ok(other == by),
            None => {
                let old = codec::encode(&invitation);
                invitation.used_by = Some(by);
                let swapped = self.db.open_tree("invitations")?.compare_and_swap(id.0, Some(old), Some(codec::encode(&invitation)))?;
                self.barrier()?;
                Ok(swapped.is_ok())
            }
        }
    }

    /// A certificate signing request waits for approval.
    pub(crate) fn put_csr(&self, who: ClientId, der: &[u8]) -> Result<(), StoreError> {
        self.put("requests", &who.0, der)
    }
    pub(crate) fn csr(&self, who: ClientId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("requests", &who.0)
    }
    /// The TLS certificate that was issued.
    pub(crate) fn put_issued(&self, who: ClientId, der: &[u8]) -> Result<(), StoreError> {
        self.put("issued", &who.0, der)
    }
    pub(crate) fn issued(&self, who: ClientId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("issued", &who.0)
    }
}

/// A crash inside sled's snapshot leaves a file that blocks the next start; deleting it restores all (S5c).
fn remove_half_written_snapshots(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_once() {
        let dir = tempfile::tempdir().unwrap();
        let id = TokenId([1; 16]);
        let invitation = Invitation { mac: Sha256([2; 32]), institution: "a".into(), expires_s: 9, used_by: None };
        {
            let store = Store::open(dir.path()).unwrap();
            store.put_invitation(id, &invitation).unwrap();
            assert!(store.use_invitation(id, ClientId([3; 32])).unwrap());
        }
        std::fs::write(dir.path().join("snap.0.generating"), b"half").unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.use_invitation(id, ClientId([3; 32])).unwrap(), "the same request is repeatable");
        assert!(!store.use_invitation(id, ClientId([4; 32])).unwrap());
        assert!(!store.use_invitation(TokenId([9; 16]), ClientId([4; 32])).unwrap());
    }
}
