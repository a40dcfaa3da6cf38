//! The one task that owns libp2p's swarm: sessions begin and end here, and peers are dialled.
//!
//! Decides what a connection's news means: which line becomes the session, when a peer is dialled
//! again, what the node is told. Frames never pass through here; lines and inbox exchange them
//! directly. It never blocks and never reads a frame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use tokio::time::Instant;

use super::event::{DialFailure, DownReason, NetEvent, SessionId};
use super::gate::{Gate, Told};
use super::handler::{Begin, LineEvent};
use super::identity::peer_id;
use super::limits::Limits;
use super::line::Ends;
use super::outbox::Outbox;
use super::redial::Wanted;
use super::session::{Current, Hello, decider_takes, decides, follower_takes};
use super::{Bound, Intent, Shared};

/// How long a shutdown waits for connections to close in good order.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long the task sleeps if nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// The task's state.
pub(super) struct Hub {
    pub(super) swarm: Swarm<Gate>,
    shared: Arc<Shared>,
    limits: Arc<Limits>,
    own: [u8; 32],
    instance: [u8; 8],
    last_session: u64,
    sessions: HashMap<[u8; 32], Current>,
    wanted: HashMap<[u8; 32], Wanted>,
}

impl Hub {
    pub(super) fn new(
        swarm: Swarm<Gate>,
        shared: Arc<Shared>,
        own: [u8; 32],
        instance: [u8; 8],
    ) -> Self {
        Self {
            swarm,
            limits: shared.limits.clone(),
            shared,
            own,
            instance,
            last_session: 0,
            sessions: HashMap::new(),
            wanted: HashMap::new(),
        }
    }

