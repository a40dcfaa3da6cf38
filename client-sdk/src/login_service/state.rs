//! Where logins, enrolments and freezes can be, as a login service's program holds them.

use std::fmt;
use std::time::Duration;

use warifu_consensus::block::Sealed;
use warifu_consensus::party::Role;

use super::open_login::OpenLogin;
use super::pins::Pin;
use crate::receipt::{Checked, Logged, VerifiedLogin};

/// A login that the broker says is admitted and that verified: the customer may come in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Admission {
    /// Whom to let in: the customer that the account is pinned to, as the pin store said just now.
    /// Nobody else, whatever a session beside the handle says.
    pub customer: String,
    /// The block as a compact JWT: keep it.
    pub compact: String,
    /// The same block with the three votes: keep it as evidence.
    pub receipt: Box<Sealed>,
    /// What was verified.
    pub login: VerifiedLogin,
    /// The pinned key that verified it.
    pub account_key: [u8; 32],
    /// What was looked at.
    pub checked: Checked,
    /// Where the block stands in the ledger's log, verified; the proof's text beside it, to keep with the receipt. There
    /// if the login service [asks for it](super::LoginService::with_log) and the log got so far in time.
    pub logged: Option<(Logged, String)>,
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
#[derive(Clone)]
pub struct OpenEnrolmentSession {
    /// The session: 43 characters of base64url.
    pub session: String,
    /// What the device scans. Show it to the customer only.
    pub ticket_uri: zeroize::Zeroizing<String>,
    /// How long the ticket lives.
    pub expires_in: Duration,
}

impl fmt::Debug for OpenEnrolmentSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenEnrolmentSession")
            .field("session", &self.session)
            .field("ticket_uri", &"<redacted>")
            .field("expires_in", &self.expires_in)
            .finish()
    }
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
    /// A `freeze` block of this account, verified. It may be an older one, of an earlier freeze:
    /// nobody proves that no `unfreeze` came after it, and that the account is frozen now is the
    /// broker's word. Compare `iat` with the time of the call, and `height` with what
    /// [`history`](super::LoginService::history) shows above it.
    Frozen {
        /// The block with its votes.
        sealed: Box<Sealed>,
        /// Its height: its distance from genesis.
        height: u64,
        /// When it was proposed, as it says itself: seconds since the Unix epoch.
        iat: u64,
    },
    /// The broker holds the wish durably; the trust operator has not answered yet.
    Pending,
}
