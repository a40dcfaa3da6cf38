//! The sled index: it may be slow to begin with, but never wrong.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use warifu_client_sdk::store::{
    Batch, HeadMove, JournalOptions, JournalStore, MemoryIndex, Store, StoreError, StreamId,
    suite::run_contract,
};
use warifu_node::store::NodeStore;

fn options() -> JournalOptions {
    JournalOptions {
        reserve_bytes: 0,
        segment_bytes: 2000,
        ..JournalOptions::new("ledger.example", 3)
    }
}

fn open(dir: &Path) -> Result<NodeStore, StoreError> {
    warifu_node::store::open(dir, options(), &mut |_, _| {})
}

/// Opens the store; tells how many records were read from the journal to do so.
fn open_counting(dir: &Path) -> (NodeStore, usize) {
    let mut steps = 0;
    let store = warifu_node::store::open(dir, options(), &mut |_, _| steps += 1).unwrap();
    (store, steps)
}

fn stream(number: u8) -> StreamId {
    StreamId([number % 5; 16])
}

fn batch(stream: StreamId, head: Option<HeadMove>, entry: &[u8]) -> Batch {
    Batch {
        stream,
        head,
        entries: vec![entry.to_vec()],
        may_wait: false,
    }
}

async fn fill<S: Store>(store: &S, rounds: std::ops::Range<u8>) {
    for number in rounds {
        let stream = stream(number);
        let head = HeadMove {
            expected: store.head(stream).unwrap(),
            next: [number; 32],
        };
        store
            .append(batch(stream, Some(head), &[number; 30]))
            .await
            .unwrap();
    }
}

type Contents = Vec<(StreamId, Option<[u8; 32]>, Vec<Vec<u8>>)>;

fn contents<S: Store>(store: &S) -> Contents {
    let streams = store.streams().unwrap();
    streams
        .into_iter()
        .map(|stream| {
            (
                stream,
                store.head(stream).unwrap(),
                store.read(stream).unwrap(),
            )
        })
        .collect()
}

/// What the journal says without any index on disk.
fn truth(dir: &Path) -> Contents {
    let memory = || Ok(MemoryIndex::default());
    contents(&JournalStore::open(dir, options(), memory, &mut |_, _| {}).unwrap())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn journal_over_a_sled_index_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let names = RefCell::new(HashMap::new());
    run_contract(async |name| {
        let dir = {
            let mut names = names.borrow_mut();
            let next = names.len();
            root.path()
                .join(names.entry(name).or_insert(next).to_string())
        };
        open(&dir)
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_batch_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()).unwrap());
    let tasks = (1..=8u8).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let stream = StreamId([task; 16]);
            for number in 0..50u8 {
                let head = HeadMove {
                    expected: number.checked_sub(1).map(|before| [before; 32]),
                    next: [number; 32],
                };
                store
                    .append(batch(stream, Some(head), &[number]))
                    .await
                    .unwrap();
                assert_eq!(store.head(stream).unwrap(), Some([number; 32]));
                let expected: Vec<_> = (0..=number).map(|number| vec![number]).collect();
                assert_eq!(store.read(stream).unwrap(), expected);
                assert!(store.streams().unwrap().contains(&stream));
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_good_index_saves_reading_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..100).await;
    drop(store);
    let (store, read) = open_counting(dir.path());
    assert!(read < 20, "{read} of 100 records read again");
    let found = contents(&store);
    drop(store);
    assert_eq!(found, truth(dir.path()));
    assert_eq!(found.len(), 5);
}

#[tokio::test]
async fn a_deleted_index_is_rebuilt_and_equal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..100).await;
    let before = contents(&store);
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, read) = open_counting(dir.path());
    assert!(read >= 100, "{read}");
    assert_eq!(contents(&store), before);
    fill(&store, 100..120).await;
    let after = contents(&store);
    drop(store);
    assert_eq!(after, truth(dir.path()));
}

#[tokio::test]
async fn an_older_index_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let older = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..50).await;
    drop(store);
    copy(&dir.path().join("index"), older.path());
    let store = open(dir.path()).unwrap();
    fill(&store, 50..100).await;
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    copy(older.path(), &dir.path().join("index"));

    let (store, read) = open_counting(dir.path());
    assert!((50..80).contains(&read), "{read} records read");
    let found = contents(&store);
    drop(store);
    assert_eq!(found, truth(dir.path()));
}

