use std::{cell::RefCell, collections::HashMap, ops::Range};

use warifu_client_sdk::store::{
    Batch, Extent, Followed, JournalStore, MemoryIndex, Place, Space, Store, StoreError, StreamId,
    suite::{ContractViolation, run_contract},
};

use super::{open, open_with, options};

fn directories(root: &std::path::Path) -> impl Fn(&'static str) -> std::path::PathBuf {
    let names = RefCell::new(HashMap::new());
    move |name| {
        let mut names = names.borrow_mut();
        let next = names.len();
        root.join(names.entry(name).or_insert(next).to_string())
    }
}

#[tokio::test]
async fn journal_over_a_memory_index_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let dir = directories(root.path());
    run_contract(async |name| open(&dir(name))).await.unwrap();
}

#[tokio::test]
async fn journal_of_tiny_segments_and_a_short_queue_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let dir = directories(root.path());
    run_contract(async |name| {
        let mut options = options();
        options.segment_bytes = 1;
        options.queue_batches = 1;
        open_with(&dir(name), options)
    })
    .await
    .unwrap();
}

/// A store that forgets to compare heads: the suite must tell.
struct Careless(JournalStore<MemoryIndex>);

impl Store for Careless {
    async fn append(&self, mut batch: Batch) -> Result<(), StoreError> {
        batch.head = None;
        self.0.append(batch).await
    }
    async fn append_all(&self, batches: Vec<Batch>) -> Result<(), StoreError> {
        for batch in batches {
            self.append(batch).await?;
        }
        Ok(())
    }
    async fn append_late(&self, stream: StreamId, entries: Vec<Vec<u8>>) -> Result<(), StoreError> {
        self.0.append_late(stream, entries).await
    }
    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        self.0.extent(stream)
    }
    fn read_batches(
        &self,
        stream: StreamId,
        batches: Range<u64>,
    ) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        self.0.read_batches(stream, batches)
    }
    fn batch_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        self.0.batch_of_move(stream, nth)
    }
    fn move_to(
        &self,
        stream: StreamId,
        head: [u8; 32],
        first: u64,
    ) -> Result<Option<u64>, StoreError> {
        self.0.move_to(stream, head, first)
    }
    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        let entries = self.0.read(stream)?;
        Ok(entries.len().checked_sub(3).map(|_| [2; 32]))
    }
    fn place_of(&self, stream: StreamId, batch: u64) -> Result<Option<Place>, StoreError> {
        self.0.place_of(stream, batch)
    }
    fn follow(&self, after: Place, most: usize) -> Result<Vec<Followed>, StoreError> {
        self.0.follow(after, most)
    }
    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        self.0.streams()
    }
    fn space(&self) -> Space {
        self.0.space()
    }
}

#[tokio::test]
async fn suite_finds_a_store_that_does_not_compare_heads() {
    let root = tempfile::tempdir().unwrap();
    let dir = directories(root.path());
    let result = run_contract(async |name| open(&dir(name)).map(Careless)).await;
    assert!(
        matches!(result, Err(ContractViolation::Broken { rule, .. }) if rule.contains("another head")),
        "{result:?}"
    );
}
