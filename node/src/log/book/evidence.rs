//! Keeping what shows a fork.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use base64ct::{Base64Url, Encoding};
use warifu_client_sdk::store::Store;
use warifu_consensus::log::{Checkpoint, Evidence, SignedNote};

use super::{LogBook, failed};
use crate::{log::LogError, observe::counts, secrets};

/// Files of evidence that are kept: the first convicts, and whoever holds the other's key could make them without end.
/// As many again are kept of notes that both signed, which convict both.
const MOST_KEPT: usize = 64;

/// How many files of evidence lie in this directory.
///
/// # Errors
/// It is there, and can't be listed.
pub(crate) fn kept_evidence(dir: &Path) -> io::Result<usize> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        listed => {
            let names = listed?.flatten().map(|entry| entry.path());
            Ok(names
                .filter(|path| path.extension() == Some(OsStr::new("json")))
                .count())
        }
    }
}

impl<S: Store> LogBook<S> {
    /// Keeps another's checkpoint that can't be of this log, beside this log's own and the proof between them, in a file
    /// of its own: `evidence/SIZE-ROOT.json` beside the leaves, `SIZE-ROOT-both.json` if both signed it.
    /// `None` if this log has signed nothing as large yet, or if enough are kept.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn keep_evidence(
        &self,
        theirs: &Checkpoint,
        note: &SignedNote,
    ) -> Result<Option<PathBuf>, LogError> {
        let state = self.state();
        let Some(own) = state.note.filter(|_| theirs.size <= state.size) else {
            return Ok(None);
        };
        let evidence = Evidence {
            log: self.keys.log.clone(),
            witness: self.keys.witness.clone(),
            first: note.clone(),
            second: own,
            begins: self.root_of(theirs.size)?,
            proof: self.consistency(theirs.size, state.size)?,
        };
        // Own files may have decayed since they were written: nothing is called evidence that a judge would not take.
        if evidence.judge().is_err() {
            let size = theirs.size;
            return Err(LogError::Rotten { size });
        }
        let text = evidence
            .to_text()
            .map_err(|error| LogError::Peer(error.to_string()))?;
        let root = Base64Url::encode_string(&theirs.root);
        let is_cosigned = Checkpoint::cosigned(note, &self.keys.witness).is_ok();
        let dir = self.files.dir().join("evidence");
        std::fs::create_dir_all(&dir).map_err(failed(&dir, "make a place for evidence among"))?;
        let path = dir.join(format!(
            "{}-{}{}.json",
            theirs.size,
            root.get(..16).unwrap_or_default(),
            if is_cosigned { "-both" } else { "" }
        ));
        if path.exists() {
            // Shown again: it is kept already, and said.
            return Ok(Some(path));
        }
        let kept = kept_evidence(&dir).map_err(failed(&dir, "list the evidence in"))?;
        let most = if is_cosigned {
            2 * MOST_KEPT
        } else {
            MOST_KEPT
        };
        if kept >= most {
            tracing::debug!(
                size = theirs.size,
                "the log is forked again: enough evidence is kept"
            );
            return Ok(None);
        }
        secrets::replace(&path, text.as_bytes(), 0o644).map_err(|error| LogError::Evidence {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        counts::log_fork();
        tracing::error!(file = %path.display(), size = theirs.size,
            "the log is forked: two checkpoints that can't be of one log are kept as evidence");
        Ok(Some(path))
    }
}
