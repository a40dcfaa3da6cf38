use std::{cell::RefCell, collections::HashMap};

use warifu_client_sdk::store::{
    Batch, JournalStore, MemoryIndex, Space, Store, StoreError, StreamId,
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
    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError> {
        self.0.read(stream)
    }
    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        let entries = self.0.read(stream)?;
        Ok(entries.len().checked_sub(3).map(|_| [2; 32]))
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
