//! What shows that a log was forked: two signed checkpoints that can't be of one log, in one file.
//!
//! Self-contained and checked offline, by whoever has the file: the keys, both notes, and the consistency proof in the
//! larger tree. That proof shows with which root the larger tree begins; where it is another one than the smaller
//! checkpoint's, no log has both. Whoever signed both is named.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::encoding::LOG_EVIDENCE_FORMAT;

use super::{
    checkpoint::{Checkpoint, CheckpointError},
    note::{NoteError, NoteKey, SignedNote},
    proof::hash,
    tree::{Digest, TreeError, verify_consistency},
};

/// The longest file in bytes: two notes of the longest kind and a proof of 63 hashes are below it.
pub const MAX_EVIDENCE: usize = 64 * 1024;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The log's key.
    pub log: NoteKey,
    /// The witness's key.
    pub witness: NoteKey,
    /// The smaller one, or either.
    pub first: SignedNote,
    /// The larger one.
    pub second: SignedNote,
    /// The root of as many leaves of the second's tree as the first has.
    pub begins: Digest,
    /// The consistency proof (RFC 6962 §2.1.2) from that root to the second's; empty for equal sizes.
    pub proof: Vec<Digest>,
}

/// What the file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Leaves of the smaller tree.
    pub size: u64,
    /// The smaller checkpoint's root.
    pub first: Digest,
    /// The root of as many leaves in the larger checkpoint's tree.
    pub second: Digest,
    /// The witness signed both too: it is as much at fault as the log.
    pub witness_too: bool,
}

/// Why a file shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Not evidence's text.
    #[error("not a file of evidence: {0}")]
    Form(String),
    /// A checkpoint in it is none, or the log did not sign it.
    #[error("the {which} checkpoint: {error}")]
    Checkpoint {
        /// "first" or "second".
        which: &'static str,
        /// Found and expected.
        error: CheckpointError,
    },
    /// The proof is none of the second checkpoint.
    #[error("the proof does not fit the second checkpoint: {0}")]
    Proof(TreeError),
    /// Both can be of one log.
    #[error("both checkpoints are of one log: at {size} leaves the roots are equal")]
    Consistent {
        /// Leaves.
        size: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    log: String,
    witness: String,
    first: String,
    second: String,
    begins: String,
    proof: Vec<String>,
}

impl Evidence {
    /// Its text: JSON.
    ///
    /// # Errors
    /// [`EvidenceError::Form`], which no evidence causes.
    pub fn to_text(&self) -> Result<String, EvidenceError> {
        let text = Text {
            format: LOG_EVIDENCE_FORMAT.to_owned(),
            log: self.log.to_string(),
            witness: self.witness.to_string(),
            first: self.first.to_string(),
            second: self.second.to_string(),
            begins: Base64::encode_string(&self.begins),
            proof: self
                .proof
                .iter()
                .map(|hash| Base64::encode_string(hash))
                .collect(),
        };
        serde_json::to_string_pretty(&text).map_err(|error| EvidenceError::Form(error.to_string()))
    }

    /// Reads a text of at most [`MAX_EVIDENCE`] bytes.
    ///
    /// # Errors
    /// [`EvidenceError::Form`].
    pub fn from_text(text: &str) -> Result<Self, EvidenceError> {
        let form = |what: &str, error: &dyn std::fmt::Display| {
            EvidenceError::Form(format!("{what}: {error}"))
        };
        if text.len() > MAX_EVIDENCE {
            let found = text.len();
            return Err(EvidenceError::Form(format!(
                "{found} bytes, expected at most {MAX_EVIDENCE}"
            )));
        }
        let read: Text = serde_json::from_str(text).map_err(|e| form("JSON", &e))?;
        if read.format != LOG_EVIDENCE_FORMAT {
            return Err(EvidenceError::Form(format!(
                "not of format {LOG_EVIDENCE_FORMAT}"
            )));
        }
        let note = |text: &str, what| {
            SignedNote::parse(text.as_bytes()).map_err(|error: NoteError| form(what, &error))
        };
        let no_hash = || EvidenceError::Form("a hash is not 32 bytes of base64".to_owned());
        let proof = read.proof.iter().map(|text| hash(text).ok_or_else(no_hash));
        Ok(Self {
            log: read.log.parse().map_err(|e| form("log key", &e))?,
            witness: read.witness.parse().map_err(|e| form("witness key", &e))?,
            first: note(&read.first, "first checkpoint")?,
            second: note(&read.second, "second checkpoint")?,
            begins: hash(&read.begins).ok_or_else(no_hash)?,
            proof: proof.collect::<Result<_, _>>()?,
        })
    }

    /// Whether it shows a fork, by the keys in it: whoever reads it compares those with the ones that it pins.
    ///
    /// # Errors
    /// [`EvidenceError`]: what it lacks.
    pub fn judge(&self) -> Result<Fork, EvidenceError> {
        let open = |note: &SignedNote, which| {
            Checkpoint::open(note, &self.log)
                .map_err(|error| EvidenceError::Checkpoint { which, error })
        };
        let first = open(&self.first, "first")?;
        let second = open(&self.second, "second")?;
        let (old, new) = (first.size, second.size);
        verify_consistency(old, new, &self.proof, &self.begins, &second.root)
            .map_err(EvidenceError::Proof)?;
        if self.begins == first.root {
            return Err(EvidenceError::Consistent { size: first.size });
        }
        let cosigned = |note| Checkpoint::cosigned(note, &self.witness).is_ok();
        Ok(Fork {
            size: first.size,
            first: first.root,
            second: self.begins,
            witness_too: cosigned(&self.first) && cosigned(&self.second),
        })
    }
}
