//! Building the swarm and binding its listeners.
//!
//! Decides the stack: TCP without Nagle's delay, Noise, Yamux, one time limit over all three. It
//! returns only when every address is bound, so that a node that says it is up can be dialled.

use std::sync::{Arc, PoisonError};

use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, Transport, noise, tcp};

use futures::StreamExt;

use super::gate::Gate;
use super::hub::Hub;
use super::limits::{Limits, MAX_NEGOTIATING};
use super::muxer::BoundedYamux;
use super::resolve::Resolving;
use super::{IdentityError, NetworkOptions, Shared, identity};

/// Why a network did not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The identity key is unusable.
    #[error("identity is unusable: {0}")]
    Identity(#[from] IdentityError),
    /// The handshake's keys could not be made.
    #[error("noise keys could not be made: {detail}")]
    Noise {
        /// The library's words.
        detail: String,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {detail}")]
    Listen {
        /// The address as configured.
        address: Multiaddr,
        /// The operating system's words.
        detail: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Random,
    /// Two limits contradict each other.
    #[error("limit {name} is {found:?}, expected less than {expected:?}")]
    Limit {
        /// The field of [`Limits`].
        name: &'static str,
        /// Its value.
        found: std::time::Duration,
        /// What it must stay below.
        expected: std::time::Duration,
    },
}

/// Builds the swarm, binds, and spawns the task.
pub(super) async fn start(options: NetworkOptions) -> Result<Arc<Shared>, TransportError> {
    let NetworkOptions {
        identity,
        listen,
        admission,
        limits,
    } = options;
    check(&limits)?;
    let own = identity.public_key()?;
    let mut instance = [0; 8];
    getrandom::fill(&mut instance).map_err(|_| TransportError::Random)?;
    let shared = Arc::new(Shared::new(limits));
    let gate = Gate::new(own, admission, shared.limits.clone());
    let swarm = build(&identity, gate, &shared.limits)?;
    let mut hub = Hub::new(swarm, shared.clone(), own, instance);
    for address in listen {
        bind(&mut hub, address, &shared).await?;
    }
    tokio::spawn(hub.run());
    Ok(shared)
}

fn check(limits: &Limits) -> Result<(), TransportError> {
    if limits.ping_every >= limits.silence {
        return Err(TransportError::Limit {
            name: "ping_every",
            found: limits.ping_every,
            expected: limits.silence,
        });
    }
    Ok(())
}

fn build(
    identity: &identity::IdentitySecret,
    gate: Gate,
    limits: &Limits,
) -> Result<Swarm<Gate>, TransportError> {
    let keypair = identity.keypair()?;
    let noise = noise::Config::new(&keypair).map_err(|error| TransportError::Noise {
        detail: error.to_string(),
    })?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    let transport = Resolving::new(tcp)
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(BoundedYamux)
        .timeout(limits.handshake)
        .boxed();
    let config = swarm::Config::with_tokio_executor()
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
        .with_idle_connection_timeout(limits.silence);
    let own = PeerId::from(keypair.public());
    Ok(Swarm::new(transport, gate, own, config))
}

async fn bind(hub: &mut Hub, address: Multiaddr, shared: &Shared) -> Result<(), TransportError> {
    let failed = |detail: String| TransportError::Listen {
        address: address.clone(),
        detail,
    };
    probe(&address).map_err(|error| failed(error.to_string()))?;
    let wanted: ListenerId = hub
        .swarm
        .listen_on(address.clone())
        .map_err(|error| failed(error.to_string()))?;
    let bound = async {
        loop {
            let event = hub.swarm.select_next_some().await;
            let outcome = match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } if *listener_id == wanted => {
                    Some(Ok(()))
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } if *listener_id == wanted => {
                    let detail = reason.as_ref().err().map(ToString::to_string);
                    Some(Err(failed(detail.unwrap_or_else(|| "closed".to_owned()))))
                }
                _ => None,
            };
            // Peers may already come in at an address bound before this one.
            hub.on_swarm_event(event);
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    };
    match tokio::time::timeout(shared.limits.handshake, bound).await {
        Ok(result) => result?,
        Err(_) => return Err(failed("no local address matches".to_owned())),
    }
    let ids = shared.listener_ids.lock();
    ids.unwrap_or_else(PoisonError::into_inner).push(wanted);
    Ok(())
}

/// Refuses a port that somebody listens on. libp2p sets `SO_REUSEPORT`, with which the system lets
/// two nodes of one user share a port, and gives each half of the connections.
fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: std::net::IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port > 0 => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}
