//! Two or three honest nodes.

use std::time::Duration;

use warifu_client_sdk::transport::{
    Admit, DialFailure, DownReason, Limits, Misbehaviour, NetEvent, SendError, SessionId, peer_id,
};

use super::{List, Node, PATIENCE, any_port, identity, quick};

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_pipelined_frames_arrive_in_order() {
    const FRAMES: u32 = 10_000;
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.dial(&b);
    let (b_key, a_key) = (b.key, a.key);
    a.up(b_key).await;
    let session = b.up(a_key).await;
    let sender = async {
        for number in 0..FRAMES {
            let mut frame = number.to_be_bytes().to_vec();
            frame.resize(4 + (number as usize * 7) % 900, 0xab);
            a.send(b_key, frame).await;
        }
    };
    let receiver = async {
        for number in 0..FRAMES {
            match b.next().await {
                NetEvent::Frame {
                    session: in_session,
                    frame,
                    ..
                } => {
                    assert_eq!(frame[..4], number.to_be_bytes());
                    assert_eq!(frame.len(), 4 + (number as usize * 7) % 900);
                    assert_eq!(in_session, session);
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(sender, receiver);
}

#[tokio::test]
async fn the_largest_frame_travels_both_ways() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.dial(&b);
    let (b_key, a_key) = (b.key, a.key);
    a.up(b_key).await;
    b.up(a_key).await;
    let largest = vec![0x5a; 64 * 1024];
    a.send(b_key, largest.clone()).await;
    assert_eq!(b.frame(a_key).await, largest);
    b.send(a_key, largest.clone()).await;
    assert_eq!(a.frame(b_key).await, largest);
}

#[tokio::test]
async fn send_names_what_is_wrong() -> Result {
    let limits = Limits {
        outbox_frames: 4,
        ..quick()
    };
    let mut a = Node::with(1, any_port(), List::new(Admit::Known), limits).await;
    let mut b = Node::start(2).await;
    let to = b.key;
    assert_eq!(a.net.send(to, None, vec![1]), Err(SendError::NotConnected));
    a.dial(&b);
    let session = a.up(to).await;
    b.up(a.key).await;
    assert_eq!(a.net.send(to, None, vec![]), Err(SendError::Empty));
    let too_long = SendError::TooLong {
        found: 65_537,
        expected: 65_536,
    };
    assert_eq!(a.net.send(to, None, vec![0; 65_537]), Err(too_long));
    let stale = SendError::StaleSession {
        found: SessionId(99),
        expected: session,
    };
    assert_eq!(a.net.send(to, Some(SessionId(99)), vec![1]), Err(stale));
    // On this single thread no line runs between two sends.
    for _ in 0..4 {
        a.net.send(to, Some(session), vec![1])?;
    }
    assert_eq!(a.net.send(to, None, vec![1]), Err(SendError::Full));
    for _ in 0..4 {
        b.frame(a.key).await;
    }
    a.net.send(to, None, vec![1])?;
    Ok(())
}

#[tokio::test]
async fn somebody_else_at_the_address_is_refused_and_both_are_named() -> Result {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let wanted = identity(3).public_key()?;
    a.net.connect(wanted, vec![b.address()])?;
    let reason = a
        .until(|event| match event {
            NetEvent::DialFailed { peer, reason } if peer == wanted => Some(reason),
            _ => None,
        })
        .await;
    let text = reason.to_string();
    let DialFailure::WrongPeer {
        found, expected, ..
    } = *reason
    else {
        panic!("{reason:?}");
    };
    assert_eq!(found, peer_id(&b.key)?);
    assert_eq!(expected, peer_id(&wanted)?);
    assert!(text.contains(&found.to_string()) && text.contains(&expected.to_string()));
    let seen = b.quiet(Duration::from_millis(200)).await;
    assert!(seen.is_empty(), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_dead_address_does_not_hide_a_live_one() -> Result {
    let (mut a, b) = (Node::start(1).await, Node::start(2).await);
    let dead = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let dead = format!("/ip4/127.0.0.1/tcp/{}", dead.port()).parse()?;
    a.net.connect(b.key, vec![dead, b.address()])?;
    let failed = a.next().await;
    let NetEvent::DialFailed { reason, .. } = failed else {
        panic!("{failed:?}");
    };
    assert!(matches!(*reason, DialFailure::Unreachable { .. }));
    a.up(b.key).await;
    Ok(())
}

#[tokio::test]
async fn who_is_not_admitted_is_cut_and_the_node_hears_nothing() {
    for (dialer, listener) in [(1, 2), (2, 1)] {
        let mut a = Node::start(dialer).await;
        let refuses = List::new(Admit::No);
        let mut b = Node::with(listener, any_port(), refuses.clone(), quick()).await;
        a.dial(&b);
        let failed = a.next().await;
        assert!(matches!(failed, NetEvent::DialFailed { .. }), "{failed:?}");
        let seen = b.quiet(Duration::from_millis(200)).await;
        assert!(seen.is_empty(), "{seen:?}");
        refuses.set(a.key, Admit::Known);
        a.up(b.key).await;
        b.up(a.key).await;
    }
}

#[tokio::test]
async fn a_new_session_replaces_the_old_and_its_unread_frames_never_appear() {
    // The restarted peer decides in one round and follows in the other.
    for (seed, restarted) in [(1, 2), (2, 1)] {
        let mut a = Node::start(seed).await;
        let once = Limits {
            redial_first: Duration::from_secs(60),
            redial_longest: Duration::from_secs(60),
            ..quick()
        };
        let known = List::new(Admit::Known);
        let mut old = Node::with(restarted, any_port(), known.clone(), once.clone()).await;
        old.dial(&a);
        let peer = old.key;
        old.up(a.key).await;
        let first = a.up(peer).await;
        for _ in 0..50 {
            old.send(a.key, vec![b'o'; 100]).await;
        }
        assert_eq!(a.frame(peer).await, [b'o'; 100]);
        let mut new = Node::with(restarted, any_port(), known, once).await;
        new.dial(&a);
        new.up(a.key).await;
        new.send(a.key, vec![b'n']).await;
        while a.net.send(peer, Some(first), vec![0]).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let down = a.next().await;
        let expected = NetEvent::Down {
            peer,
            session: first,
            reason: DownReason::Replaced,
        };
        assert_eq!(down, expected);
        let second = a.up(peer).await;
        assert!(second > first);
        let expected = NetEvent::Frame {
            peer,
            session: second,
            frame: vec![b'n'],
        };
        assert_eq!(a.next().await, expected);
        let seen = a.quiet(Duration::from_millis(200)).await;
        assert!(seen.is_empty(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_at_once_end_with_one_session() {
    for round in 0..15 {
        let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
        a.dial(&b);
        b.dial(&a);
        a.up(b.key).await;
        b.up(a.key).await;
        let mut later_a = a.quiet(Duration::from_millis(100)).await;
        let mut later_b = b.quiet(Duration::from_millis(10)).await;
        // The decider sees one session only; the follower may pass over one at most.
        let deciding = if a.key < b.key { &later_a } else { &later_b };
        assert!(deciding.is_empty(), "round {round}: {deciding:?}");
        later_a.append(&mut later_b);
        let ups = later_a.iter().filter(|e| matches!(e, NetEvent::Up { .. }));
        assert!(ups.count() <= 1, "round {round}: {later_a:?}");
        a.send(b.key, vec![1, round]).await;
        b.send(a.key, vec![2, round]).await;
        assert_eq!(b.frame(a.key).await, [1, round]);
        assert_eq!(a.frame(b.key).await, [2, round]);
    }
}

#[tokio::test]
async fn a_restarted_peer_on_the_same_port_is_found_again() {
    let mut a = Node::start(1).await;
    let mut b = Node::start(2).await;
    a.dial(&b);
    let (address, peer) = (b.address(), b.key);
    let session = a.up(peer).await;
    b.up(a.key).await;
    b.net.shutdown().await;
    let down = a.next().await;
    let expected = NetEvent::Down {
        peer,
        session,
        reason: DownReason::Closed,
    };
    assert_eq!(down, expected);
    let mut b = Node::with(2, address, List::new(Admit::Known), quick()).await;
    assert!(a.up(peer).await > session);
    b.up(a.key).await;
    b.send(a.key, b"again".to_vec()).await;
    assert_eq!(a.frame(peer).await, b"again");
}

#[tokio::test]
async fn forget_closes_and_dials_no_more() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.dial(&b);
    let session = a.up(b.key).await;
    b.up(a.key).await;
    a.net.forget(b.key);
    let expected = NetEvent::Down {
        peer: b.key,
        session,
        reason: DownReason::Forgotten,
    };
    assert_eq!(a.next().await, expected);
    assert!(matches!(b.next().await, NetEvent::Down { .. }));
    let seen = a.quiet(Duration::from_millis(600)).await;
    assert!(seen.is_empty(), "{seen:?}");
    a.dial(&b);
    a.up(b.key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_peer_stalls_only_itself_and_memory_is_bounded() {
    let patient = Limits {
        write_patience: PATIENCE,
        ..quick()
    };
    let known = List::new(Admit::Known);
    let mut a = Node::with(1, any_port(), known.clone(), patient.clone()).await;
    let mut flood = Node::with(2, any_port(), known, patient).await;
    flood.dial(&a);
    flood.up(a.key).await;
    let (mut taken, mut full) = (0usize, 0);
    while full < 40 {
        match flood.net.send(a.key, None, vec![7; 8192]) {
            Ok(()) => (taken, full) = (taken + 1, 0),
            Err(SendError::Full) => {
                full += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(other) => panic!("{other}"),
        }
        // Outbox 1 MiB, window 256 KiB, inbox 256 KiB, and what is on its way between them.
        assert!(taken * 8192 < 2 << 20, "nothing stops the flood");
    }
    let mut calm = Node::start(3).await;
    calm.dial(&a);
    calm.up(a.key).await;
    calm.send(a.key, b"calm".to_vec()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut position = 0;
    while !matches!(a.next().await, NetEvent::Frame { peer, .. } if peer == calm.key) {
        position += 1;
        assert!(position < 8, "the calm peer waits behind the flood");
    }
    // The flood's frames are late, not lost.
    let read_before = position - 2;
    for _ in read_before..taken {
        assert_eq!(a.frame(flood.key).await.len(), 8192);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_bytes_is_cut() {
    let hasty = Limits {
        write_patience: Duration::from_millis(300),
        ..quick()
    };
    let known = List::new(Admit::Known);
    let deaf = Node::start(1).await;
    let mut b = Node::with(2, any_port(), known, hasty).await;
    b.dial(&deaf);
    b.up(deaf.key).await;
    let down = loop {
        let sent = b.net.send(deaf.key, None, vec![7; 8192]);
        if sent.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match b.events.try_recv() {
            Some(NetEvent::Down { reason, .. }) => break reason,
            _ if sent == Err(SendError::NotConnected) => {}
            _ => {}
        }
    };
    assert_eq!(down, DownReason::Misbehaved(Misbehaviour::SlowReader));
}

#[tokio::test]
async fn an_idle_line_lives_on_pings() {
    let limits = Limits {
        ping_every: Duration::from_millis(50),
        silence: Duration::from_millis(400),
        ..quick()
    };
    let known = List::new(Admit::Known);
    let mut a = Node::with(1, any_port(), known.clone(), limits.clone()).await;
    let mut b = Node::with(2, any_port(), known, limits).await;
    a.dial(&b);
    a.up(b.key).await;
    b.up(a.key).await;
    let seen = a.quiet(Duration::from_millis(1500)).await;
    assert!(seen.is_empty(), "{seen:?}");
    a.send(b.key, vec![1]).await;
    assert_eq!(b.frame(a.key).await, [1]);
}

#[tokio::test]
async fn shutdown_leaves_no_listener_and_ends_the_events() -> Result {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.dial(&b);
    a.up(b.key).await;
    let session = b.up(a.key).await;
    let address = b.address().to_string();
    let port: u16 = address.rsplit('/').next().ok_or("no port")?.parse()?;
    let clone = b.net.clone();
    b.net.send(a.key, None, b"last words".to_vec())?;
    b.net.shutdown().await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    std::net::TcpListener::bind(("127.0.0.1", port))?;
    let expected = NetEvent::Down {
        peer: a.key,
        session,
        reason: DownReason::Shutdown,
    };
    assert_eq!(b.events.recv().await, Some(expected));
    assert_eq!(b.events.recv().await, None);
    assert_eq!(a.frame(b.key).await, b"last words");
    assert!(clone.listeners().is_empty());
    assert_eq!(
        clone.send(a.key, None, vec![1]),
        Err(SendError::NotConnected)
    );
    clone.shutdown().await;
    Ok(())
}
