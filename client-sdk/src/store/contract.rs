//! What every store must keep, whatever it is built on.
//!
//! Decides what `Ok` means: the batch survives power loss, whole or not at all, and the stream's
//! head was what the caller believed. A second implementation is checked by [`super::suite`].
//! Never decides what an entry means: entries are opaque bytes.

use std::{fmt, future::Future, io, ops::Range, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use warifu_consensus::party::Role;

use super::encoding::EncodingError;

/// Names one sequence of entries: an account's `sub` (16 raw bytes), or all zeros for the node's
/// own stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub [u8; 16]);

impl StreamId {
    /// The node's own stream: 16 zero bytes.
    pub const NODE: Self = Self([0; 16]);

    /// The global log's stream: 15 zero bytes and a one.
    pub const LOG: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// A stream's head moving from one 32-byte hash to the next, compared and set in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadMove {
    /// The head the caller believes in; `None` while the stream has none.
    pub expected: Option<[u8; 32]>,
    /// The head once the batch is durable.
    pub next: [u8; 32],
}

/// What is appended in one step: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The stream that every entry belongs to.
    pub stream: StreamId,
    /// Compare-and-append on the stream's head; `None` leaves the head alone.
    pub head: Option<HeadMove>,
    /// Opaque entries, in order. Encoded together they must fit the record limit (256 KiB).
    pub entries: Vec<Vec<u8>>,
    /// True for what may be refused while the disk is nearly full (admits), false for what must
    /// still be taken then (restricts, and whatever only takes away).
    pub may_wait: bool,
}

/// How long a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its batches, numbered from 0 in the order they were appended.
    pub batches: u64,
    /// Those of them that moved the head, numbered from 0 likewise.
    pub moves: u64,
}

/// Where a batch stands among all batches of a store: later ones have greater places. It stays the same for
/// as long as the store is kept.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place(pub u64);

impl Place {
    /// Before every batch.
    pub const START: Self = Self(0);
}

/// A batch as [`Store::follow`] gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Where it stands.
    pub place: Place,
    /// The stream that its entries belong to.
    pub stream: StreamId,
    /// Its entries, in order.
    pub entries: Vec<Vec<u8>>,
}

/// How much room is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Every batch is taken.
    Plenty,
    /// Only batches that may not wait are taken.
    NearlyFull,
}

/// Whose records a directory holds: a ledger's origin (`iss`) and the party's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerId {
    /// 1 device, 2 broker, 3 trust operator; 0 where the role is not told (vaults).
    pub role: u8,
    /// The ledger's origin, as in the claim `iss`.
    pub origin: String,
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Role::try_from(self.role) {
            Ok(role) => write!(f, "{:?} as {role}", self.origin),
            Err(_) => write!(f, "{:?}", self.origin),
        }
    }
}

