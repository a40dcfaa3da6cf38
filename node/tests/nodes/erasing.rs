//! An erased account: nothing of its secrets is left at either operator, and no restored copy brings them back.

use std::{fs, io, path::PathBuf};

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
        let files = fs::read_dir(&vault)?;
        files.map(|file| fs::read(file?.path())).collect()
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
    let (data, backup) = (dir.path().join("trust-operator"), dir.path().join("backup"));
    is_free(&data).await;
    is_free(&dir.path().join("broker")).await;
    copy(&data, &backup);
    let net = started(dir, ledger).await;
    assert!(erase(&net, account).await);
    assert!(!vault_names(&net, "trust-operator", account));
    net.broker.stop().await;
    net.trust_operator.stop().await;
    let Net {
        dir,
        ledger,
        broker,
        ..
    } = net;
    drop(broker);
    is_free(&data).await;
    is_free(&dir.path().join("broker")).await;
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    let net = started(dir, ledger).await;
    until_gone(&net, "trust-operator", account).await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}
