//! The vault's live secrets, still sealed, and the count of what its file holds besides them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{VaultKey, seal::Sealed};
use crate::store::{
    StreamId,
    journal::writer::{Sink, Written},
};

/// One record of the vault's file; tags u32 LE in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VaultRecord {
    /// First record: a known text, sealed, so that a wrong master key is told as such.
    Check { sealed: Sealed },
    /// A secret.
    Put { key: VaultKey, sealed: Sealed },
    /// The secret of this key is forgotten.
    Remove { key: VaultKey },
    /// All secrets of this stream are forgotten.
    RemoveStream { stream: StreamId },
}

/// What a durable record does to the live secrets.
#[derive(Debug)]
pub(crate) enum Change {
    Put {
        key: VaultKey,
        sealed: Sealed,
        /// Bytes of the record's frame on disk.
        bytes: u64,
    },
    Remove {
        key: VaultKey,
    },
    RemoveStream {
        stream: StreamId,
    },
}

#[derive(Debug, Default)]
struct State {
    secrets: BTreeMap<VaultKey, (Sealed, u64)>,
    live_bytes: u64,
    file_bytes: u64,
    /// Streams forgotten as a whole whose sealed bytes the file may still hold.
    remains: BTreeSet<StreamId>,
}

/// The live secrets.
#[derive(Debug, Default)]
pub(crate) struct Live {
    state: Mutex<State>,
}

impl State {
    fn forget(&mut self, key: &VaultKey) {
        if let Some((_, bytes)) = self.secrets.remove(key) {
            self.live_bytes = self.live_bytes.saturating_sub(bytes);
        }
    }

    fn keys(&self, stream: StreamId) -> Vec<VaultKey> {
        let first = VaultKey {
            stream,
            kind: 0,
            name: [0; 32],
        };
        self.secrets
            .range(first..)
            .map(|(key, _)| *key)
            .take_while(|key| key.stream == stream)
            .collect()
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put { key, sealed, bytes } => {
                self.forget(&key);
                self.secrets.insert(key, (sealed, bytes));
                self.live_bytes = self.live_bytes.saturating_add(bytes);
            }
            Change::Remove { key } => self.forget(&key),
            Change::RemoveStream { stream } => {
                for key in self.keys(stream) {
                    self.forget(&key);
                }
                self.remains.insert(stream);
            }
        }
    }
}

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn apply(&self, change: Change) {
        self.state().apply(change);
    }

    pub(crate) fn sealed(&self, key: &VaultKey) -> Option<Sealed> {
        self.state()
            .secrets
            .get(key)
            .map(|(sealed, _)| sealed.clone())
    }

    pub(crate) fn keys(&self, stream: StreamId) -> Vec<VaultKey> {
        self.state().keys(stream)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state().secrets.is_empty()
    }

    pub(crate) fn all(&self) -> Vec<(VaultKey, Sealed)> {
        let state = self.state();
        let secrets = state.secrets.iter();
        secrets
            .map(|(key, (sealed, _))| (*key, sealed.clone()))
            .collect()
    }

    pub(crate) fn set_file_bytes(&self, bytes: u64) {
        self.state().file_bytes = bytes;
    }

    /// The file was rewritten with what is live only, and has this length.
    pub(crate) fn compacted(&self, bytes: u64) {
        let mut state = self.state();
        state.file_bytes = bytes;
        state.remains.clear();
    }

    /// Takes what was read from a file of this length, if it is what is live here.
    pub(crate) fn reloaded(&self, found: Self, bytes: u64) -> bool {
        let mut found = found
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        found.file_bytes = bytes;
        let mut state = self.state();
        let is_same = state.secrets == found.secrets;
        if is_same {
            *state = found;
        }
        is_same
    }

    pub(crate) fn has_remains(&self, stream: StreamId) -> bool {
        self.state().remains.contains(&stream)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.state().file_bytes
    }

    /// Bytes of the file that hold nothing live (its header counts among them).
    pub(crate) fn dead_bytes(&self) -> u64 {
        let state = self.state();
        state.file_bytes.saturating_sub(state.live_bytes)
    }
}

/// Applies durable records, in the order of the file.
pub(crate) struct LiveSink(pub(crate) Arc<Live>);

impl Sink<Change> for LiveSink {
    fn durable(&mut self, written: &mut Vec<Written<Change>>) {
        let mut state = self.0.state();
        for record in written.drain(..) {
            state.file_bytes = record.end;
            state.apply(record.token);
        }
    }
}