/// Why a store did not do what it was asked.
///
/// Clonable, because one failed sync answers every batch that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The head is another one: somebody else appended first. Nothing was written.
    #[error("stream {stream} has head {}, expected {}", short_hash(.found), short_hash(.expected))]
    HeadMismatch {
        /// The stream whose head was compared.
        stream: StreamId,
        /// The head after everything already queued.
        found: Option<[u8; 32]>,
        /// The head the batch named.
        expected: Option<[u8; 32]>,
    },
    /// The batch, encoded, is larger than a record may be. Nothing was written.
    #[error("batch has {found} bytes encoded, limit {limit}")]
    BatchTooLarge {
        /// Encoded size in bytes.
        found: usize,
        /// Largest encoded size in bytes.
        limit: usize,
    },
    /// The disk is nearly full and the batch may wait. Nothing was written.
    #[error("disk has {free} bytes free, {reserve} are kept for batches that cannot wait")]
    NearlyFull {
        /// Free bytes; 0 also when they could not be read.
        free: u64,
        /// Bytes kept in reserve.
        reserve: u64,
    },
    /// What is on disk is not what was written. Nothing was changed.
    #[error("{} is corrupt at byte {offset}: {reason}{}", .file.display(), attribution(.stream, .after))]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damaged record starts, in bytes.
        offset: u64,
        /// The stream that the damaged record names; a guess, as the record is damaged.
        stream: Option<StreamId>,
        /// The stream of the last good record before it.
        after: Option<StreamId>,
        /// What did not hold.
        reason: &'static str,
    },
    /// The operating system refused. After a failed write or sync the store stays stopped.
    #[error("could not {action} {}", .path.display())]
    Io {
        /// What was being done, as a verb: "sync", "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: Arc<io::Error>,
    },
    /// An earlier write, sync or index update failed; the node must restart.
    #[error("store has stopped after an earlier failure")]
    Stopped,
    /// Another process (or another store in this one) writes to this directory.
    #[error("{} is in use by {}", .dir.display(), holder_text(.holder))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, where it said so.
        holder: Option<u32>,
    },
    /// The directory belongs to another ledger or another role.
    #[error("directory belongs to ledger {found}, expected {expected}")]
    OtherLedger {
        /// Whose records are there.
        found: LedgerId,
        /// Whose were to be opened.
        expected: LedgerId,
    },
    /// A later release wrote this file.
    #[error("{} has format version {found}, newest supported {supported}", .file.display())]
    FutureVersion {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version this release reads.
        supported: u32,
    },
    /// A release before the first published one wrote this file.
    #[error("{} has format version {found}, oldest supported {supported}", .file.display())]
    PastVersion {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The oldest version this release reads.
        supported: u32,
    },
    /// The vault was sealed under another master key. Nothing was changed.
    #[error("vault {} was sealed under another master key", .dir.display())]
    WrongMasterKey {
        /// The vault's directory.
        dir: PathBuf,
    },
    /// The master key's file is unsafe or malformed.
    #[error("master key file {}: {reason}", .path.display())]
    MasterKeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The index over the journal failed or disagrees with it; a restart rebuilds it.
    #[error("index failed, a restart rebuilds it: {reason}")]
    Index {
        /// What failed.
        reason: String,
    },
    /// Bytes could not be encoded or are not what encoding gives.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// A secret could not be sealed, or the system gave no randomness for it.
    #[error("could not seal a secret")]
    Sealing,
}

impl StoreError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }
}

fn holder_text(holder: &Option<u32>) -> String {
    holder.map_or_else(
        || "another writer".to_owned(),
        |pid| format!("another writer, process {pid}"),
    )
}

fn short_hash(hash: &Option<[u8; 32]>) -> String {
    hash.as_ref().map_or_else(
        || "none".to_owned(),
        |hash| {
            hash.iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect()
        },
    )
}

fn attribution(stream: &Option<StreamId>, after: &Option<StreamId>) -> String {
    let named = stream.map_or(String::new(), |stream| format!(", names stream {stream}"));
    let after = after.map_or(String::new(), |stream| {
        format!(", after a good record of stream {stream}")
    });
    named + &after
}

