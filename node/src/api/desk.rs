//! What the HTTP side asks of the broker: the one interface between requests and the runtime.
//!
//! The HTTP side authenticates the caller, checks scopes, reads and writes JSON; the desk decides.
//! A desk never trusts a caller's name for more than ownership of its own logins and tickets.

use core::future::Future;
use core::time::Duration;

use warifu_consensus::agree::{LoginId, Outcome, Refusal};
use warifu_consensus::block::{Kind, Sealed};
use warifu_consensus::body::Body;
use warifu_consensus::chain::{Head, Status};
use warifu_consensus::enrol::{SixDigits, Ticket};
use warifu_consensus::log::LogProof;
use warifu_consensus::party::Sub;
use warifu_consensus::time::Time;

/// What a caller asks the customer for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BeginRequest {
    /// `login`, `approve`, `change` or `unfreeze`.
    pub kind: Kind,
    /// The login service's challenge: 22 to 128 characters of base64url.
    pub nonce: String,
    /// What the device shows. Checked already.
    pub body: Body,
}

/// An open login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Began {
    /// Its name.
    pub id: LoginId,
    /// The number to show, 0 to 99.
    pub number: u8,
    /// When the proposal dies, seconds since the Unix epoch.
    pub exp: u64,
}

/// How a login stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoginState {
    /// Nobody decided yet.
    Pending {
        /// When the proposal dies, seconds since the Unix epoch.
        exp: u64,
    },
    /// It ended. `Admitted` only with the sealed block durable here, and told unexpired (protocol
    /// rule 6).
    Ended {
        /// How.
        outcome: Outcome,
        /// The account's public key, 32 bytes.
        account_key: [u8; 32],
    },
}

/// How an enrolment session stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EnrolmentState {
    /// No device yet, the key is being made, or the digits matched and the genesis is not sealed
    /// yet.
    Waiting,
    /// The device shows the six digits, and they were not matched yet.
    Digits,
    /// The genesis is sealed and durable here.
    Done {
        /// The account.
        account: Sub,
        /// Its public key, 32 bytes.
        account_key: [u8; 32],
        /// The genesis.
        genesis: Box<Sealed>,
    },
    /// The session ended without an account.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// An account as its chain leaves it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccountState {
    /// What it may do.
    pub status: Status,
    /// Its last block.
    pub head: Head,
    /// Its public key, 32 bytes.
    pub account_key: [u8; 32],
}

/// A block of an account's history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The block with proof and votes.
    pub sealed: Sealed,
    /// Its body, where it has one and this broker can still open it.
    pub body: Option<Body>,
}

/// What became of a freeze.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frozen {
    /// The `freeze` block, or the earlier one if the account was frozen already.
    Sealed(Box<Sealed>),
    /// The wish is durable here; the trust operator has not answered in time (protocol rule 4).
    Wanted,
}

/// Why the desk did not do what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeskError {
    /// No such account.
    #[error("account {account} is unknown here")]
    UnknownAccount {
        /// The account asked for.
        account: Sub,
    },
    /// The account is erased: its chain has ended.
    #[error("account {account} is erased")]
    Erased {
        /// The account asked for.
        account: Sub,
    },
    /// It admits, or may come to: it is erased only once it is frozen.
    #[error("{0}")]
    NotFrozen(String),
    /// The log does not hold all of its blocks yet.
    #[error("{0}")]
    Unlogged(String),
    /// No such login of this caller.
    #[error("no such login of this caller")]
    UnknownLogin,
    /// The login ended in another way than by a cancel.
    #[error("the login ended, too late to cancel")]
    Ended,
    /// No such enrolment session of this caller.
    #[error("no such enrolment session of this caller")]
    UnknownTicket,
    /// The account's rules refuse; nothing changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The line to the trust operator is down.
    #[error("the line to the trust operator is down")]
    TrustOperatorUnreachable,
    /// Wrong digits.
    #[error("the six digits are wrong, {left} tries left")]
    WrongDigits {
        /// Tries before the session ends.
        left: u8,
    },
    /// The session doesn't wait for digits.
    #[error("the session does not wait for digits")]
    NoDigits,
    /// Too many of something.
    #[error("{what}, try again in {retry_after_s} s")]
    Limit {
        /// Found and allowed.
        what: String,
        /// Seconds.
        retry_after_s: u64,
    },
    /// The node is stopping, or its store failed.
    #[error("the node is stopping")]
    Stopping,
}

/// The broker's runtime, as the HTTP side sees it.
///
/// `caller` is the authenticated caller's name: logins and enrolment sessions belong to the caller
/// that opened them, and are unknown to every other. `wait` is at most 30 s: an answer comes as
/// soon as a login is not `Pending`, an enrolment not `Waiting`, or when the time is over.
pub trait Desk: Send + Sync + 'static {
    /// The node's own clock.
    fn now(&self) -> Time;

    /// Opens a proposal. `aud` comes from the caller's credential.
    fn begin(
        &self,
        caller: &str,
        aud: &str,
        account: Sub,
        request: BeginRequest,
    ) -> impl Future<Output = Result<Began, DeskError>> + Send;

    /// How a login stands, waiting at most `wait` for its end.
    fn login(
        &self,
        caller: &str,
        id: LoginId,
        wait: Duration,
    ) -> impl Future<Output = Result<LoginState, DeskError>> + Send;

    /// The proof that a block is in the ledger's log, waiting at most `wait` for it; `None` if it is not there
    /// by then.
    fn proof(
        &self,
        sealed: &Sealed,
        wait: Duration,
    ) -> impl Future<Output = Result<Option<LogProof>, DeskError>> + Send;

    /// Takes a login back: [`Refusal::Locked`] when that is too late, or when it ended.
    fn cancel(
        &self,
        caller: &str,
        id: LoginId,
    ) -> impl Future<Output = Result<(), DeskError>> + Send;

    /// Makes and signs an enrolment ticket.
    fn open_ticket(&self, caller: &str) -> impl Future<Output = Result<Ticket, DeskError>> + Send;

    /// How an enrolment stands, waiting at most `wait` while it is `Waiting`.
    fn enrolment(
        &self,
        caller: &str,
        session: [u8; 32],
        wait: Duration,
    ) -> impl Future<Output = Result<EnrolmentState, DeskError>> + Send;

    /// The customer typed these digits. Answers with the state after them, waiting a few seconds
    /// for the genesis.
    fn confirm(
        &self,
        caller: &str,
        session: [u8; 32],
        digits: SixDigits,
    ) -> impl Future<Output = Result<EnrolmentState, DeskError>> + Send;

    /// An account as its chain leaves it.
    fn account(&self, account: Sub)
    -> impl Future<Output = Result<AccountState, DeskError>> + Send;

    /// Blocks below height `before` (all when none), newest first, at most `limit`.
    fn history(
        &self,
        account: Sub,
        before: Option<u64>,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<Entry>, DeskError>> + Send;

    /// Freezes an account; the wish is durable before this answers, and stays if the answer is
    /// [`Frozen::Wanted`].
    fn freeze(&self, account: Sub) -> impl Future<Output = Result<Frozen, DeskError>> + Send;

    /// Erases an account: its secrets are gone here when this answers; whether the trust operator has answered that
    /// they are gone there.
    fn erase(&self, account: Sub) -> impl Future<Output = Result<bool, DeskError>> + Send;

    /// Whether logins are possible now: store healthy, line to the trust operator up.
    fn ready(&self) -> impl Future<Output = Result<(), DeskError>> + Send;
}
