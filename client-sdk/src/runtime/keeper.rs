//! An account's records in the journal, its secrets in the vault, as bytes.

mod chain;
mod log;

use std::{path::PathBuf, sync::Arc};

pub use self::log::SealedHere;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use warifu_consensus::{
    agree::{Erasure, Record},
    body::{ContentKey, Salt},
    encoding::Hash,
    party::Sub,
    share::KeyShare,
    wire::{self, SaltBytes, WireError},
};
use zeroize::Zeroizing;

use crate::store::{Batch, HeadMove, Space, Store, StoreError, StreamId, Vault, VaultKey};

/// The largest record in bytes: the journal's own limit, less its framing.
const MAX_RECORD: usize = 250 * 1024;

/// Accounts whose secrets are forgotten at once, and share syncs: as many as may wait for the vault's writer.
const FORGOTTEN_AT_ONCE: usize = 64;

/// The head of a stream that holds a founding and no genesis.
const FOUNDED: [u8; 32] = [0; 32];
/// The head of a stream that holds a tombstone: a genesis that can never be.
const TOMBSTONE: [u8; 32] = [0xff; 32];

pub(super) const KIND_SHARE: u8 = 1;
pub(super) const KIND_CONTENT_KEY: u8 = 2;
pub(super) const KIND_IDENTITY: u8 = 3;
const KIND_SALT: u8 = 4;
pub(super) const KIND_OPENER: u8 = 5;
const KIND_SEEN: u8 = 6;

/// Why something could not be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The store or the vault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record has no encoding, or its bytes are none.
    #[error("record of account {sub}: {error}")]
    Record {
        /// The account.
        sub: Sub,
        /// Found and expected.
        error: WireError,
    },
    /// Records that don't fold to a state.
    #[error("records of account {sub} don't fit together: {reason}")]
    Fold {
        /// The account.
        sub: Sub,
        /// Found and expected.
        reason: String,
    },
    /// A secret in the vault is not what its name says.
    #[error("a secret of account {sub} in the vault is malformed")]
    Secret {
        /// The account.
        sub: Sub,
    },
    /// The vault holds secrets, the journal beside it nothing: it was lost, or is another's.
    #[error(
        "the journal is empty, expected the records of the accounts whose secrets the vault holds: put the journal back, nothing was changed"
    )]
    JournalLost,
    /// The checkpoint of the log that a device remembers does not count under the pinned keys.
    #[error(
        "the checkpoint of the ledger's log that is remembered in {} does not count: {reason}; expected both signatures under the pinned log keys: put back the keys that it was seen under, nothing was changed",
        .vault.display()
    )]
    Seen {
        /// The vault's directory.
        vault: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Entropy,
}

/// What a party keeps about itself, in the node's own stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRecord {
    /// An enrolment session that is used up.
    SessionUsed {
        /// The session.
        session: [u8; 32],
        /// The device that used it.
        device: [u8; 32],
    },
    /// A share was made for this account and no founding yet: deleted at the next start, unless
    /// one followed.
    SharePending {
        /// The account.
        sub: Sub,
    },
    /// Device: where the operators of this account listen.
    Addresses {
        /// The account.
        sub: Sub,
        /// Multiaddresses.
        broker: Vec<String>,
        /// Multiaddresses.
        trust_operator: Vec<String>,
    },
}

/// What the vault holds of an account for its machine.
pub struct Secrets {
    /// The key share.
    pub share: Option<KeyShare>,
    /// The content key; never at the trust operator.
    pub content_key: Option<ContentKey>,
    /// The device's identity key seed; only at the device.
    pub identity: Option<Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(<redacted>)")
    }
}

/// See the module.
pub struct Keeper<S: Store> {
    store: Arc<S>,
    vault: Arc<Vault>,
}

impl<S: Store> Clone for Keeper<S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            vault: Arc::clone(&self.vault),
        }
    }
}

fn stream(sub: &Sub) -> StreamId {
    StreamId(sub.0)
}

pub(super) fn key(sub: &Sub, kind: u8, name: [u8; 32]) -> VaultKey {
    VaultKey {
        stream: stream(sub),
        kind,
        name,
    }
}

impl NodeRecord {
    /// Reads an entry of the node's own stream ([`StreamId::NODE`]).
    ///
    /// # Errors
    /// [`WireError`]: found and expected.
    pub fn decode(entry: &[u8]) -> Result<NodeRecord, WireError> {
        wire::decode::<NodeRecord, MAX_RECORD>(entry)
    }
}

impl<S: Store> Keeper<S> {
    /// A keeper over an open store and vault.
    pub fn new(store: Arc<S>, vault: Arc<Vault>) -> Self {
        Self { store, vault }
    }

    /// So many accounts are at something: what they write may share syncs.
    pub fn expect(&self, accounts: usize) {
        self.store.expect(accounts);
        self.vault.expect(accounts);
    }

    /// How much room is left.
    pub fn space(&self) -> Space {
        self.store.space()
    }

