//! CBOR with one encoding: limits first, all bytes consumed, and what was read encodes to the same bytes (crypto.md C45, T29).

use minicbor::{Decode, Encode};

/// Why bytes are not the value they should be. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than this kind of message may have.
    #[error("message has {got} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not CBOR of the expected shape.
    #[error("message is not of the expected form")]
    Malformed,
    /// Bytes after the value.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A second spelling of the same value.
    #[error("message is not in its canonical encoding")]
    NotCanonical,
}

/// The canonical bytes of `value`.
///
/// # Panics
/// Never: a vector takes every byte, and no encoder of this crate fails on its own.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    minicbor::encode(value, &mut out).expect("writing to a Vec cannot fail");
    out
}

/// Decodes a value whose bytes are signed or hashed: at most `limit` bytes, nothing after it, one spelling.
///
/// # Errors
/// [`DecodeError`], by the first rule broken.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { got: bytes.len(), limit });
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| DecodeError::Malformed)?;
    if decoder.position() != bytes.len() {
        return Err(DecodeError::Trailing(bytes.len() - decoder.position()));
    }
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Address, ClientId};

    /// A few bytes may claim any number of elements; memory is not given for a claim.
    #[test]
    fn a_claimed_length_is_not_believed() {
        for head in [[0x9b, 0xff], [0x9b, 0x7f], [0x9b, 0x00]] {
            let mut bytes = vec![head[0], head[1]];
            bytes.extend([0xff; 7]);
            bytes.extend([0x58, 0x20]);
            assert_eq!(decode::<Vec<Address>>(&bytes, 64), Err(DecodeError::Malformed));
            assert_eq!(decode::<Vec<u64>>(&bytes, 64), Err(DecodeError::Malformed));
        }
        assert_eq!(
            decode::<minicbor::bytes::ByteVec>(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 64),
            Err(DecodeError::Malformed)
        );
    }

    #[test]
    fn there_is_one_spelling_and_nothing_after_it() {
        let id = ClientId([7; 32]);
        let mut bytes = encode(&id);
        assert_eq!(decode::<ClientId>(&bytes, 64), Ok(id));
        assert_eq!(decode::<ClientId>(&bytes, 8), Err(DecodeError::TooLong { got: 34, limit: 8 }));
        bytes.push(0);
        assert_eq!(decode::<ClientId>(&bytes, 64), Err(DecodeError::Trailing(1)));
        // Five in two bytes.
        assert_eq!(decode::<u64>(&[0x18, 0x05], 64), Err(DecodeError::NotCanonical));
    }
}
