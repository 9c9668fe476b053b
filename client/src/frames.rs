//! Frames on QUIC streams (transport-storage.md T28): length first, limit before memory. Knows no meaning of a message.

use minicbor::{Decode, Encode};
use protocol::codec::DecodeError;
use protocol::messages::{frame, unframe};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};

/// Why no frame came or went.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer announced more than it may send.
    #[error("a frame of {got} bytes was announced, the limit is {limit}")]
    TooLong {
        /// Announced.
        got: u32,
        /// Allowed.
        limit: usize,
    },
    /// The stream ended inside a frame or broke.
    #[error("the stream ended inside a frame")]
    Read(#[from] ReadExactError),
    /// The stream takes no more.
    #[error("the stream takes no more")]
    Write(#[from] WriteError),
    /// Not a message.
    #[error("the frame is not a message")]
    Decode(#[from] DecodeError),
}

/// Writes one message.
pub(crate) async fn send<T: Encode<()>>(stream: &mut SendStream, message: &T) -> Result<(), FrameError> {
    Ok(stream.write_all(&frame(message)).await?)
}

/// Reads one message of at most `limit` bytes; `None` where the stream ends between frames.
///
/// # Security
/// The length is checked before anything is allocated.
pub(crate) async fn receive<T: for<'b> Decode<'b, ()> + Encode<()>>(
    stream: &mut RecvStream,
    limit: usize,
) -> Result<Option<T>, FrameError> {
    let mut length = [0u8; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let got = u32::from_le_bytes(length);
    let Some(length) = usize::try_from(got).ok().filter(|l| *l <= limit) else {
        return Err(FrameError::TooLong { got, limit });
    };
    let mut content = vec![0u8; length];
    stream.read_exact(&mut content).await?;
    Ok(Some(unframe(&content)?))
}
