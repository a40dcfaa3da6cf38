//! Who may connect: the behaviour that libp2p asks at each step of a connection's life.
//!
//! Decides before the handshake by address (pending connections, and how often they begin), and as
//! soon as the PeerId is proven by admission, by the number of connections in all, of one peer, and
//! of strangers. What it lets in it keeps count of until libp2p reports it closed. Outbound
//! connections are pinned by whoever dials and pass. It never decides which line is a session.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::handler::{Begin, LineEvent, LineHandler};
use super::identity;
use super::limits::{Limits, MAX_COUNTED_ADDRESSES, MAX_PER_PEER};
use super::pace::Bucket;
use super::session::decides;

/// Whether an identity may hold a line to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It may, for as long as it behaves.
    Known,
    /// It may, as one of few and for a short time: a device that is about to enrol.
    Stranger,
    /// It may not.
    No,
}

/// The node's list of who may connect.
pub trait Admission: Send + Sync {
    /// Judges a 32-byte Ed25519 identity key that the peer has proven to hold. Called on the
    /// network's own task: it must not block.
    fn admit(&self, peer: &[u8; 32]) -> Admit;

    /// Whether frames of this peer, when it dialled in, are read at [`Limits::frames`] only: true for the many,
    /// of which some may be hostile; false for the few that carry everybody's work. Called as `admit` is.
    fn is_paced(&self, peer: &[u8; 32]) -> bool {
        let _ = peer;
        false
    }
}

/// Why a connection was refused. The peer only sees it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("too many unfinished handshakes")]
    Pending,
    #[error("too many unfinished handshakes from one address")]
    PendingAtAddress,
    #[error("handshakes begin too often")]
    Pace,
    #[error("handshakes from one address begin too often")]
    PaceOfAddress,
    #[error("too many connections")]
    Established,
    #[error("too many connections of one peer")]
    OfPeer,
    #[error("too many strangers")]
    Strangers,
    #[error("identity is not an Ed25519 key")]
    KeyType,
    #[error("identity is not admitted")]
    NotAdmitted,
}

impl From<Refused> for ConnectionDenied {
    fn from(refused: Refused) -> Self {
        tracing::debug!(%refused, "connection refused");
        ConnectionDenied::new(refused)
    }
}

/// One machine, as far as an address tells: an IPv4 address or an IPv6 /64.
type Origin = IpAddr;

struct Established {
    peer: [u8; 32],
    outbound: bool,
    origin: Option<Origin>,
    /// A stranger's end, and whether it was promoted. `None` for the known.
    guest: Option<(Instant, bool)>,
}

/// The behaviour.
pub(super) struct Gate {
    own: [u8; 32],
    admission: Arc<dyn Admission>,
    limits: Arc<Limits>,
    pending: HashMap<ConnectionId, Option<Origin>>,
    accepts: Bucket,
    /// Of addresses that came lately.
    accepts_of: HashMap<Option<Origin>, Bucket>,
    established: HashMap<ConnectionId, Established>,
    per_peer: HashMap<[u8; 32], usize>,
    guests: Vec<ConnectionId>,
    /// Promoted strangers and until when: a dropped line does not demote them.
    promoted: HashMap<[u8; 32], Instant>,
    actions: VecDeque<ToSwarm<Told, Begin>>,
    waker: Option<Waker>,
}

/// What a connection told, and which one it was.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) peer: [u8; 32],
    pub(super) connection: ConnectionId,
    pub(super) event: LineEvent,
}

