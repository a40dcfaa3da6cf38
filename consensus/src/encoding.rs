//! Every domain string of the ledger, the hash that separates them, and the text codecs.
//!
//! All strings that keep one signed or hashed thing from being taken for another stand in this
//! file, so that their distinctness can be checked by eye and by test. Text forms are base64url
//! without padding (RFC 4648 §5), decoded strictly: a value has exactly one text. Nothing here
//! knows what the bytes mean.

use core::fmt;
use core::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// First 13 bytes of everything that an identity key signs as a vote.
pub const VOTE_DOMAIN: &[u8; 13] = b"warifu-vote/1";

/// HPKE `info` (22 bytes) of key generation's second round: what one party seals to another's session key.
pub(crate) const ROUND2_INFO: &[u8; 22] = b"warifu-enrol/1 round 2";

/// `format` of a file of evidence that a log was forked.
pub(crate) const LOG_EVIDENCE_FORMAT: &str = "warifu-log-evidence/1";

/// JOSE `typ` of an admit block.
pub const ADMIT_TYP: &str = "warifu-block+jwt";

/// JOSE `typ` of a restrict block.
pub const RESTRICT_TYP: &str = "warifu-restrict+jwt";

/// What a hash is of: the BLAKE3 `derive_key` context strings.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Context {
    /// A block: its signing input.
    Block,
    /// A commitment vote's object: block hash ‖ commitment.
    Commitment,
    /// A share vote's object: block hash ‖ package hash ‖ share.
    Share,
    /// A signing package: the three commitments in role order.
    Package,
    /// An enrolment transcript.
    Transcript,
    /// An account's name, from its transcript hash.
    Sub,
    /// A body's key and key commitment.
    BodyKey,
    /// A block's `body` claim: nonce ‖ commitment ‖ ciphertext.
    BodyClaim,
    /// An enrolment ticket.
    Ticket,
    /// An enrolment session key.
    SessionKey,
    /// The key of the device's MAC with the ticket's secret.
    TicketMac,
    /// A content key's hash, as the transcript names it.
    ContentKeyHash,
    /// The six digits that a customer compares, from the transcript hash.
    Digits,
    /// A challenge that a block used up, as the broker remembers it.
    Challenge,
    /// What a proposal is called by those who watch the nodes, from its block's hash.
    Trace,
    /// An account's opener: content key ‖ account name.
    LogOpener,
    /// A block's opening in the log: opener ‖ block hash.
    LogOpening,
}

impl Context {
    /// All contexts, for checking that their strings differ.
    pub const ALL: [Context; 17] = [
        Context::Block,
        Context::Commitment,
        Context::Share,
        Context::Package,
        Context::Transcript,
        Context::Sub,
        Context::BodyKey,
        Context::BodyClaim,
        Context::Ticket,
        Context::SessionKey,
        Context::TicketMac,
        Context::ContentKeyHash,
        Context::Digits,
        Context::Challenge,
        Context::Trace,
        Context::LogOpener,
        Context::LogOpening,
    ];

    /// The BLAKE3 `derive_key` context string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Context::Block => "warifu/1 block",
            Context::Commitment => "warifu/1 commitment vote",
            Context::Share => "warifu/1 share vote",
            Context::Package => "warifu/1 signing package",
            Context::Transcript => "warifu/1 enrolment transcript",
            Context::Sub => "warifu/1 account name",
            Context::BodyKey => "warifu/1 body key and commitment",
            Context::BodyClaim => "warifu/1 body claim",
            Context::Ticket => "warifu/1 enrolment ticket",
            Context::SessionKey => "warifu/1 enrolment session key",
            Context::TicketMac => "warifu/1 ticket mac",
            Context::ContentKeyHash => "warifu/1 content key hash",
            Context::Digits => "warifu/1 enrolment digits",
            Context::Challenge => "warifu/1 used challenge",
            Context::Trace => "warifu/1 trace",
            Context::LogOpener => "warifu/1 log opener",
            Context::LogOpening => "warifu/1 log opening",
        }
    }
}

/// A text is not the canonical base64url of the bytes it should hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodingError {
    /// The text has another number of characters than its type needs.
    #[error("text has {found} characters, expected {expected} of base64url")]
    Length {
        /// Characters found.
        found: usize,
        /// Characters that the value's length needs.
        expected: usize,
    },
    /// A character outside the alphabet, padding, or trailing bits that are not zero.
    #[error("text is not canonical base64url without padding")]
    Alphabet,
}

