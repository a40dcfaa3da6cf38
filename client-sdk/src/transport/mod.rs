//! The wire between parties: one authenticated line per peer, framed, bounded, redialled.
//!
//! Decides how bytes travel: libp2p over TCP with Noise and Yamux, one persistent stream per
//! connection, frames of at most 64 KiB. Peers are pinned by the PeerId of their identity key; who
//! may connect is asked of [`Admission`]. Sessions follow docs/protocol.md, "Coming back": a new
//! session of a peer kills the old one and its unread input.
//!
//! What it guarantees: frames of one session arrive complete, in order and at most once, and at
//! any time at most one session per peer exists. What it never does: retry or store a frame, look
//! into one, or grant a peer any authority: a line says who sends, votes say what is agreed.
//!
//! | file | decides |
//! |---|---|
//! | `limits` | every bound and its reason |
//! | `gate` | who may connect |
//! | `pace` | how often something may happen for long |
//! | `session` | which of a peer's connections is the session |
//! | `redial` | when and where to dial again |
//! | `resolve` | which addresses a host name stands for |
//! | `handler`, `line`, `frame` | one connection: its stream, its frames, its death |
//! | `muxer` | how much a peer may send before it is read |
//! | `inbox`, `outbox` | bounded queues between lines and the node |
//! | `hub` | the task that joins them |

mod event;
mod frame;
mod gate;
mod handler;
mod hub;
mod identity;
mod inbox;
pub mod limits;
mod line;
mod muxer;
mod outbox;
mod pace;
mod redial;
mod resolve;
mod session;
mod start;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use libp2p::core::transport::ListenerId;
use tokio::sync::{Notify, watch};

pub use event::{DialFailure, DownReason, Misbehaviour, NetEvent, SessionId};
pub use gate::{Admission, Admit};
pub use identity::{IdentityError, IdentitySecret, peer_id, public_key};
pub use inbox::NetEvents;
pub use libp2p::{Multiaddr, PeerId};
pub use limits::Limits;
pub use pace::Pace;
pub use start::TransportError;

use inbox::Inbox;
use limits::MAX_FRAME_BYTES;
use outbox::Outbox;

/// What a network needs to start.
pub struct NetworkOptions {
    /// This party's identity key.
    pub identity: IdentitySecret,
    /// Where to listen, such as `/ip4/0.0.0.0/tcp/7340`; port 0 lets the system choose. Empty for
    /// a device, which only dials.
    pub listen: Vec<Multiaddr>,
    /// Who may connect.
    pub admission: Arc<dyn Admission>,
    /// The bounds.
    pub limits: Limits,
}

/// A frame that was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no session with the peer.
    #[error("peer is not connected")]
    NotConnected,
    /// The session named is not the peer's current one.
    #[error("session is {found}, expected {expected}")]
    StaleSession {
        /// The session that was named.
        found: SessionId,
        /// The peer's current one.
        expected: SessionId,
    },
    /// The peer's queue is full: it takes bytes more slowly than they are sent.
    #[error("queue to the peer is full")]
    Full,
    /// The frame is longer than the line carries.
    #[error("frame has {found} bytes, expected at most {expected}")]
    TooLong {
        /// Bytes of the frame.
        found: usize,
        /// The limit.
        expected: usize,
    },
    /// The frame has no bytes; on the wire that is a ping.
    #[error("frame is empty")]
    Empty,
}

/// A handle to the running network; clones are the same network. It shuts down by `shutdown`, or
/// when the last clone or the [`NetEvents`] is dropped.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    _stop: Arc<Stop>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("listeners", &self.listeners())
            .finish_non_exhaustive()
    }
}

impl Network {
    /// Starts to listen and returns once every listener has its address. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`TransportError`] if the identity, an address or a limit is unusable; then nothing runs.
    pub async fn start(options: NetworkOptions) -> Result<(Self, NetEvents), TransportError> {
        let shared = start::start(options).await?;
        let network = Self {
            shared: shared.clone(),
            _stop: Arc::new(Stop(shared.clone())),
        };
        let events = NetEvents {
            inbox: shared.inbox.clone(),
            _stop: Stop(shared),
        };
        Ok((network, events))
    }

