use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use warifu_client_sdk::store::{
    Disk, DiskChange, DiskFault, DiskWatch, JournalReader, MasterKey, StoreError, Vault, VaultKey,
    VaultOptions,
};
use zeroize::Zeroizing;

use super::{
    ALICE, BOB,
    format::{chain, frame, header},
};

const ORIGIN: &str = "ledger.example";

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([byte; 32]))
}

fn open(dir: &Path) -> Result<Vault, StoreError> {
    Vault::open(dir, &master(1), ORIGIN)
}

fn key(stream: warifu_client_sdk::store::StreamId, kind: u8) -> VaultKey {
    VaultKey {
        stream,
        kind,
        name: [kind; 32],
    }
}

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("00000001.seg")
}

fn secret(vault: &Vault, key: VaultKey) -> Option<Vec<u8>> {
    vault.get(&key).unwrap().map(|secret| secret.to_vec())
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test]
async fn a_slowed_vault_takes_its_time_for_each_sync() {
    let dir = tempfile::tempdir().unwrap();
    let sync_delay = std::time::Duration::from_millis(30);
    let options = VaultOptions {
        sync_delay,
        ..VaultOptions::default()
    };
    let vault = Vault::open_with(dir.path(), &master(1), ORIGIN, options).unwrap();
    let begun = tokio::time::Instant::now();
    vault.put(key(ALICE, 1), b"a share").await.unwrap();
    vault.remove(key(ALICE, 1)).await.unwrap();
    assert!(begun.elapsed() >= sync_delay * 2);
    assert_eq!(vault.counters().await.syncs, 2);
}

#[tokio::test]
async fn secrets_are_kept_replaced_and_never_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    vault.put(key(ALICE, 1), b"a share, old").await.unwrap();
    vault.put(key(ALICE, 1), b"a share, new").await.unwrap();
    vault.put(key(ALICE, 2), b"").await.unwrap();
    vault.put(key(BOB, 1), b"another share").await.unwrap();
    let check = |vault: &Vault| {
        assert_eq!(secret(vault, key(ALICE, 1)).unwrap(), b"a share, new");
        assert_eq!(secret(vault, key(ALICE, 2)).unwrap(), b"");
        assert_eq!(secret(vault, key(BOB, 1)).unwrap(), b"another share");
        assert_eq!(secret(vault, key(BOB, 2)), None);
        assert_eq!(vault.keys(ALICE), [key(ALICE, 1), key(ALICE, 2)]);
    };
    check(&vault);
    assert!(matches!(open(dir.path()), Err(StoreError::Locked { .. })));
    drop(vault);
    let vault = open(dir.path()).unwrap();
    check(&vault);
    vault.compact().await.unwrap();
    check(&vault);
    vault.put(key(BOB, 3), b"after").await.unwrap();
    drop(vault);
    let vault = open(dir.path()).unwrap();
    check(&vault);
    assert_eq!(secret(&vault, key(BOB, 3)).unwrap(), b"after");
    assert!(!holds(dir.path(), b"share"));
}

#[tokio::test]
async fn another_master_key_or_ledger_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    vault.put(key(ALICE, 1), b"secret").await.unwrap();
    drop(vault);
    // A torn tail would be cut by a good opening.
    let mut bytes = fs::read(file(dir.path())).unwrap();
    bytes.push(0);
    fs::write(file(dir.path()), &bytes).unwrap();

    let wrong = Vault::open(dir.path(), &master(2), ORIGIN).map(|_| ());
    assert!(
        matches!(wrong, Err(StoreError::WrongMasterKey { .. })),
        "{wrong:?}"
    );
    let other = Vault::open(dir.path(), &master(1), "other.example").map(|_| ());
    assert!(
        matches!(other, Err(StoreError::OtherLedger { .. })),
        "{other:?}"
    );
    assert_eq!(fs::read(file(dir.path())).unwrap(), bytes);
    assert_eq!(
        secret(&open(dir.path()).unwrap(), key(ALICE, 1)).unwrap(),
        b"secret"
    );
}

