//! What this device saw of the ledger's log: the largest checkpoint, in the place of the one before.
//!
//! Broker and trust operator can show one log to this customer and another to an auditor only for as long as nobody
//! remembers. So a device remembers: it refuses a smaller checkpoint, and one that does not grow from the one it saw. Two of
//! one size with two roots are a fork, for good: it approves nothing any more, since the two who would seal were caught, and
//! says so. A proof that does not hold shows less, a broker's rotten disk does that too: it approves nothing until one holds.
//! Either stop counts before its file is written, whether or not the disk takes that, and stands after a start by its file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::sync::Mutex;
use warifu_consensus::log::{
    Checkpoint, CheckpointError, Digest, Evidence, LogKeys, NoteError, SignedNote,
    verify_consistency,
};
use warifu_consensus::party::Sub;

use crate::{
    runtime::{Keeper, KeeperError},
    store::{Disk, Store, StoreError},
};

/// The file that a fork is kept in, in the device's directory.
const EVIDENCE_FILE: &str = "log-evidence.json";

/// The file that two checkpoints are kept in of which nobody showed that one grows from the other.
const UNPROVEN_FILE: &str = "log-unproven.json";

/// What is wrong with a checkpoint that the broker showed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogTrouble {
    /// Not signed by both, or not of this ledger.
    #[error("the broker shows a checkpoint that does not count: {0}")]
    Checkpoint(String),
    /// Smaller than one that was seen: the broker is a restored copy, or hides something.
    #[error("the broker shows a log of {found} blocks, this device saw one of {seen}")]
    Shrunk {
        /// Leaves shown.
        found: u64,
        /// Leaves seen.
        seen: u64,
    },
    /// Another log than the one that was seen: two roots of one size, both signed by both.
    #[error(
        "the ledger's log was forked: what the broker shows at {found} blocks is not what this device saw there"
    )]
    Forked {
        /// Leaves shown and seen.
        found: u64,
    },
    /// A proof of growth that does not hold: another log, or a broker that makes bad proofs.
    #[error(
        "the broker does not show that the log of {found} blocks grows from the one of {seen} that this device saw"
    )]
    Unproven {
        /// Leaves shown.
        found: u64,
        /// Leaves seen.
        seen: u64,
    },
}

/// What became of a checkpoint that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the largest, or nobody asked for it.
    Done,
    /// Another account's line brought a larger one meanwhile, to which this proof does not lead.
    AskAgain,
}

/// Why nothing is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A fork was kept, now or in an earlier run.
    Forked,
    /// The last proof of growth did not hold.
    Unproven,
}

impl From<CheckpointError> for LogTrouble {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

impl From<NoteError> for LogTrouble {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

/// See the module.
pub(super) struct Seen {
    keys: LogKeys,
    dir: PathBuf,
    last: Mutex<Last>,
    forked: AtomicBool,
    unproven: AtomicBool,
}

#[derive(Default)]
struct Last {
    /// The largest that was seen.
    seen: Option<(Checkpoint, SignedNote)>,
    /// From which size each account's line was asked to prove the log's growth: what its answer begins with.
    asked: HashMap<Sub, u64>,
    /// Both notes of a fork that the disk did not take yet.
    owed: Option<Evidence>,
}

impl Seen {
    /// As it was kept.
    ///
    /// # Errors
    /// [`KeeperError::Seen`] if what is remembered does not count under these keys: it is not forgotten.
    /// [`KeeperError::Store`].
    pub(super) fn open<S: Store>(
        keeper: &Keeper<S>,
        dir: &Path,
        keys: LogKeys,
    ) -> Result<Self, KeeperError> {
        let kept = keeper.seen()?;
        let kept = kept.map(|bytes| SignedNote::parse(&bytes).map_err(LogTrouble::from));
        let last = kept.map(|note| note.and_then(|note| counted(&note, &keys)));
        let last = last.transpose().map_err(|trouble| KeeperError::Seen {
            vault: dir.join("vault"),
            reason: match trouble {
                LogTrouble::Checkpoint(reason) => reason,
                other => other.to_string(),
            },
        })?;
        let is_there = |name| {
            let path = dir.join(name);
            path.try_exists().map_err(StoreError::io("examine", &path))
        };
        Ok(Self {
            keys,
            dir: dir.to_path_buf(),
            forked: AtomicBool::new(is_there(EVIDENCE_FILE)?),
            unproven: AtomicBool::new(is_there(UNPROVEN_FILE)?),
            last: Mutex::new(Last {
                seen: last,
                ..Last::default()
            }),
        })
    }

    /// The size of the largest that was seen, 0 before any: what an account's broker is asked to prove growth from.
    pub(super) async fn ask(&self, sub: &Sub) -> u64 {
        let mut last = self.last.lock().await;
        if let Some(evidence) = last.owed.take() {
            self.keep_fork(&mut last, evidence);
        }
        let size = last.seen.as_ref().map_or(0, |(seen, _)| seen.size);
        last.asked.insert(*sub, size);
        size
    }

    /// The largest that was seen.
    pub(super) async fn checkpoint(&self) -> Option<Checkpoint> {
        let last = self.last.lock().await;
        last.seen.as_ref().map(|(checkpoint, _)| checkpoint.clone())
    }

