//! A block: one event of an account, and the exact bytes that were signed for it.
//!
//! A block is a JWT without its signature: `BASE64URL(header).BASE64URL(claims)`, so that any JOSE
//! library can verify a login (RFC 7515, RFC 7519, RFC 8037). One block has exactly one text:
//! parsing accepts only what encoding writes. The hash of a block is over that text and never over
//! signatures. This module checks what a block says about itself; whether it fits an account is
//! decided in [`crate::chain`], and signatures there too.

mod claims;
mod error;
mod parse;
mod reader;
mod sealed;
mod sealed_json;

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use claims::{Claims, Class, GenesisClaims, Kind, UnknownKind, body_aad};
pub use error::BlockError;
pub use reader::SyntaxError;
pub use sealed::{Proof, Sealed, Votes};
pub use sealed_json::SealedError;

use crate::encoding::{ADMIT_TYP, Context, Hash, RESTRICT_TYP, derive, text_b64};

/// Largest integer in a claim: 2⁵³ − 1, which every JSON library reads exactly (RFC 8259 §6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Longest signing input of a block in bytes; the longest claims that the rules allow fit.
pub const MAX_INPUT: usize = 4096;

/// The public JWK of an account key (RFC 8037): `{"crv":"Ed25519","kty":"OKP","x":"…"}`.
#[must_use]
pub fn jwk(account_key: &[u8; 32]) -> serde_json::Value {
    serde_json::json!({ "crv": "Ed25519", "kty": "OKP", "x": text_b64(account_key) })
}

/// The canonical JSON of [`jwk`]: members in lexical order, no spaces, as RFC 7638 hashes it.
pub(crate) fn jwk_text(account_key: &[u8; 32]) -> String {
    format!(
        r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
        text_b64(account_key)
    )
}

/// The RFC 7638 SHA-256 thumbprint of an account key: 43 characters of base64url, a block's `kid`.
#[must_use]
pub fn thumbprint(account_key: &[u8; 32]) -> String {
    use sha2::Digest;
    text_b64(&sha2::Sha256::digest(jwk_text(account_key)))
}

/// The exact protected header of an admit block.
fn admit_header(kid: &str) -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"{ADMIT_TYP}"}}"#)
}

/// The exact protected header of a restrict block.
fn restrict_header() -> String {
    format!(r#"{{"alg":"EdDSA","typ":"{RESTRICT_TYP}"}}"#)
}

/// A block: immutable claims, their canonical signing input, and its hash.
#[derive(Clone, Eq, PartialEq)]
pub struct Block {
    claims: Claims,
    kid: Option<String>,
    input: String,
    hash: Hash,
}

impl Block {
    /// Encodes claims as the block of the account with this key (32-byte Ed25519 public key). A
    /// restrict block doesn't name the key.
    ///
    /// # Errors
    /// [`BlockError`] when the claims break a rule of their kind.
    pub fn new(claims: Claims, account_key: &[u8; 32]) -> Result<Block, BlockError> {
        let kid = match claims.kind.class() {
            Class::Admit => Some(thumbprint(account_key)),
            Class::Restrict => None,
        };
        Block::assemble(claims, kid)
    }

    /// Reads a signing input strictly: only the bytes that [`Block::new`] writes are accepted.
    ///
    /// # Errors
    /// [`BlockError`], saying where the text leaves the one form a block has, or which rule its
    /// claims break.
    pub fn parse(input: &str) -> Result<Block, BlockError> {
        let (kid, claims) = parse::signing_input(input)?;
        let block = Block::assemble(claims, kid)?;
        if block.input != input {
            return Err(BlockError::NotCanonical);
        }
        Ok(block)
    }

    fn assemble(claims: Claims, kid: Option<String>) -> Result<Block, BlockError> {
        claims.check()?;
        if let (Some(genesis), Some(kid)) = (&claims.genesis, &kid) {
            let expected = thumbprint(&genesis.account_key);
            if *kid != expected {
                return Err(BlockError::Kid {
                    found: kid.clone(),
                    expected,
                });
            }
        }
        let header = kid.as_deref().map_or_else(restrict_header, admit_header);
        let input = format!(
            "{}.{}",
            text_b64(header.as_bytes()),
            text_b64(claims.to_json().as_bytes())
        );
        let hash = derive(Context::Block, &[input.as_bytes()]);
        Ok(Block {
            claims,
            kid,
            input,
            hash,
        })
    }

    /// What the block says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The signing input `BASE64URL(header).BASE64URL(claims)`: ASCII, at most [`MAX_INPUT`] bytes.
    #[must_use]
    pub fn input(&self) -> &str {
        &self.input
    }

    /// BLAKE3 `derive_key` of the signing input.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The thumbprint of the account key in the header; `None` in a restrict block.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The associated data of the block's body: the canonical claims with `"body":""`.
    #[must_use]
    pub fn aad(&self) -> Vec<u8> {
        body_aad(&self.claims)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("hash", &self.hash)
            .field("claims", &self.claims)
            .finish()
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.input)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Block, D::Error> {
        let input = String::deserialize(deserializer)?;
        Block::parse(&input).map_err(de::Error::custom)
    }
}