impl Gate {
    pub(super) fn new(own: [u8; 32], admission: Arc<dyn Admission>, limits: Arc<Limits>) -> Self {
        Self {
            own,
            admission,
            limits,
            pending: HashMap::new(),
            accepts: Bucket::new(Instant::now()),
            accepts_of: HashMap::new(),
            established: HashMap::new(),
            per_peer: HashMap::new(),
            guests: Vec::new(),
            promoted: HashMap::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    fn act(&mut self, action: ToSwarm<Told, Begin>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether another handshake with this address may begin now, by how often handshakes did; counts it.
    fn accept(&mut self, origin: Option<Origin>, now: Instant) -> Result<(), Refused> {
        let pace = match origin {
            Some(ip) if ip.is_loopback() => self.limits.accepts_loopback,
            _ => self.limits.accepts_per_address,
        };
        let is_known = self.accepts_of.contains_key(&origin);
        if !is_known && self.accepts_of.len() >= MAX_COUNTED_ADDRESSES {
            self.accepts_of.retain(|_, bucket| !bucket.is_full(now));
        }
        let is_counted = is_known || self.accepts_of.len() < MAX_COUNTED_ADDRESSES;
        // Whoever finds no place shares one with all who find none.
        let of = if is_counted { origin } else { None };
        let bucket = self.accepts_of.entry(of).or_insert(Bucket::new(now));
        if !bucket.take(pace, now) {
            return Err(Refused::PaceOfAddress);
        }
        if !self.accepts.take(self.limits.accepts, now) {
            return Err(Refused::Pace);
        }
        Ok(())
    }

    /// Tells a connection that it is the session.
    pub(super) fn begin(&mut self, peer_id: PeerId, connection: ConnectionId, event: Begin) {
        self.act(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event,
        });
    }

    /// Closes a connection after what was told to it before.
    pub(super) fn close(&mut self, peer_id: PeerId, connection: ConnectionId) {
        let connection = CloseConnection::One(connection);
        self.act(ToSwarm::CloseConnection {
            peer_id,
            connection,
        });
    }

    /// Whether this node dialled the connection; `None` if it is gone.
    pub(super) fn is_outbound(&self, connection: ConnectionId) -> Option<bool> {
        Some(self.established.get(&connection)?.outbound)
    }

    /// Whether the peer has any connection, session or not.
    pub(super) fn is_connected(&self, peer: &[u8; 32]) -> bool {
        self.per_peer.contains_key(peer)
    }

    /// Whether the peer has a connection besides `connection`.
    pub(super) fn has_other(&self, peer: &[u8; 32], connection: ConnectionId) -> bool {
        let of_peer = self.per_peer.get(peer).copied().unwrap_or(0);
        let here = self.established.contains_key(&connection);
        of_peer > usize::from(here)
    }

    /// Established connections.
    pub(super) fn len(&self) -> usize {
        self.established.len()
    }

    /// Lifts a stranger's limits until the enrolment's end; then admission is asked again.
    pub(super) fn promote(&mut self, peer: [u8; 32], now: Instant) {
        let until = now + self.limits.enrolment_lifetime;
        self.promoted.retain(|_, end| *end > now);
        self.promoted.insert(peer, until);
        for connection in &self.guests {
            if let Some(line) = self.established.get_mut(connection)
                && line.peer == peer
            {
                line.guest = Some((until, true));
            }
        }
    }

    /// When the next guest's time runs out.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let guests = self.guests.iter().filter_map(|id| self.established.get(id));
        guests.filter_map(|line| Some(line.guest?.0)).min()
    }

    /// The guests whose time has run out. Promoted ones that have become known are guests no more
    /// and stay.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<([u8; 32], ConnectionId)> {
        let mut expired = Vec::new();
        let (established, admission) = (&mut self.established, &self.admission);
        self.guests.retain(|connection| {
            let Some(line) = established.get_mut(connection) else {
                return false;
            };
            match line.guest {
                Some((end, _)) if end > now => return true,
                Some(_) if admission.admit(&line.peer) == Admit::Known => {}
                Some(_) => expired.push((line.peer, *connection)),
                None => {}
            }
            line.guest = None;
            false
        });
        expired
    }

    fn admit(
        &mut self,
        peer: [u8; 32],
        origin: Option<Origin>,
        now: Instant,
    ) -> Result<Option<(Instant, bool)>, Refused> {
        if self.established.len() >= self.limits.established {
            return Err(Refused::Established);
        }
        if self.per_peer.get(&peer).copied().unwrap_or(0) >= MAX_PER_PEER {
            return Err(Refused::OfPeer);
        }
        match self.admission.admit(&peer) {
            Admit::Known => Ok(None),
            Admit::No => Err(Refused::NotAdmitted),
            Admit::Stranger => {
                if let Some(end) = self.promoted.get(&peer).filter(|end| **end > now) {
                    return Ok(Some((*end, true)));
                }
                self.room_for_stranger(origin)?;
                Ok(Some((now + self.limits.stranger_lifetime, false)))
            }
        }
    }

