//! Sealed chunks on disk: found by their addresses, and checked against them. A directory of files named by address, flat or below the first
//! two digits of the name as the server keeps them. Knows no polynomial.

use crate::dir::{Directory, ReadError};
use audit::reader::{DirEntry, LogReader as _};
use protocol::ids::{Address, HeaderDigest};
use protocol::manifest::{HeaderCore, body_root};
use protocol::params::Packing;
use std::collections::BTreeSet;
use std::path::Path;

/// Chunks of the largest update that C16 allows.
const MAX_CHUNKS: usize = 4096;
/// An address in hexadecimal, and the end of its line.
const LINE: usize = 65;

/// Why a member's chunks cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkFault {
    /// Absent: nothing contradicts anything.
    #[error("{0} is not there")]
    Missing(String),
    /// A list of addresses that is none, or not the one that was signed.
    #[error("{0} does not give the signed body root")]
    List(String),
    /// Other bytes than the name says.
    #[error("{0} has other bytes than its address says")]
    Altered(String),
    /// The right bytes, but not whole polynomials of their block: the member sealed them wrongly.
    #[error("{name} has {got} bytes, its block has {expected}")]
    Length {
        /// The file.
        name: String,
        /// Its bytes.
        got: usize,
        /// Bytes of the block.
        expected: usize,
    },
    /// The disk.
    #[error("chunks cannot be read")]
    Read(#[from] ReadError),
}

/// A directory of chunks.
pub(crate) struct Store(Directory);

impl Store {
    pub(crate) fn open(root: &Path) -> Result<Self, ReadError> {
        Directory::open(root).map(Self)
    }

    fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let below = format!("{}/{name}", name.get(..2).unwrap_or_default());
        self.0.read(name, limit).transpose().or_else(|| self.0.read(&below, limit).transpose()).transpose()
    }

    /// A chunk of exactly `expected` bytes.
    pub(crate) fn chunk(&self, address: Address, expected: usize) -> Result<Vec<u8>, ChunkFault> {
        let name = address.to_hex();
        let Some(bytes) = self.read(&name, expected)? else { return Err(ChunkFault::Missing(name)) };
        if blake3::hash(&bytes).as_bytes() == &address.0 {
            let got = bytes.len();
            if got == expected { Ok(bytes) } else { Err(ChunkFault::Length { name, got, expected }) }
        } else {
            Err(ChunkFault::Altered(name))
        }
    }

    /// Whether a file for this chunk is there; its bytes are judged when they are read.
    pub(crate) fn has(&self, address: Address) -> Result<bool, ReadError> {
        Ok(self.read(&address.to_hex(), 0)?.is_some())
    }

    /// The ordered chunk addresses of an update of `polynomials` polynomials. The list beside the chunks is only a hint: what counts is that
    /// it gives the body root that the institution signed. An update of one chunk needs no list, its chunk is found by trying.
    pub(crate) fn addresses(&self, header: HeaderDigest, core: &HeaderCore, polynomials: u64) -> Result<Vec<Address>, ChunkFault> {
        let count = usize::try_from(Packing::chunks(polynomials)).unwrap_or(usize::MAX);
        let signed = |list: &[Address]| list.len() == count && body_root(list) == core.body_root;
        let name = list_name(header);
        match self.read(&name, MAX_CHUNKS * LINE)? {
            Some(bytes) => parse_list(&bytes).filter(|list| signed(list)).ok_or(ChunkFault::List(name)),
            None if count == 1 => {
                let found = self.names()?.into_iter().map(|a| vec![a]).find(|list| signed(list));
                found.ok_or_else(|| ChunkFault::Missing(format!("the chunk under body root {}", core.body_root)))
            }
            None => Err(ChunkFault::Missing(name)),
        }
    }

    /// Every file that is named by an address.
    fn names(&self) -> Result<BTreeSet<Address>, ReadError> {
        let mut out = BTreeSet::new();
        for entry in self.0.list("")? {
            match entry {
                DirEntry::File(name) => out.extend(name.parse::<Address>()),
                DirEntry::Directory(dir) => {
                    let files = self.0.list(&dir)?.into_iter();
                    out.extend(files.filter_map(|e| if let DirEntry::File(name) = e { name.parse::<Address>().ok() } else { None }));
                }
            }
        }
        Ok(out)
    }
}

/// The file that lists an update's chunks: one address per line, in order.
fn list_name(header: HeaderDigest) -> String {
    format!("{}.list", header.to_hex())
}

/// Addresses in order. Nothing for bytes that are no such list; what it is worth is for the signed root to say.
pub fn parse_list(bytes: &[u8]) -> Option<Vec<Address>> {
    std::str::from_utf8(bytes).ok()?.lines().map(|line| line.parse().ok()).collect()
}
