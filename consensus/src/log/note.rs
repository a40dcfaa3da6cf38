//! Signed notes (C2SP signed-note): a text and lines of signatures under named keys.
//!
//! The form is `signed_note`'s to read and to write; which signatures count is decided here, by the strict
//! verification of every other signature of the ledger. Keys are Ed25519, as a log's own (type 0x01) or as a
//! cosigner's with a time (type 0x04, C2SP tlog-cosignature).

use core::{fmt, str::FromStr};

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Deserializer, de::Error as _};
use signed_note::{Note, NoteError as Malformed, Signature};

use crate::signature::{BadSignature, IdentityKey, verify_strict};

/// The longest note that is read, in bytes.
pub(super) const MAX_NOTE: usize = 64 * 1024;

/// What a key's signatures are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// 0x01: Ed25519 over the note's text.
    Ed25519,
    /// 0x04: Ed25519 over `cosignature/v1`, a time, and the note's text.
    Cosignature,
}

impl Algorithm {
    /// Its byte in a key ID's hash.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// Why a text is no verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `NAME+ID+KEY`, or a name with spaces or a plus.
    #[error("found {found:?}, expected NAME+ID+KEY as C2SP signed-note has them")]
    Form {
        /// At most 96 characters of the text.
        found: String,
    },
    /// The ID is another than name and key give.
    #[error("key ID is {found:08x}, expected {expected:08x} of that name and key")]
    Id {
        /// The ID in the text.
        found: u32,
        /// The ID of name and key.
        expected: u32,
    },
    /// Neither of the two algorithms.
    #[error("algorithm is {found:#04x}, expected 0x01 (Ed25519) or 0x04 (cosignature)")]
    Algorithm {
        /// The byte found.
        found: u8,
    },
}

/// Why a note does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a note.
    #[error("not a signed note")]
    Form,
    /// Longer than any note that is read.
    #[error("note has {found} bytes, expected at most {MAX_NOTE}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A line under a known key that does not verify: the whole note is refused.
    #[error("signature of {name} does not verify")]
    Signature {
        /// The key's name.
        name: String,
    },
    /// No line under this key.
    #[error("no signature of {name}")]
    Missing {
        /// The key's name.
        name: String,
    },
}

/// A public key with its name and algorithm; as text the `vkey` of C2SP signed-note.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NoteKey {
    name: String,
    algorithm: Algorithm,
    public: [u8; 32],
}

impl NoteKey {
    /// A key; the name is non-empty, without spaces, control characters and `+`.
    ///
    /// # Errors
    /// [`KeyError::Form`].
    pub fn new(name: &str, algorithm: Algorithm, public: [u8; 32]) -> Result<Self, KeyError> {
        if signed_note::is_key_name_valid(name) && !name.chars().any(char::is_control) {
            let name = name.to_owned();
            Ok(Self {
                name,
                algorithm,
                public,
            })
        } else {
            Err(KeyError::Form {
                found: name.chars().take(96).collect(),
            })
        }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures are over.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The first 4 bytes of SHA-256 over name ‖ 0x0A ‖ algorithm ‖ key, big endian.
    #[must_use]
    pub fn id(&self) -> u32 {
        signed_note::key_id(&self.name, &self.typed())
    }

    fn typed(&self) -> [u8; 33] {
        let mut typed = [self.algorithm.byte(); 33];
        for (to, from) in typed.iter_mut().skip(1).zip(self.public) {
            *to = from;
        }
        typed
    }

    /// Checks one signature line's payload over a note's text; for a cosignature, gives its time.
    ///
    /// # Errors
    /// [`BadSignature`].
    fn check(&self, text: &[u8], payload: &[u8]) -> Result<Option<u64>, BadSignature> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let signature = payload.try_into().map_err(|_| BadSignature)?;
                verify_strict(&self.public, text, signature).map(|()| None)
            }
            Algorithm::Cosignature => {
                let (time, signature) = payload.split_first_chunk::<8>().ok_or(BadSignature)?;
                // Seconds up to 2^63 − 1 (C2SP tlog-cosignature).
                let time = u64::from_be_bytes(*time);
                if i64::try_from(time).is_err() {
                    return Err(BadSignature);
                }
                let signature = signature.try_into().map_err(|_| BadSignature)?;
                verify_strict(&self.public, &cosigned(time, text), signature).map(|()| Some(time))
            }
        }
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = Base64::encode_string(&self.typed());
        write!(f, "{}+{:08x}+{key}", self.name, self.id())
    }
}

impl FromStr for NoteKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = || KeyError::Form {
            found: text.chars().take(96).collect(),
        };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(form());
        };
        let mut typed = [0; 33];
        let decoded = Base64::decode(key, &mut typed).map_err(|_| form())?;
        let Some((&[algorithm], public)) = decoded.split_first_chunk::<1>() else {
            return Err(form());
        };
        let algorithm = match algorithm {
            1 => Algorithm::Ed25519,
            4 => Algorithm::Cosignature,
            found => return Err(KeyError::Algorithm { found }),
        };
        let key = Self::new(name, algorithm, public.try_into().map_err(|_| form())?)?;
        let found = u32::from_str_radix(id, 16).map_err(|_| form())?;
        if id.len() != 8 || id.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(form());
        }
        let expected = key.id();
        if found == expected {
            Ok(key)
        } else {
            Err(KeyError::Id { found, expected })
        }
    }
}

/// What a cosignature is over.
fn cosigned(time: u64, text: &[u8]) -> Vec<u8> {
    let mut message = format!("cosignature/v1\ntime {time}\n").into_bytes();
    message.extend_from_slice(text);
    message
}

