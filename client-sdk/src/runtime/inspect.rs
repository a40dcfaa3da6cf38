//! How a party's records and secrets are named, for whoever looks at a directory without opening it.
//!
//! Decides nothing: the names are [`Keeper`](super::Keeper)'s.

use warifu_consensus::party::Sub;

use super::keeper::{KIND_CONTENT_KEY, KIND_IDENTITY, KIND_SHARE, key};
use crate::store::VaultKey;

/// A secret that an account's party keeps in its vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountSecret {
    /// The key share.
    Share,
    /// The content key; never at the trust operator.
    ContentKey,
    /// The device's identity key; only at the device.
    Identity,
}

impl AccountSecret {
    /// The secret's name in the vault.
    #[must_use]
    pub fn key(self, sub: &Sub) -> VaultKey {
        let kind = match self {
            AccountSecret::Share => KIND_SHARE,
            AccountSecret::ContentKey => KIND_CONTENT_KEY,
            AccountSecret::Identity => KIND_IDENTITY,
        };
        key(sub, kind, [0; 32])
    }
}
