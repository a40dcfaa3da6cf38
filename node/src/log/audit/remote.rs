//! A served log, read whole by a stranger: checkpoint with both signatures, every entry hashed into the tree, every tile
//! against what the entries give.
//!
//! Streams with bounded memory, and goes on where an earlier run stood. A checkpoint that is smaller than the one it went on
//! from, or that the earlier one is no beginning of, is refused; the latter is kept as evidence.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use base64ct::{Base64, Base64Url, Encoding};
use futures::{StreamExt, stream};
use serde::Serialize;
use warifu_consensus::log::{
    Checkpoint, CheckpointError, Digest, Evidence, Leaf, LogKeys, MAX_EVIDENCE, NoteError,
    SignedNote, TILE_WIDTH, Tile, TreeError, verify_consistency,
};

use super::{
    fetch::{FetchError, LogClient},
    resume::{Edge, ResumeError, Stand},
};
use crate::secrets;

/// Requests that are open at once.
const AT_ONCE: usize = 8;

/// Full bundles after which an audit writes down where it stands.
const EVERY: u64 = 64;

/// Why an audit of a served log failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Something was not fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The checkpoint is none of this log, or a signature is missing or fails.
    #[error("checkpoint of {url}: {error}")]
    Checkpoint {
        /// Where it is served.
        url: String,
        /// Found and expected.
        error: CheckpointError,
    },
    /// The file to go on from.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// A tile is not what the entries give.
    #[error("{url}/tile/{tile}: hash {number} is not what the entries give")]
    Tile {
        /// Where it is served.
        url: String,
        /// Which.
        tile: Tile,
        /// The first hash that differs, from 0.
        number: usize,
    },
    /// The entries are not those of the checkpoint.
    #[error("entries of {url} give root {found} of {size} leaves, expected {expected}")]
    Root {
        /// Where they are served.
        url: String,
        /// Leaves.
        size: u64,
        /// Base64.
        found: String,
        /// Base64.
        expected: String,
    },
    /// The log is smaller than it was.
    #[error("{url} has {found} leaves, expected {expected} or more: the log shrank")]
    Shrank {
        /// Where it is served.
        url: String,
        /// Leaves now.
        found: u64,
        /// Leaves before.
        expected: u64,
    },
    /// Two checkpoints that are not of one log.
    #[error("{url} is forked at {size} leaves: evidence in {}", .evidence.display())]
    Forked {
        /// Where the newer one is served.
        url: String,
        /// Leaves of the smaller one.
        size: u64,
        /// The file that shows it.
        evidence: PathBuf,
    },
    /// The tiles are not those of the checkpoint, so that nothing can be shown of them.
    #[error("tiles of {url} are not those of its checkpoint of {size} leaves: {error}")]
    Unproven {
        /// Where they are served.
        url: String,
        /// Leaves.
        size: u64,
        /// What does not hold.
        error: TreeError,
    },
    /// Evidence could not be kept.
    #[error("evidence could not be kept in {path}: {reason}")]
    Evidence {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// What is audited.
pub struct RemoteAudit {
    /// The log.
    pub client: LogClient,
    /// The pinned keys.
    pub keys: LogKeys,
    /// Where the audit stands between runs; `None` begins anew and writes nothing down.
    pub resume: Option<PathBuf>,
    /// Where evidence of a fork is kept.
    pub evidence: PathBuf,
}

/// A served log that is what its checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditedLog {
    /// Where it is served.
    pub url: String,
    /// The log's name.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Base64.
    pub root: String,
    /// When the witness cosigned, by its own clock: seconds since the Unix epoch.
    pub cosigned: u64,
    /// Leaves that an earlier run had hashed.
    pub resumed: u64,
    /// Tiles that were compared.
    pub tiles: u64,
}

/// The checkpoint that is served, with both signatures verified, and when the witness signed.
///
/// # Errors
/// [`RemoteError::Fetch`], [`RemoteError::Checkpoint`].
pub(super) async fn checkpoint(
    client: &LogClient,
    keys: &LogKeys,
) -> Result<(Checkpoint, SignedNote, u64), RemoteError> {
    let note = client.checkpoint().await?;
    let failed = |error| RemoteError::Checkpoint {
        url: client.url().to_owned(),
        error,
    };
    let checkpoint = Checkpoint::open(&note, &keys.log).map_err(failed)?;
    let cosigned = Checkpoint::cosigned(&note, &keys.witness)
        .map_err(|error: NoteError| failed(error.into()))?;
    Ok((checkpoint, note, cosigned.time))
}

