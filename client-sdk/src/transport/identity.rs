//! Who is at the other end: the translation between a party's Ed25519 identity key and its PeerId.
//!
//! A PeerId is the identity multihash of the protobuf-encoded Ed25519 public key, so each can be
//! read from the other and no directory is needed. This module never judges whether a key may
//! take part; admission does.

use libp2p::{PeerId, identity};
use zeroize::Zeroizing;

/// A party's identity key: the 32-byte Ed25519 seed (RFC 8032 §5.1.5). Wiped on drop, never shown.
#[derive(Clone)]
pub struct IdentitySecret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for IdentitySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentitySecret(<redacted>)")
    }
}

impl IdentitySecret {
    /// Takes the 32-byte seed; every 32 bytes are a valid seed.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The libp2p key pair of this seed.
    pub(super) fn keypair(&self) -> Result<identity::Keypair, IdentityError> {
        let mut seed = self.0.clone();
        identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(|_| IdentityError::Seed)
    }

    /// The 32-byte compressed public key of this seed.
    ///
    /// # Errors
    /// [`IdentityError::Seed`] if the key library refuses the seed, which it does for no 32 bytes.
    pub fn public_key(&self) -> Result<[u8; 32], IdentityError> {
        public_key(&PeerId::from(self.keypair()?.public())).ok_or(IdentityError::Seed)
    }
}

/// A key that cannot be a peer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The 32 bytes are not the encoding of a point of Curve25519.
    #[error("identity key is not an Ed25519 public key")]
    NotAPoint,
    /// The seed was refused.
    #[error("identity seed was refused")]
    Seed,
}

/// The PeerId of a 32-byte Ed25519 public key.
///
/// # Errors
/// [`IdentityError::NotAPoint`] if the bytes do not decode to a point.
pub fn peer_id(public_key: &[u8; 32]) -> Result<PeerId, IdentityError> {
    identity::ed25519::PublicKey::try_from_bytes(public_key)
        .map(|key| identity::PublicKey::from(key).to_peer_id())
        .map_err(|_| IdentityError::NotAPoint)
}

/// The 32-byte Ed25519 public key in a PeerId, or `None` for a PeerId of another key type or one
/// that holds only a hash.
#[must_use]
pub fn public_key(peer: &PeerId) -> Option<[u8; 32]> {
    const IDENTITY_MULTIHASH: u64 = 0;
    let hash = peer.as_ref();
    if hash.code() != IDENTITY_MULTIHASH {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(key.try_into_ed25519().ok()?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_peer_id_are_read_from_each_other() {
        let key = IdentitySecret::new([7; 32]).public_key().unwrap();
        let peer = peer_id(&key).unwrap();
        assert_eq!(public_key(&peer), Some(key));
        assert!(peer.to_string().starts_with("12D3KooW"));
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        // y = 2 has no x on the curve.
        let mut bytes = [0u8; 32];
        bytes[0] = 2;
        assert_eq!(peer_id(&bytes), Err(IdentityError::NotAPoint));
    }

    #[test]
    fn debug_never_shows_the_seed() {
        assert_eq!(
            format!("{:?}", IdentitySecret::new([9; 32])),
            "IdentitySecret(<redacted>)"
        );
    }
}
