//! The journal after every power loss.

use std::{cell::RefCell, collections::HashMap, path::Path, sync::Arc};

use futures::future::join_all;
use warifu_client_sdk::store::{
    Batch, HeadMove, JournalOptions, JournalReader, JournalStore, MemoryIndex, Store, StoreError,
    StreamId, suite::run_contract,
};

use super::{
    images::{Image, every_image, restore, synced_only},
    recorder::{Plan, Recorder},
    scratch,
};
use crate::store::{open, open_with, options};

/// Small segments, so that they roll often.
const SEGMENT_BYTES: u64 = 2500;

pub(super) fn recorded(recorder: &Arc<Recorder>) -> JournalOptions {
    JournalOptions {
        disk: recorder.disk(),
        segment_bytes: SEGMENT_BYTES,
        ..options()
    }
}

/// What a test appends: in the order of the journal, since one task queues it.
#[derive(Default)]
pub(super) struct Script {
    pub(super) issued: Vec<Batch>,
}

impl Script {
    /// The next batch: of one of three streams, with 1 to 3 entries of changing length.
    pub(super) fn next(&mut self, late: bool) -> Batch {
        let number = self.issued.len();
        let stream = StreamId([u8::try_from(number % 3).unwrap() + 1; 16]);
        let expected = self.head(stream);
        let filler = u8::try_from(number % 251).unwrap() + 1;
        let entry = |part: usize| {
            let length = [3, 90, 700, 0, 1400][(number + part) % 5];
            let mut entry = (number as u64).to_le_bytes().to_vec();
            entry.extend(vec![filler; length]);
            entry
        };
        let next = blake3::hash(&(number as u64).to_le_bytes()).into();
        let batch = Batch {
            stream,
            head: (!late).then_some(HeadMove { expected, next }),
            entries: (0..1 + number % 3).map(entry).collect(),
            may_wait: false,
        };
        self.issued.push(batch.clone());
        batch
    }

    fn head(&self, stream: StreamId) -> Option<[u8; 32]> {
        let of_stream = self
            .issued
            .iter()
            .rev()
            .filter(|batch| batch.stream == stream);
        of_stream
            .filter_map(|batch| batch.head)
            .map(|head| head.next)
            .next()
    }
}

/// Appends groups of several sizes; tells the recorder what is acknowledged. Ends at the first error.
pub(super) async fn append_groups(
    store: &JournalStore<MemoryIndex>,
    script: &mut Script,
    recorder: &Recorder,
    groups: &[usize],
) -> Result<(), StoreError> {
    for size in groups {
        if size % 2 == 1 {
            let late = script.next(true);
            store.append_late(late.stream, late.entries).await?;
        }
        let batches: Vec<Batch> = (0..*size).map(|_| script.next(false)).collect();
        for result in join_all(batches.into_iter().map(|batch| store.append(batch))).await {
            result?;
        }
        recorder.acknowledged(script.issued.len());
    }
    Ok(())
}

/// Opens what a power loss left, and compares all of it with what was issued and acknowledged;
/// afterwards the journal goes on.
pub(super) fn check(dir: &Path, script: &Script, acknowledged: usize) -> usize {
    let store = open_with(
        dir,
        JournalOptions {
            segment_bytes: SEGMENT_BYTES,
            ..options()
        },
    )
    .unwrap_or_else(|error| panic!("{error}, with {acknowledged} acknowledged"));
    let found = read_all(dir);
    assert!(
        found.len() >= acknowledged,
        "{} of {acknowledged} acknowledged batches are left",
        found.len()
    );
    assert!(
        script.issued.get(..found.len()) == Some(&found),
        "what is left is not what was issued"
    );
    for stream in store.streams().unwrap() {
        let issued = found.iter().filter(|batch| batch.stream == stream);
        let entries: Vec<_> = issued
            .clone()
            .flat_map(|batch| batch.entries.clone())
            .collect();
        assert_eq!(store.read(stream).unwrap(), entries);
        let head = issued.filter_map(|batch| batch.head).next_back();
        assert_eq!(store.head(stream).unwrap(), head.map(|head| head.next));
    }
    found.len()
}

/// Every record of a journal, its chain checked.
fn read_all(dir: &Path) -> Vec<Batch> {
    let records = JournalReader::open(dir).unwrap().map(Result::unwrap);
    let batch = |record: warifu_client_sdk::store::JournalRecord| Batch {
        stream: record.stream,
        head: record.head,
        entries: record.entries,
        may_wait: false,
    };
    records.map(batch).collect()
}