    fn room_for_stranger(&self, origin: Option<Origin>) -> Result<(), Refused> {
        let strangers = || {
            let guests = self.guests.iter().filter_map(|id| self.established.get(id));
            guests.filter(|line| matches!(line.guest, Some((_, false))))
        };
        let here = strangers().filter(|line| line.origin == origin).count();
        let exempt = origin.is_some_and(|origin| origin.is_loopback());
        if strangers().count() >= self.limits.strangers
            || (!exempt && here >= self.limits.strangers_per_address)
        {
            return Err(Refused::Strangers);
        }
        Ok(())
    }

    fn enter(&mut self, connection: ConnectionId, line: Established) -> LineHandler {
        let decides = decides(&self.own, &line.peer);
        let is_paced = !line.outbound && self.admission.is_paced(&line.peer);
        let handler = LineHandler::new(self.limits.clone(), line.outbound, decides, is_paced);
        *self.per_peer.entry(line.peer).or_default() += 1;
        if line.guest.is_some() {
            self.guests.push(connection);
        }
        self.established.insert(connection, line);
        handler
    }

    fn leave(&mut self, connection: ConnectionId) {
        let Some(line) = self.established.remove(&connection) else {
            return;
        };
        self.guests.retain(|guest| *guest != connection);
        if let Some(count) = self.per_peer.get_mut(&line.peer) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&line.peer);
            }
        }
    }
}

