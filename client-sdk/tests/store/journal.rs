use std::{
    fs, io,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use warifu_client_sdk::store::{
    Batch, Coverage, Extent, Index, IndexedRecord, JournalOptions, JournalReader, JournalStore,
    LedgerId, MemoryIndex, Position, Space, Store, StoreError, StreamId,
};

use super::{ALICE, BOB, batch, format::frame, open, open_with, options, step};

#[tokio::test]
async fn concurrent_appends_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.sync_delay = Duration::from_millis(2);
    let store = open_with(dir.path(), options).unwrap();
    let appends = (0..200u8).map(|number| {
        let stream = StreamId([number; 16]);
        store.append(batch(stream, step(None, 1), &[&[number]]))
    });
    for result in join_all(appends).await {
        result.unwrap();
    }
    let counters = store.counters();
    assert_eq!(counters.records, 200);
    assert!(counters.syncs < 50, "{counters:?}");
    for number in 0..200u8 {
        assert_eq!(store.read(StreamId([number; 16])).unwrap(), [[number]]);
    }
}

#[tokio::test]
async fn a_chain_of_appends_may_be_queued_before_the_first_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let appends = (1..=24u8).map(|next| {
        let expected = next.checked_sub(1).filter(|before| *before > 0);
        store.append(batch(ALICE, step(expected, next), &[&[next]]))
    });
    for result in join_all(appends).await {
        result.unwrap();
    }
    assert_eq!(store.head(ALICE).unwrap(), Some([24; 32]));
    assert_eq!(
        store.read(ALICE).unwrap(),
        (1..=24u8).map(|next| [next]).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_head_that_is_queued_but_not_durable_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    let (hold, held) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let (hook_hold, hook_held) = (Arc::clone(&hold), Arc::clone(&held));
    options.before_sync = Some(Arc::new(move || {
        hook_held.store(true, Ordering::SeqCst);
        while hook_hold.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }));
    let store = Arc::new(open_with(dir.path(), options).unwrap());
    let append = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.append(batch(ALICE, step(None, 1), &[b"x"])).await })
    };
    while !held.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(store.head(ALICE).unwrap(), None);
    assert_eq!(store.read(ALICE).unwrap(), Vec::<Vec<u8>>::new());
    assert!(!append.is_finished(), "acknowledged before the sync");
    let rival = store.append(batch(ALICE, step(None, 2), &[b"y"])).await;
    assert!(
        matches!(rival, Err(StoreError::HeadMismatch { found: Some(head), .. }) if head == [1; 32]),
        "{rival:?}"
    );
    hold.store(false, Ordering::SeqCst);
    append.await.unwrap().unwrap();
    assert_eq!(store.head(ALICE).unwrap(), Some([1; 32]));
}

#[tokio::test]
async fn segments_roll_and_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options();
    small.segment_bytes = 1000;
    let mut expected = Vec::new();
    for round in 0..3u8 {
        let store = open_with(dir.path(), small.clone()).unwrap();
        for number in 0..20u8 {
            let entry = vec![number ^ round; 100];
            store.append(batch(ALICE, None, &[&entry])).await.unwrap();
            store.append(batch(BOB, None, &[b"b"])).await.unwrap();
            expected.push(entry);
        }
        assert_eq!(store.read(ALICE).unwrap(), expected);
    }
    let reader = JournalReader::open(dir.path()).unwrap();
    assert!(reader.segments() > 10);
    let ledger = LedgerId {
        role: 2,
        origin: "ledger.example".to_owned(),
    };
    assert_eq!(*reader.ledger(), ledger);
    let records: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(records.len(), 120);
    let of_alice = records.iter().filter(|record| record.stream == ALICE);
    assert_eq!(
        of_alice
            .flat_map(|record| record.entries.clone())
            .collect::<Vec<_>>(),
        expected
    );

    let mut progress = Vec::new();
    let store = JournalStore::open(
        dir.path(),
        small,
        || Ok(MemoryIndex::default()),
        &mut |done, total| progress.push((done, total)),
    )
    .unwrap();
    assert_eq!(store.read(ALICE).unwrap(), expected);
    assert!(progress.is_sorted() && progress.len() >= 120);
    let (done, total) = *progress.last().unwrap();
    assert!(done == total && total > 10_000);
}

