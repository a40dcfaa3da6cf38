//! One account's blocks with all that is needed to verify them without the network: keys, votes, the log's checkpoint under
//! both signatures, and a proof for each block.
//!
//! UTF-8 lines, each ended by `\n`:
//! ```text
//! {"warifu":"ledger-bundle/1","iss":"…","broker":"…","trust_operator":"…","log":"…","witness":"…"}
//! {"checkpoint":"the signed note"}
//! the canonical JSON of a sealed block             (genesis first, then by height; two lines for each block)
//! {"proof":"C2SP tlog-proof"}                      (null for a block that is younger than the checkpoint)
//! {"blocks":N,"blake3":"64 hex digits of BLAKE3 over all bytes before this line"}
//! ```
//! Blocks may be left out, genesis never: a chain without gaps shows the account's status, one with gaps that each block was
//! agreed and logged. Keys in the file are its own claim: who verifies pins their own.

mod collect;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use warifu_consensus::{
    block::Sealed,
    chain::Account,
    encoding::{Hash, text_b64},
    log::{Checkpoint, LogKeys, LogProof, SignedNote},
    party::{Ledger, Sub},
};

pub use collect::{Collect, CollectError};

const FORMAT: &str = "ledger-bundle/1";

/// The longest line in bytes: a checkpoint's note, escaped.
const MAX_LINE: u64 = 256 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    warifu: String,
    iss: String,
    broker: String,
    trust_operator: String,
    log: String,
    witness: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofLine {
    proof: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    blocks: u64,
    blake3: String,
}

/// What a bundle holds.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The ledger, as whoever wrote the bundle pins it.
    pub ledger: Ledger,
    /// The keys of its log, likewise.
    pub keys: LogKeys,
    /// The checkpoint, with both signatures.
    pub checkpoint: SignedNote,
    /// Blocks by height, each with its proof once it is logged.
    pub blocks: Vec<(Sealed, Option<LogProof>)>,
}

/// A bundle that verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedBundle {
    /// The ledger's origin.
    pub iss: String,
    /// The account.
    pub account: Sub,
    /// Blocks.
    pub blocks: u64,
    /// Those of them with a proof that they are in the log.
    pub logged: u64,
    /// No block is left out up to the last one.
    pub whole: bool,
    /// The account's status after the last block, `None` if blocks were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The last block's height.
    pub height: u64,
    /// The last block's hash.
    pub head: Hash,
    /// Leaves of the checkpoint.
    pub size: u64,
    /// When the witness cosigned it, by its own clock: seconds since the Unix epoch.
    pub cosigned: u64,
}

/// Why a bundle does not verify.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It can't be read.
    #[error("could not read the bundle: {0}")]
    Io(#[from] io::Error),
    /// A line is not what its place asks for, or what it holds does not verify.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: u64,
        /// Found and expected.
        reason: String,
    },
    /// It is of another ledger than the pinned one.
    #[error(
        "the bundle is of another ledger, or names other keys than the pinned ones: its {field} is {found}"
    )]
    Keys {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: String,
    },
}

fn head_of(ledger: &Ledger, keys: &LogKeys) -> Head {
    Head {
        warifu: FORMAT.to_owned(),
        iss: ledger.iss.clone(),
        broker: text_b64(&ledger.broker),
        trust_operator: text_b64(&ledger.trust_operator),
        log: keys.log.to_string(),
        witness: keys.witness.to_string(),
    }
}

fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}

impl Bundle {
    /// Writes it.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut put = |line: String| {
            let line = format!("{line}\n");
            hasher.update(line.as_bytes());
            out.write_all(line.as_bytes())
        };
        put(json(&head_of(&self.ledger, &self.keys))?)?;
        put(json(&CheckpointLine {
            checkpoint: self.checkpoint.to_string(),
        })?)?;
        for (sealed, proof) in &self.blocks {
            put(sealed.to_json())?;
            put(json(&ProofLine {
                proof: proof.as_ref().map(ToString::to_string),
            })?)?;
        }
        let end = End {
            blocks: self.blocks.len() as u64,
            blake3: hasher.finalize().to_hex().to_string(),
        };
        out.write_all(format!("{}\n", json(&end)?).as_bytes())?;
        out.flush()
    }
}

/// Whether a file begins as a bundle does.
#[must_use]
pub fn is_bundle(path: &Path) -> bool {
    let begin = format!("{{\"warifu\":\"{FORMAT}\"");
    let mut found = vec![0; begin.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut found));
    read.is_ok() && found == begin.as_bytes()
}

struct Lines<R> {
    reader: R,
    hasher: blake3::Hasher,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end; and what was hashed before it.
    fn next(&mut self) -> Result<(String, blake3::Hash), BundleError> {
        let mut bytes = Vec::new();
        (&mut self.reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)?;
        self.line = self.line.saturating_add(1);
        let before = self.hasher.finalize();
        self.hasher.update(&bytes);
        let text = String::from_utf8(bytes).ok();
        let text = text.and_then(|text| text.strip_suffix('\n').map(str::to_owned));
        let text = text.ok_or_else(|| {
            self.wrong("is cut off, is too long, or is no text: expected a line".to_owned())
        })?;
        Ok((text, before))
    }

    fn wrong(&self, reason: String) -> BundleError {
        BundleError::Line {
            line: self.line,
            reason,
        }
    }

