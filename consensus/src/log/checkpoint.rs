//! Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log, as the text of a signed note.

use core::{fmt, str::FromStr};

use base64ct::{Base64, Encoding};

use super::{
    note::{LogKey, NoteError, NoteKey, SignedNote},
    tree::Digest,
};

/// Why a text is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not three lines, the last ended.
    #[error("checkpoint has {found} lines, expected 3: origin, size, root")]
    Lines {
        /// Lines found.
        found: usize,
    },
    /// No origin, or a character in it that a note can't carry.
    #[error("checkpoint has no origin")]
    Origin,
    /// Not a decimal number without leading zeros.
    #[error("checkpoint's size is {found:?}, expected a decimal number")]
    Size {
        /// At most 32 characters of the line.
        found: String,
    },
    /// Not 32 bytes of base64.
    #[error("checkpoint's root is not 32 bytes of base64")]
    Root,
    /// Of another log.
    #[error("checkpoint is of {found:?}, expected {expected:?}")]
    Foreign {
        /// Its origin.
        found: String,
        /// The log's.
        expected: String,
    },
    /// Not signed as it should be.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// What a log was at some time. Who signed it is the note's to tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The log's name, which is also its key's name.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// That a witness saw this checkpoint, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Seconds of Unix time by the witness's clock.
    pub time: u64,
}

impl Checkpoint {
    /// A note with this text and the log's signature.
    #[must_use]
    pub fn signed(&self, key: &LogKey) -> SignedNote {
        let mut note = SignedNote::new(self.to_string());
        note.sign(key, 0);
        note
    }

    /// The checkpoint of a note that this log's key signed, whoever signed it besides.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &SignedNote, log: &NoteKey) -> Result<Self, CheckpointError> {
        let checkpoint: Self = note.text().parse()?;
        if checkpoint.origin != log.name() {
            return Err(CheckpointError::Foreign {
                found: checkpoint.origin,
                expected: log.name().to_owned(),
            });
        }
        note.verify(log)?;
        Ok(checkpoint)
    }

    /// Checks a witness's cosignature on a note.
    ///
    /// # Errors
    /// [`NoteError::Missing`], [`NoteError::Signature`].
    pub fn cosigned(note: &SignedNote, witness: &NoteKey) -> Result<Cosignature, NoteError> {
        let time = note.verify(witness)?;
        time.map(|time| Cosignature { time })
            .ok_or_else(|| NoteError::Missing {
                name: witness.name().to_owned(),
            })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = Base64::encode_string(&self.root);
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let &[origin, size, root] = lines.as_slice() else {
            return Err(CheckpointError::Lines { found: lines.len() });
        };
        if origin.is_empty() {
            return Err(CheckpointError::Origin);
        }
        let number = size.parse::<u64>().ok().filter(|n| n.to_string() == size);
        let number = number.ok_or_else(|| CheckpointError::Size {
            found: size.chars().take(32).collect(),
        })?;
        let mut hash = [0; 32];
        let decoded = Base64::decode(root, &mut hash).map_err(|_| CheckpointError::Root)?;
        if decoded.len() != 32 || !text.ends_with('\n') {
            return Err(CheckpointError::Root);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: number,
            root: hash,
        })
    }
}
