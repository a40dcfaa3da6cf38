//! The broker's HTTP side, for login services: authenticates the caller, reads JSON, asks the
//! [`Desk`], writes JSON or a problem document.
//!
//! It decides who may ask for what and in which form; whether anything is agreed is decided behind
//! the desk. `aud` comes from the caller's credential, never from a request. It speaks plain HTTP
//! and therefore listens on loopback only; a body is at most 16 KiB; it never logs tokens, tickets
//! or bodies.

mod accounts;
mod auth;
pub mod desk;
mod enrolments;
mod health;
mod limits;
mod logins;
mod problem;
mod read;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warifu_client_sdk::login_service::problem::ProblemKind;

pub use desk::Desk;
pub use limits::Limits;

use crate::{observe::http as observe, secrets::Tokens};
use problem::Refused;

/// What every request sees.
struct Api<D>(Arc<Shared<D>>);

struct Shared<D> {
    desk: Arc<D>,
    tokens: Tokens,
    limits: Limits,
    pace: limits::Pace,
    waits: Arc<Semaphore>,
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

    fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn pace(&self) -> &limits::Pace {
        &self.0.pace
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
    router_with(desk, tokens, Limits::default())
}

/// [`router`] with other limits.
pub fn router_with<D: Desk>(desk: Arc<D>, tokens: Tokens, limits: Limits) -> Router {
    let api = Api(Arc::new(Shared {
        desk,
        tokens,
        limits,
        pace: limits::Pace::new(limits.begins_per_minute),
        waits: Arc::new(Semaphore::new(limits.waits)),
    }));
    Router::new()
        .route("/v1/logins", post(logins::begin::<D>))
        .route(
            "/v1/logins/{id}",
            get(logins::watch::<D>).delete(logins::cancel::<D>),
        )
        .route("/v1/enrolments", post(enrolments::open::<D>))
        .route("/v1/enrolments/{session}", get(enrolments::watch::<D>))
        .route(
            "/v1/enrolments/{session}/confirm",
            post(enrolments::confirm::<D>),
        )
        .route("/v1/accounts/{account}", get(accounts::show::<D>))
        .route(
            "/v1/accounts/{account}/history",
            get(accounts::history::<D>),
        )
        .route(
            "/v1/accounts/{account}/last-login",
            get(accounts::last_login::<D>),
        )
        .route("/v1/accounts/{account}/freeze", post(accounts::freeze::<D>))
        .route(
            "/v1/accounts/{account}/unfreeze",
            post(accounts::unfreeze::<D>),
        )
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz::<D>))
        .fallback(|| async { Refused::new(ProblemKind::NotFound, "no such path") })
        .method_not_allowed_fallback(|| async {
            Refused::new(ProblemKind::MethodNotAllowed, "no such method on this path")
        })
        .layer(map_response(uncached))
        .layer(from_fn(observe::observe))
        .with_state(api)
}

/// Answers hold tickets and logins: nobody on the way keeps them.
async fn uncached(response: Response) -> Response {
    (
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        response,
    )
        .into_response()
}

/// Why the HTTP side did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Tokens would travel in the clear.
    #[error("http address is {found}, expected loopback: there is no TLS yet")]
    NotLoopback {
        /// The address bound.
        found: SocketAddr,
    },
    /// The operating system refuses.
    #[error("http side: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves until `shutdown` is ready, then answers what is under way and stops, at most 5 s later
/// (requests that wait are cut off).
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let found = listener.local_addr()?;
    if !found.ip().is_loopback() {
        return Err(ServeError::NotLoopback { found });
    }
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody listens when serving ended on its own.
        let _ = stopping.send(());
    });
    let grace = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(Duration::from_secs(5)).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = serving.into_future() => Ok(ended?),
        () = grace => Ok(()),
    }
}
