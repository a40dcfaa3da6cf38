//! The broker's HTTP side, for login services: authenticates the caller, reads JSON, asks the
//! [`Desk`], writes JSON or a problem document.
//!
//! It decides who may ask for what and in which form; whether anything is agreed is decided behind
//! the desk. `aud` comes from the caller's credential, never from a request. It speaks TLS,
//! or plain HTTP on loopback only; a body is at most 16 KiB; it never logs tokens, tickets, bodies
//! or customers' addresses.

mod accounts;
mod auth;
pub mod desk;
mod enrolments;
mod health;
mod limits;
mod live;
mod logins;
mod network;
mod openapi;
mod problem;
mod read;
mod request_id;
mod serve;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warifu_client_sdk::login_service::problem::ProblemKind;

pub use desk::Desk;
pub use limits::{Limits, MAX_COUNTED};
pub use live::{Follow, Live};
pub use serve::{ServeError, serve, serve_public, serve_with};
pub use tls::{TlsError, read_pair, server_config};

use crate::{
    observe::http as observe,
    secrets::{Scope, Tokens},
};
use openapi::{Endpoints, Needs};
use problem::Refused;

/// What every request sees.
struct Api<D>(Arc<Shared<D>>);

struct Shared<D> {
    desk: Arc<D>,
    tokens: Arc<Live<Tokens>>,
    limits: Limits,
    paces: limits::Paces,
    waits: Arc<Semaphore>,
    document: String,
}

impl<D> Clone for Api<D> {
    fn clone(&self) -> Api<D> {
        Api(Arc::clone(&self.0))
    }
}

impl<D: Desk> Api<D> {
    fn desk(&self) -> &D {
        &self.0.desk
    }

