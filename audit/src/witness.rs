//! What a witness decides when asked to cosign (A24 to A26; tlog-witness). It stores, fetches and waits for nothing: the edge
//! does, between the decision and the signature. Knows no meaning of an entry.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosign::{CosignError, cosign};
use crate::key::SignerKey;
use crate::keys::LogKeys;
use crate::merkle::{ConsistencyProof, MAX_PROOF_HASHES};
use crate::note::{MAX_NOTE_BYTES, Note, NoteError, SignatureLine, parse_lines, write_lines};
use crate::proof::{parse_hash_lines, write_hash_lines};
use crate::text;
use crate::tree::TreeHead;

/// Largest request: old size, hash lines and a note.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + 64 * (MAX_PROOF_HASHES + 1);

/// What a witness remembers of a log: the last tree it cosigned, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessState {
    /// The last tree cosigned.
    pub head: TreeHead,
    /// Time of the last cosignature, in seconds since 1970; times never fall (A10).
    pub time_s: u64,
}

/// A text that is not a witness's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a witness state: expected `<time> <size> <64 hex digits>` and a line feed")]
pub struct BadWitnessState;

impl WitnessState {
    /// Nothing cosigned yet.
    pub fn new() -> Self {
        Self { head: TreeHead::empty(), time_s: 0 }
    }
}

impl Default for WitnessState {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for WitnessState {
    /// The line to store: time, size and root, each with its separator, and a line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time_s, self.head)
    }
}

impl FromStr for WitnessState {
    type Err = BadWitnessState;

    fn from_str(line: &str) -> Result<Self, BadWitnessState> {
        let (time, head) = line.split_once(' ').ok_or(BadWitnessState)?;
        let time_s = text::decimal(time).ok_or(BadWitnessState)?;
        Ok(Self { head: head.parse().map_err(|_| BadWitnessState)?, time_s })
    }
}

/// The body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size that the server believes the witness to have cosigned last.
    pub old_size: u64,
    /// Proof from there to the note's checkpoint.
    pub consistency: ConsistencyProof,
    /// The log-signed checkpoint.
    pub note: Note,
}

