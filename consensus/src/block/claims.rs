//! What a block says: its kind, its claims, their one canonical JSON, and the rules of each kind.
//!
//! The rules here need nothing but the claims themselves (docs/protocol.md, table of kinds).
//! Whether height, `prev`, epoch and status fit an account is not decided here.

use core::fmt;
use core::fmt::Write;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::BlockError;
use super::{MAX_INTEGER, jwk_text};
use crate::encoding::{Hash, text_b64};
use crate::party::{Parties, Role, Sub};
use crate::time::RESTRICT_LIFETIME_S;

/// Whose agreement a block needs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// All three, by the account key. Only these can give anything.
    Admit,
    /// Both operators, by their identity keys. These only take away.
    Restrict,
}

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Kind {
    /// The account begins.
    Genesis,
    /// The customer logged in.
    Login,
    /// The customer approved a named act.
    Approve,
    /// The customer changed own settings.
    Change,
    /// The account is usable again after re-identification.
    Unfreeze,
    /// The device denied a proposal.
    Deny,
    /// A proposal ended with a refusal, such as a wrong number.
    Refuse,
    /// A locked proposal ran out of time.
    Expire,
    /// A party came back from a backup.
    Restored,
    /// The account is frozen until `unfreeze`.
    Freeze,
    /// The account's device is gone.
    Revoke,
}

impl Kind {
    /// All kinds, admits first.
    pub const ALL: [Kind; 11] = [
        Kind::Genesis,
        Kind::Login,
        Kind::Approve,
        Kind::Change,
        Kind::Unfreeze,
        Kind::Deny,
        Kind::Refuse,
        Kind::Expire,
        Kind::Restored,
        Kind::Freeze,
        Kind::Revoke,
    ];

    /// The kind's name in the claims.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Genesis => "genesis",
            Kind::Login => "login",
            Kind::Approve => "approve",
            Kind::Change => "change",
            Kind::Unfreeze => "unfreeze",
            Kind::Deny => "deny",
            Kind::Refuse => "refuse",
            Kind::Expire => "expire",
            Kind::Restored => "restored",
            Kind::Freeze => "freeze",
            Kind::Revoke => "revoke",
        }
    }

    /// Whose agreement the kind needs.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Kind::Genesis | Kind::Login | Kind::Approve | Kind::Change | Kind::Unfreeze => {
                Class::Admit
            }
            Kind::Deny
            | Kind::Refuse
            | Kind::Expire
            | Kind::Restored
            | Kind::Freeze
            | Kind::Revoke => Class::Restrict,
        }
    }

    /// Whether a login service asks its broker for it. What is asked has a body, nothing else does.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        matches!(
            self,
            Kind::Login | Kind::Approve | Kind::Change | Kind::Unfreeze
        )
    }

    /// Whether the kind fixes `aud` to the ledger's own origin.
    const fn is_about_the_account(self) -> bool {
        matches!(
            self,
            Kind::Genesis | Kind::Restored | Kind::Freeze | Kind::Revoke
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no kind's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown kind of block")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Kind, UnknownKind> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(UnknownKind)
    }
}

/// What only a genesis block says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GenesisClaims {
    /// The account's Ed25519 public key; claim `cnf` (RFC 7800) as a JWK.
    pub account_key: [u8; 32],
    /// The three identity keys; claim `parties`, in role order.
    pub parties: Parties,
    /// Hash of the enrolment transcript.
    pub transcript: Hash,
}