/// The origin of an address, if it begins with an IP address.
fn origin(address: &Multiaddr) -> Option<Origin> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) if ip.is_loopback() => Some(IpAddr::V6(ip)),
        Protocol::Ip6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => Some(IpAddr::V4(ip)),
            None => Some(IpAddr::V6((u128::from(ip) >> 64 << 64).into())),
        },
        _ => None,
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = LineHandler;
    type ToSwarm = Told;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let origin = origin(remote);
        if self.pending.len() >= self.limits.pending {
            return Err(Refused::Pending.into());
        }
        let limit = match origin {
            Some(ip) if ip.is_loopback() => self.limits.pending_loopback,
            _ => self.limits.pending_per_address,
        };
        if self
            .pending
            .values()
            .filter(|other| **other == origin)
            .count()
            >= limit
        {
            return Err(Refused::PendingAtAddress.into());
        }
        self.accept(origin, Instant::now())?;
        self.pending.insert(connection, origin);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(&connection);
        let origin = origin(remote);
        let peer = identity::public_key(&peer).ok_or(Refused::KeyType)?;
        let guest = self.admit(peer, origin, Instant::now())?;
        let line = Established {
            peer,
            outbound: false,
            origin,
            guest,
        };
        Ok(self.enter(connection, line))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let line = Established {
            peer: identity::public_key(&peer).ok_or(Refused::KeyType)?,
            outbound: true,
            origin: origin(address),
            guest: None,
        };
        Ok(self.enter(connection, line))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.leave(closed.connection_id),
            FromSwarm::ListenFailure(failed) => {
                self.pending.remove(&failed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        if let Some(line) = self.established.get(&connection) {
            let peer = line.peer;
            self.act(ToSwarm::GenerateEvent(Told {
                peer,
                connection,
                event,
            }));
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
    use super::*;

    struct All(Admit);

    impl Admission for All {
        fn admit(&self, _: &[u8; 32]) -> Admit {
            self.0
        }
    }

    fn gate(admit: Admit, limits: Limits) -> Gate {
        Gate::new([0; 32], Arc::new(All(admit)), Arc::new(limits))
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Option<Origin> {
        origin(&address(&format!("{text}/tcp/7101")))
    }

    #[test]
    fn one_machine_is_an_ipv4_address_or_an_ipv6_64() {
        let home = at("/ip6/2001:db8:1:2::1");
        assert!(home.is_some());
        assert_eq!(home, at("/ip6/2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(home, at("/ip6/2001:db8:1:3::1"));
        assert_eq!(at("/ip6/::ffff:192.0.2.1"), at("/ip4/192.0.2.1"));
        assert_ne!(at("/ip6/::ffff:192.0.2.1"), at("/ip6/::ffff:192.0.2.2"));
        // The loopback exemption holds for `::1` alone, not for its /64.
        assert!(at("/ip6/::1").is_some_and(|origin| origin.is_loopback()));
        assert!(at("/ip6/::2").is_some_and(|origin| !origin.is_loopback()));
        assert_eq!(origin(&address("/dns4/broker.example/tcp/7101")), None);
    }

    #[test]
    fn unfinished_handshakes_are_counted_by_64() {
        let limits = Limits {
            pending_per_address: 3,
            ..Limits::default()
        };
        let mut gate = gate(Admit::Known, limits);
        let local = address("/ip6/2001:db8::7/tcp/7101");
        let mut comes = |number: usize, from: &str| {
            let remote = address(&format!("{from}/tcp/{}", 40_000 + number));
            let connection = ConnectionId::new_unchecked(number);
            gate.handle_pending_inbound_connection(connection, &local, &remote)
                .is_ok()
        };
        assert!(comes(1, "/ip6/2001:db8:1:2::1"));
        assert!(comes(2, "/ip6/2001:db8:1:2::2"));
        assert!(comes(3, "/ip6/2001:db8:1:2:a::3"));
        assert!(!comes(4, "/ip6/2001:db8:1:2:b::4"));
        assert!(comes(5, "/ip6/2001:db8:1:3::1"));
        assert!(comes(6, "/ip4/192.0.2.1"));
        assert!(comes(7, "/ip6/::ffff:192.0.2.1"));
        assert!(comes(8, "/ip4/192.0.2.1"));
        assert!(!comes(9, "/ip6/::ffff:192.0.2.1"));
    }

    #[test]
    fn one_address_cannot_take_all_accepts_and_resting_ones_are_forgotten() {
        let limits = Limits {
            accepts: Pace {
                per_s: 1,
                burst: 2 * u32::try_from(MAX_COUNTED_ADDRESSES).unwrap(),
            },
            accepts_per_address: Pace { per_s: 1, burst: 2 },
            ..Limits::default()
        };
        let mut gate = gate(Admit::Known, limits);
        let begun = Instant::now();
        let own = at("/ip4/192.0.2.1");
        assert_eq!(gate.accept(own, begun), Ok(()));
        assert_eq!(gate.accept(own, begun), Ok(()));
        assert_eq!(gate.accept(own, begun), Err(Refused::PaceOfAddress));
        let other = |number: usize| {
            let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
            at(&format!("/ip4/10.0.{high}.{low}"))
        };
        for number in 0..MAX_COUNTED_ADDRESSES + 50 {
            // The last ones share one place, which is used up soon.
            let _ = gate.accept(other(number), begun);
        }
        assert!(gate.accepts_of.len() <= MAX_COUNTED_ADDRESSES + 1);
        let later = begun + std::time::Duration::from_secs(10);
        assert_eq!(gate.accept(own, later), Ok(()));
        assert_eq!(gate.accept(at("/ip4/198.51.100.1"), later), Ok(()));
        assert!(gate.accepts_of.len() < 10, "those at rest are forgotten");
    }

    #[test]
    fn strangers_are_counted_by_64() {
        let limits = Limits {
            strangers_per_address: 2,
            ..Limits::default()
        };
        let mut gate = gate(Admit::Stranger, limits);
        let now = Instant::now();
        let mut comes = |number: u8, from: &str| {
            let peer = [number; 32];
            let origin = at(from);
            let admitted = gate.admit(peer, origin, now);
            if let Ok(guest) = admitted {
                let line = Established {
                    peer,
                    outbound: false,
                    origin,
                    guest,
                };
                gate.enter(ConnectionId::new_unchecked(number.into()), line);
            }
            admitted.map(drop)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _timers = runtime.enter();
        assert_eq!(comes(1, "/ip6/2001:db8:1:2::1"), Ok(()));
        assert_eq!(comes(2, "/ip6/2001:db8:1:2::2"), Ok(()));
        assert_eq!(comes(3, "/ip6/2001:db8:1:2::3"), Err(Refused::Strangers));
        assert_eq!(comes(4, "/ip6/2001:db8:1:4::3"), Ok(()));
        for number in 5..9 {
            assert_eq!(comes(number, "/ip6/::1"), Ok(()));
        }
    }
}
