//! One name for a request in the caller's log and in this node's: header `x-request-id`.
//!
//! A caller's own name is kept if it is short and harmless, else a fresh one is made. It stands in
//! the answer and in every log line of the request; it decides nothing.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use warifu_consensus::encoding::text_b64;

const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name that is kept, in characters.
const MAX_LENGTH: usize = 64;

pub(super) async fn name(request: Request, next: Next) -> Response {
    let Some(id) = given(request.headers()).or_else(fresh) else {
        return next.run(request).await;
    };
    // The pattern, not the path: an account's name is in the lines that need it.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str);
    let text = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", id = text, method = %request.method(), route);
    let answered = async {
        let response = next.run(request).await;
        let status = response.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("answered that this broker failed");
        } else {
            tracing::debug!(status = status.as_u16(), "answered");
        }
        response
    };
    let mut response = answered.instrument(span).await;
    response.headers_mut().insert(NAME, id);
    response
}

/// The caller's name: one header of letters, digits, `-`, `_` and `.`.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(NAME).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = value.as_bytes();
    let is_kept = (1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(is_safe);
    is_kept.then(|| value.clone())
}

/// 96 random bits; none when the system has no randomness, for which no request is refused.
fn fresh() -> Option<HeaderValue> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).ok()?;
    HeaderValue::try_from(text_b64(&bytes)).ok()
}
