//! Three nodes on loopback, in one process: real stores, real lines, real keys.

mod browser;
mod cut;
mod erasing;
mod freezes;
mod http;
mod net;

use net::*;

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;
use warifu_client_sdk::{
    device::{Decision, Device, EnrolStage},
    receipt::verify_logged,
};
use warifu_consensus::{
    agree::{Outcome, TrustOperatorOptions},
    block::Kind,
    encoding::text_b64,
    party::{Role, Sub},
    signature::IdentityKey,
    wire::Reason,
};
use warifu_node::{
    api::desk::{Desk, DeskError, Frozen, LoginState},
    roles::{broker::Broker, trust_operator::TrustOperator},
};

/// Waits until the device's last prompt is gone: it is told after the login service is.
async fn asked_nothing(device: &Device) {
    until("the prompt goes", async || device.pending().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_enrols_logs_in_refuses_and_freezes() {
    let net = net().await;
    let device = net.device("device").await;
    let (account, account_key) = net.enrol(&device).await;

    // Three logins, all admitted.
    for height in 1..=3 {
        let began = net.begin(account, Kind::Login).await.unwrap();
        let busy = net.begin(account, Kind::Login).await;
        assert!(matches!(busy, Err(DeskError::Refused(_))), "{busy:?}");
        let proposal = asked(&device).await;
        let decision = device.approve(proposal, began.number).await.unwrap();
        assert!(matches!(decision, Decision::Sealed(_)), "{decision:?}");
        let outcome = net.outcome(&began).await;
        let Outcome::Admitted(sealed) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(sealed.block.claims().height, height);
        assert_eq!(sealed.block.claims().aud, AUD);
        let late = net.broker.cancel(CALLER, began.id).await;
        assert_eq!(late, Err(DeskError::Ended));
        // Its proof comes soon, and a stranger can check it.
        let proof = net.broker.proof(&sealed, PATIENCE).await.unwrap();
        let proof = proof.expect("the block is in the log").to_string();
        let logged = verify_logged(&sealed.block, &proof, &log_keys()).unwrap();
        assert!(logged.checkpoint.size > height, "{logged:?}");
        assert!(proof.len() <= 1400, "{} bytes", proof.len());
    }

    // A cancel is taken before the lock, and its repeat too.
    let began = net.begin(account, Kind::Login).await.unwrap();
    asked(&device).await;
    for _ in 0..2 {
        assert_eq!(net.broker.cancel(CALLER, began.id).await, Ok(()));
    }
    asked_nothing(&device).await;

    // A wrong number.
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    let wrong = (began.number + 1) % 100;
    let decision = device.approve(proposal, wrong).await.unwrap();
    assert_eq!(decision, Decision::Refused(Some(Reason::WrongNumber)));
    let refused = Outcome::Refused {
        by: Role::Device,
        reason: Reason::WrongNumber,
    };
    assert_eq!(net.outcome(&began).await, refused);

    // A deny.
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    device.deny(proposal, false).await.unwrap();
    let denied = Outcome::Refused {
        by: Role::Device,
        reason: Reason::Denied,
    };
    assert_eq!(net.outcome(&began).await, denied);

    // "It wasn't me" freezes.
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    device.deny(proposal, true).await.unwrap();
    assert!(matches!(
        net.outcome(&began).await,
        Outcome::Refused {
            by: Role::Device,
            ..
        }
    ));
    timeout(PATIENCE, async {
        while net.broker.account(account).await.unwrap().status
            != warifu_consensus::chain::Status::Frozen
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("frozen");
    let refused = net.begin(account, Kind::Login).await;
    assert!(matches!(refused, Err(DeskError::Refused(_))), "{refused:?}");

    // Unfreeze, then the desk freezes.
    let began = net.begin(account, Kind::Unfreeze).await.unwrap();
    let proposal = asked(&device).await;
    let decision = device.approve(proposal, began.number).await.unwrap();
    assert!(matches!(decision, Decision::Sealed(_)), "{decision:?}");
    let frozen = net.broker.freeze(account).await.unwrap();
    let Frozen::Sealed(frozen) = frozen else {
        panic!("{frozen:?}");
    };

    let history = net.broker.history(account, None, 100).await.unwrap();
    let kinds: Vec<&str> = history
        .iter()
        .rev()
        .map(|e| e.sealed.block.claims().kind.name())
        .collect();
    assert_eq!(
        kinds,
        [
            "genesis", "login", "login", "login", "refuse", "deny", "freeze", "unfreeze", "freeze"
        ]
    );
    let own = device.history(account).unwrap();
    let blocks: Vec<_> = own.iter().map(|e| e.sealed.clone()).collect();
    let folded = warifu_consensus::chain::verify_chain(&net.ledger, blocks.iter()).unwrap();
    assert_eq!(*folded.account_key(), account_key);
    assert_eq!(
        own.get(1)
            .and_then(|e| e.body.as_ref())
            .map(|b| b.channel.as_str()),
        Some("web")
    );
    assert_eq!(
        device.checkpoint().await,
        None,
        "at its first line the log was empty"
    );
    device.stop().await;
    // A device that comes back sees how the log has grown.
    let proof = net.broker.proof(&frozen, PATIENCE).await.unwrap();
    proof.expect("the log has the last block");
    is_free(&net.dir.path().join("device")).await;
    let device = net.device("device").await;
    until("the device sees the log", async || {
        device.checkpoint().await.is_some_and(|seen| seen.size >= 9)
    })
    .await;
    device.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_restart_of_all_three() {
    let net = net().await;
    let device = net.device("device").await;
    let (account, _) = net.enrol(&device).await;
    let began = net.begin(account, Kind::Login).await.unwrap();
    let proposal = asked(&device).await;
    device.approve(proposal, began.number).await.unwrap();
    assert!(matches!(net.outcome(&began).await, Outcome::Admitted(_)));

    let net = restart(net, |_| {}).await;
    let Net {
        dir,
        ledger,
        broker,
        trust_operator,
        ..
    } = net;
    let state = broker.account(account).await.unwrap();
    assert_eq!(state.head.height, 1);
    // The login that ended a moment ago can still be asked for.
    let again = broker
        .login(CALLER, began.id, Duration::ZERO)
        .await
        .unwrap();
    assert!(
        matches!(
            again,
            LoginState::Ended {
                outcome: Outcome::Admitted(_),
                ..
            }
        ),
        "{again:?}"
    );
    assert_eq!(
        broker.login("another", began.id, Duration::ZERO).await,
        Err(DeskError::UnknownLogin)
    );
    device.stop().await;
    broker.stop().await;
    trust_operator.stop().await;
    drop(broker);

    // A journal that is gone is no fresh start: the vault beside it says that there was one.
    let data = dir.path().join("trust-operator");
    is_free(&data).await;
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    let mut progress = |_, _| {};
    let options = options(
        Role::TrustOperator,
        &ledger,
        &data,
        3,
        Vec::new(),
        &mut progress,
    );
    let policy = TrustOperatorOptions {
        unfreeze_delay_s: 0,
    };
    let Err(refused) = TrustOperator::start(options, policy).await else {
        panic!("an empty journal beside a full vault was taken")
    };
    let refused = refused.to_string();
    assert!(refused.starts_with("the journal is empty"), "{refused}");
    assert!(refused.contains("put the journal back"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_enrols_one_device_once_and_only_at_its_own_ledger() {
    let net = net().await;
    let (first, second) = (net.device("first").await, net.device("second").await);
    let mut ticket = net.broker.open_ticket(CALLER).await.unwrap();
    ticket.broker_addresses = net.broker.listeners();
    let ticket = ticket.sign(&IdentityKey::from_seed([2; 32]));
    let mut enrolling = first.enrol(&ticket).await.unwrap();
    let digits = |s: &EnrolStage| matches!(s, EnrolStage::Digits(_));
    timeout(PATIENCE, enrolling.stage.wait_for(digits))
        .await
        .unwrap()
        .unwrap();

    // Photographed, and used by another device.
    let mut photographed = second.enrol(&ticket).await.unwrap();
    let failed = |s: &EnrolStage| matches!(s, EnrolStage::Failed(_));
    let stage = timeout(PATIENCE, photographed.stage.wait_for(failed))
        .await
        .unwrap()
        .unwrap()
        .clone();
    let EnrolStage::Failed(reason) = stage else {
        panic!("{stage:?}")
    };
    assert!(reason.contains("the ticket is used already"), "{reason}");

    // Changed, expired, or of another trust operator: refused before anything is sent.
    let mut changed = ticket.clone();
    changed.exp += 1;
    let refused = second.enrol(&changed).await.unwrap_err().to_string();
    assert_eq!(refused, "ticket is not signed by the broker that it names");
    let mut expired = ticket.clone();
    expired.exp = warifu_node::clock::now().seconds() - 5;
    let expired = expired.sign(&IdentityKey::from_seed([2; 32]));
    let refused = second.enrol(&expired).await.unwrap_err().to_string();
    assert!(refused.starts_with("ticket expired "), "{refused}");
    let mut other = ticket;
    other.ledger.trust_operator = IdentityKey::from_seed([4; 32]).public();
    let other = other.sign(&IdentityKey::from_seed([2; 32]));
    let refused = second.enrol(&other).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("ticket names another trust operator"),
        "{refused}"
    );

    let cancelled = net
        .broker
        .cancel("another", warifu_consensus::agree::LoginId([0; 16]))
        .await;
    assert_eq!(cancelled, Err(DeskError::UnknownLogin));
    let account = Sub([9; 16]);
    let unknown = net.begin(account, Kind::Login).await;
    assert_eq!(
        unknown.map(drop),
        Err(DeskError::UnknownAccount { account })
    );
    first.stop().await;
    second.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}
