//! What an operator is started with, and why it did not start.

use std::{path::Path, sync::Arc, time::Duration};

use warifu_client_sdk::{
    runtime::{Clock, KeeperError},
    store::MasterKey,
    transport::{IdentitySecret, Multiaddr, TransportError},
};
use warifu_consensus::{
    log::{LogKey, LogKeys},
    party::{Ledger, Role},
    signature::IdentityKey,
};

use crate::{log::LogError, roles::broker::PushError};

/// Why an operator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Journal or vault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The network.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The pinned key of the other operator is none.
    #[error("the pinned key of the {role} is no identity key")]
    Pinned {
        /// Whose.
        role: Role,
    },
    /// The identity file holds another key than the pinned one.
    #[error("this node's identity key is {found}, the ledger pins {expected} for the {role}")]
    Identity {
        /// This node's role.
        role: Role,
        /// Public key of the identity file.
        found: String,
        /// As pinned.
        expected: String,
    },
    /// The operating system gives no threads.
    #[error("cannot start the signing threads: {0}")]
    Threads(std::io::Error),
    /// The global log.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The push service.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// What an operator needs to start.
pub struct OperatorOptions<'a> {
    /// Its role.
    pub role: Role,
    /// The pinned ledger.
    pub ledger: Ledger,
    /// Its identity key.
    pub identity: Arc<IdentityKey>,
    /// The same key for the wire.
    pub wire_identity: IdentitySecret,
    /// Its data directory.
    pub data: &'a Path,
    /// What the log's checkpoints are signed with, by either operator.
    pub log_keys: LogKeys,
    /// This one's own key for them.
    pub log_key: LogKey,
    /// Opens the vault.
    pub master_key: MasterKey,
    /// Extra time of each sync of journal and vault: none but in a bench.
    pub sync_delay: Duration,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Where to dial the other operator; empty where the other dials.
    pub other_addresses: Vec<Multiaddr>,
    /// The one clock.
    pub clock: Clock,
    /// Free bytes below which admits are refused.
    pub reserve_bytes: u64,
    /// Told bytes done and total while an index is rebuilt.
    pub progress: &'a mut dyn FnMut(u64, u64),
}
