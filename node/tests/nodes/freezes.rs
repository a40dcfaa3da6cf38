//! What a freeze of an account that is frozen already is answered with.

use super::http::restart;
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
    timeout(PATIENCE, async {
        while net.broker.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the line goes down");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(net.broker.freeze(account).await, Ok(Frozen::Wanted));
    net.broker.stop().await;
}
