//! Two notes of the log that cannot both be true: when a mirror has the hashes that prove it (audit.md A28, A35.7). Knows no file.

use super::LogNote;
use audit::fork::ForkProof;
use audit::hash::Hash;
use audit::keys::LogKeys;
use audit::merkle::{ConsistencyProof, MAX_PROOF_HASHES};

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

/// The file that proves the fork between two notes that the log signed; nothing where `prefix` does not show one.
pub(super) fn prove(log: &LogKeys, first: &LogNote, second: &LogNote, prefix: &Prefix) -> Option<Vec<u8>> {
    let proof = ForkProof::new(log, (first.note(), first.head().size), second.note(), prefix.root, &prefix.proof);
    // Only what anybody can check is kept.
    proof.check_by(log.all(), None).is_ok().then(|| proof.to_bytes())
}
