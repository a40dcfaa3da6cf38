//! What a freeze of an account that is frozen already is answered with.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_is_answered_from_the_chain_only_once_heads_are_compared() {
    let net = net().await;
    let device = net.device("device").await;
    let (account, _) = net.enrol(&device).await;
    device.stop().await;
    let first = net.broker.freeze(account).await.unwrap();
    assert!(matches!(first, Frozen::Sealed(_)), "{first:?}");

    // The account is loaded for the question: the comparison is waited for.
    let net = restart(net, |_| {}).await;
    assert_eq!(net.broker.freeze(account).await, Ok(first));

    // Nobody says whether an unfreeze was forgotten here: the freeze is wanted anew.
    net.trust_operator.stop().await;
    until("the line goes down", async || {
        net.broker.ready().await.is_err()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(net.broker.freeze(account).await, Ok(Frozen::Wanted));
    net.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admitted_is_not_told_again_after_a_freeze() {
    // A thief logged in, the customer called the desk, the account was frozen; the thief's page asked
    // the login service again, and that the broker: "admitted", as long as the block had not expired.
    let net = net().await;
    let device = net.device("device").await;
    let (account, _) = net.enrol(&device).await;
    let began = net.begin(account, Kind::Login).await.unwrap();
    let hash = asked(&device).await;
    device.approve(hash, began.number).await.unwrap();
    assert!(matches!(net.outcome(&began).await, Outcome::Admitted(_)));
    assert!(matches!(net.outcome(&began).await, Outcome::Admitted(_)));
    let frozen = net.broker.freeze(account).await.unwrap();
    assert!(matches!(frozen, Frozen::Sealed(_)), "{frozen:?}");
    let told = net.outcome(&began).await;
    let refused = Outcome::Refused {
        by: Role::Broker,
        reason: Reason::FreezeWanted,
    };
    assert_eq!(told, refused);
    device.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
}