/// A durable store of streams of opaque entries.
///
/// One writer per store. Corrupt is never reported as not found.
pub trait Store: Send + Sync + 'static {
    /// Appends the batch whole, if the head is still the expected one.
    ///
    /// `Ok` means that it survives power loss. An error other than [`StoreError::Io`] and
    /// [`StoreError::Stopped`] means that nothing was written; after those two the outcome is
    /// known only when the store was opened again. Dropping the future does not take a queued
    /// batch back.
    fn append(&self, batch: Batch) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Appends batches in order, each as [`Store::append`] does, waiting for all of them at once;
    /// after an error those before the failed one may have been written.
    fn append_all(
        &self,
        batches: Vec<Batch>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Appends a batch that may be lost: `Ok` says only that it keeps its place, after everything
    /// appended before it and before everything after it. It becomes durable with the next batch
    /// that somebody waits for, or a second later, or when the store is dropped, and is read only
    /// from then on. It never moves a head.
    ///
    /// # Errors
    /// As [`Store::append`]; a write that fails later stops the store.
    fn append_late(
        &self,
        stream: StreamId,
        entries: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// All entries of a stream in the order they were appended; empty if it has none. Blocks on
    /// the disk. Sees every batch acknowledged before the call.
    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError> {
        let all = 0..self.extent(stream)?.batches;
        let batches = self.read_batches(stream, all)?;
        Ok(batches.into_iter().flatten().collect())
    }

    /// The stream's length. Sees every batch acknowledged before the call. May block on the disk.
    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError>;

    /// The entries of the batches with these numbers, batch by batch; those of them that exist.
    /// Reads nothing else of the stream. Blocks on the disk.
    fn read_batches(
        &self,
        stream: StreamId,
        batches: Range<u64>,
    ) -> Result<Vec<Vec<Vec<u8>>>, StoreError>;

    /// The number of the batch that moved the head the `nth` time, from 0; found without reading
    /// the stream. May block on the disk.
    fn batch_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError>;

    /// Which head move, not before the one numbered `first`, moved the head to `head`: looks
    /// from the last one back, so what is recent is found soon. Blocks on the disk.
    fn move_to(
        &self,
        stream: StreamId,
        head: [u8; 32],
        first: u64,
    ) -> Result<Option<u64>, StoreError>;

    /// Where a batch of a stream stands among all batches; `None` if there is none of this number. May
    /// block on the disk.
    fn place_of(&self, stream: StreamId, batch: u64) -> Result<Option<Place>, StoreError>;

    /// The durable batches of all streams that stand after `after`, in the order in which they were
    /// appended, at most `most` of them; empty when there are none yet. Every batch acknowledged before
    /// the call is there, and none that could still be lost. Takes no time that grows with what
    /// stands before. Blocks on the disk.
    fn follow(&self, after: Place, most: usize) -> Result<Vec<Followed>, StoreError>;

    /// The stream's durable head (32 bytes), `None` if it never moved. May block on the disk.
    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError>;

    /// Every stream that has a batch, sorted; the node's own included. May block on the disk.
    fn streams(&self) -> Result<Vec<StreamId>, StoreError>;

    /// A hint, and nothing else: so many streams are at work and will write again soon, so that
    /// a batch may wait a moment for others to share a sync with.
    fn expect(&self, _streams: usize) {}

    /// How much room is left.
    fn space(&self) -> Space;
}

impl<S: Store> Store for Arc<S> {
    fn append(&self, batch: Batch) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::append(self, batch)
    }

    fn append_all(
        &self,
        batches: Vec<Batch>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::append_all(self, batches)
    }

    fn append_late(
        &self,
        stream: StreamId,
        entries: Vec<Vec<u8>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::append_late(self, stream, entries)
    }

    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError> {
        S::read(self, stream)
    }

    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        S::extent(self, stream)
    }

    fn read_batches(
        &self,
        stream: StreamId,
        batches: Range<u64>,
    ) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        S::read_batches(self, stream, batches)
    }

    fn batch_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        S::batch_of_move(self, stream, nth)
    }

    fn move_to(
        &self,
        stream: StreamId,
        head: [u8; 32],
        first: u64,
    ) -> Result<Option<u64>, StoreError> {
        S::move_to(self, stream, head, first)
    }

    fn place_of(&self, stream: StreamId, batch: u64) -> Result<Option<Place>, StoreError> {
        S::place_of(self, stream, batch)
    }

    fn follow(&self, after: Place, most: usize) -> Result<Vec<Followed>, StoreError> {
        S::follow(self, after, most)
    }

    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        S::head(self, stream)
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        S::streams(self)
    }

    fn expect(&self, streams: usize) {
        S::expect(self, streams);
    }

    fn space(&self) -> Space {
        S::space(self)
    }
}
