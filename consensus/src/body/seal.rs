//! Sealing and opening a body: key derivation, key commitment, XChaCha20-Poly1305.

use core::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::text::{Body, BodyError, MAX_PADDED, PADDING_BLOCK};
use crate::block::{Block, Claims, body_aad};
use crate::encoding::{self, Context, Hash, derive};
use crate::random::Entropy;

/// Bytes that Poly1305 adds to a body.
const TAG: usize = 16;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the 32 secret bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> $name {
                $name(bytes)
            }

            /// Draws 32 fresh secret bytes.
            #[must_use]
            pub fn generate(entropy: &mut impl Entropy) -> $name {
                let mut bytes = [0_u8; 32];
                entropy.fill(&mut bytes);
                $name(bytes)
            }

            /// The 32 secret bytes.
            #[must_use]
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(<redacted>)"))
            }
        }

        impl PartialEq for $name {
            /// Takes the same time wherever the bytes differ.
            fn eq(&self, other: &$name) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                encoding::bytes::serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                encoding::bytes::deserialize(deserializer).map($name)
            }
        }
    };
}

secret! {
    /// An account's content key: 32 random bytes made by the device and given to the broker only.
    /// Wiped on drop; serialised only onto pinned lines and into the vault.
    ContentKey
}

secret! {
    /// A proposal's salt: 32 random bytes; without it the body of its block is gone for good. Wiped
    /// on drop; serialised only onto pinned lines and into the vault.
    Salt
}

impl ContentKey {
    /// The hash by which the enrolment transcript names the key.
    #[must_use]
    pub fn hash(&self) -> Hash {
        derive(Context::ContentKeyHash, &[&self.0])
    }
}

/// An encrypted body, kept beside its block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SealedBody {
    /// Random nonce of XChaCha20-Poly1305.
    pub nonce: [u8; 24],
    /// Commitment to the key.
    pub commitment: [u8; 32],
    /// Ciphertext and tag: a multiple of 256, plus 16 bytes.
    pub ciphertext: Vec<u8>,
}

impl SealedBody {
    /// What the block's `body` claim must be: `derive_key`(nonce ‖ commitment ‖ ciphertext).
    #[must_use]
    pub fn claim(&self) -> Hash {
        derive(
            Context::BodyClaim,
            &[&self.nonce, &self.commitment, &self.ciphertext],
        )
    }
}

/// The key and commitment of the body at one place in a chain: `derive_key`(content key 32 ‖ salt
/// 32 ‖ `prev` 32 ‖ `sub` 16 ‖ height u64 BE), 64 bytes of output.
struct BodyKey {
    key: Zeroizing<[u8; 32]>,
    commitment: [u8; 32],
}

impl BodyKey {
    fn derive(content_key: &ContentKey, salt: &Salt, claims: &Claims) -> BodyKey {
        let mut hasher = blake3::Hasher::new_derive_key(Context::BodyKey.as_str());
        hasher
            .update(&content_key.0)
            .update(&salt.0)
            .update(&claims.prev.0)
            .update(&claims.sub.0)
            .update(&claims.height.to_be_bytes());
        let mut output = hasher.finalize_xof();
        let mut key = Zeroizing::new([0_u8; 32]);
        let mut commitment = [0_u8; 32];
        output.fill(key.as_mut());
        output.fill(&mut commitment);
        output.zeroize();
        hasher.zeroize();
        BodyKey { key, commitment }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }
}

/// Encrypts the body of the block that these claims will become; their `body` is ignored. The
/// claims' `body` must then be set to [`SealedBody::claim`]. Every call draws a fresh nonce.
///
/// # Errors
/// [`BodyError`] when the body breaks its schema's limits.
pub fn seal_body(
    key: &ContentKey,
    salt: &Salt,
    claims_without_body: &Claims,
    body: &Body,
    entropy: &mut impl Entropy,
) -> Result<SealedBody, BodyError> {
    let plaintext = Zeroizing::new(body.to_padded()?);
    let derived = BodyKey::derive(key, salt, claims_without_body);
    let mut nonce = [0_u8; 24];
    entropy.fill(&mut nonce);
    let aad = body_aad(claims_without_body);
    let ciphertext = derived
        .cipher()
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &plaintext,
                aad: &aad,
            },
        )
        .map_err(|_| BodyError::Aead)?;
    Ok(SealedBody {
        nonce,
        commitment: derived.commitment,
        ciphertext,
    })
}

/// Opens a block's body: checks claim and key commitment, decrypts, and validates every character.
///
/// # Errors
/// [`BodyError`]; nothing of the plaintext leaves unless all of it is valid.
pub fn open_body(
    key: &ContentKey,
    salt: &Salt,
    block: &Block,
    sealed: &SealedBody,
) -> Result<Body, BodyError> {
    let claims = block.claims();
    let claim = claims.body.ok_or(BodyError::NoClaim)?;
    let (found, max) = (sealed.ciphertext.len(), MAX_PADDED + TAG);
    if found > max || found % PADDING_BLOCK != TAG {
        return Err(BodyError::CiphertextLength { found, max });
    }
    if sealed.claim() != claim {
        return Err(BodyError::Claim);
    }
    let derived = BodyKey::derive(key, salt, claims);
    if !bool::from(derived.commitment.ct_eq(&sealed.commitment)) {
        return Err(BodyError::Commitment);
    }
    let payload = Payload {
        msg: &sealed.ciphertext,
        aad: &block.aad(),
    };
    let plaintext = derived
        .cipher()
        .decrypt(&XNonce::from(sealed.nonce), payload)
        .map_err(|_| BodyError::Aead)?;
    Body::from_padded(&Zeroizing::new(plaintext))
}