    /// Runs until shutdown is asked for; then nothing listens and nobody is connected.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        while !shared.is_stopping() {
            let wake = self.next_due().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                () = shared.poke.notified() => self.take_intents(),
                () = tokio::time::sleep_until(wake) => self.on_time(),
            }
        }
        self.stop().await;
    }

    async fn stop(mut self) {
        let now = Instant::now();
        let peers: Vec<_> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.end_session(&peer, DownReason::Shutdown, now);
        }
        self.wanted.clear();
        for listener in self.shared.take_listeners() {
            self.swarm.remove_listener(listener);
        }
        let connected: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            let known = self.swarm.disconnect_peer_id(peer).is_ok();
            tracing::trace!(%peer, known, "closing at shutdown");
        }
        let farewell = async {
            while self.swarm.behaviour().len() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::debug!("connections were dropped at shutdown without a close");
        }
        let Self { swarm, shared, .. } = self;
        drop(swarm);
        shared.inbox.close();
        shared.stopped.send_replace(true);
    }

    fn next_due(&self) -> Option<Instant> {
        let dials = self.wanted.values().filter_map(|wanted| wanted.due);
        dials.chain(self.swarm.behaviour().next_expiry()).min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        for (peer, connection) in self.swarm.behaviour_mut().expire(now) {
            self.line_ended(peer, connection, DownReason::Expired, now);
        }
        let due: Vec<_> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.due.is_some_and(|due| due <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.dial(peer, now);
        }
    }

    fn take_intents(&mut self) {
        let now = Instant::now();
        for (peer, intent) in self.shared.take_intents() {
            let Intent {
                forget,
                promote,
                connect,
            } = intent;
            if forget {
                self.forget(peer, now);
            }
            if promote {
                self.swarm.behaviour_mut().promote(peer, now);
            }
            if let Some(addresses) = connect {
                self.want(peer, addresses, now);
            }
        }
    }

    fn want(&mut self, peer: [u8; 32], addresses: Vec<Multiaddr>, now: Instant) {
        match self.wanted.get_mut(&peer) {
            Some(wanted) => wanted.replace_addresses(addresses),
            None => {
                let mut wanted = Wanted::new(addresses, now);
                if self.sessions.contains_key(&peer) {
                    wanted.session_began();
                }
                self.wanted.insert(peer, wanted);
            }
        }
    }

    fn forget(&mut self, peer: [u8; 32], now: Instant) {
        self.wanted.remove(&peer);
        self.end_session(&peer, DownReason::Forgotten, now);
        if let Ok(id) = peer_id(&peer) {
            // Gives up dials under way too.
            let connected = self.swarm.disconnect_peer_id(id).is_ok();
            tracing::debug!(%id, connected, "peer forgotten");
        }
    }

    fn dial(&mut self, peer: [u8; 32], now: Instant) {
        let busy = self.sessions.contains_key(&peer) || self.swarm.behaviour().is_connected(&peer);
        let Some(wanted) = self.wanted.get_mut(&peer) else {
            return;
        };
        if busy {
            // A line is about to become the session, or an old one has not closed yet; look again
            // in case it does not.
            wanted.schedule(now, jitter(), &self.limits);
            return;
        }
        wanted.due = None;
        let (Ok(id), Some(address)) = (peer_id(&peer), wanted.next_address()) else {
            self.dial_failed(peer, DialFailure::NoAddress, now);
            return;
        };
        let options = DialOpts::peer_id(id)
            .condition(PeerCondition::Always)
            .addresses(vec![address.clone()])
            .allocate_new_port()
            .build();
        wanted.dialling = Some((options.connection_id(), address.clone()));
        if let Err(error) = self.swarm.dial(options) {
            let reason = dial_failure(error, &peer, address);
            self.dial_failed(peer, reason, now);
        }
    }

    fn dial_failed(&mut self, peer: [u8; 32], reason: DialFailure, now: Instant) {
        let limits = self.limits.clone();
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.schedule(now, jitter(), &limits);
            let reason = Box::new(reason);
            let event = NetEvent::DialFailed { peer, reason };
            self.shared.inbox.notice(event);
        }
    }

    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<Told>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(told) => self.on_told(told, now),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                tracing::debug!(%peer_id, %connection_id, ?cause, "connection closed");
                if let Some(peer) = super::identity::public_key(&peer_id) {
                    self.line_ended(peer, connection_id, DownReason::Closed, now);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => self.on_dial_error(connection_id, error, now),
            SwarmEvent::NewListenAddr { address, .. } => self.shared.listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.shared.not_listening(&address),
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::warn!(?reason, "listener closed");
                addresses
                    .iter()
                    .for_each(|at| self.shared.not_listening(at));
            }
            other => tracing::trace!(event = ?other, "swarm event"),
        }
    }

    fn on_dial_error(&mut self, connection: ConnectionId, error: DialError, now: Instant) {
        let dialled = self.wanted.iter().find_map(|(peer, wanted)| {
            let (under_way, address) = wanted.dialling.as_ref()?;
            (*under_way == connection).then(|| (*peer, address.clone()))
        });
        if let Some((peer, address)) = dialled {
            let reason = dial_failure(error, &peer, address);
            self.dial_failed(peer, reason, now);
        }
    }

    fn on_told(&mut self, told: Told, now: Instant) {
        let Told {
            peer,
            connection,
            event,
        } = told;
        let Some(outbound) = self.swarm.behaviour().is_outbound(connection) else {
            return;
        };
        if outbound && !self.wanted.contains_key(&peer) {
            // Forgotten while it was being dialled.
            self.close(&peer, connection);
            return;
        }
        let current = self.sessions.get(&peer);
        let taken = match event {
            LineEvent::Ended(reason) => return self.line_ended(peer, connection, reason, now),
            LineEvent::Opened => decider_takes(current, outbound, now, self.limits.handshake)
                .then_some(Hello {
                    instance: self.instance,
                    number: self.last_session + 1,
                }),
            LineEvent::Hello(hello) => follower_takes(current, &hello).then_some(hello),
        };
        match taken {
            Some(hello) => self.begin_session(peer, connection, outbound, hello, now),
            None => {
                tracing::debug!(%connection, "second of two simultaneous lines closed");
                self.close(&peer, connection);
            }
        }
    }

    fn begin_session(
        &mut self,
        peer: [u8; 32],
        connection: ConnectionId,
        outbound: bool,
        hello: Hello,
        now: Instant,
    ) {
        let Ok(id) = peer_id(&peer) else {
            return;
        };
        self.last_session += 1;
        let session = SessionId(self.last_session);
        if let Some(old) = self.sessions.remove(&peer) {
            self.swarm.behaviour_mut().close(id, old.connection);
        }
        let outbox = Arc::new(Outbox::new(&self.limits));
        let bound = Bound {
            session,
            outbox: outbox.clone(),
        };
        self.shared.bind(peer, bound);
        if !self.shared.inbox.open(peer, session) {
            tracing::warn!("too many peers have unread events, line refused");
            self.shared.unbind(&peer, session);
            self.close(&peer, connection);
            return;
        }
        let begin = Begin {
            ends: Ends {
                peer,
                session,
                inbox: self.shared.inbox.clone(),
                outbox,
            },
            hello: decides(&self.own, &peer).then_some(hello),
        };
        self.swarm.behaviour_mut().begin(id, connection, begin);
        let current = Current {
            session,
            connection,
            opened: now,
            outbound,
            hello,
        };
        self.sessions.insert(peer, current);
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.session_began();
        }
    }

    /// A connection is over, whether libp2p says so, its line, or this node. Saying so twice is
    /// harmless.
    fn line_ended(
        &mut self,
        peer: [u8; 32],
        connection: ConnectionId,
        reason: DownReason,
        now: Instant,
    ) {
        if let DownReason::Misbehaved(reason) = reason {
            let event = NetEvent::Misbehaved { peer, reason };
            self.shared.inbox.notice(event);
        }
        self.close(&peer, connection);
        let session = self.sessions.get(&peer);
        if session.is_some_and(|current| current.connection == connection) {
            self.end_session(&peer, reason, now);
            return;
        }
        let has_session = session.is_some();
        let dialled = self.wanted.get_mut(&peer).and_then(|wanted| {
            wanted
                .dialling
                .take_if(|(under_way, _)| *under_way == connection)
        });
        if dialled.is_none() || has_session {
            return;
        }
        if self.swarm.behaviour().has_other(&peer, connection) {
            // Both dialled at once: the line that stays has not said its hello yet.
            let limits = self.limits.clone();
            if let Some(wanted) = self.wanted.get_mut(&peer) {
                wanted.schedule(now, jitter(), &limits);
            }
        } else {
            self.dial_failed(peer, DialFailure::Refused, now);
        }
    }

    fn end_session(&mut self, peer: &[u8; 32], reason: DownReason, now: Instant) {
        let Some(current) = self.sessions.remove(peer) else {
            return;
        };
        let drop_unread = matches!(reason, DownReason::Forgotten);
        self.shared.unbind(peer, current.session);
        self.shared
            .inbox
            .end(*peer, current.session, reason, drop_unread);
        if let Some(wanted) = self.wanted.get_mut(peer) {
            let lived = now.saturating_duration_since(current.opened);
            wanted.session_ended(lived, now, jitter(), &self.limits);
        }
    }

    fn close(&mut self, peer: &[u8; 32], connection: ConnectionId) {
        if self.swarm.behaviour().is_outbound(connection).is_some()
            && let Ok(id) = peer_id(peer)
        {
            self.swarm.behaviour_mut().close(id, connection);
        }
    }
}

/// Uniform enough to keep nodes apart; nothing secret hangs on it.
fn jitter() -> u8 {
    let mut byte = [0u8];
    match getrandom::fill(&mut byte) {
        Ok(()) => u8::from_be_bytes(byte),
        Err(_) => u8::MAX,
    }
}

fn dial_failure(error: DialError, peer: &[u8; 32], at: Multiaddr) -> DialFailure {
    match (error, peer_id(peer)) {
        (DialError::WrongPeerId { obtained, address }, Ok(expected)) => DialFailure::WrongPeer {
            found: obtained,
            expected,
            address,
        },
        (DialError::Transport(errors), _) => {
            let detail = errors.first().map_or_else(
                || "no transport took the address".to_owned(),
                |(_, error)| innermost(error),
            );
            DialFailure::Unreachable {
                address: at,
                detail,
            }
        }
        (DialError::NoAddresses, _) => DialFailure::NoAddress,
        (other, _) => DialFailure::Aborted {
            detail: other.to_string(),
        },
    }
}

/// The last cause of an error: the operating system's words rather than the layers around them.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
