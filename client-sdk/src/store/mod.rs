//! What a party keeps: the store contract, the journal that fulfils it, and the vault.
//!
//! The journal is the truth: append-only, chained, synced before anything is acknowledged. Every
//! index over it can be deleted and rebuilt. The vault is a second journal that can forget.
//!
//! This module never looks inside an entry: what a block or a lock means is decided above it. It
//! never repairs what it cannot explain: anything but what a crash leaves of the last write stops the
//! node.

mod contract;
mod directory;
mod disk;
mod encoding;
mod index;
mod journal;
mod journal_store;
mod measure;
mod options;
mod recent;
pub mod suite;
mod vault;

pub use contract::{
    Batch, Extent, Followed, HeadMove, LedgerId, Place, Space, Store, StoreError, StreamId,
};
pub use directory::{Occupant, occupant};
pub use disk::{Disk, DiskChange, DiskFault, DiskWatch};
pub use encoding::EncodingError;
pub use index::{Coverage, Index, IndexedRecord, MemoryIndex, Position};
pub use journal::{
    Counters, FORMAT_VERSION as JOURNAL_FORMAT, JournalReader, JournalRecord, RECORD_LIMIT_BYTES,
};
pub use journal_store::JournalStore;
pub use options::{BeforeSync, FreeSpaceProbe, JournalOptions};
pub use vault::{MasterKey, Vault, VaultKey, VaultOptions, inspect_vault};
pub(crate) use vault::{Step, walk};
