//! A proof that a log has told two stories, which stands alone: two notes that it signed and that cannot both be true (audit.md A35.7, A50).
//! Anybody with the log's key, or with both where it has handed over in between, can check it; nothing else is needed. Server, institutions and auditor make and read this one form. Knows no file.

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::keys::{LogKeys, is_by};
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
    /// The log's verifier key; of two that signed, the one of the first note.
    pub log: String,
    /// The verifier key of the second note, where the log had handed over to another one (A14).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_log: Option<String>,
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
fn signed(note: &[u8], key: &VerifierKey) -> Option<(Note, TreeHead)> {
    let note = Note::parse(note).ok()?;
    let checkpoint: Checkpoint = note.text().parse().ok()?;
    (is_by(&note, key) && checkpoint.origin == key.name()).then_some((note, checkpoint.head))
}

impl ForkProof {
    /// Puts a proof together from the first note with its size, the second one, and the root that its tree is said to have at that size.
    /// Nothing is checked: whoever makes a proof checks it before it is kept or shown to anybody.
    pub fn new(log: &LogKeys, first: (&Note, u64), second: &Note, root: Hash, consistency: &ConsistencyProof) -> Self {
        let text = |note: &Note| String::from_utf8_lossy(&note.encode()).into_owned();
        let key = |note: &Note| log.signed_by_any(note).map_or_else(|| log.newest().to_string(), |(_, key)| key.to_string());
        // One key that signed both says more than two.
        let both = log.all().find(|k| [first.0, second].iter().all(|note| is_by(note, k)));
        let (of_first, of_second) = both.map_or_else(|| (key(first.0), key(second)), |k| (k.to_string(), k.to_string()));
        Self {
            format: FORMAT.to_owned(),
            second_log: (of_second != of_first).then_some(of_second),
            log: of_first,
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

    /// The keys of the first and the second note, if both are known and of one log.
    fn keys<'a>(&self, known: impl IntoIterator<Item = &'a VerifierKey> + Clone) -> Result<(&'a VerifierKey, &'a VerifierKey), NoFork> {
        let find = |vkey: &str| {
            let texts = || known.clone().into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let other = || NoFork::OtherLog { expected: texts(), got: vkey.to_owned() };
            known.clone().into_iter().find(|k| k.to_string() == vkey).ok_or_else(other)
        };
        let first = find(&self.log)?;
        match &self.second_log {
            None => Ok((first, first)),
            Some(second) if *second == self.log => Err(NoFork::Malformed),
            Some(second) => Ok((first, find(second)?)),
        }
    }

    /// Checks that the log of `key` signed two notes that cannot both be true.
    ///
    /// # Security
    /// Every byte of the proof may be an attacker's, its key too: `key` comes from elsewhere, or must be compared with it.
    ///
    /// # Errors
    /// [`NoFork`] with the first reason.
    pub fn check(&self, key: &VerifierKey, policy: Option<&Policy>) -> Result<Fork, NoFork> {
        self.check_by([key], policy)
    }

    /// [`Self::check`] with every key that one log has had: each note is by one of them. Whether it was that key's turn is not asked: whoever
    /// makes a log tell two stories with a key that it gave up makes it tell two stories.
    ///
    /// # Security
    /// As for [`Self::check`].
    ///
    /// # Errors
    /// [`NoFork`] with the first reason.
    pub fn check_by<'a>(&self, known: impl IntoIterator<Item = &'a VerifierKey> + Clone, policy: Option<&Policy>) -> Result<Fork, NoFork> {
        let (first_key, second_key) = self.keys(known)?;
        let (first, head) = signed(self.first.as_bytes(), first_key).ok_or(NoFork::NotSigned("first"))?;
        let (second, newer) = signed(self.second.as_bytes(), second_key).ok_or(NoFork::NotSigned("second"))?;
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
        let cosigned_both = policy.map(|p| cosigned_both(p, (first, first_key), (second, second_key))).unwrap_or_default();
        Ok(Fork { size: self.size, first_root: head.root.to_string(), second_root: root.to_string(), cosigned_both })
    }
}

fn cosigned_both(policy: &Policy, first: (Note, &VerifierKey), second: (Note, &VerifierKey)) -> Vec<String> {
    let open = |(note, key): (Note, &VerifierKey)| policy.with_log(key).ok()?.open_note(note).ok();
    let (Some(first), Some(second)) = (open(first), open(second)) else { return Vec::new() };
    let both = |k: &[u8; 32]| first.cosigners().contains_key(k) && second.cosigners().contains_key(k);
    policy.witnesses().iter().filter(|w| both(&w.key.public())).map(|w| w.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::key::{KeyType, SignerKey};
    use crate::merkle::prove_consistency;
    use crate::reader::{MemoryLog, TileHashes};
    use crate::writer::LogWriter;

    fn signer(n: u8) -> SignerKey {
        SignerKey::new("fed.example/log", KeyType::Note, &[n; 32]).ok().unwrap()
    }

    fn sign(head: TreeHead, by: &SignerKey) -> Note {
        Checkpoint { origin: "fed.example/log".into(), head }.sign(by).unwrap()
    }

    /// Key 1 signed another tree of three entries than the one that key 2, to which it handed over, goes on from.
    fn across() -> (LogKeys, ForkProof) {
        let (mut files, mut writer) = (MemoryLog::default(), LogWriter::new());
        let entries: Vec<String> = (0..9).map(|n| format!("entry {n}")).collect();
        files.files.extend(writer.append(&entries).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
        let hashes = TileHashes::new(&files, 9);
        let (root, proof) = (crate::merkle::range_root(&hashes, 0, 3).unwrap(), prove_consistency(&hashes, 3, 9).unwrap());
        let mut keys = LogKeys::new(signer(1).verifier().clone());
        keys.hand_over(5, signer(2).verifier().clone()).unwrap();
        let (first, second) = (sign(TreeHead { size: 3, root: leaf_hash(b"another") }, &signer(1)), sign(writer.head(), &signer(2)));
        let proof = ForkProof::new(&keys, (&first, 3), &second, root, &proof);
        (keys, proof)
    }

    #[test]
    fn a_fork_across_a_handover_names_both_keys_and_needs_both() {
        let (keys, proof) = across();
        let (old, new) = (signer(1), signer(2));
        assert_eq!((proof.log.clone(), proof.second_log.clone()), (old.verifier().to_string(), Some(new.verifier().to_string())));
        let again = ForkProof::parse(&proof.to_bytes()).unwrap();
        assert_eq!(again.check_by(keys.all(), None).unwrap().size, 3);
        for one in [old.verifier(), new.verifier()] {
            assert!(matches!(again.check(one, None), Err(NoFork::OtherLog { .. })), "one key proves one note only");
        }
        let swapped = ForkProof { log: new.verifier().to_string(), second_log: Some(old.verifier().to_string()), ..again.clone() };
        assert_eq!(swapped.check_by(keys.all(), None), Err(NoFork::NotSigned("first")));
        let twice = ForkProof { second_log: Some(again.log.clone()), ..again };
        assert_eq!(twice.check_by(keys.all(), None), Err(NoFork::Malformed));
    }
}
