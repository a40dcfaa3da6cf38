//! `/healthz`: this process answers. `/readyz`: logins are possible. Neither asks who calls, and
//! neither says more than that.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use warifu_client_sdk::login_service::api::HealthAnswer;

use super::Api;
use super::desk::Desk;

/// Whether this process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    responses(
        (status = 200, description = "It does.", body = HealthAnswer),
    )
)]
pub(super) async fn healthz() -> axum::Json<HealthAnswer> {
    axum::Json(HealthAnswer {
        status: "ok".to_owned(),
        reason: None,
    })
}

/// Whether logins are possible.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "They are.", body = HealthAnswer),
        (status = 503, description = "They are not.", body = HealthAnswer),
    )
)]
pub(super) async fn readyz<D: Desk>(State(api): State<Api<D>>) -> Response {
    let (code, status, reason) = match api.desk().ready().await {
        Ok(()) => (StatusCode::OK, "ok", None),
        Err(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not-ready",
            Some(error.to_string()),
        ),
    };
    let status = status.to_owned();
    (code, axum::Json(HealthAnswer { status, reason })).into_response()
}