/// What a block says. Public fields, since claims prove nothing until they are a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// The ledger's origin: 1 to 128 printable ASCII characters without `"` and `\`.
    pub iss: String,
    /// The account.
    pub sub: Sub,
    /// The relying party, fixed by the caller's credential: as `iss`. For `genesis`, `restored`,
    /// `freeze` and `revoke` equal to `iss`.
    pub aud: String,
    /// Issued at, seconds since the Unix epoch.
    pub iat: u64,
    /// Expires at, seconds since the Unix epoch; after `iat`, for restrict blocks by exactly 90.
    pub exp: u64,
    /// The login service's challenge: 22 to 128 characters of base64url.
    pub nonce: String,
    /// What happened.
    pub kind: Kind,
    /// Distance from genesis.
    pub height: u64,
    /// Hash of the block before; zeros in genesis.
    pub prev: Hash,
    /// Which sharing of the account key is in use; 0 until a refresh.
    pub epoch: u64,
    /// Claim of the encrypted body; `""` in JSON when absent.
    pub body: Option<Hash>,
    /// The locked proposal that a restrict block displaces.
    pub supersedes: Option<Hash>,
    /// Present in genesis only.
    pub genesis: Option<GenesisClaims>,
}

/// The associated data of a body: the canonical claims JSON with `"body":""`, whatever `body` is.
#[must_use]
pub fn body_aad(claims: &Claims) -> Vec<u8> {
    claims.json_with_body(None).into_bytes()
}

impl Claims {
    /// The one JSON text of these claims: fixed order, no spaces.
    pub(super) fn to_json(&self) -> String {
        self.json_with_body(self.body)
    }

    fn json_with_body(&self, body: Option<Hash>) -> String {
        let body = body.map(|hash| hash.to_string()).unwrap_or_default();
        let supersedes = self
            .supersedes
            .map_or_else(|| "null".to_owned(), |hash| format!("\"{hash}\""));
        let mut json = format!(
            concat!(
                r#"{{"iss":"{}","sub":"{}","aud":"{}","iat":{},"exp":{},"nonce":"{}","#,
                r#""kind":"{}","height":{},"prev":"{}","epoch":{},"body":"{}","supersedes":{}"#,
            ),
            self.iss,
            self.sub,
            self.aud,
            self.iat,
            self.exp,
            self.nonce,
            self.kind,
            self.height,
            self.prev,
            self.epoch,
            body,
            supersedes,
        );
        if let Some(genesis) = &self.genesis {
            genesis.append_to(&mut json);
        }
        json.push('}');
        json
    }

    /// Whether `aud` and `nonce` may stand in a block, before there is one.
    ///
    /// # Errors
    /// [`BlockError`] with found and expected.
    pub fn check_texts(aud: &str, nonce: &str) -> Result<(), BlockError> {
        check_text("aud", aud, 1)?;
        check_nonce(nonce)
    }

    /// Checks every rule that needs the claims alone.
    pub(super) fn check(&self) -> Result<(), BlockError> {
        check_text("iss", &self.iss, 1)?;
        check_text("aud", &self.aud, 1)?;
        check_nonce(&self.nonce)?;
        self.check_integers()?;
        self.check_times()?;
        self.check_place()?;
        self.check_presence()?;
        match &self.genesis {
            Some(genesis) => genesis.check_keys_differ(),
            None => Ok(()),
        }
    }

