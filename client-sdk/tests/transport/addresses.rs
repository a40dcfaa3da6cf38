//! Host names are dialled, and a port has one owner.

use warifu_client_sdk::transport::{Multiaddr, NetEvent, Network, NetworkOptions, TransportError};

use super::{Admit, List, Node, any_port, identity, quick};

/// The port at the end of `/ip4/127.0.0.1/tcp/PORT`.
fn port(address: &Multiaddr) -> String {
    address.to_string().rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_peer_is_dialled_by_its_host_name() {
    let mut dialler = Node::start(31).await;
    let mut listener = Node::start(32).await;
    let address = format!("/dns4/localhost/tcp/{}", port(&listener.address()));
    let net = &dialler.net;
    net.connect(listener.key, vec![address.parse().unwrap()])
        .unwrap();
    dialler.up(listener.key).await;
    listener.up(dialler.key).await;
}

#[tokio::test]
async fn a_name_that_nobody_has_fails_the_dial_and_is_tried_again() {
    let mut dialler = Node::start(33).await;
    let other = identity(34).public_key().unwrap();
    let address = "/dns4/no-such-host.invalid/tcp/1".parse().unwrap();
    dialler.net.connect(other, vec![address]).unwrap();
    for _ in 0..2 {
        dialler
            .until(|event| matches!(event, NetEvent::DialFailed { .. }).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_port_that_another_network_listens_on_is_refused() {
    let first = Node::start(35).await;
    let taken = first.address();
    let start = |seed: u8, listen: Multiaddr| {
        Network::start(NetworkOptions {
            identity: identity(seed),
            listen: vec![listen],
            admission: List::new(Admit::Known),
            limits: quick(),
        })
    };
    let refused = start(36, taken.clone()).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&refused, TransportError::Listen { address, .. } if *address == taken),
        "{refused}"
    );
    // A port of the system's choice is always free.
    start(37, any_port()).await.map(|_| ()).unwrap();
    // And the same one again, once its owner is gone.
    first.net.clone().shutdown().await;
    drop(first);
    start(38, taken).await.map(|_| ()).unwrap();
}
