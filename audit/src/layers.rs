//! The complete subtrees over neighbouring leaves, layer by layer: what the check of a log needs of one tile (A35, A40). Knows no file.

use crate::hash::Hash;
use crate::lanes::sha256_all;
use crate::tree::CompactRange;

/// Every complete subtree over some leaves whose first index is a multiple of their number rounded up to a power of two.
pub(crate) struct Layers(Vec<Vec<Hash>>);

impl Layers {
    /// Hashes the layers, each side by side.
    pub(crate) fn over(leaves: Vec<Hash>) -> Self {
        let mut layers = vec![leaves];
        while let Some(below) = layers.last().filter(|l| l.len() > 1) {
            let pairs: Vec<[u8; 64]> = below.chunks_exact(2).map(both).collect();
            let pairs: Vec<&[u8]> = pairs.iter().map(<[u8; 64]>::as_slice).collect();
            layers.push(sha256_all(1, &pairs));
        }
        Self(layers)
    }

    /// The leaves.
    pub(crate) fn leaves(&self) -> &[Hash] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// The root over all leaves.
    pub(crate) fn root(&self) -> Hash {
        let mut range = CompactRange::new();
        self.append_to(&mut range, self.leaves().len());
        range.root()
    }

    /// Appends the first `count` leaves to a range whose size is a multiple of [`Layers`]' width: a few subtrees instead of leaves.
    pub(crate) fn append_to(&self, range: &mut CompactRange, count: usize) {
        let mut at = 0;
        for level in (0..self.0.len()).rev().filter(|level| (count >> level) & 1 == 1) {
            if let (Some(subtree), Ok(height)) = (self.0.get(level).and_then(|l| l.get(at >> level)), u32::try_from(level)) {
                range.push_subtree(height, *subtree);
            }
            at += 1 << level;
        }
    }
}

fn both(pair: &[Hash]) -> [u8; 64] {
    let mut out = [0; 64];
    for (half, hash) in out.chunks_exact_mut(Hash::LEN).zip(pair) {
        half.copy_from_slice(&hash.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn subtrees_make_the_same_tree_as_leaves_one_by_one() {
        let leaves: Vec<Hash> = (0..256_u32).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for width in [1, 2, 3, 7, 100, 255, 256] {
            let layers = Layers::over(leaves[..width].to_vec());
            // After no tile, one, two and three, and at every size inside the next.
            for tiles in 0..4 {
                let mut before = CompactRange::new();
                (0..tiles * 256_u32).for_each(|i| before.push(leaf_hash(&i.to_le_bytes())));
                let mut slow = before.clone();
                for count in 0..=width {
                    let mut fast = before.clone();
                    layers.append_to(&mut fast, count);
                    assert_eq!(fast, slow, "{tiles} tiles and {count} of {width}");
                    if let Some(leaf) = leaves.get(count) {
                        slow.push(*leaf);
                    }
                }
            }
            assert_eq!(layers.root(), crate::tree::root_over(&leaves[..width]));
        }
    }
}