    /// The addresses that are listened on, with the ports that the system chose.
    #[must_use]
    pub fn listeners(&self) -> Vec<Multiaddr> {
        let listeners = self.shared.listeners.read();
        listeners.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps a session with `peer` (32-byte identity key): dials the addresses in turn, one per
    /// try, with a doubling pause and jitter between tries, and again whenever the session ends,
    /// until [`Network::forget`]. Called again, it replaces the addresses.
    ///
    /// # Errors
    /// [`IdentityError::NotAPoint`] if `peer` is not an Ed25519 public key.
    pub fn connect(&self, peer: [u8; 32], addresses: Vec<Multiaddr>) -> Result<(), IdentityError> {
        peer_id(&peer)?;
        self.shared
            .intend(peer, |intent| intent.connect = Some(addresses));
        Ok(())
    }

    /// Closes the peer's session, drops its unread frames and stops dialling it. The peer may
    /// still connect by itself if admission lets it.
    pub fn forget(&self, peer: [u8; 32]) {
        self.shared.intend(peer, |intent| {
            *intent = Intent {
                forget: true,
                ..Intent::default()
            };
        });
    }

    /// Lifts a stranger's limits: it has shown its ticket. It may stay, and come back, for
    /// `enrolment_lifetime`; then admission is asked again, and unless it says
    /// [`Admit::Known`] the line is cut.
    pub fn promote(&self, peer: [u8; 32]) {
        self.shared.intend(peer, |intent| intent.promote = true);
    }

    /// Queues a frame of 1..=65,536 bytes for `peer` and returns at once. `Ok` means queued, not
    /// delivered: a session that ends loses what it held. With `session` given, the frame goes out
    /// in that session or not at all.
    ///
    /// # Errors
    /// [`SendError`]; the frame was not queued.
    pub fn send(
        &self,
        peer: [u8; 32],
        session: Option<SessionId>,
        frame: Vec<u8>,
    ) -> Result<(), SendError> {
        if frame.is_empty() {
            return Err(SendError::Empty);
        }
        if frame.len() > MAX_FRAME_BYTES {
            return Err(SendError::TooLong {
                found: frame.len(),
                expected: MAX_FRAME_BYTES,
            });
        }
        let bound = self.shared.bound.read();
        let bound = bound.unwrap_or_else(PoisonError::into_inner);
        let line = bound.get(&peer).ok_or(SendError::NotConnected)?;
        if let Some(found) = session.filter(|found| *found != line.session) {
            return Err(SendError::StaleSession {
                found,
                expected: line.session,
            });
        }
        if line.outbox.push(frame) {
            Ok(())
        } else {
            Err(SendError::Full)
        }
    }

    /// Ends every session with [`DownReason::Shutdown`], closes the listeners, and returns when
    /// they are closed. Frames that a peer takes at once are still written. Idempotent.
    pub async fn shutdown(self) {
        self.shared.stop();
        let mut stopped = self.shared.stopped.subscribe();
        // An error would mean that the sender is gone; this handle holds it.
        let ended = stopped.wait_for(|stopped| *stopped).await.is_ok();
        tracing::debug!(ended, "network shut down");
    }
}

/// The current session of a peer, for senders.
struct Bound {
    session: SessionId,
    outbox: Arc<Outbox>,
}

/// What callers want of a peer and the task has not seen yet. Coalesced, so that it is bounded by
/// the number of peers; `forget` comes before the others.
#[derive(Default)]
struct Intent {
    forget: bool,
    promote: bool,
    connect: Option<Vec<Multiaddr>>,
}

/// What handles, lines and the task share.
struct Shared {
    limits: Arc<Limits>,
    inbox: Arc<Inbox>,
    bound: RwLock<HashMap<[u8; 32], Bound>>,
    intents: Mutex<HashMap<[u8; 32], Intent>>,
    /// Wakes the task.
    poke: Notify,
    listeners: RwLock<Vec<Multiaddr>>,
    listener_ids: Mutex<Vec<ListenerId>>,
    stopping: AtomicBool,
    stopped: watch::Sender<bool>,
}

impl Shared {
    fn new(limits: Limits) -> Self {
        Self {
            inbox: Arc::new(Inbox::new(
                limits.inbox_bytes,
                limits.established.saturating_mul(2),
            )),
            limits: Arc::new(limits),
            bound: RwLock::default(),
            intents: Mutex::default(),
            poke: Notify::new(),
            listeners: RwLock::default(),
            listener_ids: Mutex::default(),
            stopping: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.poke.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn intents(&self) -> MutexGuard<'_, HashMap<[u8; 32], Intent>> {
        self.intents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn intend(&self, peer: [u8; 32], change: impl FnOnce(&mut Intent)) {
        change(self.intents().entry(peer).or_default());
        self.poke.notify_one();
    }

    fn take_intents(&self) -> HashMap<[u8; 32], Intent> {
        std::mem::take(&mut *self.intents())
    }

    fn bind(&self, peer: [u8; 32], bound: Bound) {
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(peer, bound);
    }

    fn unbind(&self, peer: &[u8; 32], session: SessionId) {
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(place) = all.entry(*peer)
            && place.get().session == session
        {
            place.remove();
        }
    }

    fn listening(&self, address: Multiaddr) {
        let listeners = self.listeners.write();
        listeners
            .unwrap_or_else(PoisonError::into_inner)
            .push(address);
    }

    fn not_listening(&self, address: &Multiaddr) {
        let listeners = self.listeners.write();
        listeners
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| other != address);
    }

    fn take_listeners(&self) -> Vec<ListenerId> {
        let addresses = self.listeners.write();
        addresses.unwrap_or_else(PoisonError::into_inner).clear();
        let ids = self.listener_ids.lock();
        std::mem::take(&mut *ids.unwrap_or_else(PoisonError::into_inner))
    }
}

/// Shuts the network down when dropped.
struct Stop(Arc<Shared>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
