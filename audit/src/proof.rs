//! Proofs of logging that stand alone, `.tlog-proof`, and receipts (A13). Knows no directory and no meaning of an entry.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::{Hash, leaf_hash};
use crate::merkle::{Disproved, InclusionProof, MAX_PROOF_HASHES};
use crate::note::{MAX_NOTE_BYTES, Note, NoteError};
use crate::policy::{OpenError, Opened, Policy};
use crate::tile::{EntryTooLong, push_entry};
use crate::{MAX_ENTRY_BYTES, text};

const HEADER: &str = "c2sp.org/tlog-proof@v1\n";

/// Largest proof: the hashes with the index, and a note.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + 64 * (MAX_PROOF_HASHES + 2);

/// The place of an entry in a signed tree; nothing in it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Index of the entry.
    pub index: u64,
    /// Path from the entry to the root of the note's checkpoint.
    pub inclusion: InclusionProof,
    /// The signed checkpoint; a parsed proof has one that is well formed.
    pub note: Note,
}

/// Bytes that are not a proof or receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFormatError {
    /// Above [`MAX_PROOF_BYTES`].
    #[error("the proof is longer than {MAX_PROOF_BYTES} bytes")]
    TooLong,
    /// Header, index, hashes, empty line and note are not where they belong. An `extra` line is not accepted (A13).
    #[error("not a tlog-proof")]
    BadShape,
    /// A proof line is not base64 of a hash, or there are more than [`MAX_PROOF_HASHES`].
    #[error("proof line {line} is not one of at most {MAX_PROOF_HASHES} hashes")]
    BadHashLine {
        /// Position, from 0.
        line: usize,
    },
    /// The checkpoint is no note.
    #[error("the proof's checkpoint is not a note")]
    Note(#[from] NoteError),
    /// The note's text is no checkpoint.
    #[error("the proof's note is not a checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// A receipt whose entry is cut short or above the limit.
    #[error("the receipt's entry is cut short or longer than {MAX_ENTRY_BYTES} bytes")]
    BadEntry,
}

/// Reads base64 hash lines, at most [`MAX_PROOF_HASHES`]; the error is the position of the first bad line.
pub(crate) fn parse_hash_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Hash>, usize> {
    let parse = |(at, line)| if at < MAX_PROOF_HASHES { Hash::from_base64(line).map_err(|_| at) } else { Err(at) };
    lines.enumerate().map(parse).collect()
}

/// Writes base64 hash lines.
pub(crate) fn write_hash_lines(hashes: &[Hash]) -> String {
    hashes.iter().map(|h| h.to_base64() + "\n").collect()
}

impl TlogProof {
    /// The bytes of the `.tlog-proof` file.
    pub fn encode(&self) -> Vec<u8> {
        let head = format!("{HEADER}index {}\n{}\n", self.index, write_hash_lines(&self.inclusion.0));
        [head.into_bytes(), self.note.encode()].concat()
    }

    /// Reads a `.tlog-proof` file.
    ///
    /// # Errors
    /// [`ProofFormatError`] if the bytes are not the one spelling of a proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFormatError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofFormatError::TooLong);
        }
        let proof = std::str::from_utf8(bytes).map_err(|_| ProofFormatError::BadShape)?;
        // The first empty line ends the hashes; a checkpoint cannot begin with one.
        let (head, note) = proof.split_once("\n\n").ok_or(ProofFormatError::BadShape)?;
        let mut lines = head.strip_prefix(HEADER).ok_or(ProofFormatError::BadShape)?.split('\n');
        let index = lines.next().and_then(|l| l.strip_prefix("index ")).and_then(text::size).ok_or(ProofFormatError::BadShape)?;
        let hashes = parse_hash_lines(lines).map_err(|line| ProofFormatError::BadHashLine { line })?;
        let note = Note::parse(note.as_bytes())?;
        note.text().parse::<Checkpoint>()?;
        Ok(Self { index, inclusion: InclusionProof(hashes), note })
    }

    /// Checks that `entry` is at this index of the log that `policy` names, under a checkpoint with its quorum.
    ///
    /// # Errors
    /// [`Unproved`] with the first reason found.
    pub fn verify(&self, policy: &Policy, entry: &[u8]) -> Result<Opened, Unproved> {
        let opened = policy.open_note(self.note.clone())?;
        if !opened.has_quorum() {
            return Err(Unproved::BelowQuorum { size: opened.checkpoint().head.size, cosigners: opened.cosigners().len() });
        }
        self.inclusion.verify(&opened.checkpoint().head, self.index, &leaf_hash(entry))?;
        Ok(opened)
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproved {
    /// The checkpoint is not believed.
    #[error("the proof's checkpoint is not believed")]
    Checkpoint(#[from] OpenError),
    /// Too few witnesses.
    #[error("the checkpoint of size {size} has {cosigners} cosigners, which is below the quorum")]
    BelowQuorum {
        /// Size of the tree.
        size: u64,
        /// Cosigners of the policy that signed.
        cosigners: usize,
    },
    /// The entry is not in the tree at this index.
    #[error("the entry is not in the tree")]
    Inclusion(#[from] Disproved),
}

/// An entry with the proof that it is logged: what a participant keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The exact bytes of the entry.
    pub entry: Vec<u8>,
    /// Where it is.
    pub proof: TlogProof,
}

impl Receipt {
    /// One stored object: 16-bit big-endian length, entry, proof.
    ///
    /// # Errors
    /// [`EntryTooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, EntryTooLong> {
        let mut out = Vec::new();
        push_entry(&mut out, &self.entry)?;
        out.extend_from_slice(&self.proof.encode());
        Ok(out)
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`ProofFormatError`] if the bytes are not the one spelling of a receipt.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFormatError> {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(ProofFormatError::BadEntry)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, proof) = rest.split_at_checked(length).ok_or(ProofFormatError::BadEntry)?;
        if length > MAX_ENTRY_BYTES {
            return Err(ProofFormatError::BadEntry);
        }
        Ok(Self { entry: entry.to_vec(), proof: TlogProof::parse(proof)? })
    }

    /// Checks the proof for the entry.
    ///
    /// # Errors
    /// As [`TlogProof::verify`].
    pub fn verify(&self, policy: &Policy) -> Result<Opened, Unproved> {
        self.proof.verify(policy, &self.entry)
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
