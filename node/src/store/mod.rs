//! The node's store: the journal of the client SDK with an index in sled.
//!
//! Decides where the parts lie: `DIR/journal` is the truth, `DIR/index` can be deleted at any time.

mod index;
mod sums;

use std::path::Path;

use warifu_client_sdk::store::{JournalOptions, JournalStore, StoreError};

pub use index::SledIndex;
pub use sums::{Changed, compare as compare_sums};

/// The node's store.
pub type NodeStore = JournalStore<SledIndex>;

/// Opens or creates the store in `dir`. `observer` is told bytes done and bytes in total of the
/// journal that the index has to read, for a progress bar. Blocks.
///
/// # Errors
/// Those of [`JournalStore::open`].
pub fn open(
    dir: &Path,
    options: JournalOptions,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<NodeStore, StoreError> {
    let index = dir.join("index");
    JournalStore::open(dir, options, || SledIndex::open(&index), observer)
}
