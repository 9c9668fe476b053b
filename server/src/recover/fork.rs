//! Two notes of one log that cannot both be true: where the files at hand prove it (audit.md A35.7, A50). Knows no file.

use super::Signed;
use crate::log::Directory;
use audit::fork::ForkProof;
use audit::keys::LogKeys;
use audit::merkle::{ConsistencyProof, prove_consistency, range_root};
use audit::reader::TileHashes;

/// A proof around `odd`, which the mirror's entries contradict: with a larger signed note of the mirror, or, where `odd` is of our own
/// directory and larger, with a note of the mirror that our own entries contradict. Nothing where one side has no signed note.
pub(super) fn prove(theirs: &Directory, ours: &Directory, keys: &LogKeys, signed: &[Signed], odd: &Signed) -> Option<ForkProof> {
    let of_mirror = |s: &&Signed| !s.ours && s.note.is_some();
    let later = signed.iter().filter(of_mirror).filter(|s| s.head.size >= odd.head.size).find_map(|s| pair(theirs, keys, odd, s));
    let earlier = || signed.iter().filter(of_mirror).filter(|s| s.head.size <= odd.head.size).find_map(|s| pair(ours, keys, s, odd));
    later.or_else(earlier)
}

/// `first` against the tree of `second`, whose tiles `tiles` are said to be.
fn pair(tiles: &Directory, keys: &LogKeys, first: &Signed, second: &Signed) -> Option<ForkProof> {
    let (small, large) = (first.head, second.head);
    let (root, consistency) = if small.size == large.size {
        (large.root, ConsistencyProof(Vec::new()))
    } else {
        let hashes = TileHashes::new(tiles, large.size);
        (range_root(&hashes, 0, small.size).ok()?, prove_consistency(&hashes, small.size, large.size).ok()?)
    };
    let proof = ForkProof::new(keys, (first.note.as_ref()?, small.size), second.note.as_ref()?, root, &consistency);
    // Made from files that anybody may have altered: what does not hold is no proof.
    proof.check_by(keys.all(), None).is_ok().then_some(proof)
}
