//! Two notes of one log that cannot both be true, in the form that `concordat-audit proof check` reads (audit.md A35.7, A50). Knows no file.

use super::Signed;
use crate::log::Directory;
use audit::hash::Hash;
use audit::key::SignerKey;
use audit::merkle::{ConsistencyProof, prove_consistency, range_root};
use audit::note::Note;
use audit::reader::TileHashes;
use audit::tree::TreeHead;
use serde::Serialize;

const FORMAT: &str = "concordat-fork/v1";

/// A proof that stands alone: the second note's tree has another root at the first one's size than the first one states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ForkProof {
    format: &'static str,
    log: String,
    size: u64,
    root: String,
    consistency: Vec<String>,
    first: String,
    second: String,
}

impl ForkProof {
    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut out = serde_json::to_vec_pretty(self)?;
        out.push(b'\n');
        Ok(out)
    }
}

/// A proof around `odd`, which the mirror's entries contradict: with a larger signed note of the mirror, or, where `odd` is of our own
/// directory and larger, with a note of the mirror that our own entries contradict. Nothing where one side has no signed note.
pub(super) fn prove(theirs: &Directory, ours: &Directory, key: &SignerKey, signed: &[Signed], odd: &Signed) -> Option<ForkProof> {
    let of_mirror = |s: &&Signed| !s.ours && s.note.is_some();
    let later = signed.iter().filter(of_mirror).filter(|s| s.head.size >= odd.head.size).find_map(|s| pair(theirs, key, odd, s));
    let earlier = || signed.iter().filter(of_mirror).filter(|s| s.head.size <= odd.head.size).find_map(|s| pair(ours, key, s, odd));
    later.or_else(earlier)
}

/// `first` against the tree of `second`, whose tiles `tiles` are said to be.
fn pair(tiles: &Directory, key: &SignerKey, first: &Signed, second: &Signed) -> Option<ForkProof> {
    let (small, large) = (first.head, second.head);
    let (root, consistency) = if small.size == large.size {
        (large.root, ConsistencyProof(Vec::new()))
    } else {
        let hashes = TileHashes::new(tiles, large.size);
        (range_root(&hashes, 0, small.size).ok()?, prove_consistency(&hashes, small.size, large.size).ok()?)
    };
    // Made from files that anybody may have altered: what does not hold is no proof.
    consistency.verify(&TreeHead { size: small.size, root }, &large).ok()?;
    let text = |note: &Note| String::from_utf8(note.encode()).ok();
    (root != small.root).then_some(ForkProof {
        format: FORMAT,
        log: key.verifier().to_string(),
        size: small.size,
        root: root.to_string(),
        consistency: consistency.0.iter().map(Hash::to_string).collect(),
        first: text(first.note.as_ref()?)?,
        second: text(second.note.as_ref()?)?,
    })
}
