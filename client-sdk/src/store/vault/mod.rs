//! Secrets that can be forgotten: shares, content keys, salts.
//!
//! A second journal, one file, compacted: `remove` makes a secret unreachable at once, and the next
//! compaction removes its bytes from the file. Decides nothing about when a secret must go.
//!
//! Secrets are sealed in memory as they are on disk; plaintext exists only in what [`Vault::get`]
//! returns, and is wiped there. What a disk's own firmware keeps of overwritten blocks is out of
//! reach: whoever must be sure deletes the master key.
//!
//! Costs about 200 bytes of memory per secret, besides the secret itself.

mod compact;
mod inspect;
mod live;
mod master_key;
mod seal;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use zeroize::Zeroizing;

use self::{
    live::{Change, Live, LiveSink, VaultRecord},
    seal::Sealer,
};
use super::{
    BeforeSync, Counters, Disk, LedgerId, StoreError, StreamId,
    directory::DirectoryLock,
    encoding,
    journal::{
        RECORD_LIMIT_BYTES,
        frame::frame_bytes,
        gather::AtWork,
        recovery::{Recovery, recover},
        segment::{Identity, Tail},
        writer::{Writer, WriterOptions},
    },
};
pub use inspect::inspect_vault;
pub(crate) use inspect::{Step, walk};
pub use master_key::MasterKey;

const VAULT_MAGIC: [u8; 14] = *b"warifu-vault\0\0";

/// Batches that may wait for the vault's writer.
const QUEUE: usize = 64;

/// Below this many dead bytes compaction is not worth its writes.
const COMPACTION_FLOOR_BYTES: u64 = 1 << 20;

/// Names a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VaultKey {
    /// The account it belongs to; zeros for the node's own.
    pub stream: StreamId,
    /// What it is, numbered by the caller.
    pub kind: u8,
    /// Which one of its kind: a hash, or zeros where there is only one.
    pub name: [u8; 32],
}

/// How a vault's file is written; the defaults are for use, the rest for benches and simulators.
#[derive(Clone, Default)]
pub struct VaultOptions {
    /// Extra time each sync takes (default none).
    pub sync_delay: Duration,
    /// Runs before each sync (default none); an error counts as a failed sync.
    pub before_sync: Option<BeforeSync>,
    /// The file system (default: the real one, unwatched).
    pub disk: Disk,
}

type VaultWriter = Option<Writer<Change>>;

/// A durable map from [`VaultKey`] to a secret, sealed under a master key.
///
/// Every change is durable when its call returns; changes made at the same time share a sync.
pub struct Vault {
    shared: Arc<Shared>,
}

struct Shared {
    file: VaultFile,
    sealer: Sealer,
    /// Empty after a compaction that failed: the vault has stopped. Shared by appends, exclusive
    /// for a compaction, which replaces the file.
    writer: Arc<RwLock<VaultWriter>>,
    _lock: DirectoryLock,
}

/// What a writer of the vault's file is started with.
struct VaultFile {
    dir: PathBuf,
    identity: Identity,
    live: Arc<Live>,
    stopped: Arc<AtomicBool>,
    options: VaultOptions,
    at_work: AtWork,
}

impl Vault {
    /// Opens or creates the vault in `dir` for the ledger `origin` (its `iss`). Checks every
    /// secret's seal. Blocks.
    ///
    /// # Errors
    /// [`StoreError::WrongMasterKey`], [`StoreError::Locked`], [`StoreError::OtherLedger`],
    /// [`StoreError::Corrupt`], [`StoreError::FutureVersion`] (nothing was changed), or
    /// [`StoreError::Io`].
    pub fn open(dir: &Path, master_key: &MasterKey, origin: &str) -> Result<Self, StoreError> {
        Self::open_with(dir, master_key, origin, VaultOptions::default())
    }

