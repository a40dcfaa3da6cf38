//! A disk that is full, fails, or can't be written: the store stops, says why, and is whole afterwards.

use warifu_client_sdk::store::{MasterKey, Store, StoreError, Vault, VaultKey, VaultOptions};
use zeroize::Zeroizing;

use super::{
    journal::{Script, append_groups, check, recorded},
    recorder::{Plan, Recorder},
    scratch,
};
use crate::store::{ALICE, open_with};

/// The text that an operator reads, with its causes.
fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn a_disk_that_fills_up_at_any_write_stops_the_store_and_costs_nothing_acknowledged() {
    let mut stopped = 0;
    for at in 0.. {
        let root = scratch();
        let dir = root.path().join("node");
        let recorder = Recorder::over(root.path(), Plan::FullFrom(at));
        let mut script = Script::default();
        let mut acknowledged = 0;
        let mut failure = None;
        match open_with(&dir, recorded(&recorder)) {
            Err(error) => failure = Some(error),
            Ok(store) => {
                for groups in [[1, 2], [4, 3]] {
                    let appended = append_groups(&store, &mut script, &recorder, &groups).await;
                    if let Err(error) = appended {
                        failure = Some(error);
                        break;
                    }
                    acknowledged = script.issued.len();
                }
                if failure.is_some() {
                    assert!(!store.is_running());
                    // It stays stopped, also once there is room again.
                    recorder.plan(Plan::Nothing);
                    let later = store
                        .append(crate::store::batch(ALICE, None, &[b"x"]))
                        .await;
                    assert!(matches!(later, Err(StoreError::Stopped)), "{later:?}");
                }
            }
        }
        let Some(failure) = failure else { break };
        if !matches!(failure, StoreError::Stopped) {
            let text = told(&failure);
            assert!(
                text.contains("could not ") && text.contains("no storage space"),
                "{text}"
            );
        }
        stopped += 1;
        check(&dir, &script, acknowledged);
    }
    assert!(stopped > 8, "{stopped}");
}

#[tokio::test]
async fn a_directory_that_can_not_be_written_is_told_and_left_alone() {
    let root = scratch();
    let dir = root.path().join("node");
    let nothing = Recorder::over(root.path(), Plan::ReadOnly);
    let text = told(&open_with(&dir, recorded(&nothing)).map(|_| ()).unwrap_err());
    assert!(
        text.contains(dir.to_str().unwrap()) && text.contains("read-only"),
        "{text}"
    );

    let recorder = Recorder::over(root.path(), Plan::Nothing);
    let mut script = Script::default();
    let store = open_with(&dir, recorded(&recorder)).unwrap();
    append_groups(&store, &mut script, &recorder, &[3])
        .await
        .unwrap();
    drop(store);
    let read_only = Recorder::over(root.path(), Plan::ReadOnly);
    let text = told(
        &open_with(&dir, recorded(&read_only))
            .map(|_| ())
            .unwrap_err(),
    );
    assert!(
        text.contains(".seg") && text.contains("read-only"),
        "{text}"
    );
    check(&dir, &script, script.issued.len());
}

#[tokio::test]
async fn a_vault_on_a_full_disk_stops_and_keeps_what_it_has() {
    let key = |kind| VaultKey {
        stream: ALICE,
        kind,
        name: [0; 32],
    };
    let master = || MasterKey::from_bytes(Zeroizing::new([1; 32]));
    let mut stopped = 0;
    for at in 0.. {
        let root = scratch();
        let recorder = Recorder::over(root.path(), Plan::FullFrom(at));
        let options = VaultOptions {
            disk: recorder.disk(),
            ..VaultOptions::default()
        };
        let dir = root.path().join("vault");
        let mut kept = 0;
        let mut failed = true;
        if let Ok(vault) = Vault::open_with(&dir, &master(), "ledger.example", options) {
            failed = false;
            for kind in 1..=4u8 {
                if let Err(error) = vault.put(key(kind), &[kind; 100]).await {
                    failed = true;
                    let text = told(&error);
                    assert!(text.contains("could not write"), "{text}");
                    let later = vault.put(key(9), b"later").await;
                    assert!(matches!(later, Err(StoreError::Stopped)), "{later:?}");
                    break;
                }
                kept = kind;
                if kind == 3
                    && let Err(error) = vault.compact().await
                {
                    failed = true;
                    let text = told(&error);
                    assert!(text.contains("00000001.tmp"), "{text}");
                    assert!(vault.put(key(9), b"later").await.is_err());
                    break;
                }
            }
        }
        if !failed {
            break;
        }
        stopped += 1;
        let vault = Vault::open(&dir, &master(), "ledger.example").unwrap();
        for kind in 1..=kept {
            let found = vault.get(&key(kind)).unwrap().map(|found| found.to_vec());
            assert_eq!(
                found,
                Some(vec![kind; 100]),
                "{kind}, full from change {at}"
            );
        }
        assert_eq!(vault.get(&key(9)).unwrap(), None);
    }
    assert!(stopped > 6, "{stopped}");
}
