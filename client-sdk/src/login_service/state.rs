//! Where logins, enrolments and freezes can be, as a login service's program holds them.

use std::time::Duration;

use warifu_consensus::block::Sealed;
use warifu_consensus::party::Role;

use super::pins::Pin;
use crate::receipt::{Expected, VerifiedLogin};

/// A login that was begun and has not ended. It moves into every call that may end it, so its
/// nonce lets in at most once.
#[derive(Debug)]
pub struct OpenLogin {
    pub(super) id: String,
    pub(super) number: String,
    pub(super) expires_in: Duration,
    pub(super) expected: Expected,
}

impl OpenLogin {
    /// The broker's name for it: 22 characters of base64url.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Two digits to show on the page.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.number
    }

    /// How long the customer has, from the begin.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// What the block will have to be.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }
}

/// A login that the broker says is admitted and that verified: the customer may come in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Admission {
    /// The block as a compact JWT: keep it.
    pub compact: String,
    /// The same block with the three votes: keep it as evidence.
    pub receipt: Box<Sealed>,
    /// What was verified.
    pub login: VerifiedLogin,
    /// The pinned key that verified it.
    pub account_key: [u8; 32],
}

/// How a login ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum LoginEnd {
    /// All three signed, the broker says so, and the block verified.
    Admitted(Box<Admission>),
    /// Someone refused.
    Refused {
        /// Who, as the broker says.
        by: Role,
        /// Why, for people.
        reason: String,
    },
    /// Time ran out.
    Expired,
}

/// A login after one look.
#[derive(Debug)]
#[must_use]
pub enum Polled {
    /// Nobody decided yet.
    Pending(OpenLogin),
    /// It ended.
    Ended(LoginEnd),
}

/// An enrolment that was opened.
#[derive(Clone, Debug)]
pub struct OpenEnrolmentSession {
    /// The session: 43 characters of base64url.
    pub session: String,
    /// What the device scans. Show it to the customer only.
    pub ticket_uri: zeroize::Zeroizing<String>,
    /// How long the ticket lives.
    pub expires_in: Duration,
}

/// How an enrolment stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnrolmentEnd {
    /// No device yet, or the key is being made.
    Waiting,
    /// Ask the customer for the six digits on the device.
    Digits,
    /// The account exists, its genesis verified, and it is pinned to the customer.
    Pinned {
        /// Account and key.
        pin: Pin,
        /// The genesis.
        genesis: Box<Sealed>,
    },
    /// The session ended without an account.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// What became of a freeze.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FreezeEnd {
    /// The `freeze` block, verified.
    Frozen(Box<Sealed>),
    /// The broker holds the wish durably; the trust operator has not answered yet.
    Pending,
}
