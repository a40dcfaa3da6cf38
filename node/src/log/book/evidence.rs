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
        let first = note.reduced(&self.keys);
        let is_cosigned = Checkpoint::cosigned(&first, &self.keys.witness).is_ok();
        let evidence = Evidence {
            log: self.keys.log.clone(),
            witness: self.keys.witness.clone(),
            first,
            second: own.reduced(&self.keys),
            begins: self.root_of(theirs.size)?,
            proof: self.consistency(theirs.size, state.size)?,
        };
        let root = Base64Url::encode_string(&theirs.root);
        let dir = self.files.dir().join("evidence");
        let path = dir.join(format!(
            "{}-{}{}.json",
            theirs.size,
            root.get(..16).unwrap_or_default(),
            if is_cosigned { "-both" } else { "" }
        ));
        let unkept = |reason: String| {
            let path = path.clone();
            LogError::Evidence { path, reason }
        };
        let text = evidence.to_text().map_err(|e| unkept(e.to_string()))?;
        // What is judged is what a judge will read.
        let read = Evidence::from_text(&text).map_err(|e| unkept(e.to_string()))?;
        if read.judge().is_err() {
            // Own files may have decayed since they were written: nothing is called evidence that a judge would not take.
            let size = theirs.size;
            return Err(LogError::Rotten { size });
        }
        if self.shows_a_fork(&path) {
            // Shown again: it is kept already, and said.
            return Ok(Some(path));
        }
        std::fs::create_dir_all(&dir).map_err(failed(&dir, "make a place for evidence among"))?;
        let kept = kept_evidence(&dir).map_err(failed(&dir, "list the evidence in"))?;
        let most = if is_cosigned {
            2 * MOST_KEPT
        } else {
            MOST_KEPT
        };
        // One that shows nothing is replaced, however many there are.
        if kept >= most && !path.exists() {
            tracing::debug!(
                size = theirs.size,
                "the log is forked again: enough evidence is kept"
            );
            return Ok(None);
        }
        secrets::replace(&path, text.as_bytes(), 0o644).map_err(|e| unkept(e.to_string()))?;
        counts::log_fork();
        tracing::error!(file = %path.display(), size = theirs.size,
            "the log is forked: two checkpoints that can't be of one log are kept as evidence");
        Ok(Some(path))
    }

    /// Whether a file is there and a judge who pins this log's keys takes it.
    fn shows_a_fork(&self, path: &Path) -> bool {
        let read = std::fs::read_to_string(path).ok();
        let read = read.and_then(|text| Evidence::from_text(&text).ok());
        read.is_some_and(|read| {
            let of_this_log = (&read.log, &read.witness) == (&self.keys.log, &self.keys.witness);
            of_this_log && read.judge().is_ok()
        })
    }
}
