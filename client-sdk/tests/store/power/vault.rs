//! The vault after every power loss, compactions included.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::future::join_all;
use warifu_client_sdk::store::{
    MasterKey, StoreError, StreamId, Vault, VaultKey, VaultOptions, inspect_vault,
};
use zeroize::Zeroizing;

use super::{
    images::{every_image, restore},
    recorder::{Plan, Recorder},
    scratch,
};
use crate::store::{ALICE, BOB};

const ORIGIN: &str = "ledger.example";

fn master() -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([1; 32]))
}

fn key(stream: StreamId, kind: u8) -> VaultKey {
    VaultKey {
        stream,
        kind,
        name: [kind; 32],
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Put(VaultKey, u8, usize),
    Remove(VaultKey),
    RemoveStream(StreamId),
    /// Changes nothing that can be asked for.
    Compact,
}

use Act::{Compact, Put, Remove, RemoveStream};

/// Acts of one group are made at once.
fn script() -> Vec<Vec<Act>> {
    let put = |stream, kind, byte, length| Put(key(stream, kind), byte, length);
    vec![
        vec![put(ALICE, 1, 1, 162)],
        vec![
            put(ALICE, 2, 2, 32),
            put(BOB, 1, 3, 162),
            put(BOB, 2, 4, 900),
        ],
        vec![put(ALICE, 2, 5, 33), Remove(key(BOB, 1))],
        vec![Compact],
        vec![put(BOB, 3, 6, 700)],
        vec![RemoveStream(ALICE), put(ALICE, 4, 7, 10)],
        vec![Compact],
        vec![put(BOB, 1, 8, 20), put(BOB, 2, 9, 1500)],
    ]
}

type Secrets = BTreeMap<VaultKey, Vec<u8>>;

/// What is kept after the first `acts` acts.
fn expected(script: &[Vec<Act>], acts: usize) -> Secrets {
    let mut secrets = Secrets::new();
    for act in script.iter().flatten().take(acts) {
        match *act {
            Put(key, byte, length) => drop(secrets.insert(key, vec![byte; length])),
            Remove(key) => drop(secrets.remove(&key)),
            RemoveStream(stream) => secrets.retain(|key, _| key.stream != stream),
            Compact => {}
        }
    }
    secrets
}

async fn perform(vault: &Vault, act: Act) -> Result<(), StoreError> {
    match act {
        Put(key, byte, length) => vault.put(key, &vec![byte; length]).await,
        Remove(key) => vault.remove(key).await,
        RemoveStream(stream) => vault.remove_stream(stream).await,
        Compact => vault.compact().await,
    }
}

async fn run(vault: &Vault, script: &[Vec<Act>], recorder: &Recorder) -> Result<(), StoreError> {
    let mut acts = 0;
    for group in script {
        for result in join_all(group.iter().map(|act| perform(vault, *act))).await {
            result?;
        }
        acts += group.len();
        recorder.acknowledged(acts);
    }
    Ok(())
}

fn recorded(dir: &Path, recorder: &Arc<Recorder>) -> Result<Vault, StoreError> {
    let options = VaultOptions {
        disk: recorder.disk(),
        ..VaultOptions::default()
    };
    Vault::open_with(dir, &master(), ORIGIN, options)
}

fn secrets(vault: &Vault) -> Secrets {
    let keys = [ALICE, BOB]
        .into_iter()
        .flat_map(|stream| vault.keys(stream));
    let secret = |key: &VaultKey| vault.get(key).unwrap().unwrap().to_vec();
    keys.map(|key| (key, secret(&key))).collect()
}

/// Opens the vault, compares it with what was acknowledged; after how many acts it stands.
fn check(dir: &Path, script: &[Vec<Act>], acknowledged: usize) -> usize {
    let vault = Vault::open(dir, &master(), ORIGIN)
        .unwrap_or_else(|error| panic!("{error}, with {acknowledged} acknowledged"));
    let found = secrets(&vault);
    let all = script.iter().flatten().count();
    let after = (acknowledged..=all).find(|acts| expected(script, *acts) == found);
    let Some(after) = after else {
        panic!(
            "{:?} is no state after {acknowledged} acts or more",
            found.keys()
        );
    };
    let looked_at = inspect_vault(dir, &master(), ORIGIN, &mut |_, _| {}).unwrap();
    assert!(looked_at.iter().eq(found.keys()));
    after
}

#[tokio::test]
async fn every_power_loss_leaves_each_secret_as_it_was_acknowledged() {
    let root = scratch();
    let dir = root.path().join("vault");
    let recorder = Recorder::over(root.path(), Plan::Nothing);
    let script = script();
    let vault = recorded(&dir, &recorder).unwrap();
    run(&vault, &script, &recorder).await.unwrap();
    drop(vault);
    let found = every_image(recorder.story(), 0, 29);
    for (image, acknowledged) in &found {
        let target = scratch();
        restore(image, root.path(), target.path());
        check(&target.path().join("vault"), &script, *acknowledged);
    }
    assert!(found.len() > 300, "{} images", found.len());
}

/// Killed before each change, or at a sync that failed; opened again on the same machine, changed,
/// and then the power fails.
#[tokio::test]
async fn a_killed_process_a_failed_sync_and_then_a_power_loss_lose_nothing() {
    let script = script();
    let mut images = 0;
    for at in 0.. {
        let mut reached = false;
        for plan in [
            Plan::KilledBefore(at),
            Plan::SyncLostAt(at),
            Plan::SyncKeptAt(at),
        ] {
            let root = scratch();
            let dir = root.path().join("vault");
            let recorder = Recorder::over(root.path(), plan);
            if let Ok(vault) = recorded(&dir, &recorder) {
                let _ = run(&vault, &script, &recorder).await;
            }
            reached |= recorder.failed() > 0;
            recorder.plan(Plan::Nothing);

            let vault = recorded(&dir, &recorder).unwrap();
            let shown = secrets(&vault);
            let begun = recorder.story().1.len();
            vault.put(key(BOB, 9), b"after the restart").await.unwrap();
            recorder.acknowledged(usize::MAX);
            drop(vault);
            for (image, acknowledged) in every_image(recorder.story(), begun - 1, 401) {
                let target = scratch();
                restore(&image, root.path(), target.path());
                let vault = Vault::open(&target.path().join("vault"), &master(), ORIGIN).unwrap();
                let mut found = secrets(&vault);
                let put = found.remove(&key(BOB, 9));
                assert_eq!(found, shown, "{plan:?}");
                assert!(put.is_some() || acknowledged != usize::MAX, "{plan:?}");
                images += 1;
            }
        }
        if !reached {
            break;
        }
    }
    assert!(images > 200, "{images}");
}

/// A compaction fails at any of its changes: the vault goes on with whichever file has the name, and no power loss
/// after that costs anything. What it was to remove goes with the next one.
#[tokio::test]
async fn a_compaction_that_fails_anywhere_stops_nothing_and_loses_nothing() {
    let (mut failures, mut images) = (0, 0);
    for at in 0.. {
        let mut reached = false;
        for kind in 0..4 {
            let root = scratch();
            let dir = root.path().join("vault");
            let recorder = Recorder::over(root.path(), Plan::Nothing);
            let vault = recorded(&dir, &recorder).unwrap();
            vault.put(key(ALICE, 1), &[1; 162]).await.unwrap();
            vault.put(key(BOB, 1), &[2; 700]).await.unwrap();
            vault.remove_stream(ALICE).await.unwrap();
            let (changes, syncs) = recorder.counts();
            recorder.plan(match kind {
                0 => Plan::KilledBefore(changes + at),
                1 => Plan::FullFrom(changes + at),
                2 => Plan::SyncLostAt(syncs + at),
                _ => Plan::SyncKeptAt(syncs + at),
            });
            let compacted = vault.compact().await;
            assert_eq!(compacted.is_err(), recorder.failed() > 0);
            if compacted.is_ok() {
                continue;
            }
            reached = true;
            failures += 1;
            assert!(vault.has_remains(ALICE) || !holds(&dir, ALICE));
            let kept = Secrets::from([(key(BOB, 1), vec![2; 700])]);
            assert_eq!(secrets(&vault), kept, "as long as it fails too");
            // There is room again.
            recorder.plan(Plan::Nothing);
            vault.put(key(BOB, 9), b"after the failure").await.unwrap();
            recorder.acknowledged(1);
            let begun = recorder.story().1.len();
            vault.compact().await.unwrap();
            assert!(!vault.has_remains(ALICE) && !holds(&dir, ALICE));
            vault.put(key(BOB, 8), b"and after that").await.unwrap();
            recorder.acknowledged(2);
            drop(vault);
            for (image, acknowledged) in every_image(recorder.story(), begun - 1, 401) {
                let target = scratch();
                restore(&image, root.path(), target.path());
                let vault = Vault::open(&target.path().join("vault"), &master(), ORIGIN).unwrap();
                let mut found = secrets(&vault);
                let later = found.remove(&key(BOB, 8));
                assert!(later.is_some() || acknowledged < 2);
                let first = found.remove(&key(BOB, 9));
                assert!(first.is_some() || acknowledged < 1);
                assert_eq!(found, kept);
                images += 1;
            }
        }
        if !reached {
            break;
        }
    }
    assert!(failures > 8 && images > 50, "{failures}, {images}");
}

/// Whether the vault's file names the stream.
fn holds(dir: &Path, stream: StreamId) -> bool {
    let bytes = std::fs::read(dir.join("00000001.seg")).unwrap();
    bytes.windows(16).any(|window| window == stream.0)
}
