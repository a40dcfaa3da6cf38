//! One layer around the HTTP side: counts and times every answer, and remembers the trace that a login
//! service asked in.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use tokio::time::Instant;
use warifu_consensus::agree::LoginId;

use super::{counts, traces};

/// Put into the answer's extensions by whoever began a login.
#[derive(Clone, Copy, Debug)]
pub struct BegunLogin(pub LoginId);

/// See the module; for `axum::middleware::from_fn`.
pub async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let parent = traces::parent(request.headers());
    let response = next.run(request).await;
    if let (Some(parent), Some(BegunLogin(login))) = (parent, response.extensions().get()) {
        traces::link(*login, parent);
    }
    counts::request(&method, route, response.status(), begun.elapsed());
    response
}
