//! Inclusion and consistency proofs (RFC 9162 sections 2.1.3 and 2.1.4). Knows no file and no signature.

use crate::hash::{Hash, node_hash};
use crate::tree::{TreeHead, fold_right};

/// Longest proof that is ever read: a tree of [`crate::MAX_SIZE`] needs fewer, and tlog-witness allows no more.
pub const MAX_PROOF_HASHES: usize = 63;

/// Where the hashes of complete subtrees come from.
pub trait HashReader {
    /// Why a hash could not be had.
    type Error;

    /// The root of the complete subtree over leaves `index * 2^level` up to, not including, `(index + 1) * 2^level`.
    ///
    /// # Errors
    /// Whatever keeps the reader from answering.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Hashes from the leaf's sibling up to the root's child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof(pub Vec<Hash>);

/// Hashes that lead from an older root to a newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof(pub Vec<Hash>);

/// A question that has no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError<E> {
    /// The leaf is not in the tree.
    #[error("leaf {index} is not in a tree of size {size}")]
    NoSuchLeaf {
        /// Leaf asked for.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// The older tree is larger than the newer.
    #[error("a tree of size {old} is not a prefix of one of size {new}")]
    Shrinks {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// A hash could not be read.
    #[error("a hash of the tree could not be read")]
    Read(#[source] E),
}

/// A proof that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disproved {
    /// The leaf lies beyond the tree, or the older tree is the larger one.
    #[error("no such proof exists: {inner} lies beyond size {size}")]
    OutOfRange {
        /// Index or older size.
        inner: u64,
        /// Size of the tree.
        size: u64,
    },
    /// Too few or too many hashes.
    #[error("the proof has {got} hashes, which is not the number that these sizes need")]
    WrongLength {
        /// Hashes given.
        got: usize,
    },
    /// The older root does not follow from the proof.
    #[error("the older root does not follow: expected {expected}, got {got}")]
    OldRoot {
        /// Root of the older head.
        expected: Hash,
        /// Root that the proof gives.
        got: Hash,
    },
    /// The root does not follow from the proof.
    #[error("the root does not follow: expected {expected}, got {got}")]
    Root {
        /// Root of the head.
        expected: Hash,
        /// Root that the proof gives.
        got: Hash,
    },
}

/// Proves that leaf `index` is in the tree of `size`.
///
/// # Errors
/// [`ProofError`] if there is no such leaf or a hash cannot be read.
pub fn prove_inclusion<R: HashReader>(reader: &R, index: u64, size: u64) -> Result<InclusionProof, ProofError<R::Error>> {
    if index >= size {
        return Err(ProofError::NoSuchLeaf { index, size });
    }
    let (mut start, mut end, mut hashes) = (0, size, Vec::new());
    // From the root down to the leaf; the proof lists the siblings from the leaf up.
    while end - start > 1 {
        let middle = start + split(end - start);
        let sibling = if index < middle { (middle, end) } else { (start, middle) };
        hashes.push(range_root(reader, sibling.0, sibling.1).map_err(ProofError::Read)?);
        (start, end) = if index < middle { (start, middle) } else { (middle, end) };
    }
    hashes.reverse();
    Ok(InclusionProof(hashes))
}

/// Proves that the tree of size `old` is a prefix of the tree of size `new`. Empty if `old` is 0 or equal to `new`.
///
/// # Errors
/// [`ProofError`] if `old > new` or a hash cannot be read.
pub fn prove_consistency<R: HashReader>(reader: &R, old: u64, new: u64) -> Result<ConsistencyProof, ProofError<R::Error>> {
    if old > new {
        return Err(ProofError::Shrinks { old, new });
    }
    if old == 0 || old == new {
        return Ok(ConsistencyProof(Vec::new()));
    }
    let (mut start, mut end, mut hashes) = (0, new, Vec::new());
    // RFC 9162 SUBPROOF, unrolled from the root down: it ends at the subtree that the older tree ends with.
    while end != old {
        let middle = start + split(end - start);
        let sibling = if old <= middle { (middle, end) } else { (start, middle) };
        hashes.push(range_root(reader, sibling.0, sibling.1).map_err(ProofError::Read)?);
        (start, end) = if old <= middle { (start, middle) } else { (middle, end) };
    }
    if start != 0 {
        hashes.push(range_root(reader, start, end).map_err(ProofError::Read)?);
    }
    hashes.reverse();
    Ok(ConsistencyProof(hashes))
}

/// Largest power of two below `n`, for `n > 1`.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// `MTH(D[start:end])`; `start` is a multiple of a power of two that is not below the length, as in every RFC 6962 recursion. From 0 on it
/// is the root of the tree of size `end`.
///
/// # Errors
/// Whatever keeps the reader from answering.
pub fn range_root<R: HashReader>(reader: &R, start: u64, end: u64) -> Result<Hash, R::Error> {
    let (mut at, mut subtrees) = (start, Vec::new());
    while at < end {
        let level = (end - at).ilog2();
        subtrees.push(reader.node(level, at >> level)?);
        at += 1 << level;
    }
    Ok(fold_right(&subtrees))
}

impl InclusionProof {
    /// Checks that `leaf` is entry `index` of the tree with this `head`.
    ///
    /// # Errors
    /// [`Disproved`] with the reason.
    ///
    /// # Source
    /// RFC 9162 section 2.1.3.2.
    pub fn verify(&self, head: &TreeHead, index: u64, leaf: &Hash) -> Result<(), Disproved> {
        if index >= head.size {
            return Err(Disproved::OutOfRange { inner: index, size: head.size });
        }
        let wrong_length = Disproved::WrongLength { got: self.0.len() };
        let (mut at, mut last, mut root) = (index, head.size - 1, *leaf);
        for sibling in &self.0 {
            if last == 0 {
                return Err(wrong_length);
            }
            if at & 1 == 1 || at == last {
                root = node_hash(sibling, &root);
                (at, last) = skip_lonely(at, last);
            } else {
                root = node_hash(&root, sibling);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        if last != 0 {
            return Err(wrong_length);
        }
        if root == head.root { Ok(()) } else { Err(Disproved::Root { expected: head.root, got: root }) }
    }
}

/// Climbs the levels on which the last node has no sibling.
fn skip_lonely(at: u64, last: u64) -> (u64, u64) {
    if at & 1 == 1 || at == 0 {
        return (at, last);
    }
    let levels = at.trailing_zeros();
    (at >> levels, last >> levels)
}

impl ConsistencyProof {
    /// Checks that the tree of `old` is a prefix of the tree of `new`.
    ///
    /// # Errors
    /// [`Disproved`] with the reason. An older size of 0 demands the empty root and an empty proof.
    ///
    /// # Source
    /// RFC 9162 section 2.1.4.2.
    pub fn verify(&self, old: &TreeHead, new: &TreeHead) -> Result<(), Disproved> {
        if old.size > new.size {
            return Err(Disproved::OutOfRange { inner: old.size, size: new.size });
        }
        let wrong_length = Disproved::WrongLength { got: self.0.len() };
        if old.size == 0 || old.size == new.size {
            let expected = if old.size == 0 { crate::hash::empty_root() } else { new.root };
            let same = if self.0.is_empty() { Ok(()) } else { Err(wrong_length) };
            return same.and(if old.root == expected { Ok(()) } else { Err(Disproved::OldRoot { expected: old.root, got: expected }) });
        }
        let (old_root, new_root) = self.roots(old, new).ok_or(wrong_length)?;
        if old_root != old.root {
            return Err(Disproved::OldRoot { expected: old.root, got: old_root });
        }
        if new_root == new.root { Ok(()) } else { Err(Disproved::Root { expected: new.root, got: new_root }) }
    }

    /// Both roots as the proof gives them, for `0 < old < new`; nothing if the number of hashes is wrong.
    fn roots(&self, old: &TreeHead, new: &TreeHead) -> Option<(Hash, Hash)> {
        // A complete older tree is its own first hash, which the prover therefore leaves out.
        let (seed, rest) = if old.size.is_power_of_two() { (old.root, self.0.as_slice()) } else { split_seed(&self.0)? };
        let shift = (old.size - 1).trailing_ones();
        let (mut at, mut last) = ((old.size - 1) >> shift, (new.size - 1) >> shift);
        let (mut old_root, mut new_root) = (seed, seed);
        for hash in rest {
            if last == 0 {
                return None;
            }
            if at & 1 == 1 || at == last {
                old_root = node_hash(hash, &old_root);
                new_root = node_hash(hash, &new_root);
                (at, last) = skip_lonely(at, last);
            } else {
                new_root = node_hash(&new_root, hash);
            }
            (at, last) = (at >> 1, last >> 1);
        }
        (last == 0).then_some((old_root, new_root))
    }
}

fn split_seed(hashes: &[Hash]) -> Option<(Hash, &[Hash])> {
    hashes.split_first().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
#[path = "merkle_tests.rs"]
mod tests;
