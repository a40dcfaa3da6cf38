//! Looking at a directory without opening it: who holds it, and what its vault keeps.

use std::{collections::BTreeSet, fs};

use warifu_client_sdk::store::{
    MasterKey, Occupant, StoreError, Vault, VaultKey, inspect_vault, occupant,
};
use zeroize::Zeroizing;

use super::{ALICE, BOB, open};

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([byte; 32]))
}

fn key(stream: warifu_client_sdk::store::StreamId, kind: u8) -> VaultKey {
    VaultKey {
        stream,
        kind,
        name: [0; 32],
    }
}

#[test]
fn a_lock_names_the_process_that_holds_it_as_long_as_it_does() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(occupant(dir.path()).unwrap(), None);
    let store = open(dir.path()).unwrap();
    let own = std::process::id();
    assert_eq!(
        occupant(dir.path()).unwrap(),
        Some(Occupant { pid: Some(own) })
    );
    let refused = open(dir.path()).map(|_| ()).unwrap_err();
    assert!(
        refused.to_string().contains(&format!("process {own}")),
        "{refused}"
    );
    drop(store);
    assert_eq!(occupant(dir.path()).unwrap(), None);
    // A look takes nothing: the directory opens beside it.
    drop(open(dir.path()).unwrap());
}

#[tokio::test]
async fn a_vault_is_looked_at_beside_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let look = |byte| inspect_vault(dir.path(), &master(byte), "ledger.example", &mut |_, _| {});
    assert!(matches!(look(1), Err(StoreError::Io { .. })));
    let vault = Vault::open(dir.path(), &master(1), "ledger.example").unwrap();
    vault.put(key(ALICE, 1), b"a share").await.unwrap();
    vault.put(key(ALICE, 2), b"a key").await.unwrap();
    vault.put(key(BOB, 1), b"a share").await.unwrap();
    let before = fs::read(dir.path().join("00000001.seg")).unwrap();
    let all = BTreeSet::from([key(ALICE, 1), key(ALICE, 2), key(BOB, 1)]);
    assert_eq!(look(1).unwrap(), all);
    assert!(matches!(look(2), Err(StoreError::WrongMasterKey { .. })));
    assert_eq!(fs::read(dir.path().join("00000001.seg")).unwrap(), before);
    vault.remove(key(ALICE, 2)).await.unwrap();
    vault.remove_stream(BOB).await.unwrap();
    assert_eq!(look(1).unwrap(), BTreeSet::from([key(ALICE, 1)]));
    vault.compact().await.unwrap();
    assert_eq!(look(1).unwrap(), BTreeSet::from([key(ALICE, 1)]));
}
