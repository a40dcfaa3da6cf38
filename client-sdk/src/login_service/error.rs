//! Why a login service's request did not succeed.

use warifu_consensus::block::SealedError;
use warifu_consensus::chain::ChainError;
use warifu_consensus::party::Sub;

use super::history::HistoryError;
use super::pins::PinError;
use super::problem::Problem;
use crate::receipt::ReceiptError;

/// Why a login service's request did not succeed. Nobody may be let in after any of these;
/// [`LoginServiceError::advice`] says what to do instead.
#[derive(Debug, thiserror::Error)]
pub enum LoginServiceError {
    /// The broker's address is none that this version speaks to.
    #[error(
        "broker url is {found}, expected https:// and a host, or http:// and a loopback address"
    )]
    BaseUrl {
        /// As given.
        found: String,
    },
    /// The authorities that vouch for the broker's certificate can't be read.
    #[error("certificate authorities: {what}")]
    Authorities {
        /// Which file, and what is wrong.
        what: String,
    },
    /// The HTTP client can't be set up.
    #[error("http client: {what}")]
    Setup {
        /// What it says.
        what: String,
    },
    /// The broker doesn't answer.
    #[error("broker can't be reached: {what}")]
    Unreachable {
        /// What the connection says.
        what: String,
        /// Whether the request may have reached the broker, and so may have had its effect.
        is_sent: bool,
    },
    /// The broker refused; see [`Problem::kind`].
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The broker's answer is not what the operation answers.
    #[error("broker's answer: {what}")]
    Answer {
        /// Found and expected.
        what: String,
    },
    /// The broker's answer is of a later version than this SDK.
    #[error("broker answers {what}, which this version of the SDK does not know")]
    Newer {
        /// What is not known.
        what: String,
    },
    /// A login's handle is another login service's: restored with another configuration.
    #[error("login's {what} is {found}, expected {expected}, this login service's own")]
    Foreign {
        /// `iss` or `aud`.
        what: &'static str,
        /// As the handle says.
        found: String,
        /// As this login service is set up.
        expected: String,
    },
    /// A login's handle holds an account, key or device that this login service pinned to nobody:
    /// it was altered where it was stored, or the customer's pin is gone.
    #[error(
        "login's {what} is not the one that is pinned for account {account}: expected a handle that nobody altered, and a pin"
    )]
    Altered {
        /// `account`, `account key` or `device`.
        what: &'static str,
        /// The account, as the handle says.
        account: Sub,
    },
    /// The login's nonce let somebody in already: its handle was restored twice.
    #[error("login has let somebody in already")]
    Spent,
    /// The customer has no pin: enrol first.
    #[error("customer {customer} has no pinned account: an enrolment pins one")]
    NotPinned {
        /// The customer id.
        customer: String,
    },
    /// The customer has a pin: there is no second enrolment in this version.
    #[error("customer {customer} is pinned to account {account} already, expected no pin")]
    AlreadyPinned {
        /// The customer id.
        customer: String,
        /// The account pinned.
        account: Sub,
    },
    /// The pin store refuses or fails.
    #[error("{0}")]
    Pin(#[from] PinError),
    /// The broker says admitted, but the block is not this login. The broker is faulty or lies:
    /// keep the block and look into it.
    #[error("broker says admitted, but {0}")]
    Verification(#[from] ReceiptError),
    /// The receipt beside an admitted block is not that block's.
    #[error("broker says admitted, but its receipt holds another block")]
    Receipt,
    /// A sealed block in an answer is none.
    #[error("{0}")]
    Sealed(#[from] SealedError),
    /// The genesis of an enrolment doesn't verify under the pinned ledger.
    #[error("genesis: {0}")]
    Genesis(#[from] ChainError),
    /// A block of a history or freeze doesn't verify.
    #[error("{0}")]
    History(#[from] HistoryError),
    /// The login neither ended nor expired in all its time.
    #[error("broker has not ended the login {waited_s} s after its begin")]
    Undecided {
        /// Seconds waited.
        waited_s: u64,
    },
    /// The operating system gives no randomness.
    #[error("no randomness: {what}")]
    Entropy {
        /// What it says.
        what: String,
    },
}
