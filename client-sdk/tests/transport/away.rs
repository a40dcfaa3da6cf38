//! Peers that vanish: lines that die without a word, and an operator that restarts under its
//! devices.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use warifu_client_sdk::transport::limits::{PING_EVERY, SILENCE};
use warifu_client_sdk::transport::{Admit, DownReason, Limits, Multiaddr, NetEvent};

use super::{List, Node, PATIENCE, any_port, quick};

fn port(address: &Multiaddr) -> u16 {
    let text = address.to_string();
    text.rsplit('/').next().unwrap().parse().unwrap()
}

/// A router between two nodes that can lose everything, in both directions and without telling.
struct Router {
    address: Multiaddr,
    loses: Arc<AtomicBool>,
}

impl Router {
    async fn to(target: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!(
            "/ip4/127.0.0.1/tcp/{}",
            listener.local_addr().unwrap().port()
        );
        let loses = Arc::new(AtomicBool::new(false));
        let (target, lost) = (port(&target.address()), loses.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
                    continue;
                };
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, lost.clone()));
                tokio::spawn(carry(far_in, near_out, lost.clone()));
            }
        });
        Self {
            address: address.parse().unwrap(),
            loses,
        }
    }

    fn loses(&self, everything: bool) {
        self.loses.store(everything, Ordering::SeqCst);
    }
}

/// Carries one direction. An end that closes while everything is lost is not told to the other.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lost: Arc<AtomicBool>) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if !lost.load(Ordering::SeqCst) && to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    if lost.load(Ordering::SeqCst) {
        tokio::time::sleep(3 * PATIENCE).await;
    }
}

async fn down(node: &mut Node) -> DownReason {
    node.until(|event| match event {
        NetEvent::Down { reason, .. } => Some(reason),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_line_that_dies_without_a_word_is_noticed_at_both_ends_and_freed() {
    let limits = Limits {
        ping_every: Duration::from_millis(100),
        silence: Duration::from_millis(400),
        established: 1,
        ..quick()
    };
    // Either end may be the one that decides sessions.
    for (near, far) in [(1, 2), (2, 1)] {
        let known = List::new(Admit::Known);
        let mut operator = Node::with(near, any_port(), known.clone(), limits.clone()).await;
        let mut device = Node::with(far, any_port(), known, limits.clone()).await;
        let router = Router::to(&operator).await;
        let addresses = vec![router.address.clone()];
        device.net.connect(operator.key, addresses).unwrap();
        device.up(operator.key).await;
        operator.up(device.key).await;
        let seen = operator.quiet(Duration::from_millis(900)).await;
        assert!(seen.is_empty(), "pings keep an idle line up: {seen:?}");

        eprintln!("A");
        router.loses(true);
        let (ours, theirs) = tokio::join!(down(&mut operator), down(&mut device));
        assert_eq!(ours, DownReason::Silent);
        assert_eq!(theirs, DownReason::Silent);

        // The one place of this operator is free again.
        let mut other = Node::start(3).await;
        other.dial(&operator);
        operator.up(other.key).await;
        other.up(operator.key).await;
        other.net.forget(operator.key);
        assert_eq!(down(&mut operator).await, DownReason::Closed);
        assert!(matches!(down(&mut other).await, DownReason::Forgotten));

        eprintln!("D");
        router.loses(false);
        device.up(operator.key).await;
        operator.up(device.key).await;
        device.send(operator.key, b"back".to_vec()).await;
        assert_eq!(operator.frame(device.key).await, b"back");
    }
}

#[test]
fn the_default_pings_beat_nat_tables_and_two_may_be_lost_within_a_minute() {
    assert!(PING_EVERY < Duration::from_secs(30));
    assert!(PING_EVERY * 2 < SILENCE);
    assert!(SILENCE <= Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_a_restarted_operator_come_back_one_after_the_other() {
    const DEVICES: u8 = 50;
    let limits = Limits {
        redial_spread: Limits::default().redial_spread,
        ..quick()
    };
    let known = List::new(Admit::Known);
    let mut operator = Node::with(100, any_port(), known.clone(), quick()).await;
    let mut devices = Vec::new();
    for seed in 1..=DEVICES {
        let device = Node::with(seed, any_port(), known.clone(), limits.clone()).await;
        device.dial(&operator);
        operator.up(device.key).await;
        devices.push(device);
    }
    let address = operator.address();
    operator.net.shutdown().await;
    let mut operator = Node::with(100, address, known, quick()).await;
    let restarted = Instant::now();
    let mut came = Vec::new();
    while came.len() < devices.len() {
        if let NetEvent::Up { .. } = operator.next().await {
            came.push(restarted.elapsed());
        }
    }
    let all = *came.last().unwrap();
    // Without the spread they would all be there within a few hundred milliseconds.
    let half = came[came.len() / 2] - came[0];
    assert!(all - came[0] > limits.redial_spread / 2, "{came:?}");
    assert!(half > limits.redial_spread / 10, "{came:?}");
    assert!(all < Duration::from_secs(15), "{came:?}");
}
