//! The head of a chunk stream: 64 bytes in one spelling, then the bytes it announces (transport-storage.md section 5). Knows no stream.

use super::{MAX_CHUNK, WIRE_VERSION};
use crate::codec::DecodeError;
use crate::ids::{Address, UploadId};

/// What a chunk stream carries before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Body or shares.
    pub kind: ChunkKind,
    /// Chunk index, or position - 1 of the decryptor.
    pub index: u32,
    /// Bytes that follow.
    pub length: u32,
    /// The upload.
    pub upload: UploadId,
    /// BLAKE3 of the bytes.
    pub address: Address,
}

/// What the bytes of a chunk stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// Packed bodies.
    Body,
    /// A share blob.
    Shares,
}

impl ChunkHeader {
    /// Bytes of the header: version, kind, flags u16, index, length, zero u32, upload 16, address 32.
    pub const LEN: usize = 64;

    /// The 64 bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut out = [0u8; Self::LEN];
        out[0] = WIRE_VERSION;
        out[1] = match self.kind {
            ChunkKind::Body => 0,
            ChunkKind::Shares => 1,
        };
        out[4..8].copy_from_slice(&self.index.to_le_bytes());
        out[8..12].copy_from_slice(&self.length.to_le_bytes());
        out[16..32].copy_from_slice(&self.upload.0);
        out[32..64].copy_from_slice(&self.address.0);
        out
    }

    /// Parses the one spelling.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] for another version, kind, non-zero reserved bytes, or a length above [`MAX_CHUNK`].
    pub fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, DecodeError> {
        let kind = match bytes[1] {
            0 => ChunkKind::Body,
            1 => ChunkKind::Shares,
            _ => return Err(DecodeError::Malformed),
        };
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (mut upload, mut address) = ([0u8; 16], [0u8; 32]);
        upload.copy_from_slice(&bytes[16..32]);
        address.copy_from_slice(&bytes[32..64]);
        let header = Self { kind, index: word(4), length: word(8), upload: UploadId(upload), address: Address(address) };
        let sound = usize::try_from(header.length).is_ok_and(|l| l <= MAX_CHUNK) && header.to_bytes() == *bytes;
        if sound { Ok(header) } else { Err(DecodeError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunk_headers_have_one_spelling(bytes in prop::array::uniform32(any::<u8>()), rest in prop::array::uniform32(any::<u8>())) {
            let mut all = [0u8; ChunkHeader::LEN];
            all[..32].copy_from_slice(&bytes);
            all[32..].copy_from_slice(&rest);
            if let Ok(h) = ChunkHeader::parse(&all) { prop_assert_eq!(h.to_bytes(), all); }
        }
    }
}
