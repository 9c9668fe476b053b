//! Adding packed bodies, block by block, without any key (crypto.md C29, C31, C70). Knows no secret and no client.

use crate::Polynomial;
use crate::packing::{WrongLength, add_bits};
use protocol::hash::{Domain, tagged};
use protocol::ids::{Address, GroupId, ManifestDigest, SumRoot};
use protocol::manifest::GroupSpec;
use protocol::params::{BadParameters, CHUNK_POLYNOMIALS, Packing, RING_DIMENSION};

/// Why a chunk is not added. The sum is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// Truncated or too long.
    #[error("chunk is not whole polynomials of its block")]
    Length(#[from] WrongLength),
    /// As many chunks as the packing carries are already in the block (C28).
    #[error("the block already holds {0} updates, the most that its packing carries")]
    Full(u16),
    /// Behind the group's last block.
    #[error("block {0} is not of this group")]
    NoSuchBlock(u64),
}

/// The running sum of one chunk position: at most 256 polynomials, 8 MiB.
pub struct BlockSum {
    packing: Packing,
    sum: Vec<u64>,
    added: u16,
}

impl BlockSum {
    /// The empty sum of block `index` of a group.
    ///
    /// # Errors
    /// [`BadParameters::Size`] if the group has no such block or is outside the limits.
    pub fn new(group: &GroupSpec, index: u64) -> Result<Self, BadParameters> {
        let polynomials = block_polynomials(group.polynomials()?, index).ok_or(BadParameters::Size(index))?;
        Ok(Self { packing: group.packing, sum: vec![0; polynomials * RING_DIMENSION], added: 0 })
    }

    /// A block from the bytes of [`BlockSum::to_bytes`], which the caller's own store has kept; `added` is how many chunks are in it.
    ///
    /// # Errors
    /// [`BadParameters::Size`] if the length is not that of the block.
    pub fn from_bytes(group: &GroupSpec, index: u64, bytes: &[u8], added: u16) -> Result<Self, BadParameters> {
        let mut block = Self::new(group, index)?;
        if bytes.len() != 8 * block.sum.len() {
            return Err(BadParameters::Size(index));
        }
        for (word, eight) in block.sum.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*eight);
        }
        block.added = added;
        Ok(block)
    }

    /// The sum as `u64` LE.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0u8; 8 * self.sum.len()];
        out.as_chunks_mut::<8>().0.iter_mut().zip(&self.sum).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        out
    }

    /// Chunks added so far.
    pub fn added(&self) -> u16 {
        self.added
    }

    /// Polynomials of the block.
    pub fn polynomials(&self) -> &[Polynomial] {
        self.sum.as_chunks::<RING_DIMENSION>().0
    }

    /// Adds one client's packed chunk: acc += body << r, modulo 2^64 by intent.
    ///
    /// # Errors
    /// [`AddError`]; the sum is unchanged then.
    pub fn add_chunk(&mut self, packed: &[u8]) -> Result<(), AddError> {
        let expected = self.sum.len() / 8 * usize::from(self.packing.body_bits);
        if packed.len() != expected {
            return Err(WrongLength { got: packed.len(), expected }.into());
        }
        if self.added >= self.packing.n_max {
            return Err(AddError::Full(self.packing.n_max));
        }
        // k + r = 64, so every body goes back to bit r.
        add_bits(packed, self.packing.body_bits, &mut self.sum);
        self.added += 1;
        Ok(())
    }

    /// BLAKE3 of the block as `u64` LE.
    pub fn address(&self) -> Address {
        Address(hash_words(self.sum.iter().map(|w| w.to_le_bytes())))
    }
}

/// BLAKE3 of words given as bytes.
pub(crate) fn hash_words(words: impl ExactSizeIterator<Item = [u8; 8]>) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    update_words(&mut hash, words);
    hash.finalize().into()
}

/// Hashes words given as bytes, a part at a time on all threads.
pub(crate) fn update_words(hash: &mut blake3::Hasher, mut words: impl ExactSizeIterator<Item = [u8; 8]>) {
    let mut part = vec![0u8; 8 * words.len().min(1 << 15)];
    while words.len() > 0 {
        part.truncate(8 * words.len());
        part.as_chunks_mut::<8>().0.iter_mut().zip(&mut words).for_each(|(bytes, word)| *bytes = word);
        hash.update_rayon(&part);
    }
}

/// Polynomials of block `index` in a group of `total`.
fn block_polynomials(total: u64, index: u64) -> Option<usize> {
    let before = index.checked_mul(CHUNK_POLYNOMIALS)?;
    let here = total.checked_sub(before)?.min(CHUNK_POLYNOMIALS);
    usize::try_from(here).ok().filter(|&n| n > 0)
}

/// H(`sum`; manifest digest ‖ group ‖ count ‖ block addresses) (C36).
pub fn sum_root(manifest: ManifestDigest, group: GroupId, blocks: &[Address]) -> SumRoot {
    let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
    let flat: Vec<u8> = blocks.iter().flat_map(|a| a.0).collect();
    SumRoot(tagged(Domain::Sum, &[&manifest.0, &group.0.to_le_bytes(), &count.to_le_bytes(), &flat]))
}

/// All blocks of a group in memory: for models of a few megabytes, tests and audits. Servers keep blocks in files.
pub struct AggregateSum {
    blocks: Vec<BlockSum>,
}

impl AggregateSum {
    /// The empty sum of a group.
    ///
    /// # Errors
    /// [`BadParameters`] if the group is outside the limits.
    pub fn new(group: &GroupSpec) -> Result<Self, BadParameters> {
        let chunks = Packing::chunks(group.polynomials()?);
        Ok(Self { blocks: (0..chunks).map(|i| BlockSum::new(group, i)).collect::<Result<_, _>>()? })
    }

    /// Adds chunk `index` of one client.
    ///
    /// # Errors
    /// [`AddError`]; the sum is unchanged then.
    pub fn add_chunk(&mut self, index: u64, packed: &[u8]) -> Result<(), AddError> {
        let at = usize::try_from(index).map_err(|_| AddError::NoSuchBlock(index))?;
        self.blocks.get_mut(at).ok_or(AddError::NoSuchBlock(index))?.add_chunk(packed)
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[BlockSum] {
        &self.blocks
    }
}
