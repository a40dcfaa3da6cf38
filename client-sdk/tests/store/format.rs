//! The journal's bytes, made here by the format's description and not by its code.

use std::fs;

use warifu_client_sdk::store::{JournalReader, Store, StoreError};

use super::{ALICE, batch, open, step};

fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

/// The first frame of a group.
pub(super) fn frame(offset: u64, segment: u64, previous: &[u8; 32], payload: &[u8]) -> Vec<u8> {
    frame_of(1 << 31, offset, segment, previous, payload)
}

fn frame_of(
    group_bit: u32,
    offset: u64,
    segment: u64,
    previous: &[u8; 32],
    payload: &[u8],
) -> Vec<u8> {
    let length = (u32::try_from(payload.len()).unwrap() | group_bit).to_le_bytes();
    let parts: [&[u8]; 3] = [&length, &offset.to_le_bytes(), &segment.to_le_bytes()];
    let check = derive("warifu 2026 journal length v1", &parts);
    [&length[..], &check[..8], &chain(previous, payload), payload].concat()
}

pub(super) fn chain(previous: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    derive("warifu 2026 journal record v1", &[previous, payload])
}

/// `more` is what the file has besides the header when it is made.
pub(super) fn header(magic: &[u8; 14], version: u32, role: u8, more: u64) -> Vec<u8> {
    let origin = b"ledger.example";
    let created = 44 + 14 + 4 + 8 + 32 + 1 + 8 + origin.len() as u64 + 8 + more;
    [
        &magic[..],
        &version.to_le_bytes(),
        &1u64.to_le_bytes(),
        &[0; 32],
        &[role],
        &(origin.len() as u64).to_le_bytes(),
        origin,
        &created.to_le_bytes(),
    ]
    .concat()
}

#[tokio::test]
async fn journal_has_exactly_the_documented_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store
        .append(batch(ALICE, step(None, 7), &[b"one", b""]))
        .await
        .unwrap();
    drop(store);

    let header = header(b"warifu-journal", 2, 2, 0);
    let record = [
        &[0xa1; 16][..],
        &[1, 0],
        &[7; 32],
        &2u64.to_le_bytes(),
        &3u64.to_le_bytes(),
        b"one",
        &0u64.to_le_bytes(),
    ]
    .concat();
    let mut expected = frame(0, 1, &[0; 32], &header);
    let offset = expected.len() as u64;
    expected.extend(frame(offset, 1, &chain(&[0; 32], &header), &record));
    let found = fs::read(dir.path().join("journal/00000001.seg")).unwrap();
    assert_eq!(found, expected);

    // A committed vector: the format can't change together with this test unnoticed.
    assert_eq!(blake3::hash(&found).to_hex().as_str(), VECTOR);
}

const VECTOR: &str = "8ae1e2fe9b056b8e4181c2e2339c650acfbaf7ea45697095a6db31e377072467";