#[tokio::test]
async fn one_directory_has_one_writer_one_ledger_and_one_role() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Locked { .. })));
    drop(store);
    for (origin, role) in [("ledger.example", 3), ("other.example", 2)] {
        let result = open_with(dir.path(), JournalOptions::new(origin, role)).map(|_| ());
        assert!(
            matches!(&result, Err(StoreError::OtherLedger { found, expected })
                if found.role == 2 && expected.role == role && expected.origin == origin),
            "{result:?}"
        );
    }
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    let fail = Arc::new(AtomicBool::new(false));
    let mut options = options();
    let hook = Arc::clone(&fail);
    options.before_sync = Some(Arc::new(move || {
        if hook.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }));
    let store = open_with(dir.path(), options).unwrap();
    store
        .append(batch(ALICE, step(None, 1), &[b"kept"]))
        .await
        .unwrap();
    fail.store(true, Ordering::SeqCst);
    let failed = store
        .append(batch(ALICE, step(Some(1), 2), &[b"unknown"]))
        .await;
    assert!(
        matches!(failed, Err(StoreError::Io { action: "sync", .. })),
        "{failed:?}"
    );
    assert!(!store.is_running());
    fail.store(false, Ordering::SeqCst);
    let later = store.append(batch(BOB, None, &[b"never"])).await;
    assert!(matches!(later, Err(StoreError::Stopped)), "{later:?}");
    assert_eq!(store.read(ALICE).unwrap(), [b"kept"]);
    assert_eq!(store.head(ALICE).unwrap(), Some([1; 32]));
    drop(store);

    // The failed batch was written, so the next opening finds it, and makes it durable first.
    let store = open(dir.path()).unwrap();
    assert_eq!(store.read(ALICE).unwrap(), [&b"kept"[..], b"unknown"]);
    assert_eq!(store.read(BOB).unwrap(), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn a_nearly_full_disk_takes_only_what_can_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1000));
    let mut options = JournalOptions::new("ledger.example", 2);
    let probe = Arc::clone(&free);
    options.reserve_bytes = 500;
    options.free_space = Arc::new(move |_| match probe.load(Ordering::SeqCst) {
        u64::MAX => Err(io::Error::other("unknown")),
        free => Ok(free),
    });
    let store = open_with(dir.path(), options).unwrap();
    let admit = || Batch {
        may_wait: true,
        ..batch(ALICE, None, &[b"admit"])
    };
    assert_eq!(store.space(), Space::Plenty);
    store.append(admit()).await.unwrap();
    for nearly in [499, 0, u64::MAX] {
        free.store(nearly, Ordering::SeqCst);
        assert_eq!(store.space(), Space::NearlyFull);
        let refused = store.append(admit()).await;
        assert!(
            matches!(refused, Err(StoreError::NearlyFull { reserve: 500, .. })),
            "{refused:?}"
        );
        store
            .append(batch(ALICE, None, &[b"restrict"]))
            .await
            .unwrap();
    }
    free.store(500, Ordering::SeqCst);
    store.append(admit()).await.unwrap();
    assert_eq!(store.read(ALICE).unwrap().len(), 5);
}

#[test]
fn free_space_is_read_from_the_real_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let probe = JournalOptions::new("ledger.example", 2).free_space;
    assert!(probe(dir.path()).unwrap() > 0);
    assert!(probe(&dir.path().join("missing")).is_err());
}

#[tokio::test]
async fn an_append_whose_caller_gave_up_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.sync_delay = Duration::from_millis(20);
    let store = open_with(dir.path(), options).unwrap();
    let append = store.append(batch(ALICE, step(None, 1), &[b"one", b"two"]));
    let gave_up = tokio::time::timeout(Duration::from_millis(1), append).await;
    assert!(gave_up.is_err());
    store
        .append(batch(ALICE, step(Some(1), 2), &[b"three"]))
        .await
        .unwrap();
    assert_eq!(store.read(ALICE).unwrap(), [&b"one"[..], b"two", b"three"]);
}

/// What a killed process leaves is what its files hold at that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_at_any_moment_has_everything_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.segment_bytes = 4000;
    let store = Arc::new(open_with(dir.path(), options).unwrap());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writing = {
        let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for number in 0..400u64 {
                let entry = [number.to_le_bytes(); 20].concat();
                store.append(batch(ALICE, None, &[&entry])).await.unwrap();
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        })
    };
    let mut checked = 0;
    while !writing.is_finished() {
        let before = acknowledged.load(Ordering::SeqCst);
        let copy = tempfile::tempdir().unwrap();
        copy_journal(dir.path(), copy.path());
        let found = open(copy.path()).unwrap().read(ALICE).unwrap();
        assert!(found.len() as u64 >= before, "{} of {before}", found.len());
        for (number, entry) in (0u64..).zip(found) {
            assert_eq!(entry, [number.to_le_bytes(); 20].concat());
        }
        checked += 1;
    }
    writing.await.unwrap();
    assert!(checked > 0);
}