    /// A line that has one text only.
    fn parse<T: for<'de> Deserialize<'de> + Serialize>(
        &self,
        text: &str,
    ) -> Result<T, BundleError> {
        let value = serde_json::from_str(text).map_err(|error| self.wrong(error.to_string()))?;
        if json(&value)? == text {
            Ok(value)
        } else {
            Err(self.wrong("is not in the only form that a bundle has".to_owned()))
        }
    }
}

/// Verifies a bundle with pinned keys, offline: every signature and vote, each link, each proof, both signatures of the
/// checkpoint.
///
/// # Errors
/// The first [`BundleError`].
pub fn verify(path: &Path, ledger: &Ledger, keys: &LogKeys) -> Result<VerifiedBundle, BundleError> {
    let mut lines = Lines {
        reader: BufReader::new(File::open(path)?),
        hasher: blake3::Hasher::new(),
        line: 0,
    };
    let (text, _) = lines.next()?;
    let head: Head = lines.parse(&text)?;
    require(&head, &head_of(ledger, keys))?;
    let (text, _) = lines.next()?;
    let line: CheckpointLine = lines.parse(&text)?;
    let opened = SignedNote::parse(line.checkpoint.as_bytes())
        .map_err(|error| lines.wrong(error.to_string()))?;
    let checkpoint =
        Checkpoint::open(&opened, &keys.log).map_err(|error| lines.wrong(error.to_string()))?;
    let cosigned = Checkpoint::cosigned(&opened, &keys.witness)
        .map_err(|error| lines.wrong(error.to_string()))?;
    let mut blocks = Blocks::new(ledger, keys, &opened);
    let end = loop {
        let (text, before) = lines.next()?;
        if text.starts_with("{\"blocks\":") {
            break (text, before);
        }
        blocks.block(&text).map_err(|reason| lines.wrong(reason))?;
        let (text, _) = lines.next()?;
        let line: ProofLine = lines.parse(&text)?;
        blocks
            .proof(line.proof)
            .map_err(|reason| lines.wrong(reason))?;
    };
    let last: End = lines.parse(&end.0)?;
    if (last.blocks, last.blake3.as_str()) != (blocks.count, end.1.to_hex().as_str()) {
        return Err(lines.wrong("count or hash is not that of the lines before".to_owned()));
    }
    let mut rest = [0];
    if lines.reader.read(&mut rest)? > 0 {
        return Err(lines.wrong("expected nothing after the line with count and hash".to_owned()));
    }
    let (account, last) = blocks
        .account
        .zip(blocks.last)
        .ok_or_else(|| lines.wrong("holds no block".to_owned()))?;
    Ok(VerifiedBundle {
        iss: ledger.iss.clone(),
        account: account.sub(),
        blocks: blocks.count,
        logged: blocks.logged,
        whole: blocks.is_whole,
        status: blocks.is_whole.then(|| account.status().to_string()),
        height: last.0,
        head: last.1,
        size: checkpoint.size,
        cosigned: cosigned.time,
    })
}

fn require(found: &Head, expected: &Head) -> Result<(), BundleError> {
    for (field, found, expected) in [
        ("format", &found.warifu, &expected.warifu),
        ("iss", &found.iss, &expected.iss),
        ("broker", &found.broker, &expected.broker),
        (
            "trust_operator",
            &found.trust_operator,
            &expected.trust_operator,
        ),
        ("log", &found.log, &expected.log),
        ("witness", &found.witness, &expected.witness),
    ] {
        if found != expected {
            let found = found.chars().take(200).collect();
            return Err(BundleError::Keys { field, found });
        }
    }
    Ok(())
}

/// The blocks so far.
struct Blocks<'a> {
    ledger: &'a Ledger,
    keys: &'a LogKeys,
    checkpoint: &'a SignedNote,
    account: Option<Account>,
    last: Option<(u64, Hash)>,
    is_whole: bool,
    count: u64,
    logged: u64,
}

impl<'a> Blocks<'a> {
    const fn new(ledger: &'a Ledger, keys: &'a LogKeys, checkpoint: &'a SignedNote) -> Self {
        Self {
            ledger,
            keys,
            checkpoint,
            account: None,
            last: None,
            is_whole: true,
            count: 0,
            logged: 0,
        }
    }

    fn block(&mut self, text: &str) -> Result<(), String> {
        let sealed = Sealed::from_json(text).map_err(|error| error.to_string())?;
        let height = sealed.block.claims().height;
        match &mut self.account {
            None => {
                let account = Account::open(self.ledger, &sealed);
                self.account = Some(account.map_err(|error| error.to_string())?);
            }
            Some(account) => {
                let last = self.last.map_or(0, |(height, _)| height);
                if height <= last {
                    return Err(format!("block at height {height} after one at {last}"));
                }
                if self.is_whole && height == last.saturating_add(1) {
                    account.next(&sealed).map_err(|error| error.to_string())?;
                } else {
                    self.is_whole = false;
                    account.verify_alone(&sealed).map_err(|e| e.to_string())?;
                }
            }
        }
        self.last = Some((height, sealed.block.hash()));
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    fn proof(&mut self, proof: Option<String>) -> Result<(), String> {
        let (Some(text), Some((_, hash))) = (proof, self.last) else {
            return Ok(());
        };
        let proof: LogProof = text
            .parse()
            .map_err(|e: warifu_consensus::log::ProofError| e.to_string())?;
        if proof.checkpoint != *self.checkpoint || proof.to_string() != text {
            return Err("proof is of another checkpoint than the bundle's".to_owned());
        }
        let verified = proof.verify(&hash, &self.keys.log, &self.keys.witness);
        verified.map_err(|error| error.to_string())?;
        self.logged = self.logged.saturating_add(1);
        Ok(())
    }
}
