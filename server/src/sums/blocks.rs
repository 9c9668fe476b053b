//! The running sum of one group, block by block on disk (crypto.md C70, transport-storage.md S10, S11). Knows no round and no update.

use crypto::sum::{AddError, BlockSum};
use protocol::manifest::GroupSpec;
use protocol::params::{BadParameters, CHUNK_POLYNOMIALS, Packing, RING_DIMENSION};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of every block but the last.
const BLOCK: u64 = 8 * CHUNK_POLYNOMIALS * RING_DIMENSION as u64;

/// Why a sum is not added to or not read. It is scratch: whoever holds it drops it and makes it again from the stored chunks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SumError {
    /// The disk, or a chunk that is not what its name says.
    #[error("the blocks of a sum or the chunks of an update could not be read or written")]
    Storage(#[from] io::Error),
    /// A chunk that does not fit.
    #[error("a chunk is not added")]
    Add(#[from] AddError),
    /// No such block, or a group outside the limits.
    #[error("the group's sealing numbers do not hold")]
    Parameters(#[from] BadParameters),
    /// An update of which the upload is not known here.
    #[error("an update is not among the uploads of the round")]
    Unknown,
}

/// A group's sum in a file without a name. The file ends with the process that made it: a sum never outlives the list of the updates that are
/// in it, so nothing is ever added twice, whatever was killed when.
pub(crate) struct BlockFile {
    group: GroupSpec,
    polynomials: u64,
    file: File,
    added: u16,
}

impl BlockFile {
    /// The empty sum of a group, in a file below `dir`.
    pub(crate) fn new(group: &GroupSpec, dir: &Path) -> Result<Self, SumError> {
        let polynomials = group.polynomials()?;
        crate::durable::create_dir(dir)?;
        let file = tempfile::tempfile_in(dir)?;
        // Blocks that were never written read as zeros: the empty sum.
        file.set_len(8 * polynomials * RING_DIMENSION as u64)?;
        Ok(Self { group: group.clone(), polynomials, file, added: 0 })
    }

    /// Loses what was written, as a broken disk does.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.file.set_len(0).unwrap();
    }

    /// Blocks of the sum.
    pub(crate) fn blocks(&self) -> u64 {
        Packing::chunks(self.polynomials)
    }

    /// Block `index` with everything that was added so far.
    pub(crate) fn block(&self, index: u64) -> Result<BlockSum, SumError> {
        let here = self.polynomials.saturating_sub(index * CHUNK_POLYNOMIALS).min(CHUNK_POLYNOMIALS);
        let mut bytes = vec![0u8; usize::try_from(8 * here).map_err(io::Error::other)? * RING_DIMENSION];
        self.file.read_exact_at(&mut bytes, index * BLOCK)?;
        Ok(BlockSum::from_bytes(&self.group, index, &bytes, self.added)?)
    }

    /// Adds so many updates, one block after the other: one block and one chunk are in memory. `chunk` gives a chunk by update and block.
    ///
    /// On an error the sum holds parts of updates and is of no more use.
    pub(crate) fn add(&mut self, updates: usize, chunk: impl Fn(usize, u64) -> Result<Vec<u8>, SumError>) -> Result<(), SumError> {
        for index in 0..self.blocks() {
            let mut block = self.block(index)?;
            for update in 0..updates {
                block.add_chunk(&chunk(update, index)?)?;
            }
            let bytes = block.to_bytes();
            drop(block);
            self.file.write_all_at(&bytes, index * BLOCK)?;
        }
        // A count that does not fit was refused as too many for the packing.
        self.added = self.added.saturating_add(u16::try_from(updates).unwrap_or(u16::MAX));
        Ok(())
    }
}
