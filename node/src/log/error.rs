//! Why the log did not do something.

use std::{io, path::PathBuf};

use warifu_client_sdk::{runtime::KeeperError, store::StoreError};
use warifu_consensus::{
    log::{CheckpointError, NoteError, ProofError, TreeError},
    party::Sub,
    wire::WireError,
};

use crate::observe::counts;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Journal or vault.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// One of the log's files.
    #[error("could not {action} the log's files in {}: {source}", .dir.display())]
    Files {
        /// What was being done, as a verb.
        action: &'static str,
        /// Where they are.
        dir: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A record of the log's stream is none, or not the one that follows.
    #[error("record {number} of the log's stream {reason}")]
    Record {
        /// Its number, from 0.
        number: u64,
        /// What was found and expected.
        reason: String,
    },
    /// What the files hold is not what the journal says.
    #[error("the log's files give root {found}, expected {expected} of {size} leaves")]
    Root {
        /// Leaves.
        size: u64,
        /// Base64.
        found: String,
        /// Base64.
        expected: String,
    },
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A proof.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A proof made here does not hold: the files are not what was signed.
    #[error("a proof from the log's files does not hold: {0}")]
    Proof(#[from] ProofError),
    /// A fork that own files show and that does not judge itself: they decayed, nobody forked anything.
    #[error(
        "the log's files are not what was signed of {size} leaves: stop the node, delete them and they are made anew"
    )]
    Rotten {
        /// Leaves.
        size: u64,
    },
    /// A record has no encoding.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Evidence could not be kept.
    #[error("evidence of a fork could not be kept in {}: {reason}", .path.display())]
    Evidence {
        /// The file.
        path: PathBuf,
        /// The operating system's reason, or why its text would not be read again.
        reason: String,
    },
    /// The other operator, and what it said that it may not say.
    #[error("the other operator {0}")]
    Peer(String),
    /// An account's opener is gone.
    #[error("account {sub} has no content key, so block {height} can't be logged")]
    Erased {
        /// The account.
        sub: Sub,
        /// The block's height.
        height: u64,
    },
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Keeper(error.into())
    }
}

impl LogError {
    /// What the other operator said wrongly is written down, and the log goes on; what this node can't explain of
    /// its own is given back, and stops it.
    ///
    /// # Errors
    /// Itself.
    pub(super) fn or_stop(self, other: &'static str) -> Result<(), Self> {
        match self {
            Self::Keeper(_) | Self::Files { .. } | Self::Record { .. } | Self::Root { .. } => {
                Err(self)
            }
            error => {
                counts::log_fault();
                tracing::error!(%other, %error, "the log does not go on from this");
                Ok(())
            }
        }
    }
}
