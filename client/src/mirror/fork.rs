//! Two notes of the log that cannot both be true, in the form that `concordat-audit proof check` reads (audit.md A28, A35.7). Knows no file.

use super::LogNote;
use audit::hash::Hash;
use audit::key::VerifierKey;
use audit::merkle::{ConsistencyProof, MAX_PROOF_HASHES};
use audit::tree::TreeHead;
use serde::Serialize;

const FORMAT: &str = "concordat-fork/v1";

/// The root that a later tree has at an earlier size, and the hashes that show it.
pub(crate) struct Prefix {
    root: Hash,
    proof: ConsistencyProof,
}

impl Prefix {
    /// One tree against itself.
    pub(super) fn whole(root: Hash) -> Self {
        Self { root, proof: ConsistencyProof(Vec::new()) }
    }

    /// What our own tiles give.
    pub(super) fn new(root: Hash, proof: ConsistencyProof) -> Self {
        Self { root, proof }
    }

    /// Reads what a server shows: 32 bytes of root, then 32 for each hash.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let (root, hashes) = hashes.split_first()?;
        let sound = rest.is_empty() && hashes.len() <= MAX_PROOF_HASHES;
        sound.then(|| Self { root: Hash(*root), proof: ConsistencyProof(hashes.iter().copied().map(Hash).collect()) })
    }
}

/// A proof that stands alone: the second note's tree has another root at the first one's size than the first one states.
#[derive(Serialize)]
struct ForkProof<'a> {
    format: &'static str,
    log: String,
    size: u64,
    root: String,
    consistency: Vec<String>,
    first: &'a str,
    second: &'a str,
}

/// The file that proves the fork between two notes that the log signed; nothing where `prefix` does not show one.
pub(super) fn prove(log: &VerifierKey, first: &LogNote, second: &LogNote, prefix: &Prefix) -> Option<Vec<u8>> {
    let (small, large) = (first.head(), second.head());
    prefix.proof.verify(&TreeHead { size: small.size, root: prefix.root }, &large).ok()?;
    let (a, b) = (first.note().encode(), second.note().encode());
    let proof = ForkProof {
        format: FORMAT,
        log: log.to_string(),
        size: small.size,
        root: prefix.root.to_string(),
        consistency: prefix.proof.0.iter().map(Hash::to_string).collect(),
        first: std::str::from_utf8(&a).ok()?,
        second: std::str::from_utf8(&b).ok()?,
    };
    let mut out = serde_json::to_vec_pretty(&proof).ok().filter(|_| prefix.root != small.root)?;
    out.push(b'\n');
    Some(out)
}