/// Whether a log that had the `before` checkpoint may have the `now` one, by the tiles of whoever serves that. Two that don't
/// fit are kept as evidence in `dir`.
///
/// # Errors
/// [`RemoteError::Shrank`], [`RemoteError::Forked`], [`RemoteError::Unproven`], [`RemoteError::Fetch`].
pub(super) async fn extends(
    client: &LogClient,
    keys: &LogKeys,
    [before, now]: [&(Checkpoint, SignedNote); 2],
    dir: &Path,
) -> Result<(), RemoteError> {
    let (first, second) = (&before.0, &now.0);
    let url = || client.url().to_owned();
    if first.size > second.size {
        return Err(RemoteError::Shrank {
            url: url(),
            found: second.size,
            expected: first.size,
        });
    }
    let (begins, proof) = beginning(client, first.size, second).await?;
    if begins == first.root {
        return Ok(());
    }
    let evidence = Evidence {
        log: keys.log.clone(),
        witness: keys.witness.clone(),
        first: before.1.reduced(keys),
        second: now.1.reduced(keys),
        begins,
        proof,
    };
    let path = keep(&evidence, first, dir)?;
    Err(RemoteError::Forked {
        url: url(),
        size: first.size,
        evidence: path,
    })
}

/// The root of the first `size` leaves of a signed tree, and the proof of it, which holds: by the tiles of whoever serves that.
///
/// # Errors
/// [`RemoteError::Unproven`], [`RemoteError::Fetch`].
async fn beginning(
    client: &LogClient,
    size: u64,
    of: &Checkpoint,
) -> Result<(Digest, Vec<Digest>), RemoteError> {
    let (begins, proof) = if size == of.size {
        (of.root, Vec::new())
    } else {
        client.beginning(size, of.size).await?
    };
    match verify_consistency(size, of.size, &proof, &begins, &of.root) {
        Ok(()) => Ok((begins, proof)),
        Err(error) => Err(RemoteError::Unproven {
            url: client.url().to_owned(),
            size: of.size,
            error,
        }),
    }
}

/// Whether a file holds evidence by these keys that is worth no less than what is to be kept there.
fn is_kept(path: &Path, evidence: &Evidence, witness_too: bool) -> bool {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        let most = MAX_EVIDENCE as u64 + 1;
        file.take(most).read_to_string(&mut text)
    });
    read.is_ok()
        && Evidence::from_text(&text).is_ok_and(|kept| {
            (&kept.log, &kept.witness) == (&evidence.log, &evidence.witness)
                && kept
                    .judge()
                    .is_ok_and(|fork| fork.witness_too || !witness_too)
        })
}

/// Writes evidence down, unless it is kept already: each later look finds the fork again, in whatever dress the server gives it.
fn keep(evidence: &Evidence, first: &Checkpoint, dir: &Path) -> Result<PathBuf, RemoteError> {
    let root = Base64Url::encode_string(&first.root);
    let root = root.get(..16).unwrap_or_default();
    let path = dir.join(format!("evidence-{}-{root}.json", first.size));
    let failed = |reason: String| RemoteError::Evidence {
        path: path.display().to_string(),
        reason,
    };
    let text = evidence
        .to_text()
        .map_err(|error| failed(error.to_string()))?;
    // Nothing is called evidence that a judge would not take, as it will be read.
    let fork = Evidence::from_text(&text)
        .and_then(|read| read.judge())
        .map_err(|error| failed(error.to_string()))?;
    if is_kept(&path, evidence, fork.witness_too) {
        return Ok(path);
    }
    secrets::replace(&path, text.as_bytes(), 0o644).map_err(|error| failed(error.to_string()))?;
    Ok(path)
}

impl RemoteAudit {
    /// Reads all of it. `progress` is told leaves done and in all.
    ///
    /// # Errors
    /// The first [`RemoteError`].
    pub async fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<AuditedLog, RemoteError> {
        let stand = match &self.resume {
            Some(path) => Stand::read(path, &self.keys)?,
            None => Stand::default(),
        };
        let (checkpoint, note, cosigned) = checkpoint(&self.client, &self.keys).await?;
        let now = (checkpoint, note);
        if let Some(before) = &stand.checkpoint {
            let pair = [before, &now];
            extends(&self.client, &self.keys, pair, &self.evidence).await?;
        }
        self.fits(&stand.edge, &now.0).await?;
        let resumed = stand.edge.frontier.size();
        let mut reading = Reading {
            audit: self,
            now: &now,
            edge: stand.edge,
            tiles: 0,
        };
        reading.read(progress).await?;
        reading.end().await?;
        Ok(AuditedLog {
            url: self.client.url().to_owned(),
            origin: now.0.origin.clone(),
            size: now.0.size,
            root: Base64::encode_string(&now.0.root),
            cosigned,
            resumed,
            tiles: reading.tiles,
        })
    }
}

impl RemoteAudit {
    /// Whether the hashes that an earlier run wrote down are how this tree begins, which extends the checkpoint beside them. If
    /// they are not, the file is at fault, not who serves.
    async fn fits(&self, edge: &Edge, now: &Checkpoint) -> Result<(), RemoteError> {
        let size = edge.frontier.size();
        let (begins, _) = beginning(&self.client, size, now).await?;
        if begins == edge.frontier.root() {
            return Ok(());
        }
        Err(RemoteError::Resume(ResumeError::Form {
            path: self
                .resume
                .as_ref()
                .map_or_else(String::new, |path| path.display().to_string()),
            reason: format!("its hashes of {size} leaves are not those of the log"),
        }))
    }
}

