//! `/v1/logins`: begin, watch, cancel.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use warifu_client_sdk::login_service::api::{
    Asked, BeginLogin, Jwk, LoginAnswer, LoginBegun, login_id_text,
};
use warifu_client_sdk::login_service::problem::ProblemKind;
use warifu_consensus::agree::Outcome;
use warifu_consensus::block::{Claims, Kind, Sealed};
use warifu_consensus::body::Body;
use warifu_consensus::chain::Status;
use warifu_consensus::log::LogProof;
use warifu_consensus::party::Sub;

use super::Api;
use super::auth::Authenticated;
use super::desk::{BeginRequest, Desk, LoginState};
use super::problem::Refused;
use super::read::{InLogin, Json, Numbers, malformed};
use super::serve::Stopping;
use crate::{observe::http::BegunLogin, secrets::Scope};

/// Asks the customer to log in, or to agree to something else. Show `number` on the page.
#[utoipa::path(
    post,
    path = "/v1/logins",
    request_body = BeginLogin,
    responses(
        (status = 201, description = "The login is open.", body = LoginBegun),
    )
)]
pub(super) async fn begin<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    Json(request): Json<BeginLogin>,
) -> Result<Response, Refused> {
    caller.require(Scope::Login)?;
    let body = request.body();
    if request.kind == Asked::Unfreeze {
        caller.require(Scope::Desk)?;
    }
    open(
        &api,
        &caller,
        request.account,
        request.kind.into(),
        request.nonce,
        body,
        request.client_ip,
    )
    .await
}

/// Begins anything that a customer is asked for.
pub(super) async fn open<D: Desk>(
    api: &Api<D>,
    caller: &Authenticated,
    account: Sub,
    kind: Kind,
    nonce: String,
    body: Body,
    client_ip: Option<IpAddr>,
) -> Result<Response, Refused> {
    body.validate()
        .map_err(|error| malformed(error.to_string()))?;
    Claims::check_texts(caller.aud(), &nonce).map_err(|error| malformed(error.to_string()))?;
    match (kind, &body.reference) {
        (Kind::Unfreeze, None) => {
            return Err(malformed(
                "unfreeze has no reference, expected that of the re-identification",
            ));
        }
        (Kind::Login | Kind::Approve | Kind::Change, Some(_)) => {
            return Err(malformed(format!("{kind} has a reference, expected none")));
        }
        _ => {}
    }
    if kind == Kind::Unfreeze {
        // One of an account that is not frozen is refused by the desk, and uses up nothing.
        if api.desk().account(account).await?.status == Status::Frozen {
            api.paces().unfreeze(account, caller.name())?;
        }
    } else {
        api.paces().begin(client_ip, account, caller.name())?;
    }
    let request = BeginRequest { kind, nonce, body };
    let began = api
        .desk()
        .begin(caller.name(), caller.aud(), account, request)
        .await?;
    let begun = LoginBegun {
        id: login_id_text(began.id),
        number: format!("{:02}", began.number),
        expires_in: began.exp.saturating_sub(api.desk().now().seconds()),
    };
    let mut response = (StatusCode::CREATED, axum::Json(begun)).into_response();
    response.extensions_mut().insert(BegunLogin(began.id));
    Ok(response)
}

/// How a login stands. Believe `admitted` only after verifying `block`.
#[utoipa::path(
    get,
    path = "/v1/logins/{id}",
    params(("id" = String, Path, description = "The login: 22 characters of base64url."), ("wait" = Option<u64>, Query, description = "Seconds to wait for an end, at most 30.", maximum = 30), ("proof" = Option<bool>, Query, description = "Whether an admitted login comes with the proof that its block is in the ledger's log: the answer waits for it, mostly less than a second.")),
    responses(
        (status = 200, description = "Pending, or how it ended.", body = LoginAnswer),
    )
)]
pub(super) async fn watch<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InLogin(id): InLogin,
    mut query: Numbers,
    mut stopping: Stopping,
) -> Result<axum::Json<LoginAnswer>, Refused> {
    caller.require(Scope::Login)?;
    let wait = query.take_wait();
    let is_proof_asked = query.take_proof();
    query.end()?;
    let _held = api.hold(wait)?;
    let state = tokio::select! {
        state = api.desk().login(caller.name(), id, wait) => state?,
        () = stopping.said() => api.desk().login(caller.name(), id, Duration::ZERO).await?,
    };
    let proof = match &state {
        LoginState::Ended {
            outcome: Outcome::Admitted(sealed),
            ..
        } if is_proof_asked => {
            let wait = proof_wait(sealed, api.desk().now().seconds());
            api.desk().proof(sealed, wait).await?
        }
        _ => None,
    };
    answer(&api, state, proof.as_ref()).map(axum::Json)
}

/// How long an answer waits for the log: never so long that the block expires before the login service can look at it.
fn proof_wait(sealed: &Sealed, now: u64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(5);
    const TO_VERIFY_S: u64 = 2;
    let latest = sealed.block.claims().exp.saturating_sub(TO_VERIFY_S);
    Duration::from_secs(latest.saturating_sub(now)).min(LONGEST)
}

fn answer<D: Desk>(
    api: &Api<D>,
    state: LoginState,
    proof: Option<&LogProof>,
) -> Result<LoginAnswer, Refused> {
    let (outcome, account_key) = match state {
        LoginState::Pending { exp } => {
            let expires_in = exp.saturating_sub(api.desk().now().seconds());
            return Ok(LoginAnswer::Pending { expires_in });
        }
        LoginState::Ended {
            outcome,
            account_key,
        } => (outcome, account_key),
    };
    Ok(match outcome {
        Outcome::Admitted(sealed) => LoginAnswer::Admitted {
            block: sealed.compact().ok_or_else(|| {
                tracing::error!(hash = %sealed.block.hash(), "admitted block is no admit block");
                Refused::new(ProblemKind::Internal, "admitted block is no admit block")
            })?,
            receipt: sealed.to_json(),
            jwk: Jwk::of(&account_key),
            proof: proof.map(ToString::to_string),
        },
        Outcome::Refused { by, reason } => LoginAnswer::Refused {
            by: by.into(),
            reason: reason.to_string(),
        },
        Outcome::Expired => LoginAnswer::Expired,
    })
}

/// Takes a login of this caller back. Harmless when repeated.
#[utoipa::path(
    delete,
    path = "/v1/logins/{id}",
    params(("id" = String, Path, description = "The login: 22 characters of base64url.")),
    responses(
        (status = 204, description = "It is taken back."),
    )
)]
pub(super) async fn cancel<D: Desk>(
    State(api): State<Api<D>>,
    caller: Authenticated,
    InLogin(id): InLogin,
) -> Result<StatusCode, Refused> {
    caller.require(Scope::Login)?;
    api.desk().cancel(caller.name(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
