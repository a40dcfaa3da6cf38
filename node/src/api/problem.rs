//! Errors of the HTTP side as problem documents (RFC 9457).
//!
//! One place maps what the desk and the account's rules refuse to stable problem types. Details
//! say found and expected; they never say a secret, and never whether another caller's login or
//! ticket exists.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use warifu_client_sdk::login_service::problem::{PROBLEM_JSON, Problem, ProblemKind};
use warifu_consensus::agree::Refusal;
use warifu_consensus::block::Kind;
use warifu_consensus::chain::Status;

use super::desk::DeskError;
use crate::clock;

/// A problem on its way out.
#[derive(Debug)]
pub(super) struct Refused(Box<Problem>);

impl Refused {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Refused {
        Refused(Box::new(Problem::new(kind, detail)))
    }

    pub(super) fn later(detail: impl Into<String>, retry_after_s: u64) -> Refused {
        let mut refused = Refused::new(ProblemKind::TooMany, detail);
        refused.0.retry_after = Some(retry_after_s);
        refused
    }
}

impl From<DeskError> for Refused {
    fn from(error: DeskError) -> Refused {
        let detail = error.to_string();
        let kind = match error {
            DeskError::Refused(refusal) => return refusal.into(),
            DeskError::Limit { retry_after_s, .. } => return Refused::later(detail, retry_after_s),
            DeskError::WrongDigits { left } => {
                let mut refused = Refused::new(ProblemKind::WrongDigits, detail);
                refused.0.tries_left = Some(left);
                return refused;
            }
            DeskError::UnknownAccount { .. } => ProblemKind::UnknownAccount,
            DeskError::Erased { .. } => ProblemKind::Erased,
            DeskError::NotFrozen(_) => ProblemKind::NotFrozen,
            DeskError::Unlogged(_) => ProblemKind::Pending,
            DeskError::UnknownLogin => ProblemKind::UnknownLogin,
            DeskError::Ended => ProblemKind::TooLate,
            DeskError::UnknownTicket => ProblemKind::UnknownTicket,
            DeskError::TrustOperatorUnreachable => ProblemKind::TrustOperatorUnreachable,
            DeskError::NoDigits => ProblemKind::NoDigits,
            DeskError::Stopping => ProblemKind::Stopping,
        };
        Refused::new(kind, detail)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let detail = refusal.to_string();
        let kind = match refusal {
            Refusal::Busy { until } => return busy(&detail, until),
            Refusal::StatusForbids { found, .. } => match found {
                Status::Frozen => ProblemKind::Frozen,
                Status::Revoked => ProblemKind::Revoked,
                // An active account forbids only what frozen ones are for.
                Status::Active => ProblemKind::NotFrozen,
            },
            // The freeze is not sealed yet, but nothing is admitted before it.
            Refusal::Pending { first } if first == Kind::Freeze.name() => ProblemKind::Frozen,
            Refusal::Pending { .. } | Refusal::NoGenesis => ProblemKind::Pending,
            Refusal::Locked => ProblemKind::TooLate,
            Refusal::TrustOperatorDown => ProblemKind::TrustOperatorUnreachable,
            Refusal::NoLogin => ProblemKind::UnknownLogin,
            Refusal::Pace { window_s, .. } => {
                return Refused::later(detail, window_s);
            }
            Refusal::Rule(_) | Refusal::Replayed { .. } => ProblemKind::Malformed,
            Refusal::NoShare => ProblemKind::ShareMissing,
            Refusal::DiskNearlyFull => ProblemKind::DiskNearlyFull,
            Refusal::Conflict => ProblemKind::Conflict,
            Refusal::Dead => ProblemKind::UnknownAccount,
            // Said to parties about their messages; a login service sends none.
            Refusal::WrongParty { .. } | Refusal::Unfit { .. } => ProblemKind::Internal,
        };
        Refused::new(kind, detail)
    }
}

/// When the open proposal has ended at the latest: as a time, and as a wait.
fn busy(detail: &str, until: u64) -> Refused {
    let wait_s = until.saturating_sub(clock::now().seconds());
    let until = clock::local(until);
    let detail = format!("{detail}; it ends by {until}, {wait_s} s from now");
    let mut refused = Refused::new(ProblemKind::Busy, detail);
    refused.0.retry_after = Some(wait_s.max(1));
    refused
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(problem) = self;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.retry_after;
        let mut response = (status, axum::Json(*problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1: a 401 names its scheme.
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"warifu\""),
            );
        }
        response
    }
}
