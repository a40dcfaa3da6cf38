mod contract;
mod damage;
mod format;
mod journal;
mod looks;
mod power;
mod vault;

use std::path::Path;

use warifu_client_sdk::store::{
    Batch, HeadMove, JournalOptions, JournalStore, MemoryIndex, StoreError, StreamId,
};

pub(crate) const ALICE: StreamId = StreamId([0xa1; 16]);
pub(crate) const BOB: StreamId = StreamId([0xb0; 16]);

pub(crate) fn options() -> JournalOptions {
    JournalOptions {
        reserve_bytes: 0,
        ..JournalOptions::new("ledger.example", 2)
    }
}

pub(crate) fn open(dir: &Path) -> Result<JournalStore<MemoryIndex>, StoreError> {
    open_with(dir, options())
}

pub(crate) fn open_with(
    dir: &Path,
    options: JournalOptions,
) -> Result<JournalStore<MemoryIndex>, StoreError> {
    JournalStore::open(dir, options, || Ok(MemoryIndex::default()), &mut |_, _| {})
}

pub(crate) fn batch(stream: StreamId, head: Option<HeadMove>, entries: &[&[u8]]) -> Batch {
    Batch {
        stream,
        head,
        entries: entries.iter().map(|entry| entry.to_vec()).collect(),
        may_wait: false,
    }
}

pub(crate) fn step(expected: Option<u8>, next: u8) -> Option<HeadMove> {
    Some(HeadMove {
        expected: expected.map(|byte| [byte; 32]),
        next: [next; 32],
    })
}
