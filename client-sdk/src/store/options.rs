//! How a journal is opened: whose it is, and the few figures an operator may change.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use super::{Disk, LedgerId, directory};

/// Tells the free bytes of the file system that holds a directory.
pub type FreeSpaceProbe = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Runs before each sync on the writer's thread; an error counts as a failed sync.
pub type BeforeSync = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// How a journal is opened.
#[derive(Clone)]
pub struct JournalOptions {
    /// Whose records these are; a directory of another ledger or role is refused.
    pub ledger: LedgerId,
    /// A segment that has reached this many bytes is followed by a new one (default 64 MiB).
    pub segment_bytes: u64,
    /// How many batches may wait for the writer (default 256); further ones wait for a place.
    pub queue_batches: usize,
    /// Free bytes below which batches that may wait are refused (default 256 MiB).
    pub reserve_bytes: u64,
    /// How free space is read (default: `statvfs` of the journal's directory).
    pub free_space: FreeSpaceProbe,
    /// Extra time each sync takes (default none): a bench makes a slow disk with it.
    pub sync_delay: Duration,
    /// Runs before each sync (default none): a simulator fails syncs with it.
    pub before_sync: Option<BeforeSync>,
    /// The file system (default: the real one, unwatched).
    pub disk: Disk,
}

impl JournalOptions {
    /// The defaults for the ledger `origin` (its `iss`) and `role` (1 device, 2 broker, 3 trust
    /// operator).
    #[must_use]
    pub fn new(origin: impl Into<String>, role: u8) -> Self {
        Self {
            ledger: LedgerId {
                role,
                origin: origin.into(),
            },
            segment_bytes: 64 << 20,
            queue_batches: 256,
            reserve_bytes: 256 << 20,
            free_space: Arc::new(directory::free_bytes),
            sync_delay: Duration::ZERO,
            before_sync: None,
            disk: Disk::default(),
        }
    }
}

impl fmt::Debug for JournalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalOptions")
            .field("ledger", &self.ledger)
            .field("segment_bytes", &self.segment_bytes)
            .field("queue_batches", &self.queue_batches)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("sync_delay", &self.sync_delay)
            .finish_non_exhaustive()
    }
}
