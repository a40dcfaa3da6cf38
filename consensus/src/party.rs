//! The three parties of an account. Decides which number names whom, because the same number is the
//! FROST identifier, the byte in a vote and the position in every list of three. Never holds keys.

use core::fmt;

use serde::{Deserialize, Serialize};

/// One of the three parties that hold a share of an account key. "Role order" is the order of
/// [`Role::ALL`]: device, broker, trust operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Role {
    /// The customer's device: assents.
    Device = 1,
    /// The broker: proposes and endorses.
    Broker = 2,
    /// The trust operator: seals.
    TrustOperator = 3,
}

/// A byte that names no party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found party {found}, expected 1, 2 or 3")]
pub struct UnknownRole {
    /// The byte as it was read.
    pub found: u8,
}

impl Role {
    /// All parties, in role order.
    pub const ALL: [Role; 3] = [Role::Device, Role::Broker, Role::TrustOperator];

    /// The party's number, 1 to 3: its byte in signed structures and its FROST identifier.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for Role {
    type Error = UnknownRole;

    fn try_from(number: u8) -> Result<Self, UnknownRole> {
        match number {
            1 => Ok(Role::Device),
            2 => Ok(Role::Broker),
            3 => Ok(Role::TrustOperator),
            found => Err(UnknownRole { found }),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_two_and_three_name_a_party() {
        for number in 0..=u8::MAX {
            match Role::try_from(number) {
                Ok(role) => {
                    assert_eq!(role.number(), number);
                    assert!(Role::ALL.contains(&role));
                }
                Err(error) => {
                    assert_eq!(error.found, number);
                    assert!(!(1..=3).contains(&number));
                }
            }
        }
    }
}
