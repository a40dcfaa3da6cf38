//! Building the swarm and binding its listeners.
//!
//! Decides the stack: TCP without Nagle's delay, Noise, Yamux, one time limit over all three. It
//! returns only when every address is bound, so that a node that says it is up can be dialled.

use std::sync::{Arc, PoisonError};

use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, Transport, noise, tcp, yamux};

use futures::StreamExt;

use super::gate::Gate;
use super::hub::Hub;
use super::limits::{Limits, MAX_NEGOTIATING, MAX_STREAMS};
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
    let mut swarm = build(&identity, gate, &shared.limits)?;
    for address in listen {
        bind(&mut swarm, address, &shared).await?;
    }
    tokio::spawn(Hub::new(swarm, shared.clone(), own, instance).run());
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
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_STREAMS);
    let transport = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(limits.handshake)
        .boxed();
    let config = swarm::Config::with_tokio_executor()
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
        .with_idle_connection_timeout(limits.silence);
    let own = PeerId::from(keypair.public());
    Ok(Swarm::new(transport, gate, own, config))
}

async fn bind(
    swarm: &mut Swarm<Gate>,
    address: Multiaddr,
    shared: &Shared,
) -> Result<(), TransportError> {
    let failed = |detail: String| TransportError::Listen {
        address: address.clone(),
        detail,
    };
    let wanted: ListenerId = swarm
        .listen_on(address.clone())
        .map_err(|error| failed(error.to_string()))?;
    let bound = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } => {
                    shared.listening(address);
                    if listener_id == wanted {
                        return Ok(());
                    }
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } if listener_id == wanted => {
                    let detail = reason.err().map_or("closed".to_owned(), |e| e.to_string());
                    return Err(failed(detail));
                }
                _ => {}
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
