//! Chains outside of a running node: an operator's journal read in place, and the export file.
//!
//! Decides the export's lines and what it takes for a set of chains to be verified offline: keys
//! come from the verifier's own [`Ledger`], never from what is being verified. Any changed byte of
//! an export, and of a journal, is found. Never changes a journal and takes no lock on it.
//!
//! An export is UTF-8 lines, each ended by `\n`:
//! ```text
//! {"warifu":"ledger-export/1","iss":"…"}
//! the canonical JSON of a sealed block                      (one line each, in journal order)
//! {"blocks":N,"blake3":"64 hex digits of BLAKE3 over all bytes before this line"}
//! ```
//! `head -n -1 FILE | b3sum` gives the last line's hash. A cut export lacks that line.

mod journal;
mod lines;
mod verify;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use warifu_client_sdk::store::StoreError;
use warifu_consensus::{
    agree::Erasure,
    block::{Sealed, SealedError},
    chain::ChainError,
    party::{Ledger, Sub},
};

pub use journal::{JournalBlocks, MAX_ENTRY};
pub(crate) use journal::{has_segments, segment_sizes};
pub use lines::{ExportBlocks, ExportError, ExportWriter};
pub use verify::{AccountSummary, Verified, Verifier, verify};

/// Where chains are read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// An export file.
    Export(PathBuf),
    /// A data directory with a journal in it.
    Journal(PathBuf),
}

impl Source {
    /// Tells a file from a directory. A node's directory stands for its data directory.
    ///
    /// # Errors
    /// [`WalkError::Input`] when there is no such file or directory, or no journal in it.
    pub fn find(path: &Path) -> Result<Source, WalkError> {
        let refuse = |reason: String| WalkError::Input {
            path: path.to_path_buf(),
            reason,
        };
        let metadata = path.metadata().map_err(|error| refuse(error.to_string()))?;
        if !metadata.is_dir() {
            return Ok(Source::Export(path.to_path_buf()));
        }
        if path.join("journal").is_dir() {
            return Ok(Source::Journal(path.to_path_buf()));
        }
        if !path.join(crate::config::FILE_NAME).is_file() {
            return Err(refuse(
                "no journal in this directory, expected one".to_owned(),
            ));
        }
        let config =
            crate::config::Config::load(path).map_err(|error| refuse(error.to_string()))?;
        Ok(Source::Journal(config.node.data))
    }

    /// Opens the walk over all sealed blocks.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn blocks(&self) -> Result<Blocks, WalkError> {
        match self {
            Source::Export(path) => {
                ExportBlocks::open(path).map(|blocks| Blocks::Export(Box::new(blocks)))
            }
            Source::Journal(path) => {
                JournalBlocks::open(path).map(|blocks| Blocks::Journal(Box::new(blocks)))
            }
        }
    }
}

/// A walk over sealed blocks in the order in which they were written; ends after the first error.
/// Nothing is verified but the framing: see [`Verifier`].
#[derive(Debug)]
pub enum Blocks {
    /// Of an export file.
    Export(Box<ExportBlocks>),
    /// Of a journal.
    Journal(Box<JournalBlocks>),
}

impl Blocks {
    /// The ledger's origin, as the source claims it.
    #[must_use]
    pub fn iss(&self) -> &str {
        match self {
            Blocks::Export(blocks) => blocks.iss(),
            Blocks::Journal(blocks) => blocks.iss(),
        }
    }

    /// How far the walk is: bytes done and bytes in total.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        match self {
            Blocks::Export(blocks) => blocks.progress(),
            Blocks::Journal(blocks) => blocks.progress(),
        }
    }

    /// The tombstones that were met so far, of each account all that differ; not verified. An export has none.
    #[must_use]
    pub fn tombstones(&self) -> &BTreeMap<Sub, Vec<Erasure>> {
        static NONE: BTreeMap<Sub, Vec<Erasure>> = BTreeMap::new();
        match self {
            Blocks::Export(_) => &NONE,
            Blocks::Journal(blocks) => blocks.tombstones(),
        }
    }
}

impl Iterator for Blocks {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Blocks::Export(blocks) => blocks.next(),
            Blocks::Journal(blocks) => blocks.next(),
        }
    }
}