#[tokio::test]
async fn what_is_removed_stays_removed_and_leaves_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    let mut sealed = Vec::new();
    for key in [key(ALICE, 1), key(ALICE, 2), key(BOB, 1)] {
        vault.put(key, &[key.kind; 64]).await.unwrap();
        // A record ends with its ciphertext and tag: 64 + 16 bytes.
        let bytes = fs::read(file(dir.path())).unwrap();
        sealed.push(bytes[bytes.len() - 80..].to_vec());
    }
    vault.remove(key(BOB, 1)).await.unwrap();
    vault.remove(key(BOB, 9)).await.unwrap();
    vault.put(key(BOB, 2), b"kept").await.unwrap();
    vault.remove_stream(ALICE).await.unwrap();
    let check = |vault: &Vault| {
        for key in [key(ALICE, 1), key(ALICE, 2), key(BOB, 1)] {
            assert_eq!(secret(vault, key), None);
        }
        assert_eq!(secret(vault, key(BOB, 2)).unwrap(), b"kept");
        assert!(vault.keys(ALICE).is_empty());
    };
    check(&vault);
    drop(vault);
    let vault = open(dir.path()).unwrap();
    check(&vault);
    for bytes in &sealed {
        assert!(
            holds(dir.path(), bytes),
            "the test does not find what it looks for"
        );
    }
    vault.compact().await.unwrap();
    for bytes in &sealed {
        assert!(!holds(dir.path(), bytes));
    }
    check(&vault);
    drop(vault);
    check(&open(dir.path()).unwrap());
}

#[tokio::test]
async fn leftovers_of_an_interrupted_compaction_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let leftover = dir.path().join("00000001.tmp");
    fs::write(&leftover, b"sealed bytes").unwrap();
    open(dir.path()).unwrap();
    assert!(!leftover.exists());
}

#[tokio::test]
async fn a_file_that_is_mostly_dead_is_compacted_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    vault.put(key(BOB, 1), b"kept").await.unwrap();
    let mut longest = 0;
    for number in 0..60u8 {
        vault.put(key(ALICE, 1), &[number; 64 << 10]).await.unwrap();
        longest = longest.max(fs::metadata(file(dir.path())).unwrap().len());
    }
    // One live secret of 64 KiB, at most 1 MiB dead, and the record that crossed the line.
    assert!(longest < (1 << 20) + (192 << 10), "{longest}");
    assert!(longest > 1 << 20, "compacted earlier than told");
    assert_eq!(secret(&vault, key(ALICE, 1)).unwrap(), [59; 64 << 10]);
    assert_eq!(secret(&vault, key(BOB, 1)).unwrap(), b"kept");
}

/// Lets no file take another's name, and counts how often that was tried.
#[derive(Default)]
struct NoRename(AtomicUsize);

impl DiskWatch for NoRename {
    fn before(&self, change: &DiskChange<'_>) -> Option<DiskFault> {
        matches!(change, DiskChange::Rename { .. }).then(|| {
            self.0.fetch_add(1, Ordering::Relaxed);
            DiskFault {
                done: 0,
                error: std::io::Error::other("input/output error"),
            }
        })
    }
}

