//! A log as it is served (C2SP tlog-tiles): checkpoint, tiles and entries over HTTP, each answer bounded.
//!
//! Nothing that comes is believed: whoever asks hashes it. Never sends anything but `GET`, follows no redirect.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use reqwest::{Client, StatusCode, Url};
use warifu_consensus::log::{
    Digest, Frontier, Leaf, Node, NoteError, SignedNote, TILE_WIDTH, Tile, TreeError, consistency,
    node_hash,
};

use crate::outgoing;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer: a full bundle of entries has 8704 bytes, a note at most this.
const MAX_ANSWER: usize = 64 * 1024;

/// Bytes of one entry with its length before it.
const ENTRY: usize = 34;

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an address that a log is served at.
    #[error("{url:?} is no address of a log: {reason}")]
    Address {
        /// As it was given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// No answer.
    #[error("{url} could not be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Another answer than one that holds what was asked for.
    #[error("{url} answered {status}{}", if *.status == 404 { ": is this where the log is served (node.log_http)?" } else { "" })]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// An answer that is not of the form that the log's format gives.
    #[error("{url}: {reason}")]
    Form {
        /// What was asked for.
        url: String,
        /// Found and expected.
        reason: String,
    },
    /// Sizes that no tree has.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl FetchError {
    /// Whether nobody answered, or said "not now": to ask again is no use at once, and may be later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status >= 500 || [408, 429].contains(status),
            _ => false,
        }
    }
}

/// A log's reader. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogClient {
    client: Client,
    base: Url,
}

impl LogClient {
    /// Of the log below `url`: `http://` or `https://`, its path the prefix of `checkpoint` and `tile/…`. Certificates are
    /// believed as this system believes them.
    ///
    /// # Errors
    /// [`FetchError::Address`].
    pub fn new(url: &str) -> Result<Self, FetchError> {
        let refuse = |reason: String| FetchError::Address {
            url: url.to_owned(),
            reason,
        };
        // A base that ends with a slash keeps its last segment when paths are joined to it.
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/')))
            .map_err(|error| refuse(error.to_string()))?;
        let client = match base.scheme() {
            "http" => outgoing::plain(),
            "https" => outgoing::trusting_the_system(),
            other => return Err(refuse(format!("found {other}, expected http or https"))),
        };
        let client = client.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { client, base })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, FetchError> {
        let url = self.base.join(path).map_err(|error| FetchError::Address {
            url: path.to_owned(),
            reason: error.to_string(),
        })?;
        let failed = |error: reqwest::Error| FetchError::Unreachable {
            url: url.to_string(),
            reason: reason(&error),
        };
        let request = self.client.get(url.clone()).timeout(PATIENCE);
        let mut answer = request.send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status {
                url: url.to_string(),
                status: answer.status().as_u16(),
            });
        }
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if bytes.len().saturating_add(part.len()) > MAX_ANSWER {
                return Err(FetchError::Form {
                    url: url.to_string(),
                    reason: format!("more than {MAX_ANSWER} bytes"),
                });
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    /// The log's checkpoint, its signatures not looked at.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn checkpoint(&self) -> Result<SignedNote, FetchError> {
        let bytes = self.get("checkpoint").await?;
        SignedNote::parse(&bytes).map_err(|error: NoteError| FetchError::Form {
            url: format!("{}/checkpoint", self.url()),
            reason: error.to_string(),
        })
    }

    /// A tile's bytes: the partial one, or the beginning of the full one where only that is kept.
    async fn part(
        &self,
        path: impl Fn(Tile) -> String,
        tile: Tile,
        each: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let wanted = usize::from(tile.width).saturating_mul(each);
        let full = Tile {
            width: TILE_WIDTH,
            ..tile
        };
        let mut bytes = match self.get(&path(tile)).await {
            Err(FetchError::Status { status: 404, .. }) if !tile.is_full() => {
                let mut bytes = self.get(&path(full)).await?;
                bytes.truncate(wanted);
                bytes
            }
            answer => answer?,
        };
        if bytes.len() == wanted {
            bytes.shrink_to_fit();
            return Ok(bytes);
        }
        Err(FetchError::Form {
            url: format!("{}/{}", self.url(), path(tile)),
            reason: format!("{} bytes, expected {wanted}", bytes.len()),
        })
    }

    /// A tile's hashes.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn tile(&self, tile: Tile) -> Result<Vec<Digest>, FetchError> {
        let bytes = self.part(|tile| format!("tile/{tile}"), tile, 32).await?;
        Ok(bytes.as_chunks::<32>().0.to_vec())
    }

    /// The leaves below a tile of level 0.
    ///
    /// # Errors
    /// [`FetchError`]; an entry of another length than 32 bytes is of no leaf of ours.
    pub async fn entries(&self, bundle: Tile) -> Result<Vec<Leaf>, FetchError> {
        let path = |tile: Tile| {
            let path = tile.to_string();
            let index = path.split_once('/').map_or("", |(_, index)| index);
            format!("tile/entries/{index}")
        };
        let bytes = self.part(path, bundle, ENTRY).await?;
        let leaves = bytes.as_chunks::<ENTRY>().0.iter().map(|entry| {
            let [high, low, leaf @ ..] = entry;
            (u16::from_be_bytes([*high, *low]) == 32).then_some(Leaf(*leaf))
        });
        leaves
            .collect::<Option<_>>()
            .ok_or_else(|| FetchError::Form {
                url: format!("{}/{}", self.url(), path(bundle)),
                reason: "an entry has not 32 bytes".to_owned(),
            })
    }

    /// The root of the first `size` leaves, and the proof that they are the beginning of the tree of `of` leaves, from
    /// that tree's tiles. Whoever uses it verifies it.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn beginning(&self, size: u64, of: u64) -> Result<(Digest, Vec<Digest>), FetchError> {
        let ask = |read: &mut dyn FnMut(Node) -> Result<Digest, FetchError>| {
            let root = Frontier::restore(size, &mut *read)?.root();
            Ok::<_, FetchError>((root, consistency(size, of, read)?))
        };
        let mut wanted = BTreeSet::new();
        ask(&mut |node| {
            wanted.insert(node);
            Ok([0; 32])
        })?;
        let mut tiles: BTreeMap<Tile, Vec<Digest>> = BTreeMap::new();
        let mut known = BTreeMap::new();
        for node in wanted {
            let (old, new) = (size, of);
            let (tile, from, to) = Tile::of(node, of).ok_or(TreeError::Sizes { old, new })?;
            let hashes = match tiles.entry(tile) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(free) => free.insert(self.tile(tile).await?),
            };
            let row = hashes.get(usize::from(from)..usize::from(to));
            known.insert(node, subtree(row.unwrap_or_default()));
        }
        let missing = TreeError::Sizes { old: size, new: of };
        ask(&mut |node| Ok(known.get(&node).copied().ok_or(missing)?))
    }
}

/// The hash over a complete subtree's hashes, side by side.
pub(super) fn subtree(row: &[Digest]) -> Digest {
    let mut row = row.to_vec();
    while row.len() > 1 {
        let pairs = row.as_chunks::<2>().0.iter();
        row = pairs.map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_default()
}

/// An error and what caused it.
fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
