//! What a witness answers to a log that shows it a larger checkpoint (C2SP tlog-witness, `add-checkpoint`).
//!
//! Decides the answer from what the witness last signed; who persists it, and cosigns, does so in one step
//! with this decision. Never signs, and never looks at leaves: the trust operator does that before.

use core::{fmt, str::FromStr};

use base64ct::{Base64, Encoding};

use super::{
    checkpoint::{Checkpoint, CheckpointError},
    note::{NoteError, NoteKey, SignedNote},
    proof::{decimal, hash},
    tree::{Digest, TreeError, verify_consistency},
};

/// The most hashes of a consistency proof that are read.
const MAX_HASHES: usize = 63;

/// A request: from which size on, the consistency proof, and the new checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the log believes the witness has.
    pub old: u64,
    /// From that size to the checkpoint's.
    pub proof: Vec<Digest>,
    /// The checkpoint, signed by the log.
    pub checkpoint: SignedNote,
}

/// The body is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an add-checkpoint request: line {line} is no {expected}")]
pub struct AddError {
    /// The line, counted from 1.
    pub line: usize,
    /// What should stand there.
    pub expected: &'static str,
}

/// The witness's answer, each with the specification's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: persist this as the last, then cosign it.
    Cosign(Checkpoint),
    /// 400: malformed, or `old` is larger than the checkpoint.
    Malformed(String),
    /// 403: the log's signature is missing or fails.
    Untrusted(NoteError),
    /// 404: a log that this witness does not know.
    UnknownLog {
        /// The checkpoint's origin.
        origin: String,
    },
    /// 409: the witness has another size than `old`; the body is that size.
    OtherSize(u64),
    /// 422: the proof does not lead from the witness's checkpoint to this one.
    Unproven(TreeError),
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Cosign(_) => 200,
            Self::Malformed(_) => 400,
            Self::Untrusted(_) => 403,
            Self::UnknownLog { .. } => 404,
            Self::OtherSize(_) => 409,
            Self::Unproven(_) => 422,
        }
    }
}

impl AddCheckpoint {
    /// Decides, given what the witness last signed of this log: its size and root, or nothing yet.
    #[must_use]
    pub fn answer(&self, log: &NoteKey, last: Option<(u64, Digest)>) -> Answer {
        let checkpoint = match Checkpoint::open(&self.checkpoint, log) {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointError::Foreign { found, .. }) => {
                return Answer::UnknownLog { origin: found };
            }
            Err(CheckpointError::Note(error)) => return Answer::Untrusted(error),
            Err(error) => return Answer::Malformed(error.to_string()),
        };
        let (old, new) = (self.old, checkpoint.size);
        if old > new {
            return Answer::Malformed(format!(
                "old is {old}, expected at most the checkpoint's {new}"
            ));
        }
        let (size, root) = last.unwrap_or((0, super::EMPTY_ROOT));
        if old != size {
            return Answer::OtherSize(size);
        }
        match verify_consistency(old, new, &self.proof, &root, &checkpoint.root) {
            Ok(()) => Answer::Cosign(checkpoint),
            Err(error) => Answer::Unproven(error),
        }
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", Base64::encode_string(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for AddCheckpoint {
    type Err = AddError;

    fn from_str(text: &str) -> Result<Self, AddError> {
        let wrong = |line, expected| AddError { line, expected };
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(wrong(1, "request with a checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(decimal).ok_or(wrong(1, "old size"))?;
        let proof: Vec<Digest> = (2..)
            .zip(lines)
            .map(|(at, line)| hash(line).ok_or(wrong(at, "hash of 32 bytes in base64")))
            .collect::<Result<_, _>>()?;
        if proof.len() > MAX_HASHES {
            return Err(wrong(2 + MAX_HASHES, "end of the proof"));
        }
        let line = proof.len() + 3;
        let checkpoint = SignedNote::parse(note.as_bytes());
        let checkpoint = checkpoint.map_err(|_| wrong(line, "signed note"))?;
        Ok(Self {
            old,
            proof,
            checkpoint,
        })
    }
}
