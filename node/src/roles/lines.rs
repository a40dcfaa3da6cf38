//! An operator's lines, as its accounts see them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use warifu_client_sdk::{
    runtime::Lines,
    transport::{Network, SessionId},
};
use warifu_consensus::party::{Role, Sub};

use super::directory::Directory;

/// One network for all accounts.
pub struct OperatorLines {
    directory: Arc<Directory>,
    network: OnceLock<Network>,
    sessions: RwLock<HashMap<[u8; 32], SessionId>>,
}

impl OperatorLines {
    /// Lines without a network yet: the network needs the directory first.
    #[must_use]
    pub fn new(directory: Arc<Directory>) -> Self {
        Self {
            directory,
            network: OnceLock::new(),
            sessions: RwLock::default(),
        }
    }

    /// Sets the network, once.
    pub fn set_network(&self, network: Network) {
        if self.network.set(network).is_err() {
            tracing::error!("a second network was offered and not taken");
        }
    }

    /// The network, once it is set.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.get()
    }

    /// A session began (`Some`) or ended.
    pub fn set_session(&self, peer: [u8; 32], session: Option<SessionId>) {
        let mut sessions = self
            .sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match session {
            Some(session) => sessions.insert(peer, session),
            None => sessions.remove(&peer),
        };
    }

    /// The current session of a peer.
    #[must_use]
    pub fn session_of(&self, peer: &[u8; 32]) -> Option<SessionId> {
        self.sessions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(peer)
            .copied()
    }

    /// Who has a line now: 32-byte identity keys.
    #[must_use]
    pub fn peers(&self) -> Vec<[u8; 32]> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.keys().copied().collect()
    }

    /// Queues a frame for a peer; it may be lost.
    pub fn send_to(&self, peer: [u8; 32], frame: Vec<u8>) {
        self.offer(peer, frame);
    }

    /// Queues a frame for a peer. `false`: there is no line, or it has no room now. What is queued arrives, unless
    /// the line ends.
    pub fn offer(&self, peer: [u8; 32], frame: Vec<u8>) -> bool {
        let Some(network) = self.network.get() else {
            return false;
        };
        let queued = network.send(peer, None, frame);
        if let Err(error) = &queued {
            tracing::debug!(%error, "not sent");
        }
        queued.is_ok()
    }
}

impl Lines for OperatorLines {
    fn session(&self, sub: &Sub, role: Role) -> Option<u64> {
        let peer = self.directory.peer(sub, role)?;
        self.session_of(&peer).map(|s| s.0)
    }

    fn send(&self, sub: &Sub, to: Role, frame: Vec<u8>) {
        if let Some(peer) = self.directory.peer(sub, to) {
            self.send_to(peer, frame);
        }
    }

    /// Operators keep their line to each other, and devices dial in.
    fn want(&self, _: &Sub, _: Role, _: bool) {}
}