/// Bytes that are not a request; the answer is 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Above [`MAX_REQUEST_BYTES`].
    #[error("the request is longer than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// Old size, hashes, empty line and note are not where they belong.
    #[error("not an add-checkpoint request")]
    BadShape,
    /// A proof line is not base64 of a hash, or there are more than [`MAX_PROOF_HASHES`].
    #[error("proof line {line} is not one of at most {MAX_PROOF_HASHES} hashes")]
    BadHashLine {
        /// Position, from 0.
        line: usize,
    },
    /// The checkpoint is no note.
    #[error("the request's checkpoint is not a note")]
    Note(#[from] NoteError),
    /// The note's text is no checkpoint.
    #[error("the request's note is not a checkpoint")]
    Checkpoint(#[from] CheckpointError),
}

impl AddCheckpoint {
    /// The bytes of the request.
    pub fn encode(&self) -> Vec<u8> {
        let head = format!("old {}\n{}\n", self.old_size, write_hash_lines(&self.consistency.0));
        [head.into_bytes(), self.note.encode()].concat()
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`] if the bytes are not the one spelling of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong);
        }
        let request = std::str::from_utf8(bytes).map_err(|_| RequestError::BadShape)?;
        let (head, note) = request.split_once("\n\n").ok_or(RequestError::BadShape)?;
        let mut lines = head.split('\n');
        let old_size = lines.next().and_then(|l| l.strip_prefix("old ")).and_then(text::size).ok_or(RequestError::BadShape)?;
        let hashes = parse_hash_lines(lines).map_err(|line| RequestError::BadHashLine { line })?;
        let note = Note::parse(note.as_bytes())?;
        note.text().parse::<Checkpoint>()?;
        Ok(Self { old_size, consistency: ConsistencyProof(hashes), note })
    }
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request or its checkpoint cannot be read, or states an old size above the new one.
    #[error("the request is malformed")]
    Malformed,
    /// No signature that holds of each key that signs a tree of this size.
    #[error("the checkpoint is not signed by the log")]
    NotByLog,
    /// Not the log that this witness watches.
    #[error("the checkpoint is of an unknown log")]
    UnknownLog,
    /// The server's idea of the last cosigned size is wrong; it may ask again with this one.
    #[error("the last cosigned size is {size}")]
    OtherSize {
        /// Size of the last tree cosigned.
        size: u64,
    },
    /// The log signed another root for the size that was cosigned last. With the stored note this is evidence of a fork (A28).
    #[error("the log signed two roots for size {size}: {cosigned} before, {offered} now")]
    Fork {
        /// The size.
        size: u64,
        /// Root cosigned before.
        cosigned: crate::hash::Hash,
        /// Root offered now.
        offered: crate::hash::Hash,
    },
    /// The proof does not lead from the last cosigned tree to the new one.
    #[error("the consistency proof does not hold")]
    NotConsistent,
}

impl Refusal {
    /// The tlog-witness status of this refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NotByLog => 403,
            Self::UnknownLog => 404,
            Self::OtherSize { .. } | Self::Fork { .. } => 409,
            Self::NotConsistent => 422,
        }
    }

    /// What the server is told.
    pub fn answer(&self) -> Answer {
        match self {
            Self::OtherSize { size } | Self::Fork { size, .. } => Answer::Conflict { size: *size },
            Self::Malformed => Answer::BadRequest,
            Self::NotByLog => Answer::Forbidden,
            Self::UnknownLog => Answer::NotFound,
            Self::NotConsistent => Answer::Unprocessable,
        }
    }
}

/// A tree that may be cosigned once it is mirrored and stored.
///
/// The edge reads the missing tiles, recomputes the root, stores them durably, replaces the state it decided from by
/// [`Self::next_state`] in one atomic compare-and-set, and only then calls [`Self::cosign`] (A25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    from: WitnessState,
    next: WitnessState,
    checkpoint: Checkpoint,
    note: Note,
}

impl Advance {
    /// The state that the decision was made from: the `compare` of compare-and-set.
    pub fn from_state(&self) -> &WitnessState {
        &self.from
    }

    /// The state to store: the `set`.
    pub fn next_state(&self) -> &WitnessState {
        &self.next
    }

    /// The checkpoint to be mirrored.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The log-signed note, to be kept.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Cosigns. To be called after the next state is durable, never before.
    ///
    /// # Errors
    /// [`CosignError`] if the key or time cannot make a cosignature.
    pub fn cosign(&self, key: &SignerKey) -> Result<SignatureLine, CosignError> {
        cosign(key, self.next.time_s, self.note.text())
    }
}

/// Decides on a request from the last state, for the one log that this witness watches, at `now_s` seconds since 1970. A tree is signed by the key
/// of its size, and by two where one hands over to the other (A14).
///
/// # Security
/// The server may choose every byte of the request. Times never fall, whatever the clock says.
///
/// # Errors
/// [`Refusal`] with the reason, in the order of tlog-witness.
pub fn decide(state: &WitnessState, log: &LogKeys, request: &[u8], now_s: u64) -> Result<Advance, Refusal> {
    let request = AddCheckpoint::parse(request).map_err(|_| Refusal::Malformed)?;
    let checkpoint: Checkpoint = request.note.text().parse().map_err(|_| Refusal::Malformed)?;
    if checkpoint.origin != log.name() {
        return Err(Refusal::UnknownLog);
    }
    if log.signed(&request.note).is_none() {
        return Err(Refusal::NotByLog);
    }
    if request.old_size > checkpoint.head.size {
        return Err(Refusal::Malformed);
    }
    if request.old_size != state.head.size {
        return Err(Refusal::OtherSize { size: state.head.size });
    }
    if checkpoint.head.size == state.head.size && checkpoint.head.root != state.head.root {
        let (cosigned, offered) = (state.head.root, checkpoint.head.root);
        return Err(Refusal::Fork { size: state.head.size, cosigned, offered });
    }
    request.consistency.verify(&state.head, &checkpoint.head).map_err(|_| Refusal::NotConsistent)?;
    let next = WitnessState { head: checkpoint.head, time_s: now_s.max(state.time_s) };
    Ok(Advance { from: *state, next, checkpoint, note: request.note })
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: its signature lines.
    Cosigned(Vec<SignatureLine>),
    /// 400.
    BadRequest,
    /// 403: not signed by the log.
    Forbidden,
    /// 404: unknown log.
    NotFound,
    /// 409: the last cosigned size is another, or its root is.
    Conflict {
        /// Size of the last tree cosigned.
        size: u64,
    },
    /// 422: the consistency proof does not hold.
    Unprocessable,
}

/// A status and body that no witness answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a witness's answer: status {status}")]
pub struct BadAnswer {
    /// The status.
    pub status: u16,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosigned(_) => 200,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict { .. } => 409,
            Self::Unprocessable => 422,
        }
    }

    /// The body: signature lines, a size, or nothing.
    pub fn body(&self) -> String {
        match self {
            Self::Cosigned(lines) => write_lines(lines),
            Self::Conflict { size } => format!("{size}\n"),
            Self::BadRequest | Self::Forbidden | Self::NotFound | Self::Unprocessable => String::new(),
        }
    }

    /// Reads status and body. The lines are not verified here: the server adds them to the note and opens it.
    ///
    /// # Errors
    /// [`BadAnswer`] if they are not the one spelling of an answer.
    pub fn parse(status: u16, body: &str) -> Result<Self, BadAnswer> {
        let bad = BadAnswer { status };
        let answer = match status {
            200 => Self::Cosigned(parse_lines(body).map_err(|_| bad)?),
            409 => Self::Conflict { size: body.strip_suffix('\n').and_then(text::size).ok_or(bad)? },
            400 => Self::BadRequest,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            422 => Self::Unprocessable,
            _ => return Err(bad),
        };
        if answer.body() == body { Ok(answer) } else { Err(bad) }
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
