//! An erased account: nothing of its secrets is left at either operator, and no restored copy brings them back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::join_all;
use warifu_client_sdk::{
    runtime::Keeper,
    store::{JournalOptions, Vault},
};
use warifu_consensus::{
    agree::{Erasure, Founding, Record},
    encoding::Hash,
    party::{Ledger, Parties, Role},
    signature::IdentityKey,
    time::Time,
    vote::Vote,
};

use super::*;

/// Erased once the log has all of its blocks.
async fn erase(net: &Net, account: Sub) -> bool {
    timeout(PATIENCE, async {
        loop {
            match net.broker.erase(account).await {
                Ok(both) => return both,
                Err(DeskError::Unlogged(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
    .expect("the log has every block soon")
}

/// Whether a vault's files name the account: each of its secrets does, sealed as it is.
fn vault_names(net: &Net, operator: &str, account: Sub) -> bool {
    let vault = net.dir.path().join(operator).join("vault");
    let read = || -> io::Result<Vec<Vec<u8>>> {
        let files = fs::read_dir(&vault)?.collect::<io::Result<Vec<_>>>()?;
        let files = files.iter().map(fs::DirEntry::path);
        files.filter(|path| !path.is_dir()).map(fs::read).collect()
    };
    // A vault that is just being compacted has another file a moment later.
    let files = loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            files => break files.unwrap(),
        }
    };
    let mut windows = files.iter().flat_map(|bytes| bytes.windows(16));
    windows.any(|window| window == account.0)
}

/// Both operators stopped, their directories free.
async fn stopped(net: Net) -> (tempfile::TempDir, Ledger) {
    let Net {
        dir,
        ledger,
        broker,
        trust_operator,
        ..
    } = net;
    broker.stop().await;
    drop(broker);
    trust_operator.stop().await;
    is_free(&dir.path().join("trust-operator")).await;
    is_free(&dir.path().join("broker")).await;
    (dir, ledger)
}

/// An account with a login, frozen, and in the log.
async fn frozen_account(net: &Net, device: &Device) -> Sub {
    let (account, _) = net.enrol(device).await;
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(device).await;
    device.approve(proposal, began.number).await.unwrap();
    assert!(matches!(net.outcome(&began).await, Outcome::Admitted(_)));
    let early = net.broker.erase(account).await;
    assert!(matches!(early, Err(DeskError::NotFrozen(_))), "{early:?}");
    let Frozen::Sealed(freeze) = net.broker.freeze(account).await.unwrap() else {
        panic!("the freeze is sealed")
    };
    let proof = net.broker.proof(&freeze, PATIENCE).await.unwrap();
    proof.expect("the freeze is in the log");
    account
}

async fn until_gone(net: &Net, operator: &str, account: Sub) {
    let what = format!("no secret is left at the {operator}");
    until(&what, async || !vault_names(net, operator, account)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_leaves_no_secret_at_either_operator_and_its_chain_stays() {
    let net = net().await;
    let device = net.device("device").await;
    let account = frozen_account(&net, &device).await;
    let kept = frozen_account(&net, &net.device("other").await).await;
    for operator in ["broker", "trust-operator"] {
        assert!(vault_names(&net, operator, account), "{operator}");
    }
    assert!(erase(&net, account).await, "the trust operator answers");
    assert!(erase(&net, account).await, "a repeat is well");
    for operator in ["broker", "trust-operator"] {
        assert!(!vault_names(&net, operator, account), "{operator}");
        assert!(vault_names(&net, operator, kept), "{operator}");
    }
    let erased = DeskError::Erased { account };
    assert_eq!(net.begin(account, Kind::Unfreeze).await.err(), Some(erased));
    // The chain is what it was, and opens no more.
    let history = net.broker.history(account, None, 10).await.unwrap();
    assert_eq!(history.len(), 3);
    assert!(history.iter().all(|entry| entry.body.is_none()));
    let blocks: Vec<_> = history.iter().rev().map(|e| e.sealed.clone()).collect();
    warifu_consensus::chain::verify_chain(&net.ledger, blocks.iter()).unwrap();
    assert!(
        net.broker
            .proof(&blocks[1], Duration::ZERO)
            .await
            .unwrap()
            .is_none()
    );
    // The device's own part is its customer's to erase.
    assert!(vault_names(&net, "device", account));
    device.erase(account).await.unwrap();
    assert!(!vault_names(&net, "device", account));
    assert_eq!(device.accounts().await.unwrap(), []);
    assert_eq!(device.history(account).unwrap().len(), 3);
    // The log goes on.
    let began = net.begin(kept, Kind::Unfreeze).await;
    assert!(began.is_ok(), "{began:?}");
    device.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_broker_does_not_take_an_erased_account_s_keys_back() {
    let net = net().await;
    let device = net.device("device").await;
    let account = frozen_account(&net, &device).await;
    device.stop().await;
    let backup: PathBuf = net.dir.path().join("backup");
    let net = restart(net, |data| copy(data, &backup)).await;
    assert!(erase(&net, account).await);
    let net = restart(net, |data| {
        fs::remove_dir_all(data).unwrap();
        copy(&backup, data);
    })
    .await;
    until_gone(&net, "broker", account).await;
    let erased = DeskError::Erased { account };
    assert_eq!(net.begin(account, Kind::Unfreeze).await.err(), Some(erased));
    // An older vault beside the journal that knows better is cleaned at the start.
    let net = restart(net, |data| {
        fs::remove_dir_all(data.join("vault")).unwrap();
        copy(&backup.join("vault"), &data.join("vault"));
    })
    .await;
    until_gone(&net, "broker", account).await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_operator_that_was_away_or_restored_forgets_when_it_is_back() {
    let net = net().await;
    let device = net.device("device").await;
    let account = frozen_account(&net, &device).await;
    device.stop().await;
    let (dir, ledger) = stopped(net).await;
    let (data, backup) = (dir.path().join("trust-operator"), dir.path().join("backup"));
    copy(&data, &backup);
    let net = started(dir, ledger).await;
    assert!(erase(&net, account).await);
    assert!(!vault_names(&net, "trust-operator", account));
    let (dir, ledger) = stopped(net).await;
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    let net = started(dir, ledger).await;
    until_gone(&net, "trust-operator", account).await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

/// Again and again, until both operators have it.
async fn until_erased(net: &Net, account: Sub) {
    until(
        "a repeated erasure answers like the first",
        async || match net.broker.erase(account).await {
            Ok(both) => both,
            Err(DeskError::Unlogged(_)) => false,
            Err(error) => panic!("{error}"),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_whose_caller_is_gone_at_any_moment_is_finished_without_a_restart() {
    let net = net().await;
    let mut accounts = Vec::new();
    for number in 0..8 {
        let device = net.device(&format!("device-{number}")).await;
        accounts.push(frozen_account(&net, &device).await);
        device.stop().await;
    }
    // Each tombstone takes a while: somebody gives up before, during and after it.
    let net = restart_slowed(net, Duration::from_millis(60), |_| {}).await;
    for (number, account) in (0..).zip(&accounts) {
        let moment = Duration::from_millis(number * 30);
        let given_up = timeout(moment, net.broker.erase(*account)).await;
        assert!(!matches!(given_up, Ok(Err(_))), "{given_up:?}");
    }
    // Nobody asks again.
    for account in &accounts {
        for operator in ["broker", "trust-operator"] {
            until_gone(&net, operator, *account).await;
        }
    }
    for account in accounts {
        until_erased(&net, account).await;
        let erased = DeskError::Erased { account };
        assert_eq!(net.begin(account, Kind::Unfreeze).await.err(), Some(erased));
    }
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

/// As a disk that takes changes of files, but no new one under this name.
fn break_vault(net: &Net, operator: &str) -> PathBuf {
    let new = net.dir.path().join(operator).join("vault/00000001.tmp");
    fs::create_dir(&new).unwrap();
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_can_not_forget_owes_it_and_does_without_a_restart() {
    let net = net().await;
    let mut accounts = Vec::new();
    for number in 0..2 {
        let device = net.device(&format!("device-{number}")).await;
        accounts.push(frozen_account(&net, &device).await);
        device.stop().await;
    }
    // At the trust operator: it is erased there, but not acknowledged, however often it is tried.
    let broken = break_vault(&net, "trust-operator");
    let asked = timeout(Duration::from_secs(5), erase(&net, accounts[0])).await;
    assert!(asked.is_err(), "{asked:?}");
    assert!(vault_names(&net, "trust-operator", accounts[0]));
    assert!(!vault_names(&net, "broker", accounts[0]));
    fs::remove_dir(broken).unwrap();
    until_erased(&net, accounts[0]).await;
    assert!(!vault_names(&net, "trust-operator", accounts[0]));
    // At the broker: whoever asks is told to ask again.
    let broken = break_vault(&net, "broker");
    for _ in 0..2 {
        let asked = net.broker.erase(accounts[1]).await;
        assert_eq!(asked, Err(DeskError::Stopping));
    }
    assert!(vault_names(&net, "broker", accounts[1]));
    fs::remove_dir(broken).unwrap();
    until_erased(&net, accounts[1]).await;
    for operator in ["broker", "trust-operator"] {
        assert!(!vault_names(&net, operator, accounts[1]), "{operator}");
    }
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

/// Accounts that were erased long ago, in the journal of an operator that is stopped.
async fn add_erased(data: &Path, ledger: &Ledger, role: Role, count: u32) {
    let journal = JournalOptions {
        reserve_bytes: 0,
        ..JournalOptions::new(ledger.iss.clone(), role.number())
    };
    let store = warifu_node::store::open(data, journal, &mut |_, _| {}).unwrap();
    let seed = if role == Role::Broker { 2 } else { 3 };
    let vault = Vault::open(&data.join("vault"), &master(seed), &ledger.iss).unwrap();
    let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
    let broker = IdentityKey::from_seed([2; 32]);
    let numbers: Vec<u32> = (0..count).collect();
    for some in numbers.chunks(500) {
        let appended = some.iter().map(async |number| {
            let mut name = [0xee; 32];
            name[..4].copy_from_slice(&number.to_le_bytes());
            let sub = Sub(*name.first_chunk().unwrap());
            let vote = Vote::sign(&broker, &Erasure::statement(sub, Hash(name)));
            let founding = Founding {
                ledger: ledger.clone(),
                sub,
                account_key: name,
                parties: Parties {
                    device: name,
                    broker: ledger.broker,
                    trust_operator: ledger.trust_operator,
                },
                transcript: Hash(name),
                votes: [vote; 3],
                session: name,
                deadline: Time(0),
            };
            let erasure = Some(Erasure {
                head: Hash(name),
                vote,
            });
            let erased = Record::Erased {
                erasure,
                both: true,
            };
            let records = [Record::Founding(Box::new(founding)), erased];
            keeper.append(&sub, &records).await.unwrap();
        });
        join_all(appended).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_trust_operator_hears_of_every_erased_account_however_many_there_are() {
    let net = net().await;
    let mut accounts = Vec::new();
    for number in 0..4 {
        let device = net.device(&format!("device-{number}")).await;
        accounts.push(frozen_account(&net, &device).await);
        device.stop().await;
    }
    let (data, backup) = (
        net.dir.path().join("trust-operator"),
        net.dir.path().join("backup"),
    );
    let (dir, ledger) = stopped(net).await;
    copy(&data, &backup);
    let net = started(dir, ledger).await;
    for account in &accounts {
        assert!(erase(&net, *account).await);
    }
    let (dir, ledger) = stopped(net).await;
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    // Nearly twice what a line's outbox takes at once.
    let count = 16_000;
    add_erased(&dir.path().join("broker"), &ledger, Role::Broker, count).await;
    add_erased(&data, &ledger, Role::TrustOperator, count).await;
    let net = started(dir, ledger).await;
    for account in accounts {
        until_gone(&net, "trust-operator", account).await;
    }
    net.broker.stop().await;
    net.trust_operator.stop().await;
}