    /// [`Vault::open`], written as `options` say.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_with(
        dir: &Path,
        master_key: &MasterKey,
        origin: &str,
        options: VaultOptions,
    ) -> Result<Self, StoreError> {
        let lock = DirectoryLock::take(&options.disk, dir)?;
        let identity = Identity {
            magic: VAULT_MAGIC,
            ledger: LedgerId {
                role: 0,
                origin: origin.to_owned(),
            },
        };
        let sealer = Sealer::new(master_key, origin);
        let live = Arc::new(Live::default());
        let tail = load(&options.disk, dir, &identity, &sealer, &live)?;
        live.set_file_bytes(tail.offset);
        let file = VaultFile {
            dir: dir.to_path_buf(),
            identity,
            live,
            stopped: Arc::new(AtomicBool::new(false)),
            options,
            at_work: AtWork::default(),
        };
        let writer = file.spawn_writer(tail)?;
        Ok(Self {
            shared: Arc::new(Shared {
                file,
                sealer,
                writer: Arc::new(RwLock::new(Some(writer))),
                _lock: lock,
            }),
        })
    }

    /// Seals and stores a secret, replacing the one of the same key. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::BatchTooLarge`] above 256 KiB, less about 100 bytes of framing;
    /// [`StoreError::Sealing`] without randomness; [`StoreError::Io`], [`StoreError::Stopped`].
    pub async fn put(&self, key: VaultKey, secret: &[u8]) -> Result<(), StoreError> {
        let sealed = self.shared.sealer.seal(&seal::key_data(&key), secret)?;
        let record = VaultRecord::Put {
            key,
            sealed: sealed.clone(),
        };
        self.append(&record, |bytes| Change::Put { key, sealed, bytes })
            .await
    }

    /// Opens a secret; `None` if there is none under this key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if its seal does not hold.
    pub fn get(&self, key: &VaultKey) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(sealed) = self.shared.file.live.sealed(key) else {
            return Ok(None);
        };
        let opened = self.shared.sealer.open(&seal::key_data(key), &sealed);
        opened.map(Some).ok_or_else(|| StoreError::Corrupt {
            file: self.shared.file.dir.clone(),
            offset: 0,
            stream: Some(key.stream),
            after: None,
            reason: "secret does not open under its key",
        })
    }

    /// A hint like [`Store::expect`](super::Store::expect).
    pub fn expect(&self, streams: usize) {
        self.shared.file.at_work.store(streams, Ordering::Relaxed);
    }

    /// Whether it holds no secret at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.file.live.is_empty()
    }

    /// The keys of a stream's secrets, sorted.
    #[must_use]
    pub fn keys(&self, stream: StreamId) -> Vec<VaultKey> {
        self.shared.file.live.keys(stream)
    }

    /// Forgets a secret. When it returns, no [`Vault::get`] finds it again, also after a restart;
    /// its sealed bytes leave the disk with the next [`Vault::compact`].
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Stopped`].
    pub async fn remove(&self, key: VaultKey) -> Result<(), StoreError> {
        self.append(&VaultRecord::Remove { key }, |_| Change::Remove { key })
            .await
    }

    /// Forgets every secret of a stream, like [`Vault::remove`].
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Stopped`].
    pub async fn remove_stream(&self, stream: StreamId) -> Result<(), StoreError> {
        self.append(&VaultRecord::RemoveStream { stream }, |_| {
            Change::RemoveStream { stream }
        })
        .await
    }

    /// Whether the file may still hold sealed bytes of a stream that was forgotten as a whole: a crash came before the
    /// compaction.
    #[must_use]
    pub fn has_remains(&self, stream: StreamId) -> bool {
        self.shared.file.live.has_remains(stream)
    }

    /// Rewrites the file with the live secrets only: everything forgotten before is gone from it
    /// when this returns. Runs by itself when more than half the file (and 1 MiB) is dead.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the vault has then stopped, and the old or the new file is in place.
    pub async fn compact(&self) -> Result<(), StoreError> {
        let writer = Arc::clone(&self.shared.writer).write_owned().await;
        self.compact_with(writer).await
    }

    /// What the vault's file has seen since it was opened or last compacted.
    pub async fn counters(&self) -> Counters {
        let writer = self.shared.writer.read().await;
        writer.as_ref().map(Writer::counters).unwrap_or_default()
    }

    async fn append(
        &self,
        record: &VaultRecord,
        change: impl FnOnce(u64) -> Change,
    ) -> Result<(), StoreError> {
        let payload = encoding::encode::<RECORD_LIMIT_BYTES, _>(record)
            .map_err(super::journal_store::too_large)?;
        let change = change(frame_bytes(payload.len()));
        {
            let writer = self.shared.writer.read().await;
            let writer = writer.as_ref().ok_or(StoreError::Stopped)?;
            let place = writer.place().await?;
            place.send(payload, change).wait().await?;
        }
        if self.shared.file.live.dead_bytes() > self.compaction_bytes() {
            let writer = Arc::clone(&self.shared.writer).write_owned().await;
            // Another append may have compacted while this one waited.
            if self.shared.file.live.dead_bytes() > self.compaction_bytes()
                && let Err(error) = self.compact_with(writer).await
            {
                // This change is durable; the next one is told that the vault has stopped.
                tracing::error!(%error, "vault stopped while it was compacted");
            }
        }
        Ok(())
    }

    fn compaction_bytes(&self) -> u64 {
        COMPACTION_FLOOR_BYTES.max(self.shared.file.live.file_bytes() / 2)
    }

    async fn compact_with(
        &self,
        mut writer: tokio::sync::OwnedRwLockWriteGuard<VaultWriter>,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        // On a thread of its own: a caller that gives up can't leave it half done.
        let task = tokio::task::spawn_blocking(move || {
            if writer.take().is_none() {
                return Err(StoreError::Stopped);
            }
            let tail = compact::rewrite(&shared)?;
            *writer = Some(shared.file.spawn_writer(tail)?);
            Ok(())
        });
        task.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl VaultFile {
    fn spawn_writer(&self, tail: Tail) -> Result<Writer<Change>, StoreError> {
        let options = WriterOptions {
            disk: self.options.disk.clone(),
            dir: self.dir.clone(),
            identity: self.identity.clone(),
            segment_bytes: u64::MAX,
            queue: QUEUE,
            sync_delay: self.options.sync_delay,
            before_sync: self.options.before_sync.clone(),
            at_work: Arc::clone(&self.at_work),
        };
        let sink = LiveSink(Arc::clone(&self.live));
        Writer::spawn(tail, options, Arc::clone(&self.stopped), sink)
    }
}

/// Reads the vault's file, or creates it with the record that later tells a wrong master key.
fn load(
    disk: &Disk,
    dir: &Path,
    identity: &Identity,
    sealer: &Sealer,
    live: &Live,
) -> Result<Tail, StoreError> {
    let check = encoding::encode::<RECORD_LIMIT_BYTES, _>(&VaultRecord::Check {
        sealed: sealer.seal(seal::CHECK_DATA, seal::CHECK_TEXT)?,
    })?;
    let mut checked = false;
    let recovery = recover(
        disk,
        dir,
        identity,
        None,
        &[check],
        &mut |scanner, scanned| {
            let offset = scanned.position.offset;
            let corrupt = |reason| scanner.corrupt_at(offset, reason, None);
            let record = encoding::decode::<RECORD_LIMIT_BYTES, _>(&scanned.payload)
                .map_err(|_| corrupt("record is not in canonical form"))?;
            let bytes = frame_bytes(scanned.payload.len());
            match record {
                VaultRecord::Check { sealed } if !checked => {
                    checked = true;
                    sealer
                        .open(seal::CHECK_DATA, &sealed)
                        .map(|_| ())
                        .ok_or_else(|| StoreError::WrongMasterKey {
                            dir: dir.to_path_buf(),
                        })
                }
                VaultRecord::Put { key, sealed } if checked => {
                    sealer
                        .open(&seal::key_data(&key), &sealed)
                        .ok_or_else(|| corrupt("secret does not open under its key"))?;
                    live.apply(Change::Put { key, sealed, bytes });
                    Ok(())
                }
                VaultRecord::Remove { key } if checked => {
                    live.apply(Change::Remove { key });
                    Ok(())
                }
                VaultRecord::RemoveStream { stream } if checked => {
                    live.apply(Change::RemoveStream { stream });
                    Ok(())
                }
                _ => Err(corrupt("key check is missing or repeated")),
            }
        },
        &mut |_, _| {},
    )?;
    match recovery {
        Recovery::Ready(tail) => Ok(tail),
        Recovery::UnknownCoverage => Err(StoreError::Stopped),
    }
}