/// What a reader of a ledger's log pins: two lines of `ledger.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LogKeys {
    /// The broker's, [`Algorithm::Ed25519`]; its name is the log's origin. Text: a verifier key.
    #[serde(deserialize_with = "from_text")]
    pub log: NoteKey,
    /// The trust operator's, [`Algorithm::Cosignature`].
    #[serde(deserialize_with = "from_text")]
    pub witness: NoteKey,
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NoteKey, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// A log's or a witness's secret key: its own, never a party's identity. Wiped on drop, never printed.
#[derive(Debug)]
pub struct LogKey {
    key: IdentityKey,
    public: NoteKey,
}

impl LogKey {
    /// The key of a 32-byte RFC 8032 seed under a name.
    ///
    /// # Errors
    /// [`KeyError::Form`] for a name that is none.
    pub fn from_seed(seed: [u8; 32], name: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        let key = IdentityKey::from_seed(seed);
        let public = NoteKey::new(name, algorithm, key.public())?;
        Ok(Self { key, public })
    }

    /// What others verify with.
    #[must_use]
    pub const fn public(&self) -> &NoteKey {
        &self.public
    }

    /// Signs a note's text; a cosignature says that at `time` (seconds of Unix time) this was the largest
    /// that the cosigner had seen of that log.
    fn payload(&self, text: &[u8], time: u64) -> Vec<u8> {
        match self.public.algorithm {
            Algorithm::Ed25519 => self.key.sign(text).to_vec(),
            Algorithm::Cosignature => {
                let signature = self.key.sign(&cosigned(time, text));
                [time.to_be_bytes().as_slice(), &signature].concat()
            }
        }
    }
}

/// A note: its text, and the lines of signatures that came with it, verified or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    id: u32,
    payload: Vec<u8>,
}

impl SignedNote {
    /// A note without signatures; the text ends with a line feed.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self {
            text,
            lines: Vec::new(),
        }
    }

    /// Reads a note from its bytes: UTF-8, at most 64 KiB.
    ///
    /// # Errors
    /// [`NoteError::Length`], [`NoteError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Length { found: bytes.len() });
        }
        let form = |_: Malformed| NoteError::Form;
        let note = Note::from_bytes(bytes).map_err(form)?;
        let text = String::from_utf8(note.text().to_vec()).map_err(|_| NoteError::Form)?;
        let mut read = Self::new(text);
        let lines = bytes
            .get(note.text().len().saturating_add(1)..)
            .unwrap_or_default();
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            read.lines
                .push(Line::of(&Signature::from_bytes(line).map_err(form)?));
        }
        // One text for each note: what was read is what would be written.
        if read.to_string().as_bytes() == bytes {
            Ok(read)
        } else {
            Err(NoteError::Form)
        }
    }

    /// What is signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Signs, in place of an older line under the same key.
    pub fn sign(&mut self, key: &LogKey, time: u64) {
        let payload = key.payload(self.text.as_bytes(), time);
        let (name, id) = (key.public.name.clone(), key.public.id());
        self.lines
            .retain(|line| (line.name.as_str(), line.id) != (name.as_str(), id));
        self.lines.push(Line { name, id, payload });
    }

    /// Adds the lines of another note on the same text that are not here yet.
    pub fn join(&mut self, other: &Self) {
        if self.text == other.text {
            for line in &other.lines {
                if !self.lines.contains(line) {
                    self.lines.push(line.clone());
                }
            }
        }
    }

    /// Checks that this key signed; gives a cosignature's time. If several lines are under the key, each must hold.
    ///
    /// # Errors
    /// [`NoteError::Missing`], [`NoteError::Signature`].
    pub fn verify(&self, key: &NoteKey) -> Result<Option<u64>, NoteError> {
        let name = || key.name.clone();
        let id = key.id();
        let mut found = Err(NoteError::Missing { name: name() });
        for line in self
            .lines
            .iter()
            .filter(|line| line.id == id && line.name == key.name)
        {
            match key.check(self.text.as_bytes(), &line.payload) {
                Ok(time) => found = Ok(time),
                Err(BadSignature) => return Err(NoteError::Signature { name: name() }),
            }
        }
        found
    }

    /// The lines under this key alone, as an `add-checkpoint` is answered.
    #[must_use]
    pub fn lines_of(&self, key: &NoteKey) -> String {
        let id = key.id();
        let own = self
            .lines
            .iter()
            .filter(|line| line.id == id && line.name == key.name);
        own.map(ToString::to_string).collect()
    }

    /// The note with one line under each of these keys, the log's before the witness's: the first that holds, none
    /// where none does. What others add would fill frames, records and files until nobody reads them any more.
    #[must_use]
    pub fn reduced(&self, keys: &LogKeys) -> Self {
        let first = |key: &NoteKey| {
            let id = key.id();
            let holds = |line: &&Line| {
                let is_own = line.id == id && line.name == key.name;
                is_own && key.check(self.text.as_bytes(), &line.payload).is_ok()
            };
            self.lines.iter().find(holds).cloned()
        };
        Self {
            text: self.text.clone(),
            lines: [&keys.log, &keys.witness]
                .into_iter()
                .filter_map(first)
                .collect(),
        }
    }
}

impl Line {
    fn of(signature: &Signature) -> Self {
        Self {
            name: signature.name().to_owned(),
            id: signature.id(),
            payload: signature.signature().to_vec(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = [self.id.to_be_bytes().as_slice(), &self.payload].concat();
        writeln!(
            f,
            "\u{2014} {} {}",
            self.name,
            Base64::encode_string(&joined)
        )
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.lines.iter().try_for_each(|line| line.fmt(f))
    }
}
