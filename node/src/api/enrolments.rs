//! `/v1/enrolments`: tickets, how a session stands, the six digits.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use warifu_client_sdk::login_service::api::{
    Confirm, EnrolmentAnswer, EnrolmentOpened, Jwk, OpenEnrolment,
};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::encoding::text_b64;
use warifu_consensus::enrol::SixDigits;

use super::Api;
use super::auth::Authenticated;
use super::desk::{Desk, EnrolmentState};
use super::problem::Refused;
use super::read::{InSession, Json, Numbers, malformed};
use super::serve::Stopping;
use crate::secrets::Scope;

/// Opens an enrolment of a customer whom the caller identified. Show `ticket_uri` to them only.
#[utoipa::path(
    post,
    path = "/v1/enrolments",
    request_body = OpenEnrolment,
    responses(
        (status = 201, description = "A ticket, good for one device.", body = EnrolmentOpened),
    )
)]
pub(super) async fn open<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    Json(OpenEnrolment {}): Json<OpenEnrolment>,
) -> Result<Response, Refused> {
    caller.require(Scope::Enrol)?;
    api.paces().enrol(caller.name())?;
    let ticket = api.desk().open_ticket(caller.name()).await?;
    let ticket_uri = ticket.to_uri().map_err(|error| {
        tracing::error!(%error, "own ticket has no uri");
        Refused::new(ProblemKind::Internal, "ticket has no uri")
    })?;
    let opened = EnrolmentOpened {
        session: text_b64(&ticket.session),
        ticket_uri,
        expires_in: ticket.exp.saturating_sub(api.desk().now().seconds()),
    };
    Ok((StatusCode::CREATED, axum::Json(opened)).into_response())
}

/// How an enrolment stands.
#[utoipa::path(
    get,
    path = "/v1/enrolments/{session}",
    params(("session" = String, Path, description = "The enrolment session: 43 characters of base64url."), ("wait" = Option<u64>, Query, description = "Seconds to wait for an end, at most 30.", maximum = 30)),
    responses(
        (status = 200, description = "Waiting, digits wanted, done or failed.", body = EnrolmentAnswer),
    )
)]
pub(super) async fn watch<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InSession(session): InSession,
    mut query: Numbers,
    mut stopping: Stopping,
) -> Result<axum::Json<EnrolmentAnswer>, Refused> {
    caller.require(Scope::Enrol)?;
    let wait = query.take_wait();
    query.end()?;
    let _held = api.hold(wait)?;
    let (desk, none) = (api.desk(), Duration::ZERO);
    let state = tokio::select! {
        state = desk.enrolment(caller.name(), session, wait) => state?,
        () = stopping.said() => desk.enrolment(caller.name(), session, none).await?,
    };
    Ok(axum::Json(answer(state)))
}

/// Passes on the six digits that the customer typed. Three tries.
#[utoipa::path(
    post,
    path = "/v1/enrolments/{session}/confirm",
    params(("session" = String, Path, description = "The enrolment session: 43 characters of base64url.")),
    request_body = Confirm,
    responses(
        (status = 200, description = "They match; how the enrolment stands now.", body = EnrolmentAnswer),
    )
)]
pub(super) async fn confirm<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InSession(session): InSession,
    Json(request): Json<Confirm>,
) -> Result<axum::Json<EnrolmentAnswer>, Refused> {
    caller.require(Scope::Enrol)?;
    let digits = SixDigits::parse(&request.digits)
        .ok_or_else(|| malformed("digits are not six decimal digits"))?;
    let state = api.desk().confirm(caller.name(), session, digits).await?;
    Ok(axum::Json(answer(state)))
}

fn answer(state: EnrolmentState) -> EnrolmentAnswer {
    match state {
        EnrolmentState::Waiting => EnrolmentAnswer::Waiting,
        EnrolmentState::Digits => EnrolmentAnswer::Digits,
        EnrolmentState::Done {
            account,
            account_key,
            genesis,
        } => EnrolmentAnswer::Done {
            account,
            jwk: Jwk::of(&account_key),
            genesis: genesis.to_json(),
        },
        EnrolmentState::Failed { reason } => EnrolmentAnswer::Failed { reason },
    }
}
