//! The global log: an append-only Merkle tree over every sealed block of a ledger, in the formats of the
//! transparency world (C2SP), so that others' verifiers, witnesses and monitors read it unchanged.
//!
//! Decides what a leaf, a tree, a proof and a signed checkpoint are, and whether they hold. Hashes are
//! SHA-256 as RFC 6962 has them, because those formats say so; account chains stay BLAKE3. A leaf tells
//! nothing: it is a MAC of the block's hash under a key of its own, the opening. Never decides what is
//! appended, and knows no files, clocks or peers.

mod checkpoint;
mod evidence;
mod message;
mod note;
mod opening;
mod proof;
mod tile;
mod tree;
mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, Cosignature};
pub use evidence::{Evidence, EvidenceError, Fork, MAX_EVIDENCE};
pub use message::{LogMessage, MAX_ERASED, MAX_LEAVES, MAX_OFFERED, Offered, Unmatched};
pub use note::{Algorithm, KeyError, LogKey, LogKeys, NoteError, NoteKey, SignedNote};
pub use opening::{Leaf, Opener, Opening};
pub use proof::{LogProof, ProofError};
pub use tile::{TILE_WIDTH, Tile, TileError};
pub use tree::{
    Digest, EMPTY_ROOT, Frontier, Node, TreeError, consistency, inclusion, leaf_hash, node_hash,
    range_root, verify_consistency, verify_inclusion,
};
pub use witness::{AddCheckpoint, AddError, Answer};