/// Encodes as base64url without padding.
#[must_use]
pub fn text_b64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Decodes exactly `N` bytes from their only base64url text (no padding, trailing bits zero).
///
/// # Errors
/// [`EncodingError`] for another length, a foreign character or a non-canonical last character.
pub fn parse_b64<const N: usize>(text: &str) -> Result<[u8; N], EncodingError> {
    let expected = N.saturating_mul(4).div_ceil(3);
    if text.len() != expected {
        return Err(EncodingError::Length {
            found: text.len(),
            expected,
        });
    }
    let mut bytes = [0_u8; N];
    let decoded =
        Base64UrlUnpadded::decode(text, &mut bytes).map_err(|_| EncodingError::Alphabet)?;
    if text_b64(decoded) != text {
        return Err(EncodingError::Alphabet);
    }
    Ok(bytes)
}

/// Decodes a base64url text of any length, strictly.
///
/// # Errors
/// [`EncodingError::Alphabet`] when the text is not the canonical encoding of some bytes.
pub fn parse_b64_vec(text: &str) -> Result<Vec<u8>, EncodingError> {
    let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| EncodingError::Alphabet)?;
    if text_b64(&bytes) == text {
        Ok(bytes)
    } else {
        Err(EncodingError::Alphabet)
    }
}

/// A 32-byte BLAKE3 hash. Text: 43 characters of base64url; binary: the 32 bytes.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All bytes zero: what `prev` is in a genesis block.
    pub const ZERO: Hash = Hash([0; 32]);

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_b64(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = EncodingError;

    fn from_str(text: &str) -> Result<Hash, EncodingError> {
        parse_b64(text).map(Hash)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        bytes::deserialize(deserializer).map(Hash)
    }
}

/// BLAKE3 `derive_key` in `context` over the concatenation of `parts`.
///
/// Unambiguous only if all parts but the last have a fixed length; otherwise use [`Fields`].
#[must_use]
pub fn derive(context: Context, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(context.as_str());
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

/// What everybody calls one proposal who watches the nodes: each party derives the same from the
/// block's hash, so that no identifier for watching travels. Neither secret nor proof of anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceName {
    /// The trace's id (W3C Trace Context), 16 bytes.
    pub trace: [u8; 16],
    /// The id of its root span, 8 bytes.
    pub root: [u8; 8],
}

impl TraceName {
    /// The name of the proposal whose block has this hash: the first 24 bytes of its hash in
    /// [`Context::Trace`].
    #[must_use]
    pub fn of(block: &Hash) -> TraceName {
        let hash = derive(Context::Trace, &[&block.0]).0;
        let mut name = TraceName {
            trace: [0; 16],
            root: [0; 8],
        };
        let ids = name.trace.iter_mut().chain(&mut name.root);
        ids.zip(hash).for_each(|(id, byte)| *id = byte);
        name
    }
}

/// The trace's id in 32 lower-case hexadecimal digits.
impl fmt::Display for TraceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A structure being hashed: fixed fields as they are, variable ones prefixed with a u32 BE length.
#[derive(Clone, Debug)]
pub struct Fields {
    hasher: blake3::Hasher,
}

impl Fields {
    /// Starts a structure in its own domain.
    #[must_use]
    pub fn new(context: Context) -> Fields {
        Fields {
            hasher: blake3::Hasher::new_derive_key(context.as_str()),
        }
    }

    /// Adds a field whose length the structure fixes.
    #[must_use]
    pub fn fixed(mut self, bytes: &[u8]) -> Fields {
        self.hasher.update(bytes);
        self
    }

    /// Adds a field of variable length: u32 BE length ‖ bytes. A field beyond 2³²−1 bytes, which no
    /// message here can hold, counts as `u32::MAX` long.
    #[must_use]
    pub fn var(mut self, bytes: &[u8]) -> Fields {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.hasher.update(&length.to_be_bytes()).update(bytes);
        self
    }

    /// The structure's hash.
    #[must_use]
    pub fn finish(self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }
}

/// Serde form of a fixed number of bytes: base64url text in readable formats, the bytes alone
/// otherwise. For `#[serde(with = "…")]`.
pub mod bytes {
    use core::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeTuple;
    use serde::{Deserializer, Serializer};

    struct Text<const N: usize>;

    impl<const N: usize> Visitor<'_> for Text<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes as base64url")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
            super::parse_b64(text).map_err(E::custom)
        }
    }

    struct Tuple<const N: usize>;

    impl<'de, const N: usize> Visitor<'de> for Tuple<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0_u8; N];
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = seq
                    .next_element()?
                    .ok_or_else(|| A::Error::invalid_length(at, &self))?;
            }
            Ok(bytes)
        }
    }

    /// Writes `N` bytes.
    ///
    /// # Errors
    /// Whatever the serializer reports.
    pub fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&super::text_b64(bytes));
        }
        let mut tuple = serializer.serialize_tuple(N)?;
        for byte in bytes {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// Whatever the deserializer reports, another length, or a text that is not canonical.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text::<N>)
        } else {
            deserializer.deserialize_tuple(N, Tuple::<N>)
        }
    }
}
