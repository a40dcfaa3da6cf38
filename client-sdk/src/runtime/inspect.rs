//! How a party's records and secrets are named, for whoever looks at a directory without opening it, and the openers there.
//!
//! Decides nothing: the names are [`Keeper`](super::Keeper)'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use warifu_consensus::{body::ContentKey, log::Opener, party::Sub};

use super::keeper::{KIND_CONTENT_KEY, KIND_IDENTITY, KIND_OPENER, KIND_SHARE, key};
use crate::store::{MasterKey, Step, StoreError, VaultKey, walk};

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

/// What a walk over a vault found for an auditor of the log.
#[derive(Debug, Default)]
pub struct KeptOpeners {
    /// The opener of each account: derived from its content key where the vault holds that, else as it was given.
    pub openers: BTreeMap<Sub, Opener>,
    /// Accounts of which the vault holds any secret.
    pub holders: BTreeSet<Sub>,
    /// Secrets in the vault, of any kind.
    pub secrets: u64,
    /// Bytes of an unfinished last write, which an opening would cut.
    pub torn_bytes: u64,
}

/// Walks the vault in `dir` (the directory that it is opened with), opens every seal, and gives the openers. Takes no lock and changes
/// nothing. `observer` is told bytes done and bytes in total. Blocks.
///
/// # Errors
/// As [`inspect_vault`](crate::store::inspect_vault); [`StoreError::Corrupt`] also where a secret has another length
/// than its kind.
pub fn kept_openers(
    dir: &Path,
    master_key: &MasterKey,
    origin: &str,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<KeptOpeners, StoreError> {
    let mut live = BTreeMap::new();
    let mut keys = BTreeSet::new();
    let mut is_malformed = false;
    let torn_bytes = walk(dir, master_key, origin, observer, &mut |step| match step {
        Step::Put(key, secret) => {
            keys.insert(key);
            if let KIND_CONTENT_KEY | KIND_OPENER = key.kind {
                let sub = Sub(key.stream.0);
                match <[u8; 32]>::try_from(secret) {
                    Err(_) => is_malformed = true,
                    Ok(bytes) if key.kind == KIND_OPENER => {
                        live.insert((sub, key.kind), Opener::from_bytes(bytes));
                    }
                    Ok(bytes) => {
                        let content_key = ContentKey::from_bytes(bytes);
                        live.insert((sub, key.kind), Opener::of(&content_key, &sub));
                    }
                }
            }
        }
        Step::Remove(key) => {
            keys.remove(&key);
            live.remove(&(Sub(key.stream.0), key.kind));
        }
        Step::RemoveStream(stream) => {
            keys.retain(|key| key.stream != stream);
            live.retain(|(sub, _), _| sub.0 != stream.0);
        }
    })?;
    if is_malformed {
        return Err(StoreError::Corrupt {
            file: dir.to_path_buf(),
            offset: 0,
            stream: None,
            after: None,
            reason: "a content key or an opener has not 32 bytes",
        });
    }
    let mut openers = BTreeMap::new();
    // In the order of kinds: a content key, whose kind is the lower number, stands before an opener.
    for ((sub, _), opener) in live {
        openers.entry(sub).or_insert(opener);
    }
    Ok(KeptOpeners {
        openers,
        holders: keys.iter().map(|key| Sub(key.stream.0)).collect(),
        secrets: keys.len() as u64,
        torn_bytes,
    })
}
