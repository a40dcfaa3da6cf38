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
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
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
    /// Empty after a compaction that failed, until the file is opened again. Shared by appends,
    /// exclusive for a compaction, which replaces the file.
    writer: Arc<RwLock<VaultWriter>>,
    /// Below this many dead bytes the vault is not compacted by itself: the last try failed.
    compact_from: AtomicU64,
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
                compact_from: AtomicU64::new(0),
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
    /// [`StoreError::Io`]; the old or the new file is in place. The vault opens it again, as the next
    /// start would: at once, or, if that fails too, with the next change.
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
            let writer = self.writer().await?;
            let writer = writer.as_ref().ok_or(StoreError::Stopped)?;
            let place = writer.place().await?;
            place.send(payload, change).wait().await?;
        }
        if self.shared.is_mostly_dead() {
            let writer = Arc::clone(&self.shared.writer).write_owned().await;
            // Another append may have compacted while this one waited.
            if self.shared.is_mostly_dead()
                && let Err(error) = self.compact_with(writer).await
            {
                // This change is durable all the same.
                tracing::error!(%error, "the vault is not compacted, which is tried again later");
                let dead = self.shared.file.live.dead_bytes();
                let from = dead.saturating_add(COMPACTION_FLOOR_BYTES);
                self.shared.compact_from.store(from, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The writer; after a compaction that failed, the file is opened again first.
    async fn writer(&self) -> Result<OwnedRwLockReadGuard<VaultWriter>, StoreError> {
        let writer = Arc::clone(&self.shared.writer).read_owned().await;
        if writer.is_some() {
            return Ok(writer);
        }
        drop(writer);
        let mut writer = Arc::clone(&self.shared.writer).write_owned().await;
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            if writer.is_none() {
                *writer = Some(shared.reopen()?);
            }
            Ok(writer.downgrade())
        });
        task.await.unwrap_or(Err(StoreError::Stopped))
    }

    async fn compact_with(
        &self,
        mut writer: OwnedRwLockWriteGuard<VaultWriter>,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        // On a thread of its own: a caller that gives up can't leave it half done.
        let task = tokio::task::spawn_blocking(move || {
            if writer.is_none() {
                *writer = Some(shared.reopen()?);
            }
            // Ends the thread, which writes what is queued.
            *writer = None;
            if shared.file.stopped.load(Ordering::Acquire) {
                return Err(StoreError::Stopped);
            }
            let replaced = compact::rewrite(&shared);
            match replaced.and_then(|tail| shared.file.spawn_writer(tail)) {
                Ok(spawned) => {
                    *writer = Some(spawned);
                    shared.compact_from.store(0, Ordering::Relaxed);
                    Ok(())
                }
                Err(error) => {
                    match shared.reopen() {
                        Ok(reopened) => *writer = Some(reopened),
                        Err(error) => {
                            tracing::error!(%error, "the vault takes no change until it opens again");
                        }
                    }
                    Err(error)
                }
            }
        });
        task.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl Shared {
    /// Whether the file is worth a compaction.
    fn is_mostly_dead(&self) -> bool {
        let live = &self.file.live;
        let floor = COMPACTION_FLOOR_BYTES.max(self.compact_from.load(Ordering::Relaxed));
        live.dead_bytes() > floor.max(live.file_bytes() / 2)
    }

    /// Opens the file again after a compaction that failed. Sound, because the writer had not: what is live is what
    /// was acknowledged, the old file has all of it, and so has the new one, which was synced before it got its name.
    /// Whichever has the name is read, checked and synced as at every start.
    fn reopen(&self) -> Result<Writer<Change>, StoreError> {
        let file = &self.file;
        // After a write that failed, only the next start tells what the disk holds.
        if file.stopped.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        let found = Live::default();
        let disk = &file.options.disk;
        let tail = load(disk, &file.dir, &file.identity, &self.sealer, &found)?;
        if !file.live.reloaded(found, tail.offset) {
            return Err(StoreError::Corrupt {
                file: file.dir.clone(),
                offset: 0,
                stream: None,
                after: None,
                reason: "vault holds other secrets than were acknowledged",
            });
        }
        file.spawn_writer(tail)
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