/// A sealed block and where it stands.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it stands.
    pub place: Place,
    /// The block.
    pub sealed: Sealed,
    /// The account whose stream holds it; `None` in an export.
    pub stream: Option<Sub>,
    /// Kept by the node as evidence of a second block at one height (protocol rule 9).
    pub is_conflict: bool,
    /// It stands behind a tombstone of its account, where nothing may stand (protocol rule 11).
    pub is_behind_tombstone: bool,
}

/// Where something stands in a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// A line of an export, from 1.
    Line(u64),
    /// A record of a journal: its segment from 1, and its byte offset there.
    Record {
        /// Segment number.
        segment: u64,
        /// Byte offset of the record.
        offset: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Record { segment, offset } => write!(f, "segment {segment}, byte {offset}"),
        }
    }
}

/// Why a walk stopped.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// There is nothing to read.
    #[error("{}: {reason}", .path.display())]
    Input {
        /// The path that was given.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// The operating system refused.
    #[error("could not read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A line that should be a sealed block is none.
    #[error("{place}: {fault}")]
    Block {
        /// Where.
        place: Place,
        /// What is wrong.
        fault: SealedError,
    },
    /// A line of an export is not what its place asks for.
    #[error("line {line}: {fault}")]
    Export {
        /// Line from 1.
        line: u64,
        /// What is wrong.
        fault: ExportError,
    },
    /// The journal is damaged.
    #[error(transparent)]
    Journal(#[from] StoreError),
    /// The journal ends in the middle of a record.
    #[error(
        "journal ends in {bytes} bytes of an incomplete record: written to by a live node, cut off, or changed"
    )]
    Torn {
        /// Bytes after the last whole record.
        bytes: u64,
    },
    /// A journal's entry is no record of an account.
    #[error("{place}: entry of account {stream} is no record: {reason}")]
    Record {
        /// Where.
        place: Place,
        /// The stream that holds it.
        stream: Sub,
        /// What the decoder met.
        reason: String,
    },
}

/// Chains were read and do not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The source could not be walked to its end; `after` is the last good block before.
    #[error("{fault}{}", after_text(.after))]
    Walk {
        /// Account and height of the last good block.
        after: Option<(Sub, u64)>,
        /// What is wrong.
        fault: WalkError,
    },
    /// A block is not the next one of its account.
    #[error("{place}: {fault}")]
    Chain {
        /// Where it stands.
        place: Place,
        /// Account, height and what is wrong.
        fault: Box<ChainError>,
    },
    /// The node holds evidence of two sealed blocks at one height.
    #[error(
        "{place}: account {account}, block at height {height}: a second block is sealed at this height"
    )]
    Conflict {
        /// Where.
        place: Place,
        /// The account.
        account: Sub,
        /// The height.
        height: u64,
    },
    /// A tombstone is not the broker's, or not behind the account's last block.
    #[error("account {account}: its tombstone {reason}")]
    Tombstone {
        /// The account.
        account: Sub,
        /// What is wrong.
        reason: String,
    },
    /// A block lies in another account's stream.
    #[error("{place}: block of account {found} lies in the stream of {expected}")]
    Stream {
        /// Where.
        place: Place,
        /// The block's account.
        found: Sub,
        /// The stream's.
        expected: Sub,
    },
    /// The source belongs to another ledger.
    #[error("source has iss {found}, expected {expected}")]
    Iss {
        /// Found.
        found: String,
        /// The verifier's.
        expected: String,
    },
}

fn after_text(after: &Option<(Sub, u64)>) -> String {
    after.map_or_else(
        || ", before any good block".to_owned(),
        |(sub, height)| format!(", after the good block of account {sub} at height {height}"),
    )
}

impl VerifyError {
    /// Whether there was nothing to verify, rather than something that failed.
    #[must_use]
    pub const fn is_input(&self) -> bool {
        matches!(
            self,
            VerifyError::Walk {
                fault: WalkError::Input { .. },
                ..
            }
        )
    }
}

/// Whether a source's origin is the verifier's.
fn require_iss(ledger: &Ledger, found: &str) -> Result<(), VerifyError> {
    if found == ledger.iss {
        return Ok(());
    }
    Err(VerifyError::Iss {
        found: found.to_owned(),
        expected: ledger.iss.clone(),
    })
}