    fn check_integers(&self) -> Result<(), BlockError> {
        let integers = [
            ("iat", self.iat),
            ("exp", self.exp),
            ("height", self.height),
            ("epoch", self.epoch),
        ];
        match integers.into_iter().find(|(_, value)| *value > MAX_INTEGER) {
            Some((claim, found)) => Err(BlockError::Integer { claim, found }),
            None => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), BlockError> {
        let kind = self.kind;
        let expected = match kind.class() {
            Class::Admit if self.exp > self.iat => return Ok(()),
            Class::Admit => format!("more than iat {}", self.iat),
            Class::Restrict => {
                let exp = self.iat.saturating_add(RESTRICT_LIFETIME_S);
                if self.exp == exp {
                    return Ok(());
                }
                exp.to_string()
            }
        };
        Err(BlockError::Exp {
            kind,
            found: self.exp,
            expected,
        })
    }

    fn check_place(&self) -> Result<(), BlockError> {
        let kind = self.kind;
        if kind.is_about_the_account() && self.aud != self.iss {
            let (found, expected) = (self.aud.clone(), self.iss.clone());
            return Err(BlockError::Aud {
                kind,
                found,
                expected,
            });
        }
        let is_genesis = kind == Kind::Genesis;
        if is_genesis != (self.height == 0) {
            let expected = if is_genesis { "0" } else { "1 or more" };
            return Err(BlockError::Height {
                kind,
                found: self.height,
                expected,
            });
        }
        if is_genesis && self.prev != Hash::ZERO {
            return Err(present(kind, "prev", "a hash", "zeros"));
        }
        if is_genesis && self.epoch != 0 {
            return Err(present(kind, "epoch", "above 0", "0"));
        }
        Ok(())
    }

    fn check_presence(&self) -> Result<(), BlockError> {
        let kind = self.kind;
        match (kind.is_asked(), self.body.is_some()) {
            (true, false) => return Err(present(kind, "body", "empty", "a hash")),
            (false, true) => return Err(present(kind, "body", "a hash", "empty")),
            (true, true) | (false, false) => {}
        }
        if kind.class() == Class::Admit && self.supersedes.is_some() {
            return Err(present(kind, "supersedes", "a hash", "null"));
        }
        match (kind == Kind::Genesis, self.genesis.is_some()) {
            (true, false) => Err(present(kind, "cnf", "absent", "present")),
            (false, true) => Err(present(kind, "cnf", "present", "absent")),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

impl GenesisClaims {
    fn append_to(&self, json: &mut String) {
        let [device, broker, trust_operator] =
            Role::ALL.map(|role| text_b64(self.parties.key(role)));
        let jwk = jwk_text(&self.account_key);
        let transcript = self.transcript;
        // Writing to a string cannot fail.
        let _ = write!(
            json,
            r#","cnf":{{"jwk":{jwk}}},"parties":["{device}","{broker}","{trust_operator}"],"transcript":"{transcript}""#,
        );
    }

    /// A key in two roles would let one signature count as two agreements.
    fn check_keys_differ(&self) -> Result<(), BlockError> {
        let keys = [
            ("account", &self.account_key),
            ("device", &self.parties.device),
            ("broker", &self.parties.broker),
            ("trust operator", &self.parties.trust_operator),
        ];
        for (at, (first, key)) in keys.iter().enumerate() {
            let same = keys
                .iter()
                .skip(at.saturating_add(1))
                .find(|(_, other)| other == key);
            if let Some((second, _)) = same {
                return Err(BlockError::SameKey { first, second });
            }
        }
        Ok(())
    }
}

fn present(
    kind: Kind,
    claim: &'static str,
    found: &'static str,
    expected: &'static str,
) -> BlockError {
    BlockError::Presence {
        kind,
        claim,
        found,
        expected,
    }
}

fn check_length(claim: &'static str, text: &str, min: usize, max: usize) -> Result<(), BlockError> {
    let found = text.len();
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(BlockError::TextLength {
            claim,
            found,
            min,
            max,
        })
    }
}

fn check_text(claim: &'static str, text: &str, min: usize) -> Result<(), BlockError> {
    check_length(claim, text, min, 128)?;
    let allowed = |byte: &u8| (0x20..=0x7e).contains(byte) && *byte != b'"' && *byte != b'\\';
    match text.bytes().find(|byte| !allowed(byte)) {
        Some(found) => {
            let expected = "printable ascii without quote and backslash";
            Err(BlockError::TextByte {
                claim,
                found,
                expected,
            })
        }
        None => Ok(()),
    }
}

fn check_nonce(nonce: &str) -> Result<(), BlockError> {
    check_length("nonce", nonce, 22, 128)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    match nonce.bytes().find(|byte| !allowed(byte)) {
        Some(found) => Err(BlockError::TextByte {
            claim: "nonce",
            found,
            expected: "base64url",
        }),
        None => Ok(()),
    }
}