fn check_image(image: &Image, root: &Path, script: &Script, acknowledged: usize) -> usize {
    let target = scratch();
    restore(image, root, target.path());
    check(&target.path().join("node"), script, acknowledged)
}

#[tokio::test]
async fn every_power_loss_leaves_what_was_acknowledged_and_nothing_else() {
    let root = scratch();
    let dir = root.path().join("node");
    let recorder = Recorder::over(root.path(), Plan::Nothing);
    let mut script = Script::default();
    let store = open_with(&dir, recorded(&recorder)).unwrap();
    let groups = [1, 4, 2, 1, 7, 3];
    append_groups(&store, &mut script, &recorder, &groups)
        .await
        .unwrap();
    drop(store);
    let store = open_with(&dir, recorded(&recorder)).unwrap();
    append_groups(&store, &mut script, &recorder, &[2, 5])
        .await
        .unwrap();
    drop(store);

    let found = every_image(recorder.story(), 0, 67);
    let mut shortest = usize::MAX;
    for (image, acknowledged) in &found {
        let left = check_image(image, root.path(), &script, *acknowledged);
        shortest = shortest.min(left);
    }
    assert!(found.len() > 400, "{} images", found.len());
    assert_eq!(shortest, 0, "the beginning was never lost");
}

/// One group, torn at every third byte.
#[tokio::test]
async fn a_write_torn_anywhere_is_cut_to_its_last_whole_record() {
    let root = scratch();
    let dir = root.path().join("node");
    let recorder = Recorder::over(root.path(), Plan::Nothing);
    let mut script = Script::default();
    let store = open_with(&dir, recorded(&recorder)).unwrap();
    append_groups(&store, &mut script, &recorder, &[1])
        .await
        .unwrap();
    let begun = recorder.story().1.len();
    append_groups(&store, &mut script, &recorder, &[3])
        .await
        .unwrap();
    drop(store);
    let mut left = std::collections::BTreeSet::new();
    for (image, acknowledged) in &every_image(recorder.story(), begun, 3) {
        left.insert(check_image(image, root.path(), &script, *acknowledged));
    }
    // None, some, and all of the group's records: each was cut somewhere.
    assert!(
        left.contains(&2) && left.contains(&script.issued.len()),
        "{left:?}"
    );
    assert!(left.len() >= 4, "{left:?}");
}

/// The process is killed before each change; what it left is opened on the same machine and goes on,
/// and then the power fails.
#[tokio::test]
async fn a_killed_process_and_a_power_loss_after_the_next_start_lose_nothing() {
    let mut images = 0;
    for at in 0.. {
        let root = scratch();
        let dir = root.path().join("node");
        let recorder = Recorder::over(root.path(), Plan::KilledBefore(at));
        let mut script = Script::default();
        let killed = match open_with(&dir, recorded(&recorder)) {
            Err(_) => true,
            Ok(store) => append_groups(&store, &mut script, &recorder, &[1, 3])
                .await
                .is_err(),
        };
        images += go_on(&root, &recorder, script).await;
        if !killed {
            break;
        }
    }
    assert!(images > 200, "{images}");
}

/// A sync fails, and the system drops what it was for, or not; on the same machine the next start
/// reads it from memory. Nothing may rest on that.
#[tokio::test]
async fn what_a_failed_sync_left_in_memory_is_written_again_before_it_counts() {
    let mut failed = 0;
    for at in 0.. {
        let mut reached = false;
        for plan in [Plan::SyncLostAt(at), Plan::SyncKeptAt(at)] {
            let root = scratch();
            let dir = root.path().join("node");
            let recorder = Recorder::over(root.path(), plan);
            let mut script = Script::default();
            let stopped = match open_with(&dir, recorded(&recorder)) {
                Err(_) => true,
                Ok(store) => {
                    let result = append_groups(&store, &mut script, &recorder, &[1, 3]).await;
                    assert_eq!(result.is_ok(), store.is_running());
                    result.is_err()
                }
            };
            assert_eq!(stopped, recorder.failed() > 0);
            go_on(&root, &recorder, script).await;
            reached |= recorder.failed() > 0;
            failed += usize::from(stopped);
        }
        if !reached {
            break;
        }
    }
    assert!(failed > 8, "{failed}");
}

