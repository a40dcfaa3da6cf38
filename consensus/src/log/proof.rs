//! A proof that a block is in the log (C2SP tlog-proof): verifiable offline, in one call.

use core::{fmt, str::FromStr};

use base64ct::{Base64, Encoding};

use super::{
    checkpoint::{Checkpoint, CheckpointError, Cosignature},
    note::{NoteError, NoteKey, SignedNote},
    opening::Opening,
    tree::{Digest, TreeError, leaf_hash, verify_inclusion},
};
use crate::encoding::Hash;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A path has at most as many hashes as a size has bits.
const MAX_HASHES: usize = 64;

/// Why a proof is none, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not a proof's text.
    #[error("proof's line {line} is no {expected}")]
    Form {
        /// The line, counted from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The checkpoint in it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The witness's line on the checkpoint.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The path in it.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Where a leaf is in a log, the path from it to the root, and the signed checkpoint with that root. With the
/// opening (the format's `extra`) it shows which block the leaf is.
#[derive(Clone, Debug)]
pub struct LogProof {
    /// 32 bytes: the key of the leaf's MAC.
    pub opening: Opening,
    /// The leaf's index, from 0.
    pub index: u64,
    /// Siblings from the leaf to the root.
    pub path: Vec<Digest>,
    /// The checkpoint, signed by the log and its witnesses.
    pub checkpoint: SignedNote,
}

impl LogProof {
    /// Checks that the log held this block when both signed: the leaf is the block's, it is in the tree, and
    /// the tree's root is what log and witness signed.
    ///
    /// # Errors
    /// [`ProofError`] naming what does not hold.
    pub fn verify(
        &self,
        block: &Hash,
        log: &NoteKey,
        witness: &NoteKey,
    ) -> Result<(Checkpoint, Cosignature), ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, log)?;
        let cosignature = Checkpoint::cosigned(&self.checkpoint, witness)?;
        let leaf = leaf_hash(&self.opening.leaf(block).0);
        verify_inclusion(
            &leaf,
            self.index,
            checkpoint.size,
            &self.path,
            &checkpoint.root,
        )?;
        Ok((checkpoint, cosignature))
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra = Base64::encode_string(self.opening.as_bytes());
        writeln!(f, "{HEADER}\nextra {extra}\nindex {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", Base64::encode_string(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for LogProof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let form = |line, expected| ProofError::Form { line, expected };
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(form(1, "proof with a checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(form(1, HEADER));
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
        let opening = extra
            .and_then(hash)
            .ok_or(form(2, "opening of 32 bytes in base64"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(decimal).ok_or(form(3, "index"))?;
        let path: Vec<Digest> = (4..)
            .zip(lines)
            .map(|(at, line)| hash(line).ok_or(form(at, "hash of 32 bytes in base64")))
            .collect::<Result<_, _>>()?;
        if path.len() > MAX_HASHES {
            return Err(form(4 + MAX_HASHES, "end of the path"));
        }
        let checkpoint = SignedNote::parse(note.as_bytes())?;
        let opening = Opening::from_bytes(opening);
        Ok(Self {
            opening,
            index,
            path,
            checkpoint,
        })
    }
}

/// A hash's only text: 44 characters of base64.
pub(super) fn hash(text: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    let decoded = Base64::decode(text, &mut bytes).ok()?;
    (decoded.len() == 32).then_some(bytes)
}

/// A number's only text.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == text)
}