    /// The underlying store.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The underlying vault.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// An account's records, in order. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeeperError`]; corrupt is never the same as none.
    pub fn records(&self, sub: &Sub) -> Result<Vec<Record>, KeeperError> {
        self.store
            .read(stream(sub))?
            .iter()
            .map(|bytes| decode(sub, bytes))
            .collect()
    }

    /// Whether an account has records. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn store_has(&self, sub: &Sub) -> Result<bool, KeeperError> {
        // A founding moves the head, and is every account's first record.
        Ok(self.store.head(stream(sub))?.is_some())
    }

    /// Every account that has records. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub fn accounts(&self) -> Result<Vec<Sub>, KeeperError> {
        let streams = self.store.streams()?;
        Ok(streams
            .into_iter()
            .filter(|s| ![StreamId::NODE, StreamId::LOG].contains(s))
            .map(|s| Sub(s.0))
            .collect())
    }

    /// Appends records; durable when it returns, but for those at the end that
    /// [may be late](Record::may_be_late). A sealed block and what stands behind it are written in
    /// one step; all of it shares syncs.
    ///
    /// # Errors
    /// [`KeeperError`]; after one the node must stop.
    pub async fn append(&self, sub: &Sub, records: &[Record]) -> Result<(), KeeperError> {
        let late = records.iter().rev().take_while(|r| r.may_be_late()).count();
        let (records, late) = records.split_at(records.len().saturating_sub(late));
        let mut batches = Vec::new();
        let mut open = batch(sub);
        for record in records {
            if open.head.is_some() && !record.is_behind_sealed() {
                batches.push(std::mem::replace(&mut open, batch(sub)));
            }
            open.entries.push(encode(sub, record)?);
            open.head = head_move(record).or(open.head);
        }
        if !open.entries.is_empty() {
            batches.push(open);
        }
        if !batches.is_empty() {
            self.store.append_all(batches).await?;
        }
        if !late.is_empty() {
            let entries: Result<_, _> = late.iter().map(|record| encode(sub, record)).collect();
            self.store.append_late(stream(sub), entries?).await?;
        }
        Ok(())
    }

    async fn append_batch(
        &self,
        sub: &Sub,
        head: Option<HeadMove>,
        entries: Vec<Vec<u8>>,
    ) -> Result<(), KeeperError> {
        let batch = Batch {
            head,
            entries,
            ..batch(sub)
        };
        Ok(self.store.append(batch).await?)
    }

    /// Declares that an account unknown here can never be founded. `false`: it has records.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn bury(&self, sub: &Sub) -> Result<bool, KeeperError> {
        let bytes = encode(sub, &Record::Dead)?;
        let head = Some(HeadMove {
            expected: None,
            next: TOMBSTONE,
        });
        match self.append_batch(sub, head, vec![bytes]).await {
            Ok(()) => Ok(true),
            Err(KeeperError::Store(StoreError::HeadMismatch { found, .. })) => {
                Ok(found == Some(TOMBSTONE))
            }
            Err(error) => Err(error),
        }
    }

    /// Appends to the node's own stream; durable when it returns.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn append_own(&self, record: &NodeRecord) -> Result<(), KeeperError> {
        let sub = Sub::ZERO;
        let bytes = wire::encode::<NodeRecord, MAX_RECORD>(record)
            .map_err(|error| KeeperError::Record { sub, error })?;
        self.append_batch(&sub, None, vec![bytes]).await
    }

    /// The node's own records, in order. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn own(&self) -> Result<Vec<NodeRecord>, KeeperError> {
        self.store
            .read(StreamId::NODE)?
            .iter()
            .map(|bytes| {
                NodeRecord::decode(bytes).map_err(|error| KeeperError::Record {
                    sub: Sub::ZERO,
                    error,
                })
            })
            .collect()
    }

    /// Makes an account's secrets durable.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn keep_secrets(&self, sub: &Sub, secrets: &Secrets) -> Result<(), KeeperError> {
        if let Some(identity) = &secrets.identity {
            self.vault
                .put(key(sub, KIND_IDENTITY, [0; 32]), identity.as_slice())
                .await?;
        }
        if let Some(content_key) = &secrets.content_key {
            self.vault
                .put(key(sub, KIND_CONTENT_KEY, [0; 32]), content_key.expose())
                .await?;
        }
        if let Some(share) = &secrets.share {
            self.vault
                .put(key(sub, KIND_SHARE, [0; 32]), &share.encode())
                .await?;
        }
        Ok(())
    }

    /// An account's secrets.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn secrets(&self, sub: &Sub) -> Result<Secrets, KeeperError> {
        let malformed = || KeeperError::Secret { sub: *sub };
        let share = match self.vault.get(&key(sub, KIND_SHARE, [0; 32]))? {
            None => None,
            Some(bytes) => Some(KeyShare::decode(&bytes).map_err(|_| malformed())?),
        };
        let content_key = self
            .secret32(sub, KIND_CONTENT_KEY, [0; 32])?
            .map(|bytes| ContentKey::from_bytes(*bytes));
        let identity = self.secret32(sub, KIND_IDENTITY, [0; 32])?;
        Ok(Secrets {
            share,
            content_key,
            identity,
        })
    }

    fn secret32(
        &self,
        sub: &Sub,
        kind: u8,
        name: [u8; 32],
    ) -> Result<Option<Zeroizing<[u8; 32]>>, KeeperError> {
        match self.vault.get(&key(sub, kind, name))? {
            None => Ok(None),
            Some(bytes) => <[u8; 32]>::try_from(bytes.as_slice())
                .map(|b| Some(Zeroizing::new(b)))
                .map_err(|_| KeeperError::Secret { sub: *sub }),
        }
    }

    /// Makes a body's salt durable under its block's hash.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn keep_salt(
        &self,
        sub: &Sub,
        hash: &Hash,
        salt: &SaltBytes,
    ) -> Result<(), KeeperError> {
        Ok(self.vault.put(key(sub, KIND_SALT, hash.0), &salt.0).await?)
    }

    /// A body's salt, if it was not shredded.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn salt(&self, sub: &Sub, hash: &Hash) -> Result<Option<Salt>, KeeperError> {
        Ok(self
            .secret32(sub, KIND_SALT, hash.0)?
            .map(|bytes| Salt::from_bytes(*bytes)))
    }

    /// Deletes everything secret of an account from the vault.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn forget(&self, sub: &Sub) -> Result<(), KeeperError> {
        Ok(self.vault.remove_stream(stream(sub)).await?)
    }

    /// What an account's records end with, if it is erased: the broker's word, and whether both operators have it.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// As [`Keeper::records`].
    pub fn erased(&self, sub: &Sub) -> Result<Option<(Option<Erasure>, bool)>, KeeperError> {
        let end = self.store.extent(stream(sub))?.batches;
        let last = end.saturating_sub(1)..end;
        let batches = self.store.read_batches(stream(sub), last)?;
        let last = batches.last().and_then(|batch| batch.last());
        Ok(match last.map(|bytes| decode(sub, bytes)).transpose()? {
            Some(Record::Erased { erasure, both }) => Some((erasure, both)),
            _ => None,
        })
    }

    /// Deletes everything secret of erased accounts, so that the vault's file holds nothing of it either, which is
    /// rewritten once for all of them. Whether there was anything.
    ///
    /// # Errors
    /// [`KeeperError`]; may be repeated.
    pub async fn forget_erased(&self, subs: &[Sub]) -> Result<bool, KeeperError> {
        let mut any = false;
        for some in subs.chunks(FORGOTTEN_AT_ONCE) {
            let kept = some
                .iter()
                .filter(|s| !self.vault.keys(stream(s)).is_empty());
            let forgotten = try_join_all(kept.map(|sub| self.forget(sub))).await?;
            any |= !forgotten.is_empty();
        }
        // Forgotten before a crash, or a failure, that came before the file was rewritten.
        any |= subs.iter().any(|sub| self.vault.has_remains(stream(sub)));
        if any {
            self.vault.compact().await?;
        }
        Ok(any)
    }

    /// Deletes the secrets of every enrolment that a crash left without a founding (protocol:
    /// "one party finishing alone leaves nothing behind").
    ///
    /// # Errors
    /// [`KeeperError`].
    pub async fn forget_orphans(&self) -> Result<usize, KeeperError> {
        if self.store.streams()?.is_empty() && !self.vault.is_empty() {
            return Err(KeeperError::JournalLost);
        }
        let mut forgotten = 0usize;
        for record in self.own()? {
            if let NodeRecord::SharePending { sub } = record
                && self.store.head(stream(&sub))?.is_none()
                && self.vault.get(&key(&sub, KIND_SHARE, [0; 32]))?.is_some()
            {
                self.forget(&sub).await?;
                forgotten = forgotten.saturating_add(1);
            }
        }
        Ok(forgotten)
    }
}

/// An empty batch of an account. What may wait is refused before a machine sees it; what a machine
/// decided is written.
fn batch(sub: &Sub) -> Batch {
    Batch {
        stream: stream(sub),
        head: None,
        entries: Vec::new(),
        may_wait: false,
    }
}

fn encode(sub: &Sub, record: &Record) -> Result<Vec<u8>, KeeperError> {
    wire::encode::<Record, MAX_RECORD>(record)
        .map_err(|error| KeeperError::Record { sub: *sub, error })
}

fn decode(sub: &Sub, bytes: &[u8]) -> Result<Record, KeeperError> {
    wire::decode::<Record, MAX_RECORD>(bytes)
        .map_err(|error| KeeperError::Record { sub: *sub, error })
}

/// What a record does to its stream's head: compare-and-append guards it (protocol rule 1).
fn head_move(record: &Record) -> Option<HeadMove> {
    match record {
        Record::Founding(_) => Some(HeadMove {
            expected: None,
            next: FOUNDED,
        }),
        Record::Sealed(sealed) => {
            let prev = sealed.block.claims().prev;
            Some(HeadMove {
                expected: Some(prev.0),
                next: sealed.block.hash().0,
            })
        }
        _ => None,
    }
}
