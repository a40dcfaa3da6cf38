//! Key shares and what three of them make: FROST(Ed25519, SHA-512), RFC 9591, 3-of-3. Decides which
//! bytes are a share, a commitment or a signature share, and what a party must refuse before it uses
//! its secret. The library beneath is permissive (it takes a nonce twice, any signer set, the empty
//! message, trailing bytes), so this is the only module that touches it, and none of its types leave. Signing is computed from
//! the curve library that it stands on, by its formulas: `arithmetic.rs`.
//! Never holds the whole account key, never stores a nonce, never decides whether a block deserves a
//! signature.
//!
//! Generation is in [`dkg`]. Signing is [`commit`], [`sign`], and at the trust operator
//! [`complete`]. [`floor`] is the bare
//! library's work, for measurements.

mod arithmetic;
mod commitment;
pub mod dkg;
pub mod floor;
mod keys;
mod library;
mod signing;
#[cfg(test)]
mod tests;

pub use commitment::{Commitment, CommitmentBytes, Nonces, Package, commit};
pub use keys::{KeyShare, PublicKeys};
pub use signing::{
    AggregateError, CompleteError, SignError, SignatureShare, aggregate, complete, sign,
};

use crate::party::Role;

/// Why bytes are not what they were read as. Every encoding here has one length and one form: what
/// decodes encodes to the same bytes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Truncated, or trailing bytes.
    #[error("{what} has {found} bytes, expected {expected}")]
    Length {
        /// The object.
        what: &'static str,
        /// Bytes given.
        found: usize,
        /// The only length there is.
        expected: usize,
    },
    /// Of a format that this release does not know.
    #[error("key share has version {found}, expected {expected}")]
    Version {
        /// The version byte.
        found: u8,
        /// The version written by this release.
        expected: u8,
    },
    /// The owner is none of the three parties.
    #[error("key share names party {found}, expected 1, 2 or 3")]
    Party {
        /// The byte in the owner's place.
        found: u8,
    },
    /// Not a point, the identity, not in the prime-order subgroup, or not in canonical form.
    #[error("{what} holds bytes that are no canonical point of prime order")]
    Point {
        /// The object.
        what: &'static str,
    },
    /// Not reduced modulo the group order.
    #[error("{what} holds bytes that are no canonical scalar")]
    Scalar {
        /// The object.
        what: &'static str,
    },
    /// The verifying shares do not interpolate to the group key.
    #[error("group key is not the one that the verifying shares make")]
    GroupKey,
    /// The secret does not belong to the public share.
    #[error("signing share does not belong to the verifying share of the {role}")]
    SigningShare {
        /// The owner.
        role: Role,
    },
}

/// Reads exactly `N` words of 32 bytes.
fn words<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[[u8; 32]; N], DecodeError> {
    let wrong = DecodeError::Length {
        what,
        found: bytes.len(),
        expected: 32 * N,
    };
    let (words, []) = bytes.as_chunks::<32>() else {
        return Err(wrong);
    };
    words.try_into().map_err(|_| wrong)
}
