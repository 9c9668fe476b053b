//! Proofs against a second, recursive verifier, for every index and size of small trees and around powers of 256.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::hash::{empty_root, leaf_hash};
use crate::tree::root_over;

/// All leaves in memory; complete subtrees by the definition.
struct Leaves(Vec<Hash>);

impl Leaves {
    fn new(n: u64) -> Self {
        Self((0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect())
    }

    fn head(&self, size: u64) -> TreeHead {
        TreeHead { size, root: root_over(&self.0[..usize::try_from(size).unwrap()]) }
    }
}

impl HashReader for Leaves {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let first = usize::try_from(index << level).unwrap();
        Ok(root_over(&self.0[first..first + (1 << level)]))
    }
}

/// RFC 6962's PATH, backwards: the root that a proof gives, by recursion over the tree's shape.
fn root_of_path(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    if size == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (top, rest) = path.split_last()?;
    let k = size.next_power_of_two() / 2;
    if index < k {
        Some(node_hash(&root_of_path(index, k, leaf, rest)?, top))
    } else {
        Some(node_hash(top, &root_of_path(index - k, size - k, leaf, rest)?))
    }
}

/// RFC 6962's SUBPROOF, backwards: old and new root.
fn roots_of_subproof(old: u64, new: u64, own: Option<Hash>, path: &[Hash]) -> Option<(Hash, Hash)> {
    if old == new {
        let hash = if let Some(own) = own { path.is_empty().then_some(own)? } else { *path.first().filter(|_| path.len() == 1)? };
        return Some((hash, hash));
    }
    let (top, rest) = path.split_last()?;
    let k = new.next_power_of_two() / 2;
    if old <= k {
        let (o, n) = roots_of_subproof(old, k, own, rest)?;
        Some((o, node_hash(&n, top)))
    } else {
        let (o, n) = roots_of_subproof(old - k, new - k, None, rest)?;
        Some((node_hash(top, &o), node_hash(top, &n)))
    }
}

fn check_inclusion(leaves: &Leaves, index: u64, size: u64) {
    let (head, leaf) = (leaves.head(size), leaves.0[usize::try_from(index).unwrap()]);
    let proof = prove_inclusion(leaves, index, size).unwrap();
    assert_eq!(proof.verify(&head, index, &leaf), Ok(()), "{index} in {size}");
    assert_eq!(root_of_path(index, size, leaf, &proof.0), Some(head.root), "{index} in {size}");
}

fn check_consistency(leaves: &Leaves, old: u64, new: u64) {
    let (a, b) = (leaves.head(old), leaves.head(new));
    let proof = prove_consistency(leaves, old, new).unwrap();
    assert_eq!(proof.verify(&a, &b), Ok(()), "{old} to {new}");
    if old > 0 {
        assert_eq!(roots_of_subproof(old, new, Some(a.root), &proof.0), Some((a.root, b.root)), "{old} to {new}");
    }
}

#[test]
fn every_proof_of_a_small_tree_convinces_both_verifiers() {
    let leaves = Leaves::new(130);
    for size in 1..=130 {
        (0..size).for_each(|index| check_inclusion(&leaves, index, size));
        (0..=size).for_each(|old| check_consistency(&leaves, old, size));
    }
}

#[test]
fn proofs_around_tile_borders_convince_both_verifiers() {
    let leaves = Leaves::new(65_539);
    for size in [255, 256, 257, 299, 300, 511, 513, 65_535, 65_536, 65_537, 65_539] {
        for inner in [0, 1, 2, 127, 128, 254, 255, 256, 257, 299, 511, 512, 65_534, 65_535, 65_536] {
            if inner < size {
                check_inclusion(&leaves, inner, size);
                check_consistency(&leaves, inner + 1, size);
            }
        }
    }
}

