//! The right edge of a growing tree, and tree heads (A5). Knows no tile, no note, no file.

use std::fmt;
use std::str::FromStr;

use crate::hash::{Hash, empty_root, node_hash};
use crate::{MAX_SIZE, text};

/// Size and root of one state of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

/// A text that is not a tree head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tree head: expected `<size> <64 hex digits>` and a line feed")]
pub struct BadTreeHead;

impl TreeHead {
    /// The head of the log without entries.
    pub fn empty() -> Self {
        Self { size: 0, root: empty_root() }
    }
}

impl fmt::Display for TreeHead {
    /// The line that key guards and witness states keep: size, space, root in hex, line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.size, self.root)
    }
}

impl FromStr for TreeHead {
    type Err = BadTreeHead;

    fn from_str(line: &str) -> Result<Self, BadTreeHead> {
        let (size, root) = line.strip_suffix('\n').and_then(|l| l.split_once(' ')).ok_or(BadTreeHead)?;
        Ok(Self { size: text::size(size).ok_or(BadTreeHead)?, root: root.parse().map_err(|_| BadTreeHead)? })
    }
}

/// The roots of the complete subtrees that make up a tree, largest first: all one needs to grow it and to know its root.
///
/// Its length is the number of one bits in the size, so it never exceeds 57 hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    edge: Vec<Hash>,
}

/// Bytes that are not a stored right edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// Shorter than the eight bytes of the size.
    #[error("a right edge starts with an 8-byte size, got {got} bytes")]
    TooShort {
        /// Bytes given.
        got: usize,
    },
    /// The size is above [`MAX_SIZE`].
    #[error("tree size {size} is above the limit")]
    TooLarge {
        /// Size stated.
        size: u64,
    },
    /// The number of hashes is not the number of one bits in the size.
    #[error("a tree of size {size} has {expected} bytes of hashes, got {got}")]
    WrongLength {
        /// Size stated.
        size: u64,
        /// Bytes expected after the size.
        expected: usize,
        /// Bytes found after the size.
        got: usize,
    },
}

impl Default for CompactRange {
    fn default() -> Self {
        Self::new()
    }
}

impl CompactRange {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        Self { size: 0, edge: Vec::new() }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Appends the root of a complete subtree of this height; the size must be a multiple of its leaves.
    pub(crate) fn push_subtree(&mut self, level: u32, root: Hash) {
        debug_assert_eq!(self.size % (1 << level), 0);
        let mut node = root;
        // Every trailing one bit of the old size is a complete subtree that the new one completes a larger one with.
        for _ in 0..(self.size >> level).trailing_ones() {
            if let Some(left) = self.edge.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.edge.push(node);
        self.size += 1 << level;
    }

    /// The RFC 6962 root.
    pub fn root(&self) -> Hash {
        fold_right(&self.edge)
    }

    /// Size and root together.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// The stored form: size as 8 big-endian bytes, then the hashes, largest subtree first.
    pub fn encode(&self) -> Vec<u8> {
        let hashes = self.edge.iter().flat_map(|h| h.0);
        self.size.to_be_bytes().into_iter().chain(hashes).collect()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`EdgeError`] if the bytes are not exactly one right edge.
    pub fn decode(bytes: &[u8]) -> Result<Self, EdgeError> {
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or(EdgeError::TooShort { got: bytes.len() })?;
        let size = u64::from_be_bytes(*head);
        if size > MAX_SIZE {
            return Err(EdgeError::TooLarge { size });
        }
        let expected = size.count_ones() as usize * Hash::LEN;
        if rest.len() != expected {
            return Err(EdgeError::WrongLength { size, expected, got: rest.len() });
        }
        Ok(Self { size, edge: rest.chunks_exact(Hash::LEN).filter_map(Hash::from_slice).collect() })
    }

    /// Puts an edge together from subtree roots, largest first; `edge` must hold one per one bit of `size`.
    pub(crate) fn from_parts(size: u64, edge: Vec<Hash>) -> Self {
        debug_assert_eq!(size.count_ones() as usize, edge.len());
        Self { size, edge }
    }
}

/// Root over subtrees in descending order of size.
pub(crate) fn fold_right(subtrees: &[Hash]) -> Hash {
    let Some((last, rest)) = subtrees.split_last() else { return empty_root() };
    rest.iter().rev().fold(*last, |right, left| node_hash(left, &right))
}

/// Root over any number of equally high subtrees, as if they were leaves.
pub(crate) fn root_over(hashes: &[Hash]) -> Hash {
    let mut range = CompactRange::new();
    hashes.iter().for_each(|h| range.push(*h));
    range.root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use proptest::prelude::*;

    /// The eight leaves and roots that Certificate Transparency's own tests use.
    const LEAVES: [&str; 8] = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let mut range = CompactRange::new();
        assert_eq!(range.root(), empty_root());
        for (leaf, root) in LEAVES.iter().zip(ROOTS) {
            range.push(leaf_hash(&hex::decode(leaf).unwrap()));
            assert_eq!(range.root().to_string(), root);
        }
    }

    #[test]
    fn a_tree_head_has_one_spelling() {
        let head = TreeHead { size: 7, root: leaf_hash(b"r") };
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in [head.to_string().trim_end().to_owned(), format!("0{head}"), format!("{head}\n"), format!(" {head}")] {
            assert_eq!(bad.parse::<TreeHead>(), Err(BadTreeHead));
        }
    }

    /// RFC 6962's definition, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_edge_gives_the_root_of_the_definition(n in 0_usize..600, cut in 0_usize..600) {
            let leaves: Vec<Hash> = (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect();
            let mut range = CompactRange::new();
            for (i, leaf) in leaves.iter().enumerate() {
                if i == cut { range = CompactRange::decode(&range.encode()).unwrap(); }
                range.push(*leaf);
            }
            prop_assert_eq!(range.root(), mth(&leaves));
        }

        #[test]
        fn decoding_an_edge_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(range) = CompactRange::decode(&bytes) { prop_assert_eq!(range.encode(), bytes); }
        }
    }
}
