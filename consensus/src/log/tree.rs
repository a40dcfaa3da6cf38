//! The Merkle tree of RFC 6962 §2.1: its hashes, its roots, and the two proofs.
//!
//! Proofs are made from the hashes of complete subtrees ([`Node`]), whoever keeps them. Roots and verdicts
//! depend on nothing else. Sizes and indexes of a proof come from a stranger: every step is bounded by 64.

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash, 32 bytes.
pub type Digest = [u8; 32];

/// The root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Digest = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Why a proof can't be made, or doesn't hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is no such leaf.
    #[error("leaf {index} is none of a tree of {size}")]
    Index {
        /// The leaf's index, from 0.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A tree does not grow to a smaller one.
    #[error("a tree of {old} is no beginning of a tree of {new}")]
    Sizes {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// A proof has as many hashes as its tree's shape gives, no more and no less.
    #[error("proof has {found} hashes, which does not fit the tree's size")]
    Length {
        /// Hashes found.
        found: usize,
    },
    /// The proof leads to another root.
    #[error("proof leads to another root than the checkpoint's")]
    Root,
}

/// The place of a complete subtree: the `index`-th of 2^`level` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// 0 for a leaf's hash.
    pub level: u8,
    /// From 0, from the left.
    pub index: u64,
}

/// SHA-256 of 0x00 ‖ entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Sha256::new()
        .chain_update([0])
        .chain_update(entry)
        .finalize()
        .into()
}

/// SHA-256 of 0x01 ‖ left ‖ right.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The right edge of a growing tree: the roots of the complete subtrees that its size is the sum of.
/// Appending costs as many hashes as the size has trailing ones, whatever the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Largest first; as many as the size has ones.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// The tree of `size` leaves whose complete subtrees `read` gives.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn restore<E>(
        size: u64,
        mut read: impl FnMut(Node) -> Result<Digest, E>,
    ) -> Result<Self, E> {
        let mut peaks = Vec::new();
        let mut begin = 0_u64;
        for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(read(Node {
                level,
                index: begin >> level,
            })?);
            begin |= 1 << level;
        }
        Ok(Self { size, peaks })
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash; `complete` hears of every subtree that it completes, itself first.
    pub fn push(&mut self, leaf: Digest, mut complete: impl FnMut(Node, &Digest)) {
        let (mut hash, mut index) = (leaf, self.size);
        let mut level = 0;
        complete(Node { level, index }, &hash);
        while index & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = node_hash(&left, &hash);
            (level, index) = (level + 1, index >> 1);
            complete(Node { level, index }, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return EMPTY_ROOT;
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The largest power of two below `n`, which is at least 2.
const fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The hash over the leaves from `from` up to `to`, a range that the tree's shape has; the root of a tree of
/// `to` leaves if `from` is 0.
///
/// # Errors
/// What `read` fails with.
pub fn range_root<E>(
    from: u64,
    to: u64,
    read: &mut impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Digest, E> {
    let width = to.saturating_sub(from);
    if width == 0 {
        return Ok(EMPTY_ROOT);
    }
    if width.is_power_of_two() {
        let level = width.trailing_zeros() as u8;
        return read(Node {
            level,
            index: from >> level,
        });
    }
    // A range that is no power of two ends at the tree's right edge: at most 64 parts, joined from the right.
    let middle = from + split(width);
    let left = range_root(from, middle, read)?;
    let right = range_root(middle, to, read)?;
    Ok(node_hash(&left, &right))
}

/// The proof that leaf `index` is in the tree of `size` leaves: siblings from the leaf to the root (RFC 6962
/// §2.1.1).
///
/// # Errors
/// [`TreeError::Index`], through `E`, and what `read` fails with.
pub fn inclusion<E: From<TreeError>>(
    index: u64,
    size: u64,
    mut read: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    if index >= size {
        return Err(TreeError::Index { index, size }.into());
    }
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range_root(middle, to, &mut read)?);
            to = middle;
        } else {
            proof.push(range_root(from, middle, &mut read)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` leaves is the beginning of the one of `new` (RFC 6962 §2.1.2). Empty
/// between equal sizes, and from the empty tree.
///
/// # Errors
/// [`TreeError::Sizes`], through `E`, and what `read` fails with.
pub fn consistency<E: From<TreeError>>(
    old: u64,
    new: u64,
    mut read: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    if old > new {
        return Err(TreeError::Sizes { old, new }.into());
    }
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut from, mut to) = (0, new);
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range_root(middle, to, &mut read)?);
            to = middle;
        } else {
            proof.push(range_root(from, middle, &mut read)?);
            from = middle;
        }
    }
    // The old root is known to whoever asks, unless it is a part of the old tree only.
    if from != 0 {
        proof.push(range_root(from, to, &mut read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that a leaf is in a tree (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`TreeError`].
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), TreeError> {
    if index >= size {
        return Err(TreeError::Index { index, size });
    }
    let length = TreeError::Length { found: proof.len() };
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(length);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // At the right edge, levels without a sibling are passed over.
            let up = at.trailing_zeros() + 1;
            (at, last) = (
                at.checked_shr(up).unwrap_or(0),
                last.checked_shr(up).unwrap_or(0),
            );
            continue;
        }
        hash = node_hash(&hash, sibling);
        (at, last) = (at >> 1, last >> 1);
    }
    match (last == 0, hash == *root) {
        (false, _) => Err(length),
        (true, false) => Err(TreeError::Root),
        (true, true) => Ok(()),
    }
}

/// Checks that a tree is the beginning of another (RFC 9162 §2.1.4.2).
///
/// # Errors
/// [`TreeError`].
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Digest],
    old_root: &Digest,
    new_root: &Digest,
) -> Result<(), TreeError> {
    let length = TreeError::Length { found: proof.len() };
    if old > new {
        return Err(TreeError::Sizes { old, new });
    }
    if old == 0 || old == new {
        let same = if old == 0 {
            *old_root == EMPTY_ROOT
        } else {
            old_root == new_root
        };
        return match (proof.is_empty(), same) {
            (false, _) => Err(length),
            (true, false) => Err(TreeError::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut at, mut last) = (old - 1, new - 1);
    let common = (!at).trailing_zeros();
    (at, last) = (at >> common, last >> common);
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        hashes.next()
    };
    let Some(first) = first else {
        return Err(length);
    };
    let (mut before, mut after) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return Err(length);
        }
        if at & 1 == 1 || at == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            let up = at.trailing_zeros() + 1;
            (at, last) = (
                at.checked_shr(up).unwrap_or(0),
                last.checked_shr(up).unwrap_or(0),
            );
            continue;
        }
        after = node_hash(&after, sibling);
        (at, last) = (at >> 1, last >> 1);
    }
    match (last == 0, before == *old_root && after == *new_root) {
        (false, _) => Err(length),
        (true, false) => Err(TreeError::Root),
        (true, true) => Ok(()),
    }
}
