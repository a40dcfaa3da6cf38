//! Peers that break the rules, strangers, and floods.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::SubstreamBox;
use warifu_client_sdk::transport::{
    Admit, DownReason, Limits, Misbehaviour, NetEvent, Pace, peer_id, public_key,
};

use super::raw::RawPeer;
use super::{List, Node, any_port, identity, quick};

/// A node that decides the session with whatever raw peer comes: its key is the smallest here.
async fn decider(limits: Limits, admit: Admit) -> Node {
    let seed = (1..20)
        .min_by_key(|seed| identity(*seed).public_key().unwrap())
        .unwrap();
    Node::with(seed, any_port(), List::new(admit), limits).await
}

/// Seeds other than the decider's.
fn seeds(node: &Node) -> impl Iterator<Item = u8> + use<> {
    let own = node.key;
    (1..20).filter(move |seed| identity(*seed).public_key().unwrap() != own)
}

async fn raw(node: &Node) -> RawPeer {
    RawPeer::dial(seeds(node).next().unwrap(), node.address()).await
}

/// The misbehaviour notice and the reason of the `Down` that a session ends with.
async fn how_it_ended(node: &mut Node) -> (Option<Misbehaviour>, DownReason) {
    let mut notice = None;
    let reason = node
        .until(|event| match event {
            NetEvent::Misbehaved { reason, .. } => {
                notice = Some(reason);
                None
            }
            NetEvent::Down { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    (notice, reason)
}

async fn is_cut(stream: &mut SubstreamBox) -> bool {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    tokio::time::timeout(super::PATIENCE, read).await.is_ok()
}

async fn say(stream: &mut SubstreamBox, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn an_oversize_frame_is_cut_at_its_length() {
    let mut node = decider(quick(), Admit::Known).await;
    let peer = raw(&node).await;
    let mut line = peer.line().await;
    say(&mut line, &[0, 0, 0, 2, b'o', b'k', 0, 1, 0, 1]).await;
    assert!(is_cut(&mut line).await);
    let reason = Misbehaviour::OversizeFrame { length: 65_537 };
    let notice = node
        .until(|event| match event {
            NetEvent::Misbehaved { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert_eq!(notice, reason);
    // What came before it still counts.
    assert_eq!(node.frame(peer.key).await, b"ok");
    let (_, down) = how_it_ended(&mut node).await;
    assert_eq!(down, DownReason::Misbehaved(reason));
}

#[tokio::test]
async fn a_half_open_frame_times_out_and_bytes_do_not_prolong_it() {
    let limits = Limits {
        frame_patience: Duration::from_millis(300),
        ..quick()
    };
    let mut node = decider(limits, Admit::Known).await;
    let peer = raw(&node).await;
    let mut line = peer.line().await;
    let drip = async {
        say(&mut line, &[0, 0, 1, 0]).await;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if line.write_all(&[1]).await.is_err() || line.flush().await.is_err() {
                return true;
            }
        }
        false
    };
    let (was_cut, ended) = tokio::join!(drip, how_it_ended(&mut node));
    assert!(was_cut);
    let reason = Misbehaviour::SlowFrame;
    assert_eq!(ended, (Some(reason), DownReason::Misbehaved(reason)));
}

#[tokio::test]
async fn a_silent_line_is_dead_and_pings_are_no_frames() {
    let limits = Limits {
        ping_every: Duration::from_millis(50),
        silence: Duration::from_millis(300),
        ..quick()
    };
    let mut node = decider(limits, Admit::Known).await;
    let peer = raw(&node).await;
    let mut line = peer.line().await;
    node.up(peer.key).await;
    for _ in 0..6 {
        say(&mut line, &[0, 0, 0, 0]).await;
        let seen = node.quiet(Duration::from_millis(100)).await;
        assert!(seen.is_empty(), "{seen:?}");
    }
    assert_eq!(how_it_ended(&mut node).await, (None, DownReason::Silent));
}

#[tokio::test]
async fn a_dialer_that_opens_no_stream_is_cut() {
    let limits = Limits {
        handshake: Duration::from_millis(300),
        ..quick()
    };
    let mut node = decider(limits, Admit::Known).await;
    let peer = raw(&node).await;
    let event = node.next().await;
    let expected = NetEvent::Misbehaved {
        peer: peer.key,
        reason: Misbehaviour::NoStream,
    };
    assert_eq!(event, expected);
    let seen = node.quiet(Duration::from_millis(100)).await;
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_second_stream_ends_the_line() {
    let mut node = decider(quick(), Admit::Known).await;
    let peer = raw(&node).await;
    let mut line = peer.line().await;
    let mut second = peer.bare_stream().await;
    say(&mut second, b"\x13/multistream/1.0.0\n\x0f/warifu/line/1\n").await;
    assert!(is_cut(&mut line).await);
    let reason = Misbehaviour::ExtraStream;
    let ended = how_it_ended(&mut node).await;
    assert_eq!(ended, (Some(reason), DownReason::Misbehaved(reason)));
}

#[tokio::test]
async fn a_false_hello_begins_no_session() {
    let seed = (1..20)
        .max_by_key(|seed| identity(*seed).public_key().unwrap())
        .unwrap();
    let mut follower = Node::with(seed, any_port(), List::new(Admit::Known), quick()).await;
    for hello in [&[0u8, 0, 0, 3, 1, 2, 3][..], &[0; 64], &[0, 0, 255, 255]] {
        let peer = raw(&follower).await;
        let mut line = peer.stream().await;
        let mut bytes = hello.to_vec();
        bytes.resize(64, 0);
        say(&mut line, &bytes).await;
        assert!(is_cut(&mut line).await);
        let event = follower.next().await;
        let NetEvent::Misbehaved { reason, .. } = event else {
            panic!("{event:?}");
        };
        assert!(matches!(reason, Misbehaviour::BadHello { .. }), "{reason}");
    }
}

#[tokio::test]
async fn strangers_are_few_and_stay_briefly_unless_promoted() {
    let limits = Limits {
        strangers: 3,
        stranger_lifetime: Duration::from_millis(600),
        enrolment_lifetime: Duration::from_millis(1500),
        ..quick()
    };
    let mut node = decider(limits, Admit::Stranger).await;
    let mut peers = Vec::new();
    for seed in seeds(&node).take(3) {
        let peer = RawPeer::dial(seed, node.address()).await;
        let line = peer.line().await;
        node.up(peer.key).await;
        peers.push((peer, line));
    }
    let promoted = peers[0].0.key;
    node.net.promote(promoted);
    // A promoted one frees its place; the place after that does not exist.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut more = seeds(&node).skip(3);
    let fourth = RawPeer::dial(more.next().unwrap(), node.address()).await;
    let _line = fourth.line().await;
    node.up(fourth.key).await;
    let mut fifth = Node::start(more.next().unwrap()).await;
    fifth.dial(&node);
    let refused = fifth.next().await;
    assert!(
        matches!(refused, NetEvent::DialFailed { .. }),
        "{refused:?}"
    );
    fifth.net.shutdown().await;
    let mut expired = Vec::new();
    for _ in 0..4 {
        let (peer, reason) = node
            .until(|event| match event {
                NetEvent::Down { peer, reason, .. } => Some((peer, reason)),
                _ => None,
            })
            .await;
        assert_eq!(reason, DownReason::Expired);
        expired.push(peer);
    }
    assert_eq!(expired.last(), Some(&promoted));
    assert!(is_cut(&mut peers[0].1).await);
}

#[tokio::test]
async fn a_promoted_stranger_that_became_known_stays() {
    let limits = Limits {
        stranger_lifetime: Duration::from_millis(200),
        enrolment_lifetime: Duration::from_millis(400),
        ..quick()
    };
    let list = List::new(Admit::Stranger);
    let mut node = Node::with(1, any_port(), list.clone(), limits).await;
    let mut device = Node::start(2).await;
    device.dial(&node);
    device.up(node.key).await;
    node.up(device.key).await;
    node.net.promote(device.key);
    list.set(device.key, Admit::Known);
    let seen = node.quiet(Duration::from_millis(900)).await;
    assert!(seen.is_empty(), "{seen:?}");
    device.send(node.key, vec![1]).await;
    assert_eq!(node.frame(device.key).await, [1]);
}

#[tokio::test]
async fn half_open_handshakes_fill_only_their_time() {
    let limits = Limits {
        pending_loopback: 4,
        handshake: Duration::from_millis(500),
        ..quick()
    };
    let mut node = decider(limits, Admit::Known).await;
    let address = node.address().to_string();
    let port: u16 = address.rsplit('/').next().unwrap().parse().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap(),
        );
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut honest = Node::start(seeds(&node).next().unwrap()).await;
    honest.dial(&node);
    let refused = honest.next().await;
    assert!(
        matches!(refused, NetEvent::DialFailed { .. }),
        "{refused:?}"
    );
    honest.up(node.key).await;
    node.up(honest.key).await;
    assert_eq!(held.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_peer_that_sends_too_much_waits_and_nobody_else_does() {
    const FRAMES: usize = 200;
    let limits = Limits {
        // A frame of 1 KiB counts twice.
        frames: Pace {
            per_s: 100,
            burst: 40,
        },
        ..quick()
    };
    let mut node = Node::with(1, any_port(), List::paced(), limits).await;
    let (mut flood, mut calm) = (Node::start(2).await, Node::start(3).await);
    for peer in [&mut flood, &mut calm] {
        peer.dial(&node);
        peer.up(node.key).await;
        node.up(peer.key).await;
    }
    for _ in 0..FRAMES {
        flood.send(node.key, vec![7; 1024]).await;
    }
    let begun = tokio::time::Instant::now();
    calm.send(node.key, b"calm".to_vec()).await;
    assert_eq!(node.frame(calm.key).await, b"calm");
    assert!(begun.elapsed() < Duration::from_millis(500));
    // Late, not lost, and the line stays: (2 x 200 - 40) / 100 s, what was read before left out.
    for number in 0..FRAMES - 40 {
        assert_eq!(node.frame(flood.key).await.len(), 1024, "frame {number}");
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1500), "{took:?} is no pace");
    assert!(took < Duration::from_secs(8), "{took:?} is too slow");
    calm.send(node.key, b"again".to_vec()).await;
    assert_eq!(node.frame(calm.key).await, b"again");
    // Who is dialled is read as fast as it sends.
    node.send(flood.key, vec![1]).await;
    assert_eq!(flood.frame(node.key).await, [1]);
}

#[tokio::test]
async fn handshakes_that_begin_too_often_are_refused_before_noise() {
    let limits = Limits {
        accepts_loopback: Pace { per_s: 4, burst: 3 },
        ..quick()
    };
    let mut node = decider(limits, Admit::Known).await;
    let address = node.address().to_string();
    let port: u16 = address.rsplit('/').next().unwrap().parse().unwrap();
    let mut answered = 0;
    for _ in 0..12 {
        let mut line = tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap();
        let hello = b"\x13/multistream/1.0.0\n";
        // A refused one may be closed before it is written to.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut line, hello).await;
        let mut answer = [0; 20];
        let read = tokio::io::AsyncReadExt::read_exact(&mut line, &mut answer).await;
        answered += usize::from(read.is_ok());
    }
    assert!((3..6).contains(&answered), "{answered} of 12 were answered");
    // Who waits a little comes in.
    let mut honest = Node::start(seeds(&node).next().unwrap()).await;
    honest.dial(&node);
    honest.up(node.key).await;
    node.up(honest.key).await;
}

#[tokio::test]
async fn established_connections_are_bounded() {
    let limits = Limits {
        established: 2,
        ..quick()
    };
    let mut node = decider(limits, Admit::Known).await;
    let mut lines = Vec::new();
    for seed in seeds(&node).take(2) {
        let peer = RawPeer::dial(seed, node.address()).await;
        lines.push((peer.line().await, peer));
    }
    let mut third = Node::start(seeds(&node).nth(2).unwrap()).await;
    third.dial(&node);
    let refused = third.next().await;
    assert!(
        matches!(refused, NetEvent::DialFailed { .. }),
        "{refused:?}"
    );
    lines.pop();
    third.up(node.key).await;
    node.up(third.key).await;
}

#[test]
fn a_peer_id_that_hides_its_key_has_none() {
    let peer = libp2p::PeerId::random();
    assert_eq!(public_key(&peer), None);
    let key = identity(1).public_key().unwrap();
    assert_eq!(public_key(&peer_id(&key).unwrap()), Some(key));
}