/// Two records that share a sync: only the first tells that everything before it was durable.
#[tokio::test]
async fn the_first_record_of_a_group_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let late = store.append_late(ALICE, vec![b"late".to_vec()]);
    late.await.unwrap();
    store.append(batch(ALICE, None, &[b"now"])).await.unwrap();
    assert_eq!(store.counters().syncs, 1);
    drop(store);

    let header = header(b"warifu-journal", 2, 2, 0);
    let record = |entry: &[u8]| {
        let length = (entry.len() as u64).to_le_bytes();
        [&[0xa1; 16][..], &[0], &1u64.to_le_bytes(), &length, entry].concat()
    };
    let (late, now) = (record(b"late"), record(b"now"));
    let mut expected = frame(0, 1, &[0; 32], &header);
    let before = chain(&[0; 32], &header);
    expected.extend(frame(expected.len() as u64, 1, &before, &late));
    let before = chain(&before, &late);
    expected.extend(frame_of(0, expected.len() as u64, 1, &before, &now));
    let found = fs::read(dir.path().join("journal/00000001.seg")).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn a_file_from_before_the_first_release_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    let path = dir.path().join("journal/00000001.seg");
    let payload = header(b"warifu-journal", 1, 2, 0);
    fs::write(&path, frame(0, 1, &[0; 32], &payload[..payload.len() - 8])).unwrap();
    let result = open(dir.path()).map(|_| ());
    assert!(
        matches!(
            result,
            Err(StoreError::PastVersion {
                found: 1,
                supported: 2,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn a_file_from_the_future_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    let path = dir.path().join("journal/00000001.seg");
    let mut payload = header(b"warifu-journal", 3, 2, 0);
    payload.extend(b"a field that this release does not know");
    fs::write(&path, frame(0, 1, &[0; 32], &payload)).unwrap();
    for result in [
        open(dir.path()).map(|_| ()),
        JournalReader::open(dir.path()).map(|_| ()),
    ] {
        assert!(
            matches!(
                result,
                Err(StoreError::FutureVersion {
                    found: 3,
                    supported: 2,
                    ..
                })
            ),
            "{result:?}"
        );
    }
}

#[test]
fn a_well_chained_record_that_is_no_canonical_batch_is_corrupt() {
    let header = header(b"warifu-journal", 2, 2, 0);
    let start = frame(0, 1, &[0; 32], &header);
    let previous = chain(&[0; 32], &header);
    let offset = start.len() as u64;
    let good = [&[0xa1; 16][..], &[0], &0u64.to_le_bytes()].concat();
    let bad_tag = [&[0xa1; 16][..], &[2], &0u64.to_le_bytes()].concat();
    let many = [&[0xa1; 16][..], &[0], &u64::MAX.to_le_bytes()].concat();
    let trailing = [&good[..], &[0]].concat();
    for (payload, accepted) in [
        (good.as_slice(), true),
        (&bad_tag, false),
        (&many, false),
        (&trailing, false),
        (&[], false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("journal")).unwrap();
        let bytes = [start.clone(), frame(offset, 1, &previous, payload)].concat();
        fs::write(dir.path().join("journal/00000001.seg"), bytes).unwrap();
        let result = open(dir.path()).map(|_| ());
        assert_eq!(result.is_ok(), accepted, "{payload:?}: {result:?}");
    }
}

#[test]
fn a_well_chained_record_that_moves_another_head_is_corrupt() {
    let header = header(b"warifu-journal", 2, 2, 0);
    let moved = |before: Option<u8>, next: u8| {
        let before = before.map_or(vec![0], |byte| [vec![1], vec![byte; 32]].concat());
        let head = [&[1][..], &before, &[next; 32]].concat();
        [&[0xa1; 16][..], &head, &0u64.to_le_bytes()].concat()
    };
    for (records, accepted) in [
        ([moved(None, 1), moved(Some(1), 2)], true),
        ([moved(None, 1), moved(Some(2), 3)], false),
        ([moved(None, 1), moved(None, 2)], false),
        ([moved(Some(1), 2), moved(Some(2), 3)], false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("journal")).unwrap();
        let mut bytes = frame(0, 1, &[0; 32], &header);
        let mut previous = chain(&[0; 32], &header);
        for payload in &records {
            bytes.extend(frame(bytes.len() as u64, 1, &previous, payload));
            previous = chain(&previous, payload);
        }
        let path = dir.path().join("journal/00000001.seg");
        fs::write(&path, &bytes).unwrap();
        let result = open(dir.path()).map(|_| ());
        assert_eq!(result.is_ok(), accepted, "{records:?}: {result:?}");
        let reason = "record moves its stream's head from another than it has";
        assert!(
            accepted
                || matches!(result, Err(StoreError::Corrupt { reason: found, .. }) if found == reason)
        );
        assert!(accepted || fs::read(&path).unwrap() == bytes);
    }
}