/// Copies the last segment first: a later one must not appear without what it follows.
fn copy_journal(from: &Path, to: &Path) {
    fs::create_dir(to.join("journal")).unwrap();
    let mut names: Vec<_> = fs::read_dir(from.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_str().unwrap().ends_with(".seg"))
        .collect();
    names.sort();
    for name in names.iter().rev() {
        fs::copy(
            from.join("journal").join(name),
            to.join("journal").join(name),
        )
        .unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Lie {
    OtherStream,
    NoFirst,
    NoLast,
    TwiceTheFirst,
}

/// An index that answers with another stream's positions, or with one missing.
struct Lying {
    truth: MemoryIndex,
    lie: Lie,
}

impl Index for Lying {
    fn covered(&self) -> Result<Option<Coverage>, StoreError> {
        self.truth.covered()
    }
    fn reset(&self) -> Result<(), StoreError> {
        self.truth.reset()
    }
    fn apply(&self, records: &[IndexedRecord], covered: Coverage) -> Result<(), StoreError> {
        self.truth.apply(records, covered)
    }
    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        self.truth.head(stream)
    }
    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        self.truth.extent(stream)
    }
    fn positions(
        &self,
        stream: StreamId,
        records: Range<u64>,
    ) -> Result<Vec<Position>, StoreError> {
        let mut found = self.truth.positions(stream, records)?;
        match self.lie {
            Lie::OtherStream => {
                let other = if stream == ALICE { BOB } else { ALICE };
                found = self.truth.positions(other, 0..found.len() as u64)?;
            }
            Lie::NoFirst => drop(found.remove(0)),
            Lie::NoLast => drop(found.pop()),
            Lie::TwiceTheFirst => found[1] = found[0],
        }
        Ok(found)
    }
    fn record_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        self.truth.record_of_move(stream, nth)
    }
    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        self.truth.streams()
    }
}

#[tokio::test]
async fn an_index_that_lies_is_caught_and_the_journal_is_not_blamed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for (before, next) in [(None, 1), (Some(1), 2), (Some(2), 3)] {
        store
            .append(batch(ALICE, step(before, next), &[b"a"]))
            .await
            .unwrap();
        store.append(batch(BOB, None, &[b"b"])).await.unwrap();
    }
    drop(store);
    for lie in [
        Lie::OtherStream,
        Lie::NoFirst,
        Lie::NoLast,
        Lie::TwiceTheFirst,
    ] {
        let lying = || {
            Ok(Lying {
                truth: MemoryIndex::default(),
                lie,
            })
        };
        let store = JournalStore::open(dir.path(), options(), lying, &mut |_, _| {}).unwrap();
        for result in [
            store.read(ALICE).map(drop),
            store.read_batches(ALICE, 1..3).map(drop),
        ] {
            assert!(
                matches!(result, Err(StoreError::Index { .. })),
                "{lie:?}: {result:?}"
            );
        }
    }
}

/// An index that outlives a store, with a wrong head until it is made anew.
#[derive(Clone, Default)]
struct Outliving {
    truth: Arc<MemoryIndex>,
    covered: Arc<Mutex<Option<Coverage>>>,
    wrong: Arc<AtomicBool>,
}

impl Index for Outliving {
    fn covered(&self) -> Result<Option<Coverage>, StoreError> {
        Ok(*self.covered.lock().unwrap())
    }
    fn reset(&self) -> Result<(), StoreError> {
        *self.covered.lock().unwrap() = None;
        self.wrong.store(false, Ordering::SeqCst);
        self.truth.reset()
    }
    fn apply(&self, records: &[IndexedRecord], covered: Coverage) -> Result<(), StoreError> {
        *self.covered.lock().unwrap() = Some(covered);
        self.truth.apply(records, covered)
    }
    fn head(&self, stream: StreamId) -> Result<Option<[u8; 32]>, StoreError> {
        let head = self.truth.head(stream)?;
        let wrong = self.wrong.load(Ordering::SeqCst);
        Ok(head.map(|head| if wrong { [9; 32] } else { head }))
    }
    fn extent(&self, stream: StreamId) -> Result<Extent, StoreError> {
        self.truth.extent(stream)
    }
    fn positions(
        &self,
        stream: StreamId,
        records: Range<u64>,
    ) -> Result<Vec<Position>, StoreError> {
        self.truth.positions(stream, records)
    }
    fn record_of_move(&self, stream: StreamId, nth: u64) -> Result<Option<u64>, StoreError> {
        self.truth.record_of_move(stream, nth)
    }
    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        self.truth.streams()
    }
}

