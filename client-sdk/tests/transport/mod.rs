//! The transport over loopback: honest pairs here, hostile peers in `hostile`.

mod addresses;
mod away;
mod hostile;
mod pair;
mod raw;
mod yamux;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use warifu_client_sdk::transport::{
    Admission, Admit, IdentitySecret, Limits, Multiaddr, NetEvent, NetEvents, Network,
    NetworkOptions, SessionId,
};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Admits as told, everybody else as `otherwise`.
struct List {
    otherwise: Admit,
    is_paced: bool,
    named: Mutex<HashMap<[u8; 32], Admit>>,
}

impl List {
    fn new(otherwise: Admit) -> Arc<Self> {
        Arc::new(Self {
            otherwise,
            is_paced: false,
            named: Mutex::default(),
        })
    }

    /// Everybody is known, and who dials in is read at its pace.
    fn paced() -> Arc<Self> {
        Arc::new(Self {
            otherwise: Admit::Known,
            is_paced: true,
            named: Mutex::default(),
        })
    }

    fn set(&self, peer: [u8; 32], admit: Admit) {
        self.named.lock().unwrap().insert(peer, admit);
    }
}

impl Admission for List {
    fn admit(&self, peer: &[u8; 32]) -> Admit {
        let named = self.named.lock().unwrap();
        named.get(peer).copied().unwrap_or(self.otherwise)
    }

    fn is_paced(&self, _: &[u8; 32]) -> bool {
        self.is_paced
    }
}

/// A running node and what it reads.
struct Node {
    key: [u8; 32],
    net: Network,
    events: NetEvents,
}

fn identity(seed: u8) -> IdentitySecret {
    IdentitySecret::new([seed; 32])
}

fn any_port() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0".parse().unwrap()
}

impl Node {
    async fn start(seed: u8) -> Self {
        Self::with(seed, any_port(), List::new(Admit::Known), quick()).await
    }

    async fn with(
        seed: u8,
        listen: Multiaddr,
        admission: Arc<dyn Admission>,
        limits: Limits,
    ) -> Self {
        let options = NetworkOptions {
            identity: identity(seed),
            listen: vec![listen],
            admission,
            limits,
        };
        let (net, events) = Network::start(options).await.unwrap();
        let key = identity(seed).public_key().unwrap();
        Self { key, net, events }
    }

    fn address(&self) -> Multiaddr {
        self.net.listeners().first().unwrap().clone()
    }

    fn dial(&self, other: &Node) {
        let addresses = vec![other.address()];
        self.net.connect(other.key, addresses).unwrap();
    }

    async fn next(&mut self) -> NetEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event in time").expect("a running network")
    }

    /// Reads until `pick` takes an event; others are dropped.
    async fn until<T>(&mut self, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    async fn up(&mut self, from: [u8; 32]) -> SessionId {
        self.until(|event| match event {
            NetEvent::Up { peer, session } if peer == from => Some(session),
            _ => None,
        })
        .await
    }

    async fn frame(&mut self, from: [u8; 32]) -> Vec<u8> {
        self.until(|event| match event {
            NetEvent::Frame { peer, frame, .. } if peer == from => Some(frame),
            _ => None,
        })
        .await
    }

    /// Events that arrive within `time`.
    async fn quiet(&mut self, time: Duration) -> Vec<NetEvent> {
        let mut seen = Vec::new();
        let _ = tokio::time::timeout(time, async {
            while let Some(event) = self.events.recv().await {
                seen.push(event);
            }
        })
        .await;
        seen
    }

    /// Sends, waiting while the queue is full.
    async fn send(&self, to: [u8; 32], frame: Vec<u8>) {
        use warifu_client_sdk::transport::SendError;
        while let Err(error) = self.net.send(to, None, frame.clone()) {
            assert_eq!(error, SendError::Full);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Limits with which tests need not wait.
fn quick() -> Limits {
    Limits {
        redial_first: Duration::from_millis(20),
        redial_longest: Duration::from_millis(400),
        redial_spread: Duration::ZERO,
        ..Limits::default()
    }
}
