//! Who takes part: the three roles, the names of accounts, and the keys that a verifier pins.
//!
//! Decides which number, text and key belong to whom. Never decides whether a signature is good.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::{self, EncodingError};

/// One of the three parties of an account. Its number is its FROST identifier.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[repr(u8)]
pub enum Role {
    /// The customer's device.
    Device = 1,
    /// The broker.
    Broker = 2,
    /// The trust operator, which belongs to neither.
    TrustOperator = 3,
}

impl Role {
    /// All three roles in role order.
    pub const ALL: [Role; 3] = [Role::Device, Role::Broker, Role::TrustOperator];

    /// The role's number: 1, 2 or 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Device => "device",
            Role::Broker => "broker",
            Role::TrustOperator => "trust operator",
        })
    }
}

/// A number that names no role.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("role is {found}, expected 1, 2 or 3")]
pub struct UnknownRole {
    /// The number found.
    pub found: u8,
}

impl TryFrom<u8> for Role {
    type Error = UnknownRole;

    fn try_from(number: u8) -> Result<Role, UnknownRole> {
        match number {
            1 => Ok(Role::Device),
            2 => Ok(Role::Broker),
            3 => Ok(Role::TrustOperator),
            found => Err(UnknownRole { found }),
        }
    }
}

/// An account's name: 16 bytes derived from its enrolment transcript, never a customer number.
/// Text: 22 characters of base64url.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sub(pub [u8; 16]);

impl Sub {
    /// All bytes zero: what tickets and session keys are voted on with, before an account exists.
    pub const ZERO: Sub = Sub([0; 16]);

    /// The name of the account that `transcript` (the transcript's hash) enrolled.
    #[must_use]
    pub fn of_transcript(transcript: &encoding::Hash) -> Sub {
        let hash = encoding::derive(encoding::Context::Sub, &[&transcript.0]);
        let mut sub = [0_u8; 16];
        for (to, from) in sub.iter_mut().zip(hash.0) {
            *to = from;
        }
        Sub(sub)
    }
}

impl fmt::Display for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::text_b64(&self.0))
    }
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sub({self})")
    }
}

impl FromStr for Sub {
    type Err = EncodingError;

    fn from_str(text: &str) -> Result<Sub, EncodingError> {
        encoding::parse_b64(text).map(Sub)
    }
}

impl Serialize for Sub {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encoding::bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Sub {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sub, D::Error> {
        encoding::bytes::deserialize(deserializer).map(Sub)
    }
}

/// The identity keys of an account's three parties: 32-byte Ed25519 public keys.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Parties {
    /// The device's key, made for this account only.
    #[serde(with = "encoding::bytes")]
    pub device: [u8; 32],
    /// The broker's published key.
    #[serde(with = "encoding::bytes")]
    pub broker: [u8; 32],
    /// The trust operator's published key.
    #[serde(with = "encoding::bytes")]
    pub trust_operator: [u8; 32],
}

impl Parties {
    /// The key of one party.
    #[must_use]
    pub const fn key(&self, role: Role) -> &[u8; 32] {
        match role {
            Role::Device => &self.device,
            Role::Broker => &self.broker,
            Role::TrustOperator => &self.trust_operator,
        }
    }
}

/// What a verifier pins: the ledger's origin and its two operators' identity keys. The keys of its log stand beside them
/// in `ledger.toml` and are read as [`LogKeys`](crate::log::LogKeys).
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Ledger {
    /// The ledger's origin, as in every block's `iss`: 1 to 128 printable ASCII characters.
    pub iss: String,
    /// The broker's Ed25519 public key; text: 43 characters of base64url.
    #[serde(with = "encoding::bytes")]
    pub broker: [u8; 32],
    /// The trust operator's Ed25519 public key; text: 43 characters of base64url.
    #[serde(with = "encoding::bytes")]
    pub trust_operator: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::{Role, UnknownRole};

    #[test]
    fn signers_are_1_2_3_and_nobody_else() {
        for number in 0..=u8::MAX {
            let found = Role::try_from(number);
            match number {
                1..=3 => assert_eq!(found.map(Role::number), Ok(number)),
                found_number => assert_eq!(
                    found,
                    Err(UnknownRole {
                        found: found_number
                    })
                ),
            }
        }
        assert_eq!(Role::ALL.map(Role::number), [1, 2, 3]);
    }
}
