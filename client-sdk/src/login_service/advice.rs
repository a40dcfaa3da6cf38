//! What to do after an error: the one question that a login service's program has about it.

use std::time::Duration;

use super::error::LoginServiceError;
use super::pins::PinError;
use super::problem::{Problem, ProblemKind};
use crate::receipt::ReceiptError;

/// After which pause something may have changed, where the broker doesn't say.
const SOON: Duration = Duration::from_secs(1);

/// What to do after an error. In no case may the customer come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Advice {
    /// The broker, or the way to it, is busy or down: the same call may succeed after this pause.
    /// For a `begin` that is a new login, with a new number.
    Retry {
        /// Not before.
        after: Duration,
    },
    /// All is well but this can't be done: the message says why, and what the customer may do.
    TellCustomer,
    /// This login service asks wrongly, or is set up wrongly: a programmer's or administrator's
    /// work. Nothing else will help.
    Fix,
    /// Something is broken, or somebody lies: keep what the error says and wake someone.
    Page,
}

impl LoginServiceError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            LoginServiceError::Unreachable { .. } => Advice::Retry { after: SOON },
            LoginServiceError::Problem(problem) => of_problem(problem),
            LoginServiceError::NotPinned { .. }
            | LoginServiceError::AlreadyPinned { .. }
            | LoginServiceError::Undecided { .. } => Advice::TellCustomer,
            // All three signed, but this look came after `exp`: begin again.
            LoginServiceError::Verification(ReceiptError::Time(_)) => Advice::TellCustomer,
            LoginServiceError::BaseUrl { .. }
            | LoginServiceError::Authorities { .. }
            | LoginServiceError::Setup { .. }
            | LoginServiceError::Newer { .. }
            | LoginServiceError::Foreign { .. }
            | LoginServiceError::Spent
            | LoginServiceError::Pin(PinError::Customer { .. } | PinError::Version { .. }) => {
                Advice::Fix
            }
            LoginServiceError::Pin(_)
            | LoginServiceError::Answer { .. }
            | LoginServiceError::Altered { .. }
            | LoginServiceError::Verification(_)
            | LoginServiceError::Receipt
            | LoginServiceError::Sealed(_)
            | LoginServiceError::Genesis(_)
            | LoginServiceError::History(_)
            | LoginServiceError::Entropy { .. } => Advice::Page,
        }
    }

    /// Whether a request without an effect may succeed when it is sent again.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            LoginServiceError::Unreachable { .. } => true,
            LoginServiceError::Problem(problem) => matches!(problem.status, 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// The pause that the broker asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            LoginServiceError::Problem(problem) => problem.retry_after.map(Duration::from_secs),
            _ => None,
        }
    }
}

fn of_problem(problem: &Problem) -> Advice {
    let after = problem.retry_after.map_or(SOON, Duration::from_secs);
    let Some(kind) = problem.kind() else {
        // A later broker's: the status is what HTTP promises to mean something.
        return match problem.status {
            408 | 429 | 502..=504 => Advice::Retry { after },
            404 | 409 | 410 => Advice::TellCustomer,
            400..=499 => Advice::Fix,
            _ => Advice::Page,
        };
    };
    match kind {
        ProblemKind::TooMany
        | ProblemKind::Pending
        | ProblemKind::TrustOperatorUnreachable
        | ProblemKind::Stopping => Advice::Retry { after },
        ProblemKind::UnknownLogin
        | ProblemKind::UnknownTicket
        | ProblemKind::Busy
        | ProblemKind::TooLate
        | ProblemKind::Frozen
        | ProblemKind::NotFrozen
        | ProblemKind::Revoked
        | ProblemKind::Erased
        | ProblemKind::WrongDigits
        | ProblemKind::NoDigits => Advice::TellCustomer,
        ProblemKind::Malformed
        | ProblemKind::NotAuthenticated
        | ProblemKind::Scope
        | ProblemKind::NotFound
        | ProblemKind::MethodNotAllowed
        | ProblemKind::TooLarge => Advice::Fix,
        // A pinned account that the broker doesn't know, or can't serve, is the broker's to explain.
        ProblemKind::UnknownAccount
        | ProblemKind::Conflict
        | ProblemKind::Internal
        | ProblemKind::DiskNearlyFull
        | ProblemKind::ShareMissing => Advice::Page,
    }
}