    fn tokens(&self) -> &Live<Tokens> {
        &self.0.tokens
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn paces(&self) -> &limits::Paces {
        &self.0.paces
    }

    fn document(&self) -> &str {
        &self.0.document
    }

    /// A place among the requests that wait; none is needed to look without waiting.
    fn hold(&self, wait: Duration) -> Result<Option<OwnedSemaphorePermit>, Refused> {
        if wait.is_zero() {
            return Ok(None);
        }
        let place = Arc::clone(&self.0.waits).try_acquire_owned();
        place.map(Some).map_err(|_| {
            let allowed = self.0.limits.waits;
            Refused::later(format!("{allowed} requests wait already, at most that"), 1)
        })
    }
}

/// All endpoints over a desk, for the callers of `tokens`, with the usual limits.
pub fn router<D: Desk>(desk: Arc<D>, tokens: Tokens) -> Router {
    router_with(desk, Arc::new(Live::new(tokens)), Limits::default())
}

/// [`router`] with callers that may change, and other limits.
pub fn router_with<D: Desk>(desk: Arc<D>, tokens: Arc<Live<Tokens>>, limits: Limits) -> Router {
    let (endpoints, document) = endpoints::<D>().finish();
    let api = Api(Arc::new(Shared {
        desk,
        tokens,
        limits,
        paces: limits::Paces::new(&limits),
        waits: Arc::new(Semaphore::new(limits.waits)),
        document,
    }));
    endpoints
        .fallback(|| async { Refused::new(ProblemKind::NotFound, "no such path") })
        .method_not_allowed_fallback(other_method)
        .layer(map_response(uncached))
        .layer(from_fn(observe::observe))
        .layer(from_fn(request_id::name))
        .with_state(api)
}

/// Every endpoint, once: its handler, the scope that it needs, and the problems of its own.
fn endpoints<D: Desk>() -> Endpoints<D> {
    use ProblemKind as P;
    let needs = |scope, problems| Needs { scope, problems };
    Endpoints::new()
        .with(
            logins::__path_begin,
            logins::begin::<D>,
            needs(Scope::Login, BEGIN),
        )
        .with(
            logins::__path_watch,
            logins::watch::<D>,
            needs(Scope::Login, &[P::Malformed, P::UnknownLogin, P::TooMany]),
        )
        .with(
            logins::__path_cancel,
            logins::cancel::<D>,
            needs(Scope::Login, &[P::Malformed, P::UnknownLogin, P::TooLate]),
        )
        .with(
            enrolments::__path_open,
            enrolments::open::<D>,
            needs(
                Scope::Enrol,
                &[
                    P::Malformed,
                    P::TooLarge,
                    P::TooMany,
                    P::TrustOperatorUnreachable,
                ],
            ),
        )
        .with(
            enrolments::__path_watch,
            enrolments::watch::<D>,
            needs(Scope::Enrol, &[P::Malformed, P::UnknownTicket, P::TooMany]),
        )
        .with(
            enrolments::__path_confirm,
            enrolments::confirm::<D>,
            needs(
                Scope::Enrol,
                &[
                    P::Malformed,
                    P::TooLarge,
                    P::UnknownTicket,
                    P::WrongDigits,
                    P::NoDigits,
                ],
            ),
        )
        .with(
            accounts::__path_show,
            accounts::show::<D>,
            needs(
                Scope::History,
                &[P::Malformed, P::UnknownAccount, P::Erased, P::Pending],
            ),
        )
        .with(
            accounts::__path_history,
            accounts::history::<D>,
            needs(Scope::History, &[P::Malformed, P::UnknownAccount]),
        )
        .with(
            accounts::__path_chain,
            accounts::chain::<D>,
            needs(
                Scope::History,
                &[P::Malformed, P::UnknownAccount, P::Pending],
            ),
        )
        .with(
            accounts::__path_last_login,
            accounts::last_login::<D>,
            needs(
                Scope::History,
                &[P::Malformed, P::UnknownAccount, P::Erased, P::Pending],
            ),
        )
        .with(
            accounts::__path_freeze,
            accounts::freeze::<D>,
            needs(
                Scope::Freeze,
                &[
                    P::Malformed,
                    P::TooLarge,
                    P::UnknownAccount,
                    P::Erased,
                    P::Pending,
                    P::TooMany,
                ],
            ),
        )
        .with(
            accounts::__path_erase,
            accounts::erase::<D>,
            needs(
                Scope::Erase,
                &[
                    P::Malformed,
                    P::TooLarge,
                    P::UnknownAccount,
                    P::NotFrozen,
                    P::Pending,
                ],
            ),
        )
        .with(
            accounts::__path_unfreeze,
            accounts::unfreeze::<D>,
            needs(Scope::Desk, BEGIN),
        )
        .open(health::__path_healthz, health::healthz)
        .open(health::__path_readyz, health::readyz::<D>)
        .open(openapi::__path_show, openapi::show::<D>)
}

/// Problems of whatever asks the customer for something.
const BEGIN: &[ProblemKind] = &[
    ProblemKind::Malformed,
    ProblemKind::TooLarge,
    ProblemKind::UnknownAccount,
    ProblemKind::Erased,
    ProblemKind::Busy,
    ProblemKind::Frozen,
    ProblemKind::NotFrozen,
    ProblemKind::Revoked,
    ProblemKind::Pending,
    ProblemKind::Conflict,
    ProblemKind::TooMany,
    ProblemKind::TrustOperatorUnreachable,
    ProblemKind::DiskNearlyFull,
    ProblemKind::ShareMissing,
];

/// What a path answers to a method that it lacks. Both answers name those that it has, in `Allow`
/// (RFC 9110 §9.3.7, §15.5.6); there are no CORS headers, so browsers of other origins stay out.
async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Refused::new(ProblemKind::MethodNotAllowed, "no such method on this path").into_response()
}

/// Answers hold tickets and logins: nobody on the way keeps them.
async fn uncached(response: Response) -> Response {
    (
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        response,
    )
        .into_response()
}
