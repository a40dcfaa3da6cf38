//! The one place that verifies Ed25519 signatures (RFC 8032), strictly: no small-order keys, no
//! small-order or non-canonical R, S below the group order.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// The signature does not verify strictly under the key, or the key is no usable point.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("ed25519 signature does not verify")]
pub struct BadSignature;

/// Verifies `signature` (R ‖ S, 64 bytes) over `message` with `public` (32-byte compressed point).
///
/// # Errors
/// [`BadSignature`] when the strict verification of RFC 8032 fails.
pub fn verify_strict(
    public: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    VerifyingKey::from_bytes(public)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
        .map_err(|_| BadSignature)
}

/// A party's identity key: an Ed25519 signing key, wiped on drop.
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// The key of a 32-byte RFC 8032 seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> IdentityKey {
        IdentityKey(SigningKey::from_bytes(&seed))
    }

    /// The 32-byte public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The 64-byte signature R ‖ S over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(<redacted>)")
    }
}
