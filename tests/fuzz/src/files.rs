//! Files: journal, vault, export, index. Each input lies in a directory in memory, where there is one.

use std::{fs, path::Path};

use tempfile::TempDir;
use warifu_client_sdk::store::{
    JournalOptions, JournalReader, JournalRecord, JournalStore, MasterKey, MemoryIndex, Store,
    StreamId, Vault, VaultKey, inspect_vault,
};
use warifu_node::export::{Blocks, ExportBlocks, Verifier};
use zeroize::Zeroizing;

use crate::{frames::Segment, trio};

const ORIGIN: &str = "ledger.example";

fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}

fn open(dir: &Path) -> Option<JournalStore<MemoryIndex>> {
    let options = JournalOptions {
        reserve_bytes: 0,
        ..JournalOptions::new(ORIGIN, 2)
    };
    JournalStore::open(dir, options, || Ok(MemoryIndex::default()), &mut |_, _| {}).ok()
}

/// The records of a journal, and whether the walk met no error.
fn walk(dir: &Path) -> (Vec<JournalRecord>, bool) {
    let Ok(reader) = JournalReader::open(dir) else {
        return (Vec::new(), false);
    };
    let mut records = Vec::new();
    for record in reader {
        match record {
            Ok(record) => records.push(record),
            Err(error) => {
                let _ = error.to_string();
                return (records, false);
            }
        }
    }
    (records, true)
}

/// Payloads in a file: each a length (u16 LE) and that many bytes.
fn parts(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (part, later) = rest.split_at(length);
        parts.push(part);
        data = later;
    }
    parts
}

/// Applies edits of four bytes each to a file: place u16, what, mask.
fn edit(bytes: &mut Vec<u8>, edits: &[u8]) {
    for edit in edits.chunks_exact(4) {
        if bytes.is_empty() {
            return;
        }
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        match edit[2] % 4 {
            0 => bytes[place] ^= edit[3],
            1 => bytes.truncate(place),
            2 => {
                let end = (place + 4 * usize::from(edit[3])).min(bytes.len());
                bytes[place..end].fill(0);
            }
            _ => bytes.resize(bytes.len() + usize::from(edit[3]), 0),
        }
    }
}

/// First byte 0: the rest is a segment's file. 1: payloads, in good frames. 2: a good journal with
/// edits. What opens reads the same a second time, and the walk beside it says the same.
pub fn journal(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let mut segment = Segment::new(b"warifu-journal", 1, 2, [0; 32]);
    let mut good = 0;
    let bytes = match mode % 3 {
        0 => data.to_vec(),
        1 => {
            for (number, payload) in parts(data).into_iter().enumerate() {
                segment.push(payload, number % 3 == 0);
            }
            segment.bytes
        }
        _ => {
            for number in 0..6u8 {
                let entry = [number + 1; 300];
                let head = [&[number; 16][..], &[0], &1u64.to_le_bytes()].concat();
                segment.push(
                    &[&head, &300u64.to_le_bytes()[..], &entry].concat(),
                    number % 2 == 0,
                );
            }
            good = 6;
            let mut bytes = segment.bytes;
            edit(&mut bytes, data);
            bytes
        }
    };
    let dir = scratch();
    fs::create_dir(dir.path().join("journal")).unwrap();
    let path = dir.path().join("journal/00000001.seg");
    fs::write(&path, &bytes).unwrap();
    let (before, whole) = walk(dir.path());
    assert!(
        fs::read(&path).unwrap() == bytes,
        "the walk changed the file"
    );
    assert!(good == 0 || before.len() <= good, "records from nowhere");
    let Some(store) = open(dir.path()) else {
        assert!(
            fs::read(&path).unwrap() == bytes,
            "a refused file was changed"
        );
        return;
    };
    assert!(whole, "it opens, but the walk met an error");
    for record in &before {
        assert!(!store.read(record.stream).unwrap().is_empty() || record.entries.is_empty());
    }
    drop(store);
    let (after, whole) = walk(dir.path());
    assert!(whole && after == before, "opening changed what is there");
    assert!(open(dir.path()).is_some());
}