    /// Why nothing is approved, if nothing is.
    pub(super) fn stops(&self) -> Option<Stop> {
        if self.forked.load(Ordering::Relaxed) {
            return Some(Stop::Forked);
        }
        let unproven = self.unproven.load(Ordering::Relaxed);
        unproven.then_some(Stop::Unproven)
    }

    /// Takes a larger checkpoint that an account's broker showed, durably, or says what is wrong with it.
    ///
    /// # Errors
    /// [`KeeperError::Store`]: it is not taken, or the file of a proof that did not hold is still there and stops.
    pub(super) async fn hear<S: Store>(
        &self,
        keeper: &Keeper<S>,
        sub: &Sub,
        proof: &[Digest],
        note: &str,
    ) -> Result<Result<Heard, LogTrouble>, KeeperError> {
        let mut last = self.last.lock().await;
        let Some(asked) = last.asked.remove(sub) else {
            return Ok(Ok(Heard::Done));
        };
        let (checkpoint, note) = match self.read(note) {
            Ok(read) => read,
            Err(trouble) => return Ok(Err(trouble)),
        };
        if let Some((seen, seen_note)) = &last.seen {
            let (found, seen_size) = (checkpoint.size, seen.size);
            if found == seen_size && checkpoint.root != seen.root {
                self.forked.store(true, Ordering::Relaxed);
                let evidence = self.evidence(&checkpoint, seen_note, &note);
                self.keep_fork(&mut last, evidence);
                return Ok(Err(LogTrouble::Forked { found }));
            }
            if asked != seen_size {
                return Ok(Ok(Heard::AskAgain));
            }
            if found < seen_size {
                return Ok(Err(LogTrouble::Shrunk {
                    found,
                    seen: seen_size,
                }));
            }
            if verify_consistency(seen_size, found, proof, &seen.root, &checkpoint.root).is_err() {
                self.unproven.store(true, Ordering::Relaxed);
                let unproven = self.evidence(&checkpoint, seen_note, &note);
                told(UNPROVEN_FILE, &self.keep(UNPROVEN_FILE, &unproven));
                let seen = seen_size;
                return Ok(Err(LogTrouble::Unproven { found, seen }));
            }
            self.proven()?;
            if found == seen_size {
                return Ok(Ok(Heard::Done));
            }
        }
        keeper.keep_seen(note.to_string().as_bytes()).await?;
        last.seen = Some((checkpoint, note));
        Ok(Ok(Heard::Done))
    }

    fn read(&self, note: &str) -> Result<(Checkpoint, SignedNote), LogTrouble> {
        counted(&SignedNote::parse(note.as_bytes())?, &self.keys)
    }

    /// A proof held: what did not is forgotten, its file before the stop.
    fn proven(&self) -> Result<(), StoreError> {
        if self.unproven.load(Ordering::Relaxed) {
            let path = self.dir.join(UNPROVEN_FILE);
            if path
                .try_exists()
                .map_err(StoreError::io("examine", &path))?
            {
                Disk::default().remove(&path)?;
                Disk::default().sync_directory(&self.dir)?;
            }
            self.unproven.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Both notes, for whoever judges; of one size they show the fork by themselves.
    fn evidence(&self, second: &Checkpoint, seen: &SignedNote, shown: &SignedNote) -> Evidence {
        Evidence {
            log: self.keys.log.clone(),
            witness: self.keys.witness.clone(),
            first: seen.clone(),
            second: shown.clone(),
            begins: second.root,
            proof: Vec::new(),
        }
    }

    /// A fork that the disk does not take is owed until it does.
    fn keep_fork(&self, last: &mut Last, evidence: Evidence) {
        let kept = self.keep(EVIDENCE_FILE, &evidence);
        told(EVIDENCE_FILE, &kept);
        last.owed = kept.is_err().then_some(evidence);
    }

    /// Durable, unless one is kept that shows as much.
    fn keep(&self, name: &str, evidence: &Evidence) -> Result<(), String> {
        let text = evidence.to_text().map_err(|error| error.to_string())?;
        let written = Evidence::from_text(&text).map_err(|error| error.to_string())?;
        let is_fork = written.judge().is_ok();
        let path = self.dir.join(name);
        let kept = std::fs::read_to_string(&path).ok();
        let kept = kept.and_then(|text| Evidence::from_text(&text).ok());
        if kept.is_some_and(|kept| !is_fork || kept.judge().is_ok()) {
            return Ok(());
        }
        self.write(&path, &text).map_err(|error| error.to_string())
    }

    /// Old or new after a crash, durable when it returns.
    fn write(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        let disk = Disk::default();
        let mut file = disk.create(&path.with_extension("tmp"))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        file.rename(path)?;
        disk.sync_directory(&self.dir)
    }
}

/// The checkpoint of a note that both signed, and the note with their two lines alone.
fn counted(note: &SignedNote, keys: &LogKeys) -> Result<(Checkpoint, SignedNote), LogTrouble> {
    let checkpoint = Checkpoint::open(note, &keys.log)?;
    Checkpoint::cosigned(note, &keys.witness)?;
    Ok((checkpoint, note.reduced(keys)))
}

fn told(file: &str, kept: &Result<(), String>) {
    if let Err(error) = kept {
        tracing::error!(%error, file, "two checkpoints were not kept: nothing is approved all the same");
    }
}

#[cfg(test)]
mod tests;
