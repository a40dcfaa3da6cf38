//! Why a text or a set of claims is no block.

use super::claims::Kind;
use super::reader::SyntaxError;

/// Why a text or a set of claims is no block.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// The signing input is longer than any block.
    #[error("signing input has {found} bytes, at most {limit} allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The signing input is not two parts joined by a dot.
    #[error("signing input has {found} parts, expected 2")]
    Parts {
        /// Parts found.
        found: usize,
    },
    /// A part is not canonical base64url of UTF-8 text.
    #[error("{part} is not canonical base64url of utf-8 text")]
    Encoding {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// The header is not one of the two that exist.
    #[error("header at byte {}: expected {}", .0.offset, .0.expected)]
    Header(SyntaxError),
    /// The claims leave the one form they have.
    #[error("claims at byte {}: expected {}", .0.offset, .0.expected)]
    Claims(SyntaxError),
    /// The header is that of another class than the kind's.
    #[error("header has typ {found}, expected {expected} for kind {kind}")]
    Typ {
        /// The `typ` found.
        found: &'static str,
        /// The `typ` that the kind's class has.
        expected: &'static str,
        /// The kind claimed.
        kind: Kind,
    },
    /// A genesis header names another key than its claims.
    #[error("header has kid {found}, expected {expected}")]
    Kid {
        /// The thumbprint found.
        found: String,
        /// The thumbprint of the account key.
        expected: String,
    },
    /// A text claim is too short or too long.
    #[error("{claim} has {found} characters, expected {min} to {max}")]
    TextLength {
        /// The claim's name.
        claim: &'static str,
        /// Characters found.
        found: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// A text claim holds a byte that its alphabet lacks.
    #[error("{claim} holds byte {found:#04x}, expected {expected}")]
    TextByte {
        /// The claim's name.
        claim: &'static str,
        /// The first such byte.
        found: u8,
        /// The alphabet.
        expected: &'static str,
    },
    /// An integer claim exceeds 2⁵³ − 1.
    #[error("{claim} is {found}, at most 9007199254740991 allowed")]
    Integer {
        /// The claim's name.
        claim: &'static str,
        /// The value found.
        found: u64,
    },
    /// `exp` is not what the kind fixes, or not after `iat`.
    #[error("{kind} block has exp {found}, expected {expected}")]
    Exp {
        /// The block's kind.
        kind: Kind,
        /// `exp` found, seconds.
        found: u64,
        /// What the kind asks for.
        expected: String,
    },
    /// The kind fixes `aud` to `iss`.
    #[error("{kind} block has aud {found}, expected its iss {expected}")]
    Aud {
        /// The block's kind.
        kind: Kind,
        /// `aud` found.
        found: String,
        /// `iss`.
        expected: String,
    },
    /// Genesis has height 0, every other block a greater one.
    #[error("{kind} block has height {found}, expected {expected}")]
    Height {
        /// The block's kind.
        kind: Kind,
        /// The height found.
        found: u64,
        /// What the kind asks for.
        expected: &'static str,
    },
    /// A claim that the kind forbids is present, or one that it needs is absent.
    #[error("{kind} block has {claim} {found}, expected {expected}")]
    Presence {
        /// The block's kind.
        kind: Kind,
        /// The claim's name.
        claim: &'static str,
        /// What was found.
        found: &'static str,
        /// What the kind asks for.
        expected: &'static str,
    },
    /// Two keys that must differ are the same.
    #[error("genesis names one key as both {first} and {second}")]
    SameKey {
        /// One owner.
        first: &'static str,
        /// The other owner.
        second: &'static str,
    },
    /// The text decodes to claims whose encoding is another text.
    #[error("signing input is not in canonical form")]
    NotCanonical,
}