/// As [`journal`], with payloads after a good check; what opens keeps its secrets.
pub fn vault(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let master = || MasterKey::from_bytes(Zeroizing::new([1; 32]));
    let dir = scratch();
    drop(Vault::open(dir.path(), &master(), ORIGIN).unwrap());
    let path = dir.path().join("00000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    match mode % 3 {
        0 => bytes = data.to_vec(),
        1 => {
            // The header's payload has 89 bytes; behind its frame stands the check's.
            let check = bytes[44 + 89 + 44..].to_vec();
            let mut segment = Segment::new(b"warifu-vault\0\0", 1, 0, [0; 32]);
            segment.push(&check, true);
            for payload in parts(data) {
                segment.push(payload, true);
            }
            bytes = segment.bytes;
        }
        _ => edit(&mut bytes, data),
    }
    fs::write(&path, &bytes).unwrap();
    let looked_at = inspect_vault(dir.path(), &master(), ORIGIN, &mut |_, _| {});
    let Ok(vault) = Vault::open(dir.path(), &master(), ORIGIN) else {
        assert!(
            fs::read(&path).unwrap() == bytes,
            "a refused file was changed"
        );
        return;
    };
    let looked_at = looked_at.expect("it opens, but the look met an error");
    let streams = looked_at.iter().map(|key| key.stream);
    let keys: Vec<VaultKey> = streams
        .collect::<std::collections::BTreeSet<StreamId>>()
        .into_iter()
        .flat_map(|stream| vault.keys(stream))
        .collect();
    assert!(looked_at.iter().eq(&keys));
    assert!(keys.iter().all(|key| vault.get(key).unwrap().is_some()));
}

/// An export file: its lines are sealed blocks in their one spelling, and verify or not.
pub fn export(data: &[u8]) {
    let dir = scratch();
    let path = dir.path().join("export");
    fs::write(&path, data).unwrap();
    let Ok(blocks) = ExportBlocks::open(&path) else {
        return;
    };
    let mut verifier = Verifier::new(trio::ledger());
    let mut taken = true;
    for found in Blocks::Export(Box::new(blocks)) {
        match found {
            Ok(found) => taken = taken && verifier.take(&found).is_ok(),
            Err(error) => {
                let _ = error.to_string();
                return;
            }
        }
    }
    let _ = verifier.finish();
}

/// Entries of the index from anywhere: the store opens all the same, and says what the journal says.
pub fn index(data: &[u8]) {
    let dir = scratch();
    let mut segment = Segment::new(b"warifu-journal", 1, 2, [0; 32]);
    for number in 0..4u8 {
        let entry = [&[number % 2 + 1; 16][..], &[0], &1u64.to_le_bytes()].concat();
        segment.push(&[&entry, &1u64.to_le_bytes()[..], &[number]].concat(), true);
    }
    fs::create_dir(dir.path().join("journal")).unwrap();
    fs::write(dir.path().join("journal/00000001.seg"), &segment.bytes).unwrap();
    {
        let tree = sled::Config::new()
            .path(dir.path().join("index/00000001.sled"))
            .cache_capacity(1 << 20)
            .flush_every_ms(None)
            .open()
            .unwrap();
        for entry in parts(data) {
            let (key, value) = entry.split_at(entry.len().min(25).min(entry.len()));
            if !key.is_empty() {
                tree.insert(key, value).unwrap();
            }
        }
    }
    let options = JournalOptions {
        reserve_bytes: 0,
        ..JournalOptions::new(ORIGIN, 2)
    };
    let store = warifu_node::store::open(dir.path(), options, &mut |_, _| {}).unwrap();
    let truth = open_copy(dir.path());
    for stream in [StreamId([1; 16]), StreamId([2; 16])] {
        // What an index says wrongly is an error, never an answer.
        if let Ok(found) = store.read(stream) {
            assert_eq!(found, truth.read(stream).unwrap());
        }
    }
}

fn open_copy(dir: &Path) -> JournalStore<MemoryIndex> {
    let copy = scratch();
    fs::create_dir(copy.path().join("journal")).unwrap();
    let name = "journal/00000001.seg";
    fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    let store = open(copy.path()).unwrap();
    // It reads its file by name.
    let _ = copy.keep();
    store
}