#[tokio::test]
async fn an_index_ahead_of_its_journal_or_of_another_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..40).await;
    drop(store);
    let journal = tempfile::tempdir().unwrap();
    copy(&dir.path().join("journal"), journal.path());
    let store = open(dir.path()).unwrap();
    fill(&store, 40..80).await;
    drop(store);
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    copy(journal.path(), &dir.path().join("journal"));
    let store = open(dir.path()).unwrap();
    let found = contents(&store);
    drop(store);
    assert_eq!(found, truth(dir.path()));

    // A journal of the same length with other records.
    let store = open(other.path()).unwrap();
    fill(&store, 100..140).await;
    drop(store);
    fs::remove_dir_all(other.path().join("index")).unwrap();
    copy(&dir.path().join("index"), &other.path().join("index"));
    let store = open(other.path()).unwrap();
    let found = contents(&store);
    drop(store);
    assert_eq!(found, truth(other.path()));
    assert!(
        found
            .iter()
            .all(|(_, head, _)| head.is_some_and(|head| head[0] >= 100))
    );
}

#[tokio::test]
async fn a_damaged_index_is_rebuilt_and_never_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..60).await;
    drop(store);
    let expected = truth(dir.path());
    let good = tempfile::tempdir().unwrap();
    copy(&dir.path().join("index"), good.path());

    let mut tried = 0;
    for file in files(good.path()) {
        let bytes = fs::read(&file).unwrap();
        let name = file.strip_prefix(good.path()).unwrap();
        // sled's file is mostly zeros; the bytes that are something are the ones that matter.
        let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let step = written.len() / 12 + 1;
        let flips = written.into_iter().step_by(step).map(|at| {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            bad
        });
        let cuts = [0, bytes.len() / 3].map(|length| bytes[..length].to_vec());
        for bad in flips.chain(cuts) {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
            copy(good.path(), &dir.path().join("index"));
            fs::write(dir.path().join("index").join(name), bad).unwrap();
            let store = open(dir.path()).unwrap();
            assert_eq!(contents(&store), expected);
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
}

/// The directory of a closed store's index; its sums stand beside it.
fn generation(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("index")).unwrap().flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| path.is_dir()).unwrap()
}

#[tokio::test]
async fn entries_lost_from_the_index_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..60).await;
    drop(store);
    let expected = truth(dir.path());
    for lost in 0..3 {
        let tree = sled::open(generation(dir.path())).unwrap();
        // Each time another kind of entry: a position, a stream, the coverage.
        let prefix = [b"p", b"s", b"c"][lost];
        let (key, _) = tree.scan_prefix(prefix).next().unwrap().unwrap();
        tree.remove(key).unwrap();
        tree.flush().unwrap();
        drop(tree);
        let (store, read) = open_counting(dir.path());
        assert!(read >= 60, "{read}: the index was believed");
        assert_eq!(contents(&store), expected);
    }
}

/// What the release before wrote: no format, no head moves.
#[tokio::test]
async fn an_index_of_another_format_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..60).await;
    drop(store);
    let expected = truth(dir.path());
    for older in [true, false] {
        let tree = sled::open(generation(dir.path())).unwrap();
        let value = tree.get(b"c").unwrap().unwrap();
        let changed = if older {
            value[1..].to_vec()
        } else {
            [&[9], &value[1..]].concat()
        };
        tree.insert(b"c", changed).unwrap();
        tree.flush().unwrap();
        drop(tree);
        let (store, read) = open_counting(dir.path());
        assert!(read >= 60, "{read}: the index was believed");
        assert_eq!(contents(&store), expected);
        assert_eq!(store.batch_of_move(stream(1), 11).unwrap(), Some(11));
    }
}

#[tokio::test]
async fn a_second_writer_leaves_the_index_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    fill(&store, 0..10).await;
    assert!(matches!(open(dir.path()), Err(StoreError::Locked { .. })));
    fill(&store, 10..20).await;
    let found = contents(&store);
    drop(store);
    assert_eq!(found, truth(dir.path()));
}