#[tokio::test]
async fn a_file_that_can_not_be_compacted_takes_changes_and_is_not_rewritten_for_each() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let disk = Arc::new(NoRename::default());
    let options = VaultOptions {
        disk: Disk::watched(Arc::clone(&disk) as _),
        ..VaultOptions::default()
    };
    let vault = Vault::open_with(dir.path(), &master(1), ORIGIN, options).unwrap();
    for number in 0..60u8 {
        vault.put(key(ALICE, 1), &[number; 64 << 10]).await.unwrap();
    }
    // 3.7 MiB are dead: once for each of them.
    let tries = disk.0.load(Ordering::Relaxed);
    assert!((2..=4).contains(&tries), "{tries}");
    drop(vault);
    let vault = open(dir.path()).unwrap();
    assert_eq!(secret(&vault, key(ALICE, 1)).unwrap(), [59; 64 << 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_go_on_beside_compactions() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    let vault_ref = &vault;
    let puts =
        (0..100u8).map(|kind| async move { vault_ref.put(key(ALICE, kind), &[kind; 40]).await });
    let compactions = async {
        for _ in 0..5 {
            vault.compact().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (results, ()) = futures::future::join(futures::future::join_all(puts), compactions).await;
    results.into_iter().for_each(Result::unwrap);
    drop(vault);
    let vault = open(dir.path()).unwrap();
    for kind in 0..100u8 {
        assert_eq!(secret(&vault, key(ALICE, kind)).unwrap(), [kind; 40]);
    }
}

#[tokio::test]
async fn every_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    vault.put(key(ALICE, 1), b"secret").await.unwrap();
    vault.remove(key(BOB, 1)).await.unwrap();
    drop(vault);
    let good = fs::read(file(dir.path())).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(file(dir.path()), &bad).unwrap();
        let result = open(dir.path()).map(|_| ());
        assert!(
            matches!(result, Err(StoreError::Corrupt { .. })),
            "byte {at}: {result:?}"
        );
        assert_eq!(fs::read(file(dir.path())).unwrap(), bad);
    }
}

/// Whoever can write the file can mend its hashes, but not give a secret another name.
#[tokio::test]
async fn a_secret_moved_under_another_name_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    vault.put(key(ALICE, 1), b"secret of alice").await.unwrap();
    drop(vault);
    let bytes = fs::read(file(dir.path())).unwrap();
    // The check's frame: tag, nonce, length, text and tag of the seal.
    let head = header(b"warifu-vault\0\0", 2, 0, 44 + 4 + 24 + 8 + 16 + 16);
    let check_at = 44 + head.len();
    let check_length = u32::from_le_bytes(bytes[check_at..check_at + 4].try_into().unwrap());
    let check_length = check_length & (u32::MAX >> 1);
    let put_at = check_at + 44 + check_length as usize;
    let check_chain: [u8; 32] = bytes[check_at + 12..check_at + 44].try_into().unwrap();
    let check_payload = &bytes[check_at + 44..put_at];
    assert_eq!(check_chain, chain(&chain(&[0; 32], &head), check_payload));

    let mut payload = bytes[put_at + 44..].to_vec();
    assert_eq!(payload[4..20], ALICE.0);
    for (stream, opens) in [(ALICE, true), (BOB, false)] {
        payload[4..20].copy_from_slice(&stream.0);
        let forged = frame(put_at as u64, 1, &check_chain, &payload);
        fs::write(file(dir.path()), [&bytes[..put_at], &forged].concat()).unwrap();
        let result = open(dir.path()).map(|_| ());
        assert_eq!(result.is_ok(), opens, "{result:?}");
    }
}

#[tokio::test]
async fn a_vault_is_not_taken_for_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir.path().join("journal")).unwrap());
    assert!(matches!(
        JournalReader::open(dir.path()),
        Err(StoreError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_secret_over_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let vault = open(dir.path()).unwrap();
    let result = vault.put(key(ALICE, 1), &vec![0; 256 << 10]).await;
    assert!(
        matches!(result, Err(StoreError::BatchTooLarge { .. })),
        "{result:?}"
    );
    vault.put(key(ALICE, 1), &vec![0; 250 << 10]).await.unwrap();
}

#[cfg(unix)]
#[test]
fn master_key_file_is_private_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let created = MasterKey::create(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(matches!(
        MasterKey::create(&path),
        Err(StoreError::Io { .. })
    ));
    assert_eq!(format!("{created:?}"), "MasterKey(<redacted>)");

    let vault_dir = dir.path().join("vault");
    drop(Vault::open(&vault_dir, &created, ORIGIN).unwrap());
    Vault::open(&vault_dir, &MasterKey::read(&path).unwrap(), ORIGIN).unwrap();

    for mode in [0o640, 0o604, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(
            MasterKey::read(&path),
            Err(StoreError::MasterKeyFile { .. })
        ));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for length in [0, 31, 33] {
        fs::write(&path, vec![0; length]).unwrap();
        assert!(matches!(
            MasterKey::read(&path),
            Err(StoreError::MasterKeyFile { .. })
        ));
    }
}
