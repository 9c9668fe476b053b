//! Checkpoints: the text by which a log states its size and root (A9). Knows no policy.

use std::fmt;
use std::str::FromStr;

use crate::hash::Hash;
use crate::key::SignerKey;
use crate::note::{Note, NoteError};
use crate::text;
use crate::tree::TreeHead;

/// Origin, size and root of a log; extension lines do not exist here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, equal to its key's name.
    pub origin: String,
    /// Size and root.
    pub head: TreeHead,
}

/// A text that is not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not exactly three lines.
    #[error("a checkpoint is three lines: origin, size, root")]
    BadShape,
    /// The origin is empty.
    #[error("the origin is empty")]
    NoOrigin,
    /// The size is not canonical or above [`crate::MAX_SIZE`].
    #[error("the size is not a canonical decimal within the limit")]
    BadSize,
    /// The root is not base64 of 32 bytes.
    #[error("the root is not a hash")]
    BadRoot,
}

impl Checkpoint {
    /// The origin of a federation's log, `<federation>/log`.
    pub fn origin_of(federation: &str) -> String {
        format!("{federation}/log")
    }

    /// Signs this checkpoint. The caller has moved the key's guard first (A9).
    ///
    /// # Errors
    /// [`NoteError`] if the origin cannot stand in a note or the key is not a log's.
    pub fn sign(&self, key: &SignerKey) -> Result<Note, NoteError> {
        Note::sign(&self.to_string(), key)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.head.size, self.head.root.to_base64())
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::BadShape)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::BadShape);
        };
        if origin.is_empty() {
            return Err(CheckpointError::NoOrigin);
        }
        let size = text::size(size).ok_or(CheckpointError::BadSize)?;
        let root = Hash::from_base64(root).map_err(|_| CheckpointError::BadRoot)?;
        Ok(Self { origin: origin.to_owned(), head: TreeHead { size, root } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification_parses() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint: Checkpoint = text.parse().unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.head.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_string(), text);
    }

    #[test]
    fn extension_lines_and_loose_numbers_are_refused() {
        let root = crate::hash::empty_root().to_base64();
        for bad in [
            format!("o\n1\n{root}\nextension\n"),
            format!("o\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("o\n01\n{root}\n"),
            format!("o\n{}\n{root}\n", crate::MAX_SIZE + 1),
            format!("o\n1\n{}\n", &root[1..]),
            "o\n1\n".to_owned(),
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_a_checkpoint_is_canonical(origin in "[a-z/]{0,4}", size in "0?[0-9]{1,4}", root in any::<[u8; 32]>(), tail in "\n{0,2}") {
            let text = format!("{origin}\n{size}\n{}{tail}", Hash(root).to_base64());
            if let Ok(checkpoint) = text.parse::<Checkpoint>() { prop_assert_eq!(checkpoint.to_string(), text); }
        }
    }
}