/// Opens the directory again, counts what it shows as acknowledged (the node acts on it), appends, and
/// checks every image of a power loss from then on; how many there were.
async fn go_on(root: &tempfile::TempDir, recorder: &Arc<Recorder>, mut script: Script) -> usize {
    recorder.plan(Plan::Nothing);
    let dir = root.path().join("node");
    let store = open_with(&dir, recorded(recorder)).unwrap();
    let shown = read_all(&dir);
    assert!(script.issued.get(..shown.len()) == Some(&shown));
    // What was not kept never was.
    script.issued.truncate(shown.len());
    recorder.acknowledged(shown.len());
    let begun = recorder.story().1.len();
    append_groups(&store, &mut script, recorder, &[2, 1])
        .await
        .unwrap();
    drop(store);
    let found = every_image(recorder.story(), begun.saturating_sub(1), 701);
    for (image, acknowledged) in &found {
        check_image(image, root.path(), &script, *acknowledged);
    }
    found.len()
}

/// A crash while an opening mends what a crash left.
#[tokio::test]
async fn a_power_loss_during_recovery_is_recovered_from() {
    let root = scratch();
    let dir = root.path().join("node");
    let recorder = Recorder::over(root.path(), Plan::Nothing);
    let mut script = Script::default();
    let store = open_with(&dir, recorded(&recorder)).unwrap();
    append_groups(&store, &mut script, &recorder, &[2, 6, 3])
        .await
        .unwrap();
    drop(store);
    let mut again = 0;
    for (image, acknowledged) in every_image(recorder.story(), 0, 401) {
        let target = scratch();
        restore(&image, root.path(), target.path());
        let dir = target.path().join("node");
        let second = Recorder::over(target.path(), Plan::Nothing);
        drop(open_with(&dir, recorded(&second)).unwrap());
        for (image, _) in every_image(second.story(), 0, 401) {
            check_image(&image, target.path(), &script, acknowledged);
            again += 1;
        }
    }
    assert!(again > 200, "{again}");
}

/// Before each restart of the published contract the power fails, and only what was synced is left.
#[tokio::test]
async fn the_contract_holds_across_power_losses() {
    let root = scratch();
    let known: RefCell<HashMap<&'static str, Arc<Recorder>>> = RefCell::default();
    let opened = RefCell::new(0);
    run_contract(async |name| {
        *opened.borrow_mut() += 1;
        let place = root.path().join(opened.borrow().to_string());
        std::fs::create_dir(&place).unwrap();
        if let Some(before) = known.borrow().get(name) {
            let (begun, _) = before.story();
            restore(&synced_only(&before.platter()), begun.root(), &place);
        }
        let recorder = Recorder::over(&place, Plan::Nothing);
        let store = open_with(&place.join("node"), recorded(&recorder));
        known.borrow_mut().insert(name, recorder);
        store
    })
    .await
    .unwrap();
    assert!(
        *opened.borrow() > known.borrow().len() + 4,
        "nothing was opened again"
    );
}

/// A sector that was written long ago and reads as zeros is damage: a group was synced after it.
#[tokio::test]
async fn a_lost_sector_with_a_later_group_behind_it_is_corruption() {
    let dir = scratch();
    let store = open(dir.path()).unwrap();
    let entry = [7; 2000];
    for number in 0..2u8 {
        let stream = StreamId([number; 16]);
        let batch = crate::store::batch(stream, None, &[&entry]);
        store.append(batch).await.unwrap();
    }
    drop(store);
    let path = dir.path().join("journal/00000001.seg");
    let good = std::fs::read(&path).unwrap();
    let second = good.len() - 2000;
    let mut cut = 0;
    for sector in 0..good.len().div_ceil(512) {
        let mut bad = good.clone();
        let end = good.len().min((sector + 1) * 512);
        bad[sector * 512..end].fill(0);
        std::fs::write(&path, &bad).unwrap();
        let result = open(dir.path()).map(|_| ());
        if sector * 512 > second {
            // Nothing proves that the last record was ever synced.
            result.unwrap();
            cut += 1;
        } else if end < second - 100 {
            assert!(
                matches!(&result, Err(StoreError::Corrupt { file, .. }) if *file == path),
                "sector {sector}: {result:?}"
            );
            assert!(std::fs::read(&path).unwrap() == bad, "it was repaired");
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(cut >= 3, "{cut}");
}
