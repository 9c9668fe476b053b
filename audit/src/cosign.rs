//! Cosignatures of witnesses, `cosignature/v1` (A10). Knows no checkpoint: it frames the text of any note.

use crate::key::{KeyType, SignerKey};
use crate::note::SignatureLine;

/// Latest time that may be signed, in seconds since 1970 (tlog-cosignature).
pub const MAX_TIME_S: u64 = i64::MAX as u64;

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CosignError {
    /// The key is not a witness's.
    #[error("the key signs notes, not cosignatures")]
    WrongKeyType,
    /// The time is above [`MAX_TIME_S`].
    #[error("time {got} is beyond what a cosignature can carry")]
    TimeTooLarge {
        /// The time, in seconds since 1970.
        got: u64,
    },
}

/// The bytes that a cosignature signs.
pub fn message(time_s: u64, note_text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{note_text}").into_bytes()
}

/// Cosigns a note's text at this time (seconds since 1970).
///
/// # Errors
/// [`CosignError`] if the key or the time cannot make a cosignature.
pub fn cosign(key: &SignerKey, time_s: u64, note_text: &str) -> Result<SignatureLine, CosignError> {
    if key.verifier().kind() != KeyType::Cosignature {
        return Err(CosignError::WrongKeyType);
    }
    if time_s > MAX_TIME_S {
        return Err(CosignError::TimeTooLarge { got: time_s });
    }
    let mut blob = time_s.to_be_bytes().to_vec();
    blob.extend_from_slice(&key.sign_bytes(&message(time_s, note_text)));
    Ok(SignatureLine::new(key.verifier(), blob))
}

/// Time and signature out of a blob.
pub(crate) fn split(blob: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = blob.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    (time <= MAX_TIME_S).then_some((time, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "example.com/log\n1\nAAAA\n";

    #[test]
    fn a_cosignature_carries_its_time_and_signs_it() {
        let key = SignerKey::new("w.example", KeyType::Cosignature, &[3; 32]).ok().unwrap();
        let line = cosign(&key, 1_679_315_147, TEXT).unwrap();
        assert_eq!(key.verifier().verify(TEXT, line.blob()), Ok(Some(1_679_315_147)));
        let mut later = line.blob().to_vec();
        later[7] ^= 1;
        assert!(key.verifier().verify(TEXT, &later).is_err());
        assert!(key.verifier().verify(&TEXT[1..], line.blob()).is_err());
    }

    #[test]
    fn only_witness_keys_cosign_and_only_times_that_exist() {
        let log = SignerKey::new("l.example", KeyType::Note, &[3; 32]).ok().unwrap();
        assert_eq!(cosign(&log, 1, TEXT), Err(CosignError::WrongKeyType));
        let key = SignerKey::new("w.example", KeyType::Cosignature, &[3; 32]).ok().unwrap();
        assert_eq!(cosign(&key, MAX_TIME_S + 1, TEXT), Err(CosignError::TimeTooLarge { got: MAX_TIME_S + 1 }));
    }
}
