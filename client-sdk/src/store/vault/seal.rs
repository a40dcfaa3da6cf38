//! How a secret is sealed: XChaCha20-Poly1305 with a random nonce, under a key made from the
//! master key for this ledger only, bound to the secret's name.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{MasterKey, VaultKey};
use crate::store::{StoreError, encoding::Bytes};

const KEY_CONTEXT: &str = "warifu 2026 vault record key v1";

/// Associated data of the record that checks the master key; no [`VaultKey`] is that short.
pub(super) const CHECK_DATA: &[u8] = b"warifu vault check";

/// What that record seals.
pub(super) const CHECK_TEXT: &[u8] = b"this vault opens";

/// A sealed secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// 24 random bytes.
    nonce: [u8; 24],
    /// Length u64 LE; ciphertext, then the tag (16).
    ciphertext: Bytes,
}

/// Associated data of a secret: stream 16 ‖ kind 1 ‖ name 32.
pub(super) fn key_data(key: &VaultKey) -> [u8; 49] {
    let mut data = [0; 49];
    let parts = key
        .stream
        .0
        .iter()
        .chain(std::iter::once(&key.kind))
        .chain(&key.name);
    for (byte, part) in data.iter_mut().zip(parts) {
        *byte = *part;
    }
    data
}

/// Seals and opens secrets.
pub(crate) struct Sealer {
    key: Zeroizing<[u8; 32]>,
}

impl Sealer {
    /// BLAKE3 `derive_key` over master key 32 ‖ origin.
    pub(super) fn new(master_key: &MasterKey, origin: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(master_key.bytes());
        hasher.update(origin.as_bytes());
        let mut key = Zeroizing::new([0; 32]);
        hasher.finalize_xof().fill(key.as_mut());
        hasher.zeroize();
        Self { key }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }

    pub(super) fn seal(&self, data: &[u8], secret: &[u8]) -> Result<Sealed, StoreError> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|_| StoreError::Sealing)?;
        let payload = Payload {
            msg: secret,
            aad: data,
        };
        let ciphertext = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| StoreError::Sealing)?;
        Ok(Sealed {
            nonce,
            ciphertext: Bytes(ciphertext),
        })
    }

    /// `None` if the seal does not hold.
    pub(super) fn open(&self, data: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        let payload = Payload {
            msg: &sealed.ciphertext.0,
            aad: data,
        };
        let opened = self.cipher().decrypt(&XNonce::from(sealed.nonce), payload);
        opened.ok().map(Zeroizing::new)
    }
}