#[test]
fn proofs_have_the_lengths_of_a_million_entries() {
    // A13: at 10^6 entries, inclusion <= 20 hashes and consistency <= 21. Shape only, so any hash will do.
    struct Blank;
    impl HashReader for Blank {
        type Error = Infallible;
        fn node(&self, _: u32, _: u64) -> Result<Hash, Infallible> {
            Ok(empty_root())
        }
    }
    for index in (0..1_000_000).step_by(997) {
        assert!(prove_inclusion(&Blank, index, 1_000_000).unwrap().0.len() <= 20);
        assert!(prove_consistency(&Blank, index + 1, 1_000_000).unwrap().0.len() <= 21);
    }
    assert!(prove_consistency(&Blank, crate::MAX_SIZE - 1, crate::MAX_SIZE).unwrap().0.len() <= MAX_PROOF_HASHES);
}

#[test]
fn questions_without_an_answer_are_refused() {
    let leaves = Leaves::new(5);
    assert_eq!(prove_inclusion(&leaves, 5, 5), Err(ProofError::NoSuchLeaf { index: 5, size: 5 }));
    assert_eq!(prove_consistency(&leaves, 5, 4), Err(ProofError::Shrinks { old: 5, new: 4 }));
    assert!(InclusionProof(vec![]).verify(&leaves.head(1), 1, &leaves.0[0]).is_err());
    assert!(ConsistencyProof(vec![]).verify(&leaves.head(5), &leaves.head(4)).is_err());
    let false_empty = TreeHead { size: 0, root: leaves.0[0] };
    assert!(ConsistencyProof(vec![]).verify(&false_empty, &leaves.head(4)).is_err());
    assert!(ConsistencyProof(vec![leaves.0[0]]).verify(&leaves.head(0), &leaves.head(4)).is_err());
    assert!(ConsistencyProof(vec![leaves.0[0]]).verify(&leaves.head(4), &leaves.head(4)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_changed_inclusion_proof_convinces_nobody(size in 1_u64..90, pick in any::<u64>(), what in 0..4, at in any::<usize>()) {
        let leaves = Leaves::new(size);
        let (index, head) = (pick % size, leaves.head(size));
        let mut leaf = leaves.0[usize::try_from(index).unwrap()];
        let mut proof = prove_inclusion(&leaves, index, size).unwrap();
        match what {
            0 => leaf.0[at % 32] ^= 1,
            1 if !proof.0.is_empty() => { let n = proof.0.len(); proof.0[at % n].0[at % 32] ^= 1; }
            2 if !proof.0.is_empty() => { proof.0.pop(); }
            _ => proof.0.push(leaf),
        }
        prop_assert!(proof.verify(&head, index, &leaf).is_err());
    }

    #[test]
    fn a_changed_consistency_proof_convinces_nobody(new in 2_u64..90, pick in any::<u64>(), what in 0..4, at in any::<usize>()) {
        let leaves = Leaves::new(new);
        let old = 1 + pick % (new - 1);
        let (mut a, mut b) = (leaves.head(old), leaves.head(new));
        let mut proof = prove_consistency(&leaves, old, new).unwrap();
        match what {
            0 => a.root.0[at % 32] ^= 1,
            1 => b.root.0[at % 32] ^= 1,
            2 => { let n = proof.0.len(); proof.0[at % n].0[at % 32] ^= 1; }
            _ if at % 2 == 0 => { proof.0.pop(); }
            _ => proof.0.push(b.root),
        }
        prop_assert!(proof.verify(&a, &b).is_err());
    }

    #[test]
    fn verifying_nonsense_never_panics(size in any::<u64>(), old in any::<u64>(), index in any::<u64>(), n in 0_usize..70) {
        let head = TreeHead { size, root: empty_root() };
        let proof = vec![empty_root(); n];
        prop_assert!(InclusionProof(proof.clone()).verify(&head, index, &empty_root()).is_err() || n == 0);
        let _ignored = ConsistencyProof(proof).verify(&TreeHead { size: old, root: empty_root() }, &head);
    }
}
