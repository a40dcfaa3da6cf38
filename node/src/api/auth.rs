//! Who calls: bearer tokens (RFC 6750), compared by hash, and what each may do.
//!
//! Decides caller and scope before a request's body is read. The credential, never the request,
//! says which relying party the caller is.

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use warifu_client_sdk::login_service::problem::ProblemKind;

use super::Api;
use super::desk::Desk;
use super::problem::Refused;
use crate::secrets::{Caller, Scope};

/// The authenticated caller of a request.
#[derive(Clone, Debug)]
pub(super) struct Authenticated(Caller);

impl Authenticated {
    /// The caller's name, which owns logins and tickets.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// The relying party that the caller's blocks name.
    pub(super) fn aud(&self) -> &str {
        &self.0.aud
    }

    /// Refuses a caller without this scope.
    pub(super) fn require(&self, scope: Scope) -> Result<(), Refused> {
        if self.0.may(scope) {
            return Ok(());
        }
        let expected = scope.name();
        Err(Refused::new(
            ProblemKind::Scope,
            format!("caller {} lacks scope {expected}", self.0.name),
        ))
    }
}

impl<D: Desk> FromRequestParts<Api<D>> for Authenticated {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Api<D>) -> Result<Self, Refused> {
        let refused = |detail: &str| Refused::new(ProblemKind::NotAuthenticated, detail.to_owned());
        let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (headers.next(), headers.next()) else {
            return Err(refused("expected one authorization header"));
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim_start_matches(' '))
            .ok_or_else(|| refused("expected a bearer token"))?;
        let caller = api.tokens().now().caller(token).cloned();
        caller
            .map(Authenticated)
            .ok_or_else(|| refused("no caller holds this token"))
    }
}
