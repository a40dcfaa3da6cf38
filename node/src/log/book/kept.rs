//! What a start finds beside the leaves: the last checkpoint that both operators signed, before anything is written over it.

use std::{fs, io, path::Path};

use warifu_client_sdk::store::Store;
use warifu_consensus::log::{Checkpoint, SignedNote};

use super::{CHECKPOINT_FILE, LogBook, failed};
use crate::{log::LogError, secrets};

/// A checkpoint that both signed and that the journal does not have, set aside by a start: it shows a rollback, and is looked at
/// by each start until the log has it, or is shown to be forked.
pub(crate) const AHEAD_FILE: &str = "checkpoint.ahead";

/// How a checkpoint that both signed stands to the journal's log.
enum Stands {
    /// It is of this log's past.
    Past,
    /// It is of another log, which is kept as evidence.
    Forked,
    /// It is larger than this log, or of another one that could not be kept as evidence.
    Unknown,
}

impl<S: Store> LogBook<S> {
    /// The note in the file of the last checkpoint, if both signed it and it is of this log's past. One that both signed and that
    /// this log does not have is kept: as evidence, or aside.
    pub(super) fn kept_checkpoint(&self) -> Result<Option<SignedNote>, LogError> {
        let dir = self.files.dir();
        let aside = dir.join(AHEAD_FILE);
        let earlier = self.read_cosigned(&aside)?;
        if let Some((checkpoint, note)) = &earlier
            && !matches!(self.stands(checkpoint, note), Stands::Unknown)
        {
            fs::remove_file(&aside).map_err(failed(&aside, "remove"))?;
        }
        let path = dir.join(CHECKPOINT_FILE);
        let Some((checkpoint, note)) = self.read_cosigned(&path)? else {
            return Ok(None);
        };
        match self.stands(&checkpoint, &note) {
            Stands::Past => return Ok(Some(note)),
            Stands::Forked => {}
            Stands::Unknown => {
                // The first shows it: what comes after it is written over by the operators' line.
                if !aside.exists() || earlier.is_none() {
                    let text = note.to_string();
                    let kept = secrets::replace(&aside, text.as_bytes(), 0o644);
                    kept.map_err(|error| LogError::Evidence {
                        path: aside.clone(),
                        reason: error.to_string(),
                    })?;
                }
                tracing::warn!(file = %aside.display(), signed = checkpoint.size, size = self.state().size,
                    "both operators signed a checkpoint that this journal does not have: rolled back, or restored from an older copy; it is set aside");
            }
        }
        Ok(None)
    }

    /// The checkpoint in a file, if both signed it; what is none is told, and left.
    fn read_cosigned(&self, path: &Path) -> Result<Option<(Checkpoint, SignedNote)>, LogError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(failed(path, "read"))?,
        };
        let read = || {
            let note = SignedNote::parse(&bytes)?;
            let checkpoint = Checkpoint::open(&note, &self.keys.log)?;
            Checkpoint::cosigned(&note, &self.keys.witness)?;
            Ok::<_, LogError>((checkpoint, note))
        };
        Ok(read()
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "a file is no checkpoint that both signed: it is left aside");
            })
            .ok())
    }

    fn stands(&self, checkpoint: &Checkpoint, note: &SignedNote) -> Stands {
        if checkpoint.size > self.state().size {
            return Stands::Unknown;
        }
        let shown = self.root_of(checkpoint.size).and_then(|root| {
            if root == checkpoint.root {
                return Ok(Stands::Past);
            }
            let kept = self.keep_evidence(checkpoint, note)?;
            Ok(kept.map_or(Stands::Unknown, |_| Stands::Forked))
        });
        shown.unwrap_or_else(|error| {
            tracing::warn!(%error, size = checkpoint.size, "a checkpoint that both signed was not compared with the log");
            Stands::Unknown
        })
    }
}
