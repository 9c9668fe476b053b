//! A proof that a log has told two stories, which stands alone: two notes that it signed and that cannot both be true (audit.md A35.7, A50).
//! Anybody with the log's key can check it; nothing else is needed. Server, institutions and auditor make and read this one form. Knows no file.

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::merkle::{ConsistencyProof, MAX_PROOF_HASHES};
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::policy::Policy;
use crate::tree::TreeHead;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "concordat-fork/v1";

/// Largest proof: two notes, escaped as JSON, and the hashes.
pub const MAX_FORK_BYTES: usize = 4 * MAX_NOTE_BYTES + 128 * MAX_PROOF_HASHES;

/// Two notes by one log. The second one's tree has another root at the first one's size than the first one states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkProof {
    /// Name of the form.
    pub format: String,
    /// The log's verifier key.
    pub log: String,
    /// Size at which the two stories have parted.
    pub size: u64,
    /// Root that the second note's tree has at that size, in hexadecimal.
    pub root: String,
    /// That it has: hashes of the consistency proof, in hexadecimal.
    pub consistency: Vec<String>,
    /// The first note; its size is `size`.
    pub first: String,
    /// The second note.
    pub second: String,
}

/// Why bytes prove no fork.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoFork {
    /// Not a proof of this form in its one spelling.
    #[error("not a proof of a fork of the form {FORMAT} in its one spelling")]
    Malformed,
    /// The proof is about another log.
    #[error("the proof is about the log of key {got}, expected {expected}")]
    OtherLog {
        /// The key that was given.
        expected: String,
        /// The key in the proof.
        got: String,
    },
    /// A note is not one of this log.
    #[error("the {0} note is not a checkpoint signed by the log")]
    NotSigned(&'static str),
    /// The first note has another size.
    #[error("the first note is of size {got}, expected {expected}")]
    Size {
        /// Size of the proof.
        expected: u64,
        /// Size of the note.
        got: u64,
    },
    /// The second note's tree is not shown to have the stated root.
    #[error("the second note's tree is not shown to have the stated root at size {0}")]
    Unproved(u64),
    /// The notes agree.
    #[error("the two notes agree: there is no fork")]
    Agree,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// Size at which the stories have parted at the latest.
    pub size: u64,
    /// Root by the first note.
    pub first_root: String,
    /// Root by the second note.
    pub second_root: String,
    /// Witnesses, of a policy that was given, that cosigned both: they vouched for both stories.
    pub cosigned_both: Vec<String>,
}

fn hash(text: &str) -> Option<Hash> {
    text.parse().ok()
}

/// A checkpoint, if the log of `key` signed it.
pub fn signed(note: &[u8], key: &VerifierKey) -> Option<(Note, TreeHead)> {
    let note = Note::parse(note).ok()?;
    let by_log = note.verify([key]).is_ok_and(|v| !v.is_empty());
    let checkpoint: Checkpoint = note.text().parse().ok()?;
    (by_log && checkpoint.origin == key.name()).then_some((note, checkpoint.head))
}

impl ForkProof {
    /// Puts a proof together from the first note with its size, the second one, and the root that its tree is said to have at that size.
    /// Nothing is checked: whoever makes a proof checks it before it is kept or shown to anybody.
    pub fn new(log: &VerifierKey, first: (&Note, u64), second: &Note, root: Hash, consistency: &ConsistencyProof) -> Self {
        let text = |note: &Note| String::from_utf8_lossy(&note.encode()).into_owned();
        Self {
            format: FORMAT.to_owned(),
            log: log.to_string(),
            size: first.1,
            root: root.to_string(),
            consistency: consistency.0.iter().map(Hash::to_string).collect(),
            first: text(first.0),
            second: text(second),
        }
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// Never: every field is plain.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self).expect("plain fields always serialise");
        out.push(b'\n');
        out
    }

    /// Reads the one spelling.
    ///
    /// # Errors
    /// [`NoFork::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoFork> {
        if bytes.len() > MAX_FORK_BYTES {
            return Err(NoFork::Malformed);
        }
        let proof: Self = serde_json::from_slice(bytes).map_err(|_| NoFork::Malformed)?;
        let sound = proof.format == FORMAT && proof.consistency.len() <= MAX_PROOF_HASHES && proof.to_bytes() == bytes;
        if sound { Ok(proof) } else { Err(NoFork::Malformed) }
    }

    /// Checks that the log of `key` signed two notes that cannot both be true.
    ///
    /// # Security
    /// Every byte of the proof may be an attacker's, its key too: `key` comes from elsewhere, or must be compared with it.
    ///
    /// # Errors
    /// [`NoFork`] with the first reason.
    pub fn check(&self, key: &VerifierKey, policy: Option<&Policy>) -> Result<Fork, NoFork> {
        if self.log != key.to_string() {
            return Err(NoFork::OtherLog { expected: key.to_string(), got: self.log.clone() });
        }
        let (first, head) = signed(self.first.as_bytes(), key).ok_or(NoFork::NotSigned("first"))?;
        let (second, newer) = signed(self.second.as_bytes(), key).ok_or(NoFork::NotSigned("second"))?;
        if head.size != self.size {
            return Err(NoFork::Size { expected: self.size, got: head.size });
        }
        let root = hash(&self.root).ok_or(NoFork::Malformed)?;
        let hashes = self.consistency.iter().map(|h| hash(h)).collect::<Option<Vec<_>>>().ok_or(NoFork::Malformed)?;
        let old = TreeHead { size: self.size, root };
        ConsistencyProof(hashes).verify(&old, &newer).map_err(|_| NoFork::Unproved(self.size))?;
        if root == head.root {
            return Err(NoFork::Agree);
        }
        let cosigned_both = policy.map(|p| cosigned_both(p, first, second)).unwrap_or_default();
        Ok(Fork { size: self.size, first_root: head.root.to_string(), second_root: root.to_string(), cosigned_both })
    }
}

fn cosigned_both(policy: &Policy, first: Note, second: Note) -> Vec<String> {
    let (Ok(first), Ok(second)) = (policy.open_note(first), policy.open_note(second)) else { return Vec::new() };
    let both = |k: &[u8; 32]| first.cosigners().contains_key(k) && second.cosigners().contains_key(k);
    policy.witnesses().iter().filter(|w| both(&w.key.public())).map(|w| w.name.clone()).collect()
}