#[tokio::test]
async fn an_index_whose_head_the_journal_does_not_go_on_from_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let index = Outliving::default();
    let open_again = || {
        let index = index.clone();
        JournalStore::open(dir.path(), options(), || Ok(index), &mut |_, _| {}).unwrap()
    };
    let store = open_again();
    store
        .append(batch(ALICE, step(None, 1), &[b"a"]))
        .await
        .unwrap();
    drop(store);
    assert!(index.covered().unwrap().is_some());
    let store = open(dir.path()).unwrap();
    store
        .append(batch(ALICE, step(Some(1), 2), &[b"b"]))
        .await
        .unwrap();
    drop(store);
    index.wrong.store(true, Ordering::SeqCst);
    let store = open_again();
    assert!(!index.wrong.load(Ordering::SeqCst));
    assert_eq!(store.head(ALICE).unwrap(), Some([2; 32]));
    assert_eq!(store.read(ALICE).unwrap().len(), 2);
}

#[tokio::test]
async fn an_index_is_left_alone_where_the_journal_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let index = Outliving::default();
    let open_again = || {
        let index = index.clone();
        JournalStore::open(dir.path(), options(), || Ok(index), &mut |_, _| {})
    };
    let store = open_again().unwrap();
    store
        .append(batch(ALICE, step(None, 1), &[b"a"]))
        .await
        .unwrap();
    drop(store);
    let covered = index.covered().unwrap();
    assert!(covered.is_some());
    let path = dir.path().join("journal/00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let (mut at, mut previous) = (0, [0; 32]);
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) & !(1 << 31);
        previous = bytes[at + 12..at + 44].try_into().unwrap();
        at += 44 + length as usize;
    }
    let head = [&[1, 1][..], &[7; 32], &[8; 32]].concat();
    let payload = [&ALICE.0[..], &head, &0u64.to_le_bytes()].concat();
    bytes.extend(frame(at as u64, 1, &previous, &payload));
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let result = open_again().map(drop);
        assert!(
            matches!(result, Err(StoreError::Corrupt { offset, .. }) if offset == at as u64),
            "{result:?}"
        );
        assert_eq!(index.covered().unwrap(), covered);
        assert_eq!(index.head(ALICE).unwrap(), Some([1; 32]));
    }
}

#[tokio::test]
async fn late_batches_cost_no_sync_and_are_written_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let entry = |number: u8| vec![vec![number]];
    for number in 0..50u8 {
        store.append_late(ALICE, entry(number)).await.unwrap();
    }
    assert_eq!(store.counters().syncs, 0, "a late batch was not late");
    store.append(batch(BOB, None, &[b"b"])).await.unwrap();
    assert_eq!(store.counters().syncs, 1);
    assert_eq!(store.counters().records, 51);
    assert_eq!(store.read(ALICE).unwrap().len(), 50);
    store.append_late(ALICE, entry(50)).await.unwrap();
    let written = async {
        while store.read(ALICE).unwrap().len() < 51 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written)
        .await
        .expect("a late batch that nothing follows is written by itself");
    assert_eq!(store.counters().syncs, 2);
}

#[tokio::test]
async fn a_late_batch_that_fails_stops_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.before_sync = Some(Arc::new(|| Err(io::Error::other("no"))));
    let store = open_with(dir.path(), options).unwrap();
    store
        .append_late(ALICE, vec![b"late".to_vec()])
        .await
        .unwrap();
    let failed = store.append(batch(ALICE, None, &[b"next"])).await;
    assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
    assert!(!store.is_running());
    let late = store.append_late(ALICE, vec![b"late".to_vec()]).await;
    assert!(matches!(late, Err(StoreError::Stopped)), "{late:?}");
}

#[tokio::test]
async fn damage_after_the_opening_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.append(batch(ALICE, None, &[b"a"])).await.unwrap();
    let path = dir.path().join("journal/00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let result = store.read(ALICE);
    assert!(
        matches!(&result, Err(StoreError::Corrupt { file, .. }) if *file == path),
        "{result:?}"
    );
}