struct Reading<'a> {
    audit: &'a RemoteAudit,
    now: &'a (Checkpoint, SignedNote),
    edge: Edge,
    tiles: u64,
}

/// A bundle of leaves, and the tile of their hashes.
type Bundle = Result<(Tile, Vec<Leaf>, Vec<Digest>), FetchError>;

impl Reading<'_> {
    async fn read(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), RemoteError> {
        let size = self.now.0.size;
        let width = u64::from(TILE_WIDTH);
        let client = self.audit.client.clone();
        let first = self.edge.frontier.size() / width;
        let bundles = (first..size.div_ceil(width)).map(|index| {
            let left = size.saturating_sub(index.saturating_mul(width)).min(width);
            Tile {
                level: 0,
                index,
                width: u16::try_from(left).unwrap_or(TILE_WIDTH),
            }
        });
        let fetched = stream::iter(bundles).map(|bundle| {
            let client = client.clone();
            async move {
                let (leaves, hashes) =
                    tokio::try_join!(client.entries(bundle), client.tile(bundle))?;
                Ok((bundle, leaves, hashes)) as Bundle
            }
        });
        let mut fetched = std::pin::pin!(fetched.buffered(AT_ONCE));
        while let Some(bundle) = fetched.next().await {
            let (bundle, leaves, hashes) = bundle?;
            self.take(bundle, &leaves, &hashes).await?;
            let done = self.edge.frontier.size();
            progress(done, size);
            if bundle.is_full() && bundle.index.saturating_add(1).is_multiple_of(EVERY) {
                self.write().await?;
            }
        }
        Ok(())
    }

    async fn take(
        &mut self,
        bundle: Tile,
        leaves: &[Leaf],
        hashes: &[Digest],
    ) -> Result<(), RemoteError> {
        if !bundle.is_full() {
            // What is written down ends with a full bundle: the rest is read again.
            self.write().await?;
        }
        let mut full = Vec::new();
        for leaf in leaves {
            self.edge.push(&leaf.0, |tile, row| full.push((tile, row)));
        }
        for (tile, row) in full {
            if tile.level == 0 {
                self.compare(tile, &row, hashes)?;
            } else {
                let served = self.audit.client.tile(tile).await?;
                self.compare(tile, &row, &served)?;
            }
        }
        if bundle.is_full() {
            return Ok(());
        }
        let partial: Vec<_> = self
            .edge
            .partial()
            .map(|(tile, row)| (tile, row.clone()))
            .collect();
        for (tile, row) in partial.iter().filter(|(tile, _)| tile.level == 0) {
            self.compare(*tile, row, hashes)?;
        }
        Ok(())
    }

    fn compare(
        &mut self,
        tile: Tile,
        row: &[Digest],
        served: &[Digest],
    ) -> Result<(), RemoteError> {
        self.tiles = self.tiles.saturating_add(1);
        let other = row.iter().zip(served).position(|(a, b)| a != b);
        match other {
            None if row.len() == served.len() => Ok(()),
            other => Err(RemoteError::Tile {
                url: self.audit.client.url().to_owned(),
                tile,
                number: other.unwrap_or(row.len()),
            }),
        }
    }

    /// Writes down where it stands, once this is shown to be how the signed tree begins: entries and their hashes may be false
    /// alike, and every later run would blame whoever serves the right ones.
    async fn write(&self) -> Result<(), RemoteError> {
        let Some(path) = &self.audit.resume else {
            return Ok(());
        };
        let frontier = &self.edge.frontier;
        let (expected, _) = beginning(&self.audit.client, frontier.size(), &self.now.0).await?;
        self.check_root(&expected)?;
        let stand = Stand {
            edge: self.edge.clone(),
            checkpoint: Some(self.now.clone()),
        };
        Ok(stand.write(path, &self.audit.keys)?)
    }

    /// Whether the entries so far give this root.
    fn check_root(&self, expected: &Digest) -> Result<(), RemoteError> {
        let frontier = &self.edge.frontier;
        if frontier.root() == *expected {
            return Ok(());
        }
        Err(RemoteError::Root {
            url: self.audit.client.url().to_owned(),
            size: frontier.size(),
            found: Base64::encode_string(&frontier.root()),
            expected: Base64::encode_string(expected),
        })
    }

    async fn end(&mut self) -> Result<(), RemoteError> {
        let size = self.now.0.size;
        self.check_root(&self.now.0.root)?;
        let partial: Vec<_> = self
            .edge
            .partial()
            .map(|(tile, row)| (tile, row.clone()))
            .collect();
        for (tile, row) in partial.iter().filter(|(tile, _)| tile.level > 0) {
            let served = self.audit.client.tile(*tile).await?;
            self.compare(*tile, row, &served)?;
        }
        if size.is_multiple_of(u64::from(TILE_WIDTH)) {
            self.write().await?;
        }
        Ok(())
    }
}
