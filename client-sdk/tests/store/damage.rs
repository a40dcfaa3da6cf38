//! Damage to the journal's files: found, named, and never repaired by guessing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use warifu_client_sdk::store::{JournalReader, Store, StoreError};

use super::{ALICE, BOB, batch, open, open_with, options, step};

const ENTRIES: [&[u8]; 5] = [b"first", b"second", b"third", b"fourth", b"fifth"];

fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("journal/{number:08}.seg"))
}

/// Two segments; returns where each record of the second one ends, its header included.
async fn journal(dir: &Path) -> Vec<usize> {
    let mut options = options();
    options.segment_bytes = 430;
    let store = open_with(dir, options).unwrap();
    let mut ends = Vec::new();
    for (number, entry) in (1u8..).zip(ENTRIES) {
        let before = number.checked_sub(1).filter(|before| *before > 0);
        store
            .append(batch(ALICE, step(before, number), &[entry]))
            .await
            .unwrap();
        if let Ok(bytes) = fs::read(segment(dir, 2)) {
            ends.push(bytes.len());
        }
    }
    assert!(!segment(dir, 3).exists() && ends.len() >= 3, "{ends:?}");
    ends
}

fn read_through(dir: &Path) -> Result<usize, StoreError> {
    let mut records = 0;
    for record in JournalReader::open(dir)? {
        record?;
        records += 1;
    }
    Ok(records)
}

#[tokio::test]
async fn every_flipped_byte_is_found_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path()).await;
    for number in [1, 2] {
        let path = segment(dir.path(), number);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= mask;
                fs::write(&path, &bad).unwrap();
                for result in [
                    open(dir.path()).map(|_| ()),
                    read_through(dir.path()).map(|_| ()),
                ] {
                    assert!(
                        matches!(&result, Err(StoreError::Corrupt { file, .. }) if *file == path),
                        "byte {at} of segment {number}: {result:?}"
                    );
                }
                assert!(fs::read(&path).unwrap() == bad, "byte {at} was repaired");
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(open(dir.path()).unwrap().read(ALICE).unwrap(), ENTRIES);
}

#[tokio::test]
async fn damage_is_attributed_to_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.append(batch(ALICE, None, &[b"good"])).await.unwrap();
    let offset = fs::metadata(segment(dir.path(), 1)).unwrap().len();
    store.append(batch(BOB, None, &[b"bad"])).await.unwrap();
    drop(store);
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();

    let error = open(dir.path()).err().unwrap();
    assert!(
        matches!(
            &error,
            StoreError::Corrupt { offset: found, stream: Some(BOB), after: Some(ALICE), .. }
                if *found == offset
        ),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("00000001.seg") && text.contains(&offset.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn truncation_drops_only_an_incomplete_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let ends = journal(dir.path()).await;
    let path = segment(dir.path(), 2);
    let good = fs::read(&path).unwrap();
    let in_first = ENTRIES.len() - (ends.len() - 1);
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        let result = open(dir.path());
        let Some(kept) = ends.iter().rposition(|end| *end <= length) else {
            assert!(
                matches!(result, Err(StoreError::Corrupt { .. })),
                "length {length}"
            );
            assert_eq!(fs::read(&path).unwrap().len(), length);
            continue;
        };
        let store = result.unwrap();
        let records = in_first + kept;
        assert_eq!(
            store.read(ALICE).unwrap(),
            ENTRIES[..records],
            "length {length}"
        );
        assert_eq!(
            fs::read(&path).unwrap().len(),
            ends[kept],
            "length {length}"
        );

        // The journal goes on from there.
        let head = u8::try_from(records).unwrap();
        store
            .append(batch(ALICE, step(Some(head), 99), &[b"next"]))
            .await
            .unwrap();
        drop(store);
        assert_eq!(read_through(dir.path()).unwrap(), records + 1);
    }
}

#[tokio::test]
async fn truncation_of_an_earlier_segment_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path()).await;
    let path = segment(dir.path(), 1);
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        let result = open(dir.path()).map(|_| ());
        assert!(
            matches!(result, Err(StoreError::Corrupt { .. })),
            "{length}: {result:?}"
        );
        assert!(read_through(dir.path()).is_err());
        assert_eq!(fs::read(&path).unwrap().len(), length);
    }
    fs::remove_file(&path).unwrap();
    let result = open(dir.path()).map(|_| ());
    assert!(matches!(result, Err(StoreError::Corrupt { file, .. }) if file == path));
}

#[tokio::test]
async fn zeros_to_the_end_are_a_torn_tail_and_anything_else_is_not() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path()).await;
    let path = segment(dir.path(), 2);
    let good = fs::read(&path).unwrap();
    for zeros in [1, 11, 12, 13, 44, 5000] {
        let mut bytes = good.clone();
        bytes.resize(good.len() + zeros, 0);
        fs::write(&path, &bytes).unwrap();
        let mut reader = JournalReader::open(dir.path()).unwrap();
        assert_eq!(
            reader.by_ref().filter(|record| record.is_ok()).count(),
            ENTRIES.len()
        );
        assert_eq!(reader.torn_bytes(), zeros as u64);
        assert_eq!(
            fs::read(&path).unwrap(),
            bytes,
            "the reader changed the file"
        );
        assert_eq!(open(dir.path()).unwrap().read(ALICE).unwrap(), ENTRIES);
        assert_eq!(fs::read(&path).unwrap(), good);

        if zeros > 12 {
            *bytes.last_mut().unwrap() = 1;
            fs::write(&path, &bytes).unwrap();
            let result = open(dir.path()).map(|_| ());
            if zeros > 512 {
                // A sector that was never written, with later ones that were: a crash left that.
                result.unwrap();
                assert_eq!(fs::read(&path).unwrap(), good);
                continue;
            }
            assert!(
                matches!(result, Err(StoreError::Corrupt { .. })),
                "{zeros}: {result:?}"
            );
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn records_can_not_be_dropped_swapped_or_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let ends = journal(dir.path()).await;
    let path = segment(dir.path(), 2);
    let good = fs::read(&path).unwrap();
    let header = &good[..ends[0]];
    let (first, second) = (&good[ends[0]..ends[1]], &good[ends[1]..ends[2]]);
    for records in [vec![second], vec![second, first], vec![first, first]] {
        fs::write(&path, [header, &records.concat()].concat()).unwrap();
        let result = open(dir.path()).map(|_| ());
        assert!(
            matches!(result, Err(StoreError::Corrupt { .. })),
            "{result:?}"
        );
    }
}
